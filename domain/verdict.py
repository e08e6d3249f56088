"""What a canary's requests say about it: good enough, worse, or not to be told yet; with the evidence.

Counts are judged, never percentages: exactly against the threshold (binomial), and exactly against the
stable revision in the same window (Fisher's one-sided test), so that a sick dependency does not condemn a
good revision and a quiet night does not acquit a bad one. ``INCONCLUSIVE`` is an answer, and no data is
never healthy.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from domain.chances import Counts, at_least, no_worse, wilson
from domain.levels import Value


class Outcome(StrEnum):
    """What to do. Inconclusive: bake once more, then ask a person."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


class Reason(StrEnum):
    """Why, in the order in which a card says it."""

    HEALTHY = "healthy"
    NO_DATA = "no_data"
    STILL_BAKING = "still_baking"
    EARLY_ABORT = "early_abort"
    ERRORS_ABOVE_THRESHOLD = "errors_above_threshold"
    WORSE_THAN_STABLE = "worse_than_stable"
    NOT_PROVEN = "not_proven"
    REQUESTS_MISSING = "requests_missing"
    SLOWER_THAN_STABLE = "slower_than_stable"
    TOO_FEW_REQUESTS = "too_few_requests"
    STABLE_IS_SICK = "stable_is_sick"
    STABLE_GOT_SICK = "stable_got_sick"
    NOTHING_TO_COMPARE = "nothing_to_compare"
    COMPARED_WITH_BEFORE = "compared_with_before"
    SHARE_NOT_CHECKED = "share_not_checked"


class Rule(Value):
    """How sure one has to be. Levels are one-sided probabilities of seeing so much by chance.

    ``threshold``: the share of failed requests that is too much. ``minimum``: the canary's requests without
    which it is never promoted; with 250, a revision that fails 5 % is taken back in 98.5 % and promoted in
    0.03 %. ``least_errors``: fewer never take it back.

    ``alpha``: at the end of a bake with enough requests, against both. ``alpha_clear``: against the
    threshold with fewer. ``alpha_early``: against the threshold in each look during the bake, of which there
    are many. ``alpha_sure``: against stable in such a look, and always where stable is itself above the
    threshold; against the threshold where there is nothing to compare with. In ten looks at 3,000 requests a
    minute this aborts wrongly in 0.4 % where both revisions fail just at the threshold, and in 1.8 % where
    the canary does beside a healthy one; in sixty looks in 1.1 and 3.7 %. At ``alpha`` it would be 10 and
    13 %, 18 and 23 %.

    A 95th percentile comes from buckets that grow by 1.4: ``slow_factor`` is two of them, so that no
    neighbouring bucket is taken for a slowdown, and ``slow_floor`` (ms) what a person would notice;
    ``slow_minimum`` requests on both sides, or fewer than five lie above the percentile. That asks. Only
    ``crawl_factor`` (nearly five buckets) with ``crawl_floor`` (ms) and ``minimum`` requests takes back.

    ``alpha_share``: when fewer than half of the expected requests have completed. ``alpha_hang``: when fewer
    than a tenth have; that takes back.
    """

    threshold: float = 0.01
    minimum: int = 250
    least_errors: int = 3
    alpha: float = 0.05
    alpha_clear: float = 0.01
    alpha_early: float = 0.005
    alpha_sure: float = 0.001
    slow_factor: float = 2.0
    slow_floor: float = 100.0
    slow_minimum: int = 100
    crawl_factor: float = 5.0
    crawl_floor: float = 1000.0
    alpha_share: float = 1e-4
    alpha_hang: float = 1e-9

    def is_suspicious(self, errors: Any, requests: Any) -> Any:
        """Whether there are errors enough, and above the threshold, for a rollback to be considered.

        Numbers or whole arrays of them: this is also how a simulation passes over dull minutes.
        """
        return (errors >= self.least_errors) & (errors > self.threshold * requests)


DEFAULT_RULE = Rule()


class Evidence(Value):
    """Everything that was judged, for a card and for the record.

    Rates and shares are 0..1, percentiles in ms. ``p_threshold``: the probability of as many errors or more,
    were the true rate the threshold. ``p_stable``: were the canary no worse than what it is compared with.
    ``p_share``: of as few requests, given only where less than half of the expected ones came. ``interval``:
    Wilson's, of 95 %, for the canary's rate. ``needed``: requests still missing. ``visible_until``: the end
    of what the metric shows.
    """

    canary: Counts
    stable: Counts
    before: Counts | None = None
    canary_rate: float | None = None
    stable_rate: float | None = None
    threshold: float
    p_threshold: float | None = None
    p_stable: float | None = None
    interval: tuple[float, float] | None = None
    canary_p95: float | None = None
    stable_p95: float | None = None
    expected_share: float
    seen_share: float | None = None
    p_share: float | None = None
    needed: int = 0
    visible_until: datetime | None = None


class Verdict(Value):
    """What to do, why, and what was seen."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    evidence: Evidence


Finding = tuple[Outcome, set[Reason]]


def judge(
    canary: Counts,
    stable: Counts,
    *,
    share: float,
    interim: bool,
    rule: Rule = DEFAULT_RULE,
    before: Counts | None = None,
    canary_p95: float | None = None,
    stable_p95: float | None = None,
    affinity: bool = False,
    visible_until: datetime | None = None,
) -> Verdict:
    """The verdict on a canary that was to get ``share`` (0..1] of the requests of one window.

    ``interim``: a look before the end, which only ever takes back, at stricter levels since there are many.
    ``before``: the stable revision's counts before the shift. With them a stable revision that got sick
    *with* the canary is told from one that had been; and once the canary serves everything (``share`` 1)
    they are what it is compared with. ``affinity``: clients stick to a revision, so their shares say nothing.
    """
    beside = _beside(stable, before, share)
    evidence = Evidence(
        canary=canary,
        stable=stable,
        before=before,
        canary_rate=canary.rate,
        stable_rate=stable.rate,
        threshold=rule.threshold,
        p_threshold=at_least(canary.errors, canary.requests, rule.threshold) if canary.requests else None,
        p_stable=no_worse(canary, beside) if beside is not None and canary.requests else None,
        interval=wilson(canary) if canary.requests else None,
        canary_p95=canary_p95,
        stable_p95=stable_p95,
        expected_share=share,
        seen_share=_share(canary, stable),
        p_share=None if affinity else _p_share(canary, stable, share),
        needed=max(0, rule.minimum - canary.requests),
        visible_until=visible_until,
    )
    if canary.requests + stable.requests == 0:
        return Verdict(outcome=Outcome.NO_DATA, reasons=(Reason.NO_DATA,), evidence=evidence)
    compared = beside is not None
    sick = beside is not None and _is_sick(beside, before, rule)
    if interim:
        findings = [
            _early(evidence, rule, compared=compared),
            _completed(evidence, rule, affinity, interim),
        ]
    else:
        findings = [
            _errors(evidence, rule, compared=compared, sick=sick),
            _enough(evidence, rule),
            _neighbour(evidence, rule, compared=compared),
            _completed(evidence, rule, affinity, interim),
            _latency(evidence, rule),
        ]
    outcome = max((outcome for outcome, _ in findings), key=_WEIGHT.__getitem__)
    why = set[Reason]().union(*(reasons for _, reasons in findings))
    why |= {Reason.STABLE_IS_SICK} if sick else set()
    why |= {Reason.COMPARED_WITH_BEFORE} if beside is not None and beside is not stable else set()
    why |= {Reason.HEALTHY} if outcome is Outcome.PROMOTE else set()
    return Verdict(outcome=outcome, reasons=tuple(one for one in Reason if one in why), evidence=evidence)


_WEIGHT = {Outcome.PROMOTE: 0, Outcome.NO_DATA: 1, Outcome.INCONCLUSIVE: 2, Outcome.ROLL_BACK: 3}
"""What was found to be broken is broken, whatever else could not be told."""


def _early(evidence: Evidence, rule: Rule, *, compared: bool) -> Finding:
    """A look during the bake: take it back only where chance explains it in no way."""
    if not rule.is_suspicious(evidence.canary.errors, evidence.canary.requests):
        return Outcome.INCONCLUSIVE, {Reason.STILL_BAKING}
    against_threshold = rule.alpha_early if compared else rule.alpha_sure
    if _is_broken(evidence, against_threshold, rule.alpha_sure):
        return Outcome.ROLL_BACK, {Reason.EARLY_ABORT} | _broken(compared=compared)
    return Outcome.INCONCLUSIVE, {Reason.STILL_BAKING, Reason.ERRORS_ABOVE_THRESHOLD, Reason.NOT_PROVEN}


def _errors(evidence: Evidence, rule: Rule, *, compared: bool, sick: bool) -> Finding:
    """Failed requests at the end of a bake.

    A stable revision above the threshold is no measure of health: then the canary is taken back only where
    it is worse beyond any doubt, and good enough where it is not worse. Where there is nothing to compare
    with, the threshold alone has to be passed beyond doubt.
    """
    canary = evidence.canary
    above = canary.errors > rule.threshold * canary.requests
    against_threshold = rule.alpha if canary.requests >= rule.minimum else rule.alpha_clear
    if not compared:
        against_threshold = rule.alpha_sure
    against_stable = rule.alpha_sure if sick else rule.alpha
    if rule.is_suspicious(canary.errors, canary.requests) and _is_broken(
        evidence, against_threshold, against_stable
    ):
        return Outcome.ROLL_BACK, _broken(compared=compared)
    worse = evidence.p_stable is not None and evidence.p_stable < rule.alpha
    if above and (worse or not sick):
        return Outcome.INCONCLUSIVE, {Reason.ERRORS_ABOVE_THRESHOLD, Reason.NOT_PROVEN}
    if not above and evidence.p_stable is not None and evidence.p_stable < rule.alpha_sure:
        return Outcome.PROMOTE, {Reason.WORSE_THAN_STABLE}
    return Outcome.PROMOTE, set()


def _is_broken(evidence: Evidence, against_threshold: float, against_stable: float) -> bool:
    """Whether chance explains the errors neither at the threshold nor beside what it is compared with."""
    if evidence.p_threshold is None or evidence.p_threshold >= against_threshold:
        return False
    return evidence.p_stable is None or evidence.p_stable < against_stable


def _broken(*, compared: bool) -> set[Reason]:
    return {Reason.ERRORS_ABOVE_THRESHOLD} | ({Reason.WORSE_THAN_STABLE} if compared else set())


def _enough(evidence: Evidence, rule: Rule) -> Finding:
    """Silence is not health: too few requests never promote."""
    if evidence.needed or evidence.canary.requests == 0:
        return Outcome.INCONCLUSIVE, {Reason.TOO_FEW_REQUESTS}
    return Outcome.PROMOTE, set()


def _neighbour(evidence: Evidence, rule: Rule, *, compared: bool) -> Finding:
    """The stable revision has to be there; and where it got sick with the shift, the canary may be why."""
    stable, before = evidence.stable, evidence.before
    if stable.requests == 0:
        reasons = set() if compared else {Reason.NOTHING_TO_COMPARE}
        return Outcome.PROMOTE if evidence.expected_share >= 1 else Outcome.INCONCLUSIVE, reasons
    if before is None or before.requests == 0 or not _is_above(stable, rule):
        return Outcome.PROMOTE, set()
    if no_worse(stable, before) < rule.alpha_sure:
        return Outcome.INCONCLUSIVE, {Reason.STABLE_GOT_SICK}
    return Outcome.PROMOTE, set()


def _completed(evidence: Evidence, rule: Rule, affinity: bool, interim: bool) -> Finding:
    """Requests that hang, or never reach an instance that crashes, are counted nowhere: they are missing.

    During the bake that may be a start, and is only said.
    """
    canary, share = evidence.canary, evidence.expected_share
    if affinity:
        return Outcome.PROMOTE, {Reason.SHARE_NOT_CHECKED}
    if share >= 1:
        return Outcome.PROMOTE, set()
    rare = evidence.p_share is not None and evidence.p_share < rule.alpha_share
    if not rare and (canary.requests or interim):
        return Outcome.PROMOTE, set()
    expected = share * (canary.requests + evidence.stable.requests)
    hangs = evidence.p_share is not None and evidence.p_share < rule.alpha_hang
    if hangs and canary.requests < expected / 10 and not interim:
        return Outcome.ROLL_BACK, {Reason.REQUESTS_MISSING}
    return Outcome.INCONCLUSIVE, {Reason.REQUESTS_MISSING}


def _latency(evidence: Evidence, rule: Rule) -> Finding:
    """Slower than stable by more than its buckets can tell, and by more than nobody would notice."""
    slow, usual = evidence.canary_p95, evidence.stable_p95
    fewest = min(evidence.canary.requests, evidence.stable.requests)
    if slow is None or usual is None or fewest < rule.slow_minimum:
        return Outcome.PROMOTE, set()
    crawls = slow >= rule.crawl_factor * usual and slow - usual >= rule.crawl_floor
    if crawls and evidence.needed == 0:
        return Outcome.ROLL_BACK, {Reason.SLOWER_THAN_STABLE}
    if slow >= rule.slow_factor * usual and slow - usual >= rule.slow_floor:
        return Outcome.INCONCLUSIVE, {Reason.SLOWER_THAN_STABLE}
    return Outcome.PROMOTE, set()


def _beside(stable: Counts, before: Counts | None, share: float) -> Counts | None:
    """What the canary is compared with: stable in the same window, or what it was before it had none."""
    if stable.requests:
        return stable
    return before if share >= 1 and before is not None and before.requests else None


def _is_above(counts: Counts, rule: Rule) -> bool:
    """Whether this is above the threshold beyond chance."""
    suspicious = rule.is_suspicious(counts.errors, counts.requests)
    return bool(suspicious) and at_least(counts.errors, counts.requests, rule.threshold) < rule.alpha


def _is_sick(beside: Counts, before: Counts | None, rule: Rule) -> bool:
    """Whether stable is above the threshold: now beyond chance, or now as well as beyond chance before."""
    if beside.errors <= rule.threshold * beside.requests:
        return False
    return _is_above(beside, rule) or (before is not None and _is_above(before, rule))


def _share(canary: Counts, stable: Counts) -> float | None:
    total = canary.requests + stable.requests
    return canary.requests / total if total else None


def _p_share(canary: Counts, stable: Counts, share: float) -> float | None:
    total = canary.requests + stable.requests
    if share >= 1 or canary.requests >= share * total / 2:
        return None
    return at_least(stable.requests, total, 1 - share)
