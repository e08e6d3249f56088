"""A schema that is always the one the code means: made once, by one, whole or not at all."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from domain.errors import Outage
from storage import migrating
from storage.database import Database
from storage.lock import FileLock
from storage.migrating import HEAD, migrate, revision
from storage.tables import metadata
from tests.conftest import new_postgres
from tests.storage.conftest import Opener, engine_url


async def test_the_migrations_make_exactly_the_tables_that_the_code_declares(empty: Database) -> None:
    assert await migrate(empty) is None

    def differences(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "render_as_batch": True}
        context = MigrationContext.configure(connection, opts=options | {"target_metadata": metadata})
        return list(compare_metadata(context, metadata))

    async with empty.writer.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_partial_indexes_and_their_conditions_are_those_that_the_code_declares(empty: Database) -> None:
    """Alembic does not compare the WHERE of an index."""
    await migrate(empty)
    dialect = empty.writer.dialect.name
    declared = {
        index.name: str(index.dialect_options[dialect]["where"])
        for one in metadata.tables.values()
        for index in one.indexes
        if index.dialect_options[dialect].get("where") is not None
    }
    assert declared

    def stored(connection: sa.Connection) -> dict[str, str]:
        inspector = sa.inspect(connection)
        return {
            str(index["name"]): str(index["dialect_options"][f"{dialect}_where"])
            for one in inspector.get_table_names()
            for index in inspector.get_indexes(one)
            if index.get("dialect_options", {}).get(f"{dialect}_where") is not None
        }

    async with empty.writer.connect() as connection:
        found = await connection.run_sync(stored)

    def plain(where: str) -> str:
        return where.replace("::text", "").replace("(", "").replace(")", "")

    assert {name: plain(where) for name, where in found.items()} == declared


def test_the_constant_is_the_newest_migration_there_is() -> None:
    folder = Path(migrating.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [HEAD]


async def test_a_start_on_a_database_of_this_version_changes_nothing(empty: Database) -> None:
    assert await revision(empty) is None
    assert await migrate(empty) is None
    assert await revision(empty) == HEAD
    assert await migrate(empty) == HEAD
    assert await migrate(empty) == HEAD
    assert await revision(empty) == HEAD


async def test_a_start_on_a_database_of_this_version_does_not_load_alembic(tmp_path: Path) -> None:
    import sys

    url = f"sqlite+aiosqlite:///{tmp_path}/toban.db"
    database = Database(url)
    await migrate(database)
    await database.dispose()
    program = (
        "import asyncio, sys\n"
        "from storage.database import Database\n"
        "from storage.migrating import migrate\n"
        "async def main():\n"
        f"    database = Database({url!r})\n"
        "    await migrate(database)\n"
        "    await database.dispose()\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    out, _ = await child.communicate()
    assert (child.returncode, out.strip()) == (0, b"False")


@pytest.mark.parametrize("replicas", [2, 4])
async def test_replicas_that_start_at_once_migrate_once(postgres: str, replicas: int) -> None:
    url = engine_url(new_postgres(postgres))
    databases = [Database(url) for _ in range(replicas)]
    before = await asyncio.gather(*(migrate(database) for database in databases))
    assert set(before) <= {None, HEAD}
    assert [await revision(database) for database in databases] == [HEAD] * replicas
    for database in databases:
        await database.dispose()


async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(database: Database) -> None:
    async with database.writing() as tx:
        await tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Outage, match="newer version"):
        await migrate(database)
    assert await revision(database) == "9999"
    async with database.writing() as tx:
        assert await tx.open_incidents() == []


async def test_a_migration_that_breaks_off_anywhere_leaves_nothing_and_can_be_done_again(
    opened: Opener,
) -> None:
    whole = await opened()
    for statements in (5, 12, 20):
        left = iter(range(statements))

        def cut(*_: Any, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise ConnectionAbortedError

        sa.event.listen(whole.writer.sync_engine, "before_cursor_execute", cut)
        with pytest.raises(ConnectionAbortedError):
            await migrate(whole)
        sa.event.remove(whole.writer.sync_engine, "before_cursor_execute", cut)
        async with whole.reading() as tx:
            tables = await tx.connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
        assert tables == []
    assert await migrate(whole) is None
    assert await revision(whole) == HEAD


# One process on one file.


def test_a_second_process_on_the_same_file_is_refused_until_the_first_one_ends(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "toban.db"), FileLock(tmp_path / "toban.db")
    first.take()
    with pytest.raises(Outage, match=r"toban\.db\.lock is held"):
        second.take()
    elsewhere = FileLock(tmp_path / "other.db")
    elsewhere.take()
    elsewhere.release()
    first.release()
    second.take()
    with pytest.raises(Outage):
        first.take()
    second.release()
    second.release()
    first.take()
    first.release()


def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import pathlib, os, signal\n"
        "from storage.lock import FileLock\n"
        f"lock = FileLock(pathlib.Path({str(tmp_path / 'toban.db')!r}))\n"
        "lock.take()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False)
    assert child.returncode == -9
    assert (tmp_path / "toban.db.lock").exists()
    lock = FileLock(tmp_path / "toban.db")
    lock.take()
    lock.release()
