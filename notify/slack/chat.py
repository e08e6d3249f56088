"""Renders what is to be said and speaks it in Slack: the port ``Chat``."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, assert_never

from domain.accounts import Found
from domain.effects import Picture, Text
from domain.errors import Outage, Undeliverable
from domain.findings import Finding
from domain.outbox import Letter, Rendered
from domain.policy import Person
from domain.ports import Painter
from domain.views import AlertView, BackupView, DrillView, IncidentView, PageView, Posted, RolloutView, View
from notify.slack.blocks import image, section
from notify.slack.cards.alerts import alert_card
from notify.slack.cards.backups import backup_card
from notify.slack.cards.capacity import in_sections
from notify.slack.cards.drills import drill_card
from notify.slack.cards.findings import finding_card
from notify.slack.cards.incidents import incident_card
from notify.slack.cards.pages import page_card
from notify.slack.cards.rollouts import rollout_card
from notify.slack.client import Api
from notify.slack.directory import Directory
from notify.slack.escape import clamp
from notify.slack.limits import MESSAGE_TEXT, check_message
from notify.slack.links import Links
from notify.slack.uploading import upload
from notify.texts import Voice, voice

T = TypeVar("T")

EVENT_TYPE = "toban_message"
"""The ``metadata.event_type`` of our messages; the payload carries the outbox key."""

LOOK_AROUND = timedelta(seconds=20)
"""Slack's clock, by which messages carry their time, and ours may differ by so much."""

LOOKED_AT = 15
"""Messages in one answer of a look-up: more are not given to every app."""

PAGES_LOOKED_AT = 20
"""Answers in which our own message is searched for."""

GREET_EVERY = 5.0
"""Seconds between two questions whether Slack is back, while it is not."""

SLACK_RESPONSE = "https://hooks.slack.com/"

PICTURE_FOR = 6.0
"""Real seconds in which a picture must be drawn and uploaded: its conversation waits for it."""

NOT_READY = (1.0, 1.0)
"""Seconds before a message is posted again whose picture Slack did not know yet; about one a second."""

NOT_READY_FOR = 1.5
"""Real seconds of refusals after which no more such try is begun."""


MENTIONED = "mentioned"
"""The parameter of a text whose people are mentioned, so that their bells ring."""


CHANNEL = "channel"
"""The parameter of a text whose channel is linked, where its id is known."""


class SlackChat:
    """One workspace. ``api_origin`` is where ``response_url`` may point besides Slack's own host.

    Without a ``painter`` notes have no pictures; ``patience`` is how many seconds one may take. ``ahead``
    says by how much our time is ahead of the machine's clock, and so perhaps of Slack's.
    """

    def __init__(
        self,
        api: Api,
        directory: Directory,
        api_origin: str | None = None,
        painter: Painter | None = None,
        ahead: Callable[[], timedelta] = timedelta,
    ) -> None:
        self._api = api
        self.directory = directory
        self.painter = painter
        self.patience = PICTURE_FOR
        self._ahead = ahead
        self._greet_at = 0.0
        self._response_hosts = [SLACK_RESPONSE, *([f"{api_origin.rstrip('/')}/"] if api_origin else [])]

    def render(self, letter: Letter, content: View | Text, locale: str) -> Rendered:
        """The message in a language, within Slack's limits. Raises ``BadBlocks``, ``MissingText``."""
        if isinstance(content, Text) and MENTIONED in content.params:
            people = [self.directory.known_account(name) for name in content.params[MENTIONED]]
            content = content.model_copy(update={"params": content.params | {MENTIONED: people}})
        if isinstance(content, Text) and CHANNEL in content.params:
            known = self.directory.known_channel(content.params[CHANNEL])
            content = content.model_copy(update={"params": content.params | {CHANNEL: known}})
        rendered = render(voice(locale), content, Links(self.directory.team_url))
        shown = rendered.model_copy(update={"text": clamp(rendered.text, MESSAGE_TEXT)})
        check_message(shown.text, shown.blocks)
        return shown

    def is_out(self) -> bool:
        """True while Slack is out of reach: then only its return is asked for."""
        return self._api.is_out

    def is_back(self) -> bool:
        """True once after an outage, when a call has succeeded again."""
        return self._api.take_recovery()

    async def stay_in_touch(self, monotonic: float) -> bool:
        """Where Slack was out of reach, ask whether it is back, every few seconds. True where it is."""
        is_well = self._api.health is None
        if is_well and self.directory.greeted:
            return False
        if monotonic < self._greet_at:
            return False
        self._greet_at = monotonic + GREET_EVERY
        await self.directory.greet(aside=is_well)
        self._greet_at = monotonic
        return self._api.take_recovery()

    async def locale(self, place: str) -> str:
        """The language of a channel or a person."""
        return await _before_the_call(self.directory.locale(place))

    async def words(self, text: Text, place: str) -> str:
        """A text of ours as plain words, in the language of a place."""
        return voice(await self.locale(place)).plain(text.key, **text.params)

    async def illustrate(
        self, message: Rendered, picture: Picture, locale: str, seconds: float
    ) -> Rendered | None:
        """The message with its picture below, drawn and uploaded; nobody sees it before it is posted."""
        if self.painter is None:
            return None
        async with asyncio.timeout(min(seconds, self.patience)):
            drawn = await self.painter.paint(picture, locale)
            if drawn is None:
                return None
            file_id = await upload(self._api, drawn)
        shown = Rendered(text=message.text, blocks=[*message.blocks, image(file_id, drawn.alt_text)])
        check_message(shown.text, shown.blocks)
        return shown

    async def account_found(self, person: Person) -> Found:
        """The account of a person as Slack knows it now."""
        return await self.directory.find(person)

    async def is_member(self, account: str) -> bool:
        """Whether an account is a full, active member of our own workspace now."""
        return await self.directory.is_member(account)

    def refused(self, monotonic: float) -> dict[str, str]:
        """What Slack refuses now although people could mend it, by error code."""
        return self._api.refusals.current(monotonic)

    async def post(self, letter: Letter, message: Rendered, *, bare: bool = False) -> Posted:
        """Post a message that carries its key, so that it can be found again; ``bare`` without it."""
        channel, thread_ts = await _before_the_call(self._where(letter))
        params: dict[str, Any] = {"thread_ts": thread_ts} if thread_ts else {}
        if thread_ts and letter.broadcast:
            params["reply_broadcast"] = True
        pauses = list(NOT_READY if any("slack_file" in block for block in message.blocks) else ())
        began = asyncio.get_running_loop().time()
        while True:
            try:
                answer = await self._api.call(
                    self._api.web.chat_postMessage,
                    channel=channel,
                    text=message.text,
                    blocks=message.blocks or None,
                    metadata=None if bare else self._metadata(letter),
                    unfurl_links=False,
                    unfurl_media=False,
                    **params,
                )
            except Undeliverable as refusal:
                if refusal.homeless:
                    self.directory.forget(letter.place)
                late = asyncio.get_running_loop().time() - began > NOT_READY_FOR
                if refusal.reason != "invalid_blocks" or not pauses or late:
                    raise
                await asyncio.sleep(pauses.pop(0))
            else:
                return Posted(channel_id=answer.get("channel", channel), ts=answer["ts"], thread_ts=thread_ts)

    def _metadata(self, letter: Letter) -> dict[str, Any]:
        return {"event_type": EVENT_TYPE, "event_payload": {"key": letter.key}}

    async def edit(self, letter: Letter, posted: Posted, message: Rendered) -> Posted:
        """Change a message where it stands; its metadata stays."""
        await self._api.call(
            self._api.web.chat_update,
            channel=posted.channel_id,
            ts=posted.ts,
            text=message.text,
            blocks=message.blocks or [],
        )
        return posted

    async def answer(self, letter: Letter, message: Rendered) -> None:
        """Through the request's own address, which works wherever it was made; else ephemerally."""
        url = letter.response_url
        if url is not None and any(url.startswith(host) for host in self._response_hosts):
            body = {"response_type": "ephemeral", "replace_original": False, "text": message.text}
            await self._api.respond(url, body | ({"blocks": message.blocks} if message.blocks else {}))
            return
        if letter.thread is None or letter.to is None:
            raise Undeliverable("no way to answer")
        await self._api.call(
            self._api.web.chat_postEphemeral,
            channel=letter.thread.channel_id,
            user=letter.to,
            text=message.text,
            blocks=message.blocks or None,
        )

    async def find(self, letter: Letter) -> list[Posted]:
        """Our messages with this letter's key, oldest first; only around the doubtful attempt.

        Some apps may ask once a minute for 15 messages (facts/slack.md §2.6), so few are asked for.
        """
        channel, thread_ts = await self._where(letter)
        if letter.posted is not None:
            channel, thread_ts = letter.posted.channel_id, letter.posted.thread_ts
        params: dict[str, Any] = {"channel": channel, "include_all_metadata": True, "limit": LOOKED_AT}
        params |= _window(letter, self._ahead()) | ({"ts": thread_ts} if thread_ts else {})
        method = self._api.web.conversations_replies if thread_ts else self._api.web.conversations_history
        found: list[Posted] = []
        for _ in range(PAGES_LOOKED_AT):
            answer = await self._look(letter, method, params)
            for message in answer.get("messages", []):
                payload = (message.get("metadata") or {}).get("event_payload") or {}
                if payload.get("key") == letter.key:
                    found.append(Posted(channel_id=channel, ts=message["ts"], thread_ts=thread_ts))
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return sorted(found, key=lambda posted: posted.ts)
            params["cursor"] = cursor
        if found:
            return sorted(found, key=lambda posted: posted.ts)
        raise Outage(f"more than {PAGES_LOOKED_AT * LOOKED_AT} messages around the attempt")

    async def _look(
        self, letter: Letter, method: Callable[..., Any], params: dict[str, Any]
    ) -> dict[str, Any]:
        """One page of a conversation. Its limit is not an outage of Slack: messages still go out."""
        try:
            answer = await self._api.ask(method, **params)
        except Undeliverable as refusal:
            if refusal.homeless:
                self.directory.forget(letter.place)  # Looking it up again, the bot joins it again.
            if refusal.mendable:
                self._api.refusals.add(refusal.reason, method.__name__, str(params["channel"]))
            raise
        self._api.refusals.end(method.__name__, str(params["channel"]))
        return answer

    async def delete(self, posted: Posted) -> None:
        """Take one of our messages back; one that is gone already is no fault."""
        try:
            await self._api.call(self._api.web.chat_delete, channel=posted.channel_id, ts=posted.ts)
        except Undeliverable as refusal:
            if not refusal.gone:
                raise

    async def _where(self, letter: Letter) -> tuple[str, str | None]:
        """The conversation, and the thread's root where there is one."""
        if letter.thread is not None and letter.thread.ts:
            return letter.thread.channel_id, letter.thread.thread_ts or letter.thread.ts
        return await self.directory.channel(letter.place), None


async def _before_the_call(asking: Awaitable[T]) -> T:
    """The answer to a question before a message is sent: where it is lost, nothing was sent for certain."""
    try:
        return await asking
    except Outage as outage:
        outage.unknown = False
        raise


def _window(letter: Letter, ahead: timedelta) -> dict[str, str]:
    """Between which times a message can stand that a doubtful attempt left behind.

    ``ahead``: by how much our time is ahead of the machine's clock, and so perhaps of Slack's.
    """
    since = letter.doubt_from or letter.created_at
    window = {"oldest": f"{(since - LOOK_AROUND - ahead).timestamp():.6f}"}
    if letter.doubt_until is not None:
        window["latest"] = f"{(letter.doubt_until + LOOK_AROUND).timestamp():.6f}"
    return window


def render(voice_: Voice, content: View | Text, links: Links) -> Rendered:
    """What to say, as Block Kit and fallback text."""
    match content:
        case AlertView():
            return alert_card(voice_, content, links)
        case IncidentView():
            return incident_card(voice_, content, links)
        case PageView():
            return page_card(voice_, content, links)
        case Finding():
            return finding_card(voice_, content)
        case RolloutView():
            return rollout_card(voice_, content)
        case BackupView():
            return backup_card(voice_, content)
        case DrillView():
            return drill_card(voice_, content)
        case Text():
            voice_ = voice_.linking(links)
            text = voice_.say(content)
            return Rendered(text=text, blocks=[section(text), *in_sections(voice_, content.lines)])
        case other:
            assert_never(other)
