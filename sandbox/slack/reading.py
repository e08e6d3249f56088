"""A message as its reader sees it: every visible line, every button, for tests to ask about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sandbox.slack.mrkdwn import decode, read

Json = dict[str, Any]
NameOf = Callable[[str], str]


@dataclass(frozen=True)
class Message:
    """A message frozen at the moment of asking; ``metadata`` and ``edited`` (ts of the edit) may be None.

    ``author`` is the writer's handle.
    """

    channel: str
    ts: str
    user: str
    author: str
    text: str
    blocks: tuple[Json, ...]
    thread_ts: str | None
    metadata: Json | None
    edited: str | None
    reply_count: int
    reactions: tuple[str, ...]
    ephemeral: bool
    name_of: NameOf = field(repr=False, compare=False)

    @cached_property
    def plain(self) -> str:
        """All visible text, line by line."""
        return plain_of(self.text, self.blocks, self.name_of)

    @cached_property
    def buttons(self) -> tuple[str, ...]:
        """The labels of buttons and menu options, in order."""
        return buttons_of(self.blocks)


def plain_of(text: str, blocks: Sequence[Json], name_of: NameOf) -> str:
    """Return what a reader sees: the blocks' text, or the text where there are no blocks."""
    if not blocks:
        return read(text, name_of)
    return "\n".join(line for block in blocks for line in _lines(block, name_of) if line)


def _words(value: Json | None, name_of: NameOf) -> str:
    if not value:
        return ""
    text = str(value.get("text", ""))
    return read(text, name_of) if value.get("type") == "mrkdwn" else decode(text)


def _lines(block: Json, name_of: NameOf) -> list[str]:
    kind = block.get("type")
    if kind == "section":
        lines = [_words(block.get("text"), name_of)]
        lines += [_words(field, name_of) for field in block.get("fields", [])]
        return lines + _element(block.get("accessory"), name_of)
    if kind == "header":
        return [_words(block["text"], name_of)]
    if kind == "context":
        return [" ".join(filter(None, (" ".join(_element(one, name_of)) for one in block["elements"])))]
    if kind == "actions":
        return [line for element in block["elements"] for line in _element(element, name_of)]
    if kind == "image":
        return [_words(block.get("title"), name_of), str(block.get("alt_text", ""))]
    if kind == "input":
        lines = [_words(block["label"], name_of), *_element(block["element"], name_of)]
        return [*lines, _words(block.get("hint"), name_of)]
    if kind == "rich_text":
        return [_rich(element, name_of) for element in block["elements"]]
    if kind == "markdown":
        return [str(block["text"])]
    if kind == "table":
        return [" | ".join(_cell(cell, name_of) for cell in row) for row in block["rows"]]
    if kind == "alert":
        return [_words(block["text"], name_of)]
    return []


def _cell(cell: Json, name_of: NameOf) -> str:
    if cell.get("type") == "rich_text":
        return " ".join(_rich(element, name_of) for element in cell["elements"])
    return str(cell.get("text", cell.get("value", "")))


def _element(element: Json | None, name_of: NameOf) -> list[str]:
    if not element:
        return []
    kind = str(element.get("type"))
    if kind in {"plain_text", "mrkdwn"}:
        return [_words(element, name_of)]
    if kind == "image":
        return [str(element["alt_text"])]
    if kind == "button":
        return [f"[{_words(element['text'], name_of)}]"]
    if kind in {"overflow", "checkboxes", "radio_buttons"}:
        return [f"[{_words(option['text'], name_of)}]" for option in element["options"]]
    chosen = element.get("initial_option") or {}
    shown = _words(chosen.get("text"), name_of) or str(element.get("initial_value") or "")
    return [shown or _words(element.get("placeholder"), name_of)]


def _rich(element: Json, name_of: NameOf) -> str:
    kind = element.get("type")
    if kind == "rich_text_list":
        return "\n".join("• " + _rich(item, name_of) for item in element["elements"])
    return "".join(_inline(part, name_of) for part in element.get("elements", []))


def _inline(part: Json, name_of: NameOf) -> str:
    match part.get("type"):
        case "text":
            return str(part["text"])
        case "link":
            return str(part.get("text") or part["url"])
        case "user":
            return f"@{name_of(part['user_id']) or part['user_id']}"
        case "channel":
            return f"#{name_of(part['channel_id']) or part['channel_id']}"
        case "usergroup":
            return f"@{name_of(part['usergroup_id']) or part['usergroup_id']}"
        case "broadcast":
            return f"@{part['range']}"
        case "emoji":
            return f":{part['name']}:"
        case "date":
            return str(part.get("fallback") or part["timestamp"])
        case _:
            return ""


def elements_of(blocks: Sequence[Json]) -> list[tuple[Json, Json]]:
    """Return every (block, element) that a person can operate, in reading order."""
    found: list[tuple[Json, Json]] = []
    for block in blocks:
        kind = block.get("type")
        if kind in {"actions", "context_actions"}:
            candidates = block["elements"]
        else:
            candidates = [block.get("accessory"), block.get("element")]
        found += [(block, one) for one in candidates if isinstance(one, dict) and one.get("type") != "image"]
    return found


def labels_of(element: Json) -> list[str]:
    """Return the texts by which a person would name an element: a button's, or its options'."""
    if element["type"] == "button":
        return [decode(element["text"]["text"])]
    return [option["text"]["text"] for option in options_of(element)]


def options_of(element: Json) -> list[Json]:
    """Return a menu's options, those in groups too."""
    grouped = [option for group in element.get("option_groups", []) for option in group["options"]]
    return [*element.get("options", []), *grouped]


def buttons_of(blocks: Sequence[Json]) -> tuple[str, ...]:
    """Return the labels of all buttons and menu options of a message."""
    return tuple(label for _, element in elements_of(blocks) for label in labels_of(element))
