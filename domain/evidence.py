"""What was found when a copy was looked at, and the verdict: verified, suspicious or failed, with reasons."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
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


FEW = 100
"""So many records fewer are never unusual."""

MANY_MORE = 1_000
"""So many records more are never unusual: a night of trouble writes as many into a small database."""

TABLES = 5
"""Tables that are named in one verdict."""

OLD = timedelta(days=1)
"""A newest record that is younger than so is never unusually old."""

OLDER = 3
"""So many times older than usual is unusual."""


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
    UNDECIPHERABLE = "undecipherable"
    """It is encrypted for a key that is here, and that key does not open it."""


class Doubt(StrEnum):
    """What the thing that was copied leaves open, whatever its copies are like. None is a failure."""

    NO_RECOVERY = "no_recovery"
    """No point-in-time recovery: what was written after the last backup is lost with it."""
    DIES_TOGETHER = "dies_together"
    """Whoever deletes it deletes its backups."""
    LOCKED = "locked"
    """It is encrypted, and no key of this machine opens it. It was opened once, when it was made."""


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
    """What was seen of one copy. ``bytes`` counts all of its ``objects``; ``records`` its documents or rows,
    ``tables`` these by table; ``newest`` is the moment of its newest record.

    ``sampled``: so many objects were read again, all of their bytes. ``at``: the moment whose state it
    holds, where it knows better than we do. ``flaws`` counts all of what ``findings`` shows the first of.
    ``seconds``: how long its restoring took, where that was measured where it was done. ``hold``: what its
    bucket forbids to delete, where that could be read. ``free``: bytes of its disk that were free beside it;
    ``full_in``: days until none are, where that is soon.
    """

    objects: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    records: int | None = None
    tables: Mapping[str, int] | None = None
    newest: datetime | None = None
    sampled: int = 0
    at: datetime | None = None
    seconds: float | None = None
    findings: tuple[Finding, ...] = ()
    flaws: int = 0
    hold: BucketHold | None = None
    doubts: tuple[Doubt, ...] = ()
    free: int | None = None
    full_in: int | None = None

    @classmethod
    def of(cls, findings: Sequence[Finding], **seen: object) -> "Evidence":
        """Evidence with all of its findings, of which the first are kept."""
        return cls.model_validate({**seen, "findings": tuple(findings[:SHOWN]), "flaws": len(findings)})


def verdict(
    found: Mapping[str, Evidence], before: Mapping[str, Sequence[Evidence]], sizes: Range
) -> tuple[Standing, tuple[Text, ...]]:
    """What a backup is worth. ``found``: what was seen of each part; ``before``: of its last verified copies.

    A flaw is a failure. A size, a number of records or an age that is far from the usual proves nothing: a
    person has to look at it.
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
    past = before.get(part, ())
    return [
        *_odd_size(part, evidence, past, sizes),
        *_odd_records(part, evidence, past, sizes),
        *_odd_tables(part, evidence, past, sizes),
        *_odd_age(part, evidence, past),
    ]


def _odd_size(part: str, evidence: Evidence, past: Sequence[Evidence], sizes: Range) -> list[Text]:
    known = [one.bytes for one in past if one.bytes]
    if len(known) < ENOUGH:
        return []
    usual = median(known)
    if usual * sizes.low <= evidence.bytes <= usual * sizes.high:
        return []
    key = "backup.too_small" if evidence.bytes < usual else "backup.too_large"
    size, normal = [evidence.bytes, Unit.BYTES.value], [int(usual), Unit.BYTES.value]
    return [Text(key=key, params={"part": part, "size": size, "usual": normal})]


def _odd_records(part: str, evidence: Evidence, past: Sequence[Evidence], sizes: Range) -> list[Text]:
    """The same bytes may hold other records: what was deleted leaves its room."""
    known = [one.records for one in past if one.records is not None]
    if evidence.records is None or len(known) < ENOUGH:
        return []
    usual = median(known)
    if usual * sizes.low <= evidence.records <= usual * sizes.high:
        return []
    if usual - evidence.records < FEW and evidence.records - usual < MANY_MORE:
        return []
    key = "backup.fewer_records" if evidence.records < usual else "backup.more_records"
    return [
        Text(key=key, params={"part": part, "found": f"{evidence.records:,}", "usual": f"{int(usual):,}"})
    ]


def _odd_tables(part: str, evidence: Evidence, past: Sequence[Evidence], sizes: Range) -> list[Text]:
    """A table that has lost most of its rows, though the whole may hardly show it."""
    known = [one.tables for one in past if one.tables is not None]
    if evidence.tables is None or len(known) < ENOUGH:
        return []
    odd = []
    for name in sorted({name for tables in known for name in tables}):
        usual, found = median(tables.get(name, 0) for tables in known), evidence.tables.get(name, 0)
        if found < usual * sizes.low and usual - found >= FEW:
            params = {"part": part, "table": name, "found": f"{found:,}", "usual": f"{int(usual):,}"}
            odd.append(Text(key="backup.table_shrank", params=params))
    return odd[:TABLES]


def _odd_age(part: str, evidence: Evidence, past: Sequence[Evidence]) -> list[Text]:
    """A newest record that is older than that of an earlier copy: somebody has put an old state back."""
    known = [(one.at, one.newest) for one in past if one.at is not None and one.newest is not None]
    right = [(at, newest) for at, newest in known if newest <= at]
    if evidence.newest is None or evidence.at is None or not right:
        return []
    params: dict[str, object] = {"part": part, "newest": int(evidence.newest.timestamp())}
    before = max(newest for _, newest in right)
    if evidence.newest < before:
        return [Text(key="backup.went_back", params=params | {"before": int(before.timestamp())})]
    age = evidence.at - evidence.newest
    usual = median((at - newest).total_seconds() for at, newest in right)
    if len(right) < ENOUGH or age <= OLD or age.total_seconds() <= usual * OLDER:
        return []
    return [Text(key="backup.stale", params=params | {"usual": [usual, Unit.SECONDS.value]})]
