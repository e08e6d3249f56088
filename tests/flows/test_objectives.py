"""An error budget that burns too fast is told at the right moment, and ends when the short window is calm."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from domain.policy import Ladder, Level, Policy, Service, Step
from domain.rules import Objective, Rules
from sandbox.clock import START
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import FOREVER
from sandbox.cloud.services import RunDials, SteadyRun
from sandbox.stage import Stage
from tests.conftest import make_policy

PROJECT = "bondpoint-prod"
API = Service(
    name="bondpoint-api",
    project=PROJECT,
    region="asia-northeast1",
    match={"service_name": "bondpoint-api"},
)
PROMISE = Objective(name="api-availability", service="bondpoint-api", availability=0.999)
TITLE = "bondpoint-api: the error budget of 99.9 % burns"


def promising(objective: Objective = PROMISE) -> Policy:
    """Nothing is watched but one objective, and who is paged has half a day to answer."""
    rules = {"thresholds": (), "objectives": (objective,), "anomalies": {"sensitivity": "off"}}
    ladders = {
        level: Ladder(steps=(Step(tell=(who,), wait=timedelta(hours=12)),))
        for level, who in ((Level.WARNING, "mika"), (Level.CRITICAL, "kenji"))
    }
    return make_policy(services=(API,), rules=Rules.model_validate(rules), ladders=ladders)


@asynccontextmanager
async def world_of(
    database_url: str, service: SteadyRun, *, objective: Objective = PROMISE, **environ: str
) -> AsyncIterator[Stage]:
    async with Stage.open(database_url, promising(objective), cloud=Cloud, **environ) as stage:
        stage.cloud.monitoring.feed(service)
        yield stage


def steady(**dials: float) -> SteadyRun:
    return SteadyRun("bondpoint-api", PROJECT, dials=RunDials(**dials))


def ago(**length: float) -> object:
    return START - timedelta(**length)


async def fires_after(stage: Stage, minutes: int) -> int:
    """The first whole minute after which there is a card; fails where there is none in time."""
    for passed in range(1, minutes + 1):
        await stage.advance(minutes=1)
        if stage.channel("#alerts"):
            return passed
    raise AssertionError("nothing was said")


async def test_fourteen_times_too_fast_pages_when_an_hours_budget_is_used_and_ends_with_the_short_window(
    sqlite_only: str,
) -> None:
    service = steady(requests_per_second=10)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=2)
        # 1.44 % of an hour is 518.4 of 36,000 requests: at 60 a minute the ninth bad minute completes it.
        service.set(stage.clock.now(), error_share=0.1)
        # Nine minutes, 120 s until they can be seen, 10 s past the minute until the look.
        await stage.advance(minutes=11, seconds=9)
        assert stage.channel("#alerts") == []
        await stage.advance(seconds=2)
        (card,) = stage.channel("#alerts")
        assert f"Critical · {TITLE} at 15 times the allowed rate" in card.plain
        assert "over the last 1 hour" in card.plain.lower()
        assert "api-availability" in card.plain
        assert len(stage.channel("#incidents")) == 1
        assert TITLE.partition(":")[0] in stage.dms("kenji")[0].plain
        service.set(stage.clock.now(), error_share=0)
        # Still far too fast over the hour, but the last five minutes are calm.
        await stage.advance(minutes=15)
        (card,) = stage.channel("#alerts")
        assert "Resolved · bondpoint-api: the error budget of 99.9 % no longer burns too fast" in card.plain
        assert len(stage.dms("kenji")) == 1


async def test_six_times_too_fast_pages_after_hours_of_it(sqlite_only: str) -> None:
    service = steady(requests_per_second=10, error_share=0)
    service.set(ago(hours=7), error_share=0.0065)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=3)
        (card,) = stage.channel("#alerts")
        assert f"Critical · {TITLE} at 6.5 times the allowed rate" in card.plain
        assert "6 hours" in card.plain
        service.set(stage.clock.now(), error_share=0)
        await stage.advance(minutes=20)
        assert "Resolved" not in stage.card("#alerts").plain
        await stage.advance(minutes=22)
        (card,) = stage.channel("#alerts")
        assert "no longer burns too fast" in card.plain


async def test_five_hours_of_six_times_are_not_enough_and_it_pages_when_they_are(sqlite_only: str) -> None:
    service = steady(requests_per_second=10)
    # 0.8 % since four hours and a half make exactly 0.6 % of six.
    service.set(ago(hours=4, minutes=20), error_share=0.008)
    async with world_of(sqlite_only, service) as stage:
        passed = await fires_after(stage, minutes=20)
        assert "at 6 times the allowed rate" in stage.card("#alerts").plain
    # Ten more minutes, 120 s until they can be seen, and the look at 10 s past.
    assert passed == 13


async def test_a_budget_that_is_just_used_up_too_early_is_a_warning(sqlite_only: str) -> None:
    service = steady(requests_per_second=10, error_share=0.0012)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=10)
        (card,) = stage.channel("#alerts")
        assert f"Warning · {TITLE} at 1.2 times the allowed rate" in card.plain
        assert "3 days" in card.plain
        assert "6 hours" in card.plain
        assert "12 %" in card.plain
        assert stage.channel("#incidents") == []
        assert len(stage.dms("mika")) == 1
        assert stage.dms("kenji") == []


@pytest.mark.parametrize(("lost", "pages"), [(1, False), (9, False), (12, True)])
async def test_one_failed_request_at_night_pages_nobody(sqlite_only: str, lost: int, pages: bool) -> None:
    service = steady(requests_per_second=1 / 60)
    service.set(ago(minutes=lost), error_share=1)
    service.set(START, error_share=0)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=8)
        assert bool(stage.channel("#alerts")) is pages
        assert bool(stage.dms("kenji")) is pages


async def test_two_conditions_of_one_promise_are_one_thread(sqlite_only: str) -> None:
    service = steady(requests_per_second=10)
    service.set(ago(minutes=90), error_share=0.05)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=4)
        (card,) = stage.channel("#alerts")
        assert "Critical" in card.plain.partition("\n")[0]
        assert len(stage.channel("#incidents")) == 1
        assert len(stage.dms("kenji")) == 1


async def test_an_hour_that_cannot_be_read_ends_no_burn(sqlite_only: str) -> None:
    service = steady(requests_per_second=10, error_share=0)
    service.set(ago(minutes=70), error_share=0.05)
    async with world_of(sqlite_only, service) as stage:
        await stage.advance(minutes=4)
        assert "Critical" in stage.card("#alerts").plain
        service.set(stage.clock.now(), error_share=0)
        away = stage.cloud.faults.add(faults.quota(), method="*", count=FOREVER)
        await stage.advance(minutes=12)
        assert "Critical" in stage.card("#alerts").plain
        assert "keeps failing" in stage.card("#ops").plain
        stage.cloud.faults.lift(away)
        await stage.advance(minutes=50)
        (card,) = stage.channel("#alerts")
        assert "no longer burns" in card.plain


async def test_the_card_of_a_burn_in_japanese(sqlite_only: str) -> None:
    service = steady(requests_per_second=10)
    service.set(ago(minutes=70), error_share=0.02)
    async with world_of(sqlite_only, service, TOBAN_LOCALE="ja") as stage:
        await stage.advance(minutes=4)
        card = stage.card("#alerts").plain
        assert "重大 · bondpoint-api：可用性 99.9 % のエラーバジェットが 20 倍速で消費中" in card
