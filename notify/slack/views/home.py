"""The Home tab: what needs its reader first, then what is open, then what is kept."""

from collections.abc import Sequence
from typing import Any

from domain.effects import Text
from domain.rollouts import Stage
from domain.views import HomeView, PageView
from notify.slack import actions
from notify.slack.blocks import Block, button, context, header, section
from notify.slack.blocks import actions as row
from notify.slack.cards.alerts import MARK, title_of
from notify.slack.cards.incidents import incident_line, title_of_incident
from notify.slack.links import Links
from notify.slack.lists import listed
from notify.texts import Voice

LISTED = 10
"""Things of one kind that are shown; the rest is counted. Slack takes 100 blocks."""

DIVIDER: Block = {"type": "divider"}


def home(voice: Voice, view: HomeView, kept: Sequence[Block], links: Links, account: str) -> dict[str, Any]:
    """The whole tab. ``kept``: how the backups stand, as ``/toban backup`` shows it."""
    waiting = _waiting(voice, view, links)
    head = voice.plain("home.waiting", count=view.waiting) if waiting else voice.plain("home.nothing")
    blocks: list[Block] = [header(head)]
    if view.person is None:
        blocks.append(section(voice("home.nobody", account=account)))
    blocks += [section(text) for text in waiting[:LISTED]]
    if len(waiting) > LISTED:
        blocks.append(context(voice("alert.and_more", count=len(waiting) - LISTED)))
    blocks += [DIVIDER, *_incidents(voice, view, links)]
    if kept:
        blocks += [DIVIDER, *kept[:50]]
    declare = button(voice.plain("button.declare"), actions.INCIDENT_DECLARE, "new")
    blocks += [DIVIDER, row(declare, _again(voice))]
    blocks.append(context(voice("home.as_of", at=int(view.at.timestamp()))))
    return _tab(blocks)


def home_notice(voice: Voice, text: Text) -> dict[str, Any]:
    """The tab where there is nothing to show but why."""
    return _tab([section(voice.say(text)), row(_again(voice))])


def _tab(blocks: list[Block]) -> dict[str, Any]:
    return {"type": "home", "blocks": blocks}


def _again(voice: Voice) -> Block:
    return button(voice.plain("button.refresh"), actions.HOME_REFRESH, "home")


def _waiting(voice: Voice, view: HomeView, links: Links) -> list[str]:
    """One line for each thing: pages first, since they wake people."""
    lines = [_page(voice, one, links) for one in view.pages]
    for rollout in view.rollouts:
        kind = voice.plain(f"rollout.kind_{rollout.kind.value}")
        label = voice.plain("home.deploy", kind=kind, number=rollout.number, service=rollout.service)
        link = links.message(view.posted.get(rollout.subject.key), label)
        params = {"link": link, "who": rollout.requested_by.name}
        until = int(rollout.expires_at.timestamp()) if rollout.expires_at is not None else None
        if rollout.stage is Stage.ASKING:
            lines.append(f":question: {voice('home.asking', **params)}{_until(voice, until)}")
        else:
            lines.append(f":large_yellow_circle: {voice('home.approval', **params)}{_until(voice, until)}")
    for drill in view.drills:
        label = voice.plain("home.drill", number=drill.number, plan=drill.plan)
        link = links.message(view.posted.get(drill.subject.key), label)
        until = int(drill.until.timestamp()) if drill.until is not None else None
        text = voice("home.approval", link=link, who=drill.requested_by.name)
        lines.append(f":large_yellow_circle: {text}{_until(voice, until)}")
    return lines


def _until(voice: Voice, at: int | None) -> str:
    return "" if at is None else f" · {voice('home.until', at=at)}"


def _page(voice: Voice, view: PageView, links: Links) -> str:
    if view.incident is not None:
        incident = view.incident
        title = f"{incident.severity} {incident.number} {title_of_incident(voice, incident)}"
    else:
        level = voice.plain_word("level", view.escalation.level.value)
        what = title_of(voice, view.group) if view.group is not None else view.escalation.subject
        title = f"{level} {what}"
    link = links.message(view.subject_at, title)
    return f"{MARK[view.escalation.level]} {voice('home.page', link=link, at=int(view.paged_at.timestamp()))}"


def _incidents(voice: Voice, view: HomeView, links: Links) -> list[Block]:
    if not view.incidents:
        return [section(voice("list.none"))]
    lines = []
    for incident in view.incidents:
        shown = incident_line(voice, incident, recovered=incident.id in view.recovered)
        posted = view.posted.get(incident.subject.key)
        lines.append(
            f"{shown} · {links.message(posted, voice.plain('home.open'))}" if posted is not None else shown
        )
    head = voice("list.open", count=len(view.incidents))
    return listed(voice, lines, head=f"*{head}*", most=LISTED)
