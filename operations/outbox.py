"""Speaking: claim a message, render it as things are now, send it, record it; each exactly once."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from domain.effects import Effect, Picture, Refresh, Subject, SubjectKind, Text
from domain.errors import Outage, Undeliverable
from domain.outbox import LEASE, LEASE_MARGIN, OPS, Kind, Letter, Outcome, Rendered, Report, settle
from domain.ports import Tx
from domain.views import PageView, Posted, View
from operations import counters, ladders, listed
from operations.refusals import tell_refusals
from operations.world import World

log = structlog.get_logger(__name__)

CLAIM = 16
"""Messages claimed at once: one for each of so many conversations."""

RECORDINGS = 5
"""So often a record is tried: on PostgreSQL it may lose a deadlock to another transaction."""

ANSWER_FOR = timedelta(minutes=30)
"""Slack takes an answer to a request for so long (facts/slack.md §2.3)."""

PICTURE_ATTEMPTS = 20
"""After so many failures of a message no more pictures are uploaded for it: some eight minutes."""

FEW_WORDS = 300
"""Characters of a message that Slack refused even as plain text."""

PICTURE_WITHIN = 7.0
"""Seconds that a picture may take; then the words go without it."""

HELD_FOR = (LEASE - LEASE_MARGIN).total_seconds()
"""Seconds from a claim or a renewal within which its message is surely ours."""


@dataclass
class Hold:
    """A claimed message, and the monotonic second until which it is ours; a renewal moves that."""

    letter: Letter
    until: float

    def lasts(self, world: World) -> bool:
        """False where another process may have taken it over."""
        return world.clock.monotonic() <= self.until


async def stay_in_touch(world: World) -> int:
    """Nothing may be due for hours: `/readyz` shall know all the same when Slack is back."""
    try:
        back = await world.chat.stay_in_touch(world.clock.monotonic())
    except (Outage, Undeliverable) as error:
        log.warning("slack.out", error=error.reason)
        back = False
    await tell_refusals(world)
    if back:
        log.info("slack.reached")
        async with world.store() as tx:
            await tx.release_waiting(world.clock.now())
    return int(back)


async def claim(world: World, busy: frozenset[str], most: int = CLAIM) -> list[Hold]:
    """Messages that this process may send now.

    ``busy`` names conversations in which it is speaking already.
    """
    began = world.clock.monotonic()
    async with world.store() as tx:
        letters = await tx.claim(world.clock.now(), most, busy)
    return [Hold(letter, began + HELD_FOR) for letter in letters]


async def renew(world: World, holds: Collection[Hold]) -> None:
    """Prolong the leases of messages whose calls take long. Raises ``Outage``."""
    began = world.clock.monotonic()
    async with world.store() as tx:
        kept = await tx.renew({hold.letter.id: hold.letter.fence for hold in holds}, world.clock.now())
    for hold in holds:
        if hold.letter.id in kept:
            hold.until = began + HELD_FOR


async def deliver(world: World, hold: Hold) -> None:
    """Send one claimed message and record what came of it. Raises ``Outage`` of the database only."""
    letter = hold.letter
    report = await _attempt(world, letter, hold)
    await _keep(world, letter, report)
    await tell_refusals(world)


async def _keep(world: World, letter: Letter, report: Report) -> None:
    async with world.recording:
        for left in reversed(range(RECORDINGS)):
            try:
                stray = await _record(world, letter, report)
            except Outage as outage:
                if not left:
                    raise
                log.warning("outbox.record_again", key=letter.key, reason=outage.reason)
                await asyncio.sleep(0.05)
            else:
                break
    if stray is not None:
        log.warning("outbox.stray_deleted", key=letter.key, ts=stray.ts)
        await _delete(world, letter, stray)


async def _attempt(world: World, letter: Letter, hold: Hold) -> Report:
    unseen = False
    try:
        posted = letter.posted
        if letter.look_again or (letter.in_doubt and posted is None and letter.kind is not Kind.ANSWER):
            posted, unseen = await _look(world, letter)
        report = await _send(world, letter, posted, hold)
    except NotSeen as trouble:
        return Report(outcome=Outcome.UNSEEN, error=trouble.reason, retry_after=trouble.retry_after)
    except Outage as outage:
        outcome = Outcome.UNKNOWN if outage.unknown else Outcome.LATER
        return Report(outcome=outcome, error=outage.reason, retry_after=outage.retry_after, unseen=unseen)
    except Undeliverable as refusal:
        outcome = await _refusal(world, letter, refusal)
        return Report(outcome=outcome, error=refusal.reason)
    except Exception as error:
        log.exception("outbox.poisonous", key=letter.key)
        return Report(outcome=Outcome.BROKEN, error=repr(error)[:300])
    return report.model_copy(update={"unseen": unseen})


class NotSeen(Outage):
    """Slack did not let us look whether a message is there already."""


async def _refusal(world: World, letter: Letter, refusal: Undeliverable) -> Outcome:
    """What a refusal means for this message. A root that takes no replies makes room for a new one."""
    is_reply = letter.thread is not None and bool(letter.thread.ts)
    if refusal.gone:
        return Outcome.GONE if letter.is_edit else Outcome.ORPHAN
    if is_reply and not letter.is_edit and letter.kind is not Kind.ANSWER:
        if refusal.unthreaded:
            return Outcome.UNTHREADED
        if refusal.threadless:
            if not letter.attempts:
                await _take_back(world, letter)
            return Outcome.THREADLESS
    elsewhere = letter.place != OPS and not letter.place.startswith("@")
    if refusal.homeless and refusal.mendable:
        fresh = letter.kind is not Kind.ANSWER and not letter.is_edit and not is_reply
        return Outcome.HOMELESS if fresh and elsewhere else Outcome.MENDABLE
    if refusal.homeless:
        return Outcome.HOMELESS
    return Outcome.MENDABLE if refusal.mendable else Outcome.REFUSED


async def _take_back(world: World, letter: Letter) -> None:
    """Delete the card that takes no replies, so that its successor is the only one."""
    assert letter.thread is not None
    root = letter.thread.model_copy(update={"ts": letter.thread.thread_ts or letter.thread.ts})
    await _delete(world, letter, root)


async def _send(world: World, letter: Letter, posted: Posted | None, hold: Hold) -> Report:
    """Say it. ``posted`` is where it stands already, as far as that is known."""
    content = await _content(world, letter)
    if content is None:
        return Report(outcome=Outcome.NOTHING)
    locale = await world.chat.locale(letter.place)
    message = world.chat.render(letter, content, locale)
    if letter.is_edit and message.digest == letter.digest and not letter.look_again:
        return Report(
            outcome=Outcome.SENT, posted=letter.posted, digest=letter.digest, newest=_newest(content)
        )
    if posted is None and _is_over(content):
        return Report(outcome=Outcome.NOTHING)
    if not hold.lasts(world):
        raise Outage("the lease ran out before the call")
    if letter.kind is Kind.ANSWER:
        await world.chat.answer(letter, message)
        return Report(outcome=Outcome.SENT, digest=message.digest)
    plain = None
    try:
        posted = await _show(world, letter, posted, content, message, locale, hold)
    except Undeliverable as refusal:
        if not refusal.malformed:
            raise
        log.warning("outbox.plain_words", key=letter.key, error=refusal.reason)
        plain = refusal.reason
        posted = await _show_plainly(world, letter, posted, message, hold)
    newest = _newest(content)
    return Report(outcome=Outcome.SENT, posted=posted, digest=message.digest, plain=plain, newest=newest)


async def _show(
    world: World,
    letter: Letter,
    posted: Posted | None,
    content: View | Text,
    message: Rendered,
    locale: str,
    hold: Hold,
) -> Posted:
    if posted is None:
        return await _post(world, letter, content, message, locale, hold)
    if letter.may_change:
        return await world.chat.edit(letter, posted, message)
    return posted


async def _show_plainly(
    world: World, letter: Letter, posted: Posted | None, message: Rendered, hold: Hold
) -> Posted:
    """The words of a message that Slack does not take as it is: all of them, else the first few."""
    few = message.text.strip()[:FEW_WORDS] or letter.key
    for words, bare in ((message.text or letter.key, False), (few, False), (letter.key, True)):
        if not hold.lasts(world):
            raise Outage("the lease ran out before the call")
        try:
            if posted is not None:
                return await world.chat.edit(letter, posted, Rendered(text=words))
            return await world.chat.post(letter, Rendered(text=words), bare=bare)
        except Undeliverable as refusal:
            if not refusal.malformed or (words == letter.key and bare):
                raise
            log.warning("outbox.plainer_words", key=letter.key, error=refusal.reason)
    raise AssertionError("the last try raises")


def _newest(content: View | Text | None) -> int | None:
    return content.newest if isinstance(content, PageView) else None


async def _post(
    world: World, letter: Letter, content: View | Text, message: Rendered, locale: str, hold: Hold
) -> Posted:
    """Post it, with its picture where there is one to be had in time; else the words alone."""
    picture = content.picture if isinstance(content, Text) else None
    if picture is not None and letter.attempts < PICTURE_ATTEMPTS:
        shown = await _illustrated(world, letter, message, picture, locale)
        if shown is not None:
            try:
                posted = await world.chat.post(letter, shown)
            except Undeliverable as refusal:
                if refusal.gone or refusal.homeless:
                    raise
                _without_picture(letter, "refused", refusal.reason)
            else:
                counters.pictures.labels(outcome="shown").inc()
                return posted
        if not hold.lasts(world):
            raise Outage("the lease ran out before the call")
    return await world.chat.post(letter, message)


async def _illustrated(
    world: World, letter: Letter, message: Rendered, picture: Picture, locale: str
) -> Rendered | None:
    """The message with its picture; ``None``, told and counted, where it goes without."""
    try:
        shown = await world.chat.illustrate(message, picture, locale, PICTURE_WITHIN)
    except TimeoutError:
        _without_picture(letter, "late", "it took too long")
    except (Outage, Undeliverable) as trouble:
        _without_picture(letter, "failed", trouble.reason)
    except Exception as error:
        log.exception("outbox.picture_broken", key=letter.key, picture=picture.kind)
        _without_picture(letter, "failed", repr(error)[:300])
    else:
        if shown is None:
            _without_picture(letter, "nothing", "there was nothing to draw")
        return shown
    return None


def _without_picture(letter: Letter, outcome: str, reason: str) -> None:
    counters.pictures.labels(outcome=outcome).inc()
    log.info("outbox.without_picture", key=letter.key, outcome=outcome, reason=reason)


async def _look(world: World, letter: Letter) -> tuple[Posted | None, bool]:
    """What Slack has of this message: one is kept, others (a late sender's) are deleted.

    The second value is true where Slack did not let us look and we go on all the same: a change is shown,
    and what waited too long is said, twice if need be. Raises ``NotSeen`` before that.
    """
    try:
        found = await world.chat.find(letter)
    except (Outage, Undeliverable) as trouble:
        if isinstance(trouble, Undeliverable) and trouble.gone:
            raise
        log.warning("outbox.not_seen", key=letter.key, error=trouble.reason)
        if letter.posted is None and not letter.may_go_unseen(world.clock.now()):
            after = trouble.retry_after if isinstance(trouble, Outage) else None
            raise NotSeen(trouble.reason, retry_after=after) from trouble
        return letter.posted, True
    kept = next((one for one in found if letter.posted and one.ts == letter.posted.ts), None)
    kept = kept or next(iter(found), None) or letter.posted
    for one in found:
        if kept is not None and one.ts != kept.ts:
            log.warning("outbox.duplicate_deleted", key=letter.key, ts=one.ts)
            await _delete(world, letter, one)
    return kept, False


async def _delete(world: World, letter: Letter, one: Posted) -> None:
    """Take a copy back; one that Slack does not give back stays, and holds up nothing."""
    try:
        await world.chat.delete(one)
    except (Outage, Undeliverable) as trouble:
        log.warning("outbox.copy_stays", key=letter.key, ts=one.ts, error=trouble.reason)


async def _content(world: World, letter: Letter) -> View | Text | None:
    """What the message says as things are now; ``None`` where it need not be said any more."""
    if letter.kind is Kind.ANSWER and world.clock.now() - letter.created_at > ANSWER_FOR:
        return None
    if letter.text is not None:
        return await _linked(world, letter.text)
    assert letter.subject is not None
    async with world.store.read() as tx:
        view = await tx.view(letter.subject)
        if view is None and tx.unreadable:  # It is there, and can perhaps be read again later.
            raise ValueError(f"cannot be read: {tx.unreadable[0].key}: {tx.unreadable[0].reason}")
    return None if not letter.is_edit and not letter.in_doubt and _is_over(view) else view


async def _linked(world: World, text: Text) -> Text:
    """A text whose card may have been posted since it was written (``places.later_linked``)."""
    card = text.params.get("card")
    if not isinstance(card, dict) or "of" not in card:
        return text
    async with world.store.read() as tx:
        posted = (await tx.posted([card["of"]])).get(card["of"])
    if posted is None:
        return text.model_copy(update={"key": card["otherwise"]})
    known = card | {"posted": posted.model_dump()}
    return text.model_copy(update={"params": text.params | {"card": known}})


def _is_over(content: View | Text | None) -> bool:
    """A page that somebody answered before it was sent."""
    return isinstance(content, PageView) and not content.escalation.is_running and not content.waiting


async def _dispute(tx: Tx, letter: Letter, report: Report, at: datetime) -> Posted | None:
    """We were stopped for so long that another process took over: ours may stand beside its own, or over it.

    Returns ours where it has to go.
    """
    if letter.kind is Kind.ANSWER or report.outcome not in {Outcome.SENT, Outcome.UNKNOWN}:
        return None
    return report.posted if await tx.dispute(letter, report.posted, at) else None


async def _record(world: World, letter: Letter, report: Report) -> Posted | None:
    """Write down what came of an attempt. Returns a message that nobody wants any more."""
    async with world.store() as tx:
        at = world.clock.now()
        settled = settle(letter, report, at)
        if not await tx.settle(letter, settled, at):
            log.warning("outbox.late_record_refused", key=letter.key, fence=letter.fence)
            return await _dispute(tx, letter, report, at)
        first = report.outcome is Outcome.SENT and not letter.is_edit
        if report.outcome is Outcome.SENT and world.chat.is_back():
            await tx.release_waiting(at)
        if letter.subject is not None:
            await _consequences(tx, letter.subject, report, at, first=first, given_up=settled.given_up)
    counters.sent.labels(kind=letter.kind.value, outcome=report.outcome.value).inc()
    if first:
        counters.delay.observe(max(0.0, (at - letter.created_at).total_seconds()))
    if settled.given_up:
        log.error("outbox.gave_up", key=letter.key, place=letter.place, error=report.error)
    elif report.error:
        log.warning("outbox.attempt_failed", key=letter.key, outcome=report.outcome.value, error=report.error)
    return None


async def _consequences(
    tx: Tx, subject: Subject, report: Report, at: datetime, *, first: bool, given_up: bool
) -> None:
    """What follows from a message being seen, or from it never being seen."""
    if subject.kind is SubjectKind.PAGE:
        if report.newest is not None:
            await tx.list_shown(subject.id, report.newest, at, first=first)
        if first:
            await ladders.pages_sent(tx, [subject.id], at)
        elif given_up:
            await ladders.page_failed(tx, subject.id, report.error or "?", at)
            await listed.failed(tx, subject.id, report.error or "?", at)
        elif report.outcome is Outcome.MENDABLE:
            await ladders.page_refused(tx, subject.id, report.error or "?", at)
            await listed.refused(tx, subject.id, report.error or "?", at)
        elif report.outcome is Outcome.NOTHING:
            await ladders.page_withdrawn(tx, subject.id)
    if first:
        await tx.say(await _now_linked(tx, subject), at)


async def _now_linked(tx: Tx, subject: Subject) -> list[Effect]:
    """What names a card that is posted just now: it can lead there from now on.

    The row of the card is locked already, so that nothing else may be: who holds that may wait for the row.
    """
    found: list[Effect] = []
    if subject.kind is SubjectKind.INCIDENT:
        found += [Refresh(subject=group.subject) for group in await tx.groups_of_incident(subject.id)]
    elif subject.kind is SubjectKind.ALERT:
        incident_id = await tx.incident_of_group(subject.id)
        if incident_id is not None:
            found.append(Refresh(subject=Subject(kind=SubjectKind.INCIDENT, id=incident_id)))
    else:
        return found
    asking = [one for one in (await tx.latest_escalations([subject.key])).values() if one.is_running]
    return [*found, *(await ladders.page_refreshes(tx, asking) if asking else [])]
