"""Finds the copy that a plan's second destination takes, so that the database is dumped once a night."""

from domain import backing as rules
from domain.backups import Backup, Going, Order, Progress
from operations.world import World


async def to_take(world: World, backup: Backup, progress: Progress) -> Order | Going | None:
    """See ``backing.to_take``: an order, ``Going`` while there may still be one, ``None`` where none.

    The first destination's backup may have a former name of its plan still.
    """
    name = progress.part.second_of
    if not name:
        return None
    plan = world.policy.backups.plan(name)
    async with world.store.read() as tx:
        found = [await tx.backup_for(one, backup.due_at) for one in (plan.names if plan else (name,))]
    first = next((one for one in found if one is not None), None)
    return rules.to_take(backup, progress, first, world.clock.now())
