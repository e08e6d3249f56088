"""The workspace's memory and the only place that changes it: indexes in memory, rows in the ledger."""

from base64 import b64decode, b64encode
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

from sandbox.slack.ids import Clock, Stamps, made_id, micros_of
from sandbox.slack.ledger import Ledger
from sandbox.slack.records import File, Post, ReturnAddress, Room, User, View
from sandbox.slack.roster import Roster

MAX_STACK = 3


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a reader may see has changed: a post, an ephemeral, a view, a room, a user, a toast."""

    kind: str
    channel: str = ""
    ts: str = ""
    user: str = ""
    text: str = ""


class State:
    """Everything there is. Lookups are by key; timelines are sorted lists of ts."""

    def __init__(self, clock: Clock, roster: Roster, ledger: Ledger) -> None:
        self.clock = clock
        self.roster = roster
        self.ledger = ledger
        self.stamps = Stamps(clock)
        self.users: dict[str, User] = {}
        self.user_names: dict[str, User] = {}
        self.user_mails: dict[str, User] = {}
        self.rooms: dict[str, Room] = {}
        self.room_names: dict[str, Room] = {}
        self.ims: dict[str, Room] = {}
        self.posts: dict[tuple[str, str], Post] = {}
        self.timeline: dict[str, list[str]] = defaultdict(list)
        self.threads: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.whispers: dict[str, list[Post]] = defaultdict(list)
        self.views: dict[str, View] = {}
        self.stacks: dict[str, list[str]] = defaultdict(list)
        self.homes: dict[str, View] = {}
        self.addresses: dict[str, ReturnAddress] = {}
        self.files: dict[str, File] = {}
        self.contents: dict[str, bytes] = {}
        self.file_delay = 0
        self.lookup_is_loose = False
        self.site = ""
        self.listeners: list[Callable[[Change], None]] = []
        self._counter = 0
        self.team_id = made_id("T", 1)
        self.enterprise_id = ""
        self.org_install = False
        self.app_id = made_id("A", 2)
        self.bot_id = made_id("B", 3)
        self.bot_user_id = made_id("U", 4)
        self._load()
        if not self.users:
            self._seed()

    # Time and names.

    def seconds(self) -> int:
        """Return the world's time as epoch seconds."""
        return int(self.clock.now().astimezone(UTC).timestamp())

    def new_id(self, prefix: str) -> str:
        """Return an id that was never given before, across restarts too."""
        self._counter += 1
        self.ledger.put("meta", "counter", self._counter)
        return made_id(prefix, 100 + self._counter)

    def changed(self, change: Change) -> None:
        """Tell everyone who watches."""
        for listener in tuple(self.listeners):
            listener(change)

    # Users and rooms.

    def save_user(self, user: User) -> None:
        """Store a member under id, name and email."""
        self.users[user.id] = self.user_names[user.name] = user
        if user.email and not user.team:
            self.user_mails[user.email.lower()] = user
        self.ledger.put("user", user.id, user)
        self.changed(Change("user", user=user.id))

    def save_room(self, room: Room) -> None:
        """Store a room under id and name."""
        self._index_room(room)
        self.ledger.put("room", room.id, room)
        self.changed(Change("room", channel=room.id))

    def im(self, user: str) -> Room:
        """Return the direct messages of a person with the bot, made where they did not exist."""
        if user not in self.ims:
            members = [user, self.bot_user_id]
            self.save_room(
                Room(
                    self.new_id("D"),
                    "",
                    self.seconds(),
                    self.bot_user_id,
                    members,
                    private=True,
                    im_with=user,
                )
            )
        return self.ims[user]

    # Posts.

    def add_post(self, post: Post) -> None:
        """Store a new message and show it to its readers."""
        self._index_post(post)
        self.ledger.put("post", f"{post.channel} {post.ts}", post)
        self._told(post)

    def save_post(self, post: Post) -> None:
        """Store a changed message."""
        post.changed = self.stamps.next()
        self.ledger.put("post", f"{post.channel} {post.ts}", post)
        self._told(post)

    def remove_post(self, post: Post) -> None:
        """Forget a message; its ts is never given again."""
        self.ledger.drop("post", f"{post.channel} {post.ts}")
        self.ledger.put("meta", "last", self.stamps.last)
        if post.whisper_to:
            self.whispers[post.whisper_to].remove(post)
            self.posts.pop((post.channel, post.ts), None)
            self.changed(Change("ephemeral", post.channel, post.ts, post.whisper_to))
            return
        self.posts.pop((post.channel, post.ts), None)
        for line in (self.timeline[post.channel], self.threads[post.channel, post.thread_ts]):
            at = bisect_left(line, post.ts)
            if at < len(line) and line[at] == post.ts:
                del line[at]
        self.changed(Change("deleted", post.channel, post.ts, text=post.thread_ts))

    def erase(self, post: Post) -> None:
        """Delete a message as Slack does: one with replies leaves a tombstone in its place."""
        if not self.replies(post):
            self.remove_post(post)
            return
        post.tombstone, post.text, post.blocks, post.attachments = (
            True,
            "This message was deleted.",
            None,
            None,
        )
        post.metadata, post.reactions, post.files = None, {}, []
        self.save_post(post)

    def replies(self, post: Post) -> list[str]:
        """Return the ts of a message's replies, oldest first."""
        return self.threads.get((post.channel, post.ts), [])

    # Files.

    def save_file(self, file: File) -> None:
        """Store what is known of a file."""
        self.files[file.id] = file
        self.ledger.put("file", file.id, file)

    def keep_content(self, file: File, content: bytes) -> None:
        """Store a file's bytes; its upload address is used up."""
        self.contents[file.id] = content
        self.ledger.put("content", file.id, b64encode(content).decode())
        file.ticket = ""
        self.save_file(file)

    def drop_file(self, file: File) -> None:
        """Forget a file's bytes; that it was there is remembered."""
        file.deleted = True
        self.contents.pop(file.id, None)
        self.ledger.drop("content", file.id)
        self.save_file(file)

    # Views and return addresses.

    def stack(self, user: str) -> list[View]:
        """Return a person's open modals, the one on top last."""
        return [self.views[key] for key in self.stacks[user]]

    def save_view(self, view: View) -> None:
        """Store a modal or Home tab and show it to its person."""
        self.views[view.id] = view
        if view.doc["type"] == "home":
            self.homes[view.user] = view
        elif view.id not in self.stacks[view.user]:
            self.stacks[view.user].append(view.id)
        self.ledger.put("view", view.id, view)
        self.ledger.put("stack", view.user, self.stacks[view.user])
        self.changed(Change("view", user=view.user))

    def drop_views(self, user: str, keys: list[str]) -> None:
        """Close modals."""
        for key in keys:
            self.stacks[user].remove(key)
            del self.views[key]
            self.ledger.drop("view", key)
        self.ledger.put("stack", user, self.stacks[user])
        self.changed(Change("view", user=user))

    def save_address(self, address: ReturnAddress) -> None:
        """Store a response_url and how often it was used."""
        self.addresses[address.key] = address
        self.ledger.put("address", address.key, address)

    # Beginning and waking up.

    def _told(self, post: Post) -> None:
        kind = "ephemeral" if post.whisper_to else "post"
        self.changed(Change(kind, post.channel, post.ts, post.whisper_to or post.user, post.thread_ts))

    def _index_room(self, room: Room) -> None:
        self.rooms[room.id] = room
        if room.is_im:
            self.ims[room.im_with] = room
        else:
            self.room_names[room.name] = room

    def _index_post(self, post: Post) -> None:
        self.posts[post.channel, post.ts] = post
        if post.whisper_to:
            self.whispers[post.whisper_to].append(post)
            return
        if post.is_reply:
            insort(self.threads[post.channel, post.thread_ts], post.ts)
        if not post.is_reply or post.broadcast:
            insort(self.timeline[post.channel], post.ts)

    def _load(self) -> None:
        meta = dict(self.ledger.load("meta"))
        self._counter = meta.get("counter", 0)
        self.stamps.last = meta.get("last", 0)
        for _, doc in self.ledger.load("user"):
            user = User(**doc)
            self.users[user.id] = self.user_names[user.name] = user
            if user.email and not user.team:
                self.user_mails[user.email.lower()] = user
        for _, doc in self.ledger.load("room"):
            self._index_room(Room(**doc))
        for _, doc in self.ledger.load("post"):
            post = Post(**doc)
            self._index_post(post)
            self.stamps.last = max(self.stamps.last, micros_of(post.ts), micros_of(post.changed or "0"))
        for key, doc in self.ledger.load("file"):
            self.files[key] = File(**doc)
        for key, doc in self.ledger.load("content"):
            self.contents[key] = b64decode(doc)
        for key, doc in self.ledger.load("view"):
            self.views[key] = View(**doc)
            if self.views[key].doc["type"] == "home":
                self.homes[self.views[key].user] = self.views[key]
        for key, doc in self.ledger.load("stack"):
            self.stacks[key] = [view for view in doc if view in self.views]
        for key, doc in self.ledger.load("address"):
            self.addresses[key] = ReturnAddress(**doc)

    def _seed(self) -> None:
        now, roster = self.seconds(), self.roster
        self.save_user(
            User(
                self.bot_user_id,
                roster.bot_name,
                roster.bot_real_name,
                "",
                "en-US",
                "America/Los_Angeles",
                is_bot=True,
                updated=now,
            )
        )
        for person in roster.people:
            self.save_user(
                User(
                    self.new_id("U"),
                    person.name,
                    person.real_name,
                    person.email,
                    person.locale,
                    person.tz,
                    person.title,
                    updated=now,
                )
            )
        everyone = [person.name for person in roster.people]
        for channel in roster.channels:
            names = everyone if channel.members is None else channel.members
            members = [self.user_names[name].id for name in names]
            room = Room(
                self.new_id("C"), channel.name, now, members[0] if members else self.bot_user_id, members
            )
            room.private, room.topic, room.general = channel.private, channel.topic, channel.name == "general"
            if channel.bot:
                members.append(self.bot_user_id)
            self.save_room(room)
