"""Rows are scored by what came before them alone, whatever the table is made of."""

import numpy as np
import pytest

from domain.detector.rows import score_rows

START = 1_780_000_000.0


def times(rows: int, step: float = 300.0) -> np.ndarray:
    return START + step * np.arange(rows, dtype=np.float64)


def seasonal(rows: int, columns: int = 1, seed: int = 7) -> np.ndarray:
    """Days of 288 steps with noise, each column of its own."""
    rng = np.random.default_rng(seed)
    day = np.sin(np.arange(rows) * 2 * np.pi / 288)[:, None]
    return 100 + 20 * day * (1 + np.arange(columns)) + rng.normal(0, 2, (rows, columns))


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("cut", [0, 1, 3, 49, 150, 151, 199, 640, 1003, 1399])
def test_scores_of_a_cut_table_equal_the_whole_tables_bit_for_bit(columns: int, cut: int) -> None:
    values = seasonal(1400, columns)
    values[700:704] += 80
    values[300:320] = np.nan
    whole, part = score_rows(times(1400), values), score_rows(times(1400)[:cut], values[:cut])
    assert part.score.tobytes() == whole.score[:cut].tobytes()
    assert part.expected_low.tobytes() == whole.expected_low[:cut].tobytes()
    assert part.reason == whole.reason[:cut]


def test_the_same_table_has_the_same_scores() -> None:
    values = seasonal(900)
    assert score_rows(times(900), values).score.tobytes() == score_rows(times(900), values).score.tobytes()


@pytest.mark.parametrize("columns", [1, 3])
def test_what_stands_out_scores_above_what_does_not(columns: int) -> None:
    values = seasonal(2400, columns)
    values[2000] += 300
    values[2250:] += 120
    scores = score_rows(times(2400), values).score
    quiet = np.quantile(scores[600:1990], 0.99)
    assert scores[2000:2003].max() > 2 * quiet
    assert scores[2250:2262].max() > quiet


@pytest.mark.parametrize(
    "values",
    [
        np.full((600, 1), 5.0),
        np.full((600, 1), np.nan),
        np.zeros((600, 3)),
        np.ones((3, 1)),
        np.empty((0, 1)),
        np.where(np.arange(600) % 97 == 0, np.inf, 3.0)[:, None],
    ],
    ids=["constant", "nothing", "zeros", "three rows", "no rows", "infinities"],
)
def test_strange_tables_have_finite_scores_and_no_alarm(values: np.ndarray) -> None:
    found = score_rows(times(len(values)), values)
    assert len(found.score) == len(found.reason) == len(values)
    assert np.isfinite(found.score).all()
    assert (found.score < found.threshold).all()


def test_gaps_and_repeated_times_are_scored() -> None:
    at = times(1200)
    at[500:] += 6 * 3600
    at[800] = at[799]
    found = score_rows(at, seasonal(1200))
    assert np.isfinite(found.score).all()


def test_a_young_series_is_learning_and_a_hole_is_missing() -> None:
    values = seasonal(400)
    values[390] = np.nan
    found = score_rows(times(400), values)
    assert found.reason[0] == "learning"
    assert found.score[:100].max() == 0
    assert found.reason[390] == "missing"


def test_a_table_whose_times_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="3 times"):
        score_rows(times(3), seasonal(4))
