"""The page in a person's direct messages: what happened, what is needed, one button."""

from domain.outbox import Rendered
from domain.views import PageView
from notify.slack import actions
from notify.slack.blocks import Block, button, context, fields, header
from notify.slack.blocks import actions as row
from notify.slack.cards.alerts import MARK, summary_of, title_of
from notify.slack.escape import line
from notify.slack.links import Links
from notify.texts import Voice


def page_card(voice: Voice, view: PageView, links: Links) -> Rendered:
    """While the ladder runs it asks; after that it says how it ended."""
    title, what = _what(voice, view)
    level = view.escalation.level
    running = view.escalation.is_running
    first = voice.plain("page.title", level=level.value, what=title) if running else title
    mark = MARK[level] if running else ":white_check_mark:"
    blocks: list[Block] = [header(f"{mark} {first}")]
    if view.group is not None:
        blocks += summary_of(voice, view.group, 600)
    blocks.append(fields(_facts(voice, view, links, what)))
    blocks.append(context(_outcome(voice, view)))
    if running:
        label = voice.plain("button.acknowledge_label", what=title)
        text = voice.plain("button.acknowledge")
        value = view.page.subject.key
        blocks.append(row(button(text, actions.PAGE_ACKNOWLEDGE, value, style="primary", label=label)))
        return Rendered(text=voice("page.fallback", level=level.value, what=title), blocks=blocks)
    return Rendered(text=f"{line(title, 300)} · {_outcome(voice, view)}", blocks=blocks)


def _what(voice: Voice, view: PageView) -> tuple[str, str]:
    """The title to show, and the name of the thing."""
    if view.incident is not None:
        incident = view.incident
        return f"{incident.severity} {incident.number} · {incident.title}", incident.number
    if view.group is not None:
        return title_of(voice, view.group), f"#{view.group.id}"
    return view.escalation.subject, view.escalation.subject


def _facts(voice: Voice, view: PageView, links: Links, what: str) -> list[tuple[str, str]]:
    group, incident = view.group, view.incident
    service = (incident.service if incident else None) or (group.service if group else None)
    facts = [
        (voice("field.service"), line(service or "—")),
        (voice("field.since"), voice("show.when", at=int(view.escalation.started_at.timestamp()))),
    ]
    if view.subject_at is not None:
        facts.append((voice("field.thread"), links.message(view.subject_at, voice("link.thread", what=what))))
    runbook = links.outside(group.runbook if group else None, voice("link.open"))
    if runbook:
        facts.append((voice("field.runbook"), runbook))
    return facts


def _outcome(voice: Voice, view: PageView) -> str:
    escalation = view.escalation
    if escalation.is_running:
        at = escalation.next_at()
        people = list(escalation.next_people())
        if at is not None and people:
            return voice("page.or_next", people=people, at=int(at.timestamp()))
        return voice("page.please")
    at_seconds = int((escalation.stopped_at or escalation.started_at).timestamp())
    who = escalation.stopped_by.name if escalation.stopped_by else "Toban"
    match escalation.stopped_because:
        case "acknowledged":
            return voice("outcome.acknowledged", who=who, at=at_seconds)
        case "resolved":
            return voice("outcome.resolved_by", who=who, at=at_seconds)
        case "recovered":
            return voice("outcome.recovered", at=at_seconds)
        case _:
            return voice("outcome.replaced", at=at_seconds)
