"""13.12: pages go by level, then age, and a storm is one direct message a minute for each person."""

from typing import Any

import sqlalchemy as sa

from domain.escalation import PageStatus
from sandbox.stage import Stage
from tests.flows.looking import ESCALATION, PAGE, rows, twice
from tests.payloads import alertmanager, monitoring

MANY = 24


async def storm(stage: Stage, many: int = MANY, first: int = 0) -> None:
    """Critical alerts on as many services at once, each with an incident of its own."""
    for number in range(first, first + many):
        sent = monitoring(f"0.s{number}", policy=f"errors {number}", service=f"service-{number}")
        assert await stage.webhook("cloud-monitoring", sent, settle=False) == 200


def emergency(name: str = "payments are down") -> Any:
    return monitoring("0.em", policy=name, service="payments", severity="emergency")


async def test_13_12_a_storm_is_one_message_that_lists_it_and_every_page_is_delivered(stage: Stage) -> None:
    await storm(stage)
    await stage.settle()
    assert len(stage.dms("kenji")) == 1
    await stage.advance(seconds=50)
    assert len(stage.dms("kenji")) == 1
    assert f"{MANY}" in stage.dms("kenji")[0].plain
    slack = [one for one in await rows(stage, sa.select(PAGE)) if one["means"] == "slack"]
    assert len(slack) == MANY
    assert {one["status"] for one in slack} == {PageStatus.DELIVERED}
    ladders = await rows(stage, sa.select(ESCALATION))
    assert all(one["delivered_at"] is not None for one in ladders), "their timers run"
    assert twice(stage) == {}


async def test_13_12_a_storm_that_goes_on_is_one_message_a_minute(stage: Stage) -> None:
    for turn in range(6):
        await storm(stage, 5, turn * 5)
        await stage.advance(seconds=25)
    assert len(stage.dms("kenji")) <= 3, "in two and a half minutes"
    assert "30" in stage.dms("kenji")[-1].plain
    await stage.advance(seconds=90)
    quiet = len(stage.dms("kenji"))
    assert quiet <= 4
    await stage.advance(seconds=50)
    assert len(stage.dms("kenji")) == quiet, "nothing has joined since"


async def test_13_12_an_emergency_leads_the_list_of_the_storm_that_came_first(stage: Stage) -> None:
    await storm(stage)
    assert await stage.webhook("cloud-monitoring", emergency(), settle=False) == 200
    await stage.settle()
    (told,) = stage.dms("kenji")
    assert "payments are down" in told.plain.splitlines()[0]


async def test_13_12_an_emergency_within_a_storm_that_was_told_rings_at_once(stage: Stage) -> None:
    await storm(stage, 20)
    await stage.settle()
    await stage.advance(seconds=5)
    assert len(stage.dms("kenji")) == 1
    await stage.webhook("cloud-monitoring", emergency())
    assert len(stage.dms("kenji")) == 2, "it does not wait for its minute"
    assert "payments are down" in stage.dms("kenji")[-1].plain


async def test_13_12_due_ladders_go_by_level_then_by_age(stage: Stage) -> None:
    await storm(stage, 55)
    await stage.webhook("cloud-monitoring", emergency(), settle=False)
    jobs = {job.name: job for job in stage.bot.jobs}
    while await jobs["drain"].turn():
        pass
    await jobs["escalations"].turn()
    paged = await rows(
        stage,
        sa.select(ESCALATION.c.level, PAGE.c.escalation_id)
        .join(PAGE, PAGE.c.escalation_id == ESCALATION.c.id)
        .order_by(PAGE.c.id),
    )
    assert paged[0]["level"] == "emergency", "though it came last"
    ladders = [one["escalation_id"] for one in paged if one["level"] == "critical"]
    assert ladders == sorted(ladders)
    await stage.settle()


async def test_13_12_a_single_one_of_a_storm_is_acknowledged_and_leaves_the_list(stage: Stage) -> None:
    await storm(stage, 20)
    await stage.settle()
    (message,) = stage.dms("kenji")
    assert "20" in message.plain
    await stage.press("kenji", message, "INC-1に対応する")
    await stage.advance(seconds=5)
    (message,) = stage.dms("kenji")
    assert "19" in message.plain
    stopped = [one for one in await rows(stage, sa.select(ESCALATION)) if one["phase"] == "stopped"]
    assert [one["subject"] for one in stopped] == ["incident:1"]
    await stage.type("kenji", "#general", "/incident ack 5")
    await stage.advance(seconds=5)
    assert "18" in stage.dms("kenji")[0].plain


async def test_13_12_a_storm_outlives_a_crash_and_reminds_in_one_message(stage: Stage) -> None:
    await storm(stage, 8)
    await stage.crash()
    await stage.start()
    await stage.settle()
    assert len(stage.dms("kenji")) == 1
    await stage.advance(minutes=6)
    assert 2 <= len(stage.dms("kenji")) <= 3, "one more when nobody answered in five minutes"
    await stage.advance(minutes=12)
    assert 1 <= len(stage.dms("aya")) <= 2
    assert twice(stage) == {}


async def test_13_12_two_alerts_are_no_storm(stage: Stage) -> None:
    await storm(stage, 2)
    await stage.settle()
    assert len(stage.dms("kenji")) == 2
    await stage.webhook("alertmanager", alertmanager("db-1"))
    assert len(stage.dms("mika")) == 1
