"""The detector's five columns of each service, measured once and then only where they are new."""

import asyncio
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from domain.indicators import DETECTED, INDICATORS, Measured
from domain.policy import Service
from domain.series import epoch
from operations.world import World

STEP = 300
"""Seconds of a step of the detector."""

DAYS = 35
"""Days of history that it learns from, and up to a week more; capacity reads the same series."""

DAY, WEEK = 86400, 7 * 86400

SETTLED = 3
"""Steps before the newest complete one that are measured again: points may come later than promised."""


@dataclass(frozen=True, slots=True)
class Columns:
    """One service: an array for each of ``DETECTED``, the first step of all ending at ``start``.

    ``until`` is the end of the newest complete step. ``problem``: why nothing new could be read.
    """

    start: int
    until: int
    values: tuple["array[float]", ...]
    problem: str | None = None


class Measuring:
    """Extends what is known by what is new; forgetting it all gives the same columns bit for bit."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[str, Columns] = {}

    async def columns(self, services: Sequence[Service]) -> dict[str, Columns]:
        """The columns of each service up to now. Lets the event loop breathe between two services."""
        end = epoch(self._world.clock.now()) // STEP * STEP
        start = (
            end // WEEK * WEEK - DAYS * DAY + STEP
        )  # The window moves once a week: then all is learned anew.
        known = {service.name: self._settled(service.name, start) for service in services}
        old = [service for service in services if known[service.name] is not None]
        new = [service for service in services if known[service.name] is None]
        found = await self._read(new, start, end)
        since = min((one.until + STEP for one in known.values() if one is not None), default=end)
        found |= await self._read(old, since, end)
        columns: dict[str, Columns] = {}
        for service in services:
            before = known[service.name] or Columns(start, start - STEP, _empty())
            columns[service.name] = _extended(before, found[service.name])
        self._known = columns
        return columns

    def _settled(self, name: str, start: int) -> Columns | None:
        """What is known of a service and cannot change any more."""
        one = self._known.get(name)
        if one is None or one.start != start:
            return None
        rows = max(0, len(one.values[0]) - SETTLED)
        return Columns(start, start + (rows - 1) * STEP, tuple(values[:rows] for values in one.values))

    async def _read(self, services: Sequence[Service], first: int, end: int) -> dict[str, list[Measured]]:
        """What was measured from the step that ends at ``first`` on."""
        queries = {
            query
            for service in services
            for key in DETECTED
            for query in INDICATORS[key].queries(service, STEP)
        }
        if not queries:
            return {}
        readings = await self._world.history.read(sorted(queries, key=repr), first - STEP, end)
        found = {}
        for service in services:
            found[service.name] = [INDICATORS[key].measure(readings, service, STEP) for key in DETECTED]
            await asyncio.sleep(0)
        return found


def _empty() -> tuple["array[float]", ...]:
    return tuple(array("d") for _ in DETECTED)


def _extended(before: Columns, found: Sequence[Measured]) -> Columns:
    """The columns with the new steps behind the old ones; requests become a count."""
    problem = next((one.problem for one in found if one.problem), None)
    until = min(one.complete_until for one in found) // STEP * STEP
    if problem is not None or until < before.until:
        return Columns(before.start, before.until, before.values, problem)
    rows = (until - before.until) // STEP
    values = tuple(
        old + _window(one, before.until + STEP, rows, STEP if key == "requests" else 1)
        for key, old, one in zip(DETECTED, before.values, found, strict=True)
    )
    return Columns(before.start, until, values)


def _window(one: Measured, first: int, rows: int, times: int) -> "array[float]":
    """So many steps from the one that ends at ``first``, NaN where nothing was measured."""
    gone = (first - one.start) // STEP
    head = max(0, min(rows, -gone))
    taken = one.values[max(0, gone) : max(0, gone + rows)]
    tail = rows - head - len(taken)
    whole = array("d", [math.nan]) * head + taken + array("d", [math.nan]) * tail
    return whole if times == 1 else array("d", [value * times for value in whole])
