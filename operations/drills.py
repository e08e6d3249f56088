"""Carries out restore drills: begins what is due or agreed to, looks at each, removes what was restored."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from domain import approvals, backing
from domain import drilling as rules
from domain.alerts import Signal, group_key
from domain.approvals import Account
from domain.backup_plans import UNREHEARSED, BackupPlan, Backups
from domain.backups import Backup, Began, Broke, Heard, Proved, Silent, Stage
from domain.drills import Drill, DrillState
from domain.effects import TOBAN, By, Event, Refresh, Text, Wording
from domain.errors import Outage, Refused
from domain.ports import Tx
from domain.retention import Standing
from domain.schedule import Cron
from domain.series import epoch, moment
from domain.voice import SOURCE
from domain.watches import Watch, WatchKind
from operations import counters, signals
from operations.demoting import demote
from operations.lease import LEASE, held, in_time, is_held
from operations.places import drill_card
from operations.renaming import carry_over
from operations.world import World

log = structlog.get_logger(__name__)

LIMIT = 100
"""Drills in one turn; each goes on by itself."""

BLOCKED = timedelta(minutes=10)
"""Until it is looked again whether a drill that is due can begin."""


async def schedule(world: World, at: datetime) -> datetime:
    """Begin the drills that the policy's timetable asks for. When to look again."""
    plans = [plan for plan in world.policy.backups.plans if plan.drill is not None and plan.drill.schedule]
    await carry_over(world, at)
    async with world.store() as tx:
        known = await tx.watches(WatchKind.DRILL)
        await tx.forget_watches(WatchKind.DRILL, sorted(known.keys() - {plan.name for plan in plans}))
        names = {plan.name for plan in world.policy.backups.plans}
        gone = [one for one in await tx.alarmed_drills() if one.plan not in world.policy.backups.names]
        await _clear(tx, world, gone, at, recovered=False)
        for name in names:
            for passed in await tx.drills_of(name, 1, DrillState.PASSED):
                if passed.seconds is not None:
                    counters.drill_seconds.labels(plan=name).set(passed.seconds)
    again = [at + timedelta(days=1)]
    for plan in plans:
        assert plan.drill is not None
        assert plan.drill.schedule is not None
        blocked = await _begin_due(world, plan, plan.drill.schedule, at)
        following = plan.drill.schedule.following(at)
        again.append(min(at + BLOCKED, following) if blocked else following)
    return min(again)


async def _begin_due(world: World, plan: BackupPlan, cron: Cron, at: datetime) -> bool:
    """True where one is due that has to wait: another one is open, or nothing is verified yet."""
    async with world.store() as tx:
        watch = await tx.watch(WatchKind.DRILL, plan.name)
        state = cron.model_dump()
        if watch is None or Cron(line=watch.state["line"], zone=watch.state["zone"]) != cron:
            # A timetable that is new or was changed counts from now on.
            known = Watch(kind=WatchKind.DRILL, key=plan.name, state={}, changed_at=at)
            found = (watch or known).model_copy(
                update={"state": state | {"since": epoch(at)}, "changed_at": at}
            )
            await tx.save_watches([found])
            return False
        since = min(moment(watch.state["since"]), at)  # A clock that was ahead may have kept it.
        _, newest = backing.due(plan.model_copy(update={"schedule": cron}), since, at)
        if newest is None:
            return False
        verified = await tx.verified_backups(plan.name, 1)
        if not verified:
            return True
        added = await tx.add_drill(rules.new(plan, verified[0], newest, at))
        open_ones = await tx.drills_of(plan.name, 1)
        if added is None and not (open_ones and open_ones[0].due_at == newest):
            return True
        if added is not None:
            await _told(tx, added, "drills.begun", at, TOBAN)
            await tx.say([drill_card(added)], at)
        done = watch.model_copy(update={"state": state | {"since": epoch(newest)}, "changed_at": at})
        await tx.save_watches([done])
    return False


async def request(tx: Tx, world: World, name: str, account: Account, by: By, at: datetime) -> Text:
    """A drill that somebody asks for. Refused where it could not be carried out."""
    person = approvals.person_behind(world.policy.people, account)
    plan = world.policy.backups.named(name)
    if all(part.source in UNREHEARSED for part in plan.parts):
        raise Refused("refused.drill_of_nothing", plan=plan.name)
    missing = rules.unprepared(plan, ready(world))
    if missing:
        raise Refused("refused.drill_unprepared", plan=plan.name, parts=", ".join(missing))
    verified = await tx.verified_backups(plan.name, 1)
    if not verified:
        raise Refused("refused.drill_nothing", plan=plan.name)
    latest = next(iter(await tx.drills_of(plan.name, 1)), None)
    asked = await tx.add_drill(rules.ask(plan, verified[0], latest, person, by, at))
    if asked is None:
        raise Refused("refused.drill_runs", plan=plan.name)
    await _told(tx, asked, "drills.asked", at, by)
    await tx.say([drill_card(asked)], at)
    return Text(key="answer.drill_asked", params={"number": asked.number, "plan": plan.name})


async def approve(tx: Tx, world: World, drill_id: int, account: Account, by: By, at: datetime) -> Text:
    """Somebody agrees to a drill."""
    person = approvals.person_behind(world.policy.people, account)
    drill, plan = await _asked(tx, world, drill_id)
    backup = await tx.backup(drill.backup_id)
    if backup is None or backup.removed_at is not None:
        raise Refused("refused.drill_nothing", plan=plan.name)
    saved = await tx.save_drill(rules.approve(drill, plan, backup, person, by, at, world.policy.people))
    await _told(tx, saved, "drills.approved", at, by)
    await tx.say([Refresh(subject=saved.subject)], at)
    return Text(key="answer.drill_approved", params={"number": saved.number})


async def decline(tx: Tx, world: World, drill_id: int, account: Account, by: By, at: datetime) -> Text:
    """Somebody says no to a drill."""
    person = approvals.person_behind(world.policy.people, account)
    drill, plan = await _asked(tx, world, drill_id)
    saved = await tx.save_drill(rules.decline(drill, plan, person, by, at, world.policy.people))
    await _told(tx, saved, "drills.declined", at, by)
    await tx.say([Refresh(subject=saved.subject)], at)
    return Text(key="answer.drill_declined", params={"number": saved.number})


async def release(tx: Tx, world: World, drill_id: int, account: Account, by: By, at: datetime) -> Text:
    """Somebody says that old backups may go again, although the last drill failed."""
    person = approvals.person_behind(world.policy.people, account)
    drill, plan = await _asked(tx, world, drill_id)
    judged = await tx.judged_drill(plan.name)
    if judged is None or judged.id != drill.id:
        raise Refused("refused.drill_not_halting", number=drill.number)
    saved = await tx.save_drill(rules.release(drill, person, by))
    await _told(tx, saved, "drills.released", at, by)
    await tx.say([Refresh(subject=saved.subject)], at)
    return Text(key="answer.drill_released", params={"plan": plan.name})


async def newest(tx: Tx, policy: Backups) -> dict[str, Drill]:
    """The newest drill of each plan that was carried out, by the plan's name."""
    found: dict[str, Drill] = {}
    for plan in policy.plans:
        for state in (DrillState.PASSED, DrillState.FAILED):
            for one in await tx.drills_of(plan.name, 1, state):
                if plan.name not in found or one.due_at > found[plan.name].due_at:
                    found[plan.name] = one
    return found


def ready(world: World) -> frozenset[str]:
    """The sources whose rehearsals know by themselves where to restore to."""
    return frozenset(source.value for source in world.drill_places)


async def _asked(tx: Tx, world: World, drill_id: int) -> tuple[Drill, BackupPlan]:
    drill = await tx.drill(drill_id)
    if drill is None:
        raise Refused("refused.drill_not_asked", number=f"RD-{drill_id}")
    return drill, world.policy.backups.named(drill.plan)


async def tick(world: World) -> int:
    """Take each drill with something to do one step further, in a task of its own. Returns how many.

    One whose time is over is judged here, whoever holds it and however long its rehearsal says nothing.
    """
    at = world.clock.now()
    async with world.store.read() as tx:
        known = await tx.overdue_drills(at)
        due = await tx.due_drills(at, LIMIT)
    late = [one for one in known if is_held(one.lease_until, at) or _name(one) in world.under_way]
    for one in late:
        await _guarded(one, partial(_save, world, one, rules.overdue))
        world.under_way.cancel(_name(one))
    begun = sum(world.under_way.begin(_name(one), partial(_step, world, one)) for one in due)
    return len(late) + begun


def _name(drill: Drill) -> str:
    return f"drill:{drill.number}"


async def _step(world: World, drill: Drill) -> None:
    assert drill.id is not None
    await _guarded(drill, partial(_one, world, drill.id))


async def _guarded(drill: Drill, work: Callable[[], Awaitable[None]]) -> None:
    """What fails keeps its lease, and is tried again after it."""
    try:
        await work()
    except Outage as outage:
        log.warning("drills.outage", drill=drill.number, reason=outage.reason)
    except Exception:
        log.exception("drills.failed", drill=drill.number)


async def _one(world: World, drill_id: int) -> None:
    drill = await _claim(world, drill_id)
    if drill is None:
        return
    if drill.state is DrillState.ASKED:
        await _save(world, drill, rules.expire)
        return
    async with world.store.read() as tx:
        backup = await tx.backup(drill.backup_id)
    plan = world.policy.backups.plan(drill.plan)
    if (backup is None or plan is None) and drill.state is not DrillState.CLEANING:
        await _save(world, drill, rules.abandon)
        return
    async with held(world, lambda tx, until: tx.hold_drill(drill_id, until)):
        if drill.state is DrillState.CLEANING:
            problem = await _remove(world, drill, backup, plan)
        else:
            places = [n for n, one in enumerate(drill.parts) if not one.stage.is_over]
            assert backup is not None
            assert plan is not None
            answers = await asyncio.gather(*(_ask(world, drill, n, backup, plan) for n in places))
    if drill.state is DrillState.CLEANING:
        await _save(world, drill, lambda latest, at: rules.removed(latest, problem, at))
    else:
        heard = dict(zip(places, answers, strict=True))
        await _save(world, drill, lambda latest, at: rules.step(latest, heard, at))


async def _claim(world: World, drill_id: int) -> Drill | None:
    """Have it to oneself; what is about to be begun is kept before anybody is asked for it."""
    async with world.store() as tx:
        at = world.clock.now()
        drill = await tx.drill(drill_id)
        if drill is None or drill.look_at is None or drill.look_at > at:
            return None
        if drill.lease_until is not None and drill.lease_until > at:
            return None
        begun = rules.starting(drill) if drill.state is DrillState.RUNNING else drill
        lease = {"lease_until": at + LEASE, "fence": drill.fence + 1}
        return await tx.save_drill(begun.model_copy(update=lease))


async def _ask(world: World, drill: Drill, place: int, backup: Backup, plan: BackupPlan) -> Heard:
    """One question about one part."""
    progress = drill.parts[place]
    rehearsal = world.rehearsals.get(progress.part.source)
    if rehearsal is None:
        return Broke(why=f"nothing here can restore {progress.part.source.value}")
    restore = rules.restore(drill, progress, backup, plan)
    within = backing.answer_within(progress.stage, drill.until, world.clock.now())
    try:
        if progress.stage is Stage.STARTING:
            found: Began | Broke | None = await in_time(rehearsal.find(restore), backing.ASKED)
            return found if found is not None else await in_time(rehearsal.begin(restore), within)
        operation = progress.operation or ""
        if progress.stage is Stage.COPYING:
            return await in_time(rehearsal.look(restore, operation), within)
        return Proved(evidence=await in_time(rehearsal.examine(restore, operation), within))
    except Outage as outage:
        log.warning("drills.outage", drill=drill.number, part=progress.part.name, reason=outage.reason)
        return Silent(why=outage.reason[:300])
    except Exception as failure:
        log.exception("drills.failed", drill=drill.number, part=progress.part.name)
        return Silent(why=repr(failure)[:200])


async def _remove(world: World, drill: Drill, backup: Backup | None, plan: BackupPlan | None) -> str | None:
    """Remove what every attempt at every part restored; why that cannot be done now, or ``None``."""
    try:
        for progress in drill.parts:
            rehearsal = world.rehearsals.get(progress.part.source)
            if rehearsal is not None:
                for attempt in range(1, progress.attempt + 1):
                    one = progress.model_copy(update={"attempt": attempt})
                    restore = rules.restore(drill, one, backup, plan)
                    await in_time(rehearsal.remove(restore), backing.LOOKED)
    except Outage as outage:
        log.warning("drills.not_removed", drill=drill.number, reason=outage.reason)
        return outage.reason
    return None


async def _save(world: World, drill: Drill, step: rules.Step) -> None:
    """Keep what became of a drill, and all that follows from it, in one transaction."""
    assert drill.id is not None
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.drill(drill.id)
        if latest is None or latest.fence != drill.fence:
            return
        after = step(latest, at)
        fails = rules.has_failed(after) and after.alarmed_at is None
        if fails:
            after = after.model_copy(update={"alarmed_at": at})
        saved = await tx.save_drill(after)
        if saved.state is not latest.state:
            await _told(tx, saved, f"drills.{saved.state.value}", at, TOBAN)
            if saved.state in {DrillState.PASSED, DrillState.FAILED}:
                counters.drills.labels(outcome=saved.state.value).inc()
        if _is_worth_showing(latest, saved):
            await tx.say([Refresh(subject=saved.subject)], at)
        if fails:
            await _demote(tx, saved, at)
            await signals.receive(tx, world.policy, [(_signal(world, saved, ended=None), at)], at)
        if saved.state is DrillState.PASSED:
            if saved.seconds is not None:
                counters.drill_seconds.labels(plan=saved.plan).set(saved.seconds)
            plan = world.policy.backups.plan(saved.plan)
            family = plan.names if plan is not None else (saved.plan,)
            await _clear(tx, world, [one for one in await tx.alarmed_drills() if one.plan in family], at)


async def _demote(tx: Tx, drill: Drill, at: datetime) -> None:
    """Its backup is verified no more, where the drill says something about it."""
    standing, backup = rules.blame(drill), await tx.backup(drill.backup_id)
    if standing is None or backup is None or backup.standing is not Standing.VERIFIED:
        return
    told = Text(key="backup.failed_drill", params={"number": drill.number})
    await demote(tx, backup, standing, (told, *drill.reasons[:5]), at)


async def _told(tx: Tx, drill: Drill, what: str, at: datetime, by: By) -> None:
    data = {"plan": drill.plan, "backup": drill.backup_id, "seconds": drill.seconds}
    await tx.tell([Event(subject=drill.subject, what=what, at=at, by=by, data=data)])


async def _clear(tx: Tx, world: World, told: list[Drill], at: datetime, *, recovered: bool = True) -> None:
    """Their alerts are over: a later one has passed, or nobody wants to know any more."""
    heard = []
    for one in told:
        await tx.save_drill(one.model_copy(update={"cleared_at": at}))
        signal = _signal(world, one, ended=epoch(at))
        heard.append((signal.model_copy(update={"recovered": recovered}), at))
    if heard:
        await signals.receive(tx, world.policy, heard, at)


def _is_worth_showing(before: Drill, after: Drill) -> bool:
    """A look that found the same is no news."""
    hidden = {"look_at", "lease_until", "fence", "version"}
    return before.model_dump(exclude=hidden) != after.model_dump(exclude=hidden)


def _signal(world: World, drill: Drill, *, ended: int | None) -> Signal:
    """A drill that failed, as an alert like any other: what cannot be restored is no backup."""
    plan = world.policy.backups.plan(drill.plan)
    params = {"plan": drill.plan, "at": epoch(drill.due_at), "number": drill.number}
    blamed = rules.blame(drill) is not None
    why = {"number": drill.number} | ({"backup": f"B-{drill.backup_id}"} if blamed else {})
    summary = Text(key="signal.drill_blames" if blamed else "signal.drill_why", params=why)
    title = Text(key="signal.drill_is_back" if ended is not None else "signal.drill_failed", params=params)
    return Signal(
        source=SOURCE,
        identity=f"{SOURCE}:drill:{drill.plan}:{epoch(drill.due_at)}",
        group_key=group_key(SOURCE, "drill", drill.plan),
        firing=ended is None,
        level=plan.level if plan is not None else BackupPlan.model_fields["level"].default,
        title=f"restore drill {drill.plan}: failed",
        labels={"plan": drill.plan},
        started_at=drill.due_at,
        ended_at=None if ended is None else moment(ended),
        reusable=True,
        wording=Wording(title=title, summary=summary.model_copy(update={"lines": drill.reasons[:5]})),
    )
