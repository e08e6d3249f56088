"""Alerts that a deploy explained: once the time is over, what still fires is answered as usual."""

from operations import signals
from operations.world import World

LIMIT = 100
"""Alert groups in one turn of the loop."""


async def tick(world: World) -> int:
    """Let go every alert whose hold is over, each alone. Returns how many."""
    async with world.store.read() as tx:
        due = await tx.due_holds(world.clock.now(), LIMIT)
    for group_id in due:
        async with world.store() as tx:
            await signals.let_go(tx, world.policy, group_id, world.clock.now())
    return len(due)
