"""A year of nights with all that goes wrong in one: exactly the right copies are left, each gap was told.

Seed defect 74: the draft deleted only what was made exactly 30 days before, so that whatever was made on a
day before an outage stayed for ever. Seed defect 75: it deleted though the new copy was not proven, and left
no least number of them.
"""

import random
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from domain.backup_plans import Source
from domain.backups import Order
from domain.evidence import Evidence
from domain.retention import Retention, Standing
from operations import backups as operations
from sandbox.stage import Stage
from storage.folder_vault import FolderVault
from tests.flows.backing import backed_up, backups, nightly

NIGHTS = 365
KEEP = Retention(daily=7, weekly=4, monthly=12, verified=3)
TOKYO = ZoneInfo("Asia/Tokyo")


class Weather:
    """The real vault, whose copies are spoilt or of an odd size on the nights that ``today`` says."""

    def __init__(self, real: FolderVault) -> None:
        self.real = real
        self.today = "fair"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    async def prove(self, order: Order, operation: str) -> Evidence:
        """As the real one, after the disk has lost the end of the file, or found ten times as much."""
        if self.today == "spoilt":
            (file,) = Path(order.destination).glob("toban.*")
            file.write_bytes(file.read_bytes()[:-4096])
        evidence = await self.real.prove(order, operation)
        if self.today == "odd":
            return evidence.model_copy(update={"bytes": evidence.bytes * 10})
        return evidence


def year(chance: random.Random) -> list[str]:
    """What becomes of each night: about one in eight goes wrong, sometimes several in a row."""
    nights: list[str] = []
    while len(nights) < NIGHTS:
        match chance.randrange(40):
            case 0:
                nights += ["down"] * chance.randint(1, 9)
            case 1 | 2:
                nights += ["spoilt"] * chance.randint(1, 3)
            case 3:
                nights += ["odd"]
            case _:
                nights += ["fair"]
    return [*nights[: NIGHTS - 1], "fair"]


def naive(verified: list[datetime]) -> set[datetime]:
    """What the policy keeps of these, newest first: walked through once, with a budget for each period."""
    kept: set[datetime] = set()
    days: list[object] = []
    weeks: list[object] = []
    months: list[object] = []
    for due in verified:
        local = due.astimezone(TOKYO)
        day, week, month = local.date(), local.isocalendar()[:2], (local.year, local.month)
        if day in days or week in weeks or month in months:
            continue
        for spent, period, budget in ((days, day, 7), (weeks, week, 4), (months, month, 12)):
            if len(spent) < budget:
                spent.append(period)
                kept.add(due)
                break
    return kept | set(verified[:3])


async def night(stage: Stage) -> None:
    """What the loop does when it is woken, until there is nothing to do."""
    world = stage.bot.world
    await operations.schedule(world, stage.clock.now())
    for _ in range(12):
        begun = await operations.tick(world)
        await world.under_way.quiet()
        if not begun:
            return
    raise AssertionError("the night never ends")


async def test_seed_defects_74_and_75_a_year_leaves_exactly_the_expected_copies(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Every missed and every failed night raised its alert, and a later verified one ended it."""
    plan = nightly(tmp_path / "kept", keep=KEEP, deletes=True)
    nights = year(random.Random(74))
    expected: dict[datetime, str] = {}
    there: list[datetime] = []  # Newest first.
    broken: list[datetime] = []
    marked: set[datetime] = set()
    async with backed_up(sqlite_only, plan) as stage:
        vaults: dict[Source, Any] = dict(stage.bot.world.vaults)
        weather = Weather(vaults[Source.TOBAN])
        object.__setattr__(stage.bot.world, "vaults", {Source.TOBAN: weather})
        await night(stage)
        due = stage.clock.now().replace(hour=18, minute=0, second=0, microsecond=0)
        asleep: list[datetime] = []
        for number, happens in enumerate(nights):
            moment = due + timedelta(days=number)
            if happens == "down":
                asleep.append(moment)
                continue
            stage.clock.push(moment + timedelta(minutes=1) - stage.clock.now())
            weather.today = happens
            await night(stage)
            # Whoever was down makes up for the newest moment alone, which is tonight's.
            expected |= dict.fromkeys(asleep, "missed") | {moment: happens}
            asleep.clear()
            stage.clock.push(timedelta(minutes=40))  # Past the time when it was expected.
            await night(stage)
            if happens == "fair":
                there.insert(0, moment)
                wanted = naive(there)
                goes = {one for one in there if one not in wanted} | {one for one in broken if one < moment}
                gone = goes & marked
                there = [one for one in there if one not in gone]
                broken = [one for one in broken if one not in gone]
                marked = goes - gone
            else:
                broken.append(moment)

        found = {one.due_at: one for one in await backups(stage)}
        standings = {"fair": "verified", "spoilt": "failed", "odd": "suspicious", "missed": "missed"}
        assert {at: one.standing.value for at, one in found.items()} == {
            at: standings[what] for at, what in expected.items()
        }
        assert min(Counter(expected.values()).values()) >= 3, "the year had everything"

        # Exactly these are left, in the tables and on the disk.
        left = {
            at for at, one in found.items() if one.removed_at is None and one.standing is not Standing.MISSED
        }
        assert left == set(there) | set(broken)
        folders = {one.parent.parent.name for one in (tmp_path / "kept").rglob("toban.*")}
        assert folders == {f"{at:%Y%m%dT%H%M%SZ}" for at in left}
        assert len(there) > 7 + 4 + 5

        # Each that went wrong was told, at the plan's level in the end, and none fires any more.
        wrong = {at for at, what in expected.items() if what != "fair"}
        assert {at for at, one in found.items() if one.alarmed_at is not None} == wrong
        assert {found[at].alarmed_level for at in wrong} == {plan.level}
        assert all(found[at].cleared_at is not None for at in wrong)
        async with stage.bot.store.read() as tx:
            query = sa.text("SELECT identity, count(*), count(ended_at) FROM alert GROUP BY identity")
            rows = (await tx.connection.execute(query)).all()
        assert {int(str(row[0]).rpartition(":")[2]) for row in rows} == {int(at.timestamp()) for at in wrong}
        assert {(row[1], row[2]) for row in rows} == {(1, 1)}, "each once, and over"
