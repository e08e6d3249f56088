"""Puts the points of Cloud Monitoring's answers on a regular grid, whatever their type and order."""

import asyncio
import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from domain.series import Query, Reducer, Series
from gcp.batching import Batch

BREATH = 4_000
"""Points that are read before other tasks have a turn: about 10 ms."""


def has_values(values: Iterable[float]) -> bool:
    """True where not all of them are NaN."""
    return any(value == value for value in values)  # noqa: PLR0124  Only NaN is not itself.


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps of a window by the seconds at which they end, from ``first`` to ``last``."""

    first: int
    last: int
    step: int

    @classmethod
    def of(cls, start: int, end: int, step: int) -> Self:
        """The steps that end in (start, end]."""
        return cls(start // step * step + step, end // step * step, step)

    @property
    def length(self) -> int:
        """How many steps."""
        return max(0, (self.last - self.first) // self.step + 1)


class Collected:
    """The answers of all pages on the grid. A series may be spread over several pages."""

    def __init__(self, batch: Batch, grid: Grid) -> None:
        self._batch = batch
        self._grid = grid
        self._owners = batch.owners()
        self._rows: dict[tuple[Query, tuple[tuple[str, str], ...]], array[float]] = {}

    async def add(self, page: Iterable[Any]) -> None:
        """Put one page's points in their places, with pauses for other tasks."""
        read = 0
        for series in page:
            labels = {f"resource.labels.{name}": value for name, value in series.resource.labels.items()}
            labels |= {f"metric.labels.{name}": value for name, value in series.metric.labels.items()}
            query = self._owners.get(tuple(labels.get(path, "") for path in self._batch.apart))
            # The filter takes each label that someone wants, in every combination.
            if query is None:
                continue
            if query.reducer is not Reducer.NONE:
                labels = {path: labels.get(path, "") for path in query.group_by}
            key = query, tuple(sorted(labels.items()))
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = array("d", [math.nan]) * self._grid.length
            points = series.points
            for place in range(0, len(points), BREATH):
                _lay(
                    row,
                    self._grid,
                    points[place : place + BREATH],
                    _VALUES.get(series.value_type, _any_value),
                )
                read += min(len(points), BREATH)
                if read >= BREATH:
                    read = 0
                    await asyncio.sleep(0)

    def series(self) -> dict[Query, tuple[Series, ...]]:
        """The series of each query, sorted by labels; those without a value in the window are left out."""
        found: dict[Query, list[Series]] = {}
        for (query, labels), row in sorted(self._rows.items(), key=lambda item: item[0][1]):
            if has_values(row):
                series = Series(self._grid.first, self._grid.step, row, dict(labels))
                found.setdefault(query, []).append(series)
        return {query: tuple(series) for query, series in found.items()}


def _lay(row: "array[float]", grid: Grid, points: Iterable[Any], value_of: Callable[[Any], float]) -> None:
    """Points by the step in which they end; of several the newest, which comes first, counts."""
    first, step, length = grid.first, grid.step, len(row)
    for point in points:
        end = point.interval.end_time
        place = -((first - end.seconds - (end.nanos > 0)) // step)
        if 0 <= place < length and math.isnan(row[place]):
            row[place] = value_of(point.value)


def _mean(value: Any) -> float:
    found = value.distribution_value
    return float(found.mean) if found.count else math.nan


def _any_value(value: Any) -> float:
    """A value whose series does not say what it is; NaN for text."""
    match value.WhichOneof("value"):
        case "double_value":
            return float(value.double_value)
        case "int64_value":
            return float(value.int64_value)
        case "bool_value":
            return float(value.bool_value)
        case "distribution_value":
            return _mean(value)
        case _:
            return math.nan


_VALUES: dict[int, Callable[[Any], float]] = {
    1: lambda value: float(value.bool_value),
    2: lambda value: float(value.int64_value),
    3: lambda value: float(value.double_value),
    5: _mean,
}
"""By ``google.api.MetricDescriptor.ValueType``: ``double_value`` of a whole number would be 0.0."""
