"""What an incoming signal does to its alert group, and the reason to speak about it."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import Field

from domain.effects import By, Subject, SubjectKind, Text, Wording
from domain.errors import Refused
from domain.policy import Level, Value
from domain.senders import is_elsewhere

REOPEN_WITHIN = timedelta(minutes=30)
"""A group that fires again this soon after its end goes on in the same thread."""

LATE_WITHIN = timedelta(seconds=60)
"""A delivery of an old state that names no times can arrive this long after the new one."""

REPEATED_WAITS = timedelta(minutes=10)
"""A firing that is said again after its own end waits so long for another end before somebody is paged.

Twice Alertmanager's usual ``group_interval`` of 5 minutes: a peer that missed the end says it by then.
"""

HEARD_LATE = timedelta(minutes=5)
"""What began longer than this before we heard of it is shown with both moments."""

PAGE_AGAIN_AFTER = timedelta(minutes=30)
"""An acknowledgement older than this does not keep news of the same trouble silent."""


OURS = "toban"
"""The source of what Toban itself reports; everything else comes from outside."""

KEPT_TO = timedelta(milliseconds=1)
"""Moments are kept to the millisecond; senders name them more finely."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""When something happened of which that is not known: longer ago than anything."""


class AlertStatus(StrEnum):
    """Where an alert group stands."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Ending(StrEnum):
    """Why an alert ended without a recovery, where its sender says so.

    ``SILENT``: what it measured is gone, so that nobody knows. The others: somebody changed the rule.
    """

    SILENT = "silent"
    PAUSED = "paused"
    UPDATED = "updated"
    DELETED = "deleted"


class Reason(StrEnum):
    """Why there is something to say, or why there is not."""

    FIRST = "first notification"
    NEW_ALERTS = "new alerts in group"
    FIRED_AGAIN = "fired again"
    LEVEL_ROSE = "level rose"
    WENT_SILENT = "went silent"
    SOME_RESOLVED = "some alerts resolved"
    ALL_RESOLVED = "all alerts resolved"
    REPEATED = "the same firing again"
    OUTLIVED = "outlived a hold"
    REMINDER = "nothing new"
    LATE = "closed before it opened"
    TOMBSTONE = "closing without an opening"

    @property
    def is_news(self) -> bool:
        """True where trouble is new or worse, so that somebody may have to be paged."""
        return self in _NEWS


_NEWS = frozenset({Reason.FIRST, Reason.NEW_ALERTS, Reason.FIRED_AGAIN, Reason.LEVEL_ROSE, Reason.OUTLIVED})


class LinkKind(StrEnum):
    """What a link of an alert leads to."""

    DASHBOARD = "dashboard"
    PANEL = "panel"
    SILENCE = "silence"


class Link(Value):
    """A page that an alert names besides its own and its runbook."""

    kind: LinkKind
    url: str


class Signal(Value):
    """One alert as a sender reported it, in our words.

    ``identity`` names the alert for good (unique over all senders), ``group_key`` the group it
    belongs to. ``reusable`` says that the sender may let the same identity fire again after its end.
    ``recovered`` is False for a closing that does not mean recovery (a deleted condition), ``ending`` why,
    as far as the sender says. ``name`` is what its rule is called, where the title says
    something else. ``sender`` names the machine that sent it, where several may speak for one sender;
    ``apart_key`` is the group of what such a machine says of another place than the group is about.
    ``channel`` is where the thread opens if it is not the alerts channel; ``wording`` says title and
    summary in any language, where the alert is our own. ``ends_group``: the delivery that it is the
    first of says that nothing of the group fires any more; ``large`` that it could not name all of it.
    """

    source: str
    identity: str
    group_key: str
    firing: bool
    level: Level
    raw_level: str | None = None
    title: str
    summary: str = ""
    service: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    url: str | None = None
    runbook: str | None = None
    value: str | None = None
    threshold: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reusable: bool = False
    recovered: bool = True
    ending: Ending | None = None
    name: str | None = None
    links: tuple[Link, ...] = ()
    sender: str | None = None
    apart_key: str | None = None
    omitted: int = 0
    channel: str | None = None
    wording: Wording | None = None
    ends_group: bool = False
    large: bool = False


class Alert(Value):
    """One alert of a group, as last heard of. ``seen_firing`` is False where its closing came first.

    ``silent``: it fired when it was last measured, and nobody knows what it does now.
    """

    id: int | None = None
    group_id: int | None = None
    identity: str
    firing: bool
    seen_firing: bool
    level: Level
    title: str
    summary: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    url: str | None = None
    value: str | None = None
    threshold: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    changed_at: datetime
    closed_by_person: bool = False
    silent: bool = False


class AlertGroup(Value):
    """Alerts that are one trouble: one thread, one ladder.

    ``generation`` counts the groups of one key: a trouble that comes back long after its end gets
    a new thread. ``fires`` counts how often it went from quiet to firing inside this thread, ``silent``
    its alerts of which nobody knows whether they fire: it is open while there is one.
    ``opened_at`` is when we heard of it, ``began_at`` the earliest start that its sender has named and that
    can be true; ``silent_at`` when its newest silent alert went silent. ``closed_firing``: so many fired at
    the sender when a person resolved it.
    ``held_until``: nobody is paged before, since the rollout with the id ``held_by`` may be why; without
    ``held_by``, since the sender repeats a firing that it had ended.
    """

    id: int | None = None
    key: str
    generation: int = 1
    source: str
    service: str | None = None
    title: str
    summary: str = ""
    level: Level
    raw_level: str | None = None
    status: AlertStatus = AlertStatus.FIRING
    firing: int = 0
    silent: int = 0
    total: int = 0
    omitted: int = 0
    fires: int = 1
    name: str | None = None
    sender: str | None = None
    links: tuple[Link, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    url: str | None = None
    runbook: str | None = None
    value: str | None = None
    threshold: str | None = None
    opened_at: datetime
    began_at: datetime | None = None
    silent_at: datetime | None = None
    closed_firing: int = 0
    changed_at: datetime
    acknowledged_at: datetime | None = None
    acknowledged_by: By | None = None
    resolved_at: datetime | None = None
    resolved_by: By | None = None
    recovered: bool = True
    ending: Ending | None = None
    incident_id: int | None = None
    held_until: datetime | None = None
    held_by: int | None = None
    channel: str | None = None
    wording: Wording | None = None
    version: int = 1

    @property
    def subject(self) -> Subject:
        """The stored group as a subject. Only for a group that has an id."""
        assert self.id is not None
        return Subject(kind=SubjectKind.ALERT, id=self.id)

    @property
    def is_open(self) -> bool:
        """True until it is resolved."""
        return self.status is not AlertStatus.RESOLVED

    @property
    def since(self) -> datetime:
        """When it began: by its sender's word, else when we heard of it."""
        return self.opened_at if self.began_at is None else min(self.began_at, self.opened_at)

    @property
    def is_heard_late(self) -> bool:
        """True where it had lasted for minutes when its sender told us. Our own watching waits on purpose."""
        return self.source != OURS and self.opened_at - self.since > HEARD_LATE

    @property
    def how_it_ended(self) -> str:
        """How a group that is over ended, as the last part of a text's key: ``closed_paused``."""
        if self.recovered:
            return "recovered"
        return f"closed_{self.ending.value}" if self.ending is not None else "closed_not_recovered"

    @property
    def own_title(self) -> Text | None:
        """The title in any language, where the alert is our own."""
        return self.wording.title if self.wording is not None else None

    @property
    def is_silent(self) -> bool:
        """True where it is open and nothing is known to fire: what it measured is gone."""
        return self.is_open and self.silent > 0 and self.firing == 0 and self.omitted == 0


class Absorbed(Value):
    """What became of a signal. ``group`` is ``None`` where it concerns none."""

    group: AlertGroup | None
    alert: Alert
    reason: Reason


def group_key(*parts: str) -> str:
    """A stable short name for the parts: 32 hexadecimal digits of SHA-256."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def absorb(group: AlertGroup | None, alert: Alert | None, signal: Signal, at: datetime) -> Absorbed:
    """Take one signal into its group.

    ``group`` is the newest group of the signal's key, or the one that the known alert belongs to.
    Safe to repeat, and safe in any order: a closing may come before its opening.
    """
    if alert is None:
        return _first_heard(group, signal, at)
    if alert.firing and signal.firing:
        return _still_firing(group, alert, signal, at)
    if alert.firing:
        return _closed(group, alert, signal, at)
    if not signal.firing and alert.silent:
        return _silence_ended(group, alert, signal, at)
    if not signal.firing:
        return Absorbed(group=group, alert=_ended_again(alert, signal, at), reason=Reason.REMINDER)
    return _firing_after_end(group, alert, signal, at)


def is_apart(group: AlertGroup, signal: Signal, at: datetime) -> bool:
    """Whether a signal of the group's key is about something else after all.

    Equal keys come from the members of a pair, and from the same rules in two clusters. What one machine
    puts into one group stays together. Of another machine, what comes from another place does not.
    """
    if signal.sender == group.sender or _is_over_for_good(group, at):
        return False
    return is_elsewhere(group.labels, signal.labels)


def without_group(alert: Alert) -> Alert:
    """A firing alert whose group cannot be read: it counts as over, so that its next opening is news."""
    return alert.model_copy(
        update={
            "firing": False,
            "silent": False,
            "ended_at": None,
            "changed_at": NEVER,
            "closed_by_person": True,
        }
    )


def _first_heard(group: AlertGroup | None, signal: Signal, at: datetime) -> Absorbed:
    alert = _alert(signal, at)
    if not signal.firing:
        return Absorbed(group=None, alert=alert, reason=Reason.TOMBSTONE)
    grown, reason = _grown(group, signal, at)
    return Absorbed(group=grown, alert=alert, reason=reason)


def _still_firing(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    if group is not None and not group.is_open:  # It was closed over its head: nobody would hear of it again.
        return _fired_anew(group, alert, signal, at)
    if group is not None and group.omitted != signal.omitted and group.key == signal.group_key:
        group = group.model_copy(update={"omitted": signal.omitted, "changed_at": at})
    if _starts_later(alert, signal) and at >= alert.changed_at:
        # Its end in between has not been handled yet, and must not end this firing when it is.
        alert = alert.model_copy(update={"started_at": signal.started_at, "changed_at": at})
    if signal.level.rank <= alert.level.rank or group is None:
        return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)
    louder = alert.model_copy(update={"level": signal.level, "changed_at": at})
    if signal.level.rank <= group.level.rank:
        return Absorbed(group=group, alert=louder, reason=Reason.REMINDER)
    raised = group.model_copy(
        update={
            "level": signal.level,
            "raw_level": signal.raw_level,
            "changed_at": at,
            "status": AlertStatus.FIRING,
            "acknowledged_at": None,
            "acknowledged_by": None,
        }
    )
    return Absorbed(group=raised, alert=louder, reason=Reason.LEVEL_ROSE)


def _ended_again(alert: Alert, signal: Signal, at: datetime) -> Alert:
    """What is over, with the latest end that its sender has named."""
    known = alert.model_copy(update={"closed_by_person": False}) if alert.closed_by_person else alert
    end, said = alert.ended_at, signal.ended_at
    later = said is not None and (end is None or said - end >= KEPT_TO)
    if not (signal.reusable and later and at >= alert.changed_at):
        return known
    return known.model_copy(update={"ended_at": said, "changed_at": at})


def _starts_later(alert: Alert, signal: Signal) -> bool:
    known, said = alert.started_at, signal.started_at
    return signal.reusable and known is not None and said is not None and said - known >= KEPT_TO


def _closed(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    earlier = signal.reusable and at < alert.changed_at
    if signal.reusable and signal.ended_at is not None and alert.started_at is not None:
        earlier |= signal.ended_at < alert.started_at
    if earlier:  # The end of an earlier firing.
        return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)
    # What never fires again under its name would stay silent for ever.
    silent = signal.ending is Ending.SILENT and signal.reusable and group is not None and group.is_open
    closed = alert.model_copy(
        update={
            "firing": False,
            "silent": silent,
            "ended_at": signal.ended_at or at,
            "changed_at": at,
            "value": signal.value or alert.value,
            "summary": signal.summary or alert.summary,
        }
    )
    if group is None:
        return Absorbed(group=None, alert=closed, reason=Reason.REMINDER)
    left = max(0, group.firing - 1)
    quieter = group.model_copy(
        update={
            "firing": left,
            "silent": group.silent + silent,
            "silent_at": max(at, group.silent_at or at) if silent else group.silent_at,
            "omitted": signal.omitted,
            "changed_at": max(at, group.changed_at),
        }
    )
    if silent:
        return Absorbed(group=quieter, alert=closed, reason=Reason.WENT_SILENT)
    if left or signal.omitted or quieter.silent:
        return Absorbed(group=quieter, alert=closed, reason=Reason.SOME_RESOLVED)
    if not group.is_open:
        return Absorbed(group=group, alert=closed, reason=Reason.REMINDER)
    return Absorbed(group=over(group, signal, at), alert=closed, reason=Reason.ALL_RESOLVED)


def _silence_ended(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    """The sender says of what went silent that it has ended after all, or once more that it is silent."""
    if signal.ending is Ending.SILENT or (signal.reusable and at < alert.changed_at):
        return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)
    known = alert.model_copy(update={"silent": False, "ended_at": signal.ended_at or at, "changed_at": at})
    if group is None or group.id != alert.group_id or not group.is_open:
        return Absorbed(group=group, alert=known, reason=Reason.REMINDER)
    silent = max(0, group.silent - 1)
    if silent or group.firing or group.omitted:
        heard = group.model_copy(update={"silent": silent, "changed_at": max(at, group.changed_at)})
        return Absorbed(group=heard, alert=known, reason=Reason.SOME_RESOLVED)
    return Absorbed(group=over(group, signal, at), alert=known, reason=Reason.ALL_RESOLVED)


def over(group: AlertGroup, signal: Signal, at: datetime) -> AlertGroup:
    """The group after its last closing."""
    return group.model_copy(
        update={
            "firing": 0,
            "silent": 0,
            "omitted": 0,
            "status": AlertStatus.RESOLVED,
            "changed_at": max(at, group.changed_at),
            "resolved_at": at,
            "resolved_by": None,
            "recovered": signal.recovered,
            "ending": signal.ending,
            "value": signal.value or group.value,
            "summary": signal.summary or group.summary,
            "wording": signal.wording or group.wording,
        }
    )


def _firing_after_end(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    """An opening of what was closed: late, repeated, or a new firing of the same identity.

    Told apart by what the sender says of start and end, then by when the requests began (``at``), never by
    when they were handled.
    """
    if alert.silent and group is not None and group.is_open and group.id == alert.group_id:
        if at < alert.changed_at:
            return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)
        return _heard_again(group, alert, signal, at)
    if _is_new_firing(alert, signal, at):
        return _fired_anew(group, alert, signal, at)
    if not alert.seen_firing:
        return _late(group, alert, signal, at)
    if not signal.reusable or alert.closed_by_person or at < alert.changed_at:
        return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)
    if group is None or _is_over_for_good(group, at) or _is_too_loud_to_wait(alert, signal):
        return _fired_anew(group, alert, signal, at)
    return _repeated(group, alert, signal, at)


def _is_new_firing(alert: Alert, signal: Signal, at: datetime) -> bool:
    """Whether an opening of what was closed is believed at once."""
    settled = at - alert.changed_at >= LATE_WITHIN
    if not signal.reusable:
        return alert.closed_by_person and settled
    start, end = signal.started_at, alert.ended_at
    if start is not None and end is not None and start > end:
        return True
    if alert.closed_by_person or not alert.seen_firing:
        return settled
    return at >= alert.changed_at and not _is_same_firing(alert, signal)


def _is_same_firing(alert: Alert, signal: Signal) -> bool:
    """True where the sender says the start of what it has ended.

    It may be true all the same: Alertmanager ends by timeout what it does not hear of, and merges what
    overlaps to the earliest start. What is our own is always meant as it is said.
    """
    if signal.started_at is None or signal.source == OURS:
        return False
    said_end = alert.ended_at is not None and alert.ended_at != alert.changed_at
    return said_end or (alert.started_at is not None and abs(signal.started_at - alert.started_at) < KEPT_TO)


def _is_too_loud_to_wait(alert: Alert, signal: Signal) -> bool:
    return signal.level is Level.EMERGENCY or signal.level.rank > alert.level.rank


def _fired_anew(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    fresh = _alert(signal, at).model_copy(update={"id": alert.id})
    grown, reason = _grown(group, signal, at, counted=group is not None and group.id == alert.group_id)
    return Absorbed(group=grown, alert=fresh, reason=reason)


def _heard_again(group: AlertGroup, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    """What had gone silent fires: nobody is asked twice for it, since it was never over."""
    fresh = _alert(signal, at).model_copy(update={"id": alert.id})
    grown, reason = _grown(group, signal, at, counted=True)
    grown = grown.model_copy(update={"silent": max(0, group.silent - 1)})
    if group.is_silent and reason is Reason.NEW_ALERTS:  # For people it begins again.
        grown, reason = grown.model_copy(update={"fires": group.fires + 1}), Reason.FIRED_AGAIN
    return Absorbed(group=grown, alert=fresh, reason=reason)


def _repeated(group: AlertGroup, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    """The firing is shown, and pages if no other end comes in time.

    A group that is open has been answered for; one that was over opens without counting as a new firing.
    """
    fresh = _alert(signal, at).model_copy(update={"id": alert.id})
    grown, _ = _grown(group, signal, at, counted=group.id == alert.group_id)
    update: dict[str, object] = {"fires": group.fires}
    if grown.status is AlertStatus.FIRING and group.status is not AlertStatus.FIRING:
        update |= {"held_until": at + REPEATED_WAITS, "held_by": None}
    return Absorbed(group=grown.model_copy(update=update), alert=fresh, reason=Reason.REPEATED)


def _late(group: AlertGroup | None, alert: Alert, signal: Signal, at: datetime) -> Absorbed:
    """The opening of what is closed already: it is shown as over, and nobody is paged."""
    if group is not None and group.id == alert.group_id:
        return Absorbed(group=group, alert=alert, reason=Reason.REMINDER)  # It was shown already.
    known = alert.model_copy(
        update={
            "started_at": signal.started_at,
            "changed_at": max(at, alert.changed_at),
            "level": signal.level,
        }
    )
    if group is not None and not _is_over_for_good(group, at):
        counted = group.model_copy(update={"total": group.total + 1, "changed_at": max(at, group.changed_at)})
        return Absorbed(group=counted, alert=known, reason=Reason.LATE)
    over = _new_group(group, signal, at).model_copy(
        update={"status": AlertStatus.RESOLVED, "firing": 0, "resolved_at": at}
    )
    return Absorbed(group=over, alert=known, reason=Reason.LATE)


def _grown(
    group: AlertGroup | None, signal: Signal, at: datetime, *, counted: bool = False
) -> tuple[AlertGroup, Reason]:
    """The group with one more firing alert, and what that means."""
    if group is None:
        return _new_group(None, signal, at), Reason.FIRST
    if _is_over_for_good(group, at):
        return _new_group(group, signal, at), Reason.FIRST
    louder = signal.level.rank > group.level.rank or not group.is_open
    update: dict[str, object] = {
        "firing": group.firing + 1,
        "total": max(group.total + (0 if counted else 1), group.firing + 1),
        "omitted": signal.omitted,
        "began_at": _begun(group.began_at, signal, at),
        "changed_at": max(at, group.changed_at),
        "level": signal.level if louder else group.level,
        "raw_level": signal.raw_level if louder else group.raw_level,
    }
    stale = group.acknowledged_at is not None and at - group.acknowledged_at > PAGE_AGAIN_AFTER
    if not group.is_open or louder or stale:
        update |= {"status": AlertStatus.FIRING, "acknowledged_at": None, "acknowledged_by": None}
    if not group.is_open:
        update |= {
            "fires": group.fires + 1,
            "resolved_at": None,
            "resolved_by": None,
            "recovered": True,
            "ending": None,
            "firing": 1,
            "silent": 0,
            # What its sender never reports again is not counted for ever.
            "total": update["total"] if signal.reusable or group.resolved_by else 1,
            "summary": signal.summary,
            "value": signal.value,
            "wording": signal.wording,
        }
        return group.model_copy(update=update), Reason.FIRED_AGAIN
    return group.model_copy(update=update), Reason.LEVEL_ROSE if louder else Reason.NEW_ALERTS


def _is_over_for_good(group: AlertGroup, at: datetime) -> bool:
    """True where what comes now is a new trouble with a thread of its own."""
    return not group.is_open and group.resolved_at is not None and at - group.resolved_at > REOPEN_WITHIN


def _new_group(before: AlertGroup | None, signal: Signal, at: datetime) -> AlertGroup:
    return AlertGroup(
        key=signal.group_key,
        generation=before.generation + 1 if before else 1,
        source=signal.source,
        service=signal.service,
        title=signal.title,
        summary=signal.summary,
        level=signal.level,
        raw_level=signal.raw_level,
        firing=1,
        total=1,
        omitted=signal.omitted,
        labels=signal.labels,
        url=signal.url,
        name=signal.name,
        sender=signal.sender,
        links=signal.links,
        runbook=signal.runbook,
        value=signal.value,
        threshold=signal.threshold,
        channel=signal.channel,
        wording=signal.wording,
        opened_at=at,
        began_at=_begun(None, signal, at),
        changed_at=at,
    )


def _begun(known: datetime | None, signal: Signal, at: datetime) -> datetime | None:
    """The earliest start that a sender has named. One that lies ahead of us is its clock's mistake."""
    said = [moment for moment in (known, signal.started_at) if moment is not None and moment <= at]
    return min(said, default=None)


def _alert(signal: Signal, at: datetime) -> Alert:
    return Alert(
        identity=signal.identity,
        firing=signal.firing,
        seen_firing=signal.firing,
        level=signal.level,
        title=signal.title,
        summary=signal.summary,
        labels=signal.labels,
        url=signal.url,
        value=signal.value,
        threshold=signal.threshold,
        started_at=signal.started_at,
        ended_at=None if signal.firing else (signal.ended_at or at),
        changed_at=at,
    )


def headed(group: AlertGroup, firing: Sequence[Alert]) -> AlertGroup:
    """The group under the name of one that still fires, where the alert that it was named after does not.

    ``firing`` are its firing alerts; where these are only some of them, its name stays.
    """
    named = any(alert.title == group.title for alert in firing)
    if named or not firing or not group.is_open or group.source == OURS or group.firing > len(firing):
        return group
    first = firing[0]
    shown = {"title": first.title, "summary": first.summary, "value": first.value, "wording": None}
    return group.model_copy(update=shown | {"threshold": first.threshold})


def acknowledge(group: AlertGroup, by: By, at: datetime) -> AlertGroup:
    """Somebody looks at it. Refused where it is over or somebody already does."""
    match group.status:
        case AlertStatus.RESOLVED:
            raise Refused("refused.alert_resolved", at=_seconds(group.resolved_at or at))
        case AlertStatus.ACKNOWLEDGED:
            raise Refused(
                "refused.already_acknowledged",
                who=group.acknowledged_by.name if group.acknowledged_by else "?",
                at=_seconds(group.acknowledged_at or at),
            )
        case AlertStatus.FIRING:
            return group.model_copy(
                update={
                    "status": AlertStatus.ACKNOWLEDGED,
                    "acknowledged_at": at,
                    "acknowledged_by": by,
                    "changed_at": at,
                }
            )


def resolve(group: AlertGroup, by: By, at: datetime) -> AlertGroup:
    """Somebody says that it is over. A sender that still reports it opens it again."""
    if not group.is_open:
        raise Refused("refused.alert_resolved", at=_seconds(group.resolved_at or at))
    return group.model_copy(
        update={
            "status": AlertStatus.RESOLVED,
            "firing": 0,
            "silent": 0,
            "closed_firing": group.firing + group.omitted,
            "resolved_at": at,
            "resolved_by": by,
            "changed_at": at,
        }
    )


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
