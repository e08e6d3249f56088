"""When a metric beyond its limit is an alert: pure judgement of what was measured, step by step."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.alerts import Signal
from domain.clock import BELIEVED, Absence
from domain.effects import Text
from domain.indicators import HOUR, SPOKEN, WEEK, Indicator, Means, Measured, indicator, shown, to_week_ago
from domain.policy import Policy, Service
from domain.rules import Rules, Silence, Threshold
from domain.series import Query, Reading, epoch, moment
from domain.standing import Cause, Course, Judged, Standing, Verdict, standing_key, told
from domain.units import Unit
from domain.voice import Said, minutes, signal

STEP = 60
"""Seconds of a step of every threshold: Google's sampling period."""

CATCH_UP = 24 * HOUR
"""Looks that were missed are made up for this far back, in seconds."""

LATE = 180
"""Seconds after its completion at which a step counts as empty, where no data means that nothing happened."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One threshold on one service. ``lacking`` names what the policy must say before it can be judged."""

    threshold: Threshold
    service: Service
    indicator: Indicator
    lacking: str | None

    @property
    def key(self) -> str:
        """Its stable name: that of its standing."""
        return standing_key(self.threshold.name, self.service.name)

    def measure(
        self,
        readings: Mapping[Query, Reading],
        rules: Rules,
        week_ago: Mapping[Query, Reading] | None = None,
    ) -> Measured:
        """What ``judge`` takes; ``week_ago`` holds the readings of the week before where it compares."""
        limits = rules.limits_of(self.service.name)
        now = self.indicator.measure(readings, self.service, STEP, limits)
        if week_ago is None:
            return now
        then = self.indicator.measure(week_ago, self.service, STEP, limits)
        return to_week_ago(now, then, lambda end: rules.is_holiday(moment(end - 1)))


def watched(policy: Policy) -> tuple[Watched, ...]:
    """Everything that the policy's thresholds watch, service by service."""
    found = []
    for service in policy.services:
        for threshold in policy.rules.thresholds:
            asked = indicator(threshold)
            named = service.name in threshold.services
            kindred = not threshold.services and asked.kind is not None and service.kind is asked.kind
            if (named or kindred) and service.name not in threshold.excluded:
                lacking = asked.lacking(service, policy.rules.limits_of(service.name))
                found.append(Watched(threshold, service, asked, lacking))
    return tuple(found)


def span(threshold: Threshold, standing: Standing | None, at: datetime) -> tuple[int, int]:
    """The epoch seconds between which a look needs every step: what ``Metrics.read`` takes.

    With ``week_ago`` the same span a week earlier is needed as well.
    """
    now = epoch(at) // STEP * STEP
    back = max(_seconds(threshold, STEP), HOUR if threshold.week_ago else 0)
    known = standing.judged_until if standing is not None else None
    settled = 2 * int(max(threshold.lasting, threshold.recover_for).total_seconds())
    since = known if known is not None else now - settled - LATE - HOUR // 6
    return max(min(since, now - LATE), now - CATCH_UP) - back, now


def week_before(between: tuple[int, int]) -> tuple[int, int]:
    """The same span a week earlier."""
    start, end = between
    return start - WEEK, end - WEEK


def judge(
    threshold: Threshold,
    service: Service,
    standing: Standing | None,
    window: Measured,
    at: datetime,
    absence: Absence | None = None,
) -> Judged:
    """Take in every complete step since the last look.

    A second look at the same data changes nothing; a look that was missed is made up for; one that
    comes with older data is ignored. Where the answer has a problem nothing is judged: that we cannot
    see is not the service's trouble. Steps without data at the end wait until they are complete, and
    ``absence`` says how far they are known to be empty: a clock that was set is no absence of data.
    """
    absence = absence or Absence(shown=window.complete_until)
    before = standing or Standing(
        rule=threshold.name, service=service.name, watched_since=window.complete_until
    )
    if window.problem is not None:
        return Judged(standing=before, problem=window.problem)
    course = Course(
        before, int(threshold.lasting.total_seconds()), int(threshold.recover_for.total_seconds())
    )
    means = Means(window)
    for end in _steps(threshold, before, window, absence):
        verdict, value = _verdict(threshold, window, means, end)
        if math.isfinite(value) and verdict is not Verdict.QUIET:
            course.note(value, verdict)
        course.take(end, window.step, verdict, has_data=window.has_data(end))
    if threshold.no_data is Silence.ALERT and threshold.silent_for is not None:
        since = course.seen_until or before.watched_since
        if absence.lasted(since, window.complete_until) >= threshold.silent_for.total_seconds():
            course.silent(since, window.complete_until)

    def say(after: Standing, started: int, ended: int | None) -> Signal:
        return _signal(threshold, service, after, started, ended)

    return told(before, course, at, say)


def _steps(threshold: Threshold, standing: Standing, window: Measured, absence: Absence) -> Iterator[int]:
    """The ends of the steps to take in, in order.

    Up to the newest complete one with data; where no data means that nothing happened, up to the
    newest that cannot change any more.
    """
    last = min(window.end, window.complete_until)
    last -= (last - window.start) % window.step
    while last >= window.start and not window.has_data(last):
        last -= window.step
    if threshold.no_data is Silence.OK:
        empty_until = absence.known_until(window.complete_until) - LATE
        last = max(last, empty_until) if window.has_data(last) else empty_until
    first = window.start if len(window.values) else standing.watched_since + 1
    judged = standing.judged_until
    # What lies beyond that was judged by a clock far ahead, which has been set right since.
    if judged is not None and judged <= window.complete_until + BELIEVED.total_seconds():
        first = judged + 1
    first = max(first, window.complete_until - CATCH_UP)
    first += (window.start - first) % window.step
    return iter(range(first, last + 1, window.step))


def _seconds(threshold: Threshold, step: int) -> int:
    """How far back traffic is counted, and values are averaged."""
    over = threshold.over.total_seconds() if threshold.over else 0
    return max(int(over), int(threshold.lasting.total_seconds()), step)


def _verdict(threshold: Threshold, window: Measured, means: Means, end: int) -> tuple[Verdict, float]:
    """What one step says, and the value that says it."""
    value = window.value(end)
    if not window.has_data(end):
        return (Verdict.GOOD if threshold.no_data is Silence.OK else Verdict.MISSING), value
    if math.isinf(value):
        return Verdict.INACTIVE, value
    if threshold.minimum:
        back = _seconds(threshold, window.step)
        traffic = window.weight(end) if threshold.week_ago else means.weight(end, back)
        if not traffic >= threshold.minimum:
            return Verdict.QUIET, value
    if threshold.over is not None:
        value = means.mean(end, int(threshold.over.total_seconds()))
    if math.isnan(value):
        return Verdict.QUIET, value
    sign = 1 if threshold.above else -1
    # A mean of floats may miss a limit that it equals by the last bit.
    slack = 1e-9 * abs(threshold.limit)
    if sign * (value - threshold.limit) > slack:
        return Verdict.BREACH, value
    return (Verdict.GOOD if sign * (value - threshold.recover) <= slack else Verdict.BAND), value


def _signal(
    threshold: Threshold,
    service: Service,
    standing: Standing,
    started: int,
    ended: int | None,
) -> Signal:
    name = SPOKEN.get(threshold.key, threshold.name)
    unit = Unit.SHARE if threshold.week_ago else threshold.unit
    params: dict[str, object] = {
        "service": service.name,
        "metric": threshold.key,
        "value": [standing.value, unit.value],
        "limit": [threshold.limit, unit.value],
        "seconds": int(threshold.lasting.total_seconds()),
    }
    value = shown(standing.value, unit) if standing.value is not None else None
    limit = f"{'>' if threshold.above else '<'} {shown(threshold.limit, unit)}"
    if ended is not None:
        params["seconds"] = max(0, ended - started)
        key, plain = "recovered", f"{service.name}: {name} recovered after {minutes(ended - started)}"
    else:
        key, plain = _wording(threshold, standing.cause, service, name, value, limit)
        if standing.cause is Cause.SILENCE:
            silent = threshold.silent_for
            params["seconds"] = int(silent.total_seconds()) if silent else 0
    said = Said(
        title=Text(key=f"watch.{key}.title", params=params),
        summary=Text(key=f"watch.{key}.summary", params=params),
        plain=plain,
        value=value,
        threshold=limit,
    )
    labels = {"rule": threshold.name, "metric": _metric(threshold), "service": service.name}
    return signal(
        ("rule", threshold.name),
        service,
        threshold.level,
        said,
        labels=labels,
        started=started,
        ended=ended,
        channel=threshold.channel,
    )


def _wording(
    threshold: Threshold, cause: Cause | None, service: Service, name: str, value: str | None, limit: str
) -> tuple[str, str]:
    """The key of what is said, and the same in plain words for every language."""
    lasting = minutes(int(threshold.lasting.total_seconds()))
    if cause is Cause.SILENCE:
        silent = int(threshold.silent_for.total_seconds()) if threshold.silent_for else 0
        return "silent", f"{service.name}: no data of {name} for {minutes(silent)}"
    if cause is Cause.INACTIVE:
        return "inactive", f"{service.name}: replication inactive for {lasting}"
    key = "week_ago" if threshold.week_ago else "above" if threshold.above else "below"
    compared = f"{limit} of a week ago" if threshold.week_ago else limit
    return key, f"{service.name}: {name} {value} {compared} for {lasting}"


def _metric(threshold: Threshold) -> str:
    return threshold.metric if isinstance(threshold.metric, str) else threshold.metric.metric
