"""Trouble on demand: which of the next calls fails, and how."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "delay", "status", "rate_limit", "error", "drop_before", "drop_after", "duplicate", "garbage", "down"
]
FOREVER = 10**9


@dataclass(frozen=True, slots=True)
class Action:
    """What goes wrong; ``value`` is seconds, an HTTP status or an error code, as the kind demands."""

    kind: Kind
    value: float | int | str = 0


def delay(seconds: float) -> Action:
    """Answer correctly, but only after real ``seconds``."""
    return Action("delay", seconds)


def status(code: int) -> Action:
    """Answer with a bare HTTP status such as 503, the work undone."""
    return Action("status", code)


def rate_limit(retry_after: int) -> Action:
    """Answer 429 with Retry-After in whole seconds, the work undone."""
    return Action("rate_limit", retry_after)


def error(code: str) -> Action:
    """Answer ``{"ok": false, "error": code}``, the work undone."""
    return Action("error", code)


def drop_before() -> Action:
    """Close the connection before doing the work."""
    return Action("drop_before")


def drop_after() -> Action:
    """Do the work and close the connection without an answer: the caller cannot know."""
    return Action("drop_after")


def duplicate() -> Action:
    """Do the work twice and answer once."""
    return Action("duplicate")


def garbage() -> Action:
    """Answer 200 with HTML instead of JSON, the work undone."""
    return Action("garbage")


def down() -> Action:
    """Close every connection without an answer."""
    return Action("down")


@dataclass(slots=True)
class Fault:
    """A fault that waits for the ``nth`` matching call and then hits ``count`` of them."""

    method: str
    action: Action
    nth: int
    count: int
    channel: str
    seen: int = 0
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The faults laid out for coming calls, the first match counting."""

    laid: list[Fault] = field(default_factory=list)

    def add(
        self, method: str, action: Action, nth: int = 1, count: int = 1, channel: str | None = None
    ) -> Fault:
        """Lay a fault for a method ("*" for any, "response_url" and "upload_url" for those addresses).

        ``channel`` (id, or name with or without #) narrows it. A ``down`` action holds until ``clear``.
        """
        times = FOREVER if action.kind == "down" else count
        fault = Fault(method, action, nth, times, (channel or "").removeprefix("#"))
        self.laid.append(fault)
        return fault

    def down(self) -> Fault:
        """Make the whole Web API unreachable until ``clear``."""
        return self.add("*", down())

    def clear(self) -> None:
        """Take all faults away."""
        self.laid.clear()

    def take(self, method: str, channel: str, channel_name: str) -> Action | None:
        """Return what goes wrong with this call, counting it."""
        for fault in self.laid:
            if fault.method not in {"*", method} or fault.channel not in {"", channel, channel_name}:
                continue
            fault.seen += 1
            if fault.seen >= fault.nth and fault.hits < fault.count:
                fault.hits += 1
                return fault.action
        return None
