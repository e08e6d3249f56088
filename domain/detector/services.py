"""Judges a service's metrics step by step against its own past, and says which one is odd and how odd.

``judge`` is causal: what it says of a step depends on that step and earlier ones only, and judging on from
a ``State`` gives bit for bit what judging all of it again gives. Once a day (UTC) it learns anew from the
days before. Scores are -log10 of a chance per five minutes: 4 is "1 in 10,000".

To follow a service: ``judged = judge(frame, calendar, excluded, state)``; keep ``judged.state`` in memory;
``track, events = anomalies.follow(track, scored(judged), ...)`` and store the track. After a restart judge
without a state: it costs 0.2 s a service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from domain import anomalies
from domain.detector import channels, extremes, learning, signals, stillness
from domain.detector.calendar import DAY, Calendar, slots
from domain.detector.frame import Column, Flags, Floats, Frame, Ints, Role

LEARN = anomalies.READY
"""Seconds of history below which nothing is judged."""

STUCK = 5.0
"""The score of a metric that has just been the same for longer than it ever is; it grows with the time."""

ODD = anomalies.ODD
"""A column's score from which it is named as one that moved."""

NO_DATA_STEPS = 3
"""Missing samples in a row that are a gap."""


@dataclass(frozen=True, slots=True)
class State:
    """Where judging stopped after ``rows`` rows: process memory that may be thrown away at any time."""

    key: tuple[object, ...]
    rows: int
    digest: bytes
    excluded: tuple[tuple[int, int], ...]
    since: Ints
    past: learning.Past
    model: learning.Model
    distances: Floats
    values: Floats
    last: Floats
    length: Ints
    missing: Ints
    today: learning.Rows | None


class _Piece(NamedTuple):
    """Rows judged but not fused: scores by channel, runs over their limit, bands by signal."""

    scores: Floats
    still: Floats
    distance: Floats
    low: Floats
    high: Floats
    ceiling: Floats
    missing: Ints
    ripe: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdict on the frame's rows from ``first`` on: those that the given state had not judged.

    ``score`` [k]: of the step as a whole; NaN where nothing could be judged. ``signed`` [k, m]: each
    column's score, negative where it is too low. ``low`` and ``high`` [k, m]: what was expected of it,
    in its own unit; NaN where unknown. ``driver`` [k]: the column that is oddest, -1 where none is.
    ``stuck`` and ``no_data`` [k, m]. ``learning`` [k]: True while there is too little history;
    ``ready_at``: epoch seconds from which the service is judged (None: it has no data yet); ``since``:
    of its first sample.
    """

    columns: tuple[Column, ...]
    first: int
    times: Ints
    values: Floats
    score: Floats
    signed: Floats
    low: Floats
    high: Floats
    driver: Ints
    stuck: Flags
    no_data: Flags
    learning: Flags
    since: int | None
    ready_at: int | None
    state: State = field(repr=False)


def judge(
    frame: Frame,
    calendar: Calendar,
    excluded: Sequence[tuple[int, int]] = (),
    state: State | None = None,
) -> Judged:
    """Judge the frame's rows, or those that ``state`` has not judged yet.

    ``excluded``: periods [start, end) in epoch seconds that nothing is learned from (confirmed incidents,
    rollouts); their steps are judged nevertheless. A state that does not belong to this frame's beginning
    (other start, columns, calendar; values that changed since; other periods excluded in days already
    learned from) is not used, and all rows are judged. So hand over complete rows only, and keep the
    frame's start for as long as its length allows (drop whole weeks at once).
    """
    shape = learning.shape_of(frame, calendar)
    where = _fitting(frame, shape, excluded, state)
    pieces: list[_Piece] = []
    first = where.rows
    ends = frame.start - frame.step + frame.step * np.arange(len(frame) + 1, dtype=np.int64)
    while where.rows < len(frame):
        begin = int(ends[where.rows])
        midnight = (begin // DAY + 1) * DAY
        until = min(len(frame), where.rows + -(-(midnight - begin) // frame.step))
        piece, where = _advance(frame, shape, where, until)
        pieces.append(piece)
        if int(ends[until]) >= midnight:
            where = _learned(frame, shape, where, excluded)
    return _verdict(frame, shape, first, pieces, where, excluded)


def _fitting(
    frame: Frame, shape: learning.Shape, excluded: Sequence[tuple[int, int]], state: State | None
) -> State:
    """The state if it belongs to the beginning of this frame, else a fresh one."""
    key = (frame.start, frame.step, frame.columns, shape.calendar)
    if state is not None and state.key == key and state.rows <= len(frame):
        learned = _midnight(frame, state.rows)
        same = _before(excluded, learned) == _before(state.excluded, learned)
        if same and _digest(frame.values[: state.rows]) == state.digest:
            return state
    many = len(frame.columns)
    none = learning.Model(
        profile=None,
        explained=(),
        tail=extremes.fit(np.empty((0, len(shape.channels))), shape.begin, shape.mean),
        rate=0.0,
        limits=stillness.limits(np.empty((0, many))),
    )
    return State(
        key=key,
        rows=0,
        digest=b"",
        excluded=(),
        since=np.full(many, -1, dtype=np.int64),
        past=learning.nothing(shape),
        model=none,
        distances=np.full((channels.REACH, len(shape.signals)), np.nan),
        values=np.full((channels.REACH, many), np.nan),
        last=np.full(many, np.nan),
        length=np.zeros(many, dtype=np.int64),
        missing=np.zeros(many, dtype=np.int64),
        today=None,
    )


def _midnight(frame: Frame, rows: int) -> int:
    """The last midnight (UTC) before the end of the first ``rows`` rows, up to which was learned."""
    return (frame.start + (rows - 1) * frame.step) // DAY * DAY


def _before(excluded: Sequence[tuple[int, int]], end: int) -> tuple[tuple[int, int], ...]:
    """The periods as far as they lie before ``end``, in order and without those that are empty."""
    return tuple(sorted((a, min(b, end)) for a, b in excluded if a < min(b, end)))


def _digest(values: Floats) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).digest()


def _advance(frame: Frame, shape: learning.Shape, where: State, until: int) -> tuple[_Piece, State]:
    """Judge the rows up to ``until``, all of one day (UTC)."""
    rows = slice(where.rows, until)
    raw = np.where(np.isfinite(frame.values[rows]), frame.values[rows], np.nan)
    begins = frame.start - frame.step + frame.step * np.arange(where.rows, until, dtype=np.int64)
    since = _since(where.since, raw, begins)
    number, slot = _places(shape, begins)
    values = np.concatenate([where.values, raw])
    before = channels.mean(values[channels.REACH - 36 : -1], 36, 12)
    kept = signals.parts(raw, shape.signals, shape.traffic, before)
    distance, away, low, high = _distances(shape, where.model, kept, before, number, slot)
    distances = np.concatenate([where.distances, distance])
    counts = learning.counts_of(shape, values)
    errors = None
    if shape.errors is not None:
        errors = channels.counted(counts[:, 0], counts[:, 1], max(where.model.rate, 1e-6))
    ceiling = _ceiling(where.model.rate, counts[channels.REACH :, 1:])
    ways = channels.valued(shape.channels, channels.averaged(distances, shape.signals), errors)
    run = stillness.runs(raw, where.last, where.length, shape.steady)
    missing = _missing(raw, where.missing)
    last = np.array([_last(raw[:, place], where.last[place]) for place in range(raw.shape[1])])
    piece = _Piece(
        scores=where.model.tail.score(ways),
        still=run / where.model.limits,
        distance=distance,
        low=low,
        high=high,
        ceiling=ceiling,
        missing=missing,
        ripe=(since >= 0) & (begins[:, None] + frame.step >= since + LEARN),
    )
    today = learning.Rows(kept, away, ways, run, number, slot)
    there = replace(
        where,
        rows=until,
        since=since,
        distances=distances[-channels.REACH :],
        values=values[-channels.REACH :],
        last=last,
        length=run[-1],
        missing=missing[-1],
        today=today if where.today is None else where.today.joined(today),
    )
    return piece, there


def _since(since: Ints, raw: Floats, begins: Ints) -> Ints:
    """Epoch seconds at which each column's first sample begins; -1 where it has none."""
    there = ~np.isnan(raw)
    first = begins[np.argmax(there, axis=0)]
    return np.where((since < 0) & there.any(axis=0), first, since)


def _last(column: Floats, before: float) -> float:
    there = column[~np.isnan(column)]
    return float(there[-1]) if len(there) else float(before)


def _missing(raw: Floats, before: Ints) -> Ints:
    """Missing samples in a row up to each row."""
    order = np.arange(len(raw))[:, None]
    seen = np.maximum.accumulate(np.where(np.isnan(raw), -1, order), axis=0)
    return np.where(seen < 0, before + order + 1, order - seen)


def _places(shape: learning.Shape, begins: Ints) -> tuple[Ints, Ints]:
    """Local day and slot of each row; all rows lie in one day (UTC)."""
    midnight = int(begins[0]) // DAY * DAY
    local = shape.calendar.local(begins, midnight, midnight + DAY)
    return local // DAY, local % DAY * slots(shape.step) // DAY


def _distances(
    shape: learning.Shape, model: learning.Model, kept: Floats, before: Floats, number: Ints, slot: Ints
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each signal: the distance from the usual in spreads and in its unit, and the expected band."""
    shaped = (len(kept), len(shape.signals))
    if model.profile is None:
        empty = np.full(shaped, np.nan)
        return empty, empty, empty, empty
    rests = {day: shape.calendar.rests(day) for day in set(number.tolist())}
    kind = np.array([rests[day] for day in number.tolist()], dtype=np.int64)
    usual, spread = model.profile.usual[kind, slot], model.profile.spread[kind, slot]
    away, low, high = np.empty(shaped), np.empty(shaped), np.empty(shaped)
    part, fit = 0, 0
    for place, signal in enumerate(shape.signals):
        middle, wide = usual[:, place], spread[:, place]
        if signal.given:
            mine, explained = kept[:, part : part + 3], model.explained[fit]
            away[:, place] = explained.remainder(mine, signal.role) - middle
            wide = np.sqrt(wide**2 + (0.3 * explained.beyond(mine)) ** 2)
            ends = [explained.expected(mine, middle + side * wide, signal.role) for side in (-3, 3)]
            part, fit = part + 3, fit + 1
        else:
            away[:, place] = kept[:, part] - middle
            base = before[:, signal.column] if signal.role == Role.MEMORY else 0.0
            ends = [base + middle - 3 * wide, base + middle + 3 * wide]
            part += 1
        low[:, place], high[:, place] = (signals.restored(end, signal.role) for end in ends)
        spread[:, place] = wide
    return away / spread, away, low, high


def _ceiling(rate: float, asked: Floats) -> Floats:
    """The share of failures that so many requests may have by chance."""
    asked = np.maximum(asked, 1.0)
    return np.minimum(rate + 3 * np.sqrt(rate / asked) + 3 / asked, 1.0)


def _learned(frame: Frame, shape: learning.Shape, where: State, excluded: Sequence[tuple[int, int]]) -> State:
    """The state after a day (UTC) is over: it is remembered, and the next day's model is fitted."""
    assert where.today is not None  # Rows of the day were judged just now.
    first = where.rows - len(where.today.kept)
    begins = frame.start - frame.step + frame.step * np.arange(first, where.rows, dtype=np.int64)
    out = np.zeros(len(begins), dtype=np.bool_)
    for start, end in excluded:
        out |= (begins + frame.step > start) & (begins < end)
    counts = learning.counts_of(shape, frame.values[first : where.rows])
    past = learning.remembered(shape, where.past, where.today, begins, counts, out)
    return replace(where, past=past, model=learning.fit(shape, past), today=None)


def _verdict(
    frame: Frame,
    shape: learning.Shape,
    first: int,
    pieces: Sequence[_Piece],
    where: State,
    excluded: Sequence[tuple[int, int]],
) -> Judged:
    """Fuse the channels of the rows judged into one score, and find the driver."""
    rows = _together(shape, pieces)
    many = len(shape.columns)
    shaped = (len(frame) - first, many)
    signed, low, high = np.zeros(shaped), np.full(shaped, np.nan), np.full(shaped, np.nan)
    stuck = np.zeros(shaped, dtype=np.bool_)
    for place in range(many):
        signed[:, place] = _signed(shape, rows.scores, place)
        low[:, place], high[:, place] = _band(shape, place, rows)
        if place in shape.steady:
            still = rows.still[:, place]
            stuck[:, place] = (still >= 1) & (rows.missing[:, place] == 0) & rows.ripe[:, place]
            value = np.where(stuck[:, place], STUCK * (1 + still) / 2, 0.0)
            signed[:, place] = np.where(value > np.abs(signed[:, place]), value, signed[:, place])
    signed = np.where(rows.ripe, signed, 0.0)
    magnitude = np.abs(signed)
    blind = ~rows.ripe.any(axis=1) | (rows.missing > 0).all(axis=1)
    score = np.where(blind, np.nan, _fused(magnitude))
    loudest = magnitude.argmax(axis=1) if many else np.zeros(len(score), dtype=np.int64)
    driver = np.where(magnitude.max(axis=1, initial=0.0) >= ODD, loudest, -1)
    since = where.since[where.since >= 0]
    begun = int(since.min()) if len(since) else None
    return Judged(
        columns=shape.columns,
        first=first,
        times=frame.times[first:],
        values=frame.values[first:],
        score=score,
        signed=signed,
        low=low,
        high=high,
        driver=driver,
        stuck=stuck,
        no_data=rows.missing >= NO_DATA_STEPS,
        learning=np.all(~rows.ripe, axis=1),
        since=begun,
        ready_at=None if begun is None else begun + LEARN,
        state=replace(where, digest=_digest(frame.values), excluded=tuple(excluded)),
    )


def _together(shape: learning.Shape, pieces: Sequence[_Piece]) -> _Piece:
    """The pieces as one; of no rows where there are none."""
    if not pieces:
        many, floats = len(shape.columns), np.empty((0, len(shape.signals)))
        none = np.empty((0, many), dtype=np.int64)
        scores, still = np.empty((0, len(shape.channels))), np.empty((0, many))
        return _Piece(scores, still, floats, floats, floats, np.empty((0, 1)), none, none > 0)
    return _Piece(*(np.concatenate(each) for each in zip(*pieces, strict=True)))


def _signed(shape: learning.Shape, scores: Floats, column: int) -> Floats:
    """A column's loudest channel, negative where that one is about too little."""
    mine = [place for place, each in enumerate(shape.channels) if each.column == column]
    if not mine:
        return np.zeros(len(scores))
    heard: Floats = np.nan_to_num(scores[:, mine], nan=0.0)
    loudest = heard.argmax(axis=1)
    signs = np.array([shape.channels[place].sign for place in mine], dtype=np.float64)
    found: Floats = heard[np.arange(len(heard)), loudest] * signs[loudest]
    return found


def _band(shape: learning.Shape, column: int, rows: _Piece) -> tuple[Floats, Floats]:
    """What was expected of a column: by itself, or given the traffic where that is the odder of the two."""
    if shape.columns[column].role is Role.ERRORS:
        ceiling = rows.ceiling[:, 0]
        return np.where(np.isnan(ceiling), np.nan, 0.0), ceiling
    mine = [place for place, each in enumerate(shape.signals) if each.column == column]
    low, high, far = (each[:, mine[0]] for each in (rows.low, rows.high, rows.distance))
    for place in mine[1:]:
        odder = np.nan_to_num(np.abs(rows.distance[:, place])) > np.fmax(np.abs(far), 3.0)
        low, high = np.where(odder, rows.low[:, place], low), np.where(odder, rows.high[:, place], high)
    return low, high


def _fused(magnitude: Floats) -> Floats:
    """One score of a row: the oddest column counts most, and others that moved with it add to it."""
    if not magnitude.shape[1]:
        return np.full(len(magnitude), np.nan)
    ordered = np.sort(magnitude, axis=1)[:, ::-1]
    top = ordered[:, 0]
    rest = np.maximum(ordered[:, 1:3] - ODD, 0.0)
    fused: Floats = top + 0.25 * np.minimum(rest.sum(axis=1), top)
    return np.where(fused > 6, 6 + np.log2(1 + np.maximum(fused - 6, 0.0)), fused)


def scored(judged: Judged) -> list[anomalies.Scored]:
    """The judged steps as light values for ``anomalies.follow``, one for each row."""
    found = []
    loud = np.abs(judged.signed) >= ODD
    for row, at in enumerate(judged.times.tolist()):
        score = float(judged.score[row])
        order = np.argsort(-np.abs(judged.signed[row]), kind="stable")
        found.append(
            anomalies.Scored(
                at=at,
                score=None if np.isnan(score) else score,
                deviations=tuple(_deviation(judged, row, int(each)) for each in order if loud[row, each]),
                silent=tuple(
                    column.name for place, column in enumerate(judged.columns) if judged.no_data[row, place]
                ),
            )
        )
    return found


def _deviation(judged: Judged, row: int, place: int) -> anomalies.Deviation:
    value, low, high = (float(each[row, place]) for each in (judged.values, judged.low, judged.high))
    way = anomalies.Direction.UP if judged.signed[row, place] > 0 else anomalies.Direction.DOWN
    return anomalies.Deviation(
        column=judged.columns[place].name,
        direction=anomalies.Direction.STUCK if judged.stuck[row, place] else way,
        observed=None if np.isnan(value) else value,
        low=None if np.isnan(low) else low,
        high=None if np.isnan(high) else high,
        score=abs(float(judged.signed[row, place])),
    )
