"""The scheduler wakes the loops once a second, also after its clock was set."""

import asyncio
from datetime import UTC, datetime, timedelta

from jobs.loops import Loops
from sandbox.stage import Stage


async def test_a_scheduler_that_waits_for_a_time_gone_by_is_started_anew(stage: Stage) -> None:
    """13.11: APScheduler counts with the wall clock; set back, its next tick was an hour away."""
    loops = Loops(stage.bot.world, [])
    loops.start()
    try:
        event = stage.bot.world.wake.event("a loop's topic")
        async with asyncio.timeout(5):
            await event.wait()
        (ticks,) = loops._scheduler.get_jobs()
        ticks.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))
        event.clear()
        for _ in range(2):
            async with asyncio.timeout(10):
                await event.wait()
            event.clear()
        assert ticks.next_run_time - datetime.now(UTC) < timedelta(minutes=1)
    finally:
        await loops.stop()
