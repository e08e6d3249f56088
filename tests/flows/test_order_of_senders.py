"""13.9 and 13.21: what a sender repeats, what comes late, and what is new although it looks the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from domain.alerts import AlertStatus
from sandbox.stage import PASSWORD, USER, Stage
from tests.flows.looking import notes
from tests.payloads import alertmanager, monitoring_test

START, END = "2026-11-22T01:00:00Z", "2026-11-22T01:03:50Z"


def firing(**more: Any) -> dict[str, Any]:
    return alertmanager("10.0.0.5", severity="critical", started=START, **more)


def resolved(**more: Any) -> dict[str, Any]:
    return firing(status="resolved", ended=END) | more


async def fired_and_ended(stage: Stage) -> int:
    """An alert of four minutes, and how many pages it was."""
    await stage.webhook("alertmanager", firing())
    await stage.advance(minutes=4)
    await stage.webhook("alertmanager", resolved())
    return len(stage.dms("kenji"))


async def _card(stage: Stage) -> tuple[AlertStatus, int]:
    async with stage.bot.store.read() as tx:
        (group,) = (await tx.groups([1])).values()
    return group.status, group.fires


async def test_13_9_the_same_bytes_after_an_end_are_not_lost(stage: Stage) -> None:
    """Fire, end, fire within a minute, byte by byte the same: shown at once, and paged if nothing ends it."""
    await stage.webhook("alertmanager", firing())
    await stage.advance(seconds=20)
    await stage.webhook("alertmanager", resolved())
    await stage.advance(seconds=20)
    pages = len(stage.dms("kenji"))
    await stage.webhook("alertmanager", firing())
    assert await _card(stage) == (AlertStatus.FIRING, 1)
    assert "The sender reported the same firing again" in stage.card("#alerts").plain
    assert (
        sum("now reports it again with the same start time" in note for note in notes(stage, "#alerts")) == 1
    )
    assert len(stage.dms("kenji")) == pages

    await stage.advance(minutes=11)
    assert len(stage.dms("kenji")) == pages + 1
    assert any("has not reported another end" in note for note in notes(stage, "#alerts", 0))
    assert "Nobody is paged before" not in stage.card("#alerts", 0).plain


async def test_13_21_a_peer_that_missed_the_end_pages_nobody(stage: Stage) -> None:
    """The peer says the firing again minutes after its end, and its end minutes after that."""
    pages = await fired_and_ended(stage)
    for _ in range(3):
        await stage.advance(minutes=5)
        await stage.webhook("alertmanager", firing())
        await stage.advance(minutes=4)
        await stage.webhook("alertmanager", resolved())
    await stage.advance(hours=1)
    assert await _card(stage) == (AlertStatus.RESOLVED, 1)
    assert len(stage.dms("kenji")) == pages
    assert stage.dms("aya") == []
    assert (
        sum("now reports it again with the same start time" in note for note in notes(stage, "#alerts")) == 1
    )


async def test_other_trouble_beside_a_repeated_firing_pages_at_once(stage: Stage) -> None:
    pages = await fired_and_ended(stage)
    await stage.advance(minutes=5)
    await stage.webhook("alertmanager", firing())
    await stage.webhook("alertmanager", alertmanager("10.0.0.6", severity="critical", started=START))
    await stage.advance(seconds=5)
    assert len(stage.dms("kenji")) == pages + 1


async def test_13_21_a_firing_whose_request_began_before_the_end_opens_nothing(stage: Stage) -> None:
    """Its body trickles in while the end of the same alert is sent and handled."""
    await stage.webhook("alertmanager", firing())
    again = firing()
    for alert in again["alerts"]:
        del alert["startsAt"]  # Then only the order of the requests can tell.
    began, ended = asyncio.Event(), asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        began.set()  # The bot has the headers, and has asked for the body.
        await ended.wait()
        yield json.dumps(again).encode()

    auth = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
    async with aiohttp.ClientSession(headers=auth) as http:
        sent = http.post(f"{stage.url}/webhooks/alertmanager", data=late(), expect100=True)
        sending = asyncio.ensure_future(sent)
        await began.wait()
        await stage.advance(seconds=2)
        await stage.webhook("alertmanager", resolved())
        await stage.advance(minutes=2)
        ended.set()
        answer = await sending
        assert answer.status == 200
    await stage.settle()
    assert await _card(stage) == (AlertStatus.RESOLVED, 1)
    assert "The sender reported the same firing again" not in stage.card("#alerts").plain


@pytest.mark.parametrize("pause", [1, 30, 120])
async def test_13_9_a_test_that_is_sent_twice_is_told_once(stage: Stage, pause: int) -> None:
    await stage.webhook("cloud-monitoring", monitoring_test())
    await stage.advance(seconds=pause)
    await stage.webhook("cloud-monitoring", monitoring_test())
    assert len(stage.channel("#ops")) == 1
    await stage.advance(minutes=11)
    await stage.webhook("cloud-monitoring", monitoring_test())
    assert len(stage.channel("#ops")) == 2


async def test_a_body_that_nobody_understands_is_told_once_and_kept_each_time(stage: Stage) -> None:
    for _ in range(3):
        assert await stage.webhook("cloud-monitoring", b"{") == 202
        await stage.advance(minutes=1)
    assert len(stage.channel("#ops")) == 1
    async with stage.bot.store.read() as tx:
        (aside,) = await tx.quarantined_by_kind()
    assert aside.count == 3
