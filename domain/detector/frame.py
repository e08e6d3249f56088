"""What the detector looks at: the metrics of one service side by side on one regular grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Role(StrEnum):
    """What a column means; it decides the transform, what it is compared with and which way is bad."""

    LATENCY = "latency"
    """A response time (any unit), best a p95. Zero or less is read as missing: nobody asked."""
    ERRORS = "errors"
    """The share of the step's requests that failed, 0..1; counts need a column of requests beside it."""
    REQUESTS = "requests"
    """Requests in the step (a count, not a rate)."""
    CPU = "cpu"
    """Utilisation, 0..1."""
    MEMORY = "memory"
    """Utilisation, 0..1; as a rule a sawtooth."""
    OTHER = "other"
    """Any number; both directions are strange."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of a frame. ``name`` is unique in it."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Metrics on a grid: row i covers the ``step`` seconds that end at ``start + i * step``.

    ``values`` is float64[n, m], NaN where a sample is missing (never zero, never carried forward).
    """

    start: int
    step: int
    columns: tuple[Column, ...]
    values: Floats

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise ValueError(f"{len(self.columns)} columns, but values are {self.values.shape}")
        if self.step <= 0 or 86_400 % self.step:
            raise ValueError(f"a step has to divide the day: {self.step} s")

    def __len__(self) -> int:
        """Rows."""
        return len(self.values)

    @property
    def times(self) -> Ints:
        """Epoch seconds at which each row ends."""
        return self.start + self.step * np.arange(len(self.values), dtype=np.int64)

    def cut(self, rows: int) -> Frame:
        """The first ``rows`` rows."""
        return Frame(self.start, self.step, self.columns, self.values[:rows])


def roles(columns: Sequence[Column], role: Role) -> list[int]:
    """The places of the columns with this role, in their order."""
    return [place for place, column in enumerate(columns) if column.role == role]
