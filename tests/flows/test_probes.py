"""Health addresses: a real server that fails, hangs, redirects or talks too much, and what the team sees."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from aiohttp import web

from domain.policy import Ladder, Level, Policy, Service, Step
from domain.rules import Probe, Rules
from sandbox.stage import Stage
from tests.conftest import make_policy

API = Service(name="bondpoint-api", match={"service_name": "bondpoint-api"})


@dataclass
class Healthz:
    """A service's own health address on this machine. ``slow`` is in real seconds."""

    status: int = 200
    body: str = "all well"
    slow: float = 0
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/healthz"

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await asyncio.sleep(self.slow)
        return web.Response(status=self.status, text=self.body, headers=self.headers)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Healthz"]:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = int(runner.addresses[0][1])
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture
async def healthz() -> AsyncIterator[Healthz]:
    async with Healthz().serving() as server:
        yield server


def probing(healthz: Healthz, **changes: object) -> Policy:
    """One probe of that address, and who is paged has half a day to answer."""
    probe = {"name": "api-health", "service": "bondpoint-api", "url": healthz.url, "private": True}
    rules = {
        "thresholds": (),
        "anomalies": {"sensitivity": "off"},
        "probes": (Probe.model_validate(probe | changes),),
        "origins": (healthz.origin,),
    }
    patient = Ladder(steps=(Step(tell=("kenji",), wait=timedelta(hours=12)),))
    ladders = {Level.CRITICAL: patient, Level.WARNING: patient}
    return make_policy(services=(API,), rules=Rules.model_validate(rules), ladders=ladders)


async def test_three_failures_in_a_row_page_with_what_was_seen_and_two_good_looks_end_it(
    database_url: str, healthz: Healthz
) -> None:
    async with Stage.open(database_url, probing(healthz)) as stage:
        await stage.advance(minutes=3)
        assert stage.channel("#alerts") == []
        healthz.status, healthz.body = 503, "<!channel> database *away* <https://evil.example|here>"
        asked = len(healthz.asked)
        await stage.advance(minutes=2)
        assert len(healthz.asked) == asked + 2
        assert stage.channel("#alerts") == []
        await stage.advance(minutes=1)
        (card,) = stage.channel("#alerts")
        assert "Critical · bondpoint-api: api-health does not answer as it should" in card.plain
        assert "keeps failing (3 in a row): HTTP 503" in card.plain.replace("*", "")
        assert healthz.url in card.plain
        assert "It said: " in card.plain
        assert "database ∗away∗" in card.plain
        # What it said is shown as it came: no mention, no link of its own.
        assert "<!channel>" not in str(card.blocks)
        assert "<https://evil.example|here>" not in str(card.blocks)
        assert len(stage.channel("#incidents")) == 1
        assert len(stage.dms("kenji")) == 1
        await stage.advance(minutes=35)
        assert len(stage.channel("#alerts")) == 1
        healthz.status, healthz.body = 200, "all well"
        await stage.advance(minutes=1)
        assert "Critical" in stage.card("#alerts").plain.partition("\n")[0]
        await stage.advance(minutes=1)
        (card,) = stage.channel("#alerts")
        assert "Resolved · bondpoint-api: api-health answers again" in card.plain
        assert len(stage.dms("kenji")) == 1


async def test_two_failures_between_good_looks_are_nothing(sqlite_only: str, healthz: Healthz) -> None:
    async with Stage.open(sqlite_only, probing(healthz)) as stage:
        await stage.advance(minutes=1)
        for _ in range(4):
            healthz.status = 500
            await stage.advance(minutes=2)
            healthz.status = 200
            await stage.advance(minutes=1)
        assert len(healthz.asked) >= 12
        assert stage.channel("#alerts") == []


async def test_one_good_look_between_failures_does_not_end_an_alert(
    sqlite_only: str, healthz: Healthz
) -> None:
    healthz.status = 500
    async with Stage.open(sqlite_only, probing(healthz)) as stage:
        await stage.advance(minutes=4)
        for _ in range(3):
            healthz.status = 200
            await stage.advance(minutes=1)
            healthz.status = 500
            await stage.advance(minutes=1)
        (card,) = stage.channel("#alerts")
        assert "Critical" in card.plain.partition("\n")[0]
        assert stage.thread(card) == []


async def test_a_redirect_is_what_was_seen_and_is_not_followed(sqlite_only: str, healthz: Healthz) -> None:
    healthz.status, healthz.headers = 302, {"Location": f"{healthz.origin}/login"}
    async with Stage.open(sqlite_only, probing(healthz)) as stage:
        await stage.advance(minutes=4)
        assert "HTTP 302" in stage.card("#alerts").plain
        assert set(healthz.asked) == {"/healthz"}


async def test_a_slow_answer_is_a_failure_where_the_policy_says_so(
    sqlite_only: str, healthz: Healthz
) -> None:
    healthz.slow = 0.12
    policy = probing(healthz, slow=timedelta(milliseconds=100), failures=2)
    async with Stage.open(sqlite_only, policy) as stage:
        await stage.advance(minutes=3)
        card = stage.card("#alerts").plain
        assert "slow" in card
        assert " ms" in card
        healthz.slow = 0
        await stage.advance(minutes=3)
        assert "answers again" in stage.card("#alerts").plain


async def test_an_answer_without_the_expected_text_is_a_failure_and_is_quoted_in_part(
    sqlite_only: str, healthz: Healthz
) -> None:
    healthz.body = "maintenance page " + "x" * 5000
    async with Stage.open(sqlite_only, probing(healthz, text="all well", failures=1)) as stage:
        await stage.advance(minutes=1)
        card = stage.card("#alerts").plain
        assert "unexpected text" in card
        assert "maintenance page xxx" in card
        assert card.count("x") < 400


async def test_a_server_that_is_gone_is_refused_and_comes_back(sqlite_only: str) -> None:
    healthz = Healthz()
    async with healthz.serving():
        policy = probing(healthz)
    async with Stage.open(sqlite_only, policy) as stage:
        await stage.advance(minutes=4)
        card = stage.card("#alerts").plain
        assert "keeps failing (3 in a row): refused" in card.replace("*", "")
        assert "It said" not in card
        async with healthz.serving():
            await stage.advance(minutes=3)
        assert "Resolved" in stage.card("#alerts").plain


async def test_an_address_inside_the_network_is_never_asked_unless_the_policy_says_private(
    sqlite_only: str, healthz: Healthz
) -> None:
    async with Stage.open(sqlite_only, probing(healthz, private=False)) as stage:
        await stage.advance(minutes=4)
        assert "forbidden address" in stage.card("#alerts").plain
        assert healthz.asked == []


async def test_a_probe_has_its_own_level_channel_and_pace(sqlite_only: str, healthz: Healthz) -> None:
    healthz.status = 500
    policy = probing(healthz, level="warning", channel="#performance", every=timedelta(minutes=5), failures=2)
    async with Stage.open(sqlite_only, policy) as stage:
        await stage.advance(minutes=4)
        assert len(healthz.asked) == 1
        await stage.advance(minutes=4)
        assert len(healthz.asked) == 2
        assert stage.channel("#alerts") == []
        assert "Warning · bondpoint-api: api-health" in stage.card("#performance").plain
        assert stage.channel("#incidents") == []


async def test_failures_are_counted_across_a_restart_of_the_bot(sqlite_only: str, healthz: Healthz) -> None:
    healthz.status = 500
    async with Stage.open(sqlite_only, probing(healthz)) as stage:
        await stage.advance(seconds=10)
        assert len(healthz.asked) == 1
        await stage.crash()
        stage.clock.push(timedelta(minutes=1))
        await stage.start()
        await stage.advance(seconds=1)
        assert len(healthz.asked) == 2
        assert stage.channel("#alerts") == []
        await stage.advance(minutes=1)
        assert len(healthz.asked) == 3
        assert len(stage.channel("#alerts")) == 1


@pytest.mark.parametrize("others", [True, False])
async def test_a_probe_that_left_the_policy_while_it_failed_is_closed_but_not_as_recovered(
    sqlite_only: str, healthz: Healthz, others: bool
) -> None:
    healthz.status = 500
    async with Stage.open(sqlite_only, probing(healthz)) as stage:
        await stage.advance(minutes=4)
        assert "Critical" in stage.card("#alerts").plain
        await stage.stop()
        healthz.status = 200
        stage.policy = probing(healthz, name="other") if others else make_policy(services=(API,))
        await stage.start()
        await stage.advance(minutes=6)
        (card,) = stage.channel("#alerts")
        assert "api-health is no longer watched" in card.plain
        assert "Whether it recovered is not known" in card.plain


async def test_a_failing_probe_in_japanese(sqlite_only: str, healthz: Healthz) -> None:
    healthz.status, healthz.body = 503, "データベースに接続できません"
    async with Stage.open(sqlite_only, probing(healthz), TOBAN_LOCALE="ja") as stage:
        await stage.advance(minutes=4)
        card = stage.card("#alerts").plain
        assert "重大 · bondpoint-api：api-health のヘルスチェック失敗" in card
        assert "応答：データベースに接続できません" in card
        healthz.status = 200
        await stage.advance(minutes=3)
        assert "api-health のヘルスチェック回復" in stage.card("#alerts").plain
