"""Putting views on people's screens: opening, pushing, updating and the fields' first values."""

from typing import Any

import orjson

from sandbox.slack.blockkit import MOST_VIEW_BYTES, judge_view
from sandbox.slack.errors import ApiError, invalid_arguments
from sandbox.slack.files import judge_files
from sandbox.slack.ids import base36
from sandbox.slack.posting import fill_ids
from sandbox.slack.records import View
from sandbox.slack.state import MAX_STACK, State

Json = dict[str, Any]


def read_view(state: State, view: Any, kinds: tuple[str, ...]) -> Json:
    """Return a judged view with ids filled in; raise invalid_arguments or view_too_large."""
    if not isinstance(view, dict):
        raise invalid_arguments("missing required field: view")
    problems = judge_view(view, kinds, "/view") or judge_files(state, view["blocks"], "/view/blocks")
    if problems:
        raise invalid_arguments(*(f"{one.message} [json-pointer:{one.pointer}]" for one in problems))
    if len(orjson.dumps(view)) > MOST_VIEW_BYTES:
        raise ApiError("view_too_large")
    fill_ids(view["blocks"])
    return view


def new_hash(state: State) -> str:
    """Return the hash of a view's new contents, as ``seconds.letters``."""
    return f"{state.seconds()}.{base36(int(state.stamps.next().replace('.', '')), 11)[-8:]}"


def _unclaimed(state: State, doc: Json, own: str = "") -> None:
    external = doc.get("external_id")
    if external and any(v.doc.get("external_id") == external and v.id != own for v in state.views.values()):
        raise ApiError("duplicate_external_id")


def show(state: State, user: str, doc: Json, *, on: str = "") -> View:
    """Open a modal for a person, above the view ``on`` or as a new stack; raise push_limit_reached."""
    _unclaimed(state, doc)
    stack = state.stacks[user]
    if on:
        if on not in stack:
            raise ApiError("not_found")
        if len(stack) >= MAX_STACK:
            raise ApiError("push_limit_reached")
        state.drop_views(user, stack[stack.index(on) + 1 :])
    elif stack:
        state.drop_views(user, list(stack))
    key = state.new_id("V")
    root = state.views[on].root if on else key
    view = View(key, user, doc, new_hash(state), root, on, first_values(doc["blocks"]))
    state.save_view(view)
    return view


def replace(state: State, view: View, doc: Json) -> None:
    """Put new contents in an open view; what was typed stays where block_id and action_id stay."""
    _unclaimed(state, doc, view.id)
    values = first_values(doc["blocks"])
    for block_id, actions in values.items():
        for action_id, value in actions.items():
            old = view.values.get(block_id, {}).get(action_id)
            if old is not None and old["type"] == value["type"]:
                actions[action_id] = old
    view.doc, view.hash, view.values, view.errors = doc, new_hash(state), values, {}
    state.save_view(view)


def fields(blocks: list[Json]) -> list[tuple[Json, Json]]:
    """Return every (block, element) of a view that holds state."""
    found: list[tuple[Json, Json]] = []
    for block in blocks:
        elements = [block.get("element"), block.get("accessory")]
        if block["type"] == "actions":
            elements += block["elements"]
        found += [(block, one) for one in elements if isinstance(one, dict) and one["type"] in _EMPTY]
    return found


_EMPTY: dict[str, tuple[str, str, Any]] = {
    "plain_text_input": ("value", "initial_value", None),
    "email_text_input": ("value", "initial_value", None),
    "url_text_input": ("value", "initial_value", None),
    "number_input": ("value", "initial_value", None),
    "rich_text_input": ("rich_text_value", "initial_value", None),
    "static_select": ("selected_option", "initial_option", None),
    "external_select": ("selected_option", "initial_option", None),
    "radio_buttons": ("selected_option", "initial_option", None),
    "checkboxes": ("selected_options", "initial_options", []),
    "multi_static_select": ("selected_options", "initial_options", []),
    "multi_external_select": ("selected_options", "initial_options", []),
    "users_select": ("selected_user", "initial_user", None),
    "multi_users_select": ("selected_users", "initial_users", []),
    "channels_select": ("selected_channel", "initial_channel", None),
    "multi_channels_select": ("selected_channels", "initial_channels", []),
    "conversations_select": ("selected_conversation", "initial_conversation", None),
    "multi_conversations_select": ("selected_conversations", "initial_conversations", []),
    "datepicker": ("selected_date", "initial_date", None),
    "timepicker": ("selected_time", "initial_time", None),
    "datetimepicker": ("selected_date_time", "initial_date_time", None),
    "file_input": ("files", "files", []),
}


def value_key(kind: str) -> str:
    """Return the key under which an element of a type keeps its value in ``state.values``."""
    return _EMPTY[kind][0]


def first_values(blocks: list[Json]) -> dict[str, dict[str, Json]]:
    """Return ``state.values`` of a view as it opens: every field listed, empty ones as null or []."""
    values: dict[str, dict[str, Json]] = {}
    for block, element in fields(blocks):
        key, initial, empty = _EMPTY[element["type"]]
        value = element.get(initial, empty)
        values.setdefault(block["block_id"], {})[element["action_id"]] = {"type": element["type"], key: value}
    return values
