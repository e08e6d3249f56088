"""Puts a copy of our own SQLite database in the place of the real one: proven first, the old one kept."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from domain.copies import Manifest, TableDigest, differences
from domain.errors import Outage
from domain.levels import Value
from storage import sqlite_copies
from storage.copies import keep_names
from storage.lock import FileLock
from storage.types import EPOCH, MILLISECOND

R = TypeVar("R")

BESIDE = ("-wal", "-shm", "-journal")
"""Files of SQLite that belong to a database: beside another one they would be read as its own."""

KEEP = (
    "INSERT INTO watch (kind, key, state, changed_at, version) VALUES ({0}, {0}, {0}, {0}, 1)"
    " ON CONFLICT (kind, key) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at,"
    " version = watch.version + 1"
)
"""Keeps something in what was restored, of any version, before anybody runs on it. ``{0}``: a parameter."""

ESTRANGE = (
    "UPDATE backup SET plan = '@' || plan, look_at = NULL, lease_until = NULL",
    "UPDATE drill SET plan = '@' || plan, look_at = NULL, lease_until = NULL",
    "DELETE FROM watch WHERE kind IN ('plan', 'drill')",
)
"""The backups of a database that becomes another installation are of no plan that a policy can have."""

COUNTED = "SELECT max(at) FROM clock"
"""How far any Toban has counted in a database: it marks that every few seconds."""


WORD = "Say --overwrite to replace it; it is kept under another name"


class Kept(Value):
    """One row to be kept in what is restored: see ``domain.watches``."""

    kind: str
    key: str
    state: str


class Marks(Value):
    """What a restored database is told about itself; ``as_new``: its backups are somebody else's."""

    kept: tuple[Kept, ...]
    as_new: bool = False

    def statements(self, parameter: str, at: datetime) -> Iterator[tuple[str, tuple[object, ...]]]:
        """In the driver's words."""
        millis = (at - EPOCH) // MILLISECOND
        if self.as_new:
            yield from ((statement, ()) for statement in ESTRANGE)
        for one in self.kept:
            yield KEEP.format(parameter), (one.kind, one.key, one.state, millis)


class State(Value):
    """What is there already. ``until``: how far it goes, ``None`` where nobody has ever run on it."""

    is_there: bool = False
    is_readable: bool = True
    until: datetime | None = None

    def demand(self, manifest: Manifest, place: str, *, overwrite: bool) -> None:
        """Raise ``Outage`` where what is newer, or unknown, would be replaced without a word."""
        if overwrite or not self.is_there or (self.is_readable and self.until is None):
            return
        if not self.is_readable:
            raise Outage(f"{place} cannot be read, so nobody knows whether it is newer than the copy. {WORD}")
        assert self.until is not None
        if self.until > manifest.at:
            raise Outage(
                f"{place} goes on until {self.until:%Y-%m-%d %H:%M:%S} UTC, the copy is of"
                f" {manifest.at:%Y-%m-%d %H:%M:%S} UTC: what came in between would be lost. {WORD}"
            )


def demand_same(manifest: Manifest, found: tuple[TableDigest, ...]) -> None:
    """Raise ``Outage`` where what was restored is not what was counted when the copy was made."""
    wrong = differences(manifest.tables, found)
    if wrong:
        names = ", ".join(one.table for one in wrong[:5])
        raise Outage(f"restore: the restored copy differs from its manifest in {len(wrong)} tables: {names}")


def counted(found: object) -> datetime | None:
    """The moment of a database's clock."""
    return EPOCH + found * MILLISECOND if isinstance(found, int) else None


async def restore_sqlite(
    copy: Path, manifest: Manifest, target: Path, marks: Marks, at: datetime, *, overwrite: bool
) -> Path | None:
    """Restore a copy into the file ``target``. Returns where what was there is now.

    Nobody else may run on it. What is new is written beside it, read again, and marked; then it takes
    the name. Raises ``Outage``, and what was there is as it was.
    """
    target = await asyncio.to_thread(target.resolve)
    lock = FileLock(target)
    before = await asyncio.to_thread(target.exists)
    try:
        lock.take()
        state = await _in_thread(_state, target)
        state.demand(manifest, str(target), overwrite=overwrite)
        new = target.with_name(f"{target.name}.restoring")
        try:
            await _in_thread(_write, copy, new, target.parent)
            await _prove(new, manifest)
            await _in_thread(_finish, new, target, marks, at)
            return await _in_thread(_swap, new, target, state, at)
        except BaseException:
            _drop(new)
            raise
    except BaseException:
        if not before:
            _forget(target)
        raise
    finally:
        lock.release()


async def _in_thread(work: Callable[..., R], *arguments: object) -> R:
    try:
        return await asyncio.to_thread(work, *arguments)
    except (sqlite3.Error, OSError) as error:
        raise Outage(f"restore: {error}") from error


def _state(file: Path) -> State:
    if not file.exists() or file.stat().st_size == 0:
        return State()
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            names = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema")}
            found = connection.execute(COUNTED).fetchone()[0] if "clock" in names else None
    except sqlite3.Error:
        return State(is_there=True, is_readable=False)
    return State(is_there=True, until=counted(found))


def _write(copy: Path, new: Path, folder: Path) -> None:
    needed = copy.stat().st_size + sqlite_copies.LEAST_FREE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Outage(
            f"restore: {folder} has {free / 1e6:,.0f} MB free, and the copy needs {needed / 1e6:,.0f} MB"
        )
    _drop(new)
    new.touch(mode=0o600, exist_ok=False)
    shutil.copyfile(copy, new)


async def _prove(new: Path, manifest: Manifest) -> None:
    """Every row of what was written, against what was counted when the copy was made."""
    demand_same(manifest, await sqlite_copies.digests(new))


def _finish(new: Path, target: Path, marks: Marks, at: datetime) -> None:
    """Mark it, give it to whoever owned the old one, and force it to the disk."""
    with closing(sqlite3.connect(new, timeout=5, isolation_level=None)) as connection:
        for statement, values in marks.statements("?", at):
            connection.execute(statement, values)
    owner = target.stat() if target.exists() and target.stat().st_size else target.parent.stat()
    if target.exists() and target.stat().st_size:
        new.chmod(owner.st_mode & 0o777)
    for file in (new, target.with_name(f"{target.name}.lock")):
        if os.geteuid() == 0 and file.exists():  # Else the bot could not open what root has restored.
            os.chown(file, owner.st_uid, owner.st_gid)
    with new.open("rb+") as stream:
        os.fsync(stream.fileno())


def _swap(new: Path, target: Path, state: State, at: datetime) -> Path | None:
    """The old one gets another name first, its log with it: beside the new one that would be read as its own.

    It has both names until the new one takes the first, so that there is a database at every moment.
    """
    aside = None
    if state.is_there:
        aside = target.with_name(f"{target.name}.before-{at:%Y%m%dT%H%M%SZ}")
        for suffix in ("", *BESIDE):
            old = target.with_name(f"{target.name}{suffix}")
            if old.exists():
                _name_too(old, aside.with_name(f"{aside.name}{suffix}"))
    for suffix in BESIDE:
        target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
    new.replace(target)
    keep_names(target.parent)
    return aside


def _name_too(old: Path, other: Path) -> None:
    """A second name; where the file system knows none, the only one."""
    try:
        os.link(old, other)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP}:
            raise
        old.rename(other)


def _forget(target: Path) -> None:
    """The lock makes the file that it is to hold."""
    if target.exists() and target.stat().st_size == 0:
        target.unlink()


def _drop(file: Path) -> None:
    for suffix in ("", *BESIDE):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
