"""Carries out backups: begins what is due, looks at what is on its way, tells what is missing."""

import asyncio
from datetime import datetime, timedelta

import structlog

from domain import approvals
from domain import backing as rules
from domain.alerts import Signal, group_key
from domain.approvals import Account
from domain.backup_plans import BackupPlan, Backups
from domain.backups import Backup, Began, Broke, Going, Heard, Proved, Silent, Stage
from domain.effects import TOBAN, By, Effect, Event, Refresh, Text, Wording
from domain.errors import Outage, Refused
from domain.evidence import Evidence
from domain.levels import Level
from domain.ports import Tx
from domain.retention import Fate, Standing
from domain.schedule import Cron
from domain.series import epoch, moment
from domain.voice import SOURCE
from domain.watches import Watch, WatchKind
from operations import counters, installation, signals
from operations.lease import LEASE, held
from operations.places import backup_card
from operations.pruning import fates, hold_of, prune, remove
from operations.renaming import carry_over
from operations.world import World

log = structlog.get_logger(__name__)

LIMIT = 10
"""Backups in one turn; they are carried out side by side."""

BLOCKED = timedelta(seconds=10)
"""Until it is looked again whether a plan's running backup has ended."""

PAST = 20
"""Backups in one history."""

COMPARED = 7
"""Verified backups with which a size is compared."""


async def schedule(world: World, at: datetime) -> datetime:
    """Begin what is due, and keep what was missed, for each plan alone. When to look again."""
    plans = world.policy.backups.plans
    await carry_over(world, at)
    async with world.store() as tx:
        known = await tx.watches(WatchKind.PLAN)
        names = {plan.name for plan in plans}
        await tx.forget_watches(WatchKind.PLAN, sorted(known.keys() - names))
        gone = [one for one in await tx.alarmed_backups() if one.plan not in world.policy.backups.names]
        await _clear(tx, world, gone, at, recovered=False)
        for plan in plans:
            for newest in await tx.verified_backups(plan.name, 1):
                counters.backup_state.labels(plan=plan.name).set(newest.at.timestamp())
    again = [at + timedelta(days=1)]
    for plan in plans:
        blocked = await _begin_due(world, plan, at)
        again.append(
            min(at + BLOCKED, plan.schedule.following(at)) if blocked else plan.schedule.following(at)
        )
    return min(again)


async def _begin_due(world: World, plan: BackupPlan, at: datetime) -> bool:
    """True where something is due that has to wait for the backup of this plan that runs."""
    async with world.store() as tx:
        watch = await tx.watch(WatchKind.PLAN, plan.name)
        cron = plan.schedule.model_dump()
        if watch is None:
            new = Watch(kind=WatchKind.PLAN, key=plan.name, state=cron | {"since": epoch(at)}, changed_at=at)
            await tx.save_watches([new])
            return False
        latest = await tx.backups_of(plan.name, PAST)
        since = moment(watch.state["since"])
        # What a clock that was ahead has made or kept is no reason to make nothing until it is right.
        made = [one.due_at for one in latest if one.due_at <= at and one.standing is not Standing.MISSED]
        from_now = since > at
        since = max([min(since, at), *made])
        # A schedule that was changed counts from now on: what the old one left undone is still missed.
        old = Cron(line=watch.state["line"], zone=watch.state["zone"])
        lost, newest = rules.due(plan.model_copy(update={"schedule": old}), since, at)
        running = [one for one in latest if not one.is_over]
        for one in running:
            if one.look_at is not None and one.look_at > at + rules.TOO_FAR:
                await tx.save_backup(rules.brought_back(one, plan, at))
        if newest is not None and running:
            return True
        if old != plan.schedule or from_now:
            state = cron | {"since": epoch(at)}
            await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": at})])
        if newest is None:
            return False
        for due_at in lost:
            await tx.add_backup(rules.missed(plan, due_at))
        await _begin(tx, plan, newest, at, TOBAN)
    return False


async def _begin(tx: Tx, plan: BackupPlan, due_at: datetime, at: datetime, by: By) -> Backup | None:
    """A backup and its card; ``None`` where one runs already or was made for that moment."""
    new = rules.begin(plan, due_at, at, by, (await installation.own(tx, at)).id)
    begun = await tx.add_backup(new)
    if begun is None:
        # A clock that was ahead has called a moment missed that only comes now.
        there = next((one for one in await tx.backups_of(plan.name, PAST) if one.due_at == due_at), None)
        if there is None or there.standing is not Standing.MISSED:
            return None
        # Its alert goes on; one that is over is no reason to keep silent when it fails.
        kept = {"id", "version"} | ({"alarmed_at", "alarmed_level"} if there.cleared_at is None else set())
        begun = await tx.save_backup(new.model_copy(update=there.model_dump(include=kept)))
    await tx.tell([Event(subject=begun.subject, what="backups.begun", at=at, by=by)])
    await tx.say([backup_card(begun)], at)
    return begun


async def run_now(tx: Tx, world: World, name: str, account: Account, by: By, at: datetime) -> Text:
    """A backup that somebody asked for. Refused while one of the same plan runs."""
    approvals.person_behind(world.policy.people, account)
    plan = world.policy.backups.named(name)
    # Moments that a clock ahead has used are no reason to wait for them.
    used = [one.due_at for one in await tx.backups_of(plan.name, PAST) if one.due_at <= at]
    due_at = rules.free_moment(max(used, default=None), at)
    begun = await _begin(tx, plan, due_at, at, by)
    if begun is None:
        raise Refused("refused.backup_runs", plan=plan.name)
    return Text(key="answer.backup_begun", params={"number": begun.number, "plan": plan.name})


async def accept(tx: Tx, world: World, backup_id: int, account: Account, by: By, at: datetime) -> Text:
    """A person looked at a suspicious backup and says that it is right: not the one who asked for it."""
    person = approvals.person_behind(world.policy.people, account)
    backup = await tx.backup(backup_id)
    if backup is None:
        raise Refused("refused.unknown_backup", number=f"B-{backup_id}")
    if backup.standing is not Standing.SUSPICIOUS:
        raise Refused("refused.not_suspicious", number=backup.number)
    accepted = await _keep(tx, world, backup, rules.accept(backup, person, by, at), at)
    return Text(key="answer.backup_accepted", params={"number": accepted.number})


async def overview(tx: Tx, policy: Backups) -> tuple[dict[str, Backup], dict[str, Backup]]:
    """The newest backup of each plan, and the newest verified one, by the plan's name."""
    latest: dict[str, Backup] = {}
    verified: dict[str, Backup] = {}
    for plan in policy.plans:
        latest |= {one.plan: one for one in await tx.backups_of(plan.name, 1)}
        verified |= {one.plan: one for one in await tx.verified_backups(plan.name, 1)}
    return latest, verified


async def history(tx: Tx, plan: BackupPlan, at: datetime) -> list[tuple[Backup, Fate | None]]:
    """The newest backups of a plan, and what becomes of each that is still there."""
    decided = await fates(tx, plan, at)
    return [(one, decided.get(one.id or 0)) for one in await tx.backups_of(plan.name, PAST)]


async def tick(world: World) -> int:
    """Take each backup with something to do one step further. Returns how many.

    Plans side by side, the backups of one plan one after the other: their alerts are of one group. What is
    over comes first, since its alert cannot wait for a copy.
    """
    async with world.store.read() as tx:
        due = await tx.due_backups(world.clock.now(), LIMIT)
    plans: dict[str, list[Backup]] = {}
    for one in sorted(due, key=lambda one: (not one.is_over, one.due_at)):
        plans.setdefault(one.plan, []).append(one)
    await asyncio.gather(*(_each(world, found) for found in plans.values()))
    return len(due)


async def _each(world: World, found: list[Backup]) -> None:
    """What fails keeps its lease, and is tried again after it."""
    for one in found:
        assert one.id is not None
        try:
            await _one(world, one.id)
        except Outage as outage:
            log.warning("backups.outage", backup=one.number, reason=outage.reason)
        except Exception:
            log.exception("backups.failed", backup=one.number)


async def _one(world: World, backup_id: int) -> None:
    backup = await _claim(world, backup_id)
    if backup is None:
        return
    if backup.doomed_at is not None and backup.removed_at is None:
        await remove(world, backup)
        return
    if backup.is_over:  # It was to be verified by now.
        async with world.store() as tx:
            latest = await tx.backup(backup_id)
            if latest is not None and latest.version == backup.version:
                told = latest.model_copy(update={"look_at": None, "lease_until": None})
                await _keep(tx, world, latest, told, world.clock.now())
        return
    await _work(world, backup)


async def _claim(world: World, backup_id: int) -> Backup | None:
    """Have it to oneself; ``None`` where nothing is to be done any more or another replica has it.

    What is about to be begun is kept here, before anybody is asked for it.
    """
    async with world.store() as tx:
        at = world.clock.now()
        backup = await tx.backup(backup_id)
        if backup is None or backup.look_at is None or backup.look_at > at:
            return None
        if backup.lease_until is not None and backup.lease_until > at:
            return None
        held = backup if backup.is_over else rules.starting(backup)
        return await tx.save_backup(held.model_copy(update={"lease_until": at + LEASE}))


async def _work(world: World, backup: Backup) -> None:
    """Ask about every part that is not over, side by side, and keep what was heard."""
    assert backup.id is not None
    places = [n for n, one in enumerate(backup.parts) if not one.stage.is_over]
    backup_id = backup.id
    async with held(world, lambda tx, until: tx.hold_backup(backup_id, until)):
        answers = await asyncio.gather(*(_ask(world, backup, n) for n in places))
    heard = dict(zip(places, answers, strict=True))
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup.id)
        if latest is None or latest.version != backup.version:
            return
        plan = world.policy.backups.plan(backup.plan)
        before: dict[str, list[Evidence]] = {}
        for one in await tx.verified_backups(backup.plan, COMPARED):
            for progress in one.parts:
                if progress.evidence is not None:
                    before.setdefault(progress.part.name, []).append(progress.evidence)
        await _keep(tx, world, latest, rules.step(latest, heard, plan, before, at), at)


async def _ask(world: World, backup: Backup, place: int) -> Heard:
    """One question about one part."""
    progress = backup.parts[place]
    order = rules.order(backup, progress)
    vault = world.vaults.get(progress.part.source)
    if vault is None:
        return Broke(why=f"nothing here can copy {progress.part.source.value}")
    try:
        if progress.stage is Stage.STARTING:
            found: Began | Broke | None = await vault.find(order)
            if found is None and backup.until is not None and world.clock.now() >= backup.until:
                return Silent(why=progress.trouble) if progress.trouble else Going()  # Too late to begin.
            return found if found is not None else await vault.begin(order)
        operation = progress.operation or ""
        if progress.stage is Stage.COPYING:
            return await vault.look(order, operation)
        evidence = await vault.prove(order, operation)
        hold = await hold_of(world, order)
        return Proved(evidence=evidence.model_copy(update={"hold": hold}))
    except Outage as outage:
        log.warning("backups.outage", backup=backup.number, part=progress.part.name, reason=outage.reason)
        return Silent(why=outage.reason[:300])
    except Exception as failure:
        log.exception("backups.failed", backup=backup.number, part=progress.part.name)
        return Silent(why=repr(failure)[:200])


async def _keep(tx: Tx, world: World, before: Backup, after: Backup, at: datetime) -> Backup:
    """Save a changed backup and all that follows from it, in one transaction."""
    plan = world.policy.backups.plan(after.plan)
    verified = await tx.verified_backups(after.plan, PAST)
    newest = max((one.due_at for one in verified if one.due_at <= max(at, after.due_at)), default=None)
    is_new = after.standing is Standing.VERIFIED and before.standing is not Standing.VERIFIED
    if is_new:
        newest = after.due_at if newest is None else max(newest, after.due_at)
    level = rules.alarm(after, plan, newest, at) if plan is not None else None
    if level is not None:
        after = after.model_copy(update={"alarmed_at": after.alarmed_at or at, "alarmed_level": level})
    saved = await tx.save_backup(after)
    effects: list[Effect] = []
    if _is_worth_showing(before, saved) and saved.standing is not Standing.MISSED:
        effects.append(Refresh(subject=saved.subject))
    if saved.standing is not before.standing:
        data = {"from": before.standing.value, "to": saved.standing.value, "bytes": saved.size}
        by = saved.accepted_by or TOBAN
        await tx.tell(
            [Event(subject=saved.subject, what=f"backups.{saved.standing.value}", at=at, by=by, data=data)]
        )
        counters.backups.labels(standing=saved.standing.value).inc()
        if saved.begun_at is not None and saved.ended_at is not None:
            counters.backup_seconds.observe((saved.ended_at - saved.begun_at).total_seconds())
    await tx.say(effects, at)
    if level is not None:
        await signals.receive(tx, world.policy, [(_signal(saved, level, ended=None), at)], at)
    if is_new:
        counters.backup_state.labels(plan=saved.plan).set(saved.at.timestamp())
        names = plan.names if plan is not None else (saved.plan,)
        told = [one for one in await tx.alarmed_backups() if one.plan in names and one.due_at <= saved.due_at]
        await _clear(tx, world, told, at)
        if plan is not None:
            await prune(tx, plan, saved, at)
    return saved


async def _clear(tx: Tx, world: World, told: list[Backup], at: datetime, *, recovered: bool = True) -> None:
    """Their alerts are over: something newer is verified, or nobody wants to know any more."""
    heard = []
    for one in told:
        await tx.save_backup(one.model_copy(update={"cleared_at": at}))
        signal = _signal(one, one.alarmed_level or Level.WARNING, ended=epoch(at))
        heard.append((signal.model_copy(update={"recovered": recovered}), at))
    if heard:
        await signals.receive(tx, world.policy, heard, at)


def _is_worth_showing(before: Backup, after: Backup) -> bool:
    """A look that found the same is no news."""
    hidden = {"look_at", "lease_until", "version"}
    return before.model_dump(exclude=hidden) != after.model_dump(exclude=hidden)


def _signal(backup: Backup, level: Level, *, ended: int | None) -> Signal:
    """A backup that is not what it should be, as an alert like any other: one for each due moment."""
    what = "late" if backup.standing is Standing.RUNNING else backup.standing.value
    params = {"plan": backup.plan, "at": epoch(backup.due_at), "number": backup.number}
    title = Text(key="signal.backup_is_back" if ended is not None else f"signal.backup_{what}", params=params)
    summary = Text(key="signal.backup_why", params=params, lines=backup.reasons[:5])
    return Signal(
        source=SOURCE,
        identity=f"{SOURCE}:backup:{backup.plan}:{epoch(backup.due_at)}",
        group_key=group_key(SOURCE, "backup", backup.plan),
        firing=ended is None,
        level=level,
        title=f"backup {backup.plan}: {what}",
        labels={"plan": backup.plan},
        started_at=backup.due_at,
        ended_at=None if ended is None else moment(ended),
        reusable=True,
        wording=Wording(title=title, summary=summary),
    )
