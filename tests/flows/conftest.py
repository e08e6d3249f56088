"""Databases that have their tables already; a stage on SQLite, where the kind of it changes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.policy import Policy
from sandbox.stage import Stage
from tests.conftest import open_stage
from tests.databases import migrated_postgres, new_sqlite


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with its tables, once of each kind."""
    if request.param == "sqlite":
        return new_sqlite(tmp_path)
    return migrated_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def sqlite_only(tmp_path: Path) -> str:
    """The same of SQLite, where the other kind would show nothing more."""
    return new_sqlite(tmp_path)


@pytest.fixture
async def world(sqlite_only: str, policy: Policy) -> AsyncIterator[Stage]:
    """The whole world on SQLite."""
    async with open_stage(sqlite_only, policy) as opened:
        yield opened
