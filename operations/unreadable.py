"""Rows that this version cannot read: set aside, told once, looked at again, and worked around.

After a rollback a table may hold what a newer version wrote; a disk may have damaged a value. The queries
leave such a row out (``storage/rows.py``). Here it is kept by name and content, so that no loop takes it
for due again, and what it stood for goes on without it: a new ladder pages in place of one that is lost,
and a page that is lost counts as failed. Once it can be read again it comes back by itself.
"""

from datetime import datetime, timedelta

import structlog

from domain import escalation as ladders
from domain.alerts import AlertStatus
from domain.effects import Effect, Event, Note, Refresh, Subject, SubjectKind, Text
from domain.outbox import OPS
from domain.policy import Level
from domain.ports import Tx
from domain.unreadable import RETIRED, UnreadableRow
from operations import counters
from operations import ladders as pages
from operations.world import World

log = structlog.get_logger(__name__)

PROBLEM = "storage.unreadable_rows"

LOOK_AGAIN = 300.0
"""Seconds between two looks at every row that matters while one is set aside: it may be readable again."""

LOOK_ALL = 3600.0
"""Seconds between two looks while none is. A row that is due is found as it is read, without any look."""

TOLD_ONE_BY_ONE = 5
"""More rows at once than this are told in one line."""


class Unreadable:
    """The loop's turns. What it knows is a shortcut; the truth is in the table ``set_aside``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._look_at: float | None = None

    def next_due(self, at: datetime) -> datetime:
        """When everything is looked at again."""
        left = 0.0 if self._look_at is None else self._look_at - self._world.clock.monotonic()
        return at + timedelta(seconds=max(0.0, left))

    async def turn(self) -> int:
        """Set aside what was found, and now and then look at everything again. Returns how much was new."""
        now = self._world.clock.monotonic()
        if self._look_at is None or now >= self._look_at:
            self._look_at = now + LOOK_AGAIN  # Also where the look fails.
            if not await self._look_again():
                self._look_at = now + LOOK_ALL
        found = self._world.store.found_unreadable()
        if not found:
            return 0
        self._look_at = min(self._look_at, now + LOOK_AGAIN)
        return await self._set_aside(found)

    async def _look_again(self) -> int:
        """Look at everything. Returns how many rows are aside afterwards."""
        async with self._world.store.read() as tx:
            aside = await tx.rows_set_aside()
            again = [row for row in aside if await tx.is_readable(row)]
            tx.unreadable.clear()
            await tx.sweep()
        if again:
            async with self._world.store() as tx:
                for row in again:
                    await tx.bring_back(row)
                    log.info("row.readable_again", source=row.source, row=row.row_id)
        return await self._report()

    async def _set_aside(self, found: list[UnreadableRow]) -> int:
        new: list[UnreadableRow] = []
        for row in found:
            at = self._world.clock.now()
            async with self._world.store() as tx:
                raw = await tx.raw(row.source, row.row_id)
                if not await tx.set_aside(row, at):
                    self._world.store.forget_unreadable(row)
                    continue
                await _go_on_without(tx, self._world, row, raw or {}, at)
                tx.unreadable.clear()
            new.append(row)
            counters.unreadable.labels(table=row.source).inc()
            log.error("row.set_aside", source=row.source, row=row.row_id, reason=row.reason)
        await self._report()
        await self._tell(new)
        return len(new)

    async def _report(self) -> int:
        async with self._world.store.read() as tx:
            aside = await tx.rows_set_aside()
        self._world.store.know_unreadable(aside)
        if not aside:
            self._world.problems.clear(PROBLEM)
            return 0
        first = aside[0]
        reason = f"{len(aside)} set aside, the first: {first.source} {first.row_id}: {first.reason}"
        self._world.problems.report(PROBLEM, reason)
        return len(aside)

    async def _tell(self, new: list[UnreadableRow]) -> None:
        if not new:
            return
        notes: list[Effect] = [_told(row) for row in new]
        if len(new) > TOLD_ONE_BY_ONE:
            first = new[0]
            params = {"count": len(new), "table": first.source, "row": first.row_id, "reason": first.reason}
            text = Text(key="ops.unreadable_rows", params=params)
            notes = [Note(key=f"unreadable:many:{first.key}", place=OPS, text=text)]
        async with self._world.store() as tx:
            await tx.say(notes, self._world.clock.now())


def _told(row: UnreadableRow) -> Note:
    params = {"table": row.source, "row": row.row_id, "reason": row.reason[:300]}
    return Note(key=f"unreadable:{row.key}", place=OPS, text=Text(key="ops.unreadable_row", params=params))


async def _go_on_without(
    tx: Tx, world: World, row: UnreadableRow, raw: dict[str, object], at: datetime
) -> None:
    """What the row stood for must not fall silent."""
    if row.source == "escalation":
        await _new_ladder(tx, world, row.row_id, raw, at)
    elif row.source == "page":
        escalation_id = _number(raw.get("escalation_id"))
        if escalation_id is not None and raw.get("status") not in _ANSWERED:
            await tx.fail_page(row.row_id, escalation_id, at)
    elif row.source == "outbox":
        subject = _subject(raw.get("key"))
        if subject is not None and subject.kind is SubjectKind.PAGE and raw.get("sent_at") is None:
            await pages.page_failed(tx, subject.id, RETIRED, at)


_ANSWERED = {"delivered", "failed", "not set up", "withdrawn"}


async def _new_ladder(tx: Tx, world: World, escalation_id: int, raw: dict[str, object], at: datetime) -> None:
    """The ladder begins anew for its subject, unless the trouble is over or somebody has it."""
    stopped = raw.get("phase") == ladders.Phase.STOPPED and raw.get("stopped_because") != RETIRED
    if stopped:
        return
    await tx.retire_escalation(escalation_id)
    subject = _subject(raw.get("subject"))
    if subject is None or await tx.running_escalations([subject.key]):
        return
    wanted, level = await _who_waits(tx, subject, raw)
    if not wanted:
        return
    await tx.add_escalation(ladders.start(subject, level, at))
    data = {"because": RETIRED, "escalation": escalation_id}
    await tx.tell([Event(subject=subject, what="escalation.replaced", at=at, data=data)])
    await tx.say([Refresh(subject=subject)], at)


async def _who_waits(tx: Tx, subject: Subject, raw: dict[str, object]) -> tuple[bool, Level]:
    """Whether somebody has to be paged for the subject, and how loudly. What cannot be read pages."""
    said = raw.get("level")
    level = Level(str(said)) if said in set(Level) else Level.CRITICAL
    match subject.kind:
        case SubjectKind.INCIDENT:
            incident = await tx.incident(subject.id)
            if incident is not None:
                return incident.is_open and incident.acknowledged_at is None, incident.severity.level
        case SubjectKind.ALERT:
            group = (await tx.groups([subject.id])).get(subject.id)
            if group is not None:
                return group.status is AlertStatus.FIRING, group.level
    return True, level


def _subject(key: object) -> Subject | None:
    try:
        return Subject.parse(str(key))
    except ValueError:
        return None


def _number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
