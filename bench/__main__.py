"""`make bench`: accepts a second, latencies, drain, commands, start, memory, idle; printed and as JSON."""

import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import restore, year
from bench.bodies import hundred, single
from bench.bot import Bot, running
from bench.memory import memory
from bench.storm import storm
from sandbox.senders import monitoring

RESULTS = Path(__file__).parent / "results"
SECONDS = 6.0


async def accepts(bot: Bot, found: dict[str, Any]) -> None:
    for connections in (16, 64):
        for name, path, made, alerts in (
            ("single", "/webhooks/cloud-monitoring", single(), 1),
            ("hundred", "/webhooks/alertmanager", hundred(), 100),
        ):
            before = await bot.drained()
            began = time.perf_counter()
            told = await bot.load(
                path=path, body=made[0], marks=made[1], connections=connections, seconds=SECONDS
            )
            backlog = told["requests"] - (await bot.drained() - before)
            at_rest = await until_drained(bot, before + told["requests"])
            key = f"accept_{name}_{connections}"
            found[key] = told | {"alerts_per_second": told["per_second"] * alerts}
            found[key]["backlog_after"] = backlog
            found[key]["drain_alerts_per_second"] = backlog * alerts / at_rest if backlog > 50 else None
            found[key]["whole_seconds"] = time.perf_counter() - began
            say(key, found[key])


async def until_drained(bot: Bot, wanted: float) -> float:
    began = time.perf_counter()
    while await bot.drained() < wanted:
        if time.perf_counter() - began > 240:
            raise TimeoutError("the backlog is not drained")
        await asyncio.sleep(0.05)
    return time.perf_counter() - began


async def lone_alert(bot: Bot, found: dict[str, Any]) -> None:
    """From the 2xx to the message in Slack, for alerts that come one at a time."""
    import aiohttp

    from bench.bot import AUTHORIZATION

    delays = []
    async with aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}) as session:
        for number in range(15):
            body = monitoring(f"0.lone{number}", severity="info", policy=f"lone {number} {time.time_ns()}")
            seen = len(bot.slack.messages("alerts"))
            url = f"http://127.0.0.1:{bot.port}/webhooks/cloud-monitoring"
            async with session.post(url, json=body) as answer:
                assert answer.status == 200
            began = time.perf_counter()
            await bot.slack.wait_for(lambda seen=seen: len(bot.slack.messages("alerts")) > seen, timeout=10)
            delays.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(1.3)
    found["lone_alert_ms"] = {"p50": statistics.median(delays), "max": max(delays), "n": len(delays)}
    say("lone_alert_ms", found["lone_alert_ms"])


async def commands(bot: Bot, found: dict[str, Any]) -> None:
    """A state-changing command's acknowledgement while 1,000 alerts a second arrive."""
    body, marks = single()
    load = asyncio.create_task(
        bot.load(
            path="/webhooks/cloud-monitoring", body=body, marks=marks, connections=64, seconds=8, rate=1000
        )
    )
    await asyncio.sleep(1)
    times = []
    while not load.done():
        delivery = await bot.slack.type("kenji", "alerts", "/incident ack INC-999999")
        assert delivery.ok, delivery
        times.append(delivery.ms)
    told = await load
    ordered = sorted(times)
    found["command_ack_ms"] = {
        "p50": statistics.median(ordered),
        "p99": ordered[int(len(ordered) * 0.99)],
        "n": len(ordered),
        "beside": told,
    }
    say("command_ack_ms", found["command_ack_ms"])


async def idle(bot: Bot, found: dict[str, Any]) -> None:
    await asyncio.sleep(3)
    before = bot.process.cpu_times()
    await asyncio.sleep(15)
    after = bot.process.cpu_times()
    used = after.user + after.system - before.user - before.system
    found["idle_cpu_percent"] = used / 15 * 100
    say("idle_cpu_percent", found["idle_cpu_percent"])


def say(name: str, value: Any) -> None:
    if isinstance(value, dict):
        shown = ", ".join(
            f"{key} {item:,.1f}" if isinstance(item, float) else f"{key} {item}"
            for key, item in value.items()
        )
        print(f"{name}: {shown}", flush=True)
    else:
        print(f"{name}: {value:,.2f}" if isinstance(value, float) else f"{name}: {value}", flush=True)


async def main(only: list[str]) -> None:
    found: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "python": sys.version.split()[0],
    }
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as bot:
            found["first_start_seconds"] = bot.ready_after
        async with running(Path(folder)) as bot:
            found["start_to_readyz_seconds"] = bot.ready_after
            say("first_start_seconds", found["first_start_seconds"])
            say("start_to_readyz_seconds", bot.ready_after)
            found["rss_idle_mib"] = bot.process.memory_info().rss / 2**20
            parts = {"lone": lone_alert, "idle": idle, "accepts": accepts, "commands": commands}
            for name, part in parts.items():
                if not only or name in only:
                    await part(bot, found)
            found["rss_after_mib"] = bot.process.memory_info().rss / 2**20
            say("rss_idle_mib", found["rss_idle_mib"])
            say("rss_after_mib", found["rss_after_mib"])
    keep(found, "latest.json")


async def apart(part: str, words: list[str]) -> None:
    """What has a bot and a database of its own for each measurement."""
    tree = Path(words[words.index("--tree") + 1]) if "--tree" in words else None
    keep(await {"storm": storm, "memory": memory}[part](words, tree), f"{part}.json")


def keep(found: dict[str, Any], name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["year"]:  # Minutes, and on files of its own.
        asyncio.run(year.main())
    elif sys.argv[1:2] == ["restore"]:
        keep(asyncio.run(restore.main(sys.argv[2:])), "restore.json")
    elif sys.argv[1:2] in (["storm"], ["memory"]):
        asyncio.run(apart(sys.argv[1], sys.argv[2:]))
    else:
        asyncio.run(main(sys.argv[1:]))
