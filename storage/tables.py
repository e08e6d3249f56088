"""The rows: the domain's own fields, plus keys and columns; and the engine's tables beside them."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel
from sqlmodel._compat import SQLModelConfig

from domain.alerts import Alert, AlertGroup, AlertStatus, Ending, Link
from domain.approvals import Approval
from domain.backups import Backup, Progress
from domain.chances import Counts
from domain.cloudrun import Row, Target
from domain.drills import Drill, DrillState
from domain.effects import By, Subject, Text, Wording
from domain.escalation import Escalation, Page, PageStatus, Phase
from domain.feasibility import Feasibility
from domain.findings import Finding, Verdict
from domain.inbox import LAST_TURN, DeliveryStatus
from domain.incidents import Incident, IncidentStatus
from domain.outbox import Kind, Status
from domain.plans import Plan
from domain.policy import Level, Means, Severity, Step
from domain.retention import Standing
from domain.rollouts import Course, Intent, Lock, Rollout, Stage
from domain.rollouts import Kind as RolloutKind
from domain.runs import JobRun, RunOutcome
from domain.verdict import Verdict as Judgement
from domain.watches import Watch, WatchKind
from storage.bodies import Body
from storage.guard import bound
from storage.types import BIG, EpochMillis, Instant, Json, stored_enum

metadata = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

STORED = SQLModelConfig(frozen=False, extra="ignore")


class InboxRow(SQLModel, table=True):
    """What came in, as it came."""

    __tablename__ = "inbox"
    __table_args__ = (
        sa.UniqueConstraint("key"),
        sa.Index(
            "ix_inbox_pending",
            "turn",
            "id",
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        ),
        sa.Index(
            "ix_inbox_retry",
            "retry_at",
            sqlite_where=sa.text("retry_at IS NOT NULL"),
            postgresql_where=sa.text("retry_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_inbox_untold",
            "id",
            sqlite_where=sa.text("status = 'quarantined' AND drained_at IS NULL"),
            postgresql_where=sa.text("status = 'quarantined' AND drained_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_type=BIG, primary_key=True)
    kind: str = Field(max_length=64)
    key: str = Field(max_length=255)
    body: bytes = Field(sa_type=Body)
    received_at: datetime = Field(sa_type=EpochMillis)
    status: DeliveryStatus = Field(default=DeliveryStatus.PENDING, sa_type=stored_enum(DeliveryStatus))
    drained_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    error: str | None = Field(default=None, sa_type=sa.Text)
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    retry_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    turn: int = Field(default=LAST_TURN, sa_column_kwargs={"server_default": str(LAST_TURN)})


class AlertGroupRow(AlertGroup, SQLModel, table=True):
    """One trouble, one thread."""

    model_config = STORED
    __tablename__ = "alert_group"
    __table_args__ = (
        sa.UniqueConstraint("key", "generation"),
        sa.Index("ix_alert_group_incident_id", "incident_id"),
        sa.Index(
            "ix_alert_group_held",
            "held_until",
            sqlite_where=sa.text("held_until IS NOT NULL"),
            postgresql_where=sa.text("held_until IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(max_length=64)
    title: str = Field(sa_type=sa.Text)
    summary: str = Field(default="", sa_type=sa.Text)
    level: Level = Field(sa_type=stored_enum(Level))
    status: AlertStatus = Field(default=AlertStatus.FIRING, sa_type=stored_enum(AlertStatus))
    labels: dict[str, str] = Field(default_factory=dict, sa_type=Json(dict[str, str]))
    url: str | None = Field(default=None, sa_type=sa.Text)
    runbook: str | None = Field(default=None, sa_type=sa.Text)
    value: str | None = Field(default=None, sa_type=sa.Text)
    threshold: str | None = Field(default=None, sa_type=sa.Text)
    opened_at: datetime = Field(sa_type=Instant)
    began_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    silent_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    closed_firing: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    changed_at: datetime = Field(sa_type=Instant)
    acknowledged_at: datetime | None = Field(default=None, sa_type=Instant)
    acknowledged_by: By | None = Field(default=None, sa_type=Json(By))
    resolved_at: datetime | None = Field(default=None, sa_type=Instant)
    resolved_by: By | None = Field(default=None, sa_type=Json(By))
    incident_id: int | None = Field(default=None, foreign_key="incident.id")
    held_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    channel: str | None = Field(default=None, max_length=80)
    wording: Wording | None = Field(default=None, sa_type=Json(Wording))
    silent: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    name: str | None = Field(default=None, sa_type=sa.Text)
    sender: str | None = Field(default=None, max_length=64)
    links: tuple[Link, ...] = Field(
        default=(), sa_type=Json(tuple[Link, ...]), sa_column_kwargs={"server_default": "[]"}
    )
    ending: Ending | None = Field(default=None, sa_type=stored_enum(Ending))
    version: int = Field(default=1)


class AlertRow(Alert, SQLModel, table=True):
    """One alert of a group."""

    model_config = STORED
    __tablename__ = "alert"
    __table_args__ = (
        sa.UniqueConstraint("identity"),
        sa.Index("ix_alert_group_id_firing", "group_id", "firing"),
    )

    id: int | None = Field(default=None, sa_type=BIG, primary_key=True)
    group_id: int | None = Field(default=None, foreign_key="alert_group.id")
    identity: str = Field(max_length=512)
    level: Level = Field(sa_type=stored_enum(Level))
    title: str = Field(sa_type=sa.Text)
    summary: str = Field(default="", sa_type=sa.Text)
    labels: dict[str, str] = Field(default_factory=dict, sa_type=Json(dict[str, str]))
    url: str | None = Field(default=None, sa_type=sa.Text)
    value: str | None = Field(default=None, sa_type=sa.Text)
    threshold: str | None = Field(default=None, sa_type=sa.Text)
    started_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    changed_at: datetime = Field(sa_type=EpochMillis)
    silent: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})


class IncidentRow(Incident, SQLModel, table=True):
    """Trouble that people work on."""

    model_config = STORED
    __tablename__ = "incident"
    __table_args__ = (
        sa.Index("ix_incident_status", "status"),
        sa.Index(
            "ix_incident_open",
            "service",
            sqlite_where=sa.text("status != 'resolved'"),
            postgresql_where=sa.text("status <> 'resolved'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    title: str = Field(sa_type=sa.Text)
    own_title: Text | None = Field(default=None, sa_type=Json(Text))
    severity: Severity = Field(sa_type=stored_enum(Severity))
    status: IncidentStatus = Field(default=IncidentStatus.OPEN, sa_type=stored_enum(IncidentStatus))
    opened_at: datetime = Field(sa_type=Instant)
    opened_by: By = Field(sa_type=Json(By))
    acknowledged_at: datetime | None = Field(default=None, sa_type=Instant)
    acknowledged_by: By | None = Field(default=None, sa_type=Json(By))
    resolved_at: datetime | None = Field(default=None, sa_type=Instant)
    resolved_by: By | None = Field(default=None, sa_type=Json(By))
    summary: str = Field(default="", sa_type=sa.Text)
    version: int = Field(default=1)


class EscalationRow(Escalation, SQLModel, table=True):
    """A ladder on its way; at most one is running for a subject."""

    model_config = STORED
    __tablename__ = "escalation"
    __table_args__ = (
        sa.Index("ix_escalation_subject", "subject"),
        sa.Index(
            "uq_escalation_running",
            "subject",
            unique=True,
            sqlite_where=sa.text("phase <> 'stopped'"),
            postgresql_where=sa.text("phase <> 'stopped'"),
        ),
        sa.Index(
            "ix_escalation_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    subject: str = Field(max_length=64)
    level: Level = Field(sa_type=stored_enum(Level))
    steps: tuple[Step, ...] = Field(default=(), sa_type=Json(tuple[Step, ...]))
    phase: Phase = Field(default=Phase.DUE, sa_type=stored_enum(Phase))
    due_at: datetime | None = Field(sa_type=EpochMillis, nullable=True)
    started_at: datetime = Field(sa_type=Instant)
    delivered_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    stopped_at: datetime | None = Field(default=None, sa_type=Instant)
    stopped_by: By | None = Field(default=None, sa_type=Json(By))
    stopped_because: str | None = Field(default=None, max_length=64)
    version: int = Field(default=1)


class PageRow(Page, SQLModel, table=True):
    """One attempt to reach one person."""

    model_config = STORED
    __tablename__ = "page"
    __table_args__ = (
        sa.UniqueConstraint("escalation_id", "step", "round", "person", "means"),
        sa.Index("ix_page_person", "person", "id"),
        sa.Index(
            "ix_page_listed_in",
            "listed_in",
            sqlite_where=sa.text("listed_in IS NOT NULL"),
            postgresql_where=sa.text("listed_in IS NOT NULL"),
        ),
        sa.Index(
            "ix_page_top",
            "person",
            sqlite_where=sa.text("listed_in IS NULL AND means = 'slack'"),
            postgresql_where=sa.text("listed_in IS NULL AND means = 'slack'"),
        ),
        sa.Index(
            "ix_page_push_at",
            "push_at",
            sqlite_where=sa.text("push_at IS NOT NULL"),
            postgresql_where=sa.text("push_at IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    escalation_id: int = Field(foreign_key="escalation.id")
    means: Means = Field(sa_type=stored_enum(Means))
    status: PageStatus = Field(default=PageStatus.QUEUED, sa_type=stored_enum(PageStatus))
    queued_at: datetime = Field(sa_type=Instant)
    delivered_at: datetime | None = Field(default=None, sa_type=Instant)
    error: str | None = Field(default=None, sa_type=sa.Text)
    posted_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    shown_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    push_at: datetime | None = Field(default=None, sa_type=EpochMillis)


class TimelineRow(SQLModel, table=True):
    """What happened: append-only, one row for each thing."""

    __tablename__ = "timeline"
    __table_args__ = (sa.Index("ix_timeline_subject", "subject"),)

    id: int | None = Field(default=None, sa_type=BIG, primary_key=True)
    subject: str = Field(max_length=64)
    what: str = Field(max_length=64)
    at: datetime = Field(sa_type=Instant)
    by: By = Field(sa_type=Json(By))
    data: dict[str, Any] = Field(default_factory=dict, sa_type=Json(dict[str, Any]))


class OutboxRow(SQLModel, table=True):
    """One message that has to be in Slack. See ``domain/outbox.py`` for what the columns mean.

    ``due_at`` is empty where nothing is to be done; ``look_again_at`` asks for one more look at a
    message whose earlier owner may have sent it as well.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.UniqueConstraint("key"),
        sa.Index(
            "ix_outbox_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_outbox_turn",
            "place",
            "priority",
            "id",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_outbox_leased",
            "place",
            sqlite_where=sa.text("lease_until IS NOT NULL"),
            postgresql_where=sa.text("lease_until IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, sa_type=BIG, primary_key=True)
    key: str = Field(max_length=255)
    kind: Kind = Field(sa_type=stored_enum(Kind))
    subject: Subject | None = Field(default=None, sa_type=Json(Subject))
    text: Text | None = Field(default=None, sa_type=Json(Text))
    to: str | None = Field(default=None, max_length=64)
    response_url: str | None = Field(default=None, sa_type=sa.Text)
    place: str = Field(max_length=128)
    priority: int
    thread_of: str | None = Field(default=None, max_length=255)
    broadcast: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    status: Status = Field(default=Status.PENDING, sa_type=stored_enum(Status))
    wanted: int = 1
    shown: int = 0
    due_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    look_again_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    lease_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    fence: int = 0
    attempts: int = 0
    in_doubt: bool = False
    doubt_from: datetime | None = Field(default=None, sa_type=EpochMillis)
    doubt_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    failing_since: datetime | None = Field(default=None, sa_type=EpochMillis)
    channel_id: str | None = Field(default=None, max_length=32)
    ts: str | None = Field(default=None, max_length=32)
    thread_ts: str | None = Field(default=None, max_length=32)
    digest: str | None = Field(default=None, max_length=64)
    created_at: datetime = Field(sa_type=EpochMillis)
    sent_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    error: str | None = Field(default=None, sa_type=sa.Text)


class SetAsideRow(SQLModel, table=True):
    """A row of another table that this version cannot read, as it was when it was found."""

    __tablename__ = "set_aside"

    source: str = Field(primary_key=True, max_length=64)
    row_id: int = Field(sa_type=sa.BigInteger, primary_key=True)
    reason: str = Field(sa_type=sa.Text)
    content: str = Field(sa_type=sa.Text)
    found_at: datetime = Field(sa_type=EpochMillis)


class LaneRow(SQLModel, table=True):
    """The pace of one conversation: see ``domain.outbox.slot``."""

    __tablename__ = "lane"

    key: str = Field(primary_key=True, max_length=128)
    next_at: datetime = Field(sa_type=EpochMillis)
    closed_until: datetime | None = Field(default=None, sa_type=EpochMillis)


class ClockRow(SQLModel, table=True):
    """The latest time that any process has counted: a clock that shows less was set back. One row."""

    __tablename__ = "clock"

    id: int = Field(primary_key=True)
    at: datetime = Field(sa_type=EpochMillis)


class JobRunRow(JobRun, SQLModel, table=True):
    """One run of a recurring job; its name and due moment are its key, so that it happens once."""

    model_config = STORED
    __tablename__ = "job_run"
    __table_args__ = (sa.UniqueConstraint("name", "due_at"),)

    id: int | None = Field(default=None, sa_type=BIG, primary_key=True)
    name: str = Field(max_length=64)
    due_at: datetime = Field(sa_type=EpochMillis)
    started_at: datetime = Field(sa_type=EpochMillis)
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    outcome: RunOutcome = Field(default=RunOutcome.RUNNING, sa_type=stored_enum(RunOutcome))
    error: str | None = Field(default=None, sa_type=sa.Text)
    result: Text | None = Field(default=None, sa_type=Json(Text))
    lease_until: datetime = Field(sa_type=EpochMillis)
    version: int = Field(default=1)


class WatchRow(Watch, SQLModel, table=True):
    """Where a watched thing stands."""

    model_config = STORED
    __tablename__ = "watch"
    __table_args__ = (sa.UniqueConstraint("kind", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    kind: WatchKind = Field(sa_type=stored_enum(WatchKind))
    key: str = Field(max_length=255)
    state: dict[str, Any] = Field(default_factory=dict, sa_type=Json(dict[str, Any]))
    changed_at: datetime = Field(sa_type=EpochMillis)
    version: int = Field(default=1)


class FindingRow(Finding, SQLModel, table=True):
    """An anomaly that the team was told of."""

    model_config = STORED
    __tablename__ = "finding"
    __table_args__ = (
        sa.Index("ix_finding_started_at", "started_at"),
        sa.Index("ix_finding_group_id", "group_id"),
        sa.Index(
            "ix_finding_open",
            "id",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    service: str = Field(max_length=128)
    driver: str = Field(max_length=64)
    direction: str = Field(max_length=16)
    details: dict[str, Any] = Field(default_factory=dict, sa_type=Json(dict[str, Any]))
    started_at: datetime = Field(sa_type=EpochMillis)
    seen_at: datetime = Field(sa_type=EpochMillis)
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    group_id: int | None = Field(default=None, foreign_key="alert_group.id")
    verdict: Verdict | None = Field(default=None, sa_type=stored_enum(Verdict))
    verdict_by: By | None = Field(default=None, sa_type=Json(By))
    verdict_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    muted_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    version: int = Field(default=1)


class RolloutRow(Rollout, SQLModel, table=True):
    """One deploy; at most one that touches a service at a time."""

    model_config = STORED
    __tablename__ = "rollout"
    __table_args__ = (
        sa.Index("ix_rollout_service", "service", "id"),
        sa.Index(
            "ix_rollout_due",
            "due_at",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        ),
        sa.Index(
            "uq_rollout_live",
            "service",
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL AND stage <> 'queued'"),
            postgresql_where=sa.text("ended_at IS NULL AND stage <> 'queued'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    kind: RolloutKind = Field(sa_type=stored_enum(RolloutKind))
    service: str = Field(max_length=128)
    target: Target = Field(sa_type=Json(Target))
    image: str = Field(sa_type=sa.Text)
    digest: str | None = Field(default=None, max_length=80)
    to_revision: str | None = Field(default=None, max_length=80)
    requested_by: By = Field(sa_type=Json(By))
    requester: str = Field(max_length=128)
    requested_at: datetime = Field(sa_type=EpochMillis)
    emergency: str | None = Field(default=None, sa_type=sa.Text)
    course: Course = Field(sa_type=Json(Course))
    stage: Stage = Field(default=Stage.PLANNING, sa_type=stored_enum(Stage))
    since: datetime = Field(sa_type=EpochMillis)
    plan: Plan | None = Field(default=None, sa_type=Json(Plan))
    feasibility: Feasibility | None = Field(default=None, sa_type=Json(Feasibility))
    approvals: tuple[Approval, ...] = Field(default=(), sa_type=Json(tuple[Approval, ...]))
    expires_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    held_by: str | None = Field(default=None, max_length=255)
    intent: Intent | None = Field(default=None, sa_type=Json(Intent))
    in_flight: tuple[Row, ...] = Field(default=(), sa_type=Json(tuple[Row, ...]))
    shifted_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    bake_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    word: By | None = Field(default=None, sa_type=Json(By))
    paused_by: By | None = Field(default=None, sa_type=Json(By))
    verdict: Judgement | None = Field(default=None, sa_type=Json(Judgement))
    judged_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    visible_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    before: Counts | None = Field(default=None, sa_type=Json(Counts))
    checks: tuple[tuple[str, bool, str], ...] = Field(
        default=(), sa_type=Json(tuple[tuple[str, bool, str], ...])
    )
    problem: Text | None = Field(default=None, sa_type=Json(Text))
    ended_by: By | None = Field(default=None, sa_type=Json(By))
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    stood_at: Stage | None = Field(default=None, sa_type=stored_enum(Stage))
    due_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    lease_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    troubled_since: datetime | None = Field(default=None, sa_type=EpochMillis)
    version: int = Field(default=1)


class LockRow(Lock, SQLModel, table=True):
    """A service on which nothing is deployed."""

    model_config = STORED
    __tablename__ = "deploy_lock"
    __table_args__ = (sa.UniqueConstraint("service"),)

    id: int | None = Field(default=None, primary_key=True)
    service: str = Field(max_length=128)
    reason: Text = Field(sa_type=Json(Text))
    by: By = Field(sa_type=Json(By))
    since: datetime = Field(sa_type=EpochMillis)
    version: int = Field(default=1)


class BackupRow(Backup, SQLModel, table=True):
    """One backup; its plan and due moment are its key, so that it is made once."""

    model_config = STORED
    __tablename__ = "backup"
    __table_args__ = (
        sa.UniqueConstraint("plan", "due_at"),
        sa.Index(
            "ix_backup_look",
            "look_at",
            sqlite_where=sa.text("look_at IS NOT NULL"),
            postgresql_where=sa.text("look_at IS NOT NULL"),
        ),
        sa.Index(
            "uq_backup_running",
            "plan",
            unique=True,
            sqlite_where=sa.text("standing = 'running'"),
            postgresql_where=sa.text("standing = 'running'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    plan: str = Field(max_length=64)
    due_at: datetime = Field(sa_type=EpochMillis)
    requested_by: By = Field(sa_type=Json(By))
    begun_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    at: datetime = Field(sa_type=EpochMillis)
    destination: str = Field(default="", sa_type=sa.Text)
    installation: str = Field(default="", max_length=32, sa_column_kwargs={"server_default": sa.text("''")})
    parts: tuple[Progress, ...] = Field(default=(), sa_type=Json(tuple[Progress, ...]))
    standing: Standing = Field(default=Standing.RUNNING, sa_type=stored_enum(Standing))
    reasons: tuple[Text, ...] = Field(default=(), sa_type=Json(tuple[Text, ...]))
    expected_by: datetime = Field(sa_type=EpochMillis)
    until: datetime | None = Field(default=None, sa_type=EpochMillis)
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    read_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    ahead: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})
    accepted_by: By | None = Field(default=None, sa_type=Json(By))
    alarmed_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    alarmed_level: Level | None = Field(default=None, sa_type=stored_enum(Level))
    cleared_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    marked_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    warned_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    doomed_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    removed_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    look_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    lease_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    fence: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    version: int = Field(default=1)


class DrillRow(Drill, SQLModel, table=True):
    """One restore drill; a plan has one that is not over at a time."""

    model_config = STORED
    __tablename__ = "drill"
    __table_args__ = (
        sa.UniqueConstraint("plan", "due_at"),
        sa.Index(
            "ix_drill_look",
            "look_at",
            sqlite_where=sa.text("look_at IS NOT NULL"),
            postgresql_where=sa.text("look_at IS NOT NULL"),
        ),
        sa.Index(
            "uq_drill_open",
            "plan",
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    plan: str = Field(max_length=64)
    due_at: datetime = Field(sa_type=EpochMillis)
    backup_id: int
    at: datetime = Field(sa_type=EpochMillis)
    state: DrillState = Field(sa_type=stored_enum(DrillState))
    requested_by: By = Field(sa_type=Json(By))
    requester: str | None = Field(default=None, sa_type=sa.Text)
    answered_by: By | None = Field(default=None, sa_type=Json(By))
    released_by: By | None = Field(default=None, sa_type=Json(By))
    parts: tuple[Progress, ...] = Field(default=(), sa_type=Json(tuple[Progress, ...]))
    places: dict[str, str] = Field(
        default_factory=dict, sa_type=Json(dict[str, str]), sa_column_kwargs={"server_default": "{}"}
    )
    reasons: tuple[Text, ...] = Field(default=(), sa_type=Json(tuple[Text, ...]))
    begun_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    restored_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    until: datetime | None = Field(default=None, sa_type=EpochMillis)
    ended_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    alarmed_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    cleared_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    look_at: datetime | None = Field(default=None, sa_type=EpochMillis)
    lease_until: datetime | None = Field(default=None, sa_type=EpochMillis)
    fence: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    version: int = Field(default=1)


bound(metadata)
