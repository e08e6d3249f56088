"""When an error budget burns too fast, over two windows at once."""

import pytest

from domain.indicators import INDICATORS
from domain.objectives import BURNS, judge, promised, span
from domain.policy import Level, Policy
from domain.rules import Objective, Rules
from domain.series import epoch
from domain.standing import Standing, Verdict
from tests.domain.measuring import API, GAP, START, classes, measured, minute, window

PROMISE = Objective(name="availability", service="api", availability=0.999)
FAST, SLOW, LONG = BURNS
HOUR = 60


def rates(*stretches, requests=1000):
    """Error rates of one minute each: (minutes, rate) after another, with the same traffic."""
    values = [rate for minutes, rate in stretches for _ in range(minutes)]
    return window(values, [requests] * len(values))


def look(burn, found, standing=None, promise=PROMISE):
    return judge(promise, burn, API, standing, found, minute(len(found.values)))


BURNING = {
    "just under 14.4 times": (FAST, rates((2 * HOUR, 0.0143)), False),
    "14.4 times for an hour": (FAST, rates((2 * HOUR, 0.0144)), True),
    "a short outburst outweighs the hour": (FAST, rates((HOUR, 0), (10, 0.1)), True),
    "a burst too short for the hour": (FAST, rates((HOUR, 0), (5, 0.1)), False),
    "an hour that is over": (FAST, rates((HOUR, 0.02), (10, 0)), False),
    "6 times for six hours": (SLOW, rates((7 * HOUR, 0.0061)), True),
    "6 times is not enough for the fast one": (FAST, rates((7 * HOUR, 0.0061)), False),
    "a few requests, all lost": (FAST, rates((HOUR, 1), requests=1), True),
    "one failed request at night": (FAST, rates((HOUR - 1, 0), (1, 1), requests=1), False),
    "nine failed requests at night": (FAST, rates((HOUR - 9, 0), (9, 1), requests=1), False),
    "ten of them": (FAST, rates((HOUR - 10, 0), (10, 1), requests=1), True),
}


@pytest.mark.parametrize("case", BURNING)
def test_seed_defect_14_a_budget_speaks_when_both_windows_burn(case):
    burn, found, fires = BURNING[case]
    assert look(burn, found).standing.firing is fires


def test_the_slowest_condition_looks_at_three_days_in_steps_of_five_minutes():
    steps = 3 * 24 * 12
    values, requests = [0.0011] * steps, [5000] * steps
    found = window(values, requests, step=300)
    judged = judge(PROMISE, LONG, API, None, found, minute(steps * 5))
    (signal,) = judged.signals
    assert signal.level is Level.WARNING
    assert signal.wording.summary.params["spent"] == [pytest.approx(0.11), "share"]
    calm = window([0.0009] * steps, requests, step=300)
    assert not judge(PROMISE, LONG, API, None, calm, minute(steps * 5)).standing.firing


def test_a_burn_ends_when_the_short_window_has_been_calm_for_as_long_as_it_is():
    opened = look(FAST, rates((HOUR, 0.05)))
    assert [signal.firing for signal in opened.signals] == [True]
    standing = opened.standing
    for calm in range(1, 12):
        judged = look(FAST, rates((HOUR, 0.05), (calm, 0)), standing)
        standing = judged.standing
        if judged.signals:
            break
    # The five minutes burn slowly from the fourth on, and then have to for five.
    assert calm == 8
    (ended,) = judged.signals
    assert not ended.firing
    assert ended.identity == opened.signals[0].identity


@pytest.mark.parametrize("silence", [(GAP, GAP), (GAP, 0)])
def test_neither_silence_nor_an_empty_night_ends_a_burn(silence):
    value, requests = silence
    opened = look(FAST, rates((HOUR, 0.05)))
    values = [0.05] * HOUR + [value] * 300
    found = window(values, [1000] * HOUR + [requests] * 300)
    later = judge(PROMISE, FAST, API, opened.standing, found, minute(len(values)))
    assert later.standing.firing
    assert not any(not signal.firing for signal in later.signals)


def test_a_burn_that_came_and_went_while_nobody_looked_is_told():
    before = look(FAST, rates((HOUR, 0))).standing
    missed = look(FAST, rates((HOUR, 0), (30, 0.2), (3 * HOUR, 0)), before)
    assert [signal.firing for signal in missed.signals] == [True, False]
    assert not missed.standing.firing


def test_what_is_long_past_at_the_first_look_is_not_news():
    values, requests = [0.05] * HOUR + [GAP] * 120, [1000] * HOUR + [0] * 120
    found = window(values, requests)
    assert not judge(PROMISE, FAST, API, None, found, minute(180)).standing.firing


def test_looks_are_made_up_for_a_day_and_no_longer():
    before = look(FAST, rates((HOUR, 0))).standing
    missed = look(FAST, rates((HOUR, 0), (30, 0.2), (30 * HOUR, 0)), before)
    assert missed.signals == ()


def test_looks_at_the_same_and_at_older_data_change_nothing():
    found = rates((HOUR, 0.05))
    first = look(FAST, found)
    again = judge(PROMISE, FAST, API, first.standing, found, minute(HOUR))
    assert (again.standing, again.signals) == (first.standing, ())
    older = judge(PROMISE, FAST, API, first.standing, rates((30, 0)), minute(30))
    assert (older.standing, older.signals) == (first.standing, ())


def test_what_cannot_be_read_is_not_judged():
    first = look(FAST, rates((HOUR, 0.05))).standing
    blind = judge(PROMISE, FAST, API, first, window([], problem="unavailable"), minute(99))
    assert (blind.standing, blind.problem) == (first, "unavailable")


def test_the_conditions_of_one_objective_are_alerts_of_one_thread():
    fast, slow = (look(burn, rates((7 * HOUR, 0.05))).signals[0] for burn in (FAST, SLOW))
    assert fast.group_key == slow.group_key
    assert fast.identity != slow.identity
    assert (fast.level, slow.level) == (Level.CRITICAL, Level.CRITICAL)
    assert fast.title == "api: error budget of 99.9 % burns 50x too fast over 1 h"
    assert fast.wording.title.key == "watch.burning.title"
    assert fast.labels["rule"] == "availability"


def test_the_factors_are_those_of_the_workbook():
    spent = [round(burn.factor * burn.long / PROMISE.window.total_seconds(), 3) for burn in BURNS]
    assert spent == [0.02, 0.05, 0.1]
    assert [burn.long // burn.short for burn in BURNS] == [12, 12, 12]


def test_requests_without_a_class_of_errors_burn_nothing():
    found = measured("error-rate", classes(ok=[100] * HOUR))
    standing = look(FAST, found).standing
    assert (standing.verdict, standing.value) == (Verdict.GOOD, 0)


def test_every_objective_has_its_three_conditions():
    policy = Policy(services=(API,), rules=Rules(objectives=(PROMISE,)))
    found = promised(policy)
    assert [one.key for one in found] == [
        "availability/14.4x@api",
        "availability/6x@api",
        "availability/1x@api",
    ]
    assert {one.indicator.key for one in found} == {INDICATORS["error-rate"].key}
    assert [one.lacking for one in found] == [None] * 3
    standing = look(FAST, rates((HOUR, 0))).standing
    assert standing.key == found[0].key


def test_a_look_asks_for_the_long_window_and_what_was_missed():
    now = minute(0)
    standing = Standing(rule="availability", service="api", watched_since=0, judged_until=START - 7200)
    start, end = span(FAST, standing, now)
    assert end == epoch(now) // 60 * 60
    assert start == START - 7200 - 3600
    assert span(LONG, None, now)[0] <= end - 3 * 86400 - 6 * 3600
    assert span(LONG, None, now)[1] % 300 == 0
