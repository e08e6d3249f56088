"""What is usual at this time of this kind of day, learned from past days and robust against odd ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Flags, Floats, Ints

WINDOW = 28
"""Local days that a profile looks back."""

LEVEL_DAYS = 2
"""The newest local days whose offset from the profile moves the whole profile."""

SPREAD_RANK = 0.85
SPREAD_PRIOR = 4.0
"""Days at which a slot's own spread weighs as much as the spread of all slots."""


@dataclass(frozen=True, slots=True)
class Days:
    """Past days in slots: ``means`` and ``peaks`` are float64[days, slots, signals], NaN where unknown.

    ``numbers`` are the local days (since 1970-01-01), ascending; ``rest`` says which are days of rest.
    ``means`` hold the mean value of a slot, ``peaks`` the largest distance from what was expected then.
    """

    numbers: Ints
    rest: Flags
    means: Floats
    peaks: Floats


@dataclass(frozen=True, slots=True)
class Profile:
    """What is expected: ``usual`` and ``spread`` by [kind of day (0 work, 1 rest), slot, signal].

    ``known`` counts the days of each kind [2]. NaN where nothing is known.
    """

    usual: Floats
    spread: Floats
    known: Ints


def median(values: Floats) -> Floats:
    """The median along the first axis over what is not NaN; NaN where there is nothing. No warnings."""
    ordered, count, place = ordered_flat(values)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, len(values) - 1)
    found = np.where(count > 0, (ordered[low, place] + ordered[high, place]) / 2, np.nan)
    return found.reshape(values.shape[1:])


def ranked(values: Floats, rank: float) -> Floats:
    """The value at a rank 0..1 along the first axis over what is not NaN; NaN where there is nothing."""
    ordered, count, place = ordered_flat(values)
    at = np.maximum(np.ceil(rank * count).astype(np.int64) - 1, 0)
    found: Floats = np.where(count > 0, ordered[at, place], np.nan)
    return found.reshape(values.shape[1:])


def ordered_flat(values: Floats) -> tuple[Floats, Ints, Ints]:
    """Sorted along the first axis and flat beside it, with the count of what is not NaN, and the places."""
    ordered = np.sort(values.reshape(len(values), -1), axis=0)
    return ordered, np.sum(~np.isnan(ordered), axis=0), np.arange(ordered.shape[1])


def learn(days: Days, doubt: Floats, floor: Floats) -> Profile:
    """The profile of the past days.

    A kind of day is the median over its days; where few were seen it leans on the other kind, shifted
    by what sets the two apart. The newest days move the whole. ``doubt`` [signals]: the standard
    deviation, in the signal's unit, of how much a kind of day that was never seen may differ.
    ``floor`` [signals]: the least spread.
    """
    means = days.means
    work, rest = _kind(means[~days.rest]), _kind(means[days.rest])
    known = np.array([_seen(means[~days.rest]), _seen(means[days.rest])], dtype=np.int64)
    usual = np.stack([_lean(work, known[0], rest), _lean(rest, known[1], work)])
    recent = days.numbers >= days.numbers[-1] - LEVEL_DAYS
    away = means[recent] - usual[days.rest[recent].astype(np.int64)]
    level = median(away.reshape(-1, away.shape[-1]))
    usual = usual + np.where(np.isnan(level), 0.0, level)
    return Profile(usual, _spread(days, usual, known, doubt, floor), known)


def _kind(means: Floats) -> Floats:
    return median(means) if len(means) else np.full(means.shape[1:], np.nan)


def _seen(means: Floats) -> int:
    """Days of a kind that were there for at least a quarter."""
    if not len(means):
        return 0
    return int(np.sum(np.mean(~np.isnan(means).all(axis=2), axis=1) >= 0.25))


def _lean(own: Floats, known: int, other: Floats) -> Floats:
    """``own``, leaning on ``other`` where few days are known."""
    shift = median(own - other)
    moved = other + np.where(np.isnan(shift), 0.0, shift)
    weight = known / (known + 1.0)
    both = np.where(np.isnan(moved), own, weight * own + (1 - weight) * moved)
    return np.where(np.isnan(own), moved, both)


def _spread(days: Days, usual: Floats, known: Ints, doubt: Floats, floor: Floats) -> Floats:
    """How far a slot's samples lie from the usual, by slot and for all slots, in the signal's unit.

    It is the 70 % rank over the days of the slot's largest distance: a batch that is not punctual
    widens its slots, one incident does not. For normal noise and three samples it is 1.6 deviations.
    """
    slot = ranked(days.peaks, SPREAD_RANK) / 1.94
    near = np.fmax(slot, 0.9 * np.fmax(np.roll(slot, 1, 0), np.roll(slot, -1, 0)))
    count = np.sum(~np.isnan(days.peaks), axis=0)
    whole = median(slot)
    steps = median(np.abs(np.diff(usual[0], axis=0)))
    whole = np.where(np.isnan(whole), 1.5 * np.where(np.isnan(steps), 0.0, steps), whole)
    whole = np.fmax(whole, floor)
    near = np.where(np.isnan(near), 0.0, near)
    mixed = np.sqrt((count * near**2 + SPREAD_PRIOR * whole**2) / (count + SPREAD_PRIOR))
    mixed = np.fmax(mixed, floor)
    unseen = doubt[None] / np.array([_doubt(int(each)) for each in known])[:, None]
    found: Floats = np.hypot(mixed[None], unseen[:, None, :])
    return found


def _doubt(known: int) -> float:
    """By what the doubt about a kind of day is divided once so many of its days were seen."""
    return 1.0 if known == 0 else 5.0 * known * known
