"""How bad it is, as people say it: ``P1``, ``SEV-1``, ``[critical]``, ``重大：``; and the title besides.

An unknown or unclear severity is asked back: nothing is ever declared as milder than somebody meant it.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from domain.errors import Refused
from domain.policy import Severity
from domain.text import trimmed
from handlers.typed import END, Folded, Line

_STRONG = {
    Severity.P0: ("emergency", "緊急", "致命的", "非常事態"),
    Severity.P1: ("critical", "crit", "urgent", "重大", "大至急", "至急", "クリティカル"),
}
"""A severity wherever they stand first."""

_WEAK = {
    Severity.P0: ("catastrophic", "catastrophe", "壊滅的"),
    Severity.P1: (
        *("major", "high", "highest", "severe", "fatal", "disaster", "blocker"),
        *("高", "深刻", "最重要", "最優先"),
        *(
            "kritisch",
            "critique",
            "crítico",
            "crítica",
            "critico",
            "严重",
            "嚴重",
            "긴급",
            "심각",
            "срочно",
            "критично",
        ),
    ),
    Severity.P2: ("medium", "moderate", "中"),
    Severity.P3: ("minor", "low", "軽微", "低"),
}
"""Words that titles begin with as well: a severity only where they are set off from the title."""

_ALONE = {Severity.P2: ("warning", "warn", "警告"), Severity.P3: ("info", "information", "情報")}
"""A severity only where nothing else was typed."""


def _any(*tables: Mapping[Severity, tuple[str, ...]]) -> str:
    words = (word for table in tables for some in table.values() for word in some)
    return "|".join(sorted(words, key=len, reverse=True))


_NAMED: dict[str, Severity] = {
    word: severity for words in (_STRONG, _WEAK, _ALONE) for severity, some in words.items() for word in some
}
_SCALE = r"SEV(?:ERITY)?|PRIO(?:RITY)?|重大度|深刻度|優先度|重要度"
# With the letters of Cyrillic and Greek that look like a P.
_STEP = rf"[PРΡ][-ー\s]?(?P<p>\d)|(?:{_SCALE})[-ー\s:=#]*P?(?P<sev>\d+)"
_FIRST = re.compile(rf"(?:{_STEP}|S[-ー]?(?P<s>\d)){END}", re.IGNORECASE)
_SCALED = re.compile(rf"(?:{_SCALE})[\s:=]*(?P<word>{_any(_STRONG, _WEAK)})(?!\w)", re.IGNORECASE)
_STRONG_WORD = re.compile(rf"(?P<word>{_any(_STRONG)})(?![\w-])", re.IGNORECASE)
_WEAK_WORD = re.compile(rf"(?P<word>{_any(_WEAK)})(?![\w-])", re.IGNORECASE)
_GROWN = re.compile(r"(?:緊急|致命的|非常事態|重大|大至急|至急)(?=\w)")
_NEXT = re.compile(rf"(?:(?:[~→&+>-]|or|and|to|vs\.?|か)\s*)?(?:{_STEP}){END}", re.IGNORECASE)
_SET_OFF = re.compile(
    r"[\s:,.;|-]*[(\[{<「『【〔〈《]\s*"
    rf"(?:{_STEP}|S(?P<s>\d)|(?P<word>{_any(_STRONG, _WEAK)}))\s*[)\]}}>」』】〕〉》][\s.!]*$",
    re.IGNORECASE,
)
_LAST = re.compile(
    rf"(?:(?P<tie>\w+)|[^\w\s])?[\s:,;|]+(?:-+\s*)?[\"'`*_]*(?:{_STEP})[\"'`*_]*[\s.!]*$", re.IGNORECASE
)
_TIES = frozenset(
    ("to", "on", "of", "for", "from", "in", "at", "with", "and", "or", "than", "the", "by", "via", "vs")
)
"""A severity behind one of these is a part of what the title tells."""
_INSIDE = re.compile(
    rf"(?<![0-9A-Za-z])(?:[PРΡ][0-3]|SEV[-\s]?\d)(?![0-9A-Za-z])|[,:;|-]\s*(?:{_any(_STRONG)})[\s.!]*$",
    re.IGNORECASE,
)
_TAIL = 60
"""Characters of a title's end in which its severity is looked for."""


class Declared(NamedTuple):
    """What was typed behind ``declare``. ``severity``: ``None`` where none was said."""

    severity: Severity | None
    title: str


def read(line: Line) -> Declared:
    """Read a severity and a title. Refused for a severity that is unknown or unclear."""
    severity = _in_front(line)
    if severity is None and len(line.left.split()) == 1 and line.peek().casefold() in _NAMED:
        return Declared(_NAMED[line.word().casefold()], line.rest())
    title = line.rest()
    if severity is None:
        return _at_the_end(title)
    found = _SET_OFF.search(Folded(title[-_TAIL:], invisible="").text)
    if found is not None and _severity(found) is not severity:
        raise _unclear(found[0])
    return Declared(severity, title)


def _in_front(line: Line) -> Severity | None:
    marked = line.take(_FIRST, marked=True)
    found = marked or line.take(_FIRST)
    if found is not None:
        severity = _severity(found)
        if found["s"] and severity is Severity.P3 and marked is None:
            raise _unclear(found[0])  # A bucket of S3 is no severity.
    else:
        found = line.take(_SCALED) or line.take(_STRONG_WORD) or line.take(_WEAK_WORD, marked=True)
        if found is None:
            if grown := line.take(_GROWN):
                raise _unclear(grown[0])
            return None
        severity = _severity(found)
    if marked is None and (next_ := line.take(_NEXT)) is not None and _severity(next_) is not severity:
        raise _unclear(f"{found[0]} {next_[0]}")
    return severity


def _at_the_end(title: str) -> Declared:
    start = max(0, len(title) - _TAIL)
    seen = Folded(title[start:], invisible=" ")
    found = _SET_OFF.search(seen.text)
    if found is not None:
        return Declared(_severity(found), trimmed(title[: start + seen.origins[found.start()]]))
    found = _LAST.search(seen.text)
    if found is not None:
        if (found["tie"] or "").casefold() in _TIES:
            raise _unclear(found[0])
        end = found.end("tie") if found["tie"] else found.start()
        return Declared(_severity(found), trimmed(title[: start + seen.origins[end]]))
    inside = _INSIDE.search(Folded(title, invisible="").text)
    if inside is not None:
        raise _unclear(inside[0])
    return Declared(None, title)


def _severity(found: re.Match[str]) -> Severity:
    said = found.groupdict()
    if word := said.get("word"):
        return _NAMED[word.casefold()]
    number = int(said.get("p") or said.get("sev") or said.get("s") or 0)
    if number > 3:
        raise Refused("refused.unknown_severity", given=found[0].strip()[:20])
    return Severity(f"P{number}")


def _unclear(given: str) -> Refused:
    return Refused("refused.unclear_severity", given=" ".join(given.split())[:40])
