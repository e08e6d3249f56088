"""A quiet start: what a restored database still believes pages nobody before somebody says so."""

from datetime import datetime, timedelta

from domain.levels import Value
from domain.series import epoch, moment

GRACE = timedelta(minutes=30)
"""Nobody has said anything for so long: then what is still open pages as the policy says."""


class Held(Value):
    """How much was held back: running ladders, rollouts, pages and deliveries that were on their way."""

    ladders: int
    rollouts: int
    pages: int
    deliveries: int


class Quiet(Value):
    """That a database was restored. Moments are epoch seconds, so that any version can keep it.

    ``began_at``: when the bot first ran on it; what began before is of the past until ``until``.
    """

    restored_at: int
    copy_at: int
    copy_id: str
    grace: int = int(GRACE.total_seconds())
    began_at: int | None = None
    until: int | None = None

    def begun(self, at: datetime) -> "Quiet":
        """The bot runs on it now, for the first time."""
        return self.model_copy(update={"began_at": epoch(at), "until": epoch(at) + self.grace})

    def holds(self, at: datetime) -> bool:
        """True while the past is kept still."""
        return self.until is not None and epoch(at) < self.until

    @property
    def end(self) -> datetime:
        """When it is over by itself."""
        assert self.until is not None
        return moment(self.until)

    def is_past(self, started_at: datetime | None) -> bool:
        """Whether something began before the bot ran on what was restored."""
        return started_at is not None and self.began_at is not None and epoch(started_at) < self.began_at
