"""The pretend Cloud Monitoring judged through Google's own client: delays, absences, arithmetic, refusals."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3
from google.cloud.monitoring_v3 import MetricServiceAsyncClient

from domain.series import epoch
from gcp.clients import GcpClients
from sandbox.clock import START, StandingClock
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.descriptors import Descriptor, Kind, ValueType
from sandbox.cloud.distributions import MILLISECONDS, explicit, exponential
from sandbox.cloud.services import SteadyRun, SteadySql, SteadyValue, ValueDials

NOW = epoch(START)
RUN = "run.googleapis.com"
SQL = "cloudsql.googleapis.com/database"
CUSTOM = "custom.googleapis.com/shop"
REVISION = {"project_id": "p", "location": "l", "service_name": "api", "revision_name": "api-1"}


class World:
    """A cloud, its clock, and a client of Google's that talks to it."""

    def __init__(self, clock: StandingClock, cloud: Cloud, client: MetricServiceAsyncClient) -> None:
        self.clock, self.cloud, self.client = clock, cloud, client

    def request(
        self,
        metric: str,
        aligner: str = "ALIGN_DELTA",
        reducer: str = "REDUCE_NONE",
        *group_by: str,
        more: str = "",
        start: int = NOW - 600,
        end: int = NOW,
        period: int = 60,
        **fields: Any,
    ) -> monitoring_v3.ListTimeSeriesRequest:
        return monitoring_v3.ListTimeSeriesRequest(
            {
                "name": "projects/p",
                "filter": f'metric.type = "{metric}"{more}',
                "interval": {"start_time": {"seconds": start}, "end_time": {"seconds": end}},
                "aggregation": {
                    "alignment_period": {"seconds": period},
                    "per_series_aligner": aligner,
                    "cross_series_reducer": reducer,
                    "group_by_fields": list(group_by),
                },
                **fields,
            }
        )

    async def list(self, *args: Any, **kwargs: Any) -> list[Any]:
        pager = await self.client.list_time_series(request=self.request(*args, **kwargs), retry=None)
        return [monitoring_v3.TimeSeries.pb(series) async for series in pager]

    async def points(self, *args: Any, **kwargs: Any) -> dict[int, float]:
        """The one series' points by seconds before the start of the sandbox's clock."""
        (series,) = await self.list(*args, **kwargs)
        kind = {2: "int64_value", 3: "double_value"}[series.value_type]
        return {p.interval.end_time.seconds - NOW: getattr(p.value, kind) for p in series.points}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    clients = GcpClients(cloud.endpoint)
    yield World(clock, cloud, await clients.metrics())
    await clients.close()
    await cloud.stop()


def custom(cloud: Cloud, kind: Kind, value_type: ValueType, name: str = "x", **more: Any) -> Descriptor:
    return cloud.monitoring.declare(Descriptor(f"{CUSTOM}/{name}", kind, value_type, **more))


async def test_a_point_is_invisible_until_its_ingest_delay_is_over(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    before = await world.points(f"{RUN}/request_count", "ALIGN_SUM")
    assert max(before) == -120
    world.clock.push(timedelta(seconds=59))
    assert max(await world.points(f"{RUN}/request_count", "ALIGN_SUM")) == -120
    world.clock.push(timedelta(seconds=1))
    assert max(await world.points(f"{RUN}/request_count", "ALIGN_SUM")) == -60


async def test_a_long_step_holds_only_what_is_visible_of_it(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    found = await world.points(f"{RUN}/request_count", "ALIGN_SUM", period=300)
    assert found == {0: 3 * 600, -300: 5 * 600}


async def test_points_come_newest_first_with_whole_numbers_as_int64(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    (series,) = await world.list(f"{RUN}/request_count", "ALIGN_DELTA", "REDUCE_SUM")
    ends = [point.interval.end_time.seconds for point in series.points]
    assert ends == sorted(ends, reverse=True)
    assert series.points[0].value.int64_value == 600
    assert series.points[0].value.double_value == 0.0


async def test_there_is_no_series_of_errors_while_nothing_fails(world: World) -> None:
    api = SteadyRun("api", "p")
    world.cloud.monitoring.feed(api)
    path = "metric.labels.response_code_class"
    classes = [
        one.metric.labels["response_code_class"]
        for one in await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM", path)
    ]
    assert classes == ["2xx"]
    api.set(NOW - 300, error_share=0.05)
    found = await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM", path)
    by_class = {one.metric.labels["response_code_class"]: len(one.points) for one in found}
    assert by_class == {"2xx": 8, "5xx": 3}


async def test_silence_is_no_series_at_all(world: World) -> None:
    api = SteadyRun("api", "p")
    world.cloud.monitoring.feed(api)
    api.set(NOW - 600, silent=True)
    assert await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM") == []
    assert len(await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM", start=NOW - 1200)) == 1


async def test_the_95th_percentile_is_of_merged_buckets_and_errs_by_the_bucket(world: World) -> None:
    quick, slow = {**REVISION, "revision_name": "a"}, {**REVISION, "revision_name": "b"}
    put = world.cloud.monitoring.put
    put(f"{RUN}/request_latencies", "cloud_run_revision", quick, [(NOW - 300, [100.0] * 990)])
    put(f"{RUN}/request_latencies", "cloud_run_revision", slow, [(NOW - 300, [5000.0] * 10)])
    found = await world.points(f"{RUN}/request_latencies", "ALIGN_DELTA", "REDUCE_PERCENTILE_95")
    # 990 of 1,000 lie between 1.4^13 and 1.4^14: the 950th is 950/990 through that bucket. A mean or a
    # percentile of percentiles would be thousands.
    low, high = 1.4**13, 1.4**14
    assert found == {-300: pytest.approx(low + 950 / 990 * (high - low))}


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_is_never_further_from_the_truth_than_its_bucket(share: float) -> None:
    values = np.random.default_rng(7).lognormal(5, 0.8, 20_000)
    buckets = exponential(1, 1.4, 66)
    found = buckets.percentile(buckets.count(values.tolist())[None, :], share)[0]
    truth = float(np.quantile(values, share))
    place = np.searchsorted(buckets.bounds, truth)
    assert buckets.bounds[place - 1] <= found <= buckets.bounds[place]


def test_what_lies_above_the_last_bound_reads_as_the_last_bound() -> None:
    buckets = explicit(1, 2, 5)
    assert buckets.count([0.5, 1, 4.9, 5, 100]).tolist() == [1, 1, 1, 2]
    assert buckets.percentile(buckets.count([100.0])[None, :], 0.95)[0] == 5


async def test_a_delta_over_a_gap_is_interpolated_and_a_sum_is_not(world: World) -> None:
    points = [(NOW - 540, 6), (NOW - 480, 6), (NOW - 300, 12)]
    world.cloud.monitoring.put(f"{RUN}/request_count", "cloud_run_revision", REVISION, points)
    assert await world.points(f"{RUN}/request_count", "ALIGN_SUM") == {-540: 6, -480: 6, -300: 12}
    delta = await world.points(f"{RUN}/request_count", "ALIGN_DELTA")
    assert delta == {-540: 6, -480: 6, -420: 8, -360: 10, -300: 12}


async def test_a_cumulative_metric_grows_over_resets_and_gaps(world: World) -> None:
    custom(world.cloud, Kind.CUMULATIVE, ValueType.INT64)
    points = [(NOW - 600, 100), (NOW - 540, 110), (NOW - 480, 130), (NOW - 420, 5), (NOW - 300, 25)]
    world.cloud.monitoring.put(f"{CUSTOM}/x", "global", {"project_id": "p"}, points)
    assert await world.points(f"{CUSTOM}/x") == {-540: 10, -480: 20, -420: 5, -360: 10, -300: 10}
    rates = await world.points(f"{CUSTOM}/x", "ALIGN_RATE")
    assert rates[-480] == pytest.approx(20 / 60)


async def test_a_cumulative_distribution_yields_the_percentile_of_each_step(world: World) -> None:
    database = SteadySql("db", "p")
    world.cloud.monitoring.feed(database)
    database.set(NOW - 360, query_p95_ms=3000)
    metric = f"{SQL}/postgresql/insights/perquery/latencies"
    found = await world.points(metric, "ALIGN_DELTA", "REDUCE_PERCENTILE_95", "metric.labels.query_hash")
    assert found[-420] == pytest.approx(20_000, rel=0.5)
    assert found[-300] == pytest.approx(3_000_000, rel=0.5)
    with pytest.raises(exceptions.InvalidArgument, match="CUMULATIVE and value type DISTRIBUTION"):
        await world.list(metric, "ALIGN_PERCENTILE_95")


async def test_a_cumulative_series_begins_anew_at_midnight_without_a_jump(world: World) -> None:
    descriptor = custom(world.cloud, Kind.CUMULATIVE, ValueType.INT64)
    source = SteadyValue(descriptor, "global", {"project_id": "p"}, dials=ValueDials(value=7))
    world.cloud.monitoring.feed(source)
    midnight = NOW - 3600  # The clock begins at 01:00 UTC.
    found = await world.points(f"{CUSTOM}/x", start=midnight - 300, end=midnight + 300)
    assert set(found.values()) == {7}
    assert len(found) == 10


@pytest.mark.parametrize(
    ("aligner", "expected"),
    [("ALIGN_MEAN", 2.5), ("ALIGN_MAX", 4.0), ("ALIGN_MIN", 1.0), ("ALIGN_SUM", 10.0), ("ALIGN_COUNT", 4)],
)
async def test_the_points_of_a_step_become_one(world: World, aligner: str, expected: float) -> None:
    custom(world.cloud, Kind.GAUGE, ValueType.DOUBLE)
    points = [(NOW - 240 + 60 * i, float(i)) for i in range(1, 5)]
    world.cloud.monitoring.put(f"{CUSTOM}/x", "global", {"project_id": "p"}, points)
    assert await world.points(f"{CUSTOM}/x", aligner, period=300) == {0: expected}


@pytest.mark.parametrize(
    ("reducer", "expected"),
    [
        ("REDUCE_SUM", 6.0),
        ("REDUCE_MEAN", 3.0),
        ("REDUCE_MAX", 5.0),
        ("REDUCE_MIN", 1.0),
        ("REDUCE_COUNT", 2),
        ("REDUCE_PERCENTILE_50", 3.0),
    ],
)
async def test_several_series_become_one(world: World, reducer: str, expected: float) -> None:
    custom(world.cloud, Kind.GAUGE, ValueType.DOUBLE)
    for side, value in (("a", 1.0), ("b", 5.0)):
        where = {"project_id": "p"}
        world.cloud.monitoring.put(f"{CUSTOM}/x", "global", where, [(NOW, value)], {"side": side})
    assert await world.points(f"{CUSTOM}/x", "ALIGN_MEAN", reducer) == {0: expected}


async def test_a_group_carries_the_labels_that_it_was_grouped_by_and_the_project(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    paths = "resource.labels.service_name", "metric.labels.response_code_class"
    (series,) = await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM", *paths)
    assert dict(series.resource.labels) == {"service_name": "api", "project_id": "p"}
    assert dict(series.metric.labels) == {"response_code_class": "2xx"}


async def test_another_projects_series_are_not_seen(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "elsewhere"))
    assert await world.list(f"{RUN}/request_count", "ALIGN_SUM") == []


async def test_a_page_holds_so_many_points_and_may_end_inside_a_series(world: World) -> None:
    for name in ("a", "b"):
        world.cloud.monitoring.feed(SteadyRun(name, "p"))
    request = world.request(f"{RUN}/request_count", "ALIGN_SUM", page_size=5)
    pager = await world.client.list_time_series(request=request)
    pages = [[len(one.points) for one in page.time_series] async for page in pager.pages]
    assert pages == [[5], [3, 2], [5], [1]]
    assert world.cloud.journal.count("ListTimeSeries") == 4


async def test_a_page_token_belongs_to_its_request(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("a", "p"))
    first = world.request(f"{RUN}/request_count", "ALIGN_SUM", page_size=2)
    pager = await world.client.list_time_series(request=first)
    token = pager.next_page_token
    with pytest.raises(exceptions.InvalidArgument, match="page token"):
        await world.list(f"{RUN}/request_count", "ALIGN_DELTA", page_size=2, page_token=token)


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ('AND resource.labels.service_name = "a"', {"a"}),
        ('AND resource.labels.service_name = one_of("a", "c", "z")', {"a", "c"}),
        ('AND (resource.labels.service_name = "a" OR resource.labels.service_name = "b")', {"a", "b"}),
        ('AND metric.labels.response_code_class = "5xx"', set[str]()),
        ('AND resource.type = "cloud_run_revision" AND project = "p"', {"a", "b", "c"}),
        ('AND resource.labels.location = "mars"', set[str]()),
    ],
)
async def test_a_filter_selects(world: World, more: str, seen: set[str]) -> None:
    for name in ("a", "b", "c"):
        world.cloud.monitoring.feed(SteadyRun(name, "p"))
    found = await world.list(f"{RUN}/request_count", "ALIGN_SUM", more=f" {more}")
    assert {one.resource.labels["service_name"] for one in found} == seen


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"more": ' AND resource.labels.colour = "red"'}, "no such label"),
        ({"more": ' AND metric.labels.colour = "red"'}, "no such label"),
        (
            {"more": ' AND resource.type = "gce_instance"'},
            "valid combination of metric and monitored resource",
        ),
        ({"more": ' AND resource.labels.location != "l"'}, "unexpected character"),
        ({"more": " AND resource.labels.location = l"}, "no quoted string"),
        ({"more": ' AND resource.labels.location = "l'}, "unexpected character"),
        ({"more": ' AND resource.labels.location = starts_with("l")'}, "no quoted string"),
        ({"more": f' AND metric.type = "{RUN}/request_latencies"'}, "exactly one metric"),
        ({"more": ' AND project = "p" OR project = "q"'}, "brackets"),
        ({"more": f' AND resource.labels.location = "{"l" * 2048}"'}, "longer than"),
        ({"period": 59}, "alignmentPeriod"),
        ({"start": NOW, "end": NOW}, "startTime"),
        ({"start": NOW, "end": NOW - 60}, "startTime"),
        (
            {"aligner": "ALIGN_MEAN", "metric": f"{RUN}/request_latencies"},
            "DELTA and value type DISTRIBUTION",
        ),
        ({"aligner": "ALIGN_RATE", "metric": f"{SQL}/cpu/utilization"}, "GAUGE and value type DOUBLE"),
        ({"reducer": "REDUCE_MAX", "metric": f"{RUN}/request_latencies"}, "crossSeriesReducer"),
        ({"name": "p"}, "project"),
    ],
)
async def test_what_the_real_one_refuses_is_refused(
    world: World, changes: dict[str, Any], reason: str
) -> None:
    request = {"metric": f"{RUN}/request_count", **changes}
    with pytest.raises(exceptions.InvalidArgument, match=reason):
        await world.list(request.pop("metric"), **request)


async def test_grouping_without_a_reducer_is_refused(world: World) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="groupByFields"):
        await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_NONE", "resource.labels.location")
    with pytest.raises(exceptions.InvalidArgument, match="groupByFields"):
        await world.list(f"{RUN}/request_count", "ALIGN_SUM", "REDUCE_SUM", "resource.labels.colour")


async def test_an_unknown_metric_is_not_found(world: World) -> None:
    with pytest.raises(exceptions.NotFound, match="Cannot find metric"):
        await world.list("custom.googleapis.com/nobody/wrote/this")
    with pytest.raises(exceptions.NotFound, match="Could not find descriptor"):
        await world.client.get_metric_descriptor(name="projects/p/metricDescriptors/nothing")


async def test_descriptors_say_how_late_points_come(world: World) -> None:
    custom(world.cloud, Kind.GAUGE, ValueType.DOUBLE, sample_period=None)
    name = "projects/p/metricDescriptors"
    run = await world.client.get_metric_descriptor(name=f"{name}/{RUN}/request_count")
    assert (run.metadata.ingest_delay.seconds, run.metadata.sample_period.seconds) == (120, 60)
    sql = await world.client.get_metric_descriptor(name=f"{name}/{SQL}/replication/replica_lag")
    assert sql.metadata.ingest_delay.seconds == 165
    own = await world.client.get_metric_descriptor(name=f"{name}/{CUSTOM}/x")
    assert not own.metadata.HasField("ingest_delay")
    request = {"name": "projects/p", "filter": f'metric.type = starts_with("{SQL}/mysql")'}
    found = await world.client.list_metric_descriptors(request=request)
    assert [one.type async for one in found] == [f"{SQL}/mysql/slow_queries_count"]


async def test_faults_come_as_they_were_ordered(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    metric = f"{RUN}/request_count"
    world.cloud.faults.add(faults.quota())
    world.cloud.faults.add(faults.unavailable(), nth=2)
    world.cloud.faults.add(faults.permission(), metric=f"{RUN}/request_latencies", count=faults.FOREVER)
    with pytest.raises(exceptions.ResourceExhausted):
        await world.list(metric, "ALIGN_SUM")
    assert await world.list(metric, "ALIGN_SUM")
    with pytest.raises(exceptions.ServiceUnavailable):
        await world.list(metric, "ALIGN_SUM")
    for _ in range(2):
        with pytest.raises(exceptions.Forbidden):
            await world.list(f"{RUN}/request_latencies")
    assert [call.outcome for call in world.cloud.journal.of(metric=metric)] == [
        "RESOURCE_EXHAUSTED",
        "OK",
        "UNAVAILABLE",
    ]


async def test_points_can_be_late_missing_or_slow_to_come(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    metric = f"{RUN}/request_count"
    world.cloud.faults.add(faults.late(180))
    world.cloud.faults.add(faults.empty())
    world.cloud.faults.add(faults.slow(5))
    assert max(await world.points(metric, "ALIGN_SUM")) == -300
    assert await world.list(metric, "ALIGN_SUM") == []
    with pytest.raises(exceptions.DeadlineExceeded):
        await world.client.list_time_series(
            request=world.request(metric, "ALIGN_SUM"), retry=None, timeout=0.05
        )
    world.cloud.faults.clear()
    assert max(await world.points(metric, "ALIGN_SUM")) == -120


async def test_a_recorded_point_can_arrive_after_its_delay(world: World) -> None:
    custom(world.cloud, Kind.GAUGE, ValueType.DOUBLE, ingest_delay=0)
    put, where = world.cloud.monitoring.put, {"project_id": "p"}
    put(f"{CUSTOM}/x", "global", where, [(NOW - 60, 1.0)])
    put(f"{CUSTOM}/x", "global", where, [(NOW - 60, 2.0), (NOW - 120, 3.0)], arrives=NOW + 300)
    assert await world.points(f"{CUSTOM}/x", "ALIGN_MEAN") == {-60: 1.0}
    world.clock.push(timedelta(seconds=300))
    assert await world.points(f"{CUSTOM}/x", "ALIGN_MEAN") == {-60: 2.0, -120: 3.0}


async def test_a_source_says_the_same_however_the_window_lies(world: World) -> None:
    api = SteadyRun("api", "p")
    api.set(NOW - 1000, requests_per_second=0.123, error_share=0.37, p95_ms=777)
    for metric in ("request_count", "request_latencies", "container/cpu/utilizations"):
        whole = {
            (tuple(one.metric_labels.items()), int(end)): float(value)
            for one in api.series(f"{RUN}/{metric}", NOW - 3000, NOW)
            for end, value in zip(one.times, one.values, strict=True)
        }
        pieces = {
            (tuple(one.metric_labels.items()), int(end)): float(value)
            for start in range(NOW - 3000, NOW, 420)
            for one in api.series(f"{RUN}/{metric}", start, min(NOW, start + 420))
            for end, value in zip(one.times, one.values, strict=True)
        }
        assert whole == pieces


async def test_fractions_of_a_request_add_up(world: World) -> None:
    api = SteadyRun("api", "p")
    api.set(NOW - 6000, requests_per_second=0.01, error_share=0.5)
    series = list(api.series(f"{RUN}/request_count", NOW - 6000, NOW))
    by_class = {one.metric_labels["response_code_class"]: one.values.sum() for one in series}
    assert by_class == {"2xx": pytest.approx(30, abs=1), "5xx": pytest.approx(30, abs=1)}


def test_a_steady_latency_has_the_percentile_that_was_set() -> None:
    api = SteadyRun("api", "p")
    for wanted in (50, 300, 2000):
        api.set(NOW - 60, p95_ms=wanted, requests_per_second=100)
        (one,) = api.series(f"{RUN}/request_latencies", NOW - 60, NOW)
        assert one.counts is not None
        assert MILLISECONDS.percentile(one.counts, 0.95)[0] == pytest.approx(wanted, rel=0.2)


async def test_the_server_stops_and_starts_on_the_same_port() -> None:
    cloud = Cloud(StandingClock())
    await cloud.start()
    port = int(cloud.endpoint.rpartition(":")[2])
    await cloud.stop()
    await cloud.start(port)
    assert cloud.endpoint == f"127.0.0.1:{port}"
    clients = GcpClients(cloud.endpoint)
    client = await clients.metrics()
    async with asyncio.timeout(5):
        found = await client.list_metric_descriptors(name="projects/p")
    assert len(found.metric_descriptors) >= 20
    await clients.close()
    await cloud.stop()
