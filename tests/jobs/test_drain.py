"""How much the drain takes at once, and whom it does not keep waiting."""

import asyncio

import pytest

from jobs.drain import HELD_BUSY, LEAST, Drainer, next_size
from operations.inbox import LARGE
from sandbox.stage import Stage


@pytest.mark.parametrize(
    ("size", "taken", "took", "expected"),
    [
        (80, 80, HELD_BUSY, 80),
        (200, 200, 2 * HELD_BUSY, 100),
        (200, 200, 100 * HELD_BUSY, 100),
        (80, 80, HELD_BUSY / 4, 160),
        (80, 3, HELD_BUSY / 4, 80),
        (200, 3, 2 * HELD_BUSY, 100),
        (LEAST, LEAST, 100 * HELD_BUSY, LEAST),
        (300, 300, 0.0, LARGE.deliveries),
    ],
)
def test_13_12_a_batch_is_as_large_as_its_seconds_allow(
    size: int, taken: int, took: float, expected: int
) -> None:
    assert next_size(size, taken, took, HELD_BUSY) == expected


async def test_13_12_an_urgent_delivery_ends_the_rest_of_the_drain(stage: Stage) -> None:
    drainer = Drainer(stage.bot.world, {})
    resting = asyncio.create_task(drainer._rest(600))
    await asyncio.sleep(0)
    stage.bot.world.wake(frozenset({"urgent"}))
    async with asyncio.timeout(30):
        await resting
