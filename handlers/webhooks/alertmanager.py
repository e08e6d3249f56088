"""Understands Alertmanager's webhook (version 4), and with it Grafana's, which is a superset.

Format: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config. One body is one
group; each of its alerts says for itself whether it fires.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.alerts import Link, LinkKind, Signal, group_key
from domain.effects import Text, Wording
from domain.errors import Unreadable
from domain.policy import Level, Policy
from handlers.webhooks import grafana, members
from handlers.webhooks.condensing import KEPT, NOTE, loudness_words
from handlers.webhooks.reading import (
    OWN_TEMPLATE,
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
    rounded,
    runbook,
    short_numbers,
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
    if _is_test(sent):
        return Reading(tests=(_test_name(sent),))
    taken, omitted = _chosen(alerts, policy, sent.get("commonLabels"), over=_is_over(sent))
    shared = _shared(sent, policy, omitted + _count(sent.get("truncatedAlerts")))
    signals = _each_once([_signal(alert, shared) for alert in taken])
    large = _large(sent, len(taken))
    if not shared.pattern.omitted and not any(signal.firing for signal in signals):
        # A body names its whole group: those that it left out, now or before, have ended as well.
        ends = {"ends_group": True, "large": large is not None}
        signals[0] = signals[0].model_copy(update=ends)
    return Reading(signals=tuple(signals), large=large)


_TEST_NAMES = frozenset({"test", "testalert", "alerttest", "testnotification", "notificationtest"})
_NOT_A_LETTER = re.compile(r"[\W_]+")


def _is_test(sent: dict[str, Any]) -> bool:
    """Whether it was sent to try the way, and is about nothing.

    An alert of amtool or curl is one where all its alerts are called a test and no rule's page is named:
    Prometheus always names it.
    """
    if grafana.is_test(sent):
        return True
    if grafana.is_grafana(sent) or len(sent["alerts"]) > 10:
        return False
    return all(
        _NOT_A_LETTER.sub("", line(table(alert.get("labels")).get("alertname"))).casefold() in _TEST_NAMES
        and not alert.get("generatorURL")
        for alert in map(table, sent["alerts"])
    )


def _test_name(sent: dict[str, Any]) -> str:
    """The same for each press of one button."""
    alert = next((alert for alert in sent["alerts"] if type(alert) is dict), {})
    said = line(table(alert.get("annotations")).get("summary")) or "Test notification"
    return f"{said} ({line(sent.get('externalURL'))})" if sent.get("externalURL") else said


def _each_once(signals: list[Signal]) -> list[Signal]:
    """One signal for each alert: of those that the members of a pair report, one that fires."""
    if len({signal.identity for signal in signals}) == len(signals):
        return signals
    told: dict[str, Signal] = {}
    for signal in signals:
        known = told.get(signal.identity)
        if known is None or (signal.firing and not known.firing):
            told[signal.identity] = signal
    return list(told.values())


def _chosen(
    alerts: list[Any], policy: Policy, common: object, *, over: bool
) -> tuple[list[dict[str, Any]], int]:
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
            first.setdefault(loudness(policy, *loudness_words(alert, common))[0], number)
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
        raise Unreadable("no list of alerts" if "alerts" in sent else f"no list of alerts. {OWN_TEMPLATE}")
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
    parts: tuple[str, ...]
    grafana: bool
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
    from_grafana = grafana.is_grafana(sent)
    # The members of a Grafana share their address; those of an Alertmanager may each have their own.
    of = name(address) if from_grafana else members.cluster_of(policy, address)
    parts = (of, name(sent.get("receiver")), members.group_of_all(sent.get("groupKey")))
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
        sender=None if from_grafana else group_key(name(address)),
    )
    return _Shared(
        policy=policy,
        finder=ServiceFinder(policy),
        parts=parts,
        grafana=from_grafana,
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
    labels = clean_labels(alert.get("labels") or shared.labels, first=shared.finder.asked)
    notes = table(alert.get("annotations")) or shared.annotations
    service = shared.finder.service(labels)
    level, raw = loudness(shared.policy, *loudness_words({"labels": labels}))
    firing = _is_firing(alert, over=shared.over)
    title, summary = _texts(notes, labels, shared)
    ending = None if firing else grafana.ending(notes)
    return shared.pattern.model_copy(
        update={
            "identity": f"{SOURCE}:{_identity(alert, shared)}",
            "apart_key": None if shared.grafana else members.apart(shared.pattern.group_key, labels),
            "firing": firing,
            "level": level,
            "raw_level": raw,
            "title": title,
            "summary": summary,
            "wording": _wording(labels, summary),
            "name": _rule(labels, shared),
            "service": service,
            "labels": labels,
            "url": https_link(alert.get("generatorURL")) or shared.url,
            "links": _links(alert, notes),
            "runbook": runbook(shared.policy, service, (notes.get("runbook_url"), notes.get("runbook"))),
            "value": _value(alert, notes, labels),
            "started_at": moment(alert.get("startsAt")),
            "ended_at": None if firing else moment(alert.get("endsAt")),
            "recovered": ending is None,
            "ending": ending,
        }
    )


def _identity(alert: dict[str, Any], shared: _Shared) -> str:
    """What the sender calls one alert. Two routes of an Alertmanager may report the same one."""
    if shared.grafana:
        return group_key(*shared.parts, members.fingerprint(alert))
    return group_key(shared.parts[0], members.fingerprint(alert))


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


def _rule(labels: dict[str, str], shared: _Shared) -> str | None:
    """What the alert's rule is called; for runbooks, silences and searches that is its name."""
    if grafana.data_alert(labels):
        return line(labels.get("rulename")) or None
    return line(labels.get("alertname")) or shared.name or None


def _texts(notes: dict[str, Any], labels: dict[str, str], shared: _Shared) -> tuple[str, str]:
    """The title and what is said below it; no annotation is shown twice, and none is lost."""
    missing = grafana.data_alert(labels)
    titled, short = line(notes.get("title")), line(notes.get("summary"))
    long = clean(notes.get("description") or notes.get("message"), TEXT_LIMIT).strip()
    if missing:
        why = clean(notes.get("Error"), TEXT_LIMIT).strip()
        return line(f"{_rule_named(labels)}: {missing}"), why or long or short
    if titled and short and titled != short:
        long = clean(
            "\n\n".join(filter(None, (clean(notes.get("summary"), TEXT_LIMIT).strip(), long))), TEXT_LIMIT
        )
    title = titled or short or labels.get("alertname") or shared.name or "Alertmanager alert"
    return line(title), long


def _rule_named(labels: dict[str, str]) -> str:
    return line(labels.get("rulename")) or labels["alertname"]


def _wording(labels: dict[str, str], summary: str) -> Wording | None:
    """In any language what Grafana says under a name of its own: that a rule could not be judged."""
    match grafana.data_alert(labels):
        case "no data":
            key = "alert.no_data"
        case "query error":
            key = "alert.query_error"
        case _:
            return None
    title = Text(key=f"{key}.title", params={"rule": _rule_named(labels)})
    lines = (Text(key="alert.said", params={"text": summary}),) if summary else ()
    return Wording(title=title, summary=Text(key=f"{key}.summary", lines=lines))


_PLACES_OF_LINKS = (
    (LinkKind.DASHBOARD, ("dashboardURL",), ("dashboard_url", "dashboard", "dashboardURL", "grafana_url")),
    (LinkKind.PANEL, ("panelURL",), ("panel_url", "panelURL")),
    (LinkKind.SILENCE, ("silenceURL",), ("silence_url", "silenceURL")),
)


def _links(alert: dict[str, Any], notes: dict[str, Any]) -> tuple[Link, ...]:
    """Further pages, as fields (Grafana) or as annotations (by custom)."""
    found = []
    for kind, fields, annotations in _PLACES_OF_LINKS:
        said = [alert.get(key) for key in fields if key in alert]
        said += [notes.get(key) for key in annotations if key in notes]
        url = next((link for link in map(https_link, said) if link), None)
        if url:
            found.append(Link(kind=kind, url=url))
    return tuple(found)


_VALUES = re.compile(r"\[ (?:var='([^']{1,40})' )?.*?\bvalue=([-+0-9.eE]{1,40}|NaN|[-+]?Inf) \]")
"""``[ var='B' labels={instance=a} value=0.93 ], [ … ]``, as Grafana writes it."""


def _value(alert: dict[str, Any], notes: dict[str, Any], labels: dict[str, str]) -> str | None:
    """The annotation ``value``, Grafana's ``values`` by the letters of its queries, or a label's number.

    Grafana before version 10 and classic conditions have the numbers in ``valueString`` alone.
    """
    told = line(notes.get("value"), VALUE_LIMIT)
    if told:
        return short_numbers(told)
    values = clean_labels(alert.get("values"), VALUE_LIMIT, 10)
    if not values:
        found = _VALUES.findall(line(alert.get("valueString"), 2000) or "")
        values = {name: value for name, value in found[:10] if name}
        values = values or {str(place): value for place, (_, value) in enumerate(found[:10], 1)}
    if not values:
        return rounded(labels.get("value"))
    shown = ", ".join(f"{key}={short_numbers(value)}" for key, value in values.items())
    return line(shown, VALUE_LIMIT) or None
