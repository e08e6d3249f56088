"""The desk at which every Slack interaction arrives: commit first, acknowledge after, always answer."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from domain import authority
from domain.approvals import Account
from domain.authority import Act
from domain.effects import TOBAN, Subject, Text
from domain.errors import Outage, Refused, Undeliverable
from domain.inbox import FIRST_TURN, NewDelivery
from domain.outbox import Rendered
from domain.text import imitates
from handlers.acts import ACTIONS, KEPT, UNKNOWN
from handlers.commands import ANOTHER, Typed, read
from handlers.requests import KIND, Request, key_of
from notify.slack.blocks import section
from notify.slack.chat import SlackChat
from notify.slack.client import Api
from notify.slack.membership import Claim, Membership
from notify.texts import Voice, voice
from operations import denied, inbox
from operations.recurring import Work
from operations.world import World

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

log = structlog.get_logger(__name__)

ANSWER_WITHIN = 2.6
"""Seconds after a click at which its commit is given up and the person told: Slack waits for three."""

COMMIT_AT_LEAST = 0.4
"""Seconds that a commit gets, however long it took to learn who clicked."""

MEET_WITHIN = 0.5
"""Seconds that Slack may take to say which language somebody reads; only asked once."""

OPEN_WITHIN = 2.0
"""Seconds for opening a form: its trigger lives for three."""

_ARRIVED: ContextVar[float] = ContextVar("arrived")
"""When the interaction that is handled came in, in the event loop's seconds."""

_OURS = (TOBAN.name, "当番")
"""What we are called."""

Body = dict[str, Any]
Handle = Callable[["AsyncAck", Body, Account], Awaitable[None]]
HandleTyped = Callable[["AsyncAck", Body, Account, Typed], Awaitable[None]]


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
        self.membership = Membership(api, chat.directory, self._remember)
        self._tasks: set[asyncio.Task[None]] = set()

    def _remember(self, account: str) -> None:
        """Beside the click: whoever clicked need not wait for it."""
        self.later(denied.remember(self.world, account, partial(self.membership.against, account)))

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

    def request(self, body: Body, act: str, account: Account, **fields: Any) -> Request:
        """The request of an interaction, with who asked for it as Slack knew them at that moment."""
        channel = body.get("channel_id") or (body.get("channel") or {}).get("id") or ""
        return Request(
            act=act,
            user_id=_user_id(body),
            user_name=account.person or self._name_in_slack(body),
            team_id=Claim.of(body).team,
            channel_id=channel,
            response_url=body.get("response_url"),
            account=account,
            **fields,
        )

    def _name_in_slack(self, body: Body) -> str:
        """What Slack calls an account that is nobody's; with its id where that may be taken for a person of
        the policy, or for us.
        """
        name, number = _user_name(body), _user_id(body)
        is_taken = imitates(name, (*self.world.policy.people, *_OURS))
        return f"{name} ({number})" if is_taken and name != number else name

    async def account(self, body: Body) -> Account:
        """Who asks, as Slack knows them at this very moment; never from memory. What fails is not known."""
        return await self.membership.account(Claim.of(body), self.world.policy.roles.groups)

    async def asker(self, body: Body) -> Account:
        """Who asks, and their language learned on the way; one after the other, since both bind accounts."""
        _ARRIVED.set(asyncio.get_running_loop().time())
        account = await self.account(body)
        await self.meet(body)
        return account

    def demand(self, act: Act, account: Account) -> None:
        """The one rule. Refused where this account may not do that."""
        why = authority.may(self.world.policy, act, account)
        if why is not None:
            log.info("authority.refused", act=act.value, account=account.id, reason=why.key)
            raise why

    async def keep(self, body: Body, request: Request) -> None:
        """Commit a request. When this returns nothing can lose it; raises ``NotKept``."""
        delivery = NewDelivery(
            kind=KIND,
            key=key_of(body),
            body=request.model_dump_json().encode(),
            received_at=self.world.clock.now(),
            turn=FIRST_TURN,
        )
        now = asyncio.get_running_loop().time()
        left = max(COMMIT_AT_LEAST, ANSWER_WITHIN - (now - _ARRIVED.get(now)))
        try:
            async with asyncio.timeout(left):
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

    def button(self, action: str, handle: Handle) -> Callable[..., Awaitable[None]]:
        """Wrap a button's listener: it is acknowledged only when its effect is certain to come.

        An action that is kept is judged when it is carried out, by the account of the click; any other here.
        """
        act = ACTIONS[action]

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                account = await self.asker(body)
                if action not in KEPT:
                    self.demand(act, account)
                await handle(ack, body, account)
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

    def command(self, read: Callable[[str], Typed], handle: HandleTyped) -> Callable[..., Awaitable[None]]:
        """Wrap a command's listener: whatever goes wrong is the command's answer.

        ``read`` says which act a typed text means. It is judged before anything is looked up or kept.
        """

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                account = await self.asker(body)
                typed = read(str(body.get("text") or ""))
                self.demand(typed.act, account)
                await handle(ack, body, account, typed)
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

    def menu(
        self, action: str, choices: Callable[[Body], Awaitable[dict[str, Any]]]
    ) -> Callable[..., Awaitable[None]]:
        """Wrap a menu's listener: where its choices cannot be found out it offers none."""
        act = ACTIONS[action]

        async def listener(ack: "AsyncAck", body: Body) -> None:
            try:
                self.demand(act, await self.account(body))
                found = await choices(body)
            except Refused:
                found = {"options": []}
            except Exception:
                log.exception("slack.listener_failed")
                found = {"options": []}
            await ack(**found)

        return listener

    def form(self, action: str, handle: Handle, block_id: str) -> Callable[..., Awaitable[None]]:
        """Wrap a form's listener: a failure stands beside ``block_id`` and what was typed stays."""
        act = ACTIONS[action]

        async def listener(ack: "AsyncAck", body: Body) -> None:
            account = await self.asker(body)
            voice_ = self.voice(body)
            try:
                self.demand(act, account)
                await handle(ack, body, account)
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

    async def unknown_action(ack: "AsyncAck", body: Body, account: Account) -> None:
        log.warning("slack.unknown_action", action=(body.get("actions") or [{}])[0].get("action_id"))
        raise Refused("refused.unknown_action")

    async def unknown_command(ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        await ack(text=desk.voice(body)("help.toban"))

    async def unknown_form(ack: "AsyncAck", body: Body) -> None:
        log.warning("slack.unknown_form", callback=(body.get("view") or {}).get("callback_id"))
        await ack()

    async def events(body: Body) -> None:
        log.debug("slack.event", type=(body.get("event") or {}).get("type"))

    anything = re.compile(".*")
    app.command(anything)(desk.command(partial(read, ANOTHER), unknown_command))
    app.action(anything)(desk.button(UNKNOWN, unknown_action))
    app.view(anything)(unknown_form)
    app.event(anything)(events)


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
