"""Compiled statements, shared by every engine of a test process: each stage opens engines of its own."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util import LRUCache

SIZE = 10_000
"""Statements that are kept, more than there are."""

_compiled: LRUCache[Any, Any] = LRUCache(SIZE)


def share() -> None:
    """From now on a statement is compiled once for each kind of database.

    SQLAlchemy keeps what it compiled by engine and by dialect object. A bot opens its engines once, tests
    do so thousands of times, and compiling took a third of the processor time of a stage. Every engine of
    one kind in a run has the same driver, server and options, so that their statements are the same, too.
    """
    for kind in (PGDialectAsync_psycopg, SQLiteDialect_aiosqlite):
        kind.__eq__ = _is_same_kind  # type: ignore[method-assign, assignment]
        kind.__hash__ = _hash_of_kind  # type: ignore[method-assign, assignment]
    sa.event.listen(sa.Engine, "engine_connect", _use)


def _is_same_kind(one: object, other: object) -> bool:
    return type(one) is type(other)


def _hash_of_kind(one: object) -> int:
    return hash(type(one))


def _use(connection: sa.Connection) -> None:
    connection.engine._compiled_cache = _compiled
