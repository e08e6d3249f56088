"""`make bench BENCH=storm`: thousands of critical groups at once, and how long the next pages take.

The pretend Slack keeps Slack's limits: a message a second in a channel, calls a minute by method. Times
count from the sender's 2xx to the moment at which the person's message shows the alert's name.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import aiohttp

from bench.bot import AUTHORIZATION, Bot
from sandbox.senders import monitoring

GROUPS = 3_000
PEOPLE = ("kenji", "aya", "mika", "dan", "yuko")
PATH = "/webhooks/cloud-monitoring"
PATIENCE = 180.0


def _messages(bot: Bot) -> Iterator[tuple[str, str, str]]:
    """Person, timestamp and words of every direct message."""
    for person in PEOPLE:
        for message in bot.slack.dm(person):
            yield person, message.ts, message.plain


async def _send(bot: Bot, name: str, severity: str) -> float:
    """Send one alert; the moment of its 2xx."""
    body = monitoring(f"0.{name}", policy=name, service=name, severity=severity)
    url = f"http://127.0.0.1:{bot.port}{PATH}"
    async with (
        aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}) as session,
        session.post(url, json=body) as answer,
    ):
        assert answer.status == 200, answer.status
    return time.perf_counter()


async def _seen(bot: Bot, name: str, since: float) -> float:
    """Seconds until anybody's direct message shows this name."""
    while not any(name in words for _, _, words in _messages(bot)):
        if time.perf_counter() - since > PATIENCE:
            return float("nan")
        await asyncio.sleep(0.05)
    return time.perf_counter() - since


async def storm(bot: Bot, found: dict[str, Any]) -> None:
    """Each on a service of its own, so that as many incidents open; then all on one service."""
    bot.slack.rate_limit_posts = True
    bot.slack.rate_limit_methods = True
    for kind, service in (("many", "svc-MARK"), ("one", "svc-of-all")):
        found[f"storm_{kind}"] = await _one(bot, kind, service)


async def _one(bot: Bot, kind: str, service: str) -> dict[str, Any]:
    template = json.dumps(monitoring("0.MARK", policy="errors MARK", service=service, severity="Critical"))
    before, known = await bot.drained(), len(list(_messages(bot)))
    began = time.perf_counter()
    load = asyncio.create_task(
        bot.load(path=PATH, body=template, marks=["MARK"], connections=64, rate=1000, seconds=GROUPS / 1000)
    )
    await asyncio.sleep(2.0)
    urgent_amid = await _send(bot, f"amid-{kind}", "Emergency")
    amid = asyncio.create_task(_seen(bot, f"amid-{kind}", urgent_amid))
    told = await load
    urgent_after = await _send(bot, f"after-{kind}", "Emergency")
    after = asyncio.create_task(_seen(bot, f"after-{kind}", urgent_after))
    result = {
        "groups": told["requests"],
        "accepted_per_second": told["per_second"],
        "emergency_amid_seconds": await amid,
        "emergency_after_seconds": await after,
    }
    while await bot.drained() < before + told["requests"] + 2 and time.perf_counter() - began < PATIENCE:
        await asyncio.sleep(0.1)
    result["drained_after_seconds"] = time.perf_counter() - began
    delivered = 'toban_pages_total{means="slack",status="delivered"}'
    queued = 'toban_pages_total{means="slack",status="queued"}'
    while time.perf_counter() - began < PATIENCE:
        counts = await bot.metrics()
        if counts.get(queued, 0) <= counts.get(delivered, 0):
            break
        await asyncio.sleep(0.25)
    result["all_pages_delivered_after_seconds"] = time.perf_counter() - began
    result["direct_messages"] = len(list(_messages(bot))) - known
    for name, value in result.items():
        print(f"storm_{kind}.{name}: {value:,.2f}", flush=True)
    return result
