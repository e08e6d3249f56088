"""Copies under other writers, hostile questions, and tables whose names are unusual."""

import asyncio
import sqlite3
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from domain.copies import differences
from domain.errors import Outage
from domain.questions import Question
from domain.rehearsal import answer_findings
from storage import postgres_copies, sqlite_copies
from storage.copies import Copies
from storage.postgres_copies import PostgresScratch
from storage.sqlite_copies import SqliteScratch
from tests.conftest import new_postgres
from tests.storage.test_copies import AT, NAME, filled, tools

MEBIBYTE = 1 << 20


def large_file(folder: Path, mebibytes: int) -> Path:
    """A SQLite database in WAL mode of about that size."""
    file = folder / "toban.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE filler (id INTEGER PRIMARY KEY, body BLOB)")
        connection.execute("CREATE TABLE busy (id INTEGER PRIMARY KEY, at REAL)")
        rows = ((bytes(MEBIBYTE // 4),) for _ in range(4 * mebibytes))
        connection.executemany("INSERT INTO filler (body) VALUES (?)", rows)
    connection.close()
    return file


class Writer:
    """Another connection that commits again and again, faster than a copy is made."""

    def __init__(self, file: Path, pause: float) -> None:
        self.written = 0
        self._file, self._pause = file, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        connection = sqlite3.connect(self._file, timeout=10, isolation_level=None)
        while not self._over.wait(self._pause):
            connection.execute("INSERT INTO busy (at) VALUES (1)")
            self.written += 1
        connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


async def test_a_sqlite_copy_ends_while_somebody_else_keeps_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """21.2: each outside write started the copy anew, so that it never ended."""
    file = large_file(tmp_path, 64)
    monkeypatch.setattr(sqlite_copies, "PAGES", 64)
    with Writer(file, 0.002) as writer:
        while not writer.written:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            manifest = await Copies(f"sqlite:///{file}").dump(tmp_path / "copy", AT)
        assert writer.written > 10, "it wrote all the time"
    rows = {one.name: one.rows for one in manifest.tables}
    assert rows["filler"] == 256
    assert 0 < rows["busy"] < writer.written


@pytest.mark.parametrize(
    ("limit", "value", "said"), [("LONGEST", 0.0, "not finished"), ("LEAST_FREE", 1 << 60, "full")]
)
async def test_a_copy_that_would_do_harm_ends_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str
) -> None:
    """21.2: bounded in time, and by what the disk has left."""
    file = large_file(tmp_path, 1)
    monkeypatch.setattr(sqlite_copies, limit, value)
    with pytest.raises(Outage, match=said):
        await Copies(f"sqlite:///{file}").dump(tmp_path / "copy", AT)
    assert not (tmp_path / "copy").exists()


def test_a_copy_ends_where_the_log_grows_beyond_its_limit(tmp_path: Path) -> None:
    """21.2: nothing empties the log while a copy reads."""
    file, log = tmp_path / "toban.db", tmp_path / "toban.db-wal"
    file.touch()
    with log.open("wb") as stream:
        stream.truncate(MEBIBYTE)  # What was there before counts for nothing.
        limits = sqlite_copies.Limits(file)
        stream.truncate(sqlite_copies.LOG_GROWTH + MEBIBYTE)
        limits.check()
        stream.truncate(sqlite_copies.LOG_GROWTH + MEBIBYTE + 1)
        with pytest.raises(Outage, match="grew too large"):
            limits.check()


async def test_a_cancelled_copy_stops_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """21.2: a shutdown does not wait for a copy of gigabytes."""
    file = large_file(tmp_path, 16)
    (tmp_path / "copy").touch()
    reached = threading.Event()
    check = sqlite_copies.Limits.check

    def slow(limits: sqlite_copies.Limits) -> None:
        reached.set()
        time.sleep(0.05)
        check(limits)

    monkeypatch.setattr(sqlite_copies, "PAGES", 1)
    monkeypatch.setattr(sqlite_copies.Limits, "check", slow)
    task = asyncio.create_task(sqlite_copies.dump(f"sqlite:///{file}", tmp_path / "copy"))
    await asyncio.to_thread(reached.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):  # All 4,096 pages would take minutes.
        await asyncio.get_running_loop().shutdown_default_executor()


WRITES_OF_SQLITE = [
    "VACUUM INTO '{folder}/stolen.db'",
    "ATTACH '{folder}/stolen.db' AS other",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA writable_schema=1",
    "DELETE FROM timeline",
    "CREATE TEMP TABLE t AS SELECT 1",
    "SELECT load_extension('x')",
    "BEGIN EXCLUSIVE",
]


@pytest.mark.parametrize("query", WRITES_OF_SQLITE)
async def test_a_question_to_a_sqlite_copy_only_reads(sqlite_only: str, tmp_path: Path, query: str) -> None:
    """21.11: ``VACUUM INTO`` left a world-readable copy."""
    await (await filled(sqlite_only, 10)).dispose()
    await Copies(sqlite_only).dump(tmp_path / "copy", AT)
    scratch = SqliteScratch(tmp_path / "scratch")
    await scratch.restore(tmp_path / "copy", NAME)
    with pytest.raises(Outage):
        await scratch.ask(NAME, query.format(folder=tmp_path))
    assert not (tmp_path / "stolen.db").exists()
    assert await scratch.ask(NAME, "SELECT count(*) FROM timeline") == 10
    assert (
        await scratch.ask(NAME, "WITH t AS (SELECT max(id) AS id FROM timeline) SELECT upper(id) FROM t")
        == "10"
    )


WRITES_OF_POSTGRES = [
    "COMMIT; DROP TABLE timeline",
    "SELECT 1; DROP TABLE timeline",
    "COPY timeline TO PROGRAM 'cat > {folder}/stolen'",
    "COPY (SELECT 1) TO '{folder}/stolen'",
    "COPY timeline FROM PROGRAM 'touch {folder}/stolen; true'",
    "DELETE FROM timeline RETURNING id",
    "WITH gone AS (DELETE FROM timeline RETURNING id) SELECT count(*) FROM gone",
    "SELECT lo_export(lo_create(7), '{folder}/stolen')",
    "SELECT pg_read_file('/etc/hostname')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "DO $$ BEGIN DELETE FROM timeline; END $$",
    "SET ROLE NONE",
    "CREATE TABLE t AS SELECT 1",
    "SELECT pg_reload_conf()",
    "SELECT set_config('role', 'none', true)",
    "SELECT set_config('role', 'none', true) || query_to_xml('SELECT pg_reload_conf()', true, true, '')",
    "SELECT ts_stat('SELECT set_config(''role'', ''none'', true)::tsvector')",
    "SELECT 1) AS a(one); DROP TABLE timeline; SELECT to_jsonb(one) FROM (SELECT 1",
]


@pytest.mark.parametrize("query", WRITES_OF_POSTGRES)
async def test_a_question_to_a_postgresql_copy_only_reads(postgres: str, tmp_path: Path, query: str) -> None:
    """21.11: ``COMMIT; DROP TABLE …`` and ``COPY … TO PROGRAM`` were executed."""
    url = new_postgres(postgres)
    await (await filled(url, 10)).dispose()
    tmp_path.chmod(0o777)
    with pytest.raises(Outage):
        await postgres_copies.ask(url, query.format(folder=tmp_path))
    assert not (tmp_path / "stolen").exists()
    assert await postgres_copies.ask(url, "SELECT count(*) FROM timeline") == 10
    assert (
        await postgres_copies.ask(url, "WITH t AS (SELECT max(id) AS id FROM timeline) SELECT id FROM t;")
        == 10
    )
    assert await postgres_copies.ask(url, "SELECT id FROM timeline WHERE id < 0") is None
    newest = await postgres_copies.ask(url, "SELECT max(at), min(at) FROM timeline")
    within = Question(part="toban", ask="newest", within=timedelta(hours=1))
    assert answer_findings([within], [newest], AT) == []


async def test_21_11_a_role_that_may_only_make_databases_asks_as_itself(
    postgres: str, tmp_path: Path
) -> None:
    import psycopg

    url = new_postgres(postgres)
    await (await filled(url, 10)).dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE asker LOGIN CREATEDB")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO asker")
    plainly = url.replace("//postgres:@", "//asker@")
    assert await postgres_copies.ask(plainly, "SELECT count(*) FROM timeline") == 10
    with pytest.raises(Outage):
        await postgres_copies.ask(plainly, "DELETE FROM timeline RETURNING id")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY asker")
        connection.execute("DROP ROLE asker")


async def test_postgresql_tables_of_any_name_and_kind_are_copied_and_found(
    postgres: str, tmp_path: Path
) -> None:
    """21.13: upper-case, spaced, quoted, partitioned and foreign tables, and a schema of its own."""
    import psycopg

    url = new_postgres(postgres)
    await (await filled(url, 10)).dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            'CREATE TABLE "My Table" (id int)',
            'INSERT INTO "My Table" VALUES (1), (2)',
            'CREATE TABLE "a.b ""c""" (id int)',
            'CREATE SCHEMA "Sales Data"',
            'CREATE TABLE "Sales Data"."Order Items" (id int)',
            'INSERT INTO "Sales Data"."Order Items" VALUES (7)',
            "CREATE TABLE event (id int, day date) PARTITION BY RANGE (day)",
            "CREATE TABLE event_2026 PARTITION OF event FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            "INSERT INTO event VALUES (1, '2026-11-30')",
            "CREATE FOREIGN DATA WRAPPER elsewhere",
            "CREATE SERVER far_away FOREIGN DATA WRAPPER elsewhere",
            "CREATE FOREIGN TABLE far (id int) SERVER far_away",
        ):
            connection.execute(statement)
    copies = Copies(url, tools())
    manifest = await copies.dump(tmp_path / "copy", AT)
    rows = {one.name: one.rows for one in manifest.tables}
    assert rows['"My Table"'] == 2
    assert rows['"Sales Data"."Order Items"'] == 1
    assert rows["event_2026"] == 1
    assert rows.keys().isdisjoint({"event", "far"}), "neither has rows of its own"
    assert await copies.missing(manifest, tmp_path / "copy") == ()
    scratch = PostgresScratch(postgres, tools())
    await scratch.restore(tmp_path / "copy", f"{NAME}_names")
    assert differences(manifest.tables, await scratch.tables(f"{NAME}_names")) == ()
    await scratch.drop(f"{NAME}_names")
