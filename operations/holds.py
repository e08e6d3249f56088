"""Alerts that a deploy explained: once the time is over, what still fires is answered as usual."""

from operations import signals
from operations.isolation import alone
from operations.world import World

LIMIT = 100
"""Alert groups in one turn of the loop."""


async def tick(world: World) -> int:
    """Let go every alert whose hold is over, each alone. Returns how many."""
    async with world.store.read() as tx:
        due = await tx.due_holds(world.clock.now(), LIMIT)
    for group_id in due:
        await alone(world, "alert_group", group_id, _let_go(world, group_id))
    return len(due)


async def _let_go(world: World, group_id: int) -> None:
    async with world.store() as tx:
        await signals.let_go(tx, world.policy, group_id, world.clock.now())
