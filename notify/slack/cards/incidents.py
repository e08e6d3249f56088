"""The card of an incident."""

from domain.incidents import Incident, IncidentStatus
from domain.outbox import Rendered
from domain.views import IncidentView, OpenNow
from notify.slack import actions
from notify.slack.blocks import Block, button, context, fields, header, said, section
from notify.slack.blocks import actions as row
from notify.slack.cards.alerts import taken_line
from notify.slack.cards.ladder import ladder_lines
from notify.slack.escape import line
from notify.slack.links import Links
from notify.slack.lists import listed
from notify.texts import Voice

LISTED = 20
"""Incidents in one answer; the rest is counted."""


def incident_card(voice: Voice, view: IncidentView, links: Links) -> Rendered:
    """What is wrong and how bad, who is on it, what can be done."""
    incident = view.incident
    blocks: list[Block] = [
        header(f"{_mark(incident)} {incident.severity} {incident.number} · {incident.title}")
    ]
    blocks.append(fields(_facts(voice, view)))
    if incident.summary:
        blocks.append(said(incident.summary))
    small = [*_outcome(voice, incident)]
    small += ladder_lines(voice, view.escalation if incident.is_open else None, view.pages)
    if incident.is_open and view.groups and not any(group.is_open for group in view.groups):
        small.insert(0, voice("incident.all_recovered", number=incident.number))
    if small:
        blocks.append(context(*small))
    buttons = _buttons(voice, incident)
    if buttons:
        blocks.append(row(*buttons))
    key = "incident.fallback_open" if incident.is_open else "incident.fallback_resolved"
    params = {"number": incident.number, "severity": incident.severity.value, "title": incident.title}
    return Rendered(text=voice(key, **params), blocks=blocks)


def _mark(incident: Incident) -> str:
    if not incident.is_open:
        return ":white_check_mark:"
    return ":rotating_light:" if incident.acknowledged_at is None else ":eyes:"


def _facts(voice: Voice, view: IncidentView) -> list[tuple[str, str]]:
    incident = view.incident
    opened = voice("incident.opened", who=incident.opened_by.name, at=int(incident.opened_at.timestamp()))
    facts = [
        (voice("field.status"), voice.word("status", incident.status.value)),
        (voice("field.severity"), voice.word("severity", incident.severity.value)),
        (voice("field.service"), line(incident.service or "—")),
        (voice("field.opened"), opened),
    ]
    if view.groups:
        firing = sum(group.is_open for group in view.groups)
        facts.append((voice("field.alerts"), voice("incident.alerts", firing=firing, total=len(view.groups))))
    return facts


def _outcome(voice: Voice, incident: Incident) -> list[str]:
    if incident.status is IncidentStatus.RESOLVED and incident.resolved_by is not None:
        at = int((incident.resolved_at or incident.opened_at).timestamp())
        return [voice("outcome.resolved_by", who=incident.resolved_by.name, at=at)]
    if incident.acknowledged_by is not None and incident.acknowledged_at is not None:
        at = int(incident.acknowledged_at.timestamp())
        return [taken_line(voice, incident.acknowledged_by.name, at, incident.acknowledged_by)]
    return []


def _buttons(voice: Voice, incident: Incident) -> list[Block]:
    if not incident.is_open:
        return []
    value = incident.subject.key
    made: list[Block] = []
    if incident.acknowledged_at is None:
        label = voice.plain("button.acknowledge_label", what=f"{incident.number} {incident.title}")
        text = voice.plain("button.acknowledge")
        made.append(button(text, actions.INCIDENT_ACKNOWLEDGE, value, style="primary", label=label))
    made.append(button(voice.plain("button.resolve_form"), actions.INCIDENT_RESOLVE, value))
    return made


def open_now(voice: Voice, view: OpenNow) -> Rendered:
    """The answer to ``/incident``: what is open, worst first, and the way to open one."""
    declare = row(button(voice.plain("button.declare"), actions.INCIDENT_DECLARE, "new", style="primary"))
    if not view.incidents:
        text = voice("list.none")
        return Rendered(text=text, blocks=[section(text), declare])
    lines = (incident_line(voice, incident) for incident in view.incidents)
    head = voice("list.open", count=len(view.incidents))
    return Rendered(text=head, blocks=[*listed(voice, lines, head=f"*{head}*", most=LISTED), declare])


def incident_line(voice: Voice, incident: Incident) -> str:
    """One open incident in a list."""
    who = incident.acknowledged_by.name if incident.acknowledged_by else None
    return voice(
        "list.line_taken" if who else "list.line",
        severity=incident.severity.value,
        number=incident.number,
        title=incident.title,
        status=incident.status.value,
        at=int(incident.opened_at.timestamp()),
        **({"who": who} if who else {}),
    )
