"""Column types that keep what the domain means: aware UTC times, enum values, nested values."""

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator

from domain.text import storable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A 64-bit key; SQLite only counts up by itself on INTEGER."""


def to_millis(at: datetime) -> int:
    """Milliseconds since 1970, exactly. Raises ``ValueError`` for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return (at - EPOCH) // MILLISECOND


class EpochMillis(TypeDecorator[datetime]):
    """Due times, leases and marks of the engine: whole milliseconds, the same on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Refuse naive times."""
        return None if value is None else to_millis(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Aware, UTC."""
        return None if value is None else EPOCH + value * MILLISECOND


class Json(TypeDecorator[Any]):
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


def stored_enum(kind: type[StrEnum]) -> sa.Enum:
    """An enum by its value; the default would store the member's name."""
    return sa.Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=False,
        values_callable=lambda members: [member.value for member in members],
    )
