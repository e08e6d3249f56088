"""What a service's own health address says, and when that is an alert."""

from domain.policy import Value


class Seen(Value):
    """One look at a health address.

    ``status`` is the HTTP status, ``None`` where there was no answer; ``problem`` a short word for why
    (``timeout``, ``refused``, ``dns``, ``tls``, ``forbidden address``, ``too long``); ``body`` the
    beginning of what was answered, as text from outside.
    """

    url: str
    status: int | None = None
    problem: str | None = None
    seconds: float
    body: str = ""
