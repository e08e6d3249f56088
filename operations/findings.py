"""What people say about anomalies."""

from datetime import datetime

from domain import findings as rules
from domain.anomalies import Answer
from domain.effects import By, Effect, Event, Note, Refresh, Subject, SubjectKind, Text
from domain.errors import Refused
from domain.findings import Detector, Finding, Verdict
from domain.ports import Tx
from domain.watches import Watch, WatchKind
from operations import counters
from operations.places import ALERTS, home, thread_note


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
    assert muted.muted_until is not None
    until = _seconds(muted.muted_until)
    data = {"service": muted.service, "metric": muted.driver, "until": until}
    await tx.tell([Event(subject=muted.subject, what="finding.muted", at=at, by=by, data=data)])
    said = Text(key="note.muted_metric", params={"who": by.name, **data})
    name = f"{muted.subject.key}:muted:{_seconds(at)}"
    effects: list[Effect] = [Refresh(subject=muted.subject)]
    groups = await tx.groups([muted.group_id]) if muted.group_id is not None else {}
    if muted.group_id in groups:
        group = groups[muted.group_id]
        effects.append(thread_note(name, group.subject, home(group), said))
    else:
        effects.append(Note(key=f"note:{name}", place=ALERTS, text=said))
    await tx.say(effects, at)
    counters.verdicts.labels(kind="mute").inc()
    return Text(key="answer.muted", params={"until": until})


async def silence(tx: Tx, service: str, hours: int, by: By, at: datetime) -> Text:
    """Silence for a whole service for so many hours, a week at most; told in the channel."""
    if not hours:  # So an older version kept the end of it.
        return await unsilence(tx, service, by, at)
    watch, detector = await _detector(tx, service)
    await _keep(tx, watch, rules.silence(detector, by, at, hours), at)
    until = _seconds(at) + hours * 3600
    said = Text(key="note.muted_service", params={"who": by.name, "service": service, "until": until})
    await _told(tx, watch, "detector.muted", said, by, at)
    counters.verdicts.labels(kind="mute").inc()
    return Text(key="answer.muted", params={"until": until})


async def unsilence(tx: Tx, service: str, by: By, at: datetime) -> Text:
    """Every mute of a service ends; told in the channel."""
    watch, detector = await _detector(tx, service)
    await _keep(tx, watch, rules.unsilence(detector), at)
    said = Text(key="note.unmuted_service", params={"who": by.name, "service": service})
    await _told(tx, watch, "detector.unmuted", said, by, at)
    counters.verdicts.labels(kind="unmute").inc()
    return Text(key="answer.unmuted", params={"service": service})


async def _detector(tx: Tx, service: str) -> tuple[Watch, Detector]:
    watch = await tx.watch(WatchKind.DETECTOR, service)
    if watch is None:
        raise Refused("refused.not_judged", service=service)
    return watch, Detector.model_validate(watch.state)


async def _keep(tx: Tx, watch: Watch, detector: Detector, at: datetime) -> None:
    state = detector.model_dump(mode="json")
    await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": at})])


async def _told(tx: Tx, watch: Watch, what: str, said: Text, by: By, at: datetime) -> None:
    """Others rely on it: a row of the timeline, and a line in the channel of alerts."""
    assert watch.id is not None
    subject = Subject(kind=SubjectKind.DETECTOR, id=watch.id)
    data = {"service": watch.key} | {key: said.params[key] for key in ("until",) if key in said.params}
    await tx.tell([Event(subject=subject, what=what, at=at, by=by, data=data)])
    name = f"note:{what}:{watch.key}:{at.timestamp():.3f}:{by.id}"
    await tx.say([Note(key=name, place=ALERTS, text=said)], at)


async def _heed(tx: Tx, finding: Finding, said: Answer, by: By, at: datetime) -> None:
    watch = await tx.watch(WatchKind.DETECTOR, finding.service)
    if watch is None:
        return
    await _keep(tx, watch, rules.heed(Detector.model_validate(watch.state), finding, said, by, at), at)


async def _finding(tx: Tx, subject: Subject) -> Finding:
    found = await tx.finding(subject.id) if subject.kind is SubjectKind.FINDING else None
    if found is None:
        raise Refused("refused.unknown_finding", number=subject.id)
    return found


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
