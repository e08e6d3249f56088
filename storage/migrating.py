"""Brings a database to this version's schema; says whether it is there without loading Alembic."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from domain.errors import Outage

if TYPE_CHECKING:
    from alembic.config import Config

    from storage.database import Database

HEAD = "0021"
"""The newest migration. A constant, so that a start on an up-to-date database needs no Alembic (0.3 s)."""

LOCK = 0x6D69677261
"""PostgreSQL's advisory lock, so that of many replicas one migrates."""


async def revision(database: "Database") -> str | None:
    """The schema's revision; ``None`` on an empty database."""
    try:
        return await _revision(database)
    except sa.exc.DatabaseError as error:
        raise Outage(f"the database cannot be used: {str(error.orig or error).strip()[:200]}") from error


async def _revision(database: "Database") -> str | None:
    async with database.reading() as tx:
        present = await tx.connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version"))
        if not present:
            return None
        found = await tx.connection.execute(sa.text("SELECT version_num FROM alembic_version"))
        value = found.scalar_one_or_none()
        return str(value) if value is not None else None


async def migrate(database: "Database") -> str | None:
    """Bring the schema to ``HEAD``. Returns the revision that was there before.

    Safe to call from every replica at once. Raises ``Outage`` where the database belongs to a newer
    version of Toban.
    """
    try:
        return await _migrate(database)
    except sa.exc.DatabaseError as error:
        raise Outage(f"the database cannot be used: {str(error.orig or error).strip()[:200]}") from error


async def _migrate(database: "Database") -> str | None:
    before = await revision(database)
    if before == HEAD:
        return before
    if database.sqlite:
        async with database.writer.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
        return before
    try:
        await _migrate_postgres(database)
    except (sa.exc.OperationalError, sa.exc.InternalError) as error:
        raise Outage(f"the database cannot be migrated now: {str(error.orig).strip()[:200]}") from error
    return before


async def _migrate_postgres(database: "Database") -> None:
    """One replica migrates, the others wait for it, at most a minute.

    One that was stopped meanwhile loses its session, and the lock with it, after a quarter of one.
    """
    from storage.postgres import unhurried

    async with database.writer.connect() as connection:
        await unhurried(connection)
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        await connection.run_sync(_upgrade)
        await connection.commit()
        await connection.invalidate()  # Its waits have no limit: nobody else shall have it.


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(config(connection), "head")
    except CommandError as error:
        newer = "locate revision" in str(error)
        why = "it belongs to a newer version of Toban" if newer else "its schema cannot be brought up to date"
        raise Outage(f"the database cannot be used: {why} ({error})") from error


def config(connection: sa.Connection) -> "Config":
    """Alembic's configuration for a connection; there is no ini file."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    return made
