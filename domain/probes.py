"""What a service's own health address says, and when that is an alert."""

from datetime import datetime

from domain.alerts import Signal
from domain.clock import BELIEVED
from domain.effects import Text
from domain.policy import Level, Service, Value
from domain.rules import Probe
from domain.series import epoch
from domain.units import Unit
from domain.voice import Said, signal

BODY_SHOWN = 300
"""Characters of an answer that an alert quotes."""

REPEAT_AFTER = 1800
"""Seconds after which a probe that still fails is reported again."""


class Seen(Value):
    """One look at a health address.

    ``status`` is the HTTP status, ``None`` where there was no answer; ``problem`` a short word for why
    (``timeout``, ``refused``, ``dns``, ``tls``, ``forbidden address``, ``too long``); ``body`` the
    beginning of what was answered, as text from outside.
    """

    url: str
    status: int | None = None
    problem: str | None = None
    seconds: float
    body: str = ""


class ProbeStanding(Value):
    """A probe between two looks. Times are epoch seconds.

    ``failed`` and ``passed`` count looks in a row; ``failing_since`` is the first of the failed ones, or
    of those that opened the alert. ``why`` says what was wrong with the newest one.
    """

    probe: str
    service: str
    firing: bool = False
    failed: int = 0
    passed: int = 0
    failing_since: int | None = None
    passing_since: int | None = None
    told_at: int | None = None
    seen_at: int | None = None
    why: str | None = None
    status: int | None = None
    seconds: float | None = None


def fault(probe: Probe, seen: Seen) -> str | None:
    """What is wrong with what was seen, in one word or two; ``None`` where it is as expected."""
    if seen.problem is not None:
        return seen.problem
    if seen.status is None:
        return "no answer"
    if not any(low <= seen.status <= high for low, high in probe.statuses):
        return f"HTTP {seen.status}"
    if probe.text is not None and probe.text not in seen.body:
        return "unexpected text"
    if probe.slow is not None and seen.seconds > probe.slow.total_seconds():
        return "slow"
    return None


def follow(
    standing: ProbeStanding | None, seen: Seen, probe: Probe, service: Service, at: datetime
) -> tuple[ProbeStanding, Signal | None]:
    """Take in one look: an alert after ``failures`` bad ones in a row, its end after ``successes`` good ones.

    A look that is not newer than the last one is ignored, so that taking it in twice counts once; but for
    one that was dated by a clock far ahead, which has been set right since.
    """
    before = standing or ProbeStanding(probe=probe.name, service=service.name)
    now, why = epoch(at), fault(probe, seen)
    if before.seen_at is not None and now <= before.seen_at <= now + BELIEVED.total_seconds():
        return before, None
    looked: dict[str, object] = {"seen_at": now, "why": why, "status": seen.status, "seconds": seen.seconds}
    if why is None:
        return _passed(before, looked, seen, probe, service, now)
    since = now if before.failing_since is None else before.failing_since
    failed = {"failed": before.failed + 1, "passed": 0, "passing_since": None, "failing_since": since}
    after = before.model_copy(update=looked | failed)
    if not before.firing and after.failed < probe.failures:
        return after, None
    is_news = not before.firing or before.told_at is None or now - before.told_at >= REPEAT_AFTER
    told = now if is_news else before.told_at
    after = after.model_copy(update={"firing": True, "told_at": told})
    return after, _signal(after, seen, probe, service, ended=None) if is_news else None


def _passed(
    before: ProbeStanding, looked: dict[str, object], seen: Seen, probe: Probe, service: Service, now: int
) -> tuple[ProbeStanding, Signal | None]:
    update = looked | {"failed": 0, "passed": before.passed + 1}
    since = before.passing_since if before.passing_since is not None else now
    after = before.model_copy(update=update | {"passing_since": since})
    if not before.firing:
        return after.model_copy(update={"failing_since": None}), None
    if after.passed < probe.successes:
        return after, None
    closing = _signal(after, seen, probe, service, ended=since)
    return after.model_copy(update={"firing": False, "failing_since": None, "told_at": None}), closing


def _signal(standing: ProbeStanding, seen: Seen, probe: Probe, service: Service, ended: int | None) -> Signal:
    started = standing.failing_since
    assert started is not None
    milliseconds = round(seen.seconds * 1000)
    body = " ".join(seen.body.split())[:BODY_SHOWN]
    params: dict[str, object] = {
        "service": service.name,
        "probe": probe.name,
        "url": probe.url,
        "problem": standing.why or "",
        "times": standing.failed if ended is None else standing.passed,
        "took": [seen.seconds, Unit.SECONDS.value],
        "body": body,
        "seconds": 0 if ended is None else max(0, ended - started),
    }
    if ended is None:
        key, plain = "failing", f"{service.name}: {probe.name} failing, {standing.why} ({milliseconds} ms)"
    else:
        key, plain = "answering", f"{service.name}: {probe.name} answers again ({milliseconds} ms)"
    if ended is None and body and seen.status is not None:
        key = "failing_with"
    said = Said(
        title=Text(key=f"probe.{'answering' if ended is not None else 'failing'}.title", params=params),
        summary=Text(key=f"probe.{key}.summary", params=params),
        plain=plain,
        value=standing.why or str(seen.status),
        threshold=None,
    )
    return signal(
        ("probe", probe.name),
        service,
        probe.level,
        said,
        labels={"rule": probe.name, "metric": "probe", "service": service.name},
        started=started,
        ended=ended,
        channel=probe.channel,
    )


def retire(standing: ProbeStanding, service: Service, at: datetime) -> Signal | None:
    """The end of what a probe opened that the policy no longer has; ``None`` where it does not fire.

    It does not mean recovery.
    """
    if not standing.firing:
        return None
    text = Text(key="watch.retired.title", params={"service": service.name, "rule": standing.probe})
    said = Said(
        title=text,
        summary=text.model_copy(update={"key": "watch.retired.summary"}),
        plain=f"{service.name}: {standing.probe} is no longer watched",
    )
    now = epoch(at)
    ended = signal(
        ("probe", standing.probe),
        service,
        Level.INFO,
        said,
        labels={"rule": standing.probe, "metric": "probe", "service": service.name},
        started=standing.failing_since or now,
        ended=now,
    )
    return ended.model_copy(update={"recovered": False})
