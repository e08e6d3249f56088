"""Alert groups and their alerts, read by the hundred and written by the hundred."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.alerts import Alert, AlertGroup, AlertStatus
from domain.effects import Subject, SubjectKind
from domain.policy import Level
from storage.rows import CHUNK, Conflict, Rows, as_row, table
from storage.tables import AlertGroupRow, AlertRow
from storage.types import EPOCH
from storage.unreadable import not_aside

GROUP = table(AlertGroupRow)
ALERT = table(AlertRow)

HELD = GROUP.c.status == AlertStatus.FIRING
"""Of what is answered or over nobody is told anyway."""

_RANK = sa.case(*((GROUP.c.level == level, level.rank) for level in Level), else_=0)
"""How bad a group is, as a number to sort by."""


class AlertQueries(Rows):
    """What the rules of alerts need."""

    def __init__(self, connection: AsyncConnection, *, writing: bool) -> None:
        super().__init__(connection, writing=writing)
        self._generations: dict[str, int] = {}
        """The newest generation of a key among groups that cannot be read: the next group is newer."""

    async def newest_groups(self, keys: Sequence[str]) -> dict[str, AlertGroup]:
        """For each key the group of the newest generation that can be read."""
        found = await self.values_in(AlertGroup, sa.select(GROUP), GROUP.c.key, keys, self._skip)
        newest: dict[str, AlertGroup] = {}
        for group in found:
            known = newest.get(group.key)
            if known is None or group.generation > known.generation:
                newest[group.key] = group
        return newest

    async def groups(self, ids: Sequence[int]) -> dict[int, AlertGroup]:
        """Groups by id."""
        found = await self.values_in(AlertGroup, sa.select(GROUP), GROUP.c.id, ids)
        return {group.id: group for group in found if group.id is not None}

    def _skip(self, row: Mapping[str, Any], _fields: frozenset[str]) -> None:
        """A group that cannot be read keeps its generation; trouble of its key opens the next one."""
        generation = row["generation"] if isinstance(row["generation"], int) else 0
        self._generations[row["key"]] = max(generation, self._generations.get(row["key"], 0))

    async def incident_of_group(self, group_id: int) -> int | None:
        """The id of the incident that a group belongs to. It locks nothing."""
        query = sa.select(GROUP.c.incident_id).where(GROUP.c.id == group_id)
        return (await self.connection.execute(query)).scalar_one_or_none()

    async def groups_of_incident(self, incident_id: int) -> list[AlertGroup]:
        """The groups that belong to an incident, oldest first."""
        query = sa.select(GROUP).where(GROUP.c.incident_id == incident_id).order_by(GROUP.c.id)
        return await self.values(AlertGroup, query)

    async def some_groups_of(self, incident_id: int, after: int, limit: int) -> list[AlertGroup]:
        """The next few of them by their ids."""
        mine = (GROUP.c.incident_id == incident_id) & (GROUP.c.id > after) & not_aside(GROUP)
        return await self.values(AlertGroup, sa.select(GROUP).where(mine).order_by(GROUP.c.id).limit(limit))

    async def last_group_of(self, incident_id: int) -> int:
        """The highest id of a group of an incident; 0 where it has none."""
        newest = sa.select(sa.func.max(GROUP.c.id)).where(GROUP.c.incident_id == incident_id)
        return (await self.connection.execute(newest)).scalar_one() or 0

    async def open_groups_of(self, incidents: Sequence[int]) -> list[Subject]:
        """The groups of these incidents that are not resolved, as subjects."""
        found: list[Subject] = []
        mine = sa.select(GROUP.c.id).where(GROUP.c.status != AlertStatus.RESOLVED, not_aside(GROUP))
        for start in range(0, len(incidents), CHUNK):
            query = mine.where(GROUP.c.incident_id.in_(incidents[start : start + CHUNK]))
            ids = (await self.connection.execute(query.order_by(GROUP.c.id))).scalars()
            found += [Subject(kind=SubjectKind.ALERT, id=group_id) for group_id in ids]
        return found

    async def recovered(self, incidents: Sequence[int]) -> frozenset[int]:
        """Those of the incidents that have alerts, all of which are over."""
        found: set[int] = set()
        is_open = sa.func.sum(sa.case((GROUP.c.status != AlertStatus.RESOLVED, 1), else_=0))
        for start in range(0, len(incidents), CHUNK):
            mine = GROUP.c.incident_id.in_(incidents[start : start + CHUNK])
            query = sa.select(GROUP.c.incident_id).where(mine).group_by(GROUP.c.incident_id)
            found.update((await self.connection.execute(query.having(is_open == 0))).scalars())
        return frozenset(found)

    async def newest_trouble(self, incidents: Iterable[int]) -> dict[int, AlertGroup]:
        """The newest group of each incident that is not over, else the newest of all, by incident."""
        mine = GROUP.c.incident_id.in_(sorted(set(incidents)))
        is_open = sa.case((GROUP.c.status != AlertStatus.RESOLVED, GROUP.c.id))
        newest = sa.select(sa.func.coalesce(sa.func.max(is_open), sa.func.max(GROUP.c.id))).where(mine)
        query = sa.select(GROUP).where(GROUP.c.id.in_(newest.group_by(GROUP.c.incident_id)))
        groups = await self.values(AlertGroup, query, lock=False)
        return {group.incident_id: group for group in groups if group.incident_id is not None}

    async def troubles(self, incident_id: int, limit: int) -> tuple[list[AlertGroup], int]:
        """The groups of an incident that are not over, the worst and then the newest first, and how many
        there are.
        """
        mine = (GROUP.c.incident_id == incident_id) & (GROUP.c.status != AlertStatus.RESOLVED)
        query = sa.select(GROUP).where(mine).order_by(_RANK.desc(), GROUP.c.id.desc()).limit(limit)
        found = await self.values(AlertGroup, query, lock=False)
        if len(found) < limit:
            return found, len(found)
        counted = await self.connection.execute(sa.select(sa.func.count()).select_from(GROUP).where(mine))
        return found, counted.scalar_one()

    async def add_groups(self, groups: Sequence[AlertGroup]) -> list[AlertGroup]:
        """New groups, with their ids. One whose older group cannot be read becomes the next generation."""
        return await self.add_many(AlertGroupRow, [self._next_generation(group) for group in groups])

    def _next_generation(self, group: AlertGroup) -> AlertGroup:
        skipped = self._generations.get(group.key, 0)
        if skipped < group.generation:
            return group
        self._generations[group.key] = skipped + 1  # The batch may open the one after it as well.
        return group.model_copy(update={"generation": skipped + 1})

    async def save_groups(self, groups: Sequence[AlertGroup]) -> None:
        """Changed groups, in one statement. Raises ``Conflict`` where one was changed meanwhile."""
        await self.save_many(AlertGroupRow, groups)

    async def due_holds(self, at: datetime, limit: int) -> list[int]:
        """Groups that a deploy does not explain any more, the longest waiting first."""
        query = sa.select(GROUP.c.id).where(GROUP.c.held_until <= at, HELD, not_aside(GROUP))
        found = await self.connection.execute(query.order_by(GROUP.c.held_until).limit(limit))
        return list(found.scalars())

    async def open_groups(self) -> list[AlertGroup]:
        """All groups that are not resolved, oldest first."""
        query = sa.select(GROUP).where(GROUP.c.status != AlertStatus.RESOLVED).order_by(GROUP.c.id)
        return await self.values(AlertGroup, query, lock=False)

    async def alerts(self, identities: Sequence[str]) -> dict[str, Alert]:
        """Alerts by identity. Of one that cannot be read the rest is taken, as far as it is to be trusted."""
        found = await self.values_in(Alert, sa.select(ALERT), ALERT.c.identity, identities, _rescued)
        return {alert.identity: alert for alert in found}

    async def firing_alerts(self, group_id: int, limit: int) -> list[Alert]:
        """The first few alerts of a group that still fire."""
        query = (
            sa.select(ALERT)
            .where(ALERT.c.group_id == group_id, ALERT.c.firing)
            .order_by(ALERT.c.id)
            .limit(limit)
        )
        return await self.values(Alert, query, lock=False)

    async def fired_last(self, group_id: int) -> datetime | None:
        """When the newest of a group's firing alerts began, or last got louder; ``None`` where none fires."""
        query = sa.select(sa.func.max(ALERT.c.changed_at)).where(ALERT.c.group_id == group_id, ALERT.c.firing)
        found: datetime | None = (await self.connection.execute(query)).scalar_one()
        return found

    async def alerts_of(self, group_id: int, limit: int) -> list[Alert]:
        """The first few alerts of a group, whether they fire or not."""
        query = sa.select(ALERT).where(ALERT.c.group_id == group_id).order_by(ALERT.c.id).limit(limit)
        return await self.values(Alert, query, lock=False)

    async def save_alerts(self, alerts: Sequence[Alert]) -> None:
        """New and changed alerts together; ``id`` says which."""
        new = [as_row(alert) for alert in alerts if alert.id is None]
        for row in new:
            del row["id"]
        if new:
            await self.connection.execute(sa.insert(ALERT), new)
        changed = [as_row(alert) for alert in alerts if alert.id is not None]
        for row in changed:
            row["row_id"] = row.pop("id")
        if changed:
            columns: dict[str, Any] = {name: sa.bindparam(name) for name in changed[0] if name != "row_id"}
            statement = sa.update(ALERT).where(ALERT.c.id == sa.bindparam("row_id")).values(columns)
            result = await self.connection.execute(statement, changed)
            if result.rowcount not in {len(changed), -1}:
                raise Conflict("alert")

    async def end_alerts(self, group_id: int, at: datetime) -> int:
        """The sender says that nothing of the group fires any more. Returns how many began later and do."""
        values = {"firing": False, "silent": False, "ended_at": at, "changed_at": at}
        of_it = ALERT.c.group_id == group_id
        fires = of_it & ALERT.c.firing
        not_over = of_it & (ALERT.c.firing | ALERT.c.silent)
        ended = sa.update(ALERT).where(not_over, ALERT.c.changed_at <= at).values(values)
        await self.connection.execute(ended)
        left = sa.select(sa.func.count()).select_from(ALERT).where(fires)
        return int((await self.connection.execute(left)).scalar_one())

    async def close_alerts(self, group_id: int, at: datetime) -> None:
        """A person says that the group is over: none of its alerts fires any more."""
        values = {
            "firing": False,
            "silent": False,
            "ended_at": at,
            "changed_at": at,
            "closed_by_person": True,
        }
        open_ones = (ALERT.c.group_id == group_id) & (ALERT.c.firing | ALERT.c.silent)
        statement = sa.update(ALERT).where(open_ones).values(values)
        await self.connection.execute(statement)


def _rescued(row: Mapping[str, Any], lost: frozenset[str]) -> Alert | None:
    """An alert that cannot be read whole; its next signal writes it anew.

    Whether it fires, and in which group, is either known or it counts as over, so that its next opening is
    believed. Nothing else of it may keep somebody from being paged: a level that is lost is the lowest.
    """
    values = {name: row[name] for name in Alert.model_fields if name not in lost}
    plain: dict[str, Any] = {"level": Level.INFO, "title": "", "seen_firing": True, "changed_at": EPOCH}
    values = {**{name: value for name, value in plain.items() if name in lost}, **values}
    if lost & {"id", "identity"}:
        return None
    if lost & {"firing", "group_id"}:
        values |= {
            "firing": False,
            "silent": False,
            "ended_at": None,
            "changed_at": EPOCH,
            "closed_by_person": True,
        }
    return Alert(**values)
