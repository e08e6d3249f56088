"""Runs each job's turns: at once when a commit concerns it, and once a second as a net."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from apscheduler.job import Job as Ticks
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


STUCK = 60.0
"""Seconds in one turn after which a loop that commits wake counts as stuck; each turn is a few of them."""

STUCK_RECURRING = 900.0
"""The same for a recurring job, whose run may read weeks of metrics; its lease ends after ten minutes."""

FAILURES = 3
"""Turns in a row that must fail before it is a problem."""


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
        self._ticked = 0.0
        self._guard: asyncio.Task[None] | None = None
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._failures: dict[str, tuple[int, str]] = {}

    def turns(self) -> dict[str, dict[str, float | None]]:
        """Of each loop: for how many seconds its turn has been under way, and since when none has ended."""
        now = self._world.clock.monotonic()

        def since(moments: dict[str, float], name: str) -> float | None:
            return round(now - moments[name], 1) if name in moments else None

        return {
            job.name: {
                "turn_under_way_seconds": since(self._began, job.name),
                "last_turn_seconds_ago": since(self._ended, job.name),
            }
            for job in self._jobs
        }

    def problems(self) -> dict[str, str]:
        """Loops that do not turn or whose turns keep failing, by ``loop.NAME``."""
        now = self._world.clock.monotonic()
        found = {}
        limits = {job.name: STUCK if job.next_due is None else STUCK_RECURRING for job in self._jobs}
        for name, (many, reason) in self._failures.items():
            if many >= FAILURES:
                found[f"loop.{name}"] = f"its last {many} turns failed: {reason}"
        for name, began in self._began.items():
            if now - began > limits[name]:
                found[f"loop.{name}"] = f"its turn has been under way for {now - began:.0f} s"
        for task in self._tasks:
            if task.done() and not task.cancelled():
                found[task.get_name().replace("job-", "loop.", 1)] = f"it has ended: {task.exception()!r}"
        return found

    def start(self) -> None:
        """Begin; called once inside the running loop."""
        for job in self._jobs:
            self._world.wake.event(job.topic).set()
            self._tasks.append(asyncio.create_task(self._run(job), name=f"job-{job.name}"))
        ticks = self._scheduler.add_job(
            self._tick, IntervalTrigger(seconds=NET), misfire_grace_time=None, coalesce=True, max_instances=1
        )
        self._ticked = asyncio.get_running_loop().time()
        self._scheduler.start()
        self._guard = asyncio.create_task(self._keep_ticking(ticks), name="job-net")

    async def stop(self) -> None:
        """End between two turns."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        tasks = [*self._tasks, *([self._guard] if self._guard is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    async def _tick(self) -> None:
        """Wake every loop. A coroutine, so that the scheduler runs it in the event loop, not in a thread."""
        self._ticked = asyncio.get_running_loop().time()
        self._world.wake.everybody()

    async def _keep_ticking(self, ticks: Ticks) -> None:
        """Begin the ticks anew where they stopped.

        The scheduler counts with the wall clock: set back by an hour, it would sleep for an hour.
        The event loop's own time is set by nobody.
        """
        while True:
            await asyncio.sleep(NET)
            if asyncio.get_running_loop().time() - self._ticked > 2 * NET:
                ticks.reschedule(IntervalTrigger(seconds=NET))
                await self._tick()

    async def _run(self, job: Job) -> None:
        event = self._world.wake.event(job.topic)
        while True:
            await event.wait()
            event.clear()
            try:
                while await self._turn(job):
                    counters.ticks.labels(job=job.name, outcome="worked").inc()
            except Outage as outage:
                counters.ticks.labels(job=job.name, outcome="outage").inc()
                log.warning("job.outage", job=job.name, reason=outage.reason)
                await self._after(job, outage.reason)
            except Exception as error:
                counters.ticks.labels(job=job.name, outcome="failed").inc()
                log.exception("job.failed", job=job.name)
                await self._after(job, repr(error))

    async def _turn(self, job: Job) -> int:
        clock = self._world.clock
        self._began[job.name] = clock.monotonic()
        try:
            done = await job.turn()
        finally:
            self._ended[job.name] = clock.monotonic()
            del self._began[job.name]
        self._failures.pop(job.name, None)
        return done

    async def _after(self, job: Job, reason: str) -> None:
        many, _ = self._failures.get(job.name, (0, ""))
        self._failures[job.name] = (many + 1, reason)
        await asyncio.sleep(AFTER_FAILURE)
