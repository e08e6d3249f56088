"""Condenses a body that is too large to keep: read piece by piece, counted, kept as far as people need it."""

from typing import Any

import ijson
import orjson

from domain.errors import Unreadable
from domain.policy import Level, Policy
from handlers.webhooks.grafana import STATE_REASON, data_alert
from handlers.webhooks.reading import (
    DEPTH_LIMIT,
    OWN_TEMPLATE,
    PARTS_LIMIT,
    TEXT_LIMIT,
    clean,
    clean_labels,
    has_too_many_parts,
    line,
    loudness,
    name,
    table,
)

KEPT = 1000
"""Alerts kept of one body; those beyond are counted."""

KEPT_BYTES = 3 * 1024 * 1024
"""Bytes of the alerts that are kept."""

ALERT_BYTES = 32 * 1024
"""A longer alert is kept by its labels and times alone."""

STEP = 4096
"""Bytes parsed at once: the parser names the path of each value, so that deep nesting is met early."""

TOKEN_BYTES = 256 * 1024
"""Bytes without the end of a value: the parser looks through an unfinished one again and again."""

VALUES_LIMIT, CHARACTERS_LIMIT = 5_000, 1024 * 1024
"""Values and characters of one alert, or of one field beside the alerts. No sender comes near them."""

FIELDS_LIMIT = 100
"""Fields beside the alerts."""

PARTS_KEPT = PARTS_LIMIT // 2
"""Brackets in the alerts that are kept, those in texts included, since ``read`` counts them so."""

NOTE = "toban"
"""The field in which a condensed body says what it was: ``{"bytes": …, "alerts": …}``."""


def loudness_words(alert: dict[str, Any], common: object = None) -> tuple[str, str]:
    """What an alert says of its level, as ``loudness`` takes it; without labels, what is common to all."""
    labels = table(alert.get("labels")) or table(common)
    missing = data_alert(labels)
    if missing:  # What the rule would be if it could be judged does not count.
        return missing, ""
    level, severity = labels.get("level"), labels.get("severity")
    return (
        level if type(level) is str else line(level),
        severity if type(severity) is str else line(severity),
    )


def said_status(sent: dict[str, Any]) -> str:
    """What an alert, or a body, says of itself: ``firing``, ``resolved``, another word, or nothing."""
    return line(sent.get("status"), 40).casefold()


class Condenser:
    """Takes a body in pieces, and makes one of it that means the same with fewer alerts.

    The alerts that are left out are counted in ``truncatedAlerts`` where they fire, as the sender itself
    counts what it leaves out. Memory is bounded by what is kept, whatever comes.
    """

    def __init__(self, policy: Policy) -> None:
        self.size = 0
        self._policy = policy
        self._unfinished = 0
        self._characters = 0
        self._parts = 0
        self._found = ijson.sendable_list()
        self._parser = ijson.parse_coro(self._found, use_float=True)
        self._builder: Any = None
        self._values = 0
        self._depth = 0
        self._head: dict[str, Any] = {}
        self._key = ""
        self._heard: set[Level] = set()
        self._first: list[dict[str, Any]] = []
        self._others: list[dict[str, Any]] = []
        self._bytes = 0
        self._alerts = 0
        self._left_out = 0
        self._fires = self._may_fire = False

    def feed(self, piece: bytes) -> None:
        """The next bytes. Raises ``Unreadable``."""
        self.size += len(piece)
        for start in range(0, len(piece), STEP):
            try:
                self._parser.send(piece[start : start + STEP])
            except (ijson.JSONError, UnicodeDecodeError) as error:
                raise Unreadable(f"not JSON ({clean(' '.join(str(error).split()), 100)})") from None
            self._unfinished = 0 if self._found else self._unfinished + STEP
            if self._unfinished > TOKEN_BYTES:
                raise Unreadable(f"one value of more than {TOKEN_BYTES // 1024} KiB")
            for prefix, event, value in self._found:
                self._take(prefix, event, value)
            self._found.clear()

    def end(self) -> bytes:
        """The condensed body, after the last bytes. Raises ``Unreadable``."""
        try:
            self._parser.close()
        except ijson.JSONError as error:
            raise Unreadable(f"not JSON ({clean(' '.join(str(error).split()), 100)})") from None
        if "alerts" not in self._head:
            raise Unreadable(f"no list of alerts. {OWN_TEMPLATE}")
        if not name(self._head.get("groupKey")):
            raise Unreadable("no groupKey")
        if self._alerts and not self._first and not self._others:
            raise Unreadable("none of its alerts is an object")
        told = self._head.get("truncatedAlerts")
        told = told if type(told) is int and told > 0 else 0
        # An alert without a word of its own ends with its group.
        fires = self._fires or (self._may_fire and said_status(self._head) != "resolved")
        condensed = self._head | {
            "alerts": self._first + self._others,
            "truncatedAlerts": told + (self._left_out if fires else 0),
            NOTE: {"bytes": self.size, "alerts": self._alerts},
        }
        try:
            made = orjson.dumps(condensed)
        except TypeError as error:  # A lone surrogate, or a number beyond 64 bits.
            raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None
        if has_too_many_parts(made):
            raise Unreadable(f"more than {PARTS_LIMIT:,} objects and lists")
        return made

    def _take(self, prefix: str, event: str, value: Any) -> None:
        self._depth += event.startswith("start_") - event.startswith("end_")
        if self._depth > DEPTH_LIMIT:
            raise Unreadable(f"nested deeper than {DEPTH_LIMIT}")
        if not prefix:
            if event == "map_key":
                self._key = str(value)
            elif event not in {"start_map", "end_map"}:
                raise Unreadable("not an object")
            return
        if self._key == "alerts":
            self._take_alert(prefix, event, value)
        else:
            self._head_value(prefix, event, value)

    def _take_alert(self, prefix: str, event: str, value: Any) -> None:
        if prefix == "alerts":
            if event == "start_array":
                self._head["alerts"] = []
            elif event != "end_array":
                raise Unreadable("no list of alerts")
            return
        if prefix == "alerts.item" and event == "start_map":
            self._begin()
        elif prefix == "alerts.item" and not event.startswith("end_") and self._builder is None:
            self._alerts += 1
            self._left_out += 1
            self._fires = True  # What it is cannot be known.
        self._build(event, value)
        if prefix == "alerts.item" and event == "end_map":
            self._keep(self._builder.value)
            self._builder = None

    def _head_value(self, prefix: str, event: str, value: Any) -> None:
        """A field beside the alerts, whose own value has its key as prefix."""
        if self._builder is None:
            self._begin()
        self._build(event, value)
        if prefix == self._key and event not in {"start_map", "start_array", "map_key"}:
            self._head[self._key] = self._builder.value
            self._builder = None
            if len(self._head) > FIELDS_LIMIT:
                raise Unreadable(f"more than {FIELDS_LIMIT} fields")

    def _begin(self) -> None:
        self._builder = ijson.ObjectBuilder()
        self._values = self._characters = 0

    def _build(self, event: str, value: Any) -> None:
        if self._builder is None:  # Not an object among the alerts.
            return
        self._values += 1
        if type(value) is str:
            self._characters += len(value)
            if event == "string" and self._key == "alerts":
                value = value[: TEXT_LIMIT + 1]
        if self._values > VALUES_LIMIT or self._characters > CHARACTERS_LIMIT:
            raise Unreadable("one alert or field of an absurd size")
        self._builder.event(event, value)

    def _keep(self, alert: dict[str, Any]) -> None:
        self._alerts += 1
        said = said_status(alert)
        fires = said != "resolved"
        self._fires |= said == "firing"
        self._may_fire |= fires
        level = loudness(self._policy, *loudness_words(alert))[0] if fires else None
        first = level is not None and level not in self._heard
        if first or len(self._first) + len(self._others) < KEPT:
            kept, written = _trimmed(alert, short=self._parts > PARTS_KEPT)
            if first or self._bytes + len(written) <= KEPT_BYTES:
                self._heard |= {level} if first and level is not None else set()
                (self._first if first else self._others).append(kept)
                self._bytes += len(written)
                self._parts += written.count(b"{") + written.count(b"[")
                return
        self._left_out += 1


def _trimmed(alert: dict[str, Any], *, short: bool) -> tuple[dict[str, Any], bytes]:
    """The alert, or what identifies it where it is too long, and how it is written."""
    try:
        written = orjson.dumps(alert)
        if len(written) <= ALERT_BYTES and not short:
            return alert, written
        plain = {key: value for key, value in alert.items() if type(value) is not dict}
        kept: dict[str, Any] = {
            key: clean(plain.get(key), 200) for key in ("status", "startsAt", "endsAt", "fingerprint")
        }
        # Labels as they came where they fit: an alert without a fingerprint is known by them.
        labels = alert.get("labels")
        fits = not short and len(orjson.dumps(labels)) <= ALERT_BYTES
        kept["labels"] = labels if fits else clean_labels(labels)
        reason = table(alert.get("annotations")).get(STATE_REASON)
        if reason is not None:  # Without it an end would count as a recovery.
            kept["annotations"] = {STATE_REASON: clean(reason, 200)}
        return kept, orjson.dumps(kept)
    except TypeError as error:
        raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None
