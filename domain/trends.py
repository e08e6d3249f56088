"""The trend of a series of days: a robust line with breaks, a weekly season, and how sure it is."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Days = NDArray[np.int64]

WEEK = 7

SURE = 2.6
"""Standard errors from which a slope is called growth: 1 in 100 of the flat series pass."""
BREAKS = 3
AFTER_STEP, AFTER_BEND = 7, 21
"""Days that must lie on either side of a new level, and of a new slope, to be told from outliers."""
BETTER = 0.85
"""How much smaller the typical residual must get for a break to be believed."""
WANDERING = 0.5
"""The memory of residuals from which a series wanders, rather than breaks."""
PAIRS = 13
"""Neighbouring days from which a memory can be estimated."""
UNSEEN = 0.5
"""Bends, each by the slope's own size, that are assumed beside those that were found."""
COMPOUND = 56
"""Days of history from which growth by a share can be told from growth by an amount."""
EVIDENT = 4.0
"""How much better, by Bayes's criterion, growth by a share must fit: odds of 7 to 1."""
LARGEST = 700.0
"""The largest logarithm that is a number again."""

SLOPE_DAYS = 4 * WEEK
"""The days that a slope's column counts as one, which keeps the columns alike in size."""
TURNS = 40
"""Rounds of the robust fit; half of them for its start."""


@dataclass(frozen=True, slots=True)
class Break:
    """A new level (``bend`` false) or a new slope from a day on; ``size`` in the unit, or the unit a day."""

    day: int
    bend: bool
    size: float = 0.0

    def column(self, days: Days) -> Floats:
        after = np.asarray(days >= self.day, dtype=np.float64)
        return after * (days - self.day) / SLOPE_DAYS if self.bend else after


@dataclass(frozen=True, slots=True)
class Form:
    """Which columns a fit has: level, slope, each break, then six weekdays against Thursday's.

    ``levels`` are earlier coefficients of level, slope and breaks: the week then swings in proportion to
    that line, as it does where a service grows by having more users of the same habits.
    """

    now: int
    season: bool = False
    breaks: tuple[Break, ...] = ()
    levels: tuple[float, ...] = ()

    def design(self, days: Days, *, held: bool = False) -> Floats:
        """The columns for some days; ``held``: what is later than today has today's line."""
        line = self._line(np.minimum(days, self.now) if held else days)
        if not self.season:
            return line
        weekday = days % WEEK
        week = np.column_stack([(weekday == one).astype(float) - (weekday == 0) for one in range(1, WEEK)])
        if self.levels:
            levels = np.array(self.levels)
            week *= np.clip(line @ levels / (self._line(np.array([self.now])) @ levels), 0.1, 10)[:, None]
        return np.hstack([line, week])

    def _line(self, days: Days) -> Floats:
        columns = [np.ones(len(days)), (days - self.now) / SLOPE_DAYS]
        return np.column_stack([*columns, *(one.column(days) for one in self.breaks)])

    def growing(self, days: Days, values: Floats) -> "Form":
        """The same with the week in proportion to the line, where there is a line above zero."""
        line = self._line(days)
        coefficients, _ = _robust(self.design(days), values)
        levels = coefficients[: line.shape[1]]
        if not self.season or min((line @ levels).min(), (self._line(np.array([self.now])) @ levels)[0]) <= 0:
            return self
        return replace(self, levels=tuple(levels.tolist()))


@dataclass(frozen=True, slots=True)
class Trend:
    """A line with breaks, a weekly season, and what they leave over; robust against outliers.

    Fitted by iterated weights from absolute residuals (a high breakdown) to Tukey's bisquare. What is left
    over follows an autoregression of one day, ``memory`` its coefficient, which widens the uncertainty of
    the line by (1 + memory) / (1 - memory).
    """

    form: Form
    newest: int
    span: int
    flat: bool
    slope: float
    coefficients: Floats
    covariance: Floats
    residuals: Floats
    last: float
    memory: float
    freedom: int

    @classmethod
    def of(cls, days: Days, values: Floats, now: int) -> "Trend":
        form = _form(days, values, now)
        design = form.design(days)
        coefficients, weights = _robust(design, values)
        freedom = max(1, len(values) - design.shape[1])
        spread = _spread(values - design @ coefficients, freedom)
        kept = np.clip(values - design @ coefficients, -3 * spread, 3 * spread)
        memory = _memory(days, kept)
        unscaled = np.linalg.pinv(design.T @ (design * weights[:, None]))
        covariance: Floats = unscaled.astype(np.float64) * spread**2 * (1 + memory) / (1 - memory)
        gradient = np.zeros(design.shape[1])
        gradient[1 : 2 + len(form.breaks)] = [1, *(float(one.bend) for one in form.breaks)]
        slope = float(gradient @ coefficients)
        error = math.sqrt(max(0.0, float(gradient @ covariance @ gradient)))
        flat = abs(slope) <= max(SURE * error, 1e-9 * float(np.abs(values).max(initial=0.0)))
        if flat and not any(one.bend for one in form.breaks):
            # Without its slope the level is known better.
            level, _ = _robust(np.delete(design, 1, axis=1), values)
            coefficients = np.insert(level, 1, 0.0)
            kept = np.clip(values - design @ coefficients, -3 * spread, 3 * spread)
        sizes = zip(form.breaks, coefficients[2:], strict=False)
        sized = tuple(replace(one, size=float(c) / (SLOPE_DAYS if one.bend else 1)) for one, c in sizes)
        return cls(
            form=replace(form, breaks=sized),
            newest=int(days[-1]),
            span=int(days[-1] - days[0]) + 1,
            flat=flat,
            slope=slope / SLOPE_DAYS,
            coefficients=coefficients,
            covariance=covariance,
            residuals=(values - design @ coefficients) * math.sqrt(len(values) / freedom),
            last=float(kept[-1]),
            memory=memory,
            freedom=freedom,
        )

    @property
    def growth(self) -> float:
        """The unit a day; exactly 0 where it cannot be told from none."""
        return 0.0 if self.flat else self.slope

    def at(self, days: Days, share: float) -> tuple[Floats, Floats, Floats]:
        """What is expected of some days, and the ends of its interval."""
        from scipy.special import stdtrit

        ahead = np.maximum(days - self.newest, 0).astype(np.float64)
        recalled = self.memory**ahead
        middle = self.form.design(days, held=self.flat) @ self.coefficients + recalled * self.last
        design = self.form.design(days)
        variance = np.einsum("ij,jk,ik->i", design, self.covariance, design)
        doubt = float(stdtrit(self.freedom, (1 + share) / 2)) * np.sqrt(
            np.maximum(variance, 0.0) + self._future(ahead, share)
        )
        fresh = np.sqrt(1 - recalled**2)
        outside = [(1 - share) / 2, (1 + share) / 2]
        below, above = np.quantile(self.residuals, outside, method="weibull")  # Of a new one, not of these.
        return (
            middle,
            middle - np.hypot(min(float(below), 0.0) * fresh, doubt),
            middle + np.hypot(max(float(above), 0.0) * fresh, doubt),
        )

    def _future(self, ahead: Floats, share: float) -> Floats:
        """The variance that breaks to come would add, if they come as often and as large as those seen.

        Slopes that change n times in the history's span by d spread by n d² h³ / 3 span over h days, levels
        by n d² h / span. Half a bend by the slope's own size is assumed on top: no growth lasts for ever.
        What is less likely than the interval leaves out does not widen it.
        """
        total = np.zeros(len(ahead))
        bends = [(1.0, one.size) for one in self.form.breaks if one.bend]
        for count, size in [*bends, (UNSEEN, self.slope)]:
            likely = np.clip(count * ahead / self.span / (1 - share), 0, 1)
            total += likely**2 * count / self.span * size**2 * ahead**3 / 3
        for one in self.form.breaks:
            if not one.bend:
                likely = np.clip(ahead / self.span / (1 - share), 0, 1)
                total += likely**2 * one.size**2 * ahead / self.span
        return total


@dataclass(frozen=True, slots=True)
class Compound:
    """A trend of the logarithms: growth by a share a day."""

    logs: Trend

    @property
    def growth(self) -> float:
        """The unit a day, on average over the week before today."""
        form = self.logs.form
        week = np.exp(form.design(np.arange(form.now - WEEK, form.now)) @ self.logs.coefficients)
        return self.logs.growth * float(week.mean())

    def at(self, days: Days, share: float) -> tuple[Floats, Floats, Floats]:
        """What is expected of some days, and the ends of its interval."""
        middle, low, high = (np.exp(np.minimum(one, LARGEST)) for one in self.logs.at(days, share))
        return middle, low, high


def fitted(days: Days, values: Floats, now: int) -> Trend | Compound:
    """The trend of some days (ordinals, ascending), as seen on ``now``, a day after the last of them.

    Of the logarithms only where eight weeks have shown that it fits clearly better.
    """
    line = Trend.of(days, values, now)
    if line.flat or len(values) < COMPOUND or values.min() <= 0:
        return line
    logs = Trend.of(days, np.log(values), now)
    if logs.flat or any(one.bend for one in logs.form.breaks):
        return line  # A share that changes is no simpler than an amount that does.

    def score(fit: Floats, columns: int) -> float:
        size = max(float(np.mean(np.abs(values - fit))), _tiny(values))
        return 2 * len(values) * math.log(size) + columns * math.log(len(values))

    bent = score(line.form.design(days) @ line.coefficients, len(line.coefficients))
    grown = score(np.exp(logs.form.design(days) @ logs.coefficients), len(logs.coefficients))
    return Compound(logs) if grown < bent - EVIDENT else line


def _robust(design: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Coefficients and final weights of a regression that a few wild values do not move."""
    tiny = _tiny(values)
    freedom = max(1, len(values) - design.shape[1])
    weights = np.ones(len(values))
    coefficients = np.zeros(design.shape[1])
    scale = tiny
    for turn in range(TURNS):
        root = np.sqrt(weights)
        coefficients = np.asarray(
            np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0], dtype=np.float64
        )
        residuals = np.abs(values - design @ coefficients)
        if turn < TURNS // 2:
            weights = 1 / np.maximum(residuals, max(tiny, 1e-3 * float(np.median(residuals))))
            weights /= weights.max()
            scale = max(_spread(residuals, freedom), tiny)
        elif turn < TURNS - 1:
            weights = np.clip(1 - (residuals / (4.685 * scale)) ** 2, 0, 1) ** 2
    return coefficients, weights


def _tiny(values: Floats) -> float:
    """What counts as no difference at all between such values."""
    return 1e-9 * float(np.abs(values).max(initial=0.0)) + 1e-300


def _spread(residuals: Floats, freedom: int) -> float:
    """The standard deviation that the middle half of the residuals suggests.

    A fit of absolute residuals passes through as many values as it has coefficients: those do not count.
    """
    return 1.4826 * float(np.median(np.sort(np.abs(residuals))[-freedom:]))


def _memory(days: Days, residuals: Floats) -> float:
    """How much of a day's residual is left on the next: 0 where chance could make it, at most 0.95."""
    pairs = np.flatnonzero(np.diff(days) == 1)
    power = float(np.mean(residuals**2))
    if len(pairs) < PAIRS or power == 0:
        return 0.0
    found = float(np.mean(residuals[pairs] * residuals[pairs + 1])) / power
    if found < 2 / math.sqrt(len(pairs)):
        return 0.0
    return min(0.95, found + (1 + 4 * found) / len(pairs))  # Kendall's correction for short series.


@dataclass(frozen=True, slots=True)
class _Tried:
    """A fit for comparison: Bayes's information criterion for absolute residuals, and their mean size."""

    form: Form
    score: float
    size: float
    residuals: Floats

    @classmethod
    def of(cls, form: Form, days: Days, values: Floats) -> "_Tried":
        design = form.design(days)
        coefficients, _ = _robust(design, values)
        residuals = values - design @ coefficients
        size = max(float(np.mean(np.abs(residuals))), _tiny(values))
        score = 2 * len(values) * math.log(size) + design.shape[1] * math.log(len(values))
        return cls(form, score, size, residuals)


def _form(days: Days, values: Floats, now: int) -> Form:
    """The columns that these days ask for: a week, in proportion or not, and breaks."""
    best = _Tried.of(Form(now), days, values)
    if len(np.unique(days % WEEK)) == WEEK:
        weekly = _Tried.of(replace(best.form, season=True), days, values)
        growing = _Tried.of(weekly.form.growing(days, values), days, values)
        best = min(best, weekly, growing, key=lambda tried: tried.score)
    whole = best
    for _ in range(BREAKS):
        tried = _broken(best, days, values)
        if tried is None or tried.score >= best.score or tried.size > BETTER * best.size:
            break
        best = tried
    if _memory(days, best.residuals) > WANDERING:
        return whole.form  # It wanders: breaks would only follow it.
    return best.form


def _broken(best: _Tried, days: Days, values: Floats) -> _Tried | None:
    """The same with one more break, where it helps most; ``None`` where the history is too short for one."""
    form = best.form
    design = form.design(days)
    candidates = [
        Break(int(day), bend)
        for bend, margin in ((False, AFTER_STEP), (True, AFTER_BEND))
        for day in days[margin : len(days) - margin + 1]
        if all(abs(int(day) - one.day) >= margin for one in form.breaks)
    ]
    if not candidates or design.shape[1] + 2 > len(values) // 2:
        return None
    spread = _spread(best.residuals, len(values))
    pulled = np.clip(best.residuals, -2 * spread, 2 * spread)
    basis, _ = np.linalg.qr(design)
    columns = np.column_stack([one.column(days) for one in candidates])
    columns -= basis @ (basis.T @ columns)
    power = np.einsum("ij,ij->j", columns, columns)
    gains = np.where(power > 1e-9, (pulled @ columns) ** 2 / np.maximum(power, 1e-9), 0)
    wider = replace(form, breaks=(*form.breaks, candidates[int(np.argmax(gains))]), levels=())
    return _Tried.of(wider.growing(days, values) if form.levels else wider, days, values)
