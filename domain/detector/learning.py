"""What is remembered of a service's past days, and the model of its usual behaviour that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from domain.detector import channels, extremes, seasonal, signals, stillness
from domain.detector.calendar import DAY, Calendar, slots
from domain.detector.frame import Column, Flags, Floats, Frame, Ints, Role, roles

PAST_DAYS = 28
"""Days of maxima, error counts and runs that a day's model is fitted to."""

EXPLAINED_DAYS = 15
"""Newest local days on which, by every third slot, traffic is made to explain a column."""

SUPPOSED = 1000.0
"""Requests in a step where a service has a share of errors, but no count of requests."""

BEGIN = {"now": 2.6, "quarter": 2.0, "hour": 1.2, "change": 1.9, "turn": 1.15}
MEAN = {"now": 0.65, "quarter": 0.55, "hour": 0.47, "change": 0.43, "turn": 0.35}
"""Where the tails of services begin and their mean excess, in spreads: medians over seeds 100-111."""

ERROR_BEGIN, ERROR_MEAN = 2.0, 0.5
"""The same for counted errors, in -log10 of their chance."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What follows from the columns, the step and the calendar alone.

    ``traffic``, ``errors``: places of these columns. ``steady``: of those that can be stuck; counts repeat.
    ``begin``, ``mean`` [channels]: the tail that all services have in common.
    """

    columns: tuple[Column, ...]
    step: int
    calendar: Calendar
    signals: tuple[signals.Signal, ...]
    channels: tuple[channels.Channel, ...]
    traffic: int | None
    errors: int | None
    steady: tuple[int, ...]
    begin: Floats
    mean: Floats

    @property
    def parts(self) -> int:
        """Columns of what is remembered of each row."""
        return sum(3 if each.given else 1 for each in self.signals)


def shape_of(frame: Frame, calendar: Calendar) -> Shape:
    """The shape of a frame; a service has one share of errors at most."""
    watched = signals.watched(frame.columns)
    traffic = roles(frame.columns, Role.REQUESTS)
    errors = roles(frame.columns, Role.ERRORS)
    if len(errors) > 1:
        raise ValueError("a service has one column of errors")
    ways = channels.listed(frame.columns, watched)
    names = [channels.KINDS[each.kind] for each in ways]
    counted = [each.signal < 0 for each in ways]
    begin = [ERROR_BEGIN if c else BEGIN[name] for name, c in zip(names, counted, strict=True)]
    mean = [ERROR_MEAN if c else MEAN[name] for name, c in zip(names, counted, strict=True)]
    return Shape(
        columns=frame.columns,
        step=frame.step,
        calendar=calendar,
        signals=watched,
        channels=ways,
        traffic=traffic[0] if traffic else None,
        errors=errors[0] if errors else None,
        steady=tuple(
            place for place, each in enumerate(frame.columns) if each.role not in {Role.ERRORS, Role.REQUESTS}
        ),
        begin=np.array(begin),
        mean=np.array(mean),
    )


@dataclass(frozen=True, slots=True)
class Model:
    """All that a day is judged by."""

    profile: seasonal.Profile | None
    explained: tuple[signals.Explained, ...]
    tail: extremes.Tail
    rate: float
    limits: Floats


@dataclass(frozen=True, slots=True)
class Past:
    """What is remembered of whole past days: by local day and slot, by stretch, and by day (UTC)."""

    slots: seasonal.Days
    maxima: Floats
    errors: Floats
    longest: Floats


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the day (UTC) that is not over, kept until it is.

    ``kept``: see ``signals.parts``. ``away``: each signal's distance from the usual in its unit.
    ``ways``: the channels' values. ``run``: how long each value has been the same. ``number``,
    ``slot``: local day and place in it.
    """

    kept: Floats
    away: Floats
    ways: Floats
    run: Ints
    number: Ints
    slot: Ints

    def joined(self, after: Rows) -> Rows:
        """These rows and those after them."""
        return Rows(
            kept=np.concatenate([self.kept, after.kept]),
            away=np.concatenate([self.away, after.away]),
            ways=np.concatenate([self.ways, after.ways]),
            run=np.concatenate([self.run, after.run]),
            number=np.concatenate([self.number, after.number]),
            slot=np.concatenate([self.slot, after.slot]),
        )


def counts_of(shape: Shape, values: Floats) -> Floats:
    """Errors and requests in each row as counts, float64[n, 2]; without requests a thousand are assumed."""
    if shape.errors is None:
        return np.full((len(values), 2), np.nan)
    asked = values[:, shape.traffic] if shape.traffic is not None else np.full(len(values), SUPPOSED)
    both = np.stack([np.rint(np.clip(values[:, shape.errors], 0.0, 1.0) * asked), asked], axis=1)
    return np.where(np.isfinite(both).all(axis=1, keepdims=True), both, np.nan)


def nothing(shape: Shape) -> Past:
    """The past of a service that was never seen."""
    many = slots(shape.step)
    return Past(
        slots=seasonal.Days(
            numbers=np.empty(0, dtype=np.int64),
            rest=np.empty(0, dtype=np.bool_),
            means=np.empty((0, many, shape.parts)),
            peaks=np.empty((0, many, len(shape.signals))),
        ),
        maxima=np.empty((0, len(shape.channels))),
        errors=np.empty((0, 2)),
        longest=np.empty((0, len(shape.columns))),
    )


def remembered(shape: Shape, past: Past, rows: Rows, begins: Ints, counts: Floats, out: Flags) -> Past:
    """The past with a day (UTC) that is over: means and peaks by slot, maxima, error counts, runs.

    ``begins`` [n]: epoch seconds of the rows; ``counts`` [n, 2]: errors and requests; ``out`` [n]: rows to
    leave out.
    """
    kept, away, ways = (np.where(out[:, None], np.nan, each) for each in (rows.kept, rows.away, rows.ways))
    longest = np.where(out[:, None], 0, rows.run).max(axis=0, keepdims=True).astype(np.float64)
    first = np.flatnonzero(np.diff(begins // extremes.STRETCH, prepend=-1))
    there = ~np.isnan(counts).any(axis=1) & ~out
    errors = np.add.reduceat(np.where(there[:, None], counts, 0.0), first, axis=0)
    keep = PAST_DAYS * DAY // extremes.STRETCH
    return Past(
        slots=_extended(shape, past.slots, rows.number, rows.slot, kept, np.abs(away)),
        maxima=np.concatenate([past.maxima, np.fmax.reduceat(ways, first, axis=0)])[-keep:],
        errors=np.concatenate([past.errors, errors])[-keep:],
        longest=np.concatenate([past.longest, longest])[-PAST_DAYS:],
    )


def _extended(
    shape: Shape, past: seasonal.Days, number: Ints, slot: Ints, kept: Floats, away: Floats
) -> seasonal.Days:
    """The local days with the rows of a day (UTC), which end one of them and begin the next."""
    numbers = np.union1d(past.numbers, np.arange(number.min(), number.max() + 1))
    fresh = len(numbers) - len(past.numbers)
    many = slots(shape.step)
    means, peaks = (
        np.concatenate([each, np.full((fresh, *each.shape[1:]), np.nan)]) for each in (past.means, past.peaks)
    )
    base = int(np.searchsorted(numbers, number.min()))
    days = len(numbers) - base
    place = (np.searchsorted(numbers, number) - base) * many + slot
    for column in range(kept.shape[1]):
        there = ~np.isnan(kept[:, column])
        count = np.bincount(place[there], minlength=days * many)
        total = np.bincount(place[there], kept[there, column], days * many)
        found = (total / np.maximum(count, 1)).reshape(days, many)
        means[base:, :, column] = np.where(count.reshape(days, many) > 0, found, means[base:, :, column])
    highest = np.full((days * many, away.shape[1]), -1.0)
    first = np.flatnonzero(np.diff(place, prepend=-1))
    np.fmax.at(highest, place[first], np.fmax.reduceat(away, first, axis=0))
    furthest = highest.reshape(days, many, -1)
    peaks[base:] = np.where(furthest >= 0, furthest, peaks[base:])
    last = slice(-(seasonal.WINDOW + 1), None)
    rest = np.array([shape.calendar.rests(int(each)) for each in numbers[last]], dtype=np.bool_)
    return seasonal.Days(numbers[last], rest, means[last], peaks[last])


def fit(shape: Shape, past: Past) -> Model:
    """The model learned from the past."""
    explained, columns, part = [], [], 0
    for signal in shape.signals:
        if signal.given:
            mine = past.slots.means[:, :, part : part + 3]
            explained.append(signals.explain(mine[-EXPLAINED_DAYS:, ::3].reshape(-1, 3), signal.role))
            columns.append(explained[-1].remainder(mine, signal.role))
            part += 3
        else:
            columns.append(past.slots.means[:, :, part])
            part += 1
    means = np.stack(columns, axis=2) if columns else past.slots.peaks
    doubt = np.array([each.doubt for each in shape.signals])
    floor = np.array([each.floor for each in shape.signals])
    return Model(
        profile=seasonal.learn(replace(past.slots, means=means), doubt, floor) if columns else None,
        explained=tuple(explained),
        tail=extremes.fit(past.maxima, shape.begin, shape.mean),
        rate=_rate(past.errors),
        limits=stillness.limits(past.longest),
    )


def _rate(errors: Floats) -> float:
    """The usual share of failing requests from (errors, requests) per stretch, without gross stretches."""
    use = np.ones(len(errors), dtype=np.bool_)
    rate = 0.0
    for _ in range(3):
        rate = float((errors[use, 0].sum() + 0.2) / (errors[use, 1].sum() + 400.0))
        use = errors[:, 0] <= 3 * rate * errors[:, 1] + 6
    return rate
