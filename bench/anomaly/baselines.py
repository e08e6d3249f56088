"""What the detector must beat: the seed's rule, a rolling z-score, and scikit-learn's plain IsolationForest.

Each takes times (epoch seconds), values (n x m, ``nan`` where missing) and the rows that are free to learn
from, and answers with a score per row, higher where stranger; none looks ahead.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY = 86_400
WEEK = 7 * DAY
TREES = 42
"""The seed of the forests, so that figures repeat."""

SEED_RULE = {"the seed's -0.5": 0.5 + 1e-12, "the seed's rule at 0": 1e-12}
"""The seed alarms where the decision function is below -0.5; our scores are its negative."""


def _filled(values: Floats, learn: int) -> Floats:
    """Missing values become the median of what was learned from; the forests know no mask."""
    with np.errstate(all="ignore"):
        known = values[:learn]
        centre = np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 0.0 for c in known.T])
    return np.where(np.isnan(values), centre, values)


def seed_rule(times: Floats, values: Floats, learn: int) -> Floats:
    """``IsolationForest(contamination=0.1)`` fitted once; minus its decision function."""
    from sklearn.ensemble import IsolationForest

    filled = _filled(values, learn)
    forest = IsolationForest(contamination=0.1, random_state=TREES).fit(filled[:learn])
    scores = np.zeros(len(filled))
    scores[learn:] = -forest.decision_function(filled[learn:])
    scores[:learn] = -1.0
    return scores


def plain_forest(times: Floats, values: Floats, learn: int) -> Floats:
    """``IsolationForest()``, minus ``score_samples``; fitted again each week on the four weeks before."""
    from sklearn.ensemble import IsolationForest

    filled = _filled(values, learn)
    scores = np.zeros(len(filled))
    at = learn
    while at < len(filled):
        until = max(int(np.searchsorted(times, times[at] + WEEK)), at + 1)
        since = int(np.searchsorted(times, times[at] - 4 * WEEK))
        forest = IsolationForest(random_state=TREES).fit(filled[min(since, at - 1) : at])
        scores[at:until] = -forest.score_samples(filled[at:until])
        at = until
    return scores


def rolling_z(times: Floats, values: Floats, learn: int) -> Floats:
    """The largest absolute z-score of a row's metrics against the mean and deviation of the day before it."""
    scores = np.zeros(len(times))
    since = np.searchsorted(times, times - DAY)
    here = np.arange(len(times))
    for column in values.T:
        there = ~np.isnan(column)
        shifted = np.where(
            there, column - (np.median(column[:learn][there[:learn]]) if there[:learn].any() else 0), 0
        )
        sums = [np.concatenate(([0.0], np.cumsum(each))) for each in (there, shifted, shifted**2)]
        count, first, second = (each[here] - each[since] for each in sums)
        enough = there & (count >= 10)
        mean = first / np.maximum(count, 1)
        spread = np.sqrt(np.maximum(second / np.maximum(count, 1) - mean**2, 0.0))
        floor = 1e-6 * np.maximum(np.abs(mean), 1e-6)
        z = np.abs(shifted - mean) / np.maximum(spread, floor)
        scores = np.maximum(scores, np.where(enough, np.minimum(z, 1e6), 0.0))
    return scores


ALL = {"the seed's rule": seed_rule, "rolling z-score": rolling_z, "plain IsolationForest": plain_forest}
