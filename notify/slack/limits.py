"""Refuses a message that Slack would refuse, before it is sent (facts/slack.md §2.1)."""

import re
from collections.abc import Iterator
from typing import Any

MESSAGE_BLOCKS = 50
MODAL_BLOCKS = 100
MESSAGE_TEXT = 4000
CONFIRM_TEXT = 300
"""``chat.update`` takes no longer fallback text; posting keeps to the same."""
MESSAGE_CHARACTERS = 10_000
"""All texts of a message together: Slack refuses somewhere above 13,000 without documenting it."""

_TEXT = {
    "header": 150,
    "section": 3000,
    "context": 3000,
    "button": 75,
    "field": 2000,
    "value": 2000,
    "title": 24,
    "option": 75,
    "confirm_title": 100,
    "confirm_text": CONFIRM_TEXT,
    "confirm_button": 30,
    "label": 2000,
    "alt_text": 2000,
}
_FILE_ID = re.compile(r"F[A-Z0-9]{8,}")


class BadBlocks(ValueError):
    """A message that Slack would not take; each problem with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def check_message(text: str, blocks: list[dict[str, Any]]) -> None:
    """Raise ``BadBlocks`` where a message breaks a limit."""
    problems = list(_blocks(blocks, MESSAGE_BLOCKS))
    if not text.strip():
        problems.append("text: the fallback is empty")
    if len(text) > MESSAGE_TEXT:
        problems.append(f"text: {len(text)} characters, {MESSAGE_TEXT} fit")
    total = characters(blocks)
    if total > MESSAGE_CHARACTERS:
        problems.append(f"blocks: {total} characters in all, {MESSAGE_CHARACTERS} fit")
    if problems:
        raise BadBlocks(problems)


def characters(blocks: list[dict[str, Any]]) -> int:
    """Of all texts of these blocks together."""
    return sum(len(part) for part in _texts(blocks))


def check_modal(view: dict[str, Any]) -> None:
    """Raise ``BadBlocks`` where a modal breaks a limit."""
    problems = list(_blocks(view["blocks"], MODAL_BLOCKS))
    for name in ("title", "submit", "close"):
        if name in view:
            problems += _length(view[name], "title", name)
    if any(block["type"] == "input" for block in view["blocks"]) and "submit" not in view:
        problems.append("submit: a form needs it")
    if len(view.get("private_metadata", "")) > 3000:
        problems.append("private_metadata: longer than 3000")
    if problems:
        raise BadBlocks(problems)


def _blocks(blocks: list[dict[str, Any]], most: int) -> Iterator[str]:
    if len(blocks) > most:
        yield f"blocks: {len(blocks)}, {most} fit"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)):
        yield "block_id: the same twice"
    for number, block in enumerate(blocks):
        yield from _block(block, f"blocks/{number}")


def _block(block: dict[str, Any], at: str) -> Iterator[str]:
    match block["type"]:
        case "header":
            yield from _length(block["text"], "header", at)
        case "section":
            if "text" in block:
                yield from _length(block["text"], "section", at)
            shown = block.get("fields", [])
            if len(shown) > 10 or ("text" not in block and not shown):
                yield f"{at}: {len(shown)} fields"
            for field in shown:
                yield from _length(field, "field", at)
        case "context":
            if not 1 <= len(block["elements"]) <= 10:
                yield f"{at}: {len(block['elements'])} elements"
            for element in block["elements"]:
                yield from _length(element, "context", at)
        case "actions":
            if not 1 <= len(block["elements"]) <= 25:
                yield f"{at}: {len(block['elements'])} elements"
            names = [element["action_id"] for element in block["elements"]]
            if len(names) != len(set(names)):
                yield f"{at}: the same action_id twice"
            for element in block["elements"]:
                yield from _button(element, at)
        case "input":
            yield from _length(block["label"], "label", at)
            for option in block["element"].get("options", []):
                yield from _length(option["text"], "option", at)
        case "image":
            yield from _length({"text": block.get("alt_text", "")}, "alt_text", at)
            if not _FILE_ID.fullmatch(block.get("slack_file", {}).get("id", "")):
                yield f"{at}: a picture without an uploaded file"
        case "divider":
            pass
        case other:
            yield f"{at}: a block of type {other} is not known here"


def _button(element: dict[str, Any], at: str) -> Iterator[str]:
    yield from _length(element["text"], "button", at)
    if len(element.get("value", "")) > _TEXT["value"]:
        yield f"{at}: a button's value is too long"
    confirm = element.get("confirm")
    if element.get("style") == "danger" and confirm is None:
        yield f"{at}: danger without a confirmation"
    if confirm is not None:
        yield from _length(confirm["title"], "confirm_title", at)
        yield from _length(confirm["text"], "confirm_text", at)
        yield from _length(confirm["confirm"], "confirm_button", at)
        yield from _length(confirm["deny"], "confirm_button", at)


def _length(text: dict[str, Any], kind: str, at: str) -> list[str]:
    length = len(text["text"])
    if not 1 <= length <= _TEXT[kind]:
        return [f"{at}: {kind} of {length} characters, 1 to {_TEXT[kind]} fit"]
    return []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["text"]
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
