"""What waits in a restored database: held back together, and let go again."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.inbox import DeliveryStatus
from domain.quiet import Held
from storage.alerts import ALERT, GROUP
from storage.deliveries import INBOX
from storage.escalations import ESCALATION, PAGE, RUNNING
from storage.outbox import OUTBOX
from storage.rollouts import ROLLOUT
from storage.rows import Rows
from storage.types import one_more

WAITING: tuple[tuple[sa.Table, str], ...] = (
    (ESCALATION, "due_at"),
    (PAGE, "push_at"),
    (GROUP, "held_until"),
    (ROLLOUT, "due_at"),
    (INBOX, "retry_at"),
    (OUTBOX, "due_at"),
)
"""Moments at which something of the past would go on."""


class QuietQueries(Rows):
    """What a quiet start needs."""

    async def hold_back(self, until: datetime, at: datetime, why: str) -> Held:
        """Nothing that pages, or leads to a page, is due before a moment. What was held back."""
        ladders = await self._later(ESCALATION, "due_at", until, RUNNING)
        await self._later(PAGE, "push_at", until)
        await self._later(GROUP, "held_until", until)
        rollouts = await self._later(ROLLOUT, "due_at", until)
        # Pages that were not sent yet. Slack's coming back must not release them: nobody has tried.
        pages = OUTBOX.c.ts.is_(None) & OUTBOX.c.key.startswith("page:", autoescape=True)
        letters = await self._later(OUTBOX, "due_at", until, pages, attempts=0)
        waits = INBOX.c.status == DeliveryStatus.PENDING
        aside = {"status": DeliveryStatus.QUARANTINED, "error": why, "retry_at": until, "drained_at": at}
        deliveries = await self.connection.execute(sa.update(INBOX).where(waits).values(aside))
        return Held(ladders=ladders, rollouts=rollouts, pages=letters, deliveries=deliveries.rowcount)

    async def let_go(self, until: datetime, at: datetime) -> None:
        """What was held back until a moment is due now."""
        for of, name in WAITING:
            held = sa.update(of).where(of.c[name] == until)
            await self.connection.execute(held.values({name: at} | _next_version(of)))
        self.topics |= {"escalations", "outbox", "inbox", "redrive", "rollouts"}

    async def newest_start(self, group_id: int) -> datetime | None:
        """When the newest alert of a group that fires began."""
        query = sa.select(sa.func.max(ALERT.c.started_at)).where(ALERT.c.group_id == group_id, ALERT.c.firing)
        found = (await self.connection.execute(query)).scalar_one_or_none()
        return found if isinstance(found, datetime) else None

    async def _later(
        self, of: sa.Table, name: str, until: datetime, also: Any = None, **values: object
    ) -> int:
        waits = of.c[name] < until
        held = sa.update(of).where(waits if also is None else waits & also)
        found = await self.connection.execute(held.values({name: until} | _next_version(of) | values))
        return int(found.rowcount)


def _next_version(of: sa.Table) -> dict[str, Any]:
    return {"version": one_more(of.c.version)} if "version" in of.c else {}
