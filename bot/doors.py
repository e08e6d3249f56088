"""The listening side's patience: no connection may be half open for long, and none costs a log."""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from operations import counters

log = structlog.get_logger(__name__)

HEADERS_WITHIN = 10.0
"""Seconds for a request's line and headers, from the connection or from their first byte."""

BODY_WITHIN = 30.0
"""Seconds for its body, however steadily it trickles."""

IDLE = 75.0
"""Seconds that a connection may rest between two requests; above the 60 s of usual load balancers."""

LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class LateBody(Exception):
    """A body did not come in time."""


class Connection(web.RequestHandler):
    """One connection: closed where its headers do not come in time. aiohttp itself waits for ever."""

    __slots__ = ("_headers_timer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._headers_timer: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Whole headers end the wait; the first bytes of the next request begin another one."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._stop_waiting()
        elif data and self._headers_timer is None and not self._is_busy():
            self._wait()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A sender's nonsense is one line without a traceback; our own faults have theirs."""
        error = kw.get("exc_info")
        if isinstance(error, HttpProcessingError):
            counters.refused.labels(kind="http", code="400").inc()
            log.info("http.not_understood", error=type(error).__name__)
            return
        super().log_exception(*args, **kw)

    def _is_busy(self) -> bool:
        return self._current_request is not None or bool(self._messages)

    def _wait(self) -> None:
        self._headers_timer = self._loop.call_later(HEADERS_WITHIN, self._late)

    def _stop_waiting(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _late(self) -> None:
        self._headers_timer = None
        if self._is_busy():  # The next request was begun while this one is answered.
            self._wait()
            return
        counters.refused.labels(kind="http", code="408").inc()
        if self.transport is not None:
            self.transport.write(LATE)
        self.force_close()


class _Server(web.Server):
    """Makes such connections."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application behind such connections."""

    def __init__(self, app: web.Application, **kwargs: Any) -> None:
        # A body in an encoding that aiohttp does not know would be refused before anybody hears of it.
        super().__init__(app, access_log=None, keepalive_timeout=IDLE, auto_decompress=False, **kwargs)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001  # aiohttp offers no other way to choose the connection's class.
        )


@web.middleware
async def patient(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 408 if a body does not arrive in time, in every handler that reads one."""
    body = request.content
    if body.is_eof():
        return await handler(request)

    def late() -> None:
        if not body.is_eof():
            body.set_exception(LateBody(f"the body did not come within {BODY_WITHIN:.0f} s"))

    timer = asyncio.get_running_loop().call_later(BODY_WITHIN, late)
    try:
        return await handler(request)
    except LateBody as late_body:
        counters.refused.labels(kind="http", code="408").inc()
        answer = web.Response(status=408, text=f"{late_body}\n")
        answer.force_close()
        return answer
    finally:
        timer.cancel()
