"""How a bot is killed at a chosen point of its life, and what the world does meanwhile: it tries again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import sqlalchemy as sa

from bot.app import Bot
from sandbox.clock import START
from sandbox.stage import Stage

LAST_BREATH = 0.1
"""Real seconds in which the dead lets go of its files, as the kernel would for it; it commits nothing."""


JITTER = 3
"""Runs of the same story differ by so many points: what waits together is at times done in one commit."""


class Killed(BaseException):
    """The process is dead. No handler of ours catches it."""


@dataclass
class Reaper:
    """Counts the points of a run, and kills the bot at the chosen ones.

    A dead process does nothing: until it was started again, every further point kills as well.
    """

    kills: frozenset[int] = frozenset()
    next: str = ""
    """Kill once more at the next point of this name: the number of a point differs from run to run."""
    seen: list[str] = field(default_factory=list)
    died: asyncio.Event = field(default_factory=asyncio.Event)
    happened: list[str] = field(default_factory=list)
    over: bool = False

    def point(self, name: str) -> None:
        if self.over:
            return
        if self.died.is_set():
            raise Killed(name)
        self.seen.append(name)
        if len(self.seen) in self.kills or name == self.next:
            self.next = ""
            self.happened.append(f"{len(self.seen)}: {name}")
            self.died.set()
            raise Killed(name)

    def watch(self, stage: Stage) -> None:
        """Every commit of the bot and every call that it makes are points, before and after."""
        trace = aiohttp.TraceConfig()

        async def before(_session: Any, _context: Any, call: aiohttp.TraceRequestStartParams) -> None:
            self.point(f"before {call.url.path.rpartition('/')[2][:20]}")

        async def after(_session: Any, _context: Any, call: aiohttp.TraceRequestEndParams) -> None:
            try:
                self.point(f"after {call.url.path.rpartition('/')[2][:20]}")
            except Killed:
                call.response.close()
                raise

        trace.on_request_start.append(before)
        trace.on_request_end.append(after)
        stage.traces.append(trace)
        stage.prepare = self._prepare

    def _prepare(self, bot: Bot) -> None:
        database = bot.database
        wake = database._on_commit
        assert wake is not None

        def committed(topics: frozenset[str]) -> None:
            self.point(f"after commit of {' '.join(sorted(topics))}")
            wake(topics)

        def before_commit(_connection: sa.Connection) -> None:
            self.point("before commit")

        database._on_commit = committed
        # The world is frozen for the program, not for whoever kills it.
        object.__setattr__(bot.world, "run", Deadly(bot.world.run, self.point))
        sa.event.listen(database.writer.sync_engine, "commit", before_commit)


class Deadly:
    """The real adapter of Cloud Run, with a point before and after each of its calls."""

    def __init__(self, run: Any, point: Callable[[str], None]) -> None:
        self._run = run
        self._point = point

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._run, name)

        async def deadly(*args: Any, **kwargs: Any) -> Any:
            self._point(f"before {name}")
            answer = await call(*args, **kwargs)
            self._point(f"after {name}")
            return answer

        return deadly


class Dying:
    """A stage whose bot may die at any moment, and is then started again."""

    def __init__(self, stage: Stage, reaper: Reaper) -> None:
        self.stage = stage
        self.reaper = reaper

    async def living(self, act: Callable[[], Awaitable[bool]]) -> None:
        """Do something until it is true; after each kill the bot is started again first."""
        while True:
            task = asyncio.ensure_future(self._alive(act))
            death = asyncio.ensure_future(self.reaper.died.wait())
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            if not self.reaper.died.is_set():
                death.cancel()
                await asyncio.gather(death, return_exceptions=True)
                if await task:
                    return
                continue
            await asyncio.wait({task}, timeout=LAST_BREATH)
            task.cancel()
            await asyncio.gather(task, death, return_exceptions=True)
            if self.stage._bot is not None:
                with suppress(Killed):
                    await self.stage.crash()
            self.reaper.died.clear()

    async def _alive(self, act: Callable[[], Awaitable[bool]]) -> bool:
        if self.stage._bot is None:
            await self.stage.start()
        return await act()

    async def rest(self) -> None:
        async def settled() -> bool:
            await self.stage.settle()
            return True

        await self.living(settled)

    async def until(self, **passed: float) -> None:
        """Let it be so long after the beginning."""
        moment = START + timedelta(**passed)

        async def reached() -> bool:
            left = moment - self.stage.clock.now()
            await self.stage.advance(seconds=max(0.0, left.total_seconds()))
            return True

        await self.living(reached)
