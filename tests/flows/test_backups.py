"""Nights with backups: verified, spoilt, missed, looked at, and deleted when newer ones are proven."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from domain.retention import Retention, Standing
from sandbox.stage import Stage
from tests.databases import migrated_postgres
from tests.flows.backing import backed_up, backups, nightly, until_three
from tests.flows.destinations import EVERYWHERE, Destination
from tests.flows.looking import alert_cards


def files(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob("*") if one.is_file())


def copy_of(folder: Path) -> Path:
    """The newest copy's own file."""
    return max(one for one in folder.rglob("toban.*") if one.is_file())


async def standings(stage: Stage) -> list[Standing]:
    return [one.standing for one in await backups(stage)]


async def test_a_night_ends_with_a_verified_backup_on_one_card(database_url: str, tmp_path: Path) -> None:
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.VERIFIED
        (card,) = stage.channel("#ops")
        assert "Backup B-1 of nightly: verified" in card.plain
        assert "records" in card.plain
        assert alert_cards(stage) == []
        kept = files(tmp_path / "kept")
        assert kept[0] == "manifest.json" and len(kept) == 2
        manifest = json.loads(next((tmp_path / "kept").rglob("manifest.json")).read_text())
        assert {"alembic_version", "backup", "inbox", "timeline"} <= {
            one["name"] for one in manifest["tables"]
        }
        await stage.advance(hours=2)
        assert len(stage.channel("#ops")) == 1


async def test_who_is_killed_in_the_night_makes_it_up_and_says_that_it_was_late(
    database_url: str, tmp_path: Path
) -> None:
    async with backed_up(database_url, nightly(tmp_path)) as stage:
        await until_three(stage)
        await stage.crash()
        stage.clock.push(timedelta(days=3, hours=2))  # Three nights later, at five.
        await stage.start()
        await stage.advance(minutes=3)
        assert await standings(stage) == [
            Standing.VERIFIED,
            Standing.MISSED,
            Standing.MISSED,
            Standing.VERIFIED,
        ]
        (alert,) = alert_cards(stage)
        assert "verified again" in alert.plain or "Recovered" in alert.plain
        lost = [one for one in await backups(stage) if one.standing is Standing.MISSED]
        assert all(one.alarmed_at and one.cleared_at for one in lost)
        assert len(stage.channel("#ops")) == 2


async def test_what_cannot_be_made_is_red_alarms_and_leaves_the_old_ones_alone(
    database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    async with backed_up(database_url, nightly(folder)) as stage:
        await until_three(stage)
        before = files(folder)
        shutil.move(folder / "nightly", folder / "aside")
        (folder / "nightly").write_text("a file where the folder was")
        await until_three(stage, minutes=10)
        assert alert_cards(stage) == [], "it is tried again until it is late"
        await stage.advance(minutes=25)
        (alert,) = alert_cards(stage)
        assert "nightly" in alert.plain and "late" in alert.plain
        assert stage.dms("kenji")
        await stage.advance(hours=2)
        assert (await standings(stage))[-1] is Standing.FAILED
        card = stage.channel("#ops")[-1]
        assert "failed" in card.plain and "Not a directory" in card.plain
        (folder / "nightly").unlink()
        shutil.move(folder / "aside", folder / "nightly")
        assert files(folder) == before
        await stage.press("kenji", card, "Back Up Again")
        await stage.advance(minutes=1)
        assert (await standings(stage))[-1] is Standing.VERIFIED
        assert "Recovered" in alert_cards(stage)[-1].plain


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("truncate", "bytes instead of"),
        ("flip", "checksum"),
        ("empty", "is empty"),
        ("missing", "is missing"),
        ("unfinished", "does not say that the copy was finished"),
    ],
)
async def test_a_spoilt_copy_is_red_at_once_and_says_why(
    sqlite_only: str, tmp_path: Path, harm: str, said: str
) -> None:
    """Between the copying and the reading somebody, or the disk, spoils it.

    Seed defect 76: the draft looked whether a file is listed. Seed defect 77: it told nobody of a failure.
    """
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        old = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
        vault = next(iter(stage.bot.world.vaults.values()))
        look = vault.look

        async def spoilt(order, operation):
            answer = await look(order, operation)
            file = copy_of(Path(order.destination))
            whole = file.read_bytes()
            match harm:
                case "truncate":
                    file.write_bytes(whole[:-100])
                case "flip":
                    file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
                case "empty":
                    file.write_bytes(b"")
                case "missing":
                    file.unlink()
                case "unfinished":
                    (file.parent / "manifest.json").unlink()
            return answer

        vault.look = spoilt
        await until_three(stage)
        assert (await standings(stage))[-1] is Standing.FAILED
        assert said in stage.channel("#ops")[-1].plain
        (alert,) = alert_cards(stage)
        assert "Backup nightly failed" in alert.plain
        assert stage.dms("kenji")
        assert {path: path.read_bytes() for path in old} == old


async def test_an_unusual_size_waits_for_a_person(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path, sizes={"low": 0.5, "high": 1.5})
    async with backed_up(sqlite_only, plan) as stage:
        for _ in range(3):
            await until_three(stage)
        async with stage.bot.store() as tx:
            rows = [{"n": number, "filler": "x" * 400} for number in range(2000)]
            from sqlalchemy import text

            await tx.connection.execute(text("CREATE TABLE extra (n INTEGER, filler TEXT)"))
            await tx.connection.execute(text("INSERT INTO extra VALUES (:n, :filler)"), rows)
        await until_three(stage)
        assert (await standings(stage))[-1] is Standing.SUSPICIOUS
        card = stage.channel("#ops")[-1]
        assert "unusually large" in card.plain
        (alert,) = alert_cards(stage)
        assert "Warning" in alert.plain and stage.dms("kenji") == []
        await stage.press("mika", card, "Accept as Verified")
        await stage.advance(seconds=30)
        assert (await standings(stage))[-1] is Standing.VERIFIED
        assert "accepted by mika" in stage.channel("#ops")[-1].plain
        assert "Recovered" in alert_cards(stage)[-1].plain
        await stage.type("dan", "#ops", "/toban backup accept B-4")
        assert "not suspicious" in stage.told("dan")[-1]


@EVERYWHERE
async def test_21_8_rows_that_are_gone_are_suspicious_though_the_file_is_as_large(
    database_url: str, destination: Destination
) -> None:
    """20,018 rows became 22 in a file of the same size. What a person accepts is the measure from then on."""
    from sqlalchemy import text

    async with backed_up(database_url, nightly(destination.to), **destination.environ) as stage:
        async with stage.bot.store() as tx:
            await tx.connection.execute(text("CREATE TABLE extra (n INTEGER)"))
            rows = [{"n": number} for number in range(20_000)]
            await tx.connection.execute(text("INSERT INTO extra VALUES (:n)"), rows)
        for _ in range(3):
            await until_three(stage)
        assert set(await standings(stage)) == {Standing.VERIFIED}
        assert "the newest of" in stage.channel("#ops")[-1].plain
        async with stage.bot.store() as tx:
            await tx.connection.execute(text("DELETE FROM extra WHERE n > 3"))
        await until_three(stage)
        assert (await standings(stage))[-1] is Standing.SUSPICIOUS
        card = stage.channel("#ops")[-1]
        assert "extra holds 4 records, usually about 20,000" in card.plain
        assert "unusually few records" in card.plain
        assert stage.dms("kenji") == []
        await stage.press("mika", card, "Accept as Verified")
        for _ in range(2):
            await until_three(stage)
        assert (await standings(stage))[-2:] == [Standing.VERIFIED] * 2


async def test_what_nobody_accepts_pages_when_it_was_expected(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path, sizes={"low": 0.99999, "high": 1.00001})
    async with backed_up(sqlite_only, plan) as stage:
        for _ in range(10):
            await until_three(stage)
            if Standing.SUSPICIOUS in await standings(stage):
                break
        assert stage.dms("kenji") == []
        await stage.advance(minutes=31)
        assert stage.dms("kenji")


async def test_old_ones_go_only_after_a_note_and_a_later_verified_one(
    sqlite_only: str, tmp_path: Path
) -> None:
    keep = Retention(daily=2, weekly=0, monthly=0, verified=2)
    async with backed_up(sqlite_only, nightly(tmp_path, keep=keep, deletes=True)) as stage:
        for night in range(5):
            await until_three(stage)
            there = len(list(tmp_path.rglob("manifest.json")))
            assert there == min(night + 1, 3), "two, and one that is announced"
        notes = [line.plain for line in stage.thread(stage.channel("#ops")[2])]
        assert any("to be deleted after the next verified backup" in line for line in notes)
        assert any("B-1" in line for line in notes)
        assert "Deleted" in stage.channel("#ops")[0].plain


async def test_by_default_nothing_is_deleted(sqlite_only: str, tmp_path: Path) -> None:
    keep = Retention(daily=1, weekly=0, monthly=0, verified=1)
    async with backed_up(sqlite_only, nightly(tmp_path, keep=keep)) as stage:
        for _ in range(4):
            await until_three(stage)
        assert len(list(tmp_path.rglob("manifest.json"))) == 4
        notes = [line.plain for line in stage.thread(stage.channel("#ops")[1])]
        assert any("Toban does not delete them" in line for line in notes)


async def test_seed_defect_71_a_tool_that_fails_in_the_middle_is_told_and_fails_the_night(
    postgres: str, tmp_path: Path
) -> None:
    """The draft's pipeline swallowed the failure of its first program, and reported success."""
    broken = tmp_path / "bin" / "pg_dump"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho half of it\necho 'pg_dump: error: out of memory' >&2\nexit 1\n")
    broken.chmod(0o755)
    url = migrated_postgres(postgres)
    async with backed_up(url, nightly(tmp_path / "kept"), TOBAN_PG_BIN=str(broken.parent)) as stage:
        await until_three(stage, minutes=5)
        assert "out of memory" in stage.card("#ops").plain
        await stage.advance(minutes=30)
        assert "Backup nightly is late" in alert_cards(stage)[-1].plain
        assert stage.dms("kenji")
        await stage.advance(hours=2)
        assert await standings(stage) == [Standing.FAILED]
        assert files(tmp_path / "kept") == []


async def test_seed_defect_73_what_cannot_be_deleted_stays_and_is_told(
    sqlite_only: str, tmp_path: Path
) -> None:
    """The draft went on silently where a deletion was refused."""
    keep = Retention(daily=1, weekly=0, monthly=0, verified=1)
    async with backed_up(sqlite_only, nightly(tmp_path, keep=keep, deletes=True)) as stage:
        await until_three(stage)
        (first,) = tmp_path.rglob("manifest.json")
        whole = first.read_bytes()
        first.unlink()
        first.mkdir()  # What is a folder cannot be unlinked, whoever we are.
        for _ in range(2):
            await until_three(stage)
        cards = stage.channel("#ops")
        notes = [line.plain for card in cards for line in stage.thread(card)]
        assert any("B-1 could be deleted only in part" in line for line in notes)
        (kept, *_) = await backups(stage)
        assert kept.removed_at is None
        first.rmdir()
        first.write_bytes(whole)
        for _ in range(2):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None


async def test_a_clock_that_was_ahead_and_is_set_right_costs_no_night(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        await until_three(stage)
        stage.clock.push(timedelta(days=5))
        await until_three(stage)
        await stage.crash()
        stage.clock.push(timedelta(days=-6))
        await stage.start()
        await until_three(stage)
        past = [one for one in await backups(stage) if one.due_at <= stage.clock.now()]
        assert [one.standing for one in past] == [Standing.VERIFIED, Standing.VERIFIED]
        assert len(past) < len(await backups(stage)), "what the wrong clock made is there still"
        await until_three(stage)
        assert (await backups(stage))[2].standing is Standing.VERIFIED
