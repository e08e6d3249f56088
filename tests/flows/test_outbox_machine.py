"""The stored outbox in any order of things: claims, outcomes, deaths, late records; against a naive model."""

import asyncio
import functools
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain import outbox as rules
from domain.effects import Answer, Card, Effect, Note, Priority, Refresh, Subject, SubjectKind, Text
from domain.outbox import LEASE, Kind, Letter, Outcome, Report, settle
from domain.views import Posted
from storage.database import Database, Tx
from storage.migrating import migrate
from storage.rows import table
from storage.tables import LaneRow, OutboxRow

OUTBOX, LANE = table(OutboxRow), table(LaneRow)
START = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
SAID = Text(key="note.reposted")
CARDS = st.integers(1, 3)
PLACES = ("alerts", "incidents", "@kenji")

PAUSES = st.sampled_from([None, 0.0, 3.0, 30.0])
OUTCOMES = st.sampled_from([Outcome.SENT, Outcome.SENT, Outcome.UNKNOWN, *Outcome])

UNDECIDED = {Outcome.UNKNOWN, Outcome.UNSEEN, Outcome.LATER, Outcome.MENDABLE, Outcome.BROKEN}
"""What leaves the doubt about an earlier attempt as it was."""

T = TypeVar("T")


@functools.cache
def template() -> Path:
    """A migrated, empty database, made once."""
    path = Path(tempfile.mkdtemp(prefix="toban-outbox-")) / "template.db"

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{path}")
        await migrate(database)
        await database.dispose()

    asyncio.run(make())
    return path


def subject(number: int) -> Subject:
    return Subject(kind=SubjectKind.ALERT, id=number)


@dataclass
class Slack:
    """What stands in the pretend conversations: of each key its copies, and the change each one shows."""

    copies: dict[str, dict[str, int]] = field(default_factory=dict)
    stamps: int = 0

    def post(self, letter: Letter) -> Posted:
        self.stamps += 1
        ts = f"{self.stamps:06}"
        self.copies.setdefault(letter.key, {})[ts] = letter.wanted
        return Posted(channel_id="C", ts=ts)

    def speak(self, letter: Letter) -> Posted:
        """As ``operations.outbox`` does: look where there is doubt, then edit or post."""
        there = self.copies.setdefault(letter.key, {})
        posted = letter.posted
        if letter.look_again or (letter.in_doubt and posted is None):
            kept = posted.ts if posted is not None and posted.ts in there else min(there, default=None)
            for ts in [ts for ts in there if ts != kept]:
                del there[ts]
            posted = posted or (Posted(channel_id="C", ts=kept) if kept is not None else None)
        if posted is None:
            return self.post(letter)
        there[posted.ts] = letter.wanted
        return posted


class Outbox(RuleBasedStateMachine):
    """One database, several claimers that die and wake up late, one Slack."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="toban-outbox-"))
        shutil.copy(template(), self.folder / "toban.db")
        self.loop = asyncio.new_event_loop()
        self.database = Database(f"sqlite+aiosqlite:///{self.folder / 'toban.db'}")
        self.slack = Slack()
        self.at = START
        self.held: dict[str, Letter] = {}
        self.lost: list[Letter] = []
        self.doubted: set[str] = set()
        self.names = 0
        self.withdrawn: set[str] = set()
        self.refused: set[str] = set()

    def run(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        async def once() -> T:
            async with self.database.writing() as tx:
                return await work(tx)

        return self.loop.run_until_complete(once())

    def rows(self) -> dict[str, dict[str, Any]]:
        async def read(tx: Tx) -> dict[str, dict[str, Any]]:
            return {row["key"]: dict(row) for row in await tx.rows(sa.select(OUTBOX).order_by(OUTBOX.c.id))}

        return self.run(read)

    def say(self, *effects: Effect) -> None:
        self.run(lambda tx: tx.say(effects, self.at))

    # What others do.

    @rule(number=CARDS)
    def a_card_is_wanted(self, number: int) -> None:
        level = Priority.THREAD + number
        self.say(Card(subject=subject(number), place=PLACES[number - 1], priority=level))
        self.withdrawn.discard(subject(number).key)

    @rule(number=CARDS)
    def a_card_is_out_of_date(self, number: int) -> None:
        self.say(Refresh(subject=subject(number)))

    @rule(number=CARDS, threaded=st.booleans(), again=st.booleans())
    def a_line_is_said(self, number: int, threaded: bool, again: bool) -> None:
        self.names += not again
        key = f"note:{self.names}"
        parent = subject(number).key if threaded else None
        self.say(Note(key=key, place=PLACES[number - 1], text=SAID, thread_of=parent))

    @rule()
    def somebody_is_answered(self) -> None:
        self.names += 1
        self.say(Answer(key=f"answer:{self.names}", to="U1", channel="C", text=SAID))

    @rule(seconds=st.sampled_from([0.3, 1.0, 4.0, 21.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    @rule(data=st.data())
    def a_message_is_withdrawn(self, data: Any) -> None:
        before = self.rows()
        if not before:
            return
        key = data.draw(st.sampled_from(sorted(before)))
        done = self.run(lambda tx: tx.withdraw(key))
        row = before[key]
        unsent = row["status"] == "pending" and row["ts"] is None
        assert done == (unsent and row["lease_until"] is None and not row["in_doubt"])
        if done:
            assert not self.slack.copies.get(key), "what may stand in Slack cannot be withdrawn"
            self.withdrawn.add(key)

    @rule()
    def slack_is_back(self) -> None:
        self.run(lambda tx: tx.release_waiting(self.at))

    # Claiming.

    def claimable(self) -> dict[str, int]:
        """For each conversation in which something may be said now the id of the first message."""
        found = self.rows()

        async def read(tx: Tx) -> list[Any]:
            return list(await tx.rows(sa.select(LANE)))

        closed = {row["key"]: row["closed_until"] for row in self.run(read)}
        turns: dict[str, list[tuple[int, int]]] = {}
        spoken = {
            row["place"]
            for row in found.values()
            if row["lease_until"] is not None and row["lease_until"] > self.at
        }
        for row in found.values():
            parent = found.get(row["thread_of"] or "")
            waits = parent is not None and parent["ts"] is None and parent["status"] in {"pending", "sent"}
            later = row["due_at"] is None or row["due_at"] > self.at
            lane = closed.get(row["place"])
            if waits or row["place"] in spoken or later or (lane is not None and lane > self.at):
                continue
            urgency = max(row["priority"], Priority.EDIT) if row["ts"] is not None else row["priority"]
            turns.setdefault(row["place"], []).append((urgency, row["id"]))
        return {place: min(some)[1] for place, some in turns.items() if place not in self.held}

    def claim(self) -> list[Letter]:
        expected, before = self.claimable(), self.rows()
        letters = self.run(lambda tx: tx.claim(self.at, 16, frozenset(self.held)))
        places = [letter.place for letter in letters]
        assert len(places) == len(set(places)), "one at a time in each conversation"
        assert not set(places) & set(self.held)
        for letter in letters:
            assert expected[letter.place] == letter.id, "the most urgent, and of equals the oldest"
            row = before[letter.key]
            assert letter.fence == row["fence"] + 1
            assert letter.taken_over == (row["lease_until"] is not None)
            if letter.key in self.doubted and letter.posted is None:
                assert letter.in_doubt, "it may stand in Slack already"
            self.held[letter.place] = letter
        if not letters:
            after = self.claimable()
            assert not after, f"{after} could be said and was not"
        return letters

    @rule()
    def claim_what_may_be_said(self) -> None:
        self.claim()

    # Outcomes.

    def record(self, letter: Letter, report: Report) -> bool:
        settled = settle(letter, report, self.at)
        return self.run(lambda tx: tx.settle(letter, settled, self.at))

    def attempt(self, letter: Letter, outcome: Outcome, *, arrived: bool, pause: float | None) -> None:
        """Speak as the outcome says and record it; the letter's owner is alive."""
        posted = None
        silent = letter.kind is Kind.ANSWER
        if (outcome is Outcome.SENT or (outcome is Outcome.UNKNOWN and arrived)) and not silent:
            posted = self.slack.speak(letter)
        if outcome is Outcome.GONE and letter.posted is not None:
            self.slack.copies.get(letter.key, {}).pop(letter.posted.ts, None)
        if outcome in {Outcome.HOMELESS, Outcome.REFUSED}:
            self.slack.copies.pop(letter.key, None)
        if outcome is Outcome.REFUSED or (outcome is Outcome.HOMELESS and letter.place[0] == "@"):
            self.refused.add(letter.key)
        if outcome is Outcome.NOTHING and not letter.is_edit:
            self.withdrawn.add(letter.key)
        report = Report(
            outcome=outcome,
            posted=posted if outcome is Outcome.SENT else None,
            digest=str(letter.wanted) if outcome is Outcome.SENT else None,
            retry_after=pause if outcome is Outcome.LATER else None,
            error=None if outcome is Outcome.SENT else "trouble",
        )
        assert self.record(letter, report), "nobody else has it"
        if outcome is Outcome.UNKNOWN and letter.posted is None and not silent:
            self.doubted.add(letter.key)
        elif outcome not in UNDECIDED:
            self.doubted.discard(letter.key)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=OUTCOMES, arrived=st.booleans(), pause=PAUSES)
    def an_attempt_ends(self, data: Any, outcome: Outcome, arrived: bool, pause: float | None) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.held))), outcome, arrived=arrived, pause=pause)

    @rule(outcomes=st.lists(OUTCOMES, min_size=3, max_size=3), arrived=st.booleans(), pause=PAUSES)
    def a_turn_of_the_loop(self, outcomes: list[Outcome], arrived: bool, pause: float | None) -> None:
        for letter, outcome in zip(self.claim(), outcomes, strict=False):
            self.end(letter.place, outcome, arrived=arrived, pause=pause)

    def end(self, place: str, outcome: Outcome, *, arrived: bool, pause: float | None) -> None:
        """One attempt, with the outcome or one that is possible for this message instead."""
        letter = self.held.pop(place)
        if outcome is Outcome.GONE and not letter.is_edit:
            outcome = Outcome.ORPHAN
        threaded = {Outcome.ORPHAN, Outcome.THREADLESS, Outcome.UNTHREADED}
        if outcome in threaded and (letter.thread is None or letter.in_doubt or letter.is_edit):
            outcome = Outcome.LATER
        if outcome is Outcome.UNSEEN and not letter.in_doubt:
            outcome = Outcome.LATER
        if outcome is Outcome.NOTHING and (letter.in_doubt or letter.kind is Kind.CARD):
            outcome = Outcome.LATER
        if outcome in threaded:
            self.slack.copies.get(letter.thread_of or "", {}).clear()
        self.attempt(letter, outcome, arrived=arrived, pause=pause)

    # Deaths, and the late.

    @precondition(lambda self: self.held)
    @rule(data=st.data(), arrived=st.booleans())
    def a_claimer_dies(self, data: Any, arrived: bool) -> None:
        letter = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        if arrived and letter.kind is not Kind.ANSWER:
            self.slack.speak(letter)
        if letter.posted is None:
            self.doubted.add(letter.key)
        self.lost.append(letter)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), arrived=st.booleans())
    def a_claimer_stalls_until_another_takes_over(self, data: Any, arrived: bool) -> None:
        self.a_claimer_dies(data, arrived)
        self.at += LEASE
        self.claim()
        self.a_late_record_changes_nothing(data, Outcome.SENT)

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.SENT, Outcome.UNKNOWN, Outcome.GONE]))
    def a_late_record_changes_nothing(self, data: Any, outcome: Outcome) -> None:
        before = self.rows()
        stale = [letter for letter in self.lost if before[letter.key]["fence"] != letter.fence]
        if not stale:
            return  # Nobody took it over yet: its owner might still record.
        letter = data.draw(st.sampled_from(stale))
        posted = Posted(channel_id="C", ts="late")
        assert not self.record(letter, Report(outcome=outcome, posted=posted, retry_after=9.0, error="late"))
        assert self.rows() == before

    @rule()
    def the_process_is_killed_and_started_again(self) -> None:
        for letter in self.held.values():
            if letter.posted is None:
                self.doubted.add(letter.key)
        self.held.clear()
        self.lost.clear()
        self.run(lambda tx: tx.release_leases())
        assert all(row["lease_until"] is None for row in self.rows().values())

    # What always holds.

    @invariant()
    def the_books_are_in_order(self) -> None:
        for row in self.rows().values():
            assert row["shown"] <= row["wanted"]
            if row["status"] == "pending":
                assert row["due_at"] is not None, "what waits has a moment"
            if row["status"] in {"dead", "withdrawn"}:
                assert row["due_at"] is None
            if row["status"] == "sent":
                assert row["shown"] == row["wanted"]
                assert row["due_at"] == row["look_again_at"]

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.drain()
        finally:
            self.loop.run_until_complete(self.database.dispose())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def drain(self) -> None:
        """Slack works from now on, but for one message that we cannot even render: all others are sent."""
        keys = sorted(key for key in self.rows() if not key.startswith("answer"))
        poison = keys[0] if keys and self.names % 2 else None
        for letter in list(self.held.values()):
            self.held.pop(letter.place)
            self.attempt(letter, Outcome.SENT, arrived=True, pause=None)
        for _ in range(400):
            letters = self.claim()
            for letter in letters:
                self.held.pop(letter.place)
                outcome = Outcome.BROKEN if letter.key == poison else Outcome.SENT
                self.attempt(letter, outcome, arrived=True, pause=None)
            if not letters:
                due = self.run(lambda tx: tx.next_moments()).get("outbox")
                if due is None:
                    break
                assert due > self.at, "the loop would spin"
                self.at = due
        else:
            raise AssertionError("it does not come to rest")
        for key, row in self.rows().items():
            if row["status"] in {"dead", "withdrawn"}:
                gave_up = row["status"] == "dead" and row["attempts"] >= rules.ATTEMPTS
                assert key in self.withdrawn | self.refused or key == poison or gave_up, row
                continue
            assert row["status"] == "sent", row
            assert (row["shown"], row["lease_until"], row["in_doubt"]) == (row["wanted"], None, False)
            if row["kind"] != Kind.ANSWER:
                (shown,) = self.slack.copies[key].values()
                assert shown == row["wanted"] or row["kind"] == Kind.NOTE
                assert list(self.slack.copies[key]) == [row["ts"]]


TestTheOutbox = Outbox.TestCase
TestTheOutbox.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
