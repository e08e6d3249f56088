"""How likely counts are by chance alone: exact sums of a few terms.

No package to load, microseconds, and the same on every machine.
"""

import math
from collections.abc import Callable
from functools import lru_cache

from domain.levels import Value

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile, for intervals of 95 %."""


class Counts(Value):
    """Completed requests of one revision in a window, and how many of them failed (5xx)."""

    requests: int
    errors: int

    @property
    def rate(self) -> float | None:
        """The share that failed, 0..1; ``None`` without requests."""
        return self.errors / self.requests if self.requests else None


@lru_cache(maxsize=65536)
def at_least(hits: int, trials: int, chance: float) -> float:
    """The probability of ``hits`` or more among ``trials`` of this ``chance`` (0..1): binomial."""
    if hits <= 0:
        return 1.0
    if hits > trials or chance <= 0:
        return 0.0
    if chance >= 1:
        return 1.0
    odds = chance / (1 - chance)

    def first(count: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        return math.exp(ways + count * math.log(chance) + (trials - count) * math.log1p(-chance))

    if hits > trials * chance:
        return _sum(first(hits), hits, trials, 1, lambda x: (trials - x) / (x + 1) * odds)
    return 1 - _sum(first(hits - 1), hits - 1, 0, -1, lambda x: x / ((trials - x + 1) * odds))


def no_worse(canary: Counts, beside: Counts) -> float:
    """Fisher's exact test, one-sided: the probability that chance gives the canary as many of the errors.

    1 where either had no requests.
    """
    return _fisher(canary.errors, canary.requests, beside.errors, beside.requests)


@lru_cache(maxsize=65536)
def _fisher(errors: int, requests: int, other_errors: int, other_requests: int) -> float:
    failed, total = errors + other_errors, requests + other_requests
    least, most = max(0, failed - other_requests), min(failed, requests)
    if errors <= least:
        return 1.0

    def first(count: int) -> float:
        return math.exp(
            _log_choose(requests, count)
            + _log_choose(other_requests, failed - count)
            - _log_choose(total, failed)
        )

    rest = other_requests - failed
    if errors * total > failed * requests:
        return _sum(
            first(errors),
            errors,
            most,
            1,
            lambda x: (failed - x) * (requests - x) / ((x + 1) * (rest + x + 1)),
        )
    below = errors - 1
    return 1 - _sum(
        first(below), below, least, -1, lambda x: x * (rest + x) / ((failed - x + 1) * (requests - x + 1))
    )


def _log_choose(total: int, count: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)


def _sum(term: float, start: int, end: int, step: int, ratio: Callable[[int], float]) -> float:
    """The sum of a tail from ``start`` to ``end``; ``ratio`` of a place is the next term's to its own."""
    total = term
    for place in range(start, end, step):
        term *= ratio(place)
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, total)


def wilson(counts: Counts) -> tuple[float, float]:
    """Wilson's interval of 95 % for the true rate, 0..1. Only for counts with requests."""
    n, rate = counts.requests, counts.errors / counts.requests
    middle = (rate + Z * Z / (2 * n)) / (1 + Z * Z / n)
    wide = Z / (1 + Z * Z / n) * math.sqrt(rate * (1 - rate) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - wide), min(1.0, middle + wide)
