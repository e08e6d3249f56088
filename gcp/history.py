"""Long windows of time series, of which only what may still change is read again."""

import asyncio
import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.ports import Clock, Metrics
from domain.series import Query, Reading, Series, epoch
from gcp.points import has_values

CHUNK = 2016
"""Steps that are read at one time: a week at 300 s."""

SETTLING = 600
"""Seconds after ``complete_until`` in which a step is read again all the same, for points that came later
than their metric's descriptor promises. They ride along in the call for the new steps."""

FORGOTTEN = 24 * 3600
"""Seconds after which a query that nobody asks any more is forgotten."""

_Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Kept:
    """What is known of one query: every step that ends in [first, last], NaN where there is no point.

    Each row is as long as that; no row at all is knowledge too. ``span`` is the longest window asked
    for since ``span_at``, ``asked`` the last time anybody did.
    """

    first: int
    last: int
    rows: "dict[_Labels, array[float]]" = field(default_factory=dict)
    span: int = 0
    span_at: int = 0
    asked: int = 0

    def add(self, reading: Reading, begin: int, end: int, step: int) -> None:
        """Append what cannot change any more of a reading of (begin, end]; never leave a hole before it."""
        settled = reading.complete_until - -(-SETTLING // step) * step
        until = min(settled, end // step * step)
        new = (until - self.last) // step
        if new <= 0 or self.last < begin // step * step:
            return
        length = (self.last - self.first) // step + 1
        found = {_key(series): series for series in reading.series}
        for key in found.keys() - self.rows.keys():
            self.rows[key] = array("d", [math.nan]) * length
        for key, row in self.rows.items():
            row.extend(_between(found.get(key), self.last + step, until, step))
        self.last = until

    def forget(self, before: int, step: int) -> None:
        """Drop the steps that end before then, and series without a value since."""
        old = min((before - self.first) // step, (self.last - self.first) // step + 1)
        if old <= 0:
            return
        for key, row in list(self.rows.items()):
            del row[:old]
            if not has_values(row):
                del self.rows[key]
        self.first += old * step


class History:
    """The port ``Metrics`` for windows of weeks over another one that reads them.

    What it keeps is disposable: an answer equals a fresh one bit for bit, as long as points come at
    most ten minutes later than they should. Where reading fails, what is known is given beside the
    problem, and ``complete_until`` says how far that goes. Interpolation at a window's border is the one
    thing that a fresh reading may do otherwise: ``Aligner.DELTA`` and ``RATE`` of numbers with gaps.
    Memory: 8 bytes a step and series, 80 kB for 35 days at 300 s.
    """

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._kept: dict[Query, _Kept] = {}
        self._reading = asyncio.Lock()

    async def read(self, queries: Sequence[Query], start: int, end: int) -> Mapping[Query, Reading]:
        """The steps that end in (start, end], for every query. One reading at a time."""
        async with self._reading:
            now = epoch(self._clock.now())
            self._forget(now)
            windows: dict[tuple[int, int], list[Query]] = defaultdict(list)
            for query in dict.fromkeys(queries):
                windows[self._begin(query, start, end, now), query.step].append(query)
            readings: dict[Query, Reading] = {}
            for (begin, step), alike in windows.items():
                readings |= await self._read(alike, step, begin, end)
            return {query: self._whole(query, reading, start, end) for query, reading in readings.items()}

    def _begin(self, query: Query, start: int, end: int, now: int) -> int:
        """From where on the query must be read, after throwing away what does not reach that far."""
        step = query.step
        first = start // step * step + step
        kept = self._kept.get(query)
        if kept is None or kept.first > first or kept.last < first - step:
            span = 0 if kept is None else kept.span
            kept = self._kept[query] = _Kept(first, first - step, span=span, span_at=now)
        kept.asked = now
        if end - start >= kept.span or now - kept.span_at > FORGOTTEN:
            kept.span, kept.span_at = end - start, now
        return kept.last

    async def _read(self, queries: Sequence[Query], step: int, begin: int, end: int) -> dict[Query, Reading]:
        """Read (begin, end] in pieces and keep what will not change; the last reading of each query.

        A query whose piece failed is not read further, since what is kept must have no holes.
        """
        if begin >= end // step * step:
            return {query: Reading((), self._kept[query].last) for query in queries}
        readings: dict[Query, Reading] = {}
        tails: dict[Query, list[Reading]] = defaultdict(list)
        going = list(queries)
        while going:
            piece = min(end, begin + CHUNK * step)
            answers = await self._metrics.read(going, begin, piece)
            for query in going:
                readings[query] = answers[query]
                if answers[query].problem is None:
                    kept = self._kept[query]
                    kept.add(answers[query], begin, piece, step)
                    if kept.last < piece // step * step:
                        tails[query].append(answers[query])
            going = [query for query in going if answers[query].problem is None] if piece < end else []
            begin = piece
        return {query: _tail(tails[query], reading) for query, reading in readings.items()}

    def _whole(self, query: Query, tail: Reading, start: int, end: int) -> Reading:
        """What is kept, and after it what was just read."""
        step, kept = query.step, self._kept[query]
        first, last = start // step * step + step, end // step * step
        known = min(kept.last, last)
        read = {_key(series): series for series in tail.series}
        whole = []
        for key in sorted(kept.rows.keys() | read.keys()):
            row = kept.rows.get(key)
            if row is None:
                values = array("d", [math.nan]) * max(0, (known - first) // step + 1)
            else:
                values = row[(first - kept.first) // step : (known - kept.first) // step + 1]
            values.extend(_between(read.get(key), known + step, last, step))
            if has_values(values):
                whole.append(Series(first, step, values, dict(key)))
        complete = tail.complete_until if tail.problem is None else min(kept.last, tail.complete_until)
        kept.forget(end // step * step - kept.span + step, step)
        return Reading(tuple(whole), complete, tail.problem)

    def _forget(self, now: int) -> None:
        """Drop what nobody asked for during a day; a clock that was set back counts as such a day."""
        for query, kept in list(self._kept.items()):
            if not 0 <= now - kept.asked <= FORGOTTEN:
                del self._kept[query]


def _tail(readings: Sequence[Reading], last: Reading) -> Reading:
    """The pieces' series one after the other; state and trouble are those of the last piece."""
    rows: dict[_Labels, list[Series]] = defaultdict(list)
    for reading in readings:
        for series in reading.series:
            rows[_key(series)].append(series)
    joined = tuple(_joined(found) for found in rows.values())
    return Reading(joined, last.complete_until, last.problem)


def _joined(pieces: Sequence[Series]) -> Series:
    """One series over the pieces, NaN where a piece did not have it."""
    first, step = pieces[0].start, pieces[0].step
    if len(pieces) == 1:
        return pieces[0]
    values = array("d")
    for piece in pieces:
        missing = (piece.start - first) // step - len(values)
        values.extend(array("d", [math.nan]) * missing)
        values.extend(piece.values)
    return Series(first, step, values, pieces[0].labels)


def _between(series: Series | None, first: int, last: int, step: int) -> "array[float]":
    """The steps that end in [first, last] of a series, NaN where it has none."""
    length = max(0, (last - first) // step + 1)
    if series is None or not length:
        return array("d", [math.nan]) * length
    skipped = (first - series.start) // step
    before = array("d", [math.nan]) * min(length, max(0, -skipped))
    values = series.values[max(0, skipped) : max(0, skipped + length)]
    return before + values + array("d", [math.nan]) * (length - len(before) - len(values))


def _key(series: Series) -> _Labels:
    return tuple(sorted(series.labels.items()))
