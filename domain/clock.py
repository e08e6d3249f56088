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
