"""Issue 21, 10: deleting has brakes: told a day before, decided again at its moment, stopped by a word."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.backup_plans import BackupPlan, Backups, Source
from domain.backups import Order
from domain.errors import Outage
from domain.retention import NOTICE, Retention, Standing
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.flows.backing import backed_up, backups, nightly, until_three
from tests.flows.destinations import BOTH, EVERYWHERE, Bucket, Destination, Folder
from tests.flows.looking import alert_cards

FEW = Retention(daily=1, weekly=0, monthly=0, verified=1)
MANY = Retention(daily=30)


async def becomes(stage: Stage, plan: BackupPlan, *, restart: bool = False) -> None:
    """Somebody edits the policy; the bot reads it, or is killed and started again with it."""
    stage.policy = make_policy(backups=Backups(plans=(plan,)), services=())
    if restart:
        await stage.crash()
        await stage.start()
    else:
        stage.bot.policies.replace(stage.policy)


async def ran(stage: Stage, times: int) -> None:
    """Backups that somebody asks for, one a minute."""
    for _ in range(times):
        await stage.type("mika", "#ops", "/toban backup run nightly")
        await stage.advance(minutes=1)


async def there(destination: Destination) -> int:
    return len(await destination.manifests())


def notes(stage: Stage) -> list[str]:
    return [note.plain for card in stage.channel("#ops") for note in stage.thread(card)]


@EVERYWHERE
async def test_21_10_a_shorter_retention_deletes_nothing_for_a_day_whatever_is_run(
    database_url: str, destination: Destination
) -> None:
    """Two runs by hand deleted nine copies in two minutes."""
    plan = nightly(destination.to, keep=MANY, deletes=True)
    async with backed_up(database_url, plan, **destination.environ) as stage:
        for _ in range(4):
            await until_three(stage)
        await becomes(stage, plan.model_copy(update={"keep": FEW}))
        await ran(stage, 3)
        assert await there(destination) == 7
        told = await backups(stage)
        assert sum("to be deleted after the next verified backup, but not before" in n for n in notes(stage))
        await stage.advance(hours=14)
        assert await there(destination) == 7
        for _ in range(2):
            await until_three(stage)
        gone = {one.id: one.removed_at for one in await backups(stage) if one.removed_at is not None}
        assert {1, 2, 3, 4} <= gone.keys()
        for one in told:
            if one.warned_at is not None:
                at = gone[one.id]
                assert at is not None and at - one.warned_at >= NOTICE


@EVERYWHERE
async def test_21_10_deletes_false_holds_for_what_was_to_be_deleted_across_a_restart(
    database_url: str, destination: Destination
) -> None:
    plan = nightly(destination.to, keep=FEW, deletes=True)
    async with backed_up(database_url, plan, **destination.environ) as stage:
        for _ in range(2):
            await until_three(stage)
        await ran(stage, 1)
        (first, *_) = await backups(stage)
        assert first.doomed_at is not None
        await becomes(stage, plan.model_copy(update={"deletes": False}), restart=True)
        for _ in range(3):
            await until_three(stage)
        (first, *rest) = await backups(stage)
        assert (first.removed_at, first.doomed_at) == (None, None)
        assert first.marked_at is not None, "it is in the list still"
        assert await there(destination) == 1 + len(rest)
        # Allowed again, it is said again, a day before.
        await becomes(stage, plan)
        await ran(stage, 2)
        assert await there(destination) == 3 + len(rest)
        assert f"{first.number}," in "".join(note for note in notes(stage)[-2:])


async def test_21_10_what_the_policy_keeps_again_is_not_deleted(
    sqlite_only: str, destination: Destination
) -> None:
    """The decision is made again at the moment of the deletion, by the policy as it is then."""
    plan = nightly(destination.to, keep=FEW, deletes=True)
    async with backed_up(sqlite_only, plan, **destination.environ) as stage:
        for _ in range(2):
            await until_three(stage)
        await ran(stage, 1)
        assert (await backups(stage))[0].doomed_at is not None
        await becomes(stage, plan.model_copy(update={"keep": MANY}))
        await stage.advance(hours=14)  # To shortly before the next night.
        await until_three(stage)
        (first, *_) = await backups(stage)
        assert (first.removed_at, first.doomed_at, first.marked_at) == (None, None, None)
        assert await there(destination) == 3, "B-2 alone is not the last of its day"


async def test_21_10_what_was_to_go_waits_while_the_newest_is_not_verified(
    sqlite_only: str, destination: Destination
) -> None:
    plan = nightly(destination.to, keep=FEW, deletes=True)
    async with backed_up(sqlite_only, plan, **destination.environ) as stage:
        for _ in range(2):
            await until_three(stage)
        await ran(stage, 1)
        await destination.refuse()
        await until_three(stage, minutes=100)
        assert (await backups(stage))[-1].standing is Standing.FAILED
        assert [one.removed_at for one in await backups(stage)] == [None] * 4
        await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")
        await destination.allow()
        await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None


@BOTH
async def test_21_10_what_was_deleted_in_part_is_no_verified_backup(
    sqlite_only: str, destination: Destination
) -> None:
    plan = nightly(destination.to, keep=FEW, deletes=True)
    async with backed_up(sqlite_only, plan, **destination.environ) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        await destination.hold_files(of=f"{first.due_at:%Y%m%dT%H%M%SZ}")
        for _ in range(2):
            await until_three(stage)
        (first, *_) = await backups(stage)
        assert (first.removed_at, first.standing) == (None, Standing.FAILED)
        assert any("B-1 could be deleted only in part" in note for note in notes(stage))
        assert "what is left is no verified backup" in stage.channel("#ops")[0].plain


@pytest.mark.parametrize("destination", ["bucket"], indirect=True)
async def test_21_10_a_deletion_whose_answer_is_lost_is_made_once_and_told_as_done(
    sqlite_only: str, destination: Bucket
) -> None:
    plan = nightly(destination.to, keep=FEW, deletes=True)
    async with backed_up(sqlite_only, plan, **destination.environ) as stage:
        await until_three(stage)
        (first,) = await backups(stage)
        destination.wire.add("DELETE", count=2, is_lost=True)
        for _ in range(2):
            await until_three(stage)
        gone, *left = await backups(stage)
        assert gone.removed_at is not None
        assert [one.removed_at for one in left] == [None] * 2
        names = await destination.contents()
        assert not [name for name in names if f"{first.due_at:%Y%m%dT%H%M%SZ}" in name]
        assert len(names) == 2 * len(left), "a manifest and a file of each"
        assert not [note for note in notes(stage) if "could" in note]


async def test_21_10_what_is_held_stays_whole_and_verified(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path, keep=FEW, deletes=True)
    async with backed_up(sqlite_only, plan) as stage:
        vault: Any = stage.bot.world.vaults[Source.TOBAN]

        async def refused(order: Order) -> None:
            raise Outage("forbidden: a hold")

        vault.remove = refused
        for _ in range(3):
            await until_three(stage)
        (first, *_) = await backups(stage)
        assert (first.removed_at, first.standing) == (None, Standing.VERIFIED)
        assert any("B-1 could not be deleted, so it is kept" in note for note in notes(stage))


async def test_21_10_within_keeps_what_the_counts_would_let_go(sqlite_only: str, tmp_path: Path) -> None:
    keep = FEW.model_copy(update={"within": timedelta(days=3)})
    async with backed_up(sqlite_only, nightly(tmp_path, keep=keep, deletes=True)) as stage:
        for night in range(6):
            await until_three(stage)
            assert await there(Folder(tmp_path)) >= min(night + 1, 3)
        assert await there(Folder(tmp_path)) == 4, "three, and one that is announced"
