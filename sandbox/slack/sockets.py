"""Socket Mode: single-use tickets, an envelope to one socket, acknowledgements, sockets that misbehave."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal

import orjson
from aiohttp import WSMsgType, web

from sandbox.slack.delivery import ACK_SECONDS, Delivery

Json = dict[str, Any]
MOST_SOCKETS = 10
Reason = Literal["warning", "refresh_requested", "link_disabled", "too_many_websockets"]


class SocketDesk:
    """The open sockets of the app and the envelopes that wait for an acknowledgement."""

    def __init__(self, app_id: str, stirred: Callable[[], None]) -> None:
        self._app_id = app_id
        self._stirred = stirred
        self._tickets: set[str] = set()
        self._sockets: list[web.WebSocketResponse] = []
        self._turn = 0
        self._waiting: dict[str, asyncio.Future[Json]] = {}
        self._holder: dict[str, web.WebSocketResponse] = {}
        self._leaving: list[web.WebSocketResponse] = []
        self.silent = False
        self.opened = 0
        self.grace = 5.0
        self._arrival = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self.acks: list[Json] = []

    def new_ticket(self) -> str:
        """Return a ticket that opens one socket once."""
        ticket = secrets.token_urlsafe(24)
        self._tickets.add(ticket)
        return ticket

    @property
    def count(self) -> int:
        """Return how many sockets are open and were not told to go."""
        return len(self._live())

    def _live(self) -> list[web.WebSocketResponse]:
        return [one for one in self._sockets if not one.closed and one not in self._leaving]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until either side closes it; a used or unknown ticket gets 403."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403, text="invalid ticket")
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        if self.count >= MOST_SOCKETS:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            return socket
        self._sockets.append(socket)
        self.opened += 1
        self._arrival.set()
        if not self.silent:
            await socket.send_json(self._hello())
        self._stirred()
        try:
            async for message in socket:
                if self.silent:
                    continue
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._acknowledged(message.data)
        finally:
            self._sockets.remove(socket)
            if socket in self._leaving:
                self._leaving.remove(socket)
            self._lost(socket)
            self._stirred()
        return socket

    def _hello(self) -> Json:
        return {
            "type": "hello",
            "num_connections": self.count,
            "debug_info": {
                "host": "sandbox",
                "build_number": 1,
                "approximate_connection_time": 3600,
            },
            "connection_info": {"app_id": self._app_id},
        }

    def _acknowledged(self, text: str) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if isinstance(frame, dict):
            self.acks.append(frame)
            waiter = self._waiting.get(str(frame.get("envelope_id")))
            if waiter is not None and not waiter.done():
                waiter.set_result(frame)

    def _lost(self, socket: web.WebSocketResponse) -> None:
        for envelope, holder in list(self._holder.items()):
            waiter = self._waiting.get(envelope)
            if holder is socket and waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionResetError("the socket closed before the acknowledgement"))

    async def send(self, kind: str, payload: Json, attempt: int = 0, reason: str = "") -> Delivery:
        """Put a payload in an envelope for one socket and wait three seconds for its acknowledgement."""
        envelope: Json = {
            "envelope_id": f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4{secrets.token_hex(6)}",
            "payload": payload,
            "type": kind,
            "accepts_response_payload": kind != "events_api",
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": attempt, "retry_reason": reason}
        return await self.send_frame(kind, orjson.dumps(envelope))

    async def send_frame(self, kind: str, frame: bytes) -> Delivery:
        """Send exactly this frame; from a socket that closes unacknowledged it passes on to the next."""
        key = str(orjson.loads(frame)["envelope_id"])
        began = time.monotonic()
        lost = False
        while (left := ACK_SECONDS - (time.monotonic() - began)) > 0:
            socket = self._next()
            if socket is None and not lost:
                return Delivery(kind, "socket", error="dispatch_failed", reason="no_socket", sent=frame)
            if socket is None:
                self._arrival.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrival.wait(), left)
                continue
            waiter = asyncio.get_running_loop().create_future()
            self._waiting[key], self._holder[key] = waiter, socket
            try:
                if not self.silent:
                    await socket.send_str(frame.decode())
                answer = await asyncio.wait_for(waiter, left)
            except TimeoutError:
                break
            except ConnectionError:
                self._leaving.append(socket)
                lost = True
                continue
            finally:
                self._waiting.pop(key, None)
                self._holder.pop(key, None)
            body = answer.get("payload")
            ms = (time.monotonic() - began) * 1000
            return Delivery(kind, "socket", 200, _bytes(body), ms, sent=frame)
        ms = (time.monotonic() - began) * 1000
        return Delivery(kind, "socket", ms=ms, error="operation_timeout", reason="timeout", sent=frame)

    def _next(self) -> web.WebSocketResponse | None:
        live = self._live()
        if not live:
            return None
        self._turn += 1
        return live[self._turn % len(live)]

    async def disconnect(self, reason: Reason) -> None:
        """Announce the end on every socket.

        "warning" leaves them open; after "refresh_requested" they take no more envelopes and are closed
        after ``grace`` real seconds unless the client went by itself; the other reasons close at once.
        """
        for socket in self._live():
            await socket.send_json(
                {"type": "disconnect", "reason": reason, "debug_info": {"host": "sandbox"}}
            )
            if reason == "warning":
                continue
            self._leaving.append(socket)
            task = asyncio.get_running_loop().create_task(
                self._close_later(socket, self.grace if reason == "refresh_requested" else 0.0)
            )
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    @staticmethod
    async def _close_later(socket: web.WebSocketResponse, pause: float) -> None:
        await asyncio.sleep(pause)
        await socket.close()

    async def close(self) -> None:
        """Close every socket without a word of Slack's own."""
        for task in list(self._closing):
            task.cancel()
        for socket in list(self._sockets):
            await socket.close()


def _bytes(body: Any) -> bytes:
    if body is None or body == "":
        return b""
    return body.encode() if isinstance(body, str) else orjson.dumps(body)
