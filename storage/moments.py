"""When each loop has something to do next, in one query."""

from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from domain.retention import Standing
from storage.alerts import GROUP, HELD
from storage.backups import BACKUP
from storage.deliveries import INBOX
from storage.drills import DRILL
from storage.escalations import ESCALATION, PAGE, RUNNING
from storage.outbox import next_letter
from storage.rollouts import ROLLOUT
from storage.rows import Rows
from storage.unreadable import not_aside


class MomentQueries(Rows):
    """What tells a world whose time is pushed where to stop."""

    async def next_moments(self) -> dict[str, datetime]:
        """The next due moment of each loop, by its name; those with nothing to do are left out."""
        row = (await self.connection.execute(_moments())).mappings().one()
        found: dict[str, datetime] = {}
        for name, at in row.items():
            if isinstance(at, datetime):
                loop = name.partition(":")[0]
                found[loop] = min(found.get(loop, at), at)
        return found


@cache
def _moments() -> sa.Select[Any]:
    held = (BACKUP.c.standing == Standing.RUNNING) & BACKUP.c.lease_until.is_not(None) & not_aside(BACKUP)
    drilled = DRILL.c.ended_at.is_(None) & DRILL.c.lease_until.is_not(None) & not_aside(DRILL)
    earliest = {
        "escalations": sa.select(sa.func.min(ESCALATION.c.due_at)).where(RUNNING),
        "pages": sa.select(sa.func.min(PAGE.c.push_at)),
        "rollouts": sa.select(sa.func.min(ROLLOUT.c.due_at)).where(not_aside(ROLLOUT)),
        "holds": sa.select(sa.func.min(GROUP.c.held_until)).where(HELD, not_aside(GROUP)),
        "backups": sa.select(sa.func.min(_free(BACKUP))).where(not_aside(BACKUP)),
        "backups:late": sa.select(sa.func.min(BACKUP.c.expected_by)).where(
            held, BACKUP.c.alarmed_at.is_(None)
        ),
        "backups:over": sa.select(sa.func.min(BACKUP.c.until)).where(held),
        "drills": sa.select(sa.func.min(_free(DRILL))).where(not_aside(DRILL)),
        "drills:over": sa.select(sa.func.min(DRILL.c.until)).where(drilled),
        "redrive": sa.select(sa.func.min(INBOX.c.retry_at)),
        "outbox": next_letter(),
    }
    return sa.select(*(query.scalar_subquery().label(name) for name, query in earliest.items()))


def _free(held: sa.Table) -> sa.ColumnElement[Any]:
    """When something is to be done next, and nobody else has it."""
    return sa.case((held.c.lease_until > held.c.look_at, held.c.lease_until), else_=held.c.look_at)
