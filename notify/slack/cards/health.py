"""The answer to ``/toban health``: all services on one screen, worst first."""

from collections.abc import Sequence

from domain.alerts import AlertStatus
from domain.health import OTHERS, Gauge, ServiceHealth
from domain.outbox import Rendered
from notify.slack.blocks import Block, context, section
from notify.slack.cards.alerts import MARK, title_of
from notify.slack.escape import line
from notify.sparkline import sparkline
from notify.texts import Voice

IN_FULL = 12
"""Services with trouble that are shown with all that is open about them; the others get one line."""

LINES = 20
"""Lines in one block: a block takes 3,000 characters."""

WIDTH = 9
"""Blocks of a metric's line: three hours, twenty minutes each."""

ALERTS = 3
"""Open alerts that are named for one service."""

OTHERS_SHOWN = 8
"""Open alerts that are named where they are about no service."""


def health_card(voice: Voice, services: Sequence[ServiceHealth], at: int) -> Rendered:
    """``services`` come worst first; what is open about none of them is shown below."""
    others = [one for one in services if one.service == OTHERS]
    services = [one for one in services if one.service != OTHERS]
    ill = [one for one in services if one.groups or one.problem]
    head = voice("health.trouble", count=len(ill), total=len(services)) if ill else ""
    if others and not ill:
        head = voice("health.only_others", total=len(services), count=len(others[0].groups))
    head = head or voice("health.well", total=len(services))
    blocks: list[Block] = [section(f"*{head}*")]
    blocks += [
        section("\n".join([_title(one), *_troubles(voice, one), _numbers(voice, one)]))
        for one in ill[:IN_FULL]
    ]
    rest = [*ill[IN_FULL:], *(one for one in services if not (one.groups or one.problem))]
    lines = [f"{_title(one)}  {_numbers(voice, one)}" for one in rest]
    blocks += [section("\n".join(lines[start : start + LINES])) for start in range(0, len(lines), LINES)]
    for one in others:
        title = f"{MARK[one.groups[0].level]} *{voice('health.others', count=len(one.groups))}*"
        blocks.append(section("\n".join([title, *_troubles(voice, one, OTHERS_SHOWN)])))
    blocks = blocks[:49]
    blocks.append(context(voice("health.asof", at=at)))
    return Rendered(text=head, blocks=blocks)


def _title(one: ServiceHealth) -> str:
    mark = MARK[one.groups[0].level] if one.groups else ":white_check_mark:"
    if one.problem or not (one.gauges or one.groups):  # What is not measured is not healthy.
        mark = ":grey_question:"
    return f"{mark} *{line(one.service, 60)}*"


def _troubles(voice: Voice, one: ServiceHealth, most: int = ALERTS) -> list[str]:
    found = []
    for group in one.groups[:most]:
        key = "health.taken" if group.status is AlertStatus.ACKNOWLEDGED else "health.firing"
        found.append(voice(key, title=title_of(voice, group), at=int(group.since.timestamp())))
    if len(one.groups) > most:
        found.append(voice("alert.and_more", count=len(one.groups) - most))
    if one.problem:
        found.append(voice("health.problem", why=one.problem))
    return found


def _numbers(voice: Voice, one: ServiceHealth) -> str:
    shown = [_gauge(voice, gauge) for gauge in one.gauges]
    return " · ".join(shown) if shown else voice("health.not_measured")


def _gauge(voice: Voice, gauge: Gauge) -> str:
    value = (gauge.value, gauge.unit.value)
    key = "health.gauge" if gauge.value is not None else "health.no_data"
    said = voice(key, metric=gauge.metric, value=value)
    if gauge.strain >= 1:
        said = f"*{said}*"
    return f"{said} {sparkline(gauge.recent, WIDTH)}" if gauge.strain or gauge.value is not None else said
