"""21.6: a restore by one command, and a start after it that shows the past before it pages anybody for it."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from bot import restoring
from bot.restoring import Wish
from domain.errors import Outage
from domain.retention import Standing
from sandbox.stage import Stage
from tests.bot.test_backup_policy import TEAM, plan
from tests.flows.backing import backed_up, backups, command, nightly, until_three
from tests.flows.looking import alert_cards
from tests.flows.test_backups_shared import ONE
from tests.payloads import monitoring


def trouble(number: int, **changes: str) -> dict[str, object]:
    return monitoring(f"0.{number:08x}", severity="critical", policy=f"Trouble {number}", **changes)


def paged(stage: Stage) -> int:
    """Messages that ring on somebody's telephone."""
    return sum(len(stage.dms(name)) for name in ("kenji", "aya", "mika", "dan", "yuko"))


async def six_hours_later(stage: Stage) -> None:
    """A copy is made while something fires; it is answered and over long before the database is lost."""
    await stage.advance(hours=16, minutes=59)  # 02:59 in Tokyo.
    await stage.webhook("cloud-monitoring", trouble(1))
    await until_three(stage)
    assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED]
    (card,) = alert_cards(stage)
    await stage.press("kenji", card, "Acknowledge")
    await stage.webhook("cloud-monitoring", trouble(1, state="closed"))
    await stage.advance(hours=6)
    await stage.stop()


async def restore(stage: Stage, **wish: object) -> list[str]:
    return await restoring.restore(stage.settings, stage.policy, Wish("nightly", **wish))  # type: ignore[arg-type]


async def test_21_6_after_a_restore_the_past_is_shown_and_pages_nobody_until_a_grace_has_passed(
    database_url: str, tmp_path: Path
) -> None:
    """A copy of six hours ago paged three people six times."""
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await six_hours_later(stage)
        with pytest.raises(Outage, match="--overwrite"):
            await restore(stage)
        said = await restore(stage, overwrite=True)
        assert "each read again" in said[0] and "What was there before" in said[1]
        before = paged(stage)
        await stage.start()
        await stage.advance(minutes=1)
        told = stage.channel("#ops")[-1].plain
        assert "Toban runs on a restored database" in told
        assert "Trouble 1" in told and "1 escalations" in told
        await stage.advance(minutes=28)
        assert paged(stage) == before
        await stage.advance(minutes=2)
        assert paged(stage) > before, "the grace is over, and it is open still as far as anybody knows"
        assert "is over: what is still open pages" in stage.channel("#ops")[-1].plain


async def test_21_6_what_is_new_pages_at_once_also_for_an_incident_of_the_past(
    database_url: str, tmp_path: Path
) -> None:
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await six_hours_later(stage)
        await restore(stage, overwrite=True)
        await stage.start()
        await stage.advance(minutes=5)
        before = paged(stage)
        await stage.webhook("cloud-monitoring", trouble(2))
        await stage.advance(seconds=30)
        assert paged(stage) > before


async def test_21_6_somebody_who_has_looked_ends_the_quiet(database_url: str, tmp_path: Path) -> None:
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await six_hours_later(stage)
        await restore(stage, overwrite=True)
        await stage.start()
        await stage.advance(minutes=1)
        before = paged(stage)
        await stage.type("mika", "#ops", "/toban quiet")
        assert "kept still until" in stage.told("mika")[-1]
        await stage.type("mika", "#ops", "/toban quiet end")
        await stage.advance(minutes=1)
        assert paged(stage) > before
        assert "mika has ended the quiet start" in stage.channel("#ops")[-1].plain
        await stage.type("mika", "#ops", "/toban quiet end")
        assert "not restored lately" in stage.told("mika")[-1]


async def test_21_6_what_people_resolve_meanwhile_pages_nobody_at_the_end(
    database_url: str, tmp_path: Path
) -> None:
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await six_hours_later(stage)
        await restore(stage, overwrite=True)
        await stage.start()
        await stage.advance(minutes=1)
        before = paged(stage)
        await stage.type("mika", "#incidents", "/incident resolve INC-1 it was over long ago")
        await stage.advance(hours=2)
        assert paged(stage) == before


async def test_21_6_a_restart_within_the_grace_goes_on_with_it(sqlite_only: str, tmp_path: Path) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        await six_hours_later(stage)
        await restore(stage, overwrite=True)
        await stage.start()
        await stage.advance(minutes=20)
        before = paged(stage)
        await stage.crash()
        await stage.start()
        await stage.advance(minutes=9)
        assert paged(stage) == before
        assert len([one for one in stage.channel("#ops") if "restored database" in one.plain]) == 1
        await stage.advance(minutes=2)
        assert paged(stage) > before, "it is not prolonged"


async def test_21_6_nights_that_the_old_state_does_not_know_page_nobody_at_once(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Its own watching finds out late what came in between: that is of the past, too."""
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        await stage.stop()
        await restore(stage, overwrite=True)
        stage.clock.push(timedelta(days=2, hours=3))  # Two nights lie in between.
        before = paged(stage)
        await stage.start()
        await stage.advance(minutes=25)
        assert Standing.MISSED in [one.standing for one in await backups(stage)]
        assert paged(stage) == before


async def test_21_6_as_new_it_is_another_installation(database_url: str, tmp_path: Path) -> None:
    """A stand beside the real one, made of its copy, must never delete the real one's copies."""
    async with backed_up(database_url, nightly(tmp_path / "kept", keep=ONE, deletes=True)) as stage:
        await until_three(stage)
        (old,) = await backups(stage)
        await stage.stop()
        await restore(stage, overwrite=True, as_new=True)
        await stage.start()
        for _ in range(3):
            await until_three(stage)
        found = await backups(stage)
        assert [one.standing for one in found] == [Standing.VERIFIED] * 3, "it counts none of the old one's"
        assert {one.installation for one in found}.isdisjoint({old.installation})
        assert Path(old.destination, "toban", "manifest.json").exists()
        assert [one.removed_at for one in await backups(stage, "@nightly")] == [None]


async def test_21_6_the_copy_is_named_where_it_is_not_clear(sqlite_only: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(kept)) as stage:
        await until_three(stage)
        await until_three(stage)
        (older, newer) = await backups(stage)
        await stage.stop()
        lines = await restoring.show(stage.settings, stage.policy, "nightly")
        assert [line.split()[0] for line in lines] == [
            f"{one.installation}/{one.due_at:%Y%m%dT%H%M%SZ}" for one in (newer, older)
        ]
        target = str(tmp_path / "elsewhere.db")
        (said, *_) = await restore(stage, copy=f"{older.due_at:%Y%m%dT%H%M%SZ}", to=target)
        assert f"{older.installation}/" in said
        with pytest.raises(Outage, match="no copy 20200101T000000Z lies"):
            await restore(stage, copy="20200101T000000Z")
        for manifest in sorted(kept.rglob("manifest.json"))[:1]:
            told = json.loads(manifest.read_text())
            other = kept / "nightly" / "0123456789ab" / "20261101T180000Z" / "toban"
            other.mkdir(parents=True)
            (other / "manifest.json").write_text(json.dumps(told | {"installation": "0123456789ab"}))
        with pytest.raises(Outage, match=r"several installations lie there.*--copy"):
            await restore(stage, to=target, overwrite=True)


async def test_21_6_a_spoilt_copy_is_not_restored(sqlite_only: str, tmp_path: Path) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        await stage.stop()
        (file,) = (tmp_path / "kept").rglob("toban.sqlite3")
        whole = file.read_bytes()
        file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        with pytest.raises(Outage, match="is spoilt"):
            await restore(stage, overwrite=True)
        file.unlink()
        with pytest.raises(Outage, match="is spoilt"):
            await restore(stage, overwrite=True)


async def test_21_6_after_a_restore_by_hand_the_start_is_quiet_by_a_word(
    database_url: str, tmp_path: Path
) -> None:
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        await stage.webhook("cloud-monitoring", trouble(1))
        await stage.stop()
        (said,) = await restoring.mark(stage.settings, timedelta(minutes=10))
        assert "quiet for 10 minutes" in said
        before = paged(stage)
        await stage.start()
        await stage.advance(minutes=9)
        assert "restored database" in stage.channel("#ops")[-1].plain
        assert paged(stage) == before
        await stage.advance(minutes=10)
        assert paged(stage) > before


async def test_21_6_the_command_needs_the_policy_and_the_destination_only(
    sqlite_only: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    async with backed_up(sqlite_only, nightly(kept)) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
    (tmp_path / "toban.yaml").write_text(TEAM + plan(to=str(kept)))
    new = tmp_path / "new.db"
    environ = {"TOBAN_DATABASE_URL": f"sqlite:///{new}", "TOBAN_POLICY": str(tmp_path / "toban.yaml")}

    code, said = await command(environ, "restore", "nightly", "--list")
    assert (code, said.split()[0]) == (0, f"{backup.installation}/{backup.due_at:%Y%m%dT%H%M%SZ}")
    code, said = await command(environ, "restore", "nightly")
    assert code == 0 and str(new) in said and "each read again" in said
    code, said = await command(environ, "restore", "nightly")
    assert code == 0, "nobody has run on it: the same state once more"
    code, said = await command(environ, "restore", "weekly")
    assert (code, "There are: nightly" in said) == (2, True)
    code, said = await command(environ, "backup", "adopt")
    assert code == 0 and "known as B-1" in said
    code, said = await command(environ, "quiet", "--minutes", "5")
    assert code == 0 and "quiet for 5 minutes" in said
