"""Runs each job's turns: at once when a commit concerns it, and once a second as a net."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from domain.errors import Outage
from operations import counters
from operations.world import World

log = structlog.get_logger(__name__)

NET = 1.0
"""Seconds between two looks where no commit woke a loop: for other replicas, and for due moments."""

AFTER_FAILURE = 1.0
"""Seconds until a turn that failed is tried again."""


@dataclass(frozen=True)
class Job:
    """One loop. ``turn`` does what is due and returns how much it was.

    ``next_due`` says when a recurring job wants its next turn; others are woken by commits.
    """

    name: str
    topic: str
    turn: Callable[[], Awaitable[int]]
    next_due: Callable[[datetime], datetime] | None = None


class Loops:
    """All loops of one process. Their truth is in the database; these only look at it."""

    def __init__(self, world: World, jobs: list[Job]) -> None:
        self._world = world
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduler = AsyncIOScheduler(timezone="UTC")

    def start(self) -> None:
        """Begin; called once inside the running loop."""
        for job in self._jobs:
            self._world.wake.event(job.topic).set()
            self._tasks.append(asyncio.create_task(self._run(job), name=f"job-{job.name}"))
        self._scheduler.add_job(
            self._world.wake.everybody,
            IntervalTrigger(seconds=NET),
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )
        self._scheduler.start()

    async def stop(self) -> None:
        """End between two turns."""
        self._scheduler.shutdown(wait=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _run(self, job: Job) -> None:
        event = self._world.wake.event(job.topic)
        while True:
            await event.wait()
            event.clear()
            try:
                while await job.turn():
                    counters.ticks.labels(job=job.name, outcome="worked").inc()
            except Outage as outage:
                counters.ticks.labels(job=job.name, outcome="outage").inc()
                log.warning("job.outage", job=job.name, reason=outage.reason)
                await asyncio.sleep(AFTER_FAILURE)
            except Exception:
                counters.ticks.labels(job=job.name, outcome="failed").inc()
                log.exception("job.failed", job=job.name)
                await asyncio.sleep(AFTER_FAILURE)
