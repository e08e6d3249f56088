"""Growth: the weekly report, and the answer for one service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.capacity import Advice, Forecast, Limit, Move, NotEnough, advise, forecast
from domain.effects import Note, Picture, Text
from domain.errors import Outage
from domain.growth import DAYS, STEP, Growing, Growth, Outlook, growing
from domain.indicators import Measured
from domain.outbox import OPS
from domain.policy import Policy, Service
from domain.series import Aligner, Series, epoch
from domain.units import Unit
from operations.world import World

DAY = 86400


@dataclass(frozen=True, slots=True)
class _Asked:
    """One forecast to be computed; it travels to another process."""

    series: Series
    at: int
    days: int
    unit: Unit
    zone: str


def reported(policy: Policy) -> bool:
    """True where there is anything to report on."""
    return any(growing(policy, service) for service in policy.services)


async def outlook(world: World, service: Service) -> Outlook:
    """One service's growth as of now."""
    return (await outlooks(world, (service,)))[0]


async def outlooks(world: World, services: Sequence[Service]) -> list[Outlook]:
    """The growth of several services: read together, computed together."""
    policy, at = world.policy, epoch(world.clock.now())
    wanted = {service.name: growing(policy, service) for service in services}
    queries = {
        query
        for service in services
        for one in wanted[service.name]
        for query in one.indicator.queries(service, STEP)
    }
    end = at // STEP * STEP
    readings = await world.history.read(sorted(queries, key=repr), end - DAYS * DAY, end) if queries else {}
    measured = {
        (service.name, one.indicator.key): one.indicator.measure(
            readings, service, STEP, policy.rules.limits_of(service.name)
        )
        for service in services
        for one in wanted[service.name]
    }
    horizon = policy.rules.capacity.horizon // timedelta(days=1)
    asked = {
        key: _Asked(_series(found), at, horizon, _unit(wanted[key[0]], key[1]), policy.rules.zone)
        for key, found in measured.items()
        if found.problem is None or len(found.values)
    }
    computed = await world.compute.run(forecasts, tuple(asked.values())) if asked else ()
    expected = dict(zip(asked, computed, strict=True))
    return [
        Outlook(
            service=service.name,
            growths=tuple(_growth(policy, service, one, measured, expected) for one in wanted[service.name]),
        )
        for service in services
    ]


def forecasts(asked: Sequence[_Asked]) -> tuple[Forecast | NotEnough, ...]:
    """The arithmetic, for a process of its own: the largest hour counts for its day."""
    return tuple(
        forecast(one.series, one.at, one.days, unit=one.unit, zone=ZoneInfo(one.zone), fold=Aligner.MAX)
        for one in asked
    )


def _series(found: Measured) -> Series:
    """Complete steps only: the newest ones may still change."""
    last = (min(found.end, found.complete_until) - found.start) // found.step + 1
    return Series(found.start, found.step, found.values[: max(0, last)], {})


def _unit(wanted: Sequence[Growing], key: str) -> Unit:
    return next(one.indicator.unit for one in wanted if one.indicator.key == key)


def _growth(
    policy: Policy,
    service: Service,
    one: Growing,
    measured: Mapping[tuple[str, str], Measured],
    expected: Mapping[tuple[str, str], Forecast | NotEnough],
) -> Growth:
    key = (service.name, one.indicator.key)
    limit: float | None = getattr(policy.rules.limits_of(service.name), one.limit)
    found = expected.get(key)
    advice: tuple[Advice, ...] = ()
    if isinstance(found, Forecast) and limit:
        lead = policy.rules.capacity.lead // timedelta(days=1)
        bound = Limit(one.indicator.key, limit, one.indicator.unit, grain=one.grain, lead=lead)
        advice = tuple(said for said in advise(found, bound) if one.shrinks or said.move is not Move.LOWER)
    return Growth(
        metric=one.indicator.key,
        unit=one.indicator.unit,
        forecast=found,
        limit=limit,
        advice=advice,
        problem=measured[key].problem,
    )


async def report(world: World, due: datetime) -> int:
    """The growth of all services, as one message of its own. Raises ``Outage`` where nothing is readable."""
    found = await outlooks(world, world.policy.services)
    shown = [one for one in found if one.growths]
    unread = [growth.problem for one in shown for growth in one.growths if growth.problem]
    if unread and len(unread) == sum(len(one.growths) for one in shown):
        raise Outage(f"nothing could be read: {unread[0]}")
    shown.sort(key=lambda one: one.needed_by or date.max)
    urgent = [one for one in shown if one.is_urgent]
    lines = [line for one in shown for line in said(one)]
    key = "capacity.report" if urgent else "capacity.report_well"
    params = {"count": len(urgent), "total": len(shown), "at": epoch(due)}
    text = Text(key=key, params=params, lines=tuple(lines), picture=_picture(urgent or shown))
    async with world.store() as tx:
        await tx.say([Note(key=f"capacity:{epoch(due)}", place=OPS, text=text)], world.clock.now())
    return len(shown)


def said(outlook: Outlook) -> list[Text]:
    """A service in lines: what grows how fast, and what to do about it."""
    lines = [Text(key="capacity.service", params={"service": outlook.service})]
    for growth in outlook.growths:
        lines += [_expected(growth), *(advice.text for advice in growth.advice)]
    return lines


def _expected(growth: Growth) -> Text:
    about = {"metric": growth.metric}
    match growth.forecast:
        case NotEnough(days=days, needed=needed):
            return Text(key="capacity.not_enough", params=about | {"days": days, "needed": needed})
        case Forecast() as found:
            unit = growth.unit.value
            params = about | {
                "current": [found.current, unit],
                "expected": [found.expected[-1], unit],
                "low": [found.low[-1], unit],
                "high": [found.high[-1], unit],
                "growth": [abs(found.growth) * 7, unit],
                "days": found.days,
            }
            way = "flat" if not found.growth else "grows" if found.growth > 0 else "falls"
            return Text(key=f"capacity.{way}", params=params)
        case None:
            return Text(key="capacity.unread", params=about | {"why": growth.problem or "?"})


def _picture(outlooks: Sequence[Outlook]) -> Picture | None:
    """The quantity that has to be changed first, else the first with a forecast."""
    growths = [
        (one.service, growth)
        for one in outlooks
        for growth in one.growths
        if isinstance(growth.forecast, Forecast)
    ]
    if not growths:
        return None

    def needed(pair: tuple[str, Growth]) -> date:
        return min((one.before for one in pair[1].advice if one.before is not None), default=date.max)

    service, growth = min(growths, key=needed)
    return Picture(kind="capacity", params={"service": service, "metric": growth.metric})
