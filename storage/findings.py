"""Anomalies that the team was told of, and what it said."""

from datetime import datetime

import sqlalchemy as sa

from domain.findings import Finding
from storage.rows import Rows, table
from storage.tables import FindingRow

FINDING = table(FindingRow)


class FindingQueries(Rows):
    """What detectors and `/toban anomalies` ask."""

    async def add_finding(self, finding: Finding) -> Finding:
        """A new one, with its id."""
        return await self.add(FindingRow, finding)

    async def finding(self, finding_id: int) -> Finding | None:
        """One by its id."""
        found = await self.values(Finding, sa.select(FINDING).where(FINDING.c.id == finding_id))
        return found[0] if found else None

    async def save_finding(self, finding: Finding) -> None:
        """A changed one. Raises ``Conflict``."""
        await self.save(FindingRow, finding)

    async def open_findings(self) -> list[Finding]:
        """Those that go on, oldest first."""
        query = sa.select(FINDING).where(FINDING.c.ended_at.is_(None)).order_by(FINDING.c.id)
        return await self.values(Finding, query)

    async def findings_since(self, since: datetime, service: str | None = None) -> list[Finding]:
        """Those that began after a moment, newest first."""
        query = sa.select(FINDING).where(FINDING.c.started_at >= since)
        if service is not None:
            query = query.where(FINDING.c.service == service)
        return await self.values(Finding, query.order_by(FINDING.c.id.desc()), lock=False)
