"""Characters of text from outside: which of them a database keeps, and whether there is anything to read."""

import re
import unicodedata
from collections.abc import Iterable

_FILLERS = frozenset("\u2800\u3164\u115f\u1160\uffa0\u200b")
"""Characters that show nothing, though Unicode calls them letters, symbols or formats."""

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NOT_STORED = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def without_controls(text: str) -> str:
    """Without control characters and lone surrogates; line breaks and tabs stay."""
    return text if text.isascii() and text.isprintable() else _CONTROLS.sub("", text)


def storable(text: str) -> str:
    """With U+FFFD in place of NUL, which PostgreSQL refuses, and of lone surrogates, which UTF-8 has not."""
    if text.isascii():
        return text.replace("\0", REPLACEMENT) if "\0" in text else text
    return _NOT_STORED.sub(REPLACEMENT, text)


_ALIKE = {
    ord(char): alike
    for alike, chars in {
        "o": "0",
        "l": "1i|!",
        "s": "5$",
        "e": "3",
        "a": "4@",
        "口": "ロ",
        "二": "ニ",
        "力": "カ",
        "工": "エ",
        "夕": "タ",
        "八": "ハ",
        "卜": "ト",
        "一": "ー",
        "へ": "ヘ",
    }.items()
    for char in chars
}
"""Characters that are taken for others in a hurry."""

_FAMILIAR = ("HIRAGANA", "KATAKANA", "CJK ")
"""How Unicode calls the letters beside ASCII's whose look-alikes are known above."""


def skeleton(text: str) -> str:
    """What is left of a name at a hurried look: equal for names that are easily mixed up.

    Without accents, blanks and signs; ``rn`` counts as ``m``, ``1`` as ``l``.
    """
    apart = unicodedata.normalize("NFKD", text).casefold()
    seen = "".join(char for char in apart if not unicodedata.category(char).startswith(("M", "C")))
    alike = "".join(char for char in seen.translate(_ALIKE) if char.isalnum())
    return alike.replace("rn", "m").replace("vv", "w")


def is_familiar(text: str) -> bool:
    """Whether a name has only letters whose look-alikes ``skeleton`` knows: not those of Cyrillic or Greek,
    nor those of Latin that are no letter of ASCII with an accent, such as small capitals.
    """
    letters = [char for char in unicodedata.normalize("NFKD", text) if char.isalnum()]
    known = (char.isascii() or unicodedata.name(char, "").startswith(_FAMILIAR) for char in letters)
    return bool(letters) and all(known)


def imitates(text: str, names: Iterable[str]) -> bool:
    """Whether a name may be taken for one of these, alone or with something before or behind it."""
    seen = skeleton(text)
    return not is_familiar(text) or any(
        bool(meant) and (meant == seen or (len(meant) > 2 and meant in seen))
        for meant in map(skeleton, names)
    )


def folded(text: str) -> str:
    """A word as people compare it: whatever its width, its case, and the blanks around it."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def has_name(text: str) -> bool:
    """Whether there is a letter or digit of ASCII, which every name of Google Cloud has.

    Blanks, quotes and invisible characters are no name, and neither are fillers that Unicode calls letters.
    """
    return any(char.isascii() and char.isalnum() for char in text)


def is_blank(char: str) -> bool:
    """Any space, line break or filler of Unicode: no-break, full-width, of no width."""
    return char.isspace() or char in _FILLERS


def trimmed(text: str) -> str:
    """Without what cannot be seen at its ends; the rest as it is."""
    start, end = 0, len(text)
    while start < end and _is_unseen(text[start]):
        start += 1
    while end > start and _is_unseen(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_unseen(char: str) -> bool:
    return is_blank(char) or unicodedata.category(char) == "Cf"
