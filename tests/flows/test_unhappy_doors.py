"""Who may come in, with what, and what happens while the database cannot keep it."""

import asyncio
import gzip
import hashlib
import hmac
import io
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from domain.policy import Policy
from sandbox.stage import PASSWORD, USER, Stage
from tests.conftest import open_stage
from tests.flows.looking import notes
from tests.payloads import monitoring

BODY = json.dumps(monitoring()).encode()


@asynccontextmanager
async def bare() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without the stage's credentials."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def send(world: Stage, path: str, body: bytes = BODY, **headers: str) -> tuple[int, dict[str, str]]:
    """Post bytes to the bot; status and headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        bare() as session,
        session.post(f"{world.url}{path}", data=io.BytesIO(body), headers=named) as answer,
    ):
        await answer.read()
        return answer.status, {name.casefold(): value for name, value in answer.headers.items()}


SENDERS = ["cloud-monitoring", "alertmanager", "grafana"]


@pytest.mark.parametrize("sender", SENDERS)
async def test_a_webhook_without_credentials_or_with_wrong_ones_gets_401_and_says_how(
    world: Stage, sender: str
) -> None:
    wrong = [
        {},
        {"Authorization": aiohttp.encode_basic_auth(USER, "wrong")},
        {"Authorization": aiohttp.encode_basic_auth("somebody", PASSWORD)},
        {"Authorization": "Basic"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Bearer " + PASSWORD},
        {"Authorization": "x" * 5000},
    ]
    for headers in wrong:
        status, answer = await send(world, f"/webhooks/{sender}", **headers)
        assert status == 401
        assert answer["www-authenticate"].startswith("Basic realm=")
    status, _ = await send(world, f"/webhooks/{sender}?auth_token=")
    assert status == 401
    await world.settle()
    assert world.channel("alerts") == []


async def test_two_tokens_are_live_at_once_in_the_query_and_as_bearer(
    sqlite_only: str, policy: Policy
) -> None:
    tokens = {"TOBAN_WEBHOOK_TOKENS": "the-old-token-0123456789,the-new-token-0123456789"}
    async with open_stage(sqlite_only, policy, **tokens) as world:
        for token in ("the-old-token-0123456789", "the-new-token-0123456789"):
            assert (await send(world, f"/webhooks/cloud-monitoring?auth_token={token}"))[0] == 200
            assert (await send(world, "/webhooks/cloud-monitoring", Authorization=f"Bearer {token}"))[
                0
            ] == 200
            assert (await send(world, "/webhooks/cloud-monitoring", Authorization=f"bearer {token}"))[
                0
            ] == 200
        assert (await send(world, "/webhooks/cloud-monitoring?auth_token=the-"))[0] == 401
        assert (await send(world, "/webhooks/cloud-monitoring?auth_token=%F0%9F%94%91"))[0] == 401
        basic = aiohttp.encode_basic_auth(USER, PASSWORD)
        assert (await send(world, "/webhooks/cloud-monitoring", Authorization=basic))[0] == 200


async def test_without_any_secret_webhooks_answer_503_and_readyz_says_why(
    sqlite_only: str, policy: Policy
) -> None:
    none = {"TOBAN_WEBHOOK_USER": "", "TOBAN_WEBHOOK_PASSWORD": ""}
    async with open_stage(sqlite_only, policy, **none) as world:
        assert (await send(world, "/webhooks/cloud-monitoring"))[0] == 503
        status, body = await world.get("/readyz")
        assert status == 503
        assert "TOBAN_WEBHOOK" in body


async def test_a_body_over_its_limit_is_refused_packed_or_not(world: Stage) -> None:
    basic = aiohttp.encode_basic_auth(USER, PASSWORD)
    big = b'{"a": "' + b"x" * (4 * 1024 * 1024) + b'"}'
    assert (await send(world, "/webhooks/cloud-monitoring", big, Authorization=basic))[0] == 413
    bomb = gzip.compress(b" " * (65 * 1024 * 1024))
    packed = {"Authorization": basic, "Content_Encoding": "gzip"}
    assert (await send(world, "/webhooks/alertmanager", bomb, **packed))[0] in {400, 413}
    assert (await send(world, "/webhooks/cloud-monitoring", gzip.compress(BODY), **packed))[0] == 200
    await world.settle()
    shown = [card.plain for card in world.channel("alerts")]
    assert sum("refused unread" in card for card in shown) == 2
    assert len(shown) == 3


async def test_a_body_that_is_not_packed_as_it_says_is_the_senders_fault(world: Stage) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD), "Content_Encoding": "gzip"}
    status, _ = await send(world, "/webhooks/cloud-monitoring", b"not gzip", **headers)
    assert status in {202, 400}


async def test_other_methods_and_paths_are_refused_without_a_fault(world: Stage) -> None:
    async with bare() as session:
        for method, path in [
            ("GET", "/webhooks/alertmanager"),
            ("POST", "/livez"),
            ("POST", "/webhooks/none"),
        ]:
            async with session.request(method, f"{world.url}{path}") as answer:
                assert answer.status in {404, 405}


def _sign(world: Stage, body: bytes, ahead: int = 0, secret: str | None = None) -> dict[str, str]:
    stamp = str(int(world.clock.now().timestamp()) + ahead)
    key = (secret or world.slack.signing_secret).encode()
    digest = hmac.new(key, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}


def _command(world: Stage) -> bytes:
    fields = {
        "command": "/incident",
        "text": "list",
        "user_id": world.slack.user_id("mika"),
        "trigger_id": "1.2.3",
    }
    return urlencode(fields | {"team_id": world.slack.state.team_id, "channel_id": "C1"}).encode()


async def _slack(world: Stage, body: bytes, headers: dict[str, Any]) -> int:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with bare() as session:
        async with session.post(
            f"{world.url}/slack/events", data=io.BytesIO(body), headers=kind | headers
        ) as answer:
            await answer.read()
            return answer.status


async def test_slacks_requests_are_taken_only_when_signed_and_fresh(world: Stage) -> None:
    body = _command(world)
    assert await _slack(world, body, _sign(world, body)) == 200
    assert await _slack(world, body, _sign(world, body, ahead=-300)) == 200
    assert await _slack(world, body, _sign(world, body, ahead=60)) == 200
    good = _sign(world, body)
    stamp, seal = good["X-Slack-Request-Timestamp"], good["X-Slack-Signature"]
    table: list[dict[str, str]] = [
        {},
        {"X-Slack-Signature": seal},
        {"X-Slack-Request-Timestamp": stamp},
        _sign(world, body, ahead=-301),
        _sign(world, body, ahead=61),
        _sign(world, body, secret="another"),
        _sign(world, body + b"&text=resolve"),
        good | {"X-Slack-Request-Timestamp": "abc"},
        good | {"X-Slack-Request-Timestamp": "9" * 5000},
        good | {"X-Slack-Request-Timestamp": f"-{stamp}"},
        good | {"X-Slack-Request-Timestamp": f"{stamp}.0"},
        good | {"X-Slack-Request-Timestamp": "١٢٣٤٥٦٧٨٩٠"},
        good | {"X-Slack-Request-Timestamp": ""},
        good | {"X-Slack-Signature": "v0=" + "署" * 64},
        good | {"X-Slack-Signature": "v0="},
        good | {"X-Slack-Signature": seal.upper()},
        good | {"X-Slack-Signature": "v1" + seal[2:]},
        good | {"X-Slack-Signature": "x" * 5000},
        good | {"X-Slack-Signature": ""},
    ]
    for headers in table:
        assert await _slack(world, body, headers) == 401, headers


async def test_13_15_a_signed_request_of_nonsense_is_answered_with_400(world: Stage) -> None:
    for body in (
        b"",
        b"payload=",
        b"payload=%7B",
        b"payload=[]",
        b"payload=null",
        b"command=%2Fincident",
        b"\xff\xfe",
    ):
        assert await _slack(world, body, _sign(world, body)) == 400, body
    big = b"payload=" + b"x" * (1024 * 1024 + 1)
    assert await _slack(world, big, _sign(world, big)) == 413


@contextmanager
def held(url: str, seconds: float) -> Iterator[None]:
    """A second connection that holds SQLite's write lock for so long, or until the block ends."""
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(url.partition(":///")[2], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        taken.set()
        over.wait(seconds)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(5)
    try:
        yield
    finally:
        thread.join()


async def test_a_database_that_is_locked_for_a_moment_delays_the_sender_and_nothing_else(
    world: Stage, sqlite_only: str
) -> None:
    with held(sqlite_only, 0.3):
        assert await world.webhook("cloud-monitoring", monitoring()) == 200
    await world.settle()
    assert len(world.channel("alerts")) == 1
    assert len(world.dms("kenji")) == 1


async def test_a_database_that_is_locked_for_long_refuses_the_sender_and_the_repetition_succeeds(
    world: Stage, sqlite_only: str
) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    page = world.dms("kenji")[0]
    with held(sqlite_only, 7):
        refused = world.webhook("cloud-monitoring", monitoring("0.two", policy="Latency"), settle=False)
        pressed = world.slack.press("kenji", page.channel, page.ts, "対応する")
        status, delivery = await asyncio.gather(refused, pressed)
        assert status == 503
        assert not delivery.ok, "the person sees that it failed"
    await world.settle()
    assert world.told("kenji"), "and is told to try again"

    assert await world.webhook("cloud-monitoring", monitoring("0.two", policy="Latency")) == 200
    await world.press("kenji", world.dms("kenji")[0], "対応する") if world.dms("kenji")[0].buttons else None
    await world.advance(minutes=1)
    assert len(world.channel("alerts")) == 2
    assert len(world.dms("kenji")) == 1
    assert "Acknowledged by kenji" in world.card("incidents").plain
    assert len([line for line in notes(world, "incidents") if "kenji has it" in line]) == 1
