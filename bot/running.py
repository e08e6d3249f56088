"""Runs the bot as a process: until a signal, with time to finish what is under way."""

import asyncio
import gc
import signal

import structlog

from bot import log as logs
from bot.app import build
from bot.settings import Settings
from domain.policy import Policy
from storage.database import Database
from storage.lock import FileLock
from storage.migrating import HEAD, migrate

log = structlog.get_logger(__name__)


def runner() -> asyncio.Runner:
    """An event loop: uvloop's where it is installed, which accepts about a third more webhooks a second."""
    try:
        import uvloop
    except ImportError:  # Windows has none.
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def run_until_stopped(settings: Settings, policy: Policy) -> None:
    """Run until SIGTERM or SIGINT. Raises ``Outage`` where the database cannot be used."""
    logs.configure(level=settings.log_level, form=settings.log_format, secrets=settings.secrets())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with build(settings, policy):
        _spare_the_collector()
        await stop.wait()


def _spare_the_collector() -> None:
    """What is loaded now stays for good: the collector need not walk it with every burst."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def migrate_once(settings: Settings) -> str:
    """Migrate the database; says what was done."""
    from bot.app import sqlite_file

    lock = FileLock(sqlite_file(settings)) if settings.is_sqlite else None
    if lock is not None:
        lock.take()
    database = Database(settings.database)
    try:
        before = await migrate(database)
    finally:
        await database.dispose()
        if lock is not None:
            lock.release()
    if before == HEAD:
        return f"{settings.database_shown} is up to date ({HEAD})"
    return f"{settings.database_shown} migrated from {before or 'nothing'} to {HEAD}"
