"""What is recorded after an attempt, outcome by outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.effects import Subject, SubjectKind
from domain.outbox import (
    BURST,
    EDIT_BURST,
    EDIT_BURST_OF_CARDS,
    EDIT_GAP,
    GAP,
    LOOK_AGAIN,
    Kind,
    Letter,
    Outcome,
    Report,
    Status,
    backoff,
    edit_slot,
    settle,
    slot,
)
from domain.views import Posted

AT = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
HERE = Posted(channel_id="C1", ts="1.000001")


def letter(**more) -> Letter:
    values = {
        "id": 1,
        "key": "alert:1",
        "kind": Kind.CARD,
        "subject": Subject(kind=SubjectKind.ALERT, id=1),
        "place": "alerts",
        "priority": 10,
        "wanted": 3,
        "shown": 1,
        "fence": 2,
        "attempts": 0,
        "created_at": AT,
    }
    return Letter(**(values | more))


def test_what_was_sent_shows_what_was_wanted_and_has_nothing_due():
    done = settle(letter(attempts=4), Report(outcome=Outcome.SENT, posted=HERE, digest="d"), AT)
    assert (done.status, done.shown, done.posted, done.due_at, done.attempts) == (
        Status.SENT,
        3,
        HERE,
        None,
        0,
    )


def test_what_was_taken_over_is_looked_at_once_more():
    done = settle(letter(taken_over=True), Report(outcome=Outcome.SENT, posted=HERE), AT)
    assert done.look_again_at == done.due_at == AT + LOOK_AGAIN
    looked = letter(posted=HERE, look_again=True, look_again_at=AT + LOOK_AGAIN)
    assert settle(looked, Report(outcome=Outcome.SENT, posted=HERE), AT + LOOK_AGAIN).look_again_at is None


@pytest.mark.parametrize("outcome", [Outcome.LATER, Outcome.UNKNOWN, Outcome.BROKEN])
def test_the_second_look_is_not_forgotten_where_an_attempt_fails_before_it(outcome):
    taken = settle(letter(taken_over=True), Report(outcome=outcome), AT)
    assert taken.look_again_at == AT + LOOK_AGAIN
    known = letter(posted=HERE, look_again=True, look_again_at=AT)
    assert settle(known, Report(outcome=outcome), AT).look_again_at == AT
    coming = letter(posted=HERE, look_again_at=AT + LOOK_AGAIN)
    assert settle(coming, Report(outcome=Outcome.SENT, posted=HERE), AT).due_at == AT + LOOK_AGAIN


@pytest.mark.parametrize(("in_doubt", "status"), [(True, Status.SENT), (False, Status.DEAD)])
def test_an_answer_whose_address_is_used_up_was_given_by_an_attempt_that_nobody_recorded(in_doubt, status):
    refused = Report(outcome=Outcome.REFUSED, error="response_url 404")
    done = settle(letter(kind=Kind.ANSWER, in_doubt=in_doubt), refused, AT)
    assert (done.status, done.due_at, done.note) == (status, None, None)
    assert (done.shown == letter().wanted) is in_doubt, "else it would be sent again"


def test_an_answer_is_never_looked_for():
    done = settle(letter(kind=Kind.ANSWER, taken_over=True), Report(outcome=Outcome.SENT), AT)
    assert done.look_again_at is None


def test_an_outage_never_gives_a_message_up_within_a_day():
    tried = settle(letter(attempts=500), Report(outcome=Outcome.UNKNOWN), AT + timedelta(hours=23))
    assert tried.status is Status.PENDING
    assert tried.in_doubt
    failing = letter(attempts=500, failing_since=AT)
    assert settle(failing, Report(outcome=Outcome.UNKNOWN), AT + timedelta(hours=25)).given_up
    fresh = letter(created_at=AT - timedelta(days=3))
    assert not settle(fresh, Report(outcome=Outcome.MENDABLE), AT).given_up, "a card may be days old"


def test_our_own_fault_gives_a_message_up_loudly():
    ended = settle(letter(attempts=7), Report(outcome=Outcome.BROKEN, error="KeyError"), AT)
    assert ended.status is Status.DEAD
    assert ended.note is not None
    assert ended.note.place == "ops"


def test_a_limited_conversation_waits_as_long_as_it_was_told_and_loses_no_attempt():
    done = settle(letter(attempts=2), Report(outcome=Outcome.LATER, retry_after=7), AT)
    assert done.lane_closed_until == AT + timedelta(seconds=7)
    assert done.attempts == 2


def test_a_deleted_card_is_posted_anew_and_a_closed_channel_leads_to_ops():
    gone = settle(letter(posted=HERE), Report(outcome=Outcome.GONE), AT)
    assert (gone.posted, gone.shown, gone.place) == (None, 0, "alerts")
    moved = settle(letter(), Report(outcome=Outcome.HOMELESS, error="is_archived"), AT)
    assert moved.place == "ops"


def test_14_5_a_rewritten_note_that_its_reader_deleted_is_not_posted_anew():
    edit = letter(kind=Kind.NOTE, subject=None, wanted=2, posted=Posted(channel_id="D1", ts="1.0"))
    settled = settle(edit, Report(outcome=Outcome.GONE), AT)
    assert (settled.status, settled.due_at, settled.note) == (Status.SENT, None, None)


def test_backoff_grows_to_half_a_minute_and_never_overflows():
    assert [backoff(n).total_seconds() for n in (1, 2, 3, 6, 100_000)] == [1, 2, 4, 30, 30]


def test_a_lane_lets_a_burst_through_and_then_one_a_second():
    mark, went = None, 0
    for _ in range(BURST):
        goes, mark = slot(mark, AT, edit=False)
        went += goes
    assert went == BURST
    goes, opens = slot(mark, AT, edit=False)
    assert not goes
    assert opens == AT + GAP


def test_the_mark_of_a_clock_that_was_set_back_is_not_believed():
    assert slot(AT + timedelta(hours=1), AT, edit=False)[0]


def test_13_13_what_slack_did_not_let_us_look_for_waits_alone_and_not_for_ever():
    doubtful = letter(in_doubt=True, doubt_from=AT, doubt_until=AT)
    waits = settle(doubtful, Report(outcome=Outcome.UNSEEN, retry_after=60), AT)
    assert (waits.due_at, waits.lane_closed_until) == (AT + timedelta(seconds=60), None)
    assert (waits.in_doubt, waits.doubt_from, waits.doubt_until) == (True, AT, AT)
    assert not doubtful.may_go_unseen(AT + timedelta(minutes=29))
    assert doubtful.may_go_unseen(AT + timedelta(minutes=30))
    page = letter(subject=Subject(kind=SubjectKind.PAGE, id=1), doubt_until=AT)
    assert not page.may_go_unseen(AT + timedelta(seconds=119))
    assert page.may_go_unseen(AT + timedelta(minutes=2))


def test_13_13_what_was_sent_unseen_is_looked_for_later_but_not_for_ever():
    doubtful = letter(in_doubt=True, doubt_from=AT, doubt_until=AT, claimed_at=AT)
    sent = settle(doubtful, Report(outcome=Outcome.SENT, posted=HERE, unseen=True), AT)
    assert sent.look_again_at == AT + timedelta(minutes=10)
    later = letter(posted=HERE, look_again=True, look_again_at=AT, doubt_from=AT, doubt_until=AT)
    report = Report(outcome=Outcome.SENT, posted=HERE, unseen=True)
    assert settle(later, report, AT + timedelta(hours=1)).doubt_until == AT, "the window does not grow"
    assert settle(later, report, AT + timedelta(hours=25)).look_again_at is None


def test_13_13_a_refusal_that_people_can_mend_is_tried_for_a_day_from_its_first_failure():
    tried = settle(letter(attempts=3000, failing_since=AT), Report(outcome=Outcome.MENDABLE), AT)
    assert tried.status is Status.PENDING
    late = AT + timedelta(hours=24, seconds=1)
    assert settle(letter(failing_since=AT), Report(outcome=Outcome.MENDABLE), late).given_up


def test_13_12_a_limit_of_edits_closes_the_edits_and_not_the_conversation():
    page = letter(posted=HERE, subject=Subject(kind=SubjectKind.PAGE, id=1), place="@kenji")
    done = settle(page, Report(outcome=Outcome.LATER, retry_after=40), AT)
    assert done.edits_closed_until == done.due_at == AT + timedelta(seconds=40)
    assert done.lane_closed_until is None, "a new page in the same conversation goes at once"


def edits(*, is_page: bool, mark: datetime | None = None) -> tuple[int, datetime | None]:
    """How many edits go at one moment, and the mark after them."""
    for count in range(100):
        goes, at = edit_slot(mark, None, AT, is_page=is_page)
        if not goes:
            return count, mark
        mark = at
    raise AssertionError("it never ends")


def test_13_12_edits_stay_within_what_slack_takes_in_a_minute():
    burst, mark = edits(is_page=True)
    assert burst == EDIT_BURST
    assert edit_slot(mark, None, AT, is_page=True) == (False, AT + EDIT_GAP)
    assert burst + timedelta(minutes=1) / EDIT_GAP <= 50


def test_13_12_cards_leave_edits_for_the_lists_of_pages():
    burst, mark = edits(is_page=False)
    assert burst == EDIT_BURST_OF_CARDS
    assert edits(is_page=True, mark=mark)[0] == EDIT_BURST - EDIT_BURST_OF_CARDS


def test_13_12_edits_wait_as_long_as_slack_says_but_not_for_a_clock_that_was_set_back():
    closed = AT + timedelta(seconds=30)
    assert edit_slot(None, closed, AT, is_page=True) == (False, closed)
    assert edit_slot(None, AT + timedelta(hours=1), AT, is_page=True)[0]
    assert edit_slot(AT + timedelta(hours=1), None, AT, is_page=True) == (True, AT + EDIT_GAP)
