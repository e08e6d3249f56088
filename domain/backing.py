"""How a backup goes on: what is due, what each answer means for a part, when all of it counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from domain.approvals import is_by
from domain.backup_plans import BackupPlan, Range
from domain.backups import (
    Backup,
    Began,
    Broke,
    Finished,
    Going,
    Heard,
    Order,
    Progress,
    Proved,
    Silent,
    Stage,
)
from domain.effects import TOBAN, By, Text
from domain.errors import Refused
from domain.evidence import Evidence, verdict
from domain.levels import Level
from domain.policy import Person
from domain.retention import NOTICE, Fate, Standing

ATTEMPTS = 2
"""A copy that came to nothing is begun once more: most such failures are the platform's, and pass."""

PATIENCE = 3
"""A backup is given up after so many times its expected duration."""

LEAST_PATIENCE = timedelta(hours=1)

LOOK_AGAIN = timedelta(seconds=10)
"""Between two looks at a copy on its way."""

AFTER_SILENCE, LONGEST_SILENCE = timedelta(seconds=30), timedelta(minutes=2)
"""While nobody answers: the longer it goes on, the rarer, since each attempt may copy a whole database."""

PART_OF_SILENCE = 10
"""The pause is this part of the time since it began."""

ASKED = timedelta(minutes=2)
"""How long a question may take that copies nothing: whether it is there, what its bucket forbids."""

LOOKED = timedelta(minutes=10)
"""How long one look may take: some vaults copy a share of a bucket in it."""

LEAST_WAIT = timedelta(seconds=1)

TOO_FAR = timedelta(minutes=5)
"""Nobody who works on a backup looks at it again later than so: the clock that said so was ahead."""

AHEAD = timedelta(minutes=1)
"""What is dated so much later than now was dated by a clock that was ahead."""

BESIDE = timedelta(seconds=1)
"""A moment that a clock ahead has used up already is taken so much later."""

PART_OF_WAITING = 2
"""A second destination waits for the first one's copy for this part of the time that is expected."""

LONGEST_GAP = 400
"""Due moments that are looked at after an absence; what is older is not told one by one."""


def due(plan: BackupPlan, since: datetime, at: datetime) -> tuple[tuple[datetime, ...], datetime | None]:
    """The moments that came up after ``since`` and not after ``at``: those that are missed for good, and the
    newest, for which a backup can still be made. Nothing runs twice to make up for several.
    """
    moments: list[datetime] = []
    moment = plan.schedule.following(since)
    while moment <= at:
        moments.append(moment)
        moment = plan.schedule.following(moment)
    if not moments:
        return (), None
    return tuple(moments[-LONGEST_GAP:-1]), moments[-1]


def free_moment(latest: datetime | None, at: datetime) -> datetime:
    """A full second for something that is asked for now, and later than that of the ``latest`` one."""
    now = at.replace(microsecond=0)
    return now if latest is None else max(now, latest.replace(microsecond=0) + timedelta(seconds=1))


def begin(plan: BackupPlan, due_at: datetime, at: datetime, by: By = TOBAN, installation: str = "") -> Backup:
    """A backup for a due moment, of the state of the last full minute (Firestore takes no finer one)."""
    return Backup(
        plan=plan.name,
        due_at=due_at,
        requested_by=by,
        begun_at=at,
        at=at.replace(second=0, microsecond=0),
        destination="/".join(
            one for one in (plan.destination.rstrip("/"), plan.name, installation, stamp(due_at)) if one
        ),
        installation=installation,
        parts=tuple(Progress(part=part) for part in plan.parts),
        expected_by=due_at + plan.expected,
        until=at + patience(plan),
        look_at=at,
    )


def patience(plan: BackupPlan | None) -> timedelta:
    """How long anything that reads or writes a whole copy may take before it is given up."""
    expected = plan.expected if plan is not None else timedelta(0)
    return max(LEAST_PATIENCE, PATIENCE * expected)


def answer_within(stage: Stage, until: datetime | None, at: datetime) -> timedelta:
    """How long a vault may take for its answer: what copies or reads all of it, until it is given up."""
    left = until - at if until is not None else LEAST_PATIENCE
    return max(LEAST_WAIT, min(left, LOOKED) if stage is Stage.COPYING else left)


def stamp(due_at: datetime) -> str:
    """A due moment as the name of a folder."""
    return f"{due_at:%Y%m%dT%H%M%SZ}"


def brought_back(backup: Backup, plan: BackupPlan, at: datetime) -> Backup:
    """A running backup whose moments a clock ahead has set: it is looked at now, and no longer waited for
    than if it had begun now.
    """
    limits = {
        "expected_by": min(backup.expected_by, at + plan.expected),
        "until": min(backup.until or at, at + patience(plan)),
    }
    return backup.model_copy(update={"look_at": at, "lease_until": None, **limits})


def missed(plan: BackupPlan, due_at: datetime) -> Backup:
    """A due moment for which nothing was made."""
    return Backup(
        plan=plan.name,
        due_at=due_at,
        at=due_at,
        standing=Standing.MISSED,
        expected_by=due_at + plan.expected,
        look_at=due_at + plan.expected,
    )


def order(backup: Backup, progress: Progress) -> Order:
    """What the vault of a part is asked for. Each attempt has a place of its own.

    The key is the end of the place, which stays when the plan is renamed.
    """
    again = "" if progress.attempt == 1 else f"-{progress.attempt}"
    name = f"{progress.part.name}{again}"
    own = backup.destination.split("/")[-3 if backup.installation else -2 :]
    return Order(
        key="/".join(("toban", *own, name)),
        part=progress.part,
        at=backup.at,
        destination=f"{backup.destination}/{name}",
        installation=backup.installation,
    )


def to_take(backup: Backup, progress: Progress, first: Backup | None, at: datetime) -> Order | Going | None:
    """The copy that a second destination takes, or ``Going`` while it may still come.

    ``None``: it makes its own. ``first``: the backup for the same moment at the first destination.
    """
    if not progress.part.second_of or progress.attempt > 1:
        return None
    if first is None and not backup.requested_by.is_toban:
        return None  # Asked for alone.
    begun = backup.begun_at or at
    has_time = begun <= at < begun + expected(backup) / PART_OF_WAITING
    if first is None or not first.is_over:
        return Going() if has_time else None
    if first.standing is not Standing.VERIFIED or first.ahead or first.removed_at is not None:
        return None
    if progress.trouble is not None and not has_time:
        return None  # It was tried, and nobody knows whether it is the first destination that fails.
    copied = next((one for one in first.parts if one.part.name == progress.part.name), None)
    return None if copied is None else order(first, copied)


def expected(backup: Backup) -> timedelta:
    """How long it may take, as its plan said when it began."""
    return backup.expected_by - backup.due_at


def overdue(
    backup: Backup, plan: BackupPlan | None, before: Mapping[str, Sequence[Evidence]], at: datetime
) -> Backup:
    """One that somebody holds and says nothing of: given up when its time is over, whatever comes later."""
    if backup.until is None or at < backup.until:
        return backup
    return step(backup, {}, plan, before, at).model_copy(update={"fence": backup.fence + 1})


def starting(backup: Backup) -> Backup:
    """Every part that waits is about to be begun: kept before anybody is asked."""
    return backup.model_copy(update={"parts": about_to_begin(backup.parts)})


def about_to_begin(parts: tuple[Progress, ...]) -> tuple[Progress, ...]:
    """The parts, of which none waits any more."""
    return tuple(
        one.model_copy(update={"stage": Stage.STARTING}) if one.stage is Stage.WAITING else one
        for one in parts
    )


def hear(progress: Progress, heard: Heard) -> Progress:
    """What an answer means for a part."""
    changes: dict[str, object] = {"trouble": None}
    match heard:
        case Began(operation=operation):
            changes |= {"stage": Stage.COPYING, "operation": operation}
        case Going(done=done, total=total):
            changes |= {"done": max(done, progress.done), "total": total}
        case Finished():
            changes |= {"stage": Stage.PROVING}
        case Proved(evidence=evidence):
            changes |= {"stage": Stage.DONE, "evidence": evidence}
        case Broke(why=why) if progress.attempt < ATTEMPTS:
            again = {"stage": Stage.WAITING, "operation": None, "done": 0, "total": None}
            changes |= again | {"attempt": progress.attempt + 1, "trouble": why}
        case Broke(why=why) as heard:
            params = {"part": progress.part.name, "why": why}
            changes |= {"blames_place": heard.blames_place}
            changes |= {"stage": Stage.FAILED, "problem": Text(key="backup.broke", params=params)}
        case Silent(why=why):
            changes |= {"trouble": why}
        case _:
            assert_never(heard)
    return progress.model_copy(update=changes)


def step(
    backup: Backup,
    heard: Mapping[int, Heard],
    plan: BackupPlan | None,
    before: Mapping[str, Sequence[Evidence]],
    at: datetime,
) -> Backup:
    """The backup after what was heard of its parts, by their place. ``before``: see ``evidence.verdict``."""
    parts = tuple(hear(one, heard[n]) if n in heard else one for n, one in enumerate(backup.parts))
    if backup.until is not None and at >= backup.until:
        parts = given_up(parts, backup.parts)
    changed = backup.model_copy(update={"parts": parts, "lease_until": None})
    if all(one.stage.is_over for one in parts):
        return _judged(changed, plan, before, at)
    lasting = at - (backup.begun_at or at)
    return changed.model_copy(update={"look_at": at + pause(backup.parts, parts, lasting)})


def pause(before: tuple[Progress, ...], after: tuple[Progress, ...], lasting: timedelta) -> timedelta:
    """Until the parts are looked at again: at once where one has come further, later where all are silent.

    ``lasting``: the time since it began.
    """
    if all(one.trouble is not None for one in after if not one.stage.is_over):
        return min(max(lasting / PART_OF_SILENCE, AFTER_SILENCE), LONGEST_SILENCE)
    moved = any(
        one.stage is not was.stage and one.trouble is None for one, was in zip(after, before, strict=True)
    )
    return timedelta(0) if moved else LOOK_AGAIN


_ORDER = list(Stage)


def given_up(parts: tuple[Progress, ...], before: tuple[Progress, ...] = ()) -> tuple[Progress, ...]:
    """The parts, of which those that are not over have failed for taking too long.

    One that came further than ``before`` just now is looked at to its end: a whole copy may lie there that
    nobody had asked for in time, as after the database was restored from that very copy.
    """
    came_further = {
        n for n, (one, was) in enumerate(zip(parts, before, strict=False)) if _is_further(one, was)
    }
    return tuple(
        one if one.stage.is_over or n in came_further else _given_up(one) for n, one in enumerate(parts)
    )


def _is_further(progress: Progress, before: Progress) -> bool:
    return progress.attempt == before.attempt and _ORDER.index(progress.stage) > _ORDER.index(before.stage)


def _given_up(progress: Progress) -> Progress:
    params = {"part": progress.part.name} | ({"why": progress.trouble} if progress.trouble else {})
    key = "backup.took_too_long_silent" if progress.trouble else "backup.took_too_long"
    return progress.model_copy(update={"stage": Stage.FAILED, "problem": Text(key=key, params=params)})


def _judged(
    backup: Backup, plan: BackupPlan | None, before: Mapping[str, Sequence[Evidence]], at: datetime
) -> Backup:
    failed = [one for one in backup.parts if one.stage is Stage.FAILED]
    found = {one.part.name: one.evidence for one in backup.parts if one.evidence is not None}
    sizes = plan.sizes if plan is not None else Range()
    standing, reasons = verdict(found, before, sizes)
    if failed:
        standing = Standing.FAILED
        reasons = (
            *(one.problem for one in failed if one.problem is not None),
            *reasons,
        )
    # What was not verified is looked at once more when it was expected: by then it must be told.
    look_at = None if standing is Standing.VERIFIED else max(at, backup.expected_by)
    ended = {"standing": standing, "reasons": reasons, "ended_at": at, "look_at": look_at}
    return backup.model_copy(update=ended)


def alarm(backup: Backup, plan: BackupPlan, newest_verified: datetime | None, at: datetime) -> Level | None:
    """The level at which its alert has to fire now; ``None`` where nothing new has to be told.

    ``newest_verified``: the due moment of the newest verified backup of the plan.
    """
    if newest_verified is not None and newest_verified >= backup.due_at:
        return None
    if backup.standing is Standing.FAILED or at >= backup.expected_by:
        wanted = plan.level
    elif backup.standing is Standing.SUSPICIOUS:
        wanted = min(plan.level, Level.WARNING, key=lambda level: level.rank)
    else:
        return None
    told = backup.alarmed_level
    return wanted if told is None or told.rank < wanted.rank else None


def to_go(backup: Backup, plan: BackupPlan, at: datetime) -> Backup:
    """One that retention lets go, as something newer is verified: told first, deleted a day later at least.

    ``deletes: false`` takes back at once what was to be deleted. What a clock that was ahead has told was
    not told a day ago, and is told again: else nothing would be deleted before that clock's day has come.
    """
    changes: dict[str, object] = {"marked_at": backup.marked_at or at}
    if not plan.deletes:
        changes |= {
            "warned_at": None,
            "doomed_at": None,
            "look_at": None if backup.doomed_at else backup.look_at,
        }
    elif backup.warned_at is None or backup.warned_at > at + AHEAD:
        changes |= {"warned_at": at} | ({"doomed_at": None, "look_at": None} if backup.doomed_at else {})
    elif backup.doomed_at is None:
        changes |= {"doomed_at": at, "look_at": max(at, backup.warned_at + NOTICE)}
    return backup.model_copy(update=changes)


def may_delete(backup: Backup, plan: BackupPlan, fate: Fate | None, at: datetime) -> bool:
    """Whether one that was to be deleted still is, at the moment at which that would be done."""
    if not plan.deletes or fate is None or fate.keep:
        return False
    return backup.warned_at is not None and at >= backup.warned_at + NOTICE


def may_be_whole(backup: Backup) -> bool:
    """Whether a copy that counts for nothing may be right all the same: nobody saw all of it.

    What was seen to its end and still failed has been proven wrong: by a flaw, by a restore drill, or because
    a part of it is deleted. That it is the file of its manifest says nothing against that.
    """
    seen = bool(backup.parts) and all(one.stage is Stage.DONE for one in backup.parts)
    is_proven = seen and bool(backup.reasons)
    return backup.standing in {Standing.FAILED, Standing.MISSED} and not is_proven


def demoted(backup: Backup, standing: Standing, reasons: tuple[Text, ...]) -> Backup:
    """One that is not what it was believed to be."""
    return backup.model_copy(update={"standing": standing, "reasons": (*backup.reasons, *reasons)})


def accept(backup: Backup, person: Person, by: By, at: datetime) -> Backup:
    """A person looked at a suspicious one and says that it is right. Refused for who asked for it.

    One of the timetable was caused by nobody: whoever may approve may accept it.
    """
    if is_by(backup.requested_by, person):
        raise Refused("refused.own_backup", number=backup.number)
    accepted = {"standing": Standing.VERIFIED, "accepted_by": by, "look_at": None}
    return backup.model_copy(update=accepted | {"ended_at": backup.ended_at or at})
