"""The forms that declare and resolve an incident."""

from collections.abc import Iterator
from typing import Any

from domain.incidents import SUMMARY_LIMIT, TITLE_LIMIT, Incident
from domain.policy import Policy, Severity
from notify.slack import actions
from notify.slack.blocks import context, section, select, text_input
from notify.slack.cards.incidents import title_of_incident
from notify.slack.escape import line, plain
from notify.texts import Voice


def declare_form(
    voice: Voice,
    policy: Policy,
    title: str = "",
    severity: Severity = Severity.P2,
    metadata: str = "",
) -> dict[str, Any]:
    """Title and severity; says before the submission whom each severity pages."""
    choices = [(one.value, voice.plain_word("severity", one.value)) for one in Severity]
    return {
        "type": "modal",
        "callback_id": actions.DECLARE_FORM,
        "private_metadata": metadata[:3000],
        "title": _plain(voice.plain("form.declare_title")),
        "submit": _plain(voice.plain("form.declare_submit")),
        "close": _plain(voice.plain("button.cancel")),
        "blocks": [
            text_input(
                "title",
                voice.plain("form.title"),
                initial=plain(title, TITLE_LIMIT) if title else None,
                hint=voice.plain("form.title_hint"),
                max_length=TITLE_LIMIT,
            ),
            select("severity", voice.plain("form.severity"), choices, severity.value),
            context(voice("form.declare_notice", paged=" · ".join(_paged(voice, policy)))),
        ],
    }


def _paged(voice: Voice, policy: Policy) -> Iterator[str]:
    for severity in Severity:
        people = policy.paged_first(severity)
        key = "form.declare_pages" if people else "form.declare_pages_nobody"
        yield voice(key, severity=severity.value, people=people)


def resolve_form(voice: Voice, incident: Incident, firing: int = 0) -> dict[str, Any]:
    """What it was, in a few words. ``firing``: its alerts that have not ended."""
    return {
        "type": "modal",
        "callback_id": actions.RESOLVE_FORM,
        "private_metadata": incident.subject.key,
        "title": _plain(voice.plain("form.resolve_title")),
        "submit": _plain(voice.plain("form.resolve_submit")),
        "close": _plain(voice.plain("button.cancel")),
        "blocks": [
            section(f"*{line(incident.number)}* {line(title_of_incident(voice, incident), 200)}"),
            *([context(voice("form.resolve_firing", count=firing))] if firing else []),
            text_input(
                "summary",
                voice.plain("form.summary"),
                multiline=True,
                hint=voice.plain("form.summary_hint"),
                max_length=SUMMARY_LIMIT,
                optional=True,
            ),
        ],
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain(text, 24)}
