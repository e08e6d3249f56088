"""Other replicas' sessions in the database: one that was left in the middle of a transaction is ended."""

from operations.world import World

EVERY = 2.0
"""Seconds between two looks."""


class Sessions:
    """Looks for sessions whose client is stopped or gone while they hold locks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._look_at = 0.0

    async def turn(self) -> int:
        """End what is stuck. Returns how many sessions."""
        now = self._world.clock.monotonic()
        if now < self._look_at:
            return 0
        self._look_at = now + EVERY
        return await self._world.store.end_stuck_sessions()
