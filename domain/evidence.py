"""What was found when a copy was looked at, and the verdict: verified, suspicious or failed, with reasons."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from statistics import median

from pydantic import Field

from domain.backup_plans import Range
from domain.effects import Text
from domain.levels import Value
from domain.objects import BucketHold
from domain.retention import Standing
from domain.units import Unit

SHOWN = 20
"""Findings that are kept with a copy; the rest is counted."""

ENOUGH = 3
"""Verified copies of the same thing that are needed before a size can be called unusual."""


class Flaw(StrEnum):
    """What can be wrong with a copy. Each of them means that it cannot be relied on."""

    MISSING = "missing"
    """Something that should be there is not."""
    EMPTY = "empty"
    SIZE = "size"
    CHECKSUM = "checksum"
    COUNT = "count"
    UNFINISHED = "unfinished"
    """Whatever marks a finished copy is not there: an export without its metadata file."""
    NOT_LISTED = "not_listed"
    """The system that was to keep it does not know it."""
    ELSEWHERE = "elsewhere"
    """It is of another project, instance or time than was asked for."""
    TOO_FEW = "too_few"
    """A restored copy answers with a smaller number than the policy asks for."""
    STALE = "stale"
    """Its newest record is older than the policy allows."""
    SILENT = "silent"
    """It does not answer a question."""


class Doubt(StrEnum):
    """What the thing that was copied leaves open, whatever its copies are like. None is a failure."""

    NO_RECOVERY = "no_recovery"
    """No point-in-time recovery: what was written after the last backup is lost with it."""
    DIES_TOGETHER = "dies_together"
    """Whoever deletes it deletes its backups."""


class Finding(Value):
    """One flaw: of what, what was wanted, and what was there instead."""

    flaw: Flaw
    name: str
    wanted: str | None = None
    found: str | None = None

    def text(self, part: str) -> Text:
        """In words."""
        params = {"part": part, "name": self.name, "wanted": self.wanted or "—", "found": self.found or "—"}
        return Text(key=f"backup.flaw_{self.flaw.value}", params=params)


class Evidence(Value):
    """What was seen of one copy. ``bytes`` counts all of its ``objects``; ``records`` its documents or rows.

    ``sampled``: so many objects were read again, all of their bytes. ``at``: the moment whose state it
    holds, where it knows better than we do. ``flaws`` counts all of what ``findings`` shows the first of.
    ``seconds``: how long its restoring took, where that was measured where it was done. ``hold``: what its
    bucket forbids to delete, where that could be read.
    """

    objects: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    records: int | None = None
    sampled: int = 0
    at: datetime | None = None
    seconds: float | None = None
    findings: tuple[Finding, ...] = ()
    flaws: int = 0
    hold: BucketHold | None = None
    doubts: tuple[Doubt, ...] = ()

    @classmethod
    def of(cls, findings: Sequence[Finding], **seen: object) -> "Evidence":
        """Evidence with all of its findings, of which the first are kept."""
        return cls.model_validate({**seen, "findings": tuple(findings[:SHOWN]), "flaws": len(findings)})


def verdict(
    found: Mapping[str, Evidence], before: Mapping[str, Sequence[Evidence]], sizes: Range
) -> tuple[Standing, tuple[Text, ...]]:
    """What a backup is worth. ``found``: what was seen of each part; ``before``: of its last verified copies.

    A flaw is a failure. A size that is far from the usual proves nothing: a person has to look at it.
    """
    failures = [finding.text(part) for part, evidence in found.items() for finding in evidence.findings]
    hidden = sum(evidence.flaws - len(evidence.findings) for evidence in found.values())
    if hidden:
        failures.append(Text(key="backup.more_flaws", params={"count": hidden}))
    if failures:
        return Standing.FAILED, tuple(failures)
    odd = [text for part, evidence in found.items() for text in _odd(part, evidence, before, sizes)]
    return (Standing.SUSPICIOUS if odd else Standing.VERIFIED), tuple(odd)


def _odd(part: str, evidence: Evidence, before: Mapping[str, Sequence[Evidence]], sizes: Range) -> list[Text]:
    known = [one.bytes for one in before.get(part, ()) if one.bytes]
    if len(known) < ENOUGH:
        return []
    usual = median(known)
    if usual * sizes.low <= evidence.bytes <= usual * sizes.high:
        return []
    key = "backup.too_small" if evidence.bytes < usual else "backup.too_large"
    size, normal = [evidence.bytes, Unit.BYTES.value], [int(usual), Unit.BYTES.value]
    return [Text(key=key, params={"part": part, "size": size, "usual": normal})]
