"""How a person operates an element: which one a label means, and what choosing or typing makes of it."""

import re
from collections.abc import Callable
from typing import Any

from sandbox.slack.reading import elements_of, labels_of, options_of
from sandbox.slack.viewing import value_key

Json = dict[str, Any]
Resolve = Callable[[str], str]


def find_element(
    blocks: list[Json], wanted: str, person: str, block_id: str = ""
) -> tuple[Json, Json, Json | None]:
    """Return (block, element, option) meant by visible text, action_id or accessibility label.

    The option is set where the text names one of a menu's. Raise LookupError listing what there is.
    """
    inside = [block for block in blocks if block_id in {"", block["block_id"]}]
    there = [(b, e) for b, e in elements_of(inside) if person in e.get("visible_to_user_ids", [person])]
    for block, element in there:
        if element.get("action_id") == wanted or wanted == element.get("accessibility_label"):
            return block, element, None
    for block, element in there:
        if element["type"] == "button" and wanted in labels_of(element):
            return block, element, None
    for block, element in there:
        for option in options_of(element):
            if wanted in {option["text"]["text"], option.get("value")}:
                return block, element, option
    for block, element in there:
        if wanted in {element.get("placeholder", {}).get("text"), block.get("label", {}).get("text")}:
            return block, element, None
    known = ", ".join(
        f"{'/'.join(labels_of(element)) or element['type']} ({element.get('action_id')})"
        for _, element in there
    )
    raise LookupError(f"nothing here is called {wanted!r}; there is: {known or 'nothing to press'}")


def _option(element: Json, wanted: str) -> Json:
    for option in options_of(element):
        if wanted in {option["text"]["text"], option.get("value")}:
            return {key: option[key] for key in ("text", "value") if key in option}
    if element["type"].endswith("external_select"):
        return {"text": {"type": "plain_text", "text": wanted, "emoji": True}, "value": wanted}
    raise LookupError(
        f"no option {wanted!r}; there are: {', '.join(o['text']['text'] for o in options_of(element))}"
    )


def chosen_value(element: Json, given: Any, user_of: Resolve, room_of: Resolve) -> Json:
    """Return an entry of ``state.values`` for what a person typed or chose; raise LookupError."""
    kind = element["type"]
    key = value_key(kind)
    value: Any = given
    many = kind == "checkboxes" or kind.startswith("multi_")
    if many:
        value = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    elif given is None or given == "":
        return {"type": kind, key: None}
    if "users" in kind:
        value = [user_of(one) for one in value] if many else user_of(value)
    elif "channels" in kind or "conversations" in kind:
        value = [room_of(one) for one in value] if many else room_of(value)
    elif key.startswith("selected_option"):
        value = [_pick(element, one) for one in value] if many else _pick(element, value)
    elif kind == "datetimepicker":
        value = int(given)
    elif not many:
        value = str(given)
    return {"type": kind, key: value}


def _pick(element: Json, wanted: Any) -> Json:
    return wanted if isinstance(wanted, dict) else _option(element, str(wanted))


def clicked(block: Json, element: Json, value: Json, action_ts: str) -> Json:
    """Return one entry of ``actions`` in a block_actions payload."""
    action: Json = {
        "action_id": element["action_id"],
        "block_id": block["block_id"],
        "type": element["type"],
        "action_ts": action_ts,
    }
    for key in ("text", "value", "style", "url", "placeholder", "confirm"):
        if key in element:
            action[key] = element[key]
    return {**action, **{key: inner for key, inner in value.items() if key != "type"}}


def complaint(block: Json, element: Json, value: Json) -> str:
    """Return what Slack's own client says about a field before it lets a form go, empty if nothing."""
    given = value[value_key(element["type"])]
    if given in (None, "", []):
        return "" if block.get("optional") else "Please complete this required field."
    text = given if isinstance(given, str) else ""
    if element["type"] == "plain_text_input":
        if len(text) < element.get("min_length", 0):
            return f"Please enter at least {element['min_length']} characters."
        if len(text) > element.get("max_length", 3000):
            return f"Please enter no more than {element.get('max_length', 3000)} characters."
    if element["type"] == "number_input" and not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return "Please enter a number."
    if element["type"] == "email_text_input" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text):
        return "Please enter a valid email address."
    if element["type"] == "url_text_input" and not re.match(r"https?://\S+", text):
        return "Please enter a valid URL."
    return ""
