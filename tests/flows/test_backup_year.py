"""A year of nights with all that goes wrong in one: exactly the right copies are left, each gap was told.

Seed defect 74: the draft deleted only what was made exactly 30 days before, so that whatever was made on a
day before an outage stayed for ever. Seed defect 75: it deleted though the new copy was not proven, and left
no least number of them.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from bot.app import Bot
from domain import backing as rules
from domain.backup_plans import BackupPlan, Source
from domain.backups import Order
from domain.evidence import Evidence
from domain.retention import NOTICE, Retention, Standing
from operations import backups as operations
from sandbox.stage import Stage
from storage.folder_vault import FolderVault
from tests.databases import new_sqlite
from tests.flows.backing import backed_up, backups, nightly
from tests.sampling import ALL

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


def naive(verified: list[datetime], keep: Retention = KEEP) -> set[datetime]:
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
        for spent, period, budget in (
            (days, day, keep.daily),
            (weeks, week, keep.weekly),
            (months, month, keep.monthly),
        ):
            if len(spent) < budget:
                spent.append(period)
                kept.add(due)
                break
    return kept | set(verified[: keep.verified])


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


# Two installations with one folder, whose clocks jump.

JUMP = timedelta(days=4)
"""So far a clock is ahead for an afternoon, in which a night of its own comes."""

FEW = Retention(daily=3, weekly=2, monthly=1, verified=2)


@dataclass
class Copy:
    """One that lies there, as it ought to be known."""

    due: datetime
    verified: bool
    warned: datetime | None = None
    doomed: datetime | None = None


@dataclass
class Model:
    """What ought to become of the backups of one installation."""

    keep: Retention
    standings: dict[datetime, str] = field(default_factory=dict)
    there: list[Copy] = field(default_factory=list)
    ahead: set[datetime] = field(default_factory=set)
    wrong: set[datetime] = field(default_factory=set)
    never_came: set[datetime] = field(default_factory=set)
    """Moments that a clock ahead has called missed."""

    def key(self, moment: datetime) -> datetime:
        """For which moment one is made: beside those that a clock ahead has used up."""
        while moment in self.ahead:
            moment += rules.BESIDE
        return moment

    def made(self, moment: datetime, happens: str, at: datetime) -> None:
        """A night has come to its end."""
        due = self.key(moment)
        self.standings[due] = STANDINGS[happens]
        self.there.append(Copy(due, happens == "fair"))
        if happens == "fair":
            self._prune(at)
        else:
            self.wrong.add(due)
        self.look(at)

    def missed(self, moment: datetime) -> None:
        self.standings[self.key(moment)] = "missed"
        self.wrong.add(self.key(moment))

    def jumped(self, moments: list[datetime], at: datetime) -> None:
        """The clock was ahead until ``at``, and the last of these moments had a backup."""
        *lost, last = moments
        self.never_came |= set(lost)
        due = self.key(last)
        self.there.append(Copy(due, verified=True))
        self._prune(at)
        self.look(at)
        self.there = [one for one in self.there if one.due != due]
        self.standings[due] = "verified"
        self.ahead.add(due)

    def look(self, at: datetime) -> None:
        """What was told a day ago is deleted, while the newest one is verified."""
        if max(self.there, key=lambda one: one.due).verified:
            self.there = [one for one in self.there if one.doomed is None or at < one.doomed]

    def _prune(self, at: datetime) -> None:
        verified = sorted((one.due for one in self.there if one.verified), reverse=True)
        kept = naive(verified, self.keep)
        for one in self.there:
            if one.due in kept or (not one.verified and one.due > verified[0]):
                one.warned = one.doomed = None
            elif one.warned is None or one.warned > at:  # A clock ahead has told it: that was not a day ago.
                one.warned, one.doomed = at, None
            elif one.doomed is None:
                one.doomed = max(at, one.warned + NOTICE)


STANDINGS = {"fair": "verified", "spoilt": "failed", "odd": "suspicious"}


@dataclass
class Household:
    """One installation, and what ought to be true of it."""

    stage: Stage
    weather: Weather
    model: Model
    due: datetime
    asleep: list[datetime] = field(default_factory=list)

    async def pass_one(self, number: int, happens: str) -> None:
        """A night, and the time when its backup was expected."""
        moment = self.due + timedelta(days=number)
        if happens == "down":
            self.asleep.append(moment)
            return
        self._set(moment + timedelta(minutes=1))
        self.weather.today = "fair" if happens == "jump" else happens
        await night(self.stage)
        for one in self.asleep:
            self.model.missed(one)
        self.asleep.clear()
        self.model.made(moment, self.weather.today, self.stage.clock.now())
        self._set(moment + timedelta(minutes=41))
        await night(self.stage)
        self.model.look(self.stage.clock.now())
        if happens == "jump":
            await self._jump(moment)

    async def _jump(self, moment: datetime) -> None:
        self.weather.today = "fair"
        right = self.stage.clock.now() + timedelta(hours=1)
        self._set(moment + JUMP + timedelta(minutes=1))
        await night(self.stage)
        days = range(1, JUMP.days + 1)
        self.model.jumped([moment + timedelta(days=n) for n in days], self.stage.clock.now())
        await self.stage.crash()
        self._set(right)
        await self.stage.start()
        await night(self.stage)
        self.model.look(right)

    def _set(self, at: datetime) -> None:
        self.stage.clock.push(at - self.stage.clock.now())

    async def check(self, folder: Path) -> str:
        """All rows, all files of its own, all alerts. Returns its name."""
        model, found = self.model, {one.due_at: one for one in await backups(self.stage)}
        assert {at: one.standing.value for at, one in found.items()} == model.standings
        assert {at for at, one in found.items() if one.ahead} == model.ahead
        left = {at for at, one in found.items() if one.removed_at is None and one.begun_at is not None}
        assert left == {one.due for one in model.there} | model.ahead
        (name,) = {one.installation for one in found.values() if one.begun_at is not None}
        copies = {one.parent.parent.name for one in (folder / "nightly" / name).rglob("toban.*")}
        assert copies == {f"{at:%Y%m%dT%H%M%SZ}" for at in left}
        told = {at for at, one in found.items() if one.alarmed_at is not None}
        assert told - model.ahead == model.wrong
        assert all(found[at].cleared_at is not None for at in told)
        async with self.stage.bot.store.read() as tx:
            query = sa.text("SELECT identity, count(*), count(ended_at) FROM alert GROUP BY identity")
            rows = (await tx.connection.execute(query)).all()
        alerted = {int(str(row[0]).rpartition(":")[2]) for row in rows}
        assert {int(at.timestamp()) for at in model.wrong} <= alerted
        assert alerted <= {int(at.timestamp()) for at in model.wrong | model.never_came}
        assert all(row[1] == row[2] for row in rows), "over, all of them"
        return name


def nights_of(chance: random.Random) -> list[str]:
    """A year with a jump about once a month."""
    return ["jump" if one == "fair" and not chance.randrange(25) else one for one in year(chance)]


WEEKS = (
    ["fair", "fair", "fair", "fair", "jump", "fair", "spoilt", "fair", "down", "fair", "fair"],
    ["fair", "spoilt", "fair", "fair", "fair", "odd", "fair", "jump", "fair", "fair", "fair"],
)
"""Of each of the two. The first jump ends on a moment of which the real night comes later on."""


@asynccontextmanager
async def household(url: str, plan: BackupPlan) -> AsyncIterator[Household]:
    async with backed_up(url, plan, start=False) as stage:
        weather: Weather | None = None

        def prepare(bot: Bot) -> None:
            nonlocal weather
            vaults: dict[Source, Any] = dict(bot.world.vaults)
            weather = weather or Weather(vaults[Source.TOBAN])
            weather.real = vaults[Source.TOBAN]
            object.__setattr__(bot.world, "vaults", {Source.TOBAN: weather})

        stage.prepare = prepare
        await stage.start()
        await night(stage)
        assert weather is not None
        due = stage.clock.now().replace(hour=18, minute=0, second=0, microsecond=0)
        yield Household(stage, weather, Model(plan.keep), due)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("length", ["weeks", *(["year"] if ALL else [])])
async def test_21_4_and_21_3_two_installations_with_one_folder_and_jumping_clocks_have_what_each_ought_to(
    sqlite_only: str, tmp_path: Path, length: str
) -> None:
    """Nobody counts or deletes the other's copies; what a clock ahead has dated stays and counts nowhere."""
    keep = FEW if length == "weeks" else KEEP
    both = WEEKS if length == "weeks" else tuple(nights_of(random.Random(seed)) for seed in (21, 4))
    plan, folder = nightly(tmp_path / "kept", keep=keep, deletes=True), tmp_path / "kept"
    (tmp_path / "other").mkdir()
    async with (
        household(sqlite_only, plan) as one,
        household(new_sqlite(tmp_path / "other"), plan) as other,
    ):
        for number, happens in enumerate(zip(*both, strict=True)):
            for each, what in zip((one, other), happens, strict=True):
                await each.pass_one(number, what)
        names = {await each.check(folder) for each in (one, other)}
        assert len(names) == 2
        assert {path.name for path in (folder / "nightly").iterdir()} == names
        for each, happened in zip((one, other), both, strict=True):
            assert len(each.model.ahead) >= min(1, happened.count("jump"))
            gone = [at for at, what in each.model.standings.items() if what != "missed"]
            assert len(gone) > len(each.model.there), "something was deleted"
