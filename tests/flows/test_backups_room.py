"""Issue 21, 14: how much backups take, how that grows, and a disk that is too small for the next one."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from domain.backups import Backup
from domain.drills import DrillState
from domain.retention import Standing
from sandbox.stage import Stage
from storage.space import NoRoom, demand_room
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.looking import alert_cards
from tests.flows.test_backups_encrypted import BOTH, sealed
from tests.flows.test_backups_of_everything import team
from tests.flows.test_drills import agreed, rule

MB = 1_000_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disks:
    """Each folder says of itself how much is free; all others have room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: dict[Path, int] = {}
        monkeypatch.setattr(shutil, "disk_usage", self._usage)

    def _usage(self, place: Any) -> Usage:
        found = [free for folder, free in self.free.items() if Path(place).is_relative_to(folder)]
        return Usage(10**13, 0, min(found, default=10**12))


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks(monkeypatch)


async def change(stage: Stage, number: int, **evidence: object) -> None:
    """As if a backup had been another one."""
    async with stage.bot.store() as tx:
        found = await tx.backup(number)
        assert found is not None
        (part,) = found.parts
        assert part.evidence is not None
        seen = part.evidence.model_copy(update=evidence)
        await tx.save_backup(
            found.model_copy(update={"parts": (part.model_copy(update={"evidence": seen}),)})
        )


async def aged(stage: Stage, found: Backup, days: int, **evidence: object) -> None:
    """An older backup like this one, which may be deleted by now."""
    assert found.parts[0].evidence is not None
    seen = found.parts[0].evidence.model_copy(update=evidence)
    back = timedelta(days=days)
    old = {"id": None, "due_at": found.due_at - back, "at": found.at - back, "removed_at": found.at}
    parts = (found.parts[0].model_copy(update={"evidence": seen}),)
    async with stage.bot.store() as tx:
        assert await tx.add_backup(found.model_copy(update=old | {"parts": parts})) is not None


async def told(stage: Stage, typed: str, who: str = "mika") -> str:
    await stage.type(who, "#ops", typed)
    return stage.told(who)[-1]


async def test_21_14_a_plan_says_what_it_takes_and_how_that_has_grown(
    database_url: str, tmp_path: Path, disks: Disks
) -> None:
    disks.free[tmp_path] = 50_000 * MB
    async with backed_up(database_url, nightly(tmp_path / "kept")) as stage:
        assert "Size:" not in await told(stage, "/toban backup")
        await until_three(stage)
        (first,) = await backups(stage)
        said = await told(stage, "/toban backup")
        assert "All that is kept:" in said and "backups: 1" in said and "before" not in said
        assert "Free where it is kept: 46.6 GiB" in said and "full in" not in said
        await change(stage, first.id or 0, bytes=120 << 20)
        await aged(stage, first, 7, bytes=100 << 20)
        await aged(stage, first, 31, bytes=240 << 20)
        for typed in ("/toban backup", "/toban backup history nightly"):
            said = await told(stage, typed)
            assert "Size: 120 MiB. All that is kept: 120 MiB, backups: 1" in said
            assert "20 MiB (20 %) more than a week before" in said
            assert "120 MiB (50 %) less than a month before" in said
        await change(stage, first.id or 0, bytes=(100 << 20) + 1)
        assert "as large as a week before" in await told(stage, "/toban backup")
        said = await told(stage, "/toban backup", "aya")
        assert "1 週間前と同じ大きさ" in said and "保存先の空き容量：46.6 GiB" in said


async def test_21_14_a_disk_that_fills_up_is_told_before_it_is_full(
    sqlite_only: str, tmp_path: Path, disks: Disks
) -> None:
    disks.free[tmp_path] = 10_000 * MB
    async with backed_up(sqlite_only, nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        for days in (7, 14, 21):
            await aged(stage, first, days, free=(10_000 + 100 * days) * MB)
        said = await told(stage, "/toban backup")
        assert "that disk is full in about 100 days" in said and ":warning: Free" not in said
        assert "full in" not in stage.channel("#ops")[0].plain, "quiet while there is time"
        disks.free[tmp_path] = 1_900 * MB
        for one in await backups(stage):
            if one.removed_at is not None:
                days = (first.due_at - one.due_at).days
                await change(stage, one.id or 0, free=(2_000 + 100 * days) * MB)
        await change(stage, first.id or 0, free=2_000 * MB)
        await until_three(stage)
        card = stage.channel("#ops")[-1].plain
        assert ":warning: Free where it is kept: 1.77 GiB" in card and "full in about 19 days" in card
        assert ":warning: Free" in await told(stage, "/toban backup")
        assert [one.standing for one in await backups(stage) if one.removed_at is None] == [
            Standing.VERIFIED
        ] * 2


@pytest.mark.parametrize("encrypt", [False, True], ids=["plain", "encrypted"])
async def test_21_14_a_copy_without_room_is_not_begun_and_is_told_with_figures(
    database_url: str, tmp_path: Path, disks: Disks, *, encrypt: bool
) -> None:
    kept = tmp_path / "kept"
    plan = sealed(kept) if encrypt else nightly(kept)
    async with backed_up(database_url, plan, **(BOTH if encrypt else {})) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        before = sorted(kept.rglob("*"))
        await change(stage, first.id or 0, bytes=100 * MB)
        disks.free[tmp_path] = 150 * MB
        await until_three(stage)
        second = (await backups(stage))[-1]
        assert second.standing is Standing.FAILED
        (alert,) = alert_cards(stage)
        # 1.2 times the last one and a reserve; what is encrypted is on the same disk in clear meanwhile.
        needed = 307 if encrypt else 187
        assert f"has 150 MB free, and {needed} MB are needed" in alert.plain
        assert "has 150 MB free" in stage.channel("#ops")[-1].plain
        assert sorted(kept.rglob("*")) == before, "nothing was begun"
        del disks.free[tmp_path]
        await stage.press("mika", stage.channel("#ops")[-1], "Back Up Again")
        await stage.advance(minutes=1)
        assert "Recovered" in alert_cards(stage)[-1].plain


async def test_21_14_the_folder_for_temporary_files_needs_room_too(
    sqlite_only: str, tmp_path: Path, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket's copy is made there, and an encrypted one is there once more in clear."""
    import tempfile

    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(aside))
    async with team(sqlite_only, sealed("gs://bondpoint-backups/prod"), **BOTH) as (stage, storage):
        await until_three(stage)
        (first,) = await backups(stage)
        await change(stage, first.id or 0, bytes=100 * MB)
        disks.free[aside] = 280 * MB
        names = await storage.names("bondpoint-backups")
        await until_three(stage)
        assert (await backups(stage))[-1].standing is Standing.FAILED
        assert "has 280 MB free, and 307 MB are needed" in alert_cards(stage)[0].plain
        assert await storage.names("bondpoint-backups") == names
        assert list(aside.iterdir()) == []


async def test_21_14_a_drill_without_room_blames_the_place(
    sqlite_only: str, tmp_path: Path, disks: Disks
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path / "kept", drill=rule(tmp_path))) as stage:
        await until_three(stage)
        disks.free[tmp_path / "scratch"] = disks.free[tmp_path] = 60 * MB
        await agreed(stage)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.FAILED
        assert "has 60 MB free" in stage.channel("#ops")[-1].plain
        assert (await backups(stage))[0].standing is Standing.VERIFIED
        assert not list(tmp_path.rglob("toban_drill_*"))


def test_21_14_two_needs_on_one_disk_are_added_up(tmp_path: Path, disks: Disks) -> None:
    disks.free[tmp_path] = 300 * MB
    needs = [(tmp_path / name / "not there yet", 120 * MB) for name in "ab"]
    demand_room(needs[:1])
    with pytest.raises(NoRoom, match="has 300 MB free, and 307 MB are needed"):
        demand_room(needs)
