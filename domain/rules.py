"""What the policy says should be watched: the types of its section ``rules``, and the default table."""

import importlib
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from domain.levels import Level, Value
from domain.units import Unit

if TYPE_CHECKING:
    from holidays import HolidayBase


class Kind(StrEnum):
    """What a service runs on, where its metrics are built in."""

    CLOUD_RUN = "cloud-run"
    CLOUD_SQL = "cloud-sql"


class Statistic(StrEnum):
    """What is made of a metric's points in each step, over all its series."""

    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    RATE = "rate"


class Measure(Value):
    """A metric that a team writes or Google does, by its full type.

    ``labels`` are equalities by full path (``metric.labels.kind``), sorted. ``resource`` is the type of
    the monitored resource. Its values times ``scale`` are in ``unit``: 0.001 where it is kept in
    milliseconds, 60 for a rate a minute.
    """

    metric: str
    statistic: Statistic
    resource: str
    labels: tuple[tuple[str, str], ...] = ()
    unit: Unit = Unit.COUNT
    scale: float = 1


class Silence(StrEnum):
    """What no data means. It never means healthy, except where nothing to measure is the ordinary case."""

    KEEP = "keep"
    """Nothing changes: what fires goes on firing, what does not stays quiet."""
    OK = "ok"
    """Nothing happened: a step without data is a good one (no starts, no slow queries)."""
    ALERT = "alert"
    """Alert after ``Threshold.silent_for`` of it."""


class Threshold(Value):
    """One metric, one limit, and how long it must be beyond it.

    ``metric`` is a built-in indicator's key or a measure. ``services`` empty: all of the indicator's
    kind. ``above`` False watches for values below. ``unit`` is that of ``limit``. ``week_ago``: what is
    compared is the ratio of the last hour's mean to the same hour's a week ago, a share. ``over``: each
    value is taken over this long, not over one step. ``lasting`` is the policy's ``for``. Recovered when
    on the good side of ``recover`` (the border counts) for ``recover_for``. ``minimum``: less traffic
    than this (requests over the longer of ``over`` and ``lasting``; with ``week_ago`` the mean of the
    hour a week ago) is not judged.
    """

    name: str
    metric: str | Measure
    unit: Unit
    services: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    above: bool = True
    limit: float
    week_ago: bool = False
    level: Level
    over: timedelta | None = None
    lasting: timedelta = timedelta(minutes=5)
    recover: float
    recover_for: timedelta = timedelta(minutes=5)
    minimum: float = 0
    no_data: Silence = Silence.KEEP
    silent_for: timedelta | None = None
    channel: str | None = None

    @property
    def key(self) -> str:
        """What its metric is called: a built-in indicator's key, else the threshold's own name."""
        return self.metric if isinstance(self.metric, str) else self.name


RECOVER_SHARE = 0.9
"""A value must be this share of the limit (above) to count as recovered, where the policy says nothing."""


def recovered_at(limit: float, *, above: bool) -> float:
    """The default of ``recover``: ten percent of the limit on its good side."""
    band = (1 - RECOVER_SHARE) * abs(limit)
    return limit - band if above else limit + band


def _default(metric: str, unit: Unit, limit: float, level: Level, minutes: int, **more: object) -> Threshold:
    return Threshold.model_validate(
        {
            "name": metric,
            "metric": metric,
            "unit": unit,
            "limit": limit,
            "level": level,
            "lasting": timedelta(minutes=minutes),
            "recover": recovered_at(limit, above=True),
            **more,
        }
    )


DEFAULT_THRESHOLDS: tuple[Threshold, ...] = (
    _default("cpu", Unit.SHARE, 0.80, Level.WARNING, 10),
    _default("memory", Unit.SHARE, 0.85, Level.WARNING, 10),
    _default("requests", Unit.PER_SECOND, 1000, Level.INFO, 5),
    _default("latency", Unit.SECONDS, 1, Level.CRITICAL, 5, minimum=100),
    _default("error-rate", Unit.SHARE, 0.01, Level.CRITICAL, 2, over=timedelta(minutes=5), minimum=100),
    _default(
        "startup", Unit.SECONDS, 10, Level.WARNING, 1, recover_for=timedelta(minutes=15), no_data=Silence.OK
    ),
    _default("sql-connections", Unit.SHARE, 0.80, Level.WARNING, 5),
    _default(
        "sql-cpu",
        Unit.SHARE,
        0.80,
        Level.WARNING,
        10,
        no_data=Silence.ALERT,
        silent_for=timedelta(minutes=15),
    ),
    _default("sql-disk", Unit.SHARE, 0.90, Level.CRITICAL, 5),
    _default("sql-replica-lag", Unit.SECONDS, 5, Level.WARNING, 5),
    _default("sql-slow-queries", Unit.SECONDS, 1, Level.WARNING, 5, no_data=Silence.OK),
    _default("sql-slow-query-count", Unit.PER_MINUTE, 1, Level.WARNING, 5),
)
"""Every built-in row. The limits and levels are the product's own, the rest keeps them from flapping."""


class Objective(Value):
    """A promise of availability: the share of requests that are answered without a 5xx, over ``window``.

    ``minimum_errors`` is how many failed requests the long window must hold before its burn rate counts,
    so that one failed request at night pages nobody.
    """

    name: str
    service: str
    availability: float
    window: timedelta = timedelta(days=30)
    minimum_errors: int = 10
    channel: str | None = None

    @property
    def budget(self) -> float:
        """The share of requests that may fail."""
        return 1 - self.availability


class Probe(Value):
    """A health address that is asked every ``every``.

    ``statuses`` are inclusive ranges of good HTTP statuses; ``text`` must stand in the answer's
    beginning. ``slow``: a longer answer is a failure.
    """

    name: str
    service: str
    url: str
    every: timedelta = timedelta(minutes=1)
    failures: int = 3
    successes: int = 2
    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    text: str | None = None
    slow: timedelta | None = None
    level: Level = Level.CRITICAL
    private: bool = False
    channel: str | None = None


class Sensitivity(StrEnum):
    """How readily the detector speaks."""

    OFF = "off"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Anomalies(Value):
    """The detector's settings. ``services`` are those that differ from the rest."""

    sensitivity: Sensitivity = Sensitivity.NORMAL
    level: Level = Level.INFO
    services: tuple[tuple[str, Sensitivity], ...] = ()
    channel: str | None = None

    def of(self, service: str) -> Sensitivity:
        """What holds for one service."""
        return dict(self.services).get(service, self.sensitivity)


class Limits(Value):
    """How much of something a service has; ``None`` where the team did not say.

    ``connections``: the database's ``max_connections``. ``storage``: bytes. ``instances``: Cloud Run's
    maximum. ``requests``: per second that it is built for. ``users``: that it is built for.
    """

    connections: float | None = None
    storage: float | None = None
    instances: float | None = None
    requests: float | None = None
    users: float | None = None


class Capacity(Value):
    """The growth report: when (cron, in ``Rules.zone``), how far ahead, how long a change takes.

    ``users`` is the metric that counts them, of ``users_of`` (a service: its project).
    """

    report: str = "0 9 * * 1"
    horizon: timedelta = timedelta(days=90)
    lead: timedelta = timedelta(days=14)
    users: Measure | None = None
    users_of: str | None = None


class Rules(Value):
    """The policy's section ``rules``; without it the default table holds for every service.

    ``thresholds`` is what really holds: the defaults as the team changed them, then its own.
    ``origins`` are the scheme, host and port that probes may ask, resolved.
    """

    zone: str = "UTC"
    holidays: str | None = None
    thresholds: tuple[Threshold, ...] = DEFAULT_THRESHOLDS
    objectives: tuple[Objective, ...] = ()
    probes: tuple[Probe, ...] = ()
    origins: tuple[str, ...] = ()
    anomalies: Anomalies = Anomalies()
    limits: tuple[tuple[str, Limits], ...] = ()
    capacity: Capacity = Capacity()

    def limits_of(self, service: str) -> Limits:
        """What a service has; empty where the policy does not say."""
        return dict(self.limits).get(service, Limits())

    def is_holiday(self, at: datetime) -> bool:
        """True on a public holiday of the team's country, on its clocks; False where none is named."""
        if self.holidays is None:
            return False
        return at.astimezone(ZoneInfo(self.zone)).date() in _holidays(self.holidays)


@cache
def _holidays(country: str) -> "HolidayBase":
    """The country's calendar; years are added as they are asked for.

    The library's own way loads the calendars of all countries first, for 8 MB that stay.
    """
    import holidays
    from holidays.registry import COUNTRIES

    module = next((name for name, classes in COUNTRIES.items() if country in classes), None)
    package = "holidays.countries"
    if module is None or package in sys.modules:
        return holidays.country_holidays(country)
    stand_in = ModuleType(package)
    stand_in.__path__ = [str(Path(holidays.__file__).parent / "countries")]
    sys.modules[package] = stand_in
    try:
        calendar: type[HolidayBase] = getattr(importlib.import_module(f"{package}.{module}"), country)
    finally:
        del sys.modules[package]
    return calendar()
