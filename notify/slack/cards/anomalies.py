"""The answers to ``/toban anomalies``: what was told, how useful that was, and how things look just now."""

from datetime import datetime

from domain.findings import Explained, ExplainedColumn, Finding, Known, KnownService
from domain.outbox import Rendered
from notify.slack.blocks import Block, context, section
from notify.texts import Voice

LISTED = 15
"""Anomalies in the list; the rest is counted."""


def anomalies_card(voice: Voice, known: Known, at: datetime) -> Rendered:
    """What goes on comes first, then the last fortnight, then what is silent or not ready."""
    going_on = [one for one in known.findings if one.ended_at is None]
    over = [one for one in known.findings if one.ended_at is not None]
    head = voice("anomalies.open", count=len(going_on)) if going_on else voice("anomalies.none_open")
    blocks: list[Block] = [section(f"*{head}*")]
    lines = [_line(voice, one) for one in [*going_on, *over][:LISTED]]
    if len(known.findings) > LISTED:
        lines.append(voice("alert.and_more", count=len(known.findings) - LISTED))
    if lines:
        blocks.append(section("\n".join(lines)))
    states = [line for one in known.services for line in _state(voice, one, int(at.timestamp()))]
    if states:
        blocks.append(section("\n".join(states)[:2900]))
    useful, judged = known.useful
    small = [
        voice("anomalies.useful", useful=useful, judged=judged)
        if judged
        else voice("anomalies.nobody_judged"),
        voice("anomalies.watched", count=len(known.services)),
    ]
    if known.off:
        small.append(voice("anomalies.off", services=", ".join(known.off)))
    blocks.append(context(*small))
    return Rendered(text=head, blocks=blocks)


def _line(voice: Voice, one: Finding) -> str:
    key = "anomalies.line_open" if one.ended_at is None else "anomalies.line_over"
    said = voice(
        key,
        service=one.service,
        metric=one.driver,
        direction=one.direction,
        score=one.score,
        at=int(one.started_at.timestamp()),
        seconds=(one.ended_at - one.started_at).total_seconds() if one.ended_at else 0,
    )
    if one.verdict is not None:
        said += voice("anomalies.said", verdict=voice(f"button.{one.verdict.value}"))
    return said


def _state(voice: Voice, one: KnownService, now: int) -> list[str]:
    lines = []
    if one.ready_at is None:
        lines.append(voice("anomalies.no_data", service=one.service))
    elif one.ready_at > now:
        lines.append(voice("anomalies.learning", service=one.service, left=one.ready_at - now))
    lines += [muted_line(voice, one.service, metric, until) for metric, until in one.muted]
    return lines


def muted_line(voice: Voice, service: str, metric: str | None, until: int) -> str:
    """What is silent, and until when."""
    if metric is None:
        return voice("anomalies.muted_all", service=service, until=until)
    return voice("anomalies.muted", service=service, metric=metric, until=until)


def explained_card(voice: Voice, one: Explained) -> Rendered:
    """A service metric by metric: what is, what is expected, how far from telling."""
    head = voice("anomalies.explained", service=one.service)
    if one.at is None or one.ready_at is None:
        text = voice("anomalies.no_data", service=one.service)
        return Rendered(text=text, blocks=[section(text)])
    lines = [_column(voice, column, one.threshold) for column in one.columns]
    if one.ready_at > one.at:
        lines = [voice("anomalies.learning", service=one.service, left=one.ready_at - one.at)]
    lines += [muted_line(voice, one.service, metric, until) for metric, until in one.muted]
    small = voice("anomalies.explained_small", at=one.at, threshold=one.threshold)
    return Rendered(text=head, blocks=[section(f"*{head}*"), section("\n".join(lines)), context(small)])


def _column(voice: Voice, one: ExplainedColumn, threshold: float) -> str:
    score = abs(one.score)
    params = {"metric": one.metric, "value": one.value, "low": one.low, "high": one.high, "score": score}
    if one.value[0] is None:
        return voice("health.no_data", metric=one.metric)
    if one.low[0] is None or one.high[0] is None:
        return voice("anomalies.column_bare" if score >= 1 else "anomalies.column_bare_calm", **params)
    if score < 1:
        return voice("anomalies.column_calm", **params)
    # The score knows the last hour as well: a value that is back in its band may still be called odd.
    inside = one.low[0] <= one.value[0] <= one.high[0]
    said = voice("anomalies.column_hour" if inside else "anomalies.column", **params)
    return f"*{said}*" if score >= threshold else said
