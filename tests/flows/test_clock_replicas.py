"""13.11: replicas go by the database's clock, so that one machine's wrong clock moves nothing for others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

import operations.clock
from bot.clock import SharedClock, SteadyClock
from domain.effects import Note, Text
from domain.policy import Policy
from operations.clock import Guard, Trouble, begin_counting
from operations.outbox import Hold, claim, deliver, renew
from operations.problems import Problems
from operations.world import Wake, World
from sandbox.clock import MachineClock, StandingClock
from sandbox.stage import Stage
from storage.database import Database
from storage.store import Store
from tests.conftest import new_postgres, open_stage
from tests.flows.looking import ESCALATION, rows
from tests.payloads import monitoring
from tests.storage.conftest import engine_url

DAYS = timedelta(days=3)


@dataclass
class Other:
    """Another replica: nothing is shared but the database, its clock, and Slack."""

    world: World
    machine: MachineClock
    guard: Guard


@dataclass
class Cluster:
    """A stage on PostgreSQL whose clock is ``server``, and further replicas."""

    stage: Stage
    server: MachineClock
    url: str
    databases: list[Database]
    first: World

    async def another(self, machine: MachineClock | None = None) -> Other:
        """Start one more replica."""
        machine = machine or MachineClock(self.stage.clock)
        shared = SharedClock(machine, self._ask)
        await shared.learn()
        database = Database(engine_url(self.url))
        self.databases.append(database)
        clock = SteadyClock(machine, shared)
        world = replace(self.first, clock=clock, store=Store(database), wake=Wake(), problems=Problems())
        await begin_counting(world)
        return Other(world, machine, Guard(world))

    async def _ask(self) -> datetime:
        return self.server.now()


@pytest.fixture
async def cluster(postgres: str, policy: Policy) -> AsyncIterator[Cluster]:
    """A stage that goes by the clock of its PostgreSQL server, to which others can be added."""
    url = new_postgres(postgres)
    databases: list[Database] = []
    async with open_stage(url, policy, start=False) as stage:
        server = MachineClock(stage.clock)
        stage.shared_time = server.now
        await stage.start()
        try:
            yield Cluster(stage, server, url, databases, stage.bot.world)
        finally:
            for database in databases:
                await database.dispose()


async def say(stage: Stage, *numbers: int) -> None:
    notes = [
        Note(key=f"n{one}", place="ops", text=Text(key="ops.job_recovered", params={"job": f"j{one}"}))
        for one in numbers
    ]
    async with stage.bot.store() as tx:
        await tx.say(notes, stage.bot.world.clock.now())


async def ladders(stage: Stage) -> list[tuple[object, ...]]:
    """When each ladder is due, and when it was told."""
    found = await rows(stage, sa.select(ESCALATION).order_by(ESCALATION.c.id))
    return [(row["id"], row["due_at"], row["delivered_at"], row["version"]) for row in found]


def ops(stage: Stage, words: str) -> list[str]:
    return [message.plain for message in stage.channel("ops") if words in message.plain]


async def some_seconds(cluster: Cluster, *others: Other, seconds: int = 15) -> None:
    """Time passes, and the guards of all replicas look each second."""
    for _ in range(seconds):
        await cluster.stage.advance(seconds=1)
        for other in others:
            await other.guard.turn()


@pytest.mark.parametrize("by", [timedelta(seconds=8), timedelta(minutes=5), timedelta(hours=30)])
@pytest.mark.parametrize("sign", [1, -1])
async def test_13_11_a_replica_whose_clock_is_set_takes_nothing_that_another_one_is_sending(
    cluster: Cluster, by: timedelta, sign: int
) -> None:
    stage, other = cluster.stage, await cluster.another()
    await say(stage, 1)
    (hold,) = await claim(stage.bot.world, frozenset())
    other.machine.step(by * sign)
    assert await claim(other.world, frozenset()) == [], "it is under way"
    stage.clock.push(timedelta(seconds=4))
    await other.guard.turn()
    assert await claim(other.world, frozenset()) == []
    await renew(stage.bot.world, [hold])
    stage.clock.push(timedelta(seconds=4))
    assert await claim(other.world, frozenset()) == [], "its lease was renewed"
    await deliver(stage.bot.world, hold)
    assert len(stage.channel("ops")) == 1


async def test_13_11_what_a_replica_with_a_wrong_clock_was_killed_with_is_taken_over_in_time(
    cluster: Cluster,
) -> None:
    stage, other = cluster.stage, await cluster.another()
    other.machine.step(timedelta(hours=1))
    await say(stage, 1)
    left: list[Hold] = await claim(other.world, frozenset())
    assert len(left) == 1, "and then it is killed"
    stage.clock.push(timedelta(seconds=8))
    (taken,) = await claim(stage.bot.world, frozenset())
    await deliver(stage.bot.world, taken)
    assert len(stage.channel("ops")) == 1


@pytest.mark.parametrize("by", [timedelta(hours=1), timedelta(hours=26), DAYS, -timedelta(hours=1), -DAYS])
async def test_13_11_one_replica_s_clock_moves_no_ladder_and_is_told(cluster: Cluster, by: timedelta) -> None:
    stage, other = cluster.stage, await cluster.another()
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await some_seconds(cluster, other)
    before = await ladders(stage)
    other.machine.step(by)
    await some_seconds(cluster, other)
    assert await ladders(stage) == before
    assert ops(stage, "set ") == []
    reason = other.world.problems.current()[Trouble.MACHINE_DIFFERS]
    assert ("ahead of" if by > timedelta() else "behind") in reason
    assert Trouble.MACHINE_DIFFERS not in stage.bot.world.problems.current()
    # It goes, and everything comes in its time.
    await stage.advance(minutes=4)
    assert len(stage.dms("kenji")) == 1
    await stage.advance(minutes=1)
    assert len(stage.dms("kenji")) == 2
    other.machine.step(-by)
    await some_seconds(cluster, other, seconds=3)
    assert Trouble.MACHINE_DIFFERS not in other.world.problems.current()


@pytest.mark.parametrize("by", [timedelta(hours=26), DAYS, -timedelta(hours=26), -DAYS])
async def test_13_11_a_replica_that_starts_with_a_wrong_clock_makes_nothing_due(
    cluster: Cluster, by: timedelta
) -> None:
    stage = cluster.stage
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await say(stage, 1)
    (under_way,) = await claim(stage.bot.world, frozenset())
    before = await ladders(stage)
    machine = MachineClock(stage.clock)
    machine.step(by)
    other = await cluster.another(machine)
    assert await ladders(stage) == before
    assert await claim(other.world, frozenset()) == [], "what is under way is not due"
    await deliver(stage.bot.world, under_way)
    assert ops(stage, "behind the time") == []
    await stage.advance(minutes=4)
    assert len(stage.dms("kenji")) == 1


async def test_13_11_who_starts_while_others_count_ahead_of_the_database_s_clock_counts_with_them(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = cluster.stage
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    cluster.server.step(-DAYS)
    await some_seconds(cluster)
    before = await ladders(stage)
    monkeypatch.setattr(operations.clock, "ALIVE_WITHIN", 1.0)

    async def goes_on() -> None:
        while True:
            stage.clock.push(timedelta(seconds=0.1))
            async with stage.bot.store() as tx:
                await tx.mark_clock(stage.bot.world.clock.now())
            await asyncio.sleep(0.05)

    going_on = asyncio.create_task(goes_on())
    other = await cluster.another()
    going_on.cancel()
    assert await ladders(stage) == before
    assert abs(other.world.clock.now() - stage.bot.world.clock.now()) < timedelta(seconds=1)
    assert len(ops(stage, "database's clock was set back: it is 3 days behind")) == 1


async def test_13_11_what_a_wrong_clock_of_the_database_dated_is_pulled_in_once_by_two_that_start(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = cluster.stage
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.advance(seconds=30)
    (before,) = await rows(stage, sa.select(ESCALATION))
    await stage.crash()
    cluster.server.step(-DAYS)
    monkeypatch.setattr(operations.clock, "ALIVE_WITHIN", 0.2)
    others = await asyncio.gather(cluster.another(), cluster.another(), stage.start())
    assert len(others) == 3
    (after,) = await rows(stage, sa.select(ESCALATION))
    assert abs(before["due_at"] - after["due_at"] - DAYS) < timedelta(seconds=30)
    await stage.settle()
    assert len(ops(stage, "behind the time at which Toban last ran")) == 1


async def test_13_11_a_leap_of_the_database_s_clock_is_worked_off_once_by_all_replicas(
    cluster: Cluster,
) -> None:
    stage, other = cluster.stage, await cluster.another()
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await some_seconds(cluster, other)
    (before,) = await rows(stage, sa.select(ESCALATION))
    cluster.server.step(timedelta(hours=1))
    await some_seconds(cluster, other)
    (after,) = await rows(stage, sa.select(ESCALATION))
    assert abs(after["due_at"] - before["due_at"] - timedelta(hours=1)) < timedelta(seconds=5)
    assert len(ops(stage, "database's clock was set forward by 1 hour")) == 1


class Slow:
    """A shared clock whose answers take long, as those of a busy database do."""

    def __init__(self, world: StandingClock) -> None:
        self._world = world
        self.before, self.after = timedelta(), timedelta()

    async def ask(self) -> datetime:
        self._world.push(self.before)
        shown = self._world.now()
        self._world.push(self.after)
        return shown


async def test_13_11_slow_answers_of_the_shared_clock_move_nothing_and_a_step_of_it_does() -> None:
    world = StandingClock()
    slow = Slow(world)
    machine = MachineClock(world)
    shared = SharedClock(machine, slow.ask)
    await shared.learn()
    for before, after in ((3.0, 0.0), (0.0, 3.0), (0.5, 2.5)):
        slow.before, slow.after = timedelta(seconds=before), timedelta(seconds=after)
        await shared.learn()
        assert shared.now() == world.now()
    machine.step(timedelta(hours=1))
    assert shared.now() == world.now(), "the machine's own clock does not count"
