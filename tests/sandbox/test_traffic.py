"""The generated services: the same each time, with the incidents that they say they have and no others."""

import numpy as np
import pytest

from sandbox.cloud.traffic import INCIDENTS, LIVE_FROM, METRICS, Kind, Made, Scenario, inject, make, spots

SEEDS = (100, 105, 111)


def same(one: Made, other: Made, since: int = 0, until: int | None = None) -> list[str]:
    """The metrics that are equal from a row of the live part on (or before one of ``one``'s rows)."""
    return [
        name
        for name in METRICS
        if np.array_equal(
            getattr(one, name)[since:until],
            getattr(other, name)[len(other) - len(one) + since : until],
            equal_nan=True,
        )
    ]


def test_the_same_seed_makes_the_same_service_and_another_another():
    assert same(make(100, scenario=Scenario.BASE), make(100, scenario=Scenario.BASE)) == list(METRICS)
    assert same(make(100, scenario=Scenario.BASE), make(101, scenario=Scenario.BASE)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cold_start_sees_the_same_live_part_with_less_before_it(seed):
    base, cold = make(seed, scenario=Scenario.BASE), make(seed, scenario=Scenario.COLD_3D)
    assert (base.live, cold.live) == (14 * 288, 3 * 288)
    assert same(cold, base, cold.live) == list(METRICS)
    assert cold.start + cold.live * cold.step == LIVE_FROM
    assert [(i.kind, i.first - cold.live) for i in cold.live_incidents] == [
        (i.kind, i.first - base.live) for i in base.live_incidents
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", Scenario)
def test_incidents_are_apart_and_none_in_the_first_live_day(seed, scenario):
    made = make(seed, scenario=scenario)
    assert len(made.live_incidents) == (0 if scenario == Scenario.QUIET else INCIDENTS)
    assert len(made.incidents) - len(made.live_incidents) == (
        INCIDENTS if scenario == Scenario.CONTAMINATED else 0
    )
    assert all(each.first >= made.live + 288 for each in made.live_incidents)
    for before, after in zip(made.incidents, made.incidents[1:], strict=False):
        assert after.first - before.last >= 8 * 12 - 1
        assert made.gap[1] < before.first or made.gap[0] > before.last


@pytest.mark.parametrize(("scenario", "share"), [(Scenario.BASE, 0.007), (Scenario.GAPPY, 0.1)])
def test_samples_are_missing_as_the_scenario_says_and_two_hours_at_once(scenario, share):
    made = make(100, scenario=scenario)
    assert np.isnan(made.cpu).mean() == pytest.approx(share, rel=0.3)
    for name in METRICS:
        assert np.isnan(getattr(made, name)[slice(*made.gap)]).all()
    assert made.gap[1] - made.gap[0] == 24


def test_metrics_stay_in_their_ranges():
    for seed in SEEDS:
        made = make(seed, scenario=Scenario.BASE)
        there = ~np.isnan(made.requests) & ~np.isnan(made.errors)
        assert (made.errors[there] <= made.requests[there]).all()
        assert np.nanmin(made.latency) > 0
        for share in (made.cpu, made.memory):
            assert np.nanmin(share) >= 0
            assert np.nanmax(share) <= 1


@pytest.mark.parametrize("kind", Kind)
def test_an_injected_incident_moves_its_drivers_within_its_rows_and_nothing_else(kind):
    quiet = make(103, scenario=Scenario.QUIET)
    at = int(np.flatnonzero(spots(quiet, kind)[quiet.live + 300 :])[20]) + quiet.live + 300
    struck = inject(quiet, kind, at, 0.8)
    (incident,) = struck.incidents
    assert (incident.first, incident.kind) == (at, kind)
    assert 20 <= (incident.last - at + 1) * 5 <= 180
    for name in METRICS:
        old, new = getattr(quiet, name), getattr(struck, name)
        moved = np.flatnonzero(~((old == new) | (np.isnan(old) & np.isnan(new))))
        assert ((moved >= at) & (moved <= incident.last)).all()
        assert (len(moved) > 0) or name not in incident.drivers
    assert inject(quiet, kind, at, 0.8).incidents == struck.incidents


def test_a_stronger_incident_moves_more():
    quiet = make(103, scenario=Scenario.QUIET)
    at = quiet.live + 400
    weak, strong = (inject(quiet, Kind.LATENCY_SPIKE, at, strength).latency[at] for strength in (0.0, 1.0))
    assert strong / weak == pytest.approx(3.0)
