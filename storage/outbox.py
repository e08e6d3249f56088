"""Messages on their way: written with the state that caused them, claimed by lease, settled by fence."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from domain import outbox as rules
from domain.effects import Answer, Card, Effect, Note, Priority, Refresh, Rewrite
from domain.outbox import CALL_BEFORE_LEASE, LEASE, Kind, Letter, Settled, Status
from domain.views import Posted
from storage.leases import LeaseQueries
from storage.rows import table, why
from storage.tables import LaneRow, OutboxRow
from storage.types import EPOCH, EpochMillis, one_more, refuse_unreadable, to_millis
from storage.unreadable import not_aside

OUTBOX = table(OutboxRow)
LANE = table(LaneRow)
PARENT = OUTBOX.alias("parent")
OTHER = OUTBOX.alias("other")

LONGEST_LEASE = 10 * LEASE
"""Nobody takes a longer one: what says so is damaged, and must not keep its conversation silent."""

Moment = datetime | sa.ColumnElement[Any]

_URGENCY = sa.case(
    (OUTBOX.c.ts.is_not(None) & (OUTBOX.c.priority < Priority.EDIT), Priority.EDIT), else_=OUTBOX.c.priority
)


EDITS = "chat.update"
"""The lane that all edits of the workspace share, beside those of their conversations."""


@cache
def _next_of_each_lane() -> sa.Select[Any]:
    """The most urgent message of each lane that is open, ``at`` a moment, but for ``busy`` ones.

    One look at an index for each lane, however many thousand messages wait in it: the lanes one after
    another, and in each first what is new, then edits, then the rest.
    """
    at, too_far, too_long = (
        sa.bindparam(name, type_=EpochMillis()) for name in ("at", "too_far", "too_long")
    )
    waits = OUTBOX.c.due_at.is_not(None)
    lanes = sa.select(sa.func.min(OUTBOX.c.place).label("place")).where(waits).cte("lanes", recursive=True)
    following = sa.select(sa.func.min(OUTBOX.c.place)).where(waits, OUTBOX.c.place > lanes.c.place)
    lanes = lanes.union_all(
        sa.select(following.scalar_subquery()).select_from(lanes).where(lanes.c.place.is_not(None))
    )
    reachable = (
        OUTBOX.c.thread_of.is_(None)
        | PARENT.c.id.is_(None)
        | PARENT.c.ts.is_not(None)
        | PARENT.c.status.in_([Status.DEAD, Status.WITHDRAWN])
    )

    def first(*which: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
        joined = OUTBOX.outerjoin(PARENT, PARENT.c.key == OUTBOX.c.thread_of)
        found = sa.select(OUTBOX.c.id).select_from(joined).where(OUTBOX.c.place == lanes.c.place, waits)
        found = found.where(
            OUTBOX.c.due_at <= at, _unleased(at, too_far), reachable, not_aside(OUTBOX), *which
        )
        found = found.order_by(OUTBOX.c.priority, OUTBOX.c.id).limit(1)
        return found.correlate(lanes).scalar_subquery()

    is_new = OUTBOX.c.ts.is_(None)
    open_lane = LANE.c.key.is_(None) | LANE.c.closed_until.is_(None) | (LANE.c.closed_until <= at)
    open_lane |= LANE.c.closed_until > too_long
    chosen = sa.func.coalesce(
        first(is_new, OUTBOX.c.priority < Priority.EDIT), first(~is_new), first(is_new)
    ).label("id")
    query = sa.select(chosen).select_from(lanes.outerjoin(LANE, LANE.c.key == lanes.c.place))
    query = query.where(lanes.c.place.is_not(None), open_lane, ~_spoken_in(lanes.c.place, at, too_far))
    query = query.where(lanes.c.place.not_in(sa.bindparam("busy", expanding=True)))
    found = query.subquery()
    return sa.select(found.c.id).where(found.c.id.is_not(None))


def _moments(at: datetime, busy: frozenset[str]) -> dict[str, Any]:
    """What ``_next_of_each_lane`` is asked with."""
    limits = {"too_far": at + LONGEST_LEASE, "too_long": at + rules.LONGEST_RETRY_AFTER}
    return {"at": at, "busy": sorted(busy), **limits}


@cache
def next_letter() -> sa.Select[Any]:
    """When there is something to send next: never before a lease or a lane's pause ends."""
    reachable = OUTBOX.c.thread_of.is_(None) | PARENT.c.id.is_(None) | PARENT.c.due_at.is_(None)
    later = sa.case((LANE.c.closed_until > OUTBOX.c.due_at, LANE.c.closed_until), else_=OUTBOX.c.due_at)
    held = sa.select(sa.func.max(OTHER.c.lease_until)).where(
        OTHER.c.place == OUTBOX.c.place, OTHER.c.lease_until.is_not(None)
    )
    lease = held.correlate(OUTBOX).scalar_subquery()
    leased = sa.case((lease > later, lease), else_=later)
    joined = OUTBOX.outerjoin(PARENT, PARENT.c.key == OUTBOX.c.thread_of).outerjoin(
        LANE, LANE.c.key == OUTBOX.c.place
    )
    query = sa.select(sa.func.min(leased)).select_from(joined)
    return query.where(OUTBOX.c.due_at.is_not(None), reachable, not_aside(OUTBOX))


class OutboxQueries(LeaseQueries):
    """What the loop that speaks needs."""

    async def say(self, effects: Sequence[Effect], at: datetime) -> None:
        """Write what shall be said, in the transaction of the state that causes it."""
        if not effects:
            return
        self.topics.add("outbox")
        cards: dict[str, Card] = {}
        refreshed: dict[str, None] = {}
        once: list[Note | Answer] = []
        rewritten: dict[str, Rewrite] = {}
        for effect in effects:
            match effect:
                case Card():
                    cards[effect.key] = effect
                case Note() | Answer():
                    once.append(effect)
                case Refresh():
                    refreshed[effect.subject.key] = None
                case Rewrite():
                    rewritten[effect.key] = effect
        await self._cards(list(cards.values()), at)
        await self._once(once, at)
        await self._refresh([key for key in refreshed if key not in cards], at)
        for key in sorted(rewritten):
            await self._rewrite(rewritten[key], at)

    async def _cards(self, cards: Sequence[Card], at: datetime) -> None:
        if not cards:
            return
        rows = [
            _new(card.key, Kind.CARD, card.place, card.priority, at)
            | {"subject": card.subject, "thread_of": card.thread_of}
            for card in sorted(cards, key=lambda one: one.key)
        ]
        insert = self.insert(OutboxRow)
        statement = insert.on_conflict_do_update(index_elements=[OUTBOX.c.key], set_=_dirty(at))
        await self.connection.execute(statement, rows)

    async def _once(self, said: Sequence[Note | Answer], at: datetime) -> None:
        if not said:
            return
        insert = self.insert(OutboxRow).on_conflict_do_nothing(index_elements=[OUTBOX.c.key])
        await self.connection.execute(insert, [_said(one, at) for one in said])

    async def _refresh(self, keys: Sequence[str], at: datetime) -> None:
        if keys:
            if self.postgres:  # In one order, so that two transactions cannot wait for each other.
                locked = sa.select(OUTBOX.c.id).where(OUTBOX.c.key.in_(keys)).order_by(OUTBOX.c.key)
                await self.connection.execute(locked.with_for_update())
            known = OUTBOX.c.key.in_(keys) & (OUTBOX.c.status != Status.WITHDRAWN)
            await self.connection.execute(sa.update(OUTBOX).where(known).values(_dirty(at)))

    async def _rewrite(self, rewrite: Rewrite, at: datetime) -> None:
        """A note that is under way while this is written is edited as soon as its outcome is known."""
        if not await self.withdraw(rewrite.key):
            there = (OUTBOX.c.key == rewrite.key) & OUTBOX.c.status.in_([Status.PENDING, Status.SENT])
            values = _dirty(at) | {"text": rewrite.text}
            await self.connection.execute(sa.update(OUTBOX).where(there).values(values))

    async def withdraw(self, key: str) -> bool:
        """A message that was not sent yet shall not be sent. False where it may have been."""
        unsent = (
            (OUTBOX.c.key == key)
            & OUTBOX.c.ts.is_(None)
            & OUTBOX.c.lease_until.is_(None)
            & ~OUTBOX.c.in_doubt
            & (OUTBOX.c.status == Status.PENDING)
        )
        values = {"status": Status.WITHDRAWN, "due_at": None}
        result = await self.connection.execute(sa.update(OUTBOX).where(unsent).values(values))
        return result.rowcount == 1

    async def release_waiting(self, at: datetime) -> None:
        """Slack is back after an outage: what waited for it is due now, in its old order."""
        waiting = (
            (OUTBOX.c.status == Status.PENDING) & (OUTBOX.c.attempts > 0) & OUTBOX.c.lease_until.is_(None)
        )
        waiting &= OUTBOX.c.due_at.is_not(None)
        await self.connection.execute(sa.update(OUTBOX).where(waiting).values(due_at=_millis(at)))
        self.topics.add("outbox")

    async def claim(self, at: datetime, limit: int, busy: frozenset[str]) -> list[Letter]:
        """Take what may be sent now: the most urgent message of each lane that is open.

        A lane in which any process is speaking already is left alone, so that its order is kept; ``busy``
        are those of this one.
        """
        ids = list((await self.connection.execute(_next_of_each_lane(), _moments(at, busy))).scalars())
        if not ids:
            return []
        full = sa.select(
            OUTBOX,
            PARENT.c.channel_id.label("parent_channel"),
            PARENT.c.ts.label("parent_ts"),
            PARENT.c.thread_ts.label("parent_thread"),
        ).select_from(OUTBOX.outerjoin(PARENT, PARENT.c.key == OUTBOX.c.thread_of))
        full = full.where(OUTBOX.c.id.in_(ids), OUTBOX.c.due_at <= at, _unleased(at, at + LONGEST_LEASE))
        full = full.order_by(_URGENCY, OUTBOX.c.id).limit(limit)
        if self.postgres:
            full = full.with_for_update(of=OUTBOX, skip_locked=True)
        found = await self.rows(full, OUTBOX)
        return [letter for row in found if (letter := await self._take(row, at)) is not None]

    async def _take(self, row: Mapping[str, Any], at: datetime) -> Letter | None:
        """Reserve the lane's next slot and lease the message, or close the lane until its slot comes.

        A message that cannot be read is left where it is; its lane goes on as soon as it is set aside.
        """
        try:
            letter_of(row)
        except ValueError as error:
            reason = why(error) if isinstance(error, ValidationError) else str(error)
            self.not_readable(OUTBOX, row["id"], reason)
            return None
        lane = sa.select(LANE).where(LANE.c.key == row["place"])
        if self.postgres:
            lane = lane.with_for_update()
            new = self.insert(LaneRow).values(key=row["place"], next_at=at)
            await self.connection.execute(new.on_conflict_do_nothing(index_elements=[LANE.c.key]))
        mark = next(iter(await self.rows(lane)), None)
        if self.postgres:
            taken = sa.select(_spoken_in(sa.literal(row["place"]), at, at + LONGEST_LEASE))
            if (await self.connection.execute(taken)).scalar_one():
                return None  # Another replica was quicker in this lane, with another message.
        may_change = row["kind"] == Kind.CARD or row["wanted"] > 1  # As ``Letter.may_change``.
        is_edit = row["ts"] is not None and may_change
        if is_edit and not await self._may_edit(row, at):
            return None
        next_at = mark["next_at"] if mark and isinstance(mark["next_at"], datetime) else None
        goes, when = rules.slot(next_at, at, edit=row["ts"] is not None)
        values = {"next_at": when, "closed_until": None} if goes else {"closed_until": when}
        if mark:
            await self.connection.execute(sa.update(LANE).where(LANE.c.key == row["place"]).values(values))
        else:
            new = self.insert(LaneRow).values(key=row["place"], **values)
            await self.connection.execute(new.on_conflict_do_nothing(index_elements=[LANE.c.key]))
        if not goes:
            return None
        taken_over = row["lease_until"] is not None
        lease: dict[str, Any] = {"lease_until": at + LEASE, "fence": row["fence"] + 1}
        if taken_over and row["ts"] is None:
            began = min(row["lease_until"] - LEASE - CALL_BEFORE_LEASE, at)
            lease |= {"in_doubt": True, "doubt_from": min(row["doubt_from"] or began, began)}
            lease["doubt_until"] = at
        await self.connection.execute(sa.update(OUTBOX).where(OUTBOX.c.id == row["id"]).values(lease))
        return _letter(dict(row) | lease, at, taken_over=taken_over)

    async def _may_edit(self, row: Mapping[str, Any], at: datetime) -> bool:
        """Reserve one of the workspace's edits, or put this one off; its lane goes on without it."""
        lane = sa.select(LANE).where(LANE.c.key == EDITS)
        if self.postgres:
            lane = lane.with_for_update()
        mark = next(iter(await self.rows(lane)), None)
        next_at, closed = (mark["next_at"], mark["closed_until"]) if mark else (None, None)
        goes, when = rules.edit_slot(
            next_at if isinstance(next_at, datetime) else None,
            closed if isinstance(closed, datetime) else None,
            at,
            is_page=row["place"].startswith("@"),
        )
        if goes:
            await self._mark_edits(at, next_at=when, closed_until=None)
        else:
            put_off = sa.update(OUTBOX).where(OUTBOX.c.id == row["id"]).values(due_at=when)
            await self.connection.execute(put_off)
        return goes

    async def _mark_edits(self, at: datetime, **values: datetime | None) -> None:
        new = self.insert(LaneRow).values(key=EDITS, **{"next_at": at, **values})
        await self.connection.execute(new.on_conflict_do_update(index_elements=[LANE.c.key], set_=values))

    async def settle(self, letter: Letter, settled: Settled, at: datetime) -> bool:
        """Record an attempt. False where the message has a newer owner: then nothing is written."""
        posted = settled.posted
        due: sa.ColumnElement[Any] = _millis(settled.due_at)
        status: sa.ColumnElement[Any] = sa.literal(settled.status.value)
        if settled.status in {Status.SENT, Status.WITHDRAWN}:
            # Somebody wanted more meanwhile: to be shown, or, as with a page that joins a list, to be said.
            more = OUTBOX.c.wanted > settled.shown
            due = sa.case((more, _millis(at)), else_=due)
            status = sa.case((more, sa.literal(Status.PENDING.value)), else_=status)
        values: dict[str, Any] = {
            "status": status,
            "due_at": due,
            "lease_until": None,
            "shown": settled.shown,
            "attempts": settled.attempts,
            "in_doubt": settled.in_doubt,
            "doubt_from": settled.doubt_from,
            "doubt_until": settled.doubt_until,
            "failing_since": settled.failing_since,
            "digest": settled.digest,
            "place": settled.place,
            "look_again_at": settled.look_again_at,
            "error": settled.error,
        }
        if letter.kind is not Kind.ANSWER:
            values["channel_id"] = posted.channel_id if posted else None
            values["ts"] = posted.ts if posted else None
            values["thread_ts"] = posted.thread_ts if posted else None
        if settled.detached:
            values["thread_of"] = None
        if settled.sent_at is not None:
            values["sent_at"] = settled.sent_at
        mine = (OUTBOX.c.id == letter.id) & (OUTBOX.c.fence == letter.fence)
        result = await self.connection.execute(sa.update(OUTBOX).where(mine).values(values))
        if result.rowcount != 1:
            return False
        self.topics.add("outbox")
        await self._aftermath(letter, settled, at)
        return True

    async def _aftermath(self, letter: Letter, settled: Settled, at: datetime) -> None:
        if settled.lane_closed_until is not None:
            lane = sa.update(LANE).where(LANE.c.key == letter.place)
            await self.connection.execute(lane.values(closed_until=settled.lane_closed_until))
        if settled.edits_closed_until is not None:
            await self._mark_edits(at, closed_until=settled.edits_closed_until)
        if settled.orphaned and letter.thread_of is not None and letter.thread is not None:
            lost = (OUTBOX.c.key == letter.thread_of) & OUTBOX.c.lease_until.is_(None)
            lost &= OUTBOX.c.ts.in_([letter.thread.ts, letter.thread.thread_ts or letter.thread.ts])
            anew = {"ts": None, "thread_ts": None, "digest": None, "shown": 0} | _dirty(at)
            await self.connection.execute(sa.update(OUTBOX).where(lost).values(anew))
        if settled.note is not None:
            await self.say([settled.note], at)

    async def oldest_unsent(self) -> datetime | None:
        """When the message was written that has waited longest for its first sending."""
        waiting = (OUTBOX.c.status == Status.PENDING) & OUTBOX.c.ts.is_(None) & OUTBOX.c.due_at.is_not(None)
        found = await self.connection.execute(sa.select(sa.func.min(OUTBOX.c.created_at)).where(waiting))
        value = found.scalar_one_or_none()
        return value if isinstance(value, datetime) else None

    async def release_leases(self) -> int:
        """At the start of the only process on a database: every lease is left by one that died."""
        held = OUTBOX.c.lease_until.is_not(None)
        lease = int((LEASE + CALL_BEFORE_LEASE).total_seconds() * 1000)
        until = sa.type_coerce(OUTBOX.c.lease_until, sa.BigInteger)
        began = sa.case((until > lease, until - lease), else_=until)
        first = sa.func.coalesce(sa.type_coerce(OUTBOX.c.doubt_from, sa.BigInteger), began)
        unsent = OUTBOX.c.ts.is_(None)
        values = {
            "lease_until": None,
            "in_doubt": OUTBOX.c.in_doubt | unsent,
            "doubt_from": sa.case((unsent, first), else_=None),
            "doubt_until": sa.case((unsent, OUTBOX.c.lease_until), else_=None),
        }
        return (await self.connection.execute(sa.update(OUTBOX).where(held).values(values))).rowcount

    async def posted(self, keys: Iterable[str]) -> dict[str, Posted]:
        """Where messages stand, by key."""
        query = sa.select(OUTBOX.c.key, OUTBOX.c.channel_id, OUTBOX.c.ts, OUTBOX.c.thread_ts)
        query = query.where(OUTBOX.c.key.in_(list(keys)), OUTBOX.c.ts.is_not(None))
        return {
            row["key"]: Posted(channel_id=row["channel_id"], ts=row["ts"], thread_ts=row["thread_ts"])
            for row in await self.rows(query)
        }


def _spoken_in(place: sa.ColumnElement[Any], at: Moment, too_far: Moment) -> sa.ColumnElement[bool]:
    held = (OTHER.c.lease_until > at) & (OTHER.c.lease_until <= too_far)
    return sa.exists().where(OTHER.c.place == place, held)


def _unleased(at: Moment, too_far: Moment) -> sa.ColumnElement[bool]:
    over = (OUTBOX.c.lease_until <= at) | (OUTBOX.c.lease_until > too_far)
    return OUTBOX.c.lease_until.is_(None) | over


def _millis(at: datetime | None) -> sa.ColumnElement[Any]:
    return sa.literal(None if at is None else to_millis(at), sa.BigInteger)


def _new(key: str, kind: Kind, place: str, priority: int, at: datetime) -> dict[str, Any]:
    return {
        "key": key,
        "kind": kind,
        "place": place,
        "priority": priority,
        "status": Status.PENDING,
        "wanted": 1,
        "shown": 0,
        "due_at": at,
        "fence": 0,
        "attempts": 0,
        "in_doubt": False,
        "created_at": at,
    }


def _said(said: Note | Answer, at: datetime) -> dict[str, Any]:
    more: dict[str, Any] = {
        "thread_of": None,
        "broadcast": False,
        "to": None,
        "response_url": None,
        "channel_id": None,
    }
    if isinstance(said, Note):
        row = _new(said.key, Kind.NOTE, said.place, Priority.NOTE, at) | more
        row |= {"thread_of": said.thread_of, "broadcast": said.broadcast}
    else:
        row = _new(said.key, Kind.ANSWER, f"answer:{said.to}", Priority.ANSWER, at) | more
        row |= {"to": said.to, "response_url": said.response_url, "channel_id": said.channel}
    return row | {"text": said.text}


def _dirty(at: datetime) -> dict[str, Any]:
    """One more change to show, now; what waits to be tried again keeps its time."""
    return {
        "wanted": one_more(OUTBOX.c.wanted),
        "due_at": sa.case(
            (OUTBOX.c.status == Status.SENT, _millis(at)),
            else_=sa.func.coalesce(OUTBOX.c.due_at, _millis(at)),
        ),
        "status": Status.PENDING,
    }


def letter_of(row: Mapping[str, Any]) -> Letter:
    """The message of a row of the outbox alone. Raises ``ValueError`` where it cannot be read."""
    refuse_unreadable(row)
    nowhere = {"parent_channel": None, "parent_ts": None, "parent_thread": None}
    return _letter({**nowhere, **row}, EPOCH, taken_over=False)


def _letter(row: Mapping[str, Any], at: datetime, *, taken_over: bool) -> Letter:
    posted = thread = None
    if row["ts"] is not None:
        posted = Posted(channel_id=row["channel_id"], ts=row["ts"], thread_ts=row["thread_ts"])
    elif row["kind"] == Kind.ANSWER:
        thread = Posted(channel_id=row["channel_id"], ts="")
    if row["parent_ts"] is not None:
        thread = Posted(channel_id=row["parent_channel"], ts=row["parent_ts"], thread_ts=row["parent_thread"])
    look_again_at = row["look_again_at"]
    return Letter(
        id=row["id"],
        key=row["key"],
        kind=row["kind"],
        subject=row["subject"],
        text=row["text"],
        to=row["to"],
        response_url=row["response_url"],
        place=row["place"],
        priority=row["priority"],
        thread_of=row["thread_of"],
        broadcast=row["broadcast"],
        thread=thread,
        wanted=row["wanted"],
        shown=row["shown"],
        fence=row["fence"],
        attempts=row["attempts"],
        in_doubt=row["in_doubt"],
        doubt_from=row["doubt_from"],
        doubt_until=row["doubt_until"],
        failing_since=row["failing_since"],
        claimed_at=at,
        taken_over=taken_over,
        look_again=look_again_at is not None and look_again_at <= at,
        look_again_at=look_again_at,
        posted=posted,
        digest=row["digest"],
        created_at=row["created_at"],
    )
