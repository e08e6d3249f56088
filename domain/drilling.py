"""How a restore drill goes on: who may agree, what each answer means, when it is passed."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from domain import approvals, backing
from domain.backup_plans import UNREHEARSED, BackupPlan, DrillRule
from domain.backups import Backup, Heard, Order, Progress, Stage
from domain.drills import Drill, DrillState
from domain.effects import By, Text
from domain.errors import Refused
from domain.policy import Person
from domain.rehearsal import Restore
from domain.retention import Standing

ASKED_FOR = timedelta(hours=24)
"""How long somebody may agree."""

PATIENCE = 3
"""A drill is given up after so many times its expected duration."""

CLEANING = timedelta(hours=6)
"""How long the removal of what was restored is tried."""


NO_ANSWER = "no answer"

TRY_AGAIN = timedelta(minutes=1)
"""Until the removal is tried again: it may only be under way."""

Step = Callable[[Drill, datetime], Drill]
"""A drill as it is kept and the time, to the drill as it is then."""


def unprepared(plan: BackupPlan, ready: frozenset[str]) -> tuple[str, ...]:
    """The parts for which nothing says where they could be restored to. ``ready``: sources that need no word.

    Raises nothing; without a rule these are all.
    """
    scratch = plan.drill.scratch if plan.drill is not None else {}
    return tuple(
        part.name
        for part in plan.parts
        if part.source not in UNREHEARSED and part.source not in scratch and part.source.value not in ready
    )


def new(plan: BackupPlan, backup: Backup, due_at: datetime, at: datetime) -> Drill:
    """One that the timetable begins: the policy has agreed to it."""
    assert backup.id is not None
    drill = Drill(
        plan=plan.name, due_at=due_at, backup_id=backup.id, at=backup.at, state=DrillState.RUNNING, look_at=at
    )
    return _begun(drill, plan, backup, at)


def ask(
    plan: BackupPlan, backup: Backup, latest: Drill | None, person: Person, by: By, at: datetime
) -> Drill:
    """One that a person asks for; it waits until somebody else agrees. ``latest``: the plan's last one."""
    assert backup.id is not None
    until = at + ASKED_FOR
    return Drill(
        plan=plan.name,
        due_at=backing.free_moment(latest.due_at if latest is not None else None, at),
        backup_id=backup.id,
        at=backup.at,
        state=DrillState.ASKED,
        requested_by=by,
        requester=person.name,
        until=until,
        look_at=until,
    )


def approve(
    drill: Drill,
    plan: BackupPlan,
    backup: Backup,
    person: Person,
    by: By,
    at: datetime,
    people: Mapping[str, Person],
) -> Drill:
    """Somebody agrees. Refused for who asked, for who may not, and where nobody is asked any more."""
    rule = plan.drill or DrillRule()
    _waiting(drill, at)
    if rule.approvers and not approvals.is_among(person, rule.approvers):
        raise Refused("refused.no_approver", approvers=approvals.who_may(people, rule.approvers))
    if person.name == drill.requester and not rule.self_approval:
        raise Refused("refused.own_drill")
    answered = drill.model_copy(update={"answered_by": by, "state": DrillState.RUNNING})
    return _begun(answered, plan, backup, at)


def decline(
    drill: Drill, plan: BackupPlan, person: Person, by: By, at: datetime, people: Mapping[str, Person]
) -> Drill:
    """Somebody says no, or whoever asked takes it back."""
    rule = plan.drill or DrillRule()
    _waiting(drill, at)
    if person.name != drill.requester and rule.approvers and not approvals.is_among(person, rule.approvers):
        raise Refused("refused.no_rejecter", approvers=approvals.who_may(people, rule.approvers))
    ended = {"state": DrillState.DECLINED, "answered_by": by, "ended_at": at, "look_at": None}
    return drill.model_copy(update=ended)


def waits_for(drill: Drill, plan: BackupPlan, person: Person, at: datetime) -> bool:
    """Whether a drill waits for this person to agree."""
    rule = plan.drill or DrillRule()
    if drill.state is not DrillState.ASKED or (drill.until is not None and at >= drill.until):
        return False
    if rule.approvers and not approvals.is_among(person, rule.approvers):
        return False
    return person.name != drill.requester or rule.self_approval


def _waiting(drill: Drill, at: datetime) -> None:
    if drill.state is not DrillState.ASKED or (drill.until is not None and at >= drill.until):
        raise Refused("refused.drill_not_asked", number=drill.number)


def _begun(drill: Drill, plan: BackupPlan, backup: Backup, at: datetime) -> Drill:
    rule = plan.drill or DrillRule()
    parts = tuple(Progress(part=one.part) for one in backup.parts if one.part.source not in UNREHEARSED)
    until = at + max(backing.LEAST_PATIENCE, PATIENCE * rule.expected)
    places = {one.part.name: rule.scratch.get(one.part.source, "") for one in parts}
    begun = {"parts": parts, "places": places, "begun_at": at, "until": until, "look_at": at}
    return drill.model_copy(update=begun)


def has_failed(drill: Drill) -> bool:
    """Whether it is known that what was restored is not right, or that nothing was."""
    return drill.state is DrillState.FAILED or (drill.state is DrillState.CLEANING and not drill.is_well)


def halts(drill: Drill | None) -> bool:
    """Whether the plan's last drill forbids that anything old goes: until one passes, or a person says so."""
    return drill is not None and has_failed(drill) and drill.released_by is None


def blame(drill: Drill) -> Standing | None:
    """What its backup is after a drill that failed; ``None`` where it says nothing about the backup.

    What was restored and is wrong proves it. What could not be restored may be the place's fault: somebody
    has to look.
    """
    if any(one.evidence is not None and one.evidence.flaws for one in drill.parts):
        return Standing.FAILED
    broke = any(one.stage is Stage.FAILED and not one.blames_place for one in drill.parts)
    return Standing.SUSPICIOUS if broke else None


def release(drill: Drill, person: Person, by: By) -> Drill:
    """A person says that old backups may go again. Refused for who asked for the drill."""
    if not halts(drill):
        raise Refused("refused.drill_not_halting", number=drill.number)
    if person.name == drill.requester:
        raise Refused("refused.own_drill_release")
    return drill.model_copy(update={"released_by": by})


def expire(drill: Drill, at: datetime) -> Drill:
    """Nobody agreed in time."""
    return drill.model_copy(update={"state": DrillState.EXPIRED, "ended_at": at, "look_at": None})


def restore(drill: Drill, progress: Progress, backup: Backup | None, plan: BackupPlan | None) -> Restore:
    """What the rehearsal of a part is asked for. Each attempt has a key of its own.

    Without the plan or the backup, which may be gone by now, what was restored can still be removed.
    """
    copied = (
        next((one for one in backup.parts if one.part.name == progress.part.name), None) if backup else None
    )
    rule = (plan.drill if plan is not None else None) or DrillRule()
    nowhere = Order(key="", part=progress.part, at=drill.at, destination="")
    again = "" if progress.attempt == 1 else f"-{progress.attempt}"
    assert drill.begun_at is not None
    return Restore(
        key=f"toban-drill/{drill.plan}/{drill.due_at:%Y%m%dT%H%M%SZ}/{progress.part.name}{again}",
        copy_of=backing.order(backup, copied) if backup is not None and copied is not None else nowhere,
        operation=(copied.operation if copied is not None else None) or "",
        at=drill.begun_at,
        scratch=drill.places.get(progress.part.name, rule.scratch.get(progress.part.source, "")),
        questions=tuple(one for one in rule.questions if one.part == progress.part.name),
    )


def starting(drill: Drill) -> Drill:
    """Every part that waits is about to be restored: kept before anybody is asked."""
    return drill.model_copy(update={"parts": backing.about_to_begin(drill.parts)})


def step(drill: Drill, heard: Mapping[int, Heard], at: datetime) -> Drill:
    """The drill after what was heard of its parts, by their place."""
    parts = tuple(backing.hear(one, heard[n]) if n in heard else one for n, one in enumerate(drill.parts))
    if drill.until is not None and at >= drill.until:
        parts = backing.given_up(parts)
    changed = drill.model_copy(update={"parts": parts, "lease_until": None})
    there = {Stage.PROVING, Stage.DONE}
    if changed.restored_at is None and all(one.stage in there for one in parts):
        changed = changed.model_copy(update={"restored_at": at})
    if not all(one.stage.is_over for one in parts):
        again = backing.pause(drill.parts, parts, at - (drill.begun_at or at))
        return changed.model_copy(update={"look_at": at + again})
    reasons = [one.problem for one in parts if one.problem is not None]
    if not parts:
        reasons.append(Text(key="drill.nothing"))
    for one in parts:
        if one.evidence is not None:
            reasons += [finding.text(one.part.name) for finding in one.evidence.findings]
    decided = {"state": DrillState.CLEANING, "reasons": tuple(reasons), "look_at": at, "until": at + CLEANING}
    return changed.model_copy(update=decided)


def overdue(drill: Drill, at: datetime) -> Drill:
    """One that somebody holds and says nothing of, when its time is over."""
    after = removed(drill, NO_ANSWER, at) if drill.state is DrillState.CLEANING else step(drill, {}, at)
    return after.model_copy(update={"fence": drill.fence + 1})


def abandon(drill: Drill, at: datetime) -> Drill:
    """The plan or the backup is not there any more: what was restored so far is removed."""
    reasons = (*drill.reasons, Text(key="drill.abandoned"))
    left = {"state": DrillState.CLEANING, "reasons": reasons, "look_at": at, "until": at + CLEANING}
    return drill.model_copy(update=left | {"lease_until": None})


def removed(drill: Drill, problem: str | None, at: datetime) -> Drill:
    """What was restored is gone, or (``problem``) cannot be removed now; after hours it is left and told."""
    changed = drill.model_copy(update={"lease_until": None})
    if problem is not None and drill.until is not None and at < drill.until:
        return changed.model_copy(update={"look_at": at + TRY_AGAIN})
    state = DrillState.PASSED if drill.is_well else DrillState.FAILED
    reasons = drill.reasons
    if problem is not None:
        reasons = (*reasons, Text(key="drill.remains", params={"why": problem[:300]}))
    ended = {"state": state, "reasons": reasons, "ended_at": at, "look_at": None}
    return changed.model_copy(update=ended)
