"""The points that the pretend Cloud Monitoring has: recorded ones, and those that sources make when asked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sandbox.cloud.descriptors import KNOWN, RESOURCES, Descriptor, Kind, ValueType
from sandbox.cloud.distributions import Buckets, Counts, Floats

Times = NDArray[np.int64]
Observed = float | Sequence[float]
"""A number, or a distribution's observations."""


@dataclass(frozen=True, slots=True)
class RawSeries:
    """Points as they were measured, before any aligning.

    ``times`` are the epoch seconds at which the points end, ascending. ``values`` are the numbers; of
    distributions they are the sums of the observations, ``counts`` (points, buckets) holds the rest.
    """

    resource_type: str
    resource_labels: Mapping[str, str]
    metric_labels: Mapping[str, str]
    kind: Kind
    value_type: ValueType
    times: Times
    values: Floats
    counts: Counts | None = None
    buckets: Buckets | None = None

    @classmethod
    def of(
        cls,
        descriptor: Descriptor,
        resource_type: str,
        resource_labels: Mapping[str, str],
        metric_labels: Mapping[str, str],
        points: Iterable[tuple[int, Observed]],
    ) -> Self:
        """From a list of (end, value); a distribution's value is the list of its observations."""
        ordered = sorted(points, key=lambda point: point[0])
        times = np.asarray([end for end, _ in ordered], dtype=np.int64)
        counts = None
        if descriptor.value_type is ValueType.DISTRIBUTION:
            buckets = descriptor.buckets
            assert buckets is not None
            observed = [list(value) if isinstance(value, Sequence) else [value] for _, value in ordered]
            values = [sum(one) for one in observed]
            counts = np.asarray([buckets.count(one) for one in observed], dtype=np.int64)
            counts = counts.reshape(len(times), len(buckets))
        else:
            values = [float(value) for _, value in ordered if isinstance(value, int | float)]
        return cls(
            resource_type,
            dict(resource_labels),
            dict(metric_labels),
            descriptor.kind,
            descriptor.value_type,
            times,
            np.asarray(values, dtype=np.float64),
            counts,
            descriptor.buckets,
        )

    def only(self, keep: NDArray[np.bool_]) -> "RawSeries":
        """The same series with some of its points."""
        return RawSeries(
            self.resource_type,
            self.resource_labels,
            self.metric_labels,
            self.kind,
            self.value_type,
            self.times[keep],
            self.values[keep],
            None if self.counts is None else self.counts[keep],
            self.buckets,
        )


class Source(Protocol):
    """Makes points when they are asked for, so that a pushed clock makes new ones."""

    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]; none for a foreign metric.

        The same point must come out however the window lies.
        """
        ...


@dataclass(slots=True)
class _Recorded:
    """Points that were put, and the epoch seconds at which they arrived."""

    metric_type: str
    raw: RawSeries
    arrives: int | None


@dataclass(slots=True)
class Points:
    """Descriptors, recorded series and sources together."""

    descriptors: dict[str, Descriptor] = field(default_factory=lambda: {one.type: one for one in KNOWN})
    sources: list[Source] = field(default_factory=list)
    _recorded: list[_Recorded] = field(default_factory=list)

    def declare(self, descriptor: Descriptor) -> Descriptor:
        """Make a metric type known, or replace it."""
        if (descriptor.value_type is ValueType.DISTRIBUTION) is (descriptor.buckets is None):
            raise ValueError(f"{descriptor.type}: a distribution needs buckets, and nothing else has them")
        self.descriptors[descriptor.type] = descriptor
        return descriptor

    def feed(self, source: Source) -> None:
        """Let a source answer for its metrics from now on."""
        self.sources.append(source)

    def starve(self, source: Source) -> None:
        """Take a source away: its series end, and its past is gone as well."""
        self.sources.remove(source)

    def put(
        self,
        metric_type: str,
        resource_type: str,
        resource_labels: Mapping[str, str],
        points: Iterable[tuple[int, Observed]],
        metric_labels: Mapping[str, str] | None = None,
        *,
        arrives: int | None = None,
    ) -> None:
        """Record points (end, value) of one series. More can be put later; one with the same end is replaced.

        ``arrives``: the epoch second before which these points are not visible, however long ago they
        ended: the truly late. Without it they arrive when the metric's ingest delay is over.
        """
        descriptor = self.descriptors[metric_type]
        if "project_id" not in resource_labels:
            raise ValueError("every resource has a project_id")
        unknown = set(resource_labels) - RESOURCES[resource_type]
        if unknown or (descriptor.resources and resource_type not in descriptor.resources):
            raise ValueError(f"{metric_type} has no {resource_type} with {sorted(unknown)}")
        raw = RawSeries.of(descriptor, resource_type, resource_labels, metric_labels or {}, points)
        self._recorded.append(_Recorded(metric_type, raw, arrives))

    def visible(
        self, descriptor: Descriptor, start: int, end: int, now: float, late: float
    ) -> Iterator[RawSeries]:
        """The series of a metric with the points that can be seen ``now`` and end in (start, end]."""
        newest = min(end, int(now - (descriptor.ingest_delay or 0) - late))
        by_series: dict[tuple[object, ...], list[RawSeries]] = {}
        for one in self._recorded:
            if one.metric_type == descriptor.type and (one.arrives is None or one.arrives <= now):
                by_series.setdefault(_identity(one.raw), []).append(one.raw)
        for parts in by_series.values():
            raw = _joined(parts)
            kept = raw.only((raw.times > start) & (raw.times <= newest))
            if len(kept.times):
                yield kept
        if newest <= start:
            return
        for source in self.sources:
            for raw in source.series(descriptor.type, start, newest):
                if raw.kind is not descriptor.kind or raw.value_type is not descriptor.value_type:
                    raise ValueError(f"{descriptor.type} is not {raw.kind} {raw.value_type}")
                kept = raw.only((raw.times > start) & (raw.times <= newest))
                if len(kept.times):
                    yield kept


def _identity(raw: RawSeries) -> tuple[object, ...]:
    return (raw.resource_type, *sorted(raw.resource_labels.items()), "", *sorted(raw.metric_labels.items()))


def _joined(parts: Sequence[RawSeries]) -> RawSeries:
    """Several recordings of one series as one; of two points with one end the later recording counts."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    times = np.concatenate([part.times for part in parts])
    values = np.concatenate([part.values for part in parts])
    _, last = np.unique(times[::-1], return_index=True)
    order = len(times) - 1 - last
    counts = None
    if first.counts is not None:
        counts = np.concatenate([part.counts for part in parts if part.counts is not None])[order]
    return RawSeries(
        first.resource_type,
        first.resource_labels,
        first.metric_labels,
        first.kind,
        first.value_type,
        times[order],
        values[order],
        counts,
        first.buckets,
    )
