"""Socket Mode, watched: a socket that is silently dead is replaced, client and session and all."""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import structlog

from domain.errors import Outage

if TYPE_CHECKING:
    from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
    from slack_bolt.async_app import AsyncApp

log = structlog.get_logger(__name__)

PING = 5.0
"""Seconds between our pings."""

DEAD_AFTER = 20.0
"""Seconds without an answer to a ping after which the socket counts as dead."""

CHECK = 2.0
"""Seconds between two looks of the watchdog."""

GIVE_UP_CONNECTING = 15.0
"""Seconds for one attempt to connect."""


class Socket:
    """Keeps one connection to Slack alive for as long as it runs."""

    def __init__(
        self, app: "AsyncApp", app_token: str, *, ping: float = PING, dead_after: float = DEAD_AFTER
    ) -> None:
        self._app = app
        self._token = app_token
        self._ping = ping
        self._dead_after = dead_after
        self._handler: AsyncSocketModeHandler | None = None
        self._watch: asyncio.Task[None] | None = None
        self.rebuilt = 0
        self.connected_once = asyncio.Event()

    def start(self) -> None:
        """Connect, and go on connecting; returns at once."""
        self._watch = asyncio.create_task(self._run(), name="socket-watchdog")

    @property
    def problem(self) -> str | None:
        """Why nothing arrives, or ``None``."""
        if self._handler is None:
            return "not connected"
        return None if self._alive(self._handler) else "the socket is silent"

    async def _run(self) -> None:
        while True:
            try:
                if self._handler is None:
                    await self._connect()
                elif not self._alive(self._handler):
                    log.warning("socket.dead")
                    self.rebuilt += 1
                    await self._drop()
                    continue
            except (TimeoutError, aiohttp.ClientError, Outage, OSError) as error:
                log.warning("socket.not_connected", error=repr(error))
                await self._drop()
            except Exception as error:  # noqa: BLE001  # The SDK wraps what went wrong in its own kinds.
                log.warning("socket.not_connected", error=repr(error))
                await self._drop()
            await asyncio.sleep(CHECK)

    async def _connect(self) -> None:
        from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler

        handler = AsyncSocketModeHandler(self._app, self._token, ping_interval=self._ping)
        self._handler = handler
        async with asyncio.timeout(GIVE_UP_CONNECTING):
            await handler.connect_async()  # type: ignore[no-untyped-call]
        self.connected_once.set()
        log.info("socket.connected")

    def _alive(self, handler: "AsyncSocketModeHandler") -> bool:
        """Connected, and its pings are answered; a young connection has had none yet."""
        client = handler.client
        session = getattr(client, "current_session", None)
        if session is None or session.closed:
            return bool(getattr(client, "auto_reconnect_enabled", False)) and not self._stale(client)
        return not self._stale(client)

    def _stale(self, client: object) -> bool:
        last = getattr(client, "last_ping_pong_time", None)
        return isinstance(last, float | int) and _wall() - last > self._dead_after

    async def _drop(self) -> None:
        handler, self._handler = self._handler, None
        if handler is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(3):
                await handler.close_async()  # type: ignore[no-untyped-call]
        session = getattr(handler.client, "aiohttp_client_session", None)
        if isinstance(session, aiohttp.ClientSession) and not session.closed:
            await session.close()

    async def stop(self) -> None:
        """Close for good."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._drop()


def _wall() -> float:
    """The SDK notes its pings by the machine's clock, so they are compared with that one."""
    return time.time()  # noqa: TID251
