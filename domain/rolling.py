"""The machine that carries out an approved rollout: one look, one safe step, until it is over.

Pure: what was seen comes in as a ``Sight``, what to do goes out as a ``Decision``. An update is decided on
here, saved as the rollout's intent, and only then made; whether it was taken is read from the service.
"""

from datetime import datetime, timedelta
from typing import Any, assert_never

from domain import cloudrun
from domain.chances import Counts
from domain.cloudrun import OperationSeen, RevisionSeen, Row, ServiceSeen
from domain.deploys import DeployRule
from domain.effects import Picture, Text
from domain.levels import Value
from domain.plans import Plan, drift, foreign
from domain.rollouts import CANARY, Intent, Kind, Purpose, Rollout, Stage, to_stage, whole_minute
from domain.verdict import Outcome, Reason, Verdict

LOOK = timedelta(seconds=20)
"""Between two looks at the metrics while a canary bakes."""

POLL = timedelta(seconds=3)
"""Between two looks at an update that is on its way."""

CREATE_WITHIN = timedelta(minutes=15)
"""A revision that is not ready by then is given up. Cloud Run's own start-up probe allows 4 minutes."""

SHIFT_WITHIN = timedelta(minutes=5)
"""A split that is not true by then is told as trouble."""

CHECKS_FOR = timedelta(seconds=45)
"""A new instance may need a moment: the checks are repeated for so long before they count."""

HELD_FOR = timedelta(hours=1)
"""An approved rollout waits no longer for what stands in its way: what was approved is then old."""

ATTEMPTS = 5
"""So often an update that never arrived is made again."""

GOOGLES_WORDS = 1500
"""Characters of Google's own words that are kept: the cause often stands at their end."""

FAILED = frozenset({Reason.EARLY_ABORT, Reason.ERRORS_ABOVE_THRESHOLD, Reason.WORSE_THAN_STABLE})
"""Reasons of a verdict that failed requests gave."""

BLIND_FOR = timedelta(minutes=10)
"""Without any metrics for so long after the bake a person is asked."""


class Window(Value):
    """What monitoring says of one stretch of time; both revisions in the very same one.

    ``until``: up to when everything has arrived. ``blind``: why there is no answer.
    """

    canary: Counts
    stable: Counts
    canary_p95: float | None = None
    stable_p95: float | None = None
    until: datetime
    blind: str | None = None


class Sight(Value):
    """What was seen just now; ``None`` where it was not asked for, or is not there.

    ``is_approved``: those who approved may still do so by the policy of now. ``allowed``: from where that
    policy lets images come, where this one's origin is not among it.
    """

    service: ServiceSeen | None = None
    operation: OperationSeen | None = None
    revision: RevisionSeen | None = None
    checks: tuple[tuple[str, bool, str], ...] | None = None
    verdict: Verdict | None = None
    window: Window | None = None
    held_by: str | None = None
    is_approved: bool = True
    allowed: str | None = None


class Decision(Value):
    """What follows. ``call``: make the intent's update now. ``notes``: lines for the thread.

    ``alarm``: True begins the alert of a failed rollout, False ends it. ``lock``: why the service is
    locked from now on.
    """

    rollout: Rollout
    call: bool = False
    notes: tuple[Text, ...] = ()
    alarm: bool | None = None
    lock: Text | None = None


def advance(rollout: Rollout, sight: Sight, rule: DeployRule, at: datetime) -> Decision:
    """One step. With nothing to do it says when to look again."""
    seen = sight.service
    if seen is None:
        return _fail(rollout, Text(key="rollout.service_gone"), at)
    if rollout.intent is not None:
        return _pursue(rollout, rollout.intent, seen, sight, at)
    if rollout.stage.touches and rollout.generation is not None and seen.generation != rollout.generation:
        if not _is_late_one_of_ours(rollout, rollout.generation, seen):
            return _interrupted(rollout, seen, at)
        rollout = rollout.model_copy(update={"generation": seen.generation, "in_flight": ()})
    match rollout.stage:
        case Stage.APPROVED:
            return _begin(rollout, seen, sight, at)
        case Stage.CREATING:
            return _created(rollout, seen, sight, at)
        case Stage.SMOKE:
            return _smoked(rollout, seen, sight, at)
        case Stage.SHIFTING if rollout.paused_by is not None:
            return Decision(rollout=rollout.model_copy(update={"due_at": at + LOOK}))
        case Stage.SHIFTING:
            return _shift(rollout, seen, at)
        case Stage.BAKING | Stage.ASKING:
            return _baking(rollout, seen, sight, rule, at)
        case Stage.WATCHING:
            return _watching(rollout, seen, sight, at)
        case Stage.ROLLING_BACK:
            return _back(rollout, seen, at)
        case _:
            return Decision(rollout=rollout)


# The updates, and what became of them.


def _intend(
    rollout: Rollout,
    purpose: Purpose,
    wanted: dict[str, int],
    seen: ServiceSeen,
    at: datetime,
    **changes: Any,
) -> Decision:
    """Decide on an update. Our tag stays on our revision; the tags of others stay where they are."""
    plan = _plan(rollout)
    # On the way back from a revision that may never have been made, its tag would be refused.
    keeps_tag = purpose is not Purpose.BACK or rollout.shifted_at is not None
    ours = {plan.tag: plan.revision} if keeps_tag and plan.tag is not None else {}
    kept = foreign(seen.rows) if purpose is Purpose.CREATE else seen.rows
    kept = tuple(row for row in kept if row.tag != plan.tag)
    rows = cloudrun.rows_for(wanted, ours, kept, seen.latest_ready)
    intent = Intent(
        purpose=purpose,
        rows=rows,
        split={name: percent for name, percent in wanted.items() if percent},
        etag=seen.etag,
        generation=seen.generation,
        since=at,
    )
    changed = rollout.model_copy(update={"intent": intent, "due_at": at + POLL} | changes)
    return Decision(rollout=changed, call=True)


def _pursue(rollout: Rollout, intent: Intent, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """Find out what became of an update: taken, on its way, lost, failed, or overtaken by somebody's."""
    if seen.generation == intent.generation:
        return _not_taken(rollout, intent, seen, sight, at)
    if seen.generation != intent.generation + 1 or not _are_rows(seen.rows, intent.rows):
        if not _is_late_one_of_ours(rollout, intent.generation, seen):
            return _interrupted(rollout, seen, at)
        late = {"intent": None, "generation": seen.generation, "in_flight": ()}
        return _back(rollout.model_copy(update=late), seen, at)
    if rollout.stage is Stage.ROLLING_BACK and intent.purpose is not Purpose.BACK:
        # Ours, and no longer wanted: what follows overrides it, whatever becomes of it.
        plain = rollout.model_copy(update={"intent": None, "generation": seen.generation})
        return _back(plain, seen, at)
    operation = sight.operation
    failed = operation is not None and operation.done and operation.error is not None
    # Of a creation the old split says nothing: it serves all the time.
    begun = intent.purpose is Purpose.CREATE and operation is not None and not operation.done
    serves = seen.is_settled and cloudrun.same_split(seen.serving, intent.split, seen.latest_ready)
    if serves and not begun and not (failed and intent.purpose is Purpose.CREATE):
        return _settled(rollout, intent, seen, at)
    if failed or (seen.is_settled and seen.ready is False):
        why = (operation.error if operation is not None else None) or seen.problem or "?"
        return _update_failed(rollout, intent, seen, why, at)
    limit = CREATE_WITHIN if intent.purpose is Purpose.CREATE else SHIFT_WITHIN
    if at - intent.since > limit:
        return _update_failed(
            rollout, intent, seen, f"not done after {int(limit.total_seconds() / 60)} min", at
        )
    return Decision(rollout=rollout.model_copy(update={"due_at": at + POLL}))


def _is_late_one_of_ours(rollout: Rollout, generation: int, seen: ServiceSeen) -> bool:
    """Whether the change is an update of our own that was given up for lost."""
    return bool(rollout.in_flight) and (
        seen.generation == generation + 1 and _are_rows(seen.rows, rollout.in_flight)
    )


def _not_taken(rollout: Rollout, intent: Intent, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """The service is as it was: the update was refused, was lost, or is not there yet."""
    operation = sight.operation
    if rollout.stage is Stage.ROLLING_BACK and intent.purpose is not Purpose.BACK:
        left = () if intent.is_refused else intent.rows
        gone = {"intent": None, "generation": seen.generation, "in_flight": left}
        return _back(rollout.model_copy(update=gone), seen, at)
    if operation is not None and not operation.done:
        return Decision(rollout=rollout.model_copy(update={"due_at": at + POLL}))
    if operation is not None and operation.error is not None:
        return _update_failed(rollout, intent, seen, operation.error, at)
    if intent.is_refused:
        return _update_failed(rollout, intent, seen, intent.said or "?", at)
    serves = seen.is_settled and cloudrun.same_split(seen.serving, intent.split, seen.latest_ready)
    if serves and intent.purpose is not Purpose.CREATE:
        return _settled(rollout, intent, seen, at)
    if rollout.paused_by is not None and intent.purpose is Purpose.FORWARD:
        return Decision(rollout=rollout.model_copy(update={"due_at": at + LOOK}))
    if intent.attempts >= ATTEMPTS:
        lost = rollout.model_copy(update={"in_flight": intent.rows})
        return _update_failed(lost, intent, seen, intent.said or "never taken", at)
    # The etag makes a second one harmless where the first is taken after all.
    pause = min(POLL * intent.attempts, timedelta(seconds=30))
    changes = {"attempts": intent.attempts + 1, "etag": seen.etag, "operation": None}
    again = intent.model_copy(update=changes)
    return Decision(rollout=rollout.model_copy(update={"intent": again, "due_at": at + pause}), call=True)


def _settled(rollout: Rollout, intent: Intent, seen: ServiceSeen, at: datetime) -> Decision:
    """The update is true: verified against what serves, not against what was wanted."""
    plan = _plan(rollout)
    percent = cloudrun.split(seen.serving, seen.latest_ready).get(plan.revision, 0)
    done = rollout.model_copy(
        update={
            "intent": None,
            "generation": seen.generation,
            "percent": percent,
            "due_at": at,
            "in_flight": (),
        }
    )
    match intent.purpose:
        case Purpose.CREATE:
            return Decision(rollout=done)
        case Purpose.FORWARD:
            return _forward_done(done, at)
        case Purpose.BACK:
            return _back_done(done, at)
        case _:
            assert_never(intent.purpose)


def _forward_done(rollout: Rollout, at: datetime) -> Decision:
    params = {"percent": rollout.percent, "revision": rollout.revision}
    note = Text(key="rollout.note_shifted", params=params)
    begun: dict[str, Any] = {"shifted_at": at, "extended": False, "word": None}
    if rollout.is_last_step:
        until = whole_minute(whole_minute(at) + rollout.course.watch)
        watched = to_stage(rollout, Stage.WATCHING, at, bake_until=until, **begun)
        return Decision(rollout=watched, notes=(note,))
    until = whole_minute(whole_minute(at) + rollout.course.bake)
    return Decision(rollout=to_stage(rollout, Stage.BAKING, at, bake_until=until, **begun), notes=(note,))


def _back_done(rollout: Rollout, at: datetime) -> Decision:
    plan = _plan(rollout)
    stage = Stage.ROLLED_BACK if rollout.shifted_at is not None else Stage.FAILED
    if rollout.ended_by is not None:
        stage = Stage.ABORTED if rollout.shifted_at is None else Stage.ROLLED_BACK
    if rollout.shifted_at is None:
        params = {"revision": plan.baseline, "new": rollout.revision}
        note = Text(key="rollout.note_never_served", params=params)
    else:
        note = Text(key="rollout.note_back", params={"revision": plan.baseline}, picture=_picture(rollout))
    alarm = False if rollout.alerted else None
    over = to_stage(rollout, stage, at, percent=0)
    return Decision(rollout=over, notes=(note,), alarm=alarm)


def _update_failed(rollout: Rollout, intent: Intent, seen: ServiceSeen, why: str, at: datetime) -> Decision:
    """Google said no in the end. What is wanted is then stale and has to be put back in words of our own."""
    problem = Text(key="rollout.update_failed", params={"why": why[:GOOGLES_WORDS]})
    known = rollout.model_copy(update={"intent": None, "generation": seen.generation})
    if intent.purpose is Purpose.BACK:
        return _cannot_go_back(known, seen, problem, at)
    return take_back(known, problem, at, aloud=rollout.stage in CANARY and rollout.percent > 0)


def _cannot_go_back(rollout: Rollout, seen: ServiceSeen, problem: Text, at: datetime) -> Decision:
    """The worst case: tried again for ever, and told at once, since only a person can do more."""
    stuck = Text(key="rollout.cannot_go_back", params=problem.params)
    again = rollout.model_copy(update={"problem": stuck, "due_at": at + timedelta(seconds=30)})
    first = rollout.problem is None or rollout.problem.key != stuck.key
    note = (Text(key="rollout.note_cannot_go_back", params=problem.params),) if first else ()
    return Decision(rollout=again.model_copy(update={"alerted": True}), notes=note, alarm=True)


# The stages.


def _begin(rollout: Rollout, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """Everything is looked at once more, then the first update is made."""
    plan = _plan(rollout)
    changed = drift(plan, seen, cloudrun.baseline(seen))
    if changed is not None:
        who = seen.last_modifier or "?"
        why = Text(key="rollout.drifted", params={"what": changed, "who": who})
        return Decision(rollout=to_stage(rollout, Stage.VOID, at, problem=why))
    if not sight.is_approved:
        return Decision(rollout=to_stage(rollout, Stage.VOID, at, problem=Text(key="rollout.approver_gone")))
    if sight.allowed is not None:
        params = {"image": plan.image[:200], "allowed": sight.allowed}
        problem = Text(key="rollout.image_not_allowed", params=params)
        return Decision(rollout=to_stage(rollout, Stage.VOID, at, problem=problem))
    if sight.held_by is not None and at - rollout.since >= HELD_FOR:
        return Decision(rollout=to_stage(rollout, Stage.EXPIRED, at, held_by=sight.held_by))
    if sight.held_by is not None:
        held = rollout.model_copy(update={"held_by": sight.held_by, "due_at": at + timedelta(seconds=30)})
        return Decision(rollout=held)
    begun = {"generation": seen.generation, "held_by": None}
    if rollout.kind is Kind.ROLLBACK:
        moved = to_stage(rollout, Stage.SHIFTING, at, **begun)
        return _shift(moved, seen, at)
    moved = to_stage(rollout, Stage.CREATING, at, **begun)
    return _intend(moved, Purpose.CREATE, {plan.baseline: 100}, seen, at)


def _created(rollout: Rollout, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """The revision is there without traffic; it has to be ready, and be what was approved."""
    plan, revision = _plan(rollout), sight.revision
    if revision is not None and revision.ready is False:
        why = Text(key="rollout.not_ready", params={"why": (revision.problem or "?")[:GOOGLES_WORDS]})
        return take_back(rollout, why, at, aloud=False)
    if revision is None or revision.ready is None or revision.digest is None:
        if at - rollout.since > CREATE_WITHIN:
            return take_back(rollout, Text(key="rollout.never_ready"), at, aloud=False)
        return Decision(rollout=rollout.model_copy(update={"due_at": at + POLL}))
    if plan.digest is not None and revision.digest != plan.digest:
        params = {"got": revision.digest[:19], "wanted": plan.digest[:19]}
        return take_back(rollout, Text(key="rollout.other_image", params=params), at, aloud=False)
    sidecars = revision.template.sidecars if revision.template is not None else {}
    for name, image in plan.sidecars.items():
        got = sidecars.get(name, "")
        if "@sha256:" in image and "@sha256:" in got and got != image:  # Its tag moved after the plan.
            params = {"got": _digest_of(got), "wanted": _digest_of(image)}
            return take_back(rollout, Text(key="rollout.other_image", params=params), at, aloud=False)
    return Decision(rollout=to_stage(rollout, Stage.SMOKE, at))


def _digest_of(image: str) -> str:
    return image.rpartition("@")[2][:19]


def _smoked(rollout: Rollout, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """The revision answers as it should, before anybody else asks it."""
    if sight.checks is None:
        return Decision(rollout=rollout.model_copy(update={"due_at": at + POLL}))
    checked = rollout.model_copy(update={"checks": sight.checks})
    wrong = [(path, said) for path, well, said in sight.checks if not well]
    if wrong and at - rollout.since < CHECKS_FOR:
        return Decision(rollout=checked.model_copy(update={"due_at": at + POLL}))
    if wrong:
        path, said = wrong[0]
        why = Text(key="rollout.check_failed", params={"path": path, "said": said[:200]})
        return take_back(checked, why, at, aloud=False)
    if rollout.paused_by is not None:
        return Decision(rollout=checked.model_copy(update={"due_at": at + LOOK}))
    return _shift(to_stage(checked, Stage.SHIFTING, at), seen, at)


def _shift(rollout: Rollout, seen: ServiceSeen, at: datetime) -> Decision:
    plan, percent = _plan(rollout), rollout.aim
    wanted = {plan.revision: percent, plan.baseline: 100 - percent}
    return _intend(rollout, Purpose.FORWARD, wanted, seen, at)


def _baking(rollout: Rollout, seen: ServiceSeen, sight: Sight, rule: DeployRule, at: datetime) -> Decision:
    """Looked at often to stop early; decided when all requests of the bake are visible."""
    looked = _looked(rollout, sight, at)
    verdict, window = sight.verdict, sight.window
    if verdict is not None and verdict.outcome is Outcome.ROLL_BACK:
        return take_back(looked, Text(key="rollout.worse"), at, aloud=True)
    if rollout.word is not None:
        return _next_step(looked, seen, at)
    if rollout.stage is Stage.ASKING:
        if at - rollout.since >= rule.patience:
            return take_back(looked, Text(key="rollout.nobody_answered"), at, aloud=True)
        return Decision(rollout=looked)
    assert rollout.bake_until is not None
    is_whole = window is not None and window.until >= rollout.bake_until
    if not is_whole or verdict is None:
        if at >= rollout.bake_until + BLIND_FOR:
            return _question(looked, rule, "rollout.blind", at)
        return Decision(rollout=looked)
    if rollout.paused_by is not None:
        return Decision(rollout=looked)
    if verdict.outcome is Outcome.PROMOTE:
        return _next_step(looked, seen, at)
    if not rollout.extended:
        until = whole_minute(rollout.bake_until + rollout.course.bake)
        longer = looked.model_copy(update={"extended": True, "bake_until": until})
        return Decision(rollout=longer, notes=(Text(key="rollout.note_extended"),))
    return _question(looked, rule, "rollout.inconclusive", at)


def _question(rollout: Rollout, rule: DeployRule, why: str, at: datetime) -> Decision:
    until = at + rule.patience
    asking = to_stage(rollout, Stage.ASKING, at, problem=Text(key=why), expires_at=until).model_copy(
        update={"due_at": at + LOOK}
    )
    return Decision(rollout=asking, notes=(Text(key="rollout.note_asking"),))


def _next_step(rollout: Rollout, seen: ServiceSeen, at: datetime) -> Decision:
    moved = to_stage(rollout, Stage.SHIFTING, at, step=rollout.step + 1, problem=None)
    return _shift(moved, seen, at)


def _watching(rollout: Rollout, seen: ServiceSeen, sight: Sight, at: datetime) -> Decision:
    """Everything goes to the new revision; what was stable before is what it is compared with."""
    looked = _looked(rollout, sight, at)
    if sight.verdict is not None and sight.verdict.outcome is Outcome.ROLL_BACK:
        return take_back(looked, Text(key="rollout.worse_later"), at, aloud=True)
    # The card goes on showing on what it was promoted.
    looked = looked.model_copy(update={"verdict": rollout.verdict, "judged_at": rollout.judged_at})
    assert rollout.bake_until is not None
    is_whole = sight.window is not None and sight.window.until >= rollout.bake_until
    patience = BLIND_FOR if rollout.kind is Kind.DEPLOY else timedelta(0)  # A rollback is not judged.
    if is_whole or at >= rollout.bake_until + patience:
        params = {"revision": rollout.revision, "length": rollout.course.watch.total_seconds()}
        is_blind = rollout.kind is Kind.DEPLOY and not is_whole
        key = "rollout.note_done_blind" if is_blind else "rollout.note_done"
        note = Text(key=key, params=params, picture=_picture(rollout))
        return Decision(rollout=to_stage(looked, Stage.DONE, at), notes=(note,))
    return Decision(rollout=looked)


def take_back(rollout: Rollout, problem: Text, at: datetime, *, aloud: bool) -> Decision:
    """Traffic goes back to where it was. ``aloud``: users met it, so it is an alert and locks the service."""
    back = to_stage(rollout, Stage.ROLLING_BACK, at, problem=problem, paused_by=None, alerted=aloud)
    note = Text(key="rollout.note_taken_back", lines=(problem,))
    return Decision(
        rollout=back,
        notes=(note,),
        alarm=True if aloud else None,
        lock=problem if aloud else None,
    )


def _back(rollout: Rollout, seen: ServiceSeen, at: datetime) -> Decision:
    """Back to the split before, written out: after a failed update what is wanted is stale."""
    plan = _plan(rollout)
    wanted = {plan.baseline: 100}
    serves = cloudrun.same_split(seen.serving, wanted, seen.latest_ready)
    wants = cloudrun.same_split(seen.rows, wanted, seen.latest_ready)
    # An update that may still arrive is made void by one more of ours: its etag is then old.
    if serves and wants and seen.is_settled and not rollout.in_flight:
        return _back_done(rollout.model_copy(update={"generation": seen.generation}), at)
    return _intend(rollout, Purpose.BACK, wanted, seen, at)


def _interrupted(rollout: Rollout, seen: ServiceSeen, at: datetime) -> Decision:
    """Somebody else changed the service. Nothing of theirs is overwritten; they are named."""
    serving = cloudrun.split(seen.serving, seen.latest_ready)
    shown = ", ".join(f"{name} {percent} %" for name, percent in sorted(serving.items()))
    params = {"who": seen.last_modifier or "?", "serving": shown or "—"}
    why = Text(key="rollout.interrupted", params=params)
    percent = serving.get(_plan(rollout).revision, 0)
    over = to_stage(rollout, Stage.INTERRUPTED, at, problem=why, percent=percent)
    alarm = False if rollout.alerted and not percent else None
    return Decision(rollout=over, notes=(why,), alarm=alarm)


def _fail(rollout: Rollout, why: Text, at: datetime) -> Decision:
    alarm = False if rollout.alerted else None
    return Decision(rollout=to_stage(rollout, Stage.FAILED, at, problem=why), notes=(why,), alarm=alarm)


def _looked(rollout: Rollout, sight: Sight, at: datetime) -> Rollout:
    """What was seen is kept for the card; the next look is soon."""
    kept: dict[str, Any] = {"due_at": at + LOOK}
    if sight.verdict is not None:
        kept |= {"verdict": sight.verdict, "judged_at": at}
    if sight.window is not None:
        kept |= {"visible_until": sight.window.until}
    return rollout.model_copy(update=kept)


def _picture(rollout: Rollout) -> Picture | None:
    """Both revisions' failed requests, drawn when the note is sent.

    None of a rollback, which is compared with nothing, and of one that was only slower: it did not fail.
    """
    reasons = set(rollout.verdict.reasons) if rollout.verdict is not None else set()
    if rollout.kind is Kind.ROLLBACK or (Reason.SLOWER_THAN_STABLE in reasons and not reasons & FAILED):
        return None
    return Picture(kind="rollout", params={"service": rollout.service, "id": rollout.id})


def _plan(rollout: Rollout) -> Plan:
    assert rollout.plan is not None, "a rollout is carried out only with its plan"
    return rollout.plan


def _are_rows(seen: tuple[Row, ...], intended: tuple[Row, ...]) -> bool:
    """The same lines in any order, whatever their addresses."""
    return sorted(map(_plain, seen)) == sorted(map(_plain, intended))


def _plain(row: Row) -> tuple[str, int, str]:
    return row.revision or "", row.percent, row.tag or ""
