"""Lets go of what is over and old: every night, a few things at a time, beside whatever else is written."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from domain.data_retention import FIRST, Limits, Removed, next_batch
from domain.effects import Text
from domain.ports import Tx
from operations import counters
from operations.recurring import Ran
from operations.world import World

log = structlog.get_logger(__name__)

LONGEST_RUN = 480.0
"""Seconds; shorter than the lease of a run. What is left then waits for the next night."""

REST = 3.0
"""After each batch the writer is left alone so many times as long as the batch held it."""

LEAST_REST, LONGEST_REST = 0.002, 0.25
"""Seconds."""

SLACK = 0.05
"""A share of the file that stays free: tomorrow's alerts take it again."""

BETWEEN_CHECKPOINTS = 20
"""Batches. SQLite would make a writer do this work once its log holds a thousand pages."""

Find = Callable[[Tx, Limits, int], Awaitable[tuple[list[int], int | None]]]
Remove = Callable[[Tx, list[int], Limits, int], Awaitable[tuple[Removed, Sequence[int]]]]


async def retain(world: World, _due: datetime) -> Ran:
    """Remove what the policy's ``retention`` lets go, then give the room back."""
    run = _Run(world)
    gone = Removed()
    for find, remove in _STEPS:
        gone += await run.sweep(find, remove)
    gone += await run.rest()
    await run.give_back()
    async with world.store.read() as tx:
        space = await tx.space()
    for kind, count in gone.model_dump().items():
        counters.removed.labels(kind=kind).inc(count)
    log.info(
        "storage.old_rows_removed",
        **gone.model_dump(),
        size=space.size,
        free=space.free,
        whole=not run.is_late,
    )
    return Ran(done=gone.total, result=Text(key="jobs.removed", params=gone.model_dump()))


class _Run:
    """One night's work: how large its batches are, and until when it may last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._limits = world.policy.retention.limits(world.clock.now())
        self._until = world.clock.monotonic() + LONGEST_RUN
        self._size = FIRST
        self._batches = 0

    @property
    def is_late(self) -> bool:
        """True where what is left has to wait for the next run."""
        return self._world.clock.monotonic() >= self._until

    async def sweep(self, find: Find, remove: Remove) -> Removed:
        """Go through one table from its beginning to where it is too young."""
        self._size = FIRST
        gone = Removed()
        after: int | None = 0
        while after is not None and not self.is_late:
            async with self._world.store.read() as tx:
                found, after = await find(tx, self._limits, after)
            while found and not self.is_late:
                few, found = found[: self._size], found[self._size :]
                removed, again = await self._batch(remove, few)
                gone += removed
                found = [*again, *found] if removed.total else found
        return gone

    async def rest(self) -> Removed:
        """What needs no looking for: until a batch finds nothing more."""
        gone = Removed()
        while not self.is_late:
            removed, _ = await self._batch(_rest, [])
            gone += removed
            if not removed.total:
                break
        return gone

    async def _batch(self, remove: Remove, few: list[int]) -> tuple[Removed, Sequence[int]]:
        """One transaction; a process that is killed before its end has removed nothing by it."""
        world = self._world
        async with world.store() as tx:
            began = world.clock.monotonic()
            removed, again = await remove(tx, few, self._limits, self._size)
        await self._pause(world.clock.monotonic() - began)
        return removed, again

    async def _pause(self, took: float) -> None:
        self._size = next_batch(self._size, took)
        self._batches += 1
        counters.retention_seconds.observe(took)
        await asyncio.sleep(min(max(took * REST, LEAST_REST), LONGEST_REST))
        if self._batches % BETWEEN_CHECKPOINTS == 0:
            await self._world.store.checkpoint()

    async def give_back(self) -> None:
        """Shorten SQLite's file to what it holds and a little more."""
        self._size = FIRST
        while not self.is_late:
            async with self._world.store.read() as tx:
                space = await tx.space()
            if not space.gives_back or space.free <= space.size * SLACK:
                break
            began = self._world.clock.monotonic()
            await self._world.store.give_back(self._size)
            await self._pause(self._world.clock.monotonic() - began)
        await self._world.store.checkpoint()


async def _bodies(tx: Tx, ids: list[int], limits: Limits, most: int) -> tuple[Removed, Sequence[int]]:
    return await tx.drop_bodies(ids, limits), ()


async def _deliveries(tx: Tx, ids: list[int], limits: Limits, most: int) -> tuple[Removed, Sequence[int]]:
    return await tx.remove_deliveries(ids, limits), ()


async def _messages(tx: Tx, ids: list[int], limits: Limits, most: int) -> tuple[Removed, Sequence[int]]:
    return await tx.remove_messages(ids, limits), ()


async def _groups(tx: Tx, ids: list[int], limits: Limits, most: int) -> tuple[Removed, Sequence[int]]:
    return await tx.remove_groups(ids, limits, max(most, len(ids)))


async def _rest(tx: Tx, ids: list[int], limits: Limits, most: int) -> tuple[Removed, Sequence[int]]:
    return await tx.remove_rest(limits, most), ()


_STEPS: tuple[tuple[Find, Remove], ...] = (
    (lambda tx, limits, after: tx.old_bodies(limits, after), _bodies),
    (lambda tx, limits, after: tx.old_deliveries(limits, after), _deliveries),
    (lambda tx, limits, after: tx.old_messages(limits, after), _messages),
    (lambda tx, limits, after: tx.old_groups(limits, after), _groups),
)
