"""Issue 21, 3: a clock that was ahead costs no night, and what it has dated proves nothing."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from domain.backup_plans import BackupPlan, DrillRule, Source
from domain.retention import Retention, Standing
from domain.schedule import Cron
from operations import backups as operations
from sandbox.stage import Stage
from tests.flows.backing import backed_up, backups, nightly
from tests.flows.test_backup_year import night

HOURLY = Cron(line="0 * * * *", zone="Asia/Tokyo")


async def at(stage: Stage, moment: datetime) -> None:
    """It is a little after a moment, and the loop does what is due."""
    stage.clock.push(moment + timedelta(seconds=20) - stage.clock.now())
    await night(stage)


async def lived_ahead(stage: Stage, plan: BackupPlan, by: timedelta) -> datetime:
    """One real backup, whose moment this is; then the clock is ahead for three, and right at a restart."""
    await night(stage)
    first = plan.schedule.following(stage.clock.now())
    await at(stage, first)
    real = stage.clock.now()
    moment = plan.schedule.following(first + by)
    for _ in range(3):
        await at(stage, moment)
        moment = plan.schedule.following(moment)
    await stage.crash()
    stage.clock.push(real - stage.clock.now())
    await stage.start()
    await night(stage)
    return first


async def verified_since(stage: Stage, moment: datetime) -> bool:
    """Whether a backup that was made just now is verified, and is the newest that is."""
    _, verified = await read_overview(stage)
    newest = verified.get("nightly")
    return newest is not None and newest.begun_at is not None and moment <= newest.begun_at


async def read_overview(stage: Stage):
    world = stage.bot.world
    async with world.store.read() as tx:
        return await operations.overview(tx, world.policy.backups, world.clock.now())


@pytest.mark.parametrize("days", [25, 365])
async def test_21_3_days_ahead_and_back_every_night_has_its_backup(
    database_url: str, tmp_path: Path, days: int
) -> None:
    """Five of ten nights had none, and no alert; after a year ahead all of them."""
    plan = nightly(tmp_path)
    async with backed_up(database_url, plan) as stage:
        moment = await lived_ahead(stage, plan, timedelta(days=days))
        wrong = []
        for _ in range(30 if days == 25 else 5):
            moment = plan.schedule.following(moment)
            await at(stage, moment)
            if not await verified_since(stage, moment):
                wrong.append(moment)
        assert wrong == []
        await stage.advance(minutes=3)
        told = [one.plain for one in stage.channel("#ops") if "A clock that was ahead has dated" in one.plain]
        assert len(told) == 1
        assert "nightly: 3" in told[0]
        assert not [one for one in await backups(stage) if one.standing is Standing.MISSED]


async def test_21_3_an_hourly_plan_has_each_of_its_hours(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path, schedule=HOURLY)
    async with backed_up(sqlite_only, plan) as stage:
        moment = await lived_ahead(stage, plan, timedelta(hours=30))
        for _ in range(36):
            moment = plan.schedule.following(moment)
            await at(stage, moment)
            assert await verified_since(stage, moment), moment


async def test_21_3_a_night_of_which_only_a_clock_ahead_has_a_backup_is_missed(
    sqlite_only: str, tmp_path: Path
) -> None:
    plan = nightly(tmp_path)
    async with backed_up(sqlite_only, plan) as stage:
        moment = await lived_ahead(stage, plan, timedelta(days=2))
        dated = [one.due_at for one in await backups(stage) if one.ahead]
        await stage.crash()
        stage.clock.push(dated[0] + timedelta(days=1, minutes=1) - stage.clock.now())
        await stage.start()
        await night(stage)
        missed = [one for one in await backups(stage) if one.standing is Standing.MISSED]
        assert [f"{one.due_at:%d %H:%M}" for one in missed] == [
            f"{one:%d %H:%M}" for one in (moment + timedelta(days=n) for n in range(1, 4))
        ]
        assert dated[0].date() in {one.due_at.date() for one in missed}


async def test_21_3_what_a_clock_ahead_has_dated_is_no_candidate_of_anything(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Neither restored nor counted by retention, and not deleted either, also when its moment has come."""
    rule = DrillRule(scratch={Source.TOBAN: str(tmp_path / "scratch")})
    keep = Retention(daily=4, weekly=0, monthly=0, verified=1)
    plan = nightly(tmp_path / "kept", drill=rule, keep=keep, deletes=True)
    async with backed_up(sqlite_only, plan) as stage:
        moment = await lived_ahead(stage, plan, timedelta(days=2))
        dated = {one.id for one in await backups(stage) if one.ahead}
        assert len(dated) == 3
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        await stage.advance(minutes=1)
        async with stage.bot.store.read() as tx:
            (drill,) = await tx.drills_of("nightly", 5)
        assert drill.backup_id not in dated
        for _ in range(9):
            moment = plan.schedule.following(moment)
            await at(stage, moment)
        found = await backups(stage)
        assert {one.id for one in found if one.ahead and one.removed_at is None} == dated
        real = [one for one in found if not one.ahead]
        assert len(real) == 10
        assert len([one for one in real if one.removed_at is None]) == 5, "four, and one that is announced"
        await stage.type("dan", "#ops", "/toban backup history nightly")
        assert "dated by a clock that was ahead" in stage.told("dan")[-1]
