"""Reads time series from Cloud Monitoring: few calls, every page, and trouble as part of the answer."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from domain.ports import Clock
from domain.series import Aligner, Query, Reading, Reducer, Series, epoch
from gcp.batching import Batch, batched, check
from gcp.clients import GcpClients
from gcp.points import Collected, Grid, has_values

log = structlog.get_logger(__name__)

DEADLINE = 20.0
"""Seconds for one page, repeated attempts included."""

CONCURRENT = 8
"""Calls at one time."""

PAGE = 20_000
"""Points in a page; 100,000 are allowed, but other tasks would wait for longer while one is unpacked."""

ALLOWANCE = 60
"""Seconds that we wait for points where the metric's owner names no ingest delay, as for custom ones."""

DESCRIBED_FOR = 24 * 3600
"""Seconds for which a descriptor is believed."""

LONGEST_CACHED = 24 * 3600
"""Seconds of a window that is kept for the rest of its step; longer ones are the history's business."""

REST, LONGEST_REST = 30, 600
"""Seconds without any call to a project after its quota was used up: first, and doubled at most up to."""

ALIGNERS = {
    Aligner.DELTA: "ALIGN_DELTA",
    Aligner.RATE: "ALIGN_RATE",
    Aligner.SUM: "ALIGN_SUM",
    Aligner.MEAN: "ALIGN_MEAN",
    Aligner.MAX: "ALIGN_MAX",
    Aligner.MIN: "ALIGN_MIN",
}
REDUCERS = {
    Reducer.NONE: "REDUCE_NONE",
    Reducer.SUM: "REDUCE_SUM",
    Reducer.MEAN: "REDUCE_MEAN",
    Reducer.MAX: "REDUCE_MAX",
    Reducer.MIN: "REDUCE_MIN",
    Reducer.P50: "REDUCE_PERCENTILE_50",
    Reducer.P95: "REDUCE_PERCENTILE_95",
    Reducer.P99: "REDUCE_PERCENTILE_99",
}


@dataclass(frozen=True, slots=True)
class _Described:
    """What we know of a metric until ``until``; or why we do not."""

    until: int
    delay: int = 0
    is_distribution: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Cached:
    """A reading of (start, end], asked for in the step ``during``."""

    during: int
    start: int
    end: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Resting:
    """A project that is left alone until then, after so many refusals on end."""

    until: int
    refusals: int


@dataclass(slots=True)
class _Round:
    """One ``read``: its window, when it is, and which projects turned out to be out of reach."""

    start: int
    end: int
    now: int
    out_of_reach: dict[str, str] = field(default_factory=dict)


class CloudMonitoring:
    """The port ``Metrics`` over google-cloud-monitoring.

    A reading's ``problem`` begins with one of ``quota``, ``unavailable``, ``permission``,
    ``credentials``, ``unknown metric``, ``invalid`` and ``error``, then a colon and the detail. Its
    series are sorted by labels, and cover the whole window. Without a reducer each carries all of its
    labels, whatever ``group_by`` says.
    """

    def __init__(self, clients: GcpClients, clock: Clock, *, deadline: float = DEADLINE) -> None:
        self._clients = clients
        self._clock = clock
        self._deadline = deadline
        self._free = asyncio.Semaphore(CONCURRENT)
        self._described: dict[tuple[str, str], _Described] = {}
        self._cached: dict[Query, _Cached] = {}
        self._resting: dict[str, _Resting] = {}
        self._troubled: dict[tuple[str, str], str] = {}

    async def read(self, queries: Sequence[Query], start: int, end: int) -> Mapping[Query, Reading]:
        """The steps that end in (start, end], for every query. What was asked in this step costs no call."""
        one = _Round(start, end, epoch(self._clock.now()))
        self._cached = {q: kept for q, kept in self._cached.items() if kept.during == one.now // q.step}
        readings: dict[Query, Reading] = {}
        asked: list[Query] = []
        for query in dict.fromkeys(queries):
            try:
                check(query)
            except ValueError as error:
                readings[query] = Reading((), one.now, f"invalid: {error}")
                continue
            kept = self._cached.get(query)
            if kept is not None and kept.start <= start and kept.end == end:
                readings[query] = _cut(kept.reading, query.step, start)
            else:
                asked.append(query)
        metrics = dict.fromkeys((query.project, query.metric) for query in asked)
        await _together(self._describe(one, project, metric) for project, metric in metrics)
        for answers in await _together(self._ask(one, batch) for batch in batched(asked)):
            readings |= answers
        return readings

    # Asking.

    async def _describe(self, one: _Round, project: str, metric: str) -> None:
        """Learn how late the metric's points come, where we do not know it."""
        known = self._described.get((project, metric))
        if known is not None and known.problem is None and known.until > one.now:
            return
        answer, problem = await self._call(one, project, metric, lambda: self._descriptor(project, metric))
        if problem is None and answer is not None:
            self._described[project, metric] = answer
        elif known is None or known.problem is not None:
            # What was known a day ago is better than nothing.
            self._described[project, metric] = _Described(one.now, ALLOWANCE, problem=problem)

    async def _descriptor(self, project: str, metric: str) -> _Described:
        from google.api import metric_pb2

        client = await self._clients.metrics()
        found = await client.get_metric_descriptor(
            name=f"projects/{project}/metricDescriptors/{metric}", **self._patience()
        )
        named = found.metadata.HasField("ingest_delay")
        delay = found.metadata.ingest_delay.seconds if named else ALLOWANCE
        return _Described(
            epoch(self._clock.now()) + DESCRIBED_FOR,
            delay,
            found.value_type == metric_pb2.MetricDescriptor.DISTRIBUTION,
        )

    async def _ask(self, one: _Round, batch: Batch) -> dict[Query, Reading]:
        """One call with its pages, for all queries of the batch."""
        first = batch.queries[0]
        known = self._described[first.project, first.metric]
        complete = _complete(one.now, first.step, known.delay)
        problem = known.problem
        grid = Grid.of(one.start, one.end, first.step)
        found: dict[Query, tuple[Series, ...]] = {}
        # Steps that have not begun cannot have points; the answer still covers them.
        last = min(grid.last, one.now // grid.step * grid.step)
        if problem is None and last >= grid.first:
            answer, problem = await self._call(
                one,
                first.project,
                first.metric,
                lambda: self._series(batch, grid, last, known.is_distribution),
            )
            found = answer or {}
        readings = {query: Reading(found.get(query, ()), complete, problem) for query in batch.queries}
        if problem is None and one.end - one.start <= LONGEST_CACHED:
            for query, reading in readings.items():
                self._cached[query] = _Cached(one.now // query.step, one.start, one.end, reading)
        return readings

    async def _series(
        self, batch: Batch, grid: Grid, last: int, is_distribution: bool
    ) -> dict[Query, tuple[Series, ...]]:
        from google.cloud import monitoring_v3

        first = batch.queries[0]
        # A distribution cannot be averaged by the aligner; its merged buckets know the mean.
        aligner = Aligner.DELTA if is_distribution and first.aligner is Aligner.MEAN else first.aligner
        request = monitoring_v3.ListTimeSeriesRequest(
            name=f"projects/{first.project}",
            filter=batch.filter,
            interval=monitoring_v3.TimeInterval(
                start_time={"seconds": grid.first - grid.step}, end_time={"seconds": last}
            ),
            aggregation=monitoring_v3.Aggregation(
                alignment_period={"seconds": grid.step},
                per_series_aligner=ALIGNERS[aligner],
                cross_series_reducer=REDUCERS[first.reducer],
                group_by_fields=batch.group_by,
            ),
            page_size=PAGE,
        )
        client = await self._clients.metrics()
        collected = Collected(batch, grid)
        pager = await client.list_time_series(request=request, **self._patience())
        async for page in pager.pages:
            await collected.add(monitoring_v3.ListTimeSeriesResponse.pb(page).time_series)
        return collected.series()

    def _patience(self) -> dict[str, Any]:
        """The client's own retry: what may pass is tried again, quota and refusals are not."""
        from google.api_core import exceptions
        from google.api_core.retry import if_exception_type
        from google.api_core.retry_async import AsyncRetry

        passing = if_exception_type(exceptions.ServiceUnavailable, exceptions.DeadlineExceeded)
        retry = AsyncRetry(passing, initial=0.1, maximum=4.0, multiplier=2.0, timeout=self._deadline)
        return {"retry": retry, "timeout": self._deadline}

    # Trouble.

    async def _call(
        self, one: _Round, project: str, metric: str, call: Callable[[], Any]
    ) -> tuple[Any, str | None]:
        """What the call gives, or the problem that it met; no call while the project is left alone."""
        async with self._free:
            problem = self._rest(project, one.now) or one.out_of_reach.get(project)
            if problem is not None:
                return None, problem
            from google.api_core.exceptions import GoogleAPIError
            from google.auth.exceptions import GoogleAuthError

            try:
                answer = await call()
            except (GoogleAPIError, GoogleAuthError) as error:
                problem = _problem(error)
            if problem is None:
                self._resting.pop(project, None)
            elif problem.startswith("quota"):
                self._tire(project, one.now)
            elif problem.startswith(("unavailable", "credentials")):
                one.out_of_reach[project] = problem
        self._tell(project, metric, problem)
        return (None, problem) if problem is not None else (answer, None)

    def _rest(self, project: str, now: int) -> str | None:
        resting = self._resting.get(project)
        # A rest longer than the longest means that the clock was set back.
        if resting is None or not 0 < resting.until - now <= LONGEST_REST:
            return None
        return f"quota: used up, asked again in {resting.until - now} s"

    def _tire(self, project: str, now: int) -> None:
        """Leave the project alone for longer each time; calls that were on their way together count once."""
        resting = self._resting.get(project)
        if resting is not None and resting.until > now:
            return
        refusals = resting.refusals + 1 if resting else 1
        rest = min(REST * 2 ** (refusals - 1), LONGEST_REST)
        self._resting[project] = _Resting(now + rest, refusals)

    def _tell(self, project: str, metric: str, problem: str | None) -> None:
        """Log trouble when it begins, changes or ends, not each minute."""
        before = self._troubled.get((project, metric))
        word = None if problem is None else problem.partition(":")[0]
        if word == before:
            return
        if word is None:
            del self._troubled[project, metric]
            log.info("monitoring.recovered", project=project, metric=metric)
        else:
            self._troubled[project, metric] = word
            log.warning("monitoring.trouble", project=project, metric=metric, problem=problem)


async def _together(calls: Iterable[Any]) -> list[Any]:
    """All at once; the first error that is not an answer ends them all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


def _problem(error: Exception) -> str:
    """A short stable word and the detail."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    match error:
        case exceptions.RetryError():
            return f"unavailable: {error.cause or error}"
        case exceptions.ServiceUnavailable() | exceptions.DeadlineExceeded():
            word = "unavailable"
        case exceptions.ResourceExhausted() | exceptions.TooManyRequests():
            word = "quota"
        case exceptions.Unauthenticated() | GoogleAuthError():
            word = "credentials"
        case exceptions.Forbidden():
            word = "permission"
        case exceptions.NotFound():
            word = "unknown metric"
        case exceptions.BadRequest():
            word = "invalid"
        case _:
            word = "error"
    return f"{word}: {getattr(error, 'message', '') or error}"


def _complete(now: int, step: int, delay: int) -> int:
    return (now - delay) // step * step


def _cut(reading: Reading, step: int, start: int) -> Reading:
    """The same reading from a later start."""
    first = start // step * step + step
    cut = tuple(
        Series(first, step, values, one.labels)
        for one in reading.series
        if has_values(values := one.values[max(0, (first - one.start) // step) :])
    )
    return Reading(cut, reading.complete_until, reading.problem)
