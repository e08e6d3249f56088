"""The card of an alert group: one message that changes in place."""

from collections.abc import Sequence

from domain.alerts import AlertGroup, AlertStatus
from domain.effects import By, SubjectKind
from domain.outbox import Rendered
from domain.policy import Level
from domain.response import NOTES_OF_FLAPPING
from domain.rollouts import Rollout, Stage
from domain.views import AlertView
from notify.slack import actions
from notify.slack.blocks import Block, button, confirm, context, fields, header, said, section
from notify.slack.blocks import actions as row
from notify.slack.cards.labels import label_line, names
from notify.slack.cards.ladder import ladder_lines
from notify.slack.cards.rollout_plan import shown_image
from notify.slack.escape import line
from notify.slack.links import Links
from notify.texts import Voice

MARK = {
    Level.INFO: ":large_blue_circle:",
    Level.WARNING: ":large_yellow_circle:",
    Level.CRITICAL: ":red_circle:",
    Level.EMERGENCY: ":rotating_light:",
}


def alert_card(voice: Voice, view: AlertView, links: Links) -> Rendered:
    """What happened first, then what it is, then who is on it, then what can be done."""
    group = view.group
    title = title_of(voice, group)
    blocks: list[Block] = [
        header(f"{_state(voice, group)} · {title}", mark_of(group)),
        *summary_of(voice, group),
    ]
    blocks.append(fields(_facts(voice, view, links)))
    labels = label_line(voice, view)
    if labels:
        blocks.append(context(labels))
    more = _more(voice, view)
    if more:
        blocks.append(section(more))
    small = [
        *_held(voice, group),
        *_outcome(voice, group),
        *_ladder(voice, view),
    ]
    small += _deployed(voice, view)
    small += _links(voice, group, links)
    if small:
        blocks.append(context(*small))
    buttons = _buttons(voice, view)
    if buttons:
        blocks.append(row(*buttons))
    text = voice("alert.fallback", state=_state(voice, group), title=title)
    if group.status is AlertStatus.FIRING and not _is_left(view):
        text = voice("alert.fallback_firing", state=_state(voice, group), title=title)
    return Rendered(text=text, blocks=blocks)


def _ladder(voice: Voice, view: AlertView) -> list[str]:
    """Who was paged for it, or for the incident that it belongs to."""
    if not view.group.is_open:
        return []
    ladder, incident = view.escalation, view.incident
    of_incident = ladder is not None and ladder.of.kind is SubjectKind.INCIDENT and incident is not None
    number = incident.number if of_incident and incident is not None else ""
    lines = ladder_lines(voice, ladder, view.pages, number)
    if incident is not None and incident.resolved_by is not None and _is_left(view):
        who = incident.resolved_by.name
        lines.append(voice("ladder.incident_resolved", number=incident.number, who=who))
    return lines


def _is_left(view: AlertView) -> bool:
    """Whether it still fires, unanswered, after somebody has resolved its incident: nobody is asked."""
    asks = view.escalation is not None and view.escalation.is_running
    over = view.incident is not None and not view.incident.is_open
    return over and not asks and view.group.status is AlertStatus.FIRING


def _held(voice: Voice, group: AlertGroup) -> list[str]:
    """Why nobody is paged, and until when."""
    if group.status is not AlertStatus.FIRING or group.held_until is None:
        return []
    until = int(group.held_until.timestamp())
    if group.held_by is None:
        return [voice("alert.repeated", until=until)]
    return [voice("alert.held", number=f"D-{group.held_by}", until=until)]


def _deployed(voice: Voice, view: AlertView) -> list[str]:
    """Which deploy may be why, in one line with its evidence."""
    deploy = view.deploy
    if deploy is None or deploy.plan is None or view.deploy_since is None:
        return []
    before, found = deploy.before, deploy.verdict.evidence if deploy.verdict is not None else None
    counted = (before, found.canary if found is not None else None)
    rates = [counts.rate for counts in counted if counts is not None and counts.rate is not None]
    params = {
        "number": deploy.number,
        "revision": deploy.plan.revision,
        "at": int(view.deploy_since.timestamp()),
        "who": deploy.requested_by.name,
        "stage": deploy.stage.value,
    }
    if len(rates) < len(counted):
        return [voice("alert.deployed_bare", **params)]
    return [voice("alert.deployed", before=[rates[0], "share"], after=[rates[1], "share"], **params)]


def _roll_back(voice: Voice, deploy: Rollout | None) -> list[Block]:
    """The way back, where there is one: with the usual approval for a deploy that is done."""
    if deploy is None or deploy.plan is None or deploy.stage is Stage.ROLLING_BACK:
        return []
    if deploy.stage.is_over and deploy.stage is not Stage.DONE:
        return []
    yes = voice.plain("button.roll_back")
    params = {"service": deploy.service, "image": shown_image(deploy), "revision": deploy.plan.revision}
    sure = confirm(yes, voice.plain("confirm.roll_back", **params), yes, voice.plain("button.cancel"))
    return [button(yes, actions.ROLLOUT_BACK, deploy.subject.key, style="danger", confirm=sure)]


def title_of(voice: Voice, group: AlertGroup) -> str:
    """The title, in the reader's language where the alert is our own."""
    if group.wording is None:
        return group.title
    return voice.plain(group.wording.title.key, **group.wording.title.params)


def value_of(voice: Voice, group: AlertGroup) -> str:
    """What was measured, with its threshold where there is one."""
    if group.threshold:
        return voice("alert.value", value=group.value, threshold=group.threshold)
    return line(group.value or "—")


def since_of(voice: Voice, group: AlertGroup) -> str:
    """When it began, and when its sender told us where that was much later."""
    at, received = int(group.since.timestamp()), int(group.opened_at.timestamp())
    if group.is_heard_late:
        return voice("show.since_late", at=at, received=received)
    return voice("show.when", at=at)


def summary_of(voice: Voice, group: AlertGroup, limit: int = 1500) -> list[Block]:
    """The summary as a block, if there is one: as the sender wrote it, or as we say it ourselves."""
    if group.wording is not None:
        summary = group.wording.summary
        return [section("\n".join(voice.say(text) for text in (summary, *summary.lines)))]
    return [said(group.summary, limit)] if group.summary.strip() else []


def mark_of(group: AlertGroup) -> str:
    """The emoji that says how it stands."""
    if group.is_silent or _is_closed(group):
        return ":grey_question:"
    match group.status:
        case AlertStatus.FIRING:
            return MARK[group.level]
        case AlertStatus.ACKNOWLEDGED:
            return ":eyes:"
        case AlertStatus.RESOLVED:
            return ":white_check_mark:"


def _is_closed(group: AlertGroup) -> bool:
    """Whether its sender closed it without saying that it recovered."""
    return group.status is AlertStatus.RESOLVED and not group.recovered and group.resolved_by is None


def _state(voice: Voice, group: AlertGroup) -> str:
    if group.is_silent:
        return voice.plain("status.silent")
    if _is_closed(group):
        return voice.plain("status.closed")
    if group.status is AlertStatus.FIRING:
        return voice.plain_word("level", group.level.value)
    return voice.plain_word("status", group.status.value)


def _facts(voice: Voice, view: AlertView, links: Links) -> list[tuple[str, str]]:
    group = view.group
    facts = [
        (voice("field.level"), _level(voice, group)),
        (voice("field.service"), line(group.service or "—")),
    ]
    if group.name and group.name.casefold() not in title_of(voice, group).casefold():
        facts.append((voice("field.alertname"), line(group.name)))
    if group.value:
        facts.append((voice("field.value"), value_of(voice, group)))
    facts.append((voice("field.since"), since_of(voice, group)))
    if group.status is AlertStatus.RESOLVED and group.recovered and group.fires == 1:
        length = ((group.resolved_at or group.changed_at) - group.since).total_seconds()
        facts.append((voice("field.duration"), voice("incident.duration", length=length)))
    if group.total > 1 or group.omitted:
        said = counted(voice, [group])
        if group.omitted:
            more = {"firing": group.firing, "total": group.total, "more": group.omitted}
            said = voice("alert.count_more", **more)
        facts.append((voice("field.alerts"), said))
    if group.fires > 1:
        key = "alert.flapping" if group.fires >= NOTES_OF_FLAPPING else "alert.fires"
        if key == "alert.flapping" and not group.is_open:
            key = "alert.fires_since"
        at = int(group.since.timestamp())
        facts.append((voice("field.fires"), voice(key, times=group.fires, at=at)))
    if view.incident is not None:
        incident = view.incident
        named = {"number": incident.number, "severity": incident.severity.value}
        name = voice.plain("alert.incident", **named, status=incident.status.value)
        facts.append((voice("field.incident"), links.message(view.incident_at, name)))
    return facts


def _level(voice: Voice, group: AlertGroup) -> str:
    """The level, and the sender's own word where it is another one."""
    raw = (group.raw_level or "").strip()
    if not raw or raw.casefold() == group.level.value:
        return voice.word("level", group.level.value)
    return voice("alert.raw_level", level=group.level.value, raw=raw[:40])


def _more(voice: Voice, view: AlertView) -> str:
    """The alerts by name, where there is more than one."""
    if view.group.total < 2 or not view.firing:
        return ""
    shown = [f"• {line(name, 200)}" for name in names(view)]
    left = view.group.firing - len(view.firing) + view.group.omitted
    if left > 0:
        shown.append(voice("alert.and_more", count=left))
    return "\n".join(shown)


def _outcome(voice: Voice, group: AlertGroup) -> list[str]:
    """How it ended, or who is on it."""
    return silent_line(voice, group) + _answered(voice, group)


def silent_line(voice: Voice, group: AlertGroup) -> list[str]:
    """Since when nobody knows whether it fires, where that is so."""
    if not group.is_silent:
        return []
    return [voice("outcome.silent", at=int((group.silent_at or group.changed_at).timestamp()))]


def counted(voice: Voice, groups: Sequence[AlertGroup]) -> str:
    """How many alerts of the groups fire, how many went silent, and how many there are."""
    is_open = [group for group in groups if group.is_open]
    firing, silent = sum(group.firing for group in is_open), sum(group.silent for group in is_open)
    by_hand = sum(group.closed_firing for group in groups if group.resolved_by and not group.is_open)
    if by_hand and not is_open:
        return voice("alert.count_closed", count=by_hand)
    if silent:
        more = sum(group.omitted for group in is_open)
        return voice("alert.count_silent", firing=firing + more, silent=silent)
    return voice(
        "alert.count",
        firing=firing + sum(group.omitted for group in is_open),
        total=sum(group.total + group.omitted for group in groups),
    )


def _answered(voice: Voice, group: AlertGroup) -> list[str]:
    if group.status is AlertStatus.RESOLVED:
        return [ended_line(voice, group)]
    if group.acknowledged_by is not None and group.acknowledged_at is not None:
        at = int(group.acknowledged_at.timestamp())
        return [taken_line(voice, group.acknowledged_by.name, at, group.acknowledged_by)]
    return []


def ended_line(voice: Voice, group: AlertGroup) -> str:
    """How a group that is over ended: who resolved it, or what its sender says."""
    at = int((group.resolved_at or group.changed_at).timestamp())
    if group.resolved_by is not None:
        return voice("outcome.resolved_by", who=group.resolved_by.name, at=at)
    return voice(f"outcome.{group.how_it_ended}", at=at)


def taken_line(voice: Voice, who: str, at: int, by: By | None) -> str:
    """Who acknowledged, when, and whether Slack could say that it was them. ``at``: epoch seconds."""
    unverified = by is not None and by.unverified
    return voice("outcome.acknowledged_unverified" if unverified else "outcome.acknowledged", who=who, at=at)


def _links(voice: Voice, group: AlertGroup, links: Links) -> list[str]:
    named = [(group.url, "link.source"), (group.runbook, "link.runbook")]
    named += [(one.url, f"link.{one.kind.value}") for one in group.links]
    # Each page once: a dashboard may be the runbook, too.
    once = {url: key for url, key in reversed(named) if url}
    found = [
        link for url, key in reversed(once.items()) if (link := links.outside(url, voice(key))) is not None
    ]
    return [" · ".join(found)] if found else []


def _buttons(voice: Voice, view: AlertView) -> list[Block]:
    group = view.group
    if not group.is_open:
        return []
    value = group.subject.key
    made: list[Block] = []
    if group.status is AlertStatus.FIRING:
        label = voice.plain("button.acknowledge_label", what=title_of(voice, group))
        made.append(
            button(
                voice.plain("button.acknowledge"),
                actions.ALERT_ACKNOWLEDGE,
                value,
                style="primary",
                label=label,
            )
        )
    sure = confirm(
        voice.plain("confirm.resolve_title"),
        voice.plain("confirm.resolve_text"),
        voice.plain("button.resolve"),
        voice.plain("button.cancel"),
    )
    made.append(button(voice.plain("button.resolve"), actions.ALERT_RESOLVE, value, confirm=sure))
    if view.incident is None or not view.incident.is_open:
        made.append(button(voice.plain("button.declare"), actions.ALERT_DECLARE, value))
    return [*made, *_roll_back(voice, view.deploy)]
