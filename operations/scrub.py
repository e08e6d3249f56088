"""Reads old backups again: what was right when it was verified may rot, or be changed by somebody."""

from datetime import datetime

import structlog

from domain import backing as rules
from domain.backups import Backup, Progress
from domain.effects import Text
from domain.errors import Outage
from domain.scrubbing import tonight
from operations.lease import held, in_time
from operations.recurring import Ran
from operations.world import World

log = structlog.get_logger(__name__)


async def choose(world: World, _due: datetime) -> Ran:
    """Say which backups are read again tonight; the loop of backups reads one after the other."""
    chosen = 0
    async with world.store() as tx:
        at = world.clock.now()
        for plan in world.policy.backups.plans:
            for one in tonight(await tx.kept_backups(plan.name), at):
                await tx.save_backup(one.model_copy(update={"look_at": at}))
                chosen += 1
    return Ran(done=chosen, result=Text(key="jobs.scrub", params={"count": chosen}))


async def found_wrong(world: World, backup: Backup) -> tuple[Text, ...] | None:
    """What is wrong with a backup that was verified; empty where it is right, ``None`` where nobody knows."""
    assert backup.id is not None
    backup_id = backup.id
    reasons: list[Text] = []
    async with held(world, lambda tx, until: tx.hold_backup(backup_id, until)):
        for progress in backup.parts:
            try:
                reasons += await _read(world, backup, progress)
            except Outage as outage:
                log.warning("backups.not_read", backup=backup.number, reason=outage.reason)
                return None
    return tuple(reasons)


async def _read(world: World, backup: Backup, progress: Progress) -> list[Text]:
    """One part. Raises ``Outage``."""
    vault = world.vaults.get(progress.part.source)
    if vault is None:
        raise Outage(f"nothing here can read {progress.part.source.value}")
    within = rules.patience(world.policy.backups.plan(backup.plan))
    asked = vault.prove(rules.order(backup, progress), progress.operation or "")
    evidence = await in_time(asked, within)
    return [finding.text(progress.part.name) for finding in evidence.findings]
