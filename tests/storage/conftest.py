"""A migrated database of either kind, and a second pair of hands on the same one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest

from bot.settings import DRIVERS
from storage.database import Database
from storage.migrating import migrate

AT = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)

Opener = Callable[[], Awaitable[Database]]


def engine_url(url: str) -> str:
    """What SQLAlchemy is given for the address that an operator writes."""
    scheme, _, rest = url.partition("://")
    return f"{DRIVERS[scheme]}://{rest}"


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Opener]:
    """Opens the database once more, as another process would; closed at the end."""
    async with AsyncExitStack() as stack:

        async def once_more() -> Database:
            database = Database(engine_url(database_url))
            stack.push_async_callback(database.dispose)
            return database

        yield once_more


@pytest.fixture
async def empty(opened: Opener) -> Database:
    """A database without a table."""
    return await opened()


@pytest.fixture
async def database(empty: Database) -> Database:
    """A database of this version."""
    await migrate(empty)
    return empty
