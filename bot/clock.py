"""The one place that reads the clock of the machine."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The port ``domain.ports.Clock`` on the real time."""

    def now(self) -> datetime:
        """The time, aware, in UTC. It may jump when the machine's clock is set."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back; for measuring how long something took."""
        return time.monotonic()
