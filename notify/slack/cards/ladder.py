"""Who was reached, how and when, and who is next: the same lines on every card."""

from domain.effects import SubjectKind
from domain.escalation import Escalation, Page, PageStatus, Phase, StopReason
from domain.policy import Means
from notify.texts import Voice

ATTEMPTS_SHOWN = 6
"""The newest attempts; older ones are counted."""


def ladder_lines(
    voice: Voice, escalation: Escalation | None, pages: tuple[Page, ...], incident: str = ""
) -> list[str]:
    """Small print about a ladder; nothing where there never was one.

    ``incident``: the number of whose ladder it is, on a card of something else.
    """
    if escalation is None:
        return []
    lines: list[str] = []
    if escalation.overdue and escalation.is_running:
        lines.append(voice("ladder.overdue"))
    attempts = _attempts(voice, pages)
    if attempts:
        key = "ladder.attempts_incident" if incident else "ladder.attempts"
        lines.append(voice(key, attempts=attempts, number=incident))
    if escalation.is_running:
        lines.append(_next(voice, escalation))
    elif escalation.stopped_because == StopReason.NOBODY:
        if escalation.of.kind is SubjectKind.INCIDENT:
            lines.append(voice("ladder.nobody_incident", severity=escalation.level.severity.value))
        else:
            lines.append(voice("ladder.nobody", level=escalation.level.value))
    return lines


def _attempts(voice: Voice, pages: tuple[Page, ...]) -> str:
    """``kenji: Slack 10:02, mail (not set up)``; the same attempt again shows its newest state."""
    sent = [page for page in pages if page.means is Means.SLACK]
    shown = [_attempt(voice, page) for page in sent[-ATTEMPTS_SHOWN:]]
    missing = sorted({page.means.value for page in pages if page.status is PageStatus.NOT_SET_UP})
    if len(sent) > ATTEMPTS_SHOWN:
        shown.insert(0, voice("ladder.earlier", count=len(sent) - ATTEMPTS_SHOWN))
    if missing:
        words = voice.joint.join(voice.word("means", means) for means in missing)
        shown.append(voice("ladder.not_set_up", means=words))
    return " · ".join(shown)


def _attempt(voice: Voice, page: Page) -> str:
    match page.status:
        case PageStatus.DELIVERED:
            at = int((page.delivered_at or page.queued_at).timestamp())
            return voice("page.delivered", person=page.person, means=page.means.value, at=at)
        case PageStatus.FAILED:
            return voice("page.failed", person=page.person, means=page.means.value, error=page.error or "?")
        case PageStatus.WITHDRAWN:
            return voice("page.withdrawn", person=page.person)
        case PageStatus.QUEUED | PageStatus.NOT_SET_UP:
            return voice("page.queued", person=page.person, means=page.means.value)


def _next(voice: Voice, escalation: Escalation) -> str:
    if escalation.waits_to_stay and escalation.due_at is not None:
        return voice("ladder.waits", at=int(escalation.due_at.timestamp()))
    if escalation.phase in {Phase.DUE, Phase.DELIVERING} or not escalation.steps:
        return voice("ladder.paging", people=list(escalation.rung.tell) if escalation.rung else [])
    people = list(escalation.next_people())
    at = escalation.next_at()
    if at is None:
        return voice("ladder.next", people=people)
    return voice("ladder.next_at", people=people, at=int(at.timestamp()))
