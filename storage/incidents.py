"""Incidents and the timeline of everything that happened."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from domain.effects import Event, Subject
from domain.incidents import Incident, IncidentStatus
from storage.rows import Rows, table, why
from storage.tables import IncidentRow, TimelineRow

INCIDENT = table(IncidentRow)
TIMELINE = table(TimelineRow)

RESOLVED: sa.ColumnElement[Any] = sa.literal_column(f"'{IncidentStatus.RESOLVED.value}'")
"""Written out, so that SQLite takes the index over what is open."""


class IncidentQueries(Rows):
    """What the rules of incidents need."""

    async def add_incident(self, incident: Incident) -> Incident:
        """A new incident, with its number."""
        return await self.add(IncidentRow, incident)

    async def add_incidents(self, incidents: Sequence[Incident]) -> list[Incident]:
        """New incidents, numbered in this order."""
        return await self.add_many(IncidentRow, incidents)

    async def incident(self, incident_id: int) -> Incident | None:
        """One incident."""
        query = sa.select(INCIDENT).where(INCIDENT.c.id == incident_id)
        return next(iter(await self.values(Incident, query)), None)

    async def incidents(self, ids: Iterable[int]) -> dict[int, Incident]:
        """Incidents by number."""
        found = await self.values_in(Incident, sa.select(INCIDENT), INCIDENT.c.id, ids)
        return {incident.id: incident for incident in found if incident.id is not None}

    async def save_incident(self, incident: Incident) -> Incident:
        """A changed incident; the returned one can be saved again."""
        await self.save(IncidentRow, incident)
        return incident.model_copy(update={"version": incident.version + 1})

    async def open_incidents(self) -> list[Incident]:
        """What is open now, worst and oldest first."""
        query = (
            sa.select(INCIDENT)
            .where(INCIDENT.c.status != IncidentStatus.RESOLVED)
            .order_by(INCIDENT.c.severity, INCIDENT.c.id)
        )
        return await self.values(Incident, query)

    async def incidents_around(self, ids: Iterable[int], services: Iterable[str]) -> list[Incident]:
        """Of these numbers and services what is open now, worst and oldest first."""
        query = sa.select(INCIDENT).where(INCIDENT.c.status != RESOLVED)
        found = await self.values_in(Incident, query, INCIDENT.c.id, ids)
        found += await self.values_in(Incident, query, INCIDENT.c.service, services)
        once = {incident.id: incident for incident in found}
        return sorted(once.values(), key=lambda one: (one.severity, one.id))

    async def incidents_since(self, since: datetime) -> list[Incident]:
        """Those that began after a moment, oldest first."""
        query = sa.select(INCIDENT).where(INCIDENT.c.opened_at >= since).order_by(INCIDENT.c.id)
        return await self.values(Incident, query, lock=False)

    async def tell(self, events: Sequence[Event]) -> None:
        """Append to the timeline."""
        rows = [
            {
                "subject": event.subject.key,
                "what": event.what,
                "at": event.at,
                "by": event.by,
                "data": event.data,
            }
            for event in events
        ]
        if rows:
            await self.connection.execute(sa.insert(TIMELINE), rows)

    async def first_time(self, subject: Subject, what: str) -> datetime | None:
        """When something happened to a subject for the first time; ``None`` where it never did."""
        query = sa.select(sa.func.min(TIMELINE.c.at)).where(
            TIMELINE.c.subject == subject.key, TIMELINE.c.what == what
        )
        found: datetime | None = (await self.connection.execute(query)).scalar_one()
        return found

    async def timeline(self, subject: Subject) -> list[Event]:
        """What happened to a subject, oldest first."""
        query = sa.select(TIMELINE).where(TIMELINE.c.subject == subject.key).order_by(TIMELINE.c.id)
        found = []
        for row in await self.rows(query):
            try:
                found.append(
                    Event(subject=subject, what=row["what"], at=row["at"], by=row["by"], data=row["data"])
                )
            except ValidationError as error:
                self.not_readable(TIMELINE, row["id"], why(error))
        return found
