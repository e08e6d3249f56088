"""When recurring work is due, on any replica and through every change of the clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.runs import ATTEMPTS, RETRY_AFTER, JobRun, RunOutcome, begin, end
from domain.schedule import Cron, Every, why_not_cron

AT = datetime(2026, 11, 23, 3, 4, 5, tzinfo=UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


LEASE = timedelta(minutes=10)


@pytest.mark.parametrize(
    ("schedule", "latest", "following"),
    [
        (Every(seconds=60), utc(2026, 11, 23, 3, 4), utc(2026, 11, 23, 3, 5)),
        (Every(seconds=300, after=200), utc(2026, 11, 23, 3, 3, 20), utc(2026, 11, 23, 3, 8, 20)),
        (Cron(line="0 9 * * 1", zone="Asia/Tokyo"), utc(2026, 11, 23), utc(2026, 11, 30)),
        (
            Cron(line="4 12 * * *", zone="Asia/Tokyo"),
            utc(2026, 11, 23, 3, 4),
            utc(2026, 11, 24, 3, 4),
        ),
        (
            Cron(line="5 12 * * *", zone="Asia/Tokyo"),
            utc(2026, 11, 22, 3, 5),
            utc(2026, 11, 23, 3, 5),
        ),
    ],
)
def test_the_moments_around_a_time(schedule: Every | Cron, latest: datetime, following: datetime) -> None:
    assert schedule.latest(AT) == latest
    assert schedule.following(AT) == following


def test_a_moment_is_due_when_it_has_come_and_not_a_second_before() -> None:
    nine = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
    weekly = Cron(line="0 9 * * 1", zone="Asia/Tokyo")
    assert weekly.latest(nine) == nine
    assert weekly.latest(nine - timedelta(seconds=1)) == nine - timedelta(days=7)
    assert weekly.following(nine) == nine + timedelta(days=7)


@given(st.integers(0, 2 * 365 * 86400).map(lambda seconds: utc(2026, 1, 1) + timedelta(seconds=seconds)))
def test_two_looks_agree_wherever_the_clocks_change(at: datetime) -> None:
    for schedule in (Cron(line="30 2 * * *", zone="America/New_York"), Every(seconds=300, after=7)):
        latest, following = schedule.latest(at), schedule.following(at)
        assert latest <= at < following
        assert schedule.following(latest) == following
        assert schedule.latest(following) == following


def test_an_hour_that_comes_twice_counts_once() -> None:
    nightly = Cron(line="30 1 * * *", zone="America/New_York")
    at = datetime(2026, 11, 1, 12, 0, tzinfo=ZoneInfo("America/New_York"))
    assert nightly.following(nightly.latest(at) - timedelta(seconds=1)) == nightly.latest(at)
    assert nightly.following(nightly.latest(at)) > at


@pytest.mark.parametrize("line", ["", "x", "61 * * * *", "0 0 31 2 *", "* * * *"])
def test_a_line_that_never_comes_up_is_told_and_not_waited_for(line: str) -> None:
    assert why_not_cron(line)


def test_a_good_line_has_nothing_wrong() -> None:
    assert why_not_cron("0 9 * * 1") is None


# Runs.


def _run(**changes: object) -> JobRun:
    values = {"id": 1, "name": "health", "due_at": AT, "started_at": AT, "lease_until": AT + LEASE}
    return JobRun.model_validate(values | changes)


def test_what_nobody_has_begun_is_begun() -> None:
    run = begin(None, "health", AT, AT, LEASE, first=False)
    assert run is not None
    assert run.outcome is RunOutcome.RUNNING
    assert run.lease_until == AT + LEASE


def test_a_moment_from_before_the_job_was_known_is_only_noted() -> None:
    run = begin(None, "capacity", AT - timedelta(days=3), AT, LEASE, first=True)
    assert run is not None
    assert run.outcome is RunOutcome.MISSED


@pytest.mark.parametrize(
    ("known", "at", "again"),
    [
        ({"outcome": RunOutcome.DONE}, AT + LEASE * 2, False),
        ({"outcome": RunOutcome.MISSED}, AT + LEASE * 2, False),
        ({}, AT + LEASE / 2, False),
        ({}, AT + LEASE, True),
        ({"outcome": RunOutcome.FAILED, "lease_until": AT + RETRY_AFTER}, AT, False),
        ({"outcome": RunOutcome.FAILED, "lease_until": AT + RETRY_AFTER}, AT + RETRY_AFTER, True),
        ({"outcome": RunOutcome.FAILED, "attempts": ATTEMPTS}, AT + LEASE * 2, False),
    ],
    ids=["done", "missed", "somebody is at it", "its process died", "too soon", "once more", "given up"],
)
def test_who_may_take_a_run(known: dict[str, object], at: datetime, again: bool) -> None:
    taken = begin(_run(**known), "health", AT, at, LEASE, first=False)
    assert (taken is not None) == again
    if taken is not None:
        assert taken.attempts == _run(**known).attempts + 1
        assert taken.outcome is RunOutcome.RUNNING


def test_what_came_of_a_run_is_kept() -> None:
    assert end(_run(), AT, done=7).outcome is RunOutcome.DONE
    failed = end(_run(), AT, error="quota")
    assert (failed.outcome, failed.error, failed.lease_until) == (
        RunOutcome.FAILED,
        "quota",
        AT + RETRY_AFTER,
    )
