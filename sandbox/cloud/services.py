"""Services with dials: what their monitoring says follows from numbers that a test or a person sets."""

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from sandbox.cloud.descriptors import KNOWN, QUERIES, RUN, SQL, Descriptor, Kind, ValueType
from sandbox.cloud.distributions import Buckets, Counts, Floats
from sandbox.cloud.store import RawSeries, Times

MINUTE = 60
DAY = 86_400
SPREAD = 0.5
"""Standard deviation of the logarithm of a latency: p95 is 2.3 times the median."""

_Z95 = 1.6448536269514722
_DESCRIPTORS = {one.type: one for one in KNOWN}


@dataclass(frozen=True, slots=True)
class Dials:
    """``silent``: nothing is measured at all, as when monitoring itself has gone."""

    silent: bool = False


@dataclass(frozen=True, slots=True)
class RunDials(Dials):
    """A Cloud Run service. Latencies in ms, CPU and memory 0..1, shares of the requests 0..1.

    ``startups`` are instances started in a minute.
    """

    requests_per_second: float = 10
    error_share: float = 0
    client_error_share: float = 0
    p95_ms: float = 200
    cpu: float = 0.3
    memory: float = 0.4
    startups: float = 0
    startup_ms: float = 2000
    instances: float = 2
    pending: float = 0


@dataclass(frozen=True, slots=True)
class SqlDials(Dials):
    """A Cloud SQL instance. Shares 0..1; connections over all databases; lag in seconds, negative where
    replication is inactive, ``None`` where the instance is no replica; queries for Query Insights.
    """

    cpu: float = 0.3
    memory: float = 0.5
    disk: float = 0.4
    disk_bytes: float = 40e9
    connections: float = 40
    replica_lag: float | None = None
    slow_queries: float = 0
    queries_per_second: float = 20
    query_p95_ms: float = 20


@dataclass(frozen=True, slots=True)
class ValueDials(Dials):
    """Any other metric: a gauge's value, what comes in a minute, or a distribution's p95 and its count."""

    value: float = 0
    per_minute: float = 60


D_co = TypeVar("D_co", bound=Dials, covariant=True)


class Steady(ABC, Generic[D_co]):
    """A source whose dials stand still until they are set; the same moment always gives the same points.

    One point a minute. A point that ends at ``t`` was measured under the dials of ``t - 60``.
    """

    def __init__(self, dials: D_co) -> None:
        self._moments: list[float] = [-math.inf]
        self._dials: list[D_co] = [dials]

    def set(self, at: datetime | float, **changes: Any) -> None:
        """Turn dials from a moment on. Later settings that were made before are forgotten."""
        moment = at.timestamp() if isinstance(at, datetime) else float(at)
        place = bisect.bisect_left(self._moments, moment)
        del self._moments[place:], self._dials[place:]
        self._dials.append(replace(self._dials[-1], **changes))
        self._moments.append(moment)

    def dials(self, at: datetime | float) -> D_co:
        """What they stand at."""
        moment = at.timestamp() if isinstance(at, datetime) else float(at)
        return self._dials[bisect.bisect_right(self._moments, moment) - 1]

    @abstractmethod
    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]."""

    def minutes(self, start: int, end: int) -> Times:
        """The ends of its points in (start, end], in epoch seconds."""
        return self._minutes(start, end)

    def read(self, times: Times, name: str) -> Floats:
        """One dial at each point; NaN where it is silent or ``None``."""
        return self._read(times, name)

    def _minutes(self, start: int, end: int) -> Times:
        first = (start // MINUTE + 1) * MINUTE
        return np.arange(first, end + 1, MINUTE, dtype=np.int64)

    def _stretches(self, times: Times) -> Iterable[tuple[D_co, slice]]:
        """The dials and the points measured under them, in order, silent ones left out."""
        bounds = np.searchsorted(times - MINUTE, self._moments[1:], side="left").tolist()
        for dials, first, last in zip(self._dials, [0, *bounds], [*bounds, len(times)], strict=True):
            if first < last and not dials.silent:
                yield dials, slice(first, last)

    def _read(self, times: Times, name: str) -> Floats:
        """One dial at each point; NaN where it is silent or ``None``."""
        values = np.full(len(times), math.nan)
        for dials, where in self._stretches(times):
            found = getattr(dials, name)
            values[where] = math.nan if found is None else found
        return values


class SteadyRun(Steady[RunDials]):
    """A Cloud Run service with one revision. There are no 5xx series while nothing fails."""

    def __init__(
        self,
        name: str,
        project: str,
        location: str = "asia-northeast1",
        revision: str = "",
        dials: RunDials | None = None,
    ) -> None:
        super().__init__(dials or RunDials())
        self.resource = {
            "project_id": project,
            "location": location,
            "service_name": name,
            "revision_name": revision or f"{name}-00001-aaa",
            "configuration_name": name,
        }

    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]."""
        prefix, _, name = metric_type.partition("/")
        if prefix != "run.googleapis.com":
            return
        times = self._minutes(start, end)
        descriptor = _DESCRIPTORS[metric_type]
        match name:
            case "request_count":
                yield from self._requests(descriptor, times)
            case "request_latencies" | "request_latency/e2e_latencies":
                requests = _whole(times, self._read(times, "requests_per_second") * MINUTE)
                found = self._spread(descriptor, times, "p95_ms", requests)
                yield from _series(descriptor, RUN, self.resource, _response("200"), times, *found)
            case "container/cpu/utilizations" | "container/memory/utilizations":
                dial = "cpu" if "cpu" in name else "memory"
                found = _pointed(descriptor, self._read(times, dial), self._read(times, "instances") * 6)
                yield from _series(descriptor, RUN, self.resource, {}, times, *found)
            case "container/startup_latencies":
                starts = _whole(times, self._read(times, "startups"))
                found = self._spread(descriptor, times, "startup_ms", starts)
                yield from _series(descriptor, RUN, self.resource, {}, times, *found)
            case "container/instance_count":
                values = self._read(times, "instances")
                yield from _series(descriptor, RUN, self.resource, {"state": "active"}, times, values)
            case "pending_queue/pending_requests":
                yield from _series(descriptor, RUN, self.resource, {}, times, self._read(times, "pending"))
            case "container/billable_instance_time":
                values = self._read(times, "instances") * MINUTE
                yield from _series(descriptor, RUN, self.resource, {}, times, values)

    def _requests(self, descriptor: Descriptor, times: Times) -> Iterable[RawSeries]:
        every = self._read(times, "requests_per_second") * MINUTE
        requests = _whole(times, every)
        failed = np.minimum(_whole(times, every * self._read(times, "error_share")), requests)
        refused = _whole(times, every * self._read(times, "client_error_share"))
        refused = np.minimum(refused, requests - failed)
        for code, values in (("200", requests - failed - refused), ("404", refused), ("500", failed)):
            # A class that nobody met has no point, not a zero.
            met = np.where(values > 0, values, math.nan)
            yield from _series(descriptor, RUN, self.resource, _response(code), times, met)

    def _spread(
        self, descriptor: Descriptor, times: Times, dial: str, numbers: Floats
    ) -> tuple[Floats, Counts]:
        assert descriptor.buckets is not None
        return _spread(descriptor.buckets, self._read(times, dial), numbers)


class SteadySql(Steady[SqlDials]):
    """A Cloud SQL instance; ``engine`` is postgresql, mysql or sqlserver and decides which metrics it has."""

    def __init__(
        self,
        name: str,
        project: str,
        region: str = "asia-northeast1",
        engine: str = "postgresql",
        databases: Mapping[str, float] | None = None,
        dials: SqlDials | None = None,
    ) -> None:
        super().__init__(dials or SqlDials())
        self.engine = engine
        self.databases = dict(databases or {"app": 0.9, "postgres": 0.1})
        self.resource = {"project_id": project, "database_id": f"{project}:{name}", "region": region}
        self.of_queries = {
            "project_id": project,
            "resource_id": f"{project}:{name}",
            "database": next(iter(self.databases)),
            "location": region,
        }

    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]."""
        prefix, _, name = metric_type.partition("/database/")
        if prefix != "cloudsql.googleapis.com":
            return
        times, descriptor = self._minutes(start, end), _DESCRIPTORS[metric_type]
        simple = {
            "cpu/utilization": "cpu",
            "memory/utilization": "memory",
            "disk/utilization": "disk",
            "disk/bytes_used": "disk_bytes",
            "replication/replica_lag": "replica_lag",
        }
        if name in simple:
            yield from _series(descriptor, SQL, self.resource, {}, times, self._read(times, simple[name]))
        elif name == "postgresql/num_backends" and self.engine == "postgresql":
            every = self._read(times, "connections")
            for database, share in self.databases.items():
                values = np.round(every * share)
                yield from _series(descriptor, SQL, self.resource, {"database": database}, times, values)
        elif name == "network/connections" and self.engine != "postgresql":
            yield from _series(descriptor, SQL, self.resource, {}, times, self._read(times, "connections"))
        elif name == "mysql/slow_queries_count" and self.engine == "mysql":
            values = _whole(times, self._read(times, "slow_queries"))
            labels = {"database": next(iter(self.databases))}
            yield from _series(descriptor, SQL, self.resource, labels, times, values)
        elif name.startswith("postgresql/insights/perquery/") and self.engine == "postgresql":
            yield from self._insights(descriptor, start, end)

    def _insights(self, descriptor: Descriptor, start: int, end: int) -> Iterable[RawSeries]:
        """Cumulative since the last midnight in UTC, when they begin anew."""
        times = self._minutes(start // DAY * DAY, end)
        numbers = _whole(times, self._read(times, "queries_per_second") * MINUTE)
        counts: Counts | None = None
        if descriptor.value_type is ValueType.DISTRIBUTION:
            assert descriptor.buckets is not None
            values, counts = _spread(descriptor.buckets, self._read(times, "query_p95_ms") * 1000, numbers)
        else:
            values = np.round(numbers * _mean_of(self._read(times, "query_p95_ms")) * 1000)
        labels = {
            "querystring": "SELECT * FROM events WHERE id = ?",
            "query_hash": "4f9a0c1d",
            "user": "app",
            "client_addr": "10.0.0.2",
        }
        found = _cumulative(times, values, counts)
        for raw in _series(descriptor, QUERIES, self.of_queries, labels, times, *found):
            yield raw.only(raw.times > start)


class SteadyValue(Steady[ValueDials]):
    """One series of any declared metric: custom, Managed Prometheus, or one that the others lack."""

    def __init__(
        self,
        descriptor: Descriptor,
        resource_type: str,
        resource_labels: Mapping[str, str],
        metric_labels: Mapping[str, str] | None = None,
        dials: ValueDials | None = None,
    ) -> None:
        super().__init__(dials or ValueDials())
        self.descriptor = descriptor
        self.resource_type = resource_type
        self.resource = dict(resource_labels)
        self.labels = dict(metric_labels or {})

    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]."""
        if metric_type != self.descriptor.type:
            return
        descriptor, cumulative = self.descriptor, self.descriptor.kind is Kind.CUMULATIVE
        times = self._minutes(start // DAY * DAY if cumulative else start, end)
        values, counts = self._read(times, "value"), None
        if descriptor.value_type is ValueType.DISTRIBUTION:
            assert descriptor.buckets is not None
            values, counts = _spread(
                descriptor.buckets, values, _whole(times, self._read(times, "per_minute"))
            )
        elif descriptor.value_type is ValueType.INT64:
            values = np.round(values) if descriptor.kind is Kind.GAUGE else _whole(times, values)
        if cumulative:
            values, counts = _cumulative(times, values, counts)
        for raw in _series(descriptor, self.resource_type, self.resource, self.labels, times, values, counts):
            yield raw.only(raw.times > start)


def _response(code: str) -> dict[str, str]:
    return {"response_code": code, "response_code_class": f"{code[0]}xx"}


def _series(
    descriptor: Descriptor,
    resource_type: str,
    resource: Mapping[str, str],
    labels: Mapping[str, str],
    times: Times,
    values: Floats,
    counts: Counts | None = None,
) -> Iterable[RawSeries]:
    """The series of these values without the missing ones; none where there are no others."""
    known = ~np.isnan(values)
    if known.any():
        yield RawSeries(
            resource_type,
            resource,
            labels,
            descriptor.kind,
            descriptor.value_type,
            times[known],
            values[known],
            None if counts is None else counts[known],
            descriptor.buckets,
        )


def _whole(times: Times, numbers: Floats) -> Floats:
    """Whole numbers that add up: 0.1 a minute is one every ten minutes, always the same ones."""
    minutes = times // MINUTE
    return np.floor((minutes + 1) * numbers + 1e-6) - np.floor(minutes * numbers + 1e-6)


def _mean_of(p95: Floats) -> Floats:
    return np.asarray(p95 * math.exp(SPREAD * SPREAD / 2 - _Z95 * SPREAD), dtype=np.float64)


def _spread(buckets: Buckets, p95: Floats, numbers: Floats) -> tuple[Floats, Counts]:
    """So many log-normal observations with that p95 in each point: their sum, and how they fall."""
    counts = np.zeros((len(p95), len(buckets)), dtype=np.int64)
    some = ~np.isnan(p95) & (numbers > 0)
    pairs, which = np.unique(np.stack((p95[some], numbers[some])), axis=1, return_inverse=True)
    rows = [_fallen(buckets, float(high), int(number)) for high, number in pairs.T]
    if rows:
        counts[some] = np.stack(rows)[which.reshape(-1)]
    return np.where(some, numbers * _mean_of(p95), math.nan), counts


@lru_cache(maxsize=4096)
def _fallen(buckets: Buckets, p95: float, number: int) -> Counts:
    """How ``number`` observations fall into the buckets, without chance."""
    middle = math.log(max(p95, 1e-9)) - _Z95 * SPREAD
    below = [
        0.5 * math.erfc(-(math.log(bound) - middle) / (SPREAD * math.sqrt(2))) if bound > 0 else 0.0
        for bound in buckets.bounds.tolist()
    ]
    return np.diff(np.round(np.asarray([0.0, *below, 1.0]) * number)).astype(np.int64)


def _pointed(descriptor: Descriptor, values: Floats, numbers: Floats) -> tuple[Floats, Counts]:
    """So many observations that all have the same value."""
    assert descriptor.buckets is not None
    counts = np.zeros((len(values), len(descriptor.buckets)), dtype=np.int64)
    known = ~np.isnan(values) & (numbers > 0)
    places = np.searchsorted(descriptor.buckets.bounds, values[known], side="right")
    counts[np.flatnonzero(known), places] = np.round(numbers[known]).astype(np.int64)
    return np.where(known, values * np.round(numbers), math.nan), counts


def _cumulative(times: Times, values: Floats, counts: Counts | None) -> tuple[Floats, Counts | None]:
    """What came since midnight at each point; where nothing was measured there is no point."""
    days = (times - 1) // DAY
    before = np.searchsorted(days, days, side="left")
    running = np.cumsum(np.nan_to_num(values))
    start = np.where(before > 0, running[np.maximum(before - 1, 0)], 0)
    found = np.where(np.isnan(values), math.nan, running - start)
    if counts is None:
        return found, None
    totals = np.cumsum(counts, axis=0)
    base = np.where((before > 0)[:, None], totals[np.maximum(before - 1, 0)], 0)
    return found, totals - base
