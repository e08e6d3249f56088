"""Drains the inbox, and steps back while the door is busy."""

import asyncio
from contextlib import suppress

from operations.inbox import LARGE, SMALL, Interpreters, Portion, drain
from operations.world import World

BUSY = 8
"""More deliveries than this during one turn mean that senders are waiting."""

STEP_BACK = 8.0
"""While they are, the drain rests so many times as long as its turn took."""

LATE = 5.0
"""Seconds that a delivery may have waited before the drain takes half of the time for itself."""

LONGEST_REST = 0.25
"""Seconds; the backlog goes on being worked off in any case."""


HELD_BUSY = 0.02
"""Seconds that a batch may hold the database's writer while senders wait for it."""

HELD = 0.05
"""The same while nobody waits at the door: larger batches cost less for each delivery."""

LEAST = 50
"""Deliveries in a batch, however slow the machine is: the cost of a smaller one is hardly less."""


def next_size(size: int, taken: int, took: float, aim: float) -> int:
    """How many deliveries the next batch may have, so that it takes about ``aim`` seconds."""
    if taken < size and took < aim:
        return size  # It was not full, and says nothing about larger ones.
    return max(LEAST, min(LARGE.deliveries, round(size * max(0.5, min(2.0, aim / max(took, 0.001))))))


class Drainer:
    """Both the door and the drain write on one connection and run on one core; the door goes first."""

    def __init__(self, world: World, interpreters: Interpreters) -> None:
        self._world = world
        self._interpreters = interpreters
        self._urgent = world.wake.event("urgent")
        self._busy = False
        self._most = SMALL.deliveries

    async def turn(self) -> int:
        """One batch. Returns how many deliveries were taken."""
        clock = self._world.clock
        self._urgent.clear()
        seen, began = self._world.inbox.arrivals, clock.monotonic()
        done = await drain(self._world, self._interpreters, self._portion())
        took = clock.monotonic() - began
        self._busy = self._world.inbox.arrivals - seen > BUSY
        self._most = next_size(self._most, done.taken, took, HELD_BUSY if self._busy else HELD)
        if done.taken and self._busy:
            rest = 1.0 if done.waited > LATE else STEP_BACK
            seen = self._world.inbox.arrivals
            await self._rest(min(took * rest, LONGEST_REST))
            self._busy = self._world.inbox.arrivals - seen > BUSY
        return done.taken

    def _portion(self) -> Portion:
        bounds = SMALL if self._busy else LARGE
        return Portion(min(self._most, bounds.deliveries), bounds.size)

    async def _rest(self, seconds: float) -> None:
        """Leave the door to its senders, until somebody clicks or an emergency comes in."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
