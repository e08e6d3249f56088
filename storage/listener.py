"""On PostgreSQL a commit of one replica wakes the loops of all others."""

import asyncio
from collections.abc import Callable

import structlog

from storage.database import CHANNEL

log = structlog.get_logger(__name__)

AGAIN = 2.0
"""Seconds until a lost connection is made anew; the one-second net works meanwhile."""

QUIET = 10.0
"""Seconds without a notice after which the server is asked whether it is still there."""


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

        from storage.postgres import CLIENT, BoundedConnection

        while True:
            try:
                given = {name: value for name, value in CLIENT.items() if f"{name}=" not in self._url}
                connection = await BoundedConnection.connect(self._url, autocommit=True, **given)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    while True:
                        async for notice in connection.notifies(timeout=QUIET):
                            self._wake(frozenset(notice.payload.split()))
                        await connection.execute(b"SELECT 1")
            except psycopg.Error as error:
                log.warning("listener.lost", error=str(error).strip()[:200])
            await asyncio.sleep(AGAIN)

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
