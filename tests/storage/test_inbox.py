"""The one door keeps what it said it kept: one shared commit, an answer for everybody, each key once."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from domain.errors import Outage
from domain.inbox import Delivery, NewDelivery
from storage.database import Database
from storage.inbox import BATCH, QUEUE_LIMIT, GroupCommit
from storage.migrating import migrate
from tests.storage.conftest import AT, Opener, engine_url


def delivery(key: str, body: bytes = b"{}", **changes: Any) -> NewDelivery:
    return NewDelivery(**({"kind": "test", "key": key, "body": body, "received_at": AT} | changes))


async def kept(database: Database, limit: int = 1000, budget: int = 10**9) -> list[Delivery]:
    async with database.writing() as tx:
        return await tx.pending(limit, budget, AT)


async def keys(database: Database) -> list[str]:
    return [one.key for one in await kept(database)]


@pytest.fixture
async def door(database: Database) -> AsyncIterator[GroupCommit]:
    door = GroupCommit(database)
    door.start()
    yield door
    await door.stop()


class Commits:
    """Counts the commits of a database; refuses those that it is told to."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        self.refused: list[Exception] = []
        sa.event.listen(database.writer.sync_engine, "commit", self._commit)

    def _commit(self, connection: sa.Connection) -> None:
        self.count += 1
        if self.refused:
            raise self.refused.pop(0)


async def test_what_was_put_is_kept_byte_for_byte_with_its_time_in_utc(
    door: GroupCommit, database: Database
) -> None:
    body = bytes(range(256)) + "結\ud7ff".encode()
    tokyo = AT.astimezone(timezone(timedelta(hours=9)))
    await door.put(delivery("a", body, received_at=tokyo))

    (found,) = await kept(database)
    assert (found.kind, found.key, found.body) == ("test", "a", body)
    assert found.received_at == AT
    assert found.received_at.tzinfo == UTC
    async with database.reading() as tx:
        assert await tx.oldest_pending() == AT


async def test_the_same_key_is_kept_once_whether_it_comes_together_or_later(
    door: GroupCommit, database: Database
) -> None:
    await asyncio.gather(
        *(door.put(delivery("a", f"{n}".encode())) for n in range(5)), door.put(delivery("b"))
    )
    await door.put(delivery("a", b"later"))

    found = await kept(database)
    assert sorted((one.key, one.body) for one in found) == [("a", b"0"), ("b", b"{}")]
    assert door.arrivals == 7, "each was let in and answered"


async def test_a_key_that_was_drained_is_still_known(door: GroupCommit, database: Database) -> None:
    await door.put(delivery("a"))
    (found,) = await kept(database)
    async with database.writing() as tx:
        await tx.drained([found.id], AT)
    await door.put(delivery("a"))
    assert await keys(database) == []


async def test_a_burst_is_answered_in_full_out_of_a_few_commits_and_in_its_order(
    door: GroupCommit, database: Database
) -> None:
    commits = Commits(database)
    many = 2 * BATCH + 7
    await asyncio.gather(*(door.put(delivery(f"{n:05}")) for n in range(many)))

    assert commits.count <= 4
    assert await keys(database) == [f"{n:05}" for n in range(1000)]
    async with database.reading() as tx:
        (count,) = (await tx.connection.execute(sa.text("SELECT count(*) FROM inbox"))).scalars()
    assert count == many


@pytest.mark.parametrize(
    "error",
    [
        sa.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error")),
        sa.exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("no such thing")),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__ + type(getattr(error, "orig", None)).__name__,
)
async def test_a_failed_commit_is_told_to_all_who_waited_for_it_and_the_next_one_works(
    door: GroupCommit, database: Database, error: Exception
) -> None:
    commits = Commits(database)
    commits.refused.append(error)
    answers = await asyncio.gather(
        *(door.put(delivery(f"lost{n}")) for n in range(5)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Outage] * 5
    assert len({id(answer) for answer in answers}) == 5, "each waiter has an error of its own"
    assert await keys(database) == []

    await asyncio.gather(*(door.put(delivery(f"lost{n}")) for n in range(5)))
    assert await keys(database) == [f"lost{n}" for n in range(5)]


async def test_a_body_that_the_database_refuses_fails_its_own_commit_only(
    door: GroupCommit, database: Database
) -> None:
    if database.sqlite:
        pytest.skip("SQLite takes any text in any column")
    with pytest.raises(Outage):
        await door.put(delivery("k" * 300))
    await door.put(delivery("zero\0byte"))
    await door.put(delivery("fine"))
    assert await keys(database) == ["zero\ufffdbyte", "fine"]


async def test_stopping_writes_what_waits_and_lets_nobody_in_after(
    door: GroupCommit, database: Database
) -> None:
    waiting = [asyncio.ensure_future(door.put(delivery(f"{n:05}"))) for n in range(BATCH + 50)]
    await asyncio.sleep(0)
    await door.stop()

    await asyncio.gather(*waiting)
    assert len(await kept(database)) == BATCH + 50
    with pytest.raises(Outage, match="stopping") as refused:
        await door.put(delivery("late"))
    assert refused.value.retry_after is not None
    await door.stop()


async def test_too_many_at_once_are_told_to_come_again_and_the_others_are_kept(
    door: GroupCommit, database: Database
) -> None:
    answers = await asyncio.gather(
        *(door.put(delivery(f"{n:05}")) for n in range(QUEUE_LIMIT + 10)), return_exceptions=True
    )
    assert [answer for answer in answers[:QUEUE_LIMIT] if answer is not None] == []
    refused = answers[QUEUE_LIMIT:]
    assert all(isinstance(answer, Outage) and answer.retry_after for answer in refused)
    async with database.reading() as tx:
        (count,) = (await tx.connection.execute(sa.text("SELECT count(*) FROM inbox"))).scalars()
    assert count == QUEUE_LIMIT


async def test_who_gave_up_waiting_before_the_commit_was_told_no_and_leaves_nothing(
    door: GroupCommit, database: Database
) -> None:
    async with database._lock if database.sqlite else asyncio.Lock():
        patient = asyncio.ensure_future(door.put(delivery("patient")))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await door.put(delivery("gone"))
        await asyncio.sleep(0)
    await patient
    assert await keys(database) == ["patient"]


# The drain's side.


async def test_a_drain_takes_the_oldest_within_its_limits_but_always_one(
    door: GroupCommit, database: Database
) -> None:
    for n in range(5):
        await door.put(delivery(f"{n}", b"x" * 100))
    assert [one.key for one in await kept(database, limit=3)] == ["0", "1", "2"]
    assert [one.key for one in await kept(database, budget=250)] == ["0", "1"]
    assert [one.key for one in await kept(database, budget=0)] == ["0"]


async def test_what_could_not_be_understood_waits_to_be_told_and_stops_nobody(
    door: GroupCommit, database: Database
) -> None:
    await door.put(delivery("bad", b"\xff", error="not JSON"))
    await door.put(delivery("good"))
    (good,) = await kept(database)
    assert good.key == "good"
    async with database.writing() as tx:
        ((bad, error),) = await tx.untold(10)
        assert (bad.key, error) == ("bad", "not JSON")
        await tx.quarantine(bad.id, error, AT)
        assert await tx.untold(10) == []
        await tx.quarantine(good.id, "e" * 5000, AT)
        assert await tx.pending(10, 1000, AT) == []
        assert await tx.untold(10) == [], "whoever quarantines it later has told it"


async def test_only_one_replica_drains_at_a_time(database: Database, opened: Opener) -> None:
    if database.sqlite:
        pytest.skip("a SQLite file has one process only")
    door = GroupCommit(database)
    door.start()
    await door.put(delivery("a"))
    await door.stop()
    other = await opened()
    async with database.writing() as tx:
        assert len(await tx.pending(10, 1000, AT)) == 1
        assert await kept(other) == []
    assert len(await kept(other)) == 1


async def test_a_door_without_its_tables_answers_with_an_outage(sqlite_only: str) -> None:
    database = Database(engine_url(sqlite_only))
    door = GroupCommit(database)
    door.start()
    with pytest.raises(Outage, match="no such table"):
        await door.put(delivery("a"))
    await migrate(database)
    await door.put(delivery("a"))
    assert await keys(database) == ["a"]
    await door.stop()
    await database.dispose()
