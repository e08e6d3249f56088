"""How the services are just now: the values behind ``/toban health``."""

from domain.alerts import AlertGroup
from domain.policy import Value
from domain.units import Unit

OTHERS = ""
"""Stands for alerts that are about no service of the policy."""


class Gauge(Value):
    """One metric of a service: its newest value, its limit if it has one, and the last hours.

    ``recent`` holds one value a step, oldest first, ``None`` where there was none. ``above`` False
    marks a limit that must not be fallen below.
    """

    metric: str
    unit: Unit
    value: float | None = None
    limit: float | None = None
    above: bool = True
    recent: tuple[float | None, ...] = ()

    @property
    def strain(self) -> float:
        """The value as a share of its limit; 0 where there is nothing to compare."""
        if self.value is None or not self.limit or not self.above:
            return 0.0
        return self.value / self.limit


class ServiceHealth(Value):
    """One service: what is open about it and how its metrics stand. ``problem``: why they are not known."""

    service: str
    gauges: tuple[Gauge, ...] = ()
    groups: tuple[AlertGroup, ...] = ()
    problem: str | None = None

    @property
    def badness(self) -> tuple[int, int, float]:
        """Sorts worst first when reversed: the loudest open alert, blindness, the nearest limit."""
        loudest = max((group.level.rank + 1 for group in self.groups), default=0)
        strain = max((gauge.strain for gauge in self.gauges), default=0.0)
        return loudest, int(self.problem is not None), strain


def worst_first(services: tuple[ServiceHealth, ...]) -> tuple[ServiceHealth, ...]:
    """In the order in which somebody should look; equal ones by name."""
    return tuple(
        sorted(sorted(services, key=lambda one: one.service), key=lambda one: one.badness, reverse=True)
    )
