"""One API call as a method sees it: who asks, with which scopes, about which conversation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.slack.errors import ApiError
from sandbox.slack.params import Params
from sandbox.slack.records import Post, Room
from sandbox.slack.state import State
from sandbox.slack.triggers import Triggers

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What a method may use. ``scopes`` of None means that every scope was granted."""

    method: str
    params: Params
    state: State
    triggers: Triggers
    scopes: frozenset[str] | None
    site: str
    ticket: Callable[[], str]

    def has(self, scope: str) -> bool:
        """Say whether a scope was granted."""
        return self.scopes is None or scope in self.scopes

    def need(self, *scopes: str) -> None:
        """Raise missing_scope unless one of the scopes was granted."""
        if self.scopes is not None and not self.scopes.intersection(scopes):
            raise ApiError("missing_scope", needed=",".join(scopes), provided=",".join(sorted(self.scopes)))

    def room(self, key: str = "channel", *, member: bool = False, kind: str = "") -> Room:
        """Return the conversation of an argument.

        Raise channel_not_found for what does not exist or is private without the bot, not_in_channel with
        ``member`` where the bot is outside, missing_scope with ``kind`` ("read", "history") where the
        conversation's own scope was not granted.
        """
        name = self.params.needed(key)
        room = self.state.rooms.get(name)
        if room is None or (room.private and self.state.bot_user_id not in room.members):
            raise ApiError("channel_not_found")
        if kind:
            family = "im" if room.is_im else "groups" if room.private else "channels"
            self.need(f"{family}:{kind}")
        if member and self.state.bot_user_id not in room.members:
            raise ApiError("not_in_channel")
        return room

    def target(self) -> Room:
        """Return where a message goes: an id, a channel's name with or without #, or a person's id."""
        name = self.params.needed("channel")
        state = self.state
        user = state.users.get(name)
        if user is not None:
            if user.deleted or user.is_bot:
                raise ApiError("channel_not_found")
            return state.im(user.id)
        room = state.rooms.get(name) or state.room_names.get(name.removeprefix("#"))
        if room is None or (room.private and state.bot_user_id not in room.members):
            raise ApiError("channel_not_found")
        return room

    def post(self, room: Room, key: str = "ts") -> Post:
        """Return a message of a conversation; raise message_not_found."""
        post = self.state.posts.get((room.id, self.params.needed(key)))
        if post is None or post.whisper_to or post.tombstone:
            raise ApiError("message_not_found")
        return post
