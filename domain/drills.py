"""A restore drill: a verified backup that is restored beside the real thing, looked at, and removed again."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from domain.backups import Progress, Stage
from domain.effects import TOBAN, By, Subject, SubjectKind, Text
from domain.levels import Value


class DrillState(StrEnum):
    """Where a drill stands, in the order in which it gets there."""

    ASKED = "asked"
    """Somebody else has to agree."""
    RUNNING = "running"
    CLEANING = "cleaning"
    """It is decided; what was restored is removed."""
    PASSED = "passed"
    FAILED = "failed"
    DECLINED = "declined"
    EXPIRED = "expired"

    @property
    def is_over(self) -> bool:
        """True where nothing more is done about it."""
        return self in {DrillState.PASSED, DrillState.FAILED, DrillState.DECLINED, DrillState.EXPIRED}


class Drill(Value):
    """One drill of a plan, with one of its backups.

    ``at``: the moment whose state the backup holds; ``requester``: the person of the policy who asked,
    ``None`` where the timetable did. ``restored_at``: when the last part was there again.
    """

    id: int | None = None
    plan: str
    due_at: datetime
    backup_id: int
    at: datetime
    state: DrillState
    requested_by: By = TOBAN
    requester: str | None = None
    answered_by: By | None = None
    released_by: By | None = None
    """Who said that old backups may go again although it failed."""
    parts: tuple[Progress, ...] = ()
    places: dict[str, str] = Field(default_factory=dict)
    """Where each part is restored to, by its name, whatever the policy says later."""
    reasons: tuple[Text, ...] = ()
    begun_at: datetime | None = None
    restored_at: datetime | None = None
    until: datetime | None = None
    """When it is given up, or when nobody may agree any more."""
    ended_at: datetime | None = None
    alarmed_at: datetime | None = None
    cleared_at: datetime | None = None
    look_at: datetime | None = None
    lease_until: datetime | None = None
    fence: int = 0
    version: int = 1

    @property
    def number(self) -> str:
        """How people call it: ``RD-3``; deploys are ``D-12``."""
        return f"RD-{self.id}"

    @property
    def subject(self) -> Subject:
        """What its card and its timeline are about."""
        assert self.id is not None
        return Subject(kind=SubjectKind.DRILL, id=self.id)

    @property
    def is_well(self) -> bool:
        """True where every part was restored and answered as it should."""
        return not self.reasons and bool(self.parts) and all(one.stage is Stage.DONE for one in self.parts)

    @property
    def seconds(self) -> float | None:
        """The recovery time: from the beginning until the last part was there again; ``None`` until then.

        What measured its own restoring is believed where that took longer than our clock noticed.
        """
        if self.begun_at is None or self.restored_at is None:
            return None
        waited = (self.restored_at - self.begun_at).total_seconds()
        known = [one.evidence.seconds for one in self.parts if one.evidence is not None]
        return max([waited, *(seconds for seconds in known if seconds is not None)])
