"""Can deliveries be accepted and kept? Answered at once, from a write that was made just now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import structlog

from domain.errors import Outage
from operations import counters

log = structlog.get_logger(__name__)

EVERY = 2.0
"""Seconds between two writes that prove that something can be kept."""

FRESH = 8.0
"""Seconds for which such a write counts: a database that hangs shows within them."""

GIVE_UP = 15.0
"""Seconds after which a write that does not end is given up, and another one tried."""


class Unready(StrEnum):
    """Why nothing is accepted."""

    DATABASE = "database"
    WEBHOOKS = "webhooks"
    STOPPING = "stopping"


SAID: Mapping[Unready, str] = {
    Unready.DATABASE: "nothing can be written",
    Unready.WEBHOOKS: "no secret is set: TOBAN_WEBHOOK_USER and _PASSWORD, or TOBAN_WEBHOOK_TOKENS",
    Unready.STOPPING: "stopping; another replica takes over",
}
"""What everybody may read; it names neither hosts nor files."""


class Readiness:
    """Writes again and again, and remembers what came of it.

    Slack and a backlog do not count: who waits for them needs the door to stay open.
    """

    def __init__(self, prove: Callable[[], Awaitable[None]], *, has_secret: bool) -> None:
        self._prove = prove
        self._has_secret = has_secret
        self._failure: str | None = None
        self._proved_at: float | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write in the background. Without it each question is a write of its own."""
        self._task = asyncio.create_task(self._run(), name="readiness")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        """From now on new deliveries shall go to somebody else."""
        self._stopping = True
        counters.ready.set(0)

    async def reasons(self) -> dict[Unready, str]:
        """Why nothing can be accepted and kept, in detail; empty where it can."""
        if self._task is None or (self._proved_at is None and self._failure is None):
            await self._try()
        found: dict[Unready, str] = {}
        now = asyncio.get_running_loop().time()
        if self._failure is not None:
            found[Unready.DATABASE] = self._failure
        elif self._proved_at is None or now - self._proved_at > FRESH:
            found[Unready.DATABASE] = "database: no write has ended in time"
        if not self._has_secret:
            found[Unready.WEBHOOKS] = SAID[Unready.WEBHOOKS]
        if self._stopping:
            found[Unready.STOPPING] = SAID[Unready.STOPPING]
        counters.ready.set(0 if found else 1)
        return found

    async def _run(self) -> None:
        while True:
            await self._try()
            await asyncio.sleep(EVERY)

    async def _try(self) -> None:
        before = self._failure
        try:
            async with asyncio.timeout(GIVE_UP if self._task is not None else FRESH):
                await self._prove()
        except (Outage, TimeoutError) as error:
            self._failure = str(error) or "database: no write has ended in time"
        except Exception as error:
            log.exception("readiness.failed")
            self._failure = f"database: {error!r}"
        else:
            self._failure, self._proved_at = None, asyncio.get_running_loop().time()
        if (before is None) != (self._failure is None):
            log.warning("readiness.changed", ready=self._failure is None, reason=self._failure or before)
