"""Distributions as Cloud Monitoring keeps them: counts in buckets, and percentiles guessed from these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Buckets:
    """Where the buckets end. ``n`` bounds make ``n + 1`` buckets: below, between each two, above.

    A value on a bound belongs to the bucket above it, as ``google.api.Distribution`` says.
    ``first`` and ``by`` are scale and growth, or offset and width; explicit bounds have ``listed``.
    """

    shape: Literal["exponential", "linear", "explicit"]
    first: float = 0
    by: float = 0
    finite: int = 0
    listed: tuple[float, ...] = ()

    @cached_property
    def bounds(self) -> Floats:
        """The bounds, ascending."""
        places = np.arange(self.finite + 1)
        match self.shape:
            case "exponential":
                return np.asarray(self.first * self.by**places, dtype=np.float64)
            case "linear":
                return np.asarray(self.first + self.by * places, dtype=np.float64)
            case "explicit":
                return np.asarray(self.listed, dtype=np.float64)

    def __len__(self) -> int:
        """How many buckets there are."""
        return len(self.bounds) + 1

    def count(self, observations: Sequence[float]) -> Counts:
        """How many of the observations fall into each bucket."""
        places = np.searchsorted(self.bounds, np.asarray(observations, dtype=np.float64), side="right")
        return np.bincount(places, minlength=len(self)).astype(np.int64)

    def percentile(self, counts: Counts, share: float) -> Floats:
        """For each row of ``counts`` the value below which ``share`` (0..1) of it lies; NaN for an empty row.

        Linear inside the bucket: nobody knows where in it the values are. So 700 ms may read as 813 ms
        in buckets that grow by 1.4. What lies above the last bound reads as the last bound.
        """
        bounds = self.bounds
        low = np.concatenate(([min(0.0, bounds[0])], bounds))
        high = np.concatenate((bounds, [bounds[-1]]))
        running = np.cumsum(counts, axis=1)
        total = running[:, -1]
        wanted = share * total
        place = np.argmax(running >= wanted[:, None], axis=1)
        rows = np.arange(len(counts))
        inside = counts[rows, place]
        before = running[rows, place] - inside
        part = (wanted - before) / np.maximum(inside, 1)
        found = low[place] + part * (high[place] - low[place])
        return np.where(total > 0, found, math.nan)

    def write(self, options: Any) -> None:
        """Fill the protocol's ``BucketOptions``."""
        match self.shape:
            case "exponential":
                options.exponential_buckets.num_finite_buckets = self.finite
                options.exponential_buckets.growth_factor = self.by
                options.exponential_buckets.scale = self.first
            case "linear":
                options.linear_buckets.num_finite_buckets = self.finite
                options.linear_buckets.width = self.by
                options.linear_buckets.offset = self.first
            case "explicit":
                options.explicit_buckets.bounds.extend(self.listed)


def exponential(scale: float, growth: float, finite: int) -> Buckets:
    """Buckets that grow: ``scale * growth**i``."""
    return Buckets("exponential", scale, growth, finite)


def linear(offset: float, width: float, finite: int) -> Buckets:
    """Buckets of one width."""
    return Buckets("linear", offset, width, finite)


def explicit(*bounds: float) -> Buckets:
    """Buckets with these bounds, ascending."""
    if list(bounds) != sorted(set(bounds)) or not bounds:
        raise ValueError("bounds must ascend")
    return Buckets("explicit", listed=bounds)


MILLISECONDS = exponential(1, 1.4, 66)
"""Those of Cloud Run's latencies (growth 1.4)."""

MICROSECONDS = exponential(1, 2, 40)
"""For Query Insights; the growth is an assumption."""

SHARES = linear(0, 0.01, 100)
"""For utilisations; the width is an assumption."""
