"""Trouble on demand at the pretend Google Cloud: which of the next calls fails, and how."""

from dataclasses import dataclass, field
from typing import Literal

Trouble = Literal["quota", "unavailable", "slow", "empty", "late", "permission", "lost", "failing", "stuck"]
FOREVER = 10**9


@dataclass(frozen=True, slots=True)
class Action:
    """What goes wrong; ``value`` is in seconds where the trouble has a length, ``text`` what Google says."""

    trouble: Trouble
    value: float = 0
    text: str = ""


def quota() -> Action:
    """Answer RESOURCE_EXHAUSTED."""
    return Action("quota")


def unavailable() -> Action:
    """Answer UNAVAILABLE."""
    return Action("unavailable")


def slow(seconds: float) -> Action:
    """Answer correctly, but only after real ``seconds``."""
    return Action("slow", seconds)


def empty() -> Action:
    """Answer with no series at all."""
    return Action("empty")


def late(seconds: float) -> Action:
    """Show points only so many seconds after their ingest delay is over."""
    return Action("late", seconds)


def permission() -> Action:
    """Answer PERMISSION_DENIED."""
    return Action("permission")


def lost() -> Action:
    """Do what is asked, and answer UNAVAILABLE: the caller cannot know. Of what is written only."""
    return Action("lost")


def failing(text: str) -> Action:
    """Take the update; its operation ends in this error. Where something is only read: it reads like that.

    Where operations are begun: Cloud Run, Cloud SQL, Firestore.
    """
    return Action("failing", text=text)


def stuck() -> Action:
    """Take the update; its operation never ends. Where something is only read: it reads like that.

    Where operations are begun: Cloud Run, Cloud SQL, Firestore.
    """
    return Action("stuck")


@dataclass(slots=True)
class Fault:
    """A fault that waits for the ``nth`` matching call and then hits ``count`` of them."""

    method: str
    action: Action
    metric: str
    nth: int
    count: int
    seen: int = 0
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The faults laid out for coming calls, the first match counting."""

    laid: list[Fault] = field(default_factory=list)

    def add(
        self,
        action: Action,
        *,
        method: str = "ListTimeSeries",
        metric: str = "",
        nth: int = 1,
        count: int = 1,
    ) -> Fault:
        """Lay a fault for a method ("*" for any); ``metric`` (a metric type) narrows it.

        Of Cloud Run's methods ``metric`` is the service's short name.

        ``count=FOREVER`` holds until ``clear`` or ``lift``.
        """
        fault = Fault(method, action, metric, nth, count)
        self.laid.append(fault)
        return fault

    def lift(self, fault: Fault) -> None:
        """Take one fault away; one that is gone already is fine."""
        if fault in self.laid:
            self.laid.remove(fault)

    def clear(self) -> None:
        """Take all faults away."""
        self.laid.clear()

    def take(self, method: str, metric: str) -> Action | None:
        """Return what goes wrong with this call, counting it."""
        for fault in self.laid:
            if fault.method not in {"*", method} or fault.metric not in {"", metric}:
                continue
            fault.seen += 1
            if fault.seen >= fault.nth and fault.hits < fault.count:
                fault.hits += 1
                return fault.action
        return None
