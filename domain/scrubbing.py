"""Which verified backups are read again tonight, so that all of them are within a month."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil

from domain.backing import AHEAD
from domain.backups import Backup
from domain.levels import Level
from domain.retention import Standing

RESTED = timedelta(days=20)
"""What was read so lately is not read again."""

NIGHTS = 8
"""Within so many nights all of a plan's backups can be read: with ``RESTED`` it is done within a month."""


def tonight(kept: Iterable[Backup], at: datetime) -> tuple[Backup, ...]:
    """The share of a plan's backups that is read again now, those first that nobody has read the longest.

    What has something else coming (it is about to be deleted, or is looked at) is left out. That it was read
    by a clock which was ahead says nothing.
    """
    verified = [one for one in kept if one.standing is Standing.VERIFIED and one.removed_at is None]
    waiting = [one for one in verified if one.look_at is None and not _is_rested(one, at)]
    return tuple(sorted(waiting, key=last_read)[: ceil(len(verified) / NIGHTS)])


def _is_rested(backup: Backup, at: datetime) -> bool:
    return at - RESTED < last_read(backup) <= at + AHEAD


def last_read(backup: Backup) -> datetime:
    """When somebody has read all of it."""
    return backup.read_at or backup.ended_at or backup.at


def alarm(level: Level, *, is_newest: bool) -> Level:
    """How loud it is that a backup cannot be read any more: while a newer one is verified, a warning."""
    return level if is_newest else min(level, Level.WARNING, key=lambda one: one.rank)
