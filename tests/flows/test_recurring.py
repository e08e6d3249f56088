"""Recurring work happens once for its moment, is made up for after a death, and its failures are told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from domain.errors import Outage
from domain.policy import Policy
from domain.runs import RunOutcome
from domain.schedule import Cron, Every
from operations.recurring import Recurring, Work
from sandbox.stage import Stage


class Diary:
    """What was done, and what is to go wrong."""

    def __init__(self) -> None:
        self.done: list[datetime] = []
        self.trouble: list[Exception] = []
        self.hold: asyncio.Event | None = None

    async def run(self, due: datetime) -> int:
        if self.hold is not None:
            await self.hold.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        self.done.append(due)
        return 3


@pytest.fixture
async def quiet(database_url: str, policy: Policy) -> AsyncIterator[Stage]:
    async with Stage.open(database_url, policy) as stage:
        yield stage


MINUTELY = Every(seconds=60)


async def test_a_moment_is_worked_once_however_often_it_is_looked_at(quiet: Stage) -> None:
    diary = Diary()
    job = Recurring(quiet.bot.world, Work("health", MINUTELY, diary.run))
    assert await job.turn() == 1
    assert await job.turn() == 0
    assert len(diary.done) == 1
    quiet.clock.push(timedelta(seconds=60))
    assert await job.turn() == 1
    assert diary.done[1] - diary.done[0] == timedelta(seconds=60)


async def test_two_replicas_share_a_moment(quiet: Stage) -> None:
    diary = Diary()
    replicas = [Recurring(quiet.bot.world, Work("health", MINUTELY, diary.run)) for _ in range(3)]
    for _ in range(4):
        await asyncio.gather(*(job.turn() for job in replicas))
        quiet.clock.push(timedelta(seconds=60))
    assert len(diary.done) == len(set(diary.done)) == 4


async def test_moments_that_were_slept_through_are_made_up_for_by_one_run(quiet: Stage) -> None:
    diary = Diary()
    work = Work("health", MINUTELY, diary.run)
    await Recurring(quiet.bot.world, work).turn()
    quiet.clock.push(timedelta(hours=2))
    assert await Recurring(quiet.bot.world, work).turn() == 1
    assert len(diary.done) == 2
    assert diary.done[1] == MINUTELY.latest(quiet.clock.now())


async def test_a_run_whose_process_died_is_done_again_after_its_lease(quiet: Stage) -> None:
    diary = Diary()
    diary.hold = asyncio.Event()
    weekly = Cron(line="0 9 * * 1", zone="Asia/Tokyo")
    work = Work("capacity", weekly, diary.run, lease=timedelta(minutes=10))
    await Recurring(quiet.bot.world, work).turn()
    quiet.clock.push(timedelta(days=7))
    dying = asyncio.create_task(Recurring(quiet.bot.world, work).turn())
    await asyncio.sleep(0.2)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    diary.hold = None
    other = Recurring(quiet.bot.world, work)
    assert await other.turn() == 0
    assert other.next_due(quiet.clock.now()) <= quiet.clock.now() + timedelta(minutes=10)
    quiet.clock.push(timedelta(minutes=10))
    assert await other.turn() == 1
    assert len(diary.done) == 1


async def test_a_weekly_report_is_not_sent_for_a_week_before_the_bot_existed(quiet: Stage) -> None:
    diary = Diary()
    job = Recurring(quiet.bot.world, Work("capacity", Cron(line="0 9 * * 1", zone="UTC"), diary.run))
    await job.turn()
    assert diary.done == []
    quiet.clock.push(timedelta(days=7))
    await job.turn()
    assert len(diary.done) == 1


async def test_a_job_that_keeps_failing_is_told_once_and_so_is_its_recovery(quiet: Stage) -> None:
    diary = Diary()
    diary.trouble = [Outage("quota exhausted") for _ in range(5)]
    job = Recurring(quiet.bot.world, Work("health", MINUTELY, diary.run))
    for _ in range(7):
        await job.turn()
        await quiet.settle()
        quiet.clock.push(timedelta(seconds=60))
    said = [message.plain for message in quiet.channel("#ops")]
    assert len(said) == 2
    assert "keeps failing: quota exhausted" in said[0]
    assert "works again" in said[1]


async def test_a_failed_weekly_run_is_tried_again_and_not_next_week(quiet: Stage) -> None:
    diary = Diary()
    job = Recurring(quiet.bot.world, Work("capacity", Cron(line="0 9 * * 1", zone="UTC"), diary.run))
    await job.turn()
    quiet.clock.push(timedelta(days=7))
    diary.trouble = [ValueError("a bug")]
    await job.turn()
    assert diary.done == []
    retry = job.next_due(quiet.clock.now())
    assert retry - quiet.clock.now() == timedelta(minutes=1)
    quiet.clock.push(timedelta(minutes=1))
    await job.turn()
    assert len(diary.done) == 1
    async with quiet.bot.store.read() as tx:
        newest = (await tx.latest_runs("capacity"))[0]
    assert (newest.outcome, newest.attempts, newest.done) == (RunOutcome.DONE, 2, 3)


async def test_old_runs_are_forgotten_but_never_the_newest(quiet: Stage) -> None:
    diary = Diary()
    daily = Work("probes", Every(seconds=86400), diary.run)
    job = Recurring(quiet.bot.world, daily)
    for _ in range(20):
        await job.turn()
        quiet.clock.push(timedelta(days=1))
    async with quiet.bot.store.read() as tx:
        kept = await tx.latest_runs("probes", 100)
    assert 8 <= len(kept) <= 9
    assert kept[0].due_at == diary.done[-1]
