"""The engines: transactions on SQLite and PostgreSQL alike, and the wake-up after each commit."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from domain.errors import Outage
from domain.unreadable import UnreadableRow
from storage.clock import ClockQueries
from storage.deliveries import InboxQueries
from storage.guard import guard
from storage.moments import MomentQueries
from storage.quiet import QuietQueries
from storage.retention import RetentionQueries
from storage.rows import is_about_a_value
from storage.space import checkpoint, give_back
from storage.sqlite import Connection
from storage.sqlite import connect as connect_sqlite
from storage.unreadable import UnreadableQueries
from storage.views import ViewQueries
from storage.watches import WatchQueries

log = structlog.get_logger(__name__)

BUSY_TIMEOUT = 5.0
"""Seconds that SQLite waits for another process's lock before it says so."""

CLOSING_TIMEOUT = 5.0
"""Seconds that closing waits for the thread of one SQLite connection."""

JOURNAL = 16 * 1024 * 1024
"""Bytes to which SQLite's log is cut after it has grown longer, as during a long copy."""

READERS = 3
"""Connections for reading beside SQLite's one writer."""

POSTGRES_CONNECTIONS = 8
"""Connections of one replica, the listener's excluded."""

CONNECTION_WITHIN = 4.0
"""Seconds that a transaction waits for a free connection of PostgreSQL's pool."""

TRANSACTION_WITHIN = 25.0
"""Seconds that a whole transaction on PostgreSQL may take, each of its waits being bounded by itself."""

STUCK_AFTER = 5.0
"""Seconds that a session waits for its client inside a transaction before another replica ends it."""


class Lost(Outage):
    """The connection was lost on the way; a new one may work at once."""


class Tx(
    ViewQueries,
    InboxQueries,
    WatchQueries,
    ClockQueries,
    RetentionQueries,
    UnreadableQueries,
    MomentQueries,
    QuietQueries,
):
    """One transaction: every query there is."""


class Database:
    """The engines. SQLite has one writing connection and a few that only read; PostgreSQL one pool.

    One writer, because SQLite's waiting for a lock sleeps: with a pool the slowest twentieth of all
    writes took 110-335 ms, with one connection 10-14 ms (facts/durability.md §5).
    """

    def __init__(self, url: str, on_commit: Callable[[frozenset[str]], None] | None = None) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        self._on_commit = on_commit
        self._lock = asyncio.Lock()
        self._threads: list[threading.Thread] = []
        self._unreadable: dict[str, UnreadableRow] = {}
        self._known: set[str] = set()
        if self.sqlite:
            self.writer = _sqlite(url, self._threads, size=1, writing=True)
            self.reader = _sqlite(url, self._threads, size=READERS, writing=False)
        else:
            from storage.postgres import connect_args

            self.writer = create_async_engine(
                url,
                connect_args=connect_args(url),
                pool_size=POSTGRES_CONNECTIONS,
                max_overflow=0,
                pool_pre_ping=False,
                pool_timeout=CONNECTION_WITHIN,
            )
            self.reader = self.writer
        for engine in {self.writer, self.reader}:
            guard(engine)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Tx]:
        """A transaction that commits at its end, or leaves no trace. Raises ``Outage``."""
        if self.sqlite:
            async with self._lock, self._transaction(self.writer, writing=True) as tx:
                yield tx
        else:
            async with self._transaction(self.writer, writing=True) as tx:
                yield tx

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """A transaction that sees one moment and changes nothing. Raises ``Outage``."""
        async with self._transaction(self.reader, writing=False) as tx:
            yield tx

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine, *, writing: bool) -> AsyncIterator[Tx]:
        limit = asyncio.timeout(None if self.sqlite else TRANSACTION_WITHIN)
        unreadable: list[UnreadableRow] = []
        try:
            async with limit, engine.begin() as connection:
                tx = Tx(connection, writing=writing)
                unreadable = tx.unreadable
                yield tx
                if writing and tx.topics and not self.sqlite:
                    notify = sa.select(sa.func.pg_notify(CHANNEL, " ".join(sorted(tx.topics))))
                    await connection.execute(notify)
        except sa.exc.TimeoutError as error:
            raise Outage(f"database: {_reason(error)}") from error
        except sa.exc.DBAPIError as error:
            # A SQLite file that is none, or is no longer whole.
            damaged = type(error) is sa.exc.DatabaseError
            if is_about_a_value(error):  # One row is to blame, and no waiting mends it.
                raise
            if not (error.connection_invalidated or damaged or isinstance(error, ENVIRONMENT)):
                raise
            said = "the database cannot be used" if damaged else "database"
            raise (Lost if error.connection_invalidated else Outage)(f"{said}: {_reason(error)}") from error
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Outage(f"database: not done within {TRANSACTION_WITHIN:.0f} s") from error
        except sqlite3.OperationalError as error:
            raise Outage(f"database: {error}") from error
        finally:
            for row in unreadable:
                self.not_readable(row)
        if tx.topics and self._on_commit is not None:
            self._on_commit(frozenset(tx.topics))

    async def end_stuck_sessions(self, seconds: float = STUCK_AFTER) -> int:
        """End sessions of ours whose client does not read: they hold locks. Returns how many.

        Nothing to do on SQLite, whose one process is we.
        """
        if self.sqlite:
            return 0
        from storage.postgres import STUCK

        async with self.reading() as tx:
            ended = (await tx.connection.execute(STUCK, {"seconds": seconds})).mappings().all()
        for row in ended:
            log.warning("storage.stuck_session_ended", pid=row["pid"], ended=row["ended"])
        return len(ended)

    async def give_back(self, pages: int) -> None:
        """Shorten SQLite's file by at most so many free pages, holding the writer."""
        if self.sqlite:
            async with self._lock:
                await asyncio.to_thread(give_back, self.file, pages)

    async def checkpoint(self) -> None:
        """Checkpoint SQLite's log beside the writers, so that none of them has to do it."""
        if self.sqlite:
            await asyncio.to_thread(checkpoint, self.file)

    @property
    def file(self) -> str:
        """The file of a SQLite database."""
        return sa.make_url(self.url).database or ""

    def not_readable(self, row: UnreadableRow) -> None:
        """A row cannot be read, or what is done with it fails: it is set aside by the next turn for it."""
        if row.key in self._known:
            return
        self._unreadable.setdefault(row.key, row)
        if self._on_commit is not None:
            self._on_commit(frozenset({"unreadable"}))

    def found_unreadable(self) -> list[UnreadableRow]:
        """The rows that were found and are not known yet to be set aside."""
        return list(self._unreadable.values())

    def know_unreadable(self, rows: Iterable[UnreadableRow]) -> None:
        """These are set aside now, and no others are."""
        self._known = {row.key for row in rows}
        for key in self._known:
            self._unreadable.pop(key, None)

    def forget_unreadable(self, row: UnreadableRow) -> None:
        """A row that was found is there no longer."""
        self._unreadable.pop(row.key, None)

    async def dispose(self) -> None:
        """Close every connection, and wait for what is still on its way to the disk."""
        await self.writer.dispose()
        if self.reader is not self.writer:
            await self.reader.dispose()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, CLOSING_TIMEOUT)
        self._threads.clear()


ENVIRONMENT = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)
"""Failures that no statement is to blame for. PostgreSQL calls a session that it ended itself internal."""

CHANNEL = "toban"
"""PostgreSQL's NOTIFY channel; the payload names the topics that a commit touched."""


def _sqlite(url: str, threads: list[threading.Thread], *, size: int, writing: bool) -> AsyncEngine:
    file = sa.make_url(url).database or ""

    async def connect() -> Connection:
        connection = connect_sqlite(file, BUSY_TIMEOUT)
        # The driver tells its loop of each result from a thread that nobody joins, not even when the
        # file cannot be opened: it must not outlive that loop, nor hold up the end of the process.
        thread = connection._thread  # noqa: SLF001 - it offers no other way to be waited for
        thread.daemon = True
        threads[:] = [*(other for other in threads if other.is_alive()), thread]
        await connection
        return connection

    engine = create_async_engine(
        url,
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=30.0,
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # Before the first page of a new file is written.
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA journal_size_limit={JOURNAL}")
        cursor.execute("PRAGMA secure_delete=FAST")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA temp_store=MEMORY")
        if not writing:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).strip()[:200]}"
