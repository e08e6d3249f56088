"""The time up to which Toban has counted, kept for restarts and replicas, and what a set clock moves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from domain.clock import AGREES, Leap
from domain.outbox import Status
from storage.rows import Rows, table
from storage.tables import (
    AlertGroupRow,
    AlertRow,
    ClockRow,
    DrillRow,
    EscalationRow,
    FindingRow,
    InboxRow,
    IncidentRow,
    JobRunRow,
    LaneRow,
    OutboxRow,
    PageRow,
    RolloutRow,
)
from storage.types import EPOCH, LATEST, MILLISECOND, one_more, to_millis

log = structlog.get_logger(__name__)

CLOCK = table(ClockRow)
ONE = 1

LATER: dict[type[Any], tuple[str, ...]] = {
    EscalationRow: ("due_at", "delivered_at"),
    OutboxRow: ("due_at", "lease_until", "look_again_at"),
    LaneRow: ("next_at", "closed_until"),
    AlertGroupRow: ("held_until",),
    RolloutRow: ("due_at", "lease_until", "expires_at", "bake_until"),
    DrillRow: ("look_at", "lease_until"),
    JobRunRow: ("lease_until",),
    FindingRow: ("muted_until",),
    PageRow: ("push_at",),
    InboxRow: ("retry_at",),
}
"""Moments that something waits for, by table; all are whole milliseconds. Backups mend their own."""

HAPPENED: dict[type[Any], tuple[str, ...]] = {
    PageRow: ("queued_at", "posted_at", "shown_at", "delivered_at"),
    AlertRow: ("changed_at", "ended_at"),
    AlertGroupRow: ("changed_at", "acknowledged_at", "resolved_at", "silent_at"),
    IncidentRow: ("acknowledged_at", "resolved_at"),
}
"""Moments of what has happened: one that lies ahead would keep silent what comes until then."""


class ClockQueries(Rows):
    """What the guard of the clock needs."""

    async def database_time(self) -> datetime:
        """What PostgreSQL's clock shows: the one clock that all replicas share."""
        found = (await self.connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        assert isinstance(found, datetime)
        return found.astimezone(UTC)

    async def clock_mark(self) -> datetime | None:
        """The latest time that any process has counted; ``None`` before the first.

        A writing transaction has it to itself until its end, so that only one process acts upon it.
        """
        query = sa.select(CLOCK.c.at)
        if self.postgres and self.writing:
            query = query.with_for_update()
        found = (await self.connection.execute(query)).scalar_one_or_none()
        return found if isinstance(found, datetime) else None

    async def mark_clock(self, at: datetime) -> datetime:
        """Keep ``at`` where it is the latest. Returns the latest, perhaps another process's."""
        insert = self.insert(ClockRow).values(id=ONE, at=at)
        later = sa.case((insert.excluded.at > CLOCK.c.at, insert.excluded.at), else_=CLOCK.c.at)
        kept = insert.on_conflict_do_update(index_elements=[CLOCK.c.id], set_={"at": later})
        found = (await self.connection.execute(kept.returning(CLOCK.c.at))).scalar_one()
        if isinstance(found, datetime):
            return found
        log.warning("storage.clock_unreadable", problem=repr(found))
        await self.connection.execute(sa.update(CLOCK).values(at=at))
        return at

    async def take_leap(self, leap: Leap) -> bool:
        """The clock leapt forward: people keep the time that they had to answer. False where another
        process has counted up to here already, and so has done it or never leapt.
        """
        behind = CLOCK.c.at < leap.at - min(leap.size, timedelta(minutes=1)) / 2
        taken = await self.connection.execute(sa.update(CLOCK).where(behind).values(at=leap.at))
        if taken.rowcount != 1:
            return False
        ladder = table(EscalationRow)
        before = leap.at - leap.size + AGREES
        waiting = ladder.c.due_at > leap.at - leap.size - AGREES
        # What began or was delivered since the leap is dated by the new time already.
        told_before = ladder.c.delivered_at.is_(None) | (ladder.c.delivered_at <= before)
        waiting &= (ladder.c.started_at <= before) & told_before
        await self.connection.execute(
            sa.update(ladder)
            .where(waiting)
            .values(
                due_at=_moved(ladder.c.due_at, leap.size),
                delivered_at=_moved(ladder.c.delivered_at, leap.size),
                version=one_more(ladder.c.version),
            )
        )
        # Who is being retried is not given up for hours in which nobody tried.
        outbox = table(OutboxRow)
        retried = (outbox.c.status == Status.PENDING) & (outbox.c.failing_since <= before)
        later = {"failing_since": _moved(outbox.c.failing_since, leap.size)}
        await self.connection.execute(sa.update(outbox).where(retried).values(later))
        return True

    async def pull_in(self, by: timedelta, at: datetime) -> None:
        """A clock that was far ahead was set right: what it dated comes as much earlier, none before
        ``at``; what had expired by it stays expired.
        """
        for row, names in LATER.items():
            for name in names:
                column = table(row).c[name]
                later = sa.update(table(row)).where(column > at)
                await self.connection.execute(later.values({name: _moved(column, -by)}))
        for row, names in HAPPENED.items():
            for name in names:
                column = table(row).c[name]
                await self.connection.execute(sa.update(table(row)).where(column > at).values({name: at}))
        lease = table(OutboxRow)
        left = sa.update(lease).where(lease.c.status == Status.PENDING, lease.c.due_at > at)
        await self.connection.execute(left.values(due_at=at))
        await self.connection.execute(sa.update(CLOCK).values(at=at))


def _moved(column: sa.ColumnElement[Any], by: timedelta) -> sa.ColumnElement[Any]:
    """A column of milliseconds, later by ``by``; one that nobody can mean as it is."""
    millis = sa.type_coerce(column, sa.BigInteger)
    later = millis + sa.literal(by // MILLISECOND, sa.BigInteger)
    return sa.case((millis.between(to_millis(EPOCH), to_millis(LATEST)), later), else_=millis)
