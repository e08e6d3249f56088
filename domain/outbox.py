"""One message that has to be in Slack, and the rules by which it gets there exactly once."""

from datetime import datetime, timedelta
from enum import StrEnum

from domain.effects import Priority, Subject, Text
from domain.policy import Value
from domain.views import Posted

CALL_TIMEOUT = timedelta(seconds=10)
"""A call to Slack takes no longer; after it its outcome is unknown."""

LEASE = CALL_TIMEOUT + timedelta(seconds=10)
"""How long a claimed message belongs to its claimer."""

GAP = timedelta(seconds=1)
"""Slack takes about one message a second for a channel (facts/slack.md §2.6)."""

BURST = 6
"""So many messages may follow each other at once after a quiet time."""

ATTEMPTS = 12
"""Failures after which a message is given up, loudly. With the back-off below about 35 minutes."""

LONGEST_BACKOFF = timedelta(minutes=5)
"""A message is tried at least this often."""


class Status(StrEnum):
    """Where a message stands. ``PENDING`` covers a card that has to be edited."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"


class Kind(StrEnum):
    """What kind of message it is."""

    CARD = "card"
    NOTE = "note"
    ANSWER = "answer"


class Letter(Value):
    """A message as it is claimed for sending.

    ``wanted`` counts the changes that it has to show, ``shown`` those that it does. ``fence`` grows
    with every claim: a record with an older one is refused. ``in_doubt`` means that an earlier
    attempt may have succeeded, so Slack is asked before anything is posted; ``taken_over`` that its
    earlier owner may still be alive and send late, so that it is looked at once more.
    """

    id: int
    key: str
    kind: Kind
    subject: Subject | None = None
    text: Text | None = None
    to: str | None = None
    response_url: str | None = None
    place: str
    lane: str
    priority: int
    thread_of: str | None = None
    thread_ts: str | None = None
    wanted: int
    shown: int
    fence: int
    attempts: int
    in_doubt: bool
    taken_over: bool
    posted: Posted | None = None
    digest: str | None = None
    created_at: datetime
    error: str | None = None

    @property
    def is_edit(self) -> bool:
        """True where the message exists and is only changed."""
        return self.posted is not None


class Outcome(StrEnum):
    """What an attempt came to."""

    SENT = "sent"
    UNCHANGED = "unchanged"
    LATER = "later"
    UNKNOWN = "unknown"
    GONE = "gone"
    HOMELESS = "homeless"
    REFUSED = "refused"
    NOTHING = "nothing"


class Report(Value):
    """The outcome of an attempt, to be recorded. ``retry_after`` in seconds, where Slack named one."""

    outcome: Outcome
    posted: Posted | None = None
    digest: str | None = None
    error: str | None = None
    retry_after: float | None = None
    adopted: bool = False


def backoff(attempts: int) -> timedelta:
    """1 s, 2 s, 4 s … up to five minutes after the n-th failure in a row (n from 1)."""
    return min(timedelta(seconds=2 ** max(0, attempts - 1)), LONGEST_BACKOFF)


def slot(next_at: datetime | None, now: datetime, *, edit: bool) -> tuple[bool, datetime]:
    """Whether a lane lets a message go now, and its new mark (generic cell rate algorithm).

    ``next_at`` is the lane's theoretical arrival time. Where the answer is no, the returned time is
    the earliest at which it will be yes.
    """
    mark = max(next_at or now, now)
    opens = mark - GAP * (BURST - 1)
    if opens > now:
        return False, opens
    return True, mark + (GAP / 2 if edit else GAP)


def priority(letter_priority: int, *, edit: bool) -> int:
    """A page or a thread that is already on screen waits like any other edit."""
    return max(letter_priority, Priority.EDIT) if edit else letter_priority
