"""Where a watched thing stands between two looks: a rule on a service, a probe, a detector."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from domain.policy import Value


class WatchKind(StrEnum):
    """What is watched."""

    RULE = "rule"
    PROBE = "probe"
    DETECTOR = "detector"
    PLAN = "plan"
    """Since when a plan of backups is known."""
    ACCOUNT = "account"
    """Which Slack account was verified last as a person's."""
    DRILL = "drill"
    """Since when the drills of a plan are known."""
    CLOCK = "clock"
    """A leap of the clock that nothing has confirmed yet."""
    WORKSPACE = "workspace"
    """Which Slack workspace is ours, for the time in which Slack does not say."""
    INSTALLATION = "installation"
    """Which installation this database is of."""
    QUIET = "quiet"
    """That the database was restored, and pages nobody for the past yet."""
    TAKEN = "taken"
    """An incident that somebody has taken, while its many alerts are taken along."""
    DENIED = "denied"
    """What Slack said last against an account, for the time in which Slack says nothing."""
    TEST = "test"
    """When a sender's test button was pressed last."""


class Watch(Value):
    """The stored state of one watched thing; ``state`` is the dumped value of its rule's own type."""

    id: int | None = None
    kind: WatchKind
    key: str
    state: dict[str, Any] = Field(default_factory=dict)
    changed_at: datetime
    version: int = 1
