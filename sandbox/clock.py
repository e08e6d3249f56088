"""A clock that people push: it stands, or it runs with an offset from the real one."""

from datetime import UTC, datetime, timedelta

from bot.clock import SystemClock

START = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
"""Ten in the morning in Tokyo."""


class StandingClock:
    """Moves only when it is told to."""

    def __init__(self, at: datetime = START) -> None:
        self._at = at
        self._ran = 0.0

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._at

    def monotonic(self) -> float:
        """Seconds that never go back, even where ``now`` does."""
        return self._ran

    def uptime(self) -> float:
        """The same: this machine never sleeps."""
        return self._ran

    def push(self, by: timedelta) -> None:
        """Let time pass; a negative one is a clock that was set back."""
        self._at += by
        self._ran += max(0.0, by.total_seconds())


class MachineClock:
    """The clocks of one machine in a world with a time of its own: its wall clock can be set wrong."""

    def __init__(self, world: StandingClock) -> None:
        self._world = world
        self._off = timedelta()
        self._slept = 0.0

    def now(self) -> datetime:
        """What its wall clock shows."""
        return self._world.now() + self._off

    def monotonic(self) -> float:
        """Seconds that it was awake; setting its wall clock does not change them."""
        return self._world.monotonic() - self._slept

    def uptime(self) -> float:
        """Seconds since its start, its sleep included."""
        return self._world.uptime()

    def step(self, by: timedelta) -> None:
        """Set the wall clock, forward or back; no time passes."""
        self._off += by

    def sleep(self, by: timedelta) -> None:
        """Suspend the machine: time passes for everybody else."""
        self._world.push(by)
        self._slept += by.total_seconds()


class ShiftedClock:
    """The real clock and an offset that only grows."""

    def __init__(self, shift: timedelta = timedelta()) -> None:
        self._real = SystemClock()
        self.shift = shift

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._real.now() + self.shift

    def monotonic(self) -> float:
        """Seconds that never go back. Pushing the clock does not make calls time out."""
        return self._real.monotonic()

    def uptime(self) -> float:
        """Seconds that never go back; pushing the clock lets them pass."""
        return self._real.uptime() + self.shift.total_seconds()
