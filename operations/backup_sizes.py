"""Reads how much the backups of each plan take, and how the disk fills on which they lie."""

from datetime import datetime

from domain import backup_sizes as rules
from domain.backup_plans import BackupPlan
from domain.backup_sizes import Sizes
from domain.backups import Backup
from domain.ports import Tx

FEW = 5
"""Backups up to a moment among which a verified one is looked for."""


async def sizes(tx: Tx, plan: BackupPlan) -> Sizes | None:
    """What a plan takes; ``None`` where nothing of it is verified."""
    newest = next(iter(await tx.verified_backups(plan.name, 1)), None)
    if newest is None:
        return None
    earlier = [
        rules.then(await tx.backups_of(plan.name, FEW, until=newest.due_at - span))
        for span in (rules.WEEK, rules.MONTH)
    ]
    kept = await tx.kept_backups(plan.name)
    past = await points(tx, plan.name, newest.due_at)
    return Sizes(
        newest=newest.size,
        week_ago=earlier[0].size if earlier[0] is not None else None,
        month_ago=earlier[1].size if earlier[1] is not None else None,
        kept=rules.kept_bytes(kept),
        copies=len(kept),
        free=rules.free_space(newest),
        full_in=rules.full_in(past),
    )


async def points(tx: Tx, plan: str, until: datetime) -> list[tuple[datetime, int]]:
    """The free bytes at the destination when each verified backup of the last weeks was made."""
    found: dict[int, Backup] = {}
    for back in rules.LOOKED_BACK:
        one = rules.then(await tx.backups_of(plan, FEW, until=until - back))
        if one is not None:
            found[one.subject.id] = one
    known = ((one.due_at, rules.free_space(one)) for one in found.values())
    return [(at, free) for at, free in known if free is not None]
