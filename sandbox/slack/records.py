"""What the workspace remembers: users, rooms, posts, files, views and response addresses, one row each."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(slots=True)
class User:
    """A member, human or bot. Times are epoch seconds.

    ``team`` and ``enterprise`` are those of the account where they are not the workspace's own: a Slack
    Connect account, or one of another workspace of the organisation. ``stranger``: of a foreign workspace
    and in none of the channels that are shared with us. ``single``: a guest of one channel. ``unknown``: in
    payloads only, as an account that the token cannot see.
    """

    id: str
    name: str
    real_name: str
    email: str
    locale: str
    tz: str
    title: str = ""
    is_bot: bool = False
    deleted: bool = False
    updated: int = 0
    guest: bool = False
    single: bool = False
    team: str = ""
    enterprise: str = ""
    stranger: bool = False
    unknown: bool = False
    unconfirmed: bool = False


@dataclass(slots=True)
class Room:
    """A channel, or the direct messages of one person with the bot (``im_with`` is the person's id)."""

    id: str
    name: str
    created: int
    creator: str
    members: list[str] = field(default_factory=list)
    private: bool = False
    general: bool = False
    archived: bool = False
    topic: str = ""
    topic_by: str = ""
    topic_at: int = 0
    im_with: str = ""
    pins: list[str] = field(default_factory=list)
    threadless: bool = False

    @property
    def is_im(self) -> bool:
        """True for direct messages."""
        return bool(self.im_with)


@dataclass(slots=True)
class Post:
    """A message. ``whisper_to`` is the only reader of an ephemeral one; ``edited`` is the ts of an edit.

    ``no_replies`` is the code with which replies are refused, empty where they are taken.
    """

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Json] | None = None
    attachments: list[Json] | None = None
    thread_ts: str = ""
    broadcast: bool = False
    metadata: Json | None = None
    edited: str = ""
    changed: str = ""
    by_app: bool = False
    tombstone: bool = False
    whisper_to: str = ""
    reactions: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    no_replies: str = ""

    @property
    def is_reply(self) -> bool:
        """True for a message inside a thread that is not the thread's first."""
        return bool(self.thread_ts) and self.thread_ts != self.ts


@dataclass(slots=True)
class File:
    """An uploaded file; ``ticket`` is its upload address as long as no bytes came, ``waits`` how many
    looks it will still be unready for, ``channels`` where it was shared.
    """

    id: str
    user: str
    name: str
    length: int
    created: int
    ticket: str = ""
    title: str = ""
    alt_txt: str = ""
    complete: bool = False
    deleted: bool = False
    waits: int = 0
    channels: list[str] = field(default_factory=list)


@dataclass(slots=True)
class View:
    """A modal or a Home tab as one person sees it; ``doc`` is what the app sent with ids filled in."""

    id: str
    user: str
    doc: Json
    hash: str
    root: str
    previous: str = ""
    values: dict[str, dict[str, Json]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ReturnAddress:
    """A response_url: where an app may answer an interaction, five times within thirty minutes."""

    key: str
    user: str
    channel: str
    born: float
    message_ts: str = ""
    ephemeral: bool = False
    thread_ts: str = ""
    uses: int = 0
