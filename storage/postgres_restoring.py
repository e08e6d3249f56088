"""Puts a copy of our own PostgreSQL database in the place of the real one: proven first, the old one kept."""

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from domain.copies import Manifest
from domain.errors import Outage
from storage.postgres_copies import TABLES, connect, digests_of, first_lines, tool, with_database
from storage.restoring import COUNTED, Marks, State, counted, demand_same

ELSEWHERE = ("postgres", "template1")
"""Databases of every server from which another one can be made and renamed."""

LONGEST = 63
"""Bytes of a database's name."""


async def restore_postgres(
    copy: Path,
    manifest: Manifest,
    url: str,
    tools: str | None,
    marks: Marks,
    at: datetime,
    *,
    overwrite: bool,
) -> str | None:
    """Restore a dump into the database of a URL. Returns the name of the one that was there, if any.

    Into one that is there and empty it goes straight, in one transaction. Else a new one is made beside it,
    read again and marked, and takes the name: for that the role needs CREATEDB, and must own the old one.
    Nobody else may be connected. Raises ``Outage``, and what was there is as it was.
    """
    import psycopg

    try:
        return await _Target(url, tools).restore(copy, manifest, marks, at, overwrite=overwrite)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Outage(
            f"PostgreSQL: {first_lines(str(error))}. Make an empty database by hand, and name it by --to"
        ) from error
    except psycopg.Error as error:
        raise Outage(f"PostgreSQL: {first_lines(str(error))}") from error


class _Target:
    """One database of a server, whether it is there or not."""

    def __init__(self, url: str, tools: str | None) -> None:
        self._url = url
        self._tools = tools
        self._name = unquote(urlsplit(url).path.removeprefix("/"))
        if not self._name:
            raise Outage("the URL names no database")

    async def restore(
        self, copy: Path, manifest: Manifest, marks: Marks, at: datetime, *, overwrite: bool
    ) -> str | None:
        async with await self._elsewhere() as server:
            there = await _is_there(server, self._name)
            if there:
                await self._refuse_users(server)
            state, is_empty = await self._state() if there else (State(), False)
            state.demand(manifest, f"the database {self._name}", overwrite=overwrite)
            if is_empty:
                await self._fill(self._name, copy, manifest, marks, at, "--single-transaction")
                return None
            new = f"{self._name[: LONGEST - 10]}_restoring"
            await _run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", new)
            await _run(server, "CREATE DATABASE {} TEMPLATE template0", new)
            try:
                await self._fill(new, copy, manifest, marks, at, "--exit-on-error")
                return await self._swap(server, new, at, there=there)
            except BaseException:
                await _run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", new)
                raise

    async def _elsewhere(self) -> Any:
        import psycopg

        for name in ELSEWHERE[:-1]:
            try:
                return await connect(with_database(self._url, name))
            except psycopg.OperationalError:
                continue
        return await connect(with_database(self._url, ELSEWHERE[-1]))

    async def _refuse_users(self, server: Any) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        (users,) = await (await server.execute(query, (self._name,))).fetchone()
        if users:
            raise Outage(f"{users} sessions use the database {self._name}: stop every Toban on it first")

    async def _state(self) -> tuple[State, bool]:
        """What is there, and whether that is nothing at all."""
        async with await connect(self._url) as connection:
            names = [row[0] for row in await (await connection.execute(TABLES)).fetchall()]
            found = None
            if "public.clock" in names:
                (found,) = await (await connection.execute(COUNTED)).fetchone()
        return State(is_there=bool(names), until=counted(found)), not names

    async def _fill(
        self, name: str, copy: Path, manifest: Manifest, marks: Marks, at: datetime, how: str
    ) -> None:
        """Restore the dump, read every row of it, and mark it."""
        place = with_database(self._url, name)
        await tool(self._tools, "pg_restore", place, how, "--no-owner", "--no-privileges", str(copy))
        async with await connect(place) as connection:
            demand_same(manifest, await digests_of(connection))
            for statement, values in marks.statements("%s", at):
                await connection.execute(statement, values)

    async def _swap(self, server: Any, new: str, at: datetime, *, there: bool) -> str | None:
        """The old one gets another name, the new one its. A kill in between leaves a server without the name,
        which stops a Toban that starts, and another attempt brings it.
        """
        aside = None
        if there:
            stamp = f"_before_{at:%Y%m%dt%H%M%Sz}"
            aside = f"{self._name[: LONGEST - len(stamp)]}{stamp}"
            await _run(server, "ALTER DATABASE {} RENAME TO {}", self._name, aside)
        try:
            await _run(server, "ALTER DATABASE {} RENAME TO {}", new, self._name)
        except BaseException:
            if aside is not None:
                await _run(server, "ALTER DATABASE {} RENAME TO {}", aside, self._name)
            raise
        return aside


async def _is_there(server: Any, name: str) -> bool:
    query = "SELECT 1 FROM pg_database WHERE datname = %s"
    return await (await server.execute(query, (name,))).fetchone() is not None


async def _run(server: Any, statement: str, *names: str) -> None:
    """A statement about databases; their names are quoted."""
    from psycopg import sql

    await server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
