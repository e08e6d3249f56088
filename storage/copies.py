"""Copies of our own database, of either kind: taken while it is used, and restored to prove them."""

import hashlib
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from domain.copies import Manifest
from domain.errors import Outage
from storage import postgres_copies, sqlite_copies
from storage.threads import in_own_thread

CHUNK = 1 << 20

MARGIN = 1.2
"""A copy may be so many times larger than the last one, and still find room."""

NEWEST = "SELECT max(at) FROM timeline"
"""When the newest record was written: the timeline grows with everything that happens."""


def keep_names(folder: Path) -> None:
    """What was renamed in a folder is on the disk when this returns."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Copies:
    """Makes, checks and restores copies. ``url`` is SQLAlchemy's; ``tools`` the folder of ``pg_dump`` and
    ``pg_restore`` where they are not on the PATH.
    """

    def __init__(self, url: str, tools: str | None = None) -> None:
        self._url = plain_url(url)
        self._tools = tools
        self.is_sqlite = url.startswith("sqlite")

    async def dump(self, file: Path, at: datetime) -> Manifest:
        """Copy the whole database into ``file``, which must not exist, as of one moment.

        Readable by its owner only. Raises ``Outage``; what was written so far is removed then.
        """
        await in_own_thread(file.touch, mode=0o600, exist_ok=False)
        try:
            if self.is_sqlite:
                tables = await sqlite_copies.dump(self._url, file)
                newest = await in_own_thread(_newest_of, file)
            else:
                newest = await self._newest()  # Before the dump, which then holds at least that.
                tables = await postgres_copies.dump(self._url, file, self._tools)
        except BaseException:
            file.unlink(missing_ok=True)  # noqa: ASYNC240 - also where this task was cancelled.
            raise
        kind: Literal["sqlite", "postgresql"] = "sqlite" if self.is_sqlite else "postgresql"
        size, digest = await in_own_thread(_measured, file)
        return Manifest(
            kind=kind, at=at, file=file.name, bytes=size, sha256=digest, tables=tables, newest=newest
        )

    async def expected(self, last: int) -> int:
        """Bytes that a copy will take, by what the ``last`` one took; 0 where nobody can know."""
        grown = int(last * MARGIN)
        if not self.is_sqlite:
            return grown
        try:
            size = (await in_own_thread(sqlite_copies.file_of(self._url).stat)).st_size
        except OSError:
            return grown  # The copy itself will say what is wrong.
        return max(grown, size)

    async def _newest(self) -> datetime | None:
        """Of the database itself; ``None`` where it has no such table."""
        try:
            return _moment(await postgres_copies.ask(self._url, NEWEST))
        except Outage:
            return None

    async def missing(self, manifest: Manifest, file: Path) -> tuple[str, ...]:
        """The tables of the manifest that its copy does not hold. Raises ``Outage``.

        A SQLite file is read whole; of a PostgreSQL dump the tool reads the list of what it holds.
        """
        names = [one.name for one in manifest.tables]
        if manifest.kind == "postgresql":
            return await postgres_copies.missing(file, names, self._tools)
        held = {one.name for one in await sqlite_copies.digests(file)}
        return tuple(name for name in names if name not in held)


def plain_url(url: str) -> str:
    """The URL without SQLAlchemy's driver: ``postgresql://…``, ``sqlite:///…``."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def _newest_of(file: Path) -> datetime | None:
    """The newest record of a copy in SQLite; ``None`` where it has no such table."""
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute(NEWEST).fetchone()
        except sqlite3.Error:
            return None
    return _moment(row[0])


def _moment(found: object) -> datetime | None:
    """A moment as the drivers give it: SQLite's is text without a zone, which is UTC."""
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            return None
    if not isinstance(found, datetime):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _measured(file: Path) -> tuple[int, str]:
    return file.stat().st_size, sha256(file)


def sha256(file: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
