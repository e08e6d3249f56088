"""What people type into Slack, read as it was meant: one reader for every command and every field.

Words that steer (verbs, numbers, severities, names, options) are read without the marks, blanks, quotes and
widths around them. Free text that is kept (titles, summaries, reasons) stays as it was typed.
"""

import re
import unicodedata
from bisect import bisect_left
from datetime import timedelta
from functools import cached_property

from domain.text import is_blank, trimmed

_MENTION = re.compile(r"<([@#!])([^|>]*)(?:\|([^>]*))?>")
_LINK = re.compile(r"<((?:https?|ftp|mailto|tel|slack):[^|>]*)(?:\|([^>]*))?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(lt|gt|amp);")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&"}
_NUMBER = re.compile(r"[A-Z]{1,3}-\d+", re.IGNORECASE)

_SINGLE = {
    **dict.fromkeys("“”„‟«»〝〞〟″", '"'),
    **dict.fromkeys("‘’‚‛‹›′", "'"),
    **dict.fromkeys("‐‑‒–—―−﹘﹣", "-"),
    **dict.fromkeys("〜∼˜", "~"),
    **dict.fromkeys("、，", ","),
    "。": ".",
}
_PAIRS = {
    **dict(zip("([{<「『【〔〈《", ")]}>」』】〕〉》", strict=True)),
    **{mark: mark for mark in "\"'`*_~"},
}
_CLOSING = frozenset(")]}>」』】〕〉》")
_QUOTES = ('"', "'", "`")
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
_MARKS = frozenset("\"'`*_~")
_PAUSES = frozenset(":;,!?|=")
_TRAILING = frozenset(":;,!?`*\"'")
_BULLETS = frozenset("*_~-・•#@>")
_EMOJI = re.compile(r":[a-z][a-z0-9_+-]*:")
_PAUSE = re.compile(r"\s*(?:[-:|>,;=]+(?=\s|$)|:(?![a-z0-9_+-]+:))")

END = r"(?![0-9A-Za-z\u00aa-\u2e7f%])(?![-/._+&@'~]+[0-9A-Za-z\u00aa-\u2e7f])"
"""What may follow a word that steers: no letter or digit of an alphabet, and nothing that ties one to it."""

_UNITS = {
    1: ("s", "sec", "secs", "second", "seconds", "秒", "秒間"),
    60: ("m", "min", "mins", "minute", "minutes", "分", "分間"),
    3_600: ("h", "hr", "hrs", "hour", "hours", "時間"),
    86_400: ("d", "day", "days", "日", "日間"),
}
_SECONDS = {unit: seconds for seconds, units in _UNITS.items() for unit in units}
_LENGTH = re.compile(
    rf"(\d{{1,4}})\s*({'|'.join(sorted(_SECONDS, key=len, reverse=True))})?(?!\w)", re.IGNORECASE
)


def said(text: str) -> str:
    """A command's text as the person saw it: Slack escapes it, marks mentions, and makes links of words."""
    plain = _MENTION.sub(_mentioned, _LINK.sub(_linked, text))
    return _ENTITY.sub(lambda found: _ENTITIES[found[1]], plain)


def _mentioned(found: re.Match[str]) -> str:
    """``@kenji`` for ``<@U123|kenji>``, and the words that a date or a group stands for."""
    mark, what, label = found[1], found[2], found[3]
    if mark == "!":
        name = what.partition("^")[2] if what.startswith("subteam^") else what
        return label if label and what.startswith("date^") else f"@{(label or name).removeprefix('@')}"
    return f"{mark}{(label or what).removeprefix(mark)}"


def _linked(found: re.Match[str]) -> str:
    """The words that Slack made a link of; where somebody else did, the words and the address."""
    url, label = found[1], found[2]
    if not label:
        return url
    spelled = {url, re.sub(r"^[a-z]+:(//)?", "", url, flags=re.IGNORECASE)}
    if label.rstrip("/") in {one.rstrip("/") for one in spelled} or _NUMBER.fullmatch(label):
        return label
    return f"{label} ({url})"


def normal(char: str) -> str:
    """A character as it counts in a word that steers: one width, one kind of quote, dash and blank."""
    if not char or is_blank(char):
        return char and " "
    made = unicodedata.normalize("NFKC", char).replace(" ", "")  # A sign for a phrase is still one word.
    return "".join(_SINGLE.get(one, one) for one in made)


class Folded:
    """A text folded, and where in the text each of its characters comes from."""

    def __init__(self, text: str, *, invisible: str) -> None:
        chars: list[str] = []
        self.origins: list[int] = []
        for place, char in enumerate(text):
            made = invisible if unicodedata.category(char) == "Cf" else normal(char)
            chars.append(made)
            self.origins += [place] * len(made)
        self.text = "".join(chars)
        self.origins.append(len(text))

    def origin(self, place: int) -> int:
        """Where in the text what stands here comes from; behind a character that is taken in part."""
        while 0 < place < len(self.text) and self.origins[place] == self.origins[place - 1]:
            place += 1
        return self.origins[place]

    def place(self, origin: int) -> int:
        """Where the character of the text at ``origin``, or the next one that counts, stands here."""
        return bisect_left(self.origins, origin)


class Line:
    """What was typed, read from left to right. What is not taken stays as it was typed, see ``rest``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._open: list[str] = []
        """The ends, still to come, of the marks and brackets that began before what was taken."""

    @cached_property
    def _whole(self) -> Folded:
        return Folded(self.text, invisible="")

    @cached_property
    def _parted(self) -> Folded:
        """The same with a blank for what cannot be seen: it joins words as often as it parts them."""
        return Folded(self.text, invisible=" ")

    @property
    def left(self) -> str:
        """What is left, folded, to look into it."""
        return self._whole.text[self._whole.place(self.at) :]

    @property
    def is_empty(self) -> bool:
        """True where nothing is left that can be seen."""
        return not trimmed(self.text[self.at :])

    @property
    def is_done(self) -> bool:
        """True where nothing is left, not even what cannot be seen, but white space."""
        return not self.text[self.at :].strip()

    @property
    def is_over(self) -> bool:
        """True where nothing is left but marks and blanks."""
        return not any(char.isalnum() for char in self.left)

    def take(self, pattern: re.Pattern[str], *, marked: bool = False) -> re.Match[str] | None:
        """The match of ``pattern`` where the next word stands, which is taken; else nothing changes.

        ``marked``: only where it is set off, in brackets, quotes or bold or by a colon.
        """
        for seen in (self._whole, self._parted):
            start, opened = self._skipped(seen)
            found = pattern.match(seen.text, start)
            if found is None or not found[0]:
                continue
            end, open_, ended = _closed(seen.text, found.end(), [*self._open, *opened])
            enclosed = bool(opened) and len(open_) < len(self._open) + len(opened)
            if marked and not (enclosed or ended):
                continue
            self.at, self._open = seen.origin(end), open_
            return found
        return None

    def word(self) -> str:
        """The next word, without what decorates it; empty at the end."""
        seen = self._whole
        start, opened = self._skipped(seen)
        end = next((at for at in range(start, len(seen.text)) if seen.text[at].isspace()), len(seen.text))
        open_, found = [*self._open, *opened], seen.text[start:end]
        while found and (found[-1] in open_ or found[-1] in _CLOSING or found[-1] in _TRAILING):
            open_ = _without_last(open_, found[-1]) if found[-1] in open_ else open_
            found = found[:-1]
        self.at, self._open = seen.origin(end), open_
        return found

    def peek(self) -> str:
        """The same, not taken."""
        at, open_ = self.at, self._open
        try:
            return self.word()
        finally:
            self.at, self._open = at, open_

    def rest(self) -> str:
        """What is left, as it was typed, but for blanks at its ends and for marks that began before it."""
        found = trimmed(self.text[self.at :])
        open_ = list(self._open)
        while found and (mark := normal(found[-1])) in open_ and not _is_begun(found, mark):
            open_.remove(mark)
            found = trimmed(found[:-1])
        self.at = len(self.text)
        return found

    def unquoted(self) -> str:
        """``rest`` without the quotes or code marks around the whole of it."""
        found = self.rest()
        mark = normal(found[:1])
        if mark in _QUOTES and len(found) > 1 and normal(found[-1]) == mark:
            inside = found[1:-1]
            if mark not in _APOSTROPHE.sub("", "".join(map(normal, inside))):
                return trimmed(inside)
        return found

    def _skipped(self, seen: Folded) -> tuple[int, list[str]]:
        """Where the next word begins, and the ends of the marks and brackets that begin before it."""
        text, at = seen.text, seen.place(self.at)
        opened: list[str] = []
        while at < len(text):
            char, after = text[at], text[at + 1 : at + 2]
            if char.isspace() or unicodedata.category(char) == "So" or char == "\ufe0f":
                at += 1
            elif found := _EMOJI.match(text, at):
                at = found.end()
            elif char in _BULLETS and (char in "#@" or not after or after.isspace()):
                at += 1
            elif char in _PAIRS:
                opened.append(_PAIRS[char])
                at += 1
            else:
                break
        return at, opened


def _closed(text: str, at: int, open_: list[str]) -> tuple[int, list[str], bool]:
    """Past the marks and pauses behind a word: where, what is still open, and whether a colon ended it."""
    ended = False
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        if char in open_:
            open_ = _without_last(open_, char)
        elif char in _PAUSES:
            ended |= char in ":|="
        elif char in _CLOSING or (char == "." and not after.isalnum()):
            pass
        elif char not in _MARKS or not (not after or after.isspace()):
            break
        at += 1
    if found := _PAUSE.match(text, at):
        return found.end(), open_, True
    return at, open_, ended


def _without_last(open_: list[str], mark: str) -> list[str]:
    place = len(open_) - 1 - open_[::-1].index(mark)
    return open_[:place] + open_[place + 1 :]


def _is_begun(text: str, mark: str) -> bool:
    """Whether the mark at the end of a text ends what began in this text itself."""
    seen = _APOSTROPHE.sub("", "".join(map(normal, text)))
    if mark not in _CLOSING:
        return seen.count(mark) % 2 == 0
    (begin,) = (one for one, end in _PAIRS.items() if end == mark)
    return seen.count(begin) >= seen.count(mark)


def length(text: str, *, bare: timedelta | None = None) -> timedelta | None:
    """``90s``, ``5 min``, ``２４時間``, ``2 days``. ``bare``: what a number alone counts; else it is none."""
    line = Line(text)
    found = line.take(_LENGTH)
    if found is None or not line.is_over:
        return None
    if found[2] is None:
        return int(found[1]) * bare if bare is not None else None
    return timedelta(seconds=int(found[1]) * _SECONDS[found[2].casefold()])
