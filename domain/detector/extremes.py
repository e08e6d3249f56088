"""How rare a channel's value is: a tail fitted to the largest values of past three-hour stretches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Floats
from domain.detector.seasonal import ordered_flat

STRETCH = 3 * 3600
"""Seconds of which only the largest value counts, so that one long trouble is one extreme."""

RANK = 0.8
"""The rank of the stretches' maxima above which the tail begins."""

PRIOR = 6.0
"""Excesses with which the shape common to all services counts against a channel's own."""

STRETCHES = 25.0
"""Stretches with which the common beginning of the tail counts."""

START = -np.log10((1 - RANK) / 36)
"""-log10 of the chance per five minutes of the value at which the tail begins."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Per channel: where the tail begins, the mean excess over it, and how many excesses tell so."""

    begin: Floats
    mean: Floats
    count: Floats

    def score(self, values: Floats) -> Floats:
        """-log10 of the chance per five minutes of values float64[n, channels] or more; 0 for the usual.

        The unknown scale is integrated out, so that few excesses never make one in a billion.
        """
        with np.errstate(invalid="ignore"):
            above = np.maximum(values - self.begin, 0.0)
            tail = START + self.count * np.log1p(above / (self.count * self.mean)) / np.log(10)
            body = START * np.square(np.maximum(values, 0.0) / self.begin)
        found: Floats = np.where(values > self.begin, tail, body)
        return found


def fit(maxima: Floats, begin: Floats, mean: Floats) -> Tail:
    """The tail of past maxima float64[stretches, channels] (NaN: none) under a common ``begin`` and ``mean``.

    The excess's median is used, not its mean: troubles nobody marked are a few of the excesses.
    """
    if not len(maxima):
        return Tail(begin, mean, np.full(len(begin), PRIOR))
    ordered, seen, place = ordered_flat(maxima)
    own = ordered[np.maximum(np.ceil(RANK * seen).astype(np.int64) - 1, 0), place]
    own = np.where(seen > 0, own, begin)
    start = np.maximum((seen * own + STRETCHES * begin) / (seen + STRETCHES), 0.3 * begin)
    with np.errstate(invalid="ignore"):
        count = np.sum(ordered > start, axis=0)
    middle = ordered[np.maximum(seen - count + (count + 1) // 2 - 1, 0), place]
    typical = np.where(count > 0, (middle - start) / np.log(2), mean)
    return Tail(start, (count * typical + PRIOR * mean) / (count + PRIOR), count + PRIOR)
