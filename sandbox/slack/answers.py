"""What the bot may answer outside the Web API: acknowledgement bodies and response_urls."""

import secrets
from dataclasses import replace as changed
from typing import Any

import orjson
from aiohttp import web

from sandbox.slack.delivery import Delivery
from sandbox.slack.errors import ApiError
from sandbox.slack.params import Params
from sandbox.slack.posting import LONGEST_TEXT, post_as_app, read_attachments, read_blocks, thread_of
from sandbox.slack.records import Post, ReturnAddress, Room, User, View
from sandbox.slack.state import State
from sandbox.slack.viewing import read_view, replace, show

Json = dict[str, Any]

MOST_USES = 5
LIFETIME = 30 * 60.0  # Seconds of the workspace's clock.


def new_address(
    state: State, user: User, room: Room, post: Post | None = None, thread_ts: str = ""
) -> ReturnAddress:
    """Return a fresh response_url for an interaction of ``user`` in ``room``, about ``post`` if any."""
    address = ReturnAddress(secrets.token_hex(16), user.id, room.id, state.clock.now().timestamp())
    if post is not None:
        address.message_ts, address.ephemeral = post.ts, bool(post.whisper_to)
        address.thread_ts = post.thread_ts
    address.thread_ts = thread_ts or address.thread_ts
    state.save_address(address)
    return address


def respond(state: State, key: str, body: Json) -> None:
    """Carry out one answer to a response_url.

    Raise used_url after five, expired_url after thirty minutes of the workspace's clock, invalid_url, or
    whatever is wrong with the message.
    """
    address = state.addresses.get(key)
    if address is None:
        raise ApiError("invalid_url")
    if address.uses >= MOST_USES:
        raise ApiError("used_url")
    if state.clock.now().timestamp() - address.born > LIFETIME:
        raise ApiError("expired_url")
    params = Params(body)
    original = state.posts.get((address.channel, address.message_ts))
    if params.flag("delete_original"):
        if original is None:
            raise ApiError("message_not_found")
        state.erase(original)
    else:
        _say(state, address, params, original)
    address.uses += 1
    state.save_address(address)


def _say(state: State, address: ReturnAddress, params: Params, original: Post | None) -> None:
    blocks = read_blocks(params, state)
    attachments = read_attachments(params)
    text = params.text("text")[:LONGEST_TEXT]
    if not text and not blocks and not attachments:
        raise ApiError("no_text")
    room = state.rooms[address.channel]
    if params.flag("replace_original"):
        if original is None:
            raise ApiError("message_not_found")
        original.text, original.blocks, original.attachments = text, blocks, attachments
        state.save_post(original)
        return
    thread_ts = params.text("thread_ts") or (address.thread_ts if address.ephemeral else "")
    if room.archived:
        raise ApiError("is_archived")
    whisper_to = "" if params.text("response_type") == "in_channel" else address.user
    if not whisper_to:
        thread_of(state, room, thread_ts)
    post_as_app(
        state, room, text, blocks, attachments=attachments, thread_ts=thread_ts, whisper_to=whisper_to
    )


async def read_answer(request: web.Request) -> Json:
    """Return the JSON posted to a response_url; raise invalid_payload."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise ApiError("invalid_payload") from None
    if not isinstance(body, dict):
        raise ApiError("invalid_payload")
    return body


def settle_command(state: State, user: User, room: Room, delivery: Delivery) -> Delivery:
    """Show what a slash command was acknowledged with: text or JSON, ephemeral unless in_channel."""
    if not delivery.ok or not delivery.body.strip():
        return delivery
    answer = delivery.json()
    body: Json = answer if isinstance(answer, dict) else {"text": delivery.body.decode(errors="replace")}
    if body == {}:
        return delivery
    try:
        _say(state, ReturnAddress("", user.id, room.id, 0.0), Params(body), None)
    except ApiError as error:
        return changed(delivery, error="invalid_command_response", reason=error.code)
    return delivery


def settle_submission(state: State, user: User, view: View, delivery: Delivery) -> Delivery:
    """Do what a view_submission was answered with: close, clear, errors, update or push."""
    if not delivery.ok:
        return delivery
    answer = delivery.json() if delivery.body.strip() else {}
    if not isinstance(answer, dict):
        return changed(delivery, error="dispatch_failed", reason="the answer is not a JSON object")
    try:
        complaints = _follow(state, user, view, answer)
    except ApiError as error:
        reason = f"{error.code} {error.extra.get('response_metadata', '')}".strip()
        return changed(delivery, error="dispatch_failed", reason=reason)
    return changed(delivery, errors=complaints) if complaints else delivery


def _follow(state: State, user: User, view: View, answer: Json) -> dict[str, str]:
    action = answer.get("response_action")
    if view.id not in state.stacks[user.id]:
        return {}
    if action is None:
        state.drop_views(user.id, [view.id])
    elif action == "clear":
        state.drop_views(user.id, list(state.stacks[user.id]))
    elif action == "update":
        replace(state, view, read_view(state, answer.get("view"), ("modal",)))
    elif action == "push":
        show(state, user.id, read_view(state, answer.get("view"), ("modal",)), on=view.id)
    elif action == "errors":
        return _complain(state, view, answer.get("errors"))
    else:
        raise ApiError(f"unknown response_action {action}")
    return {}


def _complain(state: State, view: View, errors: Any) -> dict[str, str]:
    inputs = {block["block_id"] for block in view.doc["blocks"] if block["type"] == "input"}
    if not isinstance(errors, dict) or not errors:
        raise ApiError("errors must name at least one block")
    for block_id, text in errors.items():
        if block_id not in inputs or not isinstance(text, str) or not text:
            raise ApiError(f"errors name {block_id!r}, which is no input block of this view")
    view.errors = errors
    state.save_view(view)
    return errors
