"""Copies of a PostgreSQL database with its own ``pg_dump`` and ``pg_restore``."""

import asyncio
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from domain.copies import MODULUS, TableDigest
from domain.errors import Outage

TIMEOUT = 3600.0
"""Seconds for one run of a tool."""

CONNECT = 15
"""Seconds until a connection stands."""

ANSWER_WITHIN = 60.0
"""Seconds for one question to a restored copy."""

SETTLED = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = 3",
    "SET bytea_output = 'hex'",
)
"""How values are written as text, so that two servers write the same."""

TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY 1
"""

DIGEST = """
SELECT count(*), coalesce(mod(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint), {modulus}), 0)
FROM {table} t
"""
"""The sum of the first 60 bits of each row's MD5: the same for the same rows in any order. Not a defence
against somebody who forges rows: against those that are missing, doubled or changed.
"""


async def dump(url: str, file: Path, tools: str | None) -> tuple[TableDigest, ...]:
    """Dump a database as of one moment: ``pg_dump`` and our own counting read the same snapshot."""
    import psycopg

    try:
        async with await _connect(url) as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = await (await connection.execute("SELECT pg_export_snapshot()")).fetchone()
            assert row is not None
            tables = await _digests(connection)
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={row[0]}"]
            await _tool(tools, "pg_dump", url, *options, f"--file={file}")
            await connection.execute("ROLLBACK")
            return tables
    except psycopg.Error as error:
        raise Outage(f"PostgreSQL: {_first_lines(str(error))}") from error


async def contents(file: Path, tools: str | None) -> tuple[str, ...]:
    """The tables whose rows a dump holds, ``schema.name``; reads all of its list. Raises ``Outage``."""
    listed = await _tool(tools, "pg_restore", None, "--list", str(file))
    found = re.findall(r"^\d+; \d+ \d+ TABLE DATA (\S+) (\S+)", listed, flags=re.MULTILINE)
    return tuple(sorted(f"{schema}.{name}" for schema, name in found))


class PostgresScratch:
    """A server on which copies are restored to be looked at, each as a database of its own.

    ``server``: the URL of a database there to begin from; its role may create databases.
    """

    def __init__(self, server: str, tools: str | None) -> None:
        self._server = server
        self._tools = tools

    async def restore(self, file: Path, name: str) -> float:
        """Restore a dump into a new database; seconds. What was there goes first. Raises ``Outage``."""
        from psycopg import sql

        await self.drop(name)
        began = time.perf_counter()
        made = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        await self._run(made)
        options = ["--exit-on-error", "--no-owner", "--no-privileges"]
        await _tool(self._tools, "pg_restore", _with_database(self._server, name), *options, str(file))
        return time.perf_counter() - began

    async def exists(self, name: str) -> bool:
        """Whether it is there, whole or not. Raises ``Outage``."""
        return await self._run("SELECT 1 FROM pg_database WHERE datname = %s", name) is not None

    async def tables(self, name: str) -> tuple[TableDigest, ...]:
        """What was restored, every row of it. Raises ``Outage``."""
        import psycopg

        try:
            async with await _connect(_with_database(self._server, name)) as connection:
                return await _digests(connection)
        except psycopg.Error as error:
            raise Outage(f"PostgreSQL: {_first_lines(str(error))}") from error

    async def ask(self, name: str, query: str) -> object:
        """The first value that a query answers, ``None`` without a row. Nothing can be changed by it.

        Raises ``Outage``.
        """
        return await ask(_with_database(self._server, name), query)

    async def drop(self, name: str) -> None:
        """Remove it; what is not there is no error. Raises ``Outage``."""
        from psycopg import sql

        await self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    async def _run(self, query: Any, *params: object) -> Any:
        import psycopg

        try:
            async with await _connect(self._server) as connection:
                cursor = await connection.execute(query, params or None)
                return await cursor.fetchone() if cursor.description is not None else None
        except psycopg.Error as error:
            raise Outage(f"PostgreSQL: {_first_lines(str(error))}") from error


async def ask(url: str, query: str) -> object:
    """The first value that a query answers, in a transaction that can change nothing. Raises ``Outage``."""
    import psycopg

    try:
        async with await _connect(url) as connection:
            await connection.execute("BEGIN READ ONLY")
            await connection.execute(f"SET LOCAL statement_timeout = {ANSWER_WITHIN * 1000:.0f}")
            row = await (await connection.execute(query)).fetchone()
            await connection.execute("ROLLBACK")
            return None if row is None else row[0]
    except psycopg.Error as error:
        raise Outage(f"PostgreSQL: {_first_lines(str(error))}") from error


async def _connect(url: str) -> Any:
    import psycopg

    return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT)


async def _digests(connection: Any) -> tuple[TableDigest, ...]:
    for setting in SETTLED:
        await connection.execute(setting)
    names = [row[0] for row in await (await connection.execute(TABLES)).fetchall()]
    found = []
    for name in names:
        query = DIGEST.format(table=name, modulus=MODULUS)
        rows, total = await (await connection.execute(query)).fetchone()
        found.append(TableDigest(name=name.removeprefix("public."), rows=rows, digest=f"{int(total):016x}"))
    return tuple(found)


async def _tool(tools: str | None, name: str, url: str | None, *arguments: str) -> str:
    """Run one of PostgreSQL's tools; what it printed. The password travels in the environment alone."""
    path = shutil.which(name, path=tools)
    if path is None:
        raise Outage(
            f"{name} was not found: install PostgreSQL's clients, or name their folder by TOBAN_PG_BIN"
        )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    options = list(arguments)
    if url is not None:
        shown, password = _split(url)
        options.insert(0, f"--dbname={shown}")
        environment |= {"PGCONNECT_TIMEOUT": str(CONNECT)} | ({"PGPASSWORD": password} if password else {})
    process = await asyncio.create_subprocess_exec(
        path,
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            out, err = await process.communicate()
    except TimeoutError:
        raise Outage(f"{name} took longer than {TIMEOUT:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Outage(_first_lines(err.decode(errors="replace")))
    return out.decode(errors="replace")


def _split(url: str) -> tuple[str, str | None]:
    """A URL without its password, and the password."""
    parts = urlsplit(url)
    user, _, rest = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    netloc = f"{name}@{rest}" if user else rest
    return urlunsplit(parts._replace(netloc=netloc)), unquote(password) or None


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _first_lines(text: str) -> str:
    """What a tool or the server said, and the detail below it."""
    said = [one.strip() for one in text.splitlines() if one.strip()]
    return "; ".join(said[:2])[:300] or "no answer"
