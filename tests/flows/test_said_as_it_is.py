"""14: cards, pages and lists say what happened, as it happened."""

from datetime import timedelta
from typing import Any

import pytest

from sandbox.clock import START
from sandbox.senders import grafana
from sandbox.stage import Stage
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
