"""Runs the bot as a process: until a signal, with time to finish what is under way."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import structlog

from bot import log as logs
from bot.app import Bot, build
from bot.encryption import lacking
from bot.ending import WITHIN
from bot.policy_reload import Reload
from bot.settings import Settings
from bot.signals import ENDING, HARMLESS
from domain.errors import Outage
from domain.policy import Policy
from storage.database import Database
from storage.lock import FileLock
from storage.migrating import HEAD, migrate, revision
from storage.space import vacuum as vacuum_file

log = structlog.get_logger(__name__)

LONGEST = 9.5
"""Seconds from the signal to the end of the process, grace period included; platforms kill after ten."""

LEAST_DRAIN = 4.0
"""Seconds for ending after a grace period that takes nearly all of them, or more."""


def runner() -> asyncio.Runner:
    """An event loop: uvloop's where it is installed, which accepts about a third more webhooks a second."""
    try:
        import uvloop
    except ImportError:  # Windows has none.
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class Signals:
    """What the process has been told so far."""

    def __init__(self, reload: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._reload = reload
        loop = asyncio.get_running_loop()
        for number in ENDING:
            loop.add_signal_handler(number, self._end, number)
        for number in HARMLESS:
            loop.add_signal_handler(number, self._tell, number)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _end(self, number: signal.Signals) -> None:
        log.info("process.signal_received", signal=number.name)
        if self.stop.is_set() or number is signal.SIGINT:  # Somebody sits at the keyboard, or is in a hurry.
            self.hurry.set()
        self.stop.set()

    def _tell(self, number: signal.Signals) -> None:
        log.info("process.signal_ignored", signal=number.name)

    def _hang_up(self) -> None:
        log.info("process.signal_received", signal="SIGHUP")
        if not self.stop.is_set():
            self._reload()


async def run_until_stopped(
    settings: Settings, policy: Policy, was_asked: Callable[[], bool] = lambda: False
) -> None:
    """Run until SIGTERM, SIGINT or SIGQUIT. SIGHUP reads the policy again.

    Raises ``Outage`` where the database or the port cannot be used, or Slack refuses the token.
    """
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets())
    reload = Reload(settings.policy, lambda new: lacking(new, settings))
    signals = Signals(reload.wanted.set)
    if was_asked():
        return
    async with AsyncExitStack() as life:
        stopping = asyncio.create_task(signals.stop.wait())
        starting = asyncio.create_task(life.enter_async_context(_built(settings, policy)))
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            _end_at_last(LONGEST)
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return
        bot = starting.result()
        _spare_the_collector()
        reloading = asyncio.create_task(reload.run(bot.world, bot.policies))
        refused = bot.greeting.refused
        ends: set[asyncio.Future[Any]] = {stopping, refused}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        reloading.cancel()
        await _say_goodbye(bot, settings.shutdown_grace if not refused.done() else 0.0, signals)
    if refused.done():
        raise Outage(refused.result())


@asynccontextmanager
async def _built(settings: Settings, policy: Policy) -> AsyncIterator[Bot]:
    await _migrate_beside(settings)
    async with build(settings, policy) as bot:
        yield bot


async def _say_goodbye(bot: Bot, grace: float, signals: Signals) -> None:
    """Turn red, wait until nobody sends here any more, and set the limits for what follows."""
    longest = max(LONGEST, grace + LEAST_DRAIN)
    _end_at_last(longest)
    bot.readiness.close()
    began = asyncio.get_running_loop().time()
    log.info("bot.leaving", grace=grace)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            await signals.hurry.wait()
    left = longest - 0.7 - (asyncio.get_running_loop().time() - began)
    bot.ending.begin(min(WITHIN, left))


def _end_at_last(seconds: float) -> None:
    """End the process even where a thread or a library does not. All that was accepted is committed."""

    def end() -> None:
        log.warning("bot.cut_off", seconds=seconds)
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _spare_the_collector() -> None:
    """What is loaded now stays for good: the collector need not walk it with every burst."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _migrate_beside(settings: Settings) -> None:
    """Migrate in a process of its own where that is needed: what it loads for that would stay for good."""
    if await _is_up_to_date(settings):
        return
    command = (sys.executable, "-m", "bot", "migrate")
    pipe = asyncio.subprocess.PIPE
    nothing = asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=nothing, stderr=pipe)
    try:
        _, said = await child.communicate()
    except asyncio.CancelledError:
        child.terminate()
        raise
    if child.returncode:
        raise Outage(said.decode("utf-8", "replace").strip() or "the database cannot be migrated")


async def _is_up_to_date(settings: Settings) -> bool:
    from bot.app import sqlite_file

    lock = FileLock(sqlite_file(settings)) if settings.is_sqlite else None
    database = None
    try:
        if lock is not None:
            lock.take()
        database = Database(settings.database)
        return await revision(database) == HEAD
    finally:
        if database is not None:
            await database.dispose()
        if lock is not None:
            lock.release()


async def migrate_once(settings: Settings, *, vacuum: bool = False) -> str:
    """Migrate the database, and write SQLite's file anew where that is asked; says what was done."""
    from bot.app import sqlite_file

    lock = FileLock(sqlite_file(settings)) if settings.is_sqlite else None
    if lock is not None:
        lock.take()
    database = Database(settings.database)
    try:
        before = await migrate(database)
        await database.dispose()
        told = _vacuumed(settings) if vacuum else ""
    finally:
        await database.dispose()
        if lock is not None:
            lock.release()
    if before == HEAD:
        return f"{settings.database_shown} is up to date ({HEAD}){told}"
    return f"{settings.database_shown} migrated from {before or 'nothing'} to {HEAD}{told}"


def _vacuumed(settings: Settings) -> str:
    from bot.app import sqlite_file

    if not settings.is_sqlite:
        return "; PostgreSQL needs no --vacuum, its autovacuum does it"
    before, after = vacuum_file(sqlite_file(settings))
    return f"; vacuumed from {before / 1e6:.1f} MB to {after / 1e6:.1f} MB"
