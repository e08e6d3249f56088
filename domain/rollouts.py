"""One deploy from its request to its end: what is remembered of it, and what people may do to it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain import approvals as rules_of_approval
from domain.alerts import group_key
from domain.approvals import Approval
from domain.chances import Counts
from domain.cloudrun import Row, Target
from domain.deploys import DeployRule
from domain.effects import By, Subject, SubjectKind, Text
from domain.errors import Refused
from domain.feasibility import Feasibility
from domain.levels import Value
from domain.plans import Plan, Risk
from domain.policy import Person
from domain.verdict import Verdict
from domain.voice import SOURCE

REASON_LIMIT = 300
"""Characters of the reason of a lock, an emergency or a rejection."""


class Kind(StrEnum):
    """What is asked for: a new revision, or traffic back to one that there is already."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class Stage(StrEnum):
    """Where a rollout stands. The order of the first part is the order of its life."""

    QUEUED = "queued"
    PLANNING = "planning"
    REQUESTED = "requested"
    APPROVED = "approved"
    CREATING = "creating"
    SMOKE = "smoke"
    SHIFTING = "shifting"
    BAKING = "baking"
    ASKING = "asking"
    WATCHING = "watching"
    ROLLING_BACK = "rolling_back"

    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    VOID = "void"

    @property
    def is_over(self) -> bool:
        """True where nothing follows any more."""
        return self in _OVER

    @property
    def touches(self) -> bool:
        """True while the service may be changed by us: one such rollout a service at a time."""
        return self in _TOUCHING


_OVER = frozenset(
    {
        Stage.DONE,
        Stage.ROLLED_BACK,
        Stage.ABORTED,
        Stage.FAILED,
        Stage.INTERRUPTED,
        Stage.REJECTED,
        Stage.EXPIRED,
        Stage.VOID,
    }
)
_TOUCHING = frozenset(
    {
        Stage.CREATING,
        Stage.SMOKE,
        Stage.SHIFTING,
        Stage.BAKING,
        Stage.ASKING,
        Stage.WATCHING,
        Stage.ROLLING_BACK,
    }
)
CANARY = frozenset({Stage.SHIFTING, Stage.BAKING, Stage.ASKING, Stage.WATCHING})
"""Stages in which the new revision has, or may have, traffic."""


ELSEWHERE = 2
"""Approvals at least where the image comes from another host, project or repository than what serves."""


class Purpose(StrEnum):
    """What an update is for."""

    CREATE = "create"
    FORWARD = "forward"
    BACK = "back"


class Intent(Value):
    """An update that was decided on, and saved before it is made.

    ``etag`` and ``generation``: the service's before it. ``operation``: Google's name for it, once known.
    ``split`` is what ``rows`` come to. After a death between the decision and the answer this says whether
    it was taken: the generation has grown by one and the rows are these, or nothing happened. ``said`` is
    what Google answered last; ``is_refused``: the same again cannot succeed.
    """

    purpose: Purpose
    rows: tuple[Row, ...]
    split: dict[str, int]
    etag: str
    generation: int
    operation: str | None = None
    since: datetime
    attempts: int = 1
    is_refused: bool = False
    said: str | None = None


class Lock(Value):
    """Nothing is deployed on a service until somebody unlocks it. ``rollout_id``: the one that failed."""

    id: int | None = None
    service: str
    reason: Text
    by: By
    since: datetime
    rollout_id: int | None = None
    version: int = 1


class Course(Value):
    """How far and how fast: percents of the canary in order, the last one 100; how long each step is
    watched before it is judged, and how long the last one afterwards.
    """

    steps: tuple[int, ...]
    bake: timedelta
    watch: timedelta


class Rollout(Value):
    """A deploy or a rollback of one service.

    ``image``: as it was asked for. ``step``: index in the course of the one that is served or shifted to.
    ``percent``: what the new revision serves, as last seen. ``generation``: the service's as we last left
    or saw it, so that a change by others is noticed. ``shifted_at``: when the present split became true.
    ``bake_until``: up to when requests are counted for the verdict. ``extended``: the bake was prolonged
    once. ``word``: the person who said that the present step is good enough. ``held_by``: what it waits for,
    or would if it were approved now, before its beginning: ``lock``, ``freeze:NAME`` or ``incident:INC-3``.
    ``expires_at``: until when an approval may be given, or a question answered. ``in_flight``: rows of an
    update of ours that never became known to be taken, and may be still. ``checks``: path, whether it
    answered well, what was seen. ``problem``: what went wrong, as a text. ``before``: the stable revision's
    counts of the last hour. ``stood_at``: the stage before its end. ``alerted``: its failure is an alert.
    ``due_at``: when it is looked at next; ``lease_until``: while one replica has it to itself.
    """

    id: int | None = None
    kind: Kind
    service: str
    target: Target
    image: str
    digest: str | None = None
    to_revision: str | None = None
    requested_by: By
    requester: str
    requested_at: datetime
    emergency: str | None = None
    course: Course
    stage: Stage = Stage.PLANNING
    since: datetime
    plan: Plan | None = None
    feasibility: Feasibility | None = None
    needed: int = 1
    approvals: tuple[Approval, ...] = ()
    expires_at: datetime | None = None
    held_by: str | None = None
    step: int = 0
    percent: int = 0
    generation: int | None = None
    intent: Intent | None = None
    shifted_at: datetime | None = None
    bake_until: datetime | None = None
    extended: bool = False
    word: By | None = None
    paused_by: By | None = None
    in_flight: tuple[Row, ...] = ()
    verdict: Verdict | None = None
    judged_at: datetime | None = None
    visible_until: datetime | None = None
    before: Counts | None = None
    checks: tuple[tuple[str, bool, str], ...] = ()
    problem: Text | None = None
    ended_by: By | None = None
    ended_at: datetime | None = None
    stood_at: Stage | None = None
    alerted: bool = False
    due_at: datetime | None = None
    lease_until: datetime | None = None
    troubled_since: datetime | None = None
    version: int = 1

    @property
    def subject(self) -> Subject:
        """The stored rollout as a subject. Only for one that has an id."""
        assert self.id is not None
        return Subject(kind=SubjectKind.ROLLOUT, id=self.id)

    @property
    def number(self) -> str:
        """How people call it: ``D-12``."""
        return f"D-{self.id}"

    @property
    def revision(self) -> str:
        """The revision that is to serve. Only for one that has a plan."""
        assert self.plan is not None
        return self.plan.revision

    @property
    def aim(self) -> int:
        """The percent of the present step."""
        return self.course.steps[min(self.step, len(self.course.steps) - 1)]

    @property
    def is_last_step(self) -> bool:
        """True where the present step gives everything to the new revision."""
        return self.step >= len(self.course.steps) - 1


def whole_minute(at: datetime) -> datetime:
    """The first whole minute from then on: metrics come by the minute, and one in which the split changed
    belongs to nobody.
    """
    whole = at.replace(second=0, microsecond=0)
    return whole if whole == at else whole + timedelta(minutes=1)


def rollout_group(service: str) -> str:
    """The key of the alert group of a service's failed rollouts."""
    return group_key(SOURCE, "rollout", "rollout", service)


def to_stage(rollout: Rollout, stage: Stage, at: datetime, **changes: Any) -> Rollout:
    """It stands there from now on, and is looked at next at once, or never where it is over."""
    over: dict[str, Any] = (
        {"ended_at": at, "due_at": None, "intent": None} if stage.is_over else {"due_at": at}
    )
    if stage.is_over:
        over["stood_at"] = rollout.stage
    return rollout.model_copy(update={"stage": stage, "since": at} | over | changes)


def ask(
    rollout: Rollout,
    plan: Plan,
    rule: DeployRule,
    policy_allows: bool,
    at: datetime,
    *,
    goes_back_alone: bool = False,
) -> Rollout:
    """The plan is made: approvals are waited for, as many as its risks ask for.

    ``policy_allows``: an emergency by somebody who may skip the approval begins at once, unless the image
    comes from elsewhere than what serves, or a rollback goes to what users never met, with all traffic at
    once: that always takes two people. ``goes_back_alone``: so does the
    rollback of somebody who needs nobody else, unless it goes to what users never met.
    """
    needed = rule.risky_approvals if plan.risks else rule.approvals
    if Risk.IMAGE_ORIGIN in plan.risks:
        needed, policy_allows = max(needed, ELSEWHERE), False
    if Risk.NEVER_SERVED in plan.risks:  # It is called a rollback, and is as new to users as a deploy.
        needed, policy_allows = max(needed, ELSEWHERE), False
    if goes_back_alone and not {Risk.NEVER_SERVED, Risk.IMAGE_ORIGIN} & set(plan.risks):
        policy_allows = True
    if policy_allows or needed == 0:
        return to_stage(rollout, Stage.APPROVED, at, plan=plan, needed=0)
    expires = at + rule.expires
    asked = to_stage(rollout, Stage.REQUESTED, at, plan=plan, needed=needed, expires_at=expires)
    return asked.model_copy(update={"due_at": expires})


def make_way(rollout: Rollout, at: datetime) -> Rollout:
    """What has changed nothing yet stands back for an emergency, and is planned and asked for anew."""
    anew: dict[str, Any] = {"plan": None, "needed": 0, "approvals": (), "expires_at": None, "due_at": None}
    anew["held_by"] = None
    return to_stage(rollout, Stage.QUEUED, at, **anew)


def approve(
    rollout: Rollout,
    rule: DeployRule,
    person: Person,
    by: By,
    shown: str,
    at: datetime,
    people: Mapping[str, Person],
) -> Rollout:
    """One more approval; with enough of them it begins. Refused where it does not wait for this one."""
    _waits_for_approval(rollout, at)
    assert rollout.plan is not None
    given = rules_of_approval.approve(
        rollout.approvals,
        rollout.needed,
        rule,
        person,
        by,
        rollout.requester,
        rollout.requested_by.id,
        shown,
        rollout.plan.fingerprint,
        at,
        people=people,
    )
    approved = rollout.model_copy(update={"approvals": given})
    if len(given) < rollout.needed:
        return approved
    return to_stage(approved, Stage.APPROVED, at)


def reject(
    rollout: Rollout,
    rule: DeployRule,
    person: Person,
    by: By,
    at: datetime,
    people: Mapping[str, Person],
    reason: str = "",
) -> Rollout:
    """No. An approver may say so, and who asked for it."""
    may_reject(rollout, rule, person, at, people)
    return to_stage(rollout, Stage.REJECTED, at, ended_by=by, problem=_because(reason))


def _because(reason: str) -> Text | None:
    """What the card says of a person's reason; nothing where none was given."""
    return Text(key="rollout.because", params={"reason": reason}) if reason else None


def may_reject(
    rollout: Rollout, rule: DeployRule, person: Person, at: datetime, people: Mapping[str, Person]
) -> None:
    """Refused where nothing waits for a word any more, and for who is neither approver nor requester."""
    _waits_for_approval(rollout, at)
    if person.name != rollout.requester and not rules_of_approval.is_among(person, rule.approvers):
        raise Refused("refused.no_rejecter", approvers=rules_of_approval.who_may(people, rule.approvers))


def waits_for(rollout: Rollout, rule: DeployRule, person: Person, at: datetime) -> bool:
    """Whether this person can give what a rollout waits for: an approval, or a word at an unclear verdict."""
    if rollout.expires_at is not None and at >= rollout.expires_at:
        return False
    is_approver = rules_of_approval.is_among(person, rule.approvers)
    is_own = person.name == rollout.requester
    if rollout.stage is Stage.ASKING:
        return is_approver or is_own
    if rollout.stage is not Stage.REQUESTED or not is_approver or (is_own and not rule.self_approval):
        return False
    return all(one.person != person.name for one in rollout.approvals)


def _waits_for_approval(rollout: Rollout, at: datetime) -> None:
    if rollout.stage is Stage.REQUESTED and rollout.expires_at is not None and at >= rollout.expires_at:
        raise Refused("refused.approval_expired", number=rollout.number)
    if rollout.stage is not Stage.REQUESTED:
        raise Refused("refused.not_waiting", number=rollout.number, stage=rollout.stage.value)


def pause(rollout: Rollout, by: By, at: datetime) -> Rollout:
    """It goes no further until somebody resumes it; it is still taken back when the revision is worse."""
    _runs(rollout)
    if rollout.paused_by is not None:
        raise Refused("refused.paused_already", number=rollout.number, who=rollout.paused_by.name)
    return rollout.model_copy(update={"paused_by": by, "word": None, "due_at": at})


def resume(rollout: Rollout, rule: DeployRule, person: Person, at: datetime) -> Rollout:
    """It goes on. Refused for who asked for it, where somebody else paused it: that is a second opinion."""
    _runs(rollout)
    if rollout.paused_by is None:
        raise Refused("refused.not_paused", number=rollout.number)
    is_own = person.name == rollout.requester and not _answers_alone(rule, person)
    if is_own and not rules_of_approval.is_by(rollout.paused_by, person):
        raise Refused("refused.own_pause", number=rollout.number, who=rollout.paused_by.name)
    return rollout.model_copy(update={"paused_by": None, "due_at": at})


def allow_unlock(failed: Rollout, rule: DeployRule, person: Person) -> None:
    """Refused for who asked for the deploy whose failure locked the service."""
    if person.name == failed.requester and not _answers_alone(rule, person):
        raise Refused("refused.own_lock", number=failed.number)


def _answers_alone(rule: DeployRule, person: Person) -> bool:
    """Whether the policy lets this person approve their own deploys."""
    return rule.self_approval and rules_of_approval.is_among(person, rule.approvers)


def promote(rollout: Rollout, by: By, at: datetime) -> Rollout:
    """A person says that what is seen is good enough: on to the next step, whatever the verdict is."""
    _runs(rollout)
    if rollout.stage not in {Stage.BAKING, Stage.ASKING}:
        raise Refused("refused.not_promotable", number=rollout.number, stage=rollout.stage.value)
    return rollout.model_copy(update={"word": by, "paused_by": None, "due_at": at})


def wait(rollout: Rollout, at: datetime) -> Rollout:
    """Judge once more after another bake. Refused where nothing was asked."""
    if rollout.stage is not Stage.ASKING:
        raise Refused("refused.not_asked", number=rollout.number, stage=rollout.stage.value)
    until = whole_minute(at + rollout.course.bake)
    return to_stage(rollout, Stage.BAKING, at, word=None, extended=True, bake_until=until)


def abort(rollout: Rollout, by: By, at: datetime, reason: str = "") -> Rollout:
    """A person ends it. Where the service was touched, it is put back as it was; else nothing was done."""
    if rollout.stage.is_over or rollout.stage is Stage.ROLLING_BACK:
        raise Refused("refused.over_already", number=rollout.number, stage=rollout.stage.value)
    if not rollout.stage.touches:
        return to_stage(rollout, Stage.ABORTED, at, ended_by=by, problem=_because(reason))
    problem = Text(key="rollout.by_person", params={"who": by.name})
    if reason:
        problem = Text(key="rollout.by_person_because", params={"who": by.name, "reason": reason})
    return to_stage(
        rollout, Stage.ROLLING_BACK, at, ended_by=by, problem=problem, paused_by=None, intent=rollout.intent
    )


def _runs(rollout: Rollout) -> None:
    if not rollout.stage.touches or rollout.stage is Stage.ROLLING_BACK:
        raise Refused("refused.not_running", number=rollout.number, stage=rollout.stage.value)
