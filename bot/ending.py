"""Ends the program's parts one after the other, each with a limit and all of them with one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import structlog

log = structlog.get_logger(__name__)

WITHIN = 8.0
"""Seconds for everything to end once it has been told to; the platform kills after ten."""

KEPT_BACK = 1.0
"""Seconds of them that only the last parts may use: what waits for its commit, and the database."""


class Ending:
    """Puts the ends of parts on a stack. The clock runs from ``begin``, or from the first end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._until: float | None = None

    def begin(self, seconds: float = WITHIN) -> None:
        """From now on so many seconds are left for everything."""
        self._until = asyncio.get_running_loop().time() + seconds

    def add(self, name: str, end: Callable[[], Awaitable[object]], *, is_last: bool = False) -> None:
        """End this part when its turn comes. What does not end in time is left behind, and told."""
        self._stack.push_async_callback(self._end, name, end, KEPT_BACK if not is_last else 0.0)

    async def _end(self, name: str, end: Callable[[], Awaitable[object]], kept_back: float) -> None:
        loop = asyncio.get_running_loop()
        if self._until is None:
            self.begin()
        assert self._until is not None
        task = asyncio.ensure_future(_run(end))
        done, _ = await asyncio.wait({task}, timeout=max(0.05, self._until - kept_back - loop.time()))
        if not done:
            task.cancel()
            log.warning("bot.part_left_behind", part=name)
        elif task.cancelled():
            log.warning("bot.part_cancelled", part=name)
        elif (error := task.exception()) is not None:
            log.error("bot.part_failed", part=name, error=repr(error))


async def _run(end: Callable[[], Awaitable[object]]) -> None:
    await end()
