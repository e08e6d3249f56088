"""The one place that reads the clock of the machine, and the time that Toban counts with."""

import time
from collections.abc import Awaitable, Callable
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


SHARED_LEAP = timedelta(seconds=30)
"""The same for a clock that replicas share. Longer than twice the time between two marks of how far others
have counted: a leap that only one replica believes in has been counted through by the others.
"""


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


class SharedClock:
    """The clock that all replicas share, the database's: asked now and then, counted on with the uptime.

    What is done to the own machine's wall clock does not change it. An answer says only that the shared
    clock showed it at some moment between the question and the answer: what fits is kept, so that slow
    answers move nothing.
    """

    def __init__(self, machine: Machine, ask: Callable[[], Awaitable[datetime]]) -> None:
        self._machine = machine
        self._ask = ask
        self._begin: datetime | None = None

    async def learn(self) -> None:
        """Ask once more. Raises ``Outage``; the uptime goes on meanwhile."""
        asked = timedelta(seconds=self._machine.uptime())
        shown = await self._ask()
        heard = timedelta(seconds=self._machine.uptime())
        earliest, latest = shown - heard, shown - asked
        middle = earliest + (latest - earliest) / 2
        self._begin = middle if self._begin is None else min(max(self._begin, earliest), latest)

    def now(self) -> datetime:
        """What it shows, as far as is known; learned at least once before."""
        assert self._begin is not None
        return self._begin + timedelta(seconds=self._machine.uptime())


class SteadyClock:
    """The port ``domain.ports.Clock``: a time that never goes back, whatever happens to the wall clock.

    With replicas the clock that they share takes the place of the machine's wall clock in all that follows.

    It follows the wall clock forward at once. Where the wall clock is set back it goes on with the
    uptime, ahead of it, until the wall clock has caught up: what was due in five minutes is due in five
    minutes, and what has expired stays expired. See docs/decisions/clock.md.
    """

    def __init__(self, machine: Machine, shared: SharedClock | None = None) -> None:
        self._machine = machine
        self._shared = shared
        self._judge = shared or machine
        wall, up = self._judge.now(), machine.uptime()
        self._begin = wall - timedelta(seconds=up)
        self._up = up
        self._high = wall
        self._leap = timedelta()

    def now(self) -> datetime:
        """The time, aware, in UTC; never earlier than any that was returned before."""
        wall, up = self._judge.now(), self._machine.uptime()
        passed = timedelta(seconds=up)
        ahead = self._begin + passed - wall
        if ahead > SETTLED:
            if ahead <= SMALL:
                self._begin -= min(ahead, timedelta(seconds=(up - self._up) * WORKED_OFF))
            at = self._begin + passed
        else:
            at = wall
            if -ahead > (SHARED_LEAP if self._shared is not None else LEAP):
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

    def judge(self) -> datetime:
        """What the clock shows that has the last word: the one that replicas share, else the machine's."""
        return self._judge.now()

    def ahead(self) -> timedelta:
        """By how much ``now`` is ahead of that clock; nothing where they agree."""
        return max(timedelta(), self.now() - self._judge.now())

    def ahead_of_wall(self) -> timedelta:
        """By how much ``now`` is ahead of the machine's own clock; nothing where they agree."""
        return max(timedelta(), self.now() - self._machine.now())

    def is_shared(self) -> bool:
        """Whether other replicas go by the same clock."""
        return self._shared is not None

    async def learn(self) -> None:
        """Ask the clock that replicas share, where there is one. Raises ``Outage``."""
        if self._shared is not None:
            await self._shared.learn()

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
