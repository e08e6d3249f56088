"""Restores copies of our own database beside the real one, and looks at every table of what came out."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from domain.backups import Began, Broke, Finished, Going, Order
from domain.copies import Manifest, differences
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.rehearsal import Restore, answer_findings
from storage.copies import plain_url
from storage.encryption import NoKey
from storage.postgres_copies import PostgresScratch, ask
from storage.space import NoRoom, demand_room
from storage.sqlite_copies import SqliteScratch
from storage.threads import in_own_thread
from storage.verifying import spoilt

NO_SERVER = "no server to restore it on: set TOBAN_DRILL_DATABASE_URL"
REAL_ONE = "TOBAN_DRILL_DATABASE_URL is the very database that is copied, as its server says: name another"

IDENTITY = """
SELECT pg_postmaster_start_time()::text || ' ' || oid FROM pg_database WHERE datname = current_database()
"""
"""What no two databases have in common, whatever they are called and however they are reached: when the
server was started, to the microsecond, and the number of the database in it. Every role may ask for it.
"""

SPOILT = "spoilt"
"""The name of a restore that was not begun: the copy is not the file that its manifest describes."""

Fetch = Callable[[Order], AbstractAsyncContextManager[tuple[Manifest, Path] | None]]
"""Lends a copy's manifest and its file on this machine, wherever it lies; ``None`` where it is not whole."""


class TobanRehearsal:
    """Drills of our own database: SQLite into a new file, a dump of PostgreSQL into a new database.

    ``server`` is the URL on which databases may be created (``TOBAN_DRILL_DATABASE_URL``), ``None`` where
    there is none; ``folder`` holds restored SQLite files where the policy names no other.

    A restore is done when ``begin`` returns, so that nothing has to be found again: one that was cut off is
    begun anew over its remains.
    """

    def __init__(
        self, fetch: Fetch, folder: Path, server: str | None, tools: str | None, real: str | None = None
    ) -> None:
        self._fetch = fetch
        self._folder = folder
        self._server = server
        self._tools = tools
        self._real = real

    async def find(self, restore: Restore) -> Began | None:
        """Never: see above."""
        return None

    async def begin(self, restore: Restore) -> Began | Broke:
        """Restore it, and measure how long that took."""
        try:
            return await self._begin(restore)
        except (NoKey, NoRoom) as missing:
            return Broke(why=missing.reason, blames_place=True)

    async def _begin(self, restore: Restore) -> Began | Broke:
        async with self._fetch(restore.copy_of) as found:
            if found is None:
                return Broke(why="the copy has no manifest that can be read")
            manifest, file = found
            scratch = self._scratch(manifest, restore)
            if scratch is None:
                return Broke(why=NO_SERVER, blames_place=True)
            if await self._is_the_real_one(manifest):
                return Broke(why=REAL_ONE, blames_place=True)
            if manifest.kind == "sqlite":
                await in_own_thread(demand_room, [(self._place(restore), manifest.bytes)])
            if await spoilt(manifest, file):
                return Began(operation=SPOILT)  # Nothing is restored of it; its examination says why.
            try:
                seconds = await scratch.restore(file, _name(restore))
            except Outage as outage:
                # The copy or the place is bad; another attempt tells which.
                return Broke(why=outage.reason)
        return Began(operation=f"{seconds:.3f} s")

    async def look(self, restore: Restore, operation: str) -> Going | Finished | Broke:
        """It was finished when it began; only its place may be gone."""
        if operation == SPOILT:
            return Finished()
        async with self._fetch(restore.copy_of) as found:
            scratch = None if found is None else self._scratch(found[0], restore)
            if scratch is None or not await scratch.exists(_name(restore)):
                return Broke(why="what was restored is gone")
        return Finished()

    async def examine(self, restore: Restore, operation: str) -> Evidence:
        """Every table against the manifest, row by row, and the policy's questions."""
        async with self._fetch(restore.copy_of) as found:
            if found is None:
                return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name="manifest.json")])
            manifest, file = found
            findings = await spoilt(manifest, file)
        if findings:
            return Evidence.of(findings, objects=1, bytes=manifest.bytes, at=manifest.at)
        name = _name(restore)
        place: SqliteScratch | PostgresScratch | None = self._scratch(manifest, restore)
        if place is None:
            raise Outage(NO_SERVER)
        tables = await place.tables(name)
        findings += [
            Finding(
                flaw=Flaw.MISSING if one.found is None else Flaw.COUNT,
                name=one.table,
                wanted=_rows(one.wanted),
                found=_rows(one.found) if one.found != one.wanted else "other",
            )
            for one in differences(manifest.tables, tables)
        ]
        answers: list[object] = []
        for question in restore.questions:
            try:
                answers.append(await place.ask(name, question.ask))
            except Outage as outage:
                answers.append(outage)
        findings += answer_findings(restore.questions, answers, manifest.at)
        return Evidence.of(
            findings,
            objects=len(tables),
            bytes=manifest.bytes,
            records=sum(one.rows for one in tables),
            at=manifest.at,
            seconds=float(operation.removesuffix(" s")),
        )

    async def remove(self, restore: Restore) -> None:
        """The file, or the database."""
        await SqliteScratch(self._place(restore)).drop(_name(restore))
        if self._server is not None:
            await PostgresScratch(self._server, self._tools).drop(_name(restore))

    async def _is_the_real_one(self, manifest: Manifest) -> bool:
        """Whether the place is the database that is copied, whatever it is called here. Raises ``Outage``."""
        if manifest.kind == "sqlite" or self._server is None or self._real is None:
            return False
        if self._real.startswith("sqlite"):
            return False
        found = [await ask(plain_url(url), IDENTITY) for url in (self._server, self._real)]
        return found[0] == found[1]

    def _scratch(self, manifest: Manifest, restore: Restore) -> SqliteScratch | PostgresScratch | None:
        if manifest.kind == "sqlite":
            return SqliteScratch(self._place(restore))
        return None if self._server is None else PostgresScratch(self._server, self._tools)

    def _place(self, restore: Restore) -> Path:
        return Path(restore.scratch) if restore.scratch else self._folder


def _name(restore: Restore) -> str:
    """One by restore, and legal as a file's and a database's name."""
    return f"toban_drill_{hashlib.sha256(restore.key.encode()).hexdigest()[:16]}"


def _rows(count: int | None) -> str | None:
    return None if count is None else str(count)
