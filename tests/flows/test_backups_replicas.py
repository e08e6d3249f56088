"""Two replicas of the bot on one real PostgreSQL: one backup for each due moment, one card, one report."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from domain.backup_plans import BackupPlan, DrillRule, Source
from domain.backups import Began, Broke, Order
from domain.drills import DrillState
from domain.retention import Retention, Standing
from domain.schedule import Cron
from operations import backups as operations
from operations import drills as drilling
from operations.under_way import UnderWay
from operations.world import Wake, World
from sandbox.stage import Stage
from storage.database import Database
from storage.folder_vault import FolderVault
from storage.store import Store
from tests.conftest import new_postgres
from tests.databases import migrated_postgres
from tests.flows.backing import backed_up, backups, drills, nightly
from tests.storage.conftest import engine_url


class Counted:
    """The real vault, which notes what is begun; ``dies`` holds the next beginning up for ever."""

    def __init__(self, real: FolderVault) -> None:
        self._real = real
        self.begun: list[str] = []
        self.dies = False
        self.reached = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def begin(self, order: Order) -> Began | Broke:
        self.begun.append(order.key)
        if self.dies:
            self.dies = False
            self.reached.set()
            await asyncio.Event().wait()
        return await self._real.begin(order)


@asynccontextmanager
async def replicas(
    url: str, plan: BackupPlan, **environ: str
) -> AsyncIterator[tuple[Stage, World, World, Counted]]:
    """A stage and two worlds that share nothing but the database, the folder and the clock."""
    async with backed_up(url, plan, **environ) as stage:
        real: Any = stage.bot.world.vaults[Source.TOBAN]
        vault: Any = Counted(real)
        database = Database(engine_url(url))
        vaults = {Source.TOBAN: vault}
        one = replace(stage.bot.world, vaults=vaults)
        other = replace(one, store=Store(database), wake=Wake(), under_way=UnderWay())
        try:
            yield stage, one, other, vault
        finally:
            await database.dispose()


async def turn(world: World) -> None:
    """What the loops of one replica do."""
    for operation in (operations, drilling):
        await operation.schedule(world, world.clock.now())
    for _ in range(8):
        begun = await operations.tick(world) + await drilling.tick(world)
        await world.under_way.quiet()
        if not begun:
            return


async def to_three(stage: Stage, days: int = 0) -> None:
    now = stage.clock.now()
    three = now.replace(hour=18, minute=0, second=1, microsecond=0)
    if three <= now:
        three += timedelta(days=1)
    stage.clock.push(three + timedelta(days=days) - now)


async def test_seed_defect_79_two_replicas_make_one_backup_for_each_night(
    postgres: str, tmp_path: Path
) -> None:
    """The draft had no lock: two runs at once wrote into each other's files."""
    keep = Retention(daily=2, weekly=0, monthly=0, verified=2)
    plan = nightly(tmp_path / "kept", keep=keep, deletes=True)
    async with replicas(migrated_postgres(postgres), plan) as (stage, one, other, vault):
        await asyncio.gather(turn(one), turn(other))
        for night in range(8):
            await to_three(stage, days=2 if night == 4 else 0)
            await asyncio.gather(turn(one), turn(other))
        found = await backups(stage)
        verified = [backup for backup in found if backup.standing is Standing.VERIFIED]
        assert len(verified) == 8
        assert [backup.standing for backup in found].count(Standing.MISSED) == 2
        assert len({backup.due_at for backup in found}) == len(found) == 10
        assert sorted(vault.begun) == sorted(set(vault.begun))
        assert len(vault.begun) == 8
        left = [backup for backup in verified if backup.removed_at is None]
        assert len(list((tmp_path / "kept").rglob("manifest.json"))) == len(left) == 3
        await stage.advance(minutes=2)
        cards = [card.plain for card in stage.channel("#ops")]
        assert len(cards) == len(set(cards)) == 8
        notes = [note.plain for card in stage.channel("#ops") for note in stage.thread(card)]
        assert len(notes) == len(set(notes))


async def test_what_a_replica_held_when_it_died_is_taken_over_after_its_lease(
    postgres: str, tmp_path: Path
) -> None:
    async with replicas(migrated_postgres(postgres), nightly(tmp_path / "kept")) as (
        stage,
        one,
        other,
        vault,
    ):
        await turn(one)
        await to_three(stage)
        vault.dies = True
        dying = asyncio.create_task(turn(one))
        async with asyncio.timeout(20):
            await vault.reached.wait()
        dying.cancel()
        await asyncio.gather(dying, one.under_way.stop(), return_exceptions=True)
        await turn(other)
        assert len(vault.begun) == 1, "it is the other one's still"
        stage.clock.push(timedelta(seconds=91))
        await turn(other)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.VERIFIED
        assert len(vault.begun) == 2
        assert len(list((tmp_path / "kept").rglob("toban.*"))) == 1
        await stage.advance(minutes=2)
        assert len(stage.channel("#ops")) == 1


async def test_two_replicas_hold_one_drill_for_each_due_moment(postgres: str, tmp_path: Path) -> None:
    rule = DrillRule(schedule=Cron(line="0 10 * * *", zone="Asia/Tokyo"))
    server = new_postgres(postgres)
    plan = nightly(tmp_path / "kept", drill=rule)
    environ = {"TOBAN_DRILL_DATABASE_URL": server}
    async with replicas(migrated_postgres(postgres), plan, **environ) as (stage, one, other, _):
        await asyncio.gather(turn(one), turn(other))
        for _ in range(3):
            await to_three(stage)
            await asyncio.gather(turn(one), turn(other))
            stage.clock.push(timedelta(hours=8))
            await asyncio.gather(turn(one), turn(other))
        found = await drills(stage)
        assert [drill.state for drill in found] == [DrillState.PASSED] * 3
        assert len({drill.due_at for drill in found}) == 3
        await stage.advance(minutes=2)
        assert len([card for card in stage.channel("#ops") if "Restore drill" in card.plain]) == 3
