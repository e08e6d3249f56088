"""Drains the inbox, and steps back while the door is busy."""

import asyncio

from operations.inbox import LARGE, SMALL, Interpreters, drain
from operations.world import World

BUSY = 8
"""More deliveries than this during one turn mean that senders are waiting."""

STEP_BACK = 8.0
"""While they are, the drain rests so many times as long as its turn took."""

LATE = 5.0
"""Seconds that a delivery may have waited before the drain takes half of the time for itself."""

LONGEST_REST = 0.25
"""Seconds; the backlog goes on being worked off in any case."""


class Drainer:
    """Both the door and the drain write on one connection and run on one core; the door goes first."""

    def __init__(self, world: World, interpreters: Interpreters) -> None:
        self._world = world
        self._interpreters = interpreters
        self._busy = False

    async def turn(self) -> int:
        """One batch. Returns how many deliveries were taken."""
        clock = self._world.clock
        seen, began = self._world.inbox.arrivals, clock.monotonic()
        done = await drain(self._world, self._interpreters, SMALL if self._busy else LARGE)
        self._busy = self._world.inbox.arrivals - seen > BUSY
        if done.taken and self._busy:
            rest = 1.0 if done.waited > LATE else STEP_BACK
            seen = self._world.inbox.arrivals
            await asyncio.sleep(min((clock.monotonic() - began) * rest, LONGEST_REST))
            self._busy = self._world.inbox.arrivals - seen > BUSY
        return done.taken
