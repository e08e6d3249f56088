"""Whether a signed body has the shape of something Slack sends, before anybody works with it."""

import json
from typing import Any
from urllib.parse import parse_qs

DEEPEST = 60
"""Levels of nesting; Slack's own payloads have about fifteen."""

IDS = ("user_id", "channel_id", "team_id", "trigger_id", "response_url", "text", "user_name", "command")
"""What a command holds as plain text."""

OBJECTS = ("user", "team", "channel", "message", "container", "view", "enterprise", "state", "event")
"""What is an object wherever it occurs in a payload, or is left out."""

INTERACTIONS = frozenset(
    {
        "block_actions",
        "block_suggestion",
        "view_submission",
        "view_closed",
        "message_action",
        "shortcut",
        "dialog_submission",
        "dialog_suggestion",
        "dialog_cancellation",
        "interactive_message",
        "workflow_step_edit",
    }
)


class Malformed(Exception):
    """It is not what Slack sends. The reason names no content."""


def check(body: bytes, content_type: str) -> None:
    """Raise ``Malformed`` for a body that Slack cannot have meant."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
    if content_type == "application/json" or text.lstrip()[:1] in {"{", "["}:
        _event(_object(text))
        return
    try:
        fields = parse_qs(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=100
        )
    except (ValueError, UnicodeDecodeError):
        raise Malformed("it is neither JSON nor a form") from None
    if any(len(values) > 1 for values in fields.values()):
        raise Malformed("a field is given twice")
    if "payload" in fields:
        _interaction(_object(fields["payload"][0]))
    elif fields.get("ssl_check") == ["1"]:
        return
    else:
        _command({name: values[0] for name, values in fields.items()})


def _command(fields: dict[str, str]) -> None:
    if not fields.get("command", "").startswith("/"):
        raise Malformed("it is neither a command nor a payload")
    for name in ("user_id", "channel_id", "trigger_id"):
        if not fields.get(name):
            raise Malformed(f"a command without {name}")


def _event(found: dict[str, Any]) -> None:
    kind = _text(found, "type")
    if kind == "url_verification":
        _text(found, "challenge")
    elif kind == "event_callback":
        event = found.get("event")
        if not isinstance(event, dict):
            raise Malformed("an event without an object")
        _text(event, "type")
    elif kind in INTERACTIONS:
        _interaction(found)


def _interaction(found: dict[str, Any]) -> None:
    kind = _text(found, "type")
    for name in OBJECTS:
        if found.get(name) is not None and not isinstance(found[name], dict):
            raise Malformed(f"{name} is no object")
    if kind not in INTERACTIONS:
        raise Malformed("an interaction of no known type")
    user = found.get("user")
    if not isinstance(user, dict):
        raise Malformed("an interaction of nobody")
    _text(user, "id")
    for holder, names in (("team", ("id",)), ("channel", ("id",)), ("view", ("id", "callback_id", "type"))):
        for name in names:
            if found.get(holder) and found[holder].get(name) is not None:
                # The Home tab is a view without a callback_id, which Slack sends as an empty text.
                _text(found[holder], name, may_be_empty=name == "callback_id")
    for name in ("trigger_id", "response_url", "callback_id", "action_id", "block_id", "value", "api_app_id"):
        if found.get(name) is not None:
            _text(found, name, may_be_empty=True)
    if kind == "block_actions":
        _actions(found.get("actions"))
    if kind in {"view_submission", "view_closed"}:
        _view(found.get("view"))


def _actions(actions: Any) -> None:
    if not isinstance(actions, list) or not actions:
        raise Malformed("a click without an action")
    for action in actions:
        if not isinstance(action, dict):
            raise Malformed("an action that is no object")
        for name in ("action_id", "block_id", "type"):
            _text(action, name)
        if action.get("value") is not None:
            _text(action, "value", may_be_empty=True)


def _view(view: Any) -> None:
    if not isinstance(view, dict):
        raise Malformed("a form without a view")
    state = view.get("state")
    if state is None:
        return
    values = state.get("values") if isinstance(state, dict) else None
    if not isinstance(values, dict):
        raise Malformed("a form whose state is no object")
    for block in values.values():
        if not isinstance(block, dict) or not all(isinstance(one, dict) for one in block.values()):
            raise Malformed("a form whose values are no objects")


def _text(holder: dict[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    found = holder.get(name)
    if not isinstance(found, str) or not (found or may_be_empty):
        raise Malformed(f"{name} is no text")
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("it is no object")
    _walk(found)
    return found


def _refused(_constant: str) -> Any:
    raise ValueError


def _walk(root: dict[str, Any]) -> None:
    """Refuse nesting that would break a recursive reader, and half characters."""
    level: list[Any] = [root]
    for _ in range(DEEPEST):
        following: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                following += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                following += one
            elif isinstance(one, str) and not one.isascii():
                try:
                    one.encode()
                except UnicodeEncodeError:
                    raise Malformed("it holds half a character") from None
        if not following:
            return
        level = following
    raise Malformed("it is nested too deeply")
