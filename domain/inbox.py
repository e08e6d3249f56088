"""What came in from outside: kept as it came, before anybody is told that we have it."""

from datetime import datetime
from enum import StrEnum

from domain.policy import Value


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DONE = "done"
    QUARANTINED = "quarantined"


class NewDelivery(Value):
    """What a machine or a person sent. ``key`` is the sender's own id of it: the same twice is one.

    ``kind`` names the interpreter: ``cloud-monitoring``, ``alertmanager``, ``slack.action`` and so on.
    ``error`` is set where it is known already that it cannot be understood.
    """

    kind: str
    key: str
    body: bytes
    received_at: datetime
    error: str | None = None


class Delivery(Value):
    """A delivery as the drain sees it."""

    id: int
    kind: str
    key: str
    body: bytes
    received_at: datetime
