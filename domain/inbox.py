"""What came in from outside: kept as it came, before anybody is told that we have it."""

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

from domain.policy import Level, Value


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DONE = "done"
    QUARANTINED = "quarantined"


FIRST_TURN, LAST_TURN = 0, Level.EMERGENCY.rank
"""The turns of people and emergencies, and of what is least urgent."""


def turn_of(level: Level) -> int:
    """The turn of a delivery whose loudest alert has this level."""
    return LAST_TURN - level.rank


class NewDelivery(Value):
    """What a machine or a person sent. ``key`` is the sender's own id of it: the same twice is one.

    ``kind`` names the interpreter: ``cloud-monitoring``, ``alertmanager``, ``slack.action`` and so on.
    ``error`` is set where it is known already that it cannot be understood. ``turn`` says who is first where
    many wait, from ``FIRST_TURN`` to ``LAST_TURN``; among equals the older.
    """

    kind: str
    key: str
    body: bytes
    received_at: datetime
    error: str | None = None
    turn: int = LAST_TURN


class Delivery(Value):
    """A delivery as the drain sees it. ``attempts`` counts how often it was put aside and tried again."""

    id: int
    kind: str
    key: str
    body: bytes
    received_at: datetime
    attempts: int = 0


TEST_AGAIN_WITHIN = timedelta(minutes=10)
"""A test button that is pressed again so soon is told no second time, however often."""

SAME_BODY_WITHIN = timedelta(minutes=10)
"""Of a body that comes again this soon the ops channel is told once."""


def delivery_key(kind: str, body: bytes) -> str:
    """The key of a request whose sender gives it no id: ``kind:sha256:random``.

    No two requests share one. The same bytes may mean something new (fire, end, fire again), so that
    only the rules of what they say can tell a repetition.
    """
    return f"{kind}:{hashlib.sha256(body).hexdigest()}:{secrets.token_hex(8)}"


def same_body(key: str) -> str:
    """What the keys of all requests with this body of this sender begin with."""
    return key[: key.rfind(":") + 1]


class Quarantined(Value):
    """The quarantined deliveries of one kind: how many, and the newest with its reason."""

    kind: str
    count: int
    newest: int
    reason: str


PEOPLE = "slack"
"""The kind of what people click and type."""

PEOPLE_WITHIN = timedelta(minutes=10)
"""What a person asked for is not done by itself when it is older than this: they have seen the failure."""

RETRY_FIRST = timedelta(minutes=1)
RETRY_LONGEST = timedelta(hours=1)
RETRIES = 40
"""More than a day: then only `toban redrive` tries again."""


def retry_at(delivery: Delivery, at: datetime) -> datetime | None:
    """When a delivery that failed for another reason than its content is tried again by itself."""
    if delivery.attempts >= RETRIES:
        return None
    if delivery.kind == PEOPLE and at - delivery.received_at > PEOPLE_WITHIN:
        return None
    pause: timedelta = RETRY_FIRST * 2 ** min(delivery.attempts, 10)
    return at + min(pause, RETRY_LONGEST)
