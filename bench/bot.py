"""A real bot as a process of its own, pinned to a core, against a pretend Slack in this one."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from sandbox.clock import ShiftedClock
from sandbox.demo import POLICY
from sandbox.slack.workspace import Workspace

ROOT = Path(__file__).parent.parent
USER, PASSWORD = "bench", "only-for-the-measurement"
AUTHORIZATION = aiohttp.encode_basic_auth(USER, PASSWORD)


def cores() -> tuple[set[int] | None, set[int] | None]:
    """The bot's core and everybody else's; None where the platform cannot pin."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    have = sorted(os.sched_getaffinity(0))
    return ({have[0]}, {have[1]}) if len(have) > 1 else (None, None)


class Bot:
    def __init__(self, process: psutil.Popen, port: int, slack: Workspace, ready_after: float) -> None:
        self.process = process
        self.port = port
        self.slack = slack
        self.ready_after = ready_after

    async def metrics(self) -> dict[str, float]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/metrics") as answer,
        ):
            text = await answer.text()
        found: dict[str, float] = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    async def drained(self) -> float:
        return (await self.metrics()).get("toban_inbox_drained_total", 0.0)

    async def load(self, **job: Any) -> dict[str, Any]:
        """Run the load generator on the other core."""
        whole = {"port": self.port, "authorization": AUTHORIZATION, "run": f"{time.monotonic_ns():x}", **job}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(json.dumps(whole).encode())
        found: dict[str, Any] = json.loads(out)
        return found


class Used:
    """Processor seconds since this was made: the bot's, and the pretend world's, which shares the machine."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        bot, world = self._bot.process.cpu_times(), psutil.Process().cpu_times()
        return bot.user + bot.system, world.user + world.system

    def so_far(self) -> dict[str, float]:
        """By whom."""
        bot, world = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return {"bot_cpu_seconds": bot, "pretend_slack_cpu_seconds": world}


@asynccontextmanager
async def running(
    folder: Path, database_url: str | None = None, tree: Path | None = None
) -> AsyncIterator[Bot]:
    """Workspace and bot, up and ready; the bot is told to end afterwards.

    ``tree``: the folder of another version of the bot, to compare the two in one run.
    """
    import socket

    mine, others = cores()
    if others is not None:
        os.sched_setaffinity(0, others)
    slack = Workspace(ShiftedClock())
    await slack.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    slack.events_url = f"http://127.0.0.1:{port}/slack/events"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOBAN_", "SLACK_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # Else every start compiles everything anew.
    environ = kept | {
        "TOBAN_DATABASE_URL": database_url or f"sqlite:///{folder / 'bench.db'}",
        "TOBAN_POLICY": str(POLICY),
        "PYTHONPATH": os.pathsep.join([str(tree or ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOBAN_PORT": str(port),
        "TOBAN_LOG_LEVEL": "ERROR",
        "TOBAN_SHUTDOWN_GRACE": "0",
        "TOBAN_METRICS_ACCESS": "open",
        "TOBAN_WEBHOOK_USER": USER,
        "TOBAN_WEBHOOK_PASSWORD": PASSWORD,
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_SIGNING_SECRET": slack.signing_secret,
        "SLACK_API_URL": slack.api_url,
    }
    began = time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", "bot", "run"], env=environ, cwd=tree)
    if mine is not None:
        process.cpu_affinity(sorted(mine))
    try:
        ready = await _ready(port, process, began)
        yield Bot(process, port, slack, ready)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 15)
        await slack.stop()


async def _ready(port: int, process: psutil.Popen, began: float) -> float:
    async with aiohttp.ClientSession() as session:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"the bot ended with {process.returncode}")
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.01)
