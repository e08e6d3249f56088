"""What is measured: named indicators, the queries that they ask, and the numbers that come of the answers."""

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from domain.policy import Service
from domain.rules import Kind, Limits, Measure, Statistic, Threshold
from domain.series import Aligner, Query, Reading, Reducer, Series
from domain.units import Unit

NAN = math.nan
HOUR = 3600
WEEK = 7 * 24 * HOUR

RUN = "cloud_run_revision"
SQL = "cloudsql_database"
SQL_QUERIES = "cloudsql_instance_database"
PROMETHEUS = "prometheus_target"
RESPONSE_CLASS = "metric.labels.response_code_class"


@dataclass(frozen=True, slots=True)
class Measured:
    """An indicator's values on one grid, as ``Series`` has it: ``values[i]`` ends at ``start + i * step``.

    NaN is no value; infinity is replication that is inactive. ``weights``, where there are any, are
    the traffic behind each value (requests in the step): 0 is no traffic, NaN is no data.
    ``complete_until`` and ``problem`` are the worst of the readings'.
    """

    start: int
    step: int
    values: "array[float]"
    complete_until: int
    weights: "array[float] | None" = None
    problem: str | None = None

    @property
    def end(self) -> int:
        """The epoch second at which the last step ends; ``start - step`` where there is none."""
        return self.start + (len(self.values) - 1) * self.step

    def value(self, end: int) -> float:
        """The value of the step that ends then; NaN outside the grid."""
        return _at(self.values, end - self.start, self.step)

    def weight(self, end: int) -> float:
        """The traffic of the step that ends then; NaN outside, and where it is not known."""
        return NAN if self.weights is None else _at(self.weights, end - self.start, self.step)

    def has_data(self, end: int) -> bool:
        """True where something arrived for the step that ends then, be it that there was no traffic."""
        return not (math.isnan(self.value(end)) and math.isnan(self.weight(end)))


def _at(values: "array[float]", offset: int, step: int) -> float:
    place, rest = divmod(offset, step)
    return values[place] if rest == 0 and 0 <= place < len(values) else NAN


@dataclass(frozen=True, slots=True)
class Part:
    """One metric that an indicator asks for, before it is of a service."""

    metric: str
    resource: str
    aligner: Aligner
    reducer: Reducer
    group_by: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps that the answers cover together, and the answers laid on it, one list a part."""

    start: int
    step: int
    length: int
    parts: tuple[tuple[Series, ...], ...]

    def lay(self, series: Series) -> "array[float]":
        """A series' values on this grid, NaN where it has none."""
        before, rest = divmod(series.start - self.start, self.step)
        if rest or series.step != self.step:
            raise ValueError(f"a series of {series.step} s does not fit a grid of {self.step} s")
        after = self.length - before - len(series.values)
        if not before and not after:
            return series.values
        return array("d", [NAN]) * before + series.values + array("d", [NAN]) * after


Rows = tuple["array[float]", "array[float] | None"]


@dataclass(frozen=True, slots=True)
class Indicator:
    """A named number of a service. ``kind`` is ``None`` for a team's own metric.

    ``combine`` makes values and weights of the answers; it never sees an empty grid.
    """

    key: str
    unit: Unit
    kind: Kind | None
    parts: tuple[Part, ...]
    combine: Callable[[Grid, Limits], Rows]
    needs: str | None = None

    def lacking(self, service: Service, limits: Limits) -> str | None:
        """What the policy must say before this can be measured; ``None`` where nothing is missing."""
        if project(service) is None:
            return f"services.{service.name}.project"
        if self.needs is not None and not getattr(limits, self.needs):
            return f"rules.limits.{service.name}.{self.needs}"
        return None

    def queries(self, service: Service, step: int = 60) -> tuple[Query, ...]:
        """What to ask for one service, in the order of the parts. Needs the service's project."""
        where = project(service)
        assert where is not None
        return tuple(
            Query(
                project=where,
                metric=part.metric,
                resource=part.resource,
                labels=tuple(sorted({**dict(part.labels), **_own_labels(service, part.resource)}.items())),
                aligner=part.aligner,
                reducer=part.reducer,
                group_by=part.group_by,
                step=step,
            )
            for part in self.parts
        )

    def measure(
        self,
        readings: Mapping[Query, Reading],
        service: Service,
        step: int = 60,
        limits: Limits | None = None,
    ) -> Measured:
        """The indicator over everything that was read. Steps outside the answers do not exist.

        Raises ``KeyError`` where a query of ours was not asked.
        """
        answers = [readings[query] for query in self.queries(service, step)]
        complete = min(answer.complete_until for answer in answers)
        problem = next((answer.problem for answer in answers if answer.problem), None)
        found = [series for answer in answers for series in answer.series if len(series.values)]
        if not found:
            return Measured(complete + step, step, array("d"), complete, problem=problem)
        start = min(series.start for series in found)
        length = (max(series.end for series in found) - start) // step + 1
        grid = Grid(start, step, length, tuple(answer.series for answer in answers))
        values, weights = self.combine(grid, limits or Limits())
        return Measured(start, step, values, complete, weights, problem)


def project(service: Service) -> str | None:
    """The project of a service: its own, else the one in a database's name."""
    of_database, colon, _ = service.match.get("database_id", "").rpartition(":")
    return service.project or (of_database if colon else None)


def _own_labels(service: Service, resource: str) -> dict[str, str]:
    """The resource labels by which Google tells this service's series from others'."""
    labels: dict[str, str | None] = {}
    match resource:
        case "cloud_run_revision":
            labels["service_name"] = service.match.get("service_name")
            labels["location"] = service.match.get("location") or service.region
        case "cloudsql_database":
            labels["database_id"] = service.match.get("database_id")
        case "cloudsql_instance_database":
            labels["resource_id"] = service.match.get("database_id")
    return {f"resource.labels.{name}": value for name, value in labels.items() if value is not None}


def joined(grid: Grid, part: int, join: Callable[[Sequence[float]], float], scale: float) -> "array[float]":
    """All series of one part as one, times ``scale``; a step is NaN only where all of them are."""
    rows = [grid.lay(series) for series in grid.parts[part] if len(series.values)]
    if not rows:
        return array("d", [NAN]) * grid.length
    if len(rows) == 1:
        return rows[0] if scale == 1 else array("d", [value * scale for value in rows[0]])
    if join is math.fsum:
        joined = array("d", map(math.fsum, zip(*rows, strict=True)))
    else:
        joined = array("d", [NAN]) * grid.length
    for place, value in enumerate(joined):
        if value != value:  # noqa: PLR0124  Only NaN is not itself.
            known = [row[place] for row in rows if row[place] == row[place]]
            if known:
                joined[place] = join(known)
    return joined if scale == 1 else array("d", [value * scale for value in joined])


def highest(scale: float = 1) -> Callable[[Grid, Limits], Rows]:
    return lambda grid, _: (joined(grid, 0, max, scale), None)


def _classes(grid: Grid, part: int) -> tuple["array[float]", "array[float]"]:
    """All requests and failed ones of each step.

    A class without a point is 0 where another class of the service has one: a service without
    errors has no series of 5xx at all. A step without any point is NaN.
    """
    every = grid.parts[part]
    total = joined(grid, part, math.fsum, 1)
    bad = tuple(series for series in every if series.labels.get(RESPONSE_CLASS) == "5xx")
    if not bad:
        return total, array("d", [0.0 if value == value else NAN for value in total])  # noqa: PLR0124
    errors = joined(Grid(grid.start, grid.step, grid.length, (bad,)), 0, math.fsum, 1)
    pairs = zip(total, errors, strict=True)
    # Where there is no total there is no error either; where errors are missing they are none.
    return total, array("d", [e if e == e or t != t else 0.0 for t, e in pairs])  # noqa: PLR0124


def _error_rate(grid: Grid, limits: Limits) -> Rows:
    """Failed requests over all; no requests have no rate."""
    total, errors = _classes(grid, 0)
    return array("d", [e / t if t > 0 else NAN for t, e in zip(total, errors, strict=True)]), total


def _requests(grid: Grid, limits: Limits) -> Rows:
    return joined(grid, 0, math.fsum, 1 / grid.step), None


def _latency(grid: Grid, limits: Limits) -> Rows:
    return joined(grid, 0, max, 0.001), joined(grid, 1, math.fsum, 1)


def _connections(grid: Grid, limits: Limits) -> Rows:
    """PostgreSQL's backends, else the connections of the other engines, as a share of the allowed."""
    allowed = limits.connections or NAN
    postgres, others = joined(grid, 0, math.fsum, 1), joined(grid, 1, math.fsum, 1)
    used = zip(postgres, others, strict=True)
    return array("d", [(one if one == one else other) / allowed for one, other in used]), None  # noqa: PLR0124


def _replica_lag(grid: Grid, limits: Limits) -> Rows:
    """A negative lag says that replication is inactive: infinitely behind, and anything but fine."""
    lag = joined(grid, 0, lambda values: min(values) if min(values) < 0 else max(values), 1)
    return array("d", [math.inf if value < 0 else value for value in lag]), None


def _per_minute(grid: Grid, limits: Limits) -> Rows:
    return joined(grid, 0, math.fsum, 60 / grid.step), None


_COUNTS = Part("run.googleapis.com/request_count", RUN, Aligner.SUM, Reducer.SUM, (RESPONSE_CLASS,))
"""One question for requests, error rate and the traffic behind latency. SUM, since DELTA interpolates
steps without a point, and would make no data look like data."""

_CLOUD_SQL = "cloudsql.googleapis.com/database/"


def _run(metric: str, key: str, unit: Unit, scale: float = 1) -> Indicator:
    """A distribution of Cloud Run: buckets of all instances merged, then the 95th percentile."""
    part = Part(f"run.googleapis.com/container/{metric}", RUN, Aligner.DELTA, Reducer.P95)
    return Indicator(key, unit, Kind.CLOUD_RUN, (part,), highest(scale))


def _sql(metric: str, aligner: Aligner, reducer: Reducer, resource: str = SQL) -> Part:
    return Part(f"{_CLOUD_SQL}{metric}", resource, aligner, reducer)


_LATENCIES = Part("run.googleapis.com/request_latencies", RUN, Aligner.DELTA, Reducer.P95)
_SLOWEST = Part(
    f"{_CLOUD_SQL}postgresql/insights/perquery/latencies",
    SQL_QUERIES,
    Aligner.DELTA,
    Reducer.P95,
    ("metric.labels.query_hash",),
)

INDICATORS: dict[str, Indicator] = {
    one.key: one
    for one in (
        _run("cpu/utilizations", "cpu", Unit.SHARE),
        _run("memory/utilizations", "memory", Unit.SHARE),
        Indicator("requests", Unit.PER_SECOND, Kind.CLOUD_RUN, (_COUNTS,), _requests),
        Indicator("latency", Unit.SECONDS, Kind.CLOUD_RUN, (_LATENCIES, _COUNTS), _latency),
        Indicator("error-rate", Unit.SHARE, Kind.CLOUD_RUN, (_COUNTS,), _error_rate),
        _run("startup_latencies", "startup", Unit.SECONDS, 0.001),
        Indicator(
            "sql-connections",
            Unit.SHARE,
            Kind.CLOUD_SQL,
            (
                _sql("postgresql/num_backends", Aligner.MAX, Reducer.SUM),
                _sql("network/connections", Aligner.MAX, Reducer.SUM),
            ),
            _connections,
            needs="connections",
        ),
        Indicator(
            "sql-cpu",
            Unit.SHARE,
            Kind.CLOUD_SQL,
            (_sql("cpu/utilization", Aligner.MEAN, Reducer.MAX),),
            highest(),
        ),
        Indicator(
            "sql-disk",
            Unit.SHARE,
            Kind.CLOUD_SQL,
            (_sql("disk/utilization", Aligner.MAX, Reducer.MAX),),
            highest(),
        ),
        Indicator(
            "sql-replica-lag",
            Unit.SECONDS,
            Kind.CLOUD_SQL,
            (_sql("replication/replica_lag", Aligner.MAX, Reducer.MAX),),
            _replica_lag,
        ),
        Indicator("sql-slow-queries", Unit.SECONDS, Kind.CLOUD_SQL, (_SLOWEST,), highest(1e-6)),
        Indicator(
            "sql-slow-query-count",
            Unit.PER_MINUTE,
            Kind.CLOUD_SQL,
            (_sql("mysql/slow_queries_count", Aligner.SUM, Reducer.SUM),),
            _per_minute,
        ),
    )
}
"""Every built-in indicator by its key."""

SPOKEN = {
    "cpu": "CPU",
    "memory": "memory",
    "requests": "requests",
    "latency": "p95 latency",
    "error-rate": "error rate",
    "startup": "p95 startup",
    "sql-connections": "connections",
    "sql-cpu": "CPU",
    "sql-disk": "disk",
    "sql-replica-lag": "replica lag",
    "sql-slow-queries": "slowest query",
    "sql-slow-query-count": "slow queries",
}
"""What is called how in plain words. A team's own metric goes by its rule's name."""

DETECTED = ("latency", "error-rate", "requests", "cpu", "memory")
"""The five that the detector looks at."""

_ALIGNED: dict[Statistic, tuple[Aligner, Reducer]] = {
    Statistic.P50: (Aligner.DELTA, Reducer.P50),
    Statistic.P95: (Aligner.DELTA, Reducer.P95),
    Statistic.P99: (Aligner.DELTA, Reducer.P99),
    Statistic.MEAN: (Aligner.MEAN, Reducer.MEAN),
    Statistic.MAX: (Aligner.MAX, Reducer.MAX),
    Statistic.MIN: (Aligner.MIN, Reducer.MIN),
    Statistic.SUM: (Aligner.MEAN, Reducer.SUM),
    Statistic.RATE: (Aligner.RATE, Reducer.SUM),
}
"""Percentiles are of merged distributions, a sum is over series (instances), a rate is a second's."""


def indicator(threshold: Threshold) -> Indicator:
    """What a threshold watches. Raises ``KeyError`` for a built-in one that does not exist."""
    if isinstance(threshold.metric, str):
        return INDICATORS[threshold.metric]
    return measured_by(threshold.metric, threshold.key)


def measured_by(measure: Measure, key: str) -> Indicator:
    """A team's own metric as an indicator."""
    aligner, reducer = _ALIGNED[measure.statistic]
    part = Part(measure.metric, measure.resource, aligner, reducer, (), measure.labels)
    return Indicator(key, measure.unit, None, (part,), highest(measure.scale))


def to_week_ago(now: Measured, then: Measured, is_special: Callable[[int], bool] | None = None) -> Measured:
    """The hour before each step's end as a share of the same hour seven days earlier.

    ``then`` holds the steps of a week ago at their own times. The weights are the earlier hour's mean:
    0 where there is nothing to compare with, and on days that ``is_special`` (of an epoch second)
    names, today or then. An hour needs half of its steps.
    """
    hours, earlier = Means(now), Means(then)
    values, weights = array("d"), array("d")
    for place, value in enumerate(now.values):
        end = now.start + place * now.step
        mean, before = hours.mean(end, HOUR), earlier.mean(end - WEEK, HOUR)
        if value != value:  # noqa: PLR0124  Only NaN is not itself.
            weights.append(NAN)
            values.append(NAN)
            continue
        special = is_special is not None and (is_special(end) or is_special(end - WEEK))
        comparable = not special and before > 0 and mean == mean  # noqa: PLR0124
        weights.append(before if comparable else 0.0)
        values.append(mean / before if comparable else NAN)
    return Measured(now.start, now.step, values, now.complete_until, weights, now.problem or then.problem)


class Means:
    """Sums and means over any stretch of a measured indicator.

    Where there are weights, a mean is weighted by them: of error rates it is the rate of the whole.
    Each stretch is summed anew and exactly, so that it is the same whatever else was read.
    """

    def __init__(self, measured: Measured) -> None:
        self._of = measured
        weights = measured.weights or array("d", [1.0]) * len(measured.values)
        pairs = [
            (value * weight, weight) if math.isfinite(value) and weight > 0 else (0.0, 0.0)
            for value, weight in zip(measured.values, weights, strict=True)
        ]
        self._products = array("d", [product for product, _ in pairs])
        self._weights = array("d", [weight for _, weight in pairs])

    def _span(self, end: int, seconds: int) -> slice:
        last = (end - self._of.start) // self._of.step + 1
        first = last - max(1, seconds // self._of.step)
        return slice(max(first, 0), max(last, 0))

    def weight(self, end: int, seconds: int) -> float:
        """The traffic in the ``seconds`` before ``end``: the number of steps where none is known."""
        return math.fsum(self._weights[self._span(end, seconds)])

    def total(self, end: int, seconds: int) -> float:
        """Values times weights: of error rates, the number of errors."""
        return math.fsum(self._products[self._span(end, seconds)])

    def mean(self, end: int, seconds: int) -> float:
        """The mean over the ``seconds`` before ``end``; NaN where fewer than half of the steps are known.

        With weights a single step with traffic is enough: quiet minutes are no gaps.
        """
        weight = self.weight(end, seconds)
        enough = 0.0 if self._of.weights is not None else seconds // self._of.step / 2
        return self.total(end, seconds) / weight if weight > 0 and weight >= enough else NAN


def shown(value: float, unit: Unit) -> str:
    """A value with its unit for a reader of any language: ``1.84 s``, ``82.1 %``, ``1,204/s``."""
    if unit is Unit.SECONDS and 0 < abs(value) < 1:
        return shown(value * 1000, Unit.COUNT) + " ms"  # As ``notify.texts.amounts`` says it.
    number = value * 100 if unit is Unit.SHARE else value
    size = abs(number)
    if not math.isfinite(number):
        return "-"
    if 0 < size < 0.01:
        text = f"{number:.1g}"
    else:
        text = f"{number:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text + _SIGN[unit]


_SIGN = {
    Unit.SECONDS: " s",
    Unit.SHARE: " %",
    Unit.PER_SECOND: "/s",
    Unit.PER_MINUTE: "/min",
    Unit.COUNT: "",
    Unit.BYTES: " B",
}
