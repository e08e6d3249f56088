"""What the workspace knows of a file: its kind, its document, and whether a message may show it."""

import re
from typing import Any
from urllib.parse import quote

from sandbox.slack.blockkit_shape import Problem
from sandbox.slack.records import File
from sandbox.slack.state import State

Json = dict[str, Any]

MOST_BYTES = 3 * 1024**2
"""A pretend team restricts uploads to so much; Slack itself takes a gigabyte."""

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": ("image/png", "png", "PNG"),
    b"\xff\xd8\xff": ("image/jpeg", "jpg", "JPEG"),
    b"GIF8": ("image/gif", "gif", "GIF"),
}
_UNKNOWN = ("text/plain", "text", "Plain Text")
_WORKED_ON = ("", "", "")
_ID_IN_URL = re.compile(r"[-/](F[A-Z0-9]{8,})/")


def kind_of(content: bytes) -> tuple[str, str, str]:
    """Return (mimetype, filetype, pretty type) by the first bytes."""
    return next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), _UNKNOWN)


def is_image(content: bytes) -> bool:
    """Say whether it is one of the kinds that an image block shows: png, jpg, gif."""
    return kind_of(content) != _UNKNOWN


def owns(state: State, file: File) -> bool:
    """Say whether the app may use a file: its own, or one that was shared where it is a member."""
    rooms = (state.rooms[channel] for channel in file.channels)
    return file.user == state.bot_user_id or any(state.bot_user_id in room.members for room in rooms)


def is_ready(state: State, file: File) -> bool:
    """Look at a file once more; the first ``state.file_delay`` looks see it still being worked on."""
    if not file.waits:
        return True
    file.waits -= 1
    state.save_file(file)
    return False


def path_of(state: State, file: File) -> str:
    """Return where a file's bytes are served, on this server."""
    return f"/files-pri/{state.team_id}-{file.id}/{quote(file.name)}"


def file_doc(state: State, file: File, *, ready: bool = True) -> Json:
    """Return a file as Slack describes it; one that is worked on has no type yet (java-slack-sdk#1349)."""
    content = state.contents[file.id]
    mimetype, filetype, pretty = kind_of(content) if ready else _WORKED_ON
    private = f"{state.site}{path_of(state, file)}"
    rooms = [state.rooms[channel] for channel in file.channels]
    doc: Json = {
        "id": file.id,
        "created": file.created,
        "timestamp": file.created,
        "name": file.name,
        "title": file.title or file.name,
        "mimetype": mimetype,
        "filetype": filetype,
        "pretty_type": pretty,
        "user": file.user,
        "editable": False,
        "size": len(content),
        "mode": "hosted",
        "is_external": False,
        "external_type": "",
        "is_public": any(not room.private for room in rooms),
        "public_url_shared": False,
        "display_as_bot": False,
        "username": "",
        "url_private": private,
        "url_private_download": private,
        "permalink": f"{state.site}/files/{file.user}/{file.id}/{quote(file.name)}",
        "permalink_public": "",
        "comments_count": 0,
        "is_starred": False,
        "shares": {},
        "channels": [room.id for room in rooms if not room.private],
        "groups": [room.id for room in rooms if room.private and not room.is_im],
        "ims": [room.id for room in rooms if room.is_im],
        "has_rich_preview": False,
    }
    if file.alt_txt:
        doc["alt_txt"] = file.alt_txt
    if filetype == "png":
        doc["original_w"] = int.from_bytes(content[16:20], "big")
        doc["original_h"] = int.from_bytes(content[20:24], "big")
    return doc


def find_file(state: State, slack_file: Json) -> File | None:
    """Return the file of an image block by its id, url_private or permalink; None where there is none."""
    key = str(slack_file.get("id", ""))
    if not key:
        url = str(slack_file.get("url", ""))
        found = _ID_IN_URL.search(url.removeprefix(state.site)) if url.startswith(state.site) else None
        key = found.group(1) if found else ""
    file = state.files.get(key)
    return file if file is not None and file.complete and not file.deleted else None


def _shown(value: Any, at: str) -> list[tuple[Json, str]]:
    """Return every image block and element with its pointer, however deep."""
    if isinstance(value, list):
        return [found for index, one in enumerate(value) for found in _shown(one, f"{at}/{index}")]
    if not isinstance(value, dict):
        return []
    own = [(value, at)] if value.get("type") == "image" else []
    return own + [found for key, one in value.items() for found in _shown(one, f"{at}/{key}")]


def judge_files(state: State, blocks: Any, at: str) -> list[Problem]:
    """Return what is wrong with the files that blocks show: unknown, foreign, no image, not ready yet."""
    problems = []
    for image, pointer in _shown(blocks, at):
        url = image.get("image_url", "")
        if url.startswith(f"{state.site}/files-pri/") and state.site:
            problems.append(Problem(f"{pointer}/image_url", "downloading image failed", "image"))
        if "slack_file" not in image:
            continue
        file = find_file(state, image["slack_file"])
        usable = file is not None and owns(state, file) and is_image(state.contents[file.id])
        if file is None or not usable or not is_ready(state, file):
            problems.append(Problem(f"{pointer}/slack_file", "invalid slack file", "slack_file"))
    return problems
