"""How new a row is: its distance to the nearest past rows, and how badly its predecessors foretold it."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from domain.detector.frame import Flags, Floats

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
    there: Flags = np.asarray(np.isfinite(features).all(axis=1))
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


LETTERS = 8
"""Steps of equal width into which the middle 99 % of the past is cut; a few wider ones lie beyond it."""

ORDERS = (1, 2, 3, 4)
"""How many letters back the contexts reach."""

Counts = dict[tuple[int, ...], dict[int, int]]


def surprise(values: Floats) -> Floats:
    """Bits by which each value was not foretold by the values just before it; float64[n], NaN for missing.

    Values become letters (`LETTERS`), and the chance of the next letter is blended from what followed the
    same one to four letters before (escape method C: Moffat, "Implementing the PPM data compression scheme",
    1990; predicting from contexts as in CAD OSE, a detector of the Numenta Anomaly Benchmark). The alphabet
    is cut anew at fixed rows, each time half as many again. NaN for the first `START` rows.
    """
    n = len(values)
    out = np.full(n, np.nan)
    row = START
    while row < n:
        end = min(n, max(row + BLOCK, row + row // 2))
        known = values[:end][np.isfinite(values[:end])]
        before = int(np.isfinite(values[:row]).sum())
        bits = np.full(len(known), np.nan)
        if before:
            letters = np.searchsorted(_edges(known[:before]), known).tolist()
            bits[before:] = _bits(letters, before)
        out[row:end] = _placed(values[:end], bits)[row:]
        row = max(row + BLOCK, row + row // 2)
    return out


def _edges(past: Floats) -> Floats:
    """Where one letter ends and the next begins."""
    low, high = (float(edge) for edge in np.quantile(past, (0.005, 0.995)))
    wide = high - low if high > low else 1e-9 * max(abs(low), 1.0)
    middle = np.linspace(low, low + wide, LETTERS + 1)[1:-1]
    return np.concatenate([[low - 2 * wide, low - wide / 2], middle, low + wide * np.array([1.5, 3.0, 9.0])])


def _bits(letters: list[int], first: int) -> list[float]:
    """What each letter from ``first`` on costs, given all those before it."""
    alphabet = LETTERS + 5
    alone: dict[int, int] = defaultdict(int)
    contexts: list[Counts] = [{} for _ in ORDERS]
    bits = []
    for place, letter in enumerate(letters):
        chance = (alone[letter] + 1 / alphabet) / (place + 1)
        alone[letter] += 1
        for order, counts in zip(ORDERS, contexts, strict=True):
            if place < order:
                break
            followers = counts.setdefault(tuple(letters[place - order : place]), {})
            if place >= first and followers:
                kinds = len(followers)
                total = sum(followers.values())
                chance = (followers.get(letter, 0) + kinds * chance) / (total + kinds)
            followers[letter] = followers.get(letter, 0) + 1
        if place >= first:
            bits.append(-math.log2(chance))
    return bits


def _placed(values: Floats, found: Floats) -> Floats:
    """The figures of the finite values, each in its row."""
    out = np.full(len(values), np.nan)
    out[np.isfinite(values)] = found
    return out
