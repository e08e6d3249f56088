"""Chance that always falls the same way: how many of a minute's requests come, and how many of them fail."""

import hashlib
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sandbox.cloud.distributions import Floats
from sandbox.cloud.store import Times

TAIL = 12
"""Standard deviations on either side of the middle that are told apart; beyond them lies less than 1e-30."""

_Words = NDArray[np.uint64]


def uniform(seed: str, minutes: Times) -> Floats:
    """One number of (0, 1) for each minute, by the seed and the minute alone, whatever the window."""
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    # SplitMix64 (Steele, Lea, Flood 2014): a counter through a mixer, so that any minute can be asked for.
    words: _Words = np.uint64(start) + minutes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return np.asarray(((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53, dtype=np.float64)


def poisson(means: Floats, chances: Floats) -> Floats:
    """The Poisson number of each mean at that quantile (0..1); NaN stays NaN."""
    found = np.where(np.isnan(means), math.nan, 0.0)
    for mean in np.unique(means[means > 0]):
        where = means == mean
        first, running = _poisson(float(mean))
        found[where] = first + np.searchsorted(running, chances[where])
    return found


def binomial(numbers: Floats, share: Floats, chances: Floats) -> Floats:
    """How many of each number fall into the share (0..1), at that quantile; NaN stays NaN."""
    found = np.where(np.isnan(numbers) | np.isnan(share), math.nan, 0.0)
    found[(numbers > 0) & (share >= 1)] = numbers[(numbers > 0) & (share >= 1)]
    some = (numbers > 0) & (share > 0) & (share < 1)
    pairs, which = np.unique(np.stack((numbers[some], share[some])), axis=1, return_inverse=True)
    drawn, which = np.zeros(len(which.reshape(-1))), which.reshape(-1)
    for place, (number, one) in enumerate(pairs.T.tolist()):
        first, running = _binomial(int(number), one)
        drawn[which == place] = first + np.searchsorted(running, chances[some][which == place])
    found[some] = drawn
    return found


@lru_cache(maxsize=4096)
def _poisson(mean: float) -> tuple[int, Floats]:
    """The smallest number told apart, and the cumulative probabilities from it on."""
    first, last = _around(mean, math.sqrt(mean))
    steps = np.log(mean) - np.log(np.arange(first + 1, last + 1))
    start = first * math.log(mean) - mean - math.lgamma(first + 1)
    return first, _summed(start, steps)


@lru_cache(maxsize=4096)
def _binomial(number: int, share: float) -> tuple[int, Floats]:
    mean = number * share
    first, last = _around(mean, math.sqrt(mean * (1 - share)))
    last = min(last, number)
    many = np.arange(first, last)
    steps = np.log((number - many) / (many + 1)) + math.log(share / (1 - share))
    ways = math.lgamma(number + 1) - math.lgamma(first + 1) - math.lgamma(number - first + 1)
    return first, _summed(ways + first * math.log(share) + (number - first) * math.log1p(-share), steps)


def _around(mean: float, deviation: float) -> tuple[int, int]:
    return max(0, int(mean - TAIL * deviation - TAIL)), int(mean + TAIL * deviation + TAIL)


def _summed(start: float, steps: Floats) -> Floats:
    running = np.cumsum(np.exp(np.concatenate(([start], start + np.cumsum(steps)))))
    return np.asarray(running / running[-1], dtype=np.float64)
