"""Copies of a PostgreSQL database with its own ``pg_dump`` and ``pg_restore``."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

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
WHERE c.relkind = 'r'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (
    SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
ORDER BY 1
"""
"""Tables with rows of their own that a dump holds: partitions, not their parents; no foreign tables, whose
rows are elsewhere; none that belongs to an extension, which brings it along.
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
        async with await connect(url) as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = await (await connection.execute("SELECT pg_export_snapshot()")).fetchone()
            assert row is not None
            tables = await digests_of(connection)
            options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={row[0]}"]
            await tool(tools, "pg_dump", url, *options, f"--file={file}")
            await connection.execute("ROLLBACK")
            return tables
    except psycopg.Error as error:
        raise Outage(f"PostgreSQL: {first_lines(str(error))}") from error


async def missing(file: Path, tables: Sequence[str], tools: str | None) -> tuple[str, ...]:
    """Those of the ``tables`` (as a manifest names them) whose rows a dump does not hold. Raises ``Outage``.

    The tool's list separates schema, name and owner by blanks, which may also stand inside of each: so each
    table is looked for, instead of the list being taken apart.
    """
    listed = await tool(tools, "pg_restore", None, "--list", str(file))
    entry = re.compile(r"^\d+; \d+ \d+ TABLE DATA (.*)$", flags=re.MULTILINE)
    rows = [found + " " for found in entry.findall(listed)]
    return tuple(
        name for name in tables if not any(row.startswith(f"{' '.join(plain(name))} ") for row in rows)
    )


_IDENTIFIER = re.compile(r'"(?:[^"]|"")*"|[^".]+')


def plain(name: str) -> tuple[str, str]:
    """Schema and name without quotes: ``"My Table"`` is ``("public", "My Table")``."""
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _IDENTIFIER.findall(name)
    ]
    return (parts[0], parts[1]) if len(parts) == 2 else ("public", parts[0])


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
        await tool(self._tools, "pg_restore", with_database(self._server, name), *options, str(file))
        return time.perf_counter() - began

    async def exists(self, name: str) -> bool:
        """Whether it is there, whole or not. Raises ``Outage``."""
        return await self._run("SELECT 1 FROM pg_database WHERE datname = %s", name) is not None

    async def tables(self, name: str) -> tuple[TableDigest, ...]:
        """What was restored, every row of it. Raises ``Outage``."""
        import psycopg

        try:
            async with await connect(with_database(self._server, name)) as connection:
                return await digests_of(connection)
        except psycopg.Error as error:
            raise Outage(f"PostgreSQL: {first_lines(str(error))}") from error

    async def ask(self, name: str, query: str) -> object:
        """The first value that a query answers, ``None`` without a row. Nothing can be changed by it.

        Raises ``Outage``.
        """
        return await ask(with_database(self._server, name), query)

    async def drop(self, name: str) -> None:
        """Remove it; what is not there is no error. Raises ``Outage``."""
        from psycopg import sql

        await self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    async def _run(self, query: Any, *params: object) -> Any:
        import psycopg

        try:
            async with await connect(self._server) as connection:
                cursor = await connection.execute(query, params or None)
                return await cursor.fetchone() if cursor.description is not None else None
        except psycopg.Error as error:
            raise Outage(f"PostgreSQL: {first_lines(str(error))}") from error


READER = "pg_read_all_data"
"""PostgreSQL's own role (14 and newer) that reads every table and may do nothing else."""


async def ask(url: str, query: str) -> object:
    """The first value that one SELECT answers; ``None`` without a row. Raises ``Outage`` for all else.

    A read-only transaction alone is no fence: ``COMMIT; DROP TABLE t`` leaves it, and ``COPY t TO PROGRAM``
    reads only. So the question is a cursor's query (one statement that reads), sent by the extended protocol
    (one statement for each message), and asked as ``READER`` where our role may become it. A superuser could
    take its own role back from within the question (``set_config``): for one it is a function of ``READER``.
    """
    import psycopg

    limit = f"{ANSWER_WITHIN * 1000:.0f}"
    try:
        async with await connect(url) as connection:
            is_fenced = await _fence(connection, query)
            await connection.execute("BEGIN READ ONLY")
            await connection.execute(f"SET LOCAL statement_timeout = {limit}")
            await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = {limit}")
            if is_fenced:
                row = await (await connection.execute("SELECT pg_temp.answer()")).fetchone()
                return row[0]
            await _become_reader(connection)
            declared = f"DECLARE question NO SCROLL CURSOR WITHOUT HOLD FOR {query.strip().rstrip(';')}"
            await connection.execute(declared, binary=True)
            row = await (await connection.execute("FETCH 1 FROM question")).fetchone()
            await connection.execute("ROLLBACK")
            return None if row is None else row[0]
    except psycopg.errors.SyntaxError as error:
        raise Outage(f"a question is read-only: one SELECT ({first_lines(str(error))})") from error
    except psycopg.Error as error:
        raise Outage(f"PostgreSQL: {first_lines(str(error))}") from error


ANSWER = """
CREATE FUNCTION pg_temp.answer() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS {body};
"""

BODY = "SELECT to_jsonb(one) FROM (\n{query}\n) AS answers(one) LIMIT 1"


async def _fence(connection: Any, query: str) -> bool:
    """Make the question a function that PostgreSQL runs with ``READER``'s rights, and lets take no others.

    False for a role that is no superuser, which could not, and needs no such fence. The function goes with
    the session.
    """
    from psycopg import sql

    asked = "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
    if (await (await connection.execute(asked)).fetchone())[0] is not True:
        return False
    body = BODY.format(query=query.strip().rstrip(";"))
    await connection.execute(sql.SQL(ANSWER).format(body=sql.Literal(body)))
    await connection.execute(f"ALTER FUNCTION pg_temp.answer() OWNER TO {READER}")
    return True


async def _become_reader(connection: Any) -> None:
    """Give up all rights but reading, where our role may."""
    import psycopg

    await connection.execute("SAVEPOINT reader")
    try:
        await connection.execute(f"SET LOCAL ROLE {READER}")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
        await connection.execute("ROLLBACK TO SAVEPOINT reader")


async def connect(url: str) -> Any:
    import psycopg

    return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=CONNECT)


async def digests_of(connection: Any) -> tuple[TableDigest, ...]:
    for setting in SETTLED:
        await connection.execute(setting)
    names = [row[0] for row in await (await connection.execute(TABLES)).fetchall()]
    found = []
    for name in names:
        query = DIGEST.format(table=name, modulus=MODULUS)
        rows, total = await (await connection.execute(query)).fetchone()
        found.append(TableDigest(name=name.removeprefix("public."), rows=rows, digest=f"{int(total):016x}"))
    return tuple(found)


async def tool(tools: str | None, name: str, url: str | None, *arguments: str) -> str:
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
        raise Outage(first_lines(err.decode(errors="replace")))
    return out.decode(errors="replace")


def _split(url: str) -> tuple[str, str | None]:
    """A connection string without its password, wherever the URL has it, and the password.

    Arguments can be read by every user of the machine. Raises ``Outage`` for the password of a client key,
    which can be handed over in no other way.
    """
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    params = conninfo_to_dict(url)
    password = params.pop("password", None)
    if params.pop("sslpassword", None):
        raise Outage("sslpassword cannot be handed to pg_dump: use a key file without a password, mode 0600")
    return make_conninfo("", **params), None if password is None else str(password)


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def first_lines(text: str) -> str:
    """What a tool or the server said, and the detail below it."""
    said = [one.strip() for one in text.splitlines() if one.strip()]
    return "; ".join(said[:2])[:300] or "no answer"
