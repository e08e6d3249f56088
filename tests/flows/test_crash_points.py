"""The bot is killed at every point that matters, and the night ends as if it had never been."""

import asyncio
import itertools
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from bot.app import Bot
from domain.policy import Policy
from sandbox.clock import START
from sandbox.slack.reading import Message
from sandbox.stage import Stage, sqlite_url
from storage.rows import table
from storage.tables import AlertGroupRow, AlertRow, InboxRow, TimelineRow
from tests.conftest import new_postgres
from tests.flows.looking import ESCALATION, INCIDENT, OUTBOX, PAGE, rows, twice
from tests.payloads import monitoring

INBOX, GROUP, ALERT, TIMELINE = map(table, (InboxRow, AlertGroupRow, AlertRow, TimelineRow))

ALL = os.environ.get("TOBAN_ALL_CRASH_POINTS") == "1"
"""Kill at every point there is (minutes), not only at a choice of them."""

EVERY = 25
"""Without it: at the first point of each kind, and at every so manieth of all."""

LAST_BREATH = 0.1
"""Real seconds in which the dead lets go of its files, as the kernel would for it; it commits nothing."""

REST = 90.0
"""Seconds after which nothing may be left to do: leases (20 s), a second look after them, a full lane."""


class Killed(BaseException):
    """The process is dead. No handler of ours catches it."""


@dataclass
class Reaper:
    """Counts the points of a run, and kills the bot at the chosen ones.

    A dead process does nothing: until it was started again, every further point kills as well.
    """

    kills: frozenset[int] = frozenset()
    seen: list[str] = field(default_factory=list)
    died: asyncio.Event = field(default_factory=asyncio.Event)
    happened: list[str] = field(default_factory=list)
    over: bool = False

    def point(self, name: str) -> None:
        if self.over:
            return
        if self.died.is_set():
            raise Killed(name)
        self.seen.append(name)
        if len(self.seen) in self.kills:
            self.happened.append(f"{len(self.seen)}: {name}")
            self.died.set()
            raise Killed(name)

    def watch(self, stage: Stage) -> None:
        """Every commit of the bot and every call that it makes are points, before and after."""
        trace = aiohttp.TraceConfig()

        async def before(_session: Any, _context: Any, call: aiohttp.TraceRequestStartParams) -> None:
            self.point(f"before {call.url.path.rpartition('/')[2][:20]}")

        async def after(_session: Any, _context: Any, call: aiohttp.TraceRequestEndParams) -> None:
            try:
                self.point(f"after {call.url.path.rpartition('/')[2][:20]}")
            except Killed:
                call.response.close()
                raise

        trace.on_request_start.append(before)
        trace.on_request_end.append(after)
        stage.traces.append(trace)
        stage.prepare = self._prepare

    def _prepare(self, bot: Bot) -> None:
        database = bot.database
        wake = database._on_commit
        assert wake is not None

        def committed(topics: frozenset[str]) -> None:
            self.point(f"after commit of {' '.join(sorted(topics))}")
            wake(topics)

        def before_commit(_connection: sa.Connection) -> None:
            self.point("before commit")

        database._on_commit = committed
        sa.event.listen(database.writer.sync_engine, "commit", before_commit)


class Night:
    """One run of the script: whoever was not answered tries again, whenever the bot is back."""

    def __init__(self, stage: Stage, reaper: Reaper) -> None:
        self.stage = stage
        self.reaper = reaper

    async def living(self, act: Callable[[], Awaitable[bool]]) -> None:
        """Do something until it is true; after each kill the bot is started again first."""
        while True:
            task = asyncio.ensure_future(self._alive(act))
            death = asyncio.ensure_future(self.reaper.died.wait())
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            if not self.reaper.died.is_set():
                death.cancel()
                await asyncio.gather(death, return_exceptions=True)
                if await task:
                    return
                continue
            await asyncio.wait({task}, timeout=LAST_BREATH)
            task.cancel()
            await asyncio.gather(task, death, return_exceptions=True)
            if self.stage._bot is not None:
                with suppress(Killed):
                    await self.stage.crash()
            self.reaper.died.clear()

    async def _alive(self, act: Callable[[], Awaitable[bool]]) -> bool:
        if self.stage._bot is None:
            await self.stage.start()
        return await act()

    async def rest(self) -> None:
        async def settled() -> bool:
            await self.stage.settle()
            return True

        await self.living(settled)

    async def until(self, **passed: float) -> None:
        """Let it be so long after the beginning."""
        moment = START + timedelta(**passed)

        async def reached() -> bool:
            left = moment - self.stage.clock.now()
            await self.stage.advance(seconds=max(0.0, left.total_seconds()))
            return True

        await self.living(reached)

    async def send(self, payload: Any) -> None:
        async def accepted() -> bool:
            return await self.stage.webhook("cloud-monitoring", payload, settle=False) == 200

        await self.living(accepted)
        await self.rest()

    async def press(self, person: str, label: str) -> None:
        async def pressed() -> bool:
            page = self.stage.dms(person)[-1]
            return (await self.stage.slack.press(person, page.channel, page.ts, label)).ok

        await self.living(pressed)
        await self.rest()

    async def type(self, person: str, channel: str, text: str) -> None:
        async def typed() -> bool:
            return (await self.stage.slack.type(person, channel, text)).ok

        await self.living(typed)
        await self.rest()


async def live_through(night: Night) -> None:
    """An alert, nobody answers, the next person does, the trouble is resolved, the sender says so."""
    await night.rest()
    await night.send(monitoring())
    await night.until(minutes=16, seconds=30)
    await night.press("aya", "対応する")
    await night.until(minutes=18)
    (number,) = set(re.findall(r"INC-\d+", night.stage.card("incidents").plain))
    await night.type("aya", "incidents", f"/incident resolve {number} a bad deploy, rolled back")
    await night.until(minutes=20)
    await night.send(monitoring(state="closed"))
    await night.until(minutes=20, seconds=REST)


CLOCKS = re.compile(r"\d{1,2}:\d{2}(:\d{2})?|\d{10,}")

NUMBERS = re.compile(r"(INC-|incident:|alert:|page:|ladder:|recovered:)\d+")
"""A transaction that was rolled back uses up a number on PostgreSQL."""


def plain(text: str) -> str:
    return NUMBERS.sub(r"\1…", CLOCKS.sub("…", text))


def shown(stage: Stage, messages: list[Message]) -> list[Any]:
    return [
        (plain(one.plain), one.buttons, [plain(reply.plain) for reply in stage.thread(one)])
        for one in messages
    ]


def bare(row: dict[str, Any]) -> dict[str, str]:
    """A row without times, versions, and numbers of rows."""
    return {
        name: plain(str(value))
        for name, value in row.items()
        if name not in {"id", "version", "born_of"} and not name.endswith(("_at", "_id"))
    }


async def end_of(stage: Stage) -> dict[str, Any]:
    """Everything that people see and that we remember, without times."""
    end: dict[str, Any] = {}
    for channel in ("alerts", "incidents", "ops", "deploys"):
        end[channel] = shown(stage, stage.channel(channel))
    for person in ("kenji", "aya", "yuko", "mika", "dan"):
        end[f"@{person}"] = shown(stage, stage.dms(person))
    for kind in (INCIDENT, GROUP, ALERT, ESCALATION, PAGE):
        end[kind.name] = [bare(row) for row in await rows(stage, sa.select(kind).order_by(kind.c.id))]
    told = await rows(stage, sa.select(TIMELINE))
    end["timeline"] = Counter(
        (plain(row["subject"]), row["what"], row["by"].name, str(row["data"] | {"alert": None}))
        for row in told
    )
    said = await rows(stage, sa.select(OUTBOX).where(OUTBOX.c.kind != "answer"))
    end["outbox"] = Counter((plain(row["key"]), row["place"], row["status"].value) for row in said)
    return end


async def unsettled(stage: Stage) -> list[str]:
    """What is not at rest: messages that wait, are leased, in doubt or behind; deliveries not done."""
    found = [
        f"{row['key']} {row['status']} due={row['due_at']} lease={row['lease_until']} doubt={row['in_doubt']}"
        for row in await rows(stage, sa.select(OUTBOX))
        if row["status"] not in {"sent", "withdrawn"}
        or row["due_at"] is not None
        or row["lease_until"] is not None
        or row["in_doubt"]
        or row["shown"] != row["wanted"]
    ]
    left = await rows(stage, sa.select(INBOX).where(INBOX.c.status != "done"))
    return found + [f"{row['key']} {row['status']}" for row in left]


def posted_again(stage: Stage) -> dict[str, int]:
    """Messages that Slack took more than once, were it only for a moment."""
    taken = Counter(
        call.params["metadata"]["event_payload"]["key"]
        for call in stage.slack.calls
        if call.method == "chat.postMessage" and call.outcome == "ok"
    )
    return {key: count for key, count in taken.items() if count > 1}


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process does not wait for what it was doing."""
    monkeypatch.setattr("bot.app.DRAIN", 0.01)


@dataclass
class Run:
    reaper: Reaper
    end: dict[str, Any]
    told: Counter[str]
    left: list[str]
    doubled: dict[str, int]


async def run(url: str, policy: Policy, *kills: int) -> Run:
    """The whole script, with the bot killed at these points."""
    async with Stage.open(url, policy, start=False) as stage:
        reaper = Reaper(frozenset(kills))
        reaper.watch(stage)
        await live_through(Night(stage, reaper))
        reaper.over = True
        return Run(
            reaper=reaper,
            end=await end_of(stage),
            told=Counter(plain(text) for text in stage.told("aya")),
            left=await unsettled(stage),
            doubled=twice(stage) | posted_again(stage),
        )


def differences(calm: Run, killed: Run) -> list[str]:
    """In what a run with kills ended differently; empty where all is well."""
    found = [f"not at rest: {one}" for one in killed.left]
    found += [f"doubled: {key} × {count}" for key, count in killed.doubled.items()]
    for name, wanted in calm.end.items():
        if killed.end[name] != wanted:
            found.append(f"{name}:\n   wanted {wanted}\n   found  {killed.end[name]}")
    found += [f"aya was not told: {text}" for text in calm.told if text not in killed.told]
    return found


def chosen(points: list[str]) -> list[int]:
    """Numbers of the points at which to kill, from 1."""
    numbers = range(1, len(points) + 1)
    if ALL:
        return list(numbers)
    firsts = {points.index(name) + 1 for name in points}
    return sorted(firsts | set(numbers[EVERY::EVERY]))


async def wrong_after(fresh: Callable[[], str], policy: Policy, calm: Run, kills: list[int]) -> str:
    """What a run with these kills ended with instead, in words; empty where it ended as it should."""
    killed = await run(fresh(), policy, *kills)
    found = differences(calm, killed)
    if not killed.reaper.happened:
        found.append(f"point {kills[0]} was not reached")
    return "\n  ".join([f"killed at {killed.reaper.happened}:", *found]) if found else ""


def fresh_files(folder: Path) -> Callable[[], str]:
    numbers = itertools.count()

    def fresh() -> str:
        made = folder / str(next(numbers))
        made.mkdir()
        return sqlite_url(made)

    return fresh


@pytest.mark.timeout(3600 if ALL else 240)
async def test_a_kill_at_any_commit_or_call_changes_nothing_in_how_the_night_ends(
    tmp_path: Path, policy: Policy
) -> None:
    fresh = fresh_files(tmp_path)
    calm = await run(fresh(), policy)
    assert differences(calm, calm) == []
    wrong = [await wrong_after(fresh, policy, calm, [point]) for point in chosen(calm.reaper.seen)]
    assert not any(wrong), "\n".join(filter(None, wrong))


TWICE = [[3, 4], [9, 12], [31, 37, 38], [64, 66], [120, 123, 131], [190, 191]]


@pytest.mark.timeout(240)
async def test_kills_while_it_recovers_from_a_kill_change_nothing_either(
    tmp_path: Path, policy: Policy
) -> None:
    fresh = fresh_files(tmp_path)
    calm = await run(fresh(), policy)
    wrong = [await wrong_after(fresh, policy, calm, kills) for kills in TWICE]
    assert not any(wrong), "\n".join(filter(None, wrong))


HANDFUL = 6


@pytest.mark.timeout(240)
async def test_a_kill_changes_nothing_on_postgresql_where_leases_have_to_run_out_first(
    postgres: str, policy: Policy
) -> None:
    def fresh() -> str:
        return new_postgres(postgres)

    calm = await run(fresh(), policy)
    assert differences(calm, calm) == []
    count = len(calm.reaper.seen)
    points = [1 + count * part // HANDFUL for part in range(HANDFUL)]
    wrong = [await wrong_after(fresh, policy, calm, [point]) for point in points]
    assert not any(wrong), "\n".join(filter(None, wrong))
