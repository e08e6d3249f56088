"""The types of the team's policy: people, levels, ladders, services, routes; frozen once read."""

import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from domain.backup_plans import Backups
from domain.data_retention import DataRetention
from domain.deploys import Deploys
from domain.errors import Refused
from domain.levels import Level, Severity, Value
from domain.roles import Roles
from domain.rules import Kind, Rules
from domain.senders import Cluster
from domain.text import folded

__all__ = [
    "DEFAULT_LEVELS",
    "Channels",
    "Ladder",
    "Level",
    "Means",
    "Person",
    "Policy",
    "Service",
    "Severity",
    "Step",
    "Value",
]


class Means(StrEnum):
    """A way to reach a person."""

    SLACK = "slack"
    EMAIL = "email"
    SMS = "sms"
    PHONE = "phone"


class Person(Value):
    """Somebody who can be paged or who may act; ``name`` is their key in the policy."""

    name: str
    slack: tuple[str, ...] = ()
    email: str | None = None
    phone: str | None = None
    locale: str | None = None
    zone: str | None = None
    roles: tuple[str, ...] = ()


class Step(Value):
    """One rung of a ladder.

    ``respond`` after the page was delivered the same people are paged once more and the card is
    marked overdue (``None``: they are not); ``wait`` after it the next rung begins, or the last one
    again (``None``: after 15 minutes).
    """

    tell: tuple[str, ...]
    by: tuple[Means, ...] = (Means.SLACK,)
    respond: timedelta | None = None
    wait: timedelta | None = None


class Ladder(Value):
    """Who is paged, in which order, until somebody answers. Empty: nobody is."""

    steps: tuple[Step, ...] = ()


class Service(Value):
    """Something that the team runs and alerts speak about."""

    name: str
    project: str | None = None
    region: str | None = None
    match: dict[str, str] = Field(default_factory=dict)
    url: str | None = None
    owners: tuple[str, ...] = ()
    runbook: str | None = None

    def is_contradicted(self, labels: dict[str, str]) -> bool:
        """Whether labels that ``match`` asks for say something else; one that is missing says nothing."""
        return any(labels.get(key, want) != want for key, want in self.match.items())

    @property
    def kind(self) -> Kind | None:
        """What it runs on, by the label that alerts about it carry; ``None`` where that does not say."""
        if "service_name" in self.match:
            return Kind.CLOUD_RUN
        return Kind.CLOUD_SQL if "database_id" in self.match else None


class Channels(Value):
    """Where things are said: ``#name`` or a Slack id."""

    alerts: str = "#alerts"
    incidents: str = "#incidents"
    deploys: str = "#deploys"
    ops: str = "#ops"


DEFAULT_LEVELS: dict[str, Level] = {
    "emergency": Level.EMERGENCY,
    "emerg": Level.EMERGENCY,
    "p0": Level.EMERGENCY,
    "緊急": Level.EMERGENCY,
    "致命的": Level.EMERGENCY,
    "非常事態": Level.EMERGENCY,
    "critical": Level.CRITICAL,
    "crit": Level.CRITICAL,
    "fatal": Level.CRITICAL,
    "urgent": Level.CRITICAL,
    "page": Level.CRITICAL,
    "p1": Level.CRITICAL,
    "重大": Level.CRITICAL,
    "至急": Level.CRITICAL,
    "大至急": Level.CRITICAL,
    "クリティカル": Level.CRITICAL,
    "error": Level.WARNING,
    "warning": Level.WARNING,
    "警告": Level.WARNING,
    "p2": Level.WARNING,
    "info": Level.INFO,
    "情報": Level.INFO,
    "no severity": Level.INFO,
    "none": Level.INFO,
}


_STEP = re.compile(r"(?:p|s|sev|severity|prio|priority)[-_ ]?([0-9])")
_AROUND = " []()<>{}【】「」『』\"'`*_:：.,!|"
"""What people put around a word, once it has its usual width."""

SERVICE_LABELS = (
    "service",
    "service_name",
    "app",
    "job",
    "app.kubernetes.io/name",
    "app_kubernetes_io_name",
    "label_app_kubernetes_io_name",
    "k8s-app",
    "k8s_app",
    "label_app",
)
"""Labels in which senders name the service. Prometheus writes ``.``, ``/`` and ``-`` as ``_``."""


class Policy(Value):
    """Everything that people decided for the bot; read from ``toban.yaml`` by ``bot/policy.py``."""

    people: dict[str, Person] = Field(default_factory=dict)
    channels: Channels = Channels()
    services: tuple[Service, ...] = ()
    levels: dict[str, Level] = Field(default_factory=lambda: dict(DEFAULT_LEVELS))
    ladders: dict[Level, Ladder] = Field(default_factory=dict)
    rules: Rules = Rules()
    deploys: Deploys = Deploys()
    backups: Backups = Backups()
    retention: DataRetention = DataRetention()
    roles: Roles = Roles()
    clusters: tuple[Cluster, ...] = ()

    def level(self, raw: str | None) -> Level | None:
        """The level that a sender's own word means here; ``None`` where it said nothing.

        Its width, its case and what surrounds it do not count, and ``SEV-1`` is ``p1``. A word that nobody
        mapped is a warning: it is kept and shown, never dropped.
        """
        word = folded(raw or "").strip(_AROUND)
        if not word:
            return None
        step = _STEP.fullmatch(word)
        return self.levels.get(word) or self.levels.get(f"p{step[1]}" if step else "", Level.WARNING)

    def ladder(self, level: Level) -> Ladder:
        """The ladder of a level; an empty one where the policy has none."""
        return self.ladders.get(level, Ladder())

    def paged_first(self, severity: Severity) -> tuple[str, ...]:
        """Whom a declared incident of this severity pages at once; empty where it pages nobody."""
        steps = self.ladder(severity.level).steps
        return steps[0].tell if steps else ()

    def service(self, labels: dict[str, str]) -> str | None:
        """The first service whose ``match`` fits the labels, else the one that the labels name.

        Any of ``SERVICE_LABELS`` may name a service of the policy, unless a label of its ``match`` says
        something else. A service that the policy does not know is named by ``service_name`` alone.
        """
        for service in self.services:
            if service.match and all(labels.get(key) == want for key, want in service.match.items()):
                return service.name
        for key in SERVICE_LABELS:
            if key in labels:
                for service in self.services:
                    if service.name == labels[key] and not service.is_contradicted(labels):
                        return service.name
        return labels.get("service_name") or None

    def person_of(self, slack_id: str) -> Person | None:
        """The person to whom a Slack account belongs, if the policy names the account."""
        return next((person for person in self.people.values() if slack_id in person.slack), None)


def named_service(services: Sequence[Service], named: str) -> Service:
    """The service that somebody named, whatever its case. Refused with the names; who named none is asked."""
    alike = [service for service in services if service.name.casefold() == named.casefold()]
    if alike:
        return next((service for service in alike if service.name == named), alike[0])
    names = [service.name for service in services]
    if not named:
        raise Refused("refused.which_service", names=names)
    raise Refused("refused.unknown_service", given=named[:60], names=names)
