"""What goes wrong with a folder of copies, its tools and the clock: red, and nothing old is touched."""

import json
import shutil
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain import backing as rules
from domain.backup_plans import Backups, Source
from domain.backups import Backup, Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.retention import Retention, Standing
from domain.schedule import Cron
from sandbox.stage import Stage
from storage.copies import Copies
from storage.folder_vault import FolderVault
from tests.conftest import make_policy
from tests.databases import migrated_postgres
from tests.flows.backing import backed_up, backups, nightly, tools, until_three
from tests.flows.looking import alert_cards, twice, unsent
from tests.full_disk import full_at

KEEP = Retention(daily=1, weekly=0, monthly=0, verified=1)
"""So that every night announces that of the night before, and the next one deletes it."""

ROOM = 16_384
"""Bytes to which a file may grow on a disk that is full: a part of any copy."""


class Troubled:
    """The real vault on a disk that can be full, or lose a manifest between two looks."""

    def __init__(self, stage: Stage) -> None:
        self.real: Any = stage.bot.world.vaults[Source.TOBAN]
        self.is_full = False
        self.loses = 0
        # The world is frozen for the program, not for whoever breaks its disk.
        object.__setattr__(stage.bot.world, "vaults", {Source.TOBAN: self})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def begin(self, order: Order) -> Began | Broke:
        """No file grows beyond the room there is, neither of this process nor of the tools that it starts."""
        with full_at(ROOM) if self.is_full else nullcontext():
            answer: Began | Broke = await self.real.begin(order)
        return answer

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        if self.loses:
            self.loses -= 1
            Path(order.destination, "manifest.json").unlink()
        answer: Going | Finished | Broke = await self.real.look(order, operation)
        return answer


async def standings(stage: Stage) -> list[Standing]:
    return [one.standing for one in await backups(stage)]


async def until_now(stage: Stage) -> list[Backup]:
    """Those whose moment has come by the clock that is right."""
    return [one for one in await backups(stage) if one.due_at <= stage.clock.now()]


def files(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def notes(stage: Stage) -> list[str]:
    return [note.plain for card in stage.channel("#ops") for note in stage.thread(card)]


async def heard(stage: Stage) -> None:
    """Somebody answers, or a day of pages follows, which takes a test long."""
    await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")


async def ends_in_red(stage: Stage, why: str) -> None:
    """The night that fails is late, pages, and is given up with its reason on its card."""
    await until_three(stage, minutes=10)
    assert alert_cards(stage) == [], "it is tried again until it is late"
    assert why in stage.card("#ops").plain
    await stage.advance(minutes=25)
    assert "Backup nightly is late" in alert_cards(stage)[-1].plain
    assert stage.dms("kenji")
    await heard(stage)
    await stage.advance(hours=2)
    assert (await standings(stage))[-1] is Standing.FAILED
    card = stage.card("#ops").plain
    assert "failed" in card and why in card


async def recovers(stage: Stage) -> None:
    """The next night is verified, and ends the alert."""
    await until_three(stage)
    assert (await standings(stage))[-1] is Standing.VERIFIED
    assert "Recovered" in alert_cards(stage)[-1].plain
    assert len(alert_cards(stage)) == 1


# The disk.


async def test_a_disk_that_is_full_for_a_while_costs_nothing(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with backed_up(database_url, nightly(folder)) as stage:
        disk = Troubled(stage)
        disk.is_full = True
        await until_three(stage, minutes=10)
        assert await standings(stage) == [Standing.RUNNING]
        assert files(folder) == {}, "half a copy does not take what room there is"
        disk.is_full = False
        await stage.advance(minutes=2)
        assert await standings(stage) == [Standing.VERIFIED]
        assert alert_cards(stage) == []
        assert len(stage.channel("#ops")) == 1


async def test_seed_defect_75_on_a_red_night_nothing_goes_that_was_announced(
    sqlite_only: str, tmp_path: Path
) -> None:
    """The draft deleted old copies though the new one had come to nothing."""
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder, keep=KEEP, deletes=True)) as stage:
        disk = Troubled(stage)
        for _ in range(2):
            await until_three(stage)
        before = files(folder)
        assert [one.marked_at is not None for one in await backups(stage)] == [True, False]
        disk.is_full = True
        await ends_in_red(stage, "SQLite copy:")
        assert files(folder) == before
        disk.is_full = False
        await recovers(stage)
        assert [one.removed_at is not None for one in await backups(stage)] == [True, False, False, False]


async def test_a_disk_that_is_gone_for_a_night_comes_back_with_all_that_it_held(
    sqlite_only: str, tmp_path: Path
) -> None:
    disk, unplugged, folder = tmp_path / "disk", tmp_path / "unplugged", tmp_path / "kept"
    disk.mkdir()
    folder.symlink_to(disk)
    async with backed_up(sqlite_only, nightly(folder)) as stage:
        await until_three(stage)
        before = files(disk)
        disk.rename(unplugged)
        await ends_in_red(stage, "backup folder:")
        assert not disk.exists(), "nothing was written where the disk ought to be"
        unplugged.rename(disk)
        assert files(disk) == before
        await recovers(stage)
        assert {name: files(disk)[name] for name in before} == before


async def test_a_copy_whose_manifest_is_gone_is_made_anew_beside_it(sqlite_only: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder, keep=KEEP, deletes=True)) as stage:
        Troubled(stage).loses = 1
        await until_three(stage)
        assert await standings(stage) == [Standing.VERIFIED]
        (manifest,) = folder.rglob("manifest.json")
        assert manifest.parent.name == "toban-2"
        assert alert_cards(stage) == []
        for _ in range(2):
            await until_three(stage)
        assert not manifest.parents[1].exists(), "what is deleted goes with all of its attempts"


async def test_a_copy_whose_manifest_is_gone_twice_is_red_at_once(sqlite_only: str, tmp_path: Path) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        Troubled(stage).loses = 2
        await until_three(stage)
        assert await standings(stage) == [Standing.FAILED]
        assert "its manifest is gone" in stage.card("#ops").plain
        assert "Backup nightly failed" in alert_cards(stage)[-1].plain


# The deleting.


async def test_a_copy_that_cannot_be_deleted_is_whole_still(sqlite_only: str, tmp_path: Path) -> None:
    """Else half a copy would count as a verified backup."""
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder, keep=KEEP, deletes=True)) as stage:
        await until_three(stage)
        (copy,) = folder.rglob("toban.sqlite3")
        whole = files(folder)
        aside = copy.rename(tmp_path / "aside")
        copy.mkdir()  # What is a folder cannot be unlinked, whoever we are.
        for _ in range(2):
            await until_three(stage)
        assert any("B-1 could be deleted only in part" in note for note in notes(stage))
        assert (await backups(stage))[0].removed_at is None
        assert (await backups(stage))[0].standing is Standing.FAILED, "its file is away"
        copy.rmdir()
        aside.rename(copy)
        assert {name: files(folder)[name] for name in whole} == whole
        for _ in range(2):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None
        assert not copy.parent.exists()


async def test_who_died_while_deleting_deletes_the_rest(sqlite_only: str, tmp_path: Path) -> None:
    """Whether the copy can be deleted the second time or cannot."""
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder)) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        (copy,) = folder.rglob("toban.sqlite3")
        vault = FolderVault(Copies(sqlite_only), stage.clock.now)
        order = rules.order(backup, backup.parts[0])
        (copy.parent / "manifest.json").rename(copy.parent / "manifest.json.gone")
        assert await vault.find(order) is None, "half a copy is none"
        aside = copy.rename(tmp_path / "aside")
        copy.mkdir()
        with pytest.raises(Outage, match=r"toban\.sqlite3"):
            await vault.remove(order)
        copy.rmdir()
        aside.rename(copy)
        assert (await vault.prove(order, "k")).findings == ()
        (copy.parent / "manifest.json").rename(copy.parent / "manifest.json.gone")
        await vault.remove(order)
        await vault.remove(order)
        assert list(folder.rglob("*.*")) == []


async def test_what_died_halfway_goes_with_its_backup(sqlite_only: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder, keep=KEEP, deletes=True)) as stage:
        disk = Troubled(stage)
        disk.is_full = True
        await until_three(stage, minutes=100)
        await heard(stage)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.FAILED
        left = Path(backup.destination, "toban")
        for name in ("toban.sqlite3.part", "toban.sqlite3.part-journal", "manifest.json.part"):
            (left / name).write_bytes(b"of a process that was killed")
        disk.is_full = False
        for _ in range(2):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None
        assert not left.parent.exists()


async def test_what_somebody_deleted_by_hand_is_deleted_without_a_word(
    sqlite_only: str, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder, keep=KEEP, deletes=True)) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        shutil.rmtree(backup.destination)
        for _ in range(2):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None
        assert not [note for note in notes(stage) if "could not be deleted" in note]
        assert len(list(folder.rglob("manifest.json"))) == 2


# The tools.


async def test_a_tool_that_is_missing_is_named_with_the_way_out(postgres: str, tmp_path: Path) -> None:
    folder, bin_folder = tmp_path / "kept", tmp_path / "bin"
    bin_folder.mkdir()
    url = migrated_postgres(postgres)
    async with backed_up(url, nightly(folder), TOBAN_PG_BIN=str(bin_folder)) as stage:
        await ends_in_red(stage, "pg_dump was not found: install PostgreSQL's clients")
        assert files(folder) == {}
        for name in ("pg_dump", "pg_restore"):
            (bin_folder / name).symlink_to(Path(tools(), name))
        await recovers(stage)


async def test_seed_defect_71_a_tool_that_says_it_is_done_and_wrote_nothing_is_not_believed(
    postgres: str, tmp_path: Path
) -> None:
    """The draft took the exit code of the last program for the success of all."""
    folder, bin_folder = tmp_path / "kept", tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "pg_restore").symlink_to(Path(tools(), "pg_restore"))
    (bin_folder / "pg_dump").write_text("#!/bin/sh\nexit 0\n")
    (bin_folder / "pg_dump").chmod(0o755)
    url = migrated_postgres(postgres)
    async with backed_up(url, nightly(folder), TOBAN_PG_BIN=str(bin_folder)) as stage:
        await until_three(stage)
        assert await standings(stage) == [Standing.FAILED]
        assert "toban.pgdump is empty" in stage.card("#ops").plain
        assert "Backup nightly failed" in alert_cards(stage)[-1].plain
        assert stage.dms("kenji")


async def test_seed_defect_77_while_slack_is_away_the_night_goes_on_and_is_told_later(
    sqlite_only: str, tmp_path: Path
) -> None:
    """The draft failed as a whole where only its message could not be sent."""
    folder = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(folder)) as stage:
        stage.slack.faults.down()
        await until_three(stage, minutes=5)
        assert await standings(stage) == [Standing.VERIFIED]
        manifest = json.loads(next(folder.rglob("manifest.json")).read_text())
        assert manifest["bytes"] == next(folder.rglob("toban.sqlite3")).stat().st_size
        assert stage.channel("#ops") == []
        stage.slack.faults.clear()
        await stage.advance(minutes=6)
        (card,) = stage.channel("#ops")
        assert "verified" in card.plain
        assert twice(stage) == {}
        assert await unsent(stage) == []


# The clock.


async def test_what_ran_when_a_clock_ahead_was_set_right_blocks_no_night(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Its next look lay days ahead, and until then nothing of its plan would have begun."""
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        await until_three(stage)
        stage.clock.push(timedelta(days=5))
        Troubled(stage).is_full = True
        await stage.advance(minutes=1)
        assert (await standings(stage))[-1] is Standing.RUNNING
        await stage.crash()
        stage.clock.push(timedelta(days=-5))
        await stage.start()
        await until_three(stage)
        assert [one.standing for one in await until_now(stage)] == [Standing.VERIFIED] * 2
        assert (await standings(stage))[-1] is Standing.VERIFIED


async def test_what_runs_and_fails_after_a_clock_ahead_was_set_right_is_given_up_in_time(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        await until_three(stage)
        stage.clock.push(timedelta(days=5))
        Troubled(stage).is_full = True
        await stage.advance(minutes=1)
        await stage.crash()
        stage.clock.push(timedelta(days=-5))
        await stage.start()
        Troubled(stage).is_full = True
        await stage.advance(hours=2)
        assert (await standings(stage))[-1] is Standing.FAILED
        assert "nightly" in alert_cards(stage)[-1].plain
        assert "Firing" in alert_cards(stage)[-1].plain or "Open" in alert_cards(stage)[-1].plain


async def test_a_plan_that_a_clock_ahead_has_met_first_begins_when_it_is_right(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path), start=False) as stage:
        stage.clock.push(timedelta(days=5))
        await stage.start()
        await stage.settle()
        await stage.crash()
        stage.clock.push(timedelta(days=-5))
        await stage.start()
        await until_three(stage)
        assert await standings(stage) == [Standing.VERIFIED]


async def test_who_asks_after_a_clock_ahead_was_set_right_gets_a_backup_of_now(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        stage.clock.push(timedelta(days=5))
        await until_three(stage)
        await stage.crash()
        stage.clock.push(timedelta(days=-5))
        await stage.start()
        await stage.type("mika", "#ops", "/toban backup run nightly")
        await stage.advance(minutes=1)
        (asked,) = await until_now(stage)
        assert asked.standing is Standing.VERIFIED
        assert asked.requested_by.name == "mika"


async def test_what_a_clock_ahead_called_missed_alarms_again_when_it_then_fails(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Its first alert was over: something that was dated later had been verified."""
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        await until_three(stage)
        stage.clock.push(timedelta(days=5))
        await until_three(stage)
        assert (await standings(stage))[1] is Standing.MISSED
        await stage.crash()
        stage.clock.push(timedelta(days=-6))
        await stage.start()
        disk = Troubled(stage)
        disk.is_full = True
        await until_three(stage, minutes=120)
        failed = (await until_now(stage))[-1]
        assert failed.standing is Standing.FAILED
        assert failed.alarmed_at is not None and failed.alarmed_at <= stage.clock.now()
        assert failed.cleared_at is None
        disk.is_full = False
        await until_three(stage)
        (_, again, last) = await until_now(stage)
        assert last.standing is Standing.VERIFIED
        assert again.cleared_at is not None


async def test_a_timetable_that_changes_while_a_backup_runs_loses_no_moment(
    sqlite_only: str, tmp_path: Path
) -> None:
    """What had come up before the change is made when there is room for it."""
    often = nightly(tmp_path, schedule=Cron(line="*/20 * * * *", zone="Asia/Tokyo"))
    async with backed_up(sqlite_only, often) as stage:
        disk = Troubled(stage)
        disk.is_full = True
        await stage.advance(minutes=45)  # Of 10:20, and of 10:40, which waits.
        assert await standings(stage) == [Standing.RUNNING]
        await stage.crash()
        plan = nightly(tmp_path)
        stage.policy = make_policy(backups=Backups(plans=(plan,)), services=())
        await stage.start()
        await stage.advance(minutes=3)
        assert await standings(stage) == [Standing.VERIFIED, Standing.VERIFIED]
        minutes = [one.due_at.minute for one in await backups(stage)]
        assert minutes == [20, 40]
        await stage.advance(hours=3)
        assert len(await backups(stage)) == 2
