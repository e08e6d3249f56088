"""Issue 21, 1: a copy, a look or a restore that hangs silences nothing, and holds up nobody else."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain import backing
from domain.backup_plans import DrillRule, Source
from domain.backups import Order
from domain.drills import DrillState
from domain.retention import Standing
from operations import lease
from sandbox.stage import Stage
from storage.folder_vault import FolderVault
from tests.databases import migrated_postgres
from tests.flows.backing import backed_up, backups, drills, nightly, until_three
from tests.flows.looking import alert_cards
from tests.flows.test_backups_replicas import replicas, to_three, turn


@pytest.fixture(autouse=True)
def _prolonged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is pushed here by minutes: a lease that is prolonged every thirty real seconds would run out."""
    monkeypatch.setattr(lease, "PROLONG", 0.02)


class Hanging:
    """The real vault, of which one call with a plan's name in its order says nothing until it is let go."""

    def __init__(self, stage: Stage, call: str, plan: str = "nightly", *, real: Any = None) -> None:
        self.real: Any = real or stage.bot.world.vaults[Source.TOBAN]
        self.call = call
        self.plan = plan
        self.hangs = True
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        # The world is frozen for the program, not for whoever breaks its disk.
        object.__setattr__(stage.bot.world, "vaults", {Source.TOBAN: self})

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.real, name)
        if name != self.call:
            return real

        async def hanging(order: Order, *given: Any) -> Any:
            if self.hangs and f"/{self.plan}/" in order.key:
                self.reached.set()
                await self.go.wait()
            return await real(order, *given)

        return hanging


@pytest.mark.parametrize("call", ["find", "begin", "look", "prove"])
async def test_21_1_a_copy_that_hangs_is_late_and_given_up_and_another_plan_goes_on(
    database_url: str, tmp_path: Path, call: str
) -> None:
    plans = nightly(tmp_path / "a"), nightly(tmp_path / "b", name="other")
    async with backed_up(database_url, *plans) as stage:
        vault = Hanging(stage, call)
        stage.hangs = {"backup:B-1", "backup:B-2"}
        await until_three(stage, minutes=10)
        await asyncio.wait_for(vault.reached.wait(), 20)
        stage.hangs = {f"backup:{(await backups(stage))[0].number}"}
        await stage.settle()
        assert [one.standing for one in await backups(stage, "other")] == [Standing.VERIFIED]
        assert [one.standing for one in await backups(stage)] == [Standing.RUNNING]
        assert alert_cards(stage) == []
        await stage.advance(minutes=25)
        assert "Backup nightly is late" in alert_cards(stage)[-1].plain
        assert stage.dms("kenji")
        await stage.press("aya", alert_cards(stage)[-1], "Acknowledge")
        await stage.advance(hours=1, minutes=10)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.FAILED
        assert backup.lease_until is None
        assert "it took too long" in next(
            card.plain for card in stage.channel("#ops") if "of nightly" in card.plain
        )
        vault.hangs = False
        stage.hangs = ()
        await until_three(stage)
        for plan in ("nightly", "other"):
            assert (await backups(stage, plan))[-1].standing is Standing.VERIFIED, plan
        assert "Recovered" in alert_cards(stage)[-1].plain


async def test_21_1_whoever_is_alive_judges_what_another_replica_holds(postgres: str, tmp_path: Path) -> None:
    """Its lease is prolonged for ever, and what it hears at last changes nothing any more."""
    async with replicas(migrated_postgres(postgres), nightly(tmp_path / "kept")) as (stage, one, other, _):
        await turn(one)
        await to_three(stage)
        vault = Hanging(stage, "begin", real=FolderVault.__new__(FolderVault))
        vault.real = one.vaults[Source.TOBAN]
        object.__setattr__(one, "vaults", {Source.TOBAN: vault})
        hung = asyncio.create_task(turn(one))
        await asyncio.wait_for(vault.reached.wait(), 20)

        async def later(**passed: float) -> None:
            stage.clock.push(timedelta(**passed))
            (backup,) = await backups(stage)
            async with other.store() as tx:
                assert backup.id is not None
                await tx.hold_backup(backup.id, stage.clock.now() + timedelta(seconds=90))
            await turn(other)

        await later(minutes=31)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.RUNNING
        assert backup.alarmed_level is not None
        await later(minutes=60)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.FAILED
        vault.go.set()
        await asyncio.wait_for(hung, 30)
        assert (await backups(stage)) == [backup], "who was given up has nothing to say"


async def test_21_1_a_question_that_is_never_answered_is_asked_again(
    sqlite_only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backing, "ASKED", timedelta(seconds=0.05))
    async with backed_up(sqlite_only, nightly(tmp_path)) as stage:
        vault = Hanging(stage, "find")
        await until_three(stage)
        (backup,) = await backups(stage)
        assert backup.standing is Standing.RUNNING
        assert "no answer after" in stage.card("#ops").plain
        vault.hangs = False
        await stage.advance(minutes=3)
        assert [one.standing for one in await backups(stage)] == [Standing.VERIFIED]
        assert alert_cards(stage) == []


@pytest.mark.parametrize("call", ["begin", "examine", "remove"])
async def test_21_1_a_drill_that_hangs_is_given_up_and_backups_go_on(
    sqlite_only: str, tmp_path: Path, call: str
) -> None:
    rule = DrillRule(scratch={Source.TOBAN: str(tmp_path / "scratch")})
    async with backed_up(sqlite_only, nightly(tmp_path / "kept", drill=rule)) as stage:
        await until_three(stage)
        rehearsal: Any = stage.bot.world.rehearsals[Source.TOBAN]
        real = getattr(rehearsal, call)
        reached = asyncio.Event()

        async def hanging(*_: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

        setattr(rehearsal, call, hanging)
        stage.hangs = {"drill:RD-1"}
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        await stage.press("aya", stage.card("#ops"), "Approve Drill")
        async with asyncio.timeout(20):
            while not reached.is_set():
                await stage.advance(seconds=1)
        setattr(rehearsal, call, real)
        await stage.advance(hours=7 if call == "remove" else 3.2)
        stage.hangs = ()
        (drill,) = await drills(stage)
        assert drill.state is (DrillState.PASSED if call == "remove" else DrillState.FAILED)
        assert drill.lease_until is None
        assert any(
            "it took too long" in card.plain or "could not be deleted" in card.plain
            for card in stage.channel("#ops")
        )
        await until_three(stage)
        assert (await backups(stage))[-1].standing is Standing.VERIFIED
