"""Deploys: those on their way, those that wait, those that are over, and the locks on services."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.effects import TOBAN, Text
from domain.rollouts import Lock, Rollout, Stage
from storage.rows import Rows, table
from storage.tables import LockRow, RolloutRow
from storage.types import EPOCH, one_more
from storage.unreadable import not_aside

ROLLOUT = table(RolloutRow)
LOCK = table(LockRow)


class RolloutQueries(Rows):
    """What deploys need. Every write wakes the loop that carries them out."""

    async def add_rollout(self, rollout: Rollout) -> Rollout:
        """A new one, with its id. The database refuses a second live one for the same service."""
        self.topics.add("rollouts")
        return await self.add(RolloutRow, rollout)

    async def rollout(self, rollout_id: int) -> Rollout | None:
        """One by its id."""
        query = sa.select(ROLLOUT).where(ROLLOUT.c.id == rollout_id)
        return next(iter(await self.values(Rollout, query)), None)

    async def save_rollout(self, rollout: Rollout) -> Rollout:
        """A changed one; the returned one can be saved again. Raises ``Conflict``."""
        self.topics.add("rollouts")
        await self.save(RolloutRow, rollout)
        return rollout.model_copy(update={"version": rollout.version + 1})

    async def live_rollout(self, service: str) -> Rollout | None:
        """The one of a service that is neither queued nor over."""
        query = sa.select(ROLLOUT).where(
            ROLLOUT.c.service == service, ROLLOUT.c.ended_at.is_(None), ROLLOUT.c.stage != Stage.QUEUED
        )
        return next(iter(await self.values(Rollout, query)), None)

    async def queued_rollouts(self, service: str) -> list[Rollout]:
        """Those that wait for their turn, the oldest first."""
        query = sa.select(ROLLOUT).where(ROLLOUT.c.service == service, ROLLOUT.c.stage == Stage.QUEUED)
        return await self.values(Rollout, query.order_by(ROLLOUT.c.id))

    async def open_rollouts(self) -> list[Rollout]:
        """All that are not over, oldest first."""
        query = sa.select(ROLLOUT).where(ROLLOUT.c.ended_at.is_(None)).order_by(ROLLOUT.c.id)
        return await self.values(Rollout, query, lock=False)

    async def rollouts_of(self, service: str, limit: int) -> list[Rollout]:
        """The newest of a service, newest first."""
        query = sa.select(ROLLOUT).where(ROLLOUT.c.service == service)
        return await self.values(Rollout, query.order_by(ROLLOUT.c.id.desc()).limit(limit), lock=False)

    async def rollouts_since(self, since: datetime) -> list[Rollout]:
        """Those that touched a service and were not over at a moment, oldest first."""
        touched = sa.or_(ROLLOUT.c.ended_at.is_(None), ROLLOUT.c.ended_at >= since)
        query = sa.select(ROLLOUT).where(touched, ROLLOUT.c.shifted_at.is_not(None))
        return await self.values(Rollout, query.order_by(ROLLOUT.c.id), lock=False)

    async def due_rollouts(self, at: datetime, limit: int) -> list[int]:
        """Those whose moment has come and that nobody holds, the longest waiting first."""
        free = sa.or_(ROLLOUT.c.lease_until.is_(None), ROLLOUT.c.lease_until <= at)
        query = sa.select(ROLLOUT.c.id).where(ROLLOUT.c.due_at <= at, free, not_aside(ROLLOUT))
        found = await self.connection.execute(query.order_by(ROLLOUT.c.due_at).limit(limit))
        return list(found.scalars())

    async def release_rollouts(self) -> None:
        """At the start of the only process on a database: whoever held one has died."""
        held = sa.update(ROLLOUT).where(ROLLOUT.c.lease_until.is_not(None)).values(lease_until=None)
        await self.connection.execute(held)

    async def lock_of(self, service: str) -> Lock | None:
        """The lock on a service. One that cannot be read locks all the same."""
        query = sa.select(LOCK).where(LOCK.c.service == service)
        return next(iter(await self.values(Lock, query, rescue=_rescued)), None)

    async def locks(self) -> list[Lock]:
        """All locks, by service."""
        query = sa.select(LOCK).order_by(LOCK.c.service)
        return await self.values(Lock, query, lock=False, rescue=_rescued)

    async def add_lock(self, lock: Lock) -> bool:
        """Lock a service. False where it is locked already: the first reason stands.

        The deploy that failed is noted even so: a lock made before it must not be easier to lift.
        """
        fields = {name: getattr(lock, name) for name in type(lock).model_fields if name != "id"}
        statement = self.insert(LockRow).values(fields).on_conflict_do_nothing().returning(LOCK.c.id)
        if (await self.connection.execute(statement)).scalar_one_or_none() is not None:
            return True
        if lock.rollout_id is not None:
            unmarked = sa.and_(LOCK.c.service == lock.service, LOCK.c.rollout_id.is_(None))
            marked = {"rollout_id": lock.rollout_id, "version": one_more(LOCK.c.version)}
            await self.connection.execute(sa.update(LOCK).where(unmarked).values(marked))
        return False

    async def remove_lock(self, service: str) -> bool:
        """Unlock. False where it was not locked."""
        self.topics.add("rollouts")
        result = await self.connection.execute(sa.delete(LOCK).where(LOCK.c.service == service))
        return result.rowcount > 0


def _rescued(row: Mapping[str, Any], lost: frozenset[str]) -> Lock | None:
    """What is locked stays locked, whoever did it and why."""
    values = {name: row[name] for name in Lock.model_fields if name not in lost}
    plain = {"reason": Text(key="lock.unreadable"), "by": TOBAN, "since": EPOCH, "version": 1}
    return Lock(**{**{name: value for name, value in plain.items() if name in lost}, **values})
