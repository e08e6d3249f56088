"""Puts quarantined deliveries back for the drain, while the bot runs or not."""

from collections import Counter
from collections.abc import Sequence

from bot.clock import SystemClock
from bot.settings import Settings
from domain.errors import Outage
from domain.inbox import PEOPLE
from storage.database import Database
from storage.migrating import HEAD, revision


async def show(settings: Settings) -> list[str]:
    """What is quarantined, by kind, with the newest reason; and the rows that are set aside."""
    database = await _open(settings)
    try:
        async with database.reading() as tx:
            found = await tx.quarantined_by_kind()
            rows = await tx.rows_set_aside()
    finally:
        await database.dispose()
    lines = [
        f"{one.kind}: {one.count} quarantined, the newest no. {one.newest}: {one.reason}" for one in found
    ]
    lines += [f"row {row.row_id} of the table {row.source} is set aside: {row.reason}" for row in rows]
    return lines or ["Nothing is quarantined."]


async def redrive(settings: Settings, kind: str | None, ids: Sequence[int]) -> list[str]:
    """Put deliveries back; says how many of each kind. Raises ``Outage`` where the database cannot be used.

    What people clicked or typed is put back only where it is named by ``kind`` or ``ids``: days later nobody
    expects it any more.
    """
    database = await _open(settings)
    done: Counter[str] = Counter()
    try:
        at = SystemClock().now()
        while True:
            async with database.writing() as tx:
                found = await tx.redrive(at, kind=kind, ids=ids, people=kind == PEOPLE or bool(ids))
            done.update(delivery.kind for delivery in found)
            if not found:
                break
    finally:
        await database.dispose()
    if not done:
        return ["Nothing to put back."]
    lines = [f"{count} of {name} put back" for name, count in sorted(done.items())]
    return [*lines, "The bot takes them in their order; what comes of each is told in the ops channel."]


async def _open(settings: Settings) -> Database:
    """The database at this version's schema; anything else could misread it."""
    database = Database(settings.database)
    found = None
    try:
        found = await revision(database)
    finally:
        if found != HEAD:
            await database.dispose()
    if found != HEAD:
        raise Outage(f"the database is at revision {found}, this version needs {HEAD}: toban migrate")
    return database
