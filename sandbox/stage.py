"""The really built bot in a pretend world, moved by scripts: hours of nights in milliseconds."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from bot.app import Bot, build
from bot.settings import Settings
from domain.errors import Outage
from domain.policy import Policy
from notify.slack.socket import TIMES
from sandbox.clock import MachineClock, StandingClock
from sandbox.slack.delivery import Delivery
from sandbox.slack.reading import Message
from sandbox.slack.workspace import Workspace

if TYPE_CHECKING:
    from sandbox.cloud.cloud import Cloud  # It loads Google's packages.

USER, PASSWORD = "sender", "a-password-for-the-stage"
LOOKER = "a-token-for-whoever-looks"
"""Metrics and details are shown to whoever has this."""

HOP = timedelta(milliseconds=250)
"""The stage never jumps over a due moment; it hops at least so far."""

ASKS_AGAIN = timedelta(seconds=5)
"""So often the bot asks whether Slack is back while it is away; nothing is sent in between."""

ANSWER_WITHIN = 30.0
"""Real seconds that an answer after the acknowledgement may take."""

TURNS = 10_000
"""Turns of the loops without rest that the stage takes for a bug."""


class Stage:
    """One workspace, one bot, one clock. Made by ``Stage.open``.

    ``clock`` is the time of the whole world, ``machine`` what the bot's machine makes of it, and
    ``shared_time``, where it is given before the start, what PostgreSQL's clock would show.
    """

    def __init__(self, settings: Settings, policy: Policy, slack: Workspace, clock: StandingClock) -> None:
        self.settings = settings
        self.policy = policy
        self.slack = slack
        self.clock = clock
        self.machine = MachineClock(clock)
        self.traces: list[aiohttp.TraceConfig] = []
        self.socket_times = TIMES
        self.pretended: Cloud | None = None
        self.prepare: Callable[[Bot], None] | None = None
        self.shared_time: Callable[[], datetime] | None = None
        self.hangs: Collection[str] = ()
        """What the bot works on without an end: nobody waits for it."""
        self._life: AsyncExitStack | None = None
        self._bot: Bot | None = None
        self._http: aiohttp.ClientSession | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        database_url: str,
        policy: Policy,
        *,
        start: bool = True,
        cloud: Callable[[StandingClock], "Cloud"] | None = None,
        **environ: str,
    ) -> AsyncIterator["Stage"]:
        """A fresh world with the bot in it. ``environ`` overrides the bot's settings by name.

        ``cloud`` makes the pretend Google Cloud that the bot reads, where a story needs one.
        """
        clock = StandingClock()
        slack = Workspace(clock)
        await slack.start()
        pretended = cloud(clock) if cloud is not None else None
        if pretended is not None:
            await pretended.start()
            environ["TOBAN_GCP_ENDPOINT"] = pretended.endpoint
            environ["TOBAN_GCP_HTTP_ENDPOINT"] = pretended.http_endpoint
        settings = Settings.read(
            {
                "TOBAN_DATABASE_URL": database_url,
                "TOBAN_PORT": "0",
                "SLACK_BOT_TOKEN": slack.bot_token,
                "SLACK_SIGNING_SECRET": slack.signing_secret,
                "SLACK_API_URL": slack.api_url,
                "TOBAN_WEBHOOK_USER": USER,
                "TOBAN_WEBHOOK_PASSWORD": PASSWORD,
                "TOBAN_METRICS_TOKEN": LOOKER,
                **environ,
            }
        )
        stage = cls(settings, policy, slack, clock)
        stage.pretended = pretended
        async with aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
        ) as stage._http:
            try:
                if start:
                    await stage.start()
                yield stage
            finally:
                await stage.stop()
                await slack.stop()
                if pretended is not None:
                    await pretended.stop()

    # The bot's life.

    @property
    def bot(self) -> Bot:
        """The running bot. Raises ``RuntimeError`` while there is none."""
        if self._bot is None:
            raise RuntimeError("the bot is not running")
        return self._bot

    async def start(self) -> None:
        """Start the bot on the same database."""
        self._life = AsyncExitStack()
        built = build(
            self.settings,
            self.policy,
            self.machine,
            loops=False,
            traces=self.traces,
            socket_times=self.socket_times,
            shared_time=self.shared_time,
        )
        self._bot = await self._life.enter_async_context(built)
        self.slack.events_url = f"http://127.0.0.1:{self._bot.port}/slack/events"
        if self.prepare is not None:
            self.prepare(self._bot)

    async def stop(self) -> None:
        """Shut the bot down properly."""
        life, self._life, self._bot = self._life, None, None
        if life is not None:
            await life.aclose()

    async def crash(self) -> None:
        """Kill it: nothing that was not committed survives, no goodbye is said."""
        for task in list(self.bot.speaker.tasks):
            task.cancel()
        self.bot.world.under_way.cancel()
        await self.stop()

    @property
    def cloud(self) -> "Cloud":
        """The pretend Google Cloud. Raises ``RuntimeError`` where the stage has none."""
        if self.pretended is None:
            raise RuntimeError("this stage was opened without a cloud")
        return self.pretended

    @property
    def url(self) -> str:
        """Where the bot listens."""
        return f"http://127.0.0.1:{self.bot.port}"

    # Time.

    async def settle(self, called: Collection[str] | None = None) -> None:
        """Do everything that is due now, until there is nothing left.

        ``called``: the loops that look without being woken by a commit; all of them, as after a tick of the
        scheduler, where none are named.
        """
        bot = self.bot
        wake = bot.world.wake
        again = {job.name for job in self.bot.jobs} if called is None else set(called)
        for _ in range(TURNS):
            looking, again = again, set()
            for job in bot.jobs:
                if self._bot is not bot:
                    raise RuntimeError("the bot was killed meanwhile")
                event = wake.event(job.topic)
                if job.name not in looking and not event.is_set():
                    continue
                event.clear()
                with suppress(Outage):
                    if await job.turn():
                        again.add(job.name)
                await bot.world.under_way.quiet(self.hangs)
            await self.bot.speaker.quiet()
            if self.bot.speaker.crashed is not None:
                raise self.bot.speaker.crashed
            if not again and not any(wake.event(job.topic).is_set() for job in self.bot.jobs):
                return
        raise AssertionError("the loops do not come to rest")

    async def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Let time pass, stopping at every moment at which something is due."""
        counted = self.bot.world.clock
        until = counted.now() + timedelta(seconds=seconds, minutes=minutes, hours=hours)
        await self.settle()
        while (now := counted.now()) < until:
            due = await self._due()
            first = min(due.values(), default=until)
            hop = min(until, max(first, now + HOP))
            self.clock.push(hop - now)
            await self.settle([name for name, at in due.items() if at <= hop] if hop < until else None)

    async def _due(self) -> dict[str, datetime]:
        """When each loop has something to do; those with nothing are left out."""
        now = self.bot.world.clock.now()
        async with self.bot.store.read() as tx:
            found = await tx.next_moments()
        if "outbox" in found and self.bot.world.chat.is_out():
            found["outbox"] = found["touch"] = max(found["outbox"], now + ASKS_AGAIN)
        for job in self.bot.jobs:
            if job.next_due is not None:
                at = job.next_due(now)
                found[job.name] = min(found.get(job.name, at), at)
        return found

    # Machines.

    async def webhook(self, sender: str, payload: Any, *, settle: bool = True, **headers: str) -> int:
        """Send a payload as this sender would; returns the HTTP answer's code."""
        assert self._http is not None
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        sent = self._http.post(f"{self.url}/webhooks/{sender}", data=io.BytesIO(body), headers=headers)
        async with sent as answer:
            await answer.read()
            status = answer.status
        if settle:
            await self.settle()
        return status

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the bot itself, as somebody who may see details: status and body."""
        assert self._http is not None
        headers = {"Authorization": f"Bearer {LOOKER}"}
        async with self._http.get(f"{self.url}{path}", headers=headers) as answer:
            return answer.status, await answer.text()

    # People.

    async def type(self, person: str, channel: str, text: str) -> Delivery:
        """Type a slash command or a message."""
        delivery = await self.slack.type(person, channel, text)
        await self.settle()
        await self.bot.desk.drain(ANSWER_WITHIN)
        return delivery

    async def press(self, person: str, message: Message, label: str) -> Delivery:
        """Press a button of a message, and confirm where it asks."""
        delivery = await self.slack.press(person, message.channel, message.ts, label)
        await self.settle()
        await self.bot.desk.drain(ANSWER_WITHIN)
        return delivery

    async def home(self, person: str) -> str:
        """Open the app's Home tab, and read it once the bot has made it anew."""
        before = self.slack.home(person)
        known = None if before is None else before.hash
        await self.slack.open_home(person)
        return await self._new_home(person, known)

    async def refresh_home(self, person: str, label: str) -> str:
        """Press a button of the Home tab after which it is made anew."""
        before = self.slack.home(person)
        assert before is not None, "it was opened"
        known = before.hash
        await self.slack.press_view(person, before.id, label)
        return await self._new_home(person, known)

    async def _new_home(self, person: str, known: str | None) -> str:
        def changed() -> bool:
            found = self.slack.home(person)
            return found is not None and found.hash != known

        await self.slack.wait_for(changed)
        view = self.slack.home(person)
        assert view is not None, "just seen"
        return self.slack.view_plain(view)

    async def submit(self, person: str, values: Mapping[str, Any]) -> Delivery:
        """Fill in the form that is open and send it."""
        view = self.slack.open_views(person)[-1]
        delivery = await self.slack.submit(person, view.id, values)
        await self.settle()
        return delivery

    # Seeing.

    def channel(self, name: str) -> list[Message]:
        """The messages of a channel, threads left out."""
        return self.slack.messages(name)

    def card(self, name: str, number: int = -1) -> Message:
        """One message of a channel, the newest by default."""
        return self.channel(name)[number]

    def thread(self, message: Message) -> list[Message]:
        """The replies below a message."""
        found: Sequence[Message] = self.slack.thread(message.channel, message.ts)
        return [reply for reply in found if reply.ts != message.ts]

    def dms(self, person: str) -> list[Message]:
        """What the bot told a person directly."""
        return self.slack.dm(person)

    def told(self, person: str) -> list[str]:
        """What only this person saw."""
        return [message.plain for message in self.slack.ephemerals(person)]


def sqlite_url(folder: Path) -> str:
    """A database file in a folder."""
    return f"sqlite:///{folder / 'toban.db'}"


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that happens by itself. Raises ``TimeoutError``."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # The condition lives in another process or library.
            await asyncio.sleep(0.01)
