"""13.8: one row that cannot be read stops nothing: not the drain, not a lane, not a ladder."""

from typing import Any

import pytest
import sqlalchemy as sa

from operations.unreadable import PROBLEM
from sandbox.stage import Stage
from storage.rows import table as table_of
from storage.tables import InboxRow, SetAsideRow, metadata
from storage.types import EpochMillis, Json
from tests.conftest import make_policy, open_stage
from tests.flows.looking import rows, twice
from tests.payloads import alertmanager, monitoring
from tests.sampling import ALL

INBOX, SET_ASIDE = table_of(InboxRow), table_of(SetAsideRow)

LIVING = ("inbox", "alert_group", "alert", "incident", "escalation", "page", "outbox", "timeline")
"""The tables that an alert fills by itself."""

SEEDED: dict[str, dict[str, Any]] = {
    "watch": {"kind": "plan", "key": "nightly", "state": "{}", "changed_at": 0, "version": 1},
    "job_run": {
        "name": "health",
        "due_at": 0,
        "started_at": 0,
        "outcome": "running",
        "attempts": 1,
        "done": 0,
        "lease_until": 0,
        "version": 1,
    },
    "finding": {
        "service": "bondpoint-api",
        "driver": "cpu",
        "direction": "up",
        "details": "{}",
        "started_at": 0,
        "seen_at": 0,
        "score": 1.0,
        "is_guest": False,
        "version": 1,
    },
    "deploy_lock": {
        "service": "bondpoint-db",
        "reason": '{"key": "lock.unreadable"}',
        "by": '{"id": "U1", "name": "x"}',
        "since": 0,
        "version": 1,
    },
}


Damage = tuple[str, str, str, bool]
"""Table, column, the damage as an SQL literal, whether only SQLite lets it in."""


ABSURD_MILLIS = ("253402300799000", "-62135596800000")
"""The end of the year 9999 and the beginning of the year 1."""

ABSURD_INSTANTS = ("'9999-12-31 23:59:59.999999'", "'0001-01-01 00:00:00.000000'")
"""As SQLite keeps them; PostgreSQL reads the same."""


def _is_number(column: sa.Column[Any]) -> bool:
    kind = getattr(column.type, "impl_instance", column.type)
    is_count = isinstance(kind, sa.Integer) and not isinstance(column.type, EpochMillis)
    return is_count and not column.primary_key and not column.foreign_keys


def _damages() -> list[Damage]:
    found = []
    for name in (*LIVING, *SEEDED):
        for column in metadata.tables[name].columns:
            kind = column.type
            if isinstance(getattr(kind, "impl_instance", None), sa.Enum) or "Word" in type(kind).__name__:
                found.append((name, column.name, "'of tomorrow'", False))
            elif isinstance(kind, Json):
                found.append((name, column.name, "'{broken'", False))
            elif isinstance(kind, EpochMillis):
                found.append((name, column.name, "9000000000000000000", False))
                found += [(name, column.name, moment, False) for moment in ABSURD_MILLIS]
            elif type(kind).__name__ == "Instant":
                found.append((name, column.name, "'infinity'", False))
                found += [(name, column.name, moment, False) for moment in ABSURD_INSTANTS]
            elif _is_number(column):
                found += [(name, column.name, number, True) for number in ("9223372036854775807", "-9e18")]
                found += [(name, column.name, number, False) for number in ("2147483647", "-2147483648")]
    found += [
        ("outbox", "due_at", "'yesterday'", True),
        ("escalation", "due_at", "'yesterday'", True),
        ("inbox", "received_at", "'yesterday'", True),
        ("outbox", "text", "'[1, 2]'", False),
        ("incident", "opened_by", "'[1, 2]'", False),
        ("incident", "title", "CAST(X'ff00fe' AS TEXT)", True),
        ("outbox", "place", "CAST(X'ff00fe' AS TEXT)", True),
        ("alert_group", "title", "CAST(X'ff00fe' AS TEXT)", True),
        ("escalation", "subject", "'spaceship:' || id", False),
        ("escalation", "step", "99", False),
        ("inbox", "kind", "'of tomorrow'", False),
    ]
    return found


async def _run(stage: Stage, statement: str) -> None:
    async with stage.bot.store() as tx:
        await tx.connection.execute(sa.text(statement))


async def _damage(stage: Stage, table: str, column: str, literal: str) -> dict[int, Any]:
    """Lay the damage into the rows of a table; returns what stood there, by id."""
    quoted = f'SELECT id, CAST("{column}" AS TEXT) AS was FROM "{table}"'
    one = f' WHERE id = (SELECT MIN(id) FROM "{table}")' if table in {"page", "job_run"} else ""
    if (table, column) == ("alert_group", "generation"):  # Of one key there is each only once.
        one = " WHERE id = (SELECT MAX(id) FROM alert_group)"
    if table == "escalation":
        one = " WHERE phase <> 'stopped'"
    async with stage.bot.store() as tx:
        found = (await tx.connection.execute(sa.text(quoted + one))).mappings().all()
        await tx.connection.execute(sa.text(f'UPDATE "{table}" SET "{column}" = {literal}{one}'))
    return {row["id"]: row["was"] for row in found}


async def _repair(stage: Stage, table: str, column: str, was: dict[int, Any]) -> None:
    if table == "escalation" and column in {"phase", "subject"}:  # Another ladder runs in its place.
        return
    if (table, column) == ("alert_group", "generation"):  # Another group has it by now.
        return
    kind = metadata.tables[table].c[column].type.compile(stage.bot.database.writer.dialect)
    async with stage.bot.store() as tx:
        for row_id, value in was.items():
            new = f'UPDATE "{table}" SET "{column}" = CAST(:was AS {kind}) WHERE id = :id'
            if kind in {"DATETIME", "BLOB"} or "CHAR" in kind:  # SQLite would make a number of it.
                new = f'UPDATE "{table}" SET "{column}" = :was WHERE id = :id'
            await tx.connection.execute(sa.text(new), {"was": value, "id": row_id})


async def _seed(stage: Stage, table: str) -> None:
    fields = SEEDED[table]
    names = ", ".join(f'"{name}"' for name in fields)
    values = ", ".join(f":{name}" for name in fields)
    async with stage.bot.store() as tx:
        await tx.connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({values})"), fields)


def _chosen() -> list[tuple[int, Damage]]:
    """With their numbers: the first damage of each table and the first of each sort, or all of them."""
    every = list(enumerate(_damages()))
    if ALL:
        return every
    firsts: dict[str, tuple[int, Damage]] = {}
    for number, damage in every:
        table, _, literal, _ = damage
        firsts.setdefault(f"in {table}", (number, damage))
        firsts.setdefault(literal, (number, damage))
    return sorted(set(firsts.values()))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("table", [*LIVING, *SEEDED])
async def test_after_any_damage_to_any_table_a_new_emergency_pages_and_has_its_card(
    stage: Stage, table: str
) -> None:
    """13.8: every table, every column of a kind that can be unreadable, and each way to be so."""
    if table in SEEDED:
        await _seed(stage, table)
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    assert len(stage.dms("kenji")) == 1
    mine = [
        (number, column, literal)
        for number, (of, column, literal, only_sqlite) in _chosen()
        if of == table and (stage.settings.is_sqlite or not only_sqlite)
    ]
    for number, column, literal in mine:
        await stage.advance(seconds=61)  # Else the pages of a storm are one message.
        what = f"{table}.{column} = {literal}"
        warning = alertmanager(f"db-{number}", group=f"Waiting {number}", severity="warning")
        await stage.webhook("alertmanager", warning, settle=False)
        was = await _damage(stage, table, column, literal)
        named = f"Everything {number} is down"
        new = monitoring(f"0.{number}", policy=named, severity="emergency", service=f"service-{number}")
        assert await stage.webhook("cloud-monitoring", new) == 200
        await stage.advance(seconds=5)
        assert any(named in page.plain for page in stage.dms("kenji")), f"{what}: it pages"
        assert any(named in card.plain for card in stage.channel("alerts")), f"{what}: it has its card"
        again = monitoring(f"0.again.{number}", severity="emergency")
        assert await stage.webhook("cloud-monitoring", again) == 200
        await stage.advance(seconds=5)
        if table != "inbox":
            quarantined = sa.select(INBOX.c.error).where(INBOX.c.status != "done")
            assert await rows(stage, quarantined) == [], f"{what}: the drain goes on"
        await _repair(stage, table, column, was)
    assert twice(stage) == {}
    if await rows(stage, sa.select(SET_ASIDE)):
        assert any("cannot be read" in line.plain for line in stage.channel("ops"))
        assert PROBLEM in stage.bot.world.problems.current()


AT_THEIR_END = (
    ("alert_group", "version"),
    ("escalation", "version"),
    ("escalation", "due_at"),
    ("outbox", "fence"),
    ("outbox", "wanted"),
    ("outbox", "attempts"),
    ("incident", "version"),
)
"""Numbers that the next change of a row adds to, in the rows that a critical alert fills."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lowest", [False, True])
async def test_8c_8d_8e_a_number_at_its_very_end_silences_neither_its_own_group_nor_any_other(
    stage: Stage, lowest: bool
) -> None:
    """It can be read, but nothing can be added to it; a moment of the year 1 or 9999 is one, too."""
    ends = {True: ABSURD_MILLIS}
    ends[False] = ("9223372036854775807", "-9e18")
    if not stage.settings.is_sqlite:
        ends[False] = ("2147483647", "-2147483648")
    for table, column in AT_THEIR_END:
        group, what = f"{table} {column}", f"{table}.{column}"
        await stage.advance(seconds=61)
        first = alertmanager(f"a-{group}", group=group, severity="critical")
        await stage.webhook("alertmanager", first)
        is_moment = isinstance(metadata.tables[table].c[column].type, EpochMillis)
        was = await _damage(stage, table, column, ends[is_moment][lowest])
        assert was, what
        before = len(stage.dms("kenji"))
        worse = alertmanager(f"b-{group}", group=group, severity="emergency")
        await stage.webhook("alertmanager", worse)
        await stage.advance(seconds=20)
        said = [page.plain for page in stage.dms("kenji")[before:]]
        assert any("緊急" in one and group in one for one in said), f"{what}: it pages: {said}"
        await stage.webhook("alertmanager", alertmanager(f"c-{group}", group=f"Other {group}"))
        await stage.advance(seconds=5)
        assert any(f"Other {group}" in card.plain for card in stage.channel("alerts")), what
        assert await rows(stage, sa.select(INBOX.c.error).where(INBOX.c.status != "done")) == [], what
        told = [line.plain for line in stage.channel("ops") if "cannot be read" in line.plain]
        assert any(table in line for line in told), what
        assert PROBLEM in stage.bot.world.problems.current(), what
        await _repair(stage, table, column, was)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE escalation SET level = CAST(x'fffe41' AS TEXT)",
        "UPDATE lane SET next_at = CAST(x'fffe41' AS TEXT)",
        "UPDATE page SET person = CAST(x'fffe41' AS TEXT)",
    ],
)
async def test_13_8_what_is_over_silences_nobody(sqlite_only: str, damage: str) -> None:
    """A ladder that has ended, the mark of a channel, an old page: damaged, in no row that lives."""
    async with open_stage(sqlite_only, make_policy()) as stage:
        await stage.webhook("alertmanager", alertmanager("a", severity="critical"))
        await stage.advance(seconds=30)
        await stage.press("kenji", stage.card("#alerts"), "Acknowledge")
        await stage.advance(minutes=2)
        async with stage.bot.store() as tx:
            await tx.connection.execute(sa.text(damage))
        await stage.webhook("alertmanager", alertmanager("b", severity="warning", group="Other"))
        emergency = alertmanager("c", severity="emergency", group="Third")
        await stage.webhook("alertmanager", emergency)
        await stage.advance(seconds=30)
        assert len(stage.dms("kenji")) == 2
        assert len(stage.dms("mika")) == 1
        assert len(stage.channel("#alerts")) == 3


@pytest.mark.parametrize("damage", ["UPDATE clock SET at = 'x'", "UPDATE clock SET at = 9000000000000000000"])
async def test_13_8_a_mark_of_the_clock_that_cannot_be_read_lets_the_bot_start(
    sqlite_only: str, damage: str
) -> None:
    async with open_stage(sqlite_only, make_policy()) as stage:
        await _run(stage, damage)
        await stage.stop()
        await stage.start()
        await stage.webhook("cloud-monitoring", monitoring("0.x", policy="Down", severity="emergency"))
        assert stage.dms("kenji")


async def test_13_8_a_workspace_that_cannot_be_read_lets_the_bot_start(sqlite_only: str) -> None:
    async with open_stage(sqlite_only, make_policy()) as stage:
        await stage.advance(minutes=1)
        await _run(stage, "UPDATE watch SET state = '{}' WHERE kind = 'workspace'")
        await stage.stop()
        await stage.start()
        await stage.webhook("cloud-monitoring", monitoring("0.x", policy="Down", severity="emergency"))
        assert stage.dms("kenji")
