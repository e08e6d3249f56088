"""Issue 21, 14: nights with encrypted backups: verified, drilled, restored, and without their key."""

from pathlib import Path
from typing import Any

import pytest

from bot.adopting import adopt_all
from domain.backup_plans import BackupPlan, Backups, Part, Source
from domain.backups import Backup
from domain.drills import DrillState
from domain.errors import Outage
from domain.evidence import Doubt
from domain.retention import Standing
from sandbox.stage import Stage
from storage.encryption import new_pair
from tests.bot.test_backup_policy import TEAM, plan
from tests.databases import new_sqlite
from tests.flows.backing import backed_up, backups, command, drills, nightly, until_three
from tests.flows.looking import alert_cards
from tests.flows.test_backups_of_everything import team
from tests.flows.test_drills import agreed, leftovers, place, rule, second_server  # noqa: F401 - fixtures.
from tests.flows.test_restoring import restore

PUBLIC, PRIVATE = new_pair()
OTHER_PUBLIC, OTHER_PRIVATE = new_pair()
WRITER = {"TOBAN_BACKUP_AGE_RECIPIENTS": PUBLIC}
BOTH = WRITER | {"TOBAN_BACKUP_AGE_IDENTITIES": PRIVATE}


def sealed(folder: Path | str, **changes: Any) -> BackupPlan:
    """The nightly plan, encrypted."""
    part = Part(name="toban", source=Source.TOBAN, encrypt=True)
    return nightly(Path(folder), **({"parts": (part,), "destination": str(folder)} | changes))


def doubts(backup: Backup) -> tuple[Doubt, ...]:
    (part,) = backup.parts
    assert part.evidence is not None
    return part.evidence.doubts


def files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


async def test_21_14_a_night_with_its_key_is_verified_drilled_and_restored(
    database_url: str,
    place: dict[str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(database_url, sealed(kept, drill=rule(tmp_path)), **BOTH, **place) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        assert (backup.standing, doubts(backup)) == (Standing.VERIFIED, ())
        assert "(encrypted)" in stage.card("#ops").plain
        assert {one.name.rpartition(".")[2] for one in files(kept)} == {"json", "age"}
        await agreed(stage)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.PASSED, drill.reasons
        assert await leftovers(place.get("TOBAN_DRILL_DATABASE_URL"), tmp_path) == []
        await stage.stop()
        (said, *_) = await restore(stage, overwrite=True)
        assert "each read again" in said
        await stage.start()
        await stage.advance(minutes=2)
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED]


async def test_21_14_without_its_key_the_card_says_so_a_drill_names_the_key_and_nothing_is_restored(
    database_url: str,
    place: dict[str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(database_url, sealed(kept, drill=rule(tmp_path)), **WRITER, **place) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        assert (backup.standing, doubts(backup)) == (Standing.VERIFIED, (Doubt.LOCKED,))
        assert "no key on this machine opens it" in stage.card("#ops").plain
        await agreed(stage)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.FAILED
        card = stage.channel("#ops")[-1].plain
        assert f"encrypted for {PUBLIC}" in card and "TOBAN_BACKUP_AGE_IDENTITIES" in card
        assert (await backups(stage))[0].standing is Standing.VERIFIED, "the place lacks a key"
        await stage.stop()
        with pytest.raises(Outage, match=f"encrypted for {PUBLIC}; no key here opens it"):
            await restore(stage, overwrite=True)
        await stage.start()


async def test_21_14_in_a_bucket_the_copy_is_encrypted_read_back_and_restored(database_url: str) -> None:
    destination = "gs://bondpoint-backups/prod"
    async with team(database_url, sealed(destination), **BOTH) as (stage, storage):
        await until_three(stage)
        (backup,) = await backups(stage)
        assert (backup.standing, doubts(backup)) == (Standing.VERIFIED, ())
        names = await storage.names("bondpoint-backups")
        assert any(name.endswith(".age") for name in names)
        await stage.stop()
        (said, *_) = await restore(stage, overwrite=True)
        assert "each read again" in said
        await stage.start()


async def test_21_14_a_plan_that_is_switched_on_later_keeps_its_plain_copies(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(kept), **BOTH) as stage:
        await until_three(stage)
        later = stage.policy.model_copy(update={"backups": Backups(plans=(sealed(kept),))})
        stage.bot.policies.replace(later)
        await until_three(stage)
        found = await backups(stage)
        assert [one.standing for one in found] == [Standing.VERIFIED] * 2
        assert [one.suffix for one in files(kept) if one.stem != "manifest"] == [".sqlite3", ".age"]
        await stage.stop()
        for number, one in enumerate(found):
            target = tmp_path / f"{number}.db"
            await restore(stage, copy=f"{one.due_at:%Y%m%dT%H%M%SZ}", to=str(target))
            assert target.read_bytes().startswith(b"SQLite format 3")
        await stage.start()


async def read_again(stage: Stage) -> Backup:
    """What the nightly job asks for the only backup."""
    (backup,) = await backups(stage)
    async with stage.bot.store() as tx:
        await tx.save_backup(backup.model_copy(update={"look_at": stage.clock.now()}))
    await stage.advance(minutes=1)
    (backup,) = await backups(stage)
    return backup


async def test_21_14_reading_again_without_a_key_finds_rot_and_takes_no_missing_key_for_it(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, sealed(tmp_path / "kept"), **WRITER) as stage:
        await until_three(stage)
        backup = await read_again(stage)
        assert (backup.standing, backup.read_at is not None) == (Standing.VERIFIED, True)
        (file,) = (tmp_path / "kept").rglob("*.age")
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        assert (await read_again(stage)).standing is Standing.FAILED
        assert "rotted" in alert_cards(stage)[-1].plain


async def test_21_14_without_a_recipient_nothing_is_copied_in_clear_and_the_alert_says_why(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, sealed(kept)) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.FAILED
        assert files(kept) == []
        (alert,) = alert_cards(stage)
        assert "TOBAN_BACKUP_AGE_RECIPIENTS is not set" in alert.plain


async def test_21_14_an_encrypted_copy_is_adopted_by_whoever_can_open_it(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, sealed(kept), **BOTH) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
    (tmp_path / "new").mkdir()
    url = new_sqlite(tmp_path / "new")
    async with backed_up(url, sealed(kept), **WRITER) as stage:
        (line,) = await adopt_all(stage.settings, stage.policy, None, backup.installation)
        assert "left: toban is encrypted, and no key here opens it" in line
    async with backed_up(url, sealed(kept), **BOTH) as stage:
        (line,) = await adopt_all(stage.settings, stage.policy, None, backup.installation)
        assert "adopted as B-1" in line


async def test_21_14_the_commands_say_which_key_is_missing_and_leave_with_2(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, sealed(kept), **WRITER) as stage:
        await until_three(stage)
    (tmp_path / "toban.yaml").write_text(TEAM + plan(to=str(kept), encrypt="true"))
    new = tmp_path / "new.db"
    environ = {"TOBAN_DATABASE_URL": f"sqlite:///{new}", "TOBAN_POLICY": str(tmp_path / "toban.yaml")}

    code, said = await command(environ, "restore", "nightly")
    assert (code, new.exists()) == (2, False)
    assert f"encrypted for {PUBLIC}; no key here opens it: set TOBAN_BACKUP_AGE_IDENTITIES" in said
    code, said = await command(environ, "restore", "nightly", "--list")
    assert code == 0 and f"encrypted for {PUBLIC}, whose key is not here" in said
    code, said = await command(environ | {"TOBAN_BACKUP_AGE_IDENTITIES": OTHER_PRIVATE}, "restore", "nightly")
    assert code == 2 and f"encrypted for {PUBLIC}" in said and OTHER_PRIVATE not in said
    key = tmp_path / "key.txt"
    key.write_text(f"# created: today\n# public key: {PUBLIC}\n{PRIVATE}\n")
    more = {"TOBAN_BACKUP_AGE_IDENTITIES_FILE": str(key)}
    code, said = await command(environ | more, "restore", "nightly")
    assert code == 0 and "each read again" in said and PRIVATE not in said
