"""What every way of posting shares: strict reading of blocks and metadata, and storing the message."""

from typing import Any

from sandbox.slack.blockkit import MOST_LETTERS, judge_blocks, judge_metadata, letters
from sandbox.slack.errors import ApiError
from sandbox.slack.files import judge_files
from sandbox.slack.ids import base36
from sandbox.slack.params import Params
from sandbox.slack.records import Post, Room
from sandbox.slack.state import State

Json = dict[str, Any]

LONGEST_TEXT = 40_000  # Longer text is cut (chat.postMessage, warning message_truncated).
MOST_METADATA = 16_384  # Bytes; Slack names no number, this keeps the bot honest.


class _Names:
    """Short ids for blocks and elements that came without one."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        """Return five characters, different from call to call."""
        self._count += 1
        return base36(self._count * 2_654_435 % 36**5, 5)


_names = _Names()


def fill_ids(blocks: list[Json]) -> list[Json]:
    """Give every block a block_id and every element an action_id, in place, as Slack does."""
    for block in blocks:
        block.setdefault("block_id", _names.next())
        elements = [block.get("accessory"), block.get("element")]
        if block.get("type") in {"actions", "context_actions"}:
            elements += block["elements"]
        for element in elements:
            if isinstance(element, dict) and element.get("type") != "image":
                element.setdefault("action_id", _names.next())
    return blocks


def read_blocks(params: Params, state: State) -> list[Json] | None:
    """Return the judged blocks of a message, None where there are none.

    Raise invalid_blocks_format, invalid_blocks or msg_blocks_too_long.
    """
    blocks = params.json("blocks", "invalid_blocks_format")
    if blocks is None or blocks == []:
        return None
    if not isinstance(blocks, list):
        raise ApiError("invalid_blocks_format")
    problems = judge_blocks(blocks, "message", "/blocks") or judge_files(state, blocks, "/blocks")
    if problems:
        told = [f"{problem.message} [json-pointer:{problem.pointer}]" for problem in problems]
        raise ApiError(
            "invalid_blocks",
            errors=told,
            response_metadata={"messages": [f"[ERROR] {text}" for text in told]},
        )
    if letters(blocks) > MOST_LETTERS:
        raise ApiError("msg_blocks_too_long")
    return fill_ids(blocks)


def read_metadata(params: Params) -> Json | None:
    """Return message metadata; raise invalid_metadata_format or metadata_too_large."""
    metadata = params.json("metadata", "invalid_metadata_format")
    if metadata is None:
        return None
    if not judge_metadata(metadata):
        raise ApiError("invalid_metadata_format")
    if len(str(metadata)) > MOST_METADATA:
        raise ApiError("metadata_too_large")
    return dict(metadata)


def read_attachments(params: Params, code: str = "invalid_attachments") -> list[Json] | None:
    """Return legacy attachments; raise too_many_attachments over one hundred."""
    attachments = params.json("attachments", code)
    if not attachments:
        return None
    if not isinstance(attachments, list):
        raise ApiError(code)
    if len(attachments) > 100:
        raise ApiError("too_many_attachments")
    return attachments


def read_text(params: Params, blocks: list[Json] | None) -> str:
    """Return the text of a message; markdown_text stands in for it and excludes text and blocks."""
    if params.has("markdown_text"):
        if params.text("text") or blocks:
            raise ApiError("markdown_text_conflict")
        text = params.text("markdown_text")
        if len(text) > 12_000:
            raise ApiError("msg_too_long")
        return text
    return params.text("text")


def thread_of(state: State, room: Room, thread_ts: str) -> str:
    """Return the parent's ts; raise thread_not_found, or cannot_reply_to_message for a reply's own ts."""
    if not thread_ts:
        return ""
    parent = state.posts.get((room.id, thread_ts))
    if parent is None or parent.whisper_to:
        raise ApiError("thread_not_found")
    if parent.is_reply:
        raise ApiError("cannot_reply_to_message")
    if room.threadless:
        raise ApiError("restricted_action_non_threadable_channel")
    if parent.no_replies:
        raise ApiError(parent.no_replies)
    return thread_ts


def post_as_app(state: State, room: Room, text: str, blocks: list[Json] | None, **more: Any) -> Post:
    """Store a message of the app; ``more`` are further fields of Post."""
    post = Post(room.id, state.stamps.next(), state.bot_user_id, text, blocks, by_app=True, **more)
    state.add_post(post)
    return post
