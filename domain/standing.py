"""Where a watched rule stands between two looks, and how one step after the other moves it."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from domain.alerts import Signal
from domain.effects import Text
from domain.policy import Level, Service, Value
from domain.series import epoch
from domain.voice import Said, signal

REPEAT_AFTER = 1800
"""Seconds after which a rule that still fires is reported again."""

FORGET_AFTER = 300
"""Seconds without a judged step after which a breach that has not fired yet is forgotten, at the least."""


class Verdict(StrEnum):
    """What one step says."""

    BREACH = "breach"
    INACTIVE = "inactive"
    """A breach of its own kind: replication has stopped."""
    BAND = "band"
    """Neither beyond the limit nor recovered."""
    GOOD = "good"
    QUIET = "quiet"
    """Too little traffic, or nothing to compare with: not judged."""
    MISSING = "missing"
    """No data."""


class Cause(StrEnum):
    """Why a rule fires."""

    LIMIT = "limit"
    INACTIVE = "inactive"
    SILENCE = "silence"


class Standing(Value):
    """A rule on a service between two runs. Times are epoch seconds, lengths seconds.

    ``judged_until`` is the end of the last step that was taken in, ``seen_until`` of the last one with
    data, ``watched_since`` the first look; ``value`` and ``verdict`` are the newest. ``part`` is one of
    several conditions under one name. ``breached_for`` and ``good_for`` count only steps that say
    so, without a break by the other. ``fired_at`` is when the rule began to fire, ``told_at`` when that
    was last reported.
    """

    rule: str
    part: str = ""
    service: str
    firing: bool = False
    cause: Cause | None = None
    breached_since: int | None = None
    breached_for: int = 0
    last_breach: int | None = None
    good_since: int | None = None
    good_for: int = 0
    fired_at: int | None = None
    told_at: int | None = None
    value: float | None = None
    verdict: Verdict | None = None
    watched_since: int
    seen_until: int | None = None
    judged_until: int | None = None

    @property
    def key(self) -> str:
        """Its stable name."""
        return standing_key(self.rule, self.service, self.part)


def standing_key(rule: str, service: str, part: str = "") -> str:
    """The stable name of a rule's standing on a service."""
    return f"{rule}/{part}@{service}" if part else f"{rule}@{service}"


class Course:
    """A standing on its way through the steps of one look.

    ``started``, ``ended`` and ``cause`` are of the newest firing, also of one that came and went on the
    way; ``beyond`` is its newest value beyond the limit, ``fired`` that it began to fire on the way.
    """

    def __init__(self, standing: Standing, lasting: int, recover_for: int) -> None:
        self._standing = standing
        self._lasting = lasting
        self._recover_for = recover_for
        self._now = standing.model_dump()
        self.fired = False
        self.started: int | None = standing.breached_since if standing.firing else None
        self.ended: int | None = None
        self.cause: Cause | None = standing.cause
        self.beyond: float | None = None

    def take(self, end: int, step: int, verdict: Verdict, *, has_data: bool) -> None:
        """One step. Steps must come in their order."""
        now = self._now
        now["judged_until"] = end
        now["verdict"] = verdict
        if has_data:
            now["seen_until"] = end
        match verdict:
            case Verdict.BREACH | Verdict.INACTIVE:
                self._breach(end, step, Cause.LIMIT if verdict is Verdict.BREACH else Cause.INACTIVE)
            case Verdict.GOOD:
                self._good(end, step)
            case Verdict.BAND:
                self._unsettle()
                now |= {"good_since": None, "good_for": 0}
            case Verdict.QUIET | Verdict.MISSING:
                last = now["last_breach"]
                if last is not None and end - last > max(self._lasting, FORGET_AFTER):
                    self._unsettle()

    def _breach(self, end: int, step: int, cause: Cause) -> None:
        now = self._now
        now |= {"good_since": None, "good_for": 0, "last_breach": end}
        if now["breached_since"] is None:
            now["breached_since"] = end - step
        now["breached_for"] += step
        if now["breached_for"] < self._lasting:
            return
        if not now["firing"]:
            self._fire(now["breached_since"], end)
        now["cause"] = self.cause = cause

    def _good(self, end: int, step: int) -> None:
        now = self._now
        self._unsettle()
        if not now["firing"]:
            return
        if now["good_since"] is None:
            now["good_since"] = end - step
        now["good_for"] += step
        if now["good_for"] >= self._recover_for:
            self.ended = now["good_since"]
            now |= {"firing": False, "cause": None, "fired_at": None, "told_at": None}
            now |= {"breached_since": None, "good_since": None, "good_for": 0}

    def _unsettle(self) -> None:
        """A breach that is not beyond ``for`` yet begins anew; one that fires keeps its beginning."""
        if not self._now["firing"]:
            self._now["breached_since"] = None
        self._now |= {"breached_for": 0, "last_breach": None}

    def silent(self, since: int, at: int) -> None:
        """Nothing has come for too long."""
        if not self._now["firing"]:
            self._fire(since, at)
            self._now["cause"] = self.cause = Cause.SILENCE

    def _fire(self, since: int, at: int) -> None:
        self._now |= {"firing": True, "breached_since": since, "fired_at": at, "told_at": None}
        self.fired, self.started, self.ended = True, since, None

    @property
    def seen_until(self) -> int | None:
        """The end of the newest step with data."""
        seen: int | None = self._now["seen_until"]
        return seen

    def note(self, value: float, verdict: Verdict) -> None:
        """The newest judged value, and what it says."""
        self._now["value"] = value
        if verdict is Verdict.BREACH:
            self.beyond = value

    def end(self) -> Standing:
        """The standing after all the steps."""
        return Standing.model_validate(self._now)


Say = Callable[[Standing, int, int | None], Signal]


class Judged(Value):
    """What a look came to. ``problem`` says why nothing was judged.

    ``signals`` are in the order in which they are to be received: a breach that came and went since the
    last look is a firing and its end.
    """

    standing: Standing
    signals: tuple[Signal, ...] = ()
    problem: str | None = None


def told(before: Standing, course: Course, at: datetime, say: Say) -> Judged:
    """The standing after a look, and what of it must be reported.

    ``say(standing, started, ended)`` words a signal; ``ended`` is ``None`` for one that fires. What
    fires is repeated now and then, so that an alert that a person resolved comes back while it holds.
    What was over before the first look is not news.
    """
    after, now = course.end(), epoch(at)
    signals: list[Signal] = []
    if after.firing:
        assert course.started is not None
        is_new = not before.firing or after.cause is not before.cause
        if is_new or after.told_at is None or now - after.told_at >= REPEAT_AFTER:
            after = after.model_copy(update={"told_at": now})
            signals.append(say(after, course.started, None))
    elif before.firing or (course.fired and before.judged_until is not None):
        assert course.started is not None
        if not before.firing:
            fired = {"cause": course.cause, "value": course.beyond}
            signals.append(say(after.model_copy(update=fired), course.started, None))
        signals.append(say(after, course.started, course.ended))
    return Judged(standing=after, signals=tuple(signals))


def retire(kind: str, standing: Standing, service: Service, at: datetime) -> Signal | None:
    """The end of what a rule opened that the policy no longer has; ``None`` where it does not fire.

    ``kind`` is that of its signals: ``rule`` or ``objective``. It does not mean recovery.
    """
    if not standing.firing:
        return None
    text = Text(key="watch.retired.title", params={"service": service.name, "rule": standing.rule})
    said = Said(
        title=text,
        summary=text.model_copy(update={"key": "watch.retired.summary"}),
        plain=f"{service.name}: {standing.rule} is no longer watched",
    )
    ended = signal(
        (kind, standing.rule),
        service,
        Level.INFO,
        said,
        labels={"rule": standing.rule, "service": service.name},
        started=standing.breached_since or standing.watched_since,
        ended=epoch(at),
        part=standing.part,
    )
    return ended.model_copy(update={"recovered": False})
