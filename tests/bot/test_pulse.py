"""13.21: what a process that stood still reads when it wakes is as old as the standstill."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import aiohttp
from aiohttp import web

from bot.clock import SystemClock
from bot.doors import Runner
from bot.pulse import AFTERMATH, STOOD, Pulse
from sandbox.clock import StandingClock

CLOCK = SystemClock()


@asynccontextmanager
async def door(pulse: Pulse, seen: list[datetime]) -> AsyncIterator[str]:
    """A server that notes when each request had arrived."""

    async def handle(request: web.Request) -> web.Response:
        seen.append(pulse.arrived())
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handle)
    runner = Runner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pulse.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await pulse.stop()
        await runner.cleanup()


async def test_13_21_requests_that_waited_while_the_process_stood_still_are_as_old_as_that() -> None:
    seen: list[datetime] = []
    pulse = Pulse(CLOCK.now, CLOCK.uptime)
    async with door(pulse, seen) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert answer.status == 200
        sending = [asyncio.create_task(_once(url)) for _ in range(20)]
        await asyncio.sleep(0)  # All but the very first steps of them happen after the standstill.
        began = CLOCK.now()
        time.sleep(STOOD + 0.5)
        await asyncio.gather(*sending)
        assert len(seen) == 21
        assert all(one <= began for one in seen[1:])
        await asyncio.sleep(AFTERMATH + 0.2)
        before = CLOCK.now()
        async with session.get(url):
            pass
        assert seen[-1] >= before


async def _once(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200


async def test_13_21_a_short_pause_and_a_clock_that_is_set_are_no_standstill() -> None:
    world, uptime = StandingClock(), [0.0]
    pulse = Pulse(world.now, lambda: uptime[0])
    assert pulse.arrived() == world.now()
    pulse.start()
    uptime[0] = STOOD - 0.1
    assert pulse.arrived() == world.now()
    world.push(timedelta(hours=1))
    assert pulse.arrived() == world.now()
    uptime[0] += 30
    assert pulse.arrived() == world.now() - timedelta(seconds=30)
    uptime[0] += AFTERMATH / 2
    assert pulse.arrived() == world.now() - timedelta(seconds=30 + AFTERMATH / 2)
    uptime[0] += AFTERMATH
    assert pulse.arrived() == world.now()
    await pulse.stop()
