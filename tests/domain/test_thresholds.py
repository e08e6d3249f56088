"""When a metric beyond its limit speaks, holds, and is over."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.alerts import Reason, absorb
from domain.indicators import INDICATORS, WEEK, Means, to_week_ago
from domain.policy import Level, Policy, Service
from domain.rules import (
    DEFAULT_THRESHOLDS,
    Kind,
    Limits,
    Measure,
    Rules,
    Silence,
    Statistic,
    Threshold,
    recovered_at,
)
from domain.series import epoch
from domain.standing import Cause, Standing, Verdict, retire
from domain.thresholds import judge, span, watched, week_before
from domain.units import Unit
from tests.domain.measuring import API, DB, GAP, START, classes, measured, minute, reading, series, window

INF = float("inf")
ROWS = {one.name: one for one in DEFAULT_THRESHOLDS}

RULE = Threshold(
    name="queue",
    metric="cpu",
    unit=Unit.COUNT,
    limit=100,
    level=Level.CRITICAL,
    lasting=timedelta(minutes=3),
    recover=90,
    recover_for=timedelta(minutes=2),
)


def rule(**changes):
    return RULE.model_copy(update=changes)


def looked(threshold, values, *, weights=None, every=1, until=None, service=API):
    """All signals of a look every few minutes, as (minute of the look, firing), and the last standing."""
    standing, told = None, []
    for number in range(0, (until or len(values)), every):
        seen = values[: number + 1]
        behind = None if weights is None else weights[: number + 1]
        found = window(seen, behind, until=START + number * 60)
        judged = judge(threshold, service, standing, found, minute(number))
        standing = judged.standing
        told += [(number, signal.firing) for signal in judged.signals]
    return told, standing


COURSES = {
    "never beyond": ([50] * 8, []),
    "at the limit is not beyond it": ([100] * 8, []),
    "not long enough": ([150, 150, 50, 150, 150, 50], []),
    "long enough": ([50, 150, 150, 150, 150], [(3, True)]),
    "over after two good minutes": ([150, 150, 150, 80, 80, 80], [(2, True), (4, False)]),
    "one good minute is not enough": ([150, 150, 150, 80, 120, 80, 150], [(2, True)]),
    "the band neither opens nor ends": ([150, 150, 95, 150, 95, 95], []),
    "the band keeps open": ([150, 150, 150, 95, 95, 95, 95], [(2, True)]),
    "the band breaks a recovery": ([150, 150, 150, 80, 95, 80, 95, 80], [(2, True)]),
    "the border of recovery counts": ([150, 150, 150, 90, 90], [(2, True), (4, False)]),
    "a gap counts for neither side": ([150, GAP, 150, GAP, 150], [(4, True)]),
    "a gap while open changes nothing": (
        [150, 150, 150, GAP, GAP, GAP, 80, GAP, 80],
        [(2, True), (8, False)],
    ),
    "a long gap forgets": ([150, 150, *[GAP] * 6, 150, 150, 50], []),
    "it comes back": ([150] * 3 + [50] * 2 + [150] * 3, [(2, True), (4, False), (7, True)]),
}


@pytest.mark.parametrize("case", COURSES)
def test_a_rule_speaks_holds_and_recovers(case):
    values, wanted = COURSES[case]
    assert looked(RULE, values)[0] == wanted


def test_a_rule_for_values_below_is_the_same_upside_down():
    below = rule(above=False, limit=10, recover=11)
    assert looked(below, [5, 5, 5, 10.5, 12, 12])[0] == [(2, True), (5, False)]
    assert looked(below, [10] * 5)[0] == []


def test_the_band_lies_on_the_good_side_of_the_limit():
    assert recovered_at(100, above=True) == pytest.approx(90)
    assert recovered_at(100, above=False) == pytest.approx(110)
    assert recovered_at(-10, above=True) == pytest.approx(-11)
    assert recovered_at(0, above=True) == 0


# Every row of the default table: what fires it, what it needs in good minutes to resolve.

COUNTS = classes(ok=[970] * 40, bad=[30] * 40)
FINE = classes(ok=[1000] * 40, bad=[1] * 40)


def one(value):
    return (series([value] * 40),)


BREACHES = {
    "cpu": ((one(0.81),), (one(0.71),)),
    "memory": ((one(0.86),), (one(0.70),)),
    "requests": ((classes(ok=[60_001] * 40),), (classes(ok=[50_000] * 40),)),
    "latency": ((one(1001), COUNTS), (one(899), COUNTS)),
    "error-rate": ((COUNTS,), (FINE,)),
    "startup": ((one(10_001),), ((),)),
    "sql-connections": ((one(321), ()), (one(280), ())),
    "sql-cpu": ((one(0.81),), (one(0.71),)),
    "sql-disk": ((one(0.91),), (one(0.80),)),
    "sql-replica-lag": ((one(5.1),), (one(0.1),)),
    "sql-slow-queries": ((one(1_000_001),), ((),)),
    "sql-slow-query-count": ((one(2),), (one(0),)),
}


@pytest.mark.parametrize("name", BREACHES)
def test_each_default_row_fires_holds_and_resolves(name):
    threshold = ROWS[name]
    service = API if INDICATORS[name].kind is Kind.CLOUD_RUN else DB
    bad, good = BREACHES[name]
    limits = Limits(connections=400)
    lasting = int(threshold.lasting.total_seconds()) // 60
    end = START + (lasting - 1) * 60
    early = measured(name, *bad, service=service, limits=limits, until=end - 60)
    first = judge(threshold, service, None, early, minute(lasting - 2))
    assert not first.signals
    found = measured(name, *bad, service=service, limits=limits, until=end)
    opened = judge(threshold, service, first.standing, found, minute(lasting - 1))
    (signal,) = opened.signals
    assert (signal.firing, signal.level, signal.service) == (True, threshold.level, service.name)
    assert signal.labels == {"rule": name, "metric": name, "service": service.name}
    silent = judge(
        threshold,
        service,
        opened.standing,
        measured(name, *bad, service=service, limits=limits, until=end),
        minute(99),
    )
    assert silent.standing.firing
    recovered = int(threshold.recover_for.total_seconds()) // 60 + 8
    fine = measured(name, *good, service=service, limits=limits, until=end + recovered * 60)
    over = judge(threshold, service, opened.standing, fine, minute(lasting + recovered))
    assert [signal.firing for signal in over.signals] == [False]
    assert over.signals[0].identity == signal.identity


def test_seed_defect_10_the_error_rate_is_measured_of_requests_and_not_of_a_machines_processor():
    (query,) = INDICATORS["error-rate"].queries(API, 60)
    assert (query.metric, query.resource) == ("run.googleapis.com/request_count", "cloud_run_revision")
    assert ROWS["error-rate"].limit == 0.01


def test_seed_defect_11_the_latency_has_one_limit():
    assert [(row.limit, row.level) for row in DEFAULT_THRESHOLDS if row.metric == "latency"] == [
        (1, Level.CRITICAL)
    ]


TRAFFIC = {
    "1 of 50 failed": ({"ok": [10, 10, 10, 9, 10], "bad": [0, 0, 0, 1, 0]}, 0),
    "1 of 100 is 1 % and not above it": ({"ok": [20, 20, 20, 19, 20], "bad": [0, 0, 0, 1, 0]}, 0),
    "2 of 100 for two minutes": ({"ok": [20, 20, 20, 18, 20, 20], "bad": [0, 0, 0, 2, 0, 0]}, 1),
    "half of a few at night": ({"ok": [3] * 10, "bad": [3] * 10}, 0),
    "nobody is there": ({"ok": [0] * 10}, 0),
}


@pytest.mark.parametrize("case", TRAFFIC)
def test_seed_defect_13_a_percentage_needs_traffic_behind_it(case):
    counts, fires = TRAFFIC[case]
    found = measured("error-rate", classes(**counts))
    judged = judge(ROWS["error-rate"], API, None, found, minute(10))
    assert len(judged.signals) == fires


def test_too_little_traffic_neither_opens_nor_ends():
    threshold = rule(minimum=100)
    busy, calm = [50] * 4, [1] * 20
    told, standing = looked(threshold, [150] * 4 + [50] * 20, weights=busy + calm)
    # The first minute alone is not busy enough yet.
    assert told == [(3, True)]
    assert standing.firing
    assert standing.verdict is Verdict.QUIET


def test_seed_defect_14_a_value_that_swings_around_the_limit_opens_once():
    swinging = [101, 102, 101, 99, 101, 98, 102, 97, 101, 99] * 3
    assert looked(RULE, swinging)[0] == [(2, True)]


def test_seed_defect_15_the_limit_of_requests_stands_in_one_place():
    limits = [row.limit for row in DEFAULT_THRESHOLDS if row.unit is Unit.PER_SECOND]
    assert limits == [1000]
    assert Limits().requests is None


@pytest.mark.parametrize("name", ROWS)
def test_seed_defect_16_no_data_never_ends_an_alert_except_where_nothing_happening_is_ordinary(name):
    threshold = ROWS[name].model_copy(update={"minimum": 0, "over": None})
    beyond = [threshold.limit * 2] * 15
    standing = judge(threshold, API, None, window(beyond), minute(15)).standing
    assert standing.firing
    for number in (20, 60, 300, 1400):
        standing = judge(
            threshold, API, standing, window(beyond, until=START + number * 60), minute(number)
        ).standing
    assert standing.firing is (name not in {"startup", "sql-slow-queries"})


def test_seed_defect_17_a_slow_start_fires_and_no_starts_are_fine():
    starts = [GAP] * 10 + [12.5] + [GAP] * 30
    told, _ = looked(ROWS["startup"], starts)
    assert told == [(10, True), (28, False)]


def test_seed_defect_19_a_channel_of_its_own_changes_where_it_is_said_and_not_who_is_paged():
    quiet, loud = (
        judge(rule(channel=channel), API, None, window([150] * 3), minute(3)).signals[0]
        for channel in (None, "#performance")
    )
    assert (quiet.channel, loud.channel) == (None, "#performance")
    assert quiet.level is loud.level is Level.CRITICAL


# What a look can meet: gaps, delays, restarts.


def test_data_that_comes_late_is_judged_when_it_comes():
    early = judge(RULE, API, None, window([150, GAP, GAP], until=START + 120), minute(2))
    assert early.standing.judged_until == START
    late = judge(RULE, API, early.standing, window([150, 150, 150]), minute(3))
    assert [signal.firing for signal in late.signals] == [True]


def test_a_step_that_is_not_complete_is_not_judged():
    partial = judge(RULE, API, None, window([150, 150, 150], until=START + 60), minute(3))
    assert not partial.signals
    assert partial.standing.judged_until == START + 60


def test_a_second_look_at_the_same_data_changes_nothing():
    found = window([150] * 3)
    first = judge(RULE, API, None, found, minute(3))
    second = judge(RULE, API, first.standing, found, minute(3))
    assert second.standing == first.standing
    assert not second.signals


def test_a_look_with_older_data_changes_nothing():
    newest = judge(RULE, API, None, window([150] * 5), minute(5))
    older = judge(RULE, API, newest.standing, window([50] * 3), minute(3))
    assert older.standing == newest.standing
    assert not older.signals


def test_what_cannot_be_read_is_not_judged():
    alerting = rule(no_data=Silence.ALERT, silent_for=timedelta(minutes=5))
    first = judge(alerting, API, None, window([50]), minute(0)).standing
    blind = judge(alerting, API, first, window([], until=START + 3600, problem="quota"), minute(60))
    assert (blind.standing, blind.signals, blind.problem) == (first, (), "quota")


def test_a_breach_that_came_and_went_while_nobody_looked_is_told_with_its_value():
    before = judge(RULE, API, None, window([50] * 3), minute(3)).standing
    missed = judge(RULE, API, before, window([50] * 3 + [180] * 30 + [40] * 90), minute(125))
    opened, ended = missed.signals
    assert (opened.firing, opened.value, ended.firing, ended.value) == (True, "180", False, "40")
    assert epoch(opened.started_at) == START + 2 * 60
    assert epoch(ended.ended_at) == START + 32 * 60
    assert not missed.standing.firing


def test_a_recovery_and_a_new_breach_while_nobody_looked_leave_it_open_and_are_a_reminder():
    before = judge(RULE, API, None, window([150] * 3), minute(3)).standing
    after = judge(RULE, API, before, window([150] * 3 + [50] * 30 + [150] * 30), minute(20))
    assert after.standing.firing
    assert [signal.firing for signal in after.signals] == [True]


def test_a_breach_that_comes_back_has_its_own_beginning():
    before = judge(RULE, API, None, window([150] * 3 + [50] * 2), minute(5)).standing
    again = judge(RULE, API, before, window([150] * 3 + [50] * 2 + [150] * 3), minute(8))
    assert epoch(again.signals[0].started_at) == START + 4 * 60


def test_data_that_was_missed_is_no_silence():
    alerting = rule(no_data=Silence.ALERT, silent_for=timedelta(minutes=5))
    before = judge(alerting, API, None, window([50]), minute(0)).standing
    assert judge(alerting, API, before, window([50] * 60), minute(60)).signals == ()


def test_a_limit_of_nothing_can_be_kept():
    nothing = rule(limit=0, recover=recovered_at(0, above=True))
    assert looked(nothing, [1, 1, 1, 0, 0])[0] == [(2, True), (4, False)]


def test_the_last_bit_of_a_float_is_not_beyond_a_limit():
    """12 failed of 1,200 are 0.010000000000000002 when they are put together of two minutes' shares."""
    share = rule(metric="error-rate", limit=0.01, over=timedelta(minutes=2), lasting=timedelta(minutes=1))
    found = measured("error-rate", classes(ok=[100, 1088], bad=[0, 12]))
    assert Means(found).mean(found.end, 120) > 0.01
    assert not judge(share, API, None, found, minute(2)).standing.firing


def test_what_was_over_before_the_first_look_is_not_told():
    assert judge(RULE, API, None, window([150] * 5 + [50] * 5), minute(10)).signals == ()


def test_looks_are_made_up_for_a_day_and_no_longer():
    before = judge(RULE, API, None, window([50] * 2), minute(2)).standing
    week = 7 * 24 * 60
    values = [50] * 2 + [150] * 10 + [50] * (week - 12)
    after = judge(RULE, API, before, window(values), minute(week))
    assert after.signals == ()
    assert after.standing.judged_until == START + (week - 1) * 60


def test_an_alert_that_still_holds_is_reported_again_after_half_an_hour():
    told, _ = looked(RULE, [150] * 70)
    assert told == [(2, True), (32, True), (62, True)]


def test_no_data_alerts_where_the_rule_says_so_and_ends_with_good_data():
    alerting = rule(no_data=Silence.ALERT, silent_for=timedelta(minutes=5))
    told, standing = looked(alerting, [50] * 3 + [GAP] * 10 + [50] * 3)
    assert told == [(7, True), (14, False)]
    assert standing.cause is None


def test_a_metric_that_never_had_data_alerts_counted_from_the_first_look():
    alerting = rule(no_data=Silence.ALERT, silent_for=timedelta(minutes=5))
    standing, told = None, []
    for number in range(8):
        judged = judge(alerting, API, standing, window([], until=START + number * 60), minute(number))
        standing = judged.standing
        told += [(number, signal.wording.title.key) for signal in judged.signals]
    assert told == [(5, "watch.silent.title")]
    assert standing.cause is Cause.SILENCE


def test_silence_that_turns_into_a_breach_is_told_as_one():
    alerting = rule(no_data=Silence.ALERT, silent_for=timedelta(minutes=5))
    standing = judge(alerting, API, None, window([50]), minute(0)).standing
    standing = judge(alerting, API, standing, window([50], until=START + 600), minute(10)).standing
    judged = judge(alerting, API, standing, window([50] + [GAP] * 10 + [150] * 3), minute(14))
    assert [signal.wording.title.key for signal in judged.signals] == ["watch.above.title"]


def test_replication_that_is_inactive_is_told_as_such():
    lag = measured("sql-replica-lag", (series([0.2] + [-1] * 5),), service=DB)
    (signal,) = judge(ROWS["sql-replica-lag"], DB, None, lag, minute(6)).signals
    assert signal.wording.title.key == "watch.inactive.title"
    assert signal.title == "db: replication inactive for 5 min"


USERS = rule(
    name="active-users",
    metric=Measure(
        metric="prometheus.googleapis.com/active_users/gauge",
        statistic=Statistic.SUM,
        resource="prometheus_target",
    ),
    above=False,
    week_ago=True,
    limit=0.5,
    recover=0.55,
    minimum=20,
    level=Level.INFO,
    lasting=timedelta(minutes=15),
)

WEEKS = {
    "below half": (40, 100, True),
    "half is not below half": (50, 100, False),
    "too few to compare": (4, 19, False),
    "nothing a week ago": (4, 0, False),
}


@pytest.mark.parametrize("case", WEEKS)
def test_active_users_are_compared_with_the_same_hour_a_week_ago(case):
    now, then, fires = WEEKS[case]
    found = to_week_ago(window([now] * 90), window([then] * 90, start=START - WEEK))
    judged = judge(USERS, API, None, found, minute(90))
    assert judged.standing.firing is fires
    if fires:
        assert judged.signals[0].title == "api: active-users 40 % < 50 % of a week ago for 15 min"


# What is asked for, and of which services.


def test_a_look_asks_for_no_more_than_it_needs():
    standing = Standing(rule="queue", service="api", watched_since=START, judged_until=START + 600)
    now = minute(14)
    start, end = span(RULE, standing, now)
    assert end == epoch(now) // 60 * 60
    assert start == START + 600 - 180
    long_ago = standing.model_copy(update={"judged_until": START - 30 * 86400})
    assert span(RULE, long_ago, now)[0] == end - 86400 - 180
    first = span(RULE, None, now)[0]
    assert end - 3600 < first < end - 900
    assert week_before((WEEK + 60, WEEK + 120)) == (60, 120)
    assert end - span(USERS, standing, now)[0] >= 3600


def test_each_rule_watches_the_services_that_it_can_be_of():
    nameless = Service(name="other", match={"team": "x"})
    own = rule(name="own", services=("other",), metric="cpu")
    spared = rule(name="spared", metric="latency", excluded=("api",))
    policy = Policy(
        services=(API, DB, nameless),
        rules=Rules(thresholds=(ROWS["cpu"], ROWS["sql-connections"], own, spared)),
    )
    assert [(one.key, one.lacking) for one in watched(policy)] == [
        ("cpu@api", None),
        ("sql-connections@db", "rules.limits.db.connections"),
        ("own@other", "services.other.project"),
    ]


def test_a_watched_rule_measures_what_it_asked_for():
    (watch,) = watched(Policy(services=(API,), rules=Rules(thresholds=(rule(),))))
    (query,) = watch.indicator.queries(API, 60)
    now, then = {query: reading(series([40] * 60))}, {query: reading(series([100] * 60, start=START - WEEK))}
    assert list(watch.measure(now, Rules()).values) == [40] * 60
    assert watch.measure(now, Rules(), week_ago=then).values[-1] == pytest.approx(0.4)


# What is said, and what the alerts' own rules make of it.


def test_a_signal_says_in_the_fields_words_what_where_and_how_much():
    (signal,) = judge(ROWS["latency"], API, None, measured("latency", one(1840), COUNTS), minute(40)).signals
    assert signal.title == "api: p95 latency 1.84 s > 1 s for 5 min"
    assert (signal.value, signal.threshold, signal.runbook) == ("1.84 s", "> 1 s", "https://wiki.example/api")
    assert (signal.source, signal.reusable) == ("toban", True)
    assert signal.wording.title.key == "watch.above.title"
    assert signal.wording.title.params == {
        "service": "api",
        "metric": "latency",
        "value": [1.84, "seconds"],
        "limit": [1.0, "seconds"],
        "seconds": 300,
    }


def test_a_breach_and_its_end_are_one_alert_for_the_rules_of_alerts():
    opened = judge(RULE, API, None, window([150] * 3), minute(3))
    ended = judge(RULE, API, opened.standing, window([150] * 3 + [50] * 2), minute(5))
    again = judge(RULE, API, ended.standing, window([150] * 3 + [50] * 2 + [150] * 3), minute(8))
    group = alert = None
    reasons = []
    for judged, at in ((opened, minute(3)), (ended, minute(5)), (again, minute(8))):
        for signal in judged.signals:
            absorbed = absorb(group, alert, signal, at)
            group, alert = absorbed.group, absorbed.alert
            reasons.append(absorbed.reason)
    assert reasons == [Reason.FIRST, Reason.ALL_RESOLVED, Reason.FIRED_AGAIN]


def test_identities_differ_by_rule_and_by_service():
    signals = [
        judge(rule(name=name), service, None, window([150] * 3), minute(3)).signals[0]
        for name in ("one", "two")
        for service in (API, DB)
    ]
    assert len({signal.identity for signal in signals}) == 4
    assert len({signal.group_key for signal in signals}) == 4


def test_a_rule_that_left_the_policy_closes_what_it_opened_but_calls_nothing_recovered():
    opened = judge(RULE, API, None, window([150] * 3), minute(3))
    closing = retire("rule", opened.standing, API, minute(4))
    assert (closing.firing, closing.recovered) == (False, False)
    assert closing.identity == opened.signals[0].identity
    quiet = judge(RULE, API, None, window([50] * 3), minute(3)).standing
    assert retire("rule", quiet, API, minute(4)) is None


def test_a_standing_survives_being_stored():
    standing = judge(RULE, API, None, window([150] * 3), minute(3)).standing
    assert Standing.model_validate(standing.model_dump(mode="json")) == standing


# Properties.

LEVELS = st.sampled_from([50, 88, 90, 92, 95, 99, 100, 101, 120, 150, GAP])
QUICK = settings(deadline=None, max_examples=150)


def settled(standing):
    """What must not depend on how often was looked."""
    return standing.model_dump(exclude={"watched_since", "told_at"})


@QUICK
@given(st.lists(LEVELS, min_size=1, max_size=40), st.sets(st.integers(0, 39)), st.sampled_from(list(Silence)))
def test_how_often_and_in_which_order_is_looked_makes_no_difference(values, stops, silence):
    threshold = rule(no_data=silence)
    whole = judge(threshold, API, None, window(values), minute(len(values)))
    standing = None
    order = [number for number in stops if number < len(values)] + [len(values) - 1]
    for number in order:
        partial = window(values[: number + 1], until=START + number * 60)
        standing = judge(threshold, API, standing, partial, minute(number)).standing
    assert settled(standing) == settled(whole.standing)


@QUICK
@given(st.lists(LEVELS, max_size=30), st.lists(st.floats(90.001, 100), min_size=1, max_size=60))
def test_inside_the_band_nothing_opens_and_nothing_ends(before, inside):
    first = judge(RULE, API, None, window([50, *before]), minute(31)).standing
    values = [50, *before, *inside]
    after = judge(RULE, API, first, window(values), minute(32))
    assert after.standing.firing is first.firing
    assert after.signals == ()


@QUICK
@given(st.lists(LEVELS, min_size=1, max_size=60), st.integers(1, 9))
def test_no_end_comes_without_an_opening_before_it(values, every):
    told, standing = looked(RULE, values, every=every)
    ends = [place for place, (_, firing) in enumerate(told) if not firing]
    assert all(place > 0 and told[place - 1][1] for place in ends)
    assert standing.firing is (bool(told) and told[-1][1])


@QUICK
@given(st.lists(st.sampled_from([120, 150, GAP, INF]), min_size=3, max_size=60))
def test_without_one_good_value_an_alert_never_ends(values):
    first = judge(RULE, API, None, window([150] * 3), minute(3)).standing
    after = judge(RULE, API, first, window([150] * 3 + values), minute(20))
    assert after.standing.firing
