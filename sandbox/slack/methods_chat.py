"""The Web API's chat.* methods, and reactions and pins."""

from typing import Any

from sandbox.slack.call import Call
from sandbox.slack.docs import post_doc
from sandbox.slack.errors import ApiError
from sandbox.slack.posting import (
    LONGEST_TEXT,
    post_as_app,
    read_attachments,
    read_blocks,
    read_metadata,
    read_text,
    thread_of,
)
from sandbox.slack.records import Room

Json = dict[str, Any]


def _may_post(call: Call, room: Room) -> None:
    if room.archived:
        raise ApiError("is_archived")
    inside = room.is_im or call.state.bot_user_id in room.members
    if not inside and (room.private or not call.has("chat:write.public")):
        raise ApiError("not_in_channel")


def post_message(call: Call) -> Json:
    """Post to a conversation; a public channel without the bot needs chat:write.public."""
    room = call.target()
    _may_post(call, room)
    params = call.params
    blocks = read_blocks(params, call.state)
    attachments = read_attachments(params)
    text = read_text(params, blocks)
    if not text and not blocks and not attachments:
        raise ApiError("no_text")
    thread_ts = thread_of(call.state, room, params.text("thread_ts"))
    metadata = read_metadata(params)
    post = post_as_app(
        call.state,
        room,
        text[:LONGEST_TEXT],
        blocks,
        attachments=attachments,
        thread_ts=thread_ts,
        broadcast=bool(thread_ts) and params.flag("reply_broadcast"),
        metadata=metadata or None,
    )
    answer = {
        "ok": True,
        "channel": room.id,
        "ts": post.ts,
        "message": post_doc(call.state, post, metadata=True),
    }
    if len(text) > LONGEST_TEXT:
        answer["response_metadata"] = {"warnings": ["message_truncated"]}
    return answer


def update(call: Call) -> Json:
    """Change the app's own message; text without blocks removes the blocks, metadata stays unless given."""
    room = call.room()
    post = call.post(room)
    if not post.by_app:
        raise ApiError("cant_update_message")
    if room.archived:
        raise ApiError("is_inactive")
    params = call.params
    blocks = read_blocks(params, call.state)
    attachments = read_attachments(params)
    text = read_text(params, blocks)
    if len(text) > 4_000:
        raise ApiError("msg_too_long")
    emptied = params.has("blocks") and blocks is None
    if not text and blocks is None and attachments is None and (emptied or not params.has("metadata")):
        raise ApiError("no_text")
    metadata = read_metadata(params)
    if text or blocks is not None:
        post.text, post.blocks = text, blocks
        post.edited = call.state.stamps.next() if blocks is None else post.edited
    if attachments is not None:
        post.attachments = attachments
    if metadata is not None:
        post.metadata = metadata or None
    if params.flag("reply_broadcast") and post.is_reply and not post.broadcast:
        raise ApiError("cant_broadcast_message")
    call.state.save_post(post)
    doc = post_doc(call.state, post, metadata=True)
    return {"ok": True, "channel": room.id, "ts": post.ts, "text": post.text, "message": doc}


def delete(call: Call) -> Json:
    """Delete the app's own message; a parent with replies leaves a tombstone behind."""
    room = call.room()
    post = call.post(room)
    if not post.by_app:
        raise ApiError("cant_delete_message")
    call.state.erase(post)
    return {"ok": True, "channel": room.id, "ts": post.ts}


def post_ephemeral(call: Call) -> Json:
    """Show a message to one member of the conversation only."""
    room = call.target()
    if room.archived:
        raise ApiError("is_archived")
    if call.state.bot_user_id not in room.members:
        raise ApiError("not_in_channel")
    user = call.params.needed("user")
    if user not in room.members or call.state.users[user].deleted:
        raise ApiError("user_not_in_channel")
    params = call.params
    blocks = read_blocks(params, call.state)
    attachments = read_attachments(params)
    text = read_text(params, blocks)
    if not text and not blocks and not attachments:
        raise ApiError("no_text")
    if len(text) > LONGEST_TEXT:
        raise ApiError("msg_too_long")
    thread_ts = params.text("thread_ts")
    post = post_as_app(
        call.state, room, text, blocks, attachments=attachments, thread_ts=thread_ts, whisper_to=user
    )
    return {"ok": True, "message_ts": post.ts}


def get_permalink(call: Call) -> Json:
    """Return an address of a message that opens in the sandbox's own page."""
    room = call.room()
    post = call.post(room, "message_ts")
    link = f"{call.site}/archives/{room.id}/p{post.ts.replace('.', '')}"
    if post.is_reply:
        link += f"?thread_ts={post.thread_ts}&cid={room.id}"
    return {"ok": True, "channel": room.id, "permalink": link}


def add_reaction(call: Call) -> Json:
    """Add the bot's reaction to a message."""
    room = call.room()
    if room.archived:
        raise ApiError("is_archived")
    post = call.post(room, "timestamp")
    name = call.params.needed("name").strip(":")
    if not name.replace("_", "").replace("-", "").replace("+", "").replace(":", "").isalnum():
        raise ApiError("invalid_name")
    users = post.reactions.setdefault(name, [])
    if call.state.bot_user_id in users:
        raise ApiError("already_reacted")
    users.append(call.state.bot_user_id)
    call.state.save_post(post)
    return {"ok": True}


def add_pin(call: Call) -> Json:
    """Pin a message to its conversation."""
    room = call.room(member=True)
    if not call.params.has("timestamp"):
        raise ApiError("no_item_specified")
    post = call.post(room, "timestamp")
    if post.ts in room.pins:
        raise ApiError("already_pinned")
    if len(room.pins) >= 100:
        raise ApiError("too_many_pins")
    room.pins.append(post.ts)
    call.state.save_room(room)
    return {"ok": True}
