"""What is done about a clock that was set: how far it leapt, and which of two clocks to believe."""

from datetime import datetime, timedelta

from domain.levels import Value

AGREES = timedelta(seconds=2)
"""Clocks of one system differ by less; a larger difference is told."""

BELIEVED = timedelta(hours=25)
"""What was counted by up to so much ahead of the wall clock is believed: time zones and daylight saving,
mixed up, make a day. Further ahead, the clock that counted it was wrong, and the wall clock is right.
"""


class Leap(Value):
    """The wall clock was set forward by ``size``; ``at`` is the time after it."""

    size: timedelta
    at: datetime


def is_behind(wall: datetime, mark: datetime) -> bool:
    """True where the clock went back since ``mark`` was counted, and the mark is to be believed."""
    return AGREES < mark - wall <= BELIEVED


def was_ahead(wall: datetime, mark: datetime) -> bool:
    """True where ``mark`` was counted by a clock that was far ahead: what it dated is pulled in."""
    return mark - wall > BELIEVED


class Absence(Value):
    """How far data that has not come is known to be missing, whatever was done to the clock. Epoch seconds.

    ``shown`` is what the clock shows, which may be behind what is counted. ``leapt_from`` and ``leapt_to``
    are a leap of it that nothing has confirmed yet: perhaps the time in between has not passed.
    """

    shown: int
    leapt_from: int | None = None
    leapt_to: int | None = None

    def known_until(self, end: int) -> int:
        """The latest moment up to ``end`` of which missing data says something."""
        return min(end, self.shown, self.leapt_from if self.leapt_from is not None else end)

    def lasted(self, since: int, until: int) -> int:
        """For how many seconds there was surely nothing; data may lag behind the clock by the leap."""
        leapt = 0
        if self.leapt_from is not None and self.leapt_to is not None:
            leapt = self.leapt_to - self.leapt_from
        return max(0, min(until, self.shown) - since - leapt)


DOUBTED = timedelta(minutes=3)
"""Data may come so late in any case: a smaller leap of the clock does not count."""


class Doubt(Value):
    """The clock was set forward from ``since`` to ``until``, and nothing has shown yet that it is right."""

    since: datetime
    until: datetime

    def is_over(self, shown: datetime, newest: datetime) -> bool:
        """True where the newest data is too new for a clock that is so far ahead, or it is long ago."""
        lag = (self.until - self.since) / 2 + DOUBTED
        return shown - newest < lag or shown - self.until > BELIEVED


def absence(shown: datetime, doubt: Doubt | None) -> Absence:
    """What is known of missing data when the clock shows this."""
    if doubt is None:
        return Absence(shown=int(shown.timestamp()))
    since, until = int(doubt.since.timestamp()), int(doubt.until.timestamp())
    return Absence(shown=int(shown.timestamp()), leapt_from=since, leapt_to=until)
