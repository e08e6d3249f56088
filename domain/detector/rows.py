"""Scores the rows of a table of numbers, one column or many, each by what came before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Floats

ALARM_OF_MANY = 2.45
"""The score of many columns from which a row is worth an alarm: about one false alarm a week on six labelled
servers (half of the Application Server Dataset).
"""


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """``score`` [n]: how odd each row is, 0 while too little is known. ``reason`` [n]: short words for why.

    ``expected_low`` and ``expected_high`` [n, m]: the band that was expected, NaN where unknown.
    ``threshold``: the score from which a row is worth an alarm at the normal sensitivity.
    """

    score: Floats
    reason: list[str]
    expected_low: Floats
    expected_high: Floats
    threshold: float


def score_rows(times: Floats, values: Floats) -> RowScores:
    """Score rows: ``times`` float64[n] ascending epoch seconds, ``values`` float64[n, m], NaN for missing.

    Times may be irregular, with gaps and repetitions. Strictly causal: the scores of a table that is cut
    at any row equal the whole table's up to there, bit for bit.
    """
    if values.ndim != 2 or len(values) != len(times):
        raise ValueError(f"{len(times)} times, but values are {values.shape}")
    if not len(times):
        return RowScores(np.empty(0), [], np.empty(values.shape), np.empty(values.shape), ALARM_OF_MANY)
    if values.shape[1] == 1:
        return _single(times, values)
    return _several(times, values)


def _single(times: Floats, values: Floats) -> RowScores:
    from domain.detector import single

    found = single.score_single(times, values[:, 0])
    reasons = []
    for row, (score, part) in enumerate(zip(found.score.tolist(), found.part.tolist(), strict=True)):
        if not np.isfinite(values[row, 0]):
            reasons.append("missing")
        elif row < single.LEARN:
            reasons.append("learning")
        else:
            side = _side(values[row, 0], found.low[row], found.high[row])
            reasons.append(single.PARTS[int(part)] + side if part >= 0 and score >= 1 else "")
    return RowScores(found.score, reasons, found.low[:, None], found.high[:, None], single.ALARM)


def _side(value: float, low: float, high: float) -> str:
    """On which side of the expected band a value is; nothing inside it."""
    if value > high:
        return ", high"
    return ", low" if value < low else ""


def _several(times: Floats, values: Floats) -> RowScores:
    from domain.detector import columns

    found = columns.score_columns(times, values)
    unknown = np.full(values.shape, np.nan)
    reasons = []
    for row, score in enumerate(found.score.tolist()):
        if not np.isfinite(values[row]).any():
            reasons.append("missing")
        elif row < columns.LEARN:
            reasons.append("learning")
        else:
            order = np.argsort(-found.by_column[row], kind="stable")[:3]
            odd = [f"column {place + 1}" for place in order if found.by_column[row, place] >= 1]
            reasons.append(" ".join(odd) if score >= 1 else "")
    return RowScores(found.score, reasons, unknown, unknown, ALARM_OF_MANY)
