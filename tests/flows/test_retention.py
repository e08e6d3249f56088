"""13.17: what is over and old goes, what is open or for good stays, and nobody waits for it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from domain.alerts import AlertStatus
from domain.data_retention import DataRetention
from domain.inbox import NewDelivery
from domain.outbox import Status
from domain.policy import Policy
from domain.watches import WatchKind
from operations.data_retention import retain
from sandbox.senders import alertmanager, monitoring, monitoring_test
from sandbox.stage import Stage
from storage.tables import metadata
from tests.conftest import make_policy, open_stage

TABLES = ("inbox", "alert", "alert_group", "escalation", "page", "timeline", "outbox", "incident", "finding")


@pytest.fixture
def policy() -> Policy:
    """Nothing is watched: weeks pass in these stories."""
    return make_policy(services=())


async def counts(stage: Stage) -> dict[str, int]:
    async with stage.bot.store.read() as tx:
        return {
            name: (
                await tx.connection.execute(sa.select(sa.func.count()).select_from(metadata.tables[name]))
            ).scalar_one()
            for name in TABLES
        }


async def rows(stage: Stage, name: str, *columns: str) -> Sequence[Any]:
    table = metadata.tables[name]
    async with stage.bot.store.read() as tx:
        found = await tx.connection.execute(
            sa.select(*(table.c[one] for one in columns)).order_by(table.c.id)
        )
        return found.all()


async def trouble(stage: Stage, number: int, *, severity: str = "Warning", ends: bool = True) -> None:
    """An alert of a group of its own, and its end."""
    said = {"severity": severity, "policy": f"policy {number}", "service": f"service-{number}"}
    await stage.webhook("cloud-monitoring", monitoring(f"0.{number}", **said))
    await stage.advance(minutes=1)
    if ends:
        await stage.webhook("cloud-monitoring", monitoring(f"0.{number}", state="closed", **said))
    await stage.advance(minutes=5)


async def later(stage: Stage, days: float) -> None:
    """Time passes without what the recurring jobs do; then the night's run."""
    stage.clock.push(timedelta(days=days))
    await retain(stage.bot.world, stage.clock.now())
    await stage.settle()


async def test_bodies_are_kept_compressed_for_a_time_and_then_dropped(stage: Stage) -> None:
    body = alertmanager(*[f"alert {number}" for number in range(40)])
    await stage.webhook("alertmanager", body)
    await stage.webhook("alertmanager", alertmanager("another"))
    [first, _] = await rows(stage, "inbox", "body")
    assert b"alert 39" in first.body
    async with stage.bot.store.read() as tx:
        kept = (await tx.connection.execute(sa.text("SELECT length(body) FROM inbox ORDER BY id"))).scalars()
        assert next(iter(kept)) < len(first.body) / 4
    await later(stage, 6)
    assert all(one.body for one in await rows(stage, "inbox", "body"))
    await later(stage, 1.1)
    assert [one.body for one in await rows(stage, "inbox", "body")] == [b"", b""]


async def test_a_delivery_that_is_repeated_after_its_body_went_is_still_recognised(stage: Stage) -> None:
    await trouble(stage, 1)
    known = await rows(stage, "inbox", "kind", "key")
    await later(stage, 30)
    for one in known:
        again = NewDelivery(kind=one.kind, key=one.key, body=b"{}", received_at=stage.clock.now())
        await stage.bot.world.inbox.put(again)
    await stage.settle()
    assert await rows(stage, "inbox", "kind", "key") == known
    await later(stage, 3)
    assert (await counts(stage))["inbox"] == 1  # The newest number is never given out again.


async def test_finished_alerts_go_with_all_that_belongs_to_them(stage: Stage) -> None:
    for number in range(12):
        await trouble(stage, number)
    before = await counts(stage)
    assert before["page"] == before["escalation"] == before["alert_group"] == 12
    await later(stage, 89)
    assert (await counts(stage))["alert_group"] == 12
    await later(stage, 2)
    after = await counts(stage)
    assert {after[name] for name in ("alert", "alert_group", "escalation", "page")} == {1}
    assert after["outbox"] == 2  # The card of the newest group, and the newest message.
    assert 1 <= after["timeline"] < 10
    await trouble(stage, 0)  # The same trouble again is a new thread, and numbers are not used twice.
    assert len(stage.channel("#alerts")) == 13
    assert [one.id for one in await rows(stage, "alert_group", "id")] == [12, 13]


async def test_what_is_open_stays_however_old_it_is(stage: Stage) -> None:
    await trouble(stage, 1, ends=False)
    both = alertmanager("one", "two")
    await stage.webhook("alertmanager", both)
    both["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-22T01:10:00Z"}
    await stage.webhook("alertmanager", both)
    await trouble(stage, 2)
    before = await rows(stage, "alert", "id", "firing")
    await stage.advance(hours=3)
    await later(stage, 400)
    kept = await rows(stage, "alert_group", "status")
    assert [one.status for one in kept] == [AlertStatus.FIRING, AlertStatus.FIRING, AlertStatus.RESOLVED]
    assert [tuple(one) for one in await rows(stage, "alert", "id", "firing")] == [
        tuple(one) for one in before
    ]
    async with stage.bot.store.read() as tx:
        assert len(await tx.running_escalations(["alert:1"])) == 1
    await trouble(stage, 3)
    await stage.webhook(
        "cloud-monitoring",
        monitoring("0.1", severity="Warning", policy="policy 1", service="service-1", state="closed"),
    )
    await stage.settle()
    assert "resolved" in stage.channel("#alerts")[0].plain.lower()


async def test_a_group_whose_card_waits_for_slack_stays_until_the_card_is_right(stage: Stage) -> None:
    await trouble(stage, 1)
    await trouble(stage, 2)
    outbox = metadata.tables["outbox"]
    async with stage.bot.store() as tx:
        pending = sa.update(outbox).where(outbox.c.key == "alert:1")
        await tx.connection.execute(pending.values(status=Status.PENDING, due_at=stage.clock.now()))
    stage.clock.push(timedelta(days=100))
    await retain(stage.bot.world, stage.clock.now())
    assert (await counts(stage))["alert_group"] == 2
    await stage.settle()
    await retain(stage.bot.world, stage.clock.now())
    assert [one.id for one in await rows(stage, "alert_group", "id")] == [2]


async def test_incidents_their_timeline_and_what_people_did_stay_for_good(stage: Stage) -> None:
    await trouble(stage, 1, ends=False)
    await stage.press("mika", stage.channel("#alerts")[0], "Acknowledge")
    await trouble(stage, 2, severity="Critical")
    await stage.press("kenji", stage.channel("#incidents")[0], "Acknowledge")
    await stage.type("kenji", "incidents", "/incident resolve it was the disk")
    await stage.webhook(
        "cloud-monitoring",
        monitoring("0.1", severity="Warning", policy="policy 1", service="service-1", state="closed"),
    )
    await trouble(stage, 3)
    before = await counts(stage)
    assert before["incident"] == 1
    incident = [tuple(one) for one in await rows(stage, "timeline", "subject", "what")]
    await later(stage, 1000)
    after = await counts(stage)
    assert after["incident"] == 1
    assert after["alert_group"] == 1
    left = await rows(stage, "timeline", "subject", "what", "by", "data")
    assert [(one.subject, one.what) for one in left if one.subject.startswith("incident:")] == [
        one for one in incident if one[0].startswith("incident:")
    ]
    acted = [one for one in left if one.subject == "alert:1"]
    assert "alert.acknowledged" in {one.what for one in acted}
    assert not any(one.by.is_toban for one in acted)
    assert all("policy 1" in one.data["title"] for one in acted)


async def test_an_open_incident_holds_its_alerts(stage: Stage) -> None:
    await trouble(stage, 1, severity="Critical")
    await trouble(stage, 2)
    await later(stage, 200)
    open_one = [one.id for one in await rows(stage, "alert_group", "id")]
    assert open_one == [1, 2]


async def test_a_page_whose_message_lists_one_that_is_still_open_stays(stage: Stage) -> None:
    for number in (1, 2):
        await trouble(stage, number, ends=False)
    closed = monitoring("0.1", severity="Warning", policy="policy 1", service="service-1", state="closed")
    await stage.webhook("cloud-monitoring", closed)
    page = metadata.tables["page"]
    async with stage.bot.store() as tx:
        first, second = (await tx.connection.execute(sa.select(page.c.id).order_by(page.c.id))).scalars()
        listed = sa.update(page).where(page.c.id == second).values(listed_in=first)
        await tx.connection.execute(listed)
    await trouble(stage, 3)
    await later(stage, 200)
    assert [one.id for one in await rows(stage, "alert_group", "id")] == [1, 2, 3]
    assert f"page:{first}" in {one.key for one in await rows(stage, "outbox", "key")}


async def test_a_huge_group_goes_in_small_pieces(stage: Stage) -> None:
    names = [f"alert {number}" for number in range(900)]
    body = alertmanager(*names, severity="info")
    for number, alert in enumerate(body["alerts"]):
        alert["fingerprint"] = f"f-{number}"
    await stage.webhook("alertmanager", body)
    for alert in body["alerts"]:
        alert |= {"status": "resolved", "endsAt": "2026-11-22T01:10:00Z"}
    await stage.webhook("alertmanager", body)
    await trouble(stage, 1)
    taken: list[int] = []
    world = stage.bot.world
    stage.clock.push(timedelta(days=91))

    def seen(*arguments: Any) -> None:
        if arguments[2].startswith("DELETE FROM alert "):
            taken.append(len(arguments[3]))

    engine = stage.bot.database.writer.sync_engine
    sa.event.listen(engine, "before_cursor_execute", seen)
    ran = await retain(world, stage.clock.now())
    sa.event.remove(engine, "before_cursor_execute", seen)
    assert ran.result.params["alerts"] == 900
    assert len(taken) > 2
    assert max(taken) <= 402


async def test_a_run_that_dies_between_two_batches_goes_on_where_it_was(stage: Stage) -> None:
    for number in range(8):
        await trouble(stage, number)
    stage.clock.push(timedelta(days=91))
    dying = asyncio.create_task(retain(stage.bot.world, stage.clock.now()))
    await asyncio.sleep(0.03)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await stage.crash()
    await stage.start()
    await retain(stage.bot.world, stage.clock.now())
    left = await counts(stage)
    assert (left["alert_group"], left["alert"], left["page"]) == (1, 1, 1)


async def test_two_runs_at_once_remove_everything_once_and_disturb_nobody(stage: Stage) -> None:
    for number in range(10):
        await trouble(stage, number)
    stage.clock.push(timedelta(days=91))
    now = stage.clock.now()
    ran = await asyncio.gather(*(retain(stage.bot.world, now) for _ in range(3)))
    assert sum(one.result.params["groups"] for one in ran) == 9
    assert sum(one.result.params["alerts"] for one in ran) == 9
    assert (await counts(stage))["alert_group"] == 1


async def test_13_what_is_known_of_presses_of_a_test_button_goes(stage: Stage) -> None:
    """Whoever calls one by the clock would else leave a row with each press for good."""
    for press in range(5):
        body = monitoring_test()
        body["incident"]["summary"] = f"Test Incident {press}"
        await stage.webhook("cloud-monitoring", body)
    pressed = [one for one in await rows(stage, "watch", "kind") if one.kind == WatchKind.TEST]
    assert len(pressed) == 5
    await later(stage, 31)
    assert len(await rows(stage, "watch", "kind")) >= 5
    await later(stage, 2)
    left = [one for one in await rows(stage, "watch", "kind") if one.kind == WatchKind.TEST]
    assert len(left) <= 1  # The newest number is never given out again.


async def test_the_night_does_it_by_itself_and_jobs_shows_it(stage: Stage) -> None:
    for number in range(3):
        await trouble(stage, number)
    await stage.advance(hours=30)
    stage.clock.push(timedelta(days=91))
    await stage.advance(hours=25)
    assert (await counts(stage))["alert_group"] == 1
    await stage.type("mika", "alerts", "/toban jobs")
    said = stage.told("mika")[-1]
    assert "Retention" in said
    assert "removed: alert groups" in said
    assert "The database takes" in said


@pytest.mark.parametrize("days", [10, 30])
async def test_the_policy_says_how_long(database_url: str, days: int) -> None:
    lasting = DataRetention(bodies=timedelta(days=1), alerts=timedelta(days=days))
    policy: Policy = make_policy(services=(), retention=lasting)
    async with open_stage(database_url, policy) as stage:
        await trouble(stage, 1)
        await trouble(stage, 2)
        await later(stage, days - 1)
        assert (await counts(stage))["alert_group"] == 2
        assert not any(one.body for one in await rows(stage, "inbox", "body"))
        await later(stage, 2)
        assert (await counts(stage))["alert_group"] == 1
