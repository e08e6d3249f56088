"""The answer to ``/toban jobs``: the last and the next run of each recurring job, and what failed."""

from collections.abc import Sequence
from datetime import datetime

from domain.data_retention import Space
from domain.outbox import Rendered
from domain.runs import JobRun, RunOutcome
from domain.units import Unit
from notify.slack.blocks import Block, section
from notify.texts import Voice

MARK = {
    RunOutcome.DONE: ":white_check_mark:",
    RunOutcome.FAILED: ":x:",
    RunOutcome.RUNNING: ":hourglass_flowing_sand:",
    RunOutcome.MISSED: ":white_circle:",
}

TEXT = {
    RunOutcome.DONE: "jobs.done",
    RunOutcome.FAILED: "jobs.failed_run",
    RunOutcome.RUNNING: "jobs.running",
    RunOutcome.MISSED: "jobs.missed",
}


def jobs_card(voice: Voice, jobs: Sequence[tuple[str, JobRun | None, datetime]], space: Space) -> Rendered:
    """``jobs`` are a name, the newest run and the next due moment each; failures stand first.

    ``space`` is what the database takes.
    """
    failed = [one for one in jobs if one[1] is not None and one[1].outcome is RunOutcome.FAILED]
    head = voice("jobs.failed", count=len(failed)) if failed else voice("jobs.well", count=len(jobs))
    rest = [one for one in jobs if one not in failed]
    blocks: list[Block] = [section(f"*{head}*")]
    blocks += [section("\n".join(_line(voice, *one))) for one in [*failed, *rest]]
    key = "jobs.space" if space.gives_back else "jobs.space_kept"
    amounts = {name: (getattr(space, name), Unit.BYTES.value) for name in ("size", "free")}
    blocks.append(section(voice(key, **amounts)))
    return Rendered(text=head, blocks=blocks[:50])


def _line(voice: Voice, name: str, run: JobRun | None, following: datetime) -> list[str]:
    what = voice.word("work", name)
    after = int(following.timestamp())
    if run is None:
        return [f":white_circle: *{what}*", voice("jobs.never", after=after)]
    took = ((run.ended_at or run.started_at) - run.started_at).total_seconds()
    params = {
        "at": int(run.due_at.timestamp()),
        "count": run.done,
        "took": (took, Unit.SECONDS.value),
        "after": after,
    }
    key = "jobs.ran" if run.result is not None and run.outcome is RunOutcome.DONE else TEXT[run.outcome]
    lines = [f"{MARK[run.outcome]} *{what}*", voice(key, **params)]
    if run.result is not None:
        lines.append(voice.say(run.result))
    if run.error and run.outcome is RunOutcome.FAILED:
        lines.append(voice("jobs.error", error=run.error))
    return lines
