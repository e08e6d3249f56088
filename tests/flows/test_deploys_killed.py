"""The bot dies at any commit and on either side of any call to Google, and traffic ends where it ought to."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.rollouts import Stage as At
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.images import Behaviour
from sandbox.stage import Stage
from tests.databases import new_files
from tests.flows.dying import Dying, Reaper
from tests.flows.test_deploys import BAD, GOOD, PROJECT, REGION, REPOSITORY, deploying
from tests.sampling import ALL

FIRSTS = ("preview", "operation")
"""In `make test`: on both sides of every update, and of the first of each of these calls."""

QUICK = {"bake": timedelta(minutes=2), "watch": timedelta(minutes=1), "minimum": 100}


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process does not wait for what it was doing."""
    monkeypatch.setattr("bot.app.DRAIN", 0.01)


@dataclass
class Run:
    """How one life with its deaths ended."""

    reaper: Reaper
    split: list[int]
    new_serves: bool
    stage: str
    updates: int
    cards: int
    sums: set[int]


class Life(Dying):
    """Mika asks, Kenji approves, whoever is not answered tries again."""

    async def type(self, text: str) -> None:
        async def typed() -> bool:
            return (await self.stage.slack.type("mika", "general", text)).ok

        await self.living(typed)
        await self.rest()

    async def approve(self) -> None:
        async def pressed() -> bool:
            card = self.stage.channel("deploys")[0]
            if "Approve Deploy" not in card.plain:
                return True
            delivery = await self.stage.slack.press("kenji", card.channel, card.ts, "Approve Deploy")
            await self.stage.settle()
            return delivery.ok

        await self.living(pressed)
        await self.rest()


async def run(url: str, image: str, *kills: int) -> Run:
    """The whole story, with the bot killed at these points."""
    async with Stage.open(url, deploying(**QUICK), cloud=Cloud, start=False) as stage:
        cloud = stage.cloud
        for tag, errors in (("v1", 0.001), ("v2", 0.001), ("broken", 0.3)):
            cloud.images.push(f"{REPOSITORY}:{tag}", Behaviour(error_share=errors))
        service = cloud.run.serve(
            "bondpoint-api", PROJECT, location=REGION, image=f"{REPOSITORY}:v1", requests_per_second=1000 / 60
        )
        (old,) = service.split()
        generation = service.deployed.wanted().generation
        reaper = Reaper(frozenset(kills))
        reaper.watch(stage)
        life = Life(stage, reaper)
        await life.rest()
        await life.type(f"/deploy bondpoint-api {image}")
        await life.until(minutes=2)
        await life.approve()
        sums: set[int] = set()
        for minutes in range(3, 16, 3):
            await life.until(minutes=minutes)
            sums.add(sum(service.split().values()))
        reaper.over = True
        async with stage.bot.store.read() as tx:
            # Who got no answer asked again, so that there may be a second one, queued behind.
            *later, rollout = await tx.rollouts_of("bondpoint-api", 5)
        assert not any(one.shifted_at for one in later)
        split = service.split()
        return Run(
            reaper=reaper,
            split=sorted(split.values()),
            new_serves=old not in split,
            stage=rollout.stage.value,
            updates=service.deployed.wanted().generation - generation,
            cards=len(stage.channel("deploys")) - len(later),
            sums=sums,
        )


def chosen(points: list[str], *, calls: bool) -> list[int]:
    """Numbers of the points at which to kill, from 1."""
    numbers = range(1, len(points) + 1)
    if ALL:
        return list(numbers)
    updates = {n for n in numbers if points[n - 1].endswith((" create", " shift"))}
    around = {f"{side} {name}" for side in ("before", "after") for name in FIRSTS} if calls else set()
    decided = {n - 1 for n in updates if points[n - 1].startswith("before")}
    return sorted(updates | decided | {points.index(name) + 1 for name in around & set(points)})


@pytest.mark.timeout(3600 if ALL else 400)
@pytest.mark.parametrize(
    ("image", "wanted"),
    [(GOOD, (At.DONE, True, 3)), (BAD, (At.ROLLED_BACK, False, 3))],
    ids=["good", "bad"],
)
async def test_traffic_ends_where_the_machine_says_and_no_step_is_made_twice(
    tmp_path: Path, image: str, wanted: tuple[At, bool, int]
) -> None:
    fresh = new_files(tmp_path)
    calm = await run(fresh(), image)
    stage, serves, updates = wanted
    assert (calm.stage, calm.new_serves, calm.updates) == (stage.value, serves, updates)
    wrong: list[Any] = []
    for point in chosen(calm.reaper.seen, calls=image == GOOD):
        killed = await run(fresh(), image, point)
        found = (killed.stage, killed.new_serves, killed.updates, killed.split, killed.cards, killed.sums)
        if found != (stage.value, serves, updates, [100], 1, {100}):
            wrong.append((killed.reaper.happened, found))
    assert wrong == []
