"""Issue 21, 12: where drills restore to, what they leave behind, and plans that leave the policy."""

from pathlib import Path
from typing import Any

import pytest

from domain.backup_plans import BackupPlan, Backups, DrillRule, Part, Source
from domain.backups import Stage as Step
from domain.drills import DrillState
from domain.errors import Outage
from domain.retention import Standing
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.databases import migrated_postgres
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.looking import alert_cards
from tests.flows.test_drills import agreed, leftovers, place, second_server

__all__ = ["place", "second_server"]


def drilled(folder: Path, scratch: str = "scratch", **changes: Any) -> BackupPlan:
    rule = DrillRule(scratch={Source.TOBAN: str(folder / scratch)})
    return nightly(folder / "kept", **({"drill": rule} | changes))


def becomes(stage: Stage, *plans: BackupPlan) -> None:
    """Somebody edits the policy, and the bot reads it."""
    stage.policy = make_policy(backups=Backups(plans=plans), services=())
    stage.bot.policies.replace(stage.policy)


async def test_21_12_productions_own_database_is_no_place_whatever_it_is_called(
    postgres: str, tmp_path: Path
) -> None:
    """The server says who it is; the URL is another one. And the copy is blamed for nothing."""
    url = migrated_postgres(postgres)
    plain = url.replace("+psycopg", "")
    alias = f"{plain}{'&' if '?' in plain else '?'}application_name=scratch"
    async with backed_up(url, nightly(tmp_path), TOBAN_DRILL_DATABASE_URL=alias) as stage:
        await until_three(stage)
        await agreed(stage)
        (drill,) = await drills(stage)
        assert drill.state is DrillState.FAILED
        card = next(one for one in stage.channel("#ops") if "Restore drill RD-1 of" in one.plain)
        assert "the very database that is copied" in card.plain
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED]


@pytest.mark.parametrize("what", ["removed", "changed"])
async def test_21_12_what_was_restored_goes_although_the_plan_was_removed_or_changed(
    database_url: str, place: dict[str, str], tmp_path: Path, what: str
) -> None:
    async with backed_up(database_url, drilled(tmp_path), **place) as stage:
        await until_three(stage)
        rehearsal: Any = stage.bot.world.rehearsals[Source.TOBAN]
        real = rehearsal.examine

        async def away(*_: Any) -> Any:
            raise Outage("it is away")

        rehearsal.examine = away
        await agreed(stage)
        (drill,) = await drills(stage)
        assert [one.stage for one in drill.parts] == [Step.PROVING]
        server = place.get("TOBAN_DRILL_DATABASE_URL")
        assert len(await leftovers(server, tmp_path)) >= 1
        if what == "removed":
            becomes(stage)
        else:
            becomes(stage, drilled(tmp_path, "elsewhere"))
            rehearsal.examine = real
        await stage.advance(minutes=5)
        (drill,) = await drills(stage)
        assert drill.state is (DrillState.FAILED if what == "removed" else DrillState.PASSED)
        assert await leftovers(server, tmp_path) == []
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED]


async def test_21_12_a_drill_of_secrets_alone_is_refused(sqlite_only: str, tmp_path: Path) -> None:
    secrets = Part(name="secrets", source=Source.SECRETS, project="p")
    async with backed_up(sqlite_only, nightly(tmp_path, parts=(secrets,))) as stage:
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        assert "A drill would prove nothing" in stage.told("mika")[-1]
        assert await drills(stage) == []


async def test_21_12_a_plan_that_left_is_told_and_has_its_missed_moments_when_it_comes_back(
    database_url: str, tmp_path: Path
) -> None:
    plan = nightly(tmp_path)
    async with backed_up(database_url, plan) as stage:
        await until_three(stage)
        becomes(stage)
        await stage.advance(hours=80)
        told = [one.plain for one in stage.channel("#ops")]
        assert sum("nightly is not in the policy any more" in one for one in told) == 1
        assert len(await backups(stage)) == 1
        becomes(stage, plan)
        await stage.advance(minutes=2)
        assert [one.standing for one in await backups(stage)] == [
            Standing.VERIFIED,
            Standing.MISSED,
            Standing.MISSED,
            Standing.VERIFIED,
        ]
        assert any("nightly is in the policy again" in one.plain for one in stage.channel("#ops"))
        assert "Backup nightly" in alert_cards(stage)[-1].plain
        await until_three(stage)
        assert (await backups(stage))[-1].standing is Standing.VERIFIED
