"""The Web API's conversations.* methods and users.conversations."""

import re
from bisect import bisect_left, bisect_right
from typing import Any

from sandbox.slack.call import Call
from sandbox.slack.docs import post_doc, room_doc
from sandbox.slack.errors import ApiError, invalid_arguments
from sandbox.slack.ids import micros_of, ts_of
from sandbox.slack.paging import cursor_of, page, read_cursor, window
from sandbox.slack.records import Post, Room

Json = dict[str, Any]

_TYPES = {
    "public_channel": "channels:read",
    "private_channel": "groups:read",
    "im": "im:read",
    "mpim": "mpim:read",
}


def _kind(room: Room) -> str:
    return "im" if room.is_im else "private_channel" if room.private else "public_channel"


def _listed(call: Call, *, mine: bool) -> Json:
    params, state = call.params, call.state
    types = params.words("types") or ["public_channel"]
    for kind in types:
        if kind not in _TYPES:
            raise ApiError("invalid_types")
        call.need(_TYPES[kind])
    user = params.text("user") or state.bot_user_id
    rooms = [
        room
        for room in state.rooms.values()
        if _kind(room) in types
        and not (room.archived and params.flag("exclude_archived"))
        and (state.bot_user_id in room.members or not room.private)
        and (not mine or user in room.members)
    ]
    chosen, cursor = page(params, rooms)
    docs = []
    for room in chosen:
        doc = room_doc(state, room)
        if not room.is_im and not mine:
            doc["num_members"] = len(room.members)
        docs.append(doc)
    return {"ok": True, "channels": docs, "response_metadata": {"next_cursor": cursor}}


def list_all(call: Call) -> Json:
    """List conversations by type, paged."""
    return _listed(call, mine=False)


def list_mine(call: Call) -> Json:
    """List the conversations that a member (by default the bot) is in."""
    return _listed(call, mine=True)


def info(call: Call) -> Json:
    """Describe one conversation."""
    room = call.room(kind="read")
    doc = room_doc(call.state, room)
    if call.params.flag("include_num_members"):
        doc["num_members"] = len(room.members)
    return {"ok": True, "channel": doc}


def _docs(call: Call, posts: list[Post]) -> list[Json]:
    metadata = call.params.flag("include_all_metadata")
    return [post_doc(call.state, post, metadata=metadata) for post in posts]


def history(call: Call) -> Json:
    """Return a conversation's top-level messages, newest first, between oldest and latest."""
    room = call.room(member=True, kind="history")
    state, params = call.state, call.params
    line = state.timeline[room.id]
    low, high = window(params, line)
    cursor = read_cursor(params, "next_ts")
    if cursor:
        high = min(high, bisect_right(line, ts_of(int(cursor))))
    start = max(low, high - params.number("limit", 100, 999))
    posts = [state.posts[room.id, ts] for ts in reversed(line[start:high])]
    more = start > low
    answer: Json = {
        "ok": True,
        "messages": _docs(call, posts),
        "has_more": more,
        "pin_count": len(room.pins),
        "channel_actions_ts": None,
        "channel_actions_count": 0,
    }
    for key in ("oldest", "latest"):
        if params.text(key):
            answer[key] = params.text(key)
    if more:
        answer["response_metadata"] = {"next_cursor": cursor_of("next_ts", str(micros_of(line[start - 1])))}
    return answer


def replies(call: Call) -> Json:
    """Return a thread, the parent first and then its replies, oldest first."""
    room = call.room(kind="history")
    if call.state.bot_user_id not in room.members:
        raise ApiError("channel_not_found")
    state, params = call.state, call.params
    asked = state.posts.get((room.id, params.needed("ts")))
    if asked is None or asked.whisper_to:
        raise ApiError("thread_not_found")
    root = asked.thread_ts or asked.ts
    line = state.threads.get((room.id, root), [])
    low, high = window(params, line)
    cursor = read_cursor(params, "next_ts")
    if cursor:
        low = max(low, bisect_left(line, ts_of(int(cursor))))
    end = min(high, low + params.number("limit", 1000, 1000))
    parent = state.posts.get((room.id, root))
    posts = ([parent] if parent else []) + [state.posts[room.id, ts] for ts in line[low:end]]
    answer: Json = {"ok": True, "messages": _docs(call, posts), "has_more": end < high}
    if end < high:
        answer["response_metadata"] = {"next_cursor": cursor_of("next_ts", str(micros_of(line[end])))}
    return answer


def open_im(call: Call) -> Json:
    """Open (or find) the direct messages with one person; groups of people are not offered."""
    call.need("im:write")
    params, state = call.params, call.state
    if params.text("channel"):
        room = call.room()
        return {"ok": True, "no_op": True, "already_open": True, "channel": {"id": room.id}}
    users = params.words("users")
    if not users:
        raise ApiError("users_list_not_supplied")
    if len(users) > 1:
        raise ApiError("too_many_users")
    user = state.users.get(users[0])
    if user is None:
        raise ApiError("user_not_found")
    if user.deleted:
        raise ApiError("user_disabled")
    if user.is_bot:
        raise ApiError("invalid_user_combination")
    known = user.id in state.ims
    room = state.im(user.id)
    answer: Json = {"ok": True, "channel": {"id": room.id}}
    if params.flag("return_im"):
        answer["channel"] = room_doc(state, room)
    if known:
        answer |= {"no_op": True, "already_open": True}
    return answer


def join(call: Call) -> Json:
    """Make the bot a member of a public channel."""
    room = call.room()
    if room.is_im or room.private:
        raise ApiError("method_not_supported_for_channel_type")
    if room.archived:
        raise ApiError("is_archived")
    answer: Json = {"ok": True}
    if call.state.bot_user_id in room.members:
        answer |= {
            "warning": "already_in_channel",
            "response_metadata": {"warnings": ["already_in_channel"]},
        }
    else:
        room.members.append(call.state.bot_user_id)
        call.state.save_room(room)
    return {**answer, "channel": room_doc(call.state, room)}


def members(call: Call) -> Json:
    """List the ids of a conversation's members, paged."""
    room = call.room(kind="read")
    chosen, cursor = page(call.params, room.members)
    return {"ok": True, "members": chosen, "response_metadata": {"next_cursor": cursor}}


def create(call: Call) -> Json:
    """Create a channel; its name has at most 80 lowercase letters, digits, hyphens and underscores."""
    params, state = call.params, call.state
    name = params.text("name").removeprefix("#")
    private = params.flag("is_private")
    call.need(*(("groups:write",) if private else ("channels:manage", "channels:write")))
    if not name:
        raise ApiError("invalid_name_required")
    if len(name) > 80:
        raise ApiError("invalid_name_maxlength")
    if not re.search(r"\w", name):
        raise ApiError("invalid_name_punctuation")
    if name != name.lower() or not re.fullmatch(r"[\w-]+", name):
        raise ApiError("invalid_name_specials")
    if name in state.room_names:
        raise ApiError("name_taken")
    room = Room(state.new_id("C"), name, state.seconds(), state.bot_user_id, [state.bot_user_id], private)
    state.save_room(room)
    return {"ok": True, "channel": room_doc(state, room)}


def archive(call: Call) -> Json:
    """Archive a channel."""
    room = call.room(member=True)
    if room.is_im:
        raise ApiError("method_not_supported_for_channel_type")
    if room.general:
        raise ApiError("cant_archive_general")
    if room.archived:
        raise ApiError("already_archived")
    room.archived = True
    call.state.save_room(room)
    return {"ok": True}


def invite(call: Call) -> Json:
    """Add people to a channel, at most 100 a call; with ``force`` the valid ones go in."""
    room = call.room(member=True)
    if room.is_im:
        raise ApiError("method_not_supported_for_channel_type")
    if room.archived:
        raise ApiError("is_archived")
    names = call.params.words("users")
    if not names:
        raise ApiError("no_user")
    if len(names) > 100:
        raise invalid_arguments("must provide no more than 100 users")
    faults = [
        {"user": name, "ok": False, "error": code} for name in names if (code := _uninvited(call, room, name))
    ]
    if faults and not (call.params.flag("force") and len(faults) < len(names)):
        raise ApiError(str(faults[0]["error"]), errors=faults)
    bad = {fault["user"] for fault in faults}
    room.members.extend(name for name in names if name not in bad)
    call.state.save_room(room)
    answer: Json = {"ok": True, "channel": room_doc(call.state, room)}
    return {**answer, "errors": faults} if faults else answer


def _uninvited(call: Call, room: Room, name: str) -> str:
    user = call.state.users.get(name)
    if user is None or user.deleted:
        return "user_not_found"
    if name == call.state.bot_user_id:
        return "cant_invite_self"
    return "already_in_channel" if name in room.members else ""


def set_topic(call: Call) -> Json:
    """Set a channel's topic, at most 250 characters."""
    room = call.room(member=True)
    if room.archived:
        raise ApiError("is_archived")
    topic = call.params.text("topic")
    if len(topic) > 250:
        raise ApiError("too_long")
    room.topic, room.topic_by, room.topic_at = topic, call.state.bot_user_id, call.state.seconds()
    call.state.save_room(room)
    return {"ok": True, "channel": room_doc(call.state, room)}
