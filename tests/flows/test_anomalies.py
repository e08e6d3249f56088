"""What is unusual becomes a thread with a picture and a question, and people's answers count."""

from collections.abc import AsyncIterator

import pytest

from domain.policy import Policy, Service
from domain.rules import Rules
from sandbox.cloud.bondpoint import BondPoint
from sandbox.cloud.cloud import Cloud
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.conftest import make_policy

API = Service(
    name="bondpoint-api",
    project="bondpoint-prod",
    region="asia-northeast1",
    match={"service_name": "bondpoint-api"},
)


def detecting(**anomalies: object) -> Policy:
    rules = {"thresholds": (), "zone": "Asia/Tokyo", "anomalies": {"level": "info", **anomalies}}
    return make_policy(services=(API,), rules=Rules.model_validate(rules))


@pytest.fixture
async def town(sqlite_only: str) -> AsyncIterator[tuple[Stage, BondPoint]]:
    async with Stage.open(sqlite_only, detecting(), cloud=Cloud) as stage:
        yield stage, BondPoint(stage.cloud, stage.clock.now())


async def slow_down(stage: Stage, bondpoint: BondPoint) -> Message:
    """Twice as slow from now on; returns the card that tells it."""
    await stage.advance(minutes=10)
    bondpoint.services["bondpoint-api"].set(stage.clock.now(), slower=2.2)
    await stage.advance(minutes=20)
    return stage.card("#alerts")


async def test_a_service_that_gets_slower_is_told_once_with_a_picture_and_an_end(
    town: tuple[Stage, BondPoint],
) -> None:
    stage, bondpoint = town
    card = await slow_down(stage, bondpoint)
    assert "bondpoint-api: p95 latency unusually high" in card.plain
    assert "expected" in card.plain
    picture, question = stage.thread(card)[:2]
    assert stage.slack.pictures(picture)[0].startswith(b"\x89PNG")
    assert question.buttons == ("Useful", "Not Useful", "Expected", "Mute 24 h")
    assert stage.dms("kenji") == []
    bondpoint.services["bondpoint-api"].set(stage.clock.now(), slower=1.0)
    await stage.advance(minutes=60)
    assert len(stage.channel("#alerts")) == 1
    assert "Resolved" in stage.card("#alerts").plain
    assert "as usual again" in stage.card("#alerts").plain


async def test_people_answer_below_an_anomaly_and_the_answers_count(town: tuple[Stage, BondPoint]) -> None:
    stage, bondpoint = town
    card = await slow_down(stage, bondpoint)
    question = next(reply for reply in stage.thread(card) if reply.buttons)
    await stage.press("mika", question, "Useful")
    await stage.press("dan", question, "Mute 24 h")
    judged = next(reply for reply in stage.thread(card) if reply.ts == question.ts)
    assert "Mika" in judged.plain or "mika" in judged.plain
    assert "Muted until" in judged.plain
    assert judged.buttons == ("Not Useful", "Expected"), "the last word counts"
    await stage.type("mika", "#alerts", "/toban anomalies")
    listed = stage.told("mika")[-1]
    assert "Judged useful this week: 1 of 1" in listed
    assert "p95 latency muted until" in listed
    await stage.type("mika", "#alerts", "/toban anomalies unmute bondpoint-api")
    await stage.type("mika", "#alerts", "/toban anomalies")
    assert "muted" not in stage.told("mika")[-1]


async def test_the_reading_verbs_answer_with_what_is_there(town: tuple[Stage, BondPoint]) -> None:
    stage, _ = town
    await stage.advance(minutes=10)
    for verb, wanted in {
        "health": "All services are healthy (1)",
        "anomalies": "No anomalies now",
        "anomalies explain bondpoint-api": "p95 latency",
        "capacity bondpoint-api": "requests",
        "jobs": "Recurring jobs: all fine (7)",
        "anomalies explain nonsense": "There is no service `nonsense`",
        "anomalies mute bondpoint-api later": "is not a length of time",
        "helth": "Did you mean `/toban health`",
        "": "/toban health",
    }.items():
        await stage.type("mika", "#general", f"/toban {verb}")
        assert wanted in stage.told("mika")[-1], verb
