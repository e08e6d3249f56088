"""Issue 21, 14: a second destination for a plan, folder or bucket: a broken one never costs the night."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import restoring
from bot.adopting import adopt_all
from bot.restoring import Wish
from domain import backing as rules
from domain.backup_plans import BackupPlan, Backups, Part, Source
from domain.backups import Backup
from domain.drills import DrillState
from domain.errors import Outage
from domain.retention import Retention, Standing
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.faults import FOREVER
from sandbox.cloud.wire import Wire
from sandbox.stage import Stage
from storage import folder_vault
from tests.conftest import make_policy
from tests.databases import new_sqlite
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.dying import Dying, Reaper
from tests.flows.looking import alert_cards, twice, unsent
from tests.flows.test_backups_encrypted import WRITER
from tests.flows.test_backups_hang import Hanging
from tests.flows.test_backups_killed import deadly
from tests.flows.test_restoring import restore
from tests.sampling import ALL

BUCKET = "bondpoint-backups"
FOLDER, ABOVE = "folder", f"gs://{BUCKET}/prod"
VERIFIED = Standing.VERIFIED


def both(first: str | Path, second: str | Path, **changes: Any) -> tuple[BackupPlan, BackupPlan]:
    """The nightly plan, and the one of its second destination."""
    plan = nightly(Path(first), **({"destination": str(first)} | changes))
    return plan, plan.also_at(str(second))


async def pair(stage: Stage, plan: str = "nightly") -> tuple[Backup, Backup]:
    """The newest backup at each destination."""
    return (await backups(stage, plan))[-1], (await backups(stage, f"{plan}-also"))[-1]


async def standings(stage: Stage) -> list[Standing]:
    return [one.standing for one in await pair(stage)]


def at_of(backup: Backup) -> Any:
    """When the dump was made, to the microsecond: no two dumps have one moment."""
    (part,) = backup.parts
    assert part.evidence is not None
    return part.evidence.at


def told(folder: Path) -> dict[str, Any]:
    """What the newest copy in a folder says of itself."""
    newest = max(folder.rglob("manifest.json"), key=lambda one: one.parts[-3])
    return dict(json.loads(newest.read_text()))


@asynccontextmanager
async def stored() -> AsyncIterator[PretendStorage]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    await storage.make(BUCKET)
    try:
        yield storage
    finally:
        await storage.stop()


async def in_the_bucket(storage: PretendStorage) -> tuple[dict[str, Any], bytes]:
    """The only copy's manifest, and its file."""
    manifest, file = sorted(await storage.names(BUCKET), key=lambda name: not name.endswith("manifest.json"))
    said, data = await storage.read(BUCKET, manifest), await storage.read(BUCKET, file)
    assert said is not None and data is not None
    return dict(json.loads(said)), data


@pytest.mark.parametrize(("first", "second"), [(FOLDER, ABOVE), (ABOVE, FOLDER)])
async def test_21_14_the_second_destination_takes_the_verified_copy_byte_for_byte(
    database_url: str, tmp_path: Path, first: str, second: str
) -> None:
    kept = tmp_path / FOLDER
    plans = both(*(str(kept) if one == FOLDER else one for one in (first, second)))
    async with (
        stored() as storage,
        backed_up(database_url, *plans, TOBAN_STORAGE_ENDPOINT=storage.url) as stage,
    ):
        await until_three(stage)
        here, there = await pair(stage)
        assert (here.standing, there.standing) == (VERIFIED, VERIFIED)
        above, data = await in_the_bucket(storage)
        (file,) = kept.rglob("toban.*")
        assert file.read_bytes() == data
        assert told(kept) | {"file": ""} == above | {"file": ""}
        assert hashlib.sha256(data).hexdigest() == above["sha256"]
        assert f"/nightly-also/{here.installation}/" in there.destination
        await stage.type("mika", "#ops", "/toban backup")
        shown = stage.told("mika")[-1]
        assert f"Second destination of nightly: {plans[1].destination}" in shown.replace("`", "")
        assert (shown.count("Newest verified"), shown.count("Size:")) == (2, 2)
        assert alert_cards(stage) == []


async def test_21_14_an_encrypted_copy_is_taken_as_it_is_without_a_key(
    sqlite_only: str, tmp_path: Path
) -> None:
    part = Part(name="toban", source=Source.TOBAN, encrypt=True)
    async with backed_up(
        sqlite_only, *both(tmp_path / "a", tmp_path / "b", parts=(part,)), **WRITER
    ) as stage:
        await until_three(stage)
        assert await standings(stage) == [VERIFIED, VERIFIED]
        files = [next((tmp_path / one).rglob("*.age")).read_bytes() for one in "ab"]
        assert files[0] == files[1]
        assert told(tmp_path / "a") == told(tmp_path / "b")
        assert "(encrypted)" in stage.card("#ops").plain


@pytest.mark.parametrize("broken", [0, 1])
async def test_21_14_one_broken_destination_never_costs_the_night_and_has_an_alert_of_its_own(
    sqlite_only: str, tmp_path: Path, broken: int
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    async with backed_up(sqlite_only, *both(*folders, expected=timedelta(minutes=6))) as stage:
        folders[broken].write_text("a file where the folder was")
        await until_three(stage, minutes=7)
        found = await pair(stage)
        assert [one.standing for one in found if one is not found[broken]] == [VERIFIED]
        (alert,) = alert_cards(stage)
        assert f"Backup {found[broken].plan} is late" in alert.plain
        place = f"second destination of nightly: {folders[1]}/nightly-also/"
        assert (place in alert.plain.replace("`", "")) is bool(broken)
        assert stage.dms("kenji")
        folders[broken].unlink()
        await stage.advance(minutes=3)
        assert await standings(stage) == [VERIFIED, VERIFIED]
        assert "Recovered" in alert_cards(stage)[-1].plain


async def test_21_14_a_first_destination_that_hangs_is_not_waited_for(
    sqlite_only: str, tmp_path: Path
) -> None:
    soon = {"expected": timedelta(minutes=10)}
    async with backed_up(sqlite_only, *both(tmp_path / "a", tmp_path / "b", **soon)) as stage:
        vault = Hanging(stage, "begin")
        stage.hangs = {"backup:B-1", "backup:B-2"}
        await until_three(stage, minutes=0.1)
        await asyncio.wait_for(vault.reached.wait(), 20)
        first, second = await pair(stage)
        stage.hangs = {f"backup:{first.number}"}
        await stage.advance(minutes=4)
        assert await standings(stage) == [Standing.RUNNING, Standing.RUNNING]
        card = next(one for one in stage.channel("#ops") if "nightly-also" in one.plain)
        assert "takes the verified copy of nightly" in card.plain
        await stage.advance(minutes=2)
        assert await standings(stage) == [Standing.RUNNING, VERIFIED], "half of what is expected has passed"
        assert alert_cards(stage) == []
        vault.go.set()
        vault.hangs, stage.hangs = False, ()
        await stage.advance(minutes=1)
        first, second = await pair(stage)
        assert first.standing is VERIFIED and at_of(first) != at_of(second), "each made its own"


KEEP = Retention(daily=1, weekly=0, monthly=0, verified=1)


async def test_21_14_each_destination_has_its_retention_and_both_go_on_under_another_name(
    sqlite_only: str, tmp_path: Path
) -> None:
    plan, second = both(tmp_path / "a", tmp_path / "b", keep=KEEP, deletes=True)
    async with backed_up(sqlite_only, plan, second) as stage:
        await until_three(stage)
        await until_three(stage)
        await stage.crash()
        stage.clock.push(timedelta(days=2))
        await stage.start()
        await stage.advance(minutes=2)
        for name in ("nightly", "nightly-also"):
            found = await backups(stage, name)
            assert [one.standing for one in found] == [VERIFIED, VERIFIED, Standing.MISSED, VERIFIED], name
            assert [one.removed_at is None for one in found] == [False, True, True, True], name
        named = plan.model_copy(update={"name": "every-night", "formerly": ("nightly",)})
        plans = (named, named.also_at(str(tmp_path / "b")))
        stage.policy = make_policy(backups=Backups(plans=plans), services=())
        stage.bot.policies.replace(stage.policy)
        await until_three(stage, minutes=5)
        for name in ("nightly", "nightly-also"):
            assert await backups(stage, name) == []
        first, other = await backups(stage, "every-night"), await backups(stage, "every-night-also")
        for found, folder in ((first, "a"), (other, "b")):
            assert [one.removed_at is None for one in found] == [False, False, True, True, True], folder
            assert len(list((tmp_path / folder).rglob("manifest.json"))) == 2
        assert at_of(first[-1]) == at_of(other[-1]), "it is taken under the new name as well"
        stage.policy = make_policy(backups=Backups(plans=(named,)), services=())
        stage.bot.policies.replace(stage.policy)
        await stage.advance(minutes=1)
        assert "plan every-night-also is not in the policy any more" in stage.channel("#ops")[-1].plain


async def test_21_14_a_backup_that_somebody_asks_for_lies_at_both_and_each_can_be_asked_alone(
    database_url: str, tmp_path: Path, postgres: str
) -> None:
    plans = both(tmp_path / "a", tmp_path / "b")
    async with backed_up(database_url, *plans, TOBAN_DRILL_DATABASE_URL=postgres) as stage:
        await stage.type("mika", "#ops", "/toban backup run nightly")
        await stage.advance(minutes=1)
        first, second = await pair(stage)
        assert (first.standing, second.standing) == (VERIFIED, VERIFIED)
        assert first.due_at == second.due_at and at_of(first) == at_of(second)
        await stage.type("mika", "#ops", "/toban backup run nightly-also")
        await stage.advance(minutes=1)
        assert len(await backups(stage)) == 1
        assert await standings(stage) == [VERIFIED, VERIFIED]
        assert len(await backups(stage, "nightly-also")) == 2
        await stage.type("mika", "#ops", "/toban backup drill nightly-also")
        await stage.press("aya", stage.card("#ops"), "Approve Drill")
        await stage.advance(minutes=2)
        (drill,) = await drills(stage, "nightly-also")
        assert (drill.state, await drills(stage)) == (DrillState.PASSED, [])


def rot(folder: Path) -> None:
    for file in folder.rglob("toban.*"):
        data = file.read_bytes()
        file.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])


async def test_21_14_a_restore_takes_the_second_destination_where_the_first_has_nothing_good(
    database_url: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    async with backed_up(database_url, *both(first, second)) as stage:
        await until_three(stage)
        await until_three(stage)
        (older, newer) = await backups(stage)
        old, new = (f"{one.installation}/{one.due_at:%Y%m%dT%H%M%SZ}" for one in (older, newer))
        await stage.stop()
        name, *rest = database_url.split("?")
        targets = iter("?".join([f"{name}{number}", *rest]) for number in range(9))
        lines = await restoring.show(stage.settings, stage.policy, "nightly")
        assert [line.split()[0] for line in lines] == [new, new, old, old]
        assert [f"{first}/nightly/" in line for line in lines] == [True, False] * 2
        said = await restore(stage, to=next(targets))
        assert said[1] == f"It was taken from {newer.destination}/toban."
        rot(first)
        said = await restore(stage, to=next(targets), copy=old.partition("/")[2])
        assert old in said[0] and f"{second}/nightly-also/{old}" in said[1]
        assert f"the copy {old} in {older.destination}/toban is spoilt" in said[2]
        first.rename(tmp_path / "lost")
        said = await restore(stage, overwrite=True)
        assert f"{second}/nightly-also/{new}" in said[1] and "copy" not in said[2]
        rot(second)
        with pytest.raises(Outage, match="is spoilt"):
            await restore(stage, overwrite=True)
        second.rename(tmp_path / "lost-too")
        with pytest.raises(Outage, match=f"lies at {first} or {second}"):
            await restore(stage, overwrite=True)
        assert "No copy" in (await restoring.show(stage.settings, stage.policy, "nightly"))[0]
        await stage.start()


async def test_21_14_a_restore_says_which_destination_cannot_be_read(
    sqlite_only: str, tmp_path: Path
) -> None:
    """A bucket that refuses may hold newer copies: that is told beside what is restored."""
    async with stored() as storage:
        wire = Wire(storage.url)
        await wire.start()
        try:
            plans = both(ABOVE, tmp_path / "b")
            async with backed_up(sqlite_only, *plans, TOBAN_STORAGE_ENDPOINT=wire.url) as stage:
                await stage.type("mika", "#ops", "/toban backup run nightly")
                await stage.advance(minutes=1)
                assert await standings(stage) == [VERIFIED, VERIFIED]
                await stage.stop()
                wire.add("GET", count=FOREVER, status=403)
                said = await restore(stage, overwrite=True)
                assert f"{tmp_path / 'b'}/nightly-also/" in said[1]
                assert said[2].startswith(f"{ABOVE} cannot be read (")
                assert said[2].endswith("newer copies may lie there")
                await stage.start()
        finally:
            await wire.stop()


@pytest.mark.parametrize("hours", [0, 6])
async def test_21_14_what_is_restored_from_the_second_copy_finds_both_again(
    sqlite_only: str, tmp_path: Path, hours: int
) -> None:
    """In the copy both backups are on their way, and the second one has not begun."""
    async with backed_up(sqlite_only, *both(tmp_path / "a", tmp_path / "b")) as stage:
        await until_three(stage)
        before = [told(tmp_path / one) for one in "ab"]
        await stage.stop()
        said = await restoring.restore(stage.settings, stage.policy, Wish("nightly-also", overwrite=True))
        assert "of nightly-also into" in said[0]
        stage.clock.push(timedelta(hours=hours))
        await stage.start()
        await stage.advance(minutes=2)
        assert await standings(stage) == [VERIFIED, VERIFIED]
        assert [told(tmp_path / one) for one in "ab"] == before
        assert len(list(tmp_path.glob("[ab]/**/manifest.json"))) == 2


async def test_21_14_a_new_database_adopts_what_lies_at_both(sqlite_only: str, tmp_path: Path) -> None:
    plans = both(tmp_path / "a", tmp_path / "b")
    async with backed_up(sqlite_only, *plans) as stage:
        await until_three(stage)
        (backup,) = await backups(stage)
    (tmp_path / "new").mkdir()
    async with backed_up(new_sqlite(tmp_path / "new"), *plans) as stage:
        (line,) = await adopt_all(stage.settings, stage.policy, "nightly-also", backup.installation)
        assert line.startswith("nightly-also ") and "adopted as" in line
        lines = await adopt_all(stage.settings, stage.policy, "nightly", backup.installation)
        assert [line.split()[0] for line in lines] == ["nightly", "nightly-also"]
        assert "adopted as" in lines[0] and "known as" in lines[1]


CHOSEN = ("before begin", "after_prepare", "after_name", "before prove")
"""Points at which to kill: the last of each is in the second destination's copy."""


async def wrong(stage: Stage, night: int) -> list[str]:
    """What is not as it ought to be after a night with its death."""
    flaws: list[str] = []
    newest = await pair(stage)
    for one in newest:
        order = rules.order(one, one.parts[0])
        evidence = await stage.bot.world.vaults[Source.TOBAN].prove(order, order.key)
        flaws += [finding.flaw.value for finding in evidence.findings]
        names = sorted(file.name for file in Path(order.destination).iterdir())
        if names != ["manifest.json", folder_vault.NAMES[True]]:
            flaws.append(f"{one.number} has {names}")
        if one.standing is not VERIFIED or one.look_at is not None or one.lease_until is not None:
            flaws.append(f"{one.number} is {one.standing}")
    cards = len(stage.channel("#ops"))
    if newest[0].due_at != newest[1].due_at or cards != 2 * night:
        flaws.append(f"{cards} cards after {night} nights")
    return [*flaws, *(one.plain for one in alert_cards(stage)), *twice(stage), *await unsent(stage)]


@pytest.mark.timeout(3600 if ALL else 300)
async def test_21_14_a_death_at_any_point_leaves_one_whole_copy_at_each_destination(
    sqlite_only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app.DRAIN", 0.01)
    reaper = Reaper(over=True)
    async with backed_up(sqlite_only, *both(tmp_path / "a", tmp_path / "b"), start=False) as stage:
        deadly(stage, reaper, monkeypatch)
        life = Dying(stage, reaper)
        night = 0

        async def pass_one(*kills: int) -> list[str]:
            nonlocal night
            await life.until(hours=16 + 24 * night, minutes=30)
            reaper.kills, reaper.over = frozenset(kills), False
            reaper.seen.clear()
            reaper.happened.clear()
            await life.until(hours=17 + 24 * night, minutes=20)
            reaper.over = True
            night += 1
            return await wrong(stage, night)

        assert await pass_one() == []
        assert told(tmp_path / "a") == told(tmp_path / "b")
        seen = list(reaper.seen)
        points = [[number for number, name in enumerate(seen, 1) if name == wanted][-1] for wanted in CHOSEN]
        for kill in range(1, len(seen) - 2) if ALL else points:
            assert await pass_one(kill) == [], f"killed at {reaper.happened}"
            assert reaper.happened
