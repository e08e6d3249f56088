"""A stage on SQLite alone, for stories that the kind of database does not change."""

from collections.abc import AsyncIterator

import pytest

from domain.policy import Policy
from sandbox.stage import Stage
from tests.conftest import open_stage


@pytest.fixture
async def world(sqlite_only: str, policy: Policy) -> AsyncIterator[Stage]:
    """The whole world on SQLite."""
    async with open_stage(sqlite_only, policy) as opened:
        yield opened
