"""The composition root: everything is built here, in one straight line, and taken down in reverse."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import web
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult

from bot import doors
from bot import web as http
from bot.clock import Machine, SharedClock, SteadyClock, SystemClock
from bot.credentials import Keys, Viewers
from bot.ending import Ending
from bot.greeting import Greeting
from bot.health import Health, watch
from bot.painting import Pictures
from bot.pulse import Pulse
from bot.readiness import Readiness
from bot.settings import Settings
from bot.vaults import make_vaults
from bot.workers import Workers
from domain.errors import Outage
from domain.policy import Policy
from gcp.clients import GcpClients
from gcp.history import History
from gcp.identity import Identity
from gcp.images import Registry
from gcp.monitoring import CloudMonitoring
from gcp.probing import HttpProber
from gcp.run import CloudRun
from gcp.smoke import Smoke
from handlers import Desk, interpreters, register
from jobs import Job, recurring, timetable
from jobs.loops import Loops
from jobs.outbox import Speaker
from notify.slack.chat import SlackChat
from notify.slack.client import Api
from notify.slack.directory import Directory
from notify.slack.socket import TIMES, Socket, Times
from notify.texts import LOCALES, voice
from operations import denied, installation, quiet, workspace
from operations.accounts import account_of
from operations.clock import begin_counting
from operations.world import Policies, Wake, World
from storage import private_folder
from storage.database import Database
from storage.listener import Listener
from storage.lock import FileLock
from storage.migrating import migrate
from storage.store import Store

log = structlog.get_logger(__name__)

DRAIN = 5.0
"""Seconds that running work may take to end at a shutdown; the platform allows ten for everything."""


@dataclass(frozen=True)
class Bot:
    """The running program. ``port`` is where it listens; ``jobs`` are its loops' turns."""

    world: World
    database: Database
    store: Store
    speaker: Speaker
    jobs: list[Job]
    chat: SlackChat
    api: Api
    port: int
    socket: Socket | None
    desk: Desk
    policies: Policies
    readiness: Readiness
    greeting: Greeting
    ending: Ending


@asynccontextmanager
async def build(
    settings: Settings,
    policy: Policy,
    machine: Machine | None = None,
    *,
    loops: bool = True,
    traces: Sequence[aiohttp.TraceConfig] = (),
    socket_times: Times = TIMES,
    shared_time: Callable[[], datetime] | None = None,
) -> AsyncIterator[Bot]:
    """The whole bot, running. One straight line, because each step needs what the one before made.

    ``machine`` has the clocks to run on, the real ones by default; in a world with a time of its own
    ``shared_time`` is what PostgreSQL's clock would show. ``loops=False`` leaves the turns of
    ``Bot.jobs`` to the caller; ``traces`` watch calls to Slack;
    ``socket_times`` are the waits of Socket Mode.
    Raises ``Outage`` where the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        ending = Ending(stack)
        for locale in LOCALES:
            voice(locale)
        wake = Wake()
        if settings.is_sqlite:
            lock = FileLock(sqlite_file(settings))
            stack.callback(lock.release)
            lock.take()
        database = Database(settings.database, on_commit=wake)
        ending.add("database", database.dispose, is_last=True)
        before = await migrate(database)
        log.info("storage.ready", database=settings.database_shown, revision_before=before)
        store = Store(database)
        clock = await _clock(settings, store, machine, shared_time)
        if settings.is_sqlite:
            async with store() as tx:
                await tx.release_leases()
                await tx.release_rollouts()
                await tx.release_backups()
                await tx.release_drills()
        store.inbox.start()
        ending.add("inbox", store.inbox.stop, is_last=True)

        session = aiohttp.ClientSession(trace_configs=list(traces), connector=aiohttp.TCPConnector(limit=32))
        ending.add("session", session.close)
        token = settings.slack_bot_token.get_secret_value() if settings.slack_bot_token else ""
        api = Api(token, settings.slack_api_url, session)
        directory = Directory(api, policy, settings.locale)
        ending.add("directory", directory.stop)
        parts = urlsplit(settings.slack_api_url)
        chat = SlackChat(api, directory, f"{parts.scheme}://{parts.netloc}", ahead=clock.ahead_of_wall)
        clients = GcpClients(settings.gcp_endpoint)
        ending.add("clients", clients.close)
        metrics = CloudMonitoring(clients, clock)
        identity = Identity(settings.gcp_http_endpoint, session, clock)
        workers = Workers()
        ending.add("workers", workers.stop)
        await asyncio.to_thread(private_folder.sweep)
        kept = make_vaults(settings, clock, clients, identity, session)
        ending.add("buckets", kept.buckets.close)
        prober = HttpProber(policy.rules.origins)
        smoke = Smoke(identity, policy.rules.origins, http_endpoint=settings.gcp_http_endpoint)
        policies = Policies(policy)
        policies.on_change(directory.use)
        policies.on_change(lambda new: prober.allow(new.rules.origins))
        policies.on_change(lambda new: smoke.allow(new.rules.origins))
        world = World(
            clock=clock,
            store=store,
            inbox=store.inbox,
            chat=chat,
            policies=policies,
            metrics=metrics,
            history=History(metrics, clock),
            prober=prober,
            compute=workers,
            run=CloudRun(clients),
            images=Registry(identity, settings.gcp_http_endpoint, session),
            smoke=smoke,
            objects=kept.buckets,
            vaults=kept.vaults,
            rehearsals=kept.rehearsals,
            drill_places=kept.places,
            wake=wake,
        )
        chat.painter = Pictures(world)
        await begin_counting(world)
        await installation.introduce(world)
        await quiet.begin(world)
        directory.accounts = partial(account_of, world)
        policies.on_change(lambda _new: world.accounts.clear())
        await _recall(world, directory)
        greeting = Greeting(partial(_greet, world, directory), world.problems)
        desk = Desk(world, chat, api, lambda: recurring(world))
        desk.membership.recall(await denied.recall(world))
        ending.add("desk", lambda: desk.drain(DRAIN))
        app = _bolt(settings, api, directory)
        register(app, desk)
        speaker = Speaker(world)
        jobs = timetable(world, interpreters(), speaker)
        ending.add("speaker", lambda: speaker.stop(DRAIN))
        ending.add("under way", world.under_way.stop)
        running = Loops(world, jobs)
        if loops:
            running.start()
            ending.add("loops", running.stop)
        if not settings.is_sqlite:
            listener = Listener(settings.database, wake)
            listener.start()
            ending.add("listener", listener.stop)

        socket = None
        if settings.slack_app_token is not None:
            socket = Socket(app, settings.slack_app_token.get_secret_value(), socket_times)
            socket.start()
            ending.add("socket", socket.stop)
        keys = Keys(settings)
        readiness = Readiness(store.prove, has_secret=keys.any)
        health = Health(world, readiness, lambda: _told_by(api, socket), running.problems)
        pulse = Pulse(clock.now, SystemClock().uptime)
        routes = http.make(world, settings, app, keys, pulse.arrived)
        watch(routes, Viewers(settings), readiness, health, lambda: {"loops": running.turns()})
        if loops:
            pulse.start()
            ending.add("pulse", pulse.stop)
            readiness.start()
            ending.add("readiness", readiness.stop)
            health.start()
            ending.add("health", health.stop)
        runner = doors.Runner(routes, shutdown_timeout=DRAIN)
        await runner.setup()
        ending.add("doors", runner.cleanup)
        site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise Outage(_not_listening(settings, error)) from error
        port = int(runner.addresses[0][1])
        if loops:
            greeting.start()
            ending.add("greeting", greeting.stop)
        else:
            await greeting.once()
        log.info("bot.ready", host=settings.host, port=port, slack=settings.slack_mode)
        yield Bot(
            world=world,
            database=database,
            store=store,
            speaker=speaker,
            jobs=jobs,
            chat=chat,
            api=api,
            port=port,
            socket=socket,
            desk=desk,
            policies=policies,
            readiness=readiness,
            greeting=greeting,
            ending=ending,
        )
        log.info("bot.stopping")


async def _clock(
    settings: Settings, store: Store, machine: Machine | None, shared_time: Callable[[], datetime] | None
) -> SteadyClock:
    """Time goes by the database's clock where replicas may share it. Raises ``Outage``."""

    async def ask() -> datetime:
        if shared_time is not None:
            return shared_time()
        async with store.read() as tx:
            return await tx.database_time()

    if settings.is_sqlite or (machine is not None and shared_time is None):
        return SteadyClock(machine or SystemClock())
    shared = SharedClock(machine or SystemClock(), ask)
    await shared.learn()
    return SteadyClock(machine or SystemClock(), shared)


def _not_listening(settings: Settings, error: OSError) -> str:
    why = "it is in use already" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
    return f"cannot listen on {settings.host} port {settings.port}: {why}. See TOBAN_HOST and TOBAN_PORT."


def _told_by(api: Api, socket: Socket | None) -> dict[str, str]:
    """What stands between Slack and us."""
    found = {"slack": api.health, "socket": socket.problem if socket is not None else None}
    return {name: problem for name, problem in found.items() if problem is not None}


async def _recall(world: World, directory: Directory) -> None:
    """The workspace that Slack named last is ours until it names one now."""
    home = await workspace.recall(world)
    if home is not None:
        directory.team_id, directory.enterprise_id = home.team_id, home.enterprise_id


async def _greet(world: World, directory: Directory) -> None:
    """Learn which workspace is ours, and keep it. Raises ``Outage`` and ``Undeliverable``."""
    await directory.greet(aside=True)
    if not directory.team_id:
        return
    home = workspace.Home(team_id=directory.team_id, enterprise_id=directory.enterprise_id)
    try:
        await workspace.remember(world, home, world.clock.now())
    except Outage as outage:  # Another replica keeps the same, or the database is away: it is kept next time.
        log.warning("slack.workspace_not_kept", error=outage.reason)


def _bolt(settings: Settings, api: Api, directory: Directory) -> AsyncApp:
    """Bolt, with our own signature check before it and without a network call in front of a listener."""

    async def authorize(
        enterprise_id: str | None, team_id: str | None, user_id: str | None
    ) -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=enterprise_id,
            team_id=directory.team_id or team_id,
            bot_token=api.web.token,
            bot_user_id=directory.bot_user_id,
        )

    logger = logging.getLogger("toban.bolt")
    logger.setLevel(logging.ERROR)  # While it is built it warns that we authorize ourselves.
    app = AsyncApp(
        name="toban",  # Else it reads the source of every caller to find one.
        logger=logger,
        client=api.web,
        authorize=authorize,
        request_verification_enabled=False,
        ssl_check_enabled=True,
        ignoring_self_events_enabled=True,
        url_verification_enabled=True,
        signing_secret=settings.slack_signing_secret.get_secret_value()
        if settings.slack_signing_secret
        else "-",
    )
    logger.setLevel(logging.WARNING)
    return app


def sqlite_file(settings: Settings) -> Path:
    """The file of a SQLite database."""
    return Path(settings.database.partition(":///")[2].partition("?")[0])
