"""The ladder by the clock: tables with times, and a naive model for any order of things."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain import escalation as rules
from domain.effects import TOBAN, By, Subject, SubjectKind
from domain.escalation import Escalation, Page, PageStatus, Phase, Turn
from domain.policy import Ladder, Level, Means, Step

T0 = datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SUBJECT = Subject(kind=SubjectKind.INCIDENT, id=12)
KENJI = By(id="U1", name="Kenji")


def after(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def step(
    *tell: str, respond: float | None = 5, wait: float | None = 15, by: tuple[Means, ...] = (Means.SLACK,)
) -> Step:
    return Step(
        tell=tell,
        by=by,
        respond=None if respond is None else respond * MINUTE,
        wait=None if wait is None else wait * MINUTE,
    )


THREE = Ladder(steps=(step("kenji"), step("aiko", "mei"), step("boss")))


class Climb:
    """A ladder with its pages, as the store would keep them."""

    def __init__(self, ladder: Ladder = THREE, at: datetime = T0) -> None:
        self.ladder = ladder
        self.now = rules.start(SUBJECT, Level.CRITICAL, at).model_copy(update={"id": 1})
        self.pages: list[Page] = []
        self.said: list[str] = []

    @property
    def pending(self) -> frozenset[str]:
        return frozenset(page.person for page in self.queued)

    @property
    def queued(self) -> list[Page]:
        return [page for page in self.pages if page.status is PageStatus.QUEUED]

    def tick(self, at: datetime) -> list[str]:
        """Who is paged now."""
        turn = rules.advance(self.now, self.ladder, self.pending, at)
        self.now = turn.escalation
        written = [page.model_copy(update={"id": len(self.pages) + n}) for n, page in enumerate(turn.pages)]
        self.pages += written
        if turn.what:
            self.said.append(turn.what)
        return [page.person for page in written if page.status is PageStatus.QUEUED]

    def settle(self, person: str, status: PageStatus, at: datetime) -> None:
        """The oldest page of a person that is on its way arrives, or fails."""
        page = next(page for page in self.queued if page.person == person)
        self.pages[self.pages.index(page)] = page.model_copy(update={"status": status})
        if status is PageStatus.DELIVERED:
            self.now = rules.delivered(self.now, at)
        else:
            left = sum(one.step == page.step and one.round == page.round for one in self.queued)
            self.now = rules.failed(self.now, page, left, at)

    def arrive(self, person: str, at: datetime) -> None:
        self.settle(person, PageStatus.DELIVERED, at)

    def fail(self, person: str, at: datetime) -> None:
        self.settle(person, PageStatus.FAILED, at)


def test_a_ladder_is_due_at_once():
    started = rules.start(SUBJECT, Level.EMERGENCY, T0)
    assert (started.phase, started.due_at, started.started_at) == (Phase.DUE, T0, T0)
    assert (started.of, started.level, started.is_running) == (SUBJECT, Level.EMERGENCY, True)
    assert (started.rung, started.next_people(), started.next_at()) == (None, (), None)


def test_three_rungs_are_climbed_by_the_clock_until_the_last_one_repeats():
    climb = Climb()
    story = [
        (0, ["kenji"], "escalation.paged"),
        (5, ["kenji"], "escalation.overdue"),
        (15, ["aiko", "mei"], "escalation.next_step"),
        (20, ["aiko", "mei"], "escalation.overdue"),
        (30, ["boss"], "escalation.next_step"),
        (35, ["boss"], "escalation.overdue"),
        (45, ["boss"], "escalation.next_step"),
        (60, ["boss"], "escalation.next_step"),
        (75, ["boss"], "escalation.next_step"),
    ]
    for minutes, people, what in story:
        assert climb.tick(after(minutes) - timedelta(seconds=1)) == []
        assert climb.tick(after(minutes)) == people
        assert climb.said[-1] == what
        for person in people:
            climb.arrive(person, after(minutes))
    assert climb.now.step == 2
    assert climb.now.overdue


def test_a_page_names_its_rung_and_its_round():
    climb = Climb()
    climb.tick(T0)
    assert climb.pages == [
        Page(id=0, escalation_id=1, step=0, round=1, person="kenji", means=Means.SLACK, queued_at=T0)
    ]
    climb.arrive("kenji", after(0))
    climb.tick(after(5))
    climb.arrive("kenji", after(5))
    climb.tick(after(15))
    assert [(page.person, page.step, page.round) for page in climb.pages] == [
        ("kenji", 0, 1),
        ("kenji", 0, 2),
        ("aiko", 1, 3),
        ("mei", 1, 3),
    ]


def test_the_timers_start_when_the_page_arrives_and_not_when_it_was_queued():
    climb = Climb()
    climb.tick(T0)
    assert (climb.now.phase, climb.now.due_at, climb.now.next_at()) == (Phase.DELIVERING, after(2), None)
    climb.arrive("kenji", after(1.5))
    assert (climb.now.phase, climb.now.due_at) == (Phase.RESPONDING, after(6.5))
    assert climb.now.next_at() == after(16.5)
    assert climb.now.next_people() == ("aiko", "mei")
    assert climb.tick(after(6.5)) == ["kenji"]
    assert (climb.now.phase, climb.now.due_at) == (Phase.WAITING, after(16.5))


def test_a_reminder_that_arrives_late_moves_no_timer():
    climb = Climb()
    climb.tick(T0)
    climb.arrive("kenji", T0)
    climb.tick(after(5))
    climb.arrive("kenji", after(9))
    assert (climb.now.phase, climb.now.due_at) == (Phase.WAITING, after(15))


def test_the_first_of_two_deliveries_starts_the_timers():
    climb = Climb(Ladder(steps=(step("aiko", "mei"),)))
    climb.tick(T0)
    climb.arrive("mei", after(1))
    before = climb.now
    climb.arrive("aiko", after(1.9))
    assert climb.now == before


def test_a_page_that_does_not_arrive_in_two_minutes_brings_the_next_rung():
    climb = Climb()
    climb.tick(T0)
    assert climb.tick(after(1.99)) == []
    assert climb.tick(after(2)) == ["aiko", "mei"]
    assert climb.said[-1] == "page.undelivered"
    assert climb.now.due_at == after(4)


def test_a_rung_that_cannot_be_delivered_is_left_at_once():
    climb = Climb()
    climb.tick(T0)
    climb.fail("kenji", after(0.1))
    assert climb.now.due_at == after(0.1)
    assert climb.tick(after(0.1)) == ["aiko", "mei"]


def test_a_rung_is_kept_while_one_of_its_pages_may_still_arrive():
    climb = Climb(Ladder(steps=(step("aiko", "mei"), step("boss"))))
    climb.tick(T0)
    climb.fail("aiko", after(0.1))
    assert climb.tick(after(0.1)) == []
    climb.arrive("mei", after(0.2))
    assert climb.now.due_at == after(5.2)


def test_a_failure_after_somebody_was_reached_moves_nothing():
    climb = Climb(Ladder(steps=(step("aiko", "mei"), step("boss"))))
    climb.tick(T0)
    climb.arrive("mei", after(0.1))
    before = climb.now
    climb.fail("aiko", after(0.2))
    assert climb.now == before


def test_the_failure_of_an_older_page_does_not_move_the_ladder():
    climb = Climb()
    climb.tick(T0)
    climb.tick(after(2))
    before = climb.now
    climb.fail("kenji", after(2.1))
    assert climb.now == before


def test_a_ladder_that_reaches_nobody_begins_again_after_a_minute():
    climb = Climb()
    climb.tick(T0)
    at = T0
    for people in (["kenji"], ["aiko", "mei"], ["boss"]):
        assert [page.person for page in climb.queued] == people
        at += timedelta(seconds=1)
        for person in people:
            climb.fail(person, at)
        climb.tick(at)
    assert climb.said[-1] == "escalation.nobody_reached"
    assert (climb.now.phase, climb.now.due_at) == (Phase.DUE, at + MINUTE)
    assert climb.tick(at + MINUTE) == ["kenji"]


def test_people_whose_page_is_on_its_way_are_not_paged_again():
    climb = Climb(Ladder(steps=(step("kenji"), step("kenji", "boss"))))
    climb.tick(T0)
    assert climb.tick(after(2)) == ["boss"]
    assert climb.tick(after(4)) == []
    assert climb.tick(after(5)) == []
    climb.arrive("kenji", after(5.5))
    climb.arrive("boss", after(5.6))
    assert climb.now.phase is Phase.RESPONDING


def test_a_ladder_whose_every_page_is_stuck_writes_none_twice():
    climb = Climb()
    paged = [climb.tick(after(minutes / 2)) for minutes in range(240)]
    assert sorted(person for people in paged for person in people) == ["aiko", "boss", "kenji", "mei"]
    assert climb.now.is_running


@pytest.mark.parametrize("by", [(Means.EMAIL,), (Means.PHONE, Means.SMS), ()])
def test_a_rung_that_nothing_can_deliver_is_recorded_and_left_at_once(by):
    climb = Climb(Ladder(steps=(step("kenji", by=by), step("boss"))))
    assert climb.tick(T0) == []
    assert [page.means for page in climb.pages] == list(by)
    assert all(page.status is PageStatus.NOT_SET_UP for page in climb.pages)
    assert climb.now.due_at == T0
    assert climb.tick(T0) == ["boss"]


def test_other_means_do_not_hold_a_rung_that_slack_delivers():
    climb = Climb(Ladder(steps=(step("kenji", by=(Means.SLACK, Means.EMAIL)), step("boss"))))
    assert climb.tick(T0) == ["kenji"]
    assert [(page.means, page.status) for page in climb.pages] == [
        (Means.SLACK, PageStatus.QUEUED),
        (Means.EMAIL, PageStatus.NOT_SET_UP),
    ]
    climb.arrive("kenji", T0)
    assert climb.now.phase is Phase.RESPONDING


def test_a_ladder_that_nothing_can_deliver_tries_again_every_minute_and_says_so():
    climb = Climb(Ladder(steps=(step("kenji", by=(Means.EMAIL,)), step())))
    for minutes in range(3):
        for _ in range(4):
            climb.tick(after(minutes))
        assert climb.now.due_at == after(minutes + 1)
        assert climb.said.count("escalation.nobody_reached") == minutes + 1
    assert climb.now.is_running


def test_an_empty_ladder_says_that_nobody_is_paged_and_stops():
    climb = Climb(Ladder())
    assert climb.tick(T0) == []
    assert climb.said == ["escalation.nobody"]
    assert not climb.now.is_running
    assert climb.now.stopped_because == "nobody"


@pytest.mark.parametrize(
    ("respond", "wait", "phase", "due"),
    [
        (5, 15, Phase.RESPONDING, 5),
        (None, 15, Phase.WAITING, 15),
        (15, 15, Phase.WAITING, 15),
        (30, 15, Phase.WAITING, 15),
        (5, None, Phase.RESPONDING, 5),
        (None, None, Phase.WAITING, 15),
        (30, None, Phase.WAITING, 15),
    ],
)
def test_people_are_asked_again_only_before_the_next_rung_begins(respond, wait, phase, due):
    climb = Climb(Ladder(steps=(step("kenji", respond=respond, wait=wait),)))
    climb.tick(T0)
    climb.arrive("kenji", T0)
    assert (climb.now.phase, climb.now.due_at) == (phase, after(due))


def test_the_policy_of_the_first_page_holds_to_the_end():
    climb = Climb()
    climb.tick(T0)
    climb.arrive("kenji", T0)
    climb.ladder = Ladder(steps=(step("stranger"),))
    assert climb.tick(after(5)) == ["kenji"]
    climb.arrive("kenji", after(5))
    assert climb.tick(after(15)) == ["aiko", "mei"]


def test_a_tick_that_comes_an_hour_late_takes_each_overdue_step_once():
    climb = Climb()
    climb.tick(T0)
    climb.arrive("kenji", T0)
    assert climb.tick(after(60)) == ["kenji"]
    assert climb.tick(after(60)) == ["aiko", "mei"]
    assert climb.tick(after(60)) == []
    climb.arrive("aiko", after(60))
    assert climb.now.due_at == after(65)


def test_nobody_is_paged_after_the_stop():
    climb = Climb()
    climb.tick(T0)
    climb.arrive("kenji", T0)
    climb.now = rules.stop(climb.now, "acknowledged", KENJI, after(3))
    stopped = climb.now
    assert (stopped.phase, stopped.due_at, stopped.is_running) == (Phase.STOPPED, None, False)
    assert (stopped.stopped_at, stopped.stopped_by, stopped.stopped_because) == (
        after(3),
        KENJI,
        "acknowledged",
    )
    for minutes in (3, 5, 15, 60 * 24):
        assert climb.tick(after(minutes)) == []
    assert climb.now == stopped


def test_the_first_reason_to_stop_stays():
    stopped = rules.stop(rules.start(SUBJECT, Level.CRITICAL, T0), "acknowledged", KENJI, after(1))
    assert rules.stop(stopped, "resolved", TOBAN, after(2)) == stopped


def test_news_of_a_page_after_the_stop_changes_nothing():
    climb = Climb()
    climb.tick(T0)
    climb.now = stopped = rules.stop(climb.now, "acknowledged", KENJI, after(1))
    assert rules.delivered(stopped, after(2)) == stopped
    assert rules.failed(stopped, climb.pages[0], 0, after(2)) == stopped


def test_a_ladder_that_moves_to_another_subject_stands_where_it_stood():
    climb = Climb()
    climb.tick(T0)
    moved = rules.move(climb.now, Subject(kind=SubjectKind.ALERT, id=3))
    assert moved == climb.now.model_copy(update={"subject": "alert:3"})
    assert moved.of == Subject(kind=SubjectKind.ALERT, id=3)


# Any ladder, by a naive timetable.

PEOPLE = st.lists(st.sampled_from(["kenji", "aiko", "mei", "boss"]), min_size=1, max_size=3, unique=True)
MINUTES = st.none() | st.integers(1, 45)
STEPS = st.builds(
    lambda tell, respond, wait: step(*tell, respond=respond, wait=wait), PEOPLE, MINUTES, MINUTES
)


def timetable(steps: tuple[Step, ...]) -> Iterator[tuple[int, str]]:
    """Minute by minute who is paged if every page arrives at once and nobody answers."""
    start, number, reminded = 0, 0, False
    while True:
        here = steps[number]
        wait = int(here.wait / MINUTE) if here.wait else 15
        yield from ((start, person) for person in here.tell)
        if here.respond is not None and here.respond < wait * MINUTE and not reminded:
            yield from ((start + int(here.respond / MINUTE), person) for person in here.tell)
            reminded = True
        start += wait
        if number < len(steps) - 1:
            number, reminded = number + 1, False


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=4))
def test_any_ladder_follows_its_timetable(steps):
    climb = Climb(Ladder(steps=tuple(steps)))
    paged = []
    for minute in range(200):
        for person in climb.tick(after(minute)):
            paged.append((minute, person))
            climb.arrive(person, after(minute))
        assert climb.tick(after(minute)) == []
    expected = timetable(tuple(steps))
    assert paged == [next(expected) for _ in paged]
    assert next(expected)[0] >= 200


class AnyOrder(RuleBasedStateMachine):
    """Late ticks, doubled ticks, deliveries and failures in any order, and a stop at any time."""

    @initialize(
        steps=st.lists(
            st.builds(
                lambda tell, respond, wait, by: step(*tell, respond=respond, wait=wait, by=by),
                PEOPLE,
                MINUTES,
                MINUTES,
                st.sampled_from([(Means.SLACK,), (Means.SLACK, Means.SMS), (Means.EMAIL,)]),
            ),
            max_size=4,
        )
    )
    def begin(self, steps):
        self.climb = Climb(Ladder(steps=tuple(steps)))
        self.at = T0
        self.stopped: Escalation | None = None
        self.reached: set[tuple[str, int]] = set()

    @rule(seconds=st.sampled_from([0, 1, 30, 60, 120, 121, 300, 900, 3600, 86400]))
    def time_passes(self, seconds):
        self.at += timedelta(seconds=seconds)

    @rule(times=st.integers(1, 3))
    def tick(self, times):
        for _ in range(times):
            before, waiting = self.climb.now, self.climb.pending
            people = self.climb.tick(self.at)
            assert len(people) == len(set(people))
            assert not waiting & set(people)
            if before.due_at is None or self.at < before.due_at:
                assert people == []
                assert self.climb.now == before
            for person in people:
                assert (person, self.climb.now.round) not in self.reached
                self.reached.add((person, self.climb.now.round))

    @precondition(lambda self: self.climb.queued)
    @rule(data=st.data(), arrives=st.booleans())
    def a_page_arrives_or_fails(self, data, arrives):
        page = data.draw(st.sampled_from(self.climb.queued))
        before = self.climb.now
        self.climb.settle(page.person, PageStatus.DELIVERED if arrives else PageStatus.FAILED, self.at)
        if arrives and before.phase is Phase.DELIVERING:
            assert self.climb.now.delivered_at == self.at

    @precondition(lambda self: self.stopped is None and self.climb.now.is_running)
    @rule()
    def somebody_answers(self):
        self.climb.now = self.stopped = rules.stop(self.climb.now, "acknowledged", KENJI, self.at)

    @invariant()
    def a_running_ladder_always_has_a_moment_within_the_hour(self):
        now = self.climb.now
        if now.is_running:
            assert now.due_at is not None
            assert now.due_at <= self.at + timedelta(hours=1)
        else:
            assert now.due_at is None
        assert now.phase is not Phase.RESPONDING or now.delivered_at is not None
        assert 0 <= now.step < max(1, len(now.steps))

    @invariant()
    def one_page_at_most_is_on_its_way_to_a_person(self):
        people = [page.person for page in self.climb.queued]
        assert len(people) == len(set(people))

    @invariant()
    def after_the_stop_nothing_moves(self):
        if self.stopped is not None:
            assert self.climb.now == self.stopped

    @invariant()
    def it_stops_only_for_an_answer_or_where_there_is_nobody(self):
        if not self.climb.now.is_running and self.stopped is None:
            assert not self.climb.ladder.steps
            assert self.climb.now.stopped_because == "nobody"


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrderOfThings = AnyOrder.TestCase


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=1, max_size=4), late=st.lists(st.integers(0, 30), min_size=80, max_size=80)
)
def test_however_late_the_ticks_each_person_hears_of_it_again_and_again(steps, late):
    """Every rung is reached, in order, and the last one is asked until somebody answers."""
    climb = Climb(Ladder(steps=tuple(steps)))
    at, rungs = T0, []
    for minutes in late:
        at += minutes * MINUTE
        for person in climb.tick(at):
            climb.arrive(person, at)
            rungs.append(climb.now.step)
        assert climb.now.due_at is not None
        at = max(at, climb.now.due_at)
    assert rungs == sorted(rungs)
    assert set(rungs) == set(range(len(steps)))
    assert rungs[-1] == len(steps) - 1
    assert isinstance(rules.advance(climb.now, climb.ladder, frozenset(), at), Turn)


def went(
    *, level: Level = Level.CRITICAL, after_minutes: float = 3, because: str = "recovered"
) -> Escalation:
    """A ladder whose first page arrived at once, and which ended some minutes later."""
    climb = Climb()
    climb.now = climb.now.model_copy(update={"level": level})
    climb.tick(T0)
    reached = rules.delivered(climb.now, T0)
    return rules.stop(reached, because, TOBAN, after(after_minutes))


@pytest.mark.parametrize(
    ("before", "returns", "at", "phase", "due"),
    [
        # A flap: the same people if it stays, the next ones when they would have been.
        (went(), 1, 6, Phase.RESPONDING, 11),
        (went(), 1, 12, Phase.WAITING, 15),
        (went(after_minutes=18), 2, 20, Phase.WAITING, 20),
        # A warning waits for the next ones, too.
        (went(level=Level.WARNING), 1, 6, Phase.WAITING, 16),
        # Long quiet is no flap, unless it comes back again and again.
        (went(), 1, 14, Phase.DUE, 14),
        (went(), 3, 14, Phase.WAITING, 15),
        # What somebody answered begins anew, once it has stayed.
        (went(because="acknowledged"), 1, 6, Phase.DUE, 11),
        # News of another kind pages as before.
        (went(because="acknowledged"), 0, 6, Phase.DUE, 6),
        (went(), 0, 4, Phase.DUE, 5),
        # A person ended it, so that what fires next is news (15.1).
        (went(because="resolved"), 0, 4, Phase.DUE, 4),
    ],
)
def test_13_what_comes_back_is_paged_as_one_trouble(before, returns, at, phase, due):
    started = rules.start(SUBJECT, before.level, after(at), before, returns=returns)
    assert started.is_running
    assert (started.phase, started.due_at) == (phase, after(due))


def test_13_a_return_that_is_louder_pages_at_once():
    louder = rules.start(SUBJECT, Level.EMERGENCY, after(6), went(), returns=1)
    assert (louder.phase, louder.due_at, louder.id) == (Phase.DUE, after(6), None)


def test_13_a_ladder_that_waited_does_not_let_the_next_return_page_at_once():
    waiting = rules.start(SUBJECT, Level.CRITICAL, after(6), went(because="acknowledged"), returns=1)
    gone = rules.stop(waiting.model_copy(update={"id": 2}), "recovered", TOBAN, after(8))
    assert rules.start(SUBJECT, Level.CRITICAL, after(9), gone, returns=2).due_at == after(14)
