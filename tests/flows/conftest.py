"""Databases that have their tables already; a stage on SQLite, where the kind of it changes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from domain.policy import Policy
from sandbox.stage import Stage
from tests.conftest import open_stage
from tests.databases import migrated_postgres, new_sqlite
from tests.flows.destinations import Destination, Folder, bucket
from tests.sampling import ALL


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


@pytest.fixture(params=["folder", "bucket"] if ALL else ["folder"])
async def destination(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Destination]:
    """Where copies are kept: a folder; in `make test-all`, and where a test asks for it, a bucket too."""
    if request.param == "folder":
        yield Folder(tmp_path / "kept")
        return
    async with bucket() as made:
        yield made
