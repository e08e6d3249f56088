"""The desk at which every Slack interaction arrives: commit first, acknowledge after, always answer."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from domain.approvals import Account
from domain.effects import Subject, Text
from domain.errors import Outage, Refused, Undeliverable
from domain.inbox import NewDelivery
from domain.outbox import Rendered
from handlers.requests import KIND, Request, key_of
from notify.slack.blocks import section
from notify.slack.chat import SlackChat
from notify.slack.client import Api
from notify.texts import Voice, voice
from operations import inbox
from operations.recurring import Work
from operations.world import World

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

log = structlog.get_logger(__name__)

COMMIT_WITHIN = 2.5
"""Seconds that a commit may take before the person is told that it did not happen in time."""

MEET_WITHIN = 0.5
"""Seconds that Slack may take to say which language somebody reads; only asked once."""

KNOW_WITHIN = 1.5
"""Seconds that Slack may take to say who somebody is, where the answer decides."""

OPEN_WITHIN = 2.0
"""Seconds for opening a form: its trigger lives for three."""

Body = dict[str, Any]


class NotKept(Exception):
    """The request could not be committed in time. The person has been told where that was possible."""


class Desk:
    """What a listener needs: the world, Slack for forms and answers, and the running tasks."""

    def __init__(
        self, world: World, chat: SlackChat, api: Api, works: Callable[[], Sequence[Work]] = tuple
    ) -> None:
        self.world = world
        self.chat = chat
        self.api = api
        self.works = works
        self._tasks: set[asyncio.Task[None]] = set()

    async def meet(self, body: Body) -> None:
        """Learn the language of a person whom we do not know yet, if Slack answers quickly."""
        try:
            async with asyncio.timeout(MEET_WITHIN):
                await self.chat.directory.meet(_user_id(body))
        except TimeoutError:
            log.info("slack.locale_unknown", error="no answer in time")

    def voice(self, body: Body) -> Voice:
        """The language of the person who asks, as far as it is known."""
        return voice(self.chat.directory.known_locale(_user_id(body)))

    def request(self, body: Body, act: str, **fields: Any) -> Request:
        """The request of an interaction. Raises ``Refused`` for a stranger from another workspace."""
        user_id = _user_id(body)
        team = _team_id(body)
        ours = self.chat.directory.team_id
        if ours is not None and team and team != ours:
            raise Refused("refused.stranger")
        person = self.chat.directory.person_of(user_id)
        channel = body.get("channel_id") or (body.get("channel") or {}).get("id") or ""
        return Request(
            act=act,
            user_id=user_id,
            user_name=person.name if person else _user_name(body),
            team_id=team,
            channel_id=channel,
            response_url=body.get("response_url"),
            **fields,
        )

    async def account(self, body: Body) -> Account:
        """Who asks, as Slack knows them at this very moment; never from memory. What fails is not known."""
        user_id, team = _user_id(body), _team_id(body)
        ours = self.chat.directory.team_id
        try:
            async with asyncio.timeout(KNOW_WITHIN):
                found = await self.chat.directory.look_up(user_id)
        except (TimeoutError, Outage, Undeliverable) as error:
            log.warning("slack.account_unknown", error=repr(error))
            return Account(id=user_id, known=False)
        person = self.chat.directory.person_of(user_id)
        return Account(
            id=user_id,
            person=person.name if person else None,
            known=ours is not None,
            ours=ours is None or ((not team or team == ours) and not found.get("is_stranger")),
            deleted=bool(found.get("deleted")),
            guest=bool(found.get("is_restricted") or found.get("is_ultra_restricted")),
            bot=bool(found.get("is_bot")),
        )

    async def keep(self, body: Body, request: Request) -> None:
        """Commit a request. When this returns nothing can lose it; raises ``NotKept``."""
        delivery = NewDelivery(
            kind=KIND,
            key=key_of(body),
            body=request.model_dump_json().encode(),
            received_at=self.world.clock.now(),
        )
        try:
            async with asyncio.timeout(COMMIT_WITHIN):
                await inbox.accept(self.world, delivery)
        except (Outage, TimeoutError) as error:
            log.warning("slack.not_kept", act=request.act, error=repr(error))
            raise NotKept from error

    async def answer(self, body: Body, text: Text) -> None:
        """Tell the person at once, seen by nobody else; for refusals that need no record."""
        said = self.voice(body).say(text)
        await self.tell(body, Rendered(text=said, blocks=[section(said)]))

    async def tell(self, body: Body, shown: Rendered) -> None:
        """The same for something longer."""
        url = body.get("response_url")
        message = {"text": shown.text, "blocks": shown.blocks}
        try:
            if url is not None:
                await self.api.respond(
                    url, {"response_type": "ephemeral", "replace_original": False, **message}
                )
            else:
                channel = (body.get("channel") or {}).get("id") or _user_id(body)
                await self.api.call(
                    self.api.web.chat_postEphemeral, channel=channel, user=_user_id(body), **message
                )
        except (Outage, Undeliverable) as error:
            log.warning("slack.answer_failed", error=str(error))

    async def open_form(self, body: Body, view: dict[str, Any]) -> None:
        """Open a form while the trigger lives. Raises ``Outage`` and ``Undeliverable``."""
        try:
            async with asyncio.timeout(OPEN_WITHIN):
                await self.api.call(self.api.web.views_open, trigger_id=body["trigger_id"], view=view)
        except TimeoutError as error:
            raise Outage("no answer from Slack in time") from error

    def later(self, work: Awaitable[None]) -> None:
        """Go on after the acknowledgement, tracked so that a shutdown waits for it."""

        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Wait for what is still running, at most so long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    def button(self, handle: Callable[["AsyncAck", Body], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Wrap a button's listener: it is acknowledged only when its effect is certain to come."""

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                await self.meet(body)
                await handle(ack, body)
            except Refused as refusal:
                await ack()
                self.later(self.answer(body, Text(key=refusal.key, params=refusal.params)))
            except NotKept:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.4):
                        await self.answer(body, Text(key="refused.not_kept"))
                raise
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("slack.listener_failed", reference=reference)
                await ack()
                self.later(self.answer(body, Text(key="refused.failed", params={"reference": reference})))

        return listener

    def command(
        self, handle: Callable[["AsyncAck", Body], Awaitable[None]]
    ) -> Callable[..., Awaitable[None]]:
        """Wrap a command's listener: whatever goes wrong is the command's answer."""

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                await self.meet(body)
                await handle(ack, body)
            except Refused as refusal:
                await ack(text=self.voice(body)(refusal.key, **refusal.params))
            except NotKept:
                await ack(text=self.voice(body)("refused.not_kept"))
            except Outage as outage:
                log.warning("slack.command_failed", error=outage.reason)
                await ack(text=self.voice(body)("refused.not_kept"))
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("slack.listener_failed", reference=reference)
                await ack(text=self.voice(body)("refused.failed", reference=reference))

        return listener

    def menu(self, choices: Callable[[Body], Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[None]]:
        """Wrap a menu's listener: where its choices cannot be found out it offers none."""

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                self.request(body, "menu")
                found = await choices(body)
            except Refused:
                found = {"options": []}
            except Exception:
                log.exception("slack.listener_failed")
                found = {"options": []}
            await ack(**found)

        return listener

    def form(
        self, handle: Callable[["AsyncAck", Body], Awaitable[None]], block_id: str
    ) -> Callable[..., Awaitable[None]]:
        """Wrap a form's listener: a failure stands beside ``block_id`` and what was typed stays."""

        async def listener(ack: "AsyncAck", body: Body) -> None:
            await self.meet(body)
            voice_ = self.voice(body)
            try:
                await handle(ack, body)
            except Refused as refusal:
                said = voice_.plain(refusal.key, **refusal.params)
                await ack(response_action="errors", errors={block_id: said[:2000]})
            except NotKept:
                await ack(response_action="errors", errors={block_id: voice_.plain("form.not_kept")})
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("slack.listener_failed", reference=reference)
                said = voice_.plain("refused.failed", reference=reference)
                await ack(response_action="errors", errors={block_id: said})

        return listener


def register(app: "AsyncApp", desk: Desk) -> None:
    """What nobody else took: told, instead of Bolt's 404."""

    async def unknown_action(ack: "AsyncAck", body: Body) -> None:
        log.warning("slack.unknown_action", action=(body.get("actions") or [{}])[0].get("action_id"))
        raise Refused("refused.unknown_action")

    async def unknown_command(ack: "AsyncAck", body: Body) -> None:
        await ack(text=desk.voice(body)("help.toban"))

    async def unknown_form(ack: "AsyncAck", body: Body) -> None:
        log.warning("slack.unknown_form", callback=(body.get("view") or {}).get("callback_id"))
        await ack()

    async def events(body: Body) -> None:
        log.debug("slack.event", type=(body.get("event") or {}).get("type"))

    anything = re.compile(".*")
    app.command(anything)(desk.command(unknown_command))
    app.action(anything)(desk.button(unknown_action))
    app.view(anything)(unknown_form)
    app.event(anything)(events)


_NAMED = re.compile(r"<[@#!][^|>]*\|([^>]*)>")
_BARE = re.compile(r"<([@#!][^>]*)>")
_LINK = re.compile(r"<(https?://[^|>]*)(?:\|[^>]*)?>")


def typed(text: str) -> str:
    """What a person typed, as they typed it: Slack escapes a command's text and names the mentioned."""
    named = _NAMED.sub(lambda found: f"@{found[1]}", text)
    linked = _LINK.sub(lambda found: found[1], _BARE.sub(lambda found: found[1], named))
    return linked.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def subject_of(body: Body) -> Subject:
    """What a pressed button is about. Refused for a value that is not ours."""
    try:
        return Subject.parse(str(body["actions"][0].get("value") or ""))
    except ValueError:
        raise Refused("refused.unknown_action") from None


def _user_id(body: Body) -> str:
    return str(body.get("user_id") or (body.get("user") or {}).get("id") or "")


def _user_name(body: Body) -> str:
    user = body.get("user") or {}
    return str(body.get("user_name") or user.get("username") or user.get("name") or _user_id(body))


def _team_id(body: Body) -> str:
    user = body.get("user")
    named = user.get("team_id") if isinstance(user, dict) else None
    return str(named or body.get("team_id") or (body.get("team") or {}).get("id") or "")
