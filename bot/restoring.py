"""``toban restore``: brings a copy of Toban's own database back without the database that is lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from bot.app import sqlite_file
from bot.clock import SystemClock
from bot.encryption import keyring
from bot.settings import Settings
from domain.backup_plans import BackupPlan, Part, Source
from domain.backups import Order
from domain.copies import Lying, Manifest
from domain.errors import Outage
from domain.installations import Installation
from domain.policy import Policy
from domain.quiet import GRACE, Quiet
from domain.series import epoch
from domain.watches import Watch, WatchKind
from gcp.buckets import Buckets
from operations.installation import KEY
from storage.copies import Copies, plain_url
from storage.database import Database
from storage.encryption import KEYS, Keyring
from storage.folder_vault import FolderVault
from storage.migrating import HEAD, revision
from storage.object_vault import ObjectVault, TobanVault
from storage.postgres_restoring import restore_postgres
from storage.restoring import Kept, Marks, restore_sqlite
from storage.verifying import compare_file


@dataclass(frozen=True)
class Wish:
    """What is asked for. ``copy``: an id of the list, the newest where left out; ``to``: a file or a URL.

    ``as_new``: what is restored is an installation of its own, and leaves the copies of the old one alone.
    """

    plan: str
    copy: str | None = None
    to: str | None = None
    overwrite: bool = False
    as_new: bool = False
    grace: timedelta = GRACE


async def show(settings: Settings, policy: Policy, name: str) -> list[str]:
    """The copies that lie at the plan's destination, the newest first. Raises ``Outage``."""
    plan = _plan(policy, name)
    async with _vault(settings) as vault:
        found = await _lying(vault, plan)
    if not found:
        return [f"No copy of Toban's own database lies at {plan.destination}."]
    return [
        f"{one.id}  {one.manifest.kind}, state of {one.manifest.at:%Y-%m-%d %H:%M:%S} UTC,"
        f" {one.manifest.rows:,} rows, {one.manifest.bytes / 1e6:,.1f} MB{_encrypted(keyring(settings), one)}"
        for one in reversed(found)
    ]


def _encrypted(keys: Keyring, found: Lying) -> str:
    """For whom a copy of the list can be read."""
    if not found.manifest.is_encrypted:
        return ""
    here = "" if keys.opens(found.manifest.recipients) else f", whose key is not here ({KEYS})"
    return f", encrypted for {' and '.join(found.manifest.recipients)}{here}"


async def restore(settings: Settings, policy: Policy, wish: Wish) -> list[str]:
    """Restore, and say what was done. Raises ``Outage``; what was there is as it was then."""
    plan = _plan(policy, wish.plan)
    at = SystemClock().now()
    async with _vault(settings) as vault:
        chosen = choose(await _lying(vault, plan), wish.copy, plan)
        order = Order(
            key=f"toban/{chosen.id}",
            part=Part(name=Source.TOBAN, source=Source.TOBAN),
            at=chosen.manifest.at,
            destination=chosen.destination,
            installation=chosen.installation,
        )
        async with vault.fetched(order) as fetched:
            if fetched is None:
                raise Outage(f"the copy {chosen.id} is not whole any more. Choose another one by --copy")
            manifest, file = fetched
            flaws = await asyncio.to_thread(compare_file, manifest, file)
            if flaws:
                raise Outage(
                    f"the copy {chosen.id} is spoilt ({flaws[0].flaw.value}). Choose another one by --copy"
                )
            place, aside = await _put(settings, wish, manifest, file, marks(chosen, wish, at), at)
    moment = f"{manifest.at:%Y-%m-%d %H:%M:%S} UTC"
    read = f"{manifest.rows:,} rows in {len(manifest.tables)} tables, each read again."
    lines = [f"Restored {chosen.id} of {plan.name} into {place}: the state of {moment}, {read}"]
    if aside:
        lines.append(f"What was there before is {aside} now. Remove it when nobody misses anything.")
    minutes = int(wish.grace.total_seconds()) // 60
    lines.append(
        "Start it with `toban run`: it tells the ops channel what it still believes, and pages nobody for"
        f" that before somebody types `/toban quiet end`, or {minutes} minutes have passed."
    )
    lines.append("Then `toban backup adopt` finds the copies that this state does not know yet.")
    return lines


async def mark(settings: Settings, grace: timedelta) -> list[str]:
    """A database that was restored by hand starts quietly, too. Raises ``Outage``."""
    at = SystemClock().now()
    database = Database(settings.database)
    try:
        found = await revision(database)
        if found != HEAD:
            raise Outage(f"the database is at revision {found}, this version needs {HEAD}: toban migrate")
        quiet = Quiet(
            restored_at=epoch(at),
            copy_at=epoch(at),
            copy_id="(by hand)",
            grace=int(grace.total_seconds()),
        )
        async with database.writing() as tx:
            known = await tx.watch(WatchKind.QUIET, KEY)
            new = known or Watch(kind=WatchKind.QUIET, key=KEY, changed_at=at)
            state = {"state": quiet.model_dump(mode="json"), "changed_at": at}
            await tx.save_watches([new.model_copy(update=state)])
    finally:
        await database.dispose()
    minutes = int(grace.total_seconds()) // 60
    return [f"The next start is quiet for {minutes} minutes: it shows what is open, and pages nobody for it."]


def choose(found: Sequence[Lying], copy: str | None, plan: BackupPlan) -> Lying:
    """The copy that is meant. Raises ``Outage`` where that is none, or not clear."""
    if not found:
        raise Outage(f"no copy of Toban's own database lies at {plan.destination}")
    if copy is not None:
        named = [one for one in found if copy in {one.id, one.stamp}]
        if not named:
            raise Outage(f"no copy {copy} lies at {plan.destination}. `--list` shows those that do")
        found = named
    if len({one.installation for one in found}) > 1:
        ids = ", ".join(one.id for one in reversed(found[-6:]))
        raise Outage(f"copies of several installations lie there. Name one by --copy, such as {ids}")
    return found[-1]


def marks(chosen: Lying, wish: Wish, at: datetime) -> Marks:
    """What the restored database is told about itself before anybody runs on it."""
    quiet = Quiet(
        restored_at=epoch(at),
        copy_at=epoch(chosen.manifest.at),
        copy_id=chosen.id,
        grace=int(wish.grace.total_seconds()),
    )
    found = [Kept(kind=WatchKind.QUIET, key=KEY, state=quiet.model_dump_json())]
    if wish.as_new:
        named = Installation(id=secrets.token_hex(6))
        found.append(Kept(kind=WatchKind.INSTALLATION, key=KEY, state=named.model_dump_json()))
    return Marks(kept=tuple(found), as_new=wish.as_new)


def _plan(policy: Policy, name: str) -> BackupPlan:
    plan = policy.backups.plan(name)
    if plan is None:
        names = ", ".join(one.name for one in policy.backups.plans) or "none"
        raise Outage(f"the policy has no plan {name}. There are: {names}")
    if all(part.source is not Source.TOBAN for part in plan.parts):
        raise Outage(
            f"{plan.name} copies no database of Toban's own: docs/backups.md says how all else comes back"
        )
    return plan


@asynccontextmanager
async def _vault(settings: Settings) -> AsyncIterator[TobanVault]:
    buckets = Buckets(settings.storage_endpoint)
    copies = Copies(settings.database, settings.pg_bin)
    now, keys = SystemClock().now, keyring(settings)
    try:
        yield TobanVault(FolderVault(copies, now, keys), ObjectVault(copies, buckets, now, keys))
    finally:
        await buckets.close()


async def _lying(vault: TobanVault, plan: BackupPlan) -> list[Lying]:
    found = [one for name in plan.names for one in await vault.lying(f"{plan.destination}/{name}")]
    return sorted(found, key=lambda one: one.manifest.at)


async def _put(
    settings: Settings, wish: Wish, manifest: Manifest, file: Path, told: Marks, at: datetime
) -> tuple[str, str | None]:
    """Where it was restored to, and what was there is now; neither shows a password."""
    if manifest.kind == "sqlite":
        if wish.to is None and not settings.is_sqlite:
            raise Outage(
                "the copy is of a SQLite database, and TOBAN_DATABASE_URL is none: name a file by --to"
            )
        path = sqlite_file(settings) if wish.to is None else Path(wish.to.removeprefix("sqlite:///"))
        old = await restore_sqlite(file, manifest, path, told, at, overwrite=wish.overwrite)
        return str(path), None if old is None else str(old)
    url = plain_url(wish.to or settings.database)
    if not url.startswith("postgresql://"):
        raise Outage("the copy is of a PostgreSQL database: name one by --to, postgresql://…")
    name = await restore_postgres(file, manifest, url, settings.pg_bin, told, at, overwrite=wish.overwrite)
    return f"the database {urlsplit(url).path.removeprefix('/')}", name and f"the database {name}"
