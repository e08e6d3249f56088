"""Metrics that repeat one value for longer than they ever do: an exporter that has stopped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.detector.frame import Floats, Ints
from domain.detector.seasonal import ranked

LEAST = 6
"""Equal samples in a row that are strange at least."""


def runs(values: Floats, last: Floats, length: Ints, columns: Sequence[int]) -> Ints:
    """How often each value was there in a row up to now, int64[n, m].

    ``last`` [m] is the last value before these rows (NaN: none) and ``length`` [m] its run. A missing
    sample neither counts nor ends a run. Only ``columns`` are looked at; the others' runs are 0.
    """
    out = np.zeros(values.shape, dtype=np.int64)
    for place in columns:
        column = values[:, place]
        there = np.flatnonzero(~np.isnan(column))
        if not len(there):
            out[:, place] = length[place]
            continue
        present = column[there]
        previous = np.concatenate([last[place : place + 1], present[:-1]])
        order = np.arange(len(present))
        broken = np.maximum.accumulate(np.where(present != previous, order, -1))
        run = np.where(broken < 0, length[place] + order + 1, order - broken + 1)
        filled = np.searchsorted(there, np.arange(len(column)), side="right") - 1
        out[:, place] = np.where(filled < 0, length[place], run[np.maximum(filled, 0)])
    return out


def limits(longest: Floats) -> Floats:
    """The run at which a column is stuck [m], from the longest runs of past days float64[days, m].

    A day in twelve may have been odd itself.
    """
    if not len(longest):
        return np.full(longest.shape[1], float(LEAST))
    usual = ranked(longest, 0.92)
    limit: Floats = np.maximum(float(LEAST), 2 * np.where(np.isnan(usual), 1.0, usual) + 2)
    return limit
