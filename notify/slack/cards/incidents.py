"""The card of an incident."""

from domain.alerts import AlertGroup
from domain.incidents import Incident, IncidentStatus
from domain.outbox import Rendered
from domain.views import IncidentView, OpenNow
from notify.slack import actions
from notify.slack.blocks import Block, button, context, fields, header, said, section
from notify.slack.blocks import actions as row
from notify.slack.cards.alerts import counted, ended_line, mark_of, taken_line, title_of, value_of
from notify.slack.cards.ladder import ladder_lines
from notify.slack.escape import line
from notify.slack.links import Links
from notify.slack.lists import listed
from notify.texts import Voice

ALERTS_LISTED = 10
"""Alerts on one card; the rest is counted."""

LISTED = 20
"""Incidents in one answer; the rest is counted."""


def incident_card(voice: Voice, view: IncidentView, links: Links) -> Rendered:
    """What is wrong and how bad, who is on it, what can be done."""
    incident = view.incident
    title = title_of_incident(voice, incident)
    blocks: list[Block] = [header(f"{incident.severity} {incident.number} · {title}", _mark(incident))]
    blocks.append(fields(_facts(voice, view, links)))
    blocks += listed(voice, (_alert(voice, view, group, links) for group in view.groups), most=ALERTS_LISTED)
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
    params = {"number": incident.number, "severity": incident.severity.value, "title": title}
    return Rendered(text=voice(key, **params), blocks=blocks)


def title_of_incident(voice: Voice, incident: Incident) -> str:
    """The title, in the reader's language where it is our own."""
    own = incident.own_title
    return voice.plain(own.key, **own.params) if own is not None else incident.title


def _mark(incident: Incident) -> str:
    if not incident.is_open:
        return ":white_check_mark:"
    return ":rotating_light:" if incident.acknowledged_at is None else ":eyes:"


def _alert(voice: Voice, view: IncidentView, group: AlertGroup, links: Links) -> str:
    """One of its alerts: how it stands, and the way to its thread."""
    name = links.message(view.posted.get(group.subject.key), title_of(voice, group))
    if not group.is_open:
        return f"• {mark_of(group)} {name} · {ended_line(voice, group)}"
    value = f" · {value_of(voice, group)}" if group.value else ""
    at, received = int(group.since.timestamp()), int(group.opened_at.timestamp())
    key = "incident.alert_since_late" if group.is_heard_late else "incident.alert_since"
    since = voice(key, at=at, received=received)
    if group.is_silent:
        silent_at = int((group.silent_at or group.changed_at).timestamp())
        since += f" · {voice('incident.alert_silent', at=silent_at)}"
    return f"• {mark_of(group)} {name}{value} · {since}"


def _facts(voice: Voice, view: IncidentView, links: Links) -> list[tuple[str, str]]:
    incident = view.incident
    opened = voice("incident.opened", who=incident.opened_by.name, at=int(incident.opened_at.timestamp()))
    facts = [
        (voice("field.status"), voice.word("status", incident.status.value)),
        (voice("field.severity"), voice.word("severity", incident.severity.value)),
        (voice("field.service"), line(incident.service or "—")),
        (voice("field.opened"), opened),
    ]
    if view.groups:
        facts.append((voice("field.alerts"), counted(voice, view.groups)))
    if incident.resolved_at is not None:
        length = (incident.resolved_at - incident.opened_at).total_seconds()
        facts.append((voice("field.duration"), voice("incident.duration", length=length)))
    book = next((group.runbook for group in view.groups if group.runbook), None)
    runbook = links.outside(book, voice("link.open"))
    if runbook is not None:
        facts.append((voice("field.runbook"), runbook))
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
        label = voice.plain(
            "button.acknowledge_label", what=f"{incident.number} {title_of_incident(voice, incident)}"
        )
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
    lines = (incident_line(voice, one, recovered=one.id in view.recovered) for one in view.incidents)
    head = voice("list.open", count=len(view.incidents))
    return Rendered(text=head, blocks=[*listed(voice, lines, head=f"*{head}*", most=LISTED), declare])


def incident_line(voice: Voice, incident: Incident, *, recovered: bool = False) -> str:
    """One open incident in a list; ``recovered``: it has alerts, and all of them are over."""
    who = incident.acknowledged_by.name if incident.acknowledged_by else None
    shown = voice(
        "list.line_taken" if who else "list.line",
        severity=incident.severity.value,
        number=incident.number,
        title=title_of_incident(voice, incident),
        status=incident.status.value,
        at=int(incident.opened_at.timestamp()),
        **({"who": who} if who else {}),
    )
    return f"{shown} · {voice('list.recovered')}" if recovered else shown
