"""When recurring work is due: arithmetic on the given time, so that any replica comes to the same moments."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from domain.levels import Value
from domain.series import epoch, moment


class Every(Value):
    """Due at each multiple of ``seconds`` since 1970, and ``after`` seconds later."""

    seconds: int
    after: int = 0

    def latest(self, at: datetime) -> datetime:
        """The newest due moment that is not after ``at``."""
        return moment((epoch(at) - self.after) // self.seconds * self.seconds + self.after)

    def following(self, at: datetime) -> datetime:
        """The first due moment after ``at``."""
        return self.latest(at) + timedelta(seconds=self.seconds)


class Cron(Value):
    """Due as a crontab line says, on the clocks of ``zone``.

    Around a change of the clocks as Debian's cron does it (cronsim): an hour that does not exist is
    made up for at once, one that comes twice counts once.
    """

    line: str
    zone: str

    def latest(self, at: datetime) -> datetime:
        """The newest due moment that is not after ``at``."""
        local = at.astimezone(ZoneInfo(self.zone)) + timedelta(minutes=1)
        found = CronSim(self.line, local.replace(second=0, microsecond=0), reverse=True)
        return next(past for past in (moment(one.timestamp()) for one in found) if past <= at)

    def following(self, at: datetime) -> datetime:
        """The first due moment after ``at``."""
        return moment(next(CronSim(self.line, at.astimezone(ZoneInfo(self.zone)))).timestamp())


Schedule = Every | Cron


def why_not_cron(line: str) -> str | None:
    """What is wrong with a crontab line; ``None`` where it is right and comes up at all."""
    try:
        next(CronSim(line, moment(0)))
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "it never comes up"
    return None
