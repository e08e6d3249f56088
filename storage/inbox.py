"""The one door: deliveries wait here for one shared commit, and for the drain."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from domain.errors import Outage
from domain.inbox import Delivery, DeliveryStatus, NewDelivery
from storage.rows import Rows, table
from storage.tables import InboxRow
from storage.types import to_millis

if TYPE_CHECKING:
    from storage.store import Database

log = structlog.get_logger(__name__)

INBOX = table(InboxRow)

QUEUE_LIMIT = 5_000
"""Deliveries that may wait for a commit at once; more are refused, and the sender tries again."""

BATCH = 500
"""Deliveries in one commit."""

INSERT = {
    "sqlite": (
        "INSERT OR IGNORE INTO inbox (kind, key, body, received_at, status, error) VALUES (?, ?, ?, ?, ?, ?)"
    ),
    "postgresql": (
        "INSERT INTO inbox (kind, key, body, received_at, status, error)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING"
    ),
}


class GroupCommit:
    """Writes everything that waits in one commit, then answers everybody who waited.

    A burst of deliveries pays one fsync for all that came in while the last one ran. The statement
    goes to the driver as it is: it is the one hot path of the product.
    """

    def __init__(self, database: "Database") -> None:
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
        await done

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[NewDelivery, asyncio.Future[None]]]) -> None:
        rows = [_row(delivery) for delivery, _ in batch]
        try:
            async with self._database.writing() as tx:
                await tx.connection.exec_driver_sql(INSERT[tx.connection.dialect.name], rows)
                tx.topics.add("inbox")
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


def _fail(batch: list[tuple[NewDelivery, asyncio.Future[None]]], outage: Outage) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(Outage(outage.reason, retry_after=outage.retry_after))


def _row(delivery: NewDelivery) -> tuple[object, ...]:
    status = DeliveryStatus.QUARANTINED if delivery.error else DeliveryStatus.PENDING
    return (
        delivery.kind,
        delivery.key,
        delivery.body,
        to_millis(delivery.received_at),
        status.value,
        delivery.error,
    )


class InboxQueries(Rows):
    """What the drain asks."""

    async def pending(self, limit: int, budget: int) -> list[Delivery]:
        """The oldest deliveries that wait, at most ``limit`` of them and about ``budget`` bytes.

        Always one, if there is one. On PostgreSQL one replica drains at a time, so that the order
        is kept; another one gets none.
        """
        if self.postgres:
            lock = sa.select(sa.func.pg_try_advisory_xact_lock(DRAIN_LOCK))
            if not (await self.connection.execute(lock)).scalar_one():
                return []
        columns = (INBOX.c.id, INBOX.c.kind, INBOX.c.key, INBOX.c.body, INBOX.c.received_at)
        waiting = sa.select(*columns).where(INBOX.c.status == sa.literal_column("'pending'"))
        taken: list[Delivery] = []
        size = 0
        for row in await self.rows(waiting.order_by(INBOX.c.id).limit(limit)):
            size += len(row["body"])
            if taken and size > budget:
                break
            taken.append(Delivery(**{name: row[name] for name in Delivery.model_fields}))
        return taken

    async def drained(self, ids: Sequence[int], at: datetime) -> None:
        """These deliveries have had their effect."""
        statement = (
            sa.update(INBOX).where(INBOX.c.id.in_(ids)).values(status=DeliveryStatus.DONE, drained_at=at)
        )
        await self.connection.execute(statement)

    async def quarantine(self, delivery_id: int, error: str, at: datetime) -> None:
        """Keep it aside: it cannot be understood, and must not stop the others."""
        values = {"status": DeliveryStatus.QUARANTINED, "drained_at": at, "error": error[:2000]}
        await self.connection.execute(sa.update(INBOX).where(INBOX.c.id == delivery_id).values(values))

    async def untold(self, limit: int) -> list[tuple[Delivery, str]]:
        """Deliveries that were quarantined at the door and that nobody has been told of."""
        query = (
            sa.select(INBOX)
            .where(INBOX.c.status == DeliveryStatus.QUARANTINED, INBOX.c.drained_at.is_(None))
            .order_by(INBOX.c.id)
            .limit(limit)
        )
        found = await self.rows(query)
        return [
            (
                Delivery(**{name: row[name] for name in Delivery.model_fields}),
                row["error"] or "",
            )
            for row in found
        ]

    async def oldest_pending(self) -> datetime | None:
        """When the delivery came in that has waited longest."""
        waiting = sa.select(INBOX.c.received_at).where(INBOX.c.status == sa.literal_column("'pending'"))
        found = (await self.connection.execute(waiting.order_by(INBOX.c.id).limit(1))).scalar_one_or_none()
        return found if isinstance(found, datetime) else None


DRAIN_LOCK = 0x746F62616E
"""The advisory lock of the drain: the letters of the product's name."""
