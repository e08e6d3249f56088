"""Room on the disk: what a file needs and what is free, and how SQLite's free pages are given back to it."""

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from domain.errors import Outage

TIMEOUT = 5.0
"""Seconds that a step waits for another process's lock."""


RESERVE = 64 * 1024 * 1024
"""Bytes of the disk that stay free for everything else."""


class NoRoom(Outage):
    """The disk has less free than is needed."""


def free_at(place: Path) -> int:
    """Bytes that are free where a file or folder lies, or will lie."""
    return shutil.disk_usage(_there(place)).free


def demand_room(needs: Iterable[tuple[Path, int]]) -> None:
    """Raise ``NoRoom`` with the figures where a disk is too small for all that is to be written to it.

    ``needs``: each place with its bytes. Some room stays free for everything else.
    """
    by_disk: dict[int, tuple[Path, int]] = {}
    for place, needed in needs:
        disk = _there(place).stat().st_dev
        first, before = by_disk.get(disk, (place, 0))
        by_disk[disk] = (first, before + needed)
    for place, needed in by_disk.values():
        free = free_at(place)
        if free < needed + RESERVE:
            raise NoRoom(
                f"{_there(place)} has {free / 1e6:,.0f} MB free, and {(needed + RESERVE) / 1e6:,.0f} MB are"
                " needed. Make room there"
            )


def _there(place: Path) -> Path:
    """The nearest folder that exists."""
    return next(one for one in (place, *place.absolute().parents) if one.exists())


def give_back(file: str, pages: int) -> None:
    """Shorten the file by at most so many pages, in one transaction. Raises ``Outage``.

    The driver takes one step of a statement that has no rows, and each step frees one page; only a
    script is run to its end.
    """
    try:
        with closing(sqlite3.connect(file, timeout=TIMEOUT, isolation_level=None)) as connection:
            connection.executescript(f"PRAGMA synchronous=FULL; PRAGMA incremental_vacuum({int(pages)});")
    except sqlite3.Error as error:
        raise Outage(f"database: {error}") from error


def checkpoint(file: str) -> None:
    """Write what the log holds into the file as far as no reader needs it; nobody waits for it."""
    try:
        with closing(sqlite3.connect(file, timeout=TIMEOUT, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error as error:
        raise Outage(f"database: {error}") from error


def vacuum(file: Path) -> tuple[int, int]:
    """Write the whole file anew, so that it gives free pages back from now on: bytes before and after.

    Nobody else may use it. It needs room for the new file and for its log. Raises ``Outage``
    where there is none: then nothing was touched.
    """
    before = file.stat().st_size
    free = shutil.disk_usage(file.parent).free
    needed = 2 * before + RESERVE
    if free < needed:
        raise Outage(
            f"{file} cannot be vacuumed: that takes {needed / 1e9:.1f} GB of free disk, and there are"
            f" {free / 1e9:.1f} GB. Make room, or go on without: the file does not shrink, but its free"
            " pages are used again"
        )
    try:
        with closing(sqlite3.connect(file, timeout=TIMEOUT, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        raise Outage(f"{file} could not be vacuumed, and is as it was: {error}") from error
    return before, file.stat().st_size
