"""Drains the inbox, and steps back while the door is busy."""

import asyncio

from operations.inbox import Interpreters, drain
from operations.world import World

BUSY = 8
"""More deliveries than this during one turn mean that senders are waiting."""

STEP_BACK = 4.0
"""While they are, the drain rests so many times as long as its turn took: a fifth of the time is its."""

LONGEST_REST = 0.25
"""Seconds; the backlog goes on being worked off in any case."""


class Drainer:
    """Both the door and the drain write on one connection and run on one core; the door goes first."""

    def __init__(self, world: World, interpreters: Interpreters) -> None:
        self._world = world
        self._interpreters = interpreters

    async def turn(self) -> int:
        """One batch. Returns how many deliveries were taken."""
        clock = self._world.clock
        seen, began = self._world.inbox.arrivals, clock.monotonic()
        taken = await drain(self._world, self._interpreters)
        if taken and self._world.inbox.arrivals - seen > BUSY:
            await asyncio.sleep(min((clock.monotonic() - began) * STEP_BACK, LONGEST_REST))
        return taken
