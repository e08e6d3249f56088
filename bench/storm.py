"""`make bench BENCH=storm`: thousands of critical groups at once, and how long the next pages take.

    python -m bench storm [sqlite|postgresql] [many|one] [--tree FOLDER]

The pretend Slack keeps Slack's limits: a message a second in a channel, calls a minute by method. What is
named in a direct message counts from the sender's 2xx to Slack's answer, by the workspace's own list of
calls. What a list only counts (it names ten pages) goes by the bot's record, written after that answer:
from the moment at which the request was kept to the one at which the page was on the person's screen.

``many``: each group on a service of its own, so that as many incidents open. ``one``: all on one service,
and so one incident. ``--tree`` runs another version of the bot, from its folder, in the same harness.
"""

import asyncio
import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import sqlalchemy as sa

from bench.bot import AUTHORIZATION, Bot, Used, running
from bench.kill import database
from sandbox.senders import monitoring

GROUPS = 3_000
PEOPLE = ("kenji", "aya", "mika", "dan", "yuko")
PATH = "/webhooks/cloud-monitoring"
PATIENCE = 100.0
"""Seconds after which a measurement is given up."""

KINDS = ("sqlite", "postgresql")
SHAPES = {"many": "svc-MARK", "one": "svc-of-all"}
MINUTE = timedelta(minutes=1)

PAGES = """
SELECT incident.service AS name, alert_group.opened_at AS kept, page.delivered_at AS shown
FROM page JOIN escalation ON escalation.id = page.escalation_id
JOIN incident ON escalation.subject = 'incident:' || incident.id
JOIN alert_group ON alert_group.id = incident.born_of
WHERE page.means = 'slack' AND page.round = 1
"""


class Screens:
    """Every direct message and every edit of one, as Slack answered it: when, to whom, and its words."""

    def __init__(self, bot: Bot) -> None:
        self._calls = bot.slack.calls
        self._seen = len(self._calls)
        self._person = {bot.slack.room(f"@{person}").id: person for person in PEOPLE}
        self.told: list[tuple[datetime, str, str, str]] = []

    def look(self) -> None:
        """Take in what was called since the last look."""
        for call in self._calls[self._seen :]:
            person = self._person.get(str(call.params.get("channel")))
            if call.method in {"chat.postMessage", "chat.update"} and call.outcome == "ok" and person:
                words = f"{call.params.get('text')} {call.params.get('blocks')}"
                self.told.append((call.at, person, call.method, words))
        self._seen = len(self._calls)

    def named(self, name: str) -> datetime | None:
        """When a message first named an alert."""
        self.look()
        return next((at for at, _, _, words in self.told if name in words), None)

    def posts(self) -> dict[str, list[datetime]]:
        """When each person got a new message that is no emergency's; edits ring no bell."""
        self.look()
        found = defaultdict(list)
        for at, person, method, words in self.told:
            if method == "chat.postMessage" and "P0" not in words:
                found[person].append(at)
        return found


def most_a_minute(moments: list[datetime]) -> int:
    """The most of them within any minute."""
    return max((sum(one <= other < one + MINUTE for other in moments) for one in moments), default=0)


async def _send(bot: Bot, name: str, severity: str) -> datetime:
    """Send one alert; the moment of its 2xx."""
    body = monitoring(f"0.{name}", policy=name, service=name, severity=severity)
    url = f"http://127.0.0.1:{bot.port}{PATH}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}) as session,
        session.post(url, json=body) as answer,
    ):
        assert answer.status == 200, answer.status
    return bot.slack.clock.now()


async def _seen(screens: Screens, name: str, since: datetime) -> float:
    """Seconds until anybody's direct message names it."""
    until = time.perf_counter() + PATIENCE
    while (at := screens.named(name)) is None:
        if time.perf_counter() > until:
            return float("nan")
        await asyncio.sleep(0.05)
    return (at - since).total_seconds()


async def storm(words: list[str], tree: Path | None) -> dict[str, Any]:
    """Each kind of database with each shape of storm that ``words`` names; all where they name none."""
    found: dict[str, Any] = {}
    for kind in [one for one in KINDS if one in words] or KINDS:
        for shape in [one for one in SHAPES if one in words] or SHAPES:
            with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
                async with running(Path(folder), url, tree) as bot:
                    name = f"storm_{kind}_{shape}"
                    found[name] = await _one(bot, url, shape)
                    for figure, value in found[name].items():
                        print(f"{name}.{figure}: {value:,.2f}", flush=True)
    return found


async def _one(bot: Bot, url: str, shape: str) -> dict[str, Any]:
    bot.slack.rate_limit_posts = bot.slack.rate_limit_methods = True
    body = monitoring("0.MARK", policy="errors MARK", service=SHAPES[shape], severity="Critical")
    screens, used = Screens(bot), Used(bot)
    began, first = time.perf_counter(), bot.slack.clock.now()
    load = asyncio.create_task(
        bot.load(
            path=PATH, body=json.dumps(body), marks=["MARK"], connections=64, rate=1000, seconds=GROUPS / 1000
        )
    )
    await asyncio.sleep(2.0)
    awaited = {"emergency_amid": await _watch(bot, screens, "em-amid", "Emergency")}
    await _send(bot, "cr-amid", "Critical")
    told = await load
    awaited["emergency_after"] = await _watch(bot, screens, "em-after", "Emergency")
    await _send(bot, "cr-after", "Critical")
    result: dict[str, Any] = {
        "groups": told["requests"],
        "accepted_per_second": told["per_second"],
        "accept_p50_ms": told["p50_ms"],
        "accept_p99_ms": told["p99_ms"],
        "first_direct_message_seconds": await _seen(screens, "errors", first),
    }
    for name, task in awaited.items():
        result[f"{name}_seconds"] = await task
    expected = told["requests"] + 4 if shape == "many" else 5
    while await bot.drained() < told["requests"] + 4 and time.perf_counter() - began < PATIENCE:
        await asyncio.sleep(0.2)
    result["drained_after_seconds"] = time.perf_counter() - began
    pages: list[dict[str, Any]] = []
    while time.perf_counter() - began < PATIENCE:
        pages = await asyncio.to_thread(_pages, url)
        if len(pages) >= expected and all(page["shown"] for page in pages):
            break
        await asyncio.sleep(0.5)
    result["all_pages_shown_after_seconds"] = time.perf_counter() - began
    result |= used.so_far()
    await asyncio.sleep(max(0.0, 65.0 - (time.perf_counter() - began)))
    return result | _figures(pages, screens)


async def _watch(bot: Bot, screens: Screens, name: str, severity: str) -> asyncio.Task[float]:
    sent = await _send(bot, name, severity)
    return asyncio.create_task(_seen(screens, name, sent))


def _pages(url: str) -> list[dict[str, Any]]:
    """The first page of each ladder: the name of its alert, and the seconds until it was on a screen."""
    driver = "sqlite+pysqlite" if url.startswith("sqlite") else "postgresql+psycopg"
    engine = sa.create_engine(f"{driver}://{url.partition('://')[2]}")
    try:
        with engine.connect() as connection:
            found = connection.execute(sa.text(PAGES)).mappings().all()
    finally:
        engine.dispose()
    return [dict(row) | {"shown": _moment(row["shown"]), "kept": _moment(row["kept"])} for row in found]


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _figures(pages: list[dict[str, Any]], screens: Screens) -> dict[str, float]:
    """What the pages and the screens came to. A page that was not shown at all counts as infinite."""
    delays: dict[str, float] = {}
    for page in pages:
        seconds = (page["shown"] - page["kept"]).total_seconds() if page["shown"] else float("inf")
        delays[page["name"]] = max(seconds, delays.get(page["name"], 0.0))
    critical = sorted(seconds for name, seconds in delays.items() if not name.startswith("em-"))
    posts = screens.posts()
    counts = [
        int(found[0].replace(",", "")) for *_, text in screens.told if (found := re.findall(r"^[\d,]+", text))
    ]
    return {
        "critical_first_seconds": delays[min(pages, key=lambda page: page["kept"])["name"]],
        "critical_amid_seconds": delays.get("cr-amid", float("nan")),
        "critical_after_seconds": delays.get("cr-after", float("nan")),
        "critical_p50_seconds": statistics.median(critical),
        "critical_p99_seconds": critical[int(len(critical) * 0.99)],
        "critical_max_seconds": critical[-1],
        "pages": len(pages),
        "most_listed": max(counts, default=0),
        "most_messages_a_person_and_minute": max(map(most_a_minute, posts.values()), default=0),
        "direct_messages": sum(map(len, posts.values())),
        "edits_of_them": sum(method == "chat.update" for _, _, method, _ in screens.told),
    }
