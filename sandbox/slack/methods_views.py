"""The Web API's views.* methods."""

from typing import Any

from sandbox.slack.call import Call
from sandbox.slack.docs import view_doc
from sandbox.slack.errors import ApiError, invalid_arguments
from sandbox.slack.records import View
from sandbox.slack.viewing import first_values, new_hash, read_view, replace, show

Json = dict[str, Any]


def _given(call: Call, *kinds: str) -> Json:
    return read_view(call.state, call.params.json("view", "invalid_arguments"), kinds)


def _answer(call: Call, view: View) -> Json:
    return {"ok": True, "view": view_doc(call.state, view)}


def _trigger(call: Call) -> tuple[str, str]:
    trigger = call.params.text("trigger_id") or call.params.text("interactivity_pointer")
    if not trigger:
        raise invalid_arguments("missing required field: trigger_id")
    return call.triggers.exchange(trigger)


def open_view(call: Call) -> Json:
    """Open a modal for the person who clicked; over whatever modal of this app was open."""
    doc = _given(call, "modal")
    user, _ = _trigger(call)
    return _answer(call, show(call.state, user, doc))


def push(call: Call) -> Json:
    """Open a modal above the one that was clicked in, at most three deep."""
    doc = _given(call, "modal")
    user, under = _trigger(call)
    if not under:
        raise ApiError("not_found")
    return _answer(call, show(call.state, user, doc, on=under))


def update(call: Call) -> Json:
    """Replace an open modal's contents; with ``hash`` only if nobody did so before."""
    doc = _given(call, "modal", "home")
    params, state = call.params, call.state
    if params.text("view_id"):
        view = state.views.get(params.text("view_id"))
    else:
        external = params.needed("external_id")
        view = next((one for one in state.views.values() if one.doc.get("external_id") == external), None)
    if view is None or view.doc["type"] != doc["type"]:
        raise ApiError("not_found")
    if params.text("hash") and params.text("hash") != view.hash:
        raise ApiError("hash_conflict")
    replace(state, view, doc)
    return _answer(call, view)


def publish(call: Call) -> Json:
    """Put a Home tab before one person."""
    doc = _given(call, "home")
    params, state = call.params, call.state
    user = state.users.get(params.needed("user_id"))
    if user is None or user.is_bot or user.deleted:
        raise invalid_arguments("invalid `user_id`")
    view = state.homes.get(user.id)
    if view is not None and params.text("hash") and params.text("hash") != view.hash:
        raise ApiError("hash_conflict")
    if view is None:
        key = state.new_id("V")
        view = View(key, user.id, doc, new_hash(state), key, values=first_values(doc["blocks"]))
        state.save_view(view)
    else:
        replace(state, view, doc)
    return _answer(call, view)
