"""One backup on its way: where each of its parts stands, and what a vault may answer."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from domain.backup_plans import Part
from domain.effects import TOBAN, By, Subject, SubjectKind, Text
from domain.evidence import Evidence
from domain.levels import Level, Value
from domain.retention import Standing


class Stage(StrEnum):
    """Where one part of a backup stands, in the order in which it gets there."""

    WAITING = "waiting"
    STARTING = "starting"
    """About to be begun, or begun without our having heard of it."""
    COPYING = "copying"
    PROVING = "proving"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """True where nothing more is done about it."""
        return self in {Stage.DONE, Stage.FAILED}


class Progress(Value):
    """One part of a backup on its way. ``done`` of ``total`` in whatever it counts."""

    part: Part
    stage: Stage = Stage.WAITING
    attempt: int = 1
    operation: str | None = None
    done: int = 0
    total: int | None = None
    evidence: Evidence | None = None
    problem: Text | None = None
    trouble: str | None = None
    """Why the last look at it told nothing."""
    blames_place: bool = False
    """It failed for a reason that says nothing about the copy."""


class Backup(Value):
    """One backup of a plan, for one due moment.

    ``at``: the moment whose state it is to hold, of all parts alike; ``due_at`` and ``plan`` make it one.
    ``look_at``: when there is something to do; ``expected_by``: when a verified one must be there.
    ``alarmed_at``, ``cleared_at``: its alert. ``marked_at``: retention said that it may go; ``warned_at``:
    and that Toban will delete it; ``doomed_at``: it is to be deleted at ``look_at``. ``installation``: who
    made it, empty for one that is older than such names.
    """

    id: int | None = None
    plan: str
    due_at: datetime
    requested_by: By = TOBAN
    begun_at: datetime | None = None
    at: datetime
    destination: str = ""
    installation: str = ""
    parts: tuple[Progress, ...] = ()
    standing: Standing = Standing.RUNNING
    reasons: tuple[Text, ...] = ()
    expected_by: datetime
    until: datetime | None = None
    """When it is given up."""
    ended_at: datetime | None = None
    read_at: datetime | None = None
    """When all of it was read again last, after it was verified."""
    ahead: bool = False
    """A clock that was ahead has dated it: it proves nothing, whatever moment it is of."""
    accepted_by: By | None = None
    alarmed_at: datetime | None = None
    alarmed_level: Level | None = None
    cleared_at: datetime | None = None
    marked_at: datetime | None = None
    warned_at: datetime | None = None
    doomed_at: datetime | None = None
    removed_at: datetime | None = None
    look_at: datetime | None = None
    lease_until: datetime | None = None
    fence: int = 0
    """Counts who has held it: what an earlier holder hears, or one that was given up, counts no more."""
    version: int = 1

    @property
    def number(self) -> str:
        """How people call it."""
        return f"B-{self.id}"

    @property
    def subject(self) -> Subject:
        """What its card and its timeline are about."""
        assert self.id is not None
        return Subject(kind=SubjectKind.BACKUP, id=self.id)

    @property
    def is_over(self) -> bool:
        """True where it stands as it is."""
        return self.standing is not Standing.RUNNING

    @property
    def size(self) -> int:
        """Bytes of all its parts, as far as they are known."""
        return sum(one.evidence.bytes for one in self.parts if one.evidence is not None)


class Order(Value):
    """What a vault is asked to copy: ``part``, as of ``at``, into a ``destination`` of this copy's own.

    ``key`` is one by backup, part and attempt: by it a copy is found whose beginning was not heard of.
    ``installation`` stands in the copy's manifest: what another one has made is neither ours nor touched.
    ``expects``: bytes that the last copy of the same took. ``first``: a verified copy of the same moment at
    another destination, whose file is taken as it is.
    """

    key: str
    part: Part
    at: datetime
    destination: str
    installation: str = ""
    expects: int = 0
    first: "Order | None" = None

    def is_of(self, installation: str) -> bool:
        """Whether a manifest that names an installation is of this order; older ones name none."""
        return installation in {"", self.installation}


class Began(Value):
    """A copy is on its way, and this is its name."""

    kind: Literal["began"] = "began"
    operation: str


class Going(Value):
    """A copy is still on its way."""

    kind: Literal["going"] = "going"
    done: int = 0
    total: int | None = None


class Finished(Value):
    """A copy is there, as whoever made it says. It proves nothing yet."""

    kind: Literal["finished"] = "finished"


class Broke(Value):
    """A copy or a restore came to nothing; ``blames_place``: for a reason that says nothing of the copy."""

    kind: Literal["broke"] = "broke"
    why: str
    blames_place: bool = False


class Proved(Value):
    """A copy was looked at."""

    kind: Literal["proved"] = "proved"
    evidence: Evidence


class Silent(Value):
    """Nobody could be asked."""

    kind: Literal["silent"] = "silent"
    why: str


Heard = Began | Going | Finished | Broke | Proved | Silent
