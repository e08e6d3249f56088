"""Which backups are kept and which may go, each with its reason. Pure: the same answer every time.

Counted are periods that have a verified backup, not the calendar, so that missed days use nothing up; and
nothing goes while the last run is not verified, or the last restore drill has failed.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import Field

from domain.levels import Value


class Standing(StrEnum):
    """What is known of a backup. ``MISSED``: none was begun for its moment, so that there is nothing."""

    RUNNING = "running"
    VERIFIED = "verified"
    SUSPICIOUS = "suspicious"
    FAILED = "failed"
    MISSED = "missed"


class Why(StrEnum):
    """Why a backup is kept, or may go."""

    HALTED = "halted"
    """The last run was not verified."""
    DRILL = "drill"
    """The last restore drill failed."""
    FUTURE = "future"
    """It is dated later than now, or was so once: some clock is or was wrong."""
    FOREIGN = "foreign"
    """The policy does not list it."""
    LOCKED = "locked"
    RUNNING = "running"
    NEWEST = "newest"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    MINIMUM = "minimum"
    YOUNG = "young"
    """Verified, and younger than everything may go."""
    UNPROVEN = "unproven"
    """Not verified, but nothing verified is newer: it may be all there is."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Not verified, and something verified is newer."""


NOTICE = timedelta(hours=24)
"""Between the word that a backup will be deleted and its deletion; whatever is run meanwhile."""


class Candidate(Value):
    """One backup that may stay or go. ``at``: the moment whose state it holds; ``is_listed``: ours;
    ``is_ahead``: a clock that was ahead has dated it.
    """

    id: str
    at: datetime
    standing: Standing
    is_locked: bool = False
    is_listed: bool = True
    is_ahead: bool = False


class Retention(Value):
    """How many periods have their newest verified backup kept, and the least of verified ones at all.

    ``weekly`` weeks behind the days, ``monthly`` months behind the weeks. ``within``: whatever is younger
    stays as well, however many there are.
    """

    daily: int = Field(default=7, ge=0)
    weekly: int = Field(default=4, ge=0)
    monthly: int = Field(default=12, ge=0)
    verified: int = Field(default=3, ge=1)
    within: timedelta = Field(default=timedelta(0), ge=timedelta(0))


class Fate(Value):
    """What becomes of a backup. ``why``: the first reason of several."""

    backup: Candidate
    keep: bool
    why: Why


def plan(
    backups: Iterable[Candidate],
    retention: Retention,
    now: datetime,
    zone: str,
    *,
    halted: bool,
    by: Why = Why.HALTED,
) -> tuple[Fate, ...]:
    """The fate of each, newest first. ``halted``: nothing goes now, ``by``: for this reason.

    Days, ISO weeks and months are those of ``zone``. Of two at the same moment the one with the greater id
    counts as newer.
    """
    ordered = sorted(backups, key=lambda one: (one.at, one.id), reverse=True)
    present = [one for one in ordered if one.at <= now and not one.is_ahead]
    proven = [one for one in present if one.standing is Standing.VERIFIED and one.is_listed]
    kept = _periods(proven, retention, ZoneInfo(zone))
    for one in proven:
        if now - one.at < retention.within:
            kept.setdefault(one.id, Why.YOUNG)
    fates = []
    for one in ordered:
        reason = (by if halted else _untouchable(one, now)) or kept.get(one.id)
        if reason is None and one.standing is not Standing.VERIFIED:
            newer = any(other.at >= one.at for other in proven)
            fates.append(Fate(backup=one, keep=not newer, why=Why.SUPERSEDED if newer else Why.UNPROVEN))
        else:
            fates.append(Fate(backup=one, keep=reason is not None, why=reason or Why.EXPIRED))
    return tuple(fates)


def _untouchable(backup: Candidate, now: datetime) -> Why | None:
    """Why nobody decides about it."""
    if backup.at > now or backup.is_ahead:
        return Why.FUTURE
    if not backup.is_listed:
        return Why.FOREIGN
    if backup.is_locked:
        return Why.LOCKED
    return Why.RUNNING if backup.standing is Standing.RUNNING else None


def _periods(proven: list[Candidate], retention: Retention, zone: ZoneInfo) -> dict[str, Why]:
    """The verified ones to keep, by id, newest first in; each with its first reason.

    Weeks are counted behind the days that are kept and months behind the weeks. Were they counted side by
    side, one more backup could let a day and a month fall on the same one, and leave fewer than before.
    """
    kept: dict[str, Why] = {}
    spans: list[tuple[Why, int, Callable[[datetime], tuple[int, ...]]]] = [
        (Why.DAILY, retention.daily, lambda at: (at.year, at.month, at.day)),
        (Why.WEEKLY, retention.weekly, lambda at: tuple(at.isocalendar()[:2])),
        (Why.MONTHLY, retention.monthly, lambda at: (at.year, at.month)),
    ]
    older = proven
    for why, most, period in spans:
        seen: dict[tuple[int, ...], Candidate] = {}
        for one in older:
            seen.setdefault(period(one.at.astimezone(zone)), one)
        chosen = set(list(seen)[:most])
        kept |= {seen[key].id: why for key in chosen}
        older = [one for one in older if period(one.at.astimezone(zone)) not in chosen]
    for one in proven:
        if len(kept) >= retention.verified:
            break
        kept.setdefault(one.id, Why.MINIMUM)
    if proven:
        kept[proven[0].id] = Why.NEWEST
    return kept
