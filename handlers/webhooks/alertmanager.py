"""Understands Alertmanager's webhook (version 4), and with it Grafana's, which is a superset.

Format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. One body is one
group; each of its alerts says for itself whether it fires.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.alerts import Signal, group_key
from domain.errors import Unreadable
from domain.policy import Level, Policy
from handlers.webhooks.condensing import KEPT, NOTE, loudness_words
from handlers.webhooks.reading import (
    TEXT_LIMIT,
    VALUE_LIMIT,
    Large,
    Reading,
    ServiceFinder,
    clean,
    clean_labels,
    https_link,
    line,
    looker,
    loudness,
    moment,
    name,
    read,
    runbook,
    table,
)

SOURCE = "alertmanager"

ALERTS_LIMIT = KEPT
"""Alerts taken of one body; the rest is counted as omitted, like what the sender truncated."""


def interpret(body: bytes, policy: Policy) -> Reading:
    """What the body says. Raises ``Unreadable`` exactly where ``look`` has a reason."""
    sent = read(body)
    _shape(sent)
    alerts = sent["alerts"]
    if not alerts:
        return Reading(others=(f"An Alertmanager notification without alerts ({line(sent['groupKey'])})",))
    taken, omitted = _chosen(alerts, policy, over=_is_over(sent))
    shared = _shared(sent, policy, omitted + _count(sent.get("truncatedAlerts")))
    signals = [_signal(alert, shared) for alert in taken]
    large = _large(sent, len(taken))
    if not shared.pattern.omitted and not any(signal.firing for signal in signals):
        # A body names its whole group: those that it left out, now or before, have ended as well.
        ends = {"ends_group": True, "large": large is not None}
        signals[0] = signals[0].model_copy(update=ends)
    return Reading(signals=tuple(signals), large=large)


def _chosen(alerts: list[Any], policy: Policy, *, over: bool) -> tuple[list[dict[str, Any]], int]:
    """The alerts that are taken, and how many others may fire.

    Of a body with too many the first of each level is among them, so that the worst pages. While something
    fires those that have ended count as well: the group ends only with a body that leaves nothing out.
    """
    found = [alert for alert in alerts if type(alert) is dict]
    unusable = len(alerts) - len(found)
    if len(found) <= ALERTS_LIMIT:
        return found, unusable
    fires = [_is_firing(alert, over=over) for alert in found]
    first: dict[Level, int] = {}
    for number, alert in enumerate(found):
        if fires[number]:
            first.setdefault(loudness(policy, *loudness_words(alert))[0], number)
    numbers = set(first.values())
    for number in range(len(found)):
        if len(numbers) >= ALERTS_LIMIT:
            break
        numbers.add(number)
    left_out = len(found) - len(numbers) if any(fires) else 0
    return [found[number] for number in sorted(numbers)], left_out + unusable


def _large(sent: dict[str, Any], taken: int) -> Large | None:
    """What is told where not every alert was taken one by one."""
    note = table(sent.get(NOTE))
    count = max(_count(note.get("alerts")), len(sent["alerts"]))
    if count <= taken:
        return None
    return Large(alerts=count, taken=taken, size=_count(note.get("bytes"), 10**12))


def _shape(sent: dict[str, Any]) -> None:
    alerts = sent.get("alerts")
    if type(alerts) is not list:
        raise Unreadable("no list of alerts")
    if not name(sent.get("groupKey")):
        raise Unreadable("no groupKey")
    if alerts and not any(type(alert) is dict for alert in alerts):
        raise Unreadable("none of its alerts is an object")


def _words(sent: dict[str, Any]) -> set[Sequence[object]]:
    """What its alerts say of their levels."""
    common = sent.get("commonLabels")
    return {loudness_words(alert, common) for alert in sent["alerts"] if type(alert) is dict}


look = looker(_shape, _words)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all alerts of a body have in common, worked out once. Each alert is a copy of ``pattern``."""

    policy: Policy
    finder: ServiceFinder
    parts: tuple[str, str, str]
    name: str
    over: bool
    url: str | None
    labels: dict[str, Any]
    annotations: dict[str, Any]
    pattern: Signal


def _is_over(sent: dict[str, Any]) -> bool:
    """Whether the whole group is said to be resolved."""
    return line(sent.get("status")).casefold() == "resolved"


def _shared(sent: dict[str, Any], policy: Policy, omitted: int) -> _Shared:
    address = sent.get("externalURL")
    parts = (name(address), name(sent.get("receiver")), name(sent.get("groupKey")))
    common = table(sent.get("commonLabels"))
    pattern = Signal(
        source=SOURCE,
        identity="",
        group_key=group_key(SOURCE, *parts),
        firing=True,
        level=Level.WARNING,
        title="",
        reusable=True,
        omitted=omitted,
    )
    return _Shared(
        policy=policy,
        finder=ServiceFinder(policy),
        parts=parts,
        name=line(table(sent.get("groupLabels")).get("alertname")) or line(common.get("alertname")),
        over=_is_over(sent),
        url=https_link(address),
        labels=common,
        annotations=table(sent.get("commonAnnotations")),
        pattern=pattern,
    )


def _count(value: object, most: int = 1_000_000) -> int:
    return min(value, most) if type(value) is int and value > 0 else 0


def _signal(alert: dict[str, Any], shared: _Shared) -> Signal:
    """One alert. The copy is not validated again: every value here is made well-typed by ``reading``."""
    labels = clean_labels(alert.get("labels") or shared.labels)
    notes = table(alert.get("annotations")) or shared.annotations
    service = shared.finder.service(labels)
    level, raw = loudness(shared.policy, labels.get("level"), labels.get("severity"))
    firing = _is_firing(alert, over=shared.over)
    title, summary = _texts(notes, labels, shared)
    return shared.pattern.model_copy(
        update={
            "identity": f"{SOURCE}:{_identity(alert, shared)}",
            "firing": firing,
            "level": level,
            "raw_level": raw,
            "title": title,
            "summary": summary,
            "service": service,
            "labels": labels,
            "url": _link(alert) or shared.url,
            "runbook": runbook(shared.policy, service, (notes.get("runbook_url"), notes.get("runbook"))),
            "value": _value(alert, notes),
            "started_at": moment(alert.get("startsAt")),
            "ended_at": None if firing else moment(alert.get("endsAt")),
        }
    )


def _identity(alert: dict[str, Any], shared: _Shared) -> str:
    """What the sender calls one alert.

    Without ``startsAt``: Alertmanager merges overlapping alerts to the earliest start, so that it may
    change while the alert fires, and a name that changes would never be closed.
    """
    called = name(alert.get("fingerprint"))
    if not called:
        labels = table(alert.get("labels"))
        written = "\x1e".join(f"{key}\x1d{labels[key]!r}" for key in sorted(labels))
        called = hashlib.sha256(written.encode("utf-8", "replace")).hexdigest()
    return group_key(*shared.parts, called)


def _is_firing(alert: dict[str, Any], *, over: bool) -> bool:
    """Each alert speaks for itself: a firing group may hold resolved ones.

    One with an unknown word fires unless the whole group is said to be resolved: an alert too many
    is seen, one too few is not.
    """
    status = alert.get("status")
    if status == "firing":
        return True
    said = line(status, 40).casefold()
    return not (said == "resolved" or (said != "firing" and over))


def _texts(notes: dict[str, Any], labels: dict[str, str], shared: _Shared) -> tuple[str, str]:
    """The title and what is said below it; no annotation is shown twice, and none is lost."""
    titled, short = line(notes.get("title")), line(notes.get("summary"))
    long = clean(notes.get("description") or notes.get("message"), TEXT_LIMIT).strip()
    if titled and short and titled != short and not long:
        long = clean(notes.get("summary"), TEXT_LIMIT).strip()
    title = titled or short or labels.get("alertname") or shared.name or "Alertmanager alert"
    return line(title), long


def _link(alert: dict[str, Any]) -> str | None:
    """Where the alert can be looked at; the last two are Grafana's."""
    return (
        https_link(alert.get("generatorURL"))
        or https_link(alert.get("dashboardURL"))
        or https_link(alert.get("panelURL"))
    )


def _value(alert: dict[str, Any], notes: dict[str, Any]) -> str | None:
    """The annotation ``value``, or Grafana's ``values`` by the letters of its queries."""
    told = line(notes.get("value"), VALUE_LIMIT)
    if told:
        return told
    values = clean_labels(alert.get("values"), VALUE_LIMIT, 10)
    if not values:
        return None
    return line(", ".join(f"{key}={value}" for key, value in values.items()), VALUE_LIMIT) or None
