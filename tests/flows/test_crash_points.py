"""The bot is killed at every point that matters, and the night ends as if it had never been."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain.policy import Policy
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from storage.rows import table
from storage.tables import AlertGroupRow, AlertRow, InboxRow, TimelineRow
from tests.databases import migrated_postgres, new_files
from tests.flows.dying import JITTER, Dying, Reaper
from tests.flows.looking import ESCALATION, INCIDENT, OUTBOX, PAGE, rows, twice
from tests.payloads import monitoring
from tests.sampling import ALL

INBOX, GROUP, ALERT, TIMELINE = map(table, (InboxRow, AlertGroupRow, AlertRow, TimelineRow))

EVERY = 25
"""In `make test`: at the first point of each kind, and at every so manieth of all."""

REST = 90.0
"""Seconds after which nothing may be left to do: leases (20 s), a second look after them, a full lane."""


class Night(Dying):
    """One run of the script: whoever was not answered tries again, whenever the bot is back."""

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
    if not killed.reaper.happened and kills[0] <= len(calm.reaper.seen) - JITTER:
        found.append(f"point {kills[0]} was not reached")
    return "\n  ".join([f"killed at {killed.reaper.happened}:", *found]) if found else ""


@pytest.mark.timeout(3600 if ALL else 240)
async def test_a_kill_at_any_commit_or_call_changes_nothing_in_how_the_night_ends(
    tmp_path: Path, policy: Policy
) -> None:
    fresh = new_files(tmp_path)
    calm = await run(fresh(), policy)
    assert differences(calm, calm) == []
    wrong = [await wrong_after(fresh, policy, calm, [point]) for point in chosen(calm.reaper.seen)]
    assert not any(wrong), "\n".join(filter(None, wrong))


TWICE = [[3, 4], [9, 12], [31, 37, 38], [64, 66], [120, 123, 131], [190, 191]]


@pytest.mark.timeout(240)
async def test_kills_while_it_recovers_from_a_kill_change_nothing_either(
    tmp_path: Path, policy: Policy
) -> None:
    fresh = new_files(tmp_path)
    calm = await run(fresh(), policy)
    wrong = [await wrong_after(fresh, policy, calm, kills) for kills in TWICE]
    assert not any(wrong), "\n".join(filter(None, wrong))


HANDFUL = 6


@pytest.mark.timeout(240)
async def test_a_kill_changes_nothing_on_postgresql_where_leases_have_to_run_out_first(
    postgres: str, policy: Policy
) -> None:
    def fresh() -> str:
        return migrated_postgres(postgres)

    calm = await run(fresh(), policy)
    assert differences(calm, calm) == []
    count = len(calm.reaper.seen)
    points = [1 + count * part // HANDFUL for part in range(HANDFUL)]
    wrong = [await wrong_after(fresh, policy, calm, [point]) for point in points]
    assert not any(wrong), "\n".join(filter(None, wrong))
