"""A service's metrics judged against their own past: what is odd, what is not, and no look ahead."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache

import numpy as np
import pytest

from domain import anomalies
from domain.anomalies import Direction
from domain.detector.calendar import Calendar
from domain.detector.columns import score_columns
from domain.detector.frame import Column, Frame, Role
from domain.detector.services import Judged, judge, scored

STEP = 300
DAY = 288
START = int(datetime(2026, 9, 28, tzinfo=UTC).timestamp())
COLUMNS = (
    Column("latency", Role.LATENCY),
    Column("errors", Role.ERRORS),
    Column("requests", Role.REQUESTS),
    Column("cpu", Role.CPU),
    Column("memory", Role.MEMORY),
)
LATENCY, ERRORS, REQUESTS, CPU, MEMORY = range(5)
TOKYO = Calendar("Asia/Tokyo")


@cache
def usual(days: float = 16, seed: int = 1, peak: float = 600.0, zone: str = "Asia/Tokyo") -> Frame:
    """An office service with quiet weekends: nothing goes wrong."""
    rng = np.random.default_rng(seed)
    rows = round(days * DAY)
    begins = START + STEP * np.arange(rows)
    local = Calendar(zone).local(begins, int(begins[0]), int(begins[-1]) + 1)
    hours, weekday = (local % 86_400) / 3600, (local // 86_400 + 3) % 7
    load = 0.15 + 0.85 * np.exp(-0.5 * ((hours - 13.5) / 3.2) ** 2)
    load *= np.where(weekday >= 5, 0.4, 1.0)
    requests = rng.poisson(load * peak * np.exp(rng.normal(0, 0.05, rows))).astype(float)
    seen = requests / peak
    latency = 180 * (1 + 0.2 * seen**2) * np.exp(rng.normal(0, 0.06, rows))
    share = rng.binomial(requests.astype(int), 0.001) / np.maximum(requests, 1)
    cpu = (0.05 + 0.4 * seen) * np.exp(rng.normal(0, 0.04, rows))
    memory = 0.4 + 0.02 * (np.arange(rows) % (3 * DAY)) / DAY + rng.normal(0, 0.003, rows)
    return Frame(START + STEP, STEP, COLUMNS, np.column_stack([latency, share, requests, cpu, memory]))


def changed(frame: Frame, rows: slice, column: int, values: object) -> Frame:
    table = frame.values.copy()
    table[rows, column] = values
    return replace(frame, values=table)


def noon(day: int) -> int:
    """The row that begins at noon in Tokyo on the day after so many days; day 14 is a Monday."""
    return day * DAY + 3 * 12


def same(one: Judged, whole: Judged) -> bool:
    rows = slice(one.first - whole.first, one.first - whole.first + len(one.score))
    names = ("times", "score", "signed", "low", "high", "driver", "stuck", "no_data", "learning")
    return all(
        np.array_equal(getattr(one, n), getattr(whole, n)[rows], equal_nan=n in {"score", "low", "high"})
        for n in names
    )


def test_scores_of_a_frame_cut_anywhere_equal_the_whole_frames_bit_for_bit():
    frame = usual()
    frame = changed(frame, slice(4000, 4020), LATENCY, np.nan)
    whole = judge(frame, TOKYO)
    for rows in (1, 2, 287, 288, 289, 700, 1153, 2000, 4010, 4300):
        assert same(judge(frame.cut(rows), TOKYO), whole)


def test_judging_on_from_a_state_equals_judging_it_whole_bit_for_bit():
    frame = changed(usual(), slice(3500, 3540), REQUESTS, np.nan)
    whole = judge(frame, TOKYO)
    state = judge(frame.cut(3400), TOKYO).state
    for rows in (3400, 3401, 3402, 3455, 3456, 3457, 3520, 3740, 4320, 4608):
        part = judge(frame.cut(rows), TOKYO, (), state)
        assert (part.first, len(part.score)) == (state.rows, rows - state.rows)
        assert same(part, whole)
        state = part.state


def test_a_state_can_be_used_twice_and_judging_is_deterministic():
    frame = usual()
    state = judge(frame.cut(4000), TOKYO).state
    first, second = (judge(frame.cut(4100), TOKYO, (), state) for _ in range(2))
    assert same(first, second)
    assert same(judge(frame, TOKYO), judge(frame, TOKYO))


@pytest.mark.parametrize("what", ["value", "calendar", "excluded", "start"])
def test_a_state_that_does_not_fit_any_more_is_not_used(what):
    frame, calendar, excluded = usual(), TOKYO, ()
    state = judge(frame.cut(4000), TOKYO).state
    match what:
        case "value":
            frame = changed(frame, slice(100, 101), CPU, 0.9)
        case "calendar":
            calendar = Calendar("Europe/Berlin")
        case "excluded":
            excluded = ((START + 5 * 86_400, START + 6 * 86_400),)
        case _:
            frame = replace(frame, start=frame.start + STEP)
    part = judge(frame.cut(4001), calendar, excluded, state)
    assert part.first == 0
    assert same(part, judge(frame.cut(4001), calendar, excluded))


def test_an_exclusion_of_today_keeps_the_state():
    frame = usual()
    state = judge(frame.cut(4400), TOKYO).state
    today = (START + 4350 * STEP, START + 4360 * STEP)
    assert judge(frame.cut(4401), TOKYO, (today,), state).first == 4400


def test_a_usual_fortnight_is_quiet():
    judged = judge(usual(28, seed=3), TOKYO)
    assert np.nanmax(judged.score[14 * DAY :]) < 6
    assert np.mean(judged.score[14 * DAY :] > anomalies.BASE) < 0.003


def test_seed_defect_43_an_absurd_outage_does_fire():
    frame = usual()
    rows = slice(noon(14), noon(14) + 6)
    for column, value in (
        (LATENCY, 20_000.0),
        (ERRORS, 1.0),
        (REQUESTS, 30_000.0),
        (CPU, 1.0),
        (MEMORY, 1.0),
    ):
        frame = changed(frame, rows, column, value)
    judged = judge(frame, TOKYO)
    assert judged.score[rows].max() > 8
    assert np.abs(judged.signed[rows]).max(axis=0).min() > anomalies.BASE


def test_seed_defect_44_a_tenth_of_normal_data_is_not_flagged():
    judged = judge(usual(28, seed=4), TOKYO)
    assert np.nanmean(judged.score[2 * DAY :] > anomalies.BASE) < 0.005


def test_seed_defect_45_too_little_history_says_when_it_is_ready():
    judged = judge(usual().cut(3 * DAY), TOKYO)
    assert judged.learning[: 2 * DAY - 1].all()
    assert np.isnan(judged.score[: 2 * DAY - 1]).all()
    assert not judged.learning[2 * DAY :].any()
    assert np.isfinite(judged.score[2 * DAY :]).all()
    assert judged.since == START
    assert judged.ready_at == anomalies.ready_at(START) == START + 2 * 86_400


def test_a_service_without_any_data_is_learning_and_nobody_knows_until_when():
    frame = usual().cut(DAY)
    judged = judge(replace(frame, values=np.full_like(frame.values, np.nan)), TOKYO)
    assert judged.learning.all()
    assert (judged.since, judged.ready_at) == (None, None)


def test_seed_defect_46_it_learns_anew_every_day():
    frame = usual(28, seed=5)
    slower = frame.values[14 * DAY :, LATENCY] * 1.5
    judged = judge(changed(frame, slice(14 * DAY, None), LATENCY, slower), TOKYO)
    assert judged.signed[14 * DAY : 14 * DAY + 24, LATENCY].max() > anomalies.BASE
    assert np.quantile(judged.signed[18 * DAY :, LATENCY], 0.99) < anomalies.BASE


def test_seed_defect_47_time_of_day_and_missing_values():
    frame = usual()
    night = 14 * DAY + 12 * 17
    midday_traffic = frame.values[noon(11) : noon(11) + 12, REQUESTS]
    judged = judge(changed(frame, slice(night, night + 12), REQUESTS, midday_traffic), TOKYO)
    assert judged.signed[night : night + 12, REQUESTS].max() > anomalies.BASE
    holes = frame.values.copy()
    holes[np.random.default_rng(9).random(holes.shape) < 0.3] = np.nan
    holes[100] = np.inf
    patchy = judge(replace(frame, values=holes), TOKYO)
    assert np.isfinite(patchy.score[14 * DAY :]).mean() > 0.99
    assert np.nanmax(patchy.score[14 * DAY :]) < 6


def test_seed_defect_49_ten_times_the_latency_is_named_with_what_was_expected():
    frame = usual()
    rows = slice(noon(14), noon(14) + 4)
    slow = frame.values[rows, LATENCY] * 10
    judged = judge(changed(frame, rows, LATENCY, slow), TOKYO)
    step = scored(judged)[noon(14) + 2]
    assert step.score is not None
    assert step.score > 7
    driver = step.driver
    assert driver is not None
    assert (driver.column, driver.direction) == ("latency", Direction.UP)
    assert driver.observed == pytest.approx(slow[2])
    assert driver.low is not None
    assert driver.high is not None
    assert driver.low < slow[2] / 10 < driver.high < 400
    assert [each.column for each in step.deviations] == ["latency"]


def test_one_slow_sample_alone_is_silent():
    frame = usual()
    row = noon(14)
    judged = judge(changed(frame, slice(row, row + 1), LATENCY, 2000.0), TOKYO)
    assert np.nanmax(judged.score[row : row + 20]) < anomalies.BASE


def test_cpu_that_leaves_the_traffic_is_found_though_its_own_range_is_kept():
    frame = usual()
    rows = slice(14 * DAY + 12 * 14, 14 * DAY + 12 * 15)
    evening = frame.values[rows, CPU]
    assert evening.max() * 1.8 < frame.values[: 14 * DAY, CPU].max()
    judged = judge(changed(frame, rows, CPU, evening * 1.8), TOKYO)
    assert judged.signed[rows, CPU].max() > anomalies.BASE
    assert (judged.driver[rows][-6:] == CPU).all()
    lower = judge(changed(frame, rows, CPU, evening * 0.5), TOKYO)
    assert lower.signed[rows, CPU].min() < -anomalies.BASE


@pytest.mark.parametrize(
    ("column", "factor", "is_heard"),
    [
        (LATENCY, 3.0, True),
        (LATENCY, 0.3, False),
        (REQUESTS, 3.0, True),
        (REQUESTS, 0.2, True),
        (CPU, 2.0, True),
        (MEMORY, 1.6, True),
        (MEMORY, 0.4, False),
        (ERRORS, 0.0, False),
    ],
)
def test_each_metric_is_heard_in_its_directions_only(column, factor, is_heard):
    frame = usual()
    rows = slice(noon(14), noon(14) + 12)
    judged = judge(changed(frame, rows, column, frame.values[rows, column] * factor), TOKYO)
    heard = np.abs(judged.signed[rows, column]).max() > anomalies.BASE
    assert heard == is_heard
    if is_heard:
        loudest = judged.signed[rows, column][np.abs(judged.signed[rows, column]).argmax()]
        assert np.sign(loudest) == np.sign(factor - 1)


def test_a_leak_is_heard_before_memory_is_higher_than_ever():
    frame = usual()
    rows = slice(noon(13), noon(13) + 24)
    leaking = frame.values[rows, MEMORY] - 0.04 + np.linspace(0.0, 0.08, 24)
    judged = judge(changed(frame, rows, MEMORY, leaking), TOKYO)
    found = int(np.argmax(judged.signed[rows, MEMORY] > anomalies.BASE))
    assert found > 0
    assert leaking[found] < frame.values[: noon(13), MEMORY].max()


def test_a_gap_is_no_data_and_never_stuck_nor_zero():
    frame = usual()
    rows = slice(noon(14), noon(14) + 24)
    table = frame.values.copy()
    table[rows] = np.nan
    judged = judge(replace(frame, values=table), TOKYO)
    assert np.isnan(judged.score[rows]).all()
    assert judged.no_data[rows][3:].all()
    assert not judged.no_data[rows][:2].any()
    assert not judged.stuck.any()
    assert np.nanmax(judged.score[noon(14) + 24 : noon(14) + 48]) < anomalies.BASE
    step = scored(judged)[noon(14) + 12]
    assert (step.score, step.deviations) == (None, ())
    assert step.silent == tuple(column.name for column in COLUMNS)


def test_a_metric_that_repeats_itself_is_stuck():
    frame = usual()
    rows = slice(noon(14), noon(14) + 18)
    judged = judge(changed(frame, rows, CPU, frame.values[noon(14), CPU]), TOKYO)
    assert judged.stuck[noon(14) + 8, CPU]
    assert not judged.stuck[: noon(14) + 3].any()
    assert judged.score[noon(14) + 8] > anomalies.BASE
    driver = scored(judged)[noon(14) + 17].driver
    assert driver is not None
    assert (driver.column, driver.direction) == ("cpu", Direction.STUCK)
    assert not judged.stuck[noon(14) + 19 :].any()


def test_a_metric_that_never_changes_is_not_stuck():
    judged = judge(changed(usual(), slice(None), MEMORY, 0.5), TOKYO)
    assert not judged.stuck[:, MEMORY].any()


def test_a_single_error_on_little_traffic_is_no_anomaly_but_a_series_is():
    frame = usual(peak=12.0, seed=7)
    clean = changed(frame, slice(None), ERRORS, 0.0)
    row = noon(14)
    one = judge(changed(clean, slice(row, row + 1), ERRORS, 0.2), TOKYO)
    assert np.abs(one.signed[row : row + 12, ERRORS]).max() < anomalies.ODD
    many = judge(changed(clean, slice(row, row + 6), ERRORS, 0.3), TOKYO)
    assert many.signed[row : row + 6, ERRORS].max() > anomalies.BASE


def test_errors_without_a_count_of_requests_are_judged_too():
    frame = usual()
    alone = Frame(frame.start, STEP, COLUMNS[1:2], frame.values[:, 1:2])
    rows = slice(noon(14), noon(14) + 6)
    judged = judge(changed(alone, rows, 0, 0.1), TOKYO)
    assert judged.score[rows].max() > anomalies.BASE


@pytest.mark.parametrize(
    ("zone", "day"),
    [("Europe/Berlin", (2026, 10, 25)), ("America/New_York", (2026, 11, 1)), ("Asia/Beirut", (2026, 10, 24))],
)
def test_the_day_on_which_the_clocks_change_is_as_quiet_as_any(zone, day):
    frame = usual(40, seed=8, zone=zone)
    first = (int(datetime(*day, tzinfo=UTC).timestamp()) - START) // STEP
    judged = judge(frame, Calendar(zone))
    assert np.nanmax(judged.score[first : first + 3 * DAY]) < anomalies.BASE + 1
    in_utc = judge(frame, Calendar("UTC"))
    assert np.nanmax(in_utc.score[first + DAY : first + 3 * DAY]) > np.nanmax(
        judged.score[first + DAY : first + 3 * DAY]
    )


def test_a_holiday_is_taken_for_a_sunday():
    frame = usual(22, seed=6)
    holiday = slice(16 * DAY - 9 * 12, 17 * DAY - 9 * 12)
    sunday = slice(13 * DAY - 9 * 12, 14 * DAY - 9 * 12)
    table = frame.values.copy()
    table[holiday] = frame.values[sunday] * np.array([1.01, 1, 1, 1.01, 1.001])
    told = Calendar("Asia/Tokyo", frozenset({date(2026, 10, 14)}))
    unaware, aware = (judge(replace(frame, values=table), each) for each in (TOKYO, told))
    assert unaware.signed[holiday, REQUESTS].min() < -anomalies.BASE
    assert aware.signed[holiday, REQUESTS].min() > -anomalies.BASE


def test_periods_left_out_are_not_learned_from():
    frame = usual(21, seed=11)
    table = frame.values.copy()
    periods = []
    for day in range(8, 14):
        rows = slice(noon(day), noon(day) + 24)
        table[rows, LATENCY] *= 2.5
        periods.append((START + rows.start * STEP, START + rows.stop * STEP))
    rows = slice(noon(15), noon(15) + 3)
    table[rows, LATENCY] *= 2.5
    dirty = replace(frame, values=table)
    learned, left_out = (judge(dirty, TOKYO, each) for each in ((), tuple(periods)))
    assert left_out.signed[rows, LATENCY].max() > learned.signed[rows, LATENCY].max() + 1
    assert left_out.signed[rows, LATENCY].max() > anomalies.BASE
    assert np.isfinite(left_out.score[noon(9) : noon(9) + 24]).all()


def test_troubles_that_nobody_marked_do_not_make_it_deaf():
    frame = usual(21, seed=12)
    table = frame.values.copy()
    rng = np.random.default_rng(2)
    for day in range(3, 14, 2):
        start = day * DAY + int(rng.integers(DAY - 24))
        table[start : start + 24, int(rng.choice([LATENCY, CPU]))] *= 2.5
    rows = slice(noon(16), noon(16) + 12)
    table[rows, LATENCY] *= 2.5
    judged = judge(replace(frame, values=table), TOKYO)
    assert judged.signed[rows, LATENCY].max() > anomalies.BASE


def test_steps_of_a_minute_and_of_a_quarter_are_judged_as_well():
    for step, rows in ((60, 5), (900, 3)):
        rng = np.random.default_rng(3)
        many = 6 * 86_400 // step
        hours = (START + step * np.arange(many)) % 86_400 / 3600
        values = (100 + 50 * np.sin(hours / 24 * 2 * np.pi))[:, None] * np.exp(rng.normal(0, 0.05, (many, 1)))
        values[-rows:] *= 3
        judged = judge(Frame(START + step, step, (Column("x", Role.OTHER),), values), Calendar())
        assert judged.score[-1] > anomalies.BASE
        assert judged.driver[-1] == 0


def test_the_fused_score_over_arrays_is_the_one_of_light_values():
    judged = judge(changed(usual(), slice(4100, 4110), CPU, 0.95), TOKYO)
    for row in range(4095, 4115):
        expected = anomalies.fuse(np.abs(judged.signed[row]).tolist())
        assert judged.score[row] == pytest.approx(expected)


def test_a_frame_without_rows_is_judged_too():
    judged = judge(usual().cut(0), TOKYO)
    assert (judged.first, len(judged.score), judged.since) == (0, 0, None)
    assert scored(judged) == []
    assert same(judge(usual().cut(700), TOKYO, (), judged.state), judge(usual().cut(700), TOKYO))


def test_a_frame_has_to_be_a_table_on_a_grid_that_divides_the_day():
    with pytest.raises(ValueError, match="columns"):
        Frame(START, STEP, COLUMNS, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="divide"):
        Frame(START, 7, COLUMNS, np.zeros((4, 5)))


def table_of_columns() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(21)
    rows = 8 * DAY
    times = START + STEP * np.arange(rows, dtype=float)
    hours = times % 86_400 / 3600
    phase = rng.uniform(0, 6, 6)
    values = np.sin(hours[:, None] / 24 * 2 * np.pi + phase) + rng.normal(0, 0.1, (rows, 6))
    return times, values


def test_rows_of_nameless_columns_score_the_same_however_the_file_is_cut():
    times, values = table_of_columns()
    values[900:905, 2] = np.nan
    whole = score_columns(times, values)
    for rows in (1, 2, 288, 700, 1500, 2000):
        part = score_columns(times[:rows], values[:rows])
        assert np.array_equal(part.score, whole.score[:rows])
        assert np.array_equal(part.by_column, whole.by_column[:rows])


def test_columns_that_move_together_stand_out():
    times, values = table_of_columns()
    values[2000:2012, :3] += 1.5
    judged = score_columns(times, values)
    assert judged.score[2000:2012].max() > 1.5 * np.quantile(judged.score[1000:], 0.99)
    assert set(np.argsort(judged.by_column[2003])[-3:].tolist()) == {0, 1, 2}


def test_nameless_columns_without_rows_or_with_holes_only_are_scored_zero():
    assert len(score_columns(np.empty(0), np.empty((0, 3))).score) == 0
    times, values = table_of_columns()
    assert not score_columns(times, np.full_like(values, np.nan)).score.any()
