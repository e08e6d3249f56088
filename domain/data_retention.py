"""How long what is over is remembered: bodies of deliveries, finished alerts, and what belongs to them."""

from datetime import datetime, timedelta

from domain.levels import Value

BODIES_AT_LEAST = timedelta(hours=1)
"""A delivery that nobody could read is looked at by people; that takes them some time."""

ALERTS_AT_LEAST = timedelta(days=7)
"""Reports and detectors look back over a week."""

KEYS = timedelta(days=32)
"""A sender may repeat a delivery this long: Pub/Sub keeps a message for at most 31 days."""


class DataRetention(Value):
    """How long things stay: ``bodies`` after their delivery, ``alerts`` after their end.

    Incidents with their timeline and ladders, deploys, backups and what people did stay for good.
    """

    bodies: timedelta = timedelta(days=7)
    alerts: timedelta = timedelta(days=90)

    def limits(self, at: datetime) -> "Limits":
        """The moments before which things may go."""
        return Limits(
            at=at,
            bodies=at - self.bodies,
            messages=at - self.bodies,
            keys=at - max(KEYS, self.bodies),
            alerts=at - self.alerts,
        )


class Limits(Value):
    """Moments before which things may go: ``messages`` are those that nobody edits any more, ``keys``
    the marks by which a repeated delivery is recognised.
    """

    at: datetime
    bodies: datetime
    messages: datetime
    keys: datetime
    alerts: datetime


class Removed(Value):
    """How many things went. ``rows`` counts everything else that belonged to them."""

    bodies: int = 0
    groups: int = 0
    alerts: int = 0
    rows: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(
            bodies=self.bodies + other.bodies,
            groups=self.groups + other.groups,
            alerts=self.alerts + other.alerts,
            rows=self.rows + other.rows,
        )

    @property
    def total(self) -> int:
        """All of it."""
        return self.bodies + self.groups + self.alerts + self.rows


class Space(Value):
    """How many bytes the database takes, and how many of them are free inside its file.

    ``gives_back`` is False for a file that keeps its free pages until it is vacuumed once.
    """

    size: int
    free: int = 0
    gives_back: bool = True


TARGET = 0.008
"""Seconds that one batch shall hold the writer."""

LONGEST = 0.015
"""Seconds after which the next batch is half as large; nobody may wait for more than 20 ms."""

FIRST, MOST = 10, 400
"""Things in the first batch, and in the largest one."""


def next_batch(size: int, took: float) -> int:
    """How many things the next batch takes after one of ``size`` held the writer for ``took`` seconds."""
    if took > LONGEST:
        return max(1, size // 2)
    if took > TARGET:
        return max(1, size * 3 // 4)
    if took < TARGET / 2:
        return min(MOST, size + max(1, size // 4))
    return size
