"""Accepting what comes in, and turning it into what it means, batch by batch."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import structlog

from domain.effects import Effect, Note, Text
from domain.errors import Outage, Unreadable
from domain.inbox import SAME_BODY_WITHIN, Delivery, NewDelivery, retry_at
from domain.outbox import OPS
from domain.ports import Tx
from operations import counters
from operations.world import World

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Portion:
    """How much one transaction of the drain takes: deliveries, and bytes of their bodies."""

    deliveries: int
    size: int


LARGE = Portion(300, 512 * 1024)
"""Where nobody waits at the door: few, big transactions are the fastest."""

SMALL = Portion(80, 96 * 1024)
"""Where senders wait: none of them shall wait for more than a few dozen milliseconds."""


class UnknownKind(Exception):
    """A delivery of a kind that this version has no interpreter for."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"this version does not know deliveries of the kind '{kind}'")


@dataclass(frozen=True)
class Drained:
    """How many deliveries were taken, and how many seconds the oldest of them had waited."""

    taken: int
    waited: float = 0.0


Interpreter = Callable[[Tx, World, list[Delivery], datetime], Awaitable[None]]
"""Gives deliveries of one kind their effect, inside the drain's transaction."""

Interpreters = Mapping[str, Interpreter]
"""By the delivery's kind; built in ``handlers/``, handed over by ``bot/app.py``."""


async def accept(world: World, delivery: NewDelivery) -> None:
    """Keep it for good. When this returns it is committed; raises ``Outage`` where it is not."""
    await world.inbox.put(delivery)
    counters.accepted.labels(kind=delivery.kind).inc()


async def drain(world: World, interpreters: Interpreters, portion: Portion = LARGE) -> Drained:
    """Give the waiting deliveries whose turn it is their effect.

    An ``Outage`` is nobody's fault: everything stays as it is, for later.
    """
    told = await _tell_quarantined(world)
    done = await _some(world, interpreters, portion)
    return Drained(taken=told + done.taken, waited=done.waited)


async def _some(world: World, interpreters: Interpreters, portion: Portion) -> Drained:
    """One batch. Where it fails a smaller one is tried, down to the one delivery that is to blame."""
    batch: list[Delivery] = []
    at = world.clock.now()
    try:
        async with world.store() as tx:
            batch = await tx.pending(portion.deliveries, portion.size, at)
            if not batch:
                return Drained(0)
            for kind, some in groupby(batch, key=lambda delivery: delivery.kind):
                if kind not in interpreters:
                    raise UnknownKind(kind)  # noqa: TRY301
                await interpreters[kind](tx, world, list(some), at)
            await tx.drained([delivery.id for delivery in batch], at)
            await tx.say(_work_now([one for one in batch if one.attempts]), at)
    except Outage:
        raise
    except Exception as error:
        if len(batch) > 1:
            log.warning("inbox.batch_failed", size=len(batch), error=repr(error))
            return await _some(world, interpreters, Portion(len(batch) // 2, portion.size))
        log.exception("inbox.poisonous", delivery=batch[0].id if batch else None)
        if not batch:
            raise
        await _put_aside(world, batch[0], error, at)
    counters.drained.inc(len(batch))
    oldest = min(delivery.received_at for delivery in batch)
    return Drained(len(batch), max(0.0, (at - oldest).total_seconds()))


async def _put_aside(world: World, delivery: Delivery, error: Exception, at: datetime) -> None:
    """Keep it aside and tell it. Where its content may not be to blame it is tried again by itself.

    What one version cannot use another may, and what the database refuses today it may take tomorrow: only
    a body that cannot be understood is left to people.
    """
    again = None if isinstance(error, Unreadable) else retry_at(delivery, at)
    reason = str(error) if isinstance(error, Unreadable | UnknownKind) else repr(error)
    async with world.store() as tx:
        await tx.quarantine(delivery.id, reason, at, again)
        await tx.say([_told(delivery, reason)], at)
    counters.quarantined.labels(kind=delivery.kind).inc()


async def redrive_due(world: World) -> int:
    """Put back what was quarantined and whose moment to be tried again has come. Returns how many."""
    at = world.clock.now()
    async with world.store.read() as tx:
        if not await tx.is_redrive_due(at):
            return 0
    async with world.store() as tx:
        return len(await tx.redrive(at, due_only=True))


def _work_now(redriven: Sequence[Delivery]) -> list[Effect]:
    """What the ops channel hears of deliveries that had been set aside and have had their effect now."""
    if len(redriven) > TOLD_ONE_BY_ONE:
        first = redriven[0]
        text = Text(key="ops.redriven_many", params={"count": len(redriven), "kind": first.kind})
        return [Note(key=f"redriven:{first.id}:{first.attempts}", place=OPS, text=text)]
    return [
        Note(
            key=f"redriven:{one.id}:{one.attempts}",
            place=OPS,
            text=Text(key="ops.redriven", params={"kind": one.kind, "delivery": one.id}),
        )
        for one in redriven
    ]


async def _tell_quarantined(world: World) -> int:
    """What could not even be parsed was put aside at the door; the ops channel hears of it here."""
    async with world.store.read() as looking:
        if not await looking.untold(1):
            return 0
    at = world.clock.now()
    async with world.store() as tx:
        aside = await tx.untold(LARGE.deliveries)
        found = []
        for delivery, error in aside:
            await tx.quarantine(delivery.id, error, at)
            counters.quarantined.labels(kind=delivery.kind).inc()
            if not await tx.came_before(delivery, delivery.received_at - SAME_BODY_WITHIN):
                found.append((delivery, error))
        if len(found) > TOLD_ONE_BY_ONE:
            first, error = found[0]
            params = {"count": len(found), "kind": first.kind, "reason": error[:300]}
            text = Text(key="ops.quarantined_many", params=params)
            await tx.say([Note(key=f"quarantined:{first.id}", place=OPS, text=text)], at)
        else:
            await tx.say([_told(delivery, error) for delivery, error in found], at)
    return len(aside)


TOLD_ONE_BY_ONE = 3
"""More unreadable deliveries at once than this are told in one line."""


def _told(delivery: Delivery, error: str) -> Note:
    params = {
        "kind": delivery.kind,
        "reason": error[:300],
        "delivery": delivery.id,
        "at": int(delivery.received_at.timestamp()),
    }
    text = Text(key="ops.quarantined", params=params)
    return Note(key=f"quarantined:{delivery.id}", place=OPS, text=text)
