"""Block Kit's rich text as tables: sections, lists, quotes and code, and the inline elements in them."""

from typing import Any

from sandbox.slack.blockkit_shape import (
    Check,
    Report,
    boolean,
    by_type,
    integer,
    items,
    one_of,
    shape,
    string,
    web_address,
)

_STYLE = shape(
    {},
    dict.fromkeys(
        ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink"), boolean
    ),
)


def _letters(value: Any, at: str, report: Report) -> None:
    string(30_000, 1)(value, at, report)
    if isinstance(value, str):
        report.letters += len(value)


def _inline(kind: str, required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    return shape({"type": one_of(kind), **required}, {"style": _STYLE, **(optional or {})})


INLINE = by_type(
    {
        "text": _inline("text", {"text": _letters}),
        "link": _inline("link", {"url": web_address()}, {"text": _letters, "unsafe": boolean}),
        "user": _inline("user", {"user_id": string(255)}),
        "usergroup": _inline("usergroup", {"usergroup_id": string(255)}),
        "channel": _inline("channel", {"channel_id": string(255)}),
        "team": _inline("team", {"team_id": string(255)}),
        "emoji": _inline(
            "emoji", {"name": string(255)}, {"unicode": string(255), "skin_tone": integer(1, 6)}
        ),
        "broadcast": _inline("broadcast", {"range": one_of("here", "channel", "everyone")}),
        "color": _inline("color", {"value": string(16)}),
        "date": _inline(
            "date",
            {"timestamp": integer(0, 9_999_999_999), "format": string(255)},
            {"url": web_address(), "fallback": string(3000)},
        ),
    }
)
_PARTS = items(INLINE, 0, 1000)
_SECTION = shape({"type": one_of("rich_text_section"), "elements": _PARTS})
_CODE = shape(
    {"type": one_of("rich_text_preformatted"), "elements": _PARTS},
    {"border": integer(0, 1), "language": string(64)},
)
_QUOTE = shape({"type": one_of("rich_text_quote"), "elements": _PARTS}, {"border": integer(0, 1)})
_LIST = shape(
    {
        "type": one_of("rich_text_list"),
        "style": one_of("bullet", "ordered"),
        "elements": items(by_type({"rich_text_section": _SECTION}), 0, 1000),
    },
    {"indent": integer(0, 8), "offset": integer(0, 10_000), "border": integer(0, 1)},
)
RICH_ELEMENT = by_type(
    {
        "rich_text_section": _SECTION,
        "rich_text_list": _LIST,
        "rich_text_preformatted": _CODE,
        "rich_text_quote": _QUOTE,
    }
)
