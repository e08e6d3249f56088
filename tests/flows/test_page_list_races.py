"""13.12: a page that joins a list is said, whatever another replica does to that list's message just then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa

from domain.effects import By, Subject, SubjectKind
from domain.escalation import PageStatus
from domain.policy import Policy
from operations import incidents, ladders
from operations.outbox import claim, deliver
from operations.world import World
from sandbox.stage import Stage
from storage.database import Tx
from tests.conftest import new_postgres, open_stage
from tests.flows.looking import OUTBOX, PAGE, rows, twice
from tests.flows.test_storm import storm

KENJI = By(id="U0KENJI", name="kenji")


@dataclass
class Held:
    """A store whose next writing transaction waits, before it begins or before it commits."""

    store: Any
    before: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Tx]:
        if self.before:
            self.reached.set()
            await self.go.wait()
        async with self.store() as tx:
            yield tx
            self.reached.set()
            await self.go.wait()


def held(world: World, *, before: bool = False) -> tuple[World, Held]:
    """A replica that stops in the middle of its next transaction."""
    store: Any = Held(world.store, before=before)
    return replace(world, store=store, recording=asyncio.Lock()), store


@pytest.fixture
async def lists(postgres: str, policy: Policy) -> AsyncIterator[Stage]:
    """Kenji has one page on its way, and four more ladders are due that will join it."""
    async with open_stage(new_postgres(postgres), policy) as stage:
        turns = {job.name: job.turn for job in stage.bot.jobs}
        await storm(stage, 1)
        while await turns["drain"]():
            pass
        assert await ladders.tick(stage.bot.world) == 1
        await storm(stage, 4, 1)
        while await turns["drain"]():
            pass
        yield stage


async def acknowledge(world: World) -> None:
    """Somebody takes the first incident: its page, not sent yet, is withdrawn."""
    async with world.store() as tx:
        await incidents.acknowledge(tx, Subject(kind=SubjectKind.INCIDENT, id=1), KENJI, world.clock.now())


async def at_once(first: Awaitable[Any], pause: Held, second: Awaitable[Any]) -> None:
    """The second begins while the first stands still, and waits for it where it has to."""
    one = asyncio.ensure_future(first)
    await pause.reached.wait()
    other = asyncio.ensure_future(second)
    await asyncio.wait({other}, timeout=0.5)
    pause.go.set()
    await asyncio.gather(one, other)


async def all_said(stage: Stage) -> None:
    """Nobody's page is left in a message that is never sent, and each is told once."""
    async with stage.bot.store.read() as tx:
        assert await tx.stranded_lists(10) == []
    await stage.settle()
    waiting = [one for one in await rows(stage, sa.select(PAGE)) if one["means"] == "slack"]
    assert len(waiting) == 5
    assert [one["status"] for one in waiting if one["escalation_id"] != 1] == [PageStatus.DELIVERED] * 4
    assert len(stage.dms("kenji")) == 1
    assert all(f"INC-{number}" in stage.dms("kenji")[0].plain for number in range(2, 6))
    assert twice(stage) == {}


async def test_13_12_a_page_joins_a_list_that_is_withdrawn_before_it_commits(lists: Stage) -> None:
    world = lists.bot.world
    joining, pause = held(world)
    await at_once(ladders.tick(joining), pause, acknowledge(world))
    await all_said(lists)


async def test_13_12_a_list_is_withdrawn_and_a_page_joins_it_before_that_commits(lists: Stage) -> None:
    world = lists.bot.world
    stopping, pause = held(world)
    await at_once(acknowledge(stopping), pause, ladders.tick(world))
    await all_said(lists)


@pytest.mark.parametrize("before", [True, False])
async def test_13_12_a_page_joins_while_it_is_recorded_that_there_is_nothing_to_say(
    lists: Stage, before: bool
) -> None:
    world = lists.bot.world
    mine = [hold for hold in await claim(world, frozenset()) if hold.letter.place == "@kenji"]
    assert len(mine) == 1
    await acknowledge(world)
    recording, pause = held(world, before=before)
    await at_once(deliver(recording, mine[0]), pause, ladders.tick(world))
    (message,) = await rows(lists, sa.select(OUTBOX).where(OUTBOX.c.place == "@kenji"))
    assert message["status"] == "pending"
    await lists.advance(seconds=10)
    await all_said(lists)


async def test_13_12_a_page_joins_and_the_record_that_there_is_nothing_to_say_waits_for_it(
    lists: Stage,
) -> None:
    world = lists.bot.world
    mine = [hold for hold in await claim(world, frozenset()) if hold.letter.place == "@kenji"]
    await acknowledge(world)
    joining, pause = held(world)
    await at_once(ladders.tick(joining), pause, deliver(world, mine[0]))
    await lists.advance(seconds=10)
    await all_said(lists)
