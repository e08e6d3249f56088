"""A clock that stands still until it is moved, for tests of the workspace itself."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """The time is what it was told to be."""

    def __init__(self, start: datetime | None = None) -> None:
        self.moment = start or datetime(2026, 11, 22, 3, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Move on by ``seconds``."""
        self.moment += timedelta(seconds=seconds)
