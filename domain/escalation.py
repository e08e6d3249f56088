"""The ladder: who is paged, when the same people are asked again, when the next rung begins.

A human's timer starts when the page was delivered, not when it was queued. Silence is never an
outcome: what cannot be delivered moves the ladder on, and the last rung repeats until an answer.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import field_validator

from domain.effects import TOBAN, By, Subject, SubjectKind
from domain.policy import Ladder, Level, Means, Step, Value

DELIVERY_GRACE = timedelta(minutes=2)
"""How long a rung may wait for its first delivery before the next one is tried as well."""

REPEAT_AFTER = timedelta(minutes=15)
"""The last rung asks again this long after its page where the policy names no ``wait``."""

FLAPPING = timedelta(minutes=5)
"""Trouble that comes back this soon after a page may go again by itself: it pages when it has not."""

FLAPPING_WARNING = timedelta(minutes=10)
"""The same for what can wait."""

FLAPPING_WITHIN = timedelta(minutes=10)
"""Trouble that comes back after a longer quiet is no flap, unless it does so again and again."""

FLAPPING_RETURNS = 3
"""So many returns in one thread are a flap in any case."""

ALL_FAILED_AFTER = timedelta(minutes=1)
"""A ladder none of whose rungs could be reached begins again after this."""


class Phase(StrEnum):
    """What an escalation waits for."""

    DUE = "due"
    DELIVERING = "delivering"
    RESPONDING = "responding"
    WAITING = "waiting"
    STOPPED = "stopped"


class StopReason(StrEnum):
    """Why a ladder ended. The values are stored."""

    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    """By a person, who so has answered."""
    RECOVERED = "recovered"
    """The sender says that all is well again."""
    CLOSED = "closed"
    """The sender ended it without a recovery."""
    NOBODY = "nobody"
    """The policy has nobody to page for this level."""
    INCIDENT = "incident"
    """An incident pages instead."""
    LEVEL_ROSE = "level rose"
    """A ladder of a worse level pages instead."""


class PageStatus(StrEnum):
    """What became of one attempt to reach one person."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"
    NOT_SET_UP = "not set up"
    WITHDRAWN = "withdrawn"


class Page(Value):
    """One attempt: this person, by this means, for this rung and round.

    ``listed_in``: the page whose message lists this one, where it has none of its own. Of one that has:
    ``posted_at`` is when it was sent, ``shown_to`` the newest page that it listed at ``shown_at``,
    ``push_at`` when a new message shall say what has joined since.
    """

    id: int | None = None
    escalation_id: int
    step: int
    round: int
    person: str
    means: Means
    status: PageStatus = PageStatus.QUEUED
    queued_at: datetime
    delivered_at: datetime | None = None
    error: str | None = None
    listed_in: int | None = None
    posted_at: datetime | None = None
    shown_to: int | None = None
    shown_at: datetime | None = None
    push_at: datetime | None = None

    @property
    def subject(self) -> Subject:
        """The stored page as a subject. Only for one that has an id."""
        assert self.id is not None
        return Subject(kind=SubjectKind.PAGE, id=self.id)


class Escalation(Value):
    """The ladder of one subject on its way. ``steps`` is the policy as it was at the first page."""

    id: int | None = None
    subject: str
    level: Level
    steps: tuple[Step, ...] = ()
    step: int = 0
    round: int = 0
    phase: Phase = Phase.DUE
    due_at: datetime | None
    started_at: datetime
    delivered_at: datetime | None = None
    reminded: bool = False
    overdue: bool = False
    stopped_at: datetime | None = None
    stopped_by: By | None = None
    stopped_because: str | None = None
    version: int = 1

    @field_validator("subject")
    @classmethod
    def _names_a_subject(cls, key: str) -> str:
        """Refuse what ``of`` could not answer for; a later version may page for what we do not know."""
        Subject.parse(key)
        return key

    @property
    def of(self) -> Subject:
        """What it pages for."""
        return Subject.parse(self.subject)

    @property
    def is_running(self) -> bool:
        """True until it is stopped."""
        return self.phase is not Phase.STOPPED

    @property
    def rung(self) -> Step | None:
        """The rung it stands on; ``None`` before the first page and on an empty ladder."""
        return self.steps[self.step] if self.step < len(self.steps) else None

    @property
    def is_last(self) -> bool:
        """True on the last rung."""
        return self.step >= len(self.steps) - 1

    @property
    def waits_to_stay(self) -> bool:
        """True while nobody is paged yet for trouble that came back, since it may go again by itself."""
        return self.phase is Phase.DUE and self.due_at is not None and self.due_at > self.started_at

    def next_people(self) -> tuple[str, ...]:
        """Who is paged next if nobody answers."""
        if not self.steps:
            return ()
        return self.steps[min(self.step + 1, len(self.steps) - 1)].tell

    def next_at(self) -> datetime | None:
        """When they are, as far as it is known."""
        if self.delivered_at is None or self.rung is None:
            return None
        return self.delivered_at + _wait(self.rung)


class Turn(Value):
    """What a due moment asks for: the escalation as it is now, and the pages to write."""

    escalation: Escalation
    pages: tuple[Page, ...] = ()
    what: str | None = None


def start(
    subject: Subject, level: Level, at: datetime, before: Escalation | None = None, *, returns: int = 0
) -> Escalation:
    """A ladder that is due at once, unless the trouble is the same as just before.

    ``before`` is the subject's last one: where it ended because the trouble went by itself, and began
    only minutes ago, the new one waits a little. ``returns``: how often it has come back in its own
    thread, if that is all the news; whoever was paged knows. What flaps pages once, what stays pages again.
    """
    went = before is not None and before.stopped_because in _WENT
    if before is None or before.delivered_at is None or level.rank > before.level.rank:
        return Escalation(subject=subject.key, level=level, due_at=at, started_at=at)
    if not returns or (went and not _flaps(before, returns, at)):
        due = max(at, before.delivered_at + FLAPPING) if went else at
        return Escalation(subject=subject.key, level=level, due_at=due, started_at=at)
    patience = FLAPPING if level.rank >= Level.CRITICAL.rank else FLAPPING_WARNING
    if went and before.rung is not None and before.level is level:
        return _resumed(before, before.rung, at, at + patience)
    # It remembers that somebody was paged: that it waits must not make the next return page at once.
    return Escalation(
        subject=subject.key,
        level=level,
        due_at=at + patience,
        started_at=at,
        delivered_at=before.delivered_at,
    )


def _flaps(before: Escalation, returns: int, at: datetime) -> bool:
    """Whether trouble that had gone by itself comes and goes, and does not simply come once more."""
    quiet = at - before.stopped_at if before.stopped_at is not None else timedelta()
    return quiet <= FLAPPING_WITHIN or returns >= FLAPPING_RETURNS


_WENT = frozenset({StopReason.RECOVERED, StopReason.CLOSED})
"""A ladder that ended for these was answered by nobody."""


def _resumed(before: Escalation, rung: Step, at: datetime, again_at: datetime) -> Escalation:
    """The same ladder goes on where nobody had answered, so that a flap does not keep it at its first rung.

    The same people are asked again at ``again_at``, if it stays until then. The next ones are paged when they
    would have been; for a warning not before it has stayed, either.
    """
    assert before.delivered_at is not None
    next_at = max(at, before.delivered_at + _wait(rung))
    if before.level.rank < Level.CRITICAL.rank:
        next_at = max(next_at, again_at)
    same = again_at < next_at
    return before.model_copy(
        update={
            "phase": Phase.RESPONDING if same else Phase.WAITING,
            "due_at": again_at if same else next_at,
            "started_at": at,
            "stopped_at": None,
            "stopped_by": None,
            "stopped_because": None,
        }
    )


def has_nobody(before: Escalation | None, level: Level) -> bool:
    """True where this subject's ladder of this level was found empty already: once is enough to say it."""
    return before is not None and before.stopped_because == StopReason.NOBODY and before.level is level


def stop(escalation: Escalation, because: StopReason, by: By, at: datetime) -> Escalation:
    """Nobody is paged any more. Stopping twice keeps the first reason."""
    if not escalation.is_running:
        return escalation
    return escalation.model_copy(
        update={
            "phase": Phase.STOPPED,
            "due_at": None,
            "stopped_at": at,
            "stopped_by": by,
            "stopped_because": because,
        }
    )


def move(escalation: Escalation, to: Subject) -> Escalation:
    """The same ladder, at the same place, for another subject: an incident takes over its alert's."""
    return escalation.model_copy(update={"subject": to.key})


def is_due(escalation: Escalation, at: datetime) -> bool:
    """Whether its moment has come."""
    return escalation.due_at is not None and escalation.due_at <= at


def advance(escalation: Escalation, ladder: Ladder, pending: frozenset[str], at: datetime) -> Turn:
    """What happens at a due moment. ``pending`` names people whose last page is still on its way.

    Nothing happens before the moment has come, so that a late or doubled tick does no harm.
    """
    if not is_due(escalation, at):
        return Turn(escalation=escalation)
    match escalation.phase:
        case Phase.DUE:
            return _page(escalation, ladder, pending, at)
        case Phase.DELIVERING:
            return _next(escalation, pending, at, "page.undelivered" if pending else "page.none_left")
        case Phase.RESPONDING:
            return _remind(escalation, pending, at)
        case Phase.WAITING:
            return _next(escalation, pending, at, "escalation.next_step")
        case Phase.STOPPED:
            return Turn(escalation=escalation)


def delivered(escalation: Escalation, at: datetime) -> Escalation:
    """A page reached its provider: the timers of this rung begin with the first delivery."""
    if escalation.phase not in {Phase.DELIVERING, Phase.DUE} or escalation.rung is None:
        return escalation
    rung = escalation.rung
    wait = _wait(rung)
    respond = rung.respond if rung.respond and not escalation.reminded else None
    update: dict[str, object] = {"delivered_at": at}
    if respond and respond < wait:
        update |= {"phase": Phase.RESPONDING, "due_at": at + respond}
    else:
        update |= {"phase": Phase.WAITING, "due_at": at + wait}
    return escalation.model_copy(update=update)


def failed(escalation: Escalation, page: Page, left: int, at: datetime) -> Escalation:
    """The page could not be delivered; ``left`` others of this rung and round may still be.

    With none left the ladder moves on at once.
    """
    stands_here = page.step == escalation.step and page.round == escalation.round
    if escalation.phase is not Phase.DELIVERING or not stands_here or left:
        return escalation
    return escalation.model_copy(update={"due_at": at})


def _page(escalation: Escalation, ladder: Ladder, pending: frozenset[str], at: datetime) -> Turn:
    steps = escalation.steps or ladder.steps
    if not steps:
        return Turn(
            escalation=stop(escalation, StopReason.NOBODY, TOBAN, at),
            what="escalation.nobody",
        )
    on = escalation.model_copy(
        update={
            "steps": steps,
            "round": escalation.round + 1,
            "phase": Phase.DELIVERING,
            "due_at": at + DELIVERY_GRACE,
            "delivered_at": None,
        }
    )
    return _with_pages(on, pending, at, "escalation.paged")


def _remind(escalation: Escalation, pending: frozenset[str], at: datetime) -> Turn:
    """The same people once more; the wait for the next rung goes on from the first delivery."""
    assert escalation.rung is not None
    assert escalation.delivered_at is not None
    on = escalation.model_copy(
        update={
            "round": escalation.round + 1,
            "phase": Phase.WAITING,
            "reminded": True,
            "overdue": True,
            "due_at": escalation.delivered_at + _wait(escalation.rung),
        }
    )
    turn = _with_pages(on, pending, at, "escalation.overdue")
    return turn.model_copy(update={"escalation": on})


def _next(escalation: Escalation, pending: frozenset[str], at: datetime, what: str) -> Turn:
    """The next rung, or the last one again; a ladder that reached nobody to its end begins anew."""
    if escalation.is_last and escalation.phase is Phase.DELIVERING:
        anew = {"step": 0, "phase": Phase.DUE, "due_at": at + ALL_FAILED_AFTER, "reminded": False}
        return Turn(escalation=escalation.model_copy(update=anew), what="escalation.nobody_reached")
    on = escalation.model_copy(
        update={
            "step": min(escalation.step + 1, len(escalation.steps) - 1),
            "round": escalation.round + 1,
            "phase": Phase.DELIVERING,
            "due_at": at + DELIVERY_GRACE,
            "delivered_at": None,
            "reminded": escalation.is_last and escalation.reminded,
        }
    )
    return _with_pages(on, pending, at, what)


def _with_pages(escalation: Escalation, pending: frozenset[str], at: datetime, what: str) -> Turn:
    """Write one page for each person and means of the rung, but none behind one that is on its way."""
    assert escalation.id is not None
    assert escalation.rung is not None
    rung = escalation.rung
    pages = tuple(
        Page(
            escalation_id=escalation.id,
            step=escalation.step,
            round=escalation.round,
            person=person,
            means=means,
            status=PageStatus.QUEUED if means is Means.SLACK else PageStatus.NOT_SET_UP,
            queued_at=at,
        )
        for person in dict.fromkeys(rung.tell)
        for means in dict.fromkeys(rung.by)
        if not (means is Means.SLACK and person in pending)
    )
    reachable = any(page.status is PageStatus.QUEUED for page in pages) or any(
        person in pending for person in rung.tell
    )
    if not reachable and escalation.phase is Phase.DELIVERING:
        escalation = escalation.model_copy(update={"due_at": at})
    return Turn(escalation=escalation, pages=pages, what=what)


def _wait(rung: Step) -> timedelta:
    """How long after the delivery the next rung begins, or the last one again."""
    return rung.wait or REPEAT_AFTER
