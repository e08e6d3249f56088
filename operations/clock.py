"""Guards the clock: what was set back or forward is seen, told, and costs nobody a page."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from domain.clock import AGREES, DOUBTED, Doubt, Leap, is_behind, was_ahead
from domain.effects import Note, Text
from domain.errors import Outage
from domain.outbox import OPS
from domain.ports import Tx
from domain.watches import Watch, WatchKind
from operations.world import World

log = structlog.get_logger(__name__)

MARK_EVERY = 10.0
"""Seconds between two marks: a restart knows the time to within so much."""


DOUBT = "leap"
"""The key of the one row that remembers a leap which nothing has confirmed."""

LEARN_EVERY = 2.0
"""Seconds between two questions for the clock that replicas share."""

ALIVE_WITHIN = 2 * MARK_EVERY
"""Seconds within which a replica that is alive marks how far it has counted."""


class Trouble(StrEnum):
    """The names of what may be wrong with the clock, as the health report shows them."""

    WENT_BACK = "clock.went_back"
    REPLICAS_DIFFER = "clock.replicas_differ"
    MACHINE_DIFFERS = "clock.machine_differs"


async def begin_counting(world: World) -> None:
    """At the start: go on from the time that was counted last, where the clock shows less.

    Where others count by a mark that is far ahead, it is the time, right or wrong: pulled in is only what
    nobody counts with any more. Raises ``Outage`` of the database.
    """
    clock = world.clock
    others = clock.is_shared() and await _others_count_far_ahead(world)
    async with world.store() as tx:
        mark, shown = await tx.clock_mark(), clock.judge()
        if mark is not None and was_ahead(shown, mark) and not others:
            by = mark - shown
            log.warning("clock.was_ahead", seconds=by.total_seconds())
            await tx.pull_in(by, shown)
            text = Text(key=_key(world, "was_ahead"), params={"size": int(by.total_seconds())})
            await tx.say([Note(key=f"clock-was-ahead:{int(mark.timestamp())}", place=OPS, text=text)], shown)
        elif mark is not None and (others or is_behind(shown, mark)):
            clock.follow(mark)
        await tx.mark_clock(clock.now())


async def _others_count_far_ahead(world: World) -> bool:
    """Whether a mark that is far ahead moves on, because replicas are alive that count with it."""
    mark = await _marked(world)
    if mark is None or not was_ahead(world.clock.judge(), mark):
        return False
    await asyncio.sleep(ALIVE_WITHIN)
    again = await _marked(world)
    return again is not None and again > mark


async def _marked(world: World) -> datetime | None:
    async with world.store.read() as tx:
        return await tx.clock_mark()


_KEYS = {
    "back": ("ops.clock_back", "ops.database_clock_back"),
    "agrees": ("ops.clock_agrees", "ops.database_clock_agrees"),
    "forward": ("ops.clock_forward", "ops.database_clock_forward"),
    "was_ahead": ("ops.clock_was_ahead", "ops.database_clock_was_ahead"),
}
"""The words for what was done to the machine's clock, or to the one that replicas share."""


def _key(world: World, what: str) -> str:
    return _KEYS[what][world.clock.is_shared()]


async def heed_leap(world: World) -> None:
    """The clock was set forward: ladders keep the time that people had to answer, and ops hears it."""
    leap = world.clock.leap()
    if leap is None:
        return
    async with world.store() as tx:
        if await tx.take_leap(leap):
            if leap.size > 2 * DOUBTED:
                await _doubt(tx, leap)
            seconds = int(leap.size.total_seconds())
            log.warning("clock.set_forward", seconds=seconds)
            text = Text(key=_key(world, "forward"), params={"size": seconds})
            await tx.say(
                [Note(key=f"clock-forward:{int(leap.at.timestamp())}", place=OPS, text=text)], leap.at
            )
    world.clock.heeded(leap)


async def doubt(tx: Tx) -> Doubt | None:
    """A leap of the clock that nothing has confirmed yet."""
    watch = await tx.watch(WatchKind.CLOCK, DOUBT)
    return None if watch is None else Doubt.model_validate(watch.state)


async def end_doubt(tx: Tx, known: Doubt) -> None:
    """The clock is believed again, as far as this leap goes."""
    if await doubt(tx) == known:
        await tx.forget_watches(WatchKind.CLOCK, [DOUBT])


async def _doubt(tx: Tx, leap: Leap) -> None:
    """Until data of the new time comes, nobody knows whether the time in between has passed."""
    watch = await tx.watch(WatchKind.CLOCK, DOUBT) or Watch(
        kind=WatchKind.CLOCK, key=DOUBT, changed_at=leap.at
    )
    since = leap.at - leap.size
    if watch.id is not None:
        since = min(since, Doubt.model_validate(watch.state).since)
    state = Doubt(since=since, until=leap.at).model_dump(mode="json")
    await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": leap.at})])


class Guard:
    """Compares the clocks each second, and keeps how far Toban has counted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._learn_at = 0.0
        self._mark_at = 0.0
        self._told = timedelta()

    async def turn(self) -> int:
        """One comparison. Returns 0: nothing waits for it."""
        await self._learn()
        await heed_leap(self._world)
        if self._world.clock.monotonic() >= self._mark_at:
            await self._mark()
            self._mark_at = self._world.clock.monotonic() + MARK_EVERY
        await self._tell(self._world.clock.ahead())
        return 0

    async def _learn(self) -> None:
        """Ask for the clock that replicas share. While it cannot be had the uptime goes on."""
        clock, problems = self._world.clock, self._world.problems
        if not clock.is_shared() or clock.monotonic() < self._learn_at:
            return
        self._learn_at = clock.monotonic() + LEARN_EVERY
        with suppress(Outage):  # Readiness says so.
            await clock.learn()
        seconds = round((clock.wall() - clock.judge()).total_seconds())
        if abs(seconds) > AGREES.total_seconds():
            side = "ahead of" if seconds > 0 else "behind"
            reason = f"the machine's clock is {abs(seconds)} s {side} the database's"
            problems.report(Trouble.MACHINE_DIFFERS, reason)
        else:
            problems.clear(Trouble.MACHINE_DIFFERS)

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
            whose = "database" if self._world.clock.is_shared() else "machine"
            reason = f"the {whose}'s clock is {seconds} s behind what was counted"
            self._world.problems.report(Trouble.WENT_BACK, reason)
            if abs(ahead - self._told) > AGREES:
                log.warning("clock.went_back", seconds=seconds)
                await self._say("back", seconds)
                self._told = ahead
        elif self._told:
            self._world.problems.clear(Trouble.WENT_BACK)
            log.info("clock.agrees")
            await self._say("agrees", int(self._told.total_seconds()))
            self._told = timedelta()

    async def _say(self, what: str, seconds: int) -> None:
        at = self._world.clock.now()
        text = Text(key=_key(self._world, what), params={"size": seconds})
        async with self._world.store() as tx:
            await tx.say([Note(key=f"ops.clock_{what}:{int(at.timestamp())}", place=OPS, text=text)], at)
