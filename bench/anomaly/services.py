"""Judges the whole path on generated services: what it finds, when, whom it names, how often it cries wolf.

The services are `sandbox.cloud.traffic`'s. One rule set for all of them; nothing is tuned per service.
Development is done on seeds from 100 on; 500-519 are kept for the last judgement and refused without
``--final``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np

from bench.anomaly.nab import Floats, Scorer
from sandbox.cloud.traffic import METRICS, Incident, Kind, Made, Scenario, inject, make, spots

DEVELOPMENT = range(100, 132)
KEPT = range(500, 520)

LATE = 3
"""Rows after an incident's end in which an alarm still counts as finding it; a mean over an hour is late."""

AFTER = 12
"""Rows after its end in which an alarm is not false either: what is left of it in the detector's means."""

REST = 12
"""Rows in which a baseline does not repeat an alarm."""

STRENGTHS = 20
BUDGETS = (0.5, 1.0, 3.0)
"""False alarms a service-week at which the baselines, who have no rule of their own, are compared."""


@dataclass(frozen=True)
class Alarm:
    """Raised at the end of row ``row``; ``driver`` is the metric that the message names first."""

    row: int
    driver: str


Judge = Callable[[Made], Sequence[Alarm]]
"""The whole production path over one service: an alarm for each episode that begins in the live part."""


@dataclass(frozen=True)
class Found:
    """What became of one incident: the alarm that found it, if any; a delay of 1 row is the least."""

    seed: int
    incident: Incident
    alarm: Alarm | None

    @property
    def delay(self) -> int | None:
        """Rows from the incident's beginning to the end of the row that raised the alarm."""
        return None if self.alarm is None else self.alarm.row - self.incident.first + 1


@dataclass(frozen=True)
class Outcome:
    """One service judged."""

    seed: int
    found: tuple[Found, ...]
    false: tuple[Alarm, ...]
    alarms: int
    weeks: float
    step: int


def allowed(seeds: Iterable[int], *, final: bool) -> list[int]:
    """The seeds, unless one is kept and this is not the last judgement."""
    chosen = list(seeds)
    if not final and any(seed in KEPT for seed in chosen):
        raise SystemExit("seeds 500-519 are kept for the last judgement; say --final if this is it")
    return chosen


def compare(made: Made, alarms: Sequence[Alarm]) -> Outcome:
    """Match the live alarms with the live incidents; a second alarm of one incident is no false one."""
    alarms = sorted((alarm for alarm in alarms if alarm.row >= made.live), key=lambda alarm: alarm.row)
    found = tuple(
        Found(
            made.seed,
            incident,
            next((a for a in alarms if incident.first <= a.row <= incident.last + LATE), None),
        )
        for incident in made.live_incidents
    )
    false = tuple(alarm for alarm in alarms if not is_real(made, alarm.row))
    weeks = (len(made) - made.live) * made.step / (7 * 86_400)
    return Outcome(made.seed, found, false, len(alarms), weeks, made.step)


def is_real(made: Made, row: int) -> bool:
    """True in an incident and until soon after it."""
    return any(each.first <= row <= each.last + AFTER for each in made.live_incidents)


def summarise(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The figures of many services together; shares are ``nan`` where there is nothing to share."""
    found = [each for outcome in outcomes for each in outcome.found]
    false = sum(len(outcome.false) for outcome in outcomes)
    weeks = sum(outcome.weeks for outcome in outcomes)
    per_service = [len(outcome.false) / outcome.weeks for outcome in outcomes]
    return {
        "services": len(outcomes),
        "incidents": len(found),
        **recall_of(found, outcomes[0].step),
        "false_per_week": false / weeks,
        "worst_service_false_per_week": max(per_service),
        "alarms_per_week": sum(outcome.alarms for outcome in outcomes) / weeks,
        "false_drivers": tally(alarm.driver for outcome in outcomes for alarm in outcome.false),
        "kinds": {
            kind.value: recall_of(some, outcomes[0].step)
            for kind in Kind
            if (some := [each for each in found if each.incident.kind == kind])
        },
    }


def recall_of(found: Sequence[Found], step: int) -> dict[str, float]:
    hits = [each for each in found if each.alarm is not None]
    right = [each for each in hits if each.alarm and each.alarm.driver in each.incident.drivers]
    cause = [each for each in hits if each.alarm and each.alarm.driver == each.incident.drivers[0]]
    nan = float("nan")
    named = len([each for each in hits if each.alarm and each.alarm.driver])
    return {
        "of": len(found),
        "recall": len(hits) / len(found) if found else nan,
        "driver_right": len(right) / len(hits) if named else nan,
        "driver_is_cause": len(cause) / len(hits) if named else nan,
        "median_delay_minutes": float(np.median([each.delay or 0 for each in hits])) * step / 60
        if hits
        else nan,
    }


def tally(words: Iterable[str]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for word in words:
        counted[word] = counted.get(word, 0) + 1
    return dict(sorted(counted.items(), key=lambda each: -each[1]))


def details(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """Every incident and every false alarm, for whoever wants to know which ones."""
    incidents: list[dict[str, object]] = [
        asdict(each.incident)
        | {"seed": each.seed, "delay_rows": each.delay, "named": each.alarm and each.alarm.driver}
        for outcome in outcomes
        for each in outcome.found
    ]
    false = [
        {"seed": outcome.seed, "kind": "false alarm", "first": alarm.row, "named": alarm.driver}
        for outcome in outcomes
        for alarm in outcome.false
    ]
    return incidents + false


def run(
    judges: Mapping[str, Judge], seeds: Sequence[int], scenarios: Iterable[Scenario]
) -> dict[str, dict[str, dict[str, object]]]:
    """Every service in every scenario through each of the judges: judge, scenario, figures."""
    told: dict[str, dict[str, dict[str, object]]] = {name: {} for name in judges}
    for scenario in scenarios:
        outcomes: dict[str, list[Outcome]] = {name: [] for name in judges}
        for made in (service(seed, scenario) for seed in seeds):
            for name, judge in judges.items():
                outcomes[name].append(compare(made, judge(made)))
        for name, each in outcomes.items():
            told[name][scenario.value] = summarise(each) | {"details": details(each)}
    return told


@cache
def service(seed: int, scenario: Scenario) -> Made:
    return make(seed, scenario=scenario)


def sweep(judge: Judge, seeds: Sequence[int], strengths: int = STRENGTHS) -> dict[str, dict[str, object]]:
    """Ten kinds x so many strengths from 0 to 1, each put alone into a quiet service's live part.

    Services take turns; the data end a little after the incident, so that nothing later can help.
    """
    told: dict[str, dict[str, object]] = {}
    for number, kind in enumerate(Kind):
        found = []
        for turn in range(strengths):
            strength = turn / max(strengths - 1, 1)
            made = put(kind, strength, seeds, number + turn)
            found += compare(made, judge(made)).found
        thirds = [found[len(found) * part // 3 : len(found) * (part + 1) // 3] for part in range(3)]
        told[kind.value] = recall_of(found, made.step) | {
            "by_strength": [recall_of(third, made.step)["recall"] for third in thirds],
            "missed_strengths": [round(each.incident.strength, 2) for each in found if each.alarm is None],
        }
    return told


def put(kind: Kind, strength: float, seeds: Sequence[int], turn: int) -> Made:
    """The next service in turn that has a place for this kind, with it in, cut off soon after."""
    for seed in (seeds[(turn + more) % len(seeds)] for more in range(len(seeds))):
        made = service(seed, Scenario.QUIET)
        free = spots(made, kind)
        free[: made.live + 86_400 // made.step] = False
        free[-4 * 3600 // made.step :] = False
        free[max(made.gap[0] - 48, 0) : made.gap[1] + 24] = False
        places = np.flatnonzero(free)
        if len(places):
            rng = np.random.default_rng([seed, list(Kind).index(kind), turn])
            made = inject(made, kind, int(rng.choice(places)), strength, turn)
            return until(made, made.incidents[-1].last + LATE + 1)
    raise ValueError(f"none of these services has a place for {kind}")


def until(made: Made, row: int) -> Made:
    """The data before a row."""
    arrays = {name: getattr(made, name)[:row] for name in METRICS}
    return replace(made, **arrays)


def table_of(made: Made) -> Floats:
    """The five metrics as columns, errors as a share of the requests (0 where nobody asked)."""
    with np.errstate(all="ignore"):
        share = np.where(made.requests > 0, made.errors / made.requests, made.errors * 0)
    return np.column_stack([made.requests, share, made.latency, made.cpu, made.memory])


def alarms_at(scores: Floats, live: int, threshold: float) -> list[Alarm]:
    """For detectors without their own rule: an alarm at the threshold, then an hour's rest; no driver."""
    alarms, quiet = [], -1
    for row in (np.flatnonzero(scores[live:] >= threshold) + live).tolist():
        if row > quiet:
            alarms.append(Alarm(row, ""))
            quiet = row + REST
    return alarms


def at_budgets(scorer: Scorer, mades: Sequence[Made], fixed: Mapping[str, float]) -> dict[str, object]:
    """A baseline's recall with the best common threshold for each budget, chosen on these very services."""
    scores = [scorer(made.times, table_of(made), made.live) for made in mades]
    told: dict[str, object] = {}
    best = dict.fromkeys(BUDGETS, 0.0)
    for threshold in thresholds(scores, mades):
        rate, recall = rate_and_recall(scores, mades, threshold)
        for budget in BUDGETS:
            if rate <= budget:
                best[budget] = max(best[budget], recall)
    told |= {f"recall@{budget:g}": recall for budget, recall in best.items()}
    for name, threshold in fixed.items():
        rate, recall = rate_and_recall(scores, mades, threshold)
        told[f"at {name}"] = {"false_per_week": rate, "recall": recall}
    return told


def with_threshold(scorer: Scorer, quiet: Sequence[Made]) -> Judge:
    """A baseline with the threshold that gives it at most one false alarm a week in these quiet services."""

    @cache
    def threshold() -> float:
        scores = [scorer(made.times, table_of(made), made.live) for made in quiet]
        fitting = [
            each for each in thresholds(scores, quiet) if rate_and_recall(scores, quiet, each)[0] <= 1.0
        ]
        return min(fitting, default=float("inf"))

    def judge(made: Made) -> list[Alarm]:
        return alarms_at(scorer(made.times, table_of(made), made.live), made.live, threshold())

    return judge


def thresholds(scores: Sequence[Floats], mades: Sequence[Made]) -> list[float]:
    """Sixty levels that one sample in 100,000 to one in five reach."""
    pooled = np.concatenate([each[made.live :] for each, made in zip(scores, mades, strict=True)])
    return np.quantile(pooled, 1 - np.geomspace(1e-5, 0.2, 60)).tolist()


def rate_and_recall(scores: Sequence[Floats], mades: Sequence[Made], threshold: float) -> tuple[float, float]:
    """False alarms a service-week, and the share of incidents found."""
    outcomes = [
        compare(made, alarms_at(each, made.live, threshold)) for each, made in zip(scores, mades, strict=True)
    ]
    found = [each.alarm is not None for outcome in outcomes for each in outcome.found]
    false = sum(len(outcome.false) for outcome in outcomes) / sum(outcome.weeks for outcome in outcomes)
    return false, float(np.mean(found)) if found else float("nan")
