"""Whether a delivery could be kept right now: something like one is really written."""

import asyncio
import os
import secrets
from pathlib import Path

import sqlalchemy as sa

from domain.errors import Outage
from domain.inbox import DeliveryStatus
from storage.database import Database
from storage.deliveries import INBOX
from storage.types import EPOCH

ROOM = 8 * 1024 * 1024
"""Bytes that the disk of a SQLite file must still take: the largest delivery, twice."""


async def keep_something(database: Database) -> None:
    """Commit a delivery that nobody ever sees. Raises ``Outage`` where that is impossible.

    SQLite reuses the pages of its log, so that a commit can succeed on a full disk for a while: beside
    it a file of ``ROOM`` bytes is made and removed again.
    """
    if database.sqlite:
        file = sa.make_url(database.url).database or ""
        try:
            await asyncio.to_thread(_take_room, file)
        except OSError as error:
            raise Outage(f"database: its disk takes nothing more: {error.strerror}") from error
    values = {
        "kind": "probe",
        "key": f"probe:{secrets.token_hex(8)}",
        "body": b"",
        "received_at": EPOCH,
        "status": DeliveryStatus.DONE,
    }
    async with database.writing() as tx:
        made = await tx.connection.execute(sa.insert(INBOX).values(**values).returning(INBOX.c.id))
        await tx.connection.execute(sa.delete(INBOX).where(INBOX.c.id == made.scalar_one()))


def _take_room(database: str) -> None:
    """Reserve space and write a little, as far as the disk itself."""
    name = Path(f"{database}.probe-{os.getpid()}")
    handle = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        name.unlink()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, ROOM)
        os.write(handle, b"\0" * 4096)
        os.fsync(handle)
    finally:
        os.close(handle)
