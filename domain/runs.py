"""The recurring work's memory: each run once for its name and due moment, and what came of it."""

from datetime import datetime, timedelta
from enum import StrEnum

from domain.effects import Text
from domain.policy import Value

ATTEMPTS = 3
"""So often a run that failed is tried before its next due moment comes."""

RETRY_AFTER = timedelta(minutes=1)
"""The pause before a failed run is tried again."""

TELL_AFTER = 3
"""Failed runs in a row after which the ops channel hears of it, once."""

KEPT = timedelta(days=8)
"""Runs older than this are forgotten, but for the newest of each job."""


class RunOutcome(StrEnum):
    """What came of a run. ``MISSED`` marks a moment from before the bot knew the job."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    MISSED = "missed"


class JobRun(Value):
    """One run of one job for one due moment. ``done`` counts what it worked on, ``result`` says it."""

    id: int | None = None
    name: str
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    outcome: RunOutcome = RunOutcome.RUNNING
    attempts: int = 1
    done: int = 0
    error: str | None = None
    result: Text | None = None
    lease_until: datetime
    version: int = 1


def begin(
    known: JobRun | None, name: str, due: datetime, at: datetime, lease: timedelta, *, first: bool
) -> JobRun | None:
    """The run to carry out now, if it is ours to do. ``first``: the job has never been heard of.

    A run whose process died is taken over after its lease; one that failed is tried a few times.
    """
    if known is None:
        run = JobRun(name=name, due_at=due, started_at=at, lease_until=at + lease)
        missed = {"outcome": RunOutcome.MISSED, "ended_at": at}
        return run.model_copy(update=missed) if first else run
    again = known.outcome is RunOutcome.RUNNING or (
        known.outcome is RunOutcome.FAILED and known.attempts < ATTEMPTS
    )
    if not again or known.lease_until > at:
        return None
    anew = {"outcome": RunOutcome.RUNNING, "started_at": at, "ended_at": None, "lease_until": at + lease}
    return known.model_copy(update=anew | {"attempts": known.attempts + 1})


def end(
    run: JobRun, at: datetime, *, done: int = 0, error: str | None = None, result: Text | None = None
) -> JobRun:
    """What came of it."""
    outcome = RunOutcome.DONE if error is None else RunOutcome.FAILED
    ended = {"ended_at": at, "outcome": outcome, "done": done, "error": error, "result": result}
    return run.model_copy(update=ended | {"lease_until": at + RETRY_AFTER})
