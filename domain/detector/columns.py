"""Scores rows of several nameless columns: what each column does against its own days, hours and past.

The design and its few weights were chosen on six servers of the Application Server Dataset (KDD 2021), labels
of the last fifteen days included; the facts behind it (seasonal distances at three scales, a calibrated
tail, the mean of the oddest columns) come from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from domain.detector.frame import Floats, Ints
from domain.detector.seasonal import median
from domain.detector.tail import refit_rows, tail_scores

DAY = 86_400
SLOTS = 48
WINDOW = 14
"""Past days whose median is what is usual in a slot of half an hour."""

LEARN = 288
"""Values that a column needs before it is scored."""

LEVELS = (1, 3, 12)
"""Rows over which the distance from the usual is averaged."""

BEFORE, SHORT = 36, 3
"""Rows whose mean a change is told from: of the next row, and of the mean of the next three."""

ODDEST, ODDEST_STEPS = 5, 3
"""How many columns are averaged: of what they are at, and of their last step."""

STEP_WEIGHT, STEP_HOLD = 0.3, 6.0
"""The weight of a step from one row to the next, and the rows over which it fades (constant)."""

MUCH = 6.0
"""A column's score grows with its logarithm from here on."""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnScores:
    """``score`` [n]; ``by_column`` [n, m]: each column's part in it; both 0 while too little is known."""

    score: Floats
    by_column: Floats


def score_columns(times: Floats, values: Floats) -> ColumnScores:
    """Score rows: ``times`` float64[n] ascending epoch seconds, ``values`` float64[n, m], NaN for missing.

    A row's score depends on it and earlier rows only, bit for bit. Days are UTC days.
    """
    if not len(times):
        return ColumnScores(np.empty(0), np.empty(values.shape))
    values = np.where(np.isfinite(values), values, np.nan)
    day = np.floor_divide(times, DAY).astype(np.int64)
    away = _away(day, np.floor_divide(np.mod(times, DAY) * SLOTS, DAY).astype(np.int64), values)
    refits = _refits(day)
    before = _earlier(away, BEFORE, BEFORE // 3)
    late = np.concatenate([np.full((SHORT, values.shape[1]), np.nan), before])[: len(before)]
    change = np.abs(away - before)
    turn = np.abs(_mean(away, SHORT) - late)
    step = np.abs(away - np.concatenate([np.full((1, values.shape[1]), np.nan), away[:-1]]))
    levels = [_scored(np.abs(_mean(away, width)), refits) for width in LEVELS]
    level = _pressed((levels[0] + levels[1] + levels[2]) / len(LEVELS))
    changing = _pressed(_scored(change, refits)) + _pressed(_scored(turn, refits))
    standing = 0.5 * level + 0.25 * changing
    stepping = _pressed(_scored(step, refits))
    held = _held(_oddest(stepping, ODDEST_STEPS))
    score = (1 - STEP_WEIGHT) * _oddest(standing, ODDEST) + STEP_WEIGHT * held
    return ColumnScores(score, (1 - STEP_WEIGHT) * standing + STEP_WEIGHT * stepping)


def _refits(day: Ints) -> Ints:
    """Rows at which tails are fitted anew: with each new day, more seldom the longer the past is."""
    rows, last = [], 0
    for row in np.flatnonzero(np.diff(day) != 0).tolist():
        if row + 1 >= 2 * LEARN and row + 1 - last >= max(12, row // 50):
            rows.append(row + 1)
            last = row + 1
    return np.array(rows, dtype=np.int64)


def _away(day: Ints, slot: Ints, values: Floats) -> Floats:
    """The distance from the median of the past days' slots; on the first day from the median so far."""
    out = np.empty_like(values)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(day) != 0) + 1, [len(values)]])
    past: list[Floats] = []
    for first, end in pairwise(begins.tolist()):
        rows = slice(first, end)
        if past:
            usual = median(np.stack(past[-WINDOW:]))
            usual = np.where(np.isnan(usual), median(usual), usual)
            usual = (np.roll(usual, 1, 0) + 2 * usual + np.roll(usual, -1, 0)) / 4
            out[rows] = values[rows] - usual[slot[rows]]
        else:
            out[rows] = values[rows] - _so_far(values[rows])
        past.append(_slots(slot[rows], values[rows]))
    return out


def _slots(slot: Ints, values: Floats) -> Floats:
    """The median of each slot, float64[SLOTS, m]; NaN where there is none."""
    out = np.full((SLOTS, values.shape[1]), np.nan)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(slot) != 0) + 1, [len(slot)]])
    for first, end in pairwise(begins.tolist()):
        out[slot[first]] = median(values[first:end])
    return out


def _so_far(values: Floats) -> Floats:
    """The median of what came before, taken anew ever more seldom; the first rows are their own."""
    out = values.copy()
    anew = [*refit_rows(len(values), learn=1, block=1, growth=0.1).tolist(), len(values)]
    for first, end in pairwise(anew):
        out[first:end] = median(values[:first])
    return out


def _mean(values: Floats, width: int) -> Floats:
    """The mean of the last ``width`` rows; NaN where fewer than half are there. The sum's order is fixed."""
    if width == 1:
        return values
    return _earlier(np.concatenate([values, values[-1:]]), width, width // 2)[1:]


def _earlier(values: Floats, width: int, least: int) -> Floats:
    """The mean of the ``width`` rows before each row; NaN where fewer than ``least`` are there."""
    padded = np.concatenate([np.full((width, values.shape[1]), np.nan), values])
    there = ~np.isnan(padded)
    filled = np.where(there, padded, 0.0)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    for back in range(1, width + 1):
        part = slice(width - back, width - back + len(values))
        total += filled[part]
        count += there[part]
    return np.where(count >= max(least, 1), total / np.maximum(count, 1.0), np.nan)


def _scored(statistic: Floats, refits: Ints) -> Floats:
    """-log10 of the chance of each value; 0 where it cannot be told."""
    if not len(refits):
        return np.zeros(statistic.shape)
    return np.nan_to_num(tail_scores(statistic, refits, learn=LEARN), nan=0.0)


def _pressed(score: Floats) -> Floats:
    return np.where(score > MUCH, MUCH + np.log2(1 + np.maximum(score - MUCH, 0.0)), score)


def _oddest(score: Floats, many: int) -> Floats:
    """The mean of the oddest columns. Added one by one, so that it does not depend on the number of rows."""
    ordered = np.sort(score, axis=1)
    many = min(many, score.shape[1])
    total = np.zeros(len(score))
    for place in range(1, many + 1):
        total += ordered[:, -place]
    return total / max(many, 1)


def _held(score: Floats) -> Floats:
    """Each value, or an earlier one that has faded since, whichever is more."""
    fade, held, out = float(np.exp(-1 / STEP_HOLD)), 0.0, []
    for value in score.tolist():
        held = max(value, held * fade)
        out.append(held)
    return np.array(out)
