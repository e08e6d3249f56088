"""Which old backups may go: told first, and only where the policy says so deleted at a later verified one."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog

from domain import backing as rules
from domain import drilling, retention
from domain.backup_plans import BackupPlan
from domain.backups import Backup, Order, Progress
from domain.effects import Refresh, Text
from domain.errors import Outage
from domain.objects import BucketHold, bucket_of, in_bucket
from domain.ports import Tx
from domain.retention import NOTICE, Candidate, Fate, Standing, Why
from domain.series import epoch
from operations import installation
from operations.lease import held, in_time, is_held
from operations.places import backup_note
from operations.second_look import found_whole
from operations.world import World

log = structlog.get_logger(__name__)

KEPT: dict[str, object] = {"marked_at": None, "warned_at": None, "doomed_at": None, "look_at": None}
"""What is no longer to go."""

LINES = 12
"""Backups that are named in one note; the rest is counted."""


async def fates(tx: Tx, plan: BackupPlan, at: datetime) -> dict[int, Fate]:
    """What becomes of every backup of a plan that may still lie there, by its id."""
    latest = await tx.backups_of(plan.name, 1, until=at + rules.AHEAD)
    unproven = not latest or latest[0].standing is not Standing.VERIFIED
    failed = drilling.halts(await tx.judged_drill(plan.name))
    kept = await tx.kept_backups(plan.name)
    holds = _holds(kept)
    ours = await installation.known(tx)
    candidates = [
        Candidate(
            id=f"{one.id:09d}",
            at=one.due_at,
            standing=one.standing,
            is_locked=_is_locked(one, holds, at),
            is_ahead=one.ahead,
            is_listed=ours.owns(one.installation),
        )
        for one in kept
    ]
    decided = retention.plan(
        candidates,
        plan.keep,
        at,
        plan.schedule.zone,
        halted=unproven or failed,
        by=Why.HALTED if unproven else Why.DRILL,
    )
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
        return await in_time(world.objects.hold(bucket), rules.ASKED)
    except Outage as outage:
        log.info("backups.hold_unknown", bucket=bucket, reason=outage.reason)
        return None


async def prune(tx: Tx, plan: BackupPlan, verified: Backup, at: datetime) -> None:
    """Mark what may go and say so; what was said a day ago is to be deleted, if the policy lets us."""
    goes = {key: fate for key, fate in (await fates(tx, plan, at)).items() if not fate.keep}
    kept = await tx.kept_backups(plan.name)
    told: list[tuple[Backup, Fate]] = []
    for one in kept:
        assert one.id is not None
        if is_held(one.lease_until, at):
            continue  # Whoever deletes it just now has decided for itself.
        fate = goes.get(one.id)
        if fate is None:
            changed = one.model_copy(update=KEPT if one.marked_at is not None else {})
        else:
            changed = rules.to_go(one, plan, at)
            if (one.marked_at, one.warned_at) != (changed.marked_at, changed.warned_at):
                told.append((one, fate))
        if changed != one:
            await tx.save_backup(changed)
    if told:
        key = "backup.note_to_go" if plan.deletes else "backup.note_may_go"
        lines = [_line(one, fate) for one, fate in told[:LINES]]
        params = {"count": len(told), "kept": len(kept) - len(goes)}
        if plan.deletes:
            params["at"] = epoch(at + NOTICE)
        text = Text(key=key, params=params, lines=tuple(lines))
        await tx.say([backup_note(f"{verified.subject.key}:to-go:{verified.version}", verified, text)], at)


def _line(backup: Backup, fate: Fate) -> Text:
    params = {"number": backup.number, "at": epoch(backup.due_at), "why": fate.why.value}
    return Text(key="backup.goes_line", params=params)


async def remove(world: World, backup: Backup) -> None:
    """Delete all that a backup left anywhere, if that is right still. Where it cannot be, it is told."""
    backup_id = backup.id
    assert backup_id is not None
    if not await _decided_again(world, backup):
        return
    problem, whole = None, True
    async with held(world, lambda tx, until: tx.hold_backup(backup_id, until)):
        try:
            await _refuse_foreign(world, backup)
            if rules.may_be_whole(backup) and await _keep_whole(world, backup):
                return
            await _remove(world, backup)
        except Outage as outage:
            log.warning("backups.not_removed", backup=backup.number, reason=outage.reason)
            problem = outage.reason
            whole = backup.standing is not Standing.VERIFIED or await _is_whole(world, backup)
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup_id)
        if latest is None or latest.fence != backup.fence:
            return
        changes = {"removed_at": at} if problem is None else KEPT
        after = latest.model_copy(update=changes | {"lease_until": None, "look_at": None})
        if not whole:
            after = rules.demoted(after, Standing.FAILED, (Text(key="backup.half_removed"),))
        saved = await tx.save_backup(after)
        await tx.say([Refresh(subject=saved.subject)], at)
        if problem is not None:
            key = "backup.note_not_removed" if whole else "backup.note_half_removed"
            text = Text(key=key, params={"number": saved.number, "why": problem[:300]})
            await tx.say([backup_note(f"{saved.subject.key}:kept:{saved.version}", saved, text)], at)


async def _decided_again(world: World, backup: Backup) -> bool:
    """Whether it may be deleted by the policy and the backups as they are now. If not, it is let off."""
    plan = world.policy.backups.plan(backup.plan)
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup.id or 0)
        if latest is None or latest.fence != backup.fence:
            return False
        fate = None if plan is None else (await fates(tx, plan, at)).get(latest.id or 0)
        if plan is not None and rules.may_delete(latest, plan, fate, at):
            return True
        waits = fate is not None and (not fate.keep or fate.why in {Why.HALTED, Why.DRILL})
        let_off: dict[str, object] = {"doomed_at": None} if waits else dict(KEPT)
        if plan is None or not plan.deletes:
            let_off["warned_at"] = None  # Where deleting is allowed again, it is said again.
        let_off |= {"lease_until": None, "look_at": None}
        await tx.save_backup(latest.model_copy(update=let_off))
        log.info("backups.not_to_go", backup=latest.number)
    return False


async def _remove(world: World, backup: Backup) -> None:
    """Every attempt at every part; the policy may change on the way."""
    for progress in backup.parts:
        vault = world.vaults.get(progress.part.source)
        if vault is None:
            continue
        for attempt in _attempts(progress):
            plan = world.policy.backups.plan(backup.plan)
            if plan is None or not plan.deletes:
                raise Outage("the policy forbids it by now")
            await in_time(vault.remove(rules.order(backup, attempt)), rules.patience(plan))


async def _is_whole(world: World, backup: Backup) -> bool:
    """Whether all of it is right still, after a part of it could not be deleted; False where nobody knows."""
    within = rules.patience(world.policy.backups.plan(backup.plan))
    try:
        for progress in backup.parts:
            vault = world.vaults.get(progress.part.source)
            if vault is None:
                return False
            order = rules.order(backup, progress)
            if (await in_time(vault.prove(order, progress.operation or ""), within)).flaws:
                return False
    except Outage as outage:
        log.warning("backups.unknown", backup=backup.number, reason=outage.reason)
        return False
    return True


async def _keep_whole(world: World, backup: Backup) -> bool:
    """A row's word is no reason to delete a copy that is whole: then it stays, and is told."""
    within = rules.patience(world.policy.backups.plan(backup.plan))
    whole = await in_time(found_whole(world, backup), within)
    if whole is None:
        return False
    async with world.store() as tx:
        latest = await tx.backup(backup.subject.id)
        if latest is None or latest.fence != backup.fence:
            return True
        saved = await tx.save_backup(whole.model_copy(update={"version": latest.version}))
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
