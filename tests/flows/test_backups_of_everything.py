"""One night of a whole team: database, instance, documents, pictures and secrets into a bucket; a drill."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.backup_plans import BackupPlan, DrillRule, Part, Source
from domain.drills import DrillState
from domain.questions import Question
from domain.retention import Retention, Standing
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import FOREVER, failing, permission
from sandbox.cloud.wire import Wire
from sandbox.stage import Stage
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.looking import alert_cards

PROJECT, SCRATCH = "bondpoint-prod", "bondpoint-scratch"
PARTS = (
    Part(name="toban", source=Source.TOBAN),
    Part(name="secrets", source=Source.SECRETS, project=PROJECT),
    Part(name="cloud-sql-db", source=Source.CLOUD_SQL, of="db", project=PROJECT),
    Part(name="firestore", source=Source.FIRESTORE, of="(default)", project=PROJECT),
    Part(name="bucket-images", source=Source.BUCKET, of="bondpoint-images", project=PROJECT),
)
DRILL = DrillRule(
    scratch={
        Source.CLOUD_SQL: f"{SCRATCH}/restored",
        Source.FIRESTORE: f"{SCRATCH}/restored",
        Source.BUCKET: "gs://bondpoint-scratch/drills",
    },
    questions=(
        Question(part="firestore", ask="users", least=100),
        Question(part="bucket-images", ask="users/", least=2),
    ),
)


def everything(**changes: Any) -> BackupPlan:
    given = {"destination": "gs://bondpoint-backups/prod", "parts": PARTS, "drill": DRILL}
    return nightly(Path("/unused"), **(given | changes))


@asynccontextmanager
async def team(
    database_url: str, *plans: BackupPlan, **environ: str
) -> AsyncIterator[tuple[Stage, PretendStorage]]:
    """The stage with all that BondPoint has on Google Cloud."""
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    try:
        for bucket in ("bondpoint-backups", "bondpoint-images", "bondpoint-scratch"):
            await storage.make(bucket)
        for name in ("users/1.png", "users/2.png", "teams/1.png"):
            await storage.write("bondpoint-images", name, name.encode())
        environ |= {"TOBAN_STORAGE_ENDPOINT": storage.url}
        async with backed_up(database_url, *plans, cloud=Cloud, **environ) as stage:
            stage.cloud.firestore.shelf = storage
            stage.cloud.firestore.add(PROJECT, documents={"users": 1200, "teams": 30})
            stage.cloud.firestore.add(SCRATCH, "restored")
            stage.cloud.sql.add(PROJECT, "db")
            stage.cloud.sql.add(SCRATCH, "restored")
            stage.cloud.secrets.add(PROJECT, "slack-token", versions=3)
            yield stage, storage
    finally:
        await storage.stop()


async def test_a_night_of_everything_and_a_drill_of_it(sqlite_only: str) -> None:
    async with team(sqlite_only, everything()) as (stage, storage):
        await until_three(stage, minutes=5)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.VERIFIED, [one.model_dump() for one in backup.parts]
        names = await storage.names("bondpoint-backups")
        assert any(name.endswith("/firestore/firestore.overall_export_metadata") for name in names)
        assert any(name.endswith("/toban/manifest.json") for name in names)
        (card,) = stage.channel("#ops")
        for part in PARTS:
            assert part.name in card.plain
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        await stage.press("aya", stage.card("#ops"), "Approve Drill")
        await stage.advance(minutes=8)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.PASSED, drill
        assert drill.seconds is not None
        assert drill.seconds >= 120, "the instance alone takes two minutes"
        assert await storage.names("bondpoint-scratch") == []
        assert alert_cards(stage) == []


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("SqlInsertBackupRun", "*cloud-sql-db* could not be copied: It broke."),
        ("ExportDocuments", "*firestore* could not be copied: It broke."),
    ],
)
async def test_an_operation_of_google_that_fails_twice_fails_the_night(
    sqlite_only: str, method: str, said: str
) -> None:
    """Once is tried again; the parts that went well are kept, and so is everything older."""
    async with team(sqlite_only, everything()) as (stage, storage):
        await until_three(stage, minutes=5)
        old = await storage.names("bondpoint-backups")
        stage.cloud.faults.add(failing("It broke."), method=method, count=1)
        await until_three(stage, minutes=8)
        assert (await backups(stage))[-1].standing is Standing.VERIFIED
        stage.cloud.faults.add(failing("It broke."), method=method, count=FOREVER)
        await until_three(stage, minutes=8)
        assert (await backups(stage))[-1].standing is Standing.FAILED
        assert said in stage.channel("#ops")[-1].plain
        assert "Backup nightly" in alert_cards(stage)[-1].plain
        assert stage.dms("kenji")
        assert set(old) <= set(await storage.names("bondpoint-backups"))


async def test_a_missing_right_is_told_on_the_card_and_healed_when_it_is_given(sqlite_only: str) -> None:
    async with team(sqlite_only, everything(expected=timedelta(minutes=30))) as (stage, _):
        fault = stage.cloud.faults.add(permission(), method="ExportDocuments", count=FOREVER)
        await until_three(stage, minutes=10)
        (card,) = stage.channel("#ops")
        assert "datastore.databases.export" in card.plain
        await stage.advance(minutes=25)
        assert "is late" in alert_cards(stage)[-1].plain
        stage.cloud.faults.lift(fault)
        await stage.advance(minutes=5)
        assert (await backups(stage))[-1].standing is Standing.VERIFIED
        assert "Recovered" in alert_cards(stage)[-1].plain


@pytest.mark.parametrize(("is_locked", "gone"), [(True, []), (False, ["B-1", "B-2"])])
async def test_what_a_bucket_holds_is_neither_announced_nor_deleted(
    sqlite_only: str, is_locked: bool, gone: list[str]
) -> None:
    """Held for 60 hours, which pass, or locked for good: then only its own rules delete."""
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    await storage.make("bondpoint-backups")
    wire = Wire(storage.url)
    await wire.start()
    rule = {"retentionPolicy": {"retentionPeriod": str(60 * 3600), "isLocked": is_locked}}
    wire.add("GET", "/b/bondpoint-backups?", count=FOREVER, status=200, answer={"name": "x"} | rule)
    keep = Retention(daily=1, weekly=0, monthly=0, verified=1)
    plan = everything(parts=PARTS[:1], drill=None, keep=keep, deletes=True)
    try:
        async with backed_up(sqlite_only, plan, TOBAN_STORAGE_ENDPOINT=wire.url) as stage:
            for _ in range(3):
                await until_three(stage)
            assert [one.marked_at for one in await backups(stage)] == [None] * 3
            await stage.type("mika", "#ops", "/toban backup history nightly")
            assert stage.told("mika")[-1].count("kept: locked") == 3
            for _ in range(2):
                await until_three(stage)
            assert [one.number for one in await backups(stage) if one.removed_at is not None] == gone[:1]
            told = [note.plain for card in stage.channel("#ops") for note in stage.thread(card)]
            assert not [note for note in told if "could not be deleted" in note]
            await until_three(stage)
            assert [one.number for one in await backups(stage) if one.removed_at is not None] == gone
    finally:
        await wire.stop()
        await storage.stop()


async def test_who_may_not_know_what_a_bucket_holds_is_told_by_its_refusal(sqlite_only: str) -> None:
    """The backup is verified all the same."""
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    await storage.make("bondpoint-backups")
    wire = Wire(storage.url)
    await wire.start()
    wire.add("GET", "/b/bondpoint-backups?", count=FOREVER, status=403)
    wire.add("DELETE", count=FOREVER, status=403)
    keep = Retention(daily=1, weekly=0, monthly=0, verified=1)
    plan = everything(parts=PARTS[:1], drill=None, keep=keep, deletes=True)
    try:
        async with backed_up(sqlite_only, plan, TOBAN_STORAGE_ENDPOINT=wire.url) as stage:
            for _ in range(3):
                await until_three(stage)
            assert {one.standing for one in await backups(stage)} == {Standing.VERIFIED}
            told = [note.plain for card in stage.channel("#ops") for note in stage.thread(card)]
            assert [note for note in told if "B-1 could not be deleted, so it is kept" in note]
            assert len(await storage.names("bondpoint-backups")) == 6
    finally:
        await wire.stop()
        await storage.stop()
