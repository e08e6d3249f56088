"""What all queries share: the transaction's connection, inserts that do not mind a repetition.

One row that cannot be read never stops the others: it is left out of what a query returns, and named in
``Rows.unreadable``, from where ``operations/unreadable.py`` sets it aside and tells it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from domain.errors import Outage
from domain.unreadable import UnreadableRow
from storage.types import UnreadableValue

V = TypeVar("V", bound=BaseModel)

Rescue = Callable[[Mapping[str, Any], frozenset[str]], V | None]
"""Makes a value of what can be read of a row, given the fields that cannot."""

LAST_ID = 2**53
"""SQLite's ids may be any 64 bits; one as high as this is damage, and the next would be out of range."""

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
        self.unreadable: list[UnreadableRow] = []

    def insert(self, row: type[SQLModel]) -> "sqlite.Insert | postgresql.Insert":
        """An INSERT that knows ON CONFLICT on either database."""
        return postgresql.insert(table(row)) if self.postgres else sqlite.insert(table(row))

    async def rows(self, query: sa.Select[Any], of: sa.Table | None = None) -> Sequence[Mapping[str, Any]]:
        """All rows of a query. On PostgreSQL a writing transaction locks them until it ends.

        A value that cannot be read is an ``UnreadableValue``. What even the driver cannot fetch (text that
        is no UTF-8, a time after the year 9999) is one too, where the query is over the one table ``of``.
        """
        try:
            found: Sequence[Any] = (await self.connection.execute(query)).mappings().all()
        except (sa.exc.DataError, sa.exc.OperationalError) as error:
            of = of if of is not None else _only_table(query)
            if of is None or not is_about_a_value(error):
                raise
            return await self._one_by_one(query, of)
        return found

    async def _one_by_one(self, query: sa.Select[Any], of: sa.Table) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        key = next(iter(of.primary_key.columns))
        ids = (await self.connection.execute(query.with_only_columns(key))).scalars().all()
        for row_id in ids:
            one = query.where(key == row_id)
            try:
                found += (await self.connection.execute(one)).mappings().all()
            except (sa.exc.DataError, sa.exc.OperationalError) as error:
                if not is_about_a_value(error):
                    raise
                found.append(
                    {str(column.key): await self._alone(one, column) for column in query.selected_columns}
                )
        return found

    async def _alone(self, query: sa.Select[Any], column: Any) -> Any:
        """One column of a row whose other columns the driver may not be able to fetch."""
        try:
            found = await self.connection.execute(query.with_only_columns(column, maintain_column_froms=True))
            return found.scalar_one_or_none()
        except (sa.exc.DataError, sa.exc.OperationalError) as error:
            if not is_about_a_value(error):
                raise
            return UnreadableValue(" ".join(str(error.orig).split())[:300])

    def not_readable(self, of: sa.Table, row_id: int, reason: str) -> None:
        """Name a row that cannot be read; the caller goes on without it."""
        self.unreadable.append(UnreadableRow(source=of.name, row_id=row_id, reason=reason[:500]))

    async def values(
        self,
        kind: type[V],
        query: sa.Select[Any],
        *,
        lock: bool = True,
        rescue: Rescue[V] | None = None,
        of: sa.Table | None = None,
    ) -> list[V]:
        """The domain's values of a query over one table; rows that cannot be read are left out.

        ``of`` names the table where the query joins others for its order or its conditions.

        ``rescue`` sees such a row, with the names of the fields that it lacks, and may make a value of
        the rest.
        """
        if self.postgres and self.writing and lock:
            query = query.with_for_update()
        found: list[V] = []
        for row in await self.rows(query, of):
            try:
                found.append(value_of(kind, row))
            except ValidationError as error:
                of = of if of is not None else _only_table(query)
                assert of is not None, "values are asked of one table"
                self.not_readable(of, row["id"], why(error))
                rescued = rescue(row, _fields(error)) if rescue is not None else None
                if rescued is not None:
                    found.append(rescued)
        return found

    async def values_in(
        self,
        kind: type[V],
        query: sa.Select[Any],
        column: sa.Column[Any],
        wanted: Iterable[Any],
        rescue: Rescue[V] | None = None,
        *,
        lock: bool = True,
    ) -> list[V]:
        """The same, for a list of keys of any length, locked in the order of the keys."""
        found: list[V] = []
        keys = sorted(set(wanted))
        for start in range(0, len(keys), CHUNK):
            part = query.where(column.in_(keys[start : start + CHUNK])).order_by(column)
            found += await self.values(kind, part, lock=lock, rescue=rescue)
        return found

    async def add(self, row: type[SQLModel], value: V) -> V:
        """Insert a new value and return it with its id."""
        fields = as_row(value)
        fields.pop("id")
        statement = sa.insert(table(row)).values(fields).returning(table(row).c.id)
        new_id = (await self.connection.execute(statement)).scalar_one()
        return value.model_copy(update={"id": new_id})

    async def add_many(self, row: type[SQLModel], values: Sequence[V]) -> list[V]:
        """Insert many new values in one statement and return them with their ids, in the same order."""
        if not values:
            return []
        target = table(row)
        rows = without_id(values)
        if self.postgres:
            statement = sa.insert(target).returning(target.c.id, sort_by_parameter_order=True)
            ids: Sequence[int] = (await self.connection.execute(statement, rows)).scalars().all()
        else:  # It answers many rows one by one; but its one writer knows what it would call them.
            meant = sa.select(target.c.id).where(target.c.id < LAST_ID).order_by(target.c.id.desc()).limit(1)
            newest = (await self.connection.execute(meant)).scalar() or 0
            ids = range(newest + 1, newest + 1 + len(rows))
            named = [fields | {"id": new_id} for fields, new_id in zip(rows, ids, strict=True)]
            await self.connection.execute(sa.insert(target), named)
        return [value.model_copy(update={"id": new_id}) for value, new_id in zip(values, ids, strict=True)]

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


def without_id(values: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """New values' fields, for a statement that inserts many."""
    rows = [as_row(value) for value in values]
    for row in rows:
        del row["id"]
    return rows


def value_of(kind: type[V], row: Mapping[str, Any]) -> V:
    """The domain's value of a row, validated: what an older version wrote must still fit."""
    return kind(**{name: row[name] for name in _names(kind)})


def why(error: ValidationError) -> str:
    """The reason in a few words: which field holds what that it may not."""
    told = []
    for one in error.errors(include_url=False)[:3]:
        field, given = ".".join(map(str, one["loc"])), one["input"]
        said = given.reason if isinstance(given, UnreadableValue) else one["msg"]
        told.append(f"{field}: {said}")
    return "; ".join(told)


def _fields(error: ValidationError) -> frozenset[str]:
    return frozenset(str(one["loc"][0]) for one in error.errors(include_url=False) if one["loc"])


def _only_table(query: sa.Select[Any]) -> sa.Table | None:
    """The table of a query over one."""
    froms = query.get_final_froms()
    return froms[0] if len(froms) == 1 and isinstance(froms[0], sa.Table) else None


def is_about_a_value(error: sa.exc.DBAPIError) -> bool:
    """True where the driver could not make a value of what is stored, and the connection is well."""
    return isinstance(error, sa.exc.DataError) or "decode" in str(error.orig).lower()


@cache
def _names(kind: type[BaseModel]) -> tuple[str, ...]:
    """A value's fields; asking pydantic each time costs as much as the rest of the row."""
    return tuple(kind.model_fields)
