"""The bot dies at any commit, on either side of any call to a vault, and inside of one: the night goes on.

Seed defect 79: the draft had no lock and could not go on where it was; whoever was killed left half a copy.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.app import Bot
from domain import backing as rules
from domain.backup_plans import Part, Source
from domain.backups import Order
from domain.retention import Retention, Standing
from sandbox.stage import Stage
from storage import encryption, folder_vault
from storage.copies import Copies
from storage.folder_vault import FolderVault
from tests.flows.backing import backed_up, backups, nightly
from tests.flows.dying import JITTER, Deadly, Dying, Reaper
from tests.flows.looking import twice, unsent
from tests.flows.test_backups_encrypted import BOTH, sealed
from tests.sampling import ALL

KEEP = Retention(daily=2, weekly=0, monthly=0, verified=1)
"""So that every night from the fourth on deletes what the night before has announced."""

FIRST, DAY = datetime(2026, 11, 22, 18, tzinfo=UTC), timedelta(days=1)
"""The first night after the stage's beginning: three o'clock in Tokyo."""

PART = Part(name="toban", source=Source.TOBAN)

CALLS = ("find", "begin", "look", "prove", "remove")

STEPS = ("_prepare", "_name", "_write", "_remove")
"""What the vault does on the disk, one after the other."""

SEALING = ("_encrypt", "_decrypt")
"""What is done besides where a copy is encrypted; the second one reads it again."""

PLAIN = (b"SQLite format 3", b"PGDMP")
"""How a copy begins that anybody can read."""


def sides(names: Iterable[str], between: str = "") -> set[str]:
    """The points on either side of these."""
    return {f"{side}{between}{name}" for side in ("before", "after") for name in names}


def chosen(seen: list[str], sampled: set[str]) -> list[int]:
    """Numbers of the points at which to kill, from 1: all of them, or in `make test` the first of each name.

    The last few may not be there in the next night.
    """
    numbers = range(1, len(seen) - JITTER + 1)
    if ALL:
        return list(numbers)
    return sorted({seen.index(name) + 1 for name in sampled} & set(numbers))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process does not wait for what it was doing."""
    monkeypatch.setattr("bot.app.DRAIN", 0.01)


def files(folder: Path) -> dict[str, bytes]:
    """By their paths without the installation's name, of which there is one."""
    found = {one.relative_to(folder): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    assert len({path.parts[1] for path in found}) <= 1
    return {"/".join((path.parts[0], *path.parts[2:])): data for path, data in found.items()}


@dataclass
class Watchful(Reaper):
    """Looks at the destination at each point as well, since a copy may lie there in clear for a moment."""

    folder: Path | None = None
    in_clear: set[str] = field(default_factory=set)

    def point(self, name: str) -> None:
        for one in [] if self.folder is None else self.folder.rglob("toban.*"):
            with suppress(FileNotFoundError), one.open("rb") as file:
                if file.read(20).startswith(PLAIN):
                    self.in_clear.add(f"{name}: {one.name}")
        super().point(name)


def deadly(stage: Stage, reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points at every commit, every call to Slack, every call to a vault, and every step on the disk."""
    reaper.watch(stage)
    inner = stage.prepare
    assert inner is not None

    def prepare(bot: Bot) -> None:
        inner(bot)
        vaults = {source: Deadly(vault, reaper.point) for source, vault in bot.world.vaults.items()}
        # The world is frozen for the program, not for whoever kills it.
        object.__setattr__(bot.world, "vaults", vaults)

    stage.prepare = prepare
    for module in (folder_vault, encryption):
        monkeypatch.setattr(module, "_in_thread", stepwise(module._in_thread, reaper))


def stepwise(in_thread: Callable[..., Awaitable[Any]], reaper: Reaper) -> Callable[..., Awaitable[Any]]:
    """With points on either side of each step on the disk."""

    async def step(work: Callable[..., Any], *arguments: object) -> Any:
        if work.__name__ not in {*STEPS, *SEALING}:
            return await in_thread(work, *arguments)
        reaper.point(f"before{work.__name__}")
        answer = await in_thread(work, *arguments)
        reaper.point(f"after{work.__name__}")
        return answer

    return step


@dataclass
class Nights:
    """One bot that goes on living, night after night, each with its deaths."""

    life: Dying
    folder: Path
    temporary: Path
    in_clear: set[str]
    ending: str = ""
    count: int = 0

    @property
    def stage(self) -> Stage:
        return self.life.stage

    async def pass_one(self, *kills: int) -> list[str]:
        """Until some minutes after the next backup, with the bot killed at these points; what is wrong then.

        The minutes are enough for a lease to run out after each death.
        """
        reaper = self.life.reaper
        await self.life.until(hours=16 + 24 * self.count, minutes=30)
        before = files(self.folder)
        reaper.kills, reaper.over = frozenset(kills), False
        reaper.seen.clear()
        reaper.happened.clear()
        await self.life.until(hours=17 + 24 * self.count, minutes=20)
        reaper.over = True
        self.count += 1
        return await self._wrong(before)

    async def _wrong(self, before: dict[str, bytes]) -> list[str]:
        """In what this differs from what ought to be; empty where all is well."""
        stage, after = self.stage, files(self.folder)
        found = await backups(stage)
        due = [FIRST + n * DAY for n in range(self.count)]
        there = due[-KEEP.daily - 1 :]  # Those that stay, and one that is announced.
        cards = stage.channel("#ops")
        notes = [len(stage.thread(card)) for card in cards]
        flaws: list[str] = []
        for one in found[-len(there) :]:
            order = rules.order(one, one.parts[0])
            evidence = await stage.bot.world.vaults[Source.TOBAN].prove(order, order.key)
            flaws += [finding.flaw.value for finding in evidence.findings]
        expected = {
            "moments": (due, [one.due_at for one in found]),
            "standings": ({Standing.VERIFIED}, {one.standing for one in found}),
            "there": (there, [one.due_at for one in found if one.removed_at is None]),
            "files": (
                sorted(
                    f"nightly/{moment:%Y%m%dT%H%M%SZ}/toban/{name}" for moment in there for name in self.names
                ),
                sorted(after),
            ),
            "changed": ([], [name for name, data in before.items() if after.get(name, data) != data]),
            "flaws": ([], flaws),
            "cards": (self.count, len(cards)),
            "notes": ([0, 0, *[1] * len(cards)][: len(cards)], notes),
            "alerts": (0, len(stage.channel("#alerts"))),
            "twice": ({}, twice(stage)),
            "unsent": ([], await unsent(stage)),
            "held": ([], [one.number for one in found if one.lease_until or one.look_at]),
            "temporary": ([], [one.name for one in self.temporary.iterdir()]),
            "in clear": (set(), self.in_clear),
        }
        return [
            f"{name}: {is_} instead of {ought}" for name, (ought, is_) in expected.items() if ought != is_
        ]

    @property
    def names(self) -> tuple[str, str]:
        return "manifest.json", f"{folder_vault.NAMES[self.stage.settings.is_sqlite]}{self.ending}"


@asynccontextmanager
async def nights(url: str, folder: Path, *, encrypted: bool = False) -> AsyncIterator[Nights]:
    """Three calm nights have passed, so that every further one begins, announces and deletes."""
    reaper = Watchful(over=True, folder=folder if encrypted else None)
    make, keys = (sealed, BOTH) if encrypted else (nightly, {})
    plan = make(folder, keep=KEEP, deletes=True)
    temporary = folder.with_name("temporary")
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        async with backed_up(url, plan, start=False, **keys) as stage:
            deadly(stage, reaper, monkeypatch)
            ending = folder_vault.ENCRYPTED if encrypted else ""
            lived = Nights(Dying(stage, reaper), folder, temporary, reaper.in_clear, ending)
            for _ in range(KEEP.daily + 1):
                assert await lived.pass_one() == []
            yield lived


async def one_by_one(lived: Nights, deaths: Sequence[tuple[int, ...]]) -> str:
    """What was wrong after each night with its deaths; empty where all was well."""
    wrong = []
    for kills in deaths:
        found = await lived.pass_one(*kills)
        if not lived.life.reaper.happened:
            found.append("nobody died")
        if found:
            wrong.append("\n  ".join([f"killed at {lived.life.reaper.happened}:", *found]))
    return "\n".join(wrong)


async def points(lived: Nights) -> list[str]:
    """The names of all points of a night."""
    assert await lived.pass_one() == []
    seen = list(lived.life.reaper.seen)
    assert sides(CALLS, " ") <= set(seen)
    assert sides(STEPS) <= set(seen)
    return seen


@pytest.mark.timeout(300)
async def test_seed_defect_79_a_kill_at_any_point_of_a_night_leaves_one_whole_backup(
    database_url: str, tmp_path: Path
) -> None:
    """One backup for its moment, one card, one note, and the old ones as they were."""
    async with nights(database_url, tmp_path / "kept") as lived:
        seen = await points(lived)
        disk = STEPS if database_url.startswith("sqlite") else ()
        every = chosen(seen, sides(CALLS, " ") | sides(disk))
        assert await one_by_one(lived, [(n,) for n in every]) == ""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("database_url", ["sqlite", *(["postgresql"] if ALL else [])], indirect=True)
async def test_21_14_a_kill_at_any_point_of_an_encrypted_night_leaves_one_copy_and_nothing_in_clear(
    database_url: str, tmp_path: Path
) -> None:
    """Neither in the folder at any moment, nor among the temporary files once the night is over."""
    async with nights(database_url, tmp_path / "kept", encrypted=True) as lived:
        seen = await points(lived)
        assert sides(SEALING) <= set(seen)
        every = chosen(seen, {f"after{step}" for step in SEALING})
        assert await one_by_one(lived, [(n,) for n in every]) == ""


@pytest.mark.timeout(200)
async def test_who_dies_again_and_again_on_the_way_makes_one_whole_backup(
    sqlite_only: str, tmp_path: Path
) -> None:
    """Points go on to be counted after a death: a second and a third one come while it recovers."""
    async with nights(sqlite_only, tmp_path / "kept") as lived:
        seen = await points(lived)
        begun, removed = (seen.index(name) + 1 for name in ("after begin", "after_remove"))
        deaths = [
            (begun, begun + 3, begun + 6),
            (begun - 1, begun + 1, begun + 5, begun + 9),
            (begun - 4, begun + 4, begun + 12),
            (removed, removed + 2, removed + 5),
            (1, 2, 3, 4, 5, 6),
        ]
        assert await one_by_one(lived, deaths) == ""


# A real process and a real SIGKILL, since a simulated death still tidies up after itself.

CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from domain.backup_plans import Part, Source
from domain.backups import Order
from storage.copies import Copies
from storage.folder_vault import FolderVault

async def main():
    now = datetime(2026, 11, 22, 18, tzinfo=UTC)
    vault = FolderVault(Copies(sys.argv[1]), lambda: now)
    part = Part(name="toban", source=Source.TOBAN)
    order = Order(key="k", part=part, at=now, destination=sys.argv[2])
    print("begins", flush=True)
    await vault.begin(order)
    print("done", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def killed_after(seconds: float | None, url: str, folder: Path) -> None:
    """A process that makes a copy, and SIGKILL so long after it began; ``None``: when it is done."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, url, str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert (await child.stdout.readline()).strip() == b"begins"
    if seconds is None:
        assert (await child.stdout.readline()).strip() == b"done"
    else:
        await asyncio.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.08, 0.15, 0.25, None])
async def test_after_a_real_sigkill_a_copy_is_whole_or_none(tmp_path: Path, seconds: float | None) -> None:
    import sqlite3

    source = tmp_path / "toban.db"
    with sqlite3.connect(source) as connection:
        connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, words TEXT)")
        connection.executemany("INSERT INTO entry (words) VALUES (?)", [("x" * 400,)] * 40_000)
    connection.close()
    folder = tmp_path / "kept" / "toban"
    await killed_after(seconds, f"sqlite:///{source}", folder)
    now = datetime(2026, 11, 22, 18, 1, tzinfo=UTC)
    vault = FolderVault(Copies(f"sqlite:///{source}"), lambda: now)
    order = Order(key="k", part=PART, at=now, destination=str(folder))
    found = await vault.find(order)
    assert (found is None) is not (folder / "manifest.json").exists()
    if seconds is None:
        assert found is not None, "it was done"
    if found is None:
        assert await vault.begin(order) is not None
    evidence = await vault.prove(order, order.key)
    assert (evidence.findings, evidence.records) == ((), 40_000)
    assert sorted(one.name for one in folder.iterdir()) == ["manifest.json", "toban.sqlite3"]
