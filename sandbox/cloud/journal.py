"""Every call that reached the pretend Google Cloud, so that tests can say how few there were."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what was asked, when by the sandbox's clock, what came of it (a gRPC code's name)."""

    method: str
    project: str
    metric: str
    at: datetime
    outcome: str
    points: int = 0
    filter: str = ""


@dataclass(slots=True)
class Journal:
    """All calls, oldest first."""

    calls: list[Call] = field(default_factory=list)

    def of(self, method: str = "", metric: str = "") -> list[Call]:
        """The calls of a method and of a metric type; of all where these are empty."""
        return [call for call in self.calls if method in {"", call.method} and metric in {"", call.metric}]

    def count(self, method: str = "", metric: str = "") -> int:
        """How many these are. Each page and each repeated attempt is a call."""
        return len(self.of(method, metric))

    def clear(self) -> None:
        """Forget them."""
        self.calls.clear()
