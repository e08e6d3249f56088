"""The leases of messages under way: renewed while their owner lives, disputed where it wakes too late."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.outbox import LEASE, Letter, Status
from domain.views import Posted
from storage.rows import Rows, table
from storage.tables import OutboxRow
from storage.types import one_more

OUTBOX = table(OutboxRow)


class LeaseQueries(Rows):
    """What the loop that speaks needs while its calls take long, and after them."""

    async def renew(self, fences: Mapping[int, int], at: datetime) -> set[int]:
        """Renew leases by id and fence. Returns the ids of those that are still held.

        A row that another transaction has locked just now is left for the next time.
        """
        query = sa.select(OUTBOX.c.id, OUTBOX.c.fence).where(
            OUTBOX.c.id.in_(sorted(fences)), OUTBOX.c.lease_until.is_not(None)
        )
        if self.postgres:
            query = query.with_for_update(skip_locked=True)
        held = {row["id"] for row in await self.rows(query) if fences[row["id"]] == row["fence"]}
        if held:
            renewal = sa.update(OUTBOX).where(OUTBOX.c.id.in_(sorted(held))).values(lease_until=at + LEASE)
            await self.connection.execute(renewal)
        return held

    async def dispute(self, letter: Letter, posted: Posted | None, at: datetime) -> bool:
        """Somebody sent this message, perhaps, although it had a newer owner.

        True where ``posted`` has to go: the message stands elsewhere, or was withdrawn or given up. Where
        nobody knows what became of the late attempt, the message is looked at once more, and where it was a
        change of a card, it is made again as things are now.
        """
        mine = OUTBOX.c.id == letter.id
        row = next(iter(await self.rows(sa.select(OUTBOX).where(mine))), None)
        if row is None or row["status"] not in {Status.PENDING, Status.SENT}:
            return not letter.is_edit
        if row["ts"] is not None and posted is not None and not letter.is_edit:
            return bool(row["ts"] != posted.ts)
        again: dict[str, Any] = {"doubt_from": letter.claimed_at, "doubt_until": at}
        if row["ts"] is None:
            if row["lease_until"] is None:
                await self.connection.execute(sa.update(OUTBOX).where(mine).values(in_doubt=True, **again))
            return False  # Its new owner looks once more by itself.
        again |= {"look_again_at": at, "due_at": at}
        if letter.is_edit:
            wanted = one_more(OUTBOX.c.wanted)
            again = {"wanted": wanted, "status": Status.PENDING, "digest": None, "due_at": at}
        await self.connection.execute(sa.update(OUTBOX).where(mine).values(again))
        self.topics.add("outbox")
        return False
