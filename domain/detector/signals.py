"""From a service's metrics to distances from the usual: of each by itself, and of each given the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from domain.detector.frame import Column, Floats, Role, roles

CPU_LEAST = 0.02
"""Added to CPU before a ratio is taken, so that an idle service's jitter is no doubling."""

TRIMS = 2
"""Rounds in which a fit on traffic gives odd slots less weight."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A distance that is watched: of ``column`` from its usual, or (``given``) from what traffic explains.

    ``up`` and ``down`` say which way is strange. ``floor``: the least spread that is believed, and
    ``doubt``: by how much a kind of day never seen may differ, both in the transformed unit.
    """

    column: int
    role: Role
    given: bool
    up: bool
    down: bool
    floor: float
    doubt: float


_OWN = {
    Role.LATENCY: (True, False, 0.03, 0.15),
    Role.REQUESTS: (True, True, 0.03, 0.8),
    Role.CPU: (True, False, 0.004, 0.15),
    Role.MEMORY: (True, False, 0.004, 0.0),
    Role.OTHER: (True, True, 1e-9, 0.0),
}
"""Directions, least spread and doubt of a role's own signal. Errors have no signal: they are counted."""

_GIVEN = {Role.LATENCY: (True, False, 0.03, 0.1), Role.CPU: (True, True, 0.02, 0.1)}


def watched(columns: Sequence[Column]) -> tuple[Signal, ...]:
    """The signals of these columns: their own first, then those given the first column of requests."""
    own = [
        Signal(place, column.role, False, *_OWN[column.role])
        for place, column in enumerate(columns)
        if column.role in _OWN
    ]
    if not roles(columns, Role.REQUESTS):
        return tuple(own)
    given = [
        Signal(place, column.role, True, *_GIVEN[column.role])
        for place, column in enumerate(columns)
        if column.role in _GIVEN
    ]
    return (*own, *given)


def transformed(values: Floats, role: Role) -> Floats:
    """A column in the unit in which its noise is even: logarithms of latency and requests."""
    with np.errstate(invalid="ignore", divide="ignore"):
        match role:
            case Role.LATENCY:
                return np.where(values > 0, np.log(values), np.nan)
            case Role.REQUESTS:
                return np.log1p(np.maximum(values, 0.0))
            case _:
                return values


def restored(values: Floats, role: Role) -> Floats:
    """The inverse of ``transformed``; shares and counts not below zero."""
    match role:
        case Role.LATENCY:
            return np.exp(np.minimum(values, 700.0))
        case Role.REQUESTS:
            return np.maximum(np.expm1(np.minimum(values, 700.0)), 0.0)
        case Role.OTHER:
            return values
        case _:
            return np.clip(values, 0.0, 1.0)


def parts(values: Floats, signals: Sequence[Signal], traffic: int | None, before: Floats) -> Floats:
    """What is remembered of each row, float64[n, own + 3 * given].

    An own signal's transformed value, of memory its distance from ``before`` [n, m] (see ``lately``); for
    a signal given the traffic its value and two functions of the requests, all three NaN where one of
    them is missing.
    """
    kept = []
    for signal in signals:
        value = transformed(values[:, signal.column], signal.role)
        if not signal.given:
            kept.append(value - before[:, signal.column] if signal.role == Role.MEMORY else value)
            continue
        assert traffic is not None  # ``watched`` gives such signals only beside requests.
        requests = np.maximum(values[:, traffic], 0.0)
        both = ~np.isnan(value) & ~np.isnan(requests)
        bent = np.sqrt(requests) if signal.role == Role.CPU else requests * requests
        kept += [np.where(both, each, np.nan) for each in (value, requests, bent)]
    return np.stack(kept, axis=1) if kept else np.empty((len(values), 0))


@dataclass(frozen=True, slots=True)
class Explained:
    """How traffic explains a column: ``constant + slope * requests + bend * f(requests)``.

    ``least`` [2]: the least requests and their function that the fit has seen, below which it is
    held, ``most``: the most requests.
    """

    constant: float
    slope: float
    bend: float
    least: tuple[float, float]
    most: float

    def _explained(self, values: Floats) -> Floats:
        requests = np.maximum(values[..., 1], self.least[0])
        return self.constant + self.slope * requests + self.bend * np.maximum(values[..., 2], self.least[1])

    def remainder(self, values: Floats, role: Role) -> Floats:
        """What is left of ``values`` [..., (value, requests, f(requests))], as a logarithm."""
        expected = self._explained(values)
        if role == Role.CPU:
            with np.errstate(invalid="ignore"):
                value = np.maximum(values[..., 0], 0.0) + CPU_LEAST
                return np.log(value / (np.clip(expected, 0.0, 1.0) + CPU_LEAST))
        return values[..., 0] - expected

    def expected(self, values: Floats, remainder: Floats, role: Role) -> Floats:
        """The transformed value that would leave such a remainder."""
        expected = self._explained(values)
        if role == Role.CPU:
            return (np.clip(expected, 0.0, 1.0) + CPU_LEAST) * np.exp(remainder) - CPU_LEAST
        return expected + remainder

    def beyond(self, values: Floats) -> Floats:
        """How far requests lie beyond all that the fit has seen, log; 0 within."""
        with np.errstate(invalid="ignore"):
            return np.log(np.maximum(values[..., 1] / max(self.most, 1e-9), 1.0))


def _middle(values: Floats) -> float:
    """The upper median."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def explain(past: Floats, role: Role) -> Explained:
    """Fit a column to traffic over past slots float64[k, 3], robustly, with a slight pull towards flat."""
    there = past[~np.isnan(past).any(axis=1)]
    if len(there) < 12:
        return Explained(_middle(there[:, 0]) if len(there) else 0.0, 0.0, 0.0, (0.0, 0.0), np.inf)
    value, scale = there[:, 0], np.maximum(there[:, 1:].max(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(there)), there[:, 1:] / scale])
    weight = 1 / (np.maximum(value, 0.0) + 2 * CPU_LEAST) if role == Role.CPU else np.ones(len(there))
    pull = np.array([1e-6, 1e-3, 1e-3]) * len(there)
    centre = _middle(value)
    square, robust = weight * weight, np.ones(len(there))
    found = np.zeros(3)
    for _ in range(TRIMS):
        use = (square * robust)[:, None] * design
        left = np.einsum("ki,kj->ij", use, design) + np.diag(pull * np.mean(square))
        right = np.einsum("ki,k->i", use, value - centre)
        found = np.linalg.solve(left, right)
        away = np.abs((value - centre - np.einsum("ki,i->k", design, found)) * weight)
        robust = 1 / np.maximum(away / (2.5 * max(_middle(away), 1e-9)), 1.0)
    ordered = np.sort(there[:, 1:], axis=0)
    low, high = ordered[len(there) // 100], ordered[int(0.995 * (len(there) - 1))]
    return Explained(
        constant=centre + float(found[0]),
        slope=float(found[1] / scale[0]),
        bend=float(found[2] / scale[1]),
        least=(float(low[0]), float(low[1])),
        most=float(high[0]),
    )
