"""The two addresses of a file outside the Web API: where its bytes go to, and where they are looked at."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox.slack.api import ApiCall, hang_up
from sandbox.slack.faults import Action, Faults
from sandbox.slack.files import find_file, kind_of
from sandbox.slack.records import File
from sandbox.slack.state import State

UPLOAD = "upload_url"
"""The name of the upload address for faults and in the list of calls."""

_HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}


class Uploads:
    """Takes bytes against a ticket that files.getUploadURLExternal gave, and serves them."""

    def __init__(self, state: State, faults: Faults, told: Callable[[ApiCall], None]) -> None:
        self.state = state
        self.faults = faults
        self._told = told

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Take a file, raw or as a multipart form; the ticket is used up by the right number of bytes."""
        fault = self.faults.take(UPLOAD, "", "")
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(float(fault.value))
        response, outcome, params = await self._take(request, fault)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        kind = fault.kind if fault is not None else ""
        call = ApiCall(UPLOAD, params, self.state.clock.now(), outcome, kind, token=token[:5])
        self._told(call)
        return response if response is not None else hang_up(request)

    async def _take(
        self, request: web.Request, fault: Action | None
    ) -> tuple[web.Response | None, str, dict[str, Any]]:
        kind, value = (fault.kind, fault.value) if fault is not None else ("", 0)
        if kind in {"drop_before", "down"}:
            return None, "dropped", {}
        if kind in {"status", "rate_limit", "error"}:
            code = {"status": value, "rate_limit": 429, "error": 400}[kind]
            headers = {"Retry-After": str(value)} if kind == "rate_limit" else None
            return web.Response(status=int(code), text=str(value), headers=headers), f"http {code}", {}
        if kind == "garbage":
            return web.Response(text="<!DOCTYPE html>", content_type="text/html"), "garbage", {}
        content = await _content(request)
        ticket = request.match_info["ticket"]
        file = next((one for one in self.state.files.values() if one.ticket == ticket), None)
        params = {"file": file.id if file else "", "length": len(content)}
        if file is None:
            return web.Response(status=404, text="no such upload"), "http 404", params
        if len(content) != file.length:
            text = f"{file.length} bytes were announced, {len(content)} came"
            return web.Response(status=400, text=text), "http 400", params
        self.state.keep_content(file, content)
        if kind == "drop_after":
            return None, "dropped after", params
        return web.Response(text=f"OK - {len(content)}"), "ok", params

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Serve a file's bytes by its private address, without asking who looks: this is no real secret."""
        file = find_file(self.state, {"id": request.match_info["file"]})
        return self._served(file)

    def _served(self, file: File | None) -> web.Response:
        if file is None:
            return web.Response(status=404, text="file_not_found")
        content = self.state.contents[file.id]
        mimetype = kind_of(content)[0]
        return web.Response(body=content, content_type=mimetype, headers=_HEADERS)


async def _content(request: web.Request) -> bytes:
    """The body, or the first file of a form."""
    if request.content_type != "multipart/form-data":
        return await request.read()
    form = await request.multipart()
    async for part in form:
        if isinstance(part, BodyPartReader) and (part.filename or part.name == "file"):
            return bytes(await part.read())
    return b""
