"""The history against a fresh reading: the same bits, whatever came late, changed, vanished or failed."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from domain.series import Aligner, Query, Reading, Reducer, epoch
from gcp.clients import GcpClients
from gcp.history import CHUNK, SETTLING, History
from gcp.monitoring import CloudMonitoring
from sandbox.clock import START, StandingClock
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.descriptors import Descriptor, Kind, ValueType
from sandbox.cloud.services import SteadyRun

NOW = epoch(START)
DAY = 24 * 3600
CLASS = "metric.labels.response_code_class"
OWN = "custom.googleapis.com/shop/x"


class Watched:
    """A reader that remembers which windows it was asked for."""

    def __init__(self, inner: CloudMonitoring) -> None:
        self.inner = inner
        self.asked: list[tuple[int, int, int]] = []
        self.after: Callable[[], None] = lambda: None

    async def read(self, queries: Sequence[Query], start: int, end: int) -> Mapping[Query, Reading]:
        self.asked.append((len(queries), start - NOW, end - NOW))
        readings = await self.inner.read(queries, start, end)
        self.after()
        return readings


class World:
    """A cloud, its clock, a history that lives on, and a fresh reader for each comparison."""

    def __init__(self, clock: StandingClock, cloud: Cloud, clients: GcpClients) -> None:
        self.clock, self.cloud, self.clients = clock, cloud, clients
        self.metrics = Watched(self.fresh())
        self.history = History(self.metrics, clock)
        cloud.monitoring.declare(Descriptor(OWN, Kind.GAUGE, ValueType.DOUBLE, ingest_delay=120))

    @property
    def now(self) -> int:
        return epoch(self.clock.now())

    def fresh(self) -> CloudMonitoring:
        return CloudMonitoring(self.clients, self.clock)

    def put(self, *points: tuple[int, float], side: str = "a", arrives: int | None = None) -> None:
        """Points of our own metric at epoch seconds."""
        where, labels = {"project_id": "p"}, {"side": side}
        self.cloud.monitoring.put(OWN, "global", where, points, labels, arrives=arrives)

    async def same(self, queries: Sequence[Query], span: int) -> Mapping[Query, Reading]:
        """Ask the history and a fresh reader for the window up to now; they must agree bit for bit."""
        kept = await self.history.read(queries, self.now - span, self.now)
        fresh = await self.fresh().read(queries, self.now - span, self.now)
        assert {one: exact(reading) for one, reading in kept.items()} == {
            one: exact(reading) for one, reading in fresh.items()
        }
        return kept


def exact(reading: Reading) -> tuple[Any, ...]:
    """Comparable bit for bit; NaN is itself here."""
    series = [(one.start, one.step, dict(one.labels), one.values.tobytes()) for one in reading.series]
    return series, reading.complete_until, reading.problem


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    clients = GcpClients(cloud.endpoint)
    yield World(clock, cloud, clients)
    await clients.close()
    await cloud.stop()


def counts(service: str = "api", step: int = 60) -> Query:
    return Query(
        project="p",
        metric="run.googleapis.com/request_count",
        resource="cloud_run_revision",
        labels=(("resource.labels.service_name", service),),
        aligner=Aligner.SUM,
        reducer=Reducer.SUM,
        group_by=(CLASS,),
        step=step,
    )


def p95(step: int = 60) -> Query:
    return Query(
        project="p",
        metric="run.googleapis.com/request_latencies",
        resource="cloud_run_revision",
        aligner=Aligner.DELTA,
        reducer=Reducer.P95,
        step=step,
    )


def own(step: int = 60) -> Query:
    return Query(
        project="p",
        metric=OWN,
        resource="global",
        aligner=Aligner.SUM,
        reducer=Reducer.SUM,
        group_by=("metric.labels.side",),
        step=step,
    )


async def test_only_new_steps_are_read_again(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    await world.history.read([counts()], NOW - 6 * 3600, NOW)
    assert world.metrics.asked == [(1, -6 * 3600, 0)]
    world.clock.push(timedelta(minutes=1))
    await world.history.read([counts()], NOW + 60 - 6 * 3600, NOW + 60)
    settled = -120 - SETTLING
    assert world.metrics.asked[1:] == [(1, settled, 60)]
    world.clock.push(timedelta(minutes=30))
    await world.history.read([counts()], NOW + 1860 - 6 * 3600, NOW + 1860)
    assert world.metrics.asked[2:] == [(1, settled + 60, 1860)]


async def test_many_queries_stay_one_question(world: World) -> None:
    asked = [counts(f"s{i}") for i in range(20)]
    await world.history.read(asked, NOW - 3600, NOW)
    world.clock.push(timedelta(minutes=1))
    await world.history.read(asked, NOW - 3540, NOW + 60)
    assert [number for number, _, _ in world.metrics.asked] == [20, 20]
    assert world.cloud.journal.count("ListTimeSeries") == 2


async def test_it_equals_a_fresh_reading_minute_by_minute(world: World) -> None:
    api = SteadyRun("api", "p")
    world.cloud.monitoring.feed(api)
    dice = random.Random(5)
    queries = [counts(), p95(), counts(step=300), p95(step=300)]
    for _ in range(60):
        await world.same(queries, 3600)
        world.clock.push(timedelta(seconds=dice.choice([7, 30, 60, 61, 300, 1000])))
        api.set(
            world.now - dice.randrange(600),
            requests_per_second=dice.choice([0, 0.05, 3.3, 40]),
            error_share=dice.choice([0, 0, 0.3]),
            p95_ms=dice.choice([80, 900]),
            silent=dice.random() < 0.2,
        )


async def test_points_that_come_late_within_ten_minutes_are_not_missed(world: World) -> None:
    dice = random.Random(11)
    for minute in range(-120, 120):
        end = NOW + minute * 60
        for side in "ab":
            if dice.random() < 0.8:
                late = dice.choice([0, 0, 0, 130, 400, 600])
                world.put((end, dice.random()), side=side, arrives=end + 120 + late)
    for _ in range(110):
        await world.same([own(), own(300)], 3600)
        world.clock.push(timedelta(seconds=60))


async def test_a_tail_that_still_changes_is_read_afresh(world: World) -> None:
    world.put((NOW - 180, 1.0), (NOW - 120, 2.0))
    first = await world.same([own()], 600)
    world.put((NOW - 120, 5.0), arrives=NOW + 60)
    world.clock.push(timedelta(seconds=60))
    second = await world.same([own()], 600)
    assert first[own()].series[0].values[-3] == 2.0
    assert second[own()].series[0].values[-4] == 5.0


async def test_labels_that_appear_later_and_vanish_again_are_as_in_a_fresh_reading(world: World) -> None:
    world.put(*[(NOW + 60 * i, 1.0) for i in range(-60, 180)], side="always")
    world.put(*[(NOW + 60 * i, 2.0) for i in range(10, 40)], side="later")
    sides = []
    for _ in range(17):
        reading = (await world.same([own()], 3600))[own()]
        sides.append(len(reading.series))
        world.clock.push(timedelta(minutes=10))
    assert sides == [1, 1] + [2] * 8 + [1] * 7
    assert [len(kept.rows) for kept in world.history._kept.values()] == [1]


async def test_a_failed_reading_gives_what_is_known_and_leaves_no_trace(world: World) -> None:
    api = SteadyRun("api", "p")
    world.cloud.monitoring.feed(api)
    await world.same([counts()], 3600)
    trouble = world.cloud.faults.add(faults.permission(), count=faults.FOREVER)
    world.clock.push(timedelta(minutes=5))
    reading = (await world.history.read([counts()], NOW - 3300, NOW + 300))[counts()]
    assert str(reading.problem).startswith("permission")
    assert reading.complete_until == NOW - 120 - SETTLING
    (series,) = reading.series
    assert (series.start, series.end) == (NOW - 3240, NOW + 300)
    known = [place for place, value in enumerate(series.values) if value == 600]
    assert series.start + known[-1] * 60 == reading.complete_until
    world.cloud.faults.lift(trouble)
    world.clock.push(timedelta(minutes=1))
    await world.same([counts()], 3600)


async def test_trouble_at_the_first_reading_leaves_nothing_behind(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    world.cloud.faults.add(faults.permission())
    reading = (await world.history.read([counts()], NOW - 3600, NOW))[counts()]
    assert (reading.series, str(reading.problem).partition(":")[0]) == ((), "permission")
    assert reading.complete_until < NOW - 3540
    assert (await world.same([counts()], 3600))[counts()].series


async def test_a_long_window_is_read_in_weeks_and_trouble_in_the_middle_keeps_what_is_whole(
    world: World,
) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    query, span = counts(step=3600), 3 * CHUNK * 3600
    world.cloud.faults.add(faults.permission(), nth=2)
    reading = (await world.history.read([query], NOW - span, NOW))[query]
    assert str(reading.problem).startswith("permission")
    assert len(world.metrics.asked) == 2
    assert reading.complete_until == NOW - 2 * CHUNK * 3600
    assert sum(value == 36_000 for value in reading.series[0].values) == CHUNK
    await world.same([query], span)
    assert [start for _, start, _ in world.metrics.asked[2:]] == [-2 * CHUNK * 3600, -CHUNK * 3600]


async def test_time_that_passes_between_two_pieces_leaves_no_hole(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    span = CHUNK * 60 + 300
    world.metrics.after = lambda: world.clock.push(timedelta(minutes=10))
    await world.history.read([counts()], NOW - span, NOW)
    assert [end for _, _, end in world.metrics.asked] == [-300, 0]
    world.metrics.after = lambda: None
    await world.same([counts()], span)


async def test_an_earlier_beginning_is_read_anew_and_a_later_one_costs_nothing_more(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    await world.same([counts()], 3600)
    await world.same([counts()], 7200)
    await world.same([counts()], 1800)
    assert [end - start for _, start, end in world.metrics.asked] == [3600, 7200, 120 + SETTLING]


async def test_a_window_of_the_past_is_answered_from_what_is_known(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    await world.same([counts()], DAY)
    calls = len(world.metrics.asked)
    past = (await world.history.read([counts()], NOW - 7200, NOW - 3600))[counts()]
    fresh = (await world.fresh().read([counts()], NOW - 7200, NOW - 3600))[counts()]
    assert exact(past)[0] == exact(fresh)[0]
    assert past.complete_until >= NOW - 3600
    assert len(world.metrics.asked) == calls
    await world.same([counts()], DAY)


async def test_what_is_older_than_the_window_is_forgotten(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    for _ in range(30):
        await world.same([counts()], 3600)
        world.clock.push(timedelta(minutes=20))
    (kept,) = world.history._kept.values()
    assert {len(row) for row in kept.rows.values()} <= {60 - (120 + SETTLING) // 60}


async def test_what_nobody_asks_for_during_a_day_is_forgotten(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    await world.same([counts(), p95()], 3600)
    world.clock.push(timedelta(hours=20))
    await world.same([p95()], 3600)
    world.clock.push(timedelta(hours=5))
    await world.same([p95()], 3600)
    assert list(world.history._kept) == [p95()]


async def test_after_a_pause_longer_than_the_window_it_begins_anew(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    await world.same([counts()], 3600)
    world.clock.push(timedelta(hours=3))
    await world.same([counts()], 3600)
    world.clock.push(timedelta(hours=-2))
    await world.same([counts()], 3600)


async def test_a_restart_makes_no_difference(world: World) -> None:
    world.cloud.monitoring.feed(SteadyRun("api", "p"))
    for _ in range(5):
        await world.same([counts(), p95(300)], 7200)
        world.clock.push(timedelta(minutes=3))
    world.history = History(world.metrics, world.clock)
    await world.same([counts(), p95(300)], 7200)
