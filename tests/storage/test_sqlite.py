"""The driver of SQLite: one trip to its thread for a statement; what was cancelled leaves nothing behind."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.sqlite import Connection, connect


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    opened = connect(str(tmp_path / "toban.db"), 5.0)
    await opened
    opened._conn.isolation_level = None
    await opened.cursor().execute("CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    yield opened
    await opened.close()


async def test_a_statement_answers_with_its_rows_columns_and_counts(connection: Connection) -> None:
    cursor = connection.cursor()
    await cursor.executemany("INSERT INTO word (text) VALUES (?)", [("one",), ("two",), ("three",)])
    assert (cursor.rowcount, cursor.description) == (3, None)
    await cursor.execute("INSERT INTO word (text) VALUES (?)", ("four",))
    assert (cursor.rowcount, cursor.lastrowid) == (1, 4)
    await cursor.execute("UPDATE word SET text = text || '!' WHERE id > ? RETURNING id", (2,))
    assert (await cursor.fetchall(), cursor.rowcount) == ([(3,), (4,)], 2)
    await cursor.execute("SELECT id, text FROM word WHERE id < 3")
    assert [column[0] for column in cursor.description] == ["id", "text"]
    assert await cursor.fetchall() == [(1, "one"), (2, "two")]


async def test_a_statement_that_fails_says_why_and_the_next_one_works(connection: Connection) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO word (text) VALUES ('one')")
    with pytest.raises(sqlite3.IntegrityError, match=r"word\.text"):
        await cursor.execute("INSERT INTO word (text) VALUES ('one')")
    await cursor.execute("SELECT COUNT(*) FROM word")
    assert await cursor.fetchall() == [(1,)]


async def test_a_transaction_is_rolled_back_and_none_is_not_asked_for(connection: Connection) -> None:
    cursor = connection.cursor()
    await connection.rollback()
    await cursor.execute("BEGIN IMMEDIATE")
    await cursor.execute("INSERT INTO word (text) VALUES ('one')")
    await connection.rollback()
    assert not connection.in_transaction
    await cursor.execute("SELECT COUNT(*) FROM word")
    assert await cursor.fetchall() == [(0,)]


async def test_a_transaction_that_begins_after_its_caller_was_cancelled_is_rolled_back(
    connection: Connection,
) -> None:
    """The thread is busy: it begins the transaction when nobody waits for it any longer."""
    gate = threading.Event()
    connection._tx.put_nowait((None, gate.wait))
    begin = asyncio.ensure_future(connection.cursor().execute("BEGIN IMMEDIATE"))
    await asyncio.sleep(0)
    begin.cancel()
    await asyncio.gather(begin, return_exceptions=True)
    rollback = asyncio.ensure_future(connection.rollback())
    await asyncio.sleep(0)
    gate.set()
    await rollback
    await connection.cursor().execute("SELECT 1")
    assert not connection.in_transaction
