"""Copies of a SQLite database through SQLite's own online backup, in a thread."""

import asyncio
import hashlib
import shutil
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from domain.copies import MODULUS, TableDigest
from domain.errors import Outage

PAGES = 2048
"""Pages in one step of the backup; writers wait no longer than for one of them."""

ROWS = 500
"""Rows that are read at a time."""

ANSWER_WITHIN = 60.0
"""Seconds for one question to a restored copy."""

R = TypeVar("R")


async def dump(url: str, file: Path) -> tuple[TableDigest, ...]:
    """Copy the database of a URL into a file, check it, and count what it holds. Raises ``Outage``."""
    source = Path(sa.make_url(url).database or "")
    return await _in_thread(_dump, source, file)


async def digests(file: Path) -> tuple[TableDigest, ...]:
    """Check a copy and count what it holds. Raises ``Outage``."""
    return await _in_thread(_checked, file)


async def _in_thread(work: Callable[..., R], *arguments: object) -> R:
    try:
        return await asyncio.to_thread(work, *arguments)
    except (sqlite3.Error, OSError) as error:
        raise Outage(f"SQLite copy: {error}") from error


def _open(file: Path, mode: str) -> sqlite3.Connection:
    """A missing file is an error, not a new database."""
    return sqlite3.connect(f"file:{urllib.parse.quote(str(file.resolve()))}?mode={mode}", uri=True, timeout=5)


def _dump(source: Path, file: Path) -> tuple[TableDigest, ...]:
    with closing(_open(source, "ro")) as here, closing(_open(file, "rw")) as there:
        here.backup(there, pages=PAGES, sleep=0.01)
        # The copy is one file without a log beside it, wherever it is carried.
        there.execute("PRAGMA journal_mode=DELETE")
    return _checked(file)


def _checked(file: Path) -> tuple[TableDigest, ...]:
    with closing(_open(file, "ro")) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise sqlite3.DatabaseError(f"integrity check: {found[0][:200]}")
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        )
        return tuple(_table(connection, str(name)) for (name,) in names.fetchall())


def _table(connection: sqlite3.Connection, name: str) -> TableDigest:
    """Every row's digest, added up."""
    quoted = name.replace('"', '""')
    cursor = connection.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608 - a name of the schema, quoted.
    rows = total = 0
    while chunk := cursor.fetchmany(ROWS):
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


def _asked(file: Path, query: str) -> object:
    deadline = time.perf_counter() + ANSWER_WITHIN
    with closing(_open(file, "ro")) as connection:
        connection.set_progress_handler(lambda: int(time.perf_counter() > deadline), 100_000)
        row = connection.execute(query).fetchone()
        return None if row is None else row[0]


def _dropped(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
