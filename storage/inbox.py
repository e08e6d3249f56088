"""The one door: deliveries wait here for one shared commit, and for the drain."""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from domain.errors import Outage
from domain.inbox import FIRST_TURN, DeliveryStatus, NewDelivery
from storage.bodies import LARGE, pack
from storage.database import Database, Lost
from storage.types import to_millis

log = structlog.get_logger(__name__)

QUEUE_LIMIT = 5_000
"""Deliveries that may wait for a commit at once; more are refused, and the sender tries again."""

BATCH = 500
"""Deliveries in one commit."""

WITHIN = 5.0
"""Seconds that a sender waits for its commit, then gets a 503; its retry may find the delivery kept."""

INSERT = {
    "sqlite": (
        "INSERT OR IGNORE INTO inbox (kind, key, body, received_at, status, error, turn)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    ),
    "postgresql": (
        "INSERT INTO inbox (kind, key, body, received_at, status, error, turn)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING"
    ),
}


class GroupCommit:
    """Writes everything that waits in one commit, then answers everybody who waited.

    A burst of deliveries pays one fsync for all that came in while the last one ran. The statement
    goes to the driver as it is: it is the one hot path of the product.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[NewDelivery, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.arrivals = 0

    def start(self) -> None:
        """Begin to write. Called once, inside the running loop."""
        self._task = asyncio.create_task(self._run(), name="inbox-commit")

    async def stop(self) -> None:
        """Write what waits, then end; nobody may put any more."""
        if self._task is None:
            return
        self._closing = True
        self._arrived.set()
        await self._task
        self._task = None

    async def put(self, delivery: NewDelivery) -> None:
        """Return when the delivery is committed. Raises ``Outage`` where it could not be."""
        if self._closing:
            raise Outage("stopping", retry_after=5.0)
        if len(self._waiting) >= QUEUE_LIMIT:
            raise Outage("too many deliveries wait for the database", retry_after=1.0)
        self.arrivals += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, done))
        self._arrived.set()
        try:
            async with asyncio.timeout(WITHIN):
                await done
        except TimeoutError as late:
            raise Outage(f"the database did not answer within {WITHIN:.0f} s", retry_after=5.0) from late

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[NewDelivery, asyncio.Future[None]]]) -> None:
        try:
            try:
                await self._write(batch)
            except Lost:  # It idled on a dead connection; every key is kept once, so that it may be repeated.
                await self._write(batch)
        except asyncio.CancelledError:
            _fail(batch, Outage("stopping"))
            raise
        except Outage as outage:
            _fail(batch, outage)
        except sa.exc.DBAPIError as error:
            _fail(batch, Outage(f"database: {type(error.orig).__name__}: {error.orig}"))
        except Exception as error:
            log.exception("inbox.commit_failed", size=len(batch))
            _fail(batch, Outage(f"not committed: {error!r}"))
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    async def _write(self, batch: list[tuple[NewDelivery, asyncio.Future[None]]]) -> None:
        bodies = await _packed([delivery for delivery, _ in batch])
        async with self._database.writing() as tx:
            rows = [
                _row(delivery, body)
                for (delivery, done), body in zip(batch, bodies, strict=True)
                if not done.done()
            ]
            if not rows:  # Everybody has given up waiting and was told so.
                return
            await tx.connection.exec_driver_sql(INSERT[tx.connection.dialect.name], rows)
            tx.topics.add("inbox")
            if any(delivery.turn == FIRST_TURN for delivery, _ in batch):
                tx.topics.add("urgent")


def _fail(batch: list[tuple[NewDelivery, asyncio.Future[None]]], outage: Outage) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(Outage(outage.reason, retry_after=outage.retry_after))


async def _packed(deliveries: Sequence[NewDelivery]) -> list[bytes]:
    """The bodies as they are kept; large ones are compressed beside the loop, which answers others."""
    if sum(len(delivery.body) for delivery in deliveries) < LARGE:
        return [pack(delivery.body) for delivery in deliveries]
    return await asyncio.to_thread(lambda: [pack(delivery.body) for delivery in deliveries])


def _row(delivery: NewDelivery, body: bytes) -> tuple[object, ...]:
    status = DeliveryStatus.QUARANTINED if delivery.error else DeliveryStatus.PENDING
    return (
        delivery.kind,
        delivery.key,
        body,
        to_millis(delivery.received_at),
        status.value,
        delivery.error,
        delivery.turn,
    )
