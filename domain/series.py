"""Time series: the questions we ask a monitoring system, and its answers on a regular grid."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from domain.levels import Value


class Aligner(StrEnum):
    """How the points of one series become one number for each step."""

    DELTA = "delta"
    RATE = "rate"
    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"


class Reducer(StrEnum):
    """How the series of one group become one. Percentiles are of merged distributions."""

    NONE = "none"
    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"


class Query(Value):
    """One question: which metric of which resources, aligned to ``step`` seconds, reduced by group.

    ``labels`` are equalities by full path (``resource.labels.service_name``), sorted; ``group_by`` are
    full paths as well. Frozen and hashable: it is the key of caches.
    """

    project: str
    metric: str
    resource: str
    labels: tuple[tuple[str, str], ...] = ()
    aligner: Aligner
    reducer: Reducer = Reducer.NONE
    group_by: tuple[str, ...] = ()
    step: int = 60


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers on a regular grid; NaN where there is none.

    ``start`` is the epoch second at which the first step *ends*: the value at ``start + i * step``
    covers the ``step`` seconds before it. ``labels`` are those of ``Query.group_by``, by full path.
    """

    start: int
    step: int
    values: "array[float]"
    labels: Mapping[str, str]

    @property
    def end(self) -> int:
        """The epoch second at which the last step ends; ``start - step`` where there is none."""
        return self.start + (len(self.values) - 1) * self.step


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to a query. No series at all means no data, never zero.

    ``complete_until`` is the epoch second up to which everything has arrived: the present less the
    metric's ingest delay. ``problem`` says why there is no answer (quota, permission, out of reach).
    """

    series: tuple[Series, ...]
    complete_until: int
    problem: str | None = None


def epoch(at: datetime) -> int:
    """Whole seconds since 1970."""
    return int(at.timestamp())


def moment(seconds: float) -> datetime:
    """The UTC time of epoch seconds."""
    return datetime.fromtimestamp(seconds, UTC)
