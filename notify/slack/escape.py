"""The one place where text from outside becomes safe for Slack's markup."""

import re
import unicodedata

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LIVE = re.compile(r"`|(?<!\s)[*~]|[*~](?!\s)")
_EDGE_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
_QUOTE = re.compile(r"^(\s*)>", re.MULTILINE)
_EMOJI = re.compile(r":(?=(?!\d+:)[\w'+-]{1,100}:)|:(?=(?:100|1234):)")
"""What begins an emoji: names are letters (of any script, in a workspace's own), digits and ``_ ' + -``.
A time of day is none."""
_LOOKALIKE = {"*": "∗", "`": "ˋ", "~": "∼"}

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

    ``limit`` counts before escaping. Slack has no escape for ``* _ ~ ```, for ``:emoji:`` and for a quote's
    ``>``: they are replaced by characters that look the same, where they would have an effect. A single mark
    has one too: it would pair with the next of our own.
    """
    shown = without_emoji(clamp(visible(text), limit))
    shown = _LIVE.sub(lambda mark: _LOOKALIKE[mark[0]], shown)
    shown = _QUOTE.sub(r"\1›", shown)
    if "_" in shown:
        shown = _EDGE_UNDERSCORE.sub("ˍ", shown)
    return shown.translate(_ENTITIES)


def without_emoji(text: str) -> str:
    """Emoji codes of a text from outside as they were written, also where Slack draws emoji in plain text."""
    return _EMOJI.sub("∶", text) if ":" in text else text


def line(text: str, limit: int = 150) -> str:
    """The same on one line."""
    return mrkdwn(" ".join(visible(text).split()), limit)


def plain(text: str, limit: int) -> str:
    """For ``plain_text`` objects, which know no markup; never empty."""
    return clamp(" ".join(visible(text).split()), limit) or "—"


def paragraph(text: str, limit: int) -> str:
    """For ``plain_text`` objects of several lines; never empty."""
    return clamp(visible(text).strip(), limit) or "—"
