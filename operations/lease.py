"""Having something to oneself while it takes long: a lease that is prolonged until the work is done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import structlog

from domain.errors import Outage
from domain.ports import Tx
from operations.world import World

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=90)
"""How long one replica has something to itself."""

PROLONG = 30.0
"""Seconds of real time between two prolongations."""


@asynccontextmanager
async def held(world: World, prolong: Callable[[Tx, datetime], Awaitable[None]]) -> AsyncIterator[None]:
    """Keep the lease while something takes long; ``prolong`` saves until when."""

    async def again() -> None:
        while True:
            await asyncio.sleep(PROLONG)
            try:
                async with world.store() as tx:
                    await prolong(tx, world.clock.now() + LEASE)
            except Outage as outage:
                log.warning("lease.not_prolonged", reason=outage.reason)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
