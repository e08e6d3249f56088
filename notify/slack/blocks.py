"""Block Kit by small functions that keep its limits (facts/slack.md §2.1)."""

from collections.abc import Iterable
from typing import Any

from notify.slack.escape import clamp, paragraph, plain, without_emoji

Block = dict[str, Any]


def header(text: str, mark: str = "") -> Block:
    """One line in large letters: plain text, at most 150 characters, behind an emoji of ours (``mark``)."""
    shown = plain(f"{mark} {without_emoji(text)}".strip(), 150)
    return {"type": "header", "text": {"type": "plain_text", "text": shown, "emoji": True}}


def section(mrkdwn: str) -> Block:
    """Our own markup, with what came from outside escaped already."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": clamp(mrkdwn, 3000), "verbatim": True}}


def said(text: str, limit: int = 1500) -> Block:
    """Text from outside, as it is, without any markup."""
    return {"type": "section", "text": {"type": "plain_text", "text": paragraph(text, limit), "emoji": False}}


def fields(pairs: Iterable[tuple[str, str]]) -> Block:
    """Name and value pairs in two columns; at most ten."""
    shown = [
        {"type": "mrkdwn", "text": clamp(f"*{name}*\n{value}", 2000), "verbatim": True}
        for name, value in pairs
    ]
    return {"type": "section", "fields": shown[:10]}


def context(*lines: str) -> Block:
    """Small print; at most ten lines, empty ones left out."""
    shown = [clamp(text, 2000) for text in lines if text.strip()][:10]
    return {
        "type": "context",
        "elements": [{"type": "mrkdwn", "text": text, "verbatim": True} for text in shown],
    }


def image(file_id: str, alt_text: str) -> Block:
    """A picture that was uploaded to Slack; ``alt_text`` says in words what it shows."""
    return {"type": "image", "slack_file": {"id": file_id}, "alt_text": plain(alt_text, 2000)}


def actions(*buttons: Block) -> Block:
    """A row of buttons."""
    return {"type": "actions", "elements": list(buttons)}


def button(
    text: str,
    action_id: str,
    value: str,
    *,
    style: str | None = None,
    confirm: Block | None = None,
    label: str | None = None,
) -> Block:
    """One button; ``danger`` only with a ``confirm``."""
    made: Block = {
        "type": "button",
        "text": {"type": "plain_text", "text": plain(text, 75)},
        "action_id": action_id,
        "value": value,
    }
    if style is not None:
        made["style"] = style
    if confirm is not None:
        made["confirm"] = confirm
    if label is not None:
        made["accessibility_label"] = plain(label, 75)
    return made


def confirm(title: str, text: str, yes: str, no: str) -> Block:
    """The question before a click counts."""
    return {
        "title": {"type": "plain_text", "text": plain(title, 100)},
        "text": {"type": "plain_text", "text": plain(text, 300)},
        "confirm": {"type": "plain_text", "text": plain(yes, 30)},
        "deny": {"type": "plain_text", "text": plain(no, 30)},
    }


def text_input(
    block_id: str,
    label: str,
    *,
    multiline: bool = False,
    initial: str | None = None,
    hint: str | None = None,
    max_length: int = 3000,
    optional: bool = False,
) -> Block:
    """A line or a box to write in; its action id is ``value``."""
    element: Block = {
        "type": "plain_text_input",
        "action_id": "value",
        "multiline": multiline,
        "max_length": max_length,
        "focus_on_load": False,
    }
    if initial:
        element["initial_value"] = clamp(initial, max_length)
    made: Block = {
        "type": "input",
        "block_id": block_id,
        "label": {"type": "plain_text", "text": plain(label, 2000)},
        "element": element,
        "optional": optional,
    }
    if hint:
        made["hint"] = {"type": "plain_text", "text": plain(hint, 2000)}
    return made


def suggested(block_id: str, label: str, action_id: str, *, hint: str, optional: bool = False) -> Block:
    """A menu whose choices are asked for while a person types; from the first letter on, and before it."""
    return {
        "type": "input",
        "block_id": block_id,
        "label": {"type": "plain_text", "text": plain(label, 2000)},
        "element": {"type": "external_select", "action_id": action_id, "min_query_length": 0},
        "hint": {"type": "plain_text", "text": plain(hint, 2000)},
        "optional": optional,
    }


def select(block_id: str, label: str, options: Iterable[tuple[str, str]], initial: str) -> Block:
    """A choice of one, from (value, text) pairs."""
    made = [
        {"text": {"type": "plain_text", "text": plain(text, 75)}, "value": value} for value, text in options
    ]
    return {
        "type": "input",
        "block_id": block_id,
        "label": {"type": "plain_text", "text": plain(label, 2000)},
        "element": {
            "type": "static_select",
            "action_id": "value",
            "options": made,
            "initial_option": next(option for option in made if option["value"] == initial),
        },
    }
