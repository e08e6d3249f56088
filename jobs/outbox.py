"""Speaks: one message at a time in each conversation, all conversations at once."""

import asyncio

import structlog

from domain.errors import Outage
from domain.outbox import RENEW_AFTER
from operations.outbox import Hold, claim, deliver, renew
from operations.world import World

log = structlog.get_logger(__name__)


PROBE_EVERY = 30.0
"""Seconds between two messages that try whether Slack is really out of reach."""


BEAT = 0.5
"""Seconds between two looks at the leases of calls that take long."""

RENEW_WITHIN = 1.0
"""Seconds that a renewal may take; it is tried again with the next look."""


class Speaker:
    """Claims messages and sends each in a task of its own, so that a slow one holds up nobody else."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._speaking: dict[str, asyncio.Task[None]] = {}
        self._held: dict[asyncio.Task[None], Hold] = {}
        self._beating: asyncio.Task[None] | None = None
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
        for hold in claimed:
            task = asyncio.create_task(self._speak(hold), name=f"say-{hold.letter.key}")
            self._speaking[hold.letter.place] = task
            self._held[task] = hold
            task.add_done_callback(self._done)
        if claimed and (self._beating is None or self._beating.done()):
            self._beating = asyncio.create_task(self._beat(), name="leases")
        return len(claimed)

    def _done(self, task: asyncio.Task[None]) -> None:
        for place in [place for place, known in self._speaking.items() if known is task]:
            del self._speaking[place]
        self._held.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            self.crashed = task.exception()
        self._world.wake(frozenset({"outbox"}))

    async def _speak(self, hold: Hold) -> None:
        try:
            await deliver(self._world, hold)
        except Outage as outage:
            log.warning("outbox.not_recorded", key=hold.letter.key, reason=outage.reason)

    async def _beat(self) -> None:
        """Renew the leases of calls that take long; cut off those whose lease ran out.

        Whoever takes such a message over asks Slack for it first, and must not be overtaken by us.
        """
        loop = asyncio.get_running_loop()
        renewed: dict[asyncio.Task[None], float] = {}
        while self._held:
            now = loop.time()
            renewed = {task: renewed.get(task, now) for task in self._held}
            old = [task for task, at in renewed.items() if now - at >= RENEW_AFTER.total_seconds()]
            if old:
                holds = [self._held[task] for task in old]
                try:
                    async with asyncio.timeout(RENEW_WITHIN):
                        await renew(self._world, holds)
                except (Outage, TimeoutError) as trouble:
                    log.warning("outbox.lease_not_renewed", messages=len(holds), reason=str(trouble))
                else:
                    renewed |= dict.fromkeys(old, now)
            for task, hold in list(self._held.items()):
                if not hold.lasts(self._world):
                    log.warning("outbox.lease_lost", key=hold.letter.key)
                    task.cancel()
            await asyncio.sleep(BEAT)

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
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
