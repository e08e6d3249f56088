"""Carries out backups: begins what is due, looks at what is on its way, tells what is missing."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from functools import partial

import structlog

from domain import approvals, scrubbing
from domain import backing as rules
from domain.alerts import Signal, group_key
from domain.approvals import Account
from domain.backup_plans import BackupPlan, Backups
from domain.backup_sizes import SOON, full_in
from domain.backups import Backup, Began, Broke, Going, Heard, Proved, Silent, Stage
from domain.effects import TOBAN, By, Effect, Event, Note, Refresh, Text, Wording
from domain.errors import Outage, Refused
from domain.evidence import Evidence
from domain.levels import Level
from domain.outbox import OPS
from domain.ports import Tx
from domain.retention import Fate, Standing
from domain.schedule import Cron
from domain.series import epoch, moment
from domain.voice import SOURCE
from domain.watches import Watch, WatchKind
from operations import backup_sizes, counters, installation, signals
from operations.demoting import demote
from operations.lease import LEASE, held, in_time, is_held
from operations.places import backup_card, backup_note
from operations.pruning import LINES, fates, hold_of, prune, remove
from operations.renaming import carry_over
from operations.scrub import found_wrong
from operations.taking import to_take
from operations.world import World

log = structlog.get_logger(__name__)

LIMIT = 1000
"""Backups with something to do that are looked at in one turn."""

BLOCKED = timedelta(seconds=10)
"""Until it is looked again whether a plan's running backup has ended."""

PAST = 20
"""Backups in one history."""

MANY = 1000
"""More verified backups than a plan keeps."""

LEFT = "left"
"""In the state of a plan: since when the policy has it no more."""

COMPARED = 7
"""Verified backups with which a size is compared."""


async def schedule(world: World, at: datetime) -> datetime:
    """Begin what is due, and keep what was missed, for each plan alone. When to look again."""
    plans = world.policy.backups.plans
    await carry_over(world, at)
    async with world.store() as tx:
        known = await tx.watches(WatchKind.PLAN)
        names = {plan.name for plan in plans}
        for name, watch in sorted(known.items()):
            await _heed_leaving(tx, watch, at, is_there=name in names)
        gone = [one for one in await tx.alarmed_backups() if one.plan not in world.policy.backups.names]
        await _clear(tx, world, gone, at, recovered=False)
        for plan in plans:
            for newest in await tx.verified_backups(plan.name, 1):
                counters.backup_state.labels(plan=plan.name).set(newest.at.timestamp())
    again = [at + timedelta(days=1)]
    for plan in plans:
        following = plan.schedule.following(at)
        try:
            blocked = await _begin_due(world, plan, at)
        except Outage:
            raise
        except Exception:  # It is tried again; the other plans do not wait for that.
            log.exception("backups.not_begun", plan=plan.name)
            blocked = True
        again.append(min(at + BLOCKED, following) if blocked else following)
    return min(again)


async def _heed_leaving(tx: Tx, watch: Watch, at: datetime, *, is_there: bool) -> None:
    """A plan that leaves the policy is told; what it misses until it comes back is known then."""
    if is_there == (LEFT not in watch.state):
        return
    state = {name: one for name, one in watch.state.items() if name != LEFT}
    key = "backup.plan_is_back"
    if not is_there:
        state[LEFT], key = epoch(at), "backup.plan_left"
    await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": at})])
    text = Text(key=key, params={"plan": watch.key})
    await tx.say([Note(key=f"{key}:{watch.key}:{epoch(at)}", place=OPS, text=text)], at)


async def _begin_due(world: World, plan: BackupPlan, at: datetime) -> bool:
    """True where something is due that has to wait for the backup of this plan that runs."""
    async with world.store() as tx:
        watch = await tx.watch(WatchKind.PLAN, plan.name)
        cron = plan.schedule.model_dump()
        if watch is None:
            new = Watch(kind=WatchKind.PLAN, key=plan.name, state=cron | {"since": epoch(at)}, changed_at=at)
            await tx.save_watches([new])
            return False
        await _set_right(tx, world, plan, at)
        since = moment(watch.state["since"])
        # What a clock that was ahead has made or kept is no reason to make nothing until it is right.
        made = await tx.last_made(plan.name, at)
        from_now = since > at
        since = max(min(since, at), made or since.min.replace(tzinfo=since.tzinfo))
        # A schedule that was changed counts from now on: what the old one left undone is still missed.
        old = Cron(line=watch.state["line"], zone=watch.state["zone"])
        lost, newest = rules.due(plan.model_copy(update={"schedule": old}), since, at)
        running = await tx.running_backups(plan.name)
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
            await _miss(tx, plan, due_at)
        await _begin(tx, plan, newest, at, TOBAN)
    return False


async def _set_right(tx: Tx, world: World, plan: BackupPlan, at: datetime) -> None:
    """What a clock that was ahead has dated proves nothing; what it called missed has not come yet."""
    found = await tx.backups_ahead(plan.name, at + rules.AHEAD)
    missed = [one for one in found if one.standing is Standing.MISSED]
    fires = [one for one in missed if one.alarmed_at is not None and one.cleared_at is None]
    await _clear(tx, world, fires, at, recovered=False)
    for one in missed:
        await tx.forget_backup(one.id or 0)
    made = [one for one in found if one.standing is not Standing.MISSED]
    for one in made:
        await tx.save_backup(one.model_copy(update={"ahead": True}))
        await tx.say([Refresh(subject=one.subject)], at)
    if made:
        lines = tuple(
            Text(key="backup.ahead_line", params={"number": one.number, "at": epoch(one.due_at)})
            for one in made[:LINES]
        )
        text = Text(key="backup.made_ahead", params={"plan": plan.name, "count": len(made)}, lines=lines)
        await tx.say([Note(key=f"backups-ahead:{plan.name}:{epoch(at)}", place=OPS, text=text)], at)


async def _miss(tx: Tx, plan: BackupPlan, due_at: datetime) -> None:
    """A moment for which nothing was made; what a clock ahead has made of it does not count."""
    there = await tx.backup_for(plan.name, due_at)
    if there is not None and there.ahead:
        await _miss(tx, plan, due_at + rules.BESIDE)
    elif there is None:
        await tx.add_backup(rules.missed(plan, due_at))


async def _begin(tx: Tx, plan: BackupPlan, due_at: datetime, at: datetime, by: By) -> Backup | None:
    """A backup and its card; ``None`` where one runs already or was made for that moment."""
    new = rules.begin(plan, due_at, at, by, (await installation.own(tx, at)).id)
    begun = await tx.add_backup(new)
    if begun is None:
        there = await tx.backup_for(plan.name, due_at)
        if there is None:
            return None
        if there.ahead:
            return await _begin(tx, plan, due_at + rules.BESIDE, at, by)
        if there.standing is not Standing.MISSED:
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
    used = await tx.backups_of(plan.name, 1, until=at)
    due_at = rules.free_moment(used[0].due_at if used else None, at)
    begun = await _begin(tx, plan, due_at, at, by)
    if begun is None:
        raise Refused("refused.backup_runs", plan=plan.name)
    second = world.policy.backups.second(plan.name)
    if second is not None:  # One that runs there already is not waited for.
        await _begin(tx, second, due_at, at, by)
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


async def overview(tx: Tx, policy: Backups, at: datetime) -> tuple[dict[str, Backup], dict[str, Backup]]:
    """The newest backup of each plan, and the newest verified one, by the plan's name."""
    latest: dict[str, Backup] = {}
    verified: dict[str, Backup] = {}
    for plan in policy.plans:
        latest |= {one.plan: one for one in await tx.backups_of(plan.name, 1, until=at + rules.AHEAD)}
        verified |= {one.plan: one for one in await tx.verified_backups(plan.name, 1)}
    return latest, verified


async def history(tx: Tx, plan: BackupPlan, at: datetime) -> list[tuple[Backup, Fate | None]]:
    """The newest backups of a plan, and what becomes of each that is still there."""
    decided = await fates(tx, plan, at)
    return [(one, decided.get(one.id or 0)) for one in await tx.backups_of(plan.name, PAST)]


async def tick(world: World) -> int:
    """Begin all that is to be done, each thing in a task of its own. Returns how much that was.

    The tables let one backup of a plan run at a time. What needs no vault is done here: a moment that has
    passed is judged whoever holds the backup, and however long its vault says nothing.
    """
    at = world.clock.now()
    async with world.store.read() as tx:
        late = await tx.overdue_backups(at)
        due = await tx.due_backups(at, LIMIT)
    begun = 0
    for one in (one for one in late if is_held(one.lease_until, at) or _name(one) in world.under_way):
        begun += await _guarded(one, _judge(world, one))
    queues: dict[str, list[Backup]] = {}
    for one in due:
        if not one.is_over:
            begun += world.under_way.begin(_name(one), partial(_each, world, [one]))
        elif one.doomed_at is not None or one.standing is Standing.VERIFIED:
            what = "read" if one.doomed_at is None else "remove"
            queues.setdefault(f"{what}:{one.plan}", []).append(one)
        else:
            begun += await _guarded(one, _one(world, one))
    for name, found in queues.items():
        begun += world.under_way.begin(name, partial(_each, world, found))
    return begun


def _name(backup: Backup) -> str:
    return f"backup:{backup.number}"


async def _each(world: World, found: list[Backup]) -> None:
    for one in found:
        await _guarded(one, _one(world, one))


async def _guarded(backup: Backup, work: Awaitable[bool]) -> bool:
    """What it says, or False: what fails keeps its lease, and is tried again after it."""
    try:
        return await work
    except Outage as outage:
        log.warning("backups.outage", backup=backup.number, reason=outage.reason)
    except Exception:
        log.exception("backups.failed", backup=backup.number)
    return False


async def _one(world: World, found: Backup) -> bool:
    """One step of a backup, if nobody else does it."""
    assert found.id is not None
    backup = await _claim(world, found.id)
    if backup is None:
        return False
    if backup.doomed_at is not None and backup.removed_at is None:
        await remove(world, backup)
    elif backup.standing is Standing.VERIFIED:
        await _read_again(world, backup)
    elif backup.is_over:  # It was to be verified by now.
        async with world.store() as tx:
            latest = await tx.backup(found.id)
            if latest is not None and latest.fence == backup.fence:
                told = latest.model_copy(update={"look_at": None, "lease_until": None})
                await _keep(tx, world, latest, told, world.clock.now())
    else:
        await _work(world, backup)
    return True


async def _read_again(world: World, backup: Backup) -> None:
    """An old one, which may have rotted since it was verified."""
    assert backup.id is not None
    wrong = await found_wrong(world, backup)
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup.id)
        if latest is None or latest.fence != backup.fence or latest.standing is not Standing.VERIFIED:
            return
        free = {"look_at": None, "lease_until": None} | ({} if wrong is None else {"read_at": at})
        read = latest.model_copy(update=free)
        if wrong:
            await _rotten(tx, world, read, wrong, at)
        else:
            await tx.save_backup(read)


async def _rotten(tx: Tx, world: World, backup: Backup, wrong: tuple[Text, ...], at: datetime) -> None:
    """It is verified no more, and an alert says so, with how many are left."""
    plan = world.policy.backups.plan(backup.plan)
    others = [one for one in await tx.verified_backups(backup.plan, MANY) if one.id != backup.id]
    is_newest = not any(one.due_at > backup.due_at for one in others)
    level = scrubbing.alarm(plan.level, is_newest=is_newest) if plan is not None else None
    alarmed = {"alarmed_at": at, "alarmed_level": level, "cleared_at": None} if level is not None else {}
    told = Text(key="backup.rotten", params={"left": len(others)})
    saved = await demote(tx, backup.model_copy(update=alarmed), Standing.FAILED, (told, *wrong), at)
    await tx.say([backup_note(f"{saved.subject.key}:rotten:{saved.version}", saved, told)], at)
    if level is not None:
        signal = _signal(saved, level, ended=None, what="rotten")
        await signals.receive(tx, world.policy, [(signal, at)], at)


async def _judge(world: World, found: Backup) -> bool:
    """Its moment has passed while whoever holds it says nothing. True where that had to be told."""
    assert found.id is not None
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(found.id)
        if latest is None or latest.is_over:
            return False
        after = rules.overdue(latest, world.policy.backups.plan(latest.plan), {}, at)
        if after is latest and await _alarm(tx, world, latest, at) is None:
            return False
        kept = await _keep(tx, world, latest, after, at)
    if kept.is_over:
        world.under_way.cancel(_name(kept))
    return True


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
        lease = {"lease_until": at + LEASE, "fence": backup.fence + 1}
        return await tx.save_backup(held.model_copy(update=lease))


async def _work(world: World, backup: Backup) -> None:
    """Ask about every part that is not over, side by side, and keep what was heard."""
    assert backup.id is not None
    places = [n for n, one in enumerate(backup.parts) if not one.stage.is_over]
    backup_id = backup.id
    async with held(world, lambda tx, until: tx.hold_backup(backup_id, until)):
        answers = await asyncio.gather(*(_ask(world, backup, n) for n in places))
    heard = await _warned(world, backup, dict(zip(places, answers, strict=True)))
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.backup(backup.id)
        if latest is None or latest.fence != backup.fence:
            return
        plan = world.policy.backups.plan(backup.plan)
        before: dict[str, list[Evidence]] = {}
        for one in await tx.verified_backups(backup.plan, COMPARED):
            for progress in one.parts:
                if progress.evidence is not None:
                    before.setdefault(progress.part.name, []).append(progress.evidence)
            if one.accepted_by is not None:
                break  # Somebody has said that this is how it looks now.
        await _keep(tx, world, latest, rules.step(latest, heard, plan, before, at), at)


async def _ask(world: World, backup: Backup, place: int) -> Heard:
    """One question about one part. The answer has a limit: without it the same is asked again."""
    progress = backup.parts[place]
    order = rules.order(backup, progress)
    vault = world.vaults.get(progress.part.source)
    if vault is None:
        return Broke(why=f"nothing here can copy {progress.part.source.value}")
    within = rules.answer_within(progress.stage, backup.until, world.clock.now())
    operation = progress.operation or ""
    try:
        if progress.stage is Stage.STARTING:
            first = await to_take(world, backup, progress)
            if isinstance(first, Going):
                return first
            found: Began | Broke | None = await in_time(vault.find(order), rules.ASKED)
            if found is None and backup.until is not None and world.clock.now() >= backup.until:
                return Silent(why=progress.trouble) if progress.trouble else Going()  # Too late to begin.
            if found is not None:
                return found
            expects = await _last_size(world, backup, progress.part.name)
            if first is not None:  # It leaves time for a copy of its own, should the first place hang.
                within = min(within, rules.expected(backup))
            asked = order.model_copy(update={"expects": expects, "first": first})
            return await in_time(vault.begin(asked), within)
        if progress.stage is Stage.COPYING:
            return await in_time(vault.look(order, operation), within)
        evidence = await in_time(vault.prove(order, operation), within)
        hold = await hold_of(world, order)
        return Proved(evidence=evidence.model_copy(update={"hold": hold}))
    except Outage as outage:
        log.warning("backups.outage", backup=backup.number, part=progress.part.name, reason=outage.reason)
        return Silent(why=outage.reason[:300])
    except Exception as failure:
        log.exception("backups.failed", backup=backup.number, part=progress.part.name)
        return Silent(why=repr(failure)[:200])


async def _last_size(world: World, backup: Backup, part: str) -> int:
    """Bytes of the newest verified copy of the same; 0 without one."""
    async with world.store.read() as tx:
        last = await tx.verified_backups(backup.plan, 1)
    parts = (one for before in last for one in before.parts if one.part.name == part)
    return next((one.evidence.bytes for one in parts if one.evidence is not None), 0)


async def _warned(world: World, backup: Backup, heard: dict[int, Heard]) -> dict[int, Heard]:
    """The answers, with the days until the disk is full where they are few."""
    proved = {n: one.evidence for n, one in heard.items() if isinstance(one, Proved)}
    if all(evidence.free is None for evidence in proved.values()):
        return heard
    async with world.store.read() as tx:
        known = await backup_sizes.points(tx, backup.plan, backup.due_at)
    changed = dict(heard)
    for n, evidence in proved.items():
        if evidence.free is not None:
            days = full_in([*known, (backup.due_at, evidence.free)])
            if days is not None and days < SOON:
                changed[n] = Proved(evidence=evidence.model_copy(update={"full_in": days}))
    return changed


async def _keep(tx: Tx, world: World, before: Backup, after: Backup, at: datetime) -> Backup:
    """Save a changed backup and all that follows from it, in one transaction."""
    plan = world.policy.backups.plan(after.plan)
    is_new = after.standing is Standing.VERIFIED and before.standing is not Standing.VERIFIED
    level = await _alarm(tx, world, after, at)
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
        told = [
            one
            for one in await tx.alarmed_backups()
            if one.plan in names and (one.due_at <= saved.due_at or one.ahead)
        ]
        await _clear(tx, world, told, at)
        if plan is not None:
            await prune(tx, plan, saved, at)
    return saved


async def _alarm(tx: Tx, world: World, backup: Backup, at: datetime) -> Level | None:
    """The level at which its alert has to fire now."""
    plan = world.policy.backups.plan(backup.plan)
    if plan is None or backup.standing is Standing.VERIFIED:
        return None
    verified = await tx.verified_backups(backup.plan, PAST)
    newest = max((one.due_at for one in verified if one.due_at <= max(at, backup.due_at)), default=None)
    return rules.alarm(backup, plan, newest, at)


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
    hidden = {"look_at", "lease_until", "fence", "version"}
    return before.model_dump(exclude=hidden) != after.model_dump(exclude=hidden)


def _signal(backup: Backup, level: Level, *, ended: int | None, what: str | None = None) -> Signal:
    """A backup that is not what it should be, as an alert like any other: one for each due moment."""
    what = what or ("late" if backup.standing is Standing.RUNNING else backup.standing.value)
    params = {"plan": backup.plan, "at": epoch(backup.due_at), "number": backup.number}
    title = Text(key="signal.backup_is_back" if ended is not None else f"signal.backup_{what}", params=params)
    key = "signal.backup_rotten_why" if what == "rotten" else "signal.backup_why"
    first = next((one.part.second_of for one in backup.parts), "")
    if first:
        key, params = f"{key}_second", params | {"first": first, "place": backup.destination}
    summary = Text(key=key, params=params, lines=backup.reasons[:5])
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
