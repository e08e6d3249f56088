"""13.11: whatever is done to the machine's clock, nothing waits longer, lives longer or pages twice."""

from contextlib import suppress
from datetime import timedelta

import pytest
import sqlalchemy as sa

from domain.escalation import Phase
from operations.clock import Trouble
from sandbox.slack.faults import status
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.flows.looking import ESCALATION, rows, twice
from tests.flows.test_deploys import asked, card, split, world_of
from tests.payloads import monitoring

HOUR = timedelta(hours=1)
BACK = [timedelta(seconds=7), HOUR, timedelta(hours=26), timedelta(days=400)]
ACROSS = [timedelta(seconds=30), HOUR, timedelta(hours=24), timedelta(hours=26), timedelta(days=400)]


def ops(stage: Stage, words: str) -> list[str]:
    return [message.plain for message in stage.channel("ops") if words in message.plain]


async def another(stage: Stage) -> None:
    fresh = monitoring("0.two", policy="DB disk", service="bondpoint-web")
    assert await stage.webhook("cloud-monitoring", fresh) == 200


@pytest.mark.parametrize("by", BACK)
async def test_13_11_alerts_and_ladders_go_on_when_the_clock_is_set_back(stage: Stage, by: timedelta) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    assert len(stage.dms("kenji")) == 1
    stage.machine.step(-by)
    await another(stage)
    assert len(stage.channel("alerts")) == 2, "what is committed is said at once"
    assert len(stage.dms("kenji")) == 2
    await stage.advance(minutes=5, seconds=10)
    assert len(stage.dms("kenji")) == 4, "asked once more for both, in their time"
    assert stage.dms("aya") == []
    await stage.advance(minutes=11)
    assert len(stage.dms("aya")) >= 2, "the next one for both, in her time"
    assert twice(stage) == {}


@pytest.mark.parametrize("by", ACROSS)
async def test_13_11_ladders_go_on_when_the_clock_was_set_back_while_the_bot_was_down(
    stage: Stage, by: timedelta
) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.advance(seconds=30)
    await stage.crash()
    stage.machine.step(-by)
    await stage.start()
    await another(stage)
    assert len(stage.channel("alerts")) == 2
    await stage.advance(minutes=14, seconds=55)
    assert len(stage.dms("aya")) == 1, "the next one for the first alert, in her time"
    assert twice(stage) == {}


async def test_13_11_a_clock_that_goes_back_again_and_again_stops_nothing(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    for _ in range(160):
        await stage.advance(seconds=6)
        stage.machine.step(-timedelta(seconds=5.9))
    assert stage.dms("aya"), "sixteen minutes have passed"
    assert twice(stage) == {}


async def test_13_11_a_clock_set_back_is_told_with_its_size_until_it_agrees_again(stage: Stage) -> None:
    await stage.settle()
    stage.machine.step(-HOUR)
    await stage.advance(seconds=2)
    assert len(ops(stage, "set back: it is 1 hour behind")) == 1
    assert "3600 s behind" in stage.bot.world.problems.current()[Trouble.WENT_BACK]
    await stage.advance(minutes=3)
    assert len(ops(stage, "set back")) == 1, "once"
    stage.machine.step(HOUR)
    await stage.advance(seconds=2)
    assert Trouble.WENT_BACK not in stage.bot.world.problems.current()
    assert len(ops(stage, "agrees with Toban again")) == 1
    assert ops(stage, "set forward") == []


async def approved(stage: Stage, shown: Message) -> bool:
    """Kenji tries to approve what he sees; whether any traffic moved."""
    before = split(stage)
    with suppress(LookupError):  # What has expired has no button any more.
        await stage.press("kenji", shown, "Approve Deploy")
    await stage.advance(minutes=2)
    return split(stage) != before


@pytest.mark.parametrize("by", [HOUR, timedelta(days=3)])
async def test_13_11_an_expired_approval_stays_expired_and_no_life_is_prolonged(
    database_url: str, by: timedelta
) -> None:
    async with world_of(database_url) as stage:
        expired = await asked(stage)
        await stage.advance(minutes=16)
        stage.machine.step(-by)
        assert not await approved(stage, expired)
        assert "xpired" in card(stage).plain

        shown = await asked(stage)
        await stage.advance(minutes=10)
        stage.machine.step(-by)
        await stage.advance(minutes=6)
        assert not await approved(stage, shown)
        assert "xpired" in card(stage).plain


@pytest.mark.parametrize("by", [HOUR, timedelta(days=30)])
async def test_13_11_an_expired_approval_stays_expired_over_a_restart(
    database_url: str, by: timedelta
) -> None:
    async with world_of(database_url) as stage:
        shown = await asked(stage)
        await stage.advance(minutes=14, seconds=30)
        await stage.crash()
        stage.machine.step(-by)
        await stage.start()
        await stage.advance(minutes=1)
        assert not await approved(stage, shown)
        assert "xpired" in card(stage).plain


@pytest.mark.parametrize("by", [timedelta(minutes=12), HOUR, timedelta(days=3)])
async def test_13_11_a_clock_set_forward_takes_nobodys_time_to_answer(stage: Stage, by: timedelta) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.advance(seconds=10)
    stage.machine.step(by)
    await stage.advance(minutes=4)
    assert len(stage.dms("kenji")) == 1, "not overdue: four minutes have passed"
    assert stage.dms("aya") == []
    assert len(ops(stage, "set forward by")) == 1
    await stage.advance(minutes=1)
    assert len(stage.dms("kenji")) == 2, "now it is"
    await stage.advance(minutes=10)
    assert len(stage.dms("aya")) == 1
    assert twice(stage) == {}


async def test_13_11_a_machine_that_slept_pages_who_is_next_at_once_and_only_once(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.advance(minutes=6)
    assert len(stage.dms("kenji")) == 2
    stage.machine.sleep(HOUR)
    await stage.advance(seconds=5)
    assert len(stage.dms("aya")) == 1, "an hour has passed for everybody"
    assert len(stage.dms("kenji")) == 2
    assert ops(stage, "set forward") == []
    running = await rows(stage, sa.select(ESCALATION).where(ESCALATION.c.phase != Phase.STOPPED))
    assert len(running) == 1
    assert twice(stage) == {}


@pytest.mark.parametrize("by", [HOUR, timedelta(days=3)])
@pytest.mark.parametrize("within", ["the drain", "the message"])
async def test_13_11_what_happens_in_the_second_of_a_leap_is_not_moved_by_it(
    stage: Stage, by: timedelta, within: str
) -> None:
    """The clock is set forward, and something is dated before anybody has noticed."""
    turns = {job.name: job.turn for job in stage.bot.jobs}
    if within == "the drain":
        stage.machine.step(by)
    await stage.webhook("cloud-monitoring", monitoring("0.one"), settle=False)
    while await turns["drain"]():
        pass
    if within == "the message":
        await turns["escalations"]()
        stage.machine.step(by)
        while await turns["outbox"]():
            await stage.bot.speaker.quiet()
    await stage.settle()
    assert len(stage.dms("kenji")) == 1
    await stage.advance(minutes=30)
    assert len(stage.dms("kenji")) == 2, "asked once more in time"
    assert stage.dms("aya"), "and the next one"


async def test_13_11_who_is_retried_is_not_given_up_for_hours_that_never_were(stage: Stage) -> None:
    stage.slack.faults.add("*", status(503), count=10**6)
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.advance(seconds=30)
    stage.machine.step(timedelta(days=3))
    await stage.advance(seconds=30)
    stage.slack.faults.clear()
    await stage.advance(minutes=5)
    assert len(stage.dms("kenji")) >= 1
    assert ops(stage, "cannot be paged") == []
