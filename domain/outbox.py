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

LEASE = CALL_TIMEOUT + timedelta(seconds=10)
"""How long a claimed message belongs to its claimer."""

GAP = timedelta(seconds=1)
"""Slack takes about one message a second for a channel (facts/slack.md §2.6)."""

BURST = 6
"""So many messages may follow each other at once after a quiet time."""

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
    ``thread`` is where the card stands in whose thread it belongs.
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
    thread: Posted | None = None
    wanted: int
    shown: int
    fence: int
    attempts: int
    in_doubt: bool = False
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
    ``HOMELESS``: the conversation takes no messages. ``REFUSED``: the same again cannot succeed.
    ``BROKEN``: we failed ourselves, before or while speaking.
    """

    SENT = "sent"
    NOTHING = "nothing"
    LATER = "later"
    UNKNOWN = "unknown"
    GONE = "gone"
    ORPHAN = "orphan"
    HOMELESS = "homeless"
    REFUSED = "refused"
    BROKEN = "broken"


class Report(Value):
    """The outcome of an attempt, to be recorded. ``retry_after`` in seconds, where Slack named one."""

    outcome: Outcome
    posted: Posted | None = None
    digest: str | None = None
    error: str | None = None
    retry_after: float | None = None


class Settled(Value):
    """What a report changes: columns of the message, the end of its lane's pause, what to say.

    ``given_up`` is set where the message will not be sent; ``orphaned`` asks for its parent anew.
    """

    status: Status
    due_at: datetime | None
    attempts: int = 0
    in_doubt: bool = False
    shown: int
    posted: Posted | None
    digest: str | None
    place: str
    look_again_at: datetime | None = None
    sent_at: datetime | None = None
    error: str | None = None
    lane_closed_until: datetime | None = None
    note: Note | None = None
    given_up: bool = False
    orphaned: bool = False


OPS = "ops"
"""Where a message goes whose own conversation cannot be written to."""


def settle(letter: Letter, report: Report, at: datetime) -> Settled:
    """What is recorded after an attempt; pure, so that every outcome can be walked in a table."""
    again = letter.look_again_at
    if letter.taken_over:
        again = at + LEASE
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
            if letter.look_again and not letter.taken_over:
                again = None
            done = {
                "status": Status.SENT,
                "due_at": again,
                "look_again_at": again,
                "sent_at": at,
                "error": None,
            }
            shows = {
                "shown": letter.wanted,
                "posted": report.posted or letter.posted,
                "digest": report.digest,
            }
            return same.model_copy(update=done | shows)
        case Outcome.NOTHING:
            status = Status.SENT if letter.is_edit else Status.WITHDRAWN
            end = {"status": status, "due_at": None, "look_again_at": None, "shown": letter.wanted}
            return same.model_copy(update=end)
        case Outcome.LATER if report.retry_after is not None:
            pause = min(timedelta(seconds=max(report.retry_after, 0.0)), LONGEST_RETRY_AFTER)
            kept = {"attempts": letter.attempts, "in_doubt": letter.in_doubt}
            return same.model_copy(update=kept | {"lane_closed_until": at + pause})
        case Outcome.LATER | Outcome.UNKNOWN:
            doubt = letter.in_doubt or (report.outcome is Outcome.UNKNOWN and not letter.is_edit)
            return _outage(letter, same.model_copy(update={"in_doubt": doubt}), at)
        case Outcome.BROKEN:
            return _again(letter, same.model_copy(update={"in_doubt": letter.in_doubt}), at)
        case Outcome.GONE:
            anew = {"posted": None, "digest": None, "shown": 0, "look_again_at": None}
            return same.model_copy(update=anew | {"note": _note(letter, "note.reposted", letter.key)})
        case Outcome.ORPHAN:
            return _again(letter, same.model_copy(update={"orphaned": True}), at)
        case Outcome.HOMELESS if letter.thread_of is not None and letter.thread is not None:
            return _again(letter, same.model_copy(update={"orphaned": True}), at)
        case Outcome.HOMELESS if letter.place != OPS and not letter.place.startswith("@"):
            anew = {"posted": None, "digest": None, "shown": 0, "look_again_at": None}
            note = _note(letter, "note.new_home", letter.key, place=letter.place, error=report.error or "")
            said = {"place": OPS, "note": note if letter.kind is Kind.CARD else None}
            return same.model_copy(update=anew | said)
        case Outcome.HOMELESS if letter.place == OPS:
            return _again(letter, same, at)
        case Outcome.HOMELESS | Outcome.REFUSED:
            return _given_up(letter, same)


def _outage(letter: Letter, settled: Settled, at: datetime) -> Settled:
    """Slack's fault, not the message's: the conversation pauses, and the order in it is kept at first."""
    if at - letter.created_at > GIVE_UP_AFTER:
        return _given_up(letter, settled)
    attempts = letter.attempts + 1
    pause = min(backoff(attempts), LONGEST_PAUSE)
    due = at if attempts <= PATIENT_ATTEMPTS else at + backoff(attempts)
    return settled.model_copy(update={"attempts": attempts, "due_at": due, "lane_closed_until": at + pause})


def _again(letter: Letter, settled: Settled, at: datetime) -> Settled:
    attempts = letter.attempts + 1
    if attempts >= ATTEMPTS:
        return _given_up(letter, settled)
    return settled.model_copy(update={"attempts": attempts, "due_at": at + backoff(attempts)})


def _given_up(letter: Letter, settled: Settled) -> Settled:
    """It will not be sent. The ops channel hears it, but for answers, and pages: their ladder tells."""
    is_page = letter.subject is not None and letter.subject.kind is SubjectKind.PAGE
    aloud = letter.kind is not Kind.ANSWER and letter.place != OPS and not is_page
    note = _note(letter, "ops.gave_up", None, what=letter.key, place=letter.place, error=settled.error or "")
    end = {
        "status": Status.DEAD,
        "due_at": None,
        "look_again_at": None,
        "given_up": True,
        "attempts": letter.attempts + 1,
    }
    return settled.model_copy(update=end | {"note": note if aloud else None})


def _note(letter: Letter, key: str, thread_of: str | None, **params: str) -> Note:
    name = f"{key}:{letter.id}:{letter.fence}"
    return Note(key=name, place=OPS, text=Text(key=key, params=params), thread_of=thread_of)


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
