"""What is the same in the words of all members of an Alertmanager pair, and what is not."""

import hashlib
import re
from typing import Any

from domain.alerts import group_key
from domain.policy import Policy
from domain.senders import PLACE_LABELS, REPLICA_LABELS
from handlers.webhooks.reading import line, name, table

_REPLICA_IN_KEY = re.compile(
    r"\b(?:" + "|".join(sorted(map(re.escape, REPLICA_LABELS))) + r')="(?:[^"\\]|\\.)*"(?:, ?)?'
)


def group_of_all(said: object) -> str:
    """Alertmanager's key of a group, without the labels in which the members of a pair differ."""
    if type(said) is str and "replica" in said:  # Before a long one is shortened to its digest.
        said = _REPLICA_IN_KEY.sub("", said)
    return name(said)


def cluster_of(policy: Policy, address: object) -> str:
    """The policy's name of the sender, where it keeps this one apart; all others are one."""
    if not policy.clusters:
        return ""
    said = line(address, 2000)
    return next((cluster.name for cluster in policy.clusters if cluster.has(said)), "")


def fingerprint(alert: dict[str, Any]) -> str:
    """What all members of a pair call one alert.

    Without ``startsAt``: Alertmanager merges overlapping alerts to the earliest start, so that it may
    change while the alert fires, and a name that changes would never be closed.
    """
    labels = table(alert.get("labels"))
    replicas = REPLICA_LABELS.intersection(labels)
    called = "" if replicas else name(alert.get("fingerprint"))
    if called:
        return called
    named = sorted(labels.keys() - replicas)
    written = "\x1e".join(f"{key}\x1d{labels[key]!r}" for key in named)
    return hashlib.sha256(written.encode("utf-8", "replace")).hexdigest()


def apart(shared_key: str, labels: dict[str, str]) -> str | None:
    """The group of alerts from this place, where another place has the group already."""
    place = [f"{key}={labels[key]}" for key in PLACE_LABELS if key in labels]
    return group_key(shared_key, *place) if place else None
