"""13.12: pages go by level, then age, and a storm is one direct message a minute for each person."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain.escalation import PageStatus
from sandbox.slack.faults import rate_limit, status
from sandbox.stage import Stage
from storage.rows import table
from storage.tables import AlertGroupRow, AlertRow, InboxRow
from tests.flows.looking import ESCALATION, INCIDENT, OUTBOX, PAGE, rows, twice
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
    await stage.press("kenji", message, "INC-1 に対応する")
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


async def test_13_12_an_emergency_and_a_click_overtake_a_backlog(stage: Stage) -> None:
    """Three hundred deliveries wait for the drain; what is urgent is in its next batch all the same."""
    await stage.webhook("alertmanager", alertmanager("db-1"))
    card = stage.card("alerts")
    for number in range(300):
        sent = monitoring(f"0.s{number}", policy=f"errors {number}", service=f"service-{number}")
        assert await stage.webhook("cloud-monitoring", sent, settle=False) == 200
    await stage.slack.press("kenji", card.channel, card.ts, "Acknowledge")
    assert await stage.webhook("cloud-monitoring", emergency(), settle=False) == 200
    async with stage.bot.store.read() as tx:
        first = await tx.pending(300, 10**6, stage.clock.now())
        oldest = await tx.oldest_pending()
    assert [one.kind for one in first] == ["slack", "cloud-monitoring"]
    assert b"payments are down" in first[1].body, "and nothing else is in their transaction"
    assert oldest is not None and oldest <= first[0].received_at
    await stage.settle()
    assert "payments are down" in stage.channel("incidents")[0].plain


async def test_13_12_an_emergency_that_overtakes_its_own_past_stays_open(stage: Stage) -> None:
    """It fired as a warning and ended; now it fires as an emergency, and is drained before both."""
    past = alertmanager("db-1", started="2026-11-22T01:00:00Z")
    ended = past | {"status": "resolved", "alerts": [dict(past["alerts"][0])]}
    ended["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-22T01:00:10Z"}
    now = alertmanager("db-1", severity="emergency", started="2026-11-22T01:00:20Z")
    for sent in (past, ended, now):
        assert await stage.webhook("alertmanager", sent, settle=False) == 200
        stage.clock.push(timedelta(seconds=10))
    await stage.settle()
    assert "P0" in stage.card("incidents").plain
    assert "Recovered" not in stage.card("alerts").plain
    assert "Emergency" in stage.card("alerts").plain


@pytest.mark.parametrize("lost", ["withdrawn", "failed"])
async def test_13_12_pages_of_a_list_whose_message_is_never_sent_get_a_new_one(
    stage: Stage, lost: str
) -> None:
    """The first page's trouble ends, or its message is given up, just as others join its list."""
    stage.slack.faults.add("*", status(503), count=10**6)
    await storm(stage, 12)
    await stage.settle()
    assert stage.dms("kenji") == []
    async with stage.bot.store() as tx:
        tops = {one["listed_in"] for one in await tx.rows(sa.select(PAGE)) if one["listed_in"]}
        (top,) = tops
        gone = "withdrawn" if lost == "withdrawn" else "dead"
        message = sa.update(OUTBOX).where(OUTBOX.c.key == f"page:{top}")
        await tx.connection.execute(message.values(status=gone, due_at=None))
        await tx.connection.execute(sa.update(PAGE).where(PAGE.c.id == top).values(status=lost))
    stage.slack.faults.clear()
    await stage.advance(minutes=2)
    told = "\n".join(one.plain for one in stage.dms("kenji"))
    assert "errors 11" in told or "11 " in told
    queued = [one for one in await rows(stage, sa.select(PAGE)) if one["status"] == PageStatus.QUEUED]
    assert queued == []


async def test_13_12_slacks_limit_of_edits_holds_up_no_new_page(stage: Stage) -> None:
    """The list of a storm may not be edited for a minute; an emergency in the same conversation rings."""
    await storm(stage, 12)
    await stage.settle()
    assert len(stage.dms("kenji")) == 1
    stage.slack.faults.add("chat.update", rate_limit(50), count=10**6)
    await storm(stage, 4, first=100)
    await stage.advance(seconds=3)
    await stage.webhook("cloud-monitoring", emergency())
    assert "payments are down" in stage.dms("kenji")[-1].plain
    stage.slack.faults.clear()
    await stage.advance(minutes=2)
    slack = [one for one in await rows(stage, sa.select(PAGE)) if one["means"] == "slack"]
    assert {one["status"] for one in slack} == {PageStatus.DELIVERED}


@contextmanager
def counted(stage: Stage) -> Iterator[Counter[str]]:
    """The statements that the database is asked, by their first two words."""
    asked: Counter[str] = Counter()

    def take(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked[" ".join(statement.split()[:2])] += 1

    engines = {stage.bot.database.writer.sync_engine, stage.bot.database.reader.sync_engine}
    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", take)
    try:
        yield asked
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", take)


async def test_13_12_a_storm_costs_statements_by_the_batch_and_not_by_the_group(stage: Stage) -> None:
    """Otherwise thousands of groups keep the door, the drain and the pages waiting for each other."""
    jobs = {job.name: job for job in stage.bot.jobs}
    await storm(stage, 5)
    await stage.settle()
    costs = []
    for first, many in ((100, 6), (200, 36)):
        await storm(stage, many, first)
        with counted(stage) as asked:
            await jobs["drain"].turn()
            await jobs["escalations"].turn()
        await stage.settle()
        await stage.advance(seconds=30)
        costs.append(asked.total())
    assert costs[1] <= costs[0] + 4, costs


async def test_13_12_what_one_batch_opens_belongs_together(stage: Stage) -> None:
    """Groups of one service in one transaction: one incident, one ladder, of the worst level."""
    for number, severity in enumerate(("critical", "critical", "emergency")):
        sent = monitoring(f"0.b{number}", policy=f"errors {number}", service="shop", severity=severity)
        assert await stage.webhook("cloud-monitoring", sent, settle=False) == 200
    jobs = {job.name: job for job in stage.bot.jobs}
    async with stage.bot.store() as tx:  # As if they had come in the same second, and all as one batch.
        await tx.connection.execute(sa.update(table(InboxRow)).values(turn=1))
    await jobs["drain"].turn()
    (incident,) = await rows(stage, sa.select(INCIDENT))
    assert incident["severity"] == "P0"
    groups = await rows(stage, sa.select(table(AlertGroupRow)))
    assert {one["incident_id"] for one in groups} == {incident["id"]}
    ladders = [one for one in await rows(stage, sa.select(ESCALATION)) if one["phase"] != "stopped"]
    assert [(one["level"], one["subject"]) for one in ladders] == [
        ("emergency", f"incident:{incident['id']}")
    ]
    await stage.settle()
    assert len(stage.channel("incidents")) == 1


async def test_13_12_what_opens_and_ends_in_one_batch_leaves_an_ended_group(stage: Stage) -> None:
    fired = monitoring("0.o", policy="errors", service="shop", severity="warning")
    ended = monitoring("0.o", policy="errors", service="shop", severity="warning", state="closed")
    other = monitoring("0.p", policy="errors", service="shop", severity="warning")
    for sent in (fired, ended, other):
        assert await stage.webhook("cloud-monitoring", sent, settle=False) == 200
    await stage.settle()
    (group,) = await rows(stage, sa.select(table(AlertGroupRow)))
    alerts = await rows(stage, sa.select(table(AlertRow)).order_by(table(AlertRow).c.id))
    assert [(one["firing"], one["group_id"]) for one in alerts] == [(False, group["id"]), (True, group["id"])]
    assert group["firing"] == 1
