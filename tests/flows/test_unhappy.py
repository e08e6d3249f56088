"""Alerts that come late, twice, in the wrong order, in floods, or with ill will."""

import asyncio
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from domain.escalation import PageStatus
from domain.inbox import NewDelivery
from domain.policy import Level
from sandbox.clock import START
from sandbox.stage import Stage
from tests.flows.looking import (
    ESCALATION,
    INCIDENT,
    PAGE,
    bot_posts,
    notes,
    posts_to,
    raw_texts,
    rows,
    twice,
    unsent,
)
from tests.payloads import alertmanager, monitoring, monitoring_test

HOSTILE = "<!channel> *x* <http://evil.example|click> @here \u202eevil\u202c `code` <@U012345> <#C012345>"


async def test_the_same_opening_three_times_late_is_one_card_and_one_page(stage: Stage) -> None:
    for _ in range(4):
        assert await stage.webhook("cloud-monitoring", monitoring()) == 200
        await stage.advance(seconds=70)

    assert len(stage.channel("alerts")) == 1
    assert len(stage.channel("incidents")) == 1
    assert len(stage.dms("kenji")) == 1
    assert twice(stage) == {}


async def test_the_same_closing_three_times_late_is_told_once_and_pages_nobody(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    for _ in range(4):
        assert await stage.webhook("cloud-monitoring", monitoring(state="closed")) == 200
        await stage.advance(seconds=70)

    assert [note for note in notes(stage, "alerts") if "reports recovery" in note] == notes(stage, "alerts")
    assert len(notes(stage, "alerts")) == 1
    assert len(stage.dms("kenji")) == 1
    assert "Recovered" in stage.card("alerts").plain


async def test_an_opening_that_is_repeated_a_day_after_its_closing_stays_over(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(hours=24)
    assert await world.webhook("cloud-monitoring", monitoring()) == 200

    assert len(world.channel("alerts")) == 1
    assert "Recovered" in world.card("alerts").plain
    assert len(world.dms("kenji")) == 1


async def test_twenty_identical_requests_at_once_all_get_200_and_have_one_effect(stage: Stage) -> None:
    sent = [stage.webhook("cloud-monitoring", monitoring(), settle=False) for _ in range(20)]
    assert set(await asyncio.gather(*sent)) == {200}
    await stage.settle()

    assert len(stage.channel("alerts")) == 1
    assert len(stage.channel("incidents")) == 1
    assert len(stage.dms("kenji")) == 1

    closed = monitoring(state="closed")
    sent = [stage.webhook("cloud-monitoring", closed, settle=False) for _ in range(20)]
    assert set(await asyncio.gather(*sent)) == {200}
    await stage.advance(seconds=5)
    assert len(notes(stage, "alerts")) == 1
    assert len(stage.dms("kenji")) == 1


async def test_two_alerts_of_one_policy_in_the_same_millisecond_share_a_thread_an_incident_and_a_page(
    stage: Stage,
) -> None:
    both = [stage.webhook("cloud-monitoring", monitoring(name), settle=False) for name in ("0.one", "0.two")]
    assert await asyncio.gather(*both) == [200, 200]
    await stage.settle()

    (card,) = stage.channel("alerts")
    assert "2 of 2 still firing" in card.plain
    assert len(stage.channel("incidents")) == 1
    assert len(stage.dms("kenji")) == 1


async def test_a_closing_before_its_opening_pages_nobody_and_the_card_says_that_it_is_over(
    stage: Stage,
) -> None:
    assert await stage.webhook("cloud-monitoring", monitoring(state="closed")) == 200
    assert stage.channel("alerts") == []

    await stage.advance(seconds=30)
    assert await stage.webhook("cloud-monitoring", monitoring()) == 200
    await stage.advance(hours=2)

    (card,) = stage.channel("alerts")
    assert "Resolved" in card.plain
    assert "Recovered" in card.plain
    assert card.buttons == ()
    assert stage.channel("incidents") == []
    assert all(stage.dms(person) == [] for person in ("kenji", "aya", "yuko", "mika", "dan"))


async def test_trouble_that_returns_within_half_an_hour_goes_on_in_its_thread(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring("0.one"))
    await world.webhook("cloud-monitoring", monitoring("0.one", state="closed"))
    await world.advance(minutes=29)
    await world.webhook("cloud-monitoring", monitoring("0.two"))

    card, again = world.channel("alerts")
    assert "Critical" in card.plain
    assert "Acknowledge" in card.buttons
    assert "Firing again" in again.plain
    assert any("Firing again" in note for note in notes(world, "alerts", 0))
    assert len(world.dms("kenji")) == 2, "nobody has it, so it pages again"


async def test_trouble_that_returns_after_half_an_hour_gets_a_card_of_its_own(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring("0.one"))
    await world.webhook("cloud-monitoring", monitoring("0.one", state="closed"))
    await world.advance(minutes=31)
    await world.webhook("cloud-monitoring", monitoring("0.two"))

    old, new = world.channel("alerts")
    assert "Recovered" in old.plain
    assert "Critical" in new.plain


def _flap(number: int, severity: str) -> tuple[dict[str, Any], dict[str, Any]]:
    begins = START + timedelta(minutes=2 * number)
    times = {"started": begins.isoformat(), "severity": severity}
    ended = (begins + timedelta(minutes=1)).isoformat()
    return alertmanager("db-1", **times), alertmanager("db-1", status="resolved", ended=ended, **times)


async def test_an_alert_that_flaps_fifty_times_stays_one_message_with_few_notes(world: Stage) -> None:
    for number in range(50):
        firing, resolved = _flap(number, "critical")
        assert await world.webhook("alertmanager", firing, settle=number % 5 == 0) == 200
        world.clock.push(timedelta(minutes=1))
        assert await world.webhook("alertmanager", resolved, settle=number % 7 == 0) == 200
        world.clock.push(timedelta(minutes=1))
    await world.settle()

    card, *again = world.channel("alerts")
    assert "50 times since" in card.plain
    assert len(again) <= 2  # Lines of its thread that the channel shows as well.
    assert len(notes(world, "alerts", 0)) <= 8
    assert len(world.channel("incidents")) == 1
    assert twice(world) == {}


async def test_an_alert_that_flaps_while_somebody_has_it_pages_nobody_again(world: Stage) -> None:
    firing, resolved = _flap(0, "critical")
    await world.webhook("alertmanager", firing)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    for number in range(1, 10):
        await world.advance(minutes=1)
        await world.webhook("alertmanager", resolved)
        await world.advance(minutes=1)
        firing, resolved = _flap(number, "critical")
        await world.webhook("alertmanager", firing)

    assert len(world.dms("kenji")) == 1
    assert world.dms("aya") == []


async def test_an_info_alert_is_shown_and_pages_nobody(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring(severity="No severity"))
    await world.advance(hours=3)

    (card,) = world.channel("alerts")
    assert "Info" in card.plain
    assert world.channel("incidents") == []
    assert all(world.dms(person) == [] for person in ("kenji", "aya", "yuko", "mika", "dan"))
    assert await rows(world, sa.select(ESCALATION)) == []


async def test_the_consoles_test_button_pages_nobody_and_is_told_in_ops(world: Stage) -> None:
    assert await world.webhook("cloud-monitoring", monitoring_test()) == 200

    (line,) = world.channel("ops")
    assert "Test notification received" in line.plain
    assert world.channel("alerts") == []
    assert world.dms("kenji") == []


async def test_a_level_that_rises_in_its_group_opens_an_incident_and_pages_by_the_louder_ladder(
    stage: Stage,
) -> None:
    await stage.webhook("alertmanager", alertmanager("db-1", severity="warning"))
    assert len(stage.dms("mika")) == 1
    assert stage.channel("incidents") == []

    await stage.advance(minutes=2)
    await stage.webhook("alertmanager", alertmanager("db-1", severity="critical"))

    (card,) = stage.channel("alerts")
    assert "Critical" in card.plain
    assert any("It got worse" in note for note in notes(stage, "alerts"))
    assert len(stage.channel("incidents")) == 1
    assert len(stage.dms("kenji")) == 1
    assert stage.dms("mika")[0].buttons == ()
    await stage.advance(hours=3)
    assert len(stage.dms("mika")) == 1
    assert stage.dms("dan") == []


async def test_a_second_critical_group_joins_the_incident_and_pages_only_when_the_answer_is_old(
    stage: Stage,
) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    await stage.advance(minutes=29)
    await stage.webhook("cloud-monitoring", monitoring("0.two", policy="API latency"))

    assert len(stage.channel("incidents")) == 1
    assert "2 of 2 still firing" in stage.card("incidents").plain
    assert "INC-1" in stage.card("alerts").plain
    assert len(stage.dms("kenji")) == 1

    await stage.advance(minutes=2)
    await stage.webhook("cloud-monitoring", monitoring("0.three", policy="API memory"))
    assert len(stage.channel("incidents")) == 1
    assert len(stage.dms("kenji")) == 2
    assert "Acknowledge" in stage.card("incidents").buttons


async def test_garbage_is_answered_kept_and_told_once_in_ops(stage: Stage) -> None:
    assert await stage.webhook("cloud-monitoring", b"garbage", settle=False) == 202
    assert await stage.webhook("cloud-monitoring", b"garbage", settle=False) == 202
    assert await stage.webhook("alertmanager", b'{"alerts": "none"}', settle=False) == 400
    assert await stage.webhook("alertmanager", b'{"alerts": "none"}', settle=False) == 400
    await stage.settle()

    told = [line.plain for line in stage.channel("ops")]
    assert len(told) == 2
    assert sum("cloud-monitoring" in line for line in told) == 1
    assert sum("alertmanager" in line for line in told) == 1
    assert stage.channel("alerts") == []


async def test_a_poisonous_delivery_between_good_ones_does_not_stop_them(stage: Stage) -> None:
    at = stage.clock.now()
    for number in range(3):
        await stage.webhook("cloud-monitoring", monitoring(f"0.{number}", policy=f"P{number}"), settle=False)
        kind = ("cloud-monitoring", "alertmanager", "a kind of the future")[number]
        poison = NewDelivery(kind=kind, key=f"poison:{number}", body=b"\x00poison", received_at=at)
        await stage.bot.store.inbox.put(poison)
    await stage.webhook("alertmanager", alertmanager("db-1"), settle=False)
    await stage.settle()

    assert len(stage.channel("alerts")) == 4
    assert len(stage.channel("ops")) == 3
    assert all("could not be understood" in line.plain for line in stage.channel("ops"))


def _hostile_monitoring() -> dict[str, Any]:
    body = monitoring(severity="Critical", policy=HOSTILE, service=HOSTILE, summary=HOSTILE, url=HOSTILE)
    incident = body["incident"]
    incident |= {"condition_name": HOSTILE, "observed_value": HOSTILE, "threshold_value": HOSTILE}
    incident |= {"policy_user_labels": {"severity": "critical", HOSTILE: HOSTILE, "runbook": HOSTILE}}
    incident["documentation"] = {"content": HOSTILE, "links": [{"displayName": HOSTILE, "url": HOSTILE}]}
    return body


def _hostile_alertmanager() -> dict[str, Any]:
    body = alertmanager("one", "two", severity="warning", group=HOSTILE, externalURL=HOSTILE)
    for alert in body["alerts"]:
        alert["labels"] |= {"level": HOSTILE, "instance": HOSTILE, "service_name": HOSTILE, HOSTILE: HOSTILE}
        alert["annotations"] |= {"summary": HOSTILE, "description": HOSTILE, "runbook_url": HOSTILE}
        alert["annotations"]["value"] = HOSTILE
        alert["generatorURL"] = HOSTILE
    return body


async def test_hostile_text_in_every_field_is_never_live_markup_anywhere(world: Stage) -> None:
    assert await world.webhook("cloud-monitoring", _hostile_monitoring()) == 200
    assert await world.webhook("alertmanager", _hostile_alertmanager()) == 200
    assert (
        await world.webhook("cloud-monitoring", b'{"incident": {"incident_id": "1", "state": "<!channel>"}}')
        == 202
    )
    test = monitoring_test()
    test["incident"] |= {"summary": HOSTILE, "scoping_project_id": HOSTILE}
    assert await world.webhook("cloud-monitoring", test) == 200
    await world.advance(minutes=20)
    await world.type("mika", "incidents", "/incident list")
    await world.type("mika", "incidents", "/incident show")
    await world.type("mika", "incidents", f"/incident resolve INC-1 {HOSTILE}")
    await world.type("mika", "incidents", f"/incident {HOSTILE}")
    await world.type("mika", "incidents", f"/incident declare P2 {HOSTILE}")
    await world.type("mika", "incidents", f"/incident show {HOSTILE}")
    await world.advance(minutes=2)

    assert len(world.channel("alerts")) == 2
    assert world.dms("kenji")
    assert len(world.slack.ephemerals("mika")) == 6
    seen = [*bot_posts(world), *world.slack.state.whispers[world.slack.user_id("mika")]]
    texts = [text for post in seen for text in raw_texts(post)]
    for text in texts:
        live = world.slack.mentions(text)
        assert (live.users, live.channels, live.groups, live.broadcasts) == (0, 0, 0, 0), text
        assert "<http://evil" not in text
        assert "*x*" not in text
        assert "\u202e" not in text
    for post in seen:
        assert "\u202e" not in repr(post.blocks)
        assert "\\u202e" not in repr(post.blocks)


async def test_a_summary_of_five_thousand_characters_is_posted(world: Stage) -> None:
    assert await world.webhook("cloud-monitoring", monitoring(summary="長い説明 " * 1000)) == 200

    assert "長い説明" in world.card("alerts").plain
    assert world.dms("kenji")
    assert await unsent(world) == []


async def test_a_thousand_alerts_in_one_body_are_one_card(stage: Stage) -> None:
    body = alertmanager(*(f"host-{number}" for number in range(1000)))
    assert await stage.webhook("alertmanager", body) == 200

    (card,) = stage.channel("alerts")
    assert "1000 of 1000 still firing" in card.plain
    assert "995 more" in card.plain
    assert len(stage.dms("mika")) == 1
    assert len(posts_to(stage, "alerts", "chat.update")) <= 3


async def test_sixty_groups_at_once_are_paced_and_the_critical_one_goes_first(world: Stage) -> None:
    for number in range(60):
        await world.webhook("alertmanager", alertmanager("host", group=f"Alert{number}"), settle=False)
    await world.webhook("cloud-monitoring", monitoring(), settle=False)
    await world.settle()

    assert len(world.dms("kenji")) == 1, "the page does not wait for the cards"
    assert len(world.channel("incidents")) == 1
    assert "Critical" in world.channel("alerts")[0].plain, "nor its thread for those of warnings"
    await world.advance(seconds=70)
    assert len(world.channel("alerts")) == 61
    times = [call.at for call in posts_to(world, "alerts") + posts_to(world, "alerts", "chat.update")]
    for at in times:
        assert sum(at <= other < at + timedelta(seconds=10) for other in times) <= 10 * 2 + 6
    posted = [call.at for call in posts_to(world, "alerts")]
    for at in posted:
        assert sum(at <= other < at + timedelta(seconds=10) for other in posted) <= 10 + 6
    await world.advance(minutes=2)
    assert await unsent(world) == []
    assert twice(world) == {}


async def test_sixty_groups_at_once_all_arrive_where_slack_takes_strictly_one_a_second(world: Stage) -> None:
    world.slack.rate_limit_posts = True
    for number in range(60):
        await world.webhook("alertmanager", alertmanager("host", group=f"Alert{number}"), settle=False)
    await world.advance(minutes=3)

    assert len(world.channel("alerts")) == 60
    pages = await rows(world, sa.select(PAGE.c.status).where(PAGE.c.person == "mika"))
    assert [page["status"] for page in pages] == [PageStatus.DELIVERED] * 60
    assert len(world.dms("mika")) < 10, "a storm is one message a minute"
    assert twice(world) == {}
    assert await unsent(world) == []


async def test_a_clock_that_jumps_an_hour_ahead_fires_each_due_step_in_order_and_once(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    assert len(stage.dms("kenji")) == 1
    stage.clock.push(timedelta(hours=1))
    await stage.advance(seconds=5)

    assert len(stage.dms("kenji")) == 2, "asked once more"
    assert len(stage.dms("aya")) == 1, "then the next one"
    assert stage.dms("yuko") == []
    assert stage.dms("kenji")[1].ts < stage.dms("aya")[0].ts
    await stage.advance(minutes=16)
    assert len(stage.dms("aya")) == 2
    assert len(stage.dms("yuko")) == 1
    attempts = await rows(stage, sa.select(PAGE).where(PAGE.c.means == "slack").order_by(PAGE.c.id))
    assert [page["person"] for page in attempts] == ["kenji", "kenji", "aya", "aya", "yuko"]


async def test_a_clock_that_is_set_back_an_hour_repeats_no_page_and_delays_no_new_one(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.webhook("alertmanager", alertmanager("db-1"))
    assert len(stage.dms("kenji")) == 1
    stage.clock.push(timedelta(hours=-1))
    await stage.advance(seconds=30)
    assert len(stage.dms("kenji")) == 1
    assert twice(stage) == {}

    fresh = monitoring("0.two", policy="DB disk", service="bondpoint-web")
    assert await stage.webhook("cloud-monitoring", fresh) == 200
    await stage.advance(seconds=30)
    assert len(stage.dms("kenji")) == 2, "a new page is not kept waiting by the old time"
    assert len(stage.channel("alerts")) == 3
    assert len(stage.channel("incidents")) == 2

    await stage.advance(hours=1, minutes=20)
    assert stage.dms("aya"), "the first ladder went on"
    assert twice(stage) == {}


async def test_a_warning_escalates_without_an_incident_and_declaring_one_moves_its_ladder(
    stage: Stage,
) -> None:
    await stage.webhook("alertmanager", alertmanager("db-1"))
    assert stage.channel("incidents") == []
    await stage.advance(minutes=61)
    assert len(stage.dms("mika")) == 2
    assert len(stage.dms("dan")) == 1

    await stage.press("dan", stage.card("alerts"), "Declare Incident")
    delivery = await stage.submit(
        "dan", {"title": "The database is slow", "severity": "P2 (partly degraded)"}
    )
    assert delivery.ok
    assert delivery.errors == {}
    (incident,) = stage.channel("incidents")
    assert "INC-1 · The database is slow" in incident.plain
    assert "INC-1" in stage.card("alerts").plain
    assert len(stage.dms("dan")) == 1, "no second page for the same trouble"
    assert len(stage.dms("mika")) == 2
    (ladder,) = await rows(stage, sa.select(ESCALATION))
    assert ladder["subject"] == "incident:1"

    await stage.advance(minutes=61)
    assert len(stage.dms("dan")) == 2, "the ladder goes on"
    await stage.press("dan", stage.dms("dan")[0], "Acknowledge")
    assert "Acknowledged by dan" in stage.card("incidents").plain
    assert "Acknowledged by dan" in stage.card("alerts").plain
    await stage.advance(hours=3)
    assert len(stage.dms("dan")) == 2


async def test_declaring_something_worse_than_the_alert_pages_by_the_louder_ladder(world: Stage) -> None:
    await world.webhook("alertmanager", alertmanager("db-1"))
    await world.press("mika", world.card("alerts"), "Declare Incident")
    await world.submit("mika", {"title": "Everything is down", "severity": "P0 (service down)"})

    assert "P0 INC-1" in world.card("incidents").plain
    assert len(world.dms("kenji")) == 1, "a declared P0 takes the level emergency"
    running = sa.select(ESCALATION).where(ESCALATION.c.phase != "stopped")
    assert [row["level"] for row in await rows(world, running)] == [Level.EMERGENCY]


async def test_an_incident_is_opened_once_for_its_alert_however_often_it_is_told(world: Stage) -> None:
    for name in ("0.a", "0.b", "0.c"):
        await world.webhook("cloud-monitoring", monitoring(name))
    assert len(await rows(world, sa.select(INCIDENT))) == 1
