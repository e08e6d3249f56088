"""The benches' scorers against cases worked out by hand, and against the plainest way to compute the same."""

import math

import numpy as np
import pytest

from bench.anomaly import asd, baselines, nab, services
from sandbox.cloud.traffic import Incident, Kind, Scenario, make

STANDARD = nab.Profile("standard", 0.11, 1.0)
LOW_FN = nab.Profile("reward_low_FN_rate", 0.11, 2.0)
ROWS, WINDOW = 40, (10, 14)


def scored(*rows: int, windows: tuple[tuple[int, int], ...] = (WINDOW,), profile=STANDARD) -> float:
    """The raw score of a file of 40 rows (probation 6) with detections in these rows."""
    scores = np.zeros(ROWS)
    scores[list(rows)] = 1.0
    return nab.events(scores, windows, profile).at(0.5)


def test_the_probation_is_fifteen_per_cent_and_at_most_750_rows():
    assert [nab.probation(rows) for rows in (20, 4032, 5000, 15902)] == [3, 604, 750, 750]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), -1.0),
        ((10,), 1.0),
        ((14,), (2 / (1 + math.exp(-1)) - 1) / (2 / (1 + math.exp(-5)) - 1)),
        ((12, 13, 14), (2 / (1 + math.exp(-3)) - 1) / (2 / (1 + math.exp(-5)) - 1)),
        ((10, 15), 1.0 + 0.11 * (2 / (1 + math.exp(1.25)) - 1)),
        ((10, 8), 1.0 - 0.11),
        ((10, 27), 1.0 - 0.11),
        ((10, 26), 1.0 + 0.11 * (2 / (1 + math.exp(15)) - 1)),
        ((10, 5), 1.0),
    ],
    ids=[
        "missed",
        "found at its first row",
        "found at its last row",
        "only the first detection in a window counts",
        "false right after a window",
        "false before any window",
        "false more than three widths after",
        "false three widths after",
        "a detection in the probation is nobody's",
    ],
)
def test_one_window_is_scored_as_worked_out_by_hand(rows, expected):
    assert scored(*rows) == pytest.approx(expected, abs=1e-12)


def test_a_missed_window_costs_what_the_profile_says():
    assert scored(profile=LOW_FN) == -2.0


def test_detecting_nothing_is_0_and_the_perfect_detector_100():
    windows = ((10, 14), (20, 25))
    perfect = np.zeros(ROWS)
    perfect[[10, 20]] = 1.0
    corpus = [nab.events(perfect, windows, LOW_FN), nab.events(np.zeros(ROWS), (), LOW_FN)]
    assert nab.at(corpus, 2.0) == 0.0
    assert nab.at(corpus, 1.0) == pytest.approx(100.0)
    own, threshold = nab.optimised(nab.Corpus(corpus))
    assert (own, threshold) == (pytest.approx(100.0), 1.0)


def test_a_detector_that_only_errs_is_best_kept_silent():
    scores = np.zeros(ROWS)
    scores[30:] = 1.0
    scores[7] = 2.0
    assert nab.optimised(
        nab.Corpus([nab.events(scores, (), STANDARD), nab.events(scores, (WINDOW,), STANDARD)])
    ) == (
        0.0,
        math.inf,
    )


def test_the_sweep_finds_what_trying_every_threshold_finds():
    rng = np.random.default_rng(7)
    files = [
        nab.events(np.round(rng.random(200), 2), ((60, 70), (120, 150)), STANDARD),
        nab.events(np.round(rng.random(300) * 0.9, 2), ((100, 140),), STANDARD),
        nab.events(np.round(rng.random(100) * 0.5, 2), (), STANDARD),
    ]
    tried = [
        sum(each.at(level) for each in files) for level in (*np.arange(0, 1.01, 0.01).round(2), math.inf)
    ]
    own, threshold = nab.optimised(nab.Corpus(files))
    assert own == pytest.approx(nab.normalise(max(tried), files))
    assert own == pytest.approx(nab.at(files, threshold))


def test_a_held_out_file_is_judged_by_the_others_threshold():
    windows = ((10, 14),)
    high, low = np.zeros(ROWS), np.zeros(ROWS)
    high[10], low[10], low[8] = 2.0, 1.0, 0.9
    files = [nab.events(high, windows, STANDARD), nab.events(low, windows, STANDARD)]
    assert nab.optimised(nab.Corpus(files))[0] == pytest.approx(100.0)
    assert nab.held_out(nab.Corpus(files), [0, 1]) == pytest.approx(50.0)


def test_folds_are_dealt_within_groups_and_the_same_each_time():
    groups = ["a"] * 7 + ["b"] * 5 + ["c"] * 3
    folds = nab.deal(groups, 0)
    assert folds == nab.deal(groups, 0) != nab.deal(groups, 1)
    assert sorted(folds).count(0) == 3
    assert set(folds[7:12]) == set(range(nab.FOLDS))


def test_average_precision_is_scikit_learns():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(3)
    labels = rng.random(500) < 0.1
    scores = np.round(rng.random(500) + 0.3 * labels, 1)
    assert asd.average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))


def test_false_alarms_within_an_hour_count_once_and_labelled_rows_never():
    flags, labels = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
    labels[40:50] = True
    flags[[0, 5, 12, 13, 45]] = True
    assert asd.false_alarms(flags, labels) == 2


def test_events_hit_are_counted_at_a_budget_of_false_alarms():
    labels = np.zeros(asd.WEEK, dtype=bool)
    labels[100:110] = labels[500:505] = True
    scores = np.zeros(asd.WEEK)
    scores[[102, 501]] = 5.0, 2.0
    scores[[900, 1000]] = 3.0, 2.5
    found = asd.recall_at([scores], [labels], (1.0, 3.0))
    assert found[1.0]["recall"] == 0.5
    assert found[1.0]["delay"] == 15.0
    assert found[3.0]["recall"] == 1.0


def test_an_alarm_finds_its_incident_once_and_strays_are_false():
    made = make(101, scenario=Scenario.QUIET, history_days=1, live_days=1)
    import dataclasses

    incident = Incident(Kind.CPU_SATURATION, 400, 410, ("cpu", "latency"), 0.5)
    made = dataclasses.replace(made, incidents=(incident,))
    alarms = [services.Alarm(row, "cpu") for row in (100, 350, 402, 408, 420, 500)]
    outcome = services.compare(made, alarms)
    assert outcome.found[0].alarm == services.Alarm(402, "cpu")
    assert outcome.found[0].delay == 3
    assert [alarm.row for alarm in outcome.false] == [350, 500]
    told = services.summarise([outcome])
    assert told["recall"] == told["driver_right"] == told["driver_is_cause"] == 1.0
    assert told["false_per_week"] == pytest.approx(14.0)


def test_an_alarm_long_after_an_incident_does_not_find_it():
    made = make(101, scenario=Scenario.QUIET, history_days=1, live_days=1)
    import dataclasses

    made = dataclasses.replace(made, incidents=(Incident(Kind.STUCK, 400, 410, ("cpu",), 0.5),))
    assert services.compare(made, [services.Alarm(414, "cpu")]).found[0].alarm is None


def test_kept_seeds_are_refused_until_the_last_judgement():
    with pytest.raises(SystemExit, match="--final"):
        services.allowed([499, 500], final=False)
    assert services.allowed([500], final=True) == [500]


@pytest.mark.parametrize("name", ["the seed's rule", "rolling z-score", "plain IsolationForest"])
def test_no_baseline_looks_ahead(name):
    made = make(102, scenario=Scenario.BASE, history_days=2, live_days=9)
    table, scorer = services.table_of(made), baselines.ALL[name]
    whole = scorer(made.times, table, made.live)
    part = scorer(made.times[:2000], table[:2000], made.live)
    assert np.array_equal(whole[:2000], part)


def test_the_seeds_rule_can_never_fire_as_written():
    made = make(103, scenario=Scenario.QUIET, history_days=4, live_days=1)
    table = services.table_of(made)
    table[-5:] *= 100
    scores = baselines.seed_rule(made.times, table, made.live)
    assert scores.max() < baselines.SEED_RULE["the seed's -0.5"]
    assert scores[-5:].min() > baselines.SEED_RULE["the seed's rule at 0"]
