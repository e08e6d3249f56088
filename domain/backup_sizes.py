"""How much the backups of a plan take, how that grows, and when the disk on which they lie is full."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median

from domain.backup_plans import Source
from domain.backups import Backup
from domain.levels import Value
from domain.retention import Standing

WEEK, MONTH = timedelta(days=7), timedelta(days=30)

LOOKED_BACK = tuple(timedelta(days=days) for days in (0, 3, 7, 14, 21, 28, 35))
"""The ages of the backups whose free space is compared."""

ENOUGH, LONG_ENOUGH = 3, timedelta(days=7)
"""A forecast needs at least this many backups, over at least this time."""

SOON = 30
"""Days. A warning is shown for a disk that is full sooner."""

FAR = 3 * 365
"""Days. A disk that is full later is not mentioned."""


class Sizes(Value):
    """What one plan takes, in bytes. ``week_ago``, ``month_ago``: what a copy took then, where one is known.

    ``kept``: all that still lies there, of ``copies``. ``free``: room on the disk where they lie, and
    ``full_in``: days until that is used up at the growth of the last weeks; both are of folders alone.
    """

    newest: int
    week_ago: int | None = None
    month_ago: int | None = None
    kept: int = 0
    copies: int = 0
    free: int | None = None
    full_in: int | None = None


def kept_bytes(kept: Iterable[Backup]) -> int:
    """Of all of them. The objects of a bucket lie in one pool for all: they are counted once."""
    total, pools = 0, dict[str, int]()
    for backup in kept:
        for one in backup.parts:
            if one.evidence is None:
                continue
            if one.part.source is Source.BUCKET:
                pools[one.part.name] = max(pools.get(one.part.name, 0), one.evidence.bytes)
            else:
                total += one.evidence.bytes
    return total + sum(pools.values())


def then(past: Iterable[Backup]) -> Backup | None:
    """The first that was verified, whether it is still there or not."""
    return next((one for one in past if one.standing is Standing.VERIFIED and not one.ahead), None)


def free_space(backup: Backup) -> int | None:
    """Free bytes at the destination when the backup was made."""
    found = [one.evidence.free for one in backup.parts if one.evidence is not None]
    return min((one for one in found if one is not None), default=None)


def full_in(points: Sequence[tuple[datetime, int]]) -> int | None:
    """Days from the newest of these moments, each with its free bytes, until nothing is free.

    The slope is the median over all pairs (Theil and Sen): one night on which somebody cleared the disk does
    not bend it. ``None`` where that cannot be told yet, or the disk does not fill up.
    """
    ordered = sorted(set(points))
    if len(ordered) < ENOUGH or ordered[-1][0] - ordered[0][0] < LONG_ENOUGH:
        return None
    day = timedelta(days=1)
    slope = median(
        (b - a) / ((late - early) / day) for (early, a), (late, b) in combinations(ordered, 2) if late > early
    )
    if slope >= 0:
        return None
    days = ordered[-1][1] / -slope
    return int(days) if days <= FAR else None
