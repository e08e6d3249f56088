"""13.14: ready means that a delivery can be accepted and kept; everything else stands in /health."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest

from bot.readiness import Readiness, Unready
from domain.policy import Policy
from jobs import Job
from jobs.loops import Loops
from sandbox.stage import LOOKER, Stage
from tests.conftest import open_stage
from tests.full_disk import full_at
from tests.payloads import monitoring


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody else holds what every delivery must write to."""
    if url.startswith("sqlite"):
        lite = sqlite3.connect(url.partition(":///")[2], isolation_level=None)
        lite.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            lite.execute("ROLLBACK")
            lite.close()
        return
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE NOWAIT")  # Waiting would hold up the bot.
        yield
        other.rollback()


async def _until(condition: Callable[[set[Unready]], bool], readiness: Readiness) -> float:
    """The longest that an answer took until the condition held. Fails after ten seconds."""
    longest, began = 0.0, time.monotonic()
    while True:
        asked = time.monotonic()
        found = set(await readiness.reasons())
        longest = max(longest, time.monotonic() - asked)
        if condition(found):
            return longest
        assert time.monotonic() - began < 10
        await asyncio.sleep(0.1)


async def test_13_14_a_locked_database_turns_ready_red_within_ten_seconds_and_answers_at_once(
    stage: Stage, database_url: str
) -> None:
    readiness = Readiness(stage.bot.store.prove, has_secret=True)
    readiness.start()
    try:
        assert await readiness.reasons() == {}
        await asyncio.sleep(0.3)  # The write is over, and the next one is not due yet.
        with locked(database_url):
            assert await _until(lambda found: found == {Unready.DATABASE}, readiness) < 1
        await _until(lambda found: not found, readiness)
    finally:
        await readiness.stop()


async def test_13_14_a_disk_that_takes_nothing_more_turns_ready_red_and_green_again_by_itself(
    sqlite_only: str, policy: Policy
) -> None:
    async with open_stage(sqlite_only, policy) as world:
        assert (await world.get("/readyz"))[0] == 200
        with full_at(4 * 1024 * 1024):
            status, body = await world.get("/readyz")
        assert status == 503
        assert "database" in json.loads(body)["problems"]
        assert (await world.get("/readyz"))[0] == 200
    folder = Path(sqlite_only.partition(":///")[2]).parent
    assert [file.name for file in folder.iterdir() if "probe" in file.name] == []


async def test_13_14_ready_writes_and_leaves_nothing_behind(stage: Stage) -> None:
    for _ in range(3):
        assert (await stage.get("/readyz"))[0] == 200
    async with stage.bot.store() as tx:
        assert await tx.pending(10, 1000, stage.clock.now()) == []
        assert await tx.untold(10) == []


async def test_13_14_slack_away_and_a_backlog_leave_ready_green_and_stand_in_health(stage: Stage) -> None:
    stage.slack.faults.down()
    assert await stage.webhook("cloud-monitoring", monitoring()) == 200
    await stage.advance(minutes=5)
    assert await stage.get("/readyz") == (200, '{"ready": true, "problems": {}}')
    status, body = await stage.get("/health")
    assert status == 200
    found = json.loads(body)
    assert not found["healthy"]
    assert {"slack", "outbox"} <= set(found["problems"])
    assert found["outbox_oldest_seconds"] > 60
    _, metrics = await stage.get("/metrics")
    assert 'toban_problem{name="slack"} 1.0' in metrics
    stage.slack.faults.clear()
    await stage.advance(minutes=6)
    _, body = await stage.get("/health")
    assert json.loads(body)["problems"] == {}
    _, metrics = await stage.get("/metrics")
    assert 'toban_problem{name="slack"} 0.0' in metrics
    await stage.advance(minutes=1)
    told = [message.plain for message in stage.channel("ops")]
    assert any(line.startswith("Slack could not be reached from") for line in told)
    assert any(line.startswith("Messages to Slack were late, from") for line in told)
    assert not any("outbox" in line for line in told)


async def test_13_14_a_problem_that_lasts_is_told_in_ops_once_and_once_when_it_is_over(stage: Stage) -> None:
    problems = stage.bot.world.problems
    problems.report("slack.missing_scope", "files:write is missing")
    await stage.advance(minutes=1)
    assert stage.channel("ops") == []
    await stage.advance(hours=1)
    (said,) = [message.plain for message in stage.channel("ops")]
    assert "slack.missing_scope" in said
    assert "files:write is missing" in said
    problems.clear("slack.missing_scope")
    await stage.advance(hours=1)
    assert len(stage.channel("ops")) == 2
    assert "slack.missing_scope" in stage.channel("ops")[-1].plain

    problems.report("short", "for a moment")
    await stage.advance(seconds=30)
    problems.clear("short")
    await stage.advance(hours=1)
    assert len(stage.channel("ops")) == 2


async def _ask(world: Stage, path: str, authorization: str | None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession() as session, session.get(f"{world.url}{path}", headers=headers) as got:
        return got.status, await got.text()


async def test_13_15_metrics_and_details_need_the_token(sqlite_only: str, policy: Policy) -> None:
    async with open_stage(sqlite_only, policy) as world:
        world.bot.world.problems.report("some.problem", "with a reason")
        for header in (
            None,
            "Bearer",
            "Bearer wrong",
            f"Basic {LOOKER}",
            LOOKER,
            f"Bearer {LOOKER}x",
            "é",
        ):
            assert (await _ask(world, "/metrics", header))[0] == 401
            status, body = await _ask(world, "/health", header)
            assert (status, json.loads(body)) == (200, {"alive": True, "healthy": False})
        for header in (f"Bearer {LOOKER}", f"bearer   {LOOKER}", f"BEARER {LOOKER} "):
            assert (await _ask(world, "/metrics", header))[0] == 200
            assert "with a reason" in (await _ask(world, "/health", header))[1]


async def test_13_15_without_a_token_metrics_are_closed_and_say_how_to_open_them(
    sqlite_only: str, policy: Policy
) -> None:
    async with open_stage(sqlite_only, policy, TOBAN_METRICS_TOKEN="") as world:
        status, body = await _ask(world, "/metrics", None)
        assert status == 403
        assert "TOBAN_METRICS_TOKEN" in body
        assert "TOBAN_METRICS_ACCESS" in body
        assert "problems" not in json.loads((await _ask(world, "/health", "Bearer "))[1])
    opened = {"TOBAN_METRICS_TOKEN": "", "TOBAN_METRICS_ACCESS": "open"}
    async with open_stage(sqlite_only, policy, **opened) as world:
        assert (await _ask(world, "/metrics", None))[0] == 200
        assert "problems" in json.loads((await _ask(world, "/health", None))[1])


async def test_13_14_a_loop_that_is_stuck_or_keeps_failing_is_seen(
    sqlite_only: str, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> int:
        await asyncio.Event().wait()
        return 0

    async def fail() -> int:
        raise ValueError("no such thing")

    monkeypatch.setattr("jobs.loops.AFTER_FAILURE", 0.01)
    async with open_stage(sqlite_only, policy) as world:
        loops = Loops(world.bot.world, [Job("drain", "one", hang), Job("outbox", "two", fail)])
        loops.start()
        async with asyncio.timeout(5):
            while "loop.outbox" not in loops.problems():
                world.bot.world.wake.everybody()
                await asyncio.sleep(0.02)
        assert "no such thing" in loops.problems()["loop.outbox"]
        assert "loop.drain" not in loops.problems()
        await world.advance(minutes=2)
        assert "under way for" in loops.problems()["loop.drain"]
        await loops.stop()
