"""The bot over Socket Mode: the same promises as over HTTP, through sockets that come, go and go silent."""

import asyncio
import gc
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import structlog

from domain.policy import Policy
from notify.slack import actions
from notify.slack.socket import Times
from sandbox.slack import faults
from sandbox.slack.workspace import APP_TOKEN
from sandbox.stage import Stage, until
from tests.conftest import open_stage
from tests.payloads import monitoring

SOCKET = {"SLACK_APP_TOKEN": APP_TOKEN, "SLACK_SIGNING_SECRET": ""}
FAST = Times(ping=0.2, connect=0.5, retry=0.05, retry_most=0.2, linger=0.5, finish=2.0)


@pytest.fixture(autouse=True)
def terse() -> Iterator[None]:
    """Draw no coloured tracebacks: they would take half a second of Slack's three."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
async def off(sqlite_only: str, policy: Policy) -> AsyncIterator[Stage]:
    """The world before the bot has started; its socket will wait for tenths of seconds."""
    async with open_stage(sqlite_only, policy, start=False, **SOCKET) as opened:
        opened.socket_times = FAST
        yield opened


@pytest.fixture
async def stage(off: Stage) -> Stage:
    await off.start()
    await connected(off)
    return off


async def connected(stage: Stage) -> None:
    await stage.slack.wait_for(lambda: stage.slack.sockets.count == 1)
    await until(lambda: stage.bot.socket is not None and stage.bot.socket.problem is None)


async def problems(stage: Stage) -> dict[str, str]:
    _, body = await stage.get("/health")
    found: dict[str, str] = json.loads(body)["problems"]
    return found


async def waits_for_its_commit(stage: Stage, before: int) -> None:
    """One more request than ``before`` has come as far as the database's door."""
    await until(lambda: stage.bot.store.inbox.arrivals == before + 1)


def tasks(name: str) -> list[str]:
    """The names of running tasks that begin so."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(name)]


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Another process holds SQLite's write lock."""
    other = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_commands_buttons_and_forms_work_over_a_socket_and_no_http_route_is_open(stage: Stage) -> None:
    assert (await stage.get("/readyz"))[0] == 200
    assert (await stage.get("/slack/events"))[0] == 404
    assert await stage.webhook("cloud-monitoring", monitoring()) == 200
    (page,) = stage.dms("kenji")
    pressed = await stage.press("kenji", page, actions.PAGE_ACKNOWLEDGE)
    assert (pressed.ok, pressed.transport) == (True, "socket")
    assert "Acknowledged by kenji" in stage.channel("incidents")[0].plain

    asked = await stage.type("dan", "incidents", "/incident declare")
    assert asked.ok
    submitted = await stage.submit("dan", {"title": "The shop is slow"})
    assert submitted.ok
    assert "The shop is slow" in stage.card("incidents").plain

    listed = await stage.type("dan", "incidents", "/incident list")
    assert listed.ok
    assert "The shop is slow" in stage.told("dan")[-1]


async def test_an_envelope_that_comes_twice_has_one_effect_and_is_acknowledged_twice(stage: Stage) -> None:
    first = await stage.type("dan", "incidents", "/incident declare P2 The shop is slow")
    again = await stage.slack.replay(first)
    await stage.settle()
    assert (first.ok, again.ok, first.sent == again.sent) == (True, True, True)
    assert len(stage.channel("incidents")) == 1


async def test_a_button_over_a_locked_database_is_not_acknowledged_and_the_person_is_told(
    stage: Stage, sqlite_only: str
) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    (card,) = stage.channel("incidents")
    with locked(sqlite_only):
        pressed = await stage.slack.press("mika", card.channel, card.ts, actions.INCIDENT_ACKNOWLEDGE)
    assert not pressed.ok
    assert stage.slack.sockets.acks == []
    assert "Not saved" in stage.told("mika")[-1]


async def test_a_command_over_a_locked_database_says_so_instead_of_nothing(
    stage: Stage, sqlite_only: str
) -> None:
    with locked(sqlite_only):
        typed = await stage.slack.type("mika", "incidents", "/incident declare P2 The shop is slow")
    assert typed.ok
    assert "Not saved" in stage.told("mika")[-1]


async def test_an_acknowledgement_is_sent_only_after_the_commit(stage: Stage, sqlite_only: str) -> None:
    before = stage.bot.store.inbox.arrivals
    with locked(sqlite_only):
        typing = asyncio.create_task(stage.slack.type("mika", "incidents", "/incident declare P2 Slow shop"))
        await waits_for_its_commit(stage, before)
        # What needs no commit overtakes it on the same socket: an early answer would stand before this one.
        assert (await stage.slack.type("dan", "incidents", "/incident list")).ok
        assert (typing.done(), len(stage.slack.sockets.acks)) == (False, 1)
    assert (await typing).ok
    await stage.settle()
    assert "Slow shop" in stage.card("incidents").plain


@pytest.mark.parametrize("reason", ["warning", "refresh_requested", "link_disabled", "too_many_websockets"])
async def test_a_socket_that_is_told_to_go_is_replaced(stage: Stage, reason: str) -> None:
    await stage.slack.disconnect_sockets(reason)  # type: ignore[arg-type]
    await stage.slack.wait_for(lambda: stage.slack.sockets.opened == 2 and stage.slack.sockets.count == 1)
    await connected(stage)
    assert (await stage.type("dan", "incidents", "/incident list")).ok
    assert await problems(stage) == {}


async def test_after_a_warning_the_old_socket_is_heard_until_the_new_one_says_hello(stage: Stage) -> None:
    refused = stage.slack.faults.add("apps.connections.open", faults.error("internal_error"), count=1000)
    await stage.slack.disconnect_sockets("warning")
    await until(lambda: refused.hits > 0)
    assert (stage.slack.sockets.opened, await problems(stage)) == (1, {})
    assert (await stage.type("dan", "incidents", "/incident list")).ok
    assert stage.slack.sockets.opened == 1
    stage.slack.faults.clear()
    await stage.slack.wait_for(lambda: stage.slack.sockets.opened == 2 and stage.slack.sockets.count == 1)


async def test_a_silent_socket_is_noticed_shown_and_replaced(stage: Stage) -> None:
    assert stage.bot.socket is not None
    stage.slack.silence_sockets()
    began = time.perf_counter()
    await until(lambda: stage.bot.socket is not None and stage.bot.socket.problem is not None)
    assert time.perf_counter() - began < 1.5 * FAST.ping + 0.5
    assert "silent" in (await problems(stage))["socket"]
    await stage.slack.wait_for(lambda: stage.slack.sockets.opened >= 4)
    assert "socket" in await problems(stage), "connections over which nothing is said do not count"

    stage.slack.silence_sockets(False)
    await until(lambda: stage.bot.socket is not None and stage.bot.socket.problem is None)
    assert await problems(stage) == {}
    assert (await stage.type("dan", "incidents", "/incident list")).ok


async def test_a_socket_that_breaks_while_a_request_is_under_way_loses_nothing(
    stage: Stage, sqlite_only: str
) -> None:
    before = stage.bot.store.inbox.arrivals
    with locked(sqlite_only):
        typing = asyncio.create_task(stage.slack.type("mika", "incidents", "/incident declare P2 Slow shop"))
        await waits_for_its_commit(stage, before)
        await stage.slack.sockets.close()
        await stage.slack.wait_for(lambda: stage.slack.sockets.opened == 2)
    assert (await typing).ok
    await stage.settle()
    assert len(stage.channel("incidents")) == 1


async def test_slack_that_is_down_at_the_start_is_found_when_it_comes_back(off: Stage) -> None:
    off.slack.faults.down()
    await off.start()
    assert {"slack", "socket"} <= set(await problems(off))
    assert (await off.get("/readyz"))[0] == 200
    assert await off.webhook("cloud-monitoring", monitoring()) == 200
    off.slack.faults.clear()
    await connected(off)
    await off.advance(seconds=30)
    assert len(off.channel("alerts")) == 1
    assert (await off.type("dan", "incidents", "/incident list")).ok


@pytest.mark.parametrize("trouble", ["rate_limit", "error", "garbage", "status", "drop_after"])
async def test_an_address_that_slack_does_not_give_is_asked_for_again(stage: Stage, trouble: str) -> None:
    bad = {
        "rate_limit": faults.rate_limit(0),
        "error": faults.error("internal_error"),
        "garbage": faults.garbage(),
        "status": faults.status(503),
        "drop_after": faults.drop_after(),
    }[trouble]
    stage.slack.faults.add("apps.connections.open", bad, count=2)
    await stage.slack.sockets.close()
    await until(lambda: stage.bot.socket is not None and stage.bot.socket.problem is not None)
    await connected(stage)
    asked = [call for call in stage.slack.calls if call.method == "apps.connections.open"]
    assert len(asked) == 4
    assert await problems(stage) == {}


async def test_frames_that_nobody_understands_do_no_harm(stage: Stage) -> None:
    (line,) = stage.slack.sockets._live()
    for frame in (
        '{"type": "hel',
        "[" * 100_000,
        "[]",
        '{"type": "news"}',
        '"x"',
        "null",
        '{"envelope_id": "1", "payload": 7}',
    ):
        await line.send_str(frame)
    assert (await stage.type("dan", "incidents", "/incident list")).ok
    assert stage.slack.sockets.opened == 1


async def test_a_shutdown_acknowledges_what_is_under_way_and_leaves_nothing_behind(
    off: Stage, sqlite_only: str
) -> None:
    assert tasks("socket") == []
    await off.start()
    await connected(off)
    before = off.bot.store.inbox.arrivals
    with locked(sqlite_only):
        typing = asyncio.create_task(
            off.slack.type("mika", "incidents", "/incident declare P2 Slow shop"), name="typing"
        )
        await waits_for_its_commit(off, before)
        stopping = asyncio.create_task(off.stop(), name="stopping")
        await until(lambda: tasks("socket-reader") == [])
        assert not typing.done()
    assert (await typing).ok
    await stopping
    await off.slack.wait_for(lambda: off.slack.sockets.count == 0)
    assert tasks("socket") == []
    gc.collect()  # An unclosed session or a forgotten exception is a warning, and that an error.


@pytest.mark.parametrize("moment", ["nothing done", "address asked for", "no hello yet", "connected"])
async def test_a_shutdown_in_the_middle_of_connecting_leaves_nothing_behind(off: Stage, moment: str) -> None:
    if moment == "address asked for":
        asked = off.slack.faults.add("apps.connections.open", faults.delay(1.0))
    off.slack.silence_sockets(moment == "no hello yet")
    await off.start()
    match moment:
        case "address asked for":
            await until(lambda: asked.hits == 1)
            assert off.slack.sockets.opened == 0
        case "no hello yet":
            await off.slack.wait_for(lambda: off.slack.sockets.count == 1)
            assert off.bot.socket is not None and off.bot.socket.problem is not None
        case "connected":
            await connected(off)
    await off.stop()
    assert tasks("socket") == []
    gc.collect()


async def test_a_request_that_was_refused_for_a_locked_database_does_not_happen_later(
    stage: Stage, sqlite_only: str
) -> None:
    await connected(stage)
    with locked(sqlite_only):
        await stage.slack.type("mika", "incidents", "/incident declare P2 Slow shop")
    assert await stage.webhook("cloud-monitoring", monitoring("0.after", severity="info")) == 200
    await stage.settle()
    assert stage.channel("incidents") == []
