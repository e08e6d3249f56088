"""The detector's arithmetic, as it runs in a process of its own: plain values in, plain values out."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from domain.anomalies import Scored

if TYPE_CHECKING:
    from domain.detector.services import Judged, State


@dataclass(frozen=True, slots=True)
class Asked:
    """One service to be judged.

    ``columns`` are (name, role) pairs, ``values`` one array each on the grid that begins with the step
    ending at ``start`` (epoch seconds). Wanted are the steps after ``after``, and of the last ``shown`` of
    them what was expected.
    """

    service: str
    start: int
    step: int
    columns: tuple[tuple[str, str], ...]
    values: tuple["array[float]", ...]
    zone: str
    holidays: frozenset[date]
    excluded: tuple[tuple[int, int], ...]
    after: int
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """The last steps of one column: what was, what was expected, how odd it was (signed)."""

    column: str
    times: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it. ``since``: the first sample; ``ready_at``: from when the service is judged."""

    service: str
    since: int | None
    ready_at: int | None
    scored: tuple[Scored, ...]
    shown: tuple[Shown, ...] = ()


_STATES: dict[str, "State"] = {}
"""Where judging stopped, by service: a shortcut of this process, equal bit for bit to judging all again."""


def judge_many(asked: Sequence[Asked]) -> tuple[Answered, ...]:
    """Judge each service; one that cannot be judged does not keep the others from it."""
    return tuple(_judge(one) for one in asked)


def _judge(asked: Asked) -> Answered:
    import numpy as np

    from domain.detector.calendar import Calendar
    from domain.detector.frame import Column, Frame, Role
    from domain.detector.services import judge, scored

    columns = tuple(Column(name, Role(role)) for name, role in asked.columns)
    values = np.column_stack([np.frombuffer(one, dtype=np.float64) for one in asked.values])
    frame = Frame(asked.start, asked.step, columns, values)
    state = None if asked.shown else _STATES.get(asked.service)
    calendar = Calendar(asked.zone, asked.holidays)
    judged = judge(frame, calendar, asked.excluded, state)
    _STATES[asked.service] = judged.state
    shown = []
    for place, column in enumerate(columns) if asked.shown else ():
        last = slice(-asked.shown, None)
        shown.append(
            Shown(
                column.name,
                tuple(judged.times[last].tolist()),
                tuple(judged.values[last, place].tolist()),
                tuple(judged.low[last, place].tolist()),
                tuple(judged.high[last, place].tolist()),
                tuple(judged.signed[last, place].tolist()),
            )
        )
    fresh = scored(_newest(judged, int(np.searchsorted(judged.times, asked.after, side="right"))))
    return Answered(asked.service, judged.since, judged.ready_at, tuple(fresh), tuple(shown))


def _newest(judged: "Judged", first: int) -> "Judged":
    """The rows from ``first`` on: only they are made into values."""
    rows = slice(first, None)
    return replace(
        judged,
        first=judged.first + first,
        times=judged.times[rows],
        values=judged.values[rows],
        score=judged.score[rows],
        signed=judged.signed[rows],
        low=judged.low[rows],
        high=judged.high[rows],
        driver=judged.driver[rows],
        stuck=judged.stuck[rows],
        no_data=judged.no_data[rows],
        learning=judged.learning[rows],
    )
