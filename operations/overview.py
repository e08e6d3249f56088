"""What all services look like just now, for the person who asks."""

import math
from collections import defaultdict
from collections.abc import Mapping

from domain.alerts import AlertGroup
from domain.health import OTHERS, Gauge, ServiceHealth, worst_first
from domain.indicators import INDICATORS, Indicator, Measured
from domain.policy import Service
from domain.rules import Kind, Threshold
from domain.series import Query, Reading, epoch
from operations.world import World

STEP = 300
"""Seconds of a step of what is shown."""

SHOWN = 36
"""Steps that are shown: three hours."""

GAUGES: dict[Kind, tuple[str, ...]] = {
    Kind.CLOUD_RUN: ("latency", "error-rate", "requests", "cpu", "memory"),
    Kind.CLOUD_SQL: ("sql-connections", "sql-cpu", "sql-disk", "sql-replica-lag"),
}


async def overview(world: World) -> tuple[ServiceHealth, ...]:
    """Every service of the policy, worst first, and last what is open about none of them.

    What cannot be read is said, never taken for healthy.
    """
    asked = {service.name: _asked(world, service) for service in world.policy.services}
    queries = {
        query
        for service in world.policy.services
        for indicator in asked[service.name]
        for query in indicator.queries(service, STEP)
    }
    end = epoch(world.clock.now()) // STEP * STEP
    readings = await world.metrics.read(sorted(queries, key=repr), end - SHOWN * STEP, end) if queries else {}
    open_groups: dict[str | None, list[AlertGroup]] = defaultdict(list)
    async with world.store.read() as tx:
        for group in await tx.open_groups():
            open_groups[group.service].append(group)
    shown = [
        _health(world, service, asked[service.name], readings, open_groups[service.name])
        for service in world.policy.services
    ]
    known = {service.name for service in world.policy.services}
    rest = [group for name, groups in open_groups.items() if name not in known for group in groups]
    others = (ServiceHealth(service=OTHERS, groups=_loudest_first(rest)),) if rest else ()
    return (*worst_first(tuple(shown)), *others)


def _loudest_first(groups: list[AlertGroup]) -> tuple[AlertGroup, ...]:
    return tuple(sorted(groups, key=lambda group: (-group.level.rank, group.id or 0)))


def _asked(world: World, service: Service) -> list[Indicator]:
    """The gauges of a service that can be measured."""
    if service.kind is None:
        return []
    limits = world.policy.rules.limits_of(service.name)
    found = [INDICATORS[key] for key in GAUGES[service.kind]]
    return [indicator for indicator in found if indicator.lacking(service, limits) is None]


def _health(
    world: World,
    service: Service,
    indicators: list[Indicator],
    readings: Mapping[Query, Reading],
    groups: list[AlertGroup],
) -> ServiceHealth:
    limits = world.policy.rules.limits_of(service.name)
    gauges, problem = [], None
    for indicator in indicators:
        measured = indicator.measure(readings, service, STEP, limits)
        problem = problem or measured.problem
        gauges.append(_gauge(indicator, measured, _limit(world, service, indicator)))
    worst = _loudest_first(groups)
    return ServiceHealth(service=service.name, gauges=tuple(gauges), groups=worst, problem=problem)


def _gauge(indicator: Indicator, measured: Measured, threshold: Threshold | None) -> Gauge:
    last = min(measured.end, measured.complete_until // measured.step * measured.step)
    ends = range(last - (SHOWN - 1) * measured.step, last + 1, measured.step)
    recent = tuple(value if math.isfinite(value) else None for value in map(measured.value, ends))
    known = [value for value in recent[-2:] if value is not None]
    return Gauge(
        metric=indicator.key,
        unit=indicator.unit,
        value=known[-1] if known else None,
        limit=threshold.limit if threshold else None,
        above=threshold.above if threshold else True,
        recent=recent,
    )


def _limit(world: World, service: Service, indicator: Indicator) -> Threshold | None:
    """The limit that holds for a service, where there is one in the same unit."""
    for threshold in world.policy.rules.thresholds:
        concerned = not threshold.services or service.name in threshold.services
        if threshold.metric == indicator.key and concerned and service.name not in threshold.excluded:
            return None if threshold.week_ago or threshold.unit is not indicator.unit else threshold
    return None
