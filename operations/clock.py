"""Guards the clock: what was set back or forward is seen, told, and costs nobody a page."""

from datetime import timedelta
from enum import StrEnum

import structlog

from domain.clock import AGREES, is_behind, was_ahead
from domain.effects import Note, Text
from domain.outbox import OPS
from operations.world import World

log = structlog.get_logger(__name__)

MARK_EVERY = 10.0
"""Seconds between two marks: a restart knows the time to within so much."""


class Trouble(StrEnum):
    """The names of what may be wrong with the clock, as the health report shows them."""

    WENT_BACK = "clock.went_back"
    REPLICAS_DIFFER = "clock.replicas_differ"


async def begin_counting(world: World) -> None:
    """At the start: go on from the time that was counted last, where the clock shows less.

    Raises ``Outage`` of the database.
    """
    wall = world.clock.wall()
    async with world.store() as tx:
        mark = await tx.clock_mark()
        if mark is not None and was_ahead(wall, mark):
            by = mark - wall
            log.warning("clock.was_ahead", seconds=by.total_seconds())
            await tx.pull_in(by, wall)
            text = Text(key="ops.clock_was_ahead", params={"size": int(by.total_seconds())})
            await tx.say([Note(key=f"clock-was-ahead:{int(mark.timestamp())}", place=OPS, text=text)], wall)
        elif mark is not None and is_behind(wall, mark):
            world.clock.follow(mark)
        await tx.mark_clock(world.clock.now())


async def heed_leap(world: World) -> None:
    """The clock was set forward: ladders keep the time that people had to answer, and ops hears it."""
    leap = world.clock.leap()
    if leap is None:
        return
    async with world.store() as tx:
        if await tx.take_leap(leap):
            seconds = int(leap.size.total_seconds())
            log.warning("clock.set_forward", seconds=seconds)
            text = Text(key="ops.clock_forward", params={"size": seconds})
            await tx.say(
                [Note(key=f"clock-forward:{int(leap.at.timestamp())}", place=OPS, text=text)], leap.at
            )
    world.clock.heeded(leap)


class Guard:
    """Compares the clocks each second, and keeps how far Toban has counted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._mark_at = 0.0
        self._told = timedelta()

    async def turn(self) -> int:
        """One comparison. Returns 0: nothing waits for it."""
        await heed_leap(self._world)
        if self._world.clock.monotonic() >= self._mark_at:
            await self._mark()
            self._mark_at = self._world.clock.monotonic() + MARK_EVERY
        await self._tell(self._world.clock.ahead())
        return 0

    async def _mark(self) -> None:
        clock, problems = self._world.clock, self._world.problems
        async with self._world.store() as tx:
            mark = await tx.mark_clock(clock.now())
        if was_ahead(clock.now(), mark):
            days = (mark - clock.now()).days
            problems.report(Trouble.REPLICAS_DIFFER, f"the clock of another replica is {days} days ahead")
            return
        problems.clear(Trouble.REPLICAS_DIFFER)
        if is_behind(clock.now(), mark):
            clock.follow(mark)

    async def _tell(self, ahead: timedelta) -> None:
        seconds = int(ahead.total_seconds())
        if ahead > AGREES:
            reason = f"the machine's clock is {seconds} s behind what was counted"
            self._world.problems.report(Trouble.WENT_BACK, reason)
            if abs(ahead - self._told) > AGREES:
                log.warning("clock.went_back", seconds=seconds)
                await self._say("ops.clock_back", seconds)
                self._told = ahead
        elif self._told:
            self._world.problems.clear(Trouble.WENT_BACK)
            log.info("clock.agrees")
            await self._say("ops.clock_agrees", int(self._told.total_seconds()))
            self._told = timedelta()

    async def _say(self, key: str, seconds: int) -> None:
        at = self._world.clock.now()
        text = Text(key=key, params={"size": seconds})
        async with self._world.store() as tx:
            await tx.say([Note(key=f"{key}:{int(at.timestamp())}", place=OPS, text=text)], at)
