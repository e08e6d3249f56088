"""Toban watches by itself: thresholds fire, hold and resolve on what Cloud Monitoring really shows."""

from collections.abc import AsyncIterator

import pytest

from domain.policy import Policy, Service
from domain.rules import Rules
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.services import SteadyRun
from sandbox.stage import Stage
from tests.conftest import make_policy

API = Service(
    name="bondpoint-api",
    project="bondpoint-prod",
    region="asia-northeast1",
    match={"service_name": "bondpoint-api"},
)

OFF = {"sensitivity": "off"}


def watching(**rules: object) -> Policy:
    return make_policy(services=(API,), rules=Rules.model_validate({"anomalies": OFF} | rules))


@pytest.fixture
async def api(sqlite_only: str) -> AsyncIterator[tuple[Stage, SteadyRun]]:
    async with Stage.open(sqlite_only, watching(), cloud=Cloud) as stage:
        service = SteadyRun("bondpoint-api", "bondpoint-prod")
        stage.cloud.monitoring.feed(service)
        await stage.advance(minutes=5)
        yield stage, service


async def test_an_error_rate_over_its_limit_opens_a_thread_pages_and_resolves(
    api: tuple[Stage, SteadyRun],
) -> None:
    stage, service = api
    assert stage.channel("#alerts") == []
    service.set(stage.clock.now(), error_share=0.05)
    await stage.advance(minutes=10)
    print([m.plain for m in stage.channel("#alerts")], [m.plain for m in stage.dms("kenji")])
    print([m.plain for m in stage.channel("#ops")])
    assert "error rate" in stage.card("#alerts").plain
    service.set(stage.clock.now(), error_share=0.0)
    await stage.advance(minutes=15)
    print(stage.card("#alerts").plain, [m.plain for m in stage.thread(stage.card("#alerts"))])
    assert "Resolved" in stage.card("#alerts").plain
