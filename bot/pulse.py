"""Notices that the process stood still, so that what had waited meanwhile is not taken for new."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

BEAT = 0.25
"""Seconds between two beats of the event loop."""

STOOD = 2.0
"""Seconds without a beat after which the process stood still: stopped, or its machine hung."""

AFTERMATH = 1.0
"""Seconds within which what had arrived meanwhile is read. An orchestrator sends nothing new as early."""


class Pulse:
    """A beat of the event loop. Until ``start`` nothing ever stands still.

    ``uptime`` gives seconds that go on while the process is stopped.
    """

    def __init__(self, now: Callable[[], datetime], uptime: Callable[[], float]) -> None:
        self._now = now
        self._uptime = uptime
        self._beat: float | None = None
        self._stood: tuple[float, float] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._look()
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def arrived(self) -> datetime:
        """The earliest moment at which a request may have arrived that is read now."""
        now = self._now()
        if self._beat is None:
            return now
        up = self._look()
        if self._stood is not None and up - self._stood[1] <= AFTERMATH:
            return now - timedelta(seconds=up - self._stood[0])
        return now

    def _look(self) -> float:
        up = self._uptime()
        if self._beat is not None and up - self._beat > STOOD:
            self._stood = (self._beat, up)
        self._beat = up
        return up

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self._look()
