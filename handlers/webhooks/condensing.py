"""Condenses a body that is too large to keep: read piece by piece, counted, kept as far as people need it."""

import math
from decimal import Decimal
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
        self._parser = ijson.parse_coro(self._found)
        self._builder: Any = None
        self._values = 0
        self._in_alerts = False
        self._head: dict[str, Any] = {}
        self._key = ""
        self._keys: list[set[str]] = []
        self._heard: set[Level | None] = set()
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
            for _, event, value in self._found:
                self._take(event, value)
            self._found.clear()

    def end(self) -> bytes:
        """The condensed body, after the last bytes. Raises ``Unreadable``."""
        try:
            self._parser.close()
        except ijson.JSONError as error:
            raise Unreadable(f"not JSON ({clean(' '.join(str(error).split()), 100)})") from None
        if type(self._head.get("alerts")) is not list:
            known = "alerts" in self._head
            raise Unreadable("no list of alerts" if known else f"no list of alerts. {OWN_TEMPLATE}")
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
        except TypeError as error:  # A lone surrogate.
            raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None
        if has_too_many_parts(made):
            raise Unreadable(f"more than {PARTS_LIMIT:,} objects and lists")
        return made

    def _take(self, event: str, value: Any) -> None:
        """One event of the parser. Where it stands is told by depth: a key may be empty or hold dots."""
        opens, closes = event.startswith("start_"), event.startswith("end_")
        if event == "map_key":
            self._name(str(value))
        elif opens:
            self._keys.append(set())
            if len(self._keys) > DEPTH_LIMIT:
                raise Unreadable(f"nested deeper than {DEPTH_LIMIT}")
        depth = len(self._keys) - opens  # Of the value that begins, goes on or ends here.
        if closes:
            self._keys.pop()
            depth = len(self._keys)
        if depth == 0:
            if event not in {"start_map", "end_map"}:
                raise Unreadable("not an object")
        elif depth == 1 and event == "map_key":
            self._key, self._in_alerts = str(value), False
        elif depth == 1 and self._key == "alerts" and event == "start_array":
            self._head["alerts"], self._in_alerts = [], True
        elif self._in_alerts:
            self._take_alert(depth, event, value)
        else:
            self._head_value(depth, event, value)

    def _name(self, key: str) -> None:
        """Refuse a key that its object has already, as ``read`` does."""
        if key in self._keys[-1]:
            raise Unreadable(f"the key '{clean(key, 60)}' twice")
        self._keys[-1].add(key)
        if len(self._keys[-1]) > VALUES_LIMIT:
            raise Unreadable("one alert or field of an absurd size")

    def _take_alert(self, depth: int, event: str, value: Any) -> None:
        if depth == 1:  # The end of the list.
            return
        if depth == 2 and event == "start_map":
            self._begin()
        elif depth == 2 and not event.startswith("end_") and self._builder is None:
            self._alerts += 1
            self._left_out += 1
            self._fires = True  # What it is cannot be known.
        self._build(event, value)
        if depth == 2 and event == "end_map":
            self._keep(self._builder.value)
            self._builder = None

    def _head_value(self, depth: int, event: str, value: Any) -> None:
        """A field beside the alerts."""
        if self._builder is None:
            self._begin()
        self._build(event, value)
        if depth == 1 and not event.startswith("start_"):
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
        elif event == "number":
            value = _number(value)
        if self._values > VALUES_LIMIT or self._characters > CHARACTERS_LIMIT:
            raise Unreadable("one alert or field of an absurd size")
        self._builder.event(event, value)

    def _keep(self, alert: dict[str, Any]) -> None:
        self._alerts += 1
        said = said_status(alert)
        fires = said != "resolved"
        self._fires |= said == "firing"
        self._may_fire |= fires
        # One without labels has those that are common to all, which may stand behind the alerts.
        has_own = bool(table(alert.get("labels")))
        level = loudness(self._policy, *loudness_words(alert))[0] if has_own else None
        first = fires and level not in self._heard
        if first or len(self._first) + len(self._others) < KEPT:
            kept, written = _trimmed(alert, short=self._parts > PARTS_KEPT)
            if first or self._bytes + len(written) <= KEPT_BYTES:
                self._heard |= {level} if first else set()
                (self._first if first else self._others).append(kept)
                self._bytes += len(written)
                self._parts += written.count(b"{") + written.count(b"[")
                return
        self._left_out += 1


def _number(value: int | Decimal) -> int | float:
    """The number as ``read`` has it: beyond 64 bits a float, and refused beyond that."""
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if math.isinf(found):
        raise Unreadable("a number that is none (too large)")
    return found


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
