"""Scores the rows of one series of unknown shape: what is new, and what its days did not lead to expect.

The parts and the rest after an alarm were chosen on 31 labelled series (half of the Numenta Anomaly
Benchmark), labels included; nothing is chosen per series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Flags, Floats
from domain.detector.novelty import distances, surprise
from domain.detector.tail import refit_rows, tail_scores

DAY, SLOT = 86_400, 1800
"""Seconds, and the seconds of a place in the daily profile."""

LEARN, REFIT = 150, 50
"""Rows before the first score, and between two calibrations."""

MOST = 6.0
"""A part's score counts up to here: 1 in a million."""

ALARM = 2.0
"""The score from which a row is taken for an alarm, and the rest begins."""

REST, SHORTEST, LONGEST = 1 / 16, 20, 120
"""After an alarm the score rests for this part of the rows seen, within these bounds."""

LARGEST = 1e100
"""Values are cut off here: their squares must stay finite."""

BACK_OFF, FADES = 0.5, 4.0
"""Each tenfold of recent alarms costs so much score; they fade over so many rests."""

PARTS = (
    "novel level",
    "drift",
    "off its days",
    "novel course",
    "off its days for hours",
    "novel value",
    "novel order",
    "stuck",
)
"""What each part finds odd, in the order in which they are fused."""

AVERAGED = 7
"""Of the parts, the first so many are averaged too: being stuck is plain by itself, and mostly absent."""

STUCK, LONGER = 12, 2
"""Equal values from which a series may be stuck, and how many times its longest run before they must be."""


@dataclass(frozen=True, slots=True, eq=False)
class SingleScores:
    """``score`` [n], 0 while learning; ``part`` [n] the oddest part's place in ``PARTS``, -1 where none is;
    ``low`` and ``high`` [n] the band that the daily profile expects, NaN while learning.
    """

    score: Floats
    part: Floats
    low: Floats
    high: Floats


def score_single(times: Floats, values: Floats) -> SingleScores:
    """Score rows: ``times`` float64[n] ascending epoch seconds, ``values`` float64[n], NaN for missing.

    A row's score depends on it and earlier rows only, bit for bit.
    """
    values = np.clip(np.where(np.isfinite(values), values, np.nan), -LARGEST, LARGEST)
    shaped = _shaped(values)
    usual, _ = _profile(times, shaped)
    raw_usual, spread = _profile(times, values)
    away, raw_away = shaped - usual, values - raw_usual
    statistics = np.stack(
        [
            distances(_features(values)),
            np.abs(_mean(raw_away, 36)),
            np.abs(_mean(away, 12)),
            distances(np.stack([_lag(values, back) for back in range(12)], axis=1)),
            np.abs(_mean(away, 36)),
            distances(values[:, None]),
            _mean(surprise(values), 36),
            _stuck(values),
        ],
        axis=1,
    )
    rows = refit_rows(len(values), learn=LEARN, block=REFIT)
    parts = np.minimum(np.nan_to_num(tail_scores(statistics, rows, learn=100)), MOST)
    fused = 0.5 * parts.max(axis=1, initial=0.0) + 0.5 * _sum(parts[:, :AVERAGED]) / AVERAGED
    loud = parts.max(axis=1, initial=0.0) >= 1
    oddest = np.where(loud, parts.argmax(axis=1), -1) if len(parts) else np.empty(0)
    usual_known = np.where(np.arange(len(values)) >= LEARN, raw_usual, np.nan)
    return SingleScores(
        _rested(fused), oddest.astype(np.float64), usual_known - 3 * spread, usual_known + 3 * spread
    )


def _sum(parts: Floats) -> Floats:
    """Added column by column: the order of the additions must not depend on the number of rows."""
    total = np.zeros(len(parts))
    for place in range(parts.shape[1]):
        total = total + parts[:, place]
    return total


def _shaped(values: Floats) -> Floats:
    """Compressed where it is large: the scale is that of the first hundred rows."""
    first = np.abs(values[:100])
    some = first[first > 0]
    scale = float(np.median(some)) if len(some) else 1.0
    return np.asarray(np.arcsinh(values / scale * 2), dtype=np.float64)


def _features(values: Floats) -> Floats:
    """Where the series is, how it moved, and how restless it is."""
    means = [_mean(values, rows) for rows in (3, 12, 36)]
    moved = values - _mean(_lag(values, 1), 6)
    return np.stack([values, *means, _spread(values, 12), moved], axis=1)


def _lag(values: Floats, back: int) -> Floats:
    if not back:
        return values
    out = np.full(len(values), np.nan)
    out[back:] = values[:-back]
    return out


def _mean(values: Floats, rows: int) -> Floats:
    """Of the last so many rows, those without a value left out."""
    there: Flags = np.isfinite(values)
    known = np.where(there, values, 0.0)
    total, count = np.zeros(len(values)), np.zeros(len(values))
    for back in range(min(rows, len(values))):
        total[back:] += known[: len(values) - back]
        count[back:] += there[: len(values) - back]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _spread(values: Floats, rows: int) -> Floats:
    """Standard deviation of the last so many rows."""
    first = values[:50]
    near = float(np.nanmedian(first)) if np.isfinite(first).any() else 0.0
    centred = values - near  # Squares of large numbers would lose what is to be told.
    mean = _mean(centred, rows)
    return np.sqrt(np.maximum(_mean(centred**2, rows) - mean**2, 0.0))


def _stuck(values: Floats) -> Floats:
    """By how much a run of equal values is longer than usual, as a logarithm; 0 before the first change.

    A missing value ends a run.
    """
    rows = np.arange(len(values))
    changed = np.ones(len(values), dtype=np.bool_)
    changed[1:] = values[1:] != values[:-1]
    run = rows - np.maximum.accumulate(np.where(changed, rows, 0)) + 1.0
    ended = np.zeros(len(values))
    ended[1:] = np.where(changed[1:], run[:-1], 0.0)
    longest = np.maximum.accumulate(ended)
    usual = np.where(longest > 0, np.maximum(STUCK, LONGER * longest), np.inf)
    return np.asarray(np.log(np.maximum(run / usual, 1.0)), dtype=np.float64)


def _profile(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """What the time of day leads to expect of each row, and the usual distance from it, before it is seen.

    Half-hours of the day (UTC), each following its days by clipped steps; a new one begins at the mean.
    """
    slots = DAY // SLOT
    place, day = (np.mod(times, DAY) // SLOT).astype(int).tolist(), (times // DAY).astype(int).tolist()
    usual: list[float | None] = [None] * slots
    days, last = [0] * slots, [-1] * slots
    mean: float | None = None
    seen, spread = 0, 0.0
    expected, wide = np.full(len(values), np.nan), np.full(len(values), np.nan)
    pace = _pace(times)
    for row, value in enumerate(values.tolist()):
        slot = place[row]
        known = usual[slot]
        base = mean if known is None else known
        if base is not None:
            expected[row], wide[row] = base, spread
        if math.isnan(value):
            continue
        if mean is None:
            mean = base = value
        assert base is not None
        away = value - base
        far = 4 * spread if seen > 30 else abs(away)
        seen += 1
        near = min(abs(away), 3 * spread if seen > 31 else abs(away))
        spread += max(1 / seen, 0.01) * (near * 1.25 - spread)
        mean += max(1 / seen, 0.005) * max(-far, min(far, value - mean))
        if last[slot] != day[row]:
            days[slot] += 1
            last[slot] = day[row]
        rate = max(1 / days[slot], 0.1) if days[slot] > 1 else 0.5
        step = 1 - (1 - min(rate, 0.9)) ** (1 / pace[row])
        usual[slot] = (base if known is None else known) + step * max(-far, min(far, away))
    return expected, wide


def _pace(times: Floats) -> list[float]:
    """Rows that fall into a half-hour, by the last twenty."""
    rows = np.arange(len(times))
    back = np.maximum(rows - 20, 0)
    gap = (times - times[back]) / np.maximum(rows - back, 1)
    found: list[float] = np.where(rows > 0, np.maximum(SLOT / np.maximum(gap, 1.0), 1.0), 1.0).tolist()
    return found


def _rested(fused: Floats) -> Floats:
    """One trouble is one alarm: after it the score rests, and many alarms make the next one dearer."""
    out = np.minimum(fused, ALARM - 1e-6)
    until, last, recent = -1, 0, 0.0
    for row in np.flatnonzero(fused >= ALARM).tolist():
        if row < until:
            continue
        rest = int(max(SHORTEST, min(LONGEST, row * REST)))
        fading = recent * math.exp(-(row - last) / (rest * FADES)) if recent else 0.0
        score = float(fused[row]) - BACK_OFF * math.log10(1 + fading)
        out[row] = max(score, 0.0)
        if score >= ALARM:
            until, last, recent = row + 1 + rest, row, fading + 1
            out[row + 1 : until] = 0.0
    return out
