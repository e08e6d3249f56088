"""The one place that reads the clock of the machine, and the time that Toban counts with."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from domain.clock import Leap

SETTLED = timedelta(milliseconds=1)
"""Two readings of a clock differ by less; no step is so small."""

SMALL = timedelta(seconds=2)
"""What the machine's clock is corrected by now and then. It is worked off, a larger step is kept."""

WORKED_OFF = 0.0005
"""Share of the passing time by which a small difference shrinks, as NTP's own slewing does."""

LEAP = timedelta(seconds=10)
"""A clock that is ahead of the machine's uptime by so much at once was set forward."""


class Machine(Protocol):
    """A machine's clocks."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC. It jumps when it is set."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for measuring how long something took."""
        ...

    def uptime(self) -> float:
        """Seconds that never go back and go on while the machine sleeps."""
        ...


class SystemClock:
    """The machine that we run on."""

    def now(self) -> datetime:
        """The time, aware, in UTC. It may jump when the machine's clock is set."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back; for measuring how long something took."""
        return time.monotonic()

    def uptime(self) -> float:
        """Seconds that never go back and, on Linux, go on while the machine sleeps."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        return time.monotonic()


class SteadyClock:
    """The port ``domain.ports.Clock``: a time that never goes back, whatever happens to the wall clock.

    It follows the wall clock forward at once. Where the wall clock is set back it goes on with the
    uptime, ahead of it, until the wall clock has caught up: what was due in five minutes is due in five
    minutes, and what has expired stays expired. See docs/decisions/clock.md.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        wall, up = machine.now(), machine.uptime()
        self._begin = wall - timedelta(seconds=up)
        self._up = up
        self._high = wall
        self._leap = timedelta()

    def now(self) -> datetime:
        """The time, aware, in UTC; never earlier than any that was returned before."""
        wall, up = self._machine.now(), self._machine.uptime()
        passed = timedelta(seconds=up)
        ahead = self._begin + passed - wall
        if ahead > SETTLED:
            if ahead <= SMALL:
                self._begin -= min(ahead, timedelta(seconds=(up - self._up) * WORKED_OFF))
            at = self._begin + passed
        else:
            at = wall
            if -ahead > LEAP:
                self._leap += -ahead
            self._begin = wall - passed
        self._up = up
        self._high = max(self._high, at)
        return self._high

    def monotonic(self) -> float:
        """Seconds that never go back; for measuring how long something took."""
        return self._machine.monotonic()

    def wall(self) -> datetime:
        """What the machine's clock shows, right or wrong: for what others compare with their own clocks."""
        return self._machine.now()

    def ahead(self) -> timedelta:
        """By how much ``now`` is ahead of the wall clock; nothing where they agree."""
        return max(timedelta(), self.now() - self._machine.now())

    def follow(self, mark: datetime) -> None:
        """Be no earlier than ``mark``: what another process, or this one before its restart, has counted."""
        if mark > self.now():
            self._begin = mark - timedelta(seconds=self._up)
            self._high = mark

    def leap(self) -> Leap | None:
        """How far the wall clock was set forward, as long as nobody has heeded it."""
        at = self.now()
        return Leap(size=self._leap, at=at) if self._leap else None

    def heeded(self, leap: Leap) -> None:
        """What a leap asks for is done."""
        self._leap = max(timedelta(), self._leap - leap.size)
