"""A wire to the pretend Cloud Storage on which everything can go wrong that goes wrong on a real one."""

import asyncio
import io
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

HOST = "127.0.0.1"

DROPPED = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
"""Headers of one half of the way alone."""


@dataclass(slots=True)
class Snag:
    """What happens to the ``nth`` call and the ``count - 1`` after it that match.

    ``status``: it is answered with this, ``answer`` being the body. ``is_lost``: it is done, but its answer
    never comes. ``seconds``: it waits for so long. None of them: the wire is cut before anything is done.
    """

    method: str
    path: str
    nth: int
    count: int
    status: int | None = None
    answer: dict[str, Any] | None = None
    is_lost: bool = False
    seconds: float = 0.0
    seen: int = 0

    def takes(self, method: str, path: str) -> bool:
        """True where this call is one of them. Counts it."""
        if self.method not in {"", method} or self.path not in path:
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.count


class Wire:
    """HTTP at ``url``, handed on to ``target``. ``calls``: all of them, ``GET /storage/v1/b?…``."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.calls: list[str] = []
        self._snags: list[Snag] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    def add(self, method: str = "", path: str = "", *, nth: int = 1, count: int = 1, **what: Any) -> Snag:
        """Lay trouble for the calls of a method whose path, as it is sent, holds some words."""
        made = Snag(method, path, nth, count, **what)
        self._snags.append(made)
        return made

    def clear(self) -> None:
        """All is well again, and no call is remembered."""
        self._snags.clear()
        self.calls.clear()

    async def start(self) -> None:
        """Listen at a free port."""
        self._session = aiohttp.ClientSession(auto_decompress=False)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.raw_path}")
        snag = next((one for one in self._snags if one.takes(request.method, request.raw_path)), None)
        body = await request.read()
        if snag is None:
            return await self._hand_on(request, body)
        if snag.seconds:
            await asyncio.sleep(snag.seconds)
            return await self._hand_on(request, body)
        if snag.status is not None:
            told = snag.answer or {"error": {"code": snag.status, "message": "the wire says so"}}
            return web.Response(
                status=snag.status, body=json.dumps(told).encode(), content_type="application/json"
            )
        if snag.is_lost:
            await self._hand_on(request, body)
        assert request.transport is not None, "it is open while it is served"
        request.transport.abort()
        return web.Response()

    async def _hand_on(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None, "started"
        kept = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
        url = URL(f"{self.target}{request.raw_path}", encoded=True)
        async with self._session.request(
            request.method, url, data=io.BytesIO(body), headers=kept, allow_redirects=False
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
            # An upload goes on at the address that its first answer names: along the wire too.
            headers = {name: value.replace(self.target, self.url) for name, value in headers.items()}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)
