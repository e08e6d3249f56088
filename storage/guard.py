"""Keeps what a database cannot hold away from it: NUL and lone surrogates, and text longer than its column.

Readers of outside text clean it first, and refuse in words. This is the net below them: one character
must not undo a transaction in which other people's alerts are.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeDecorator

from domain.text import storable
from storage.types import Count

MARK = 16
"""Hexadecimal digits of the digest that a cut text ends in, so that two long keys stay two."""


def fitting(text: str, length: int) -> str:
    """The text, or its beginning and a digest of the whole where it is too long for its column."""
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[: min(MARK, length // 2)]
    return f"{text[: length - len(digest) - 1]}~{digest}"


class BoundedText(TypeDecorator[str]):
    """Text of a bounded column, the same on every database: SQLite would keep more than PostgreSQL takes."""

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Cut what is too long; a comparison cuts the same way and so finds it again."""
        return None if value is None else fitting(value, self.length)


def bound(metadata: sa.MetaData) -> None:
    """Make every bounded text column of these tables a ``BoundedText``, every number but keys a ``Count``."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind = column.type
            if type(kind) is sa.Integer and not column.primary_key:
                column.type = Count()
            plain = getattr(kind, "impl", kind)
            is_text = isinstance(plain, sa.String) and not isinstance(plain, sa.Enum | sa.Text)
            length = getattr(kind, "length", None)
            if is_text and not isinstance(kind, BoundedText) and length is not None:
                column.type = BoundedText(length)


def guard(engine: AsyncEngine) -> None:
    """Look at every parameter of every statement of this engine."""

    @sa.event.listens_for(engine.sync_engine, "before_cursor_execute", retval=True)
    def _clean(
        _connection: sa.Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        _many: bool,
    ) -> tuple[str, Any]:
        return statement, _kept(parameters)


def _kept(value: Any) -> Any:
    """The parameters with storable texts; the very same object where there is nothing to do."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        found = {key: _kept(inner) for key, inner in value.items()}
        return found if any(found[key] is not value[key] for key in found) else value
    if isinstance(value, list | tuple):
        kept = [_kept(inner) for inner in value]
        changed = any(after is not before for after, before in zip(kept, value, strict=True))
        return type(value)(kept) if changed else value
    return value
