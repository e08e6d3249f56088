"""Ladders on their way, and every attempt to reach somebody."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from domain.effects import Subject
from domain.escalation import Escalation, Page, PageStatus, Phase
from domain.levels import Level
from domain.outbox import Status
from domain.page_lists import EVERY, PageList, push_at
from domain.policy import Means
from storage.rows import CHUNK, table, why, without_id
from storage.tables import EscalationRow, OutboxRow, PageRow
from storage.types import HIGHEST
from storage.unreadable import UnreadableQueries, not_aside

ESCALATION = table(EscalationRow)
PAGE = table(PageRow)
OUTBOX = table(OutboxRow)

RUNNING = (ESCALATION.c.phase != Phase.STOPPED) & not_aside(ESCALATION)
"""A ladder that is stopped or cannot be read is due no more, whatever its row says."""

TOP = PAGE.c.listed_in.is_(None) & (PAGE.c.means == sa.literal_column(f"'{Means.SLACK.value}'"))
"""A page with a message of its own; written out, so that SQLite takes the index over these."""

LATELY = 10
"""Pages of a person among which those of the last minute are counted: more are a storm in any case."""


def worst_first(level: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Sorts emergencies before all others."""
    return sa.case(*((level == one, Level.EMERGENCY.rank - one.rank) for one in Level), else_=0)


class EscalationQueries(UnreadableQueries):
    """What the rules of escalation need. Every write wakes the loop that looks for due ladders."""

    async def add_escalation(self, escalation: Escalation) -> Escalation:
        """A new ladder. The database refuses a second running one for the same subject."""
        self.topics.add("escalations")
        return await self.add(EscalationRow, escalation)

    async def add_escalations(self, escalations: Sequence[Escalation]) -> list[Escalation]:
        """New ladders."""
        self.topics.add("escalations")
        return await self.add_many(EscalationRow, escalations)

    async def escalations(self, ids: Sequence[int]) -> dict[int, Escalation]:
        """Ladders by id."""
        found = await self.values_in(Escalation, sa.select(ESCALATION), ESCALATION.c.id, ids)
        return {escalation.id: escalation for escalation in found if escalation.id is not None}

    async def escalation(self, escalation_id: int) -> Escalation | None:
        """One ladder."""
        query = sa.select(ESCALATION).where(ESCALATION.c.id == escalation_id)
        return next(iter(await self.values(Escalation, query)), None)

    async def running_escalations(self, subjects: Sequence[str]) -> dict[str, Escalation]:
        """The running ladder of each subject that has one.

        One that cannot be read makes way, so that the database takes a new one.
        """
        query = sa.select(ESCALATION).where(ESCALATION.c.phase != Phase.STOPPED)
        lost: list[int] = []
        found = await self.values_in(
            Escalation, query, ESCALATION.c.subject, subjects, lambda row, _: lost.append(row["id"])
        )
        if self.writing:
            for escalation_id in lost:
                await self.retire_escalation(escalation_id)
        return {escalation.subject: escalation for escalation in found}

    async def latest_escalation(self, subject: Subject) -> Escalation | None:
        """The newest ladder of a subject, running or not."""
        query = sa.select(ESCALATION).where(ESCALATION.c.subject == subject.key)
        query = query.order_by(ESCALATION.c.id.desc()).limit(1)
        return next(iter(await self.values(Escalation, query, lock=False)), None)

    async def latest_escalations(self, subjects: Iterable[str]) -> dict[str, Escalation]:
        """The newest ladder of each subject that ever had one, running or not."""
        found: dict[str, Escalation] = {}
        keys = sorted(set(subjects))
        for start in range(0, len(keys), CHUNK):
            mine = ESCALATION.c.subject.in_(keys[start : start + CHUNK])
            newest = sa.select(sa.func.max(ESCALATION.c.id)).where(mine).group_by(ESCALATION.c.subject)
            query = sa.select(ESCALATION).where(ESCALATION.c.id.in_(newest))
            ladders = await self.values(Escalation, query, lock=False)
            found |= {ladder.subject: ladder for ladder in ladders}
        return found

    async def ladders_of(self, subjects: Iterable[str], each: int) -> list[int]:
        """The ids of the newest ladders of these subjects, at most ``each`` times as many, oldest first."""
        keys = sorted(set(subjects))
        found: list[int] = []
        for start in range(0, len(keys), CHUNK):
            some = keys[start : start + CHUNK]
            query = sa.select(ESCALATION.c.id).where(ESCALATION.c.subject.in_(some))
            newest = query.order_by(ESCALATION.c.id.desc()).limit(each * len(some))
            found += (await self.connection.execute(newest)).scalars()
        return sorted(found)

    async def save_escalations(self, escalations: Sequence[Escalation]) -> None:
        """Changed ladders."""
        self.topics.add("escalations")
        await self.save_many(EscalationRow, escalations)

    async def save_escalation(self, escalation: Escalation) -> Escalation:
        """A changed ladder; the returned one can be saved again."""
        self.topics.add("escalations")
        await self.save(EscalationRow, escalation)
        return escalation.model_copy(update={"version": escalation.version + 1})

    async def due_escalations(self, at: datetime, limit: int) -> list[int]:
        """Ladders whose moment has come, the worst level first, then the longest waiting.

        Emergencies do not wait for others in one transaction with them.
        """
        query = sa.select(ESCALATION.c.id, ESCALATION.c.level).where(ESCALATION.c.due_at <= at, RUNNING)
        order = (worst_first(ESCALATION.c.level), ESCALATION.c.due_at, ESCALATION.c.id)
        found = await self.rows(query.order_by(*order).limit(limit), ESCALATION)
        urgent = [row["id"] for row in found if row["level"] == Level.EMERGENCY]
        return urgent or [row["id"] for row in found]

    async def add_page(self, page: Page) -> Page:
        """A new attempt. The database refuses the same one twice."""
        return await self.add(PageRow, page)

    async def add_pages(self, pages: Sequence[Page]) -> None:
        """New attempts that nothing refers to by their ids yet."""
        if pages:
            await self.connection.execute(sa.insert(PAGE), without_id(pages))

    async def pages_by_id(self, ids: Sequence[int]) -> dict[int, Page]:
        """Attempts by id, not locked."""
        found = await self.values_in(Page, sa.select(PAGE), PAGE.c.id, ids, lock=False)
        return {page.id: page for page in found if page.id is not None}

    async def page(self, page_id: int) -> Page | None:
        """One attempt."""
        return next(iter(await self.values(Page, sa.select(PAGE).where(PAGE.c.id == page_id))), None)

    async def pages_delivered(self, ids: Sequence[int], at: datetime) -> set[int]:
        """These attempts are on their people's screens. Returns those that were on their way until now."""
        values = {"status": PageStatus.DELIVERED, "delivered_at": at, "error": None}
        found: set[int] = set()
        for start in range(0, len(ids), CHUNK):
            mine = PAGE.c.id.in_(ids[start : start + CHUNK]) & (PAGE.c.status == PageStatus.QUEUED)
            done = await self.connection.execute(
                sa.update(PAGE).where(mine).values(values).returning(PAGE.c.id)
            )
            found.update(done.scalars())
        return found

    async def save_page(self, page: Page) -> None:
        """A changed attempt."""
        await self.save(PageRow, page)

    async def pages(self, escalation_id: int) -> list[Page]:
        """Every attempt of a ladder, oldest first."""
        query = sa.select(PAGE).where(PAGE.c.escalation_id == escalation_id).order_by(PAGE.c.id)
        return await self.values(Page, query, lock=False)

    async def pages_on_screens(self, ladders: Iterable[int]) -> list[Page]:
        """The delivered pages of these ladders; one in a list is there with the page that holds the list."""
        found: list[Page] = []
        ids = sorted(set(ladders))
        for start in range(0, len(ids), CHUNK):
            mine = PAGE.c.escalation_id.in_(ids[start : start + CHUNK])
            query = sa.select(PAGE).where(mine, PAGE.c.status == PageStatus.DELIVERED).order_by(PAGE.c.id)
            found += await self.values(Page, query, lock=False)
        return found

    async def pages_waiting(self, person: str, limit: int) -> list[Page]:
        """The newest page of a person on each ladder that still runs, the worst and oldest first."""
        newest = (
            sa.select(sa.func.max(PAGE.c.id))
            .join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
            .where(PAGE.c.person == person, ESCALATION.c.phase != Phase.STOPPED)
            .where(PAGE.c.status != PageStatus.WITHDRAWN)
            .group_by(PAGE.c.escalation_id)
        )
        rank = sa.case(*((ESCALATION.c.level == level, level.rank) for level in Level), else_=0)
        query = (
            sa.select(PAGE)
            .join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
            .where(PAGE.c.id.in_(newest))
            .order_by(rank.desc(), ESCALATION.c.started_at, PAGE.c.id)
        )
        return await self.values(Page, query.limit(limit), lock=False)

    async def people_waited_for(self, escalations: Sequence[int]) -> dict[int, frozenset[str]]:
        """People to whom a page of each of these ladders is still on its way."""
        found: dict[int, set[str]] = {escalation_id: set() for escalation_id in escalations}
        for start in range(0, len(escalations), CHUNK):
            query = sa.select(PAGE.c.id, PAGE.c.escalation_id, PAGE.c.person).where(
                PAGE.c.escalation_id.in_(escalations[start : start + CHUNK]),
                PAGE.c.status == PageStatus.QUEUED,
            )
            for row in await self.rows(query, PAGE):
                if type(row["person"]) is str:
                    found[row["escalation_id"]].add(row["person"])
        return {escalation_id: frozenset(people) for escalation_id, people in found.items()}

    # Messages that list many pages.

    async def page_list(self, person: str) -> PageList | None:
        """The newest message of a person that others may join."""
        query = (
            sa.select(PAGE.c.id, PAGE.c.posted_at, PAGE.c.push_at, ESCALATION.c.level)
            .join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
            .where(PAGE.c.person == person, TOP)
            .where(PAGE.c.status.in_([PageStatus.QUEUED, PageStatus.DELIVERED]))
            .where(PAGE.c.posted_at.is_not(None) | PAGE.c.delivered_at.is_(None) | (PAGE.c.shown_to == 0))
            .order_by(PAGE.c.posted_at.is_(None).desc(), PAGE.c.posted_at.desc(), PAGE.c.id.desc())
            .limit(1)
        )
        for row in await self.rows(query, PAGE):
            grown = row["push_at"] is not None
            try:
                return PageList(
                    page_id=row["id"], posted_at=row["posted_at"], level=row["level"], has_grown=grown
                )
            except ValidationError as error:  # A message of its own, then.
                self.not_readable(PAGE, row["id"], why(error))
        return None

    async def pages_lately(self, person: str, level: Level, at: datetime) -> int:
        """How many pages of this level or a worse one a person was sent within the last minute, up to ten."""
        newest = (
            sa.select(PAGE.c.id)
            .where(PAGE.c.person == person, PAGE.c.means == Means.SLACK)
            .order_by(PAGE.c.id.desc())
            .limit(LATELY)
        )
        as_bad = [one for one in Level if one.rank >= level.rank]
        query = (
            sa.select(sa.func.count(PAGE.c.id))
            .select_from(PAGE.join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id))
            .where(PAGE.c.id.in_(newest), PAGE.c.queued_at > at - EVERY, ESCALATION.c.level.in_(as_bad))
        )
        return int((await self.connection.execute(query)).scalar_one())

    async def listed_waiting(self, page_id: int) -> int:
        """How many pages in the list of this one nobody has answered.

        A writing transaction has the message to itself until its end: whoever joins it is seen here, or
        joins afterwards, and says it again.
        """
        if self.postgres and self.writing:
            message = sa.select(OUTBOX.c.id).where(OUTBOX.c.key == f"page:{page_id}")
            await self.connection.execute(message.with_for_update())
        query = (
            sa.select(sa.func.count())
            .select_from(PAGE.join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id))
            .where(PAGE.c.listed_in == page_id, ESCALATION.c.phase != Phase.STOPPED)
        )
        return int((await self.connection.execute(query)).scalar_one())

    async def listed(self, page_id: int, limit: int) -> tuple[list[Page], int, int]:
        """The worst and oldest of the pages in a list that nobody has answered, how many there are of them,
        and the newest page of the list.
        """
        joined = PAGE.join(ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id)
        mine = PAGE.c.listed_in == page_id
        running = mine & (ESCALATION.c.phase != Phase.STOPPED)
        worst = sa.select(PAGE).select_from(joined).where(running)
        worst = worst.order_by(worst_first(ESCALATION.c.level), PAGE.c.id).limit(limit)
        counted = sa.select(
            sa.func.count().filter(running).label("waiting"), sa.func.max(PAGE.c.id).label("newest")
        )
        found = await self.connection.execute(counted.select_from(joined).where(mine))
        counts = found.mappings().one()
        shown = await self.values(Page, worst, lock=False, of=PAGE)
        return shown, counts["waiting"], counts["newest"] or 0

    async def list_shown(self, page_id: int, newest: int, at: datetime, *, first: bool) -> None:
        """A message was sent or edited: it shows its list up to the page ``newest``.

        What an edit shows for the first time rings no bell: a new message is due a minute after the last.
        """
        page = await self.page(page_id)
        if page is None:
            return
        values: dict[str, Any] = {"shown_to": newest, "shown_at": at}
        if first:
            values["posted_at"] = at
        elif newest > (page.shown_to or 0) and page.push_at is None:
            values["push_at"] = push_at(page.posted_at or at, at)
        await self.connection.execute(sa.update(PAGE).where(PAGE.c.id == page_id).values(values))
        self.topics.add("pages")

    async def pages_shown(self, limit: int) -> list[tuple[int, datetime]]:
        """Pages that a list shows and that are not recorded as delivered, and since when it does."""
        top = PAGE.alias("top")
        query = (
            sa.select(PAGE.c.id, top.c.shown_at)
            .join(top, top.c.id == PAGE.c.listed_in)
            .where(PAGE.c.listed_in.is_not(None), PAGE.c.status == PageStatus.QUEUED)
            .where(PAGE.c.id <= top.c.shown_to, top.c.shown_to < HIGHEST)
            .order_by(PAGE.c.id)
            .limit(limit)
        )
        found = await self.rows(query)
        return [(row["id"], row["shown_at"]) for row in found if isinstance(row["shown_at"], datetime)]

    async def stranded_lists(self, limit: int) -> list[int]:
        """Messages that will never be sent, although pages in their lists are still on their way.

        Nobody would be paged on those ladders again. The page of such a message may be withdrawn while
        others in its list are said.
        """
        top = PAGE.alias("top")
        message = OUTBOX.c.key == sa.literal("page:") + sa.cast(top.c.id, sa.String)
        never = OUTBOX.c.status.in_([Status.DEAD, Status.WITHDRAWN])
        gone = sa.exists().where(message, never) | ~sa.exists().where(message)
        joined = PAGE.join(top, top.c.id == PAGE.c.listed_in).join(
            ESCALATION, ESCALATION.c.id == PAGE.c.escalation_id
        )
        query = sa.select(top.c.id).distinct().select_from(joined)
        query = query.where(PAGE.c.status == PageStatus.QUEUED, RUNNING, not_aside(PAGE), gone)
        return list((await self.connection.execute(query.order_by(top.c.id).limit(limit))).scalars())

    async def forget_push(self, page_id: int) -> None:
        """Nothing in this list waits for an answer any more."""
        await self.connection.execute(sa.update(PAGE).where(PAGE.c.id == page_id).values(push_at=None))

    async def due_pushes(self, at: datetime) -> list[Page]:
        """Messages whose list has grown since they were posted a minute ago."""
        return await self.values(
            Page, sa.select(PAGE).where(PAGE.c.push_at <= at).order_by(PAGE.c.push_at, PAGE.c.id)
        )

    async def renew_list(self, old: int, new: int) -> None:
        """The message of ``new`` lists from now on whatever nobody has answered of the list of ``old``."""
        running = sa.select(ESCALATION.c.id).where(ESCALATION.c.phase != Phase.STOPPED)
        mine = (PAGE.c.listed_in == old) | (PAGE.c.id == old)
        mine &= PAGE.c.escalation_id.in_(running) & (PAGE.c.id != new)
        await self.connection.execute(sa.update(PAGE).where(mine).values(listed_in=new))
        await self.forget_push(old)
        top = {"listed_in": None, "posted_at": None, "shown_to": 0, "push_at": None}
        await self.connection.execute(sa.update(PAGE).where(PAGE.c.id == new).values(top))
