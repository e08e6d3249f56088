"""Which local day and time of day a step belongs to, and whether people work on that day."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from domain.detector.frame import Ints

DAY = 86_400
EPOCH = date(1970, 1, 1).toordinal()
SLOT = 900
"""Seconds that share one place in the daily profile, unless the step is longer."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The team's zone (IANA name) and the dates on which it works like on a Sunday."""

    zone: str = "UTC"
    holidays: frozenset[date] = field(default=frozenset())

    def local(self, times: Ints, first: int, last: int) -> Ints:
        """Local seconds since 1970-01-01 00:00 on the wall clock; ``first`` <= every time < ``last``.

        The bounds say which zone offsets can matter, so that the answer for a time does not depend on
        which others are asked with it. A change of the clock between them is looked up step by step.
        """
        info = ZoneInfo(self.zone)
        before, after = _offset(info, first), _offset(info, last)
        if before == after:
            return times + before
        return times + np.array([_offset(info, int(time)) for time in times], dtype=np.int64)

    def rests(self, day: int) -> bool:
        """True for a Saturday, a Sunday or a holiday. ``day``: local days since 1970-01-01, a Thursday."""
        return (day + 3) % 7 >= 5 or date.fromordinal(EPOCH + day) in self.holidays


def _offset(info: ZoneInfo, at: int) -> int:
    shift = datetime.fromtimestamp(at, UTC).astimezone(info).utcoffset()
    assert shift is not None  # An aware time has an offset.
    return int(shift.total_seconds())


def slots(step: int) -> int:
    """Places in the daily profile for a step in seconds: 96 quarters of an hour, or fewer for long steps."""
    return DAY // max(SLOT, step)
