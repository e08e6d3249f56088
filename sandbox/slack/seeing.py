"""Looking at the workspace: messages, threads, ephemerals, views and calls, and waiting for them."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sandbox.slack.api import ApiCall
from sandbox.slack.files import find_file
from sandbox.slack.ids import Clock, made_id
from sandbox.slack.ledger import Ledger
from sandbox.slack.mrkdwn import Mentions, count_mentions
from sandbox.slack.reading import Message, plain_of
from sandbox.slack.records import Post, Room, User, View
from sandbox.slack.roster import Roster
from sandbox.slack.state import Change, State

Json = dict[str, Any]
T = TypeVar("T")


class Seeing:
    """The reading half of a workspace. People and channels are named ("kenji", "alerts") or given by id."""

    def __init__(self, clock: Clock, roster: Roster, ledger: Ledger) -> None:
        self.clock = clock
        self.state = State(clock, roster, ledger)
        self.calls: list[ApiCall] = []
        self.toasts: list[Change] = []
        self._stirred = asyncio.Event()
        self.state.listeners.append(self._stir)

    def _stir(self, _change: Change | None = None) -> None:
        stirred, self._stirred = self._stirred, asyncio.Event()
        stirred.set()

    def _told(self, call: ApiCall) -> None:
        self.calls.append(call)
        self._stir()

    def toast(self, person: str, text: str) -> None:
        """Show a person a passing notice, such as operation_timeout."""
        change = Change("toast", user=person, text=text)
        self.toasts.append(change)
        self.state.changed(change)

    # Names.

    @property
    def bot_user_id(self) -> str:
        """The bot's U-id."""
        return self.state.bot_user_id

    def user(self, person: str) -> User:
        """Return a member by handle or id; raise LookupError naming those there are."""
        found = self.state.user_names.get(person.removeprefix("@")) or self.state.users.get(person)
        if found is None:
            raise LookupError(f"no person {person!r}; there are {', '.join(self.state.user_names)}")
        return found

    def user_id(self, person: str) -> str:
        """Return a member's id."""
        return self.user(person).id

    def room(self, channel: str, person: str = "") -> Room:
        """Return a conversation by id or name; "@toban" or "dm" is ``person``'s with the bot.

        "@kenji" without a person is kenji's with the bot. Raise LookupError naming those there are.
        """
        if channel in {"dm", f"@{self.state.roster.bot_name}", self.bot_user_id} and person:
            return self.state.im(self.user_id(person))
        if channel.startswith("@"):
            return self.state.im(self.user_id(channel))
        found = self.state.rooms.get(channel) or self.state.room_names.get(channel.removeprefix("#"))
        if found is None:
            raise LookupError(f"no channel {channel!r}; there are {', '.join(self.state.room_names)}")
        return found

    def channel_id(self, channel: str) -> str:
        """Return a conversation's id."""
        return self.room(channel).id

    def name_of(self, key: str) -> str:
        """Return the name behind a U, C or S id, empty where there is none."""
        user, room = self.state.users.get(key), self.state.rooms.get(key)
        if user is not None or room is not None:
            return user.name if user is not None else room.name if room is not None else ""
        groups = enumerate(self.state.roster.groups)
        return next((group.handle for index, group in groups if made_id("S", 50 + index) == key), "")

    # Messages.

    def message(self, post: Post) -> Message:
        """Return a stored message as its reader sees it."""
        writer = self.state.users.get(post.user)
        return Message(
            channel=post.channel,
            ts=post.ts,
            user=post.user,
            author=writer.name if writer else post.user,
            text=post.text,
            blocks=tuple(post.blocks or ()),
            thread_ts=post.thread_ts or None,
            metadata=post.metadata,
            edited=post.edited or None,
            reply_count=len(self.state.replies(post)),
            reactions=tuple(post.reactions),
            ephemeral=bool(post.whisper_to),
            name_of=self.name_of,
        )

    def _messages(self, channel: str, line: list[str]) -> list[Message]:
        return [self.message(self.state.posts[channel, ts]) for ts in line]

    def messages(self, channel: str) -> list[Message]:
        """Return a channel's top-level messages (and broadcast replies), oldest first."""
        room = self.room(channel)
        return self._messages(room.id, self.state.timeline[room.id])

    def last(self, channel: str) -> Message:
        """Return a channel's newest top-level message, at no cost however many there are."""
        room = self.room(channel)
        line = self.state.timeline[room.id]
        if not line:
            raise LookupError(f"nothing was posted in {channel}")
        return self.message(self.state.posts[room.id, line[-1]])

    def count(self, channel: str) -> int:
        """Return how many top-level messages a channel holds."""
        return len(self.state.timeline[self.room(channel).id])

    def thread(self, channel: str, ts: str) -> list[Message]:
        """Return the replies to a message, oldest first, without the message itself."""
        room = self.room(channel)
        return self._messages(room.id, self.state.threads.get((room.id, ts), []))

    def find(self, channel: str, ts: str) -> Message:
        """Return one message, an ephemeral too; raise LookupError."""
        post = self.state.posts.get((self.room(channel).id, ts))
        if post is None:
            raise LookupError(f"no message {ts} in {channel}")
        return self.message(post)

    def dm(self, person: str) -> list[Message]:
        """Return the top-level direct messages between the bot and a person, oldest first."""
        room = self.state.ims.get(self.user_id(person))
        return self._messages(room.id, self.state.timeline[room.id]) if room is not None else []

    def ephemerals(self, person: str) -> list[Message]:
        """Return the messages that only this person sees, oldest first, of all channels."""
        return [self.message(post) for post in self.state.whispers[self.user_id(person)]]

    def pictures(self, message: Message) -> list[bytes]:
        """Return the pictures that a message shows, in blocks or as its files; a deleted one is left out."""
        post = self.state.posts.get((message.channel, message.ts))
        shown = [block["slack_file"] for block in message.blocks if "slack_file" in block]
        shown += [{"id": key} for key in (post.files if post is not None else [])]
        files = [find_file(self.state, one) for one in shown]
        return [self.state.contents[file.id] for file in files if file is not None]

    def mentions(self, text: str) -> Mentions:
        """Count what is live in a raw mrkdwn string."""
        return count_mentions(text)

    # Views.

    def open_views(self, person: str) -> list[View]:
        """Return a person's open modals, the one on top last."""
        return self.state.stack(self.user_id(person))

    def home(self, person: str) -> View | None:
        """Return a person's Home tab as last published."""
        return self.state.homes.get(self.user_id(person))

    def view_plain(self, view: View) -> str:
        """Return a view's visible text, the title first."""
        title = view.doc.get("title", {}).get("text", "")
        return "\n".join(filter(None, [title, plain_of("", view.doc["blocks"], self.name_of)]))

    # Waiting.

    async def wait_for(self, predicate: Callable[[], T], timeout: float = 5.0) -> T:  # noqa: ASYNC109
        """Return the predicate's first true value; raise TimeoutError after real ``timeout`` seconds.

        It is asked again after every change and every API call, never by polling.
        """
        try:
            async with asyncio.timeout(timeout):
                while not (value := predicate()):
                    await self._stirred.wait()
        except TimeoutError:
            latest = [f"{call.method} {call.outcome}" for call in self.calls[-5:]]
            raise TimeoutError(f"waited {timeout} s in vain; latest calls: {latest}") from None
        return value
