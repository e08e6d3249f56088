"""Issue 21, 7: a drill that failed has consequences for its backup and for what would be deleted."""

from pathlib import Path
from typing import Any

from domain.backup_plans import DrillRule, Source
from domain.backups import Broke
from domain.drills import DrillState
from domain.retention import Retention, Standing
from sandbox.stage import Stage
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.destinations import BOTH, SAMPLED, Destination, Folder
from tests.flows.looking import alert_cards
from tests.flows.test_drills import agreed, place, second_server

__all__ = ["place", "second_server"]

KEEP = Retention(daily=2, weekly=0, monthly=0, verified=1)


def plan(folder: Path, to: str = "") -> Any:
    rule = DrillRule(scratch={Source.TOBAN: str(folder / "scratch")})
    return nightly(to or folder / "kept", drill=rule, keep=KEEP, deletes=True)


async def newest_cut(stage: Stage, destination: Destination) -> None:
    """The newest copy loses its end."""
    last = (await backups(stage))[-1]
    await destination.cut(of=f"{last.due_at:%Y%m%dT%H%M%SZ}")


async def gauge(stage: Stage) -> float:
    """The recovery point of `nightly`. The process may still report plans of earlier tests."""
    _, metrics = await stage.get("/metrics")
    name = 'toban_backup_state_timestamp_seconds{plan="nightly"}'
    (value,) = [line.removeprefix(name) for line in metrics.splitlines() if line.startswith(name)]
    return float(value)


async def spoilt_and_drilled(stage: Stage, destination: Destination) -> None:
    """Three nights, and the last copy cut off before it is restored: the drill says so."""
    for _ in range(3):
        await until_three(stage)
    await newest_cut(stage, destination)
    await agreed(stage)
    (drill,) = await drills(stage)
    assert drill.state is DrillState.FAILED


@SAMPLED
async def test_21_7_a_truncated_copy_is_demoted_told_and_nothing_old_goes_until_a_drill_passes(
    database_url: str, destination: Destination, place: dict[str, str], tmp_path: Path
) -> None:
    environ = place | destination.environ
    async with backed_up(database_url, plan(tmp_path, destination.to), **environ) as stage:
        await spoilt_and_drilled(stage, destination)
        first, second, third = await backups(stage)
        assert [one.standing for one in (first, second, third)] == [
            Standing.VERIFIED,
            Standing.VERIFIED,
            Standing.FAILED,
        ]
        assert await gauge(stage) == second.at.timestamp(), "the recovery point is the older one's"
        (alert,) = alert_cards(stage)
        assert "Restore drill of nightly failed" in alert.plain
        assert "B-3 counts as verified no more" in alert.plain
        card = next(one.plain for one in stage.channel("#ops") if "Backup B-3" in one.plain)
        assert "Restore drill RD-1 failed" in card
        await stage.press("aya", alert, "Acknowledge")
        await stage.type("dan", "#ops", "/toban backup")
        assert "need a look: 1" in stage.told("dan")[-1]
        for _ in range(3):
            await until_three(stage)
        await stage.type("dan", "#ops", "/toban backup")
        assert "need a look: 1" in stage.told("dan")[-1], "it was not shown yet that one can be restored"
        assert [one.removed_at for one in await backups(stage)] == [None] * 6
        await stage.type("dan", "#ops", "/toban backup history nightly")
        assert "the last restore drill failed" in stage.told("dan")[-1]
        await agreed(stage)
        assert [one.state for one in await drills(stage)] == [DrillState.FAILED, DrillState.PASSED]
        assert "Recovered" in alert_cards(stage)[-1].plain
        for _ in range(3):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None


async def test_21_7_a_person_lets_old_backups_go_but_not_whoever_asked_for_the_drill(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, plan(tmp_path)) as stage:
        await spoilt_and_drilled(stage, Folder(tmp_path / "kept"))
        await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")
        card = next(one for one in stage.channel("#ops") if "Restore drill RD-1 of" in one.plain)
        assert "no old backup goes" in card.plain
        await stage.press("mika", card, "Let Old Backups Go")
        assert "somebody else has to say" in stage.told("mika")[-1]
        assert (await drills(stage))[0].released_by is None
        await stage.press("aya", card, "Let Old Backups Go")
        await stage.settle()
        card = next(one for one in stage.channel("#ops") if "Restore drill RD-1 of" in one.plain)
        assert "Old backups may go again" in card.plain
        for _ in range(3):
            await until_three(stage)
        assert (await backups(stage))[0].removed_at is not None


async def test_21_7_what_could_not_be_restored_waits_for_a_person(sqlite_only: str, tmp_path: Path) -> None:
    """It may be the place's fault: a person may say that the copy is right."""
    async with backed_up(sqlite_only, plan(tmp_path)) as stage:
        await until_three(stage)
        rehearsal: Any = stage.bot.world.rehearsals[Source.TOBAN]

        async def breaks(*_: Any) -> Broke:
            return Broke(why="no room")

        rehearsal.begin = breaks
        await agreed(stage)
        await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")
        (backup,) = await backups(stage)
        assert backup.standing is Standing.SUSPICIOUS
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        assert "no verified backup" in stage.told("mika")[-1]
        card = next(one for one in stage.channel("#ops") if "Backup B-1" in one.plain)
        await stage.press("mika", card, "Accept as Verified")
        await stage.settle()
        assert (await backups(stage))[0].standing is Standing.VERIFIED


@BOTH
async def test_21_7_what_was_to_be_deleted_stays_when_a_drill_fails(
    sqlite_only: str, destination: Destination, tmp_path: Path
) -> None:
    """Announced, and due in some hours: the failed drill holds it up."""
    async with backed_up(sqlite_only, plan(tmp_path, destination.to), **destination.environ) as stage:
        for _ in range(2):
            await until_three(stage)
        await spoilt_and_drilled_again(stage, destination)
        first, *_, last = await backups(stage)
        assert first.warned_at is not None
        assert last.standing is Standing.FAILED
        await stage.advance(hours=60)
        assert [one.removed_at for one in await backups(stage)] == [None] * len(await backups(stage))


async def spoilt_and_drilled_again(stage: Stage, destination: Destination) -> None:
    await until_three(stage)
    await stage.type("mika", "#ops", "/toban backup run nightly")
    await stage.advance(minutes=1)
    await newest_cut(stage, destination)
    await agreed(stage)
    await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")
