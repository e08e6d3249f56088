"""Restore drills: those that are asked for, on their way, and done."""

from datetime import datetime

import sqlalchemy as sa

from domain.drills import Drill, DrillState
from storage.rows import Rows, table
from storage.tables import DrillRow
from storage.types import one_more
from storage.unreadable import not_aside

DRILL = table(DrillRow)


class DrillQueries(Rows):
    """What drills need. Every write wakes the loop that carries them out."""

    async def add_drill(self, drill: Drill) -> Drill | None:
        """A new one, with its id; ``None`` where there is one for its moment, or one of its plan is open."""
        self.topics.add("drills")
        fields = {name: getattr(drill, name) for name in type(drill).model_fields if name != "id"}
        statement = self.insert(DrillRow).values(fields).on_conflict_do_nothing().returning(DRILL.c.id)
        found = (await self.connection.execute(statement)).scalar_one_or_none()
        return None if found is None else drill.model_copy(update={"id": found})

    async def drill(self, drill_id: int) -> Drill | None:
        """One by its id."""
        return next(iter(await self.values(Drill, sa.select(DRILL).where(DRILL.c.id == drill_id))), None)

    async def save_drill(self, drill: Drill) -> Drill:
        """A changed one; the returned one can be saved again. Raises ``Conflict``."""
        self.topics.add("drills")
        await self.save(DrillRow, drill)
        return drill.model_copy(update={"version": drill.version + 1})

    async def hold_drill(self, drill_id: int, until: datetime) -> None:
        """Whoever works on it needs longer."""
        held = sa.update(DRILL).where(DRILL.c.id == drill_id, DRILL.c.lease_until.is_not(None))
        await self.connection.execute(held.values(lease_until=until))

    async def drills_of(self, plan: str, limit: int, state: DrillState | None = None) -> list[Drill]:
        """The newest of a plan, newest first; of one state where one is asked for."""
        query = sa.select(DRILL).where(DRILL.c.plan == plan).order_by(DRILL.c.due_at.desc())
        if state is not None:
            query = query.where(DRILL.c.state == state)
        return await self.values(Drill, query.limit(limit), lock=False)

    async def judged_drill(self, plan: str) -> Drill | None:
        """The newest of a plan of which it is known what it came to; what is removed still counts too."""
        judged = DRILL.c.state.in_([DrillState.PASSED, DrillState.FAILED, DrillState.CLEANING])
        query = sa.select(DRILL).where(DRILL.c.plan == plan, judged).order_by(DRILL.c.id.desc()).limit(1)
        return next(iter(await self.values(Drill, query, lock=False)), None)

    async def alarmed_drills(self) -> list[Drill]:
        """Those whose alert fires."""
        fires = sa.and_(DRILL.c.alarmed_at.is_not(None), DRILL.c.cleared_at.is_(None))
        return await self.values(Drill, sa.select(DRILL).where(fires).order_by(DRILL.c.id))

    async def due_drills(self, at: datetime, limit: int) -> list[Drill]:
        """Those with something to do that nobody holds, the longest waiting first."""
        free = sa.or_(DRILL.c.lease_until.is_(None), DRILL.c.lease_until <= at)
        query = sa.select(DRILL).where(DRILL.c.look_at <= at, free, not_aside(DRILL))
        return await self.values(Drill, query.order_by(DRILL.c.look_at).limit(limit), lock=False)

    async def overdue_drills(self, at: datetime) -> list[Drill]:
        """Those that somebody holds or held, although they are to be given up."""
        held = sa.and_(DRILL.c.ended_at.is_(None), DRILL.c.lease_until.is_not(None), DRILL.c.until <= at)
        query = sa.select(DRILL).where(held, not_aside(DRILL)).order_by(DRILL.c.id)
        return await self.values(Drill, query, lock=False)

    async def rename_drills(self, old: str, new: str) -> None:
        """The drills of a plan are those of another name, where ``rename_backups`` would do it too."""
        there = DRILL.alias()
        is_open = sa.and_(there.c.ended_at.is_(None), DRILL.c.ended_at.is_(None))
        taken = sa.or_(there.c.due_at == DRILL.c.due_at, is_open)
        free = ~sa.exists().where(there.c.plan == new, taken)
        quiet = sa.or_(DRILL.c.alarmed_at.is_(None), DRILL.c.cleared_at.is_not(None))
        renamed = sa.update(DRILL).where(DRILL.c.plan == old, free, quiet)
        await self.connection.execute(renamed.values(plan=new, version=one_more(DRILL.c.version)))

    async def release_drills(self) -> None:
        """At the start of the only process on a database: whoever held one has died."""
        held = sa.update(DRILL).where(DRILL.c.lease_until.is_not(None)).values(lease_until=None)
        await self.connection.execute(held)
