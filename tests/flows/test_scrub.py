"""Issue 21, 9: old copies are read again, and a rotten one is told while others still exist."""

from pathlib import Path
from typing import Any

from domain.backup_plans import Part, Source
from domain.backups import Order
from domain.errors import Outage
from domain.evidence import Evidence
from domain.retention import Standing
from domain.schedule import Cron
from sandbox.stage import Stage
from tests.flows.backing import backed_up, backups, nightly
from tests.flows.looking import alert_cards
from tests.flows.test_backups_of_everything import team

WEEKLY = Cron(line="0 3 * * 1", zone="Asia/Tokyo")


async def weeks(stage: Stage, count: int) -> None:
    for _ in range(count):
        await stage.advance(hours=24 * 7)


async def test_21_9_a_copy_that_rots_is_demoted_and_told_while_others_exist(
    database_url: str, tmp_path: Path
) -> None:
    async with backed_up(database_url, nightly(tmp_path, schedule=WEEKLY)) as stage:
        await weeks(stage, 2)
        first, second = await backups(stage)
        file = next(one for one in Path(first.destination).rglob("toban.*") if one.is_file())
        whole = file.read_bytes()
        file.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
        await weeks(stage, 1)
        assert alert_cards(stage) == []
        await stage.advance(hours=6)  # Twenty days after it was made, at night.
        found = {one.id: one for one in await backups(stage)}
        assert found[first.id].standing is Standing.FAILED
        assert found[second.id].standing is Standing.VERIFIED
        (alert,) = alert_cards(stage)
        assert "An old backup of nightly has rotted" in alert.plain and "Warning" in alert.plain
        assert stage.dms("kenji") == []
        card = stage.channel("#ops")[0]
        assert "failed" in card.plain and "checksum" in card.plain
        assert any("are left: 2" in note.plain for note in stage.thread(card))
        await weeks(stage, 1)
        assert "Recovered" in alert_cards(stage)[-1].plain
        found = {one.id: one for one in await backups(stage)}
        read = found[second.id].read_at
        assert read is not None and read - (second.ended_at or read) < stage.clock.now() - first.at


async def test_21_9_what_cannot_be_read_just_now_is_no_rot_and_is_tried_the_next_night(
    sqlite_only: str, tmp_path: Path
) -> None:
    async with backed_up(sqlite_only, nightly(tmp_path, schedule=WEEKLY)) as stage:
        await weeks(stage, 1)
        vault: Any = stage.bot.world.vaults[Source.TOBAN]
        real, asked = vault.prove, []

        async def away(order: Order, operation: str) -> Evidence:
            if order.destination.startswith((await backups(stage))[0].destination):
                asked.append(stage.clock.now())
                raise Outage("backup folder: it is away")
            evidence: Evidence = await real(order, operation)
            return evidence

        vault.prove = away
        await weeks(stage, 3)
        assert len(asked) >= 2, "each night once more"
        assert len(asked) == len({moment.date() for moment in asked})
        assert {one.standing for one in await backups(stage)} == {Standing.VERIFIED}
        vault.prove = real
        await stage.advance(hours=25)
        assert (await backups(stage))[0].read_at is not None
        assert alert_cards(stage) == []


async def test_21_9_a_copy_in_a_bucket_that_rots_is_found(sqlite_only: str) -> None:
    part = Part(name="toban", source=Source.TOBAN)
    plan = nightly(Path("/unused"), destination="gs://bondpoint-backups/prod", parts=(part,), schedule=WEEKLY)
    async with team(sqlite_only, plan) as (stage, storage):
        await weeks(stage, 2)
        first, _ = await backups(stage)
        prefix = first.destination.removeprefix("gs://bondpoint-backups/")
        names = await storage.names("bondpoint-backups")
        (name,) = [one for one in names if one.startswith(prefix) and "/toban-" in one]
        await storage.write("bondpoint-backups", name, b"something else")
        await weeks(stage, 1)
        await stage.advance(hours=6)
        assert (await backups(stage))[0].standing is Standing.FAILED
        assert "An old backup of nightly has rotted" in alert_cards(stage)[-1].plain
