"""Copies that lie at a destination and are in no row: read, and taken for our own by a person's word."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from domain import backing as rules
from domain.backup_plans import BackupPlan, Source
from domain.backups import Backup, Progress
from domain.errors import Outage
from domain.evidence import Doubt
from domain.ports import Store, Tx, Vault
from domain.retention import Standing
from operations import installation
from operations.second_look import seen_whole, verified

log = structlog.get_logger(__name__)

PLACE = re.compile(r"(?:([0-9a-f]{12})/)?([0-9]{8}T[0-9]{6}Z)/.*")
"""What lies below a plan's own folder: of which installation, for which moment."""


@dataclass(frozen=True)
class Found:
    """A place for one backup. ``backup`` has no parts that were seen yet."""

    id: str
    installation: str
    backup: Backup


def places(plan: BackupPlan, name: str, names: Iterable[str]) -> list[Found]:
    """The backups that may lie below the folder of a plan's ``name``, the oldest first."""
    found: dict[str, Found] = {}
    for one in names:
        match = PLACE.fullmatch(one)
        if match is None:
            continue
        whose, stamp = match[1] or "", match[2]
        place = f"{whose}/{stamp}" if whose else stamp
        try:
            due_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            continue  # No moment: whatever it is, we have not named it.
        backup = Backup(
            plan=plan.name,
            due_at=due_at,
            begun_at=due_at,
            at=due_at.replace(second=0),
            destination=f"{plan.destination.rstrip('/')}/{name}/{place}",
            installation=whose,
            parts=tuple(Progress(part=part) for part in plan.parts),
            expected_by=due_at + plan.expected,
            ended_at=due_at,
        )
        found.setdefault(place, Found(place, whose, backup))
    return sorted(found.values(), key=lambda one: one.backup.due_at)


def kept_elsewhere(name: str, keys: Iterable[str]) -> list[str]:
    """The same names for copies of which nothing lies in the folder of a plan's ``name``, by their keys.

    A Cloud SQL instance keeps its backups itself, and has the key of the order as their description.
    """
    start = f"toban/{name}/"
    return [key.removeprefix(start) for key in keys if key.startswith(start)]


async def adopt(
    store: Store,
    vaults: Mapping[Source, Vault],
    found: Iterable[Found],
    from_: str | None,
    at: datetime,
) -> AsyncIterator[tuple[str, str]]:
    """Take each for our own that is whole and known to no row. Yields its id and what came of it.

    ``from_``: the installation whose copies are ours from now on, where that is another one.
    """
    if from_ is not None:
        async with store() as tx:
            await installation.take_over(tx, from_, at)
    for one in found:
        yield one.id, await _one(store, vaults, one, at)


async def _one(store: Store, vaults: Mapping[Source, Vault], found: Found, at: datetime) -> str:
    async with store.read() as tx:
        if not (await installation.known(tx)).owns(found.installation):
            return (
                f"left: another installation has made it (--from {found.installation} takes its copies over)"
            )
        known = await tx.backup_for(found.backup.plan, found.backup.due_at)
    if known is not None and not _knows_no_better(known):
        less = "" if known.standing is Standing.VERIFIED else f" ({known.standing.value})"
        return f"known as {known.number}{less}"
    parts = []
    for progress in found.backup.parts:
        vault = vaults.get(progress.part.source)
        try:
            seen = None if vault is None else await seen_whole(vault, found.backup, progress)
        except Outage as outage:
            return f"left: {progress.part.name} cannot be read now ({outage.reason})"
        if seen is None:
            return f"left: {progress.part.name} is not whole"
        if seen.evidence is not None and Doubt.LOCKED in seen.evidence.doubts:
            return f"left: {progress.part.name} is encrypted, and no key here opens it (docs/backups.md)"
        parts.append(seen)
    whole = verified(found.backup, tuple(parts), at)
    async with store() as tx:
        saved = await _save(tx, whole)
    if saved is None:
        return "left: there is a backup for its moment already"
    log.info("backups.adopted", backup=saved.number, destination=saved.destination)
    return f"adopted as {saved.number}: read whole, {saved.size / 1e6:,.1f} MB"


def _knows_no_better(known: Backup) -> bool:
    """Whether a row says less of a copy than can be seen of it."""
    return known.removed_at is not None or rules.may_be_whole(known)


async def _save(tx: Tx, whole: Backup) -> Backup | None:
    """A new row, or in the place of one that knew no better; its alert ends with the next verified one."""
    known = await tx.backup_for(whole.plan, whole.due_at)
    if known is None:
        return await tx.add_backup(whole)
    if not _knows_no_better(known):
        return None
    kept = ("id", "version", "requested_by", "alarmed_at", "alarmed_level", "cleared_at")
    return await tx.save_backup(whole.model_copy(update={name: getattr(known, name) for name in kept}))
