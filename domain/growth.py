"""What is watched for growth: which quantity of which kind of service, and which setting bounds it."""

import math
from array import array
from dataclasses import dataclass
from datetime import date

from domain.capacity import Advice, Forecast, NotEnough
from domain.indicators import INDICATORS, RUN, SQL, Grid, Indicator, Part, Rows, joined, measured_by
from domain.policy import Policy, Service
from domain.rules import Kind, Limits
from domain.series import Aligner, Reducer
from domain.units import Unit

STEP = 300
"""Seconds of a step: the detector reads the same series, so that they are fetched once."""

DAYS = 35
"""Days of history that are looked at; Cloud Monitoring keeps six weeks of most metrics."""


@dataclass(frozen=True, slots=True)
class Growing:
    """One quantity. ``limit`` names the field of ``domain.rules.Limits`` that bounds it.

    ``grain`` is what a new setting is rounded to; ``shrinks`` False where it is no
    setting, or cannot be made smaller.
    """

    indicator: Indicator
    limit: str
    grain: float = 1.0
    shrinks: bool = True


def _count(key: str, metric: str, kind: Kind, unit: Unit = Unit.COUNT) -> Indicator:
    resource = RUN if kind is Kind.CLOUD_RUN else SQL
    parts = tuple(Part(one, resource, Aligner.MAX, Reducer.SUM) for one in metric.split())
    return Indicator(key, unit, kind, parts, _whichever)


def _whichever(grid: Grid, limits: Limits) -> Rows:
    """The first of several metrics that has a value: engines name the same thing differently."""
    rows = [joined(grid, place, math.fsum, 1) for place in range(len(grid.parts))]
    steps = zip(*rows, strict=True)
    return array("d", [next((one for one in step if not math.isnan(one)), math.nan) for step in steps]), None


_SQL = "cloudsql.googleapis.com/database"
_GIB = 1024.0**3

GROWING: tuple[Growing, ...] = (
    Growing(INDICATORS["requests"], "requests", 10, shrinks=False),
    Growing(
        _count("instances", "run.googleapis.com/container/instance_count", Kind.CLOUD_RUN), "instances", 10
    ),
    Growing(
        _count("connections", f"{_SQL}/postgresql/num_backends {_SQL}/network/connections", Kind.CLOUD_SQL),
        "connections",
        50,
    ),
    Growing(
        _count("storage", f"{_SQL}/disk/bytes_used", Kind.CLOUD_SQL, Unit.BYTES),
        "storage",
        10 * _GIB,
        shrinks=False,
    ),
)
"""The built-in quantities; users are a metric of the team's own."""


def growing(policy: Policy, service: Service) -> tuple[Growing, ...]:
    """What can be measured of a service."""
    limits = policy.rules.limits_of(service.name)
    found = [one for one in GROWING if one.indicator.kind is service.kind]
    capacity = policy.rules.capacity
    if capacity.users is not None and capacity.users_of == service.name:
        found.append(Growing(measured_by(capacity.users, "users"), "users", 100, shrinks=False))
    return tuple(one for one in found if one.indicator.lacking(service, limits) is None)


@dataclass(frozen=True, slots=True)
class Growth:
    """What is expected of one quantity of a service. ``problem``: why it could not be read."""

    metric: str
    unit: Unit
    forecast: Forecast | NotEnough | None
    limit: float | None = None
    advice: tuple[Advice, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """A service's growth, quantity by quantity."""

    service: str
    growths: tuple[Growth, ...]

    @property
    def is_urgent(self) -> bool:
        """True where something should be done."""
        return self.needed_by is not None

    @property
    def needed_by(self) -> date | None:
        """The first day before which something has to be changed."""
        days = [one.before for growth in self.growths for one in growth.advice if one.before is not None]
        return min(days, default=None)
