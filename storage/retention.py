"""What is over and old enough to go: found by reading, then removed a few at a time.

Finding never holds the writer. Each removal looks once more whether the thing is still over, takes what
belongs to it along, and is safe to repeat. The newest row of a table never goes: SQLite would give its
number to the next one, and cards, keys and the timeline name things by their number for good.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.alerts import AlertStatus
from domain.data_retention import Limits, Removed, Space
from domain.effects import TOBAN, SubjectKind
from domain.escalation import Phase
from domain.inbox import DeliveryStatus
from domain.incidents import IncidentStatus
from domain.outbox import Kind, Status
from domain.watches import WatchKind
from storage.alerts import ALERT, GROUP
from storage.deliveries import INBOX
from storage.escalations import ESCALATION, PAGE
from storage.findings import FINDING
from storage.incidents import INCIDENT, TIMELINE
from storage.outbox import OUTBOX
from storage.rows import Rows
from storage.types import UnreadableValue
from storage.watches import RUN, WATCH

WINDOW = 2_000
"""Numbers that one look passes over."""

MANY = 1_000
"""More findings than one alert group ever has."""

_OURS = TIMELINE.c.by == TOBAN
"""What no person did."""

_SETTLED: sa.ColumnElement[bool] = OUTBOX.c.status.in_([Status.SENT, Status.DEAD, Status.WITHDRAWN])
_SETTLED &= OUTBOX.c.due_at.is_(None) & OUTBOX.c.lease_until.is_(None)

_PAGE_CARD = (OUTBOX.c.kind == Kind.CARD) & OUTBOX.c.key.like(f"{SubjectKind.PAGE.value}:%")
_SAID_ONCE = OUTBOX.c.kind.in_([Kind.NOTE, Kind.ANSWER]) | _PAGE_CARD
"""Messages that nobody edits: a page's card is one of them once its ladder has stopped."""


class RetentionQueries(Rows):
    """What the job of retention asks."""

    async def old_bodies(self, limits: Limits, after: int) -> tuple[list[int], int | None]:
        """Deliveries after a number whose bodies may go, and the number to go on from."""
        old = (INBOX.c.status == DeliveryStatus.DONE) & (INBOX.c.received_at < limits.bodies)
        old &= sa.func.length(INBOX.c.body) > 0
        return await self._found(INBOX, INBOX.c.received_at, limits.bodies, old, after)

    async def drop_bodies(self, ids: Sequence[int], limits: Limits) -> Removed:
        """Keep the delivery and the key by which it is recognised, drop what it said."""
        old = (INBOX.c.status == DeliveryStatus.DONE) & (INBOX.c.received_at < limits.bodies)
        result = await self.connection.execute(
            sa.update(INBOX).where(INBOX.c.id.in_(ids), old).values(body=b"")
        )
        return Removed(bodies=result.rowcount)

    async def old_deliveries(self, limits: Limits, after: int) -> tuple[list[int], int | None]:
        """Deliveries that no sender repeats any more; a quarantined one stays as long as alerts do."""
        return await self._found(INBOX, INBOX.c.received_at, limits.keys, _delivered(limits), after)

    async def remove_deliveries(self, ids: Sequence[int], limits: Limits) -> Removed:
        """Forget them."""
        return Removed(
            rows=await self._delete(INBOX, INBOX.c.id.in_(ids) & _delivered(limits) & _not_newest(INBOX))
        )

    async def old_messages(self, limits: Limits, after: int) -> tuple[list[int], int | None]:
        """Messages that were said once and are settled."""
        old = _SAID_ONCE & _SETTLED & (OUTBOX.c.created_at < limits.messages)
        return await self._found(OUTBOX, OUTBOX.c.created_at, limits.messages, old, after)

    async def remove_messages(self, ids: Sequence[int], limits: Limits) -> Removed:
        """Forget them, but for pages whose ladder still runs."""
        old = OUTBOX.c.id.in_(ids) & _SAID_ONCE & _SETTLED & (OUTBOX.c.created_at < limits.messages)
        rows = await self.rows(sa.select(OUTBOX.c.id, OUTBOX.c.kind, OUTBOX.c.subject).where(old))
        rows = [row for row in rows if not any(isinstance(one, UnreadableValue) for one in row.values())]
        pages = {row["subject"].id: row["id"] for row in rows if row["kind"] is Kind.CARD}
        running = (
            sa.select(PAGE.c.id)
            .join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
            .where(PAGE.c.id.in_(list(pages)), ESCALATION.c.phase != Phase.STOPPED)
        )
        shown = (
            {pages[page] for page in (await self.connection.execute(running)).scalars()} if pages else set()
        )
        shown |= {pages[page] for page in await self._listing(list(pages))}
        gone = OUTBOX.c.id.in_([row["id"] for row in rows if row["id"] not in shown])
        return Removed(rows=await self._delete(OUTBOX, gone & _not_newest(OUTBOX)))

    async def old_groups(self, limits: Limits, after: int) -> tuple[list[int], int | None]:
        """Groups after a number that ended long ago."""
        return await self._found(GROUP, GROUP.c.opened_at, limits.alerts, _over(limits), after)

    async def remove_groups(self, ids: Sequence[int], limits: Limits, most: int) -> tuple[Removed, list[int]]:
        """Groups with all that belongs to them, at most ``most`` alerts; and those that are not done yet.

        What people did stays in the timeline, with the title of what they did it to.
        """
        wanted = sa.select(GROUP.c.id, GROUP.c.title).where(GROUP.c.id.in_(ids), _over(limits))
        titles = {row["id"]: row["title"] for row in await self.rows(_newest_excepted(wanted, GROUP))}
        free = await self._unneeded(sorted(titles), limits)
        if self.postgres:  # Waiting for no row, it cannot be part of a deadlock; what is locked is in use.
            locked = wanted.where(GROUP.c.id.in_(free)).order_by(GROUP.c.id).with_for_update(skip_locked=True)
            free = [row["id"] for row in await self.rows(locked)]
        subjects = {f"{SubjectKind.ALERT.value}:{one}": one for one in free}
        alerts = await self._alerts(free, most)
        events = await self._few(TIMELINE, TIMELINE.c.subject.in_(list(subjects)) & _OURS, most)
        ladders = sa.select(ESCALATION.c.id).where(ESCALATION.c.subject.in_(list(subjects)))
        pages = await self._few(PAGE, PAGE.c.escalation_id.in_(ladders), most)
        rows = await self._delete(
            OUTBOX, OUTBOX.c.key.in_([f"{SubjectKind.PAGE.value}:{one}" for one in pages])
        )
        rows += await self._delete(TIMELINE, TIMELINE.c.id.in_(events))
        rows += await self._delete(PAGE, PAGE.c.id.in_(pages))
        gone = Removed(alerts=await self._delete(ALERT, ALERT.c.id.in_(alerts)), rows=rows)
        unfinished = await self._unfinished(subjects)
        emptied = {key: one for key, one in subjects.items() if one not in unfinished}
        if emptied:
            gone += await self._remove_emptied(emptied, titles)
        more = max(len(alerts), len(events), len(pages)) >= most
        return gone, sorted(unfinished) if more else []

    async def _alerts(self, groups: Sequence[int], most: int) -> list[int]:
        query = sa.select(ALERT.c.id).where(ALERT.c.group_id.in_(groups)).order_by(ALERT.c.id).limit(most)
        if self.postgres:
            query = query.with_for_update(skip_locked=True)
        return list((await self.connection.execute(_newest_excepted(query, ALERT))).scalars())

    async def _few(self, table: sa.Table, which: sa.ColumnElement[bool], most: int) -> list[int]:
        query = _newest_excepted(sa.select(table.c.id).where(which), table).order_by(table.c.id).limit(most)
        return list((await self.connection.execute(query)).scalars())

    async def _unfinished(self, subjects: dict[str, int]) -> set[int]:
        """Groups of which something is left that has to go first."""
        keys = list(subjects)
        alerts = sa.select(ALERT.c.group_id).where(ALERT.c.group_id.in_(list(subjects.values()))).distinct()
        events = sa.select(TIMELINE.c.subject).where(TIMELINE.c.subject.in_(keys), _OURS).distinct()
        pages = sa.select(ESCALATION.c.subject).join(PAGE, PAGE.c.escalation_id == ESCALATION.c.id)
        found = set((await self.connection.execute(alerts)).scalars())
        for query in (events, pages.where(ESCALATION.c.subject.in_(keys)).distinct()):
            found |= {subjects[key] for key in (await self.connection.execute(query)).scalars()}
        return found

    async def _unneeded(self, ids: Sequence[int], limits: Limits) -> list[int]:
        """Those of the groups that nothing open holds on to."""
        if not ids:
            return []
        subjects = {f"{SubjectKind.ALERT.value}:{one}": one for one in ids}
        pages = await self._pages(list(subjects))
        cards = {f"{SubjectKind.PAGE.value}:{page}": subject for page, subject in pages.items()}
        firing = sa.select(ALERT.c.group_id).where(ALERT.c.group_id.in_(ids), ALERT.c.firing)
        running = sa.select(ESCALATION.c.subject).where(
            ESCALATION.c.subject.in_(list(subjects)), ESCALATION.c.phase != Phase.STOPPED
        )
        findings = sa.select(FINDING.c.group_id).where(FINDING.c.group_id.in_(ids), ~_judged(limits))
        incidents = (
            sa.select(GROUP.c.id)
            .join(INCIDENT, INCIDENT.c.id == GROUP.c.incident_id)
            .where(GROUP.c.id.in_(ids))
            .where((INCIDENT.c.status != IncidentStatus.RESOLVED) | (INCIDENT.c.resolved_at >= limits.alerts))
        )
        due = OUTBOX.c.due_at.is_not(None)
        threads = sa.select(OUTBOX.c.thread_of).where(due, OUTBOX.c.thread_of.in_(list(subjects)))
        unsettled = sa.select(OUTBOX.c.key).where(OUTBOX.c.key.in_([*subjects, *cards]), ~_SETTLED)
        held: set[Any] = set()
        for query in (firing, running, findings, incidents, threads, unsettled):
            held.update((await self.connection.execute(query)).scalars())
        held |= {f"{SubjectKind.PAGE.value}:{page}" for page in await self._listing(list(pages))}
        held |= {cards[key] for key in held if key in cards}
        return [one for key, one in subjects.items() if one not in held and key not in held]

    async def _listing(self, pages: Sequence[int]) -> list[int]:
        """Those of the pages whose message lists another page, of a ladder that still runs."""
        if not pages:
            return []
        query = sa.select(PAGE.c.listed_in).join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
        query = query.where(PAGE.c.listed_in.in_(pages), ESCALATION.c.phase != Phase.STOPPED).distinct()
        return list((await self.connection.execute(query)).scalars())

    async def _pages(self, subjects: Sequence[str]) -> dict[int, str]:
        """The pages of all ladders of some subjects: the page's number, and whose it is."""
        query = sa.select(PAGE.c.id, ESCALATION.c.subject)
        query = query.join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
        rows = await self.rows(query.where(ESCALATION.c.subject.in_(list(subjects))))
        return {row["id"]: row["subject"] for row in rows}

    async def _remove_emptied(self, subjects: dict[str, int], titles: dict[int, str]) -> Removed:
        """The groups themselves; what people did says from now on by itself what it was done to."""
        keys, ids = list(subjects), list(subjects.values())
        rows = await self._delete(OUTBOX, OUTBOX.c.key.in_(keys))
        ladders = sa.select(ESCALATION.c.id).where(ESCALATION.c.subject.in_(keys))
        rows += await self._delete(ESCALATION, ESCALATION.c.id.in_(_newest_excepted(ladders, ESCALATION)))
        people = sa.select(TIMELINE.c.id, TIMELINE.c.subject, TIMELINE.c.data)
        for event in await self.rows(people.where(TIMELINE.c.subject.in_(keys))):
            if isinstance(event["data"], UnreadableValue):
                continue
            data = event["data"] | {"title": titles[subjects[event["subject"]]]}
            kept = sa.update(TIMELINE).where(TIMELINE.c.id == event["id"])
            await self.connection.execute(kept.values(data=data))
        findings = await self._few(FINDING, FINDING.c.group_id.in_(ids), MANY)
        rows += await self._delete(FINDING, FINDING.c.id.in_(findings))
        rest = sa.update(FINDING).where(FINDING.c.group_id.in_(ids)).values(group_id=None)
        await self.connection.execute(rest)
        return Removed(groups=await self._delete(GROUP, GROUP.c.id.in_(ids)), rows=rows)

    async def remove_rest(self, limits: Limits, most: int) -> Removed:
        """At most so many of each: closings without an opening, findings without a group, runs of jobs
        that are not known any more, what detectors of services learned that nobody looks at any more, and
        when test buttons were pressed.
        """
        closings = ALERT.c.group_id.is_(None) & ~ALERT.c.firing & (ALERT.c.changed_at < limits.alerts)
        findings = FINDING.c.group_id.is_(None) & _judged(limits)
        learned = (WATCH.c.kind == WatchKind.DETECTOR) & (WATCH.c.changed_at < limits.alerts)
        learned |= (WATCH.c.kind == WatchKind.TEST) & (WATCH.c.changed_at < limits.keys)
        newer = RUN.alias()
        newest = sa.select(sa.func.max(newer.c.due_at)).where(newer.c.name == RUN.c.name).scalar_subquery()
        runs = (RUN.c.due_at < limits.alerts) & (RUN.c.due_at < newest)
        gone = Removed()
        for table, old in ((ALERT, closings), (FINDING, findings), (WATCH, learned), (RUN, runs)):
            few = sa.select(table.c.id).where(old).order_by(table.c.id).limit(most)
            count = await self._delete(table, table.c.id.in_(_newest_excepted(few, table)))
            gone += Removed(alerts=count) if table is ALERT else Removed(rows=count)
        return gone

    async def space(self) -> Space:
        """How much room the database takes."""
        if self.postgres:
            size = sa.select(sa.func.pg_database_size(sa.func.current_database()))
            return Space(size=int((await self.connection.execute(size)).scalar_one()))
        page, pages, free, mode = [
            int((await self.connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one())
            for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")
        ]
        return Space(size=page * pages, free=page * free, gives_back=mode == INCREMENTAL)

    async def _found(
        self,
        table: sa.Table,
        column: sa.Column[Any],
        before: datetime,
        old: sa.ColumnElement[bool],
        after: int,
    ) -> tuple[list[int], int | None]:
        """The numbers of old rows within one window, and where the next one begins; ``None`` at the end.

        Numbers grow with the time, so the end is where rows begin to be too young.
        """
        first = await self._number(sa.select(sa.func.min(table.c.id)).where(table.c.id > after))
        if first is None:
            return [], None
        until = first + WINDOW
        inside = sa.select(table.c.id).where(table.c.id >= first, table.c.id < until)
        found = await self.connection.execute(inside.where(old).order_by(table.c.id))
        numbers = list(found.scalars())
        young = await self._number(inside.where(column >= before).order_by(table.c.id).limit(1))
        any_old = await self._number(inside.where(column < before).limit(1)) if young is not None else 1
        return numbers, until - 1 if any_old is not None else None

    async def _number(self, query: sa.Select[Any]) -> int | None:
        value = (await self.connection.execute(query)).scalar_one_or_none()
        return None if value is None else int(value)

    async def _delete(self, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
        return (await self.connection.execute(sa.delete(table).where(which))).rowcount


INCREMENTAL = 2
"""SQLite's number for ``auto_vacuum = INCREMENTAL``."""


def _not_newest(table: sa.Table) -> sa.ColumnElement[bool]:
    other = table.alias()
    return table.c.id < sa.select(sa.func.max(other.c.id)).scalar_subquery()


def _newest_excepted(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    return query.where(_not_newest(table))


def _delivered(limits: Limits) -> sa.ColumnElement[bool]:
    done = (INBOX.c.status == DeliveryStatus.DONE) & (INBOX.c.received_at < limits.keys)
    aside = (INBOX.c.status == DeliveryStatus.QUARANTINED) & INBOX.c.drained_at.is_not(None)
    return done | (aside & (INBOX.c.received_at < min(limits.alerts, limits.keys)))


def _over(limits: Limits) -> sa.ColumnElement[bool]:
    return (
        (GROUP.c.status == AlertStatus.RESOLVED)
        & (GROUP.c.resolved_at < limits.alerts)
        & (GROUP.c.changed_at < limits.alerts)
    )


def _judged(limits: Limits) -> sa.ColumnElement[bool]:
    """Findings that are over in every way; a NULL is never older than anything."""
    quiet = FINDING.c.muted_until.is_(None) | (FINDING.c.muted_until < limits.at)
    return sa.func.coalesce(FINDING.c.ended_at < limits.alerts, sa.false()) & quiet
