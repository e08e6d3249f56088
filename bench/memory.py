"""`make bench BENCH=memory`: the bot's resident memory at rest, and after 200,000 alerts.

python -m bench memory [sqlite|postgresql] [--tree FOLDER]
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.bodies import hundred
from bench.bot import Bot, running
from bench.kill import database

KINDS = ("sqlite", "postgresql")
REQUESTS, A_SECOND = 2_000, 80
"""Of a hundred alerts each, as fast as the drain follows."""

REST = 12.0
"""Seconds until what a start or a load leaves behind is given back."""

PATIENCE = 120.0


async def memory(words: list[str], tree: Path | None) -> dict[str, Any]:
    """On each kind of database that ``words`` names; on both where they name none."""
    found: dict[str, Any] = {}
    for kind in [one for one in KINDS if one in words] or KINDS:
        with tempfile.TemporaryDirectory() as folder, database(kind, Path(folder)) as url:
            async with running(Path(folder), url, tree) as bot:
                found[f"memory_{kind}"] = await _one(bot)
                for figure, value in found[f"memory_{kind}"].items():
                    print(f"memory_{kind}.{figure}: {value:,.1f}", flush=True)
    return found


async def _one(bot: Bot) -> dict[str, float]:
    await asyncio.sleep(REST)
    found = {"rss_at_rest_mib": _rss(bot)}
    body, marks = hundred()
    load = {"path": "/webhooks/alertmanager", "body": body, "marks": marks, "connections": 16}
    told = await bot.load(**load, rate=A_SECOND, seconds=REQUESTS / A_SECOND)
    began = time.perf_counter()
    while await bot.drained() < told["requests"] and time.perf_counter() - began < PATIENCE:
        await asyncio.sleep(0.2)
    found |= {"alerts": await bot.drained() * 100, "rss_after_mib": _rss(bot)}
    await asyncio.sleep(REST)
    return found | {"rss_after_rest_mib": _rss(bot)}


def _rss(bot: Bot) -> float:
    return float(bot.process.memory_info().rss) / 2**20
