"""What monitoring says of a canary and of the stable revision, in the very same whole minutes."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from domain.chances import Counts
from domain.cloudrun import Target
from domain.rolling import Window
from domain.rollouts import Rollout
from domain.series import Aligner, Query, Reading, Reducer, Series, epoch, moment
from operations.world import World

REVISION = "resource.labels.revision_name"
CLASS = "metric.labels.response_code_class"
HOUR = timedelta(hours=1)


async def window(world: World, rollout: Rollout, start: datetime, end: datetime) -> Window:
    """Both revisions' counts in (start, end], as far as they are visible.

    ``start`` is rounded up and ``end`` down to whole minutes. A class that nobody met has no series: that is
    zero where the revision has another one, and no data where it has none.
    """
    assert rollout.plan is not None
    first, last = -(-epoch(start) // 60) * 60, epoch(end) // 60 * 60
    counts, latency = _counts(rollout.target), _latency(rollout.target)
    if last <= first:
        return Window(canary=NOTHING, stable=NOTHING, until=moment(first))
    found = await world.metrics.read((counts, latency), first, last)
    reading = found[counts]
    if reading.problem is not None:
        return Window(canary=NOTHING, stable=NOTHING, until=moment(first), blind=reading.problem)
    until = max(first, min(last, reading.complete_until // 60 * 60))
    canary, stable = rollout.plan.revision, rollout.plan.baseline
    return Window(
        canary=_summed(reading, canary, until),
        stable=_summed(reading, stable, until),
        canary_p95=_percentile(found, latency, canary, until),
        stable_p95=_percentile(found, latency, stable, until),
        until=moment(until),
    )


async def last_hour(world: World, target: Target, baseline: str) -> tuple[Counts, float]:
    """The revision's counts of the newest visible hour, and the service's requests a minute."""
    now = epoch(world.clock.now()) // 60 * 60
    counts = _counts(target)
    found = (await world.metrics.read((counts,), now - int(HOUR.total_seconds()) - 300, now))[counts]
    if found.problem is not None:
        return NOTHING, 0.0
    until = found.complete_until // 60 * 60
    every = sum(_sum(series, until - 3600, until) for series in found.series)
    return _summed(found, baseline, until, until - 3600), every / 60


async def minutes(
    world: World, rollout: Rollout, start: datetime, end: datetime
) -> tuple[list[float], list[float], list[float]]:
    """Ends of minutes (epoch seconds), and the failed share of the new and of the old revision's requests.

    NaN where a revision had none. All are empty where nothing can be read.
    """
    assert rollout.plan is not None
    first, last = epoch(start) // 60 * 60, epoch(end) // 60 * 60
    counts = _counts(rollout.target)
    reading = (await world.metrics.read((counts,), first, last))[counts]
    if reading.problem is not None:
        return [], [], []
    times = [float(at) for at in range(first + 60, min(last, reading.complete_until) + 1, 60)]
    shares = [
        [_rate(_summed(reading, revision, int(at), int(at) - 60)) for at in times]
        for revision in (rollout.plan.revision, rollout.plan.baseline)
    ]
    return times, shares[0], shares[1]


def _rate(counts: Counts) -> float:
    return counts.rate if counts.rate is not None else math.nan


NOTHING = Counts(requests=0, errors=0)


def _labels(target: Target) -> tuple[tuple[str, str], ...]:
    return (
        ("resource.labels.location", target.region),
        ("resource.labels.service_name", target.service),
    )


def _counts(target: Target) -> Query:
    return Query(
        project=target.project,
        metric="run.googleapis.com/request_count",
        resource="cloud_run_revision",
        labels=_labels(target),
        aligner=Aligner.DELTA,
        reducer=Reducer.SUM,
        group_by=(CLASS, REVISION),
    )


def _latency(target: Target) -> Query:
    return Query(
        project=target.project,
        metric="run.googleapis.com/request_latencies",
        resource="cloud_run_revision",
        labels=_labels(target),
        aligner=Aligner.DELTA,
        reducer=Reducer.P95,
        group_by=(REVISION,),
    )


def _summed(reading: Reading, revision: str, until: int, after: int | None = None) -> Counts:
    requests = errors = 0
    for series in reading.series:
        if series.labels.get(REVISION) != revision:
            continue
        many = round(_sum(series, after, until))
        requests += many
        errors += many if series.labels.get(CLASS) == "5xx" else 0
    return Counts(requests=requests, errors=errors)


def _sum(series: Series, after: int | None, until: int) -> float:
    total = 0.0
    for place, value in enumerate(series.values):
        end = series.start + place * series.step
        if end <= until and (after is None or end > after) and not math.isnan(value):
            total += value
    return total


def _percentile(found: Mapping[Query, Reading], latency: Query, revision: str, until: int) -> float | None:
    """The median of the minutes' 95th percentiles: one slow minute is not a slow revision."""
    reading = found[latency]
    values = sorted(
        value
        for series in reading.series
        if series.labels.get(REVISION) == revision
        for place, value in enumerate(series.values)
        if series.start + place * series.step <= until and not math.isnan(value)
    )
    return values[len(values) // 2] if values else None
