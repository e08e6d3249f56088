"""What changed groups mean for people: incidents, ladders, cards and lines, for many groups at once.

The rules decide about one group after another. What they open is written together, in one statement for each
kind of row: a storm costs a few statements for hundreds of groups.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from domain import escalation as ladders
from domain.alerts import OURS, AlertGroup, Reason
from domain.effects import TOBAN, Effect, Event, Note, Refresh, Subject, SubjectKind, Text, titled
from domain.escalation import Escalation
from domain.holding import hold_on
from domain.incidents import Incident
from domain.policy import Level, Policy
from domain.ports import Tx
from domain.quiet import Quiet
from domain.response import NOTES_OF_FLAPPING, Response, is_only_again, respond
from domain.rollouts import Rollout
from operations import counters
from operations.ladders import page_refreshes, stop_ladder
from operations.places import INCIDENTS, alert_card, home, incident_card, thread_note
from operations.quiet import now as now_quiet


@dataclass(frozen=True)
class Change:
    """A group as it is now, and why. ``is_changed``: what is stored of it differs."""

    group: AlertGroup
    reasons: Counter[Reason]
    is_changed: bool


class _Known:
    """Open incidents by number, and running and latest ladders by subject, as far as the groups need them."""

    def __init__(
        self,
        incidents: Sequence[Incident],
        running: dict[str, Escalation],
        latest: dict[str, Escalation],
    ) -> None:
        self.incidents: dict[int | None, Incident] = {}
        self.running = running
        self.latest = latest
        self._first: dict[str, int | None] = {}
        self._quiet: tuple[Quiet | None] | None = None
        for incident in incidents:
            self.add(incident)

    async def quiet(self, tx: Tx) -> Quiet | None:
        """That the past is kept still; asked once, and only where it could matter."""
        if self._quiet is None:
            self._quiet = (await now_quiet(tx),)
        return self._quiet[0]

    def add(self, incident: Incident) -> None:
        """One more, or one that has changed."""
        self.incidents[incident.id] = incident
        if incident.service is not None and incident.born_of is not None:
            self._first.setdefault(incident.service, incident.id)

    def incident_of(self, group: AlertGroup) -> Incident | None:
        """The open incident of the group, else one of the same service that was born of an alert."""
        own = self.incidents.get(group.incident_id) if group.incident_id is not None else None
        if own is not None:
            return own
        if group.service is None or not group.level.opens_incident or not group.is_open:
            return None
        return self.incidents.get(self._first.get(group.service, 0))

    def ladder_of(self, group: AlertGroup, incident: Incident | None) -> Escalation | None:
        """The running ladder of its incident, else its own."""
        ladder = self.running.get(incident.subject.key) if incident else None
        return ladder or self.running.get(group.subject.key)


@dataclass
class _Written:
    """What the decisions come to, to be written at the end."""

    opening: list[tuple[Change, Response]] = field(default_factory=list)
    services: set[str | None] = field(default_factory=set)
    starting: dict[str, Escalation] = field(default_factory=dict)
    saved: list[AlertGroup] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


async def follow(
    tx: Tx,
    policy: Policy,
    changes: Sequence[Change],
    groups: Mapping[int | None, AlertGroup],
    at: datetime,
) -> None:
    """Decide for each group that changed, in the order of their ids, so that replicas cannot deadlock.

    ``groups`` has those of the caller's transaction as they are now.
    """
    if not changes:
        return
    known = await _load(tx, [change.group for change in changes])
    rollouts = await _rollouts(tx, policy, [change.group for change in changes], at)
    written = _Written()
    for change in changes:
        if _depends(written, known, change.group):
            await _open(tx, policy, known, written, at)
        await _decide(tx, policy, change, groups, known, rollouts, written, at)
    await _open(tx, policy, known, written, at)
    await tx.save_groups(written.saved)
    written.effects += await page_refreshes(tx, _told_otherwise(changes, known))
    await tx.tell(written.events)
    await tx.say(written.effects, at)


_TOLD = frozenset({Reason.FIRST, Reason.FIRED_AGAIN, Reason.ALL_RESOLVED, Reason.WENT_SILENT})
"""What a page that is on a screen has to say: it names the newest trouble, and its end."""


def _told_otherwise(changes: Sequence[Change], known: _Known) -> list[Escalation]:
    """The ladders whose pages say something else now."""
    found: dict[str, Escalation] = {}
    for change in changes:
        if _TOLD.isdisjoint(change.reasons):
            continue
        incident = known.incident_of(change.group)
        for subject in (change.group.subject, *([incident.subject] if incident is not None else [])):
            ladder = known.latest.get(subject.key)
            if ladder is not None:
                found[subject.key] = ladder
    return list(found.values())


async def _load(tx: Tx, groups: Sequence[AlertGroup]) -> _Known:
    ids = {group.incident_id for group in groups if group.incident_id is not None}
    services = {group.service for group in groups if group.service is not None}
    incidents = await tx.incidents_around(ids, services)
    subjects = [group.subject.key for group in groups]
    subjects += [incident.subject.key for incident in incidents]
    return _Known(
        incidents,
        running=await tx.running_escalations(subjects),
        latest=await tx.latest_escalations(subjects),
    )


def _depends(written: _Written, known: _Known, group: AlertGroup) -> bool:
    """Whether this group may belong to an incident, or be paged on a ladder, that is not written yet."""
    if group.service is not None and group.service in written.services:
        return True
    incident = known.incident_of(group)
    return incident is not None and incident.subject.key in written.starting


async def _decide(
    tx: Tx,
    policy: Policy,
    change: Change,
    groups: Mapping[int | None, AlertGroup],
    known: _Known,
    rollouts: Mapping[str, list[Rollout]],
    written: _Written,
    at: datetime,
) -> None:
    group = change.group
    incident = known.incident_of(group)
    ladder = known.ladder_of(group, incident)
    others = 0
    if incident is not None and not group.is_open:
        family = await tx.groups_of_incident(incident.subject.id)
        others = sum(groups.get(one.id, one).is_open for one in family if one.id != group.id)
    hold = None
    deploys = rollouts.get(group.service or "", [])
    if deploys and group.service is not None and Reason.OUTLIVED not in change.reasons:
        hold = hold_on(group, deploys, policy.deploys.rule(group.service), at)
    if incident is not None and incident.is_open and others == 0 and _is_told(change):
        written.effects.append(_all_recovered(incident, at))
    response = respond(group, change.reasons, incident, ladder, others, at, hold)
    if ladder is not None and response.stop is not None:
        await stop_ladder(tx, ladder, response.stop, None, at)
        del known.running[ladder.subject]
        known.latest[ladder.subject] = ladders.stop(ladder, response.stop, TOBAN, at)
    if ladder is not None and ladder.subject in known.running and not _NEWS.isdisjoint(change.reasons):
        await _wake(tx, ladder, group, known, at)
    if response.opens:
        written.opening.append((change, response))
        written.services.add(group.service)
        return
    if response.incident is not None:
        await _keep_incident(tx, response, known, written, at)
        if change.group.incident_id != response.incident.id:
            written.effects.append(_joined(response.group, response.incident, at))
    subject = response.incident.subject if response.incident is not None else response.group.subject
    await _start(tx, change, response, subject, known, written, at)
    _finish(change, response.group, response.incident, written, at)


_NEWS = frozenset({Reason.FIRST, Reason.FIRED_AGAIN, Reason.LEVEL_ROSE})


async def _wake(tx: Tx, ladder: Escalation, group: AlertGroup, known: _Known, at: datetime) -> None:
    """A ladder of the past that a quiet start holds back goes on for what is new."""
    quiet = await known.quiet(tx)
    if quiet is None or not quiet.holds(at) or ladder.due_at != quiet.end:
        return
    if group.source == OURS and quiet.is_past(await tx.newest_start(group.subject.id)):
        return
    woken = await tx.save_escalation(ladder.model_copy(update={"due_at": at}))
    known.running[ladder.subject] = known.latest[ladder.subject] = woken


async def _keep_incident(tx: Tx, response: Response, known: _Known, written: _Written, at: datetime) -> None:
    """An incident that was open already, and may have got worse."""
    incident = response.incident
    assert incident is not None
    if known.incidents[incident.id] != incident:
        what = {"severity": incident.severity.value, "alert": response.group.id}
        written.events.append(Event(subject=incident.subject, what="incident.asked_again", at=at, data=what))
        known.add(await tx.save_incident(incident))
    written.effects.append(Refresh(subject=incident.subject))


async def _open(tx: Tx, policy: Policy, known: _Known, written: _Written, at: datetime) -> None:
    """Write the incidents and ladders that were decided on."""
    new = [response.incident for _, response in written.opening if response.incident is not None]
    for (change, response), incident in zip(written.opening, await tx.add_incidents(new), strict=True):
        known.add(incident)
        counters.incidents.labels(severity=incident.severity.value, by="alert").inc()
        data = {"alert": response.group.id, "severity": incident.severity.value}
        written.events.append(Event(subject=incident.subject, what="incident.opened", at=at, data=data))
        written.effects.append(incident_card(policy, incident, response.group))
        await _start(tx, change, response, incident.subject, known, written, at)
        _finish(change, response.group, incident, written, at)
    for ladder in await tx.add_escalations(list(written.starting.values())):
        known.running[ladder.subject] = known.latest[ladder.subject] = ladder
    written.opening.clear()
    written.services.clear()
    written.starting.clear()


async def _start(
    tx: Tx,
    change: Change,
    response: Response,
    subject: Subject,
    known: _Known,
    written: _Written,
    at: datetime,
) -> None:
    """A ladder, unless the last one of this subject was found empty; what flaps goes on with its last one."""
    before = known.latest.get(subject.key)
    if response.start is None or ladders.has_nobody(before, response.start):
        return
    returns = change.group.fires - 1 if is_only_again(change.reasons) else 0
    started = ladders.start(subject, response.start, at, before, returns=returns)
    quiet = await known.quiet(tx) if change.group.source == OURS else None
    if (
        quiet is not None
        and quiet.holds(at)
        and quiet.is_past(await tx.newest_start(change.group.subject.id))
    ):
        # What we find out late after a restore is of the past; what a sender says now is of now.
        started = started.model_copy(update={"due_at": max(started.due_at or at, quiet.end)})
    if started.id is None:
        written.starting[subject.key] = started
        return
    known.running[subject.key] = known.latest[subject.key] = await tx.save_escalation(started)
    pages = await tx.pages(started.id)
    written.effects += [Refresh(subject=page.subject) for page in pages if page.listed_in is None]


def _finish(
    change: Change, group: AlertGroup, incident: Incident | None, written: _Written, at: datetime
) -> None:
    final = group
    if incident is not None:
        final = final.model_copy(update={"incident_id": incident.id})
    if final is not change.group or change.is_changed:
        written.saved.append(final)
    written.events += _events(final, change.reasons, at)
    written.effects += _effects(final, change.reasons)


async def _rollouts(
    tx: Tx, policy: Policy, groups: Sequence[AlertGroup], at: datetime
) -> dict[str, list[Rollout]]:
    """The deploys that may explain what fires, by service."""
    asked = {
        group.service: policy.deploys.rule(group.service).hold
        for group in groups
        if group.service is not None and group.is_open and group.level is not Level.EMERGENCY
    }
    if not any(asked.values()):
        return {}
    found: dict[str, list[Rollout]] = {}
    for rollout in await tx.rollouts_since(at - max(asked.values())):
        if rollout.service in asked:
            found.setdefault(rollout.service, []).append(rollout)
    return found


def _events(group: AlertGroup, reasons: Counter[Reason], at: datetime) -> list[Event]:
    """One row for each kind of thing that happened in this batch."""
    silent = {Reason.REMINDER, Reason.TOMBSTONE}
    return [
        Event(
            subject=group.subject,
            what=f"alert.{reason.name.lower()}",
            at=at,
            data={"count": count, "firing": group.firing, "level": group.level.value},
        )
        for reason, count in reasons.items()
        if reason not in silent
    ]


def _is_told(change: Change) -> bool:
    """Whether a group's end is said in a line; of what flaps only the card counts."""
    group = change.group
    over = Reason.ALL_RESOLVED in change.reasons and not group.is_open
    return over and group.fires <= NOTES_OF_FLAPPING


TOLD_EVERY = 600
"""Seconds. In this time only the first alert that joins an incident is told, and the first time that nothing
of it fires any more; the card shows all."""


def _joined(group: AlertGroup, incident: Incident, at: datetime) -> Note:
    """More trouble of an incident: it pages nobody by itself, and the card only changes in place."""
    params = {
        "what": titled(group.title, group.own_title),
        "since": int(group.since.timestamp()),
    }
    key = "note.alert_joined_unanswered"
    if incident.acknowledged_by is not None:
        key, params["who"] = "note.alert_joined", incident.acknowledged_by.name
    name = f"joined:{incident.subject.key}:{int(at.timestamp()) // TOLD_EVERY}"
    return thread_note(name, incident.subject, INCIDENTS, Text(key=key, params=params))


def _all_recovered(incident: Incident, at: datetime) -> Note:
    """Nothing of the incident fires any more, and only a person ends it."""
    text = Text(
        key="note.incident_recovered", params={"number": incident.number, "service": incident.service or "—"}
    )
    name = f"all_recovered:{incident.subject.key}:{int(at.timestamp()) // TOLD_EVERY}"
    return thread_note(name, incident.subject, INCIDENTS, text)


def _fired_again(group: AlertGroup, at: int) -> Note:
    """The card may stand far above by now, so that this line is shown in the channel as well."""
    title = Text(key="alert.said", params={"text": group.title})
    if group.wording is not None:
        title = group.wording.title
    key = "note.flapping" if group.fires == NOTES_OF_FLAPPING else "note.fired_again"
    text = Text(key=key, params={"at": at, "times": group.fires}, lines=(title,))
    note = thread_note(f"again:{group.id}:{group.fires}", group.subject, home(group), text)
    return note.model_copy(update={"broadcast": True})


def _effects(group: AlertGroup, reasons: Counter[Reason]) -> list[Effect]:
    effects: list[Effect] = [alert_card(group)]
    seconds = int(group.changed_at.timestamp())
    if Reason.ALL_RESOLVED in reasons and not group.is_open and group.fires <= NOTES_OF_FLAPPING:
        ours = group.recovered and group.wording is not None  # Nobody else reports it.
        text = Text(
            key="note.recovered_here" if ours else f"note.{group.how_it_ended}", params={"at": seconds}
        )
        effects.append(thread_note(f"recovered:{group.id}:{group.fires}", group.subject, home(group), text))
    if Reason.WENT_SILENT in reasons and group.silent and group.fires <= NOTES_OF_FLAPPING:
        key = "note.went_silent" if group.is_silent else "note.some_went_silent"
        text = Text(key=key, params={"at": seconds, "count": group.silent})
        effects.append(
            thread_note(f"silent:{group.id}:{group.fires}:{key}", group.subject, home(group), text)
        )
    if Reason.FIRED_AGAIN in reasons and group.is_open and group.fires <= NOTES_OF_FLAPPING:
        effects.append(_fired_again(group, seconds))
    if Reason.REPEATED in reasons and group.held_until is not None and group.held_by is None:
        text = Text(key="note.repeated", params={"until": int(group.held_until.timestamp())})
        effects.append(thread_note(f"repeated:{group.id}:{group.fires}", group.subject, home(group), text))
    if Reason.OUTLIVED in reasons and group.held_by is None:
        text = Text(key="note.repeated_outlived", params={"at": seconds})
        note = thread_note(f"repeated_outlived:{group.id}:{group.fires}", group.subject, home(group), text)
        effects.append(note.model_copy(update={"broadcast": True}))
    elif Reason.OUTLIVED in reasons:
        text = Text(key="note.outlived", params={"number": f"D-{group.held_by}"})
        effects.append(thread_note(f"outlived:{group.id}:{group.held_by}", group.subject, home(group), text))
    if Reason.LEVEL_ROSE in reasons and group.is_open:
        text = Text(key="note.level_rose", params={"level": group.level.value})
        effects.append(thread_note(f"level:{group.id}:{group.level}", group.subject, home(group), text))
    if group.incident_id is not None:  # Also one that is resolved: its card counts its open alerts.
        effects.append(Refresh(subject=Subject(kind=SubjectKind.INCIDENT, id=group.incident_id)))
    return effects
