"""13.17: a SQLite file becomes smaller again, and how a body is kept is nobody's business."""

import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.running import migrate_once
from bot.settings import Settings
from domain.data_retention import FIRST, MOST, next_batch
from domain.errors import Outage
from domain.inbox import NewDelivery
from storage import space
from storage.bodies import MAGIC, pack, unpack
from storage.database import Database
from storage.migrating import migrate
from storage.store import Store
from tests.storage.conftest import AT


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"{}" * 5000, MAGIC, MAGIC + b"x" * 5000, pack(b"a" * 9000), os.urandom(3000), b"\x00" * 300],
)
def test_a_body_comes_out_as_it_went_in(body: bytes) -> None:
    assert unpack(pack(body)) == body
    assert len(pack(body)) <= len(body) + 30


@pytest.mark.parametrize("body", [MAGIC + b"not compressed", MAGIC])
def test_what_an_older_version_kept_is_given_out_as_it_is(body: bytes) -> None:
    assert unpack(body) == body


async def test_bodies_pass_the_door_and_the_drain_compressed(database: Database) -> None:
    store = Store(database)
    store.inbox.start()
    bodies = [b"a" * 100_000, os.urandom(200_000), b"{}", MAGIC + b"y" * 500]
    for number, body in enumerate(bodies):
        await store.inbox.put(NewDelivery(kind="generic", key=str(number), body=body, received_at=AT))
    await store.inbox.stop()
    async with database.writing() as tx:
        assert [one.body for one in await tx.pending(10, 10**9, AT)] == bodies
        kept = await tx.connection.execute(sa.text("SELECT length(body) FROM inbox ORDER BY id"))
        assert next(iter(kept.scalars())) < 1000


async def test_a_new_file_becomes_smaller_in_small_steps(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/toban.db")
    await migrate(database)
    store = Store(database)
    store.inbox.start()
    for number in range(60):
        body = os.urandom(40_000)
        await store.inbox.put(NewDelivery(kind="generic", key=str(number), body=body, received_at=AT))
    await store.inbox.stop()
    await store.checkpoint()
    before = (tmp_path / "toban.db").stat().st_size
    async with database.writing() as tx:
        await tx.connection.execute(sa.text("UPDATE inbox SET body = x''"))
        full = await tx.space()
    assert full.gives_back
    assert full.free > 2_000_000
    await store.give_back(10)
    async with database.reading() as tx:
        assert full.free - (await tx.space()).free == 10 * 4096
    await store.give_back(100_000)
    await store.checkpoint()
    assert (tmp_path / "toban.db").stat().st_size < before / 5
    await database.dispose()


def an_old_file(file: Path) -> None:
    with sqlite3.connect(file) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute("CREATE TABLE rest (body BLOB)")
        old.executemany("INSERT INTO rest VALUES (?)", [(os.urandom(900),)] * 2000)
    with sqlite3.connect(file) as old:
        old.execute("DELETE FROM rest")
    old.close()


async def test_a_file_of_an_older_version_is_vacuumed_once_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "toban.db"
    an_old_file(file)
    settings = Settings.read({"TOBAN_DATABASE_URL": f"sqlite:///{file}"}, to_run=False)
    await migrate_once(settings)
    database = Database(settings.database)
    async with database.reading() as tx:
        found = await tx.space()
    await database.dispose()
    assert not found.gives_back
    assert "vacuumed from" in await migrate_once(settings, vacuum=True)
    database = Database(settings.database)
    async with database.reading() as tx:
        found = await tx.space()
    await database.dispose()
    assert found.gives_back
    assert found.free == 0
    assert file.stat().st_size < 1_000_000


def test_vacuuming_is_refused_where_the_disk_has_no_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "toban.db"
    an_old_file(file)
    before = file.read_bytes()
    monkeypatch.setattr(space, "RESERVE", 10**18)  # No disk has that.
    with pytest.raises(Outage, match="cannot be vacuumed: that takes"):
        space.vacuum(file)
    assert file.read_bytes() == before


def test_a_batch_that_held_the_writer_too_long_is_followed_by_a_smaller_one() -> None:
    size = FIRST
    for _ in range(50):
        size = next_batch(size, 0.001)
    assert size == MOST
    for _ in range(4):
        size = next_batch(size, 0.1)
    assert size == MOST // 16
    assert next_batch(1, 5.0) == 1
    assert next_batch(100, 0.007) == 100
    assert timedelta(seconds=next_batch(1, 0.0)) > timedelta(0)
