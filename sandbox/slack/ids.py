"""Slack's identifiers and timestamps, made from the workspace's clock and one counter so that runs repeat."""

from datetime import UTC, datetime
from typing import Protocol

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPREAD = 1_234_567_890_133  # Coprime with 36: neighbouring counters give ids that look unrelated.
_ROOM = 36**8


class Clock(Protocol):
    """Whatever can say what time it is in the pretend world."""

    def now(self) -> datetime:
        """Return the present moment, timezone-aware, in UTC."""
        ...


def base36(number: int, width: int) -> str:
    """Return ``number`` in capital base 36, left-padded with zeros to ``width`` characters."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _ALPHABET[digit] + digits
    return digits.rjust(width, "0")


def made_id(prefix: str, counter: int) -> str:
    """Return an id such as ``C0A1B2C3D4``: Slack's one-letter prefix, a zero and eight base-36 digits."""
    return f"{prefix}0{base36(counter * _SPREAD % _ROOM, 8)}"


def ts_of(micros: int) -> str:
    """Return Slack's message timestamp ``seconds.microseconds`` for microseconds since 1970."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{seconds}.{rest:06d}"


def micros_of(ts: str) -> int:
    """Return microseconds since 1970; raise ValueError where ``ts`` is not ``seconds[.fraction]``."""
    whole, _, fraction = ts.partition(".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        raise ValueError(f"not a timestamp: {ts!r}")
    return int(whole) * 1_000_000 + int(fraction[:6].ljust(6, "0") or "0")


class Stamps:
    """Strictly increasing timestamps read from a clock that may stand still."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.last = 0

    def next(self) -> str:
        """Return a timestamp later than every one before it."""
        now = self._clock.now().astimezone(UTC)
        micros = int(now.timestamp()) * 1_000_000 + now.microsecond
        self.last = max(micros, self.last + 1)
        return ts_of(self.last)
