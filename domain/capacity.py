"""How a service grows: a forecast from today with its interval, days until a limit, and what to change."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Any

from domain.effects import Text
from domain.series import Aligner, Series
from domain.units import Unit

DAY = 86400
WEEK = 7
LONG_ENOUGH = 28
"""Days with data below which nothing is made smaller."""
SMALLER = 0.7
"""How much of the present setting a smaller one may be at most: less would not be worth the change."""
NEEDED = 14
"""Days with data below which no number is given: two of each weekday."""
STALE = 7
"""Days without data up to today, beyond which a forecast would be about another time."""
WINDOW = 182
"""Days of history that count: half a year."""
COVERED = 0.75
"""The share of a day's samples that makes it a day with data."""
SHARE = 0.8
"""How much of what will be seen an interval is meant to hold."""


class Lack(StrEnum):
    """Why there is no forecast."""

    TOO_FEW = "too_few"
    TOO_OLD = "too_old"


@dataclass(frozen=True, slots=True)
class NotEnough:
    """No number: ``days`` with data of the ``needed`` ones, ``newest`` the last of them (``None``: none)."""

    why: Lack
    days: int
    needed: int
    newest: date | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of each day, in ``unit``.

    ``expected[k]`` with ``low[k]`` and ``high[k]`` is of ``today + k`` days; the last one is ``days`` from
    today. ``share`` of what will be seen should lie between low and high, each day by itself. ``growth`` is
    in ``unit`` a day, exactly 0 where it cannot be told from none. ``current`` is the largest expected
    value of the seven days before today, ``peak`` the largest one seen in the last 28 days, outliers
    included. ``history`` are the days with data, by date. ``zone`` is where a day begins.
    """

    unit: Unit
    today: date
    zone: tzinfo
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    share: float
    growth: float
    current: float
    peak: float
    history: Mapping[date, float]

    @property
    def days(self) -> int:
        """How far it looks."""
        return len(self.expected) - 1

    def day(self, after: int) -> date:
        """The date ``after`` days from today."""
        return date.fromordinal(self.today.toordinal() + after)


@dataclass(frozen=True, slots=True)
class Reach:
    """Days from today until a level is reached; ``None`` where that is not within the horizon.

    ``earliest`` and ``latest`` are where the ends of the interval get there. ``over`` where it has been
    reached already: then the days are 0.
    """

    days: int | None
    earliest: int | None
    latest: int | None
    over: bool = False


def forecast(
    series: Series,
    at: int,
    days: int,
    *,
    unit: Unit = Unit.COUNT,
    zone: tzinfo = UTC,
    fold: Aligner = Aligner.MAX,
    floor: float | None = 0.0,
    share: float = SHARE,
) -> Forecast | NotEnough:
    """The next ``days`` days counted from the day of ``at`` (epoch seconds), not from the first sample.

    Steps of at most a day are folded into days of ``zone`` by ``fold``; the unfinished day of ``at`` and
    all that is later is left out. ``floor`` is what the quantity cannot fall below (``None``: anything).
    """
    if not 0 < series.step <= DAY or days < 1:
        raise ValueError("a forecast needs steps of at most a day, and a day to look at")
    today = datetime.fromtimestamp(at, zone).date()
    known = by_day(series, zone, fold)
    start, now = today.toordinal() - WINDOW, today.toordinal()
    kept = {day: value for day, value in known.items() if start <= day < now}
    newest = date.fromordinal(max(kept)) if kept else None
    if len(kept) < NEEDED:
        return NotEnough(Lack.TOO_FEW, len(kept), NEEDED, newest)
    if max(kept) < now - STALE:
        return NotEnough(Lack.TOO_OLD, len(kept), NEEDED, newest)
    import numpy as np  # Slow to load, and only needed here.

    from domain import trends

    fitted = trends.fitted(np.array(list(kept)), np.array(list(kept.values())), now)
    expected, low, high = (
        one if floor is None else np.maximum(one, floor)
        for one in fitted.at(np.arange(now - WEEK, now + days + 1), share)
    )
    return Forecast(
        unit=unit,
        today=today,
        zone=zone,
        expected=tuple(expected[WEEK:].tolist()),
        low=tuple(low[WEEK:].tolist()),
        high=tuple(high[WEEK:].tolist()),
        share=share,
        growth=fitted.growth,
        current=float(expected[:WEEK].max()),
        peak=max(value for day, value in kept.items() if day >= now - 4 * WEEK),
        history={date.fromordinal(day): value for day, value in kept.items()},
    )


def by_day(series: Series, zone: tzinfo, fold: Aligner) -> dict[int, float]:
    """One number for each day that has enough samples, by ordinal, in order.

    A step belongs to the day of its middle. NaN and infinity are missing.
    """
    days: dict[int, list[float]] = {}
    for place, value in enumerate(series.values):
        if math.isfinite(value):
            middle = series.start + place * series.step - series.step / 2
            days.setdefault(datetime.fromtimestamp(middle, zone).toordinal(), []).append(value)
    whole = DAY / series.step
    return {
        day: _folded(values, fold, whole) for day, values in days.items() if len(values) >= COVERED * whole
    }


def _folded(values: Sequence[float], fold: Aligner, whole: float) -> float:
    match fold:
        case Aligner.MAX:
            return max(values)
        case Aligner.MIN:
            return min(values)
        case Aligner.SUM | Aligner.DELTA:
            return math.fsum(values) * whole / len(values)  # For the samples that are missing.
        case Aligner.MEAN | Aligner.RATE:
            return math.fsum(values) / len(values)


def reach(forecast: Forecast, level: float) -> Reach:
    """When ``level``, in the forecast's unit, is reached from below."""
    if forecast.current >= level:
        return Reach(0, 0, 0, over=True)

    def first(path: Sequence[float]) -> int | None:
        return next((day for day, value in enumerate(path) if value >= level), None)

    return Reach(days=first(forecast.expected), earliest=first(forecast.high), latest=first(forecast.low))


class Move(StrEnum):
    """What an advice is about."""

    OVER = "over"
    RAISE = "raise"
    LOWER = "lower"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Limit:
    """A current setting that bounds the forecast quantity, in ``unit``, and how it may be changed.

    It counts as full at the share ``full`` of its value. A new value is chosen so that what is expected
    fills the share ``room`` of it: between room and full nothing is advised, so that an advice that was
    followed does not call for its opposite. New values are multiples of ``grain``, or one of ``choices``
    where there are only some sizes; never below ``least``. ``lead`` is how many days a change takes.
    """

    name: str
    value: float
    unit: Unit
    full: float = 0.8
    room: float = 0.6
    grain: float = 1.0
    choices: tuple[float, ...] = ()
    least: float = 0.0
    lead: int = 14

    def fit(self, used: float) -> float | None:
        """The smallest setting of which ``used`` takes no more than the room; ``None``: there is none."""
        wanted = max(used / self.room, self.least)
        if self.choices:
            return next((size for size in sorted(self.choices) if size >= wanted), None)
        return max(1, math.ceil(wanted / self.grain - 1e-9)) * self.grain


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, as data: amounts are (value, unit), spans seconds, days epoch seconds.

    ``wanted`` is the new setting, in ``unit``; ``before`` the day it is needed on, ``begin`` the day to
    begin on because the change takes time (never before today).
    """

    move: Move
    text: Text
    unit: Unit
    wanted: float | None = None
    before: date | None = None
    begin: date | None = None


def advise(forecast: Forecast, limit: Limit) -> list[Advice]:
    """What the forecast means for one setting, the most urgent first; nothing where it can stay.

    Raises ``ValueError`` where they are not of one unit.
    """
    if forecast.unit is not limit.unit or limit.value <= 0:
        raise ValueError(f"{limit.name}: a limit above zero in {forecast.unit} is needed")
    when = reach(forecast, limit.full * limit.value)
    if when.over:
        return [_over(forecast, limit), *_larger(forecast, limit, 0)]
    if when.days is not None:
        return [_reached(forecast, limit, when, when.days), *_larger(forecast, limit, when.days)]
    if when.earliest is not None:
        params = _about(limit) | {"earliest": when.earliest * DAY, "horizon": forecast.days * DAY}
        return [Advice(Move.WATCH, Text(key="capacity.may_reach", params=params), limit.unit)]
    return _smaller(forecast, limit)


def _about(limit: Limit) -> dict[str, Any]:
    return {
        "name": limit.name,
        "limit": (limit.value, limit.unit.value),
        "share": (limit.full, Unit.SHARE.value),
    }


def _over(forecast: Forecast, limit: Limit) -> Advice:
    params = _about(limit) | {
        "used": (forecast.current, limit.unit.value),
        "used_share": (forecast.current / limit.value, Unit.SHARE.value),
    }
    return Advice(
        Move.OVER, Text(key="capacity.over", params=params), limit.unit, None, forecast.today, forecast.today
    )


def _reached(forecast: Forecast, limit: Limit, when: Reach, days: int) -> Advice:
    """``capacity.reach``, or ``capacity.reach_open`` where the interval has no end within the horizon."""
    params = _about(limit) | {
        "in": days * DAY,
        "on": _epoch(forecast, days),
        "earliest": (days if when.earliest is None else when.earliest) * DAY,
        "horizon": forecast.days * DAY,
    }
    key = "capacity.reach_open"
    if when.latest is not None:
        key, params["latest"] = "capacity.reach", when.latest * DAY
    return Advice(Move.WATCH, Text(key=key, params=params), limit.unit, before=forecast.day(days))


def _larger(forecast: Forecast, limit: Limit, days: int) -> list[Advice]:
    """The setting that lasts to the horizon; ``capacity.no_larger`` where none of the sizes does."""
    used = max(forecast.current, *forecast.expected)
    wanted = limit.fit(used)
    begin = max(0, days - limit.lead)
    params = _about(limit) | {
        "used": (used, limit.unit.value),
        "before": _epoch(forecast, days),
        "begin": _epoch(forecast, begin),
        "lead": limit.lead * DAY,
        "horizon": forecast.days * DAY,
    }
    if wanted is None:
        text = Text(key="capacity.no_larger", params=params)
    elif wanted <= limit.value:
        return []  # Full for now, and falling.
    else:
        text = Text(key="capacity.raise", params=params | {"wanted": (wanted, limit.unit.value)})
    return [Advice(Move.RAISE, text, limit.unit, wanted, forecast.day(days), forecast.day(begin))]


def _smaller(forecast: Forecast, limit: Limit) -> list[Advice]:
    """Judged by the high end of the interval and the largest value seen, so that less is safe to take."""
    if len(forecast.history) < LONG_ENOUGH:
        return []
    used = max(forecast.current, forecast.peak, *forecast.high)
    wanted = limit.fit(used)
    if wanted is None or wanted > SMALLER * limit.value:
        return []
    params = _about(limit) | {
        "used": (used, limit.unit.value),
        "wanted": (wanted, limit.unit.value),
        "horizon": forecast.days * DAY,
    }
    return [Advice(Move.LOWER, Text(key="capacity.lower", params=params), limit.unit, wanted)]


def _epoch(forecast: Forecast, after: int) -> int:
    """Noon of a day, which is the same date for readers who live some zones away."""
    return int(datetime.combine(forecast.day(after), time(12), forecast.zone).timestamp())
