"""13.15: doors close on whoever says nothing, trickles or talks nonsense; logs stay one line."""

import asyncio
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest

from domain.policy import Policy
from sandbox.stage import PASSWORD, USER, Stage
from tests.conftest import open_stage
from tests.payloads import monitoring

HEAD = b"POST /webhooks/cloud-monitoring HTTP/1.1\r\nHost: toban\r\n"


@pytest.fixture
async def hasty(sqlite_only: str, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bot of little patience: 0.3 s for headers, 0.6 s for bodies."""
    monkeypatch.setattr("bot.doors.HEADERS_WITHIN", 0.3)
    monkeypatch.setattr("bot.doors.BODY_WITHIN", 0.6)
    async with open_stage(sqlite_only, policy) as opened:
        yield opened


async def _trickle(world: Stage, begin: bytes, drop: bytes, every: float = 0.1) -> tuple[bytes, float]:
    """Send the beginning, then drop by drop, until the bot closes. What it said, after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.bot.port)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def drip() -> None:
        writer.write(begin)
        while drop:
            await asyncio.sleep(every)
            writer.write(drop)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(8):
            said = await reader.read()
    except ConnectionError:
        said = b""
    took = loop.time() - began
    dripping.cancel()
    writer.close()
    return said, took


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"G", b""),
        (HEAD, b""),
        (HEAD, b"X-A: b\r\n"),
        (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nX: ", b"T"),
    ],
)
async def test_13_15_headers_that_do_not_come_or_trickle_end_the_connection(
    hasty: Stage, begin: bytes, drop: bytes
) -> None:
    said, took = await _trickle(hasty, begin, drop)
    assert b" 408 " in said
    assert took < 2
    assert (await hasty.get("/livez"))[0] == 200


@pytest.mark.parametrize("length", [b"Content-Length: 100000\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("drop", [b"", b"1\r\n{\r\n"])
async def test_13_15_a_body_that_does_not_come_or_trickles_gets_408(
    hasty: Stage, length: bytes, drop: bytes
) -> None:
    login = aiohttp.encode_basic_auth(USER, PASSWORD).encode()
    said, took = await _trickle(hasty, HEAD + b"Authorization: " + login + b"\r\n" + length + b"\r\n", drop)
    assert b" 408 " in said
    assert took < 3
    assert await hasty.webhook("cloud-monitoring", monitoring()) == 200


async def test_13_15_a_slow_but_timely_sender_and_a_kept_connection_are_served(hasty: Stage) -> None:
    for _ in range(3):
        assert (await hasty.get("/livez"))[0] == 200
        await asyncio.sleep(0.5)
    assert await hasty.webhook("cloud-monitoring", monitoring()) == 200


@pytest.mark.parametrize("form", ["basic {}", "BASIC {}", "bAsIc    {}", "Basic\t{}", "Basic {} "])
async def test_13_15_basic_counts_in_any_case_and_spacing(
    sqlite_only: str, policy: Policy, form: str
) -> None:
    async with open_stage(sqlite_only, policy) as world:
        given = aiohttp.encode_basic_auth(USER, PASSWORD).partition(" ")[2]
        wrong = aiohttp.encode_basic_auth(USER, "wrong").partition(" ")[2]
        assert await world.webhook("cloud-monitoring", monitoring(), Authorization=form.format(given)) == 200
        assert await world.webhook("cloud-monitoring", monitoring(), Authorization=form.format(wrong)) == 401
        assert await world.webhook("cloud-monitoring", monitoring(), Authorization=form.format("é")) == 401


def _interaction(**changes: Any) -> bytes:
    sent: dict[str, Any] = {
        "type": "block_actions",
        "user": {"id": "U1", "team_id": "T1"},
        "team": {"id": "T1"},
        "channel": {"id": "C1"},
        "actions": [{"type": "button", "action_id": "a", "block_id": "b", "value": "v"}],
        "trigger_id": "1.2.3",
    }
    return f"payload={quote(json.dumps(sent | changes))}".encode()


DEEP = "[" * 30_000 + "]" * 30_000
LESS_DEEP = '{"type":"event_callback","event":' + '{"a":' * 200 + "1" + "}" * 200 + "}"

MALFORMED: list[tuple[str, bytes]] = [
    ("application/json", b""),
    ("application/json", b"{"),
    ("application/json", b"null"),
    ("application/json", b"[]"),
    ("application/json", b'"text"'),
    ("application/json", b"{}"),
    ("application/json", b'{"type": 5}'),
    ("application/json", b'{"type": "event_callback"}'),
    ("application/json", b'{"type": "event_callback", "event": []}'),
    ("application/json", b'{"type": "event_callback", "event": {"type": {}}}'),
    ("application/json", b'{"type": "url_verification", "challenge": 1}'),
    ("application/json", b'{"type": "event_callback", "event": {"type": "a", "n": NaN}}'),
    ("application/json", b'{"type": "event_callback", "event": {"type": "\\ud800"}}'),
    ("application/json", DEEP.encode()),
    ("application/json", LESS_DEEP.encode()),
    ("application/json", b'{"type": "\xff"}'),
    ("application/json; charset=utf-16", b"{\x00"),
    ("application/x-www-form-urlencoded", b"\xff\xfe"),
    ("application/x-www-form-urlencoded", b"payload=%FF"),
    ("application/x-www-form-urlencoded", b"payload=" + quote(DEEP).encode()),
    ("application/x-www-form-urlencoded", b"other=1"),
    ("application/x-www-form-urlencoded", b"payload=%7B%7D&payload=%7B%7D"),
    ("application/x-www-form-urlencoded", b"command=incident"),
    ("application/x-www-form-urlencoded", b"command=%2Fincident&text=list"),
    ("application/x-www-form-urlencoded", _interaction(user=None)),
    ("application/x-www-form-urlencoded", _interaction(user="U1")),
    ("application/x-www-form-urlencoded", _interaction(user={"id": 5})),
    ("application/x-www-form-urlencoded", _interaction(team="T1")),
    ("application/x-www-form-urlencoded", _interaction(channel=["C1"])),
    ("application/x-www-form-urlencoded", _interaction(actions={})),
    ("application/x-www-form-urlencoded", _interaction(actions=[])),
    ("application/x-www-form-urlencoded", _interaction(actions=["a"])),
    ("application/x-www-form-urlencoded", _interaction(actions=[{"action_id": 1}])),
    ("application/x-www-form-urlencoded", _interaction(type="unheard_of")),
    ("application/x-www-form-urlencoded", _interaction(type="view_submission")),
    (
        "application/x-www-form-urlencoded",
        _interaction(type="view_submission", view={"state": {"values": 1}}),
    ),
    ("application/x-www-form-urlencoded", _interaction(trigger_id={"a": 1})),
    ("application/x-www-form-urlencoded", _interaction(response_url=5)),
    ("multipart/form-data; boundary=x", b"--x--"),
    ("text/plain", b"hello"),
]


async def _signed(world: Stage, kind: str, body: bytes) -> int:
    stamp = str(int(world.clock.now().timestamp()))
    key = world.slack.signing_secret.encode()
    digest = hmac.new(key, b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": kind,
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.url}/slack/events", data=body, headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


async def test_13_15_signed_bodies_that_slack_cannot_have_meant_get_400(
    sqlite_only: str, policy: Policy
) -> None:
    async with open_stage(sqlite_only, policy) as world:
        for kind, body in MALFORMED:
            assert await _signed(world, kind, body) == 400, (kind, body[:80])
        fields = {"command": "/toban", "text": "help", "user_id": world.slack.user_id("mika")}
        fields |= {"channel_id": "C1", "trigger_id": "1.2", "team_id": world.slack.state.team_id}
        form = "application/x-www-form-urlencoded"
        assert await _signed(world, form, urlencode(fields).encode()) == 200
        assert await _signed(world, form, b"ssl_check=1&token=x") == 200
        event = b'{"type": "event_callback", "event": {"type": "never_heard_of"}}'
        assert await _signed(world, "application/json", event) == 200
