"""14: cards, pages and lists say what happened, as it happened."""

from datetime import timedelta
from typing import Any

import pytest

from domain.policy import Level
from notify.texts import catalogue
from sandbox.clock import START
from sandbox.senders import alertmanager, grafana
from sandbox.slack import faults
from sandbox.stage import Stage
from tests.conftest import make_policy, open_stage
from tests.flows.test_pages import about


def seconds(**ago: float) -> int:
    """Epoch seconds of a moment before the stage's beginning, or after it by negative numbers."""
    return int((START - timedelta(**ago)).timestamp())


def late(number: int, policy: str, started: Any, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = about(number, policy, **more)
    body["incident"]["started_at"] = started
    return body


async def test_14_what_arrives_late_is_dated_by_its_sender(world: Stage) -> None:
    """An hour or two may lie between the start of a trouble and the first that we hear of it."""
    began = seconds(hours=2)
    await world.webhook("cloud-monitoring", late(1, "Error Rate Too High", began))
    await world.advance(seconds=30)
    card, incident, page = world.card("#alerts"), world.card("#incidents"), world.dms("kenji")[-1]
    for shown in (card, incident, page):
        text = str(shown.blocks)
        assert f"<!date^{began}^" in text
        received = text.split("received " if shown is not page else "（受信 ")[1]
        assert received.startswith(f"<!date^{seconds()}^")


async def test_14_a_moment_between_start_and_arrival_is_not_worth_two_times(world: Stage) -> None:
    began = seconds(minutes=3)
    await world.webhook("cloud-monitoring", late(1, "Error Rate Too High", began))
    await world.advance(seconds=30)
    text = str(world.card("#alerts").blocks)
    assert f"<!date^{began}^" in text and "received" not in text


@pytest.mark.parametrize("started", [seconds(days=-400), 0, -62135596800])
async def test_14_a_senders_absurd_clock_dates_nothing(world: Stage, started: int) -> None:
    """A year ahead, not yet, and the year 1."""
    await world.webhook("cloud-monitoring", late(1, "Error Rate Too High", started))
    await world.advance(seconds=30)
    text = str(world.card("#alerts").blocks)
    assert f"*Since*\\n<!date^{seconds()}^" in text and "received" not in text


async def test_14_what_went_silent_keeps_its_moment_whoever_takes_it(world: Stage) -> None:
    await world.webhook("alertmanager", grafana(severity="critical"))
    await world.advance(minutes=10)
    await world.webhook("alertmanager", grafana(severity="critical", reason="MissingSeries"))
    silent = f"<!date^{seconds(minutes=-10)}^"
    await world.advance(minutes=10)
    await world.press("kenji", world.card("#incidents"), "Acknowledge")
    await world.settle()
    card, incident, page = world.card("#alerts"), world.card("#incidents"), world.dms("kenji")[0]
    assert f"Went silent · {silent}" in str(card.blocks)
    assert f"went silent {silent}" in str(incident.blocks)
    assert "0 firing, 1 went silent" in incident.plain
    assert f"データが途絶えました · {silent}" in str(page.blocks)


async def test_14_a_length_is_that_between_the_moments_on_its_card(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(minutes=13)
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", state="closed"))
    await world.advance(seconds=30)
    text = str(world.card("#alerts").blocks)
    assert f"<!date^{seconds()}^" in text and f"Recovered · <!date^{seconds(minutes=-13)}^" in text
    assert "*Duration*\\n13 minutes" in text
    for locale in ("en", "ja"):
        for key in ("watch.recovered.summary", "watch.burned.summary", "probe.answering.summary"):
            assert "{seconds:span}" not in catalogue(locale)[key]


async def test_14_a_group_that_a_person_closed_says_what_its_sender_says(world: Stage) -> None:
    await world.webhook("alertmanager", alertmanager("api-1", "api-2", "api-3"))
    await world.press("mika", world.card("#alerts"), "Resolve")
    await world.settle()
    card = world.card("#alerts").plain
    assert "Closed by hand; the sender had reported 3 firing" in card
    assert "still firing" not in card
    assert "instance=" not in card


async def test_14_what_flapped_and_is_over_does_not_flap_any_more(world: Stage) -> None:
    for number in range(3):
        await world.webhook("cloud-monitoring", about(number, "Queue Too Long", level="warning"))
        await world.advance(seconds=30)
        assert ("Flapping" in world.card("#alerts", 0).plain) is (number == 2)
        await world.webhook("cloud-monitoring", about(number, "Queue Too Long", "closed", "warning"))
    await world.advance(seconds=30)
    text = str(world.card("#alerts", 0).blocks)
    assert f"*Fired*\\n3 times since <!date^{seconds()}^" in text and "Flapping" not in text


async def test_14_the_home_tab_names_the_worst_first_with_its_level(database_url: str) -> None:
    policy = make_policy()
    mika = policy.ladders[Level.WARNING]
    policy = make_policy(ladders={Level.WARNING: mika, Level.CRITICAL: mika, Level.EMERGENCY: mika})
    async with open_stage(database_url, policy) as stage:
        await stage.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
        await stage.webhook("alertmanager", alertmanager("api-1"))
        await stage.advance(minutes=1)
        seen = (await stage.home("mika")).splitlines()
    waiting = [line for line in seen if "you were paged" in line]
    assert "P1 INC-1 Error Rate Too High" in waiting[0]
    assert "Warning HighLatency on api-1" in waiting[1]


async def test_14_a_list_says_which_incidents_only_wait_to_be_resolved(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.type("mika", "incidents", "/incident declare P2 Tickets about slow pages")
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", state="closed"))
    await world.settle()
    await world.type("mika", "incidents", "/incident list")
    for shown in (world.told("mika")[-1], await world.home("mika")):
        lines = [line for line in shown.splitlines() if line.startswith("• ")]
        assert [("alerts recovered" in line) for line in lines] == [True, False], shown


async def test_14_what_joins_an_incident_that_nobody_has_is_told_in_its_thread(world: Stage) -> None:
    """Once in ten minutes, and its card says whose pages these are."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(minutes=3)
    before = len(world.thread(world.card("#incidents")))
    for number in (2, 3):
        await world.webhook("cloud-monitoring", about(number, f"Latency {number} Too High"))
    await world.advance(seconds=30)
    told = [note.plain for note in world.thread(world.card("#incidents"))[before:]]
    assert [text for text in told if "fires as well" in text] == told[:1]
    assert "Latency 2 Too High" in told[0] and "Nobody has acknowledged this incident yet" in told[0]
    assert "Paged for INC-1: kenji" in world.card("#alerts").plain
    assert "Paged: kenji" in world.card("#incidents").plain


async def test_14_an_alert_outlives_its_resolved_incident_and_pages_nobody(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(seconds=30)
    card = world.card("#alerts")
    assert "Nobody is paged: INC-1 was resolved by mika" in card.plain
    assert "press Acknowledge" not in card.text


async def test_14_what_names_a_card_leads_to_it_as_soon_as_it_is_posted(world: Stage) -> None:
    """An alert's card may come later than the incident's card and the page that name it."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    world.slack.faults.add("chat.postMessage", faults.rate_limit(20), channel="alerts")
    await world.webhook("cloud-monitoring", about(2, "Latency Too High"))
    await world.webhook("alertmanager", alertmanager("api-1"))
    await world.advance(minutes=2)
    assert len(world.channel("#alerts")) == 3
    listed = [line for line in str(world.card("#incidents").blocks).split("• ")[1:] if "Too High" in line]
    assert len(listed) == 2
    assert all("/archives/" in line for line in listed)
    assert "/archives/" in str(world.dms("mika")[-1].blocks)


async def test_14_a_page_says_who_declared_its_incident(world: Stage) -> None:
    await world.type("mika", "incidents", "/incident declare P1 Customers cannot log in")
    await world.settle()
    assert "*宣言者*\nmika" in world.dms("kenji")[-1].plain


async def test_14_that_all_has_recovered_is_not_said_twice_within_minutes(world: Stage) -> None:
    for number in (1, 2):
        await world.webhook("cloud-monitoring", about(number, f"Latency {number} Too High"))
        await world.advance(minutes=1)
        await world.webhook("cloud-monitoring", about(number, f"Latency {number} Too High", state="closed"))
        await world.advance(minutes=1)
    told = [note.plain for note in world.thread(world.card("#incidents"))]
    assert sum("None of the alerts of INC-1 is open" in text for text in told) == 1
