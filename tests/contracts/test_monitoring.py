"""Reading Cloud Monitoring through Google's client: few calls, right numbers, and trouble told as trouble."""

import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from domain.series import Aligner, Query, Reading, Reducer, epoch
from gcp.batching import LONGEST_FILTER, Batch, batched, filter_of
from gcp.clients import GcpClients
from gcp.monitoring import ALLOWANCE, CloudMonitoring
from gcp.points import Collected, Grid
from sandbox.clock import START, StandingClock
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.descriptors import Descriptor, Kind, ValueType
from sandbox.cloud.distributions import exponential
from sandbox.cloud.services import RunDials, SqlDials, SteadyRun, SteadySql, SteadyValue, ValueDials

NOW = epoch(START)
COUNT = "run.googleapis.com/request_count"
LATENCY = "run.googleapis.com/request_latencies"
CPU = "run.googleapis.com/container/cpu/utilizations"
SQL = "cloudsql.googleapis.com/database"
CLASS = "metric.labels.response_code_class"
NAME = "resource.labels.service_name"
OWN = "custom.googleapis.com/shop/x"


class World:
    """A cloud, its clock, and our reader."""

    def __init__(self, clock: StandingClock, cloud: Cloud, clients: GcpClients) -> None:
        self.clock, self.cloud, self.clients = clock, cloud, clients
        self.metrics = self.reader()

    def reader(self, deadline: float = 20.0) -> CloudMonitoring:
        return CloudMonitoring(self.clients, self.clock, deadline=deadline)

    def feed(self, *names: str, **dials: Any) -> list[SteadyRun]:
        services = [SteadyRun(name, "p", dials=RunDials(**dials)) for name in names]
        for service in services:
            self.cloud.monitoring.feed(service)
        return services

    async def one(self, query: Query, start: int = NOW - 600, end: int = NOW) -> Reading:
        return (await self.metrics.read([query], start, end))[query]

    async def values(self, query: Query, **window: int) -> list[float | None]:
        """The one series' values, None where there is none."""
        reading = await self.one(query, **window)
        assert reading.problem is None
        (series,) = reading.series
        return [None if math.isnan(value) else value for value in series.values]

    def own(self, kind: Kind, value_type: ValueType, *points: tuple[int, Any], **more: Any) -> Query:
        """A custom metric with these points (seconds before now, value), and the query for it."""
        self.cloud.monitoring.declare(Descriptor(OWN, kind, value_type, **more))
        where = {"project_id": "p"}
        self.cloud.monitoring.put(OWN, "global", where, [(NOW + end, value) for end, value in points])
        return Query(project="p", metric=OWN, resource="global", aligner=Aligner.MEAN, reducer=Reducer.SUM)

    def lists(self) -> int:
        return self.cloud.journal.count("ListTimeSeries")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    clients = GcpClients(cloud.endpoint)
    yield World(clock, cloud, clients)
    await clients.close()
    await cloud.stop()


def exact(reading: Reading) -> tuple[Any, ...]:
    """Comparable bit for bit; NaN is itself here."""
    series = [(one.start, one.step, dict(one.labels), one.values.tobytes()) for one in reading.series]
    return series, reading.complete_until, reading.problem


def query(
    metric: str = COUNT,
    service: str | None = "api",
    aligner: Aligner = Aligner.SUM,
    reducer: Reducer = Reducer.SUM,
    group_by: tuple[str, ...] = (),
    **more: Any,
) -> Query:
    labels = () if service is None else ((NAME, service),)
    return Query(
        project=more.pop("project", "p"),
        metric=metric,
        resource=more.pop("resource", "cloud_run_revision"),
        labels=more.pop("labels", labels),
        aligner=aligner,
        reducer=reducer,
        group_by=group_by,
        **more,
    )


def p95(metric: str = LATENCY, service: str = "api") -> Query:
    return query(metric, service, Aligner.DELTA, Reducer.P95)


# Few calls.


async def test_a_hundred_services_are_read_in_a_few_calls_and_told_apart(world: World) -> None:
    names = [f"service-{i:03d}" for i in range(100)]
    for place, name in enumerate(names):
        world.feed(name, requests_per_second=float(place))
    table = [(COUNT, Aligner.SUM, Reducer.SUM, (CLASS,))] + [
        (metric, Aligner.DELTA, Reducer.P95, ())
        for metric in (
            LATENCY,
            CPU,
            "run.googleapis.com/container/memory/utilizations",
            "run.googleapis.com/container/startup_latencies",
        )
    ]
    asked = {(name, row[0]): query(row[0], name, *row[1:]) for name in names for row in table}
    assert len(asked) == 500
    readings = await world.metrics.read(list(asked.values()), NOW - 600, NOW)
    assert len(readings) == 500
    assert world.cloud.journal.count("GetMetricDescriptor") == 5
    assert world.lists() == 5
    for place, name in enumerate(names):
        reading = readings[asked[name, COUNT]]
        values = [series.values[0] for series in reading.series]
        assert values == ([60.0 * place] if place else [])
        assert all(dict(series.labels) == {CLASS: "2xx"} for series in reading.series)


async def test_the_same_question_is_asked_once(world: World) -> None:
    world.feed("api")
    readings = await world.metrics.read([query(), query(), query(group_by=(CLASS,))], NOW - 600, NOW)
    assert len(readings) == 2
    assert world.lists() == 2


async def test_what_was_asked_in_this_minute_costs_no_call_and_in_the_next_it_does(world: World) -> None:
    world.feed("api")
    first = await world.one(query())
    again = await world.one(query())
    shorter = await world.one(query(), start=NOW - 300)
    assert exact(again) == exact(first)
    assert list(shorter.series[0].values)[:3] == [600.0] * 3
    assert shorter.series[0].start == NOW - 240
    assert world.lists() == 1
    await world.one(query(), start=NOW - 900)
    assert world.lists() == 2
    world.clock.push(timedelta(seconds=60))
    assert exact(await world.one(query())) != exact(first)
    assert world.lists() == 3
    assert world.cloud.journal.count("GetMetricDescriptor") == 1


async def test_series_that_nobody_wanted_together_are_left_out(world: World) -> None:
    for name, location in (("a", "x"), ("b", "y"), ("a", "y")):
        source = SteadyRun(name, "p", location, dials=RunDials(requests_per_second=1 + (location == "y")))
        world.cloud.monitoring.feed(source)
    where = "resource.labels.location"
    one = query(labels=((where, "x"), (NAME, "a")))
    two = query(labels=((where, "y"), (NAME, "b")))
    readings = await world.metrics.read([one, two], NOW - 600, NOW)
    assert world.lists() == 1
    assert [readings[one].series[0].values[0], readings[two].series[0].values[0]] == [60, 120]
    assert len(readings[one].series) == len(readings[two].series) == 1


def test_no_call_is_larger_than_the_limits_allow() -> None:
    queries = [query(service=f"{'long' * 10}-{i}") for i in range(300)]
    batches = list(batched(queries))
    assert sorted(q.labels for batch in batches for q in batch.queries) == sorted(q.labels for q in queries)
    assert all(len(batch.filter) <= LONGEST_FILTER for batch in batches)
    many = list(batched([query(service=f"s{i}") for i in range(250)]))
    assert [len(batch.queries) for batch in many] == [100, 100, 50]


async def test_all_pages_are_read(world: World) -> None:
    world.feed("a", "b")
    everything = query(service=None, group_by=(NAME, "resource.labels.revision_name"))
    world.cloud.monitoring.most_points = 7
    reading = await world.one(everything)
    assert [dict(series.labels)[NAME] for series in reading.series] == ["a", "b"]
    assert [sum(value == 600 for value in series.values) for series in reading.series] == [8, 8]
    assert world.lists() == 3


# Right numbers.


async def test_whole_numbers_are_read_as_such(world: World) -> None:
    world.feed("api")
    assert await world.values(query()) == [600.0] * 8 + [None, None]


async def test_a_rate_is_per_second(world: World) -> None:
    world.feed("api")
    assert (await world.values(query(aligner=Aligner.RATE)))[0] == pytest.approx(10)


async def test_steps_of_five_minutes_lie_on_whole_five_minutes(world: World) -> None:
    world.feed("api")
    reading = await world.one(query(step=300), start=NOW - 1000, end=NOW + 7)
    (series,) = reading.series
    assert (series.start, series.step, series.end) == (NOW - 900, 300, NOW)
    assert list(series.values) == [3000, 3000, 3000, 1800]
    assert reading.complete_until == NOW - 300


async def test_a_reading_is_complete_up_to_the_metrics_own_delay(world: World) -> None:
    world.clock.push(timedelta(seconds=50))
    lag = query(
        f"{SQL}/replication/replica_lag", None, Aligner.MAX, Reducer.MAX, resource="cloudsql_database"
    )
    readings = await world.metrics.read([query(), lag], NOW - 600, NOW)
    assert readings[query()].complete_until == NOW - 120
    assert readings[lag].complete_until == NOW - 120
    world.clock.push(timedelta(seconds=9))
    again = await world.reader().read([query(), lag], NOW - 600, NOW)
    assert (again[query()].complete_until, again[lag].complete_until) == (NOW - 120, NOW - 120)
    world.clock.push(timedelta(seconds=3))
    later = await world.reader().read([query(), lag], NOW - 600, NOW)
    assert (later[query()].complete_until, later[lag].complete_until) == (NOW - 60, NOW - 120)


async def test_everything_up_to_complete_until_is_there_at_every_second(world: World) -> None:
    world.feed("api")
    for _ in range(13):
        world.clock.push(timedelta(seconds=10))
        reading = await world.reader().read([query()], NOW - 600, NOW + 600)
        (series,) = reading[query()].series
        known = [i for i, value in enumerate(series.values) if not math.isnan(value)]
        assert series.start + known[-1] * 60 >= reading[query()].complete_until


async def test_a_custom_metric_without_a_delay_gets_an_allowance(world: World) -> None:
    own = world.own(Kind.GAUGE, ValueType.DOUBLE, (-60, 1.5), (0, 2.5))
    reading = await world.one(own)
    assert reading.complete_until == NOW - ALLOWANCE
    assert list(reading.series[0].values)[-2:] == [1.5, 2.5]


async def test_an_empty_answer_is_no_data_and_never_zero(world: World) -> None:
    reading = await world.one(query(service="nobody"))
    assert reading == Reading((), NOW - 120)
    world.feed("api")
    world.cloud.faults.add(faults.empty())
    assert (await world.one(query())).series == ()


async def test_an_absent_class_of_answers_is_an_absent_series(world: World) -> None:
    (api,) = world.feed("api")
    by_class = query(group_by=(CLASS,))
    assert [dict(one.labels) for one in (await world.one(by_class)).series] == [{CLASS: "2xx"}]
    world.clock.push(timedelta(minutes=1))
    api.set(NOW - 240, error_share=0.25)
    two, five = (await world.one(by_class)).series
    assert (two.labels[CLASS], five.labels[CLASS]) == ("2xx", "5xx")
    assert [value for value in five.values if not math.isnan(value)] == [150.0] * 3


async def test_a_minute_without_points_is_a_gap(world: World) -> None:
    (api,) = world.feed("api")
    api.set(NOW - 360, silent=True)
    api.set(NOW - 240, silent=False)
    assert await world.values(query()) == [600, 600, 600, 600, None, None, 600, 600, None, None]


async def test_percentiles_are_of_merged_distributions(world: World) -> None:
    world.feed("api", p95_ms=300.0)
    world.cloud.monitoring.feed(
        SteadyRun("api", "p", revision="api-2", dials=RunDials(requests_per_second=0.1, p95_ms=60_000))
    )
    found = (await world.values(p95()))[0]
    assert found == pytest.approx(300, rel=0.25)


async def test_replication_that_is_inactive_reads_as_negative(world: World) -> None:
    replica = SteadySql("replica", "p", dials=SqlDials(replica_lag=-1.0))
    world.cloud.monitoring.feed(replica)
    lag = query(
        f"{SQL}/replication/replica_lag",
        None,
        Aligner.MAX,
        Reducer.MAX,
        labels=(("resource.labels.database_id", "p:replica"),),
        resource="cloudsql_database",
    )
    assert (await world.values(lag))[0] == -1.0


async def test_connections_are_summed_over_databases(world: World) -> None:
    world.cloud.monitoring.feed(SteadySql("db", "p", dials=SqlDials(connections=50)))
    backends = query(
        f"{SQL}/postgresql/num_backends", None, Aligner.MAX, Reducer.SUM, resource="cloudsql_database"
    )
    assert (await world.values(backends))[0] == 50


async def test_a_prometheus_histogram_gives_a_percentile_though_it_is_cumulative(world: World) -> None:
    metric = world.cloud.monitoring.declare(
        Descriptor(
            "prometheus.googleapis.com/status_update_seconds/histogram",
            Kind.CUMULATIVE,
            ValueType.DISTRIBUTION,
            "s",
            ("prometheus_target",),
            buckets=exponential(0.01, 1.4, 40),
        )
    )
    source = SteadyValue(
        metric, "prometheus_target", {"project_id": "p", "job": "web"}, dials=ValueDials(value=1.0)
    )
    world.cloud.monitoring.feed(source)
    source.set(NOW - 300, value=3.0)
    asked = query(metric.type, None, Aligner.DELTA, Reducer.P95, resource="prometheus_target")
    values = await world.values(asked)
    assert values[0] == pytest.approx(1.0, rel=0.25)
    assert values[8] == pytest.approx(3.0, rel=0.25)


async def test_the_mean_of_distributions_is_of_their_observations(world: World) -> None:
    points = (-120, [1.0, 1.0, 4.0]), (-60, [10.0])
    own = world.own(Kind.DELTA, ValueType.DISTRIBUTION, *points, buckets=exponential(1, 2, 10))
    merged = own.model_copy(update={"reducer": Reducer.MEAN})
    assert (await world.values(merged))[-3:-1] == [2.0, 10.0]
    assert (await world.values(own))[-3:-1] == [2.0, 10.0]


async def test_truth_values_have_no_aligner_and_the_answer_says_so(world: World) -> None:
    own = world.own(Kind.GAUGE, ValueType.BOOL, (-60, True))
    assert "value type BOOL" in str((await world.one(own)).problem)


@pytest.mark.parametrize(
    ("value_type", "value", "expected"),
    [
        ("INT64", {"int64_value": 7}, 7.0),
        ("DOUBLE", {"double_value": 0.5}, 0.5),
        ("BOOL", {"bool_value": True}, 1.0),
        ("BOOL", {"bool_value": False}, 0.0),
        ("DISTRIBUTION", {"distribution_value": {"count": 4, "mean": 2.5}}, 2.5),
        ("DISTRIBUTION", {"distribution_value": {"count": 0, "mean": 0.0}}, None),
        ("STRING", {"string_value": "up"}, None),
        ("VALUE_TYPE_UNSPECIFIED", {"int64_value": 7}, 7.0),
        ("VALUE_TYPE_UNSPECIFIED", {"distribution_value": {"count": 4, "mean": 2.5}}, 2.5),
    ],
)
async def test_a_value_is_read_by_the_type_of_its_series(
    value_type: str, value: dict[str, Any], expected: float | None
) -> None:
    from google.cloud.monitoring_v3 import TimeSeries

    point = {"interval": {"end_time": {"seconds": 120}}, "value": value}
    series = TimeSeries.pb(TimeSeries({"value_type": value_type, "points": [point]}))
    collected = Collected(Batch((query(),), ()), Grid.of(0, 180, 60))
    await collected.add([series])
    found = collected.series().get(query())
    assert (None if found is None else found[0].values[1]) == expected


async def test_points_beside_the_grid_count_for_the_step_in_which_they_end() -> None:
    from google.cloud.monitoring_v3 import TimeSeries

    ends = [(241, 0), (240, 0), (239, 1), (180, 1), (179, 0), (61, 0), (60, 1), (0, 0), (-5, 0)]
    points = [
        {"interval": {"end_time": {"seconds": seconds, "nanos": nanos}}, "value": {"int64_value": seconds}}
        for seconds, nanos in ends
    ]
    series = TimeSeries.pb(TimeSeries({"value_type": "INT64", "points": points}))
    collected = Collected(Batch((query(),), ()), Grid.of(0, 240, 60))
    await collected.add([series])
    (found,) = collected.series()[query()]
    # Of several points in a step the newest counts.
    assert [None if math.isnan(value) else value for value in found.values] == [None, 61, 179, 240]


async def test_without_a_reducer_every_series_carries_all_of_its_labels(world: World) -> None:
    world.feed("a", "b")
    reading = await world.one(query(service=None, reducer=Reducer.NONE))
    assert [one.labels[NAME] for one in reading.series] == ["a", "b"]
    assert all(one.labels["metric.labels.response_code"] == "200" for one in reading.series)


async def test_names_with_quotes_and_backslashes_are_names(world: World) -> None:
    nasty = 'a" OR resource.labels.service_name = "b'
    odd = "back\\slash\\"
    world.feed("b", "plain")
    world.feed(nasty, requests_per_second=2.0)
    world.feed(odd, requests_per_second=3.0)
    asked = [query(service=nasty), query(service=odd)]
    readings = await world.metrics.read(asked, NOW - 600, NOW)
    assert [readings[one].series[0].values[0] for one in asked] == [120, 180]
    assert await world.values(query(service=odd), start=NOW - 300) == [180] * 3 + [None] * 2
    assert filter_of([query(service='"')]).endswith('service_name = "\\""')


@pytest.mark.parametrize("path", ["resource.labels.x = 1 OR y", "service_name", "metric.type", ""])
async def test_a_path_that_is_none_is_refused_before_it_reaches_the_filter(world: World, path: str) -> None:
    fine, bad = query(), query(labels=((path, "x"),))
    world.feed("api")
    readings = await world.metrics.read([bad, fine, query(group_by=(path,))], NOW - 600, NOW)
    assert str(readings[bad].problem).startswith("invalid: ")
    assert readings[fine].series
    assert world.lists() == 1


async def test_a_step_below_a_minute_is_refused_without_a_call(world: World) -> None:
    assert [str((await world.one(query(step=step))).problem).partition(":")[0] for step in (59, 0, -60)] == [
        "invalid"
    ] * 3
    assert world.lists() == 0


# Trouble.


async def test_a_failed_second_page_is_no_half_answer(world: World) -> None:
    world.feed("a", "b")
    world.cloud.monitoring.most_points = 7
    world.cloud.faults.add(faults.permission(), nth=2)
    reading = await world.one(query(service=None, group_by=(NAME,)))
    assert str(reading.problem).startswith("permission")
    assert reading.series == ()


async def test_a_short_outage_is_not_noticed(world: World) -> None:
    world.feed("api")
    world.cloud.faults.add(faults.unavailable(), method="*", count=2)
    assert (await world.values(query()))[0] == 600
    assert [call.outcome for call in world.cloud.journal.calls].count("UNAVAILABLE") == 2


async def test_a_long_outage_is_a_problem_and_ends_the_round(world: World) -> None:
    world.feed("api")
    world.metrics = world.reader(deadline=0.3)
    await world.one(query(service="warm"))
    world.cloud.journal.clear()
    outage = world.cloud.faults.add(faults.unavailable(), count=faults.FOREVER)
    asked = [query(step=60 * i) for i in range(1, 30)]
    readings = await world.metrics.read(asked, NOW - 36_000, NOW)
    assert {str(one.problem).partition(":")[0] for one in readings.values()} == {"unavailable"}
    assert not any(one.series for one in readings.values())
    assert world.lists() < 8 * 6
    world.cloud.faults.lift(outage)
    world.metrics = world.reader()
    assert (await world.values(query()))[0] == 600


async def test_a_server_that_does_not_answer_is_given_up(world: World) -> None:
    world.feed("api")
    world.metrics = world.reader(deadline=0.2)
    await world.one(query(service="warm"))
    world.cloud.faults.add(faults.slow(30))
    reading = await world.one(query())
    assert str(reading.problem).startswith("unavailable")


async def test_nobody_listening_is_a_problem_and_no_error() -> None:
    cloud = Cloud(StandingClock())
    await cloud.start()
    endpoint = cloud.endpoint
    await cloud.stop()
    clients = GcpClients(endpoint)
    metrics = CloudMonitoring(clients, StandingClock(), deadline=0.3)
    reading = (await metrics.read([query()], NOW - 600, NOW))[query()]
    assert str(reading.problem).startswith("unavailable")
    await clients.close()


async def test_a_used_up_quota_rests_the_project_for_longer_each_time(world: World) -> None:
    world.feed("api")
    await world.one(query(service="warm"))
    world.cloud.faults.add(faults.quota(), count=4)
    waited: list[int] = []
    for _ in range(4):
        assert str((await world.one(query())).problem).startswith("quota")
        before, seconds = world.lists(), 0
        while world.lists() == before and seconds < 700:
            world.clock.push(timedelta(seconds=5))
            seconds += 5
            reading = await world.one(query())
        waited.append(seconds)
    assert waited == [30, 60, 120, 240]
    assert reading.problem is None
    assert [call.outcome for call in world.cloud.journal.of("ListTimeSeries")].count(
        "RESOURCE_EXHAUSTED"
    ) == 4


async def test_refusals_that_come_together_count_as_one(world: World) -> None:
    world.feed("api")
    asked = [query(step=60 * i) for i in range(1, 5)]
    await world.metrics.read(asked, NOW - 600, NOW - 60)
    world.cloud.faults.add(faults.quota(), count=4)
    world.clock.push(timedelta(seconds=60))
    readings = await world.metrics.read(asked, NOW - 600, NOW)
    assert {str(one.problem).partition(":")[0] for one in readings.values()} == {"quota"}
    assert [call.outcome for call in world.cloud.journal.calls].count("RESOURCE_EXHAUSTED") == 4
    world.clock.push(timedelta(seconds=30))
    assert {one.problem for one in (await world.metrics.read(asked, NOW - 600, NOW)).values()} == {None}


async def test_a_rest_never_lasts_over_ten_minutes_and_other_projects_do_not_rest(world: World) -> None:
    world.feed("api")
    world.cloud.monitoring.feed(SteadyRun("api", "q"))
    await world.metrics.read([query(), query(project="q")], NOW - 120, NOW)
    quota = world.cloud.faults.add(faults.quota(), count=9)
    for _ in range(9):
        await world.one(query())
        world.clock.push(timedelta(seconds=600))
    assert quota.hits == 9
    asked = query(project="q"), query()
    readings = await world.metrics.read(asked, NOW - 600, NOW)
    assert [readings[one].problem for one in asked] == [None, None]


async def test_a_clock_that_was_set_back_does_not_prolong_a_rest(world: World) -> None:
    world.feed("api")
    await world.one(query(service="warm"))
    world.cloud.faults.add(faults.quota())
    await world.one(query())
    world.clock.push(timedelta(days=-1))
    assert (await world.one(query(), start=NOW - 90_000, end=NOW - 86_400)).problem is None


async def test_missing_permission_does_not_hide_the_other_metrics(world: World) -> None:
    world.feed("api")
    denied = world.cloud.faults.add(faults.permission(), method="*", metric=LATENCY, count=faults.FOREVER)
    readings = await world.metrics.read([query(), p95(), p95(CPU)], NOW - 600, NOW)
    assert str(readings[p95()].problem).startswith("permission: ")
    assert readings[query()].series
    assert readings[p95(CPU)].series
    world.cloud.faults.lift(denied)
    assert (await world.one(p95())).series


async def test_a_metric_that_nobody_ever_wrote_is_named_as_such(world: World) -> None:
    own = Query(project="p", metric=OWN, resource="global", aligner=Aligner.MEAN)
    reading = await world.one(own)
    assert str(reading.problem).startswith("unknown metric: ")
    assert reading.series == ()
    world.own(Kind.GAUGE, ValueType.DOUBLE, (-60, 1.0))
    assert (await world.one(own)).series


async def test_an_aligner_that_does_not_fit_is_the_rules_fault(world: World) -> None:
    reading = await world.one(
        query(f"{SQL}/cpu/utilization", None, Aligner.RATE, resource="cloudsql_database")
    )
    assert str(reading.problem).startswith("invalid: ")
    assert "GAUGE and value type DOUBLE" in str(reading.problem)


async def test_trouble_is_logged_when_it_changes_and_not_each_minute(world: World) -> None:
    world.feed("api")
    world.cloud.faults.add(faults.permission(), count=3)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            await world.one(query())
            world.clock.push(timedelta(seconds=60))
    assert [entry["event"] for entry in logs] == ["monitoring.trouble", "monitoring.recovered"]


async def test_a_point_outside_of_every_step_is_no_crash(world: World) -> None:
    own = world.own(Kind.GAUGE, ValueType.DOUBLE, (-601, 5.0), (-60, 1.0))
    assert await world.values(own, start=NOW - 600) == [None] * 8 + [1.0, None]
    assert (await world.one(own, start=NOW - 10, end=NOW - 5)).series == ()


# Starting and stopping.


async def test_clients_can_be_closed_twice_and_used_again(world: World) -> None:
    world.feed("api")
    await world.one(query())
    await world.clients.close()
    await world.clients.close()
    world.clock.push(timedelta(seconds=60))
    assert (await world.one(query())).problem is None


async def test_missing_credentials_are_a_problem_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    clients = GcpClients()
    readings = await CloudMonitoring(clients, StandingClock()).read([query(), p95()], NOW - 600, NOW)
    assert {str(one.problem).partition(":")[0] for one in readings.values()} == {"credentials"}
    await clients.close()


async def test_without_an_endpoint_the_client_is_googles_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "own.json").write_text(json.dumps(own))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "own.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    clients = GcpClients()
    client = await clients.metrics()
    assert client.transport.host == "monitoring.googleapis.com:443"
    assert await clients.metrics() is client
    await clients.close()


def test_importing_the_room_does_not_load_googles_clients() -> None:
    code = (
        "import sys, gcp.clients, gcp.monitoring, gcp.history; "
        "print([name for name in sys.modules if name.split('.')[0] in {'google', 'grpc', 'numpy'}])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
