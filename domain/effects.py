"""What should be said, as data: a card to refresh, a line for a thread, a page, an answer."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from domain.policy import Level, Value


class Picture(Value):
    """Which picture to draw, never the picture itself: its kind, and what to draw as plain JSON values.

    It is drawn at the moment of sending, from what is remembered then.
    """

    kind: str
    params: dict[str, Any] = Field(default_factory=dict)


class Drawn(Value):
    """A picture as it was drawn: a PNG file, what it shows in words, and the name of the file."""

    png: bytes
    alt_text: str
    filename: str


class Text(Value):
    """A text by its key in the catalogues, and its parameters as plain JSON values.

    Times are given as epoch seconds; the catalogue's message says how each parameter is shown
    (``{at:time}``, ``{level:level}``), so that data stays data. A note shows the ``picture`` below its
    words, where there is one and where it can be had; the words are complete without it. ``lines`` are
    said below it, a line each.
    """

    key: str
    params: dict[str, Any] = Field(default_factory=dict)
    lines: tuple["Text", ...] = ()
    picture: Picture | None = None


def titled(title: str, own: Text | None) -> str | dict[str, Any]:
    """A title as a parameter of a text (``{what:title}``): in the reader's language where it is our own."""
    return title if own is None else {"key": own.key, "params": own.params}


class Wording(Value):
    """The title and the summary of an alert that we wrote ourselves, so that each reader has them in
    their own language.
    """

    title: Text
    summary: Text


class By(Value):
    """Who did something: a Slack account and the name to show, or Toban itself.

    ``unverified``: Slack could not say at that moment whether it was them.
    """

    id: str
    name: str
    unverified: bool = False

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the mark where there is none, so that an older version still reads what is stored."""
        found: dict[str, Any] = dump(self)
        if not self.unverified:
            found.pop("unverified", None)
        return found

    @property
    def is_toban(self) -> bool:
        """True where no person did it."""
        return self.id == TOBAN_ID


TOBAN_ID = "toban"
TOBAN = By(id=TOBAN_ID, name="Toban")


class SubjectKind(StrEnum):
    """What a ladder, a card or a timeline row speaks about."""

    ALERT = "alert"
    INCIDENT = "incident"
    PAGE = "page"
    DELIVERY = "delivery"
    FINDING = "finding"
    ROLLOUT = "rollout"
    BACKUP = "backup"
    DRILL = "drill"
    DETECTOR = "detector"


class Subject(Value):
    """One alert group, incident, page, delivery, finding, rollout, backup, drill or detector of a service."""

    kind: SubjectKind
    id: int

    @property
    def key(self) -> str:
        """Its stable name in keys: ``incident:12``."""
        return f"{self.kind.value}:{self.id}"

    @classmethod
    def parse(cls, key: str) -> "Subject":
        """The subject of a key. Raises ``ValueError`` for anything else."""
        kind, _, number = key.partition(":")
        return cls(kind=SubjectKind(kind), id=int(number))


class Event(Value):
    """One row of the timeline: what happened to a subject, when, by whom."""

    subject: Subject
    what: str
    at: datetime
    by: By = TOBAN
    data: dict[str, Any] = Field(default_factory=dict)


class Priority:
    """The order within a conversation: pages, new threads by level, answers, edits, notes, questions."""

    PAGE = 0
    ANSWER = 5
    THREAD = 10
    EDIT = 20
    NOTE = 30
    QUESTION = 40

    @staticmethod
    def page(level: Level) -> int:
        """0 for emergency down to 3 for info."""
        return Priority.PAGE + (Level.EMERGENCY.rank - level.rank)

    @staticmethod
    def thread(level: Level) -> int:
        """10 for emergency down to 13 for info."""
        return Priority.THREAD + (Level.EMERGENCY.rank - level.rank)


class Card(Value):
    """A message that mirrors a subject: posted once, edited after. Refreshing twice is once.

    ``place`` is a channel of the policy (``alerts``) or a person (``@kenji``); ``thread_of`` is the
    key of the card in whose thread it is posted.
    """

    effect: Literal["card"] = "card"
    subject: Subject
    place: str
    priority: int
    thread_of: str | None = None

    @property
    def key(self) -> str:
        """Unique: one message for a subject."""
        return self.subject.key


class Refresh(Value):
    """The card of a subject is out of date; nothing where it has none."""

    effect: Literal["refresh"] = "refresh"
    subject: Subject


class Note(Value):
    """A line that is said exactly once, in the thread of a card or in a channel of its own.

    ``broadcast``: a line of a thread that is shown in its channel as well.
    """

    effect: Literal["note"] = "note"
    key: str
    place: str
    text: Text
    thread_of: str | None = None
    broadcast: bool = False


class Answer(Value):
    """What the person who asked is told, seen by nobody else.

    ``response_url`` is the address that Slack gave with the request (30 minutes, five uses).
    """

    effect: Literal["answer"] = "answer"
    key: str
    to: str
    channel: str
    text: Text
    response_url: str | None = None


class Rewrite(Value):
    """What an earlier note said is not so any more: it is edited, and one that waits is not sent at all."""

    effect: Literal["rewrite"] = "rewrite"
    key: str
    text: Text


Effect = Card | Refresh | Note | Answer | Rewrite
