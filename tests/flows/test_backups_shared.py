"""Two installations with one destination, and a plan that gets another name."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from domain.backup_plans import Backups, Part, Source
from domain.backups import Began, Broke, Order
from domain.errors import Outage
from domain.retention import Retention, Standing
from gcp.buckets import Buckets
from sandbox.stage import Stage
from storage.copies import Copies
from storage.folder_vault import FolderVault
from storage.object_vault import ObjectVault, TobanVault
from tests.conftest import make_policy
from tests.databases import new_sqlite
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.destinations import BOTH, EVERYWHERE, SAMPLED, Destination
from tests.flows.looking import alert_cards
from tests.storage.test_copies import AT, filled

ONE = Retention(daily=1, weekly=0, monthly=0, verified=1)


def makers(folder: Path) -> list[str]:
    """Who made each copy, as its manifest says."""
    return sorted(json.loads(one.read_text())["installation"] for one in folder.rglob("manifest.json"))


@EVERYWHERE
async def test_21_4_two_installations_with_one_destination_leave_each_others_copies_alone(
    database_url: str, destination: Destination, tmp_path: Path
) -> None:
    """The second one took the first one's copy for its own, called it verified, and deleted it later."""
    (tmp_path / "other").mkdir()
    plan = nightly(destination.to, keep=ONE, deletes=True)
    async with backed_up(database_url, plan, **destination.environ) as stage:
        await until_three(stage)
        (ours,) = await backups(stage)
        assert ours.installation and ours.installation in ours.destination
        before = await destination.contents()
        async with backed_up(new_sqlite(tmp_path / "other"), plan, **destination.environ) as other:
            for _ in range(4):
                await until_three(other)
            theirs = await backups(other)
            assert {one.standing for one in theirs} == {Standing.VERIFIED}
            assert theirs[0].due_at == ours.due_at, "both made one for the same moment"
            assert theirs[0].removed_at is not None, "it deletes what is its own"
            assert {one.installation for one in theirs}.isdisjoint({ours.installation})
        after = await destination.contents()
        assert {name: data for name, data in after.items() if name in before} == before
        made_by = {
            json.loads(data)["installation"] for name, data in after.items() if name.endswith("manifest.json")
        }
        assert made_by == {ours.installation, theirs[0].installation}


async def test_21_4_replicas_and_restarts_are_one_installation(database_url: str, tmp_path: Path) -> None:
    async with backed_up(database_url, nightly(tmp_path)) as stage:
        await until_three(stage)
        await stage.stop()
        await stage.start()
        await until_three(stage)
        assert len({one.installation for one in await backups(stage)}) == 1
        assert len(makers(tmp_path)) == 2


async def test_21_4_rows_of_another_installation_are_neither_counted_nor_deleted(
    sqlite_only: str, destination: Destination
) -> None:
    """A database that was cloned remembers the copies of the one that it was cloned from."""
    plan = nightly(destination.to, keep=ONE, deletes=True)
    async with backed_up(sqlite_only, plan, **destination.environ) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        async with stage.bot.store() as tx:
            state = {"id": "0123456789ab", "also": []}
            await tx.connection.exec_driver_sql(
                "UPDATE watch SET state = ? WHERE kind = 'installation'", (json.dumps(state),)
            )
        for _ in range(4):
            await until_three(stage)
        (kept, *others) = await backups(stage)
        assert kept.removed_at is None
        assert f"{kept.destination}/toban/manifest.json" in [
            f"{destination.to}/{name}" for name in await destination.manifests()
        ]
        assert [one.removed_at is not None for one in others] == [True, True, False, False]
        await stage.type("mika", "#ops", "/toban backup history nightly")
        assert "made by another installation" in stage.told("mika")[-1]
        assert first.installation != others[0].installation


@BOTH
async def test_21_4_a_manifest_of_somebody_else_is_not_touched(
    sqlite_only: str, destination: Destination
) -> None:
    """Whatever names a place, its manifest says whose it is."""
    await (await filled(sqlite_only, 10)).dispose()
    copies, buckets = Copies(sqlite_only), Buckets(destination.environ.get("TOBAN_STORAGE_ENDPOINT"))
    vault = TobanVault(FolderVault(copies, lambda: AT), ObjectVault(copies, buckets, lambda: AT))
    part = Part(name="toban", source=Source.TOBAN)
    ours, theirs = (
        Order(key="toban/x", part=part, at=AT, destination=f"{destination.to}/x", installation=name)
        for name in ("ours", "theirs")
    )
    assert isinstance(await vault.begin(theirs), Began)
    before = await destination.contents()
    assert await vault.find(ours) is None
    begun = await vault.begin(ours)
    assert isinstance(begun, Broke) and "another installation (theirs)" in begun.why
    (finding,) = (await vault.prove(ours, "")).findings
    assert (finding.wanted, finding.found) == ("ours", "theirs")
    with pytest.raises(Outage, match="another installation"):
        await vault.remove(ours)
    assert await destination.contents() == before
    await vault.remove(theirs)
    assert await destination.contents() == {}
    await buckets.close()


def renamed(stage: Stage, folder: Path | str, **changes: object) -> None:
    """The plan is called otherwise from now on."""
    plan = nightly(folder, name="every-night", formerly=("nightly",), **changes)
    stage.policy = make_policy(backups=Backups(plans=(plan,)), services=())
    stage.bot.policies.replace(stage.policy)


@SAMPLED
async def test_21_4_a_renamed_plan_keeps_its_copies_and_its_moments(
    database_url: str, destination: Destination, postgres: str
) -> None:
    """A renamed plan began with nothing: its copies stayed for ever, and no missed moment was its."""
    drilled = {"drill": {"self_approval": True}, "keep": ONE, "deletes": True}
    plan = nightly(destination.to, **drilled)
    environ = destination.environ | {"TOBAN_DRILL_DATABASE_URL": postgres}
    async with backed_up(database_url, plan, **environ) as stage:
        await until_three(stage)
        await until_three(stage)
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        await stage.settle()
        await stage.crash()
        stage.clock.push(timedelta(days=2))
        await stage.start()
        renamed(stage, destination.to, **drilled)
        await stage.advance(minutes=2)
        assert await backups(stage) == []
        found = await backups(stage, "every-night")
        assert [one.standing for one in found] == [
            Standing.VERIFIED,
            Standing.VERIFIED,
            Standing.MISSED,
            Standing.VERIFIED,
        ]
        (drill,) = await drills(stage, "every-night")
        assert drill.backup_id == found[1].id
        await until_three(stage)
        await until_three(stage)
        there = [one for one in await backups(stage, "every-night") if one.removed_at is None]
        assert len(await destination.manifests()) == len(
            [one for one in there if one.standing is Standing.VERIFIED]
        )
        assert found[0].id not in {one.id for one in there}, (
            "what it made under its old name goes in its time"
        )


async def test_21_4_an_alert_of_a_renamed_plan_ends_with_its_next_verified_copy(
    sqlite_only: str, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    soon = {"expected": timedelta(minutes=5)}  # It is given up after an hour.
    async with backed_up(sqlite_only, nightly(folder, **soon)) as stage:
        folder.write_text("a file where the folder was")
        await until_three(stage, minutes=65)
        assert (await backups(stage))[0].standing is Standing.FAILED
        assert "Recovered" not in alert_cards(stage)[-1].plain
        renamed(stage, folder, **soon)
        await stage.advance(minutes=2)
        assert "Recovered" not in alert_cards(stage)[-1].plain, "nothing is better yet"
        folder.unlink()
        await until_three(stage)
        assert [one.plain for one in alert_cards(stage) if "Recovered" not in one.plain] == []
        await until_three(stage)
        found = await backups(stage, "every-night")
        assert [one.standing for one in found] == [Standing.FAILED, Standing.VERIFIED, Standing.VERIFIED]
