"""New databases with the tables of this version: migrated once for each process, copied for each test."""

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from sandbox.stage import sqlite_url
from storage.database import Database
from storage.migrating import migrate
from tests.conftest import new_postgres
from tests.storage.conftest import engine_url


def new_sqlite(folder: Path) -> str:
    """A database file in a folder, as after the first start: to migrate takes 0.14 s, and tests are many."""
    (folder / "toban.db").write_bytes(_sqlite())
    return sqlite_url(folder)


def new_files(folder: Path) -> Callable[[], str]:
    """Makes one such file after the other, each in a folder of its own."""
    numbers = itertools.count()

    def fresh() -> str:
        made = folder / str(next(numbers))
        made.mkdir()
        return new_sqlite(made)

    return fresh


def migrated_postgres(server: str) -> str:
    """The same on a server."""
    return new_postgres(server, _postgres(server))


@cache
def _sqlite() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        url = sqlite_url(Path(folder))
        _migrate(url)
        return Path(folder, "toban.db").read_bytes()


@cache
def _postgres(server: str) -> str:
    url = new_postgres(server)
    _migrate(url)
    return urlsplit(url).path.removeprefix("/")


def _migrate(url: str) -> None:
    async def work() -> None:
        database = Database(engine_url(url))
        await migrate(database)
        await database.dispose()

    with ThreadPoolExecutor(1) as pool:  # Beside whatever loop runs here.
        pool.submit(asyncio.run, work()).result()
