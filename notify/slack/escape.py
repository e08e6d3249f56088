"""The one place where text from outside becomes safe for Slack's markup."""

import re
import unicodedata

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_PAIRED = re.compile(r"[*`~]")
_EDGE_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
_LOOKALIKE = str.maketrans({"*": "∗", "`": "ˋ", "~": "∼"})

KEPT_CONTROLS = {"\n", "\t"}


def visible(text: str) -> str:
    """Without control, bidirectional and zero-width characters, which change how the rest is read."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in KEPT_CONTROLS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co"} else " "
        for char in text
    )


def clamp(text: str, limit: int) -> str:
    """At most ``limit`` characters; what is cut ends in an ellipsis."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + "…"


def mrkdwn(text: str, limit: int = 3000) -> str:
    """Text from outside inside our markup: no mention, no link, no bold; line breaks are kept.

    ``limit`` counts before escaping. Slack has no escape for ``* _ ~ ```: they are replaced by
    characters that look the same, where they would have an effect.
    """
    shown = clamp(visible(text), limit)
    if len(_PAIRED.findall(shown)) > 1:
        shown = shown.translate(_LOOKALIKE)
    if "_" in shown:
        shown = _EDGE_UNDERSCORE.sub("ˍ", shown)
    return shown.translate(_ENTITIES)


def line(text: str, limit: int = 150) -> str:
    """The same on one line."""
    return mrkdwn(" ".join(visible(text).split()), limit)


def plain(text: str, limit: int) -> str:
    """For ``plain_text`` objects, which know no markup; never empty."""
    return clamp(" ".join(visible(text).split()), limit) or "—"


def paragraph(text: str, limit: int) -> str:
    """For ``plain_text`` objects of several lines; never empty."""
    return clamp(visible(text).strip(), limit) or "—"
