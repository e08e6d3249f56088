"""The SQLite driver, with one trip to its thread for each statement instead of four."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import aiosqlite

Run = Callable[[sqlite3.Cursor, str, Any], sqlite3.Cursor]


class Answer(NamedTuple):
    """What a cursor had to say before it was closed."""

    rows: list[Any]
    description: Any
    rowcount: int
    lastrowid: int | None


class Connection(aiosqlite.Connection):
    """A connection whose thread makes, runs, reads and closes a cursor in one go.

    The driver's own cursor asks the thread for each of these steps, and every trip costs two changes of
    thread: more processor time than most statements.
    """

    _under_way = 0
    """Calls whose end is not known. One that was cancelled stays counted: the thread may still run it."""

    def cursor(self) -> "Cursor":  # type: ignore[override]
        """Returns a cursor without asking the thread for one."""
        return Cursor(self)

    async def ask(self, run: Run, sql: str, parameters: Any) -> Answer:
        """One statement from its beginning to its last row. Raises ``sqlite3.Error``."""
        answer: Answer = await self._execute(self._ask, run, sql, parameters)
        return answer

    async def rollback(self) -> None:
        """Roll back where there may be something to roll back; the pool asks for it after every use."""
        if self._under_way or self._conn.in_transaction:
            await super().rollback()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._under_way += 1
        try:
            answer = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._under_way -= 1
            raise
        self._under_way -= 1
        return answer

    def _ask(self, run: Run, sql: str, parameters: Any) -> Answer:
        """In the connection's thread."""
        cursor = self._conn.cursor()
        try:
            run(cursor, sql, parameters)
            rows = cursor.fetchall() if cursor.description else []
            return Answer(rows, cursor.description, cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()


class Cursor:
    """What SQLAlchemy asks of a cursor. Its rows are read already when ``execute`` returns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer = Answer([], None, -1, None)
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    @property
    def description(self) -> Any:
        """The columns; ``None`` where the statement has none."""
        return self._answer.description

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed; -1 where it changes none."""
        return self._answer.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The number of the row that was inserted last."""
        return self._answer.lastrowid

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement. Raises ``sqlite3.Error``."""
        self._answer = await self._connection.ask(sqlite3.Cursor.execute, sql, parameters)

    async def executemany(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Run one statement with each of these parameters. Raises ``sqlite3.Error``."""
        self._answer = await self._connection.ask(sqlite3.Cursor.executemany, sql, parameters)

    async def fetchall(self) -> list[Any]:
        """Every row."""
        return self._answer.rows

    async def close(self) -> None:
        """Nothing: the thread's own cursor is closed already."""


def connect(file: str, timeout: float) -> Connection:
    """A connection to a file, which is opened when the connection is awaited."""

    def opened() -> sqlite3.Connection:
        return sqlite3.connect(file, timeout=timeout, check_same_thread=False)

    return Connection(opened, iter_chunk_size=64)
