"""What people do about trouble: acknowledge, declare, resolve. One act wherever it is done."""

from datetime import datetime

from domain import alerts as alert_rules
from domain import escalation as ladders
from domain import incidents as rules
from domain.alerts import AlertGroup, AlertStatus
from domain.effects import By, Effect, Event, Refresh, Subject, SubjectKind, Text, titled
from domain.errors import Refused
from domain.escalation import StopReason
from domain.incidents import Incident
from domain.policy import Policy, Severity
from domain.ports import Tx
from operations import counters
from operations import taken as its_alerts
from operations.ladders import page_refreshes, stop_ladder
from operations.places import INCIDENTS, home, incident_card, thread_note

NAMED = 20
"""Open incidents that an answer names; of more it says how many there are."""


async def acknowledge(tx: Tx, subject: Subject, by: By, at: datetime) -> Text:
    """Take it: on the alert, the incident or the page it is one and the same act.

    Returns what the person is told. Refused where it is over or somebody has it.
    """
    of = await _subject_of_page(tx, subject) if subject.kind is SubjectKind.PAGE else subject
    if of.kind is SubjectKind.ALERT:
        group = await _group(tx, of.id)
        incident = await tx.incident(group.incident_id) if group.incident_id is not None else None
        if incident is None or not incident.is_open:
            return await _acknowledge_group(tx, group, by, at)
        of = incident.subject
    return await _acknowledge_incident(tx, await _incident(tx, of.id), by, at)


async def _acknowledge_group(tx: Tx, group: AlertGroup, by: By, at: datetime) -> Text:
    taken = alert_rules.acknowledge(group, by, at)
    await tx.save_groups([taken])
    await _stop(tx, group.subject, StopReason.ACKNOWLEDGED, by, at)
    await tx.tell([_taken(group.subject, "alert.acknowledged", by, at)])
    text = Text(key=_note(by), params={"who": by.name, "at": _seconds(at)})
    note = thread_note(f"ack:{group.subject.key}:{_seconds(at)}", group.subject, home(group), text)
    await tx.say([Refresh(subject=group.subject), note], at)
    return Text(key=_answer(by), params={"what": titled(group.title, group.own_title)})


async def _acknowledge_incident(tx: Tx, incident: Incident, by: By, at: datetime) -> Text:
    taken = await tx.save_incident(rules.acknowledge(incident, by, at))
    await _stop(tx, incident.subject, StopReason.ACKNOWLEDGED, by, at)
    effects: list[Effect] = [Refresh(subject=taken.subject)]
    await its_alerts.begin(tx, taken.subject.id, by, at)
    text = Text(key=_note(by), params={"who": by.name, "at": _seconds(at)})
    effects.append(thread_note(f"ack:{taken.subject.key}:{_seconds(at)}", taken.subject, INCIDENTS, text))
    await tx.tell([_taken(taken.subject, "incident.acknowledged", by, at)])
    await tx.say(effects, at)
    named = {"number": taken.number, "title": titled(taken.title, taken.own_title)}
    return Text(key=_answer(by), params={"what": {"key": "incident.named", "params": named}})


def _note(by: By) -> str:
    """The text for the thread, which says so where Slack could not say who acknowledged."""
    return "note.acknowledged_unverified" if by.unverified else "note.acknowledged"


def _answer(by: By) -> str:
    """The same for the person."""
    return "answer.acknowledged_unverified" if by.unverified else "answer.acknowledged"


def _taken(subject: Subject, what: str, by: By, at: datetime) -> Event:
    return Event(subject=subject, what=what, at=at, by=by, data={"unverified": True} if by.unverified else {})


async def declare(
    tx: Tx, policy: Policy, title: str, severity: Severity, group_id: int | None, by: By, at: datetime
) -> Text:
    """A person opens an incident, from nothing or for an alert group; its ladder moves over."""
    group = await _group(tx, group_id) if group_id is not None else None
    if group is not None and group.incident_id is not None:
        known = await tx.incident(group.incident_id)
        if known is not None and known.is_open:
            raise Refused("refused.has_incident", number=known.number)
    new = rules.declare(
        title or (group.title if group else ""), severity, group.service if group else None, by, at
    )
    incident = await tx.add_incident(new.model_copy(update={"born_of": group.id if group else None}))
    counters.incidents.labels(severity=severity.value, by="person").inc()
    effects: list[Effect] = [incident_card(policy, incident, group)]
    running = None
    if group is not None:
        await tx.save_groups([group.model_copy(update={"incident_id": incident.id, "held_until": None})])
        effects.append(Refresh(subject=group.subject))
        running = (await tx.running_escalations([group.subject.key])).get(group.subject.key)
    if running is not None and severity.level.rank > running.level.rank:
        await stop_ladder(tx, running, StopReason.LEVEL_ROSE, by, at)
        await tx.add_escalation(ladders.start(incident.subject, severity.level, at))
    elif running is not None:
        await tx.save_escalation(ladders.move(running, incident.subject))
    elif group is None or group.status is AlertStatus.FIRING:
        await tx.add_escalation(ladders.start(incident.subject, severity.level, at))
    if group is not None and group.acknowledged_by is not None and group.is_open:
        incident = await tx.save_incident(rules.acknowledge(incident, group.acknowledged_by, at))
    data = {"severity": severity.value, "alert": group.id if group else None}
    await tx.tell([Event(subject=incident.subject, what="incident.declared", at=at, by=by, data=data)])
    await tx.say(effects, at)
    return await _declared(tx, policy, incident)


async def _declared(tx: Tx, policy: Policy, incident: Incident) -> Text:
    """What was declared as how bad, and who is paged by it and when."""
    said = {
        "number": incident.number,
        "severity": incident.severity.value,
        "title": titled(incident.title, incident.own_title),
    }
    if incident.acknowledged_by is not None:
        return Text(key="answer.declared_taken", params=said | {"who": incident.acknowledged_by.name})
    running = (await tx.running_escalations([incident.subject.key])).get(incident.subject.key)
    if running is None:
        return Text(key="answer.declared_over", params=said)
    rungs = running.steps or policy.ladder(running.level).steps
    if not rungs:
        return Text(key="answer.declared_nobody", params=said)
    people = list(rungs[min(running.step, len(rungs) - 1)].tell)
    if running.round:
        return Text(key="answer.declared_paging", params=said | {"people": people})
    if running.due_at is not None and running.due_at > incident.opened_at:
        return Text(
            key="answer.declared_later", params=said | {"people": people, "at": _seconds(running.due_at)}
        )
    return Text(key="answer.declared", params=said | {"people": people})


async def resolve_incident(tx: Tx, incident_id: int, summary: str, by: By, at: datetime) -> Text:
    """It is over; alerts that still fire keep their own state until their sender says so."""
    incident = await _incident(tx, incident_id)
    over = await tx.save_incident(rules.resolve(incident, summary, by, at))
    await _stop(tx, over.subject, StopReason.RESOLVED, by, at)
    effects: list[Effect] = [Refresh(subject=over.subject)]
    groups = await tx.groups_of_incident(over.subject.id)
    effects += [Refresh(subject=group.subject) for group in groups]
    subjects = [over.subject.key, *(group.subject.key for group in groups)]
    effects += await page_refreshes(tx, (await tx.latest_escalations(subjects)).values())
    firing = sum(group.firing + group.omitted for group in groups if group.is_open)
    text = Text(
        key="note.incident_resolved" if over.summary else "note.incident_resolved_bare",
        params={"who": by.name, "at": _seconds(at)} | ({"summary": over.summary} if over.summary else {}),
        lines=(Text(key="note.still_firing", params={"count": firing}),) if firing else (),
    )
    effects.append(thread_note(f"resolved:{over.subject.key}:{_seconds(at)}", over.subject, INCIDENTS, text))
    data = {"summary": over.summary}
    await tx.tell([Event(subject=over.subject, what="incident.resolved", at=at, by=by, data=data)])
    await tx.say(effects, at)
    if firing:
        return Text(key="answer.incident_resolved_firing", params={"number": over.number, "count": firing})
    return Text(key="answer.incident_resolved", params={"number": over.number})


async def resolve_alert(tx: Tx, group_id: int, by: By, at: datetime) -> Text:
    """A person says that an alert group is over; its incident, if any, stays theirs to resolve."""
    group = await _group(tx, group_id)
    over = alert_rules.resolve(group, by, at)
    await tx.save_groups([over])
    await tx.close_alerts(group_id, at)
    await _stop(tx, group.subject, StopReason.RESOLVED, by, at)
    effects: list[Effect] = [Refresh(subject=group.subject)]
    if group.incident_id is not None:
        incident = await tx.incident(group.incident_id)
        family = await tx.groups_of_incident(group.incident_id)
        if incident is not None and not any(one.is_open for one in family):
            await _stop(tx, incident.subject, StopReason.RESOLVED, by, at)
        effects.append(Refresh(subject=Subject(kind=SubjectKind.INCIDENT, id=group.incident_id)))
    subjects = [group.subject.key]
    if group.incident_id is not None:
        subjects.append(Subject(kind=SubjectKind.INCIDENT, id=group.incident_id).key)
    effects += await page_refreshes(tx, (await tx.latest_escalations(subjects)).values())
    text = Text(key="note.alert_resolved", params={"who": by.name, "at": _seconds(at)})
    effects.append(thread_note(f"closed:{group.id}:{_seconds(at)}", group.subject, home(group), text))
    await tx.tell([Event(subject=group.subject, what="alert.resolved", at=at, by=by)])
    await tx.say(effects, at)
    return Text(
        key="answer.alert_resolved",
        params={"what": titled(group.title, group.own_title)},
    )


async def the_only_open(tx: Tx, verb: str) -> Incident:
    """The incident that is meant where none was named. Refused where there is none or more than one.

    ``verb`` is what was typed, for an example that can be typed next.
    """
    found = await tx.open_incidents()
    if not found:
        raise Refused("refused.none_open")
    if len(found) == 1:
        return found[0]
    numbers = [one.number for one in found[:NAMED]]
    params = {"numbers": numbers, "example": f"/incident {verb} {numbers[0]}"}
    if len(found) > NAMED:
        raise Refused("refused.which_of_many", **params, more=len(found) - NAMED)
    raise Refused("refused.which_one", **params)


async def _stop(tx: Tx, subject: Subject, because: StopReason, by: By, at: datetime) -> None:
    running = (await tx.running_escalations([subject.key])).get(subject.key)
    if running is not None:
        await stop_ladder(tx, running, because, by, at)


async def _subject_of_page(tx: Tx, subject: Subject) -> Subject:
    page = await tx.page(subject.id)
    escalation = await tx.escalation(page.escalation_id) if page else None
    if escalation is None:
        raise Refused("refused.unknown_page")
    return escalation.of


async def _group(tx: Tx, group_id: int) -> AlertGroup:
    group = (await tx.groups([group_id])).get(group_id)
    if group is None:
        raise Refused("refused.unknown_alert", number=group_id)
    return group


async def _incident(tx: Tx, incident_id: int) -> Incident:
    incident = await tx.incident(incident_id)
    if incident is None:
        raise Refused("refused.unknown_incident", number=f"INC-{incident_id}")
    return incident


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
