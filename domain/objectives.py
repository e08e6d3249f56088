"""When a service uses up its error budget too fast: burn rates over two windows at once."""

from dataclasses import dataclass
from datetime import datetime

from domain.alerts import Signal
from domain.effects import Text
from domain.indicators import HOUR, INDICATORS, Indicator, Means, Measured, shown
from domain.policy import Level, Policy, Service
from domain.rules import Objective
from domain.series import epoch
from domain.standing import Course, Judged, Standing, Verdict, standing_key, told
from domain.units import Unit
from domain.voice import Said, minutes, signal

RECOVER_SHARE = 0.9
"""The short window must burn at less than this share of the factor to count as recovered."""

CATCH_UP = 24 * HOUR
"""Looks that were missed are made up for this far back, in seconds."""


@dataclass(frozen=True, slots=True)
class Burn:
    """One condition: budget burns ``factor`` times too fast over ``long`` and still over ``short``.

    Lengths are seconds; ``step`` is that of the series it is judged on. Long tells that it matters, short
    that it is not over already.
    """

    factor: float
    long: int
    short: int
    level: Level
    step: int

    @property
    def name(self) -> str:
        """Which of an objective's conditions it is."""
        return f"{self.factor:g}x"


BURNS = (
    Burn(14.4, HOUR, 5 * 60, Level.CRITICAL, 60),
    Burn(6, 6 * HOUR, 30 * 60, Level.CRITICAL, 60),
    Burn(1, 3 * 24 * HOUR, 6 * HOUR, Level.WARNING, 300),
)
"""Google's Site Reliability Workbook, chapter 5, table 5-8: 2 %, 5 % and 10 % of a 30 days' budget."""


@dataclass(frozen=True, slots=True)
class Promised:
    """One condition of one objective. ``lacking`` names what the policy must say before it can be judged."""

    objective: Objective
    burn: Burn
    service: Service
    indicator: Indicator
    lacking: str | None

    @property
    def key(self) -> str:
        """Its stable name: that of its standing."""
        return standing_key(self.objective.name, self.service.name, self.burn.name)


def promised(policy: Policy) -> tuple[Promised, ...]:
    """Every condition of every objective of the policy."""
    services = {service.name: service for service in policy.services}
    rate = INDICATORS["error-rate"]
    return tuple(
        Promised(
            one,
            burn,
            services[one.service],
            rate,
            rate.lacking(services[one.service], policy.rules.limits_of(one.service)),
        )
        for one in policy.rules.objectives
        for burn in BURNS
    )


def span(burn: Burn, standing: Standing | None, at: datetime) -> tuple[int, int]:
    """The epoch seconds between which a look needs every step: what ``Metrics.read`` takes."""
    now = epoch(at) // burn.step * burn.step
    known = standing.judged_until if standing is not None else None
    since = known if known is not None else now - burn.short - HOUR // 6
    return max(min(since, now - HOUR // 6), now - CATCH_UP) - burn.long, now


def judge(
    objective: Objective,
    burn: Burn,
    service: Service,
    standing: Standing | None,
    window: Measured,
    at: datetime,
) -> Judged:
    """Take in every complete step since the last look; ``window`` is the error rate with its requests.

    Both windows must burn, and the long one must hold enough failed requests. Recovered once the short
    window has burned slowly for as long as it is. Without data or traffic in the short window
    nothing changes: an open alert stays open.
    """
    before = standing or Standing(
        rule=objective.name, part=burn.name, service=service.name, watched_since=window.complete_until
    )
    if window.problem is not None:
        return Judged(standing=before, problem=window.problem)
    course = Course(before, window.step, min(burn.short, HOUR // 2))
    means = Means(window)
    last = min(window.end, window.complete_until)
    while last >= window.start and not window.has_data(last):
        last -= window.step
    first = before.judged_until + 1 if before.judged_until is not None else window.start
    if before.judged_until is None:
        # The first look: what is long past is not news.
        first = max(first, last - min(burn.short, HOUR // 2) - window.step)
    first = max(first, window.complete_until - CATCH_UP)
    first += (window.start - first) % window.step
    for end in range(first, last + 1, window.step):
        verdict, rate = _verdict(objective, burn, means, end)
        if rate is not None:
            course.note(rate, verdict)
        course.take(end, window.step, verdict, has_data=window.has_data(end))

    def say(after: Standing, started: int, ended: int | None) -> Signal:
        return _signal(objective, burn, service, after, started, ended)

    return told(before, course, at, say)


def _verdict(objective: Objective, burn: Burn, means: Means, end: int) -> tuple[Verdict, float | None]:
    """What one step says, and how many times too fast the budget burns over the long window."""
    requests, recent = means.weight(end, burn.long), means.weight(end, burn.short)
    if not requests or not recent:
        return Verdict.QUIET, None
    errors = means.total(end, burn.long)
    long = errors / requests / objective.budget
    short = means.total(end, burn.short) / recent / objective.budget
    slack = 1e-9 * burn.factor
    both = long >= burn.factor - slack and short >= burn.factor - slack
    if both and round(errors) >= objective.minimum_errors:
        return Verdict.BREACH, long
    return (Verdict.GOOD if short < burn.factor * RECOVER_SHARE else Verdict.BAND), long


def _signal(
    objective: Objective, burn: Burn, service: Service, standing: Standing, started: int, ended: int | None
) -> Signal:
    rate = standing.value or 0.0
    spent = rate * burn.long / objective.window.total_seconds()
    promise = shown(objective.availability, Unit.SHARE)
    params: dict[str, object] = {
        "service": service.name,
        "objective": objective.name,
        "availability": [objective.availability, Unit.SHARE.value],
        "rate": [rate, Unit.COUNT.value],
        "factor": [burn.factor, Unit.COUNT.value],
        "long": burn.long,
        "short": burn.short,
        "spent": [spent, Unit.SHARE.value],
        "window": int(objective.window.total_seconds()),
        "seconds": 0 if ended is None else max(0, ended - started),
    }
    if ended is None:
        key = "burning"
        plain = (
            f"{service.name}: error budget of {promise} burns {shown(rate, Unit.COUNT)}x too fast"
            f" over {minutes(burn.long)}"
        )
    else:
        key = "burned"
        plain = f"{service.name}: error budget of {promise} no longer burns {burn.name}"
    said = Said(
        title=Text(key=f"watch.{key}.title", params=params),
        summary=Text(key=f"watch.{key}.summary", params=params),
        plain=plain,
        value=f"{shown(rate, Unit.COUNT)}x",
        threshold=f">= {burn.name}",
    )
    labels = {"rule": objective.name, "metric": "error-rate", "burn": burn.name, "service": service.name}
    return signal(
        ("objective", objective.name),
        service,
        burn.level,
        said,
        labels=labels,
        started=started,
        ended=ended,
        channel=objective.channel,
        part=burn.name,
    )
