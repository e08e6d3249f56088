"""Recurring work: each run once for its name and due moment, by one replica, and remembered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from domain import runs as rules
from domain.effects import Note, Text
from domain.errors import Outage
from domain.outbox import OPS
from domain.policy import Policy
from domain.ports import Tx
from domain.runs import TELL_AFTER, JobRun, RunOutcome
from domain.schedule import Cron, Schedule
from operations import counters
from operations.world import World

log = structlog.get_logger(__name__)

LEASE = timedelta(minutes=10)
"""A run takes no longer; after it another replica may take it over."""


@dataclass(frozen=True)
class Ran:
    """What a run did: how many things it worked on, and what there is to say about it."""

    done: int
    result: Text


@dataclass(frozen=True)
class Work:
    """One recurring job: when it is due, and what it does then.

    ``run`` is handed the due moment and returns how many things it worked on, or what it ``Ran``. It
    must be safe to repeat: a process that is killed leaves its run to be done again.
    """

    name: str
    schedule: Schedule
    run: Callable[[datetime], Awaitable[int | Ran]]
    lease: timedelta = LEASE


class Timed:
    """A recurring job whose schedule follows the policy; with nothing to do it is never due."""

    def __init__(self, world: World, find: Callable[[], Work | None]) -> None:
        self._world = world
        self._find = find
        self._policy: Policy | None = None
        self._now: Recurring | None = None

    def _current(self) -> "Recurring | None":
        if self._policy is not self._world.policy:
            self._policy, work = self._world.policy, self._find()
            if work is None:
                self._now = None
            elif self._now is None or self._now.work.schedule != work.schedule:
                self._now = Recurring(self._world, work)
            else:
                self._now.work = work
        return self._now

    def next_due(self, at: datetime) -> datetime:
        """When there is something to do."""
        current = self._current()
        return current.next_due(at) if current is not None else at + timedelta(days=1)

    async def turn(self) -> int:
        """Do what is due. Returns 1 for a run."""
        current = self._current()
        return await current.turn() if current is not None else 0


class Recurring:
    """One work's loop. What it knows is a shortcut; the truth is in the table of runs."""

    def __init__(self, world: World, work: Work) -> None:
        self.work = work
        self._world = world
        self._look_at: datetime | None = None
        self._trouble: str | None = None

    def next_due(self, at: datetime) -> datetime:
        """When there is something to do: at once, at a retry, or at the next due moment."""
        return self._look_at if self._look_at is not None else at

    async def turn(self) -> int:
        """Do what is due, if anything is and nobody else does it. Returns 1 for a run."""
        now = self._world.clock.now()
        due = self.work.schedule.latest(now)
        if self._look_at is not None and now < self._look_at and now >= due:
            return 0
        run = await self._begin(due, now)
        if run is None or run.outcome is not RunOutcome.RUNNING:
            return 0
        await self._carry_out(run)
        return 1

    async def _begin(self, due: datetime, now: datetime) -> JobRun | None:
        """Take the run, or see when it makes sense to look again."""
        following = self.work.schedule.following(now)
        async with self._world.store.read() as tx:
            known = await tx.job_run(self.work.name, due)
        if known is not None and known.outcome in {RunOutcome.DONE, RunOutcome.MISSED}:
            self._look_at = following
            return None
        async with self._world.store() as tx:
            known = await tx.job_run(self.work.name, due)
            new = known is None and isinstance(self.work.schedule, Cron)
            first = new and not await tx.latest_runs(self.work.name)
            run = rules.begin(known, self.work.name, due, now, self.work.lease, first=first)
            if run is None:
                waiting = known is not None and known.lease_until > now
                self._look_at = min(known.lease_until, following) if known and waiting else following
                return None
            if run.id is not None:
                await tx.save_run(run)
            elif not await tx.add_run(run):
                self._look_at = min(now + self.work.lease, following)
                return None
            return await tx.job_run(self.work.name, due)

    async def _carry_out(self, run: JobRun) -> None:
        clock, name = self._world.clock, self.work.name
        began = clock.monotonic()
        ran: int | Ran = 0
        error = None
        try:
            ran = await self.work.run(run.due_at)
        except Outage as outage:
            error = outage.reason
            level = log.warning if error != self._trouble else log.debug  # Once, not every minute.
            level("job.outage", job=name, reason=error)
        except Exception as failure:
            error = repr(failure)[:500]
            log.exception("job.failed", job=name)
        self._trouble = error
        counters.run_seconds.labels(job=name).observe(clock.monotonic() - began)
        now = clock.now()
        done, result = (ran.done, ran.result) if isinstance(ran, Ran) else (ran, None)
        ended = rules.end(run, now, done=done, error=error, result=result)
        async with self._world.store() as tx:
            await tx.save_run(ended)
            await self._tell(tx, ended, now)
            await tx.forget_runs(name, now)
        counters.runs.labels(job=name, outcome=ended.outcome.value).inc()
        again = ended.outcome is RunOutcome.FAILED and ended.attempts < rules.ATTEMPTS
        following = self.work.schedule.following(now)
        self._look_at = min(ended.lease_until, following) if again else following

    async def _tell(self, tx: Tx, run: JobRun, at: datetime) -> None:
        """A job that keeps failing is told once, and that it works again."""
        latest = await tx.latest_runs(self.work.name, TELL_AFTER + 1)
        failed = 0
        for one in latest:
            if one.outcome is not RunOutcome.FAILED:
                break
            failed += 1
        before = sum(one.outcome is RunOutcome.FAILED for one in latest[1:])
        rare = isinstance(self.work.schedule, Cron)  # Its next due moment may be a week away.
        lasting = run.attempts == rules.ATTEMPTS if rare else failed == TELL_AFTER and run.attempts == 1
        if failed and lasting:
            params = {"job": self.work.name, "error": run.error or "?"}
            text = Text(key="ops.job_failing", params=params)
            await tx.say([Note(key=f"job-failing:{run.id}", place=OPS, text=text)], at)
        elif run.outcome is RunOutcome.DONE and before == TELL_AFTER:
            text = Text(key="ops.job_recovered", params={"job": self.work.name})
            await tx.say([Note(key=f"job-works:{run.id}", place=OPS, text=text)], at)
