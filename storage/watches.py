"""What the recurring work remembers: its runs, and where each watched thing stands."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.runs import KEPT, JobRun
from domain.watches import Watch, WatchKind
from storage.rows import CHUNK, Conflict, Rows, as_row, table
from storage.tables import JobRunRow, WatchRow
from storage.unreadable import not_aside

RUN = table(JobRunRow)
WATCH = table(WatchRow)


class WatchQueries(Rows):
    """What jobs ask."""

    async def job_run(self, name: str, due: datetime) -> JobRun | None:
        """The run of a job for a due moment."""
        found = await self.values(JobRun, sa.select(RUN).where(RUN.c.name == name, RUN.c.due_at == due))
        return found[0] if found else None

    async def latest_runs(self, name: str, limit: int = 1) -> list[JobRun]:
        """The newest runs of a job, the newest first."""
        query = sa.select(RUN).where(RUN.c.name == name).order_by(RUN.c.due_at.desc()).limit(limit)
        return await self.values(JobRun, query, lock=False)

    async def add_run(self, run: JobRun) -> bool:
        """Keep a new run. False where another replica was first."""
        fields = {name: getattr(run, name) for name in type(run).model_fields if name != "id"}
        statement = self.insert(JobRunRow).values(fields).on_conflict_do_nothing().returning(RUN.c.id)
        return (await self.connection.execute(statement)).scalar_one_or_none() is not None

    async def save_run(self, run: JobRun) -> None:
        """What came of a run. Raises ``Conflict`` where somebody else took it over."""
        await self.save(JobRunRow, run)

    async def forget_runs(self, name: str, at: datetime) -> None:
        """Runs that nobody asks for any more; the newest stays."""
        newest = sa.select(sa.func.max(RUN.c.due_at)).where(RUN.c.name == name).scalar_subquery()
        old = sa.and_(RUN.c.name == name, RUN.c.due_at < at - KEPT, RUN.c.due_at < newest)
        await self.connection.execute(sa.delete(RUN).where(old))

    async def watches(self, kind: WatchKind) -> dict[str, Watch]:
        """All things of a kind that are watched, by key."""
        query = sa.select(WATCH).where(WATCH.c.kind == kind).order_by(WATCH.c.key)
        return {watch.key: watch for watch in await self.values(Watch, query)}

    async def watch(self, kind: WatchKind, key: str) -> Watch | None:
        """One watched thing."""
        query = sa.select(WATCH).where(WATCH.c.kind == kind, WATCH.c.key == key)
        found = await self.values(Watch, query)
        return found[0] if found else None

    async def save_watches(self, watches: Sequence[Watch]) -> None:
        """New and changed ones together; ``id`` says which. Raises ``Conflict``."""
        if any(watch.kind is WatchKind.TAKEN for watch in watches):
            self.topics.add("taken")
        for watch in watches:
            if watch.id is None:
                await self._add(watch)
        await self.save_many(WatchRow, [watch for watch in watches if watch.id is not None])

    async def _add(self, watch: Watch) -> None:
        """A new one takes the place of one that cannot be read. Raises ``Conflict`` where it can be."""
        fields = as_row(watch)
        del fields["id"]
        new = self.insert(WatchRow).values(fields)
        aside = [row.row_id for row in self.unreadable if row.source == WATCH.name]
        changed: dict[str, Any] = {name: new.excluded[name] for name in fields if name != "version"}
        changed["version"] = 1
        statement = new.on_conflict_do_update(
            index_elements=[WATCH.c.kind, WATCH.c.key],
            set_=changed,
            where=WATCH.c.id.in_(aside) | ~not_aside(WATCH),
        ).returning(WATCH.c.id)
        if (await self.connection.execute(statement)).scalar_one_or_none() is None:
            raise Conflict("watch")

    async def forget_watches(self, kind: WatchKind, keys: Sequence[str]) -> None:
        """Things that are watched no longer."""
        for start in range(0, len(keys), CHUNK):
            some = WATCH.c.key.in_(keys[start : start + CHUNK])
            await self.connection.execute(sa.delete(WATCH).where(WATCH.c.kind == kind, some))
