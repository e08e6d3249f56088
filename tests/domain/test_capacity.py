"""Growth: forecasts that count from today, intervals that hold, limits, and advice that can be followed."""

import math
import pickle
from array import array
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from domain.capacity import (
    DAY,
    Advice,
    Forecast,
    Lack,
    Limit,
    Move,
    NotEnough,
    Reach,
    advise,
    forecast,
    reach,
)
from domain.series import Aligner, Series
from domain.units import Unit

TODAY = date(2026, 11, 23)
AT = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp())
MIDNIGHT = AT - 10 * 3600
WEEKDAYS = np.array([1.0, 0.95, 0.9, 0.97, 1.1, 0.6, 0.5])


def daily(values: Sequence[float], *, ago: int = 0) -> Series:
    """One value a day, the last one of the day before today, or ``ago`` days earlier."""
    start = MIDNIGHT - (len(values) - 1 + ago) * DAY
    return Series(start=start, step=DAY, values=array("d", values), labels={})


def look(values: Sequence[float], days: int = 90, **rest: object) -> Forecast:
    found = forecast(daily(values), AT, days, **rest)  # type: ignore[arg-type]
    assert isinstance(found, Forecast)
    return found


def line(start: float, slope: float, days: int) -> list[float]:
    return [start + slope * day for day in range(days)]


def noisy(days: int, seed: int, shape: Callable[[np.ndarray], np.ndarray], noise: float = 5.0) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return shape(np.arange(days, dtype=float)) + noise * chance.standard_normal(days)


# From today.


def test_seed_defect_84_the_forecast_is_for_days_from_today_and_not_from_the_launch() -> None:
    # On day 499 there are 1,990 users, ten more each day: in ninety days 2,890, where the seed said -2,103.
    found = look(line(10 * 400 - 3000, 10, 99))
    assert found.today == TODAY
    assert found.expected[0] == pytest.approx(1990)
    assert found.expected[90] == pytest.approx(2890)
    assert (found.days, found.day(90)) == (90, TODAY + timedelta(days=90))
    assert found.growth == pytest.approx(10)


def test_seed_defect_84_missing_last_days_do_not_move_the_forecast() -> None:
    found = forecast(daily(line(940, 10, 96), ago=3), AT, 90)
    assert isinstance(found, Forecast)
    assert found.expected[90] == pytest.approx(940 + 10 * (95 + 4 + 90))


def test_the_unfinished_day_and_what_lies_after_it_do_not_count() -> None:
    known = line(100, 1, 60)
    later = Series(start=MIDNIGHT - 59 * DAY, step=DAY, values=array("d", [*known, 1e6, 1e6, 1e6]), labels={})
    assert forecast(later, AT, 30) == forecast(daily(known), AT, 30)


def test_hours_are_folded_into_days_of_the_teams_zone() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    # A peak of 100 + day at noon in Tokyo, 3 o'clock in UTC, and 10 at all other hours.
    values = [100.0 + place // 24 if place % 24 == 3 else 10.0 for place in range(40 * 24)]
    series = Series(start=MIDNIGHT - 40 * DAY + 3600, step=3600, values=array("d", values), labels={})
    for fold, expected in ((Aligner.MAX, 140.0), (Aligner.MIN, 10.0), (Aligner.SUM, 370.0)):
        found = forecast(series, AT, 30, zone=tokyo, fold=fold)
        assert isinstance(found, Forecast)
        assert found.expected[0] == pytest.approx(expected, abs=1.1)


def test_a_day_with_too_few_hours_is_a_missing_day_and_a_sum_is_scaled_for_missing_hours() -> None:
    values = [10.0] * (20 * 24)
    values[:10] = [math.nan] * 10
    values[24:28] = [math.nan] * 4
    series = Series(start=MIDNIGHT - 20 * DAY + 3600, step=3600, values=array("d", values), labels={})
    found = forecast(series, AT, 7, fold=Aligner.SUM)
    assert isinstance(found, Forecast)
    assert len(found.history) == 19
    assert set(found.history.values()) == {240.0}


# Not enough.


@pytest.mark.parametrize(
    ("values", "days"),
    [([], 0), ([5.0], 1), ([5.0] * 13, 13), ([math.nan] * 50, 0), ([math.inf, *[1.0] * 13], 13)],
    ids=["empty", "one row", "thirteen days", "nothing but NaN", "infinity"],
)
def test_seed_defect_85_too_little_history_is_said_and_gives_no_number(
    values: list[float], days: int
) -> None:
    newest = TODAY - timedelta(days=1) if days else None
    assert forecast(daily(values), AT, 90) == NotEnough(Lack.TOO_FEW, days, 14, newest)


def test_history_that_ended_long_ago_gives_no_number() -> None:
    found = forecast(daily([5.0] * 60, ago=20), AT, 90)
    assert found == NotEnough(Lack.TOO_OLD, 60, 14, TODAY - timedelta(days=21))
    assert forecast(daily([5.0] * 60, ago=400), AT, 90) == NotEnough(Lack.TOO_FEW, 0, 14, None)


def test_what_cannot_be_asked_is_refused() -> None:
    weekly = Series(start=MIDNIGHT, step=7 * DAY, values=array("d", [1.0]), labels={})
    with pytest.raises(ValueError, match="steps of at most a day"):
        forecast(weekly, AT, 30)
    with pytest.raises(ValueError, match="a day to look at"):
        forecast(daily([1.0] * 30), AT, 0)


# Flat, growing, breaking.


def test_seed_defect_85_a_constant_series_is_flat_and_has_no_confidence_score() -> None:
    found = look([250.0] * 60)
    assert found.growth == 0.0
    for path in (found.expected, found.low, found.high):
        assert path == pytest.approx((250.0,) * 91)
    assert not hasattr(found, "confidence")
    assert look([0.0] * 60).expected == (0.0,) * 91


@pytest.mark.parametrize("days", [21, 60, 180])
def test_seed_defect_85_a_noisy_flat_series_is_flat_and_its_interval_is_its_noise(days: int) -> None:
    flat = 0
    for seed in range(10):
        found = look(noisy(days, seed, lambda day: 100 + 0 * day).tolist())
        if found.growth == 0.0:
            flat += 1
            assert max(found.expected[20:]) - min(found.expected[20:]) < 10
            assert found.expected[90] == pytest.approx(100, abs=8)
            assert found.high[1] - found.low[1] == pytest.approx(12.8, rel=0.8)
    assert flat >= 8


@pytest.mark.parametrize("grows", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("proportional", [False, True])
def test_growth_with_a_weekly_season_is_recovered_within_its_interval(
    grows: float, proportional: bool
) -> None:
    def shape(day: np.ndarray) -> np.ndarray:
        level = 200 + grows * day
        week = WEEKDAYS[day.astype(int) % 7]
        return level * week if proportional else level + 100 * (week - 1)

    truth = noisy(120 + 61, 7, shape, noise=0)
    held = 0
    for seed in range(10):
        seen = noisy(120, seed, lambda day: truth[:120] + 0 * day)
        found = look(seen.tolist(), 60)
        inside = [
            low <= true <= high for low, true, high in zip(found.low, truth[120:], found.high, strict=True)
        ]
        held += sum(inside)
        assert found.expected[60] == pytest.approx(truth[180], rel=0.2)
    assert held >= 0.85 * 10 * 61


def test_growth_by_a_share_is_told_from_growth_by_an_amount() -> None:
    seen = noisy(120, 3, lambda day: 100 * np.exp(0.01 * day), noise=2)
    found = look(seen.tolist(), 60)
    assert found.expected[60] == pytest.approx(100 * math.exp(1.8), rel=0.1)
    assert found.growth == pytest.approx(0.01 * 100 * math.exp(1.2), rel=0.15)
    assert look(line(100, 2, 120), 60).expected[60] == pytest.approx(460, rel=0.01)


def test_a_step_is_a_new_level_and_no_growth() -> None:
    seen = noisy(90, 5, lambda day: 100 + 80 * (day >= 60))
    found = look(seen.tolist())
    assert found.growth == 0.0
    assert found.expected[45] == pytest.approx(180, abs=5)


def test_a_new_slope_counts_from_when_it_is_seen() -> None:
    seen = noisy(120, 6, lambda day: 100 + 2.0 * np.maximum(day - 70, 0))
    found = look(seen.tolist(), 30)
    assert found.growth == pytest.approx(2.0, abs=0.3)
    assert found.expected[30] == pytest.approx(260, abs=15)


def test_outliers_do_not_move_the_forecast() -> None:
    clean = noisy(90, 8, lambda day: 100 + day)
    wild = clean.copy()
    wild[[3, 20, 41, 60, 77, 88]] = [5000, 0, 9000, 4000, 0, 7000]
    found = look(wild.tolist(), 60)
    assert found.expected[60] == pytest.approx(250, abs=12)
    assert found.expected[60] == pytest.approx(look(clean.tolist(), 60).expected[60], abs=10)
    assert found.peak == 7000


def test_missing_days_leave_the_forecast_where_it_was() -> None:
    seen = noisy(120, 9, lambda day: 100 + day + 30 * (WEEKDAYS[day.astype(int) % 7] - 1), noise=3)
    holes = seen.copy()
    holes[np.random.default_rng(1).choice(120, 40, replace=False)] = math.nan
    found = look(holes.tolist(), 60)
    assert len(found.history) == 80
    assert found.expected[60] == pytest.approx(look(seen.tolist(), 60).expected[60], abs=8)


def test_a_missing_weekday_is_no_trouble() -> None:
    seen = noisy(60, 2, lambda day: 100 + day)
    seen[5::7] = math.nan
    assert look(seen.tolist(), 30).expected[30] == pytest.approx(190, abs=8)


def test_a_falling_trend_never_goes_below_zero() -> None:
    found = look(noisy(60, 4, lambda day: 200 - 3 * day, noise=2).tolist())
    assert found.growth < 0
    assert found.expected[90] == found.low[90] == 0.0
    assert min(found.low) == 0.0 <= min(found.high)
    assert look(noisy(60, 4, lambda day: 200 - 3 * day, noise=2).tolist(), floor=None).expected[90] < -100


def test_the_same_history_gives_the_same_forecast() -> None:
    seen = noisy(150, 12, lambda day: 100 + day).tolist()
    assert look(seen) == look(seen)


@pytest.mark.parametrize(
    "shape",
    [
        lambda day: 300 + 0 * day,
        lambda day: 300 + 100 * WEEKDAYS[day.astype(int) % 7],
        lambda day: 300 + day,
        lambda day: (300 + day) * WEEKDAYS[day.astype(int) % 7],
        lambda day: 300 * np.exp(0.005 * day),
        lambda day: 300 + 150 * (day > 20),
    ],
    ids=["flat", "week", "growth", "growth and week", "compound", "step"],
)
@pytest.mark.parametrize("days", [35, 90])
def test_about_four_in_five_later_days_lie_within_the_interval(
    shape: Callable[[np.ndarray], np.ndarray], days: int
) -> None:
    held = [0, 0]
    for seed in range(25):
        seen = noisy(days + 31, 100 + seed, shape, noise=12)
        found = look(seen[:days].tolist(), 30)
        inside = [
            low <= true <= high for low, true, high in zip(found.low, seen[days:], found.high, strict=True)
        ]
        held[0] += sum(inside[:8])
        held[1] += sum(inside)
    assert 0.7 <= held[0] / (25 * 8) <= 0.96
    assert held[1] / (25 * 31) >= 0.65


def test_noise_that_remembers_widens_the_interval() -> None:
    doubts = []
    for memory in (0.0, 0.8):
        total = 0.0
        for seed in range(10):
            fresh = np.random.default_rng(seed).standard_normal(180)
            kept = np.zeros(180)
            for day in range(1, 180):
                kept[day] = memory * kept[day - 1] + math.sqrt(1 - memory**2) * fresh[day]
            found = look((300 + 10 * kept).tolist(), 60)
            total += found.high[60] - found.low[60]
        doubts.append(total)
    assert doubts[1] > 1.1 * doubts[0]


def test_a_forecast_travels_between_processes() -> None:
    found = look(line(100, 1, 40), 30, zone=ZoneInfo("Asia/Tokyo"))
    assert pickle.loads(pickle.dumps(found)) == found


# Limits.


def made(expected: Sequence[float], doubt: float = 0.0, **rest: object) -> Forecast:
    """A forecast as if it had been fitted: for the rules that only read it."""
    values: dict[str, object] = {
        "unit": Unit.COUNT,
        "today": TODAY,
        "zone": UTC,
        "expected": tuple(expected),
        "low": tuple(value - doubt * place for place, value in enumerate(expected)),
        "high": tuple(value + doubt * place for place, value in enumerate(expected)),
        "share": 0.8,
        "growth": 1.0,
        "current": expected[0] - 1,
        "peak": expected[0],
        "history": {TODAY - timedelta(days=day): 1.0 for day in range(60, 0, -1)},
    }
    return Forecast(**(values | rest))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (320, Reach(days=20, earliest=17, latest=25)),
        (340, Reach(days=40, earliest=34, latest=50)),
        (380, Reach(days=80, earliest=67, latest=None)),
        (405, Reach(days=None, earliest=88, latest=None)),
        (1000, Reach(days=None, earliest=None, latest=None)),
        (299, Reach(days=0, earliest=0, latest=0, over=True)),
    ],
)
def test_days_until_a_limit_come_with_their_interval(level: float, expected: Reach) -> None:
    assert reach(made(line(300, 1, 91), doubt=0.2), level) == expected


def test_a_weekend_below_the_limit_does_not_hide_a_week_above_it() -> None:
    week = [100.0, 100, 100, 100, 100, 60, 60] * 9
    found = look(week, 30)
    assert reach(found, 95).over
    assert not reach(found, 105).over


def amount(advice: Advice, name: str) -> float:
    """A parameter's number, and a check that its unit is beside it."""
    value, unit = advice.text.params[name]
    assert Unit(unit)
    return float(value)


def test_connections_reach_four_fifths_of_their_limit_in_34_days() -> None:
    first, second = advise(made(line(286, 1, 91), doubt=0.1), Limit("connections", 400, Unit.COUNT))
    assert (first.move, first.text.key) == (Move.WATCH, "capacity.reach")
    assert first.text.params == {
        "name": "connections",
        "limit": (400, "count"),
        "share": (0.8, "share"),
        "in": 34 * DAY,
        "earliest": 31 * DAY,
        "latest": 38 * DAY,
        "on": int(datetime(2026, 12, 27, 12, tzinfo=UTC).timestamp()),
        "horizon": 90 * DAY,
    }
    assert first.before == second.before == date(2026, 12, 27)
    assert (second.move, second.text.key, second.wanted) == (Move.RAISE, "capacity.raise", 627)
    assert second.begin == date(2026, 12, 13)


def test_max_instances_are_raised_to_a_size_that_lasts_and_in_time() -> None:
    limit = Limit("max_instances", 100, Unit.COUNT, grain=10, lead=7)
    advice = advise(made(line(50, 0.5, 91)), limit)[-1]
    assert (advice.move, advice.wanted, amount(advice, "limit"), amount(advice, "wanted")) == (
        Move.RAISE,
        160,
        100,
        160,
    )
    assert advice.before == TODAY + timedelta(days=60)
    assert advice.begin == TODAY + timedelta(days=53)
    assert advice.text.params["lead"] == 7 * DAY


def test_a_limit_that_is_full_already_comes_first_and_is_due_today() -> None:
    over, larger = advise(made(line(90, 1, 31), current=90.0), Limit("max_instances", 100, Unit.COUNT))
    assert (over.move, over.text.key, amount(over, "used"), amount(over, "used_share")) == (
        Move.OVER,
        "capacity.over",
        90,
        0.9,
    )
    assert larger.before == larger.begin == TODAY
    assert larger.wanted == 200


def test_a_full_limit_with_falling_use_is_told_without_a_larger_setting() -> None:
    limit = Limit("max_instances", 100, Unit.COUNT, room=0.9)
    assert [one.move for one in advise(made(line(85, -1, 31), current=85.0), limit)] == [Move.OVER]


def test_a_limit_that_only_the_interval_reaches_is_watched() -> None:
    (advice,) = advise(made(line(250, 0.5, 91), doubt=0.4), Limit("connections", 400, Unit.COUNT))
    assert (advice.move, advice.text.key, advice.wanted) == (Move.WATCH, "capacity.may_reach", None)
    assert advice.text.params["earliest"] == 78 * DAY


def test_an_open_interval_is_told_as_one() -> None:
    first = advise(made(line(250, 1, 91), doubt=0.5), Limit("connections", 400, Unit.COUNT))[0]
    assert first.text.key == "capacity.reach_open"
    assert "latest" not in first.text.params


def test_only_sizes_that_exist_are_advised() -> None:
    sizes = (100.0, 200.0, 500.0)
    limit = Limit("connections", 200, Unit.COUNT, choices=sizes)
    assert advise(made(line(150, 1, 61)), limit)[-1].wanted == 500
    none = advise(made(line(150, 5, 61)), limit)[-1]
    assert (none.move, none.text.key, none.wanted) == (Move.RAISE, "capacity.no_larger", None)


def test_seed_defect_85_much_too_large_a_setting_is_made_smaller_with_room_to_spare() -> None:
    limit = Limit("max_instances", 100, Unit.COUNT, grain=5, least=10)
    (advice,) = advise(made([20.0] * 91, doubt=0.05), limit)
    assert (advice.move, advice.text.key, advice.wanted) == (Move.LOWER, "capacity.lower", 45)
    assert amount(advice, "used") == pytest.approx(24.5)
    assert advise(made([1.0] * 91), limit)[0].wanted == 10


@pytest.mark.parametrize(
    ("expected", "rest"),
    [
        ([45.0] * 91, {}),
        ([20.0] * 91, {"peak": 70.0}),
        (line(20, 0.4, 91), {}),
        ([20.0] * 91, {"history": {TODAY - timedelta(days=day): 1.0 for day in range(20, 0, -1)}}),
    ],
    ids=["not worth it", "a peak last week", "growing", "three weeks of history"],
)
def test_a_setting_is_not_made_smaller_when_that_is_not_safe_or_not_worth_it(
    expected: list[float], rest: dict[str, object]
) -> None:
    assert advise(made(expected, **rest), Limit("max_instances", 100, Unit.COUNT)) == []


def test_an_advice_that_was_followed_calls_for_no_other() -> None:
    for start in (5.0, 20.0, 60.0, 90.0, 300.0):
        for slope in (-0.3, 0.0, 0.2, 1.0, 4.0):
            found = made([max(0.0, value) for value in line(start, slope, 91)], doubt=0.02)
            limit = Limit("max_instances", 100, Unit.COUNT, grain=5, least=5)
            wanted = [one.wanted for one in advise(found, limit) if one.wanted is not None]
            if wanted:
                followed = Limit("max_instances", wanted[0], Unit.COUNT, grain=5, least=5)
                again = {one.move for one in advise(found, followed)}
                assert again <= {Move.WATCH}, (start, slope, wanted, again)


def test_a_limit_of_another_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="disk"):
        advise(made([1.0] * 31), Limit("disk", 100, Unit.BYTES))
    with pytest.raises(ValueError, match="connections"):
        advise(made([1.0] * 31), Limit("connections", 0, Unit.COUNT))


def test_from_history_to_advice() -> None:
    seen = noisy(90, 1, lambda day: 180 + day + 20 * (WEEKDAYS[day.astype(int) % 7] - 1), noise=3)
    found = look(seen.tolist(), 90)
    first, second = advise(found, Limit("connections", 400, Unit.COUNT, grain=50))
    assert first.text.params["in"] == pytest.approx(48 * DAY, abs=8 * DAY)
    assert second.wanted is not None and second.wanted >= 600
