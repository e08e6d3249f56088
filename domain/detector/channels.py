"""The ways in which a signal can be strange: at once, for a quarter of an hour, for an hour, or just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Column, Floats, Role, roles
from domain.detector.signals import Signal

REACH = 48
"""Earlier rows that a row's channels look at: an hour, and three hours before it at five minutes."""

CALM = 8.0
"""Distances (in spreads) are cut here before they are averaged, so that one sample is no level."""

OVERDISPERSION = 4.0
"""Size of the negative binomial that errors are held against: their rate wanders by about a half."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way: ``kind`` of averaging of signal ``signal`` (-1: counted errors) in direction ``sign``."""

    column: int
    signal: int
    kind: int
    sign: int


KINDS = ("now", "quarter", "hour", "change", "turn")
"""The averagings: the sample, 3 samples, 12, and both less the 36 samples before them."""


def listed(columns: Sequence[Column], signals: Sequence[Signal]) -> tuple[Channel, ...]:
    """The channels of a service, in a fixed order."""
    found = []
    for place, signal in enumerate(signals):
        kinds = range(3) if signal.role == Role.MEMORY else range(5)
        for sign, wanted in ((1, signal.up), (-1, signal.down)):
            if wanted:
                found += [Channel(signal.column, place, kind, sign) for kind in kinds]
    for column in roles(columns, Role.ERRORS):
        found += [Channel(column, -1, kind, 1) for kind in range(3)]
    return tuple(found)


def mean(values: Floats, width: int, least: int) -> Floats:
    """Means of the 3, 12 or 36 rows up to each row, for rows from ``width`` - 1 on; NaN where few are there.

    Sums are taken in a fixed order, whatever the number of rows asked for.
    """
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0.0), there.astype(np.float64)
    for parts, apart in ((3, 1), (4, 3), (3, 12))[: {3: 1, 12: 2, 36: 3}[width]]:
        length = len(total) - (parts - 1) * apart
        summed, counted = total[:length], count[:length]
        for more in range(1, parts):
            shift = slice(more * apart, more * apart + length)
            summed, counted = summed + total[shift], counted + count[shift]
        total, count = summed, counted
    return np.where(count >= least, total / np.maximum(count, 1.0), np.nan)


def _nearer(now: Floats, before: Floats, third: Floats) -> Floats:
    """Of a sample and the last before it the one nearer to the usual; NaN where one of them is missing."""
    before = np.where(np.isnan(before), third, before)
    nearer = np.where(np.abs(now) < np.abs(before), now, before)
    return np.where(np.isnan(now) | np.isnan(before), np.nan, nearer)


def _middle(now: Floats, before: Floats, third: Floats) -> Floats:
    """The middle of three samples; of two the one nearer to the usual; NaN for fewer."""
    middle = np.maximum(np.minimum(now, before), np.minimum(np.maximum(now, before), third))
    two = np.where(np.isnan(now), _nearer(before, third, third), _nearer(now, before, third))
    return np.where(np.isnan(middle), two, middle)


def averaged(distances: Floats, signals: Sequence[Signal]) -> Floats:
    """float64[kinds, n - REACH, signals] of distances float64[n, signals]; the first ``REACH`` rows are past.

    Of latency a single sample says nothing: "now" is the nearer to usual of the last two samples and
    "quarter" the middle of three.
    """
    three = np.stack([distances[REACH - back : len(distances) - back] for back in range(3)])
    cut = np.clip(distances, -CALM, CALM)
    quarter = mean(distances[REACH - 2 :], 3, 2)
    hour = mean(cut[REACH - 11 :], 12, 6)
    spiky = np.array([signal.role == Role.LATENCY for signal in signals], dtype=np.bool_)
    instant = np.where(spiky, _nearer(three[0], three[1], three[2]), three[0])
    quarter = np.where(spiky, _middle(*three), quarter)
    short = mean(cut[REACH - 47 : len(cut) - 3], 36, 12)
    return np.stack([instant, quarter, hour, quarter - short[9:], hour - short[:-9]])


def counted(errors: Floats, requests: Floats, rate: float) -> Floats:
    """-log10 of the chance of so many errors at the usual ``rate``, in 2, 3, 12 steps: float64[n-REACH, 3].

    ``errors`` and ``requests`` are counts with NaN for missing. The step with most errors is left out
    of each window (of the first, the lesser of two steps counts): a single bad step, as a release
    makes it, and a single error on little traffic are never strange.
    """
    from scipy.special import betainc

    there = ~np.isnan(errors) & ~np.isnan(requests)
    bad, asked = np.where(there, errors, 0.0), np.where(there, requests, 0.0)
    end, rows = len(bad), len(bad) - REACH
    out = np.zeros((rows, 3))
    for place, width in enumerate((2, 3, 12)):
        total, most, all_asked = np.zeros(rows), np.zeros(rows), np.zeros(rows)
        for back in range(width):
            part = slice(end - rows - back, end - back)
            total += bad[part]
            most = np.maximum(most, bad[part])
            all_asked += asked[part]
        left = total - most
        expected = all_asked * ((width - 1) / width) * rate
        chance = betainc(np.maximum(left, 1.0), OVERDISPERSION, expected / (expected + OVERDISPERSION))
        out[:, place] = np.where(left >= 1, -np.log10(np.maximum(chance, 1e-300)), 0.0)
    return out


def valued(channels: Sequence[Channel], averages: Floats, errors: Floats | None) -> Floats:
    """float64[n, channels]: each channel's value, larger being stranger; NaN where it cannot be told."""
    kinds = np.array([each.kind for each in channels], dtype=np.int64)
    places = np.array([max(each.signal, 0) for each in channels], dtype=np.int64)
    signs = np.array([each.sign for each in channels], dtype=np.float64)
    if averages.shape[2]:
        found = averages[kinds, :, places].T * signs
    else:
        found = np.full((averages.shape[1], len(channels)), np.nan)
    if errors is not None:
        counts = [place for place, each in enumerate(channels) if each.signal < 0]
        found[:, counts] = errors
    return found
