"""How far a row's features are from everything that came before: distances to nearest past neighbours."""

from __future__ import annotations

import numpy as np

from domain.detector.frame import Floats

NEIGHBOURS = 10
"""The distance to the tenth nearest: a shape that came nine times before is still new."""

START, BLOCK, GROWTH = 48, 64, 0.25
"""Rows before the first distance, rows asked together, and the part by which the big tree grows anew."""


def distances(features: Floats) -> Floats:
    """Distance of each row to its tenth nearest earlier row; ``features`` is float64[n, d], NaN for missing.

    Every column counts by its robust spread over the rows before. A row is compared with rows that ended
    before its block of ``BLOCK`` rows began; blocks and refits lie at fixed rows, so that a longer series
    only has more of them. NaN for the first ``START`` rows and where a feature is missing.
    """
    from scipy.spatial import cKDTree

    n = len(features)
    out = np.full(n, np.nan)
    row, again, ended = START, START, 0
    tree = None
    scaled = features
    there = np.isfinite(features).all(axis=1)
    while row < n:
        end = min(n, row + BLOCK)
        if row >= again:
            centre, spread = _scale(features[:row])
            scaled = (features - centre) / spread
            past = scaled[:row][there[:row]]
            tree = cKDTree(past) if len(past) else None
            ended, again = row, row + max(BLOCK, int(GROWTH * row) // BLOCK * BLOCK)
        asked = np.flatnonzero(there[row:end]) + row
        recent = np.flatnonzero(there[ended:row]) + ended
        found = []
        if len(asked) and tree is not None:
            found.append(tree.query(scaled[asked], k=NEIGHBOURS)[0])
        if len(asked) and len(recent):
            near = cKDTree(scaled[recent]).query(scaled[asked], k=min(NEIGHBOURS, len(recent)))[0]
            found.append(near.reshape(len(asked), -1))
        if found:
            nearest = np.sort(np.hstack(found), axis=1)[:, NEIGHBOURS - 1]
            out[asked] = np.where(np.isfinite(nearest), nearest, np.nan)
        row += BLOCK
    return out


def _scale(past: Floats) -> tuple[Floats, Floats]:
    """Centre and spread of each column: median and quartiles, never zero."""
    known = np.where(np.isfinite(past), past, np.nan)
    centre, spread = np.zeros(past.shape[1]), np.ones(past.shape[1])
    for place in range(past.shape[1]):
        column = known[:, place]
        column = column[~np.isnan(column)]
        if not len(column):
            continue
        centre[place] = np.median(column)
        tenth, first, third, ninth = np.quantile(column, (0.1, 0.25, 0.75, 0.9))
        size = max((third - first) / 1.35, (ninth - tenth) / 2.56 * 0.5)
        size = size if size > 0 else float(column.std())
        spread[place] = size if size > 0 else max(abs(centre[place]) * 0.01, 1e-9)
    return centre, spread
