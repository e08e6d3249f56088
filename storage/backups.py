"""Backups: those on their way, those that are kept, and those that never came."""

from datetime import datetime

import sqlalchemy as sa

from domain.backups import Backup
from domain.retention import Standing
from storage.rows import Rows, table
from storage.tables import BackupRow
from storage.types import one_more
from storage.unreadable import not_aside

BACKUP = table(BackupRow)


class BackupQueries(Rows):
    """What backups need. Every write wakes the loop that carries them out."""

    async def add_backup(self, backup: Backup) -> Backup | None:
        """A new one, with its id; ``None`` where there is one for its moment, or one of its plan runs."""
        self.topics.add("backups")
        fields = {name: getattr(backup, name) for name in type(backup).model_fields if name != "id"}
        statement = self.insert(BackupRow).values(fields).on_conflict_do_nothing().returning(BACKUP.c.id)
        found = (await self.connection.execute(statement)).scalar_one_or_none()
        return None if found is None else backup.model_copy(update={"id": found})

    async def backup(self, backup_id: int) -> Backup | None:
        """One by its id."""
        query = sa.select(BACKUP).where(BACKUP.c.id == backup_id)
        return next(iter(await self.values(Backup, query)), None)

    async def save_backup(self, backup: Backup) -> Backup:
        """A changed one; the returned one can be saved again. Raises ``Conflict``."""
        self.topics.add("backups")
        await self.save(BackupRow, backup)
        return backup.model_copy(update={"version": backup.version + 1})

    async def hold_backup(self, backup_id: int, until: datetime) -> None:
        """Whoever works on it needs longer."""
        held = sa.update(BACKUP).where(BACKUP.c.id == backup_id, BACKUP.c.lease_until.is_not(None))
        await self.connection.execute(held.values(lease_until=until))

    async def backups_of(self, plan: str, limit: int, until: datetime | None = None) -> list[Backup]:
        """The newest of a plan by the moments for which they are, newest first.

        With ``until`` none later than that, nor any that a clock ahead has dated.
        """
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan).order_by(BACKUP.c.due_at.desc())
        if until is not None:
            query = query.where(BACKUP.c.due_at <= until, BACKUP.c.ahead.is_(False))
        return await self.values(Backup, query.limit(limit), lock=False)

    async def backup_for(self, plan: str, due_at: datetime) -> Backup | None:
        """The one for a moment of a plan."""
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan, BACKUP.c.due_at == due_at)
        return next(iter(await self.values(Backup, query)), None)

    async def running_backups(self, plan: str) -> list[Backup]:
        """Those of a plan that are not over."""
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan, BACKUP.c.standing == Standing.RUNNING)
        return await self.values(Backup, query)

    async def last_made(self, plan: str, until: datetime) -> datetime | None:
        """The newest moment up to ``until`` for which one was begun by a clock that was right."""
        begun = sa.and_(BACKUP.c.standing != Standing.MISSED, BACKUP.c.ahead.is_(False))
        query = sa.select(sa.func.max(BACKUP.c.due_at))
        found = await self.connection.execute(
            query.where(BACKUP.c.plan == plan, BACKUP.c.due_at <= until, begun)
        )
        newest: datetime | None = found.scalar_one()
        return newest

    async def backups_ahead(self, plan: str, after: datetime) -> list[Backup]:
        """Those that are dated later than ``after``, of which that is not known yet."""
        dated = sa.or_(BACKUP.c.due_at > after, BACKUP.c.at > after)
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan, dated, BACKUP.c.ahead.is_(False))
        return await self.values(Backup, query.order_by(BACKUP.c.due_at))

    async def forget_backup(self, backup_id: int) -> None:
        """One of which nothing was ever made."""
        gone = sa.delete(BACKUP).where(BACKUP.c.id == backup_id, BACKUP.c.standing == Standing.MISSED)
        await self.connection.execute(gone)

    async def verified_backups(self, plan: str, limit: int) -> list[Backup]:
        """The newest verified ones of a plan that are still there, newest first.

        None that a clock ahead has dated.
        """
        there = sa.and_(BACKUP.c.standing == Standing.VERIFIED, BACKUP.c.removed_at.is_(None))
        there &= BACKUP.c.ahead.is_(False)
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan, there).order_by(BACKUP.c.due_at.desc())
        return await self.values(Backup, query.limit(limit), lock=False)

    async def kept_backups(self, plan: str) -> list[Backup]:
        """All of a plan of which something may still lie there, newest first."""
        there = sa.and_(BACKUP.c.removed_at.is_(None), BACKUP.c.standing != Standing.MISSED)
        query = sa.select(BACKUP).where(BACKUP.c.plan == plan, there).order_by(BACKUP.c.due_at.desc())
        return await self.values(Backup, query)

    async def alarmed_backups(self) -> list[Backup]:
        """Those whose alert fires."""
        fires = sa.and_(BACKUP.c.alarmed_at.is_not(None), BACKUP.c.cleared_at.is_(None))
        return await self.values(Backup, sa.select(BACKUP).where(fires).order_by(BACKUP.c.id))

    async def due_backups(self, at: datetime, limit: int) -> list[Backup]:
        """Those with something to do that nobody holds, the longest waiting first."""
        free = sa.or_(BACKUP.c.lease_until.is_(None), BACKUP.c.lease_until <= at)
        query = sa.select(BACKUP).where(BACKUP.c.look_at <= at, free, not_aside(BACKUP))
        return await self.values(Backup, query.order_by(BACKUP.c.look_at).limit(limit), lock=False)

    async def overdue_backups(self, at: datetime) -> list[Backup]:
        """Those that somebody holds or held, and that are late, which nobody was told, or to be given up."""
        late = sa.and_(BACKUP.c.expected_by <= at, BACKUP.c.alarmed_at.is_(None))
        held = sa.and_(BACKUP.c.standing == Standing.RUNNING, BACKUP.c.lease_until.is_not(None))
        query = sa.select(BACKUP).where(held, sa.or_(late, BACKUP.c.until <= at), not_aside(BACKUP))
        return await self.values(Backup, query.order_by(BACKUP.c.id), lock=False)

    async def rename_backups(self, old: str, new: str) -> None:
        """The backups of a plan are those of another name from now on.

        One for whose moment there is one already, one that runs beside another, and one whose alert fires
        keep their name: an alert ends under the name that it had.
        """
        there = BACKUP.alias()
        taken = sa.or_(
            there.c.due_at == BACKUP.c.due_at,
            sa.and_(there.c.standing == Standing.RUNNING, BACKUP.c.standing == Standing.RUNNING),
        )
        free = ~sa.exists().where(there.c.plan == new, taken)
        quiet = sa.or_(BACKUP.c.alarmed_at.is_(None), BACKUP.c.cleared_at.is_not(None))
        renamed = sa.update(BACKUP).where(BACKUP.c.plan == old, free, quiet)
        await self.connection.execute(renamed.values(plan=new, version=one_more(BACKUP.c.version)))

    async def release_backups(self) -> None:
        """At the start of the only process on a database: whoever held one has died."""
        held = sa.update(BACKUP).where(BACKUP.c.lease_until.is_not(None)).values(lease_until=None)
        await self.connection.execute(held)
