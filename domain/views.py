"""What a card shows, frozen: loaded in one read, rendered in any language."""

from datetime import datetime

from pydantic import Field

from domain.alerts import Alert, AlertGroup
from domain.backups import Backup
from domain.drills import Drill
from domain.escalation import Escalation, Page
from domain.findings import Finding
from domain.incidents import Incident
from domain.policy import Value
from domain.rollouts import Lock, Rollout


class Posted(Value):
    """Where a message stands: Slack's channel id and its timestamp there."""

    channel_id: str
    ts: str
    thread_ts: str | None = None


class AlertView(Value):
    """The card of an alert group in #alerts. ``firing`` holds the first few alerts that still fire.

    ``over``: of a group of several of which none fires the first few, one more than ``firing`` would hold.
    ``deploy``: the newest deploy that gave a revision of its service traffic, not long before it fired;
    ``deploy_since``: when that was.
    """

    group: AlertGroup
    firing: tuple[Alert, ...] = ()
    over: tuple[Alert, ...] = ()
    incident: Incident | None = None
    incident_at: Posted | None = None
    escalation: Escalation | None = None
    pages: tuple[Page, ...] = ()
    deploy: Rollout | None = None
    deploy_since: datetime | None = None


class IncidentView(Value):
    """The card of an incident: its alerts, who was reached, who is next.

    ``groups``: what is open first, the worst and newest before the others. ``posted``: where the cards of
    the first few of them stand, by their subjects' keys.
    """

    incident: Incident
    groups: tuple[AlertGroup, ...] = ()
    posted: dict[str, Posted] = Field(default_factory=dict)
    escalation: Escalation | None = None
    pages: tuple[Page, ...] = ()


class PageView(Value):
    """The page in a person's direct messages. ``group``: the newest trouble of an incident.

    ``others``: more of its trouble, ``others_more`` how many are not among them.
    ``unanswered``: who was paged before this person, and when; ``again_since``: when this person was first.
    ``listed``: the worst of the other pages in the same message that nobody has answered, ``waiting`` how
    many there are of them, ``newest`` the id of the newest one.
    """

    page: Page
    escalation: Escalation
    group: AlertGroup | None = None
    incident: Incident | None = None
    subject_at: Posted | None = None
    paged_at: datetime
    unanswered: tuple[tuple[str, datetime], ...] = ()
    again_since: datetime | None = None
    others: tuple[AlertGroup, ...] = ()
    others_more: int = 0
    listed: tuple["PageView", ...] = ()
    waiting: int = 0
    newest: int = 0


class OpenNow(Value):
    """What is open: the answer to ``/incident`` and ``/incident list``.

    ``recovered``: the ids of those that have alerts, all of which are over.
    """

    incidents: tuple[Incident, ...] = ()
    recovered: frozenset[int] = frozenset()
    at: datetime


class RolloutView(Value):
    """The card of a deploy. ``behind``: the live one that a queued one waits for; ``ahead``: how many are
    queued before it. ``incident``: the one that its failure opened or joined.
    """

    rollout: Rollout
    lock: Lock | None = None
    behind: Rollout | None = None
    ahead: int = 0
    incident: Incident | None = None


class BackupView(Value):
    """The card of a backup. ``verified``: the newest verified one of its plan, itself included."""

    backup: Backup
    verified: Backup | None = None


class DrillView(Value):
    """The card of a restore drill, and the backup that it restores."""

    drill: Drill
    backup: Backup | None = None


class HomeView(Value):
    """What needs one person first. ``person``: ``None`` where the account belongs to nobody in the policy.

    ``rollouts``, ``drills``: wait for this person's decision. ``pages``: the newest page of each ladder on
    which this person was called, and nobody has answered, the worst and oldest first. ``recovered``: open
    incidents whose alerts are all over. ``posted``: where the cards of all of them stand,
    by their subjects' keys.
    """

    at: datetime
    person: str | None = None
    rollouts: tuple[Rollout, ...] = ()
    drills: tuple[Drill, ...] = ()
    pages: tuple[PageView, ...] = ()
    incidents: tuple[Incident, ...] = ()
    recovered: frozenset[int] = frozenset()
    posted: dict[str, Posted] = Field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """How many things wait for this person."""
        return len(self.rollouts) + len(self.drills) + len(self.pages)


View = AlertView | IncidentView | PageView | Finding | RolloutView | BackupView | DrillView
