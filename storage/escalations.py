"""Ladders on their way, and every attempt to reach somebody."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from domain.effects import Subject
from domain.escalation import Escalation, Page, PageStatus, Phase
from storage.rows import Rows, table, value_of
from storage.tables import EscalationRow, PageRow

ESCALATION = table(EscalationRow)
PAGE = table(PageRow)


class EscalationQueries(Rows):
    """What the rules of escalation need. Every write wakes the loop that looks for due ladders."""

    async def add_escalation(self, escalation: Escalation) -> Escalation:
        """A new ladder. The database refuses a second running one for the same subject."""
        self.topics.add("escalations")
        return await self.add(EscalationRow, escalation)

    async def escalation(self, escalation_id: int) -> Escalation | None:
        """One ladder."""
        query = sa.select(ESCALATION).where(ESCALATION.c.id == escalation_id)
        return next(iter(await self.values(Escalation, query)), None)

    async def running_escalations(self, subjects: Sequence[str]) -> dict[str, Escalation]:
        """The running ladder of each subject that has one."""
        query = sa.select(ESCALATION).where(ESCALATION.c.phase != Phase.STOPPED)
        found = await self.values_in(Escalation, query, ESCALATION.c.subject, subjects)
        return {escalation.subject: escalation for escalation in found}

    async def latest_escalation(self, subject: Subject) -> Escalation | None:
        """The newest ladder of a subject, running or not."""
        query = sa.select(ESCALATION).where(ESCALATION.c.subject == subject.key)
        query = query.order_by(ESCALATION.c.id.desc()).limit(1)
        return next(iter(await self.values(Escalation, query, lock=False)), None)

    async def save_escalation(self, escalation: Escalation) -> Escalation:
        """A changed ladder; the returned one can be saved again."""
        self.topics.add("escalations")
        await self.save(EscalationRow, escalation)
        return escalation.model_copy(update={"version": escalation.version + 1})

    async def due_escalations(self, at: datetime, limit: int) -> list[int]:
        """Ladders whose moment has come, the longest waiting first."""
        query = sa.select(ESCALATION.c.id).where(ESCALATION.c.due_at <= at)
        found = await self.connection.execute(query.order_by(ESCALATION.c.due_at).limit(limit))
        return list(found.scalars())

    async def next_escalation_due(self) -> datetime | None:
        """When the next ladder is due."""
        found = await self.connection.execute(sa.select(sa.func.min(ESCALATION.c.due_at)))
        value = found.scalar_one_or_none()
        return value if isinstance(value, datetime) else None

    async def add_page(self, page: Page) -> Page:
        """A new attempt. The database refuses the same one twice."""
        return await self.add(PageRow, page)

    async def page(self, page_id: int) -> Page | None:
        """One attempt."""
        return next(iter(await self.values(Page, sa.select(PAGE).where(PAGE.c.id == page_id))), None)

    async def save_page(self, page: Page) -> None:
        """A changed attempt."""
        await self.save(PageRow, page)

    async def pages(self, escalation_id: int) -> list[Page]:
        """Every attempt of a ladder, oldest first."""
        query = sa.select(PAGE).where(PAGE.c.escalation_id == escalation_id).order_by(PAGE.c.id)
        return [value_of(Page, row) for row in await self.rows(query)]

    async def pages_waiting(self, person: str, limit: int) -> list[Page]:
        """The newest page of a person on each ladder that still runs, the newest first."""
        newest = (
            sa.select(sa.func.max(PAGE.c.id))
            .join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
            .where(PAGE.c.person == person, ESCALATION.c.phase != Phase.STOPPED)
            .where(PAGE.c.status != PageStatus.WITHDRAWN)
            .group_by(PAGE.c.escalation_id)
        )
        query = sa.select(PAGE).where(PAGE.c.id.in_(newest)).order_by(PAGE.c.id.desc()).limit(limit)
        return [value_of(Page, row) for row in await self.rows(query)]

    async def people_waited_for(self, escalation_id: int) -> frozenset[str]:
        """People to whom a page of this ladder is still on its way."""
        query = sa.select(PAGE.c.person).where(
            PAGE.c.escalation_id == escalation_id, PAGE.c.status == PageStatus.QUEUED
        )
        return frozenset((await self.connection.execute(query)).scalars())
