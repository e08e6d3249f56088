"""Monitoring filters as far as they are pretended here: equalities, one_of, AND, OR and brackets."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LONGEST = 2048
"""Characters: documented for the filters of alert policies, and taken to hold here too."""

MOST_CHOICES = 100
"""Strings in one_of; an assumption on the strict side."""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>[A-Za-z_][A-Za-z0-9_.]*)|(?P<sign>[()=,]))""", re.DOTALL
)
_FIELD = re.compile(r"project|metric\.type|resource\.type|(?:metric|resource)\.labels\.[a-z_][a-z0-9_]*")

Fields = Mapping[str, str]
"""A series by full path: ``metric.type``, ``resource.labels.service_name``."""


class BadFilter(Exception):
    """The filter is not understood; the text is the answer's."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read. ``fields`` are those it names, ``types`` the metric types it asks for."""

    matches: Callable[[Fields], bool]
    fields: frozenset[str]
    metric_types: frozenset[str]
    resource_types: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse(text: str) -> Filter:
    """Read a filter. Raises ``BadFilter`` for everything that is not pretended."""
    if len(text) > LONGEST:
        raise BadFilter(f"The filter is longer than {LONGEST} characters.")
    reader = _Reader(_tokens(text))
    matches = reader.either()
    reader.end()
    named = {"metric.type": set[str](), "resource.type": set[str]()}
    for name, values in reader.compared:
        named.get(name, set()).update(values)
    return Filter(
        matches,
        frozenset(name for name, _ in reader.compared),
        frozenset(named["metric.type"]),
        frozenset(named["resource.type"]),
    )


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise BadFilter(f"Could not parse filter {text!r}: unexpected character at {place}.")
        kind = found.lastgroup or ""
        tokens.append(_Token(kind, found[kind]))
        place = found.end()
    return tokens


class _Reader:
    """Recursive descent over the tokens.

    Which of AND and OR binds closer differs between Google's documents, so that a mix needs brackets.
    """

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self.compared: list[tuple[str, tuple[str, ...]]] = []

    def _peek(self) -> _Token:
        return (
            self._tokens[self._place] if self._place < len(self._tokens) else _Token("end", "end of filter")
        )

    def _next(self) -> _Token:
        token = self._peek()
        self._place += 1
        return token

    def _sign(self, sign: str) -> None:
        token = self._next()
        if token != _Token("sign", sign):
            raise BadFilter(f"Could not parse filter: expected {sign!r}, found {token.text!r}.")

    def end(self) -> None:
        """Refuse what is left over."""
        if self._peek().kind != "end":
            raise BadFilter(f"Could not parse filter: unexpected {self._peek().text!r}.")

    def either(self) -> Callable[[Fields], bool]:
        """One or more terms joined by AND, or by OR."""
        parts = [self._term()]
        joins = set()
        while self._peek().text in {"AND", "OR"} and self._peek().kind == "word":
            joins.add(self._next().text)
            parts.append(self._term())
        if len(joins) > 1:
            raise BadFilter("AND and OR need brackets between them.")
        if joins == {"OR"}:
            return lambda fields: any(part(fields) for part in parts)
        return lambda fields: all(part(fields) for part in parts)

    def _term(self) -> Callable[[Fields], bool]:
        token = self._next()
        if token == _Token("sign", "("):
            inner = self.either()
            self._sign(")")
            return inner
        if token.kind != "word" or not _FIELD.fullmatch(token.text):
            raise BadFilter(f"Could not parse filter: {token.text!r} is no field to filter by.")
        self._sign("=")
        name, wanted = token.text, self._values()
        self.compared.append((name, wanted))
        return lambda fields: fields.get(name) in wanted

    def _values(self) -> tuple[str, ...]:
        token = self._next()
        if token.kind == "text":
            return (_unquoted(token.text),)
        if token != _Token("word", "one_of"):
            raise BadFilter(f"Could not parse filter: {token.text!r} is no quoted string.")
        self._sign("(")
        found = [self._text()]
        while self._peek().text == ",":
            self._sign(",")
            found.append(self._text())
        self._sign(")")
        if len(found) > MOST_CHOICES:
            raise BadFilter(f"one_of takes at most {MOST_CHOICES} strings.")
        return tuple(found)

    def _text(self) -> str:
        token = self._next()
        if token.kind != "text":
            raise BadFilter(f"Could not parse filter: {token.text!r} is no quoted string.")
        return _unquoted(token.text)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
