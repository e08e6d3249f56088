"""Which old backups may go: told first, and only where the policy says so deleted at a later verified one."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog

from domain import backing as rules
from domain import retention
from domain.backup_plans import BackupPlan
from domain.backups import Backup, Order, Progress
from domain.effects import Refresh, Text
from domain.errors import Outage
from domain.objects import BucketHold, bucket_of, in_bucket
from domain.ports import Tx
from domain.retention import Candidate, Fate, Standing
from domain.series import epoch
from operations import installation
from operations.places import backup_note
from operations.second_look import found_whole
from operations.world import World

log = structlog.get_logger(__name__)

LINES = 12
"""Backups that are named in one note; the rest is counted."""


async def fates(tx: Tx, plan: BackupPlan, at: datetime) -> dict[int, Fate]:
    """What becomes of every backup of a plan that may still lie there, by its id."""
    latest = await tx.backups_of(plan.name, 1)
    halted = not latest or latest[0].standing is not Standing.VERIFIED
    kept = await tx.kept_backups(plan.name)
    holds = _holds(kept)
    ours = await installation.known(tx)
    candidates = [
        Candidate(
            id=f"{one.id:09d}",
            at=one.due_at,
            standing=one.standing,
            is_locked=_is_locked(one, holds, at),
            is_listed=ours.owns(one.installation),
        )
        for one in kept
    ]
    decided = retention.plan(candidates, plan.keep, at, plan.schedule.zone, halted=halted)
    return {int(fate.backup.id): fate for fate in decided}


def _holds(kept: Iterable[Backup]) -> dict[str, BucketHold]:
    """What each bucket forbids, as the newest backup that could be told it was told."""
    found: dict[str, BucketHold] = {}
    for one in sorted(kept, key=lambda one: one.due_at):
        for progress in one.parts:
            if progress.evidence is not None and progress.evidence.hold is not None:
                found[bucket_of(one.destination)[0]] = progress.evidence.hold
    return found


def _is_locked(backup: Backup, holds: Mapping[str, BucketHold], at: datetime) -> bool:
    if not in_bucket(backup.destination):
        return False
    hold = holds.get(bucket_of(backup.destination)[0])
    return hold is not None and hold.keeps(backup.ended_at or backup.due_at, at)


async def hold_of(world: World, order: Order) -> BucketHold | None:
    """What keeps the copy's bucket from deleting; ``None`` for a folder, or where we may not know."""
    if world.objects is None or not in_bucket(order.destination):
        return None
    bucket, _ = bucket_of(order.destination)
    try:
        return await world.objects.hold(bucket)
    except Outage as outage:
        log.info("backups.hold_unknown", bucket=bucket, reason=outage.reason)
        return None


async def prune(tx: Tx, plan: BackupPlan, verified: Backup, at: datetime) -> None:
    """Mark what may go and say so; what was marked before is to be deleted, if the policy lets us."""
    goes = {key: fate for key, fate in (await fates(tx, plan, at)).items() if not fate.keep}
    kept = await tx.kept_backups(plan.name)
    marked: list[tuple[Backup, Fate]] = []
    for one in kept:
        assert one.id is not None
        fate = goes.get(one.id)
        if fate is None and one.marked_at is not None and one.doomed_at is None:
            await tx.save_backup(one.model_copy(update={"marked_at": None}))
        elif fate is not None and one.marked_at is None:
            await tx.save_backup(one.model_copy(update={"marked_at": at}))
            marked.append((one, fate))
        elif fate is not None and plan.deletes and one.doomed_at is None:
            await tx.save_backup(one.model_copy(update={"doomed_at": at, "look_at": at}))
    if marked:
        key = "backup.note_to_go" if plan.deletes else "backup.note_may_go"
        lines = [_line(one, fate) for one, fate in marked[:LINES]]
        params = {"count": len(marked), "kept": len(kept) - len(goes)}
        text = Text(key=key, params=params, lines=tuple(lines))
        await tx.say([backup_note(f"{verified.subject.key}:to-go", verified, text)], at)


def _line(backup: Backup, fate: Fate) -> Text:
    params = {"number": backup.number, "at": epoch(backup.due_at), "why": fate.why.value}
    return Text(key="backup.goes_line", params=params)


async def remove(world: World, backup: Backup) -> None:
    """Delete all that a backup left anywhere. Where that is forbidden it stays, and is told."""
    assert backup.id is not None
    problem = None
    try:
        await _refuse_foreign(world, backup)
        if backup.standing is Standing.FAILED and await _keep_whole(world, backup):
            return
        for progress in backup.parts:
            vault = world.vaults.get(progress.part.source)
            if vault is not None:
                for attempt in _attempts(progress):
                    await vault.remove(rules.order(backup, attempt))
    except Outage as outage:
        log.warning("backups.not_removed", backup=backup.number, reason=outage.reason)
        problem = outage.reason
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup.id)
        if latest is None or latest.version != backup.version:
            return
        changes: dict[str, object] = {"lease_until": None, "look_at": None}
        changes |= {"removed_at": at} if problem is None else {"doomed_at": None, "marked_at": None}
        saved = await tx.save_backup(latest.model_copy(update=changes))
        await tx.say([Refresh(subject=saved.subject)], at)
        if problem is not None:
            text = Text(key="backup.note_not_removed", params={"number": saved.number, "why": problem[:300]})
            await tx.say([backup_note(f"{saved.subject.key}:kept:{saved.version}", saved, text)], at)


async def _keep_whole(world: World, backup: Backup) -> bool:
    """A row's word is no reason to delete a copy that is whole: then it stays, and is told."""
    whole = await found_whole(world, backup)
    if whole is None:
        return False
    async with world.store() as tx:
        latest = await tx.backup(backup.subject.id)
        if latest is None or latest.version != backup.version:
            return True
        saved = await tx.save_backup(whole)
        text = Text(key="backup.note_found_whole", params={"number": saved.number})
        note = backup_note(f"{saved.subject.key}:whole:{saved.version}", saved, text)
        await tx.say([Refresh(subject=saved.subject), note], world.clock.now())
    return True


async def _refuse_foreign(world: World, backup: Backup) -> None:
    """Raise ``Outage`` for what another installation has made, whoever has marked it."""
    async with world.store.read() as tx:
        ours = await installation.known(tx)
    if not ours.owns(backup.installation):
        raise Outage(f"refused: it is of another installation ({backup.installation})")


def _attempts(progress: Progress) -> list[Progress]:
    """A part as each of its attempts had it."""
    return [progress.model_copy(update={"attempt": n}) for n in range(1, progress.attempt + 1)]
