"""A stopped replica holds nobody up (13.19), and a silent database is not waited for (13.20)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
import sqlalchemy as sa

from domain.errors import Outage
from domain.inbox import NewDelivery
from sandbox.proxy import Proxy
from storage.database import Database
from storage.deliveries import DRAIN_LOCK
from storage.inbox import GroupCommit
from storage.listener import Listener
from storage.migrating import LOCK, migrate
from storage.store import Store
from tests.conftest import new_postgres
from tests.databases import migrated_postgres
from tests.storage.conftest import AT, engine_url

TAKEN_OVER = 10.0
"""Seconds within which others go on where one was stopped."""


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[Database]:
    database = Database(engine_url(url))
    try:
        yield database
    finally:
        await database.dispose()


async def put(database: Database, *keys: str) -> None:
    door = GroupCommit(database)
    door.start()
    try:
        await asyncio.gather(
            *(door.put(NewDelivery(kind="test", key=key, body=b"{}", received_at=AT)) for key in keys)
        )
    finally:
        await door.stop()


async def ready(store: Store) -> None:
    """As ``/readyz`` asks."""
    try:
        async with asyncio.timeout(4):
            await store.prove()
    except TimeoutError as late:
        raise Outage("no answer") from late


async def within(seconds: float, work: Callable[[], Awaitable[bool]]) -> float:
    """Try again until it works. Returns how many seconds that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            try:
                if await work():
                    return time.monotonic() - began
            except Outage:
                pass  # What loops do: try again.
            await asyncio.sleep(0.2)


async def test_13_19_a_drain_that_was_stopped_is_taken_over_and_has_no_effect_when_it_wakes(
    postgres: str,
) -> None:
    url = migrated_postgres(postgres)
    async with replica(url) as stopped, replica(url) as other:
        await put(other, "a")

        async def drained() -> bool:
            async with other.writing() as tx:
                found = await tx.pending(10, 10**6, AT)
                await tx.drained([one.id for one in found], AT)
                return bool(found)

        async def stops_and_wakes() -> None:
            async with stopped.writing() as tx:
                (found,) = await tx.pending(10, 10**6, AT)
                await within(TAKEN_OVER, drained)
                await tx.quarantine(found.id, "woken late", AT)

        with pytest.raises(Outage):
            await stops_and_wakes()
        async with other.reading() as tx:
            (status,) = (await tx.connection.execute(sa.text("SELECT status FROM inbox"))).scalars()
        assert status == "done"
        async with stopped.writing() as tx:
            assert await tx.pending(10, 10**6, AT) == [], "it works again, on a new connection"


async def test_13_19_rows_that_a_stopped_replica_has_locked_are_free_again(postgres: str) -> None:
    url = migrated_postgres(postgres)
    async with replica(url) as stopped, replica(url) as other:
        await put(other, "a")

        async def changed() -> bool:
            async with other.writing() as tx:
                (found,) = await tx.pending(10, 10**6, AT)
                await tx.drained([found.id], AT)
            await put(other, "b")  # The same delivery: it waits for the other one's end.
            return True

        async def stops_and_wakes() -> None:
            insert = (
                "INSERT INTO inbox (kind, key, body, received_at, status) VALUES ('test', 'b', '', 0, 'done')"
            )
            async with stopped.writing() as tx:
                await tx.connection.execute(sa.text("SELECT * FROM inbox FOR UPDATE"))
                await tx.connection.execute(sa.text(insert))
                await within(TAKEN_OVER, changed)
                await tx.connection.execute(sa.text("SELECT 1"))

        with pytest.raises(Outage):
            await stops_and_wakes()


async def test_13_19_a_stopped_reader_of_a_long_answer_is_ended_by_another_replica(postgres: str) -> None:
    url = migrated_postgres(postgres)
    async with replica(url) as other:
        stopped = await psycopg.AsyncConnection.connect(url, application_name="toban")
        backup = await psycopg.AsyncConnection.connect(url, application_name="pg_dump")
        for connection in (stopped, backup):
            connection.pgconn.send_query(
                b"BEGIN; SELECT pg_try_advisory_xact_lock_shared(%d), repeat('x', 100000000)" % DRAIN_LOCK
            )
            connection.pgconn.flush()
        await put(other, "a")
        await asyncio.sleep(1)
        assert await other.end_stuck_sessions(5.0) == 0, "it may only be slow"

        async def ended() -> bool:
            return await other.end_stuck_sessions(1.0) == 1

        await within(TAKEN_OVER, ended)
        await asyncio.sleep(0.2)
        assert await other.end_stuck_sessions(1.0) == 0, "other programs are left alone"
        stopped.pgconn.finish()
        backup.pgconn.finish()


async def test_13_19_a_replica_that_was_stopped_while_it_migrated_keeps_nobody_from_starting(
    postgres: str,
) -> None:
    url = new_postgres(postgres)
    async with replica(url) as stopped, replica(url) as other, stopped.writer.connect() as connection:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        began = time.monotonic()
        await migrate(other)
        assert time.monotonic() - began < TAKEN_OVER
        with pytest.raises(sa.exc.DBAPIError):
            await connection.execute(sa.text("SELECT 1"))


async def test_13_20_every_wait_for_a_silent_database_ends_and_everything_works_again_after_it(
    postgres: str,
) -> None:
    url = migrated_postgres(postgres)
    woken: list[frozenset[str]] = []
    async with Proxy.of_postgres(postgres) as proxy, replica(proxy.url(url)) as database:
        store = Store(database)
        store.inbox.start()
        listener = Listener(engine_url(proxy.url(url)), woken.append)
        listener.start()
        await ready(store)
        await asyncio.sleep(0.5)

        async def transaction() -> None:
            async with database.writing() as tx:
                await tx.connection.execute(sa.text("SELECT 1"))
                proxy.silence()
                await tx.connection.execute(sa.text("SELECT 1"))

        async def refused(work: Awaitable[None]) -> float:
            began = time.monotonic()
            with pytest.raises(Outage):
                await work
            return time.monotonic() - began

        async def a_little_later(work: Callable[[], Awaitable[None]]) -> float:
            await asyncio.sleep(0.2)
            return await refused(work())

        def accepted() -> Awaitable[None]:
            return store.inbox.put(NewDelivery(kind="test", key="during", body=b"", received_at=AT))

        whole, answered, pinged = await asyncio.gather(
            refused(transaction()), a_little_later(accepted), a_little_later(lambda: ready(store))
        )
        assert answered < 6, "a sender is told within a few seconds"
        assert pinged < 6, "readiness turns red"
        assert whole < 15

        proxy.restore()

        async def works() -> bool:
            await ready(store)
            await store.inbox.put(NewDelivery(kind="test", key="after", body=b"", received_at=AT))
            return True

        await within(10, works)
        async with database.reading() as tx:
            keys = list((await tx.connection.execute(sa.text("SELECT key FROM inbox"))).scalars())
        assert "after" in keys

        async def heard() -> bool:
            woken.clear()
            async with database.writing() as tx:
                tx.topics.add("hello")
            await asyncio.sleep(0.1)
            return frozenset({"hello"}) in woken

        await within(15, heard)
        await listener.stop()
        await store.inbox.stop()


async def test_13_20_a_wait_that_is_cancelled_ends_at_once_although_nobody_answers(postgres: str) -> None:
    url = migrated_postgres(postgres)
    async with Proxy.of_postgres(postgres) as proxy, replica(proxy.url(url)) as database:
        await ready(Store(database))
        proxy.silence()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), database.reading() as tx:
                await tx.connection.execute(sa.text("SELECT 1"))
        assert time.monotonic() - began < 2
        began = time.monotonic()
        with pytest.raises(Outage):
            async with database.reading():
                pass  # No connection is to be had.
        assert time.monotonic() - began < 6


async def test_13_20_a_commit_whose_connection_was_reset_is_written_on_a_new_one(postgres: str) -> None:
    url = migrated_postgres(postgres)
    async with Proxy.of_postgres(postgres) as proxy, replica(proxy.url(url)) as database:
        door = GroupCommit(database)
        door.start()
        await door.put(NewDelivery(kind="test", key="before", body=b"", received_at=AT))
        proxy.reset()
        await door.put(NewDelivery(kind="test", key="after", body=b"", received_at=AT))
        await door.stop()
        async with database.reading() as tx:
            keys = list((await tx.connection.execute(sa.text("SELECT key FROM inbox ORDER BY id"))).scalars())
        assert keys == ["before", "after"]
