"""What is asked and what comes of the answers, row by row of the product's tables."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from domain.indicators import (
    DETECTED,
    INDICATORS,
    WEEK,
    Means,
    indicator,
    measured_by,
    shown,
    to_week_ago,
)
from domain.policy import Service
from domain.rules import DEFAULT_THRESHOLDS, Kind, Limits, Measure, Rules, Statistic
from domain.series import Aligner, Query, Reducer, moment
from domain.units import Unit
from tests.domain.measuring import API, DB, GAP, START, classes, measured, reading, series, window


def numbers(values):
    """A list that can be compared: a gap is None."""
    return [None if math.isnan(value) else round(value, 9) for value in values]


ASKED = {
    "cpu": [("run.googleapis.com/container/cpu/utilizations", "delta", "p95")],
    "memory": [("run.googleapis.com/container/memory/utilizations", "delta", "p95")],
    "requests": [("run.googleapis.com/request_count", "sum", "sum")],
    "latency": [
        ("run.googleapis.com/request_latencies", "delta", "p95"),
        ("run.googleapis.com/request_count", "sum", "sum"),
    ],
    "error-rate": [("run.googleapis.com/request_count", "sum", "sum")],
    "startup": [("run.googleapis.com/container/startup_latencies", "delta", "p95")],
    "sql-connections": [
        ("cloudsql.googleapis.com/database/postgresql/num_backends", "max", "sum"),
        ("cloudsql.googleapis.com/database/network/connections", "max", "sum"),
    ],
    "sql-cpu": [("cloudsql.googleapis.com/database/cpu/utilization", "mean", "max")],
    "sql-disk": [("cloudsql.googleapis.com/database/disk/utilization", "max", "max")],
    "sql-replica-lag": [("cloudsql.googleapis.com/database/replication/replica_lag", "max", "max")],
    "sql-slow-queries": [
        ("cloudsql.googleapis.com/database/postgresql/insights/perquery/latencies", "delta", "p95")
    ],
    "sql-slow-query-count": [("cloudsql.googleapis.com/database/mysql/slow_queries_count", "sum", "sum")],
}


@pytest.mark.parametrize("key", INDICATORS)
def test_each_indicator_asks_for_the_right_metric_and_makes_the_right_of_it(key):
    service = API if INDICATORS[key].kind is Kind.CLOUD_RUN else DB
    asked = INDICATORS[key].queries(service, 60)
    assert [(query.metric, query.aligner, query.reducer) for query in asked] == ASKED[key]


def test_a_query_names_the_service_so_that_no_other_is_counted():
    (query,) = INDICATORS["error-rate"].queries(API, 60)
    assert query == Query(
        project="shop",
        metric="run.googleapis.com/request_count",
        resource="cloud_run_revision",
        labels=(
            ("resource.labels.location", "asia-northeast1"),
            ("resource.labels.service_name", "api"),
        ),
        aligner=Aligner.SUM,
        reducer=Reducer.SUM,
        group_by=("metric.labels.response_code_class",),
        step=60,
    )
    (cpu,) = INDICATORS["sql-cpu"].queries(DB, 60)
    assert (cpu.project, cpu.labels) == ("shop", (("resource.labels.database_id", "shop:db"),))
    (slowest,) = INDICATORS["sql-slow-queries"].queries(DB, 60)
    assert slowest.resource == "cloudsql_instance_database"
    assert slowest.labels == (("resource.labels.resource_id", "shop:db"),)


def test_one_question_serves_requests_errors_and_the_traffic_behind_latency():
    everything = {query for key in DETECTED for query in INDICATORS[key].queries(API, 300)}
    assert len(everything) == 4


def test_a_service_without_a_project_lacks_it():
    lonely = Service(name="api", match={"service_name": "api"})
    assert INDICATORS["cpu"].lacking(lonely, Limits()) == "services.api.project"
    assert INDICATORS["cpu"].lacking(API, Limits()) is None
    assert INDICATORS["sql-connections"].lacking(DB, Limits()) == "rules.limits.db.connections"
    assert INDICATORS["sql-connections"].lacking(DB, Limits(connections=400)) is None


@pytest.mark.parametrize("step", [60, 300])
def test_the_five_of_the_detector_come_out_in_their_units_at_every_step(step):
    counts = classes(ok=[90, 90], bad=[10, 30], step=step)
    assert numbers(measured("requests", counts, step=step).values) == [
        round(100 / step, 9),
        round(120 / step, 9),
    ]
    rate = measured("error-rate", counts, step=step)
    assert (numbers(rate.values), numbers(rate.weights)) == ([0.1, 0.25], [100, 120])
    latency = measured("latency", (series([1840, 250], step=step),), counts, step=step)
    assert (numbers(latency.values), numbers(latency.weights)) == ([1.84, 0.25], [100, 120])
    for key in ("cpu", "memory"):
        assert numbers(measured(key, (series([0.81, GAP], step=step),), step=step).values) == [0.81, None]


ERROR_RATES = {
    "no class of errors is no errors": ({"ok": [50, 50]}, [0, 0]),
    "a class of errors with a gap has none there": ({"ok": [50, 50], "bad": [GAP, 50]}, [0, 0.5]),
    "only errors are all errors": ({"bad": [5]}, [1]),
    "4xx are requests but no errors": ({"ok": [25], "lost": [50], "bad": [25]}, [0.25]),
    "no point of any class is no data": ({"ok": [50, GAP], "bad": [50, GAP]}, [0.5, None]),
    "zero requests have no rate": ({"ok": [0]}, [None]),
}


@pytest.mark.parametrize("case", ERROR_RATES)
def test_the_error_rate_tells_no_errors_from_no_data(case):
    counts, wanted = ERROR_RATES[case]
    assert numbers(measured("error-rate", classes(**counts)).values) == wanted


def test_no_traffic_is_data_and_nothing_at_all_is_not():
    counts = measured("error-rate", classes(ok=[0, GAP]))
    assert counts.has_data(START)
    assert not counts.has_data(START + 60)
    assert not counts.has_data(START - 60)
    assert math.isnan(counts.value(START + 30))


def test_no_series_at_all_is_an_empty_grid_and_never_zero():
    nothing = measured("error-rate", (), until=START)
    assert (len(nothing.values), nothing.end, nothing.complete_until) == (0, START, START)
    assert not nothing.has_data(START)


def test_series_that_begin_at_different_steps_are_laid_on_one_grid():
    early, late = series([10, 10, 10]), series([1, 1, 1], start=START + 120)
    latency = measured("latency", (late,), (early,))
    assert numbers(latency.values) == [None, None, 0.001, 0.001, 0.001]
    assert numbers(latency.weights) == [10, 10, 10, None, None]
    with pytest.raises(ValueError, match="does not fit"):
        measured("latency", (series([1], start=START + 30),), (early,))


def test_the_worst_of_the_answers_holds_for_the_whole():
    first, second = INDICATORS["latency"].queries(API, 60)
    answers = {
        first: reading(series([1, 1]), until=START + 60),
        second: reading(series([1]), until=START, problem="quota"),
    }
    whole = INDICATORS["latency"].measure(answers, API)
    assert (whole.complete_until, whole.problem) == (START, "quota")


CONNECTIONS = {
    "PostgreSQL over its databases": (((series([100]), series([200])), ()), [0.75]),
    "the other engines": (((), (series([100]),)), [0.25]),
    "both are never added": (((series([100]),), (series([300]),)), [0.25]),
}


@pytest.mark.parametrize("case", CONNECTIONS)
def test_connections_are_a_share_of_the_allowed(case):
    parts, wanted = CONNECTIONS[case]
    limits = Limits(connections=400)
    assert numbers(measured("sql-connections", *parts, service=DB, limits=limits).values) == wanted


def test_a_negative_replica_lag_is_replication_that_is_inactive_and_never_fine():
    lag = measured("sql-replica-lag", (series([0, 3, -1, GAP]),), service=DB)
    assert list(lag.values[:3]) == [0, 3, math.inf]
    assert math.isnan(lag.values[3])
    two = measured("sql-replica-lag", (series([9, 9]), series([-1, 2])), service=DB)
    assert list(two.values) == [math.inf, 9]


def test_the_slowest_query_counts_in_seconds():
    slow = measured("sql-slow-queries", (series([200_000]), series([1_500_000])), service=DB)
    assert numbers(slow.values) == [1.5]
    counted = measured("sql-slow-query-count", (series([5, 10], step=300),), service=DB, step=300)
    assert numbers(counted.values) == [1, 2]


OWN = {
    Statistic.P95: ("delta", "p95"),
    Statistic.RATE: ("rate", "sum"),
    Statistic.SUM: ("mean", "sum"),
    Statistic.MAX: ("max", "max"),
    Statistic.MIN: ("min", "min"),
    Statistic.MEAN: ("mean", "mean"),
}


@pytest.mark.parametrize("statistic", OWN)
def test_a_metric_of_the_teams_own_is_asked_for_by_its_statistic(statistic):
    measure = Measure(
        metric="prometheus.googleapis.com/jobs/gauge",
        statistic=statistic,
        resource="prometheus_target",
        labels=(("metric.labels.kind", "sync"),),
    )
    (query,) = measured_by(measure, "jobs").queries(API, 60)
    assert (query.aligner, query.reducer) == OWN[statistic]
    assert (query.resource, query.labels) == ("prometheus_target", (("metric.labels.kind", "sync"),))


def test_seed_defect_6_a_gauge_of_each_instance_is_added_up():
    """A gauge of one process, scraped from an instance by chance, is a share of the truth."""
    users = Measure(
        metric="prometheus.googleapis.com/active_users/gauge",
        statistic=Statistic.SUM,
        resource="prometheus_target",
    )
    asked = measured_by(users, "users")
    (query,) = asked.queries(API, 60)
    assert query.reducer is Reducer.SUM
    assert query.group_by == ()


def test_a_raw_metric_of_cloud_run_is_narrowed_to_the_service():
    measure = Measure(
        metric="run.googleapis.com/container/instance_count",
        statistic=Statistic.SUM,
        resource="cloud_run_revision",
    )
    (query,) = measured_by(measure, "instances").queries(API, 60)
    assert dict(query.labels)["resource.labels.service_name"] == "api"


def test_a_scale_brings_values_into_the_unit_of_the_limit():
    measure = Measure(
        metric="custom.googleapis.com/sync_errors",
        statistic=Statistic.RATE,
        resource="global",
        unit=Unit.PER_MINUTE,
        scale=60,
    )
    asked = measured_by(measure, "sync-errors")
    (query,) = asked.queries(API, 60)
    assert numbers(asked.measure({query: reading(series([0.2]))}, API).values) == [12]


def test_every_default_threshold_has_an_indicator_with_its_unit():
    assert {one.metric for one in DEFAULT_THRESHOLDS} == set(INDICATORS)
    for one in DEFAULT_THRESHOLDS:
        assert indicator(one).unit is one.unit


HOUR_OF = {
    "half as much": ([50] * 60, [100] * 60, 0.5, 100),
    "nothing to compare with": ([50] * 60, [], None, 0),
    "nothing a week ago": ([50] * 60, [0] * 60, None, 0),
    "an hour with less than half of its minutes": ([50] * 60, [100] * 20 + [GAP] * 40, None, 0),
    "an hour with gaps": ([50] * 60, [100] * 40 + [GAP] * 20, 0.5, 100),
}


@pytest.mark.parametrize("case", HOUR_OF)
def test_an_hour_is_compared_with_the_same_hour_a_week_ago(case):
    now, then, ratio, weight = HOUR_OF[case]
    found = to_week_ago(window(now), window(then, start=START - WEEK))
    assert numbers(found.values)[-1] == ratio
    assert found.weights[-1] == weight
    assert found.has_data(START + 59 * 60)


def test_a_gap_today_is_no_data_whatever_was_a_week_ago():
    found = to_week_ago(window([50] * 59 + [GAP]), window([100] * 60, start=START - WEEK))
    assert not found.has_data(START + 59 * 60)


def test_a_public_holiday_is_not_compared_with_an_ordinary_day():
    rules = Rules(zone="Asia/Tokyo", holidays="JP")
    tokyo = ZoneInfo("Asia/Tokyo")
    assert rules.is_holiday(datetime(2026, 11, 23, 0, 0, tzinfo=tokyo))
    assert not rules.is_holiday(datetime(2026, 11, 22, 23, 59, tzinfo=tokyo))
    assert not Rules(zone="Asia/Tokyo").is_holiday(datetime(2026, 11, 23, tzinfo=tokyo))
    labour_day = int(datetime(2026, 11, 23, 10, 0, tzinfo=tokyo).timestamp())
    for start in (labour_day, labour_day + WEEK):
        now, then = window([10] * 60, start=start), window([100] * 60, start=start - WEEK)
        found = to_week_ago(now, then, lambda end: rules.is_holiday(moment(end - 1)))
        assert found.weights[-1] == 0


def test_means_are_weighted_by_traffic():
    rates = Means(window([0.5, 0.0, GAP], [10, 90, 0]))
    end = START + 120
    assert rates.mean(end, 180) == pytest.approx(0.05)
    assert (rates.total(end, 180), rates.weight(end, 180)) == (5, 100)
    assert math.isnan(rates.mean(end, 60))
    assert math.isnan(rates.mean(START - 60, 300))


SHOWN = {
    (1.84, Unit.SECONDS): "1.84 s",
    (0.8213, Unit.SHARE): "82.1 %",
    (0.01, Unit.SHARE): "1 %",
    (1204.4, Unit.PER_SECOND): "1,204/s",
    (10, Unit.PER_MINUTE): "10/min",
    (0, Unit.COUNT): "0",
    (0.00123, Unit.SECONDS): "1.23 ms",
    (math.inf, Unit.SECONDS): "-",
}


@pytest.mark.parametrize(("value", "unit"), SHOWN)
def test_values_are_shown_with_few_digits_and_their_unit(value, unit):
    assert shown(value, unit) == SHOWN[value, unit]
