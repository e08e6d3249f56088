"""Brings a picture into Slack: uploaded to nobody, so that it is seen only where a message shows it."""

import asyncio
from typing import Any

from domain.effects import Drawn
from domain.errors import Undeliverable
from notify.slack.client import Api

MOST_BYTES = 3_000_000
"""A chart is some 100 kB; whatever is larger than this was drawn wrongly."""

PAUSES = (0.25, 0.5, 0.5, 1.0, 1.0)
"""Seconds between two questions whether the file is ready. Slack works on it after the upload was
completed, for one to two seconds as a rule (metabase/metabase, src/metabase/channel/slack.clj)."""


async def upload(api: Api, drawn: Drawn) -> str:
    """The id of the file, as far as we know ready to be shown. Raises ``Outage`` and ``Undeliverable``.

    The caller limits the time. Whatever ends this early leaves at most a file that nobody sees.
    """
    if len(drawn.png) > MOST_BYTES:
        raise Undeliverable(f"a picture of {len(drawn.png)} bytes")
    ticket = await api.ask(api.web.files_getUploadURLExternal, filename=drawn.filename, length=len(drawn.png))
    file_id = str(ticket["file_id"])
    await api.hand_over(ticket["upload_url"], drawn.png)
    if not await _complete(api, file_id, drawn.filename):
        await _wait(api, file_id, drawn.filename)
    return file_id


def is_ready(answer: dict[str, Any]) -> bool:
    """Whether a completed file may be shown: it has its type, or the answer has only what is documented."""
    files: list[dict[str, Any]] = answer.get("files") or [{}]
    return bool(files[0].get("filetype", "not told"))


async def _complete(api: Api, file_id: str, title: str) -> bool:
    """End the upload, as often as one likes."""
    files = [{"id": file_id, "title": title}]
    return is_ready(await api.ask(api.web.files_completeUploadExternal, files=files))


async def _wait(api: Api, file_id: str, title: str) -> None:
    """Ask by completing once more, which needs no further scope; a refusal says nothing about the file."""
    for pause in PAUSES:
        await asyncio.sleep(pause)
        try:
            if await _complete(api, file_id, title):
                return
        except Undeliverable:
            return
