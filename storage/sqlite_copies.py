"""Copies of a SQLite database through SQLite's own online backup, in a thread."""

import hashlib
import shutil
import sqlite3
import threading
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from domain.copies import MODULUS, TableDigest
from domain.errors import Outage
from storage.threads import in_own_thread

PAGES = 2048
"""Pages in one step of the backup; between two steps it can be ended."""

LONGEST = 900.0
"""Seconds that one copy and its check may take."""

LOG_GROWTH = 256 << 20
"""Bytes by which the write-ahead log may grow during a copy of a small database.

A large one may let it grow by its own size: no checkpoint can empty the log while the copy reads.
"""

LEAST_FREE = 64 << 20
"""Bytes that must stay free beside the database, or the copy ends before the bot's own writes fail."""

ROWS = 500
"""Rows that are read at a time."""

ANSWER_WITHIN = 60.0
"""Seconds for one question to a restored copy."""

R = TypeVar("R")


async def dump(url: str, file: Path) -> tuple[TableDigest, ...]:
    """Copy the database of a URL into a file, check it, and count what it holds. Raises ``Outage``."""
    source = file_of(url)
    limits = await _in_thread(Limits, source)
    return await _in_thread(_dump, source, file, limits, limits=limits)


def file_of(url: str) -> Path:
    """The file of a database."""
    return Path(sa.make_url(url).database or "")


async def digests(file: Path) -> tuple[TableDigest, ...]:
    """Check a copy and count what it holds. Raises ``Outage``."""
    limits = Limits()
    return await _in_thread(_checked, file, limits, limits=limits)


class Limits:
    """Ends a copy that takes too long, lets the log grow too far, or is not wanted any more.

    A thread cannot be cancelled: whoever works in one calls ``check`` between its steps.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._deadline = time.monotonic() + LONGEST
        self._log = None if source is None else source.with_name(f"{source.name}-wal")
        self._log_limit = _size(self._log) + max(LOG_GROWTH, _size(source))
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the work at its next check."""
        self._stopped.set()

    def check(self) -> None:
        """Raise ``Outage`` where the work has to end."""
        if self._stopped.is_set():
            raise Outage("SQLite copy: stopped")
        if time.monotonic() > self._deadline:
            raise Outage(f"SQLite copy: not finished after {LONGEST:.0f} s")
        if self._log is None:
            return
        if _size(self._log) > self._log_limit:
            raise Outage(f"SQLite copy: {self._log.name} grew too large while the database was copied")
        if shutil.disk_usage(self._log.parent).free < LEAST_FREE:
            raise Outage("SQLite copy: the disk of the database is nearly full")


def _size(file: Path | None) -> int:
    """Of a file that may not be there."""
    try:
        return 0 if file is None else file.stat().st_size
    except FileNotFoundError:
        return 0


async def _in_thread(work: Callable[..., R], *arguments: object, limits: Limits | None = None) -> R:
    try:
        return await in_own_thread(work, *arguments)
    except (sqlite3.Error, OSError) as error:
        raise Outage(f"SQLite copy: {error}") from error
    finally:
        if limits is not None:
            limits.stop()


def _open(file: Path, mode: str) -> sqlite3.Connection:
    """A missing file is an error, not a new database."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(file.resolve()))}?mode={mode}", uri=True, timeout=5)


def _dump(source: Path, file: Path, limits: Limits) -> tuple[TableDigest, ...]:
    """Copy within one read transaction: without it every write of somebody else starts the copy anew."""
    with closing(_open(source, "ro")) as here, closing(_open(file, "rw")) as there:
        here.isolation_level = None
        here.execute("BEGIN")
        here.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # The snapshot begins with a read.
        here.backup(there, pages=PAGES, progress=lambda *_: limits.check())
        here.execute("ROLLBACK")
        # The copy is one file without a log beside it, wherever it is carried.
        there.execute("PRAGMA journal_mode=DELETE")
    return _checked(file, limits)


def _checked(file: Path, limits: Limits) -> tuple[TableDigest, ...]:
    with closing(_open(file, "ro")) as connection:
        connection.set_progress_handler(lambda: int(_is_over(limits)), 100_000)
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise sqlite3.DatabaseError(f"integrity check: {found[0][:200]}")
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        return tuple(_table(connection, str(name), limits) for (name,) in names.fetchall())


def _is_over(limits: Limits) -> bool:
    """SQLite's progress handler says "stop" by its answer; what it raises is lost."""
    try:
        limits.check()
    except Outage:
        return True
    return False


def _table(connection: sqlite3.Connection, name: str, limits: Limits) -> TableDigest:
    """Every row's digest, added up."""
    quoted = name.replace('"', '""')
    cursor = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name of the schema, quoted.
    rows = total = 0
    while chunk := cursor.fetchmany(ROWS):
        limits.check()
        for row in chunk:
            total += int.from_bytes(hashlib.sha256(repr(row).encode()).digest()[:8])
        rows += len(chunk)
    return TableDigest(name=name, rows=rows, digest=f"{total % MODULUS:016x}")


class SqliteScratch:
    """A folder in which copies are restored to be looked at. ``name`` is one by restore: a file's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.sqlite3"

    async def restore(self, file: Path, name: str) -> float:
        """Put a copy into place and open it as the bot does; seconds. What was there before goes first."""
        return await _in_thread(_restore, file, self._file(name))

    async def exists(self, name: str) -> bool:
        """Whether it is there, whole or not."""
        return await _in_thread(self._file(name).exists)

    async def tables(self, name: str) -> tuple[TableDigest, ...]:
        """What was restored, every row of it. Raises ``Outage``."""
        return await digests(self._file(name))

    async def ask(self, name: str, query: str) -> object:
        """The first value that a query answers, ``None`` without a row. Nothing can be changed by it.

        Raises ``Outage``.
        """
        return await _in_thread(_asked, self._file(name), query)

    async def drop(self, name: str) -> None:
        """Remove it; what is not there is no error."""
        await _in_thread(_dropped, self._file(name))


def _restore(file: Path, target: Path) -> float:
    _dropped(target)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    began = time.perf_counter()
    target.touch(mode=0o600, exist_ok=False)
    shutil.copyfile(file, target)
    with closing(_open(target, "rw")) as connection:  # As the bot opens it.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return time.perf_counter() - began


READING = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
"""All that a question may do. Opening the file read-only is not enough: VACUUM INTO writes another one."""


def _asked(file: Path, query: str) -> object:
    deadline = time.perf_counter() + ANSWER_WITHIN
    with closing(_open(file, "ro")) as connection:
        connection.set_progress_handler(lambda: int(time.perf_counter() > deadline), 100_000)
        connection.set_authorizer(_allow_reading)
        try:
            row = connection.execute(query).fetchone()
        except sqlite3.DatabaseError as error:
            if "not authorized" in str(error):
                raise Outage("a question is read-only: one SELECT") from error
            raise
        return None if row is None else row[0]


def _allow_reading(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").casefold() == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY


def _dropped(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
