"""Condenses a body that is too large to keep: read piece by piece, counted, kept as far as people need it."""

from typing import Any

import ijson
import orjson

from domain.errors import Unreadable
from handlers.webhooks.reading import DEPTH_LIMIT, TEXT_LIMIT, clean, line, table

KEPT = 1000
"""Alerts kept of one body; those beyond are counted."""

KEPT_BYTES = 3 * 1024 * 1024
"""Bytes of the alerts that are kept."""

ALERT_BYTES = 32 * 1024
"""A longer alert is kept by its labels and times alone."""

STEP = 4096
"""Bytes parsed at once: the parser names the path of each value, so that deep nesting is met early."""

WORDS_LIMIT = 50
"""Pairs of words for the level of which the first alert is kept wherever it stands."""

VALUES_LIMIT = 5_000
"""Values of one alert, or of one field beside the alerts; what is beyond is left out."""

NOTE = "toban"
"""The field in which a condensed body says what it was: ``{"bytes": …, "alerts": …}``."""


def loudness_words(alert: dict[str, Any]) -> tuple[str, str]:
    """What an alert says of its level; the policy, which knows what the words mean, is asked later."""
    labels = table(alert.get("labels"))
    return line(labels.get("level"), 60), line(labels.get("severity"), 60)


def is_over(alert: dict[str, Any]) -> bool:
    """True where an alert says in so many words that it has ended."""
    return line(alert.get("status"), 40).casefold() == "resolved"


class Condenser:
    """Takes a body in pieces, and makes one of it that means the same with fewer alerts.

    The alerts that are left out are counted in ``truncatedAlerts`` where they fire, as the sender itself
    counts what it leaves out. Memory is bounded by what is kept, whatever comes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._found = ijson.sendable_list()
        self._parser = ijson.parse_coro(self._found, use_float=True)
        self._builder: Any = None
        self._values = 0
        self._depth = 0
        self._head: dict[str, Any] = {}
        self._key = ""
        self._heard: set[tuple[str, str]] = set()
        self._first: list[dict[str, Any]] = []
        self._others: list[dict[str, Any]] = []
        self._bytes = 0
        self._alerts = 0
        self._left_out_firing = 0

    def feed(self, piece: bytes) -> None:
        """The next bytes. Raises ``Unreadable``."""
        self.size += len(piece)
        for start in range(0, len(piece), STEP):
            try:
                self._parser.send(piece[start : start + STEP])
            except (ijson.JSONError, UnicodeDecodeError) as error:
                raise Unreadable(f"not JSON ({clean(' '.join(str(error).split()), 100)})") from None
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
            raise Unreadable("no list of alerts")
        told = self._head.get("truncatedAlerts")
        told = told if type(told) is int and told > 0 else 0
        condensed = self._head | {
            "alerts": self._first + self._others,
            "truncatedAlerts": told + self._left_out_firing,
            NOTE: {"bytes": self.size, "alerts": self._alerts},
        }
        try:
            return orjson.dumps(condensed)
        except TypeError as error:  # A lone surrogate, or a number beyond 64 bits.
            raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None

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
            self._left_out_firing += 1
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
            if len(self._head) < VALUES_LIMIT:
                self._head[self._key] = self._builder.value
            self._builder = None

    def _begin(self) -> None:
        self._builder = ijson.ObjectBuilder()
        self._values = 0

    def _build(self, event: str, value: Any) -> None:
        if self._builder is None:  # Not an object among the alerts.
            return
        self._values += 1
        is_plain = not event.startswith(("start_", "end_"))
        if is_plain and self._values > VALUES_LIMIT and event != "map_key":
            value = None if event != "string" else ""
        self._builder.event(event, value[: TEXT_LIMIT + 1] if type(value) is str else value)

    def _keep(self, alert: dict[str, Any]) -> None:
        self._alerts += 1
        words = loudness_words(alert)
        fires = not is_over(alert)
        first = fires and words not in self._heard and len(self._heard) < WORDS_LIMIT
        if first or len(self._first) + len(self._others) < KEPT:
            kept = _trimmed(alert)
            size = len(orjson.dumps(kept, default=str))
            if first or self._bytes + size <= KEPT_BYTES:
                self._heard |= {words} if first else set()
                (self._first if first else self._others).append(kept)
                self._bytes += size
                return
        self._left_out_firing += fires


def _trimmed(alert: dict[str, Any]) -> dict[str, Any]:
    """The alert, or what identifies it where it is too long."""
    try:
        if len(orjson.dumps(alert)) <= ALERT_BYTES:
            return alert
    except TypeError as error:
        raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None
    plain = {key: value for key, value in alert.items() if type(value) is not dict}
    labels = {
        str(key)[:200]: clean(value, 500) for key, value in list(table(alert.get("labels")).items())[:64]
    }
    short = {key: clean(plain.get(key), 200) for key in ("status", "startsAt", "endsAt", "fingerprint")}
    return short | {"labels": labels}
