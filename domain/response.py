"""What a change of an alert group means for people: an incident, a ladder, or silence."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from domain import incidents
from domain.alerts import PAGE_AGAIN_AFTER, AlertGroup, AlertStatus, Reason
from domain.effects import TOBAN
from domain.escalation import Escalation, StopReason
from domain.holding import Hold, is_held
from domain.incidents import TITLE_LIMIT, Incident
from domain.policy import Level

NOTES_OF_FLAPPING = 3
"""So often a thread is told that its alert came and went; after that only the card counts."""


def is_only_again(reasons: Collection[Reason]) -> bool:
    """True where the only news is that the same trouble came back soon after its end."""
    return {reason for reason in reasons if reason.is_news} == {Reason.FIRED_AGAIN}


@dataclass(frozen=True)
class Response:
    """What to do about a group that changed.

    ``incident`` is the one the group belongs to afterwards (without an id where it has to be opened),
    ``stop`` ends the running ladder for this reason, ``start`` begins one of this level.
    """

    group: AlertGroup
    incident: Incident | None = None
    stop: StopReason | None = None
    start: Level | None = None

    @property
    def opens(self) -> bool:
        """True where a new incident has to be opened."""
        return self.incident is not None and self.incident.id is None


def respond(
    group: AlertGroup,
    reasons: Collection[Reason],
    incident: Incident | None,
    ladder: Escalation | None,
    others_open: int,
    at: datetime,
    hold: Hold | None = None,
) -> Response:
    """Decide about one group after a batch of signals.

    ``incident`` is the open incident that it belongs to or may join, ``ladder`` the running one of
    that incident or else of the group, ``others_open`` counts the incident's other open groups,
    ``hold`` says that a deploy may be why.
    """
    mine = incident if incident is not None and group.incident_id == incident.id else None
    if not group.is_open:
        over = Reason.ALL_RESOLVED in reasons and others_open == 0 and ladder is not None
        because = StopReason.RECOVERED if group.recovered else StopReason.CLOSED
        return Response(group=group, incident=mine, stop=because if over else None)
    if not any(reason.is_news for reason in reasons):
        return Response(group=group, incident=mine)
    if mine is None and ladder is None and group.status is AlertStatus.FIRING:
        if hold is not None:
            held = group.model_copy(update={"held_until": hold.until, "held_by": hold.by})
            return Response(group=held)
        by_a_deploy = is_held(group, at) and group.held_by is not None
        if by_a_deploy and group.level is not Level.EMERGENCY:
            return Response(group=group)
    if group.held_until is not None:
        group = group.model_copy(update={"held_until": None})
    if mine is None and not group.level.opens_incident:
        silent = group.status is AlertStatus.ACKNOWLEDGED or group.level is Level.INFO
        start = None if silent or ladder is not None else group.level
        return Response(group=group, start=start)
    if incident is None:
        opened = Incident(
            title=group.title[:TITLE_LIMIT],
            own_title=group.own_title,
            severity=group.level.severity,
            service=group.service,
            born_of=group.id,
            opened_at=at,
            opened_by=TOBAN,
        )
        ended = StopReason.INCIDENT if ladder else None
        return Response(group=group, incident=opened, stop=ended, start=group.level)
    return _join(group, incident, ladder, at)


def _join(group: AlertGroup, incident: Incident, ladder: Escalation | None, at: datetime) -> Response:
    """News for an incident that is open: it pages again only if it got worse or the answer is old."""
    joined = group.model_copy(update={"incident_id": incident.id})
    worse = group.level.opens_incident and group.level.severity < incident.severity
    answered_at = incident.acknowledged_at
    stale = answered_at is not None and at - answered_at > PAGE_AGAIN_AFTER
    nobody_on_it = answered_at is None and ladder is None
    if worse or stale or nobody_on_it:
        asked = incidents.unanswered(incidents.raise_severity(incident, group.level.severity))
        level = asked.severity.level
        louder = ladder is not None and level.rank > ladder.level.rank
        return Response(
            group=joined,
            incident=asked,
            stop=StopReason.LEVEL_ROSE if louder else None,
            start=level if ladder is None or louder else None,
        )
    if answered_at is not None and joined.status is AlertStatus.FIRING:
        joined = joined.model_copy(
            update={
                "status": AlertStatus.ACKNOWLEDGED,
                "acknowledged_at": answered_at,
                "acknowledged_by": incident.acknowledged_by,
            }
        )
    return Response(group=joined, incident=incident)
