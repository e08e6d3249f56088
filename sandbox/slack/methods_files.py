"""The Web API's files.* methods: an upload in three steps, looking at a file and deleting it."""

import secrets
from typing import Any

from sandbox.slack.call import Call
from sandbox.slack.errors import ApiError, invalid_arguments
from sandbox.slack.files import MOST_BYTES, file_doc, is_ready, owns
from sandbox.slack.params import Params
from sandbox.slack.posting import post_as_app, read_blocks
from sandbox.slack.records import File, Room

Json = dict[str, Any]

MOST_SNIPPET = 1024**2
MOST_CHANNELS = 100
SNIPPETS = frozenset(
    {"text", "csv", "diff", "go", "html", "javascript", "json", "markdown", "python", "shell", "sql", "yaml"}
)


def get_upload_url(call: Call) -> Json:
    """Announce a file by name and length; the answer says where its bytes go, once."""
    params, state = call.params, call.state
    name, length = params.needed("filename"), _length(params)
    if len(params.text("alt_txt")) > 1000:
        raise ApiError("alt_txt_too_large")
    snippet = params.text("snippet_type")
    if snippet and snippet not in SNIPPETS:
        raise ApiError("unknown_snippet_type")
    if snippet and length > MOST_SNIPPET:
        raise ApiError("snippet_too_large")
    if length > MOST_BYTES:
        raise ApiError("file_upload_size_restricted")
    file = File(state.new_id("F"), state.bot_user_id, name.replace("/", "_"), length, state.seconds())
    file.ticket, file.alt_txt = secrets.token_urlsafe(24), params.text("alt_txt")
    state.save_file(file)
    return {"ok": True, "upload_url": f"{call.site}/upload/v1/{file.ticket}", "file_id": file.id}


def _length(params: Params) -> int:
    raw = params.needed("length")
    if not raw.isdigit():
        raise invalid_arguments("must be an integer [json-pointer:/length]")
    if not int(raw):
        raise ApiError("missing_argument")
    return int(raw)


def complete_upload(call: Call) -> Json:
    """End uploads whose bytes have come, and share them where channels are named. Doing so again is fine."""
    state = call.state
    given = _given(call.params)
    files = []
    for one in given:
        file = state.files.get(one["id"])
        if file is None or file.id not in state.contents or file.deleted:
            raise ApiError("file_not_found")
        if file.user != state.bot_user_id:
            raise ApiError("access_denied")
        files.append(file)
    rooms = [_room(call, name) for name in _channels(call.params)]
    blocks = None if call.params.text("initial_comment") else read_blocks(call.params, state)
    thread_ts = _thread(call, rooms)
    for one, file in zip(given, files, strict=True):
        if not file.complete:
            file.complete, file.waits = True, state.file_delay
        file.title = str(one.get("title") or file.title)
        file.channels = list(dict.fromkeys([*file.channels, *(room.id for room in rooms)]))
        state.save_file(file)
    for room in rooms:
        text = call.params.text("initial_comment")
        ids = [file.id for file in files]
        post_as_app(state, room, text, blocks, thread_ts=thread_ts, files=ids)
    return {"ok": True, "files": [file_doc(state, file, ready=is_ready(state, file)) for file in files]}


def _given(params: Params) -> list[Json]:
    given = params.json("files", "invalid_arguments")
    if not isinstance(given, list) or not given:
        raise invalid_arguments("missing required field: files")
    for index, one in enumerate(given):
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            raise invalid_arguments(f"missing required field: id [json-pointer:/files/{index}]")
        if len(str(one.get("highlight_type") or "")) > 10:
            raise invalid_arguments(
                f"must be less than 11 characters [json-pointer:/files/{index}/highlight_type]"
            )
    return given


def _channels(params: Params) -> list[str]:
    names = [*filter(None, [params.text("channel_id")]), *params.words("channels")]
    if len(names) > MOST_CHANNELS:
        raise ApiError("channels_limit_exceeded")
    return list(dict.fromkeys(names))


def _room(call: Call, name: str) -> Room:
    state = call.state
    user = state.users.get(name)
    if user is not None and not user.is_bot and not user.deleted:
        return state.im(user.id)
    room = state.rooms.get(name)
    if room is None or (room.private and state.bot_user_id not in room.members):
        raise ApiError("channel_not_found")
    if state.bot_user_id not in room.members:
        raise ApiError("not_in_channel")
    if room.archived:
        raise ApiError("posting_to_channel_denied")
    return room


def _thread(call: Call, rooms: list[Room]) -> str:
    thread_ts = call.params.text("thread_ts")
    if not thread_ts:
        return ""
    parent = call.state.posts.get((rooms[0].id, thread_ts)) if len(rooms) == 1 else None
    if parent is None or parent.whisper_to or parent.is_reply:
        raise invalid_arguments("invalid `thread_ts`")
    return thread_ts


def file_info(call: Call) -> Json:
    """Describe one file."""
    file = call.state.files.get(call.params.needed("file"))
    if file is None or not file.complete or not owns(call.state, file):
        raise ApiError("file_not_found")
    if file.deleted:
        raise ApiError("file_deleted")
    return {
        "ok": True,
        "file": file_doc(call.state, file, ready=is_ready(call.state, file)),
        "comments": [],
        "response_metadata": {"next_cursor": ""},
    }


def delete(call: Call) -> Json:
    """Delete one of the app's own files; messages that show it keep their words."""
    state = call.state
    file = state.files.get(call.params.needed("file"))
    if file is None or not file.complete or not owns(state, file):
        raise ApiError("file_not_found")
    if file.deleted:
        raise ApiError("file_deleted")
    if file.user != state.bot_user_id:
        raise ApiError("cant_delete_file")
    state.drop_file(file)
    return {"ok": True}
