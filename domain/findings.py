"""An anomaly as the team is told of it, and what the team says about it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field

from domain.anomalies import Answer, Track, answer
from domain.anomalies import mute as silenced
from domain.effects import By, Subject, SubjectKind
from domain.errors import Refused
from domain.policy import Value
from domain.series import epoch

MUTE = timedelta(hours=24)
"""How long the button keeps a detector silent."""


LONGEST_MUTE = timedelta(days=7)
"""Nobody keeps a service silent for longer at once: what is forgotten comes back by itself."""


class Verdict(StrEnum):
    """What a person says about an anomaly."""

    USEFUL = "useful"
    NOT_USEFUL = "not_useful"
    EXPECTED = "expected"


class Finding(Value):
    """One anomaly of one service, from its first to its last abnormal sample.

    ``driver`` is the metric that stands out most, ``direction`` where to; ``details`` the dumped
    episode of the detector. ``score`` is the peak: "1 in 10^score". ``is_guest``: told in the thread of a
    limit that the same metric broke already.
    """

    id: int | None = None
    service: str
    driver: str
    direction: str
    details: dict[str, Any] = Field(default_factory=dict)
    score: float
    started_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None
    group_id: int | None = None
    is_guest: bool = False
    verdict: Verdict | None = None
    verdict_by: By | None = None
    verdict_at: datetime | None = None
    muted_until: datetime | None = None
    version: int = 1

    @property
    def subject(self) -> Subject:
        """The stored finding as a subject. Only for one that has an id."""
        assert self.id is not None
        return Subject(kind=SubjectKind.FINDING, id=self.id)


def judge(finding: Finding, verdict: Verdict, by: By, at: datetime) -> Finding:
    """A person's word on it. The last word counts; the same word again is refused."""
    if finding.verdict is verdict:
        raise Refused("refused.already_judged", who=finding.verdict_by.name if finding.verdict_by else "?")
    return finding.model_copy(update={"verdict": verdict, "verdict_by": by, "verdict_at": at})


def mute(finding: Finding, at: datetime) -> Finding:
    """Silence for this metric of this service. Refused while it is muted already."""
    if finding.muted_until is not None and finding.muted_until > at:
        raise Refused("refused.already_muted", until=int(finding.muted_until.timestamp()))
    return finding.model_copy(update={"muted_until": at + MUTE})


def allow_length(hours: int) -> None:
    """Refused for a mute that is longer than allowed."""
    if timedelta(hours=hours) > LONGEST_MUTE:
        raise Refused("refused.long_mute", days=LONGEST_MUTE.days)


class Detector(Value):
    """What is stored about a service's detector. ``since``: epoch seconds of its first sample, ``ready_at``
    from when it is judged; ``None`` before there is any data.
    """

    track: Track = Track()
    since: int | None = None
    ready_at: int | None = None


def heed(detector: Detector, finding: Finding, said: Answer, by: By, at: datetime) -> Detector:
    """The detector takes a person's word into account, from its next look on."""
    track = answer(detector.track, said, epoch(finding.started_at), epoch(at), by.name)
    return detector.model_copy(update={"track": track})


def silence(detector: Detector, by: By, at: datetime, hours: int) -> Detector:
    """Nothing is told of the whole service for so many hours. Refused for more than a week."""
    allow_length(hours)
    track = silenced(detector.track, epoch(at), by=by.name, hours=hours)
    return detector.model_copy(update={"track": track})


def unsilence(detector: Detector) -> Detector:
    """Every mute of the service ends."""
    kept = tuple(vote for vote in detector.track.votes if vote.answer is not Answer.MUTE)
    return detector.model_copy(update={"track": detector.track.model_copy(update={"votes": kept})})


class KnownService(Value):
    """What is known of a service's detector. ``muted``: (metric or ``None`` for all, epoch seconds) pairs."""

    service: str
    ready_at: int | None
    judged_until: int | None
    muted: tuple[tuple[str | None, int], ...] = ()


class Known(Value):
    """The answer to ``/toban anomalies``. ``useful``: (found useful, judged by people) of the last week."""

    services: tuple[KnownService, ...]
    off: tuple[str, ...]
    findings: tuple[Finding, ...]
    useful: tuple[int, int]


class ExplainedColumn(Value):
    """One metric of a step: (amount, unit) pairs, and its signed score, negative where it is too low."""

    metric: str
    value: tuple[float | None, str]
    low: tuple[float | None, str]
    high: tuple[float | None, str]
    score: float


class Explained(Value):
    """How a service looks to its detector. ``at``: epoch seconds of the newest judged step."""

    service: str
    at: int | None
    ready_at: int | None
    threshold: float
    columns: tuple[ExplainedColumn, ...]
    muted: tuple[tuple[str | None, int], ...] = ()
