"""People at work: they type, press, fill in forms, delete, archive and leave, and the bot hears of it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sandbox.slack import payloads
from sandbox.slack.answers import new_address, settle_command, settle_submission
from sandbox.slack.choosing import chosen_value, clicked, complaint, find_element
from sandbox.slack.delivery import Delivery
from sandbox.slack.docs import post_doc, view_doc
from sandbox.slack.outbound import Outbound
from sandbox.slack.records import File, Post, Room, User, View
from sandbox.slack.seeing import Seeing
from sandbox.slack.triggers import Triggers
from sandbox.slack.viewing import fields, first_values

Json = dict[str, Any]
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Acting(Seeing, ABC):
    """The half of a workspace that people move. Whoever left raises LookupError."""

    outbound: Outbound
    triggers: Triggers
    escape_commands: bool = True
    late_clicks: bool = False
    """Whether what somebody did just before they left still arrives."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address of the server, without a slash at the end."""

    def _actor(self, person: str) -> User:
        user = self.user(person)
        if user.deleted and not self.late_clicks:
            raise LookupError(f"{person} has left this workspace")
        return user

    def _wanted(self, text: str) -> str:
        """Return typed text as a client sends it: escaped, with live mentions of known names."""

        def mention(match: re.Match[str]) -> str:
            mark, name = match.group(1), match.group(2)
            user, room = self.state.user_names.get(name), self.state.room_names.get(name)
            if mark == "@" and user is not None:
                return f"<@{user.id}|{name}>"
            return f"<#{room.id}|{name}>" if mark == "#" and room is not None else match.group(0)

        escaped = text.translate(_ESCAPES)
        escaped = re.sub(r"(?<![\w|&])([@#])([a-z0-9][a-z0-9._-]*)", mention, escaped)
        return re.sub(r"(?<![<|\w])(https?://[^\s<>|]+)", r"<\1>", escaped)

    def _response_url(self, user: User, room: Room, post: Post | None = None) -> str:
        return f"{self.url}/response/{self.state.team_id}/{new_address(self.state, user, room, post).key}"

    def _shown(self, person: str, delivery: Delivery, what: str) -> Delivery:
        if delivery.error is not None:
            self.toast(self.user_id(person), f'{what} failed with the error "{delivery.error}"')
        return delivery

    # Writing.

    def share_file(self, person: str, name: str, content: bytes, channel: str = "") -> str:
        """Upload a file as a person, shared in a channel or with nobody; return its id. No event tells it."""
        user, state = self._actor(person), self.state
        file = File(state.new_id("F"), user.id, name, len(content), state.seconds(), complete=True)
        if channel:
            file.channels = [self.room(channel, person).id]
        state.keep_content(file, content)
        for room in file.channels:
            state.add_post(Post(room, state.stamps.next(), user.id, "", files=[file.id]))
        return file.id

    async def type(self, person: str, channel: str, text: str, thread_ts: str = "") -> Delivery:
        """Type into a conversation: a slash command where it starts with "/", else a message.

        The delivery of a message that no subscribed event reports has status 0 and no error.
        """
        user, room = self._actor(person), self.room(channel, person)
        if user.id not in room.members:
            raise LookupError(f"{person} is not in {channel}")
        if text.startswith("/"):
            return await self._command(user, room, text, thread_ts)
        if room.archived:
            raise LookupError(f"{channel} is archived")
        said = re.sub(r"<([@#]\w+)\|[^>]*>", r"<\1>", self._wanted(text))
        post = Post(room.id, self.state.stamps.next(), user.id, said, thread_ts=thread_ts)
        self.state.add_post(post)
        event = {**post_doc(self.state, post, metadata=False), "channel": room.id, "event_ts": post.ts}
        family = "im" if room.is_im else "group" if room.private else "channel"
        kind = "message.im" if room.is_im else f"message.{family}s"
        delivery = await self.outbound.event(kind, {**event, "channel_type": family})
        if f"<@{self.bot_user_id}>" in said and self.bot_user_id in room.members and not room.is_im:
            delivery = await self.outbound.event("app_mention", {**event, "type": "app_mention"}) or delivery
        found = delivery or Delivery("message")
        return _with_ts(found, post.ts)

    async def _command(self, user: User, room: Room, text: str, thread_ts: str) -> Delivery:
        command, _, rest = text.partition(" ")
        if command not in self.state.roster.commands or thread_ts:
            reason = "not_in_thread" if thread_ts else "unknown"
            refused = Delivery("slash_commands", error="invalid_command", reason=reason)
            return self._shown(user.id, refused, command)
        payload = payloads.slash_command(
            self.state,
            user,
            room,
            command,
            self._wanted(rest.strip()) if self.escape_commands else rest.strip(),
            self.triggers.issue(user.id),
            self._response_url(user, room),
        )
        delivery = await self.outbound.send("slash_commands", payload)
        return self._shown(user.id, settle_command(self.state, user, room, delivery), command)

    # Clicking.

    async def press(
        self,
        person: str,
        channel: str,
        ts: str,
        what: str,
        *,
        confirm: bool = True,
        option: Any = None,
        block_id: str = "",
        value: str | None = None,
        team: str | None = None,
    ) -> Delivery:
        """Press or choose in a message, named by visible text, action_id or a menu option's text.

        ``option`` is what is chosen in a select (text, value, person or channel). A confirm dialog is
        answered with ``confirm``; False sends nothing. ``block_id`` narrows the search. ``value`` is sent in
        place of the button's own, as from a card of an older version; ``team`` in place of the workspace's,
        as from a shared channel.
        Raise LookupError listing what there is.
        """
        user, room = self._actor(person), self.room(channel, person)
        post = self.state.posts.get((room.id, ts))
        if post is None or (post.whisper_to and post.whisper_to != user.id) or user.id not in room.members:
            raise LookupError(f"{person} sees no message {ts} in {channel}")
        block, element, found = find_element(post.blocks or [], what, user.id, block_id)
        if element.get("confirm") and not confirm:
            return Delivery("interactive", reason="not_confirmed")
        action, chosen = self._clicked(block, element, found if option is None else option)
        if value is not None:
            action["value"] = value
        values = first_values(post.blocks or [])
        if chosen:
            values.setdefault(block["block_id"], {})[element["action_id"]] = chosen
        payload = payloads.message_click(
            self.state,
            user,
            room,
            post,
            action,
            values,
            self.triggers.issue(user.id),
            self._response_url(user, room, post),
        )
        if team is not None:
            payload["user"]["team_id"] = team
        return self._shown(user.id, await self.outbound.send("interactive", payload), "The button")

    async def press_view(
        self,
        person: str,
        view_id: str,
        what: str,
        *,
        confirm: bool = True,
        option: Any = None,
        block_id: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> Delivery:
        """Press in the modal on top or in the Home tab; ``values`` are what stands in the fields by then."""
        user, view = self._view(person, view_id)
        self._fill(view, values or {})
        block, element, found = find_element(view.doc["blocks"], what, user.id, block_id)
        if element.get("confirm") and not confirm:
            return Delivery("interactive", reason="not_confirmed")
        action, value = self._clicked(block, element, found if option is None else option)
        if value:
            view.values.setdefault(block["block_id"], {})[element["action_id"]] = value
            self.state.save_view(view)
        trigger = self.triggers.issue(user.id, view.id if view.doc["type"] == "modal" else "")
        payload = payloads.view_click(self.state, user, view, action, trigger)
        return self._shown(user.id, await self.outbound.send("interactive", payload), "The button")

    def _clicked(self, block: Json, element: Json, given: Any) -> tuple[Json, Json]:
        stamp = self.state.stamps.next()
        if element["type"] == "overflow":
            if not isinstance(given, dict):
                block, element, given = find_element([block], str(given), "", block["block_id"])
            chosen = {key: given[key] for key in ("text", "value", "url") if given and key in given}
            return clicked(block, element, {"selected_option": chosen}, stamp), {}
        if element["type"] in {"button", "workflow_button", "icon_button", "feedback_buttons"}:
            return clicked(block, element, {}, stamp), {}
        value = self._value(element, given)
        return clicked(block, element, value, stamp), value

    def _value(self, element: Json, given: Any) -> Json:
        if isinstance(given, dict):
            given = given.get("value", given)
        return chosen_value(element, given, self.user_id, self.channel_id)

    # Forms.

    def _view(self, person: str, view_id: str) -> tuple[User, View]:
        user = self._actor(person)
        home, stack = self.state.homes.get(user.id), self.state.stack(user.id)
        if home is not None and home.id == view_id:
            return user, home
        if not stack or stack[-1].id != view_id:
            there = ", ".join(f"{one.id} {one.doc['title']['text']!r}" for one in stack)
            raise LookupError(f"{person} does not have view {view_id} on top; open: {there or 'none'}")
        return user, stack[-1]

    async def submit(self, person: str, view_id: str, values: Mapping[str, Any] | None = None) -> Delivery:
        """Fill in and submit the modal on top; ``values`` by block_id, action_id or visible label.

        Fields that Slack's own client refuses (required, too short, …) come back in ``errors`` unsent.
        """
        user, view = self._view(person, view_id)
        self._fill(view, values or {})
        complaints = {
            block["block_id"]: text
            for block, element in fields(view.doc["blocks"])
            if block["type"] == "input"
            and (text := complaint(block, element, view.values[block["block_id"]][element["action_id"]]))
        }
        view.errors = complaints
        self.state.save_view(view)
        if complaints:
            return Delivery("interactive", reason="refused by the client", errors=complaints)
        payload = payloads.view_submission(self.state, user, view, self.triggers.issue(user.id, view.id))
        delivery = settle_submission(self.state, user, view, await self.outbound.send("interactive", payload))
        return self._shown(user.id, delivery, "The form")

    def _fill(self, view: View, values: Mapping[str, Any]) -> None:
        places = fields(view.doc["blocks"])
        for name, given in values.items():
            for block, element in places:
                label = block.get("label", {}).get("text")
                if name in {block["block_id"], element["action_id"], label}:
                    view.values[block["block_id"]][element["action_id"]] = self._value(element, given)
                    break
            else:
                known = [f"{b.get('label', {}).get('text')!r} ({b['block_id']})" for b, _ in places]
                raise LookupError(f"no field {name!r}; there are: {', '.join(known)}")

    async def close_view(self, person: str, view_id: str) -> Delivery:
        """Close the modal on top; the bot hears of it only where the view asked with notify_on_close."""
        user, view = self._view(person, view_id)
        cleared = bool(view.doc.get("clear_on_close"))
        self.state.drop_views(user.id, list(self.state.stacks[user.id]) if cleared else [view.id])
        if not view.doc.get("notify_on_close"):
            return Delivery("interactive", reason="not asked for")
        return await self.outbound.send(
            "interactive", payloads.view_closed(self.state, user, view, cleared=cleared)
        )

    async def suggest(self, person: str, view_id: str, action_id: str, query: str) -> list[str]:
        """Type into an external select and return the texts of the options that the bot offers."""
        user, view = self._view(person, view_id)
        block, element, _ = find_element(view.doc["blocks"], action_id, user.id)
        payload = payloads.block_suggestion(self.state, user, view, block, element, query)
        answer = (await self.outbound.send("interactive", payload)).json() or {}
        groups = answer.get("option_groups", [{"options": answer.get("options", [])}])
        element["options"] = [option for group in groups for option in group["options"]]
        return [option["text"]["text"] for option in element["options"]]

    # Shortcuts and the Home tab.

    async def shortcut(self, person: str, callback_id: str, channel: str = "", ts: str = "") -> Delivery:
        """Use a shortcut: on a message where channel and ts are given, else the global one."""
        user = self._actor(person)
        trigger = self.triggers.issue(user.id)
        if ts:
            room = self.room(channel, person)
            post = self.state.posts.get((room.id, ts))
            if post is None or post.whisper_to:
                raise LookupError(f"no message {ts} in {channel}")
            answer_to = self._response_url(user, room, post)
            payload = payloads.message_shortcut(self.state, user, room, post, callback_id, trigger, answer_to)
        else:
            payload = payloads.global_shortcut(self.state, user, callback_id, trigger)
        return self._shown(user.id, await self.outbound.send("interactive", payload), "The shortcut")

    async def open_home(self, person: str) -> Delivery:
        """Open the app's Home tab; the bot hears app_home_opened."""
        user = self._actor(person)
        event: Json = {
            "type": "app_home_opened",
            "user": user.id,
            "channel": self.state.im(user.id).id,
            "tab": "home",
            "event_ts": self.state.stamps.next(),
        }
        view = self.state.homes.get(user.id)
        if view is not None:
            event["view"] = view_doc(self.state, view)
        return await self.outbound.event("app_home_opened", event) or Delivery("events_api")

    # What else people do.

    def delete_message(self, channel: str, ts: str) -> None:
        """Delete any message, as an administrator may."""
        room = self.room(channel)
        post = self.state.posts.get((room.id, ts))
        if post is None:
            raise LookupError(f"no message {ts} in {channel}")
        self.state.erase(post)
        stamp = self.state.stamps.next()
        self._event(
            "message.channels",
            type="message",
            subtype="message_deleted",
            channel=room.id,
            deleted_ts=ts,
            event_ts=stamp,
            ts=stamp,
        )

    def archive(self, channel: str) -> None:
        """Archive a channel."""
        room = self.room(channel)
        room.archived = True
        self.state.save_room(room)
        self._event("channel_archive", type="channel_archive", channel=room.id, user=room.creator)

    def unarchive(self, channel: str) -> None:
        """Bring an archived channel back."""
        room = self.room(channel)
        room.archived = False
        self.state.save_room(room)
        self._event("channel_unarchive", type="channel_unarchive", channel=room.id, user=room.creator)

    def lock_thread(self, channel: str, ts: str, code: str = "restricted_action_thread_locked") -> None:
        """Let a message take no more replies: locked by admins, or of a type that takes none."""
        post = self.state.posts[self.room(channel).id, ts]
        post.no_replies = code
        self.state.save_post(post)

    def threadless(self, channel: str, on: bool = True) -> None:
        """Let a channel take messages, but no replies at all."""
        room = self.room(channel)
        room.threadless = on
        self.state.save_room(room)

    def kick_bot(self, channel: str) -> None:
        """Remove the bot from a channel."""
        room = self.room(channel)
        if self.bot_user_id in room.members:
            room.members.remove(self.bot_user_id)
            self.state.save_room(room)
            self._event("channel_left", type="channel_left", channel=room.id, actor_id=room.creator)

    def invite_bot(self, channel: str) -> None:
        """Add the bot to a channel."""
        room = self.room(channel)
        if self.bot_user_id not in room.members:
            room.members.append(self.bot_user_id)
            self.state.save_room(room)
            self._event(
                "member_joined_channel", type="member_joined_channel", channel=room.id, user=self.bot_user_id
            )

    def deactivate(self, person: str) -> None:
        """Deactivate a member's account."""
        user = self.user(person)
        user.deleted, user.updated = True, self.state.seconds()
        self.state.save_user(user)
        self._event("user_change", type="user_change", user={"id": user.id, "deleted": True})

    def make_guest(self, person: str, *, single: bool = False) -> None:
        """Restrict a member to a few channels, as guests are, or to a single one."""
        user = self.user(person)
        user.guest, user.single, user.updated = True, single, self.state.seconds()
        self.state.save_user(user)

    def add_account(self, name: str, *, channels: Iterable[str] = (), **kind: Any) -> User:
        """Add an account of any kind (see ``User``), in the channels named, else in every public one.

        Members by invitation are full ones; ``email`` is only theirs where it is given.
        """
        known: dict[str, Any] = {"email": "", "locale": "en-US", "tz": "Asia/Tokyo"} | kind
        user = User(self.state.new_id("U"), name, name.title(), updated=self.state.seconds(), **known)
        self.state.save_user(user)
        wanted = set(channels)
        for room in list(self.state.rooms.values()):
            if room.name in wanted if wanted else not (room.private or room.is_im):
                room.members.append(user.id)
                self.state.save_room(room)
        return user

    def join_grid(self, enterprise: str, *, org_install: bool = False) -> None:
        """Make this a workspace of an organisation; ``org_install``: the app is installed in all of it."""
        self.state.enterprise_id, self.state.org_install = enterprise, org_install

    async def replay(self, delivery: Delivery) -> Delivery:
        """Send exactly the same bytes and headers again, as a network that repeats itself would."""
        return await self.outbound.again(delivery)

    def _event(self, subscription: str, **event: Any) -> None:
        event.setdefault("event_ts", self.state.stamps.next())
        if subscription in self.outbound.subscriptions and (
            self.outbound.http.url or self.outbound.sockets.count
        ):
            self.outbound.event_later(subscription, event)


def _with_ts(delivery: Delivery, ts: str) -> Delivery:
    return replace(delivery, ts=ts)
