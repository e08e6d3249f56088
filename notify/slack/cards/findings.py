"""The question below an anomaly: what is off, how rare that is, and was it worth telling."""

from domain.findings import Finding, Verdict
from domain.outbox import Rendered
from notify.slack import actions
from notify.slack.blocks import Block, button, confirm, context, section
from notify.slack.blocks import actions as row
from notify.texts import Voice


def finding_card(voice: Voice, finding: Finding) -> Rendered:
    """Asks what people think of it; the last word counts. Muting goes on being possible."""
    what = {"service": finding.service, "metric": finding.driver, "direction": finding.direction}
    text = voice("anomaly.line", **what, score=finding.score)
    blocks: list[Block] = [section(text)]
    small = [_outcome(voice, finding), _muted(voice, finding)]
    if any(small):
        blocks.append(context(*small))
    buttons = _buttons(voice, finding)
    if buttons:
        blocks.append(row(*buttons))
    return Rendered(text=text, blocks=blocks)


def _outcome(voice: Voice, finding: Finding) -> str:
    if finding.verdict is None or finding.verdict_by is None or finding.verdict_at is None:
        return ""
    at = int(finding.verdict_at.timestamp())
    return voice(f"anomaly.{finding.verdict.value}", who=finding.verdict_by.name, at=at)


def _muted(voice: Voice, finding: Finding) -> str:
    if finding.muted_until is None:
        return ""
    until = int(finding.muted_until.timestamp())
    return voice("anomaly.muted", service=finding.service, metric=finding.driver, until=until)


def _buttons(voice: Voice, finding: Finding) -> list[Block]:
    value = finding.subject.key
    made: list[Block] = []
    choices = (
        (Verdict.USEFUL, actions.FINDING_USEFUL),
        (Verdict.NOT_USEFUL, actions.FINDING_NOT_USEFUL),
        (Verdict.EXPECTED, actions.FINDING_EXPECTED),
    )
    for verdict, act in choices:  # The last word counts, so that a slip can be put right.
        if verdict is not finding.verdict:
            made.append(button(voice.plain(f"button.{verdict.value}"), act, value))
    if finding.muted_until is None:
        sure = confirm(
            voice.plain("confirm.mute_title"),
            voice.plain("confirm.mute_text", service=finding.service, metric=finding.driver),
            voice.plain("button.mute"),
            voice.plain("button.cancel"),
        )
        made.append(button(voice.plain("button.mute"), actions.FINDING_MUTE, value, confirm=sure))
    return made
