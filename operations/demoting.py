"""Takes back that a backup is verified: after a restore drill that failed, or where it was found rotten."""

from datetime import datetime

from domain import backing as rules
from domain.backups import Backup
from domain.effects import TOBAN, Event, Refresh, Text
from domain.ports import Tx
from domain.retention import Standing
from operations import counters


async def demote(
    tx: Tx, backup: Backup, standing: Standing, reasons: tuple[Text, ...], at: datetime
) -> Backup:
    """It counts as verified no more: for no recovery point, no drill, and nothing older goes for it."""
    saved = await tx.save_backup(rules.demoted(backup, standing, reasons))
    data = {"from": backup.standing.value, "to": standing.value}
    await tx.tell([Event(subject=saved.subject, what="backups.demoted", at=at, by=TOBAN, data=data)])
    await tx.say([Refresh(subject=saved.subject)], at)
    counters.backups.labels(standing=standing.value).inc()
    left = await tx.verified_backups(saved.plan, 1)
    counters.backup_state.labels(plan=saved.plan).set(left[0].at.timestamp() if left else 0)
    return saved
