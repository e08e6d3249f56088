"""Aligning and reducing as Cloud Monitoring does it: points onto a grid, then many series into one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sandbox.cloud.descriptors import Kind, ValueType
from sandbox.cloud.distributions import Buckets, Counts, Floats
from sandbox.cloud.store import RawSeries, Times

NUMERIC = frozenset({ValueType.INT64, ValueType.DOUBLE})
SUMMED = NUMERIC | {ValueType.DISTRIBUTION}

ALIGNERS: dict[str, tuple[frozenset[Kind], frozenset[ValueType]]] = {
    "ALIGN_DELTA": (frozenset({Kind.DELTA, Kind.CUMULATIVE}), SUMMED),
    "ALIGN_RATE": (frozenset({Kind.DELTA, Kind.CUMULATIVE}), NUMERIC),
    "ALIGN_SUM": (frozenset({Kind.GAUGE, Kind.DELTA}), SUMMED),
    "ALIGN_MEAN": (frozenset({Kind.GAUGE, Kind.DELTA}), NUMERIC),
    "ALIGN_MAX": (frozenset({Kind.GAUGE, Kind.DELTA}), NUMERIC),
    "ALIGN_MIN": (frozenset({Kind.GAUGE, Kind.DELTA}), NUMERIC),
    "ALIGN_COUNT": (frozenset({Kind.GAUGE, Kind.DELTA}), NUMERIC | {ValueType.BOOL}),
    "ALIGN_FRACTION_TRUE": (frozenset({Kind.GAUGE}), frozenset({ValueType.BOOL})),
    "ALIGN_PERCENTILE_50": (frozenset({Kind.GAUGE, Kind.DELTA}), frozenset({ValueType.DISTRIBUTION})),
    "ALIGN_PERCENTILE_95": (frozenset({Kind.GAUGE, Kind.DELTA}), frozenset({ValueType.DISTRIBUTION})),
    "ALIGN_PERCENTILE_99": (frozenset({Kind.GAUGE, Kind.DELTA}), frozenset({ValueType.DISTRIBUTION})),
}
"""The aligners that are pretended, and for which kinds and value types, by the protocol's documentation."""

REDUCERS: dict[str, frozenset[ValueType]] = {
    "REDUCE_NONE": frozenset(ValueType),
    "REDUCE_SUM": SUMMED,
    "REDUCE_MEAN": SUMMED,
    "REDUCE_MAX": NUMERIC,
    "REDUCE_MIN": NUMERIC,
    "REDUCE_COUNT": frozenset(ValueType),
    "REDUCE_PERCENTILE_50": SUMMED,
    "REDUCE_PERCENTILE_95": SUMMED,
    "REDUCE_PERCENTILE_99": SUMMED,
}
"""The reducers that are pretended, and for which value types after aligning."""

SHARES = {"50": 0.50, "95": 0.95, "99": 0.99}


@dataclass(frozen=True, slots=True)
class Aligned:
    """One series on the grid: ``values`` are NaN where there is no point, ``counts`` then are zeros."""

    resource_labels: dict[str, str]
    metric_labels: dict[str, str]
    kind: Kind
    value_type: ValueType
    values: Floats
    counts: Counts | None = None
    buckets: Buckets | None = None


def align(raw: RawSeries, aligner: str, edges: Times) -> Aligned:
    """A series on the grid of the steps (edges[i], edges[i + 1]].

    Steps without a point have no value, save what ALIGN_DELTA and ALIGN_RATE interpolate: between two
    numbers inside the window, and a cumulative metric between its points. How distributions of kind
    DELTA are interpolated is not documented; here they are not.
    """
    values, counts, kind, value_type = raw.values, raw.counts, raw.kind, raw.value_type
    match aligner:
        case "ALIGN_DELTA" | "ALIGN_RATE" if raw.kind is Kind.CUMULATIVE:
            values, counts = _grown(raw, edges)
            kind = Kind.DELTA
        case "ALIGN_DELTA" | "ALIGN_RATE" | "ALIGN_SUM" | "ALIGN_MEAN" | "ALIGN_FRACTION_TRUE":
            values, counts = _summed(raw, edges)
        case "ALIGN_MAX":
            values = _joined(np.maximum, raw.values, raw.times, edges)
        case "ALIGN_MIN":
            values = _joined(np.minimum, raw.values, raw.times, edges)
        case "ALIGN_COUNT":
            values = _joined(np.add, np.ones(len(raw.values)), raw.times, edges)
        case _:
            values, counts = _summed(raw, edges)
    if aligner in {"ALIGN_DELTA", "ALIGN_RATE"} and counts is None:
        values = _interpolated(values, raw.value_type is ValueType.INT64 and aligner == "ALIGN_DELTA")
    if aligner == "ALIGN_RATE":
        values = values / (edges[1] - edges[0])
    if aligner in {"ALIGN_MEAN", "ALIGN_FRACTION_TRUE"}:
        values = values / _joined(np.add, np.ones(len(raw.values)), raw.times, edges)
    if aligner.startswith("ALIGN_PERCENTILE_"):
        assert raw.buckets is not None
        assert counts is not None
        values, counts = raw.buckets.percentile(counts, SHARES[aligner[-2:]]), None
    if aligner != "ALIGN_DELTA":
        kind = Kind.GAUGE
    if aligner in {"ALIGN_RATE", "ALIGN_MEAN", "ALIGN_FRACTION_TRUE"} or "PERCENTILE" in aligner:
        value_type = ValueType.DOUBLE
    if aligner == "ALIGN_COUNT":
        value_type = ValueType.INT64
    buckets = None if counts is None else raw.buckets
    labels = dict(raw.resource_labels), dict(raw.metric_labels)
    return Aligned(*labels, kind, value_type, values, counts, buckets)


def _joined(join: np.ufunc, values: NDArray[np.float64], times: Times, edges: Times) -> Floats:
    """The points of each step joined into one; NaN for a step without any."""
    bounds = np.searchsorted(times, edges, side="right")
    found = np.full(len(edges) - 1, math.nan)
    filled = bounds[1:] > bounds[:-1]
    if filled.any():
        found[filled] = join.reduceat(values[: bounds[-1]], bounds[:-1][filled])
    return found


def _summed(raw: RawSeries, edges: Times) -> tuple[Floats, Counts | None]:
    values = _joined(np.add, raw.values, raw.times, edges)
    if raw.counts is None:
        return values, None
    counts = np.zeros((len(edges) - 1, raw.counts.shape[1]), dtype=np.int64)
    bounds = np.searchsorted(raw.times, edges, side="right")
    filled = bounds[1:] > bounds[:-1]
    if filled.any():
        counts[filled] = np.add.reduceat(raw.counts[: bounds[-1]], bounds[:-1][filled], axis=0)
    return values, counts


def _grown(raw: RawSeries, edges: Times) -> tuple[Floats, Counts | None]:
    """How much a cumulative series grew in each step, interpolated between its points; a fall is a reset."""
    times = raw.times
    known = (edges[1:] > times[0]) & (edges[:-1] < times[-1])
    size = raw.values if raw.counts is None else raw.counts.sum(axis=1)
    fell = np.concatenate(([False], size[1:] < size[:-1]))
    if raw.counts is None:
        steps = np.diff(raw.values, prepend=raw.values[0])
        steps[fell] = raw.values[fell]
        grown = np.diff(_rounded(np.interp(edges, times, np.cumsum(steps)), raw.value_type))
        return np.where(known, grown, math.nan), None
    sums = np.diff(raw.values, prepend=raw.values[0])
    sums[fell] = raw.values[fell]
    more = np.diff(raw.counts, axis=0, prepend=raw.counts[:1])
    more[fell] = raw.counts[fell]
    totals = np.cumsum(more, axis=0)
    counts = np.zeros((len(edges) - 1, totals.shape[1]), dtype=np.int64)
    for bucket in np.flatnonzero(totals[-1]):
        counts[:, bucket] = np.diff(np.round(np.interp(edges, times, totals[:, bucket])))
    values = np.diff(np.interp(edges, times, np.cumsum(sums)))
    return np.where(known, values, math.nan), counts


def _rounded(values: Floats, value_type: ValueType) -> Floats:
    return np.round(values) if value_type is ValueType.INT64 else values


def _interpolated(values: Floats, whole: bool) -> Floats:
    """The holes between two values filled along a line; what lies outside of all values stays."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values
    first, last = known[0], known[-1]
    filled = values.copy()
    between = np.arange(first, last + 1)
    filled[first : last + 1] = np.interp(between, known, values[known])
    return np.round(filled) if whole else filled


def reduce(group: Sequence[Aligned], reducer: str) -> Aligned:
    """Several aligned series as one; labels are those of the first."""
    first = group[0]
    if reducer == "REDUCE_COUNT":
        values = np.sum([~np.isnan(one.values) for one in group], axis=0).astype(np.float64)
        return replace(
            first,
            values=np.where(values > 0, values, math.nan),
            counts=None,
            buckets=None,
            value_type=ValueType.INT64,
        )
    if first.counts is not None:
        return _reduced_distributions(group, reducer)
    values = np.stack([one.values for one in group])
    empty = np.isnan(values).all(axis=0)
    match reducer:
        case "REDUCE_SUM":
            reduced = np.nansum(values, axis=0)
        case "REDUCE_MAX":
            reduced = np.fmax.reduce(values)
        case "REDUCE_MIN":
            reduced = np.fmin.reduce(values)
        case "REDUCE_MEAN":
            reduced = np.nansum(values, axis=0) / np.maximum((~np.isnan(values)).sum(axis=0), 1)
        case _:
            reduced = np.full(values.shape[1], math.nan)
            reduced[~empty] = np.nanquantile(values[:, ~empty], SHARES[reducer[-2:]], axis=0)
    value_type = (
        first.value_type if reducer in {"REDUCE_SUM", "REDUCE_MAX", "REDUCE_MIN"} else ValueType.DOUBLE
    )
    return replace(first, values=np.where(empty, math.nan, reduced), value_type=value_type)


def _reduced_distributions(group: Sequence[Aligned], reducer: str) -> Aligned:
    """Buckets are added up; a percentile is of the sum and never of percentiles."""
    first = group[0]
    if any(one.buckets != first.buckets for one in group):
        raise ValueError("distributions with different buckets are not merged here")
    counts = np.sum([one.counts for one in group if one.counts is not None], axis=0)
    values = np.stack([one.values for one in group])
    empty = np.isnan(values).all(axis=0)
    sums = np.where(empty, math.nan, np.nansum(values, axis=0))
    if reducer == "REDUCE_SUM":
        return replace(first, values=sums, counts=counts)
    if reducer == "REDUCE_MEAN":
        found = sums / np.maximum(counts.sum(axis=1), 1)
    else:
        assert first.buckets is not None
        found = first.buckets.percentile(counts, SHARES[reducer[-2:]])
    nothing = empty | (counts.sum(axis=1) == 0)
    found = np.where(nothing, math.nan, found)
    return replace(
        first, values=found, counts=None, buckets=None, value_type=ValueType.DOUBLE, kind=Kind.GAUGE
    )
