"""The real bot as the demo's child: the same ``build()`` as in production, its clock follows the world's."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta

import aiohttp

from bot import log
from bot.app import Bot, build
from bot.policy import read_policy
from bot.settings import Settings
from sandbox.clock import ShiftedClock


async def _follow(world: str, clock: ShiftedClock, bot: Bot) -> None:
    """Whenever the world's clock is pushed, ours is, and everything that became due is woken."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                known = clock.shift.total_seconds()
                async with session.get(f"{world}/world/shift", params={"known": str(known)}) as answer:
                    found = await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)
                continue
            if found["shift"] != known:
                clock.shift = timedelta(seconds=found["shift"])
                bot.world.wake.everybody()


async def _first_shift(world: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{world}/world/shift") as answer:
        return float((await answer.json())["shift"])


async def main() -> None:
    """Run until the world goes, or says so."""
    settings = Settings.read(os.environ)
    world = os.environ["DEMO_WORLD"]
    clock = ShiftedClock(timedelta(seconds=await _first_shift(world)))
    log.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets(), clock=clock)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), lambda: _world_is_gone() if not os.read(0, 1) else None)
    async with build(settings, read_policy(settings.policy), clock) as bot:
        following = asyncio.create_task(_follow(world, clock, bot))
        await stop.wait()
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


def _world_is_gone() -> None:
    """The world was killed: its bot dies the same death, and both go on at the next start."""
    os._exit(1)


if __name__ == "__main__":
    asyncio.run(main())
