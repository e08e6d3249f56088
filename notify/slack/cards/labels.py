"""The labels that tell an alert from others, as far as a card has room for them."""

from collections.abc import Sequence

from domain.alerts import OURS, Alert, AlertGroup
from domain.senders import PLACE_LABELS, REPLICA_LABELS
from domain.views import AlertView
from notify.slack.escape import line
from notify.texts import Voice

SHOWN = 10
"""Labels that are named on a card; the others are counted."""

LONG = 80
"""Characters of a label's value."""

FIRST = (
    "instance",
    "instance_name",
    "pod",
    "host",
    "revision_name",
    "node",
    "namespace",
    "container",
    "deployment",
    "device",
    "mountpoint",
    "job",
)
"""What people look for first."""

SAID_ELSEWHERE = frozenset(
    {
        "alertname",
        "rulename",
        "level",
        "severity",
        "value",
        "datasource_uid",
        "ref_id",
        "service_name",
        "runbook",
    }
) | frozenset(REPLICA_LABELS)


def label_line(voice: Voice, view: AlertView) -> str:
    """What all alerts that fire have in common; nothing where not all of them are known."""
    shared = common(view)
    keys = _ordered(shared, view.group)
    shown = " · ".join(f"{line(key, 60)}={line(shared[key], LONG)}" for key in keys[:SHOWN])
    if len(keys) > SHOWN:
        return voice("alert.more_labels", labels=shown, count=len(keys) - SHOWN)
    return shown


def common(view: AlertView) -> dict[str, str]:
    """The labels that each alert of the card has."""
    if not view.firing and view.group.total < 2:
        return view.group.labels
    named = view.firing or view.over
    if max(view.group.firing, view.group.total if view.over else 0) > len(named) or view.group.omitted:
        return {}
    return _same(named)


def _same(named: Sequence[Alert]) -> dict[str, str]:
    """The labels that the alerts which are named share."""
    first, *others = named
    return {
        key: text for key, text in first.labels.items() if all(one.labels.get(key) == text for one in others)
    }


def names(view: AlertView) -> list[str]:
    """For each alert that is listed its title, and what tells it from the others."""
    shared = _same(view.firing)
    if len(view.firing) == 1:
        shared = {key: text for key, text in shared.items() if key not in FIRST[:5]}
    return [_named(alert, view.group, shared) for alert in view.firing]


def _named(alert: Alert, group: AlertGroup, shared: dict[str, str]) -> str:
    keys = [key for key in _ordered(alert.labels, group) if key not in shared]
    told = [alert.labels[key] for key in keys if alert.labels[key] not in alert.title]
    return f"{alert.title} ({', '.join(told[:3])})" if told else alert.title


def _ordered(labels: dict[str, str], group: AlertGroup) -> list[str]:
    """The keys that identify, the best known ones first; our own alerts say it all in their titles."""
    if group.source == OURS:
        return []
    keys = [
        key
        for key, text in labels.items()
        if text.strip() and key not in SAID_ELSEWHERE and not key.startswith("__") and text != group.service
    ]
    places = [*PLACE_LABELS, *FIRST]
    ranks = {key: number for number, key in enumerate(places)}
    return sorted(keys, key=lambda key: (ranks.get(key, len(places)), key))
