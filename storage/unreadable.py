"""Rows that this version cannot read: found, kept as they were, looked at again, and out of every lane."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlmodel import SQLModel

from domain.alerts import Alert, AlertGroup, AlertStatus
from domain.backups import Backup
from domain.drills import Drill
from domain.effects import Event, Subject
from domain.escalation import Escalation, Page, PageStatus, Phase
from domain.findings import Finding
from domain.inbox import Delivery, DeliveryStatus
from domain.incidents import Incident, IncidentStatus
from domain.retention import Standing
from domain.rollouts import Lock, Rollout
from domain.runs import JobRun
from domain.unreadable import RETIRED, UnreadableRow
from domain.watches import Watch
from storage import tables
from storage.rows import Rows, table, value_of
from storage.types import EpochMillis, refuse_unreadable

SET_ASIDE = table(tables.SetAsideRow)

CONTENT_LIMIT = 20_000
"""Characters kept of what a row held."""

SWEEP = 400
"""Rows read at once while every living row is looked at."""


@dataclass(frozen=True)
class _Kind:
    """How the rows of one table are read, and which of them still matter."""

    row: type[SQLModel]
    read: Callable[[Mapping[str, Any]], object]
    living: Callable[[sa.Table], sa.ColumnElement[bool]] | None = None


def _value(kind: type[BaseModel]) -> Callable[[Mapping[str, Any]], object]:
    return lambda row: value_of(kind, row)


def _event(row: Mapping[str, Any]) -> Event:
    subject = Subject.parse(row["subject"])
    return Event(subject=subject, what=row["what"], at=row["at"], by=row["by"], data=row["data"])


def _message(row: Mapping[str, Any]) -> object:
    from storage.outbox import letter_of  # It needs the rows that are set aside.

    return letter_of(row)


_OVER_INBOX = [DeliveryStatus.DONE, DeliveryStatus.QUARANTINED]
_OVER_PAGE = [PageStatus.DELIVERED, PageStatus.FAILED, PageStatus.NOT_SET_UP, PageStatus.WITHDRAWN]

_KINDS: dict[str, _Kind] = {
    table(kind.row).name: kind
    for kind in (
        _Kind(tables.InboxRow, _value(Delivery), lambda t: t.c.status.not_in(_OVER_INBOX)),
        _Kind(tables.AlertGroupRow, _value(AlertGroup), lambda t: t.c.status != AlertStatus.RESOLVED),
        _Kind(tables.AlertRow, _value(Alert), lambda t: t.c.firing.is_not(sa.false())),
        _Kind(tables.IncidentRow, _value(Incident), lambda t: t.c.status != IncidentStatus.RESOLVED),
        _Kind(tables.EscalationRow, _value(Escalation), lambda t: t.c.phase != Phase.STOPPED),
        _Kind(tables.PageRow, _value(Page), lambda t: t.c.status.not_in(_OVER_PAGE)),
        _Kind(tables.OutboxRow, _message, lambda t: t.c.due_at.is_not(None)),
        _Kind(tables.TimelineRow, _event),
        _Kind(tables.JobRunRow, _value(JobRun), lambda t: t.c.ended_at.is_(None)),
        _Kind(tables.WatchRow, _value(Watch), lambda t: t.c.id.is_not(None)),
        _Kind(tables.FindingRow, _value(Finding), lambda t: t.c.ended_at.is_(None)),
        _Kind(tables.RolloutRow, _value(Rollout), lambda t: t.c.ended_at.is_(None)),
        _Kind(tables.LockRow, _value(Lock), lambda t: t.c.id.is_not(None)),
        _Kind(tables.BackupRow, _value(Backup), lambda t: t.c.standing == Standing.RUNNING),
        _Kind(tables.DrillRow, _value(Drill), lambda t: t.c.ended_at.is_(None)),
    )
}


@cache
def not_aside(of: sa.Table) -> sa.ColumnElement[bool]:
    """Rows of a table that nothing is known against; for loops that take what is due."""
    aside = sa.select(SET_ASIDE.c.row_id).where(SET_ASIDE.c.source == of.name)
    return of.c.id.not_in(aside)


@cache
def _living(of: sa.Table) -> sa.Select[Any] | None:
    """The next ``SWEEP`` rows of a table that still matter, by their numbers."""
    living = _KINDS[of.name].living
    if living is None:
        return None
    return sa.select(of).where(living(of), not_aside(of)).order_by(of.c.id).limit(SWEEP)


@cache
def _any_living() -> sa.Select[Any]:
    """Which tables have rows that still matter."""
    found = {name: _living(table(kind.row)) for name, kind in _KINDS.items()}
    columns: list[Any] = [living.exists().label(name) for name, living in found.items() if living is not None]
    return sa.select(*columns)


class UnreadableQueries(Rows):
    """What the keeper of unreadable rows asks."""

    async def set_aside(self, found: UnreadableRow, at: datetime) -> bool:
        """Keep a row's name and content. False where it is known already."""
        raw = await self.raw(found.source, found.row_id)
        if raw is None:
            return False
        content = json.dumps(raw, default=repr, ensure_ascii=False)[:CONTENT_LIMIT]
        values = found.model_dump() | {"content": content.replace("\0", ""), "found_at": at}
        values["reason"] = found.reason.replace("\0", "")
        statement = self.insert(tables.SetAsideRow).values(values).on_conflict_do_nothing()
        added = await self.connection.execute(statement.returning(SET_ASIDE.c.row_id))
        return added.scalar_one_or_none() is not None

    async def rows_set_aside(self) -> list[UnreadableRow]:
        """All that are aside now, the longest first."""
        query = sa.select(SET_ASIDE.c.source, SET_ASIDE.c.row_id, SET_ASIDE.c.reason)
        return [UnreadableRow(**row) for row in await self.rows(query.order_by(SET_ASIDE.c.found_at))]

    async def raw(self, source: str, row_id: int) -> dict[str, Any] | None:
        """A row as the database holds it, without any reading; ``None`` where there is none."""
        if source not in _KINDS:
            return None
        of = table(_KINDS[source].row)
        plain = [
            sa.cast(column, sa.Text)
            if not isinstance(column.type, sa.LargeBinary)
            else sa.func.length(column)
            for column in of.c
        ]
        labelled = [one.label(column.name) for one, column in zip(plain, of.c, strict=True)]
        query = sa.select(*labelled).where(of.c.id == row_id)
        try:
            row = (await self.connection.execute(query)).mappings().one_or_none()
        except (sa.exc.DataError, sa.exc.OperationalError) as error:
            if "decode" not in str(error.orig).lower():
                raise
            return {"id": str(row_id)}
        return None if row is None else dict(row)

    async def is_readable(self, row: UnreadableRow) -> bool:
        """Whether a row that was set aside can be read now, or is gone."""
        kind = _KINDS.get(row.source)
        if kind is None:
            return False
        of = table(kind.row)
        before = len(self.unreadable)
        found = await self.rows(sa.select(of).where(of.c.id == row.row_id), of)
        return not await self._unreadable(kind, found) and len(self.unreadable) == before

    async def bring_back(self, row: UnreadableRow) -> None:
        """The row can be read again: from now on, queries for due rows return it."""
        mine = (SET_ASIDE.c.source == row.source) & (SET_ASIDE.c.row_id == row.row_id)
        await self.connection.execute(sa.delete(SET_ASIDE).where(mine))
        self.topics |= {"outbox", "inbox", "escalations", "rollouts", "backups", "drills"}

    async def sweep(self) -> None:
        """Read every row that still matters, so that one that no query asks for is found as well."""
        there = (await self.connection.execute(_any_living())).mappings().one()
        for kind in _KINDS.values():
            of = table(kind.row)
            living = _living(of)
            if living is None or not there[of.name]:
                continue
            last = -1
            while True:
                found = await self.rows(living.where(of.c.id > last), of)
                for row, reason in await self._unreadable(kind, found):
                    self.not_readable(of, row["id"], reason)
                if len(found) < SWEEP:
                    break
                last = found[-1]["id"]

    async def _unreadable(
        self, kind: _Kind, found: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], str]]:
        """Those that cannot be read, with the reason: any column, also one that no value is made of."""
        bad = []
        for row in found:
            try:
                refuse_unreadable(row)
                kind.read(row)
            except ValueError as error:
                bad.append((row, str(error)[:500]))
        return bad

    async def retire_escalation(self, escalation_id: int) -> None:
        """A ladder that cannot be read pages nobody; it makes way for a new one of its subject."""
        of = table(tables.EscalationRow)
        values = {"phase": Phase.STOPPED, "due_at": None, "stopped_because": RETIRED}
        await self.connection.execute(sa.update(of).where(of.c.id == escalation_id).values(values))

    async def fail_page(self, page_id: int, escalation_id: int, at: datetime) -> None:
        """A page that cannot be read counts as failed, and its ladder goes on at once.

        So do those that only its message would have listed.
        """
        page, ladder = table(tables.PageRow), table(tables.EscalationRow)
        listed = (page.c.listed_in == page_id) & (page.c.status == PageStatus.QUEUED)
        found = await self.connection.execute(sa.select(page.c.escalation_id).where(listed))
        waiting = {escalation_id, *found.scalars()}
        values = {"status": PageStatus.FAILED, "error": RETIRED}
        await self.connection.execute(sa.update(page).where((page.c.id == page_id) | listed).values(values))
        waits = ladder.c.id.in_(waiting) & (ladder.c.phase == Phase.DELIVERING)
        due = sa.literal(at, EpochMillis)
        await self.connection.execute(sa.update(ladder).where(waits).values(due_at=due))
        self.topics.add("escalations")
