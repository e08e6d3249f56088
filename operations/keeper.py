"""A loop that begins what a timetable asks for and takes what is on its way one step further."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from operations.world import World


class Keeper:
    """``schedule`` begins what is due and says when to look again; ``tick`` returns how much it did.

    What this knows is a shortcut; the truth is in the tables.
    """

    def __init__(
        self,
        world: World,
        schedule: Callable[[World, datetime], Awaitable[datetime]],
        tick: Callable[[World], Awaitable[int]],
    ) -> None:
        self._world = world
        self._schedule = schedule
        self._tick = tick
        self._look_at: datetime | None = None
        self._policy = world.policy

    def next_due(self, at: datetime) -> datetime:
        """When there is something to begin."""
        if self._look_at is None or self._policy is not self._world.policy:
            return at
        return self._look_at

    async def turn(self) -> int:
        """Begin what is due and take each thing on its way one step further. Returns how many."""
        now = self._world.clock.now()
        if self._look_at is None or now >= self._look_at or self._policy is not self._world.policy:
            self._policy = self._world.policy
            self._look_at = await self._schedule(self._world, now)
        return await self._tick(self._world)
