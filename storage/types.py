"""Column types that keep what the domain means: aware UTC times, enum values, nested values.

What a row holds may not be what this version understands: an unknown value of an enum after a rollback,
broken JSON, a time that is none. Reading one such column never raises: it gives an ``UnreadableValue``,
so that one row cannot stop a query over many (``storage/rows.py`` sets the row aside). So does a number or
a moment that can be read but cannot be meant: one to which nothing can be added would fail whatever uses it.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel.sql.sqltypes import UTCDateTime

from domain.text import storable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""No moment that is meant is before ``EPOCH`` or as late as this; those of senders end a century earlier."""

HIGHEST = 1_000_000_000
"""No count, version, fence or id is so far from zero: PostgreSQL's integers end at twice that."""

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A 64-bit key; SQLite only counts up by itself on INTEGER."""


class UnreadableValue:
    """Stands in a row for a value that this version cannot read; ``reason`` says why."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"<unreadable: {self.reason}>"


class NotReadable(ValueError):
    """A row holds a value that this version cannot read."""


def refuse_unreadable(row: Mapping[str, Any]) -> None:
    """Raise ``NotReadable`` where a column of the row could not be read."""
    for name, value in row.items():
        if isinstance(value, UnreadableValue):
            raise NotReadable(f"{name}: {value.reason}")


Processor = Callable[[Any], Any]


def guarded(process: Processor) -> Processor:
    """The same reading of a stored value, that returns an ``UnreadableValue`` instead of raising."""

    def read(value: Any) -> Any:
        try:
            return process(value)
        except Exception as error:  # noqa: BLE001  # It concerns its own row only, whatever it is.
            return UnreadableValue(f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])

    return read


class Guarded(TypeDecorator[Any]):
    """A column type whose reading never raises."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: Any) -> Processor | None:
        """Wrap the whole reading, the driver's part of it too."""
        process = super().result_processor(dialect, coltype)
        return None if process is None else guarded(process)


def in_range(at: datetime | None) -> datetime | None:
    """The moment. Raises ``ValueError`` for one that nobody can mean, such as the year 1 or 9999."""
    if at is not None and not EPOCH <= at < LATEST:
        raise ValueError(f"{at:%Y-%m-%d} is out of range")
    return at


class Count(Guarded):
    """A whole number that things are added to, counted by or found by."""

    impl = sa.Integer
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Refuse what nobody can have counted. SQLite makes a float of a sum beyond 64 bits."""
        if value is not None and (type(value) is not int or not -HIGHEST < value < HIGHEST):
            raise ValueError(f"{value!r:.40} is out of range")
        return value


def one_more(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """A counter plus one; an absurd one as it is, so that it fails nobody's statement before it is read."""
    return sa.case((sa.and_(column > -HIGHEST, column < HIGHEST), column + 1), else_=column)


def to_millis(at: datetime) -> int:
    """Milliseconds since 1970, exactly. Raises ``ValueError`` for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return (at - EPOCH) // MILLISECOND


class EpochMillis(Guarded):
    """Due times, leases and marks of the engine: whole milliseconds, the same on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Refuse naive times."""
        return None if value is None else to_millis(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Aware, UTC."""
        return None if value is None else in_range(EPOCH + value * MILLISECOND)


class Json(Guarded):
    """A nested value as JSON text, through pydantic on both ways."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Dump with the type's own rules; a lone surrogate, which UTF-8 has not, becomes U+FFFD."""
        if value is None:
            return None
        try:
            return self._adapter.dump_json(value).decode()
        except PydanticSerializationError:
            written = json.dumps(self._adapter.dump_python(value, mode="json"), ensure_ascii=False)
            return storable(written)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read with the type's own rules; what an older version wrote must still fit."""
        return None if value is None else self._adapter.validate_json(value)


class Instant(Guarded):
    """A point in time in the database's own type, aware and UTC."""

    impl = UTCDateTime
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Aware and UTC already."""
        return in_range(value)


class _Word(Guarded):
    """An enum by its value; the default would store the member's name."""

    impl = sa.Enum
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__(
            kind,
            native_enum=False,
            length=32,
            create_constraint=False,
            values_callable=lambda members: [member.value for member in members],
        )
        self.kind = kind


def stored_enum(kind: type[StrEnum]) -> TypeDecorator[Any]:
    """The column type of an enum."""
    return _Word(kind)
