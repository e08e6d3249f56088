"""PostgreSQL's connections: every wait has a limit, on both ends, and what is dead is dropped."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

import psycopg
import psycopg.waiting
import sqlalchemy as sa
import structlog
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

log = structlog.get_logger(__name__)

CONNECT_WITHIN = timedelta(seconds=3)
"""A new connection takes no longer."""

ANSWER_WITHIN = timedelta(seconds=12)
"""The server answers each statement within this, or the connection counts as dead.

Longer than ``statement_timeout``, after which a server that can be reached says so itself.
"""

SETTINGS: Mapping[str, str] = {
    "idle_in_transaction_session_timeout": "4s",
    "lock_timeout": "6s",
    "statement_timeout": "10s",
    "transaction_timeout": "30s",
    "client_connection_check_interval": "2s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "8s",
}
"""Limits of each session, as far as the server knows them (``transaction_timeout`` since version 17).

A session that is idle inside a transaction is one of a stopped process or a vanished machine: its locks
are free after four seconds. Who waits for a lock waits longer than that.
"""

MIGRATING: Mapping[str, str] = {
    "idle_in_transaction_session_timeout": "15s",
    "lock_timeout": "60s",
    "statement_timeout": "0",
    "transaction_timeout": "0",
}
"""The limits of a migration: its statements may take long, and others wait for it."""

CLIENT: Mapping[str, Any] = {
    "connect_timeout": int(CONNECT_WITHIN.total_seconds()),
    "application_name": "toban",
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
"""How our end of the connection finds out that the other one is gone; the address may say otherwise."""


def _setting(limits: Mapping[str, str], *, local: bool) -> str:
    """A statement that sets those limits which the server knows and the address does not name itself."""
    rows = ", ".join(f"('{name}', '{value}')" for name, value in limits.items())
    return (
        f"SELECT set_config(name, wanted, {local}) FROM (VALUES {rows}) AS limits (name, wanted)"  # noqa: S608
        " JOIN pg_settings USING (name) WHERE pg_settings.source <> 'client'"
    )


class BoundedConnection(psycopg.AsyncConnection[Any]):
    """Waits for each answer only so long; a cancelled wait drops the connection at once.

    The driver asks the server to cancel and waits for its answer. On a silent network neither comes.
    """

    answer_within: float | None = ANSWER_WITHIN.total_seconds()

    async def wait(
        self,
        gen: PQGen[Any],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's signature
    ) -> Any:
        """Wait for one answer. Raises ``OperationalError`` where none comes, and closes the connection."""
        limit = self.answer_within if timeout is None else timeout
        try:
            return await psycopg.waiting.wait_async(gen, self.pgconn.socket, interval, limit)
        except errors._WaitTimeout as late:  # noqa: SLF001 - the driver names it nowhere else
            if timeout is not None:
                raise  # The caller waited for a notification and goes on.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {limit:.0f} s") from late
        except (asyncio.CancelledError, KeyboardInterrupt):
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Connect and set the limits of the session."""
        made = await super().connect(conninfo, **kwargs)
        try:
            await made.limit()
        except BaseException:
            made.pgconn.finish()
            raise
        return made

    async def limit(self) -> None:
        """Set the limits of the session, as far as the server takes them."""
        try:
            await self.execute(_setting(SETTINGS, local=False).encode())
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # One of them does not work on the server's platform: the others do.
            await self.rollback()
            for name, value in SETTINGS.items():
                try:
                    await self.execute(_setting({name: value}, local=False).encode())
                    await self.commit()
                except psycopg.DatabaseError as error:
                    await self.rollback()
                    log.info("storage.limit_not_set", setting=name, error=str(error).strip()[:200])
        if not self.autocommit:
            await self.commit()


def connect_args(url: str) -> dict[str, Any]:
    """What the driver is given beside the address; what the address says itself has the last word."""
    said = sa.make_url(url).query
    return {name: value for name, value in CLIENT.items() if name not in said} | {
        "async_creator_fn": BoundedConnection.connect
    }


async def unhurried(connection: Any) -> BoundedConnection:
    """Let this transaction of SQLAlchemy's connection take long, as a migration may."""
    await connection.execute(sa.text(_setting(MIGRATING, local=True)))
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, BoundedConnection)
    raw.answer_within = None
    return raw


STUCK = sa.text(
    "SELECT pid, pg_terminate_backend(pid) AS ended FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name') AND application_name <> ''"
    " AND xact_start IS NOT NULL AND wait_event_type = 'Client'"
    " AND greatest(state_change, query_start) < clock_timestamp() - make_interval(secs => :seconds)"
)
"""Ends sessions of ours that wait for their client inside a transaction for too long.

``idle_in_transaction_session_timeout`` does it for a session between two statements; this also finds
one that cannot write its answer, because its client was stopped while it was reading a long one.
"""
