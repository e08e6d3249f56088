"""The one shared step: signals open alert groups, incidents and ladders, whoever saw them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from domain import alerts as rules
from domain import escalation as ladders
from domain.alerts import Alert, AlertGroup, AlertStatus, Ending, Reason, Signal, is_apart
from domain.effects import Effect, Event, Note, Refresh, Subject, SubjectKind, Text
from domain.escalation import Escalation
from domain.holding import hold_on
from domain.incidents import Incident
from domain.policy import Level, Policy
from domain.ports import Tx
from domain.response import NOTES_OF_FLAPPING, Response, is_only_again, respond
from domain.rollouts import Rollout
from operations import counters
from operations.ladders import stop_ladder
from operations.places import alert_card, home, incident_card, thread_note


class _Batch:
    """Groups and alerts as they stand while a batch of signals is absorbed in memory."""

    def __init__(self, alerts: dict[str, Alert], groups: dict[str, AlertGroup]) -> None:
        self.alerts = alerts
        self.newest = groups
        self.by_id: dict[int | None, AlertGroup] = {group.id: group for group in groups.values()}
        self.changed: dict[str, Alert] = {}
        self.reasons: dict[int, Counter[Reason]] = {}
        self.touched: set[int] = set()
        self.opened: set[int] = set()
        self.ended: dict[int, tuple[Signal, datetime]] = {}
        self.heard: Counter[Reason] = Counter()

    def placed(self, signal: Signal, at: datetime) -> Signal:
        """The signal with the key of the group that it belongs to, which may be one of its own place."""
        group = self.newest.get(signal.group_key)
        if signal.apart_key is None or group is None or not is_apart(group, signal, at):
            return signal
        return signal.model_copy(update={"group_key": signal.apart_key, "apart_key": None})

    def group_for(self, signal: Signal, alert: Alert | None) -> AlertGroup | None:
        """An alert that is not over belongs where it is; any other to the newest group of its key."""
        if alert is not None and alert.firing:
            return self.by_id.get(alert.group_id)
        if alert is not None and alert.silent:
            silent_in = self.by_id.get(alert.group_id)
            if silent_in is not None and silent_in.is_open:
                return silent_in
        return self.newest.get(signal.group_key)


async def receive(tx: Tx, policy: Policy, heard: Sequence[tuple[Signal, datetime]], at: datetime) -> None:
    """Take in signals with the moments at which they were heard, in order, inside the caller's transaction.

    Safe to repeat. Reads and writes by the batch: its cost is per group and per changed alert.
    """
    batch = await _load(tx, [signal for signal, _ in heard])
    for signal, heard_at in heard:
        await _absorb(tx, batch, signal, heard_at)
    await tx.save_alerts(list(batch.changed.values()))
    for group_id, (signal, ended_at) in batch.ended.items():
        left = await tx.end_alerts(group_id, ended_at)
        _end_group(batch, group_id, left, signal, ended_at)
    await _consequences(tx, policy, batch, at)
    for reason, count in batch.heard.items():
        counters.signals.labels(reason=reason.value).inc(count)


async def let_go(tx: Tx, policy: Policy, group_id: int, at: datetime) -> None:
    """The hold of a group is over: what still fires is answered as if it began now."""
    group = (await tx.groups([group_id])).get(group_id)
    if group is None or group.status is not AlertStatus.FIRING:
        return
    if group.held_until is None or group.held_until > at:
        return
    batch = _Batch({}, {group.key: group})
    batch.touched.add(group_id)
    batch.reasons[group_id] = Counter({Reason.OUTLIVED: 1})
    await _consequences(tx, policy, batch, at)


async def _load(tx: Tx, signals: Sequence[Signal]) -> _Batch:
    alerts = await tx.alerts([signal.identity for signal in signals])
    keys = [signal.group_key for signal in signals]
    keys += {signal.apart_key for signal in signals if signal.apart_key is not None}
    batch = _Batch(alerts, await tx.newest_groups(keys))
    elsewhere = {
        alert.group_id
        for alert in alerts.values()
        if (alert.firing or alert.silent) and alert.group_id is not None and alert.group_id not in batch.by_id
    }
    for group in (await tx.groups(sorted(elsewhere))).values():
        batch.by_id[group.id] = group
    for identity, alert in alerts.items():
        if (alert.firing or alert.silent) and alert.group_id not in batch.by_id:  # Its group cannot be read.
            alerts[identity] = rules.without_group(alert)
    return batch


async def _absorb(tx: Tx, batch: _Batch, signal: Signal, heard_at: datetime) -> None:
    signal = batch.placed(signal, heard_at)
    _note_end(batch, signal, heard_at)
    known = batch.alerts.get(signal.identity)
    before = batch.group_for(signal, known)
    absorbed = rules.absorb(before, known, signal, heard_at)
    batch.heard[absorbed.reason] += 1
    group, alert = absorbed.group, absorbed.alert
    if group is not None and group is not before:
        if group.id is None:
            group = await tx.add_group(group)
            assert group.id is not None
            batch.opened.add(group.id)
        else:
            batch.touched.add(group.id)
        batch.by_id[group.id] = group
        batch.newest[group.key] = group
    if alert is not known:
        if group is not None and group is not before:
            alert = alert.model_copy(update={"group_id": group.id})
        batch.alerts[signal.identity] = batch.changed[signal.identity] = alert
    if group is not None and group.id is not None:
        batch.reasons.setdefault(group.id, Counter())[absorbed.reason] += 1


def _note_end(batch: _Batch, signal: Signal, heard_at: datetime) -> None:
    """A sender says that nothing of a group fires of which it could not name everything, now or before."""
    group = batch.newest.get(signal.group_key)
    if signal.ends_group and group is not None and group.id is not None and (signal.large or group.omitted):
        batch.ended[group.id] = (signal, heard_at)


def _end_group(batch: _Batch, group_id: int, left: int, signal: Signal, heard_at: datetime) -> None:
    """What was not named has ended as well; ``left`` alerts began to fire later, and keep it open."""
    group = batch.by_id[group_id]
    if not group.is_open or group.firing == left > 0:
        return
    if left:
        ended = group.model_copy(update={"firing": left, "omitted": 0})
    else:
        ended = rules.over(group, signal, heard_at)
        batch.reasons.setdefault(group_id, Counter())[Reason.ALL_RESOLVED] += 1
    batch.newest[group.key] = batch.by_id[group_id] = ended
    batch.touched.add(group_id)
    batch.reasons.setdefault(group_id, Counter())


async def _consequences(tx: Tx, policy: Policy, batch: _Batch, at: datetime) -> None:
    """Decide for each group that changed, in the order of their ids, so that replicas cannot deadlock."""
    concerned = sorted(batch.touched | batch.opened)
    if not concerned:
        return
    open_incidents = {incident.id: incident for incident in await tx.open_incidents()}
    subjects = [batch.by_id[group_id].subject.key for group_id in concerned]
    subjects += [incident.subject.key for incident in open_incidents.values()]
    running = await tx.running_escalations(subjects)
    rollouts = await _rollouts(tx, policy, [batch.by_id[group_id] for group_id in concerned], at)
    events: list[Event] = []
    effects: list[Effect] = []
    saved: list[AlertGroup] = []
    for group_id in concerned:
        group, reasons = batch.by_id[group_id], batch.reasons[group_id]
        incident = _incident_of(group, open_incidents)
        ladder = running.get(incident.subject.key) if incident else None
        ladder = ladder or running.get(group.subject.key)
        others = 0
        if incident is not None and not group.is_open:
            family = await tx.groups_of_incident(incident.subject.id)
            others = sum(batch.by_id.get(one.id, one).is_open for one in family if one.id != group_id)
        hold = None
        if Reason.OUTLIVED not in reasons and group.service in rollouts:
            rule = policy.deploys.rule(group.service)
            hold = hold_on(group, rollouts[group.service], rule, at)
        response = respond(group, reasons, incident, ladder, others, at, hold)
        returns = group.fires - 1 if is_only_again(reasons) else 0
        incident = await _carry_out(
            tx, policy, response, ladder, running, events, effects, at, returns=returns
        )
        final = response.group
        if incident is not None:
            open_incidents[incident.id] = incident
            final = final.model_copy(update={"incident_id": incident.id})
        if final is not group or group_id in batch.touched:
            saved.append(final)
        events += _events(final, reasons, at)
        effects += _effects(final, reasons)
    await tx.save_groups(saved)
    await tx.tell(events)
    await tx.say(effects, at)


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


def _incident_of(group: AlertGroup, open_incidents: dict[int | None, Incident]) -> Incident | None:
    """The open incident of the group, else one of the same service that was born of an alert."""
    own = open_incidents.get(group.incident_id) if group.incident_id is not None else None
    if own is not None:
        return own
    if group.service is None or not group.level.opens_incident or not group.is_open:
        return None
    same = (
        one for one in open_incidents.values() if one.service == group.service and one.born_of is not None
    )
    return next(same, None)


async def _carry_out(
    tx: Tx,
    policy: Policy,
    response: Response,
    ladder: Escalation | None,
    running: dict[str, Escalation],
    events: list[Event],
    effects: list[Effect],
    at: datetime,
    *,
    returns: int,
) -> Incident | None:
    incident = response.incident
    if incident is not None and incident.id is None:
        incident = await tx.add_incident(incident)
        counters.incidents.labels(severity=incident.severity.value, by="alert").inc()
        data = {"alert": response.group.id, "severity": incident.severity.value}
        events.append(Event(subject=incident.subject, what="incident.opened", at=at, data=data))
        effects.append(incident_card(policy, incident, response.group))
    elif incident is not None and response.incident is not None:
        stored = await tx.incident(incident.subject.id)
        if stored != incident:
            incident = await tx.save_incident(incident)
            what = {"severity": incident.severity.value, "alert": response.group.id}
            events.append(Event(subject=incident.subject, what="incident.asked_again", at=at, data=what))
        effects.append(Refresh(subject=incident.subject))
    if ladder is not None and response.stop is not None:
        await stop_ladder(tx, ladder, response.stop, None, at)
        del running[ladder.subject]
    if response.start is not None:
        subject = incident.subject if incident is not None else response.group.subject
        before = await tx.latest_escalation(subject)
        if not ladders.has_nobody(before, response.start):
            started = ladders.start(subject, response.start, at, before, returns=returns)
            if started.id is None:
                running[subject.key] = await tx.add_escalation(started)
            else:
                running[subject.key] = await tx.save_escalation(started)
                pages = await tx.pages(started.id)
                effects += [Refresh(subject=page.subject) for page in pages if page.listed_in is None]
    return incident


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


_OVER = {
    Ending.PAUSED: "note.closed_paused",
    Ending.UPDATED: "note.closed_updated",
    Ending.DELETED: "note.closed_deleted",
    Ending.SILENT: "note.closed_silent",
}


def _over(group: AlertGroup) -> str:
    """How the thread is told that a group is over."""
    if group.recovered:
        return "note.recovered"
    return _OVER[group.ending] if group.ending is not None else "note.closed_not_recovered"


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
        text = Text(key=_over(group), params={"at": seconds})
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
