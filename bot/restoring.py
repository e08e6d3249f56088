"""``toban restore``: brings a copy of Toban's own database back without the database that is lost."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from bot.app import sqlite_file
from bot.clock import SystemClock
from bot.encryption import keyring
from bot.settings import Settings
from domain.backing import LOOKED
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
from operations.lease import in_time
from storage.copies import Copies, plain_url
from storage.database import Database
from storage.encryption import KEYS, Keyring, NoKey
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
    """The copies that lie at the plan's destinations, the newest first. Raises ``Outage``."""
    plans = _plans(policy, name)
    async with _vault(settings) as vault:
        found, silent = await _lying(vault, plans)
    if not found and not silent:
        return [f"No copy of Toban's own database lies at {_places(plans)}."]
    keys = keyring(settings)
    return [_line(one, plans, keys) for one in reversed(found)] + silent


def _line(one: Lying, plans: Sequence[BackupPlan], keys: Keyring) -> str:
    place = f", in {one.destination}" if len(plans) > 1 else ""
    return (
        f"{one.id}  {one.manifest.kind}, state of {one.manifest.at:%Y-%m-%d %H:%M:%S} UTC,"
        f" {one.manifest.rows:,} rows, {one.manifest.bytes / 1e6:,.1f} MB{_encrypted(keys, one)}{place}"
    )


def _encrypted(keys: Keyring, found: Lying) -> str:
    """For whom a copy of the list can be read."""
    if not found.manifest.is_encrypted:
        return ""
    here = "" if keys.opens(found.manifest.recipients) else f", whose key is not here ({KEYS})"
    return f", encrypted for {' and '.join(found.manifest.recipients)}{here}"


async def restore(settings: Settings, policy: Policy, wish: Wish) -> list[str]:
    """Restore, and say what was done. Raises ``Outage``; what was there is as it was then."""
    plans = _plans(policy, wish.plan)
    at = SystemClock().now()
    async with _vault(settings) as vault, AsyncExitStack() as stack:
        found, silent = await _lying(vault, plans)
        candidates = choose(found, wish.copy, plans, silent)
        chosen, manifest, file, spoilt = await _whole(vault, candidates, stack)
        place, aside = await _put(settings, wish, manifest, file, marks(chosen, wish, at), at)
    moment = f"{manifest.at:%Y-%m-%d %H:%M:%S} UTC"
    read = f"{manifest.rows:,} rows in {len(manifest.tables)} tables, each read again."
    lines = [f"Restored {chosen.id} of {wish.plan} into {place}: the state of {moment}, {read}"]
    if len(plans) > 1:
        lines.append(f"It was taken from {chosen.destination}.")
    lines += [*spoilt, *silent]
    if aside:
        lines.append(f"What was there before is {aside} now. Remove it when nobody misses anything.")
    minutes = int(wish.grace.total_seconds()) // 60
    lines.append(
        "Start it with `toban run`: it tells the ops channel what it still believes, and pages nobody for"
        f" that before somebody types `/toban quiet end`, or {minutes} minutes have passed."
    )
    lines.append("Then `toban backup adopt` finds the copies that this state does not know yet.")
    return lines


async def _whole(
    vault: TobanVault, candidates: Sequence[Lying], stack: AsyncExitStack
) -> tuple[Lying, Manifest, Path, list[str]]:
    """The first that is what its manifest describes, its file, and what is wrong with those before it.

    All are copies of one moment. Raises ``Outage`` where none is whole, ``NoKey`` among them.
    """
    wrong: list[str] = []
    for one in candidates:
        try:
            fetched = await stack.enter_async_context(vault.fetched(_order(one)))
        except NoKey:
            raise
        except Outage as outage:
            wrong.append(f"the copy {one.id} in {one.destination} cannot be read: {outage.reason}")
            continue
        flaws = [] if fetched is None else await asyncio.to_thread(compare_file, *fetched)
        if fetched is not None and not flaws:
            return one, *fetched, wrong
        what = f"is spoilt ({flaws[0].flaw.value})" if flaws else "is not whole any more"
        wrong.append(f"the copy {one.id} in {one.destination} {what}")
    raise Outage(f"{'; '.join(wrong)}. Choose another one by --copy")


def _order(chosen: Lying) -> Order:
    return Order(
        key=f"toban/{chosen.id}",
        part=Part(name=Source.TOBAN, source=Source.TOBAN),
        at=chosen.manifest.at,
        destination=chosen.destination,
        installation=chosen.installation,
    )


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


def choose(
    found: Sequence[Lying], copy: str | None, plans: Sequence[BackupPlan], silent: Sequence[str] = ()
) -> list[Lying]:
    """The copy that is meant, and after it those of the same moment that lie elsewhere.

    ``silent``: what is said of destinations that cannot be read. Raises ``Outage`` where none is meant, or
    that is not clear.
    """
    if not found:
        raise Outage("; ".join([f"no copy of Toban's own database lies at {_places(plans)}", *silent]))
    if copy is not None:
        named = [one for one in found if copy in {one.id, one.stamp}]
        if not named:
            missing = f"no copy {copy} lies at {_places(plans)}. `--list` shows those that do"
            raise Outage("; ".join([missing, *silent]))
        found = named
    if len({one.installation for one in found}) > 1:
        ids = ", ".join(dict.fromkeys(one.id for one in reversed(found[-6:])))
        raise Outage(f"copies of several installations lie there. Name one by --copy, such as {ids}")
    return [one for one in reversed(found) if one.id == found[-1].id]


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


def _plans(policy: Policy, name: str) -> list[BackupPlan]:
    """The plan that is named, and the one of its second destination. Raises ``Outage``."""
    plan = policy.backups.plan(name)
    if plan is None:
        names = ", ".join(one.name for one in policy.backups.plans) or "none"
        raise Outage(f"the policy has no plan {name}. There are: {names}")
    if all(part.source is not Source.TOBAN for part in plan.parts):
        raise Outage(
            f"{plan.name} copies no database of Toban's own: docs/backups.md says how all else comes back"
        )
    second = policy.backups.second(plan.name)
    return [plan] if second is None else [plan, second]


def _places(plans: Sequence[BackupPlan]) -> str:
    return " or ".join(plan.destination for plan in plans)


@asynccontextmanager
async def _vault(settings: Settings) -> AsyncIterator[TobanVault]:
    buckets = Buckets(settings.storage_endpoint)
    copies = Copies(settings.database, settings.pg_bin)
    now, keys = SystemClock().now, keyring(settings)
    try:
        yield TobanVault(FolderVault(copies, now, keys), ObjectVault(copies, buckets, now, keys))
    finally:
        await buckets.close()


async def _lying(vault: TobanVault, plans: Sequence[BackupPlan]) -> tuple[list[Lying], list[str]]:
    """All copies, the newest last, and of two of one moment that of the first destination.

    Beside them what is wrong with each destination that cannot be read; of the only one it is raised.
    """
    found: list[Lying] = []
    silent: list[str] = []
    for plan in reversed(plans):
        try:
            for name in plan.names:
                found += await in_time(vault.lying(f"{plan.destination}/{name}"), LOOKED)
        except Outage as outage:
            if len(plans) == 1:
                raise
            silent.append(f"{plan.destination} cannot be read ({outage.reason}): newer copies may lie there")
    return sorted(found, key=lambda one: one.manifest.at), silent


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
