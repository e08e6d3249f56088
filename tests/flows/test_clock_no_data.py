"""13.11: a clock that was set is no absence of data: nothing recovers by it, and nothing is called silent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from domain.rules import Silence
from operations.clock import doubt
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.services import SteadyRun, SteadySql
from sandbox.stage import Stage
from tests.flows.test_watching import API, DB, api, database, headlines, only, watched

HOUR = timedelta(hours=1)
ERRORS_OR_NOTHING = only("error-rate", no_data=Silence.OK)


@asynccontextmanager
async def world_of(
    url: str, rules: dict[str, object], *sources: SteadyRun | SteadySql, behind: timedelta = timedelta()
) -> AsyncIterator[Stage]:
    """A bot whose clock is ``behind`` that of the world when it starts."""
    services = (API, DB) if len(sources) > 1 else (API,)
    async with Stage.open(url, watched(*services, **rules), start=False, cloud=Cloud) as stage:
        stage.machine.step(-behind)
        for source in sources:
            stage.cloud.monitoring.feed(source)
        await stage.start()
        await stage.advance(minutes=5)
        yield stage


async def fires(stage: Stage, service: SteadyRun) -> None:
    service.set(stage.clock.now(), error_share=0.05)
    await stage.advance(minutes=6)
    (headline,) = headlines(stage)
    assert "Critical · bondpoint-api: error rate" in headline


@pytest.mark.parametrize("by", [timedelta(minutes=20), HOUR, timedelta(days=3)])
async def test_13_11_a_clock_set_forward_does_not_end_what_fires_where_no_data_is_fine(
    database_url: str, by: timedelta
) -> None:
    service = api()
    async with world_of(database_url, ERRORS_OR_NOTHING, service) as stage:
        await fires(stage, service)
        stage.machine.step(by)
        await stage.advance(minutes=10)
        assert "Critical" in headlines(stage)[0], "it still fires: its data only seems to be late"
        await stage.crash()
        await stage.start()
        await stage.advance(minutes=15)
        assert "Critical" in headlines(stage)[0]
        stage.machine.step(-by)
        await stage.advance(minutes=15)
        assert "Critical" in headlines(stage)[0], "the clock is right again"
        assert len(headlines(stage)) == 1


async def test_13_11_what_really_recovers_does_so_although_the_clock_is_ahead(database_url: str) -> None:
    service = api()
    async with world_of(database_url, ERRORS_OR_NOTHING, service) as stage:
        await fires(stage, service)
        stage.machine.step(HOUR)
        await stage.advance(minutes=5)
        service.set(stage.clock.now(), error_share=0)
        await stage.advance(minutes=15)
        assert "Resolved" in headlines(stage)[0]


async def test_13_11_a_clock_set_back_does_not_end_what_fires_where_no_data_is_fine(
    database_url: str,
) -> None:
    service = api()
    async with world_of(database_url, ERRORS_OR_NOTHING, service) as stage:
        await fires(stage, service)
        stage.machine.step(HOUR)
        await stage.advance(minutes=2)
        stage.machine.step(-HOUR)
        await stage.advance(minutes=70)
        assert "Critical" in headlines(stage)[0]


async def test_13_11_a_clock_that_was_set_right_is_believed_as_soon_as_anything_is_heard_of_its_time(
    database_url: str,
) -> None:
    service, other = api(), database()
    rules = {"thresholds": ERRORS_OR_NOTHING["thresholds"] + only("sql-cpu")["thresholds"]}
    async with world_of(database_url, rules, service, other, behind=HOUR) as stage:
        await stage.advance(hours=1)
        service.set(stage.clock.now() - HOUR, error_share=0.05)
        await stage.advance(minutes=10)
        assert len(headlines(stage)) == 1
        service.set(stage.clock.now(), silent=True)
        stage.machine.step(HOUR)
        (turn,) = [job.turn for job in stage.bot.jobs if job.name == "clock"]
        await turn()
        async with stage.bot.store.read() as tx:
            assert await doubt(tx) is not None
        await stage.advance(minutes=20)
        async with stage.bot.store.read() as tx:
            assert await doubt(tx) is None
        assert "Resolved" in headlines(stage)[0], "nothing more has come of it, and others' data has"


async def test_13_11_a_leap_is_no_silence_and_silence_after_it_is(database_url: str) -> None:
    service = api()
    rules = only("error-rate", no_data=Silence.ALERT, silent_for=timedelta(minutes=10))
    async with world_of(database_url, rules, service) as stage:
        stage.machine.step(HOUR)
        await stage.advance(minutes=20)
        assert headlines(stage) == []
        service.set(stage.clock.now(), silent=True)
        await stage.advance(minutes=15)
        assert len(headlines(stage)) == 1
