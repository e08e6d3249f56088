"""When a page gets a message of its own, and when it joins the list in one that the person has already.

A storm is one direct message a minute for each person, not thousands: the worst first, the count of all.
"""

from datetime import datetime, timedelta

from domain.levels import Level, Value

EVERY = timedelta(minutes=1)
"""A person gets at most one new message so often for pages of one level while it storms."""

FEW = 3
"""So many pages within a minute each get their own message; more are a storm."""


class PageList(Value):
    """The newest message of a person that other pages may join: the page that it was written for.

    ``posted_at``: when it was sent; ``None`` while it is on its way. ``has_grown``: others have joined that
    no bell was rung for.
    """

    page_id: int
    level: Level
    posted_at: datetime | None = None
    has_grown: bool = False


def joins(newest: PageList | None, level: Level, others: int, at: datetime) -> bool:
    """Whether a page of this level joins the list instead of getting a message of its own.

    ``others`` counts the person's pages of this level or a worse one within the last minute. What is worse
    than all that the list was written for is never hidden in it.
    """
    if newest is None or newest.level.rank < level.rank or others < FEW:
        return False
    return newest.posted_at is None or at - newest.posted_at < EVERY


def follows(newest: PageList, level: Level, at: datetime) -> bool:
    """Whether a message of its own takes over the list as well: then it is the new one of this minute."""
    is_old = newest.posted_at is not None and at - newest.posted_at >= EVERY
    return newest.has_grown and is_old and level.rank <= newest.level.rank


def push_at(posted_at: datetime, at: datetime) -> datetime:
    """When a new message says what has joined since the last one was posted: an edit rings no bell."""
    return max(posted_at + EVERY, at)
