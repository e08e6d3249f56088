"""21.5: a copy that lies there whole counts, whatever a row says, or does not say, of it."""

import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.adopting import adopt_all
from domain import backing as rules
from domain.backup_plans import Part, Source
from domain.errors import Outage
from domain.retention import Retention, Standing
from sandbox.cloud.faults import FOREVER, permission
from sandbox.cloud.sql import PretendRun
from storage.database import Database
from storage.store import Store
from tests.databases import new_sqlite
from tests.flows.backing import backed_up, backups, nightly, until_three
from tests.flows.test_backups_of_everything import PROJECT, everything, team
from tests.flows.test_backups_shared import ONE, makers
from tests.flows.test_restoring import restore


async def test_21_5_the_copy_that_was_restored_from_stays(database_url: str, tmp_path: Path) -> None:
    """It contains its own running row, which was given up as failed, and the copy deleted the next night."""
    kept = tmp_path / "kept"
    plan = nightly(kept, keep=Retention(daily=3, weekly=0, monthly=0, verified=3), deletes=True)
    async with backed_up(database_url, plan) as stage:
        await until_three(stage, minutes=6 * 60)
        await stage.stop()
        await restore(stage, overwrite=True)
        await stage.start()
        await stage.advance(minutes=2)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.VERIFIED
        for _ in range(2):
            await until_three(stage)
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED] * 3
        assert len(makers(kept)) == 3


async def test_21_5_after_a_restore_nothing_is_copied_into_a_place_of_the_past(
    sqlite_only: str, tmp_path: Path
) -> None:
    """A running row without a copy: what would be made now is not of its moment."""
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(kept)) as stage:
        await until_three(stage, minutes=6 * 60)
        await stage.stop()
        await restore(stage, overwrite=True)
        shutil.rmtree(kept)
        await stage.start()
        await stage.advance(minutes=2)
        assert [one.standing for one in await backups(stage)] == [Standing.FAILED]
        assert not list(tmp_path.rglob("manifest.json"))


async def test_21_5_a_failed_row_deletes_no_whole_copy(database_url: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    async with backed_up(database_url, nightly(kept, keep=ONE, deletes=True)) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        async with stage.bot.store() as tx:
            await tx.save_backup(first.model_copy(update={"standing": Standing.FAILED}))
        await until_three(stage)
        await until_three(stage)
        (first, *_) = await backups(stage)
        assert (first.standing, first.removed_at) == (Standing.VERIFIED, None)
        assert Path(first.destination, "toban", "manifest.json").exists()
        notes = [line.plain for line in stage.thread(stage.channel("#ops")[0])]
        assert any("counts as verified, and stays" in line for line in notes)


async def test_21_5_a_failed_row_of_a_spoilt_copy_still_goes(sqlite_only: str, tmp_path: Path) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path / "kept", keep=ONE, deletes=True)) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        async with stage.bot.store() as tx:
            await tx.save_backup(first.model_copy(update={"standing": Standing.FAILED}))
        (file,) = (tmp_path / "kept").rglob("toban.sqlite3")
        file.write_bytes(file.read_bytes()[:-100])
        await until_three(stage)
        await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None


async def test_21_5_copies_in_no_row_are_adopted_after_a_database_is_lost(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    plan = nightly(kept, keep=ONE, deletes=True)
    async with backed_up(sqlite_only, nightly(kept)) as stage:
        for _ in range(3):
            await until_three(stage)
        (name,) = set(makers(kept))
        lines = await adopt_all(stage.settings, stage.policy, None, None)
        assert [line.partition(": ")[2] for line in lines] == [f"known as B-{n}" for n in (1, 2, 3)]
    spoilt = sorted(kept.rglob("toban.sqlite3"))[1]
    spoilt.write_bytes(spoilt.read_bytes()[:-100])
    (tmp_path / "new").mkdir()
    async with backed_up(new_sqlite(tmp_path / "new"), plan) as stage:
        lines = await adopt_all(stage.settings, stage.policy, "nightly", None)
        assert len(lines) == 3 and all(f"--from {name}" in line for line in lines)
        assert await backups(stage) == [], "never by itself"
        lines = await adopt_all(stage.settings, stage.policy, "nightly", name)
        assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
            "adopted as B-1",
            "left",
            "adopted as B-2",
        ]
        assert "toban is not whole" in lines[1]
        found = await backups(stage)
        assert [(one.standing, one.installation) for one in found] == [(Standing.VERIFIED, name)] * 2
        for _ in range(6):  # The pretend clock begins before the adopted ones were made.
            await until_three(stage)
        found = await backups(stage)
        assert found[0].removed_at is not None, "what was adopted is deleted in its time"


async def test_21_5_a_moment_that_was_called_missed_is_adopted(database_url: str, tmp_path: Path) -> None:
    """A restored state does not know the nights that came after it."""
    kept = tmp_path / "kept"
    async with backed_up(database_url, nightly(kept)) as stage:
        for _ in range(3):
            await until_three(stage)
        (first, *_) = await backups(stage)
        await stage.stop()
        await restore(stage, overwrite=True, copy=f"{first.due_at:%Y%m%dT%H%M%SZ}")
        await stage.start()
        await stage.advance(minutes=2)
        assert Standing.MISSED in [one.standing for one in await backups(stage)]
        await stage.stop()
        lines = await adopt_all(stage.settings, stage.policy, None, None)
        assert sum("adopted as" in line for line in lines) >= 1
        await stage.start()
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED] * 3


SQL = Part(name="cloud-sql-db", source=Source.CLOUD_SQL, of="db", project=PROJECT)


async def test_21_5_backups_that_an_instance_keeps_are_adopted_after_a_database_is_lost(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Nothing of them lies at the destination: the instance alone knows them, by their descriptions."""
    plan = everything(parts=(SQL,), drill=None)
    (tmp_path / "new").mkdir()
    lost = new_sqlite(tmp_path / "new")
    async with team(sqlite_only, plan) as (stage, _):
        for _ in range(3):
            await until_three(stage, minutes=5)
        made = await backups(stage)
        runs = stage.cloud.sql.instances[PROJECT, "db"].runs
        runs[1].becomes = "FAILED"
        moment = runs[0].enqueued_at
        for number, words in enumerate(("by hand", "toban/other/20261122T180000Z/cloud-sql-db")):
            runs.append(PretendRun(number, words, moment, moment))
        runs.append(PretendRun(2, "toban/nightly/20269999T180000Z/cloud-sql-db", moment, moment))
        settings = stage.settings.model_copy(update={"database_url": SecretStr(lost)})
        lines = await adopt_all(settings, stage.policy, "nightly", None)
        assert len(lines) == 2 and all("another installation has made it" in line for line in lines)
        lines = await adopt_all(settings, stage.policy, "nightly", made[0].installation)
        assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
            "adopted as B-1",
            "adopted as B-2",
        ]
        database = Database(settings.database)
        async with Store(database).read() as tx:
            found = (await tx.backups_of("nightly", 10))[::-1]
        await database.dispose()
        assert [(one.due_at, one.standing, one.size) for one in found] == [
            (one.due_at, Standing.VERIFIED, one.size) for one in (made[0], made[2])
        ]
        assert [rules.order(one, one.parts[0]).key for one in found] == [
            runs[0].description,
            runs[2].description,
        ]


async def test_21_5_who_may_not_see_the_backups_of_an_instance_is_told(
    sqlite_only: str, tmp_path: Path
) -> None:
    """An empty list would say that nothing is left."""
    async with team(sqlite_only, everything(parts=(SQL,), drill=None)) as (stage, _):
        stage.cloud.faults.add(permission(), method="SqlListBackupRuns", count=FOREVER)
        with pytest.raises(Outage, match=r"^permission: sqladmin"):
            await adopt_all(stage.settings, stage.policy, "nightly", None)
