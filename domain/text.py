"""Characters of text from outside: which of them a database keeps, and whether there is anything to read."""

import re
import unicodedata

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


def folded(text: str) -> str:
    """A name as people compare it: whatever its width, its case, and the blanks around it."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def has_name(text: str) -> bool:
    """Whether there is a letter or digit of ASCII, which every name of Google Cloud has.

    Blanks, quotes and invisible characters are no name, and neither are fillers that Unicode calls letters.
    """
    return any(char.isascii() and char.isalnum() for char in text)
