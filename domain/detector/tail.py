"""How rare a value is against its own series' past, as -log10 of a tail probability."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

BODY = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
"""Survival levels below the tail where the past's curve is read; between them -log10 p is linear."""

PRIOR_EXCESSES = 2.0
"""How many excesses of mean size the tail is credited with before any was seen."""


def refit_rows(n: int, *, learn: int, block: int, growth: float = 0.0) -> Rows:
    """Rows below `n` at which a tail is fitted anew.

    They are `learn`, then every `block` rows or every `growth` part of the rows seen, whichever is
    more. They depend on nothing else: a longer series only has more of them.
    """
    rows = []
    row = learn
    while row < n:
        rows.append(row)
        row += max(block, int(growth * row))
    return np.array(rows, dtype=np.int64)


def tail_scores(
    statistic: Floats,
    refits: Rows,
    *,
    learn: int,
    quantile: float = 0.98,
    memory: int | None = None,
    keep: Flags | None = None,
) -> Floats:
    """-log10 of the chance that the series' own past gives a value this large; same shape as `statistic`.

    `statistic` is float64[n] or float64[n, k] (k independent columns), larger meaning stranger, NaN
    for missing. At each row of `refits` (ascending, see `refit_rows`) every column is fitted to its
    finite values before that row, the last `memory` rows of them if given, without the rows where
    `keep` is False; the fit serves until the next. NaN where the statistic is NaN, before the first
    refit, and while a column has fewer than `learn` values.

    Below the `quantile` the past's own distribution is read. Above it the excess over the threshold
    is taken as exponential (peaks over threshold with shape 0: Pickands 1975; Siffer et al.,
    "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017) and its unknown scale is
    integrated out under a conjugate prior. That gives the predictive tail (1 - quantile) * (1 +
    excess / total)^-count: heavy after few exceedances, exponential after many, so that a young
    series cannot claim one in a billion. The prior is worth `PRIOR_EXCESSES` excesses of mean size.
    A mean of zero (a constant past) is read as 1e-9 of the threshold, so any step off it is far in
    the tail. Infinite values are read as the largest finite float.
    """
    columns = np.nan_to_num(statistic.reshape(len(statistic), math.prod(statistic.shape[1:])), nan=np.nan)
    out = np.full(columns.shape, np.nan)
    past = columns if keep is None else np.where(keep[:, None], columns, np.nan)
    ends = [*refits[1:].tolist(), len(columns)]
    seen = np.empty((columns.shape[1], 0))
    read = 0
    for start, end in zip(refits.tolist(), ends, strict=False):
        if memory is None:
            # Two sorted runs merge in linear time under the stable sort.
            fresh = np.sort(past[read:start].T, axis=1)
            seen = np.sort(np.hstack([seen, fresh]), axis=1, kind="stable")
            read = start
        else:
            seen = np.sort(past[max(0, start - memory) : start].T, axis=1)
        count = np.isfinite(seen).sum(axis=1)
        for k in np.flatnonzero(count >= max(learn, 2)).tolist():
            out[start:end, k] = _score(columns[start:end, k], seen[k, : count[k]], quantile)
    return out.reshape(statistic.shape)


def _score(values: Floats, past: Floats, quantile: float) -> Floats:
    """-log10 p of `values` against the sorted finite `past`; NaN stays NaN."""
    last = len(past) - 1
    body = [level for level in BODY if level > 1.0 - quantile] + [1.0 - quantile]
    at, first = np.unique([past[math.floor((1.0 - level) * last)] for level in body], return_index=True)
    # A value that is common in the past has the chance of all its ties, hence the first of equal levels.
    depth = np.abs(np.log10(np.array(body)))[first]
    threshold = float(at[-1])
    excess = past[math.floor(quantile * last) + 1 :] - threshold
    mean = max(float(excess.mean()) if len(excess) else 0.0, 1e-9 * abs(threshold), 1e-12)
    count = len(excess) + PRIOR_EXCESSES
    above = np.log1p(np.maximum(values - threshold, 0.0) / (count * mean)) * count / math.log(10.0)
    scored = np.where(values > threshold, above - math.log10(1.0 - quantile), np.interp(values, at, depth))
    return np.where(np.isnan(values), np.nan, scored)
