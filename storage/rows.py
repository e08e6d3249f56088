"""What all queries share: the transaction's connection, inserts that do not mind a repetition."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from domain.errors import Outage

V = TypeVar("V", bound=BaseModel)

CHUNK = 400
"""Values in one IN (…): far below SQLite's and PostgreSQL's limits of parameters."""


class Conflict(Outage):
    """Somebody else changed the row since it was read; the whole operation is tried again."""

    def __init__(self, what: str) -> None:
        super().__init__(f"changed meanwhile: {what}")


def table(row: type[SQLModel]) -> sa.Table:
    """The table behind a row class."""
    found = row.__table__  # type: ignore[attr-defined]
    assert isinstance(found, sa.Table)
    return found


class Rows:
    """One transaction's connection, with the few statements that every query needs.

    ``topics`` collects which loops a commit has to wake.
    """

    def __init__(self, connection: AsyncConnection, *, writing: bool) -> None:
        self.connection = connection
        self.writing = writing
        self.postgres = connection.dialect.name == "postgresql"
        self.topics: set[str] = set()

    def insert(self, row: type[SQLModel]) -> "sqlite.Insert | postgresql.Insert":
        """An INSERT that knows ON CONFLICT on either database."""
        return postgresql.insert(table(row)) if self.postgres else sqlite.insert(table(row))

    async def rows(self, query: sa.Select[Any]) -> Sequence[Mapping[str, Any]]:
        """All rows of a query. On PostgreSQL a writing transaction locks them until it ends."""
        found: Sequence[Any] = (await self.connection.execute(query)).mappings().all()
        return found

    async def values(self, kind: type[V], query: sa.Select[Any], *, lock: bool = True) -> list[V]:
        """The domain's values of a query over one table."""
        if self.postgres and self.writing and lock:
            query = query.with_for_update()
        return [value_of(kind, row) for row in await self.rows(query)]

    async def values_in(
        self, kind: type[V], query: sa.Select[Any], column: sa.Column[Any], wanted: Iterable[Any]
    ) -> list[V]:
        """The same, for a list of keys of any length, locked in the order of the keys."""
        found: list[V] = []
        keys = sorted(set(wanted))
        for start in range(0, len(keys), CHUNK):
            part = query.where(column.in_(keys[start : start + CHUNK])).order_by(column)
            found += await self.values(kind, part)
        return found

    async def add(self, row: type[SQLModel], value: V) -> V:
        """Insert a new value and return it with its id."""
        fields = as_row(value)
        fields.pop("id")
        statement = sa.insert(table(row)).values(fields).returning(table(row).c.id)
        new_id = (await self.connection.execute(statement)).scalar_one()
        return value.model_copy(update={"id": new_id})

    async def save(self, row: type[SQLModel], value: BaseModel) -> None:
        """Write a changed value back. Raises ``Conflict`` where its version is not the stored one."""
        fields = as_row(value)
        target = table(row)
        condition = target.c.id == fields.pop("id")
        if "version" in fields:
            condition = sa.and_(condition, target.c.version == fields["version"])
            fields["version"] += 1
        result = await self.connection.execute(sa.update(target).where(condition).values(fields))
        if result.rowcount != 1:
            raise Conflict(f"{target.name}")

    async def save_many(self, row: type[SQLModel], values: Sequence[BaseModel]) -> None:
        """The same for many values of one kind, sent as one statement."""
        if not values:
            return
        target = table(row)
        rows = []
        for value in values:
            fields = as_row(value)
            fields["row_id"] = fields.pop("id")
            fields["row_version"] = fields["version"]
            fields["version"] += 1
            rows.append(fields)
        columns: dict[str, Any] = {
            name: sa.bindparam(name) for name in rows[0] if name not in {"row_id", "row_version"}
        }
        mine = (target.c.id == sa.bindparam("row_id")) & (target.c.version == sa.bindparam("row_version"))
        result = await self.connection.execute(sa.update(target).where(mine).values(columns), rows)
        if result.rowcount != len(rows):
            raise Conflict(f"{target.name}")


def as_row(value: BaseModel) -> dict[str, Any]:
    """A value's fields as they are, nested values undumped: the column types do that."""
    return {name: getattr(value, name) for name in _names(type(value))}


def value_of(kind: type[V], row: Mapping[str, Any]) -> V:
    """The domain's value of a row, validated: what an older version wrote must still fit."""
    return kind(**{name: row[name] for name in _names(kind)})


@cache
def _names(kind: type[BaseModel]) -> tuple[str, ...]:
    """A value's fields; asking pydantic each time costs as much as the rest of the row."""
    return tuple(kind.model_fields)
