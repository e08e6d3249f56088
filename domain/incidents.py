"""How an incident lives: opened, answered, worked on, resolved; who may be told what."""

from datetime import datetime
from enum import StrEnum

from domain.effects import By, Subject, SubjectKind, Text
from domain.errors import Refused
from domain.policy import Severity, Value
from domain.text import trimmed


class IncidentStatus(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


EDGES: dict[IncidentStatus, frozenset[IncidentStatus]] = {
    IncidentStatus.OPEN: frozenset(set(IncidentStatus) - {IncidentStatus.OPEN}),
    IncidentStatus.INVESTIGATING: frozenset(
        {IncidentStatus.IDENTIFIED, IncidentStatus.MONITORING, IncidentStatus.RESOLVED}
    ),
    IncidentStatus.IDENTIFIED: frozenset(
        {IncidentStatus.INVESTIGATING, IncidentStatus.MONITORING, IncidentStatus.RESOLVED}
    ),
    IncidentStatus.MONITORING: frozenset(
        {IncidentStatus.INVESTIGATING, IncidentStatus.IDENTIFIED, IncidentStatus.RESOLVED}
    ),
    IncidentStatus.RESOLVED: frozenset({IncidentStatus.INVESTIGATING}),
}

TITLE_LIMIT = 200
"""Characters; longer titles are refused in the form and cut where a machine wrote them."""

SUMMARY_LIMIT = 2000
"""Characters of a resolution's summary."""


class Incident(Value):
    """Trouble that people work on. ``number`` is what people call it: ``INC-12``.

    ``own_title`` is its title in any language, where Toban opened it for an alert of its own.
    """

    id: int | None = None
    title: str
    own_title: Text | None = None
    severity: Severity
    status: IncidentStatus = IncidentStatus.OPEN
    service: str | None = None
    born_of: int | None = None
    opened_at: datetime
    opened_by: By
    acknowledged_at: datetime | None = None
    acknowledged_by: By | None = None
    resolved_at: datetime | None = None
    resolved_by: By | None = None
    summary: str = ""
    version: int = 1

    @property
    def subject(self) -> Subject:
        """The stored incident as a subject. Only for one that has an id."""
        assert self.id is not None
        return Subject(kind=SubjectKind.INCIDENT, id=self.id)

    @property
    def number(self) -> str:
        """``INC-12``."""
        return f"INC-{self.id}"

    @property
    def is_open(self) -> bool:
        """True until it is resolved."""
        return self.status is not IncidentStatus.RESOLVED


def declare(title: str, severity: Severity, service: str | None, by: By, at: datetime) -> Incident:
    """An incident that a person opens. Refused without a title or with one over 200 characters.

    The title stays as it was typed but for blanks at its ends.
    """
    said = trimmed(title)
    if not said:
        raise Refused("refused.no_title")
    if len(said) > TITLE_LIMIT:
        raise Refused("refused.long_title", limit=TITLE_LIMIT, length=len(said))
    return Incident(title=said, severity=severity, service=service, opened_at=at, opened_by=by)


def move(incident: Incident, to: IncidentStatus, at: datetime) -> Incident:
    """The incident in another status, along the edges of the table only."""
    if to not in EDGES[incident.status]:
        raise Refused("refused.status_edge", number=incident.number, now=incident.status.value, to=to.value)
    reopened = {"resolved_at": None, "resolved_by": None} if not incident.is_open else {}
    return incident.model_copy(update={"status": to} | reopened)


def acknowledge(incident: Incident, by: By, at: datetime) -> Incident:
    """Somebody takes it: the ladder stops. Refused where somebody did, or it is over."""
    if not incident.is_open:
        raise Refused(
            "refused.incident_resolved",
            number=incident.number,
            who=incident.resolved_by.name if incident.resolved_by else "?",
            at=_seconds(incident.resolved_at or at),
        )
    if incident.acknowledged_at is not None:
        raise Refused(
            "refused.already_acknowledged",
            who=incident.acknowledged_by.name if incident.acknowledged_by else "?",
            at=_seconds(incident.acknowledged_at),
        )
    taken = (
        move(incident, IncidentStatus.INVESTIGATING, at)
        if incident.status is IncidentStatus.OPEN
        else incident
    )
    return taken.model_copy(update={"acknowledged_at": at, "acknowledged_by": by})


def resolve(incident: Incident, summary: str, by: By, at: datetime) -> Incident:
    """It is over, and this is what it was. Refused where it is over already."""
    if not incident.is_open:
        raise Refused(
            "refused.incident_resolved",
            number=incident.number,
            who=incident.resolved_by.name if incident.resolved_by else "?",
            at=_seconds(incident.resolved_at or at),
        )
    said = trimmed(summary)
    if len(said) > SUMMARY_LIMIT:
        raise Refused("refused.long_summary", limit=SUMMARY_LIMIT, length=len(said))
    over = move(incident, IncidentStatus.RESOLVED, at)
    return over.model_copy(update={"resolved_at": at, "resolved_by": by, "summary": said})


def unanswered(incident: Incident) -> Incident:
    """Asked again: an old acknowledgement does not keep worse or later news silent."""
    return incident.model_copy(update={"acknowledged_at": None, "acknowledged_by": None})


def raise_severity(incident: Incident, severity: Severity) -> Incident:
    """At least as bad as ``severity`` (P0 is worst); never milder."""
    return incident.model_copy(update={"severity": min(incident.severity, severity)})


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
