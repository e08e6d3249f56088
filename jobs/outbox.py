"""Speaks: one message at a time in each conversation, all conversations at once."""

import asyncio

import structlog

from domain.errors import Outage
from domain.outbox import Letter
from operations.outbox import claim, deliver
from operations.world import World

log = structlog.get_logger(__name__)


PROBE_EVERY = 30.0
"""Seconds between two messages that try whether Slack is really out of reach."""


class Speaker:
    """Claims messages and sends each in a task of its own, so that a slow one holds up nobody else."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._speaking: dict[str, asyncio.Task[None]] = {}
        self._probe_at = 0.0
        self.crashed: BaseException | None = None

    async def turn(self) -> int:
        """Claim what may be said now. Returns how many messages were begun.

        While Slack is out of reach nothing is: its return is asked for elsewhere, and what waited is
        then said in its order. Only once in a while one message tries all the same.
        """
        if not self._world.chat.is_out():
            claimed = await claim(self._world, frozenset(self._speaking))
        elif self._world.clock.monotonic() >= self._probe_at and not self._speaking:
            self._probe_at = self._world.clock.monotonic() + PROBE_EVERY
            claimed = await claim(self._world, frozenset(), 1)
        else:
            return 0
        for letter, until in claimed:
            task = asyncio.create_task(self._speak(letter, until), name=f"say-{letter.key}")
            self._speaking[letter.place] = task
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: asyncio.Task[None]) -> None:
        for place in [place for place, known in self._speaking.items() if known is task]:
            del self._speaking[place]
        if not task.cancelled() and task.exception() is not None:
            self.crashed = task.exception()
        self._world.wake(frozenset({"outbox"}))

    async def _speak(self, letter: Letter, until: float) -> None:
        try:
            await deliver(self._world, letter, until)
        except Outage as outage:
            log.warning("outbox.not_recorded", key=letter.key, reason=outage.reason)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The calls that are under way."""
        return list(self._speaking.values())

    async def quiet(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._speaking:
            await asyncio.wait(list(self._speaking.values()))

    async def stop(self, seconds: float) -> None:
        """Let running calls end, at most so long; what is cut off is asked about at the next start."""
        if self._speaking:
            await asyncio.wait(list(self._speaking.values()), timeout=seconds)
        for task in list(self._speaking.values()):
            task.cancel()
