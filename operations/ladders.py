"""Ladders: what is due is done, what is answered stops, what was delivered starts the timers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from domain import escalation as rules
from domain.effects import TOBAN, By, Effect, Event, Note, Refresh, Subject, SubjectKind, Text, titled
from domain.errors import Outage
from domain.escalation import Escalation, Page, PageStatus, StopReason
from domain.outbox import OPS
from domain.ports import Tx
from operations import counters
from operations.clock import heed_leap
from operations.isolation import alone
from operations.page_lists import Placing
from operations.places import ALERTS, INCIDENTS, thread_note
from operations.world import World

log = structlog.get_logger(__name__)

LIMIT = 50
"""Ladders in one turn of the loop."""

EARLIER = 5
"""Ladders of one trouble whose pages follow it; older ones are far up in everybody's messages."""


async def tick(world: World) -> int:
    """Advance the ladders whose moment has come, the worst first. Returns how many."""
    await heed_leap(world)
    async with world.store.read() as tx:
        due = await tx.due_escalations(world.clock.now(), LIMIT)
    if due:
        await _advance_together(world, due)
    return len(due)


async def _advance_together(world: World, due: Sequence[int]) -> None:
    """All in one transaction, or each alone where one of them cannot be."""
    try:
        async with world.store() as tx:
            await _advance(tx, world, due)
    except Outage:
        raise
    except Exception:
        log.exception("ladders.batch_failed", size=len(due))
        for escalation_id in due:
            await alone(world, "escalation", escalation_id, _advance_alone(world, escalation_id))


async def _advance_alone(world: World, escalation_id: int) -> None:
    async with world.store() as tx:
        await _advance(tx, world, [escalation_id])


async def _advance(tx: Tx, world: World, due: Sequence[int]) -> None:
    """One step of each ladder; nothing where it is not due any more."""
    at = world.clock.now()
    found = await tx.escalations(due)
    ready = [found[one] for one in due if one in found and rules.is_due(found[one], at)]
    pending = await tx.people_waited_for([_id(escalation) for escalation in ready])
    turns = [
        (before, rules.advance(before, world.policy.ladder(before.level), pending[_id(before)], at))
        for before in ready
    ]
    queued = [page for _, turn in turns for page in turn.pages if page.status is PageStatus.QUEUED]
    placing = Placing(tx, Counter(page.person for page in queued), at)
    effects: list[Effect] = []
    events: list[Event] = []
    others: list[Page] = []
    names = await _titles(tx, [one.escalation for _, one in turns if one.what == "escalation.nobody_reached"])
    for before, turn in turns:
        for page in turn.pages:
            if page.status is PageStatus.QUEUED:
                effects.append(await placing.place(page, turn.escalation.level))
            else:
                others.append(page)
            counters.pages.labels(means=page.means.value, status=page.status.value).inc()
        effects += _notes(turn.escalation, turn.what, before, names, at)
        events += _events(turn.escalation, turn.what, turn.pages, at)
    await tx.save_escalations([turn.escalation for _, turn in turns])
    await tx.add_pages(placing.joined + others)
    effects += await _cards(tx, [turn.escalation for _, turn in turns])
    await tx.tell(events)
    await tx.say(effects, at)


def _id(escalation: Escalation) -> int:
    assert escalation.id is not None
    return escalation.id


async def stop_ladder(
    tx: Tx, escalation: Escalation, because: StopReason, by: By | None, at: datetime
) -> None:
    """Nobody is paged any more: waiting pages are withdrawn, sent ones lose their button."""
    if not escalation.is_running:
        return
    assert escalation.id is not None
    await tx.save_escalation(rules.stop(escalation, because, by or TOBAN, at))
    effects: list[Effect] = []
    for page in await tx.pages(escalation.id):
        if page.listed_in is not None:
            effects.append(Refresh(subject=Subject(kind=SubjectKind.PAGE, id=page.listed_in)))
            if page.status is PageStatus.QUEUED:
                await tx.save_page(page.model_copy(update={"status": PageStatus.WITHDRAWN}))
        elif page.id is not None and await tx.listed_waiting(page.id):
            effects.append(Refresh(subject=page.subject))
        elif page.status is PageStatus.QUEUED and await tx.withdraw(page.subject.key):
            await tx.save_page(page.model_copy(update={"status": PageStatus.WITHDRAWN}))
        elif page.status in {PageStatus.QUEUED, PageStatus.DELIVERED}:
            effects.append(Refresh(subject=page.subject))
    event = Event(
        subject=escalation.of, what="escalation.stopped", at=at, by=by or TOBAN, data={"because": because}
    )
    await tx.tell([event])
    await tx.say(effects, at)


async def page_refreshes(tx: Tx, ladders: Iterable[Escalation]) -> list[Effect]:
    """The messages of pages that were sent: what they say has changed, or has ended.

    Those of earlier ladders of the same trouble are on a screen as well, and must not say something else.
    """
    earlier = await tx.ladders_of([ladder.subject for ladder in ladders], EARLIER)
    pages = await tx.pages_on_screens(earlier)
    shown = {page.listed_in if page.listed_in is not None else page.subject.id for page in pages}
    return [Refresh(subject=Subject(kind=SubjectKind.PAGE, id=number)) for number in sorted(shown)]


async def pages_sent(tx: Tx, ids: Sequence[int], at: datetime) -> None:
    """These pages are on their people's screens: the timers begin.

    The ladders are locked before the pages, as where a ladder stops, so that two transactions cannot wait
    for each other.
    """
    asked = [page for page in (await tx.pages_by_id(ids)).values() if page.status is PageStatus.QUEUED]
    if not asked:
        return
    found = await tx.escalations([page.escalation_id for page in asked])
    now = await tx.pages_delivered([page.subject.id for page in asked], at)
    effects: list[Effect] = []
    events: list[Event] = []
    concerned: dict[int, Escalation] = {}
    for page in asked:
        if page.id not in now:
            continue
        counters.pages.labels(means=page.means.value, status="delivered").inc()
        escalation = found.get(page.escalation_id)
        if escalation is not None:
            events.append(_page_event(escalation, page, "page.delivered", at))
            effects.append(Refresh(subject=page.subject))
            concerned[page.escalation_id] = escalation
    running = [(one, rules.delivered(one, at)) for one in concerned.values() if one.is_running]
    await tx.save_escalations([changed for before, changed in running if changed != before])
    await tx.tell(events)
    await tx.say([*effects, *await _cards(tx, list(concerned.values()))], at)


async def page_failed(tx: Tx, page_id: int, error: str, at: datetime) -> None:
    """The page cannot be delivered: with nobody else to wait for the ladder moves on at once."""
    page = await tx.page(page_id)
    if page is None or page.status is not PageStatus.QUEUED:
        return
    await tx.save_page(page.model_copy(update={"status": PageStatus.FAILED, "error": error}))
    counters.pages.labels(means=page.means.value, status="failed").inc()
    escalation = await tx.escalation(page.escalation_id)
    if escalation is None or escalation.id is None:
        return
    await tx.tell([_page_event(escalation, page, "page.failed", at, error=error)])
    if escalation.is_running:
        left = len((await tx.people_waited_for([escalation.id]))[escalation.id])
        changed = rules.failed(escalation, page, left, at)
        if changed != escalation:
            await tx.save_escalation(changed)
    text = Text(key="note.page_failed", params={"person": page.person, "error": error})
    place = INCIDENTS if escalation.of.kind is SubjectKind.INCIDENT else ALERTS
    note = thread_note(f"page_failed:{escalation.id}:{page.person}", escalation.of, place, text)
    ops = Text(key="ops.unreachable", params={"person": page.person, "error": error})
    aloud = Note(key=f"ops:unreachable:{page.person}:{at:%Y-%m-%d}", place=OPS, text=ops)
    await tx.say([note, aloud, *await _cards(tx, [escalation])], at)


async def page_refused(tx: Tx, page_id: int, error: str, at: datetime) -> None:
    """Slack refuses the page until people mend something: it is tried again, and the ladder moves on.

    It moves at once where everybody of this rung is refused, and only for the first refusal of a page.
    """
    page = await tx.page(page_id)
    if page is None or page.status is not PageStatus.QUEUED or page.error is not None:
        return
    await tx.save_page(page.model_copy(update={"error": error}))
    escalation = await tx.escalation(page.escalation_id)
    if escalation is None or escalation.id is None:
        return
    await tx.tell([_page_event(escalation, page, "page.refused", at, error=error)])
    if escalation.is_running:
        others = [one for one in await tx.pages(escalation.id) if one.status is PageStatus.QUEUED]
        left = sum(one.error is None and one.id != page.id for one in others)
        changed = rules.failed(escalation, page, left, at)
        if changed != escalation:
            await tx.save_escalation(changed)
    text = Text(key="note.page_refused", params={"person": page.person, "error": error})
    place = INCIDENTS if escalation.of.kind is SubjectKind.INCIDENT else ALERTS
    note = thread_note(f"page_refused:{escalation.id}:{page.person}", escalation.of, place, text)
    await tx.say([note, *await _cards(tx, [escalation])], at)


async def page_withdrawn(tx: Tx, page_id: int) -> None:
    """The page was answered before it was sent."""
    page = await tx.page(page_id)
    if page is not None and page.status is PageStatus.QUEUED:
        await tx.save_page(page.model_copy(update={"status": PageStatus.WITHDRAWN}))


async def _cards(tx: Tx, escalations: Sequence[Escalation]) -> list[Refresh]:
    """The cards that show these ladders: their subjects', and those of an incident's open alerts."""
    subjects = [escalation.of for escalation in escalations]
    incidents = [subject.id for subject in subjects if subject.kind is SubjectKind.INCIDENT]
    return [Refresh(subject=subject) for subject in (*subjects, *await tx.open_groups_of(incidents))]


async def _titles(tx: Tx, escalations: Sequence[Escalation]) -> dict[str, str | dict[str, Any]]:
    """What people call the things that these ladders are about, by subject."""
    groups = await tx.groups([one.of.id for one in escalations if one.of.kind is SubjectKind.ALERT])
    found: dict[str, str | dict[str, Any]] = {
        one.subject.key: titled(one.title, one.own_title) for one in groups.values()
    }
    for escalation in escalations:
        incident = await tx.incident(escalation.of.id) if escalation.of.kind is SubjectKind.INCIDENT else None
        if incident is not None:
            named = {"number": incident.number, "title": titled(incident.title, incident.own_title)}
            found[incident.subject.key] = {"key": "incident.named", "params": named}
    return found


def _notes(
    escalation: Escalation,
    what: str | None,
    before: Escalation,
    names: Mapping[str, str | dict[str, Any]],
    at: datetime,
) -> list[Effect]:
    """The lines that people in the thread need, each once; who was reached stands on the card."""
    place = INCIDENTS if escalation.of.kind is SubjectKind.INCIDENT else ALERTS
    people = list(escalation.rung.tell) if escalation.rung else []
    name = f"{escalation.id}:{what}"
    match what:
        case "escalation.overdue":
            text, name = Text(key="note.overdue", params={"people": people}), f"{name}:{escalation.step}"
        case "escalation.next_step" | "page.undelivered" | "page.none_left" if escalation.step != before.step:
            text, name = Text(key=_NEXT[what], params={"people": people}), f"{name}:{escalation.step}"
        case "escalation.nobody":
            text = Text(key="note.nobody", params={"level": escalation.level.value})
            if escalation.of.kind is SubjectKind.INCIDENT:
                severity = escalation.level.severity.value
                text = Text(key="note.nobody_incident", params={"severity": severity})
        case "escalation.nobody_reached":
            hour = int((at - escalation.started_at).total_seconds()) // 3600
            ops = Text(
                key="ops.nobody_reached", params={"what": names.get(escalation.subject, escalation.subject)}
            )
            return [
                Note(key=f"ops:nobody:{name}:{hour}", place=OPS, text=ops),
                thread_note(f"{name}:{hour}", escalation.of, place, Text(key="note.nobody_reached")),
            ]
        case _:
            return []
    return [thread_note(f"ladder:{name}", escalation.of, place, text)]


_NEXT = {
    "escalation.next_step": "note.next_step",
    "page.undelivered": "note.undelivered",
    "page.none_left": "note.none_left",
}


def _events(escalation: Escalation, what: str | None, pages: tuple[Page, ...], at: datetime) -> list[Event]:
    told = [{"person": page.person, "by": page.means.value, "status": page.status.value} for page in pages]
    if what is None:
        return []
    data = {"step": escalation.step, "round": escalation.round, "pages": told}
    return [Event(subject=escalation.of, what=what, at=at, data=data)]


def _page_event(escalation: Escalation, page: Page, what: str, at: datetime, **data: str) -> Event:
    told = {"person": page.person, "by": page.means.value, "step": page.step} | data
    return Event(subject=escalation.of, what=what, at=at, data=told)
