"""A delivery that may not be kept: its refusal is kept instead, and pages once an hour at most."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel

from domain.alerts import Signal, group_key
from domain.effects import Text, Wording
from domain.inbox import Delivery, NewDelivery, delivery_key, turn_of
from domain.policy import Level
from domain.voice import SOURCE

KIND = "refusal"
"""The kind of these deliveries in the inbox."""


class WayOut(StrEnum):
    """What helps: our own setting for the largest body, to see who calls, or to look at the sender."""

    SETTING = "setting"
    CALLER = "caller"
    LOOK = "look"


class Refusal(BaseModel):
    """What is known of the body: ``size`` in bytes where it was announced, ``reason`` in a few words.

    A refusal that an older version kept names no way out and is read all the same.
    """

    sender: str
    reason: str
    size: int | None
    way_out: WayOut = WayOut.LOOK


def delivery(refusal: Refusal, at: datetime) -> NewDelivery:
    """The refusal as it waits in the inbox."""
    body = refusal.model_dump_json().encode()
    return NewDelivery(
        kind=KIND, key=delivery_key(KIND, body), body=body, received_at=at, turn=turn_of(Level.CRITICAL)
    )


def signal(kept: Delivery) -> Signal:
    """The alert: one for each sender and hour, in one group for each sender."""
    refusal = Refusal.model_validate_json(kept.body)
    hour = int(kept.received_at.timestamp()) // 3600
    params = {"sender": refusal.sender, "reason": refusal.reason, "size": mebibytes(refusal.size)}
    return Signal(
        source=SOURCE,
        identity=f"{SOURCE}:refused:{refusal.sender}:{hour}",
        group_key=group_key(SOURCE, "refused", refusal.sender),
        firing=True,
        level=Level.CRITICAL,
        title=f"a delivery of {refusal.sender} was refused",
        labels={"sender": refusal.sender},
        started_at=kept.received_at,
        reusable=True,
        wording=Wording(
            title=Text(key="signal.body_refused", params=params),
            summary=Text(key=f"signal.body_refused_{refusal.way_out}", params=params),
        ),
    )


def mebibytes(size: int | None) -> str:
    """``52 MiB``; a question mark where the sender did not say."""
    return "?" if size is None else f"{size / 1024 / 1024:,.0f} MiB"
