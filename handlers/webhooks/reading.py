"""Reads what machines send: strict about JSON, forgiving about fields, and never fooled by either."""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NoReturn

import orjson

from domain.alerts import Signal, group_key
from domain.errors import Unreadable
from domain.policy import SERVICE_LABELS, Level, Policy

DEPTH_LIMIT = 64
"""Objects and lists inside each other; no sender comes near it."""

PARTS_LIMIT = 100_000
"""Objects and lists in one body. Ten thousand alerts have a third of it; more only costs us time."""

LABELS_LIMIT = 64
"""Labels kept of one alert."""

LABEL_LIMIT = 500
"""Characters of a label's name, and of its value."""

NAME_LIMIT = 200
"""Characters of an id or a name that becomes part of an identity, and of a title."""

TEXT_LIMIT = 3000
"""Characters of a description; Slack shows no more in one block."""

VALUE_LIMIT = 300
"""Characters of an observed value; it may be a sentence."""

LINK_LIMIT = 2000
"""Characters of a link. A longer one is left out: cut, it would lead elsewhere."""

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Large:
    """A body of which not every alert was taken one by one. ``size`` in bytes, 0 where it was kept whole."""

    alerts: int
    taken: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a body says: alerts, test notifications (by a readable name) and what is neither.

    Only ``signals`` may page somebody; the others are lines for the ops channel.
    """

    signals: tuple[Signal, ...] = ()
    tests: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    large: Large | None = None


def read(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises ``Unreadable`` for anything that two readers could read differently.

    Refused: what is not JSON in UTF-8, NaN and infinities, numbers beyond a double, lone
    surrogates, a key twice in one object, nesting over ``DEPTH_LIMIT``, more than ``PARTS_LIMIT``
    objects and lists, anything but an object.
    """
    opened = _parts(body)
    if opened > PARTS_LIMIT:
        raise Unreadable(f"more than {PARTS_LIMIT:,} objects and lists")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    if type(parsed) is not dict:
        raise Unreadable("not an object")
    if opened > DEPTH_LIMIT:
        _refuse_depth(parsed)
    _refuse_duplicates(body, parsed)
    return parsed


def _parts(body: bytes | bytearray) -> int:
    return body.count(b"{") + body.count(b"[")


def has_too_many_parts(body: bytes | bytearray) -> bool:
    """Whether ``read`` would refuse a body for the number of its objects and lists."""
    return _parts(body) > PARTS_LIMIT


@dataclass(frozen=True, slots=True)
class Look:
    """What the door sees of a body: why it cannot be understood, or how loud it is."""

    error: str | None = None
    level: Level = Level.INFO


def looker(
    shape: Callable[[dict[str, Any]], object], words: Callable[[dict[str, Any]], Iterable[Sequence[object]]]
) -> Callable[[bytes, Policy], Look]:
    """How a sender's bodies are looked at, cheaply, before they are kept.

    ``shape`` raises ``Unreadable`` for an object that is not the sender's; what it returns is not needed.
    ``words`` finds what the alerts say of their levels, as ``loudness`` takes it.
    """

    def look(body: bytes, policy: Policy) -> Look:
        try:
            sent = read(body)
            shape(sent)
        except Unreadable as unreadable:
            return Look(error=unreadable.reason)
        levels = (loudness(policy, *said)[0] for said in words(sent))
        return Look(level=max(levels, key=lambda level: level.rank, default=Level.INFO))

    return look


def _explain(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    if "depth limit" in error.msg:
        raise Unreadable(f"nested deeper than {DEPTH_LIMIT}") from None
    if "infinity" in error.msg:
        raise Unreadable("a number that is none (too large)") from None
    if re.match(r"-?(?:NaN|Infinity)", error.doc[error.pos : error.pos + 9]):
        raise Unreadable("a number that is none (NaN)") from None
    raise Unreadable(f"not JSON ({error.msg}, line {error.lineno})") from None


def _refuse_depth(parsed: dict[str, Any]) -> None:
    """Walks the value level by level: quick, and no recursion that a body could exhaust."""
    objects: list[dict[str, Any]] = [parsed]
    lists: list[list[Any]] = []
    for _ in range(DEPTH_LIMIT):
        inside = [*chain.from_iterable(map(dict.values, objects)), *chain.from_iterable(lists)]
        types = set(map(type, inside))
        objects = [value for value in inside if type(value) is dict] if dict in types else []
        lists = [value for value in inside if type(value) is list] if list in types else []
        if not objects and not lists:
            return
    raise Unreadable(f"nested deeper than {DEPTH_LIMIT}")


def _refuse_duplicates(body: bytes, parsed: dict[str, Any]) -> None:
    """Only what a quick count cannot clear is read again, slowly.

    A key that was lost takes its quotes along, so a body with as many quotes as what was read of it
    lost none. The count is the same however the body is spaced, and only a quote written as an
    escape by number could make up for a lost one.
    """
    escaped = b"\\" in body and b"\\u0022" in body
    if not escaped and body.count(b'"') == orjson.dumps(parsed).count(b'"'):
        return
    try:
        json.loads(body, object_pairs_hook=_unique)
    except RecursionError:
        raise Unreadable(f"nested deeper than {DEPTH_LIMIT}") from None
    except ValueError as error:
        raise Unreadable(f"not JSON ({clean(str(error), 100)})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Unreadable(f"the key '{clean(key, 60)}' twice")
            seen.add(key)
    return made


class _Kept(dict[int, int | None]):
    """A table for ``str.translate``, filled as characters are met."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs"} else code
        if code < 0x10000:  # Bounded: nobody can fill our memory with rare characters.
            self[code] = kept
        return kept


_KEPT = _Kept({0x09: 0x20, 0x0A: 0x0A, 0x0B: 0x0A, 0x0C: 0x0A, 0x2028: 0x0A, 0x2029: 0x0A})


def clean(value: object, limit: int) -> str:
    """The text of a JSON scalar without characters that act instead of showing; "" for anything else.

    Control characters, bidirectional and zero-width format characters and lone surrogates go; a tab
    becomes a space, and line breaks stay. A longer text ends in an ellipsis within ``limit``.
    """
    if type(value) is not str:
        value = _scalar(value)
    if len(value) <= limit and value.isprintable():
        return value
    kept = value[: 2 * limit + 64].translate(_KEPT)
    if len(kept) > limit or len(value) > 2 * limit + 64:
        return kept[: max(0, limit - 1)] + "…"
    return kept


def _scalar(value: object) -> str:
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            try:
                return str(value)
            except ValueError:  # An int of more than 4,300 digits.
                return ""
        case _:
            return ""


def line(value: object, limit: int = NAME_LIMIT) -> str:
    """Like ``clean``, on one line and without blanks around or doubled."""
    if not value and value != 0:
        return ""
    return " ".join(clean(value, limit).split())


def name(value: object) -> str:
    """An id that becomes part of an identity; one too long is replaced by its digest, never cut."""
    said = clean(value, 5000)
    return said if len(said) <= NAME_LIMIT else group_key(str(value))


def table(value: object) -> dict[str, Any]:
    """The object where one is expected; an empty one in place of anything else."""
    return value if type(value) is dict else {}


OWN_TEMPLATE = (
    "If the receiver has a payload template of its own, remove it: Toban reads the sender's standard body"
)
"""What mends a body without alerts: Alertmanager (from 0.32) and Grafana let people send any."""

STEERING = frozenset(("level", "severity", "alertname", *SERVICE_LABELS))
"""Labels that decide what an alert is: they stay where there are too many, wherever they stand."""


def clean_labels(
    value: object,
    limit: int = LABEL_LIMIT,
    most: int = LABELS_LIMIT,
    first: Collection[str] = (),
) -> dict[str, str]:
    """Labels as text by text: at most ``most`` of them, names and values within ``limit``.

    Anything but an object has none; a value that is no scalar is left out, and so is an empty name. Of too
    many those of ``STEERING`` and of ``first`` stay in any case.
    """
    if type(value) is not dict or not value:
        return {}
    if len(value) <= most and "" not in value:
        try:
            joined = "".join(chain(value, value.values()))
        except TypeError:
            pass
        else:
            if len(joined) <= limit and joined.isprintable():
                return value.copy()
    cleaned: dict[str, str] = {}
    items: Iterable[tuple[Any, Any]] = value.items()
    if len(value) > most:
        items = sorted(items, key=lambda item: item[0] not in STEERING and item[0] not in first)
    for key, item in items:
        if len(cleaned) >= most:
            break
        label = clean(key, limit)
        if label and not isinstance(item, dict | list) and item is not None:
            cleaned[label] = clean(item, limit)
    return cleaned


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?", re.IGNORECASE | re.ASCII)


def rounded(value: object) -> str | None:
    """A number that stands where texts stand, rounded to what people read; ``None`` for anything else."""
    text = line(value, 60)
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return None
    whole = len(text.partition(".")[0].lstrip("+-0"))
    return f"{float(text):.{max(3, whole)}g}" if whole <= 15 else text


_LONG_NUMBER = re.compile(r"(?<![\w.:/-])[+-]?[0-9]{1,15}\.[0-9]{4,40}(?![0-9.:/-]|[eE][+-]?[0-9])")


def short_numbers(text: str) -> str:
    """A value in the sender's words, its long fractions rounded: ``0.052341187`` is read as ``0.0523``."""
    return _LONG_NUMBER.sub(lambda found: rounded(found[0]) or found[0], text)


_LINK = re.compile(
    r"(?i:https?)://"
    r"(?:[a-z0-9_][a-z0-9._-]*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{0,5}))?"
    r"(?:[/?#][^\s<>\"\\`]*)?",
    re.IGNORECASE | re.ASCII,
)


def https_link(value: object) -> str | None:
    """The value where it is a plain http(s) link, else ``None``.

    Refused: another scheme, a user or password, a host that is not ASCII (it could look like
    another), blanks, control and format characters, and whatever could end a link in a message. A
    ``|`` is written as ``%7C``.
    """
    if not value or type(value) is not str or len(value) > LINK_LIMIT:
        return None
    found = _LINK.fullmatch(value)
    if found is None or not value.isprintable():
        return None
    if found["port"] and int(found["port"]) > 65535:
        return None
    return value.replace("|", "%7C")


def moment(value: object) -> datetime | None:
    """A point in time from epoch seconds or ISO 8601 text, in UTC; ``None`` for none or an absurd one.

    Text without an offset is taken as UTC; finer fractions than microseconds are cut. Zero and the
    year 1 are the senders' words for "not yet", and what lies outside 2000 to 2100 is a mistake.
    """
    try:
        if type(value) is str:
            return _written(value)
        if type(value) is int or (type(value) is float and math.isfinite(value)):
            return _sane(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _written(value: str) -> datetime | None:
    text = value.strip()
    if not text or len(text) > 64 or "\0" in text or text.startswith("0001-"):
        return None
    if text.isdecimal():
        return _sane(datetime.fromtimestamp(int(text), UTC))
    read = datetime.fromisoformat(text)
    if read.tzinfo is UTC:
        return _sane(read)
    return _sane(read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC))


def _sane(at: datetime) -> datetime | None:
    return at if _EARLIEST <= at < _LATEST else None


def loudness(policy: Policy, *said: object) -> tuple[Level, str | None]:
    """The level that the first word said means in the policy, and the word; a warning where none was."""
    for one in said:
        raw = line(one, 60)
        if raw:
            return policy.level(raw) or Level.WARNING, raw
    return Level.WARNING, None


class ServiceFinder:
    """Finds the service of labels as the policy does, once for each combination of what it asks for."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.asked = tuple({key for one in policy.services for key in one.match} | {*SERVICE_LABELS})
        self._found: dict[tuple[str | None, ...], str | None] = {}

    def service(self, labels: dict[str, str]) -> str | None:
        """What ``Policy.service`` says, which reads no other label than those asked for."""
        told = tuple(map(labels.get, self.asked))
        if told not in self._found:
            self._found[told] = self._policy.service(labels)
        return self._found[told]


def runbook(policy: Policy, service: str | None, links: Sequence[object] = ()) -> str | None:
    """The first good link among ``links``, else the runbook that the policy names for the service."""
    for link in links:
        good = https_link(link)
        if good:
            return good
    if service is None:
        return None
    return next((one.runbook for one in policy.services if one.name == service), None)
