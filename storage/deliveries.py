"""What the drain asks of the deliveries that wait."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from domain.inbox import FIRST_TURN, LAST_TURN, PEOPLE, Delivery, DeliveryStatus, Quarantined, same_body
from storage.rows import Rows, table, why
from storage.tables import InboxRow
from storage.types import EPOCH, UnreadableValue, one_more
from storage.unreadable import not_aside

INBOX = table(InboxRow)

COLUMNS = [INBOX.c[name] for name in Delivery.model_fields]

REDRIVEN = 400
"""Deliveries put back at once."""


@cache
def _oldest_pending() -> sa.Select[Any]:
    """The first of each turn by the index, and of these the oldest."""
    firsts = [
        sa.select(INBOX.c.received_at)
        .where(INBOX.c.status == sa.literal_column("'pending'"), INBOX.c.turn == turn)
        .order_by(INBOX.c.id)
        .limit(1)
        .subquery()
        for turn in range(LAST_TURN + 1)
    ]
    found = sa.union_all(*(sa.select(one.c.received_at) for one in firsts)).subquery()
    return sa.select(sa.func.min(found.c.received_at))


class InboxQueries(Rows):
    """What the drain asks."""

    async def pending(self, limit: int, budget: int, at: datetime) -> list[Delivery]:
        """The deliveries whose turn it is, at most ``limit`` of them and about ``budget`` bytes.

        Among equals the oldest. What overtakes another is told apart by the moments of the requests
        (``domain/alerts.py``), so that the end is the same. Always one, if there is one. On PostgreSQL one
        replica drains at a time, so that the order is kept; another one gets none. One whose moment cannot
        be read came in ``at``. People and emergencies do not wait for others in one transaction with them.
        """
        if self.postgres:
            lock = sa.select(sa.func.pg_try_advisory_xact_lock(DRAIN_LOCK))
            if not (await self.connection.execute(lock)).scalar_one():
                return []
        waiting = sa.select(*COLUMNS, INBOX.c.turn).where(INBOX.c.status == sa.literal_column("'pending'"))
        waiting = waiting.where(not_aside(INBOX))
        taken: list[Delivery] = []
        size, urgent = 0, False
        for row in await self.rows(waiting.order_by(INBOX.c.turn, INBOX.c.id).limit(limit), INBOX):
            delivery = self._delivery(row, at)
            if delivery is None:
                continue
            size += len(delivery.body)
            if taken and (size > budget or (urgent and row["turn"] != FIRST_TURN)):
                break
            urgent = row["turn"] == FIRST_TURN
            taken.append(delivery)
        return taken

    def _delivery(self, row: Mapping[str, Any], at: datetime) -> Delivery | None:
        """The delivery of a row; its body is what matters, so that less than all of the rest will do."""
        fields = {name: row[name] for name in Delivery.model_fields}
        if isinstance(fields["received_at"], UnreadableValue):
            fields["received_at"] = at
        if isinstance(fields["body"], str):
            fields["body"] = fields["body"].encode("utf-8", "replace")
        if not isinstance(fields["attempts"], int):
            fields["attempts"] = 0
        try:
            return Delivery(**fields)
        except ValidationError as error:
            self.not_readable(INBOX, row["id"], why(error))
            return None

    async def drained(self, ids: Sequence[int], at: datetime) -> None:
        """These deliveries have had their effect."""
        statement = (
            sa.update(INBOX).where(INBOX.c.id.in_(ids)).values(status=DeliveryStatus.DONE, drained_at=at)
        )
        await self.connection.execute(statement)

    async def quarantine(
        self, delivery_id: int, error: str, at: datetime, retry_at: datetime | None = None
    ) -> None:
        """Keep it aside: it cannot be understood, and must not stop the others.

        ``retry_at`` says when it is tried again by itself, where its content may not be to blame.
        """
        values = {
            "status": DeliveryStatus.QUARANTINED,
            "drained_at": at,
            "error": error.replace("\0", "")[:2000],
            "retry_at": retry_at,
        }
        await self.connection.execute(sa.update(INBOX).where(INBOX.c.id == delivery_id).values(values))

    async def untold(self, limit: int) -> list[tuple[Delivery, str]]:
        """Deliveries that were quarantined at the door and that nobody has been told of."""
        query = (
            sa.select(INBOX)
            .where(INBOX.c.status == DeliveryStatus.QUARANTINED, INBOX.c.drained_at.is_(None))
            .order_by(INBOX.c.id)
            .limit(limit)
        )
        found = [(self._delivery(row, EPOCH), row["error"] or "") for row in await self.rows(query)]
        return [(delivery, error) for delivery, error in found if delivery is not None]

    async def redrive(
        self,
        at: datetime,
        *,
        kind: str | None = None,
        ids: Sequence[int] = (),
        due_only: bool = False,
        people: bool = True,
    ) -> list[Delivery]:
        """Quarantined deliveries wait for the drain once more, oldest first, some hundreds at a time.

        ``due_only`` takes those whose own moment has come; without ``people`` what they clicked stays.
        What was set aside after ``at`` stays, so that a caller who asks again comes to an end; so do those
        whose bodies retention has dropped.
        """
        query = sa.select(*COLUMNS).where(INBOX.c.status == DeliveryStatus.QUARANTINED)
        query = query.where(sa.func.length(INBOX.c.body) > 0)
        query = query.where(INBOX.c.drained_at.is_(None) | (INBOX.c.drained_at <= at))
        if kind is not None:
            query = query.where(INBOX.c.kind == kind)
        if not people:
            query = query.where(INBOX.c.kind != PEOPLE)
        if ids:
            query = query.where(INBOX.c.id.in_(ids))
        if due_only:
            query = query.where(INBOX.c.retry_at <= at)
        if self.postgres:
            query = query.with_for_update(skip_locked=True)
        rows = await self.rows(query.order_by(INBOX.c.id).limit(REDRIVEN), INBOX)
        found = [one for row in rows if (one := self._delivery(row, at)) is not None]
        if found:
            values = {
                "status": DeliveryStatus.PENDING,
                "drained_at": None,
                "retry_at": None,
                "attempts": one_more(INBOX.c.attempts),
            }
            mine = INBOX.c.id.in_([one.id for one in found])
            await self.connection.execute(sa.update(INBOX).where(mine).values(values))
            self.topics.add("inbox")
        return found

    async def is_redrive_due(self, at: datetime) -> bool:
        """Whether a quarantined delivery is to be tried again by itself now."""
        query = sa.select(sa.exists().where(INBOX.c.retry_at <= at))
        return bool((await self.connection.execute(query)).scalar_one())

    async def quarantined_by_kind(self) -> list[Quarantined]:
        """What is quarantined, by kind, with the newest of each."""
        aside = INBOX.c.status == DeliveryStatus.QUARANTINED
        counted = sa.select(
            INBOX.c.kind, sa.func.count().label("many"), sa.func.max(INBOX.c.id).label("newest")
        )
        kinds = await self.rows(counted.where(aside).group_by(INBOX.c.kind).order_by(INBOX.c.kind))
        newest = INBOX.c.id.in_([row["newest"] for row in kinds])
        reasons = {
            row["id"]: row["error"]
            for row in await self.rows(sa.select(INBOX.c.id, INBOX.c.error).where(newest))
        }
        return [
            Quarantined(
                kind=row["kind"],
                count=row["many"],
                newest=row["newest"],
                reason=reasons.get(row["newest"]) or "",
            )
            for row in kinds
        ]

    async def came_before(self, delivery: Delivery, since: datetime) -> bool:
        """Whether the same sender sent the same body earlier, but not before ``since``."""
        begins = same_body(delivery.key)
        same = (INBOX.c.key > begins) & (INBOX.c.key < begins + "g")  # Random ends are hexadecimal.
        earlier = (INBOX.c.id < delivery.id) & (INBOX.c.received_at >= since)
        found = await self.connection.execute(sa.select(INBOX.c.id).where(same, earlier).limit(1))
        return found.scalar_one_or_none() is not None

    async def oldest_pending(self) -> datetime | None:
        """When the delivery came in that has waited longest."""
        found = (await self.connection.execute(_oldest_pending())).scalar()
        return found if isinstance(found, datetime) else None


DRAIN_LOCK = 0x746F62616E
"""The advisory lock of the drain: the letters of the product's name."""
