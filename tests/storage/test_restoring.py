"""A copy in the place of the real database: proven first, over nothing newer unasked, the old one kept."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.copies import Manifest
from domain.errors import Outage
from storage import restoring
from storage.copies import Copies
from storage.lock import FileLock
from storage.postgres_restoring import restore_postgres
from storage.restoring import Kept, Marks, restore_sqlite
from storage.types import EPOCH
from tests.conftest import new_postgres
from tests.storage.test_copies import AT, filled, tools

LATER = AT + timedelta(hours=6)
MARK = Marks(kept=(Kept(kind="quiet", key="own", state='{"restored_at": 1}'),))


def file_of(url: str) -> Path:
    return Path(url.partition(":///")[2])


def asked(file: Path, query: str) -> Any:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchone()[0]


def count_on(file: Path, until: datetime) -> None:
    """A Toban has run on it until then, and left its log behind as a killed one does."""
    code = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode=WAL'); c.execute('PRAGMA wal_autocheckpoint=0')\n"
        "c.execute('INSERT INTO clock VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at',"
        " (int(sys.argv[2]),))\n"
        "c.execute('DELETE FROM timeline WHERE id > 3')\n"
        "os._exit(1)\n"
    )
    millis = (until - EPOCH) // timedelta(milliseconds=1)
    subprocess.run([sys.executable, "-c", code, str(file), str(millis)], check=False)


async def copied(url: str, folder: Path) -> tuple[Path, Manifest]:
    await (await filled(url, 50)).dispose()
    manifest = await Copies(url, tools()).dump(folder / "copy", AT)
    return folder / "copy", manifest


async def put(copy: Path, manifest: Manifest, target: Path, *, overwrite: bool = False) -> Path | None:
    return await restore_sqlite(copy, manifest, target, MARK, LATER, overwrite=overwrite)


async def test_21_6_a_stale_log_beside_the_file_is_not_read_as_its_own(
    sqlite_only: str, tmp_path: Path
) -> None:
    """A plain cp over the file restored nothing: the log of the old one was applied to the new one."""
    copy, manifest = await copied(sqlite_only, tmp_path)
    target = file_of(sqlite_only)
    count_on(target, LATER)
    assert target.with_name(f"{target.name}-wal").stat().st_size > 0
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(target.with_name(f"{target.name}{suffix}"), by_hand / f"toban.db{suffix}")
    shutil.copy(copy, by_hand / "toban.db")
    with suppress(sqlite3.DatabaseError):  # Or it is no database at all any more.
        assert asked(by_hand / "toban.db", "SELECT count(*) FROM timeline") != 50
    with pytest.raises(Outage, match=r"goes on until 2026-11-23 09:00:00 UTC.*--overwrite"):
        await put(copy, manifest, target)
    assert asked(target, "SELECT count(*) FROM timeline") == 3, "it is as it was"
    count_on(target, LATER)
    aside = await put(copy, manifest, target, overwrite=True)
    assert asked(target, "SELECT count(*) FROM timeline") == 50
    assert json.loads(asked(target, "SELECT state FROM watch WHERE kind = 'quiet'")) == {"restored_at": 1}
    assert aside is not None
    assert asked(aside, "SELECT count(*) FROM timeline") == 3, "with its log, the newest state"
    left = {one.name for one in target.parent.iterdir()}
    assert not {"toban.db-wal", "toban.db-shm", "toban.db.restoring"} & left


async def test_21_6_an_older_or_an_unused_database_is_replaced_without_a_word(
    sqlite_only: str, tmp_path: Path
) -> None:
    copy, manifest = await copied(sqlite_only, tmp_path)
    target = file_of(sqlite_only)
    aside = await put(copy, manifest, target)
    assert aside is not None, "kept all the same"
    count_on(target, AT - timedelta(seconds=1))
    assert await restore_sqlite(copy, manifest, target, MARK, LATER + timedelta(1), overwrite=False)
    (tmp_path / "new").mkdir()
    assert await put(copy, manifest, tmp_path / "new" / "toban.db") is None
    assert asked(tmp_path / "new" / "toban.db", "SELECT count(*) FROM timeline") == 50
    assert stat.S_IMODE((tmp_path / "new" / "toban.db").stat().st_mode) == 0o600


async def test_21_6_what_cannot_be_read_is_replaced_with_a_word_only(
    sqlite_only: str, tmp_path: Path
) -> None:
    copy, manifest = await copied(sqlite_only, tmp_path)
    target = tmp_path / "broken.db"
    target.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(Outage, match=r"cannot be read.*--overwrite"):
        await put(copy, manifest, target)
    aside = await put(copy, manifest, target, overwrite=True)
    assert aside is not None and aside.read_bytes().endswith(b"\xff")
    assert asked(target, "SELECT count(*) FROM timeline") == 50


async def test_21_6_a_database_that_somebody_runs_on_is_left_alone(sqlite_only: str, tmp_path: Path) -> None:
    copy, manifest = await copied(sqlite_only, tmp_path)
    target = file_of(sqlite_only)
    lock = FileLock(target)
    lock.take()
    with pytest.raises(Outage, match="another Toban runs"):
        await put(copy, manifest, target, overwrite=True)
    lock.release()


async def test_21_6_a_copy_that_differs_from_its_manifest_is_not_restored(
    sqlite_only: str, tmp_path: Path
) -> None:
    copy, manifest = await copied(sqlite_only, tmp_path)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("DELETE FROM timeline WHERE id = 7")
    target = tmp_path / "new.db"
    with pytest.raises(Outage, match="differs from its manifest in 1 tables: timeline"):
        await put(copy, manifest, target)
    assert not [one for one in tmp_path.iterdir() if one.name.startswith("new.db") and one.suffix != ".lock"]


async def test_21_6_without_room_nothing_is_touched(
    sqlite_only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, manifest = await copied(sqlite_only, tmp_path)
    monkeypatch.setattr(restoring.sqlite_copies, "LEAST_FREE", 1 << 60)
    before = file_of(sqlite_only).read_bytes()
    with pytest.raises(Outage, match="MB free, and the copy needs"):
        await put(copy, manifest, file_of(sqlite_only), overwrite=True)
    assert file_of(sqlite_only).read_bytes() == before


async def test_21_6_a_kill_at_any_step_leaves_a_whole_database_under_the_name(
    sqlite_only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before each change of a name: what is there is the old one whole, or the new one."""
    copy, manifest = await copied(sqlite_only, tmp_path)
    target = file_of(sqlite_only)

    class Killed(BaseException):
        """The process is gone."""

    for step in range(12):
        left = step

        def counted(work: Any) -> Any:
            def done(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return work(*arguments, **named)

            return done

        with monkeypatch.context() as patched:
            patched.setattr(restoring.os, "link", counted(os.link))
            patched.setattr(Path, "replace", counted(Path.replace))
            patched.setattr(restoring.shutil, "copyfile", counted(shutil.copyfile))
            patched.setattr(restoring.os, "fsync", counted(os.fsync))
            try:
                await restore_sqlite(
                    copy, manifest, target, MARK, LATER + timedelta(seconds=step), overwrite=True
                )
                ended = True
            except Killed:
                ended = False
        assert asked(target, "SELECT count(*) FROM timeline") == 50
        assert asked(target, "PRAGMA integrity_check") == "ok"
        if ended:
            return
    raise AssertionError("it never ended")


async def rows(url: str, query: str) -> Sequence[Any]:
    import psycopg

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await (await connection.execute(query)).fetchall()


def named(url: str, name: str) -> str:
    from storage.postgres_copies import with_database

    return with_database(url, name)


async def back(copy: Path, manifest: Manifest, url: str, *, overwrite: bool = False) -> str | None:
    return await restore_postgres(copy, manifest, url, tools(), MARK, LATER, overwrite=overwrite)


async def test_21_6_a_postgresql_database_is_replaced_as_a_whole(postgres: str, tmp_path: Path) -> None:
    url = new_postgres(postgres)
    copy, manifest = await copied(url, tmp_path)
    millis = (LATER - EPOCH) // timedelta(milliseconds=1)
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM timeline WHERE id > 3")
        connection.execute("INSERT INTO clock VALUES (1, %s)", (millis,))
        with pytest.raises(Outage, match="1 sessions use the database"):
            await back(copy, manifest, url, overwrite=True)
    with pytest.raises(Outage, match=r"goes on until 2026-11-23 09:00:00 UTC.*--overwrite"):
        await back(copy, manifest, url)
    assert await rows(url, "SELECT count(*) FROM timeline") == [(3,)]
    aside = await back(copy, manifest, url, overwrite=True)
    assert aside is not None and aside.endswith("_before_20261123t090000z")
    assert await rows(url, "SELECT count(*) FROM timeline") == [(50,)]
    assert await rows(url, "SELECT key FROM watch WHERE kind = 'quiet'") == [("own",)]
    assert await rows(named(url, aside), "SELECT count(*) FROM timeline") == [(3,)]
    found = await rows(postgres, "SELECT datname FROM pg_database WHERE datname LIKE '%restoring'")
    assert found == []


async def test_21_6_a_postgresql_database_that_is_empty_or_not_there_is_filled(
    postgres: str, tmp_path: Path
) -> None:
    copy, manifest = await copied(new_postgres(postgres), tmp_path)
    empty = new_postgres(postgres)
    assert await back(copy, manifest, empty) is None
    assert await rows(empty, "SELECT count(*) FROM timeline") == [(50,)]
    missing = named(postgres, "toban_not_there_yet")
    assert await back(copy, manifest, missing) is None
    assert await rows(missing, "SELECT count(*) FROM timeline") == [(50,)]
    whole = copy.read_bytes()
    copy.write_bytes(whole[: len(whole) // 2])
    again = new_postgres(postgres)
    with pytest.raises(Outage):
        await back(copy, manifest, again)
    found = await rows(again, "SELECT count(*) FROM pg_class WHERE relname = 'timeline'")
    assert found == [(0,)], "half a copy leaves nothing"
