"""One message that has to be in Slack, and the rules by which it gets there exactly once."""

import hashlib
import json
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import Field

from domain.effects import Note, Subject, SubjectKind, Text
from domain.policy import Value
from domain.views import Posted

CALL_TIMEOUT = timedelta(seconds=10)
"""A call to Slack takes no longer; after it its outcome is unknown."""

LEASE = timedelta(seconds=7)
"""How long a claimed message belongs to its claimer, who renews the lease while a call is under way.

So much later at most another process takes over what one that was killed had in its hands.
"""

RENEW_AFTER = timedelta(seconds=2)
"""A lease of this age is renewed."""

LEASE_MARGIN = timedelta(seconds=1.5)
"""A claimer stops so much before its lease ends: it may have been slow to hear of its claim."""

CALL_BEFORE_LEASE = CALL_TIMEOUT
"""A call that a renewed lease covers may have begun so much before the lease did."""

LOOK_AGAIN = CALL_TIMEOUT + timedelta(seconds=10)
"""A message that was taken over is looked at once more so much later: its earlier owner may have sent it."""

GAP = timedelta(seconds=1)
"""Slack takes about one message a second for a channel (facts/slack.md §2.6)."""

BURST = 6
"""So many messages may follow each other at once after a quiet time."""

EDIT_GAP = timedelta(seconds=2)
EDIT_BURST = 20
"""All edits of the workspace share ``chat.update``, which Slack takes about 50 times a minute."""

EDIT_BURST_OF_CARDS = 15
"""So many of the burst are for every card; the rest is for lists of pages, which people wait for."""

ATTEMPTS = 8
"""Failures of our own (not of Slack's reach) after which a message is given up, loudly."""

GIVE_UP_AFTER = timedelta(hours=24)
"""An outage does not lose a message; only after so long it is given up."""

LONGEST_BACKOFF = timedelta(seconds=30)
"""A message that cannot be sent is tried at least this often."""

PATIENT_ATTEMPTS = 3
"""So often a message is tried again in its order; after that others may overtake it."""

LONGEST_PAUSE = timedelta(seconds=4)
"""A conversation is left alone for at most so long after an outage."""

LOOK_FOR = timedelta(minutes=30)
"""A message of unknown fate is not sent again for so long while Slack does not let us look for it."""

LOOK_FOR_PAGE = timedelta(minutes=2)
"""The same for a page: twice on a screen is better than never, and the next person is paged by then."""

LOOK_LATER = timedelta(minutes=10)
"""What was sent without a look is looked for once more after this, and a second copy is deleted."""

LONGEST_RETRY_AFTER = timedelta(minutes=10)
"""A longer pause of a lane is the trace of a clock that was set back, and does not count."""


class Status(StrEnum):
    """Where a message stands. ``PENDING`` covers a card that has to be edited."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"


class Kind(StrEnum):
    """What kind of message it is."""

    CARD = "card"
    NOTE = "note"
    ANSWER = "answer"


class Letter(Value):
    """A message as it is claimed for sending.

    ``wanted`` counts the changes that it has to show, ``shown`` those that it does. ``fence`` grows
    with every claim: a record with an older one is refused. ``in_doubt`` means that an earlier
    attempt may have succeeded, so Slack is asked before anything is posted; ``taken_over`` that its
    earlier owner may still be alive and send late, so that it is looked at once more (``look_again``).
    ``thread`` is where the card stands in whose thread it belongs. ``doubt_from`` and ``doubt_until`` limit
    when a doubtful attempt may have reached Slack; ``failing_since`` is the first failure in a row.
    """

    id: int
    key: str
    kind: Kind
    subject: Subject | None = None
    text: Text | None = None
    to: str | None = None
    response_url: str | None = None
    place: str
    priority: int
    thread_of: str | None = None
    broadcast: bool = False
    thread: Posted | None = None
    wanted: int
    shown: int
    fence: int
    attempts: int
    in_doubt: bool = False
    doubt_from: datetime | None = None
    doubt_until: datetime | None = None
    failing_since: datetime | None = None
    claimed_at: datetime | None = None
    taken_over: bool = False
    look_again: bool = False
    look_again_at: datetime | None = None
    posted: Posted | None = None
    digest: str | None = None
    created_at: datetime

    @property
    def is_edit(self) -> bool:
        """True where the message exists and is only changed."""
        return self.posted is not None

    @property
    def may_change(self) -> bool:
        """True for a card, and for a note that was rewritten since it was first wanted."""
        return self.kind is Kind.CARD or self.wanted > 1

    @property
    def is_page(self) -> bool:
        """True for a page to a person."""
        return self.subject is not None and self.subject.kind is SubjectKind.PAGE

    def may_go_unseen(self, at: datetime) -> bool:
        """Whether it may be sent again although nobody could look whether it is there: it waited long."""
        patience = LOOK_FOR_PAGE if self.is_page else LOOK_FOR
        return at - (self.doubt_until or self.failing_since or self.created_at) >= patience


class Rendered(Value):
    """A message in one language: Block Kit and the fallback text that states point and action."""

    text: str
    blocks: list[dict[str, Any]] = Field(default_factory=list)

    @cached_property
    def digest(self) -> str:
        """Equal for equal messages: 32 hexadecimal digits of SHA-256."""
        content = json.dumps([self.text, self.blocks], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:32]


class Outcome(StrEnum):
    """What an attempt came to.

    ``NOTHING``: there is nothing to say any more. ``LATER``: not taken, certainly. ``UNKNOWN``: it
    may have been. ``GONE``: the message to edit was deleted. ``ORPHAN``: the thread's parent was.
    ``HOMELESS``: the conversation takes no messages. ``THREADLESS``: it does, but not in this thread.
    ``UNTHREADED``: it does, but in no thread.
    ``REFUSED``: the same again cannot succeed. ``MENDABLE``: it can, once people have changed a permission
    or a setting. ``UNSEEN``: it may be there from before, and Slack did not let us look.
    ``BROKEN``: we failed ourselves, before or while speaking.
    """

    SENT = "sent"
    NOTHING = "nothing"
    LATER = "later"
    UNKNOWN = "unknown"
    GONE = "gone"
    ORPHAN = "orphan"
    HOMELESS = "homeless"
    THREADLESS = "threadless"
    UNTHREADED = "unthreaded"
    REFUSED = "refused"
    MENDABLE = "mendable"
    UNSEEN = "unseen"
    BROKEN = "broken"


class Report(Value):
    """The outcome of an attempt, to be recorded. ``retry_after`` in seconds, where Slack named one.

    ``plain`` is Slack's reason for which the message was sent in plain words only; ``unseen`` is true where
    it was sent although an earlier attempt may have succeeded.
    ``newest``: of a message that lists pages, the newest that it shows.
    """

    outcome: Outcome
    posted: Posted | None = None
    digest: str | None = None
    error: str | None = None
    retry_after: float | None = None
    plain: str | None = None
    unseen: bool = False
    newest: int | None = None


class Settled(Value):
    """What a report changes: columns of the message, the end of its lane's pause, what to say.

    ``given_up`` is set where the message will not be sent; ``orphaned`` asks for its parent anew,
    ``detached`` takes it out of its thread.
    """

    status: Status
    due_at: datetime | None
    attempts: int = 0
    in_doubt: bool = False
    doubt_from: datetime | None = None
    doubt_until: datetime | None = None
    failing_since: datetime | None = None
    shown: int
    posted: Posted | None
    digest: str | None
    place: str
    look_again_at: datetime | None = None
    sent_at: datetime | None = None
    error: str | None = None
    lane_closed_until: datetime | None = None
    edits_closed_until: datetime | None = None
    note: Note | None = None
    given_up: bool = False
    orphaned: bool = False
    detached: bool = False


OPS = "ops"
"""Where a message goes whose own conversation cannot be written to."""


def settle(letter: Letter, report: Report, at: datetime) -> Settled:
    """What is recorded after an attempt; pure, so that every outcome can be walked in a table."""
    again = letter.look_again_at
    if letter.taken_over and not letter.is_edit:
        again = at + LOOK_AGAIN
    if report.unseen and at - (letter.doubt_until or at) < GIVE_UP_AFTER:
        again = at + LOOK_LATER
    if letter.kind is Kind.ANSWER:
        again = None
    same = Settled(
        look_again_at=again,
        status=Status.PENDING,
        due_at=at,
        shown=letter.shown,
        posted=letter.posted,
        digest=letter.digest,
        place=letter.place,
        error=report.error,
    )
    match report.outcome:
        case Outcome.SENT:
            return _sent(letter, report, same, at)
        case Outcome.NOTHING:
            status = Status.SENT if letter.is_edit else Status.WITHDRAWN
            end = {"status": status, "due_at": None, "look_again_at": None, "shown": letter.wanted}
            return same.model_copy(update=end)
        case Outcome.LATER if report.retry_after is not None:
            pause = _pause(report.retry_after)
            kept: dict[str, Any] = {"attempts": letter.attempts, "failing_since": letter.failing_since}
            if letter.is_edit:  # That limit is the workspace's.
                kept |= {"edits_closed_until": at + pause}
            if letter.is_edit and letter.is_page:  # A new page to the same person need not wait for it.
                return _still_in_doubt(letter, same).model_copy(update=kept | {"due_at": at + pause})
            return _still_in_doubt(letter, same).model_copy(update=kept | {"lane_closed_until": at + pause})
        case Outcome.UNSEEN:
            return _unseen(letter, report, _still_in_doubt(letter, same), at)
        case Outcome.UNKNOWN if not letter.is_edit:
            return _outage(letter, _in_doubt(letter, report, same, at), at)
        case Outcome.LATER | Outcome.UNKNOWN:
            return _outage(letter, _still_in_doubt(letter, same), at)
        case Outcome.MENDABLE:
            return _outage(letter, _still_in_doubt(letter, same), at, pauses=False)
        case Outcome.BROKEN:
            return _again(letter, _still_in_doubt(letter, same), at)
        case Outcome.GONE if (
            letter.kind is Kind.NOTE and letter.may_change
        ):  # Whoever deleted it has read it.
            end = {"status": Status.SENT, "due_at": None, "look_again_at": None, "shown": letter.wanted}
            return same.model_copy(update=end)
        case Outcome.GONE:
            anew = {"posted": None, "digest": None, "shown": 0, "look_again_at": None}
            return same.model_copy(update=anew | {"note": _note(letter, "note.reposted", letter.key)})
        case Outcome.UNTHREADED:
            return _again(letter, same.model_copy(update={"detached": True}), at)
        case Outcome.THREADLESS if letter.attempts:
            return _again(letter, same.model_copy(update={"detached": True}), at)
        case Outcome.ORPHAN | Outcome.THREADLESS:
            return _again(letter, same.model_copy(update={"orphaned": True}), at)
        case Outcome.HOMELESS if letter.thread_of is not None and letter.thread is not None:
            return _again(letter, same.model_copy(update={"orphaned": True}), at)
        case Outcome.HOMELESS if letter.place != OPS and not letter.place.startswith("@"):
            anew = {"posted": None, "digest": None, "shown": 0, "look_again_at": None}
            note = _note(letter, "note.new_home", letter.key, place=letter.place, error=report.error or "")
            said = {"place": OPS, "note": note if letter.kind is Kind.CARD else None}
            return same.model_copy(update=anew | said)
        case Outcome.HOMELESS if letter.place == OPS:
            return _outage(letter, same, at, pauses=False)
        case Outcome.REFUSED if letter.kind is Kind.ANSWER and letter.in_doubt:
            # Its address takes five answers: attempts before ours, which nobody recorded, have used it up.
            given = {"status": Status.SENT, "due_at": None, "sent_at": at, "shown": letter.wanted}
            return same.model_copy(update=given)
        case Outcome.HOMELESS | Outcome.REFUSED:
            return _given_up(letter, same)


def _sent(letter: Letter, report: Report, same: Settled, at: datetime) -> Settled:
    """It is there. What Slack took in plain words only is told in the ops channel, once a day."""
    again = same.look_again_at
    looked = not report.unseen or at - (letter.doubt_until or at) >= GIVE_UP_AFTER
    if letter.look_again and not letter.taken_over and looked:
        again = None
    note = None
    if report.plain is not None:
        params = {"error": report.plain, "what": spoken(letter)}
        key = f"ops.plain:{report.plain}:{at:%Y-%m-%d}"
        note = Note(key=key, place=OPS, text=Text(key="ops.plain", params=params))
    done: dict[str, Any] = {
        "status": Status.SENT,
        "due_at": again,
        "look_again_at": again,
        "sent_at": at,
        "error": None,
        "note": note,
    }
    if again is not None:
        done["doubt_from"] = letter.doubt_from or letter.claimed_at or at
        fresh = letter.doubt_until is None or not letter.is_edit
        done["doubt_until"] = at + LOOK_AGAIN if fresh else letter.doubt_until
    shows = {"shown": letter.wanted, "posted": report.posted or letter.posted, "digest": report.digest}
    return same.model_copy(update=done | shows)


def _in_doubt(letter: Letter, report: Report, settled: Settled, at: datetime) -> Settled:
    """It may be there; so may an earlier attempt that was not looked for, or whose owner is late."""
    began = letter.claimed_at or at
    open_before = letter.taken_over or report.unseen or letter.look_again_at is not None
    since = letter.doubt_from if open_before and letter.doubt_from is not None else began
    return settled.model_copy(
        update={"in_doubt": True, "doubt_from": min(since, began), "doubt_until": max(at, began)}
    )


def _still_in_doubt(letter: Letter, settled: Settled) -> Settled:
    """What was not certain before is not certain now."""
    kept = {"doubt_from": letter.doubt_from, "doubt_until": letter.doubt_until} if letter.in_doubt else {}
    return settled.model_copy(update=kept | {"in_doubt": letter.in_doubt})


def _unseen(letter: Letter, report: Report, settled: Settled, at: datetime) -> Settled:
    """Slack did not let us look: this message waits, the others of its conversation do not."""
    attempts = letter.attempts + 1
    wait = backoff(attempts) if report.retry_after is None else _pause(report.retry_after)
    since = letter.failing_since or at
    return settled.model_copy(update={"attempts": attempts, "failing_since": since, "due_at": at + wait})


def _outage(letter: Letter, settled: Settled, at: datetime, *, pauses: bool = True) -> Settled:
    """Not the message's fault: the conversation pauses, and the order in it is kept at first.

    Without ``pauses`` others need not wait after that: it may be this message alone that is refused.
    """
    since = letter.failing_since or at
    if at - since > GIVE_UP_AFTER:
        return _given_up(letter, settled)
    attempts = letter.attempts + 1
    patient = attempts <= PATIENT_ATTEMPTS
    found = {
        "attempts": attempts,
        "failing_since": since,
        "due_at": at if patient else at + backoff(attempts),
        "lane_closed_until": at + min(backoff(attempts), LONGEST_PAUSE) if patient or pauses else None,
    }
    return settled.model_copy(update=found)


def _again(letter: Letter, settled: Settled, at: datetime) -> Settled:
    attempts = letter.attempts + 1
    if attempts >= ATTEMPTS:
        return _given_up(letter, settled)
    since = letter.failing_since or at
    later = {"attempts": attempts, "failing_since": since, "due_at": at + backoff(attempts)}
    return settled.model_copy(update=later)


def _pause(seconds: float) -> timedelta:
    return min(timedelta(seconds=max(seconds, 0.0)), LONGEST_RETRY_AFTER)


def _given_up(letter: Letter, settled: Settled) -> Settled:
    """It will not be sent. The ops channel hears it, but for answers, and pages: their ladder tells."""
    aloud = letter.kind is not Kind.ANSWER and letter.place != OPS and not letter.is_page
    said = {"what": spoken(letter), "place": letter.place, "error": settled.error or ""}
    note = _note(letter, "ops.gave_up", None, **said)
    end = {
        "status": Status.DEAD,
        "due_at": None,
        "look_again_at": None,
        "given_up": True,
        "attempts": letter.attempts + 1,
    }
    return settled.model_copy(update=end | {"note": note if aloud else None})


def _note(letter: Letter, key: str, thread_of: str | None, **params: Any) -> Note:
    name = f"{key}:{letter.id}:{letter.fence}"
    return Note(key=name, place=OPS, text=Text(key=key, params=params), thread_of=thread_of)


_NUMBERED = {
    SubjectKind.INCIDENT: "INC",
    SubjectKind.ROLLOUT: "D",
    SubjectKind.BACKUP: "B",
    SubjectKind.DRILL: "RD",
}
"""What people call a subject: these letters and its number. An alert has no such name."""


def spoken(letter: Letter) -> dict[str, Any]:
    """What a message is, for whoever reads that there is trouble with it (``{what:title}``)."""
    if letter.kind is Kind.ANSWER:
        return {"key": "letter.answer", "params": {}}
    if letter.is_page:
        return {"key": "letter.page", "params": {}}
    subject = letter.subject
    if subject is None and letter.thread_of is not None:
        subject = Subject.parse(letter.thread_of)
    if subject is None:
        return {"key": "letter.line", "params": {}}
    is_card = letter.kind is Kind.CARD
    if subject.kind not in _NUMBERED:
        return {"key": "letter.alert_card" if is_card else "letter.alert_line", "params": {}}
    name = f"{_NUMBERED[subject.kind]}-{subject.id}"
    return {"key": "letter.card_of" if is_card else "letter.line_about", "params": {"name": name}}


def backoff(attempts: int) -> timedelta:
    """1 s, 2 s, 4 s … up to half a minute after the n-th failure in a row (n from 1)."""
    return min(timedelta(seconds=2 ** min(max(0, attempts - 1), 10)), LONGEST_BACKOFF)


def slot(next_at: datetime | None, now: datetime, *, edit: bool) -> tuple[bool, datetime]:
    """Whether a lane lets a message go now, and its new mark (generic cell rate algorithm).

    ``next_at`` is the lane's theoretical arrival time. Where the answer is no, the returned time is
    the earliest at which it will be yes.
    """
    mark = max(next_at or now, now)
    if mark > now + GAP * BURST:  # Of a clock that was set back since.
        mark = now
    opens = mark - GAP * (BURST - 1)
    if opens > now:
        return False, opens
    return True, mark + (GAP / 2 if edit else GAP)


def edit_slot(
    next_at: datetime | None, closed_until: datetime | None, now: datetime, *, is_page: bool
) -> tuple[bool, datetime]:
    """Whether an edit may go now, and the workspace's new mark for edits, as ``slot`` says for a lane."""
    mark = max(next_at or now, now)
    if mark > now + EDIT_GAP * EDIT_BURST:  # Of a clock that was set back since.
        mark = now
    opens = mark - EDIT_GAP * ((EDIT_BURST if is_page else EDIT_BURST_OF_CARDS) - 1)
    if closed_until is not None and closed_until <= now + LONGEST_RETRY_AFTER:
        opens = max(opens, closed_until)
    return (True, mark + EDIT_GAP) if opens <= now else (False, opens)
