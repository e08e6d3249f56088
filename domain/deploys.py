"""What the team decided about deploys: who approves, how traffic moves, when nothing may move."""

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from domain.levels import Level, Value


class Check(Value):
    """One request to the new revision before it gets traffic. ``text`` has to be part of the answer;
    ``pointer`` (RFC 6901) names a value in a JSON answer that has to equal ``equals``: a text, a number, true
    or false.
    """

    path: str
    status: int = 200
    text: str | None = None
    pointer: str | None = None
    equals: str | int | float | bool | None = None

    @property
    def value(self) -> str | int | float | bool | None:
        """What stands at the pointer."""
        return self.equals


DEFAULT_CHECKS = (Check(path="/health"), Check(path="/api/v1/health", pointer="/status", equals="healthy"))
"""The two of the customer's first draft."""


class Freeze(Value):
    """No deploy begins from each moment of ``cron`` for ``lasting``; ``services`` empty means all.

    ``holidays`` in place of ``cron``: the whole of each public holiday of the team's country.
    """

    name: str
    cron: str | None = None
    lasting: timedelta = timedelta(hours=1)
    holidays: bool = False
    services: tuple[str, ...] = ()


class Skip(StrEnum):
    """What an emergency may go past."""

    FREEZE = "freeze"
    LOCK = "lock"
    INCIDENT = "incident"
    APPROVAL = "approval"


class Emergency(Value):
    """Who (by name or role) may deploy past what stands in the way, and past what. Always told aloud."""

    people: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = (Skip.FREEZE, Skip.LOCK, Skip.INCIDENT)


class DeployRule(Value):
    """How one service is deployed. People by their names in the policy or by role (``role:lead``).

    ``threshold``: share of failed requests that is too much, 0..1; ``minimum``: requests of the canary
    before it may be promoted by itself. ``rollback_alone``: an approver needs nobody else to go back to a
    revision that users have met. ``patience``: how long a question waits for a person before the
    rollout goes back; ``expires``: how long an approval may be given. ``hold``: so long an alert of the
    service pages nobody while a part of its traffic is on trial or goes back; nothing: it always pages.
    ``images``: patterns of host, project and repository that images may come from; none means all.
    """

    approvers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    approvals: int = 1
    risky_approvals: int = 2
    self_approval: bool = False
    rollback_alone: bool = False
    expires: timedelta = timedelta(minutes=15)
    steps: tuple[int, ...] = (10, 100)
    bake: timedelta = timedelta(minutes=5)
    watch: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(minutes=60)
    hold: timedelta = timedelta(minutes=10)
    threshold: float = 0.01
    minimum: int = 250
    checks: tuple[Check, ...] = DEFAULT_CHECKS
    level: Level = Level.CRITICAL


class Deploys(Value):
    """The policy's section ``deploys``. ``services``: rules that differ from ``default``."""

    default: DeployRule = DeployRule()
    services: dict[str, DeployRule] = Field(default_factory=dict)
    freezes: tuple[Freeze, ...] = ()
    emergency: Emergency = Emergency()

    def rule(self, service: str) -> DeployRule:
        """How this service is deployed."""
        return self.services.get(service, self.default)
