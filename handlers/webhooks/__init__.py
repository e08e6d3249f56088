"""The machines that may call us: for each its route, how it is understood, and how it is answered."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from domain.errors import Unreadable
from domain.policy import Policy
from handlers.webhooks import alertmanager, cloud_monitoring
from handlers.webhooks.condensing import Condenser
from handlers.webhooks.reading import Look, Reading


@dataclass(frozen=True, slots=True)
class Sender:
    """One kind of sender.

    ``look`` says why a body cannot be understood, or how loud it is, cheaply, before it is kept;
    ``interpret`` says what it means, after. ``accepted`` and ``unreadable`` are the HTTP answers once it
    is committed: 202 where a refusal would only be repeated, 400 where the sender shows it to its
    operator. ``retry_after`` tells whether a 503 names the seconds to wait. ``condenser`` makes what takes
    a body that is too large to keep; without it such a body is refused.
    """

    name: str
    route: str
    look: Callable[[bytes, Policy], Look]
    interpret: Callable[[bytes, Policy], Reading]
    accepted: int
    unreadable: int
    retry_after: bool
    condenser: Callable[[Policy], Condenser] | None = None


_ALERTMANAGER = Sender(
    name=alertmanager.SOURCE,
    route="/webhooks/alertmanager",
    look=alertmanager.look,
    interpret=alertmanager.interpret,
    accepted=200,
    unreadable=400,
    retry_after=True,
    condenser=Condenser,
)

SENDERS: dict[str, Sender] = {
    sender.name: sender
    for sender in (
        Sender(
            name=cloud_monitoring.SOURCE,
            route="/webhooks/cloud-monitoring",
            look=cloud_monitoring.look,
            interpret=cloud_monitoring.interpret,
            accepted=200,
            unreadable=202,
            retry_after=False,
        ),
        _ALERTMANAGER,
        # Grafana's body is Alertmanager's with more fields. Identities come from the body and not from the
        # route, so a contact point that moves from one route to the other keeps its open alerts.
        replace(_ALERTMANAGER, name="grafana", route="/webhooks/grafana"),
    )
}

__all__ = ["SENDERS", "Reading", "Sender", "Unreadable"]
