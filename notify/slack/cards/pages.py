"""The page in a person's direct messages: what happened, what is needed, one button."""

from datetime import datetime

from domain.effects import TOBAN
from domain.escalation import StopReason
from domain.outbox import Rendered
from domain.views import PageView
from notify.slack import actions
from notify.slack.blocks import Block, button, context, fields, header, section
from notify.slack.blocks import actions as row
from notify.slack.cards.alerts import (
    MARK,
    ended_line,
    silent_line,
    since_of,
    summary_of,
    taken_line,
    title_of,
    value_of,
)
from notify.slack.cards.incidents import title_of_incident
from notify.slack.escape import line
from notify.slack.links import Links
from notify.texts import Voice


def page_card(voice: Voice, view: PageView, links: Links) -> Rendered:
    """While the ladder runs it asks; after that it says how it ended. In a storm it lists the others."""
    if view.newest and view.waiting + view.escalation.is_running > 1:
        return _list(voice, view, links)
    if view.waiting and view.listed:
        return page_card(voice, view.listed[0], links)
    title, what = _what(voice, view)
    level = view.escalation.level
    running = view.escalation.is_running
    first = voice.plain("page.title", level=level.value, what=title) if running else title
    mark = MARK[level] if running else _mark(view)
    blocks: list[Block] = [header(first, mark)]
    before = _before(voice, view) if running else []
    if before:
        blocks.append(section("\n".join(before)))
    if view.group is not None and not _is_over(view):
        blocks += summary_of(voice, view.group, 600)
    blocks.append(fields(_facts(voice, view, links, what)))
    if view.others:
        others = [f"• {line(title_of(voice, group), 150)}" for group in view.others]
        if view.others_more:
            others.append(voice("alert.and_more", count=view.others_more))
        blocks.append(section("\n".join([voice("page.others"), *others])))
    silent = silent_line(voice, view.group) if view.group is not None and not _is_over(view) else []
    blocks.append(context(*silent, _outcome(voice, view)))
    if running:
        label = voice.plain("button.acknowledge_label", what=title)
        text = voice.plain("button.acknowledge")
        value = view.page.subject.key
        blocks.append(row(button(text, actions.PAGE_ACKNOWLEDGE, value, style="primary", label=label)))
        asked = voice("page.fallback", level=level.value, what=title)
        return Rendered(text=" ".join([asked, *before]), blocks=blocks)
    return Rendered(text=f"{line(title, 300)} · {_outcome(voice, view)}", blocks=blocks)


def _list(voice: Voice, view: PageView, links: Links) -> Rendered:
    """How many wait for an answer, and the worst of them; each button answers one."""
    shown = [one for one in (view, *view.listed) if one.escalation.is_running]
    shown.sort(key=lambda one: -one.escalation.level.rank)
    count = view.waiting + view.escalation.is_running
    worst = shown[0]
    title, _ = _what(voice, worst)
    level = worst.escalation.level
    first = voice.plain("page.list_title", count=count, level=level.value, what=title)
    blocks: list[Block] = [header(first, MARK[level])]
    for one in shown:
        name, number = _what(voice, one)
        at = int(_since(one).timestamp())
        words = voice("page.list_line", level=one.escalation.level.value, what=name, at=at)
        if one.subject_at is not None:
            words += f" · {_thread(voice, one, links, number)}"
        blocks.append(section(f"{MARK[one.escalation.level]} {words}"))
        label = voice.plain("button.acknowledge_label", what=name)
        text = (
            voice.plain("button.acknowledge_one", what=number)
            if number
            else voice.plain("button.acknowledge")
        )
        style = "primary" if one is worst else None
        acknowledge = button(text, actions.PAGE_ACKNOWLEDGE, one.page.subject.key, style=style, label=label)
        blocks.append(row(acknowledge))
    if count > len(shown):
        blocks.append(context(voice("page.list_more", count=count - len(shown))))
    blocks.append(context(voice("page.list_please")))
    fallback = voice("page.list_fallback", count=count, level=level.value, what=title)
    return Rendered(text=fallback, blocks=blocks)


def _is_named_by_group(view: PageView) -> bool:
    """Whether the title names the newest trouble.

    Toban names an incident after its first alert, which may be over: the newest is what to look at.
    """
    return view.group is not None and (view.incident is None or view.incident.opened_by.id == TOBAN.id)


def _since(view: PageView) -> datetime:
    """When the trouble that the title names began."""
    if view.group is not None and _is_named_by_group(view):
        return view.group.since
    return view.escalation.started_at


def _what(voice: Voice, view: PageView) -> tuple[str, str]:
    """The title to show, and the number of the thing; an alert has none that people know."""
    if view.incident is not None:
        incident = view.incident
        if view.group is not None and _is_named_by_group(view):
            title = title_of(voice, view.group)
            return f"{incident.severity} {incident.number} · {title}", incident.number
        title = title_of_incident(voice, incident)
        return f"{incident.severity} {incident.number} · {title}", incident.number
    if view.group is not None:
        return title_of(voice, view.group), ""
    return view.escalation.subject, view.escalation.subject


def _facts(voice: Voice, view: PageView, links: Links, what: str) -> list[tuple[str, str]]:
    group, incident = view.group, view.incident
    service = (incident.service if incident else None) or (group.service if group else None)
    since = voice("show.when", at=int(_since(view).timestamp()))
    if group is not None and _is_named_by_group(view):
        since = since_of(voice, group)
    facts = [
        (voice("field.service"), line(service or "—")),
        (voice("field.since"), since),
    ]
    if incident is not None and not incident.opened_by.is_toban:
        facts.append((voice("field.declared_by"), voice.person(incident.opened_by.name)))
    if group is not None and group.value and not _is_over(view):
        facts.append((voice("field.value"), value_of(voice, group)))
    if view.subject_at is not None:
        facts.append((voice("field.thread"), _thread(voice, view, links, what)))
    runbook = links.outside(group.runbook if group else None, voice("link.open"))
    if runbook:
        facts.append((voice("field.runbook"), runbook))
    return facts


def _thread(voice: Voice, view: PageView, links: Links, number: str) -> str:
    """The way to the thread where people talk about it."""
    label = voice.plain("link.thread", what=number) if number else voice.plain("link.alert_thread")
    return links.message(view.subject_at, label)


def _before(voice: Voice, view: PageView) -> list[str]:
    """Who has not answered before, this person among them."""
    lines = [
        voice("page.unanswered", person=person, at=int(at.timestamp())) for person, at in view.unanswered
    ]
    if view.again_since is not None:
        lines.append(voice("page.again", at=int(view.again_since.timestamp())))
    return lines


def _is_over(view: PageView) -> bool:
    """Whether what was paged for has ended: then its old words are no news any more."""
    if view.incident is not None and not view.incident.is_open:
        return True
    return view.group is not None and not view.group.is_open


def _mark(view: PageView) -> str:
    """Of a ladder that has ended."""
    return ":grey_question:" if view.escalation.stopped_because == StopReason.CLOSED else ":white_check_mark:"


def _outcome(voice: Voice, view: PageView) -> str:
    escalation = view.escalation
    if escalation.is_running:
        at = escalation.next_at()
        people = list(escalation.next_people())
        if at is not None and people == [view.page.person]:
            return voice("page.or_again", at=int(at.timestamp()))
        if at is not None and people:
            return voice("page.or_next", people=people, at=int(at.timestamp()))
        return voice("page.please")
    ended = _ended(voice, view)
    if ended is not None:
        return ended
    at_seconds = int((escalation.stopped_at or escalation.started_at).timestamp())
    who = escalation.stopped_by.name if escalation.stopped_by else "Toban"
    match escalation.stopped_because:
        case StopReason.ACKNOWLEDGED:
            return taken_line(voice, who, at_seconds, escalation.stopped_by)
        case StopReason.RESOLVED:
            return voice("outcome.resolved_by", who=who, at=at_seconds)
        case StopReason.RECOVERED:
            return voice("outcome.recovered", at=at_seconds)
        case StopReason.CLOSED:
            return voice("outcome.closed_not_recovered", at=at_seconds)
        case _:
            return voice("outcome.replaced", at=at_seconds)


def _ended(voice: Voice, view: PageView) -> str | None:
    """How what was paged for has ended, which may be long after somebody took it; ``None`` while it lasts."""
    incident, group = view.incident, view.group
    if incident is not None and incident.resolved_by is not None and not incident.is_open:
        at = int((incident.resolved_at or incident.opened_at).timestamp())
        said = voice("outcome.resolved_by", who=incident.resolved_by.name, at=at)
        return f"{said} · {voice('page.still_firing')}" if group is not None and group.is_open else said
    if group is None or group.is_open:
        return None
    said = ended_line(voice, group)
    return said if incident is None else f"{said} · {voice('page.still_open', number=incident.number)}"
