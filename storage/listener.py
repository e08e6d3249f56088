"""On PostgreSQL a commit of one replica wakes the loops of all others."""

import asyncio
from collections.abc import Callable

import structlog

from storage.database import CHANNEL

log = structlog.get_logger(__name__)

AGAIN = 2.0
"""Seconds until a lost connection is made anew; the one-second net works meanwhile."""


class Listener:
    """Listens on a connection of its own."""

    def __init__(self, url: str, wake: Callable[[frozenset[str]], None]) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._wake = wake
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._task = asyncio.create_task(self._run(), name="listener")

    async def _run(self) -> None:
        import psycopg

        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    async for notice in connection.notifies():
                        self._wake(frozenset(notice.payload.split()))
            except psycopg.Error as error:
                log.warning("listener.lost", error=str(error).strip()[:200])
            await asyncio.sleep(AGAIN)

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
