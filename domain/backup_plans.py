"""The policy's section ``backups``: what is copied when and where to, and what is kept of it."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from domain.errors import Refused
from domain.levels import Level, Value
from domain.questions import Question
from domain.retention import Retention
from domain.schedule import Cron


class Source(StrEnum):
    """What a part of a backup is a copy of."""

    TOBAN = "toban"
    """The bot's own database."""
    CLOUD_SQL = "cloud-sql"
    """A Cloud SQL instance, by its own backups."""
    FIRESTORE = "firestore"
    """A Firestore database, by a managed export."""
    BUCKET = "bucket"
    """The live objects of a bucket of Cloud Storage."""
    SECRETS = "secrets"
    """What is known of a project's secrets, never what they hold."""


class Part(Value):
    """One thing that is copied, by its name within the plan. ``of``: which one, where there are several.

    ``encrypt``: Toban encrypts the copy before it goes anywhere. ``second_of``: the plan whose verified copy
    of the same moment is taken, where this is the part of a second destination.
    """

    name: str
    source: Source
    of: str = ""
    project: str | None = None
    encrypt: bool = False
    second_of: str = ""


SECOND = "-also"
"""What the name of a plan ends with that keeps copies at another plan's second destination."""


class Range(Value):
    """How small and how large a copy may be beside the median of the last verified ones: 0.5 is half."""

    low: float = Field(default=0.5, ge=0)
    high: float = Field(default=3.0, gt=0)


UNREHEARSED = frozenset({Source.SECRETS})
"""What is known of secrets is read back when it is verified; it cannot be restored to anywhere."""


class DrillRule(Value):
    """How a plan's copies are restored to prove them.

    ``schedule``: when without being asked; ``scratch``: where to, by what is copied; ``approvers``: names
    and ``role:…`` who may agree to one that somebody asks for, with none everybody else of the policy.
    ``expected``: how long the recovery may take.
    """

    schedule: Cron | None = None
    scratch: Mapping[Source, str] = Field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    approvers: tuple[str, ...] = ()
    self_approval: bool = False
    expected: timedelta = timedelta(hours=1)


class BackupPlan(Value):
    """What is copied, when and where to. A verified copy is expected ``expected`` after each due moment.

    ``destination``: a folder, or ``gs://bucket/prefix``. ``deletes``: the bot may delete what ``keep`` lets
    go; without it the list is a report. ``formerly``: names that it had, whose backups are its own.
    """

    name: str
    formerly: tuple[str, ...] = ()
    schedule: Cron
    parts: tuple[Part, ...]
    destination: str
    expected: timedelta = timedelta(hours=1)
    keep: Retention = Retention()
    deletes: bool = False
    sizes: Range = Range()
    level: Level = Level.CRITICAL
    drill: DrillRule | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its own and those that it had."""
        return (self.name, *self.formerly)

    @property
    def encrypts(self) -> bool:
        """Whether Toban's own copies of this plan are encrypted."""
        return any(part.encrypt for part in self.parts)

    @property
    def second_of(self) -> str:
        """The plan of whose copies this is the second destination; empty for a plan of its own."""
        return next((part.second_of for part in self.parts if part.second_of), "")

    def also_at(self, destination: str) -> "BackupPlan":
        """The plan of a second destination: it takes the copies of this one, and is like it in all else."""
        changes = {
            "name": f"{self.name}{SECOND}",
            "formerly": tuple(f"{name}{SECOND}" for name in self.formerly),
            "parts": tuple(part.model_copy(update={"second_of": self.name}) for part in self.parts),
            "destination": destination,
        }
        return self.model_copy(update=changes)


class Backups(Value):
    """The policy's section ``backups``, in the file's order."""

    plans: tuple[BackupPlan, ...] = ()

    def plan(self, name: str) -> BackupPlan | None:
        """One by its name, or one that it had; ``None`` where the policy has none (any more)."""
        named = (plan for plan in self.plans if plan.name == name)
        return next(named, None) or next((plan for plan in self.plans if name in plan.formerly), None)

    def second(self, name: str) -> BackupPlan | None:
        """The second destination of a plan, where it has one."""
        return next((plan for plan in self.plans if plan.second_of == name), None)

    @property
    def names(self) -> frozenset[str]:
        """Those of all plans, and those that they had."""
        return frozenset(name for plan in self.plans for name in plan.names)

    def named(self, name: str) -> BackupPlan:
        """The one that somebody named, whatever its case. Refused with the names; who named none is asked."""
        alike = [plan for plan in self.plans if plan.name.casefold() == name.casefold()]
        if alike:
            return self.plan(name) or alike[0]
        names = [plan.name for plan in self.plans]
        if not name:
            raise Refused("refused.which_plan", names=names)
        raise Refused("refused.unknown_plan", given=name[:60], names=names)
