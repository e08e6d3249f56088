"""A plan of backups that has another name now keeps what it made under its former one."""

from datetime import datetime

from domain.ports import Tx
from domain.series import epoch
from domain.watches import WatchKind
from operations.world import World

PAST = 20
"""Backups among which the newest is looked for; some may be dated by a clock that was ahead."""


async def carry_over(world: World, at: datetime) -> None:
    """Bring what former names still have to the plans that name them; nothing where that is done."""
    for plan in world.policy.backups.plans:
        for name in plan.formerly:
            async with world.store() as tx:
                for kind in (WatchKind.PLAN, WatchKind.DRILL):
                    await _carry_watch(tx, kind, name, plan.name, at)
                await tx.rename_backups(name, plan.name)
                await tx.rename_drills(name, plan.name)


async def _carry_watch(tx: Tx, kind: WatchKind, old: str, new: str, at: datetime) -> None:
    """Since when the plan is known; what the new name knows already goes before."""
    watch = await tx.watch(kind, old)
    if watch is None:
        return
    if await tx.watch(kind, new) is None:
        state = watch.state
        if kind is WatchKind.PLAN:  # Its newest may keep its old name a while: it is not made once more.
            made = [one.due_at for one in await tx.backups_of(old, PAST) if one.due_at <= at]
            state = state | {"since": max([state["since"], *map(epoch, made)])}
        moved = {"id": None, "key": new, "state": state, "version": 1, "changed_at": at}
        await tx.save_watches([watch.model_copy(update=moved)])
    await tx.forget_watches(kind, [old])
