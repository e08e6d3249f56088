"""Verdicts on canaries: exact on counts, slow to promote, quick to take back, honest in between."""

from datetime import UTC, datetime, timedelta
from itertools import product
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, fisher_exact, hypergeom

from domain.chances import Counts, at_least, no_worse, wilson
from domain.feasibility import Reach, feasible
from domain.verdict import Evidence, Outcome, Reason, Rule, Verdict, judge

RULE = Rule()
FIVE = timedelta(minutes=5)


def counts(requests: int, errors: int = 0) -> Counts:
    return Counts(requests=requests, errors=errors)


HEALTHY = counts(2700, 3)
SICK = counts(2700, 81)


def ends(canary: Counts, stable: Counts = HEALTHY, share: float = 0.1, **rest: object) -> Verdict:
    return judge(canary, stable, share=share, interim=False, **rest)  # type: ignore[arg-type]


def looks(canary: Counts, stable: Counts = HEALTHY, share: float = 0.1, **rest: object) -> Verdict:
    return judge(canary, stable, share=share, interim=True, **rest)  # type: ignore[arg-type]


# Errors.


@pytest.mark.parametrize(
    ("canary", "stable", "outcome", "reasons"),
    [
        ((300, 0), (2700, 3), Outcome.PROMOTE, {Reason.HEALTHY}),
        ((300, 3), (2700, 27), Outcome.PROMOTE, {Reason.HEALTHY}),
        # Exactly the threshold is not above it; far worse than stable is said all the same.
        ((500, 5), (4500, 4), Outcome.PROMOTE, {Reason.HEALTHY, Reason.WORSE_THAN_STABLE}),
        # Far worse than stable, and yet 4 of 300 may come of 1 %: promoting would be as wrong as taking back.
        ((300, 4), (2700, 3), Outcome.INCONCLUSIVE, {Reason.ERRORS_ABOVE_THRESHOLD, Reason.NOT_PROVEN}),
        ((300, 7), (2700, 3), Outcome.ROLL_BACK, {Reason.ERRORS_ABOVE_THRESHOLD, Reason.WORSE_THAN_STABLE}),
        ((300, 90), (2700, 3), Outcome.ROLL_BACK, {Reason.ERRORS_ABOVE_THRESHOLD, Reason.WORSE_THAN_STABLE}),
        # Above the threshold, but stable very nearly as much and not proven to be sick.
        ((300, 8), (300, 6), Outcome.INCONCLUSIVE, {Reason.ERRORS_ABOVE_THRESHOLD, Reason.NOT_PROVEN}),
    ],
)
def test_the_end_of_a_bake_is_judged_by_counts(
    canary: tuple[int, int], stable: tuple[int, int], outcome: Outcome, reasons: set[Reason]
) -> None:
    share = canary[0] / (canary[0] + stable[0])
    verdict = ends(counts(*canary), counts(*stable), share)
    assert (verdict.outcome, set(verdict.reasons)) == (outcome, reasons)


def test_too_few_requests_are_inconclusive_and_the_missing_ones_are_counted() -> None:
    verdict = ends(counts(249), counts(2241))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reasons == (Reason.TOO_FEW_REQUESTS,)
    assert verdict.evidence.needed == 1
    assert ends(counts(250), counts(2250)).outcome is Outcome.PROMOTE


def test_what_is_clearly_broken_is_taken_back_with_however_few_requests() -> None:
    assert ends(counts(12, 5), counts(108, 0)).outcome is Outcome.ROLL_BACK
    # Two errors of three requests are still two errors.
    assert ends(counts(3, 2), counts(27, 0)).outcome is Outcome.INCONCLUSIVE


def test_nothing_at_all_is_no_data_and_not_health() -> None:
    for interim in (False, True):
        verdict = judge(counts(0), counts(0), share=0.1, interim=interim)
        assert (verdict.outcome, verdict.reasons) == (Outcome.NO_DATA, (Reason.NO_DATA,))
        assert verdict.evidence.canary_rate is None
        assert verdict.evidence.interval is None


# A sick stable revision.


def test_a_canary_as_sick_as_stable_is_not_blamed_for_it() -> None:
    verdict = ends(counts(300, 9), SICK)
    assert verdict.outcome is Outcome.PROMOTE
    assert set(verdict.reasons) == {Reason.HEALTHY, Reason.STABLE_IS_SICK}


def test_beside_a_sick_stable_revision_only_certainty_takes_back() -> None:
    # 16 of 300 beside 3 %: p = 0.03, which would do beside a healthy one.
    between = ends(counts(300, 16), SICK)
    assert between.outcome is Outcome.INCONCLUSIVE
    assert Reason.STABLE_IS_SICK in between.reasons
    assert between.evidence.p_stable is not None and 0.001 < between.evidence.p_stable < 0.05
    assert ends(counts(300, 24), SICK).outcome is Outcome.ROLL_BACK


def test_a_fix_of_a_sick_service_is_promoted() -> None:
    assert ends(counts(300, 0), SICK).outcome is Outcome.PROMOTE


def test_where_stable_got_sick_with_the_shift_a_person_is_asked() -> None:
    # A canary that breaks what both depend on makes both equally sick: "not worse" would promote it.
    asked = ends(counts(300, 90), counts(2700, 810), before=counts(3000, 3))
    assert asked.outcome is Outcome.INCONCLUSIVE
    assert Reason.STABLE_GOT_SICK in asked.reasons
    assert ends(counts(300, 90), counts(2700, 810), before=counts(3000, 900)).outcome is Outcome.PROMOTE


def test_few_errors_of_stable_are_sickness_where_it_was_sick_before() -> None:
    few, canary = counts(135, 3), counts(15, 3)
    assert ends(canary, few).outcome is Outcome.ROLL_BACK
    verdict = ends(canary, few, before=counts(300, 12))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert Reason.STABLE_IS_SICK in verdict.reasons
    # And where it has recovered, it is no excuse.
    assert ends(canary, counts(135, 1), before=counts(300, 12)).outcome is Outcome.ROLL_BACK


# Looks during the bake.


def test_a_look_only_ever_takes_back() -> None:
    assert looks(counts(30, 9), counts(270, 0)).outcome is Outcome.ROLL_BACK
    assert Reason.EARLY_ABORT in looks(counts(30, 9), counts(270, 0)).reasons
    healthy = looks(counts(5000), counts(45000))
    assert (healthy.outcome, healthy.reasons) == (Outcome.INCONCLUSIVE, (Reason.STILL_BAKING,))


def test_a_look_is_stricter_than_the_end() -> None:
    verdict = looks(counts(300, 7), HEALTHY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert Reason.NOT_PROVEN in verdict.reasons
    assert ends(counts(300, 7), HEALTHY).outcome is Outcome.ROLL_BACK


def test_many_looks_at_a_revision_just_at_the_threshold_rarely_take_it_back() -> None:
    chance = np.random.default_rng(11)
    rollouts, minutes = 800, 10
    requests, beside = (chance.poisson(rate, (rollouts, minutes)) for rate in (300, 2700))
    errors, others = chance.binomial(requests, 0.01), chance.binomial(beside, 0.01)
    totals = [one.cumsum(axis=1) for one in (requests, errors, beside, others)]
    aborted = at_alpha = 0
    for row in range(rollouts):
        seen = [[int(total[row, minute]) for total in totals] for minute in range(minutes)]
        made = [looks(counts(n, a), counts(m, b)) for n, a, m, b in seen]
        aborted += any(one.outcome is Outcome.ROLL_BACK for one in made)
        at_alpha += any(
            (one.evidence.p_threshold or 1) < RULE.alpha and (one.evidence.p_stable or 1) < RULE.alpha
            for one in made
        )
    assert aborted / rollouts <= 0.01
    assert at_alpha / rollouts >= 0.05  # The end's level, asked ten times, would not do.


# Requests that are missing.


def test_a_canary_whose_requests_never_come_back_is_taken_back_at_the_end_and_only_told_of_before() -> None:
    end = ends(counts(0), counts(1500))
    assert (end.outcome, set(end.reasons)) == (
        Outcome.ROLL_BACK,
        {Reason.REQUESTS_MISSING, Reason.TOO_FEW_REQUESTS},
    )
    during = looks(counts(0), counts(1500))
    assert (during.outcome, set(during.reasons)) == (
        Outcome.INCONCLUSIVE,
        {Reason.STILL_BAKING, Reason.REQUESTS_MISSING},
    )


def test_fewer_than_half_of_the_requests_ask_and_half_do_not() -> None:
    missing = ends(counts(400), counts(9000))
    assert missing.outcome is Outcome.INCONCLUSIVE
    assert missing.reasons == (Reason.REQUESTS_MISSING,)
    assert missing.evidence.seen_share == pytest.approx(400 / 9400)
    assert missing.evidence.p_share is not None and missing.evidence.p_share < 1e-4
    assert ends(counts(500), counts(9000)).outcome is Outcome.PROMOTE


def test_fewer_than_half_that_chance_explains_are_not_missing() -> None:
    # 3 where 10 were to come: p = 0.008.
    verdict = ends(counts(3), counts(97), rule=Rule(minimum=1))
    assert verdict.outcome is Outcome.PROMOTE
    assert verdict.evidence.p_share == pytest.approx(float(binom.cdf(3, 100, 0.1)))


def test_no_request_of_a_handful_is_missing_but_not_a_crash() -> None:
    verdict = ends(counts(0), counts(12))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert Reason.REQUESTS_MISSING in verdict.reasons


def test_sticky_sessions_say_nothing_about_shares_and_that_is_said() -> None:
    verdict = ends(counts(400), counts(9000), affinity=True)
    assert verdict.outcome is Outcome.PROMOTE
    assert set(verdict.reasons) == {Reason.HEALTHY, Reason.SHARE_NOT_CHECKED}
    assert verdict.evidence.p_share is None
    assert ends(counts(0), counts(1500), affinity=True).outcome is Outcome.INCONCLUSIVE


# With the whole traffic, or with nothing beside it.


def test_a_revision_that_serves_everything_is_compared_with_what_stable_was() -> None:
    whole = {"share": 1.0, "before": counts(9000, 9)}
    assert ends(counts(3000, 3), counts(0), **whole).outcome is Outcome.PROMOTE
    broken = looks(counts(3000, 150), counts(0), **whole)
    assert broken.outcome is Outcome.ROLL_BACK
    assert Reason.COMPARED_WITH_BEFORE in broken.reasons
    sick = looks(counts(3000, 90), counts(0), share=1.0, before=counts(9000, 270))
    assert sick.outcome is Outcome.INCONCLUSIVE


def test_without_anything_to_compare_with_the_threshold_has_to_be_passed_beyond_doubt() -> None:
    # 9 of 300 is p = 0.0036, 12 of 300 is p = 0.0001.
    assert ends(counts(300, 9), counts(0), share=1.0).outcome is Outcome.INCONCLUSIVE
    assert ends(counts(300, 12), counts(0), share=1.0).outcome is Outcome.ROLL_BACK
    alone = ends(counts(300), counts(0), share=1.0)
    assert (alone.outcome, set(alone.reasons)) == (
        Outcome.PROMOTE,
        {Reason.HEALTHY, Reason.NOTHING_TO_COMPARE},
    )


def test_a_stable_revision_without_requests_that_should_have_most_is_odd_enough_to_ask() -> None:
    verdict = ends(counts(300), counts(0), share=0.1)
    assert (verdict.outcome, verdict.reasons) == (Outcome.INCONCLUSIVE, (Reason.NOTHING_TO_COMPARE,))


# Latency.


@pytest.mark.parametrize(
    ("canary_p95", "stable_p95", "outcome"),
    [
        (813, 700, Outcome.PROMOTE),  # One and the same bucket.
        (139, 40, Outcome.PROMOTE),  # Threefold, and nobody notices.
        (1390, 700, Outcome.PROMOTE),
        (1400, 700, Outcome.INCONCLUSIVE),
        (900, 100, Outcome.INCONCLUSIVE),  # Ninefold, but not a second more.
        (3500, 700, Outcome.ROLL_BACK),
        (None, 700, Outcome.PROMOTE),
        (9000, None, Outcome.PROMOTE),
    ],
)
def test_slower_needs_a_factor_and_a_floor(
    canary_p95: float | None, stable_p95: float | None, outcome: Outcome
) -> None:
    verdict = ends(counts(300), HEALTHY, canary_p95=canary_p95, stable_p95=stable_p95)
    assert verdict.outcome is outcome
    assert (Reason.SLOWER_THAN_STABLE in verdict.reasons) == (outcome is not Outcome.PROMOTE)


def test_few_requests_have_no_percentile_and_a_look_does_not_judge_latency() -> None:
    slow = {"canary_p95": 9000, "stable_p95": 100}
    assert Reason.SLOWER_THAN_STABLE not in ends(counts(99), counts(891), **slow).reasons
    assert ends(counts(200), counts(1800), **slow).outcome is Outcome.INCONCLUSIVE
    assert looks(counts(300), HEALTHY, **slow).outcome is Outcome.INCONCLUSIVE


def p95_of_buckets(latencies: np.ndarray) -> float:
    """As a distribution metric tells it: buckets that grow by 1.4, and a straight line within one."""
    edges = 1.4 ** np.arange(0, 45)
    held, _ = np.histogram(latencies, edges)
    rank = 0.95 * held.sum()
    place = int(np.searchsorted(held.cumsum(), rank))
    within = (rank - held[:place].sum()) / held[place]
    return float(edges[place] + within * (edges[place + 1] - edges[place]))


def test_two_revisions_of_equal_speed_are_hardly_ever_told_apart_by_their_buckets() -> None:
    chance = np.random.default_rng(3)
    slower = crawls = 0
    for _ in range(1000):
        middle = chance.uniform(100, 800)
        canary, stable = (p95_of_buckets(middle * chance.lognormal(0, 1, size)) for size in (250, 2250))
        verdict = ends(counts(250), counts(2250), canary_p95=canary, stable_p95=stable)
        slower += verdict.outcome is Outcome.INCONCLUSIVE
        crawls += verdict.outcome is Outcome.ROLL_BACK
    assert slower <= 2
    assert crawls == 0


# What always holds.

some = st.one_of(st.integers(0, 40), st.integers(0, 4000))


@st.composite
def seen(draw: st.DrawFn) -> Counts:
    requests = draw(some)
    return counts(requests, draw(st.one_of(st.integers(0, min(12, requests)), st.integers(0, requests))))


RANKS = {Outcome.PROMOTE: 0, Outcome.INCONCLUSIVE: 1, Outcome.NO_DATA: 1, Outcome.ROLL_BACK: 2}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(seen(), seen(), st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.booleans(), st.one_of(st.none(), seen()))
def test_one_more_error_never_makes_a_verdict_better(
    canary: Counts, stable: Counts, share: float, interim: bool, before: Counts | None
) -> None:
    if canary.errors == canary.requests:
        return
    more = counts(canary.requests, canary.errors + 1)
    first, second = (
        judge(one, stable, share=share, interim=interim, before=before) for one in (canary, more)
    )
    assert RANKS[second.outcome] >= RANKS[first.outcome]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seen(), seen(), st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.booleans(), st.booleans(), st.integers(1, 2000)
)
def test_nothing_is_promoted_below_the_minimum_without_data_or_before_the_end(
    canary: Counts, stable: Counts, share: float, interim: bool, affinity: bool, minimum: int
) -> None:
    rule = Rule(minimum=minimum)
    verdict = judge(canary, stable, share=share, interim=interim, affinity=affinity, rule=rule)
    assert verdict == judge(canary, stable, share=share, interim=interim, affinity=affinity, rule=rule)
    assert verdict.reasons
    assert (Reason.HEALTHY in verdict.reasons) == (verdict.outcome is Outcome.PROMOTE)
    if interim or canary.requests < minimum or canary.requests == 0:
        assert verdict.outcome is not Outcome.PROMOTE


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seen(), seen())
def test_a_look_at_what_is_not_suspicious_never_takes_back(canary: Counts, stable: Counts) -> None:
    # The simulation passes over such minutes.
    if not RULE.is_suspicious(canary.errors, canary.requests):
        assert looks(canary, stable).outcome is not Outcome.ROLL_BACK


def test_a_verdict_survives_being_stored() -> None:
    verdict = ends(counts(300, 7), HEALTHY, visible_until=datetime(2026, 11, 23, 10, 7, tzinfo=UTC))
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    assert isinstance(verdict.evidence, Evidence)


# The arithmetic.


def test_the_probabilities_are_those_of_scipy() -> None:
    for n, m, a, b in product((1, 30, 300, 4000), (1, 270, 90000), (0, 1, 3, 8, 40, 300), (0, 1, 30, 270)):
        if a <= n and b <= m:
            assert at_least(a, n, 0.01) == pytest.approx(
                float(binom.sf(a - 1, n, 0.01)), rel=1e-8, abs=1e-300
            )
            exact = float(hypergeom.sf(a - 1, n + m, a + b, n))
            assert no_worse(counts(n, a), counts(m, b)) == pytest.approx(exact, rel=1e-8, abs=1e-12)
    test = fisher_exact([[7, 293], [3, 2697]], alternative="greater")
    assert no_worse(counts(300, 7), HEALTHY) == pytest.approx(float(test.pvalue), rel=1e-9)
    assert no_worse(counts(0), HEALTHY) == no_worse(counts(300, 7), counts(0)) == 1


def test_a_threshold_of_nothing_or_of_everything_is_a_threshold() -> None:
    assert ends(counts(300, 3), counts(2700, 0), rule=Rule(threshold=0)).outcome is Outcome.ROLL_BACK
    assert ends(counts(300), counts(2700), rule=Rule(threshold=0)).outcome is Outcome.PROMOTE
    assert ends(counts(300, 300), counts(2700), rule=Rule(threshold=1)).outcome is Outcome.PROMOTE


def test_the_probability_of_a_far_tail_is_small_and_not_nothing() -> None:
    assert at_least(90, 100, 0.01) == pytest.approx(float(binom.sf(89, 100, 0.01)), rel=1e-8)
    assert ends(counts(0), counts(1500)).evidence.p_share == pytest.approx(0.9**1500, rel=1e-8)


@pytest.mark.parametrize(("n", "a"), [(1, 0), (1, 1), (250, 0), (300, 7), (5000, 5000)])
def test_the_interval_is_wilsons(n: int, a: int) -> None:
    exact = binomtest(a, n).proportion_ci(0.95, method="wilson")
    assert wilson(counts(n, a)) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_a_verdict_takes_less_than_a_fifth_of_a_millisecond() -> None:
    took = []
    for first in range(0, 1000, 200):
        began = perf_counter()
        for more in range(first, first + 200):  # Nothing that was computed before.
            ends(counts(3000 + more, 45), counts(27000 + 3 * more, 270), before=counts(9000 + more, 90))
        took.append((perf_counter() - began) / 200)
    assert min(took) < 200e-6


# Before it begins.


@pytest.mark.parametrize(
    ("rate", "percent", "reach", "better"),
    [
        (1000, 10, Reach.BAKE, None),
        (300, 10, Reach.EXTENSION, (10, 10)),
        (96, 10, Reach.CHANGED, (10, 30)),
        (30, 10, Reach.CHANGED, (50, 19)),
        (60, 10, Reach.CHANGED, (25, 19)),
        (96, 50, Reach.EXTENSION, (50, 6)),
        (10, 10, Reach.NEVER, None),
        (0, 10, Reach.NEVER, None),
    ],
)
def test_a_bake_that_cannot_see_enough_is_told_of_with_the_least_change(
    rate: float, percent: int, reach: Reach, better: tuple[int, int] | None
) -> None:
    found = feasible(rate, percent, FIVE, 250)
    assert found.expected == pytest.approx(rate * percent / 100 * 5)
    assert found.reach is reach
    if better is None:
        assert (found.percent, found.bake) == (None, None)
    else:
        assert (found.percent, found.bake) == (better[0], timedelta(minutes=better[1]))
    assert (found.synthetic == 0) == (reach is Reach.BAKE)


def test_what_is_suggested_does_suffice_nearly_always_and_a_minute_less_would_not() -> None:
    found = feasible(30, 10, FIVE, 250)
    assert found.percent is not None and found.bake is not None
    chance = np.random.default_rng(1)
    minutes = found.bake / timedelta(minutes=1)
    mean = 30 * found.percent / 100
    assert (chance.poisson(mean * minutes, 10_000) >= 250).mean() > 0.97
    assert (chance.poisson(mean * (minutes - 2), 10_000) >= 250).mean() < 0.97
    loaded = feasible(30 + found.synthetic + 0.001, 10, FIVE, 250)
    assert loaded.reach is Reach.BAKE
