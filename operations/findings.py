"""What people say about anomalies."""

from datetime import datetime

from domain import findings as rules
from domain.anomalies import Answer
from domain.effects import By, Event, Refresh, Subject, SubjectKind, Text
from domain.errors import Refused
from domain.findings import Detector, Finding, Verdict
from domain.ports import Tx
from domain.watches import WatchKind
from operations import counters


async def judge(tx: Tx, subject: Subject, verdict: Verdict, by: By, at: datetime) -> Text:
    """A person's word on an anomaly; the detector heeds it from its next look on."""
    judged = rules.judge(await _finding(tx, subject), verdict, by, at)
    await tx.save_finding(judged)
    await _heed(tx, judged, Answer(verdict.value), by, at)
    await tx.tell([Event(subject=judged.subject, what=f"finding.{verdict.value}", at=at, by=by)])
    await tx.say([Refresh(subject=judged.subject)], at)
    counters.verdicts.labels(kind=verdict.value).inc()
    return Text(key="answer.judged")


async def mute(tx: Tx, subject: Subject, by: By, at: datetime) -> Text:
    """Silence for a day for this metric of this service, in this direction."""
    muted = rules.mute(await _finding(tx, subject), at)
    await tx.save_finding(muted)
    await _heed(tx, muted, Answer.MUTE, by, at)
    await tx.tell([Event(subject=muted.subject, what="finding.muted", at=at, by=by)])
    await tx.say([Refresh(subject=muted.subject)], at)
    counters.verdicts.labels(kind="mute").inc()
    assert muted.muted_until is not None
    return Text(key="answer.muted", params={"until": int(muted.muted_until.timestamp())})


async def silence(tx: Tx, service: str, hours: int, by: By, at: datetime) -> Text:
    """Silence for a whole service for so many hours; 0 ends it."""
    watch = await tx.watch(WatchKind.DETECTOR, service)
    if watch is None:
        raise Refused("refused.not_judged", service=service)
    quiet = rules.silence(Detector.model_validate(watch.state), by, at, hours)
    await tx.save_watches(
        [watch.model_copy(update={"state": quiet.model_dump(mode="json"), "changed_at": at})]
    )
    counters.verdicts.labels(kind="mute" if hours else "unmute").inc()
    if not hours:
        return Text(key="answer.unmuted", params={"service": service})
    return Text(key="answer.muted", params={"until": int(at.timestamp()) + hours * 3600})


async def _heed(tx: Tx, finding: Finding, said: Answer, by: By, at: datetime) -> None:
    watch = await tx.watch(WatchKind.DETECTOR, finding.service)
    if watch is None:
        return
    heard = rules.heed(Detector.model_validate(watch.state), finding, said, by, at)
    await tx.save_watches(
        [watch.model_copy(update={"state": heard.model_dump(mode="json"), "changed_at": at})]
    )


async def _finding(tx: Tx, subject: Subject) -> Finding:
    found = await tx.finding(subject.id) if subject.kind is SubjectKind.FINDING else None
    if found is None:
        raise Refused("refused.unknown_finding", number=subject.id)
    return found
