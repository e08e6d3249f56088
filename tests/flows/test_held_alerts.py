"""Alerts that a deploy explains page nobody for a while, and are let go if they outlive it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.flows.looking import pages
from tests.flows.test_deploys import BAD, asked, card, deploying, split, world_of
from tests.payloads import monitoring


@asynccontextmanager
async def canary(database_url: str, **rule: Any) -> AsyncIterator[Stage]:
    """Ten percent of the traffic are on trial, for twenty minutes."""
    policy = deploying(**({"bake": timedelta(minutes=20)} | rule))
    async with world_of(database_url, policy) as stage:
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        assert sorted(split(stage).values()) == [10, 90]
        yield stage


def alert(stage: Stage) -> Message:
    return stage.card("#alerts")


def said(stage: Stage) -> list[str]:
    return [message.plain for message in stage.thread(alert(stage))]


async def fire(stage: Stage, **changes: Any) -> None:
    await stage.webhook("cloud-monitoring", monitoring(**changes))


async def test_what_recovers_in_time_pages_nobody(database_url: str) -> None:
    async with canary(database_url) as stage:
        await fire(stage)
        assert "Paging on hold" in alert(stage).plain
        assert "D-1 may be the cause" in alert(stage).plain
        assert "acknowledge" in alert(stage).plain.casefold()
        await stage.advance(minutes=9)
        await fire(stage, state="closed")
        await stage.advance(minutes=40)
        assert pages(stage, "kenji") == []
        assert stage.channel("#incidents") == []
        assert "Paging on hold" not in alert(stage).plain
        assert "Recovered" in alert(stage).plain


async def test_what_outlives_it_pages_as_usual_and_says_so(database_url: str) -> None:
    async with canary(database_url) as stage:
        await fire(stage)
        await stage.advance(minutes=9, seconds=50)
        assert pages(stage, "kenji") == []
        await stage.advance(seconds=15)
        assert len(pages(stage, "kenji")) == 1
        assert "P1" in stage.card("#incidents").plain
        assert "Paging on hold" not in alert(stage).plain
        assert sum("end of the hold for D-1" in line for line in said(stage)) == 1


@pytest.mark.parametrize("minutes", [3, 12])
async def test_a_kill_changes_nothing(database_url: str, minutes: int) -> None:
    async with canary(database_url) as stage:
        await fire(stage)
        await stage.crash()
        stage.clock.push(timedelta(minutes=minutes))
        await stage.start()
        await stage.advance(seconds=30)
        assert len(pages(stage, "kenji")) == (1 if minutes > 10 else 0)
        await stage.advance(minutes=10 - min(minutes, 9))
        assert pages(stage, "kenji")
        assert len(stage.channel("#incidents")) == 1
        assert sum("end of the hold for D-1" in line for line in said(stage)) == 1


async def test_an_emergency_pages_at_once(sqlite_only: str) -> None:
    async with canary(sqlite_only) as stage:
        await fire(stage)
        assert pages(stage, "kenji") == []
        await fire(
            stage, severity="Emergency", policy_user_labels={"severity": "emergency"}, incident="0.worse"
        )
        assert pages(stage, "kenji")
        assert all("Paging on hold" not in message.plain for message in stage.channel("#alerts"))


async def test_where_the_policy_says_never_it_pages_at_once(sqlite_only: str) -> None:
    async with canary(sqlite_only, hold=timedelta(0)) as stage:
        await fire(stage)
        assert pages(stage, "kenji")
        assert "Paging on hold" not in alert(stage).plain


async def test_once_everything_is_on_the_new_revision_it_pages_at_once(sqlite_only: str) -> None:
    async with canary(sqlite_only, bake=timedelta(minutes=5)) as stage:
        await stage.advance(minutes=9)
        assert list(split(stage).values()) == [100]
        assert "100 %" in card(stage).plain
        await fire(stage)
        assert pages(stage, "kenji")


async def test_who_answers_it_while_it_is_held_is_believed(sqlite_only: str) -> None:
    async with canary(sqlite_only) as stage:
        await fire(stage)
        await stage.press("mika", alert(stage), "Acknowledge")
        assert "Paging on hold" not in alert(stage).plain
        await stage.advance(minutes=30)
        assert pages(stage, "kenji") == []
        assert stage.channel("#incidents") == []


async def test_who_makes_an_incident_of_it_is_believed(sqlite_only: str) -> None:
    async with canary(sqlite_only) as stage:
        await fire(stage)
        await stage.press("mika", alert(stage), "Declare Incident")
        await stage.submit("mika", {})
        await stage.advance(minutes=12)
        assert len(stage.channel("#incidents")) == 1
        assert not any("end of the hold" in line for line in said(stage))


async def test_what_comes_back_in_the_same_deploy_is_not_held_again(sqlite_only: str) -> None:
    async with canary(sqlite_only) as stage:
        await fire(stage)
        await stage.advance(minutes=11)
        assert len(pages(stage, "kenji")) == 1
        await fire(stage, state="closed")
        await stage.type("kenji", "#general", "/incident resolve INC-1 it came and went")
        await stage.advance(minutes=6)
        await fire(stage, incident="0.again", started=1795310400)
        assert "Paging on hold" not in alert(stage).plain
        assert len(pages(stage, "kenji")) == 2


async def test_after_the_way_back_monitoring_is_given_time_to_see_it(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage, BAD), "Approve Deploy")
        await stage.advance(minutes=9)
        assert split(stage) == {old: 100}
        own = alert(stage)
        assert "Paging on hold" not in own.plain, "the failed deploy itself is told at once"
        assert "INC-1" in own.plain
        paged = len(pages(stage, "kenji"))
        assert paged
        await fire(stage)
        assert "Paging on hold" in alert(stage).plain
        assert len(pages(stage, "kenji")) == paged
        assert len(stage.channel("#incidents")) == 1
        await stage.advance(minutes=11)
        assert "INC-1" in alert(stage).plain, "it joins the incident that there is"
        assert len(stage.channel("#incidents")) == 1
