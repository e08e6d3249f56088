"""What the drain asks of the deliveries that wait."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from domain.inbox import Delivery, DeliveryStatus
from storage.rows import Rows, table
from storage.tables import InboxRow

INBOX = table(InboxRow)


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
