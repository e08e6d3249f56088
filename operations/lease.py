"""Having something to oneself while it takes long: a lease that is prolonged until the work is done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from domain.errors import Outage
from domain.ports import Tx
from operations.world import World

log = structlog.get_logger(__name__)

R = TypeVar("R")

LEASE = timedelta(seconds=90)
"""How long one replica has something to itself."""

PROLONG = 30.0
"""Seconds of real time between two prolongations."""


def is_held(lease_until: datetime | None, at: datetime) -> bool:
    """Whether somebody who is alive has it. Whose lease ran out may be dead: then it is looked at first."""
    return lease_until is not None and lease_until > at


async def in_time(answer: Awaitable[R], within: timedelta) -> R:
    """What somebody answers. Raises ``Outage`` where that takes longer; real time counts."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await answer
    except TimeoutError as error:
        raise Outage(f"no answer after {within.total_seconds():.0f} s") from error


@asynccontextmanager
async def held(world: World, prolong: Callable[[Tx, datetime], Awaitable[None]]) -> AsyncIterator[None]:
    """Keep the lease while something takes long; ``prolong`` saves until when."""
    ended = asyncio.Event()

    async def again() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), PROLONG)
                return
            try:
                async with world.store() as tx:
                    await prolong(tx, world.clock.now() + LEASE)
            except Outage as outage:
                log.warning("lease.not_prolonged", reason=outage.reason)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        ended.set()  # It ends by itself: cut off, it would leave a transaction behind.
        await asyncio.gather(task, return_exceptions=True)
