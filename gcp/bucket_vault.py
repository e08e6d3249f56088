"""Copies of the live objects of a bucket: each generation once in a pool, and a manifest for each backup."""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog
from pydantic import TypeAdapter, ValidationError

from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.levels import Value
from domain.objects import StoredObject, bucket_of
from domain.ports import Objects

log = structlog.get_logger(__name__)

PLAN, MANIFEST = "plan.json", "manifest.json"

MOST = 200_000
"""Objects of one bucket; what has more is copied by Storage Transfer Service."""

SLICE, LOOKS = 500, 20
"""Objects that are copied in one look, so that progress is seen; more where that were more than 20 looks,
since each lists the pool.
"""

AT_ONCE = 16
"""Copies under way at a time."""

SAMPLED, SAMPLED_BYTES = 5, 64 * 1024 * 1024
"""So many objects, and bytes of them, are read again."""

LONGEST = 1024
"""Bytes of an object's name: Google's limit."""

GONE = ("missing:", "conflict:")
"""How the reason of an outage begins that says: that generation is not there any more."""


class Entry(NamedTuple):
    """One object as it was: where it came from, and where its copy lies in the pool.

    No model: 200,000 of them take 80 MB, which were 230.
    """

    name: str
    generation: int
    size: int
    crc32c: str
    pool: str


class Listing(Value):
    """What a backup is made of. ``gone``: names that vanished between the listing and the copying."""

    source: str
    installation: str = ""
    entries: tuple[Entry, ...]
    gone: tuple[str, ...] = ()


_LISTING = TypeAdapter(Listing)


class BucketVault:
    """Fulfils ``Vault``. ``part.of`` is a bucket, or bucket/prefix; the destination ``gs://…``.

    A full copy each night would move the same bytes again and again. So each generation of an object lies
    in the plan's ``pool`` once, below its own name, and a backup is a manifest that says which belong to it.
    What no manifest and no plan of a running copy names any more is deleted with the last one that did.
    ``objects`` is trusted to overwrite nothing.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def find(self, order: Order) -> Began | None:
        """Its plan lies at the destination."""
        bucket, prefix = bucket_of(order.destination)
        there = await self._objects.stat(bucket, f"{prefix}/{PLAN}")
        if there is None or await self._stranger(order):
            return None
        return Began(operation=order.key)

    async def begin(self, order: Order) -> Began | Broke:
        """List what there is, and keep the list: all that follows is of exactly these generations."""
        source, below = source_of(order)
        bucket, prefix = bucket_of(order.destination)
        if bucket == source:
            return Broke(why=f"{bucket} would be copied into itself: a backup lies elsewhere")
        found = await self._objects.list(source, below, limit=MOST + 1)
        if len(found) > MOST:
            return Broke(why=f"{source} has more than {MOST:,} objects: use Storage Transfer Service")
        stranger = await self._stranger(order)
        if stranger:
            return Broke(why=f"{order.destination} holds a copy of another installation ({stranger})")
        data = await asyncio.to_thread(_planned, order, found)
        await self._objects.write(bucket, f"{prefix}/{PLAN}", data)
        return Began(operation=order.key)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """Copy the next ones; when none is left, write the manifest."""
        bucket, prefix = bucket_of(order.destination)
        if await self._objects.stat(bucket, f"{prefix}/{MANIFEST}") is not None:
            return Finished()
        plan = await self._listing(bucket, f"{prefix}/{PLAN}")
        if plan is None:
            return Broke(why=f"{PLAN} is gone, or cannot be read")
        here = {one.name for one in await self._objects.list(bucket, f"{pool_of(order)}/")}
        missing = [one for one in plan.entries if one.pool not in here]
        gone: set[str] = set()
        copied = 0
        for start in range(0, len(missing), AT_ONCE):
            if copied >= at_a_time(len(plan.entries)):
                done = len(plan.entries) - len(missing) + copied
                return Going(done=done, total=len(plan.entries))
            some = missing[start : start + AT_ONCE]
            ended = await asyncio.gather(*(self._copy(plan.source, one, bucket) for one in some))
            gone |= {one.name for one, there in zip(some, ended, strict=True) if not there}
            copied += sum(ended)
        if gone and not await self._objects.list(*source_of(order), limit=1):
            return Broke(why=f"{plan.source} was emptied before {len(gone):,} of its objects were copied")
        kept = tuple(one for one in plan.entries if one.name not in gone)
        manifest = plan.model_copy(update={"entries": kept, "gone": tuple(sorted(gone))})
        await self._objects.write(bucket, f"{prefix}/{MANIFEST}", _LISTING.dump_json(manifest))
        return Finished()

    async def _copy(self, source: str, entry: Entry, bucket: str) -> bool:
        """False where that generation is not there any more."""
        original = await self._objects.stat(source, entry.name)
        if original is None or original.generation != entry.generation:
            return False
        try:
            await self._objects.copy(original, bucket, entry.pool)
        except Outage as outage:
            now = await self._objects.stat(source, entry.name)
            if outage.reason.startswith(GONE) and (now is None or now.generation != entry.generation):
                return False
            raise
        return True

    async def prove(self, order: Order, operation: str) -> Evidence:
        """The manifest against its plan, each object of it against the pool, and some of them read again."""
        bucket, prefix = bucket_of(order.destination)
        manifest = await self._listing(bucket, f"{prefix}/{MANIFEST}")
        plan = await self._listing(bucket, f"{prefix}/{PLAN}")
        if manifest is None or plan is None:
            return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name=MANIFEST if manifest is None else PLAN)])
        source, _ = source_of(order)
        findings = []
        if not order.is_of(manifest.installation):
            ours, whose = order.installation or None, manifest.installation
            findings.append(Finding(flaw=Flaw.ELSEWHERE, name=MANIFEST, wanted=ours, found=whose))
        if manifest.source != source:
            wrong = Finding(flaw=Flaw.ELSEWHERE, name=MANIFEST, wanted=source, found=manifest.source)
            findings.append(wrong)
        wanted, found = len(plan.entries), len(manifest.entries) + len(manifest.gone)
        if wanted != found:
            findings.append(Finding(flaw=Flaw.COUNT, name=MANIFEST, wanted=str(wanted), found=str(found)))
        if not manifest.entries:
            findings.append(Finding(flaw=Flaw.EMPTY, name=source))
        here = {one.name: one for one in await self._objects.list(bucket, f"{pool_of(order)}/")}
        findings += compare(manifest.entries, {one.name: here.get(one.pool) for one in manifest.entries})
        chosen = sampled([here[one.pool] for one in manifest.entries if one.pool in here], order.key)
        findings += [one for again in chosen for one in await self._again(again)]
        return Evidence.of(
            findings,
            objects=len(manifest.entries),
            bytes=sum(one.size for one in manifest.entries),
            sampled=len(chosen),
            at=order.at,
        )

    async def _again(self, found: StoredObject) -> list[Finding]:
        try:
            await self._objects.read(found)
        except Outage as outage:
            if not outage.reason.startswith("checksum:"):
                raise
            flaw = Finding(
                flaw=Flaw.CHECKSUM, name=found.name, wanted=found.crc32c, found=outage.reason[:200]
            )
            return [flaw]
        return []

    async def remove(self, order: Order) -> None:
        """The manifest, without which there is no backup; then what no other one needs.

        Raises ``Outage`` only while the backup is whole. What then stays in the pool because it is held, or
        nobody answered, goes with the next backup that is removed. What another installation has made is
        refused.
        """
        bucket, prefix = bucket_of(order.destination)
        stranger = await self._stranger(order)
        if stranger:
            raise Outage(f"refused: {order.destination} holds a copy of another installation ({stranger})")
        lost = await self._lost(order)
        for name in (MANIFEST, PLAN):
            there = await self._objects.stat(bucket, f"{prefix}/{name}")
            if there is not None:
                await self._objects.delete(there)
        stayed: list[BaseException] = []
        for start in range(0, len(lost), AT_ONCE):
            some = (self._objects.delete(one) for one in lost[start : start + AT_ONCE])
            ended = await asyncio.gather(*some, return_exceptions=True)
            stayed += [one for one in ended if isinstance(one, BaseException)]
        for one in stayed:
            if not isinstance(one, Outage):
                raise one
        if stayed:
            log.warning("buckets.pool_kept", pool=pool_of(order), objects=len(stayed), why=str(stayed[0]))

    async def _lost(self, order: Order) -> list[StoredObject]:
        """Of the part's pool, what only this backup needs, or none at all."""
        bucket, prefix = bucket_of(order.destination)
        base, pool = _base(order), f"{pool_of(order)}/"
        # Beside the part's own backups lie those of the plan's other parts, with manifests of other kinds.
        name = re.escape(order.part.name)
        theirs = re.compile(rf"{re.escape(base)}/(?!pool/)[^/]+/{name}(-\d+)?/({MANIFEST}|{PLAN})")
        every = await self._objects.list(bucket, f"{base}/")
        names = {one.name for one in every}
        needed: set[str] = set()
        for one in every:
            if theirs.fullmatch(one.name) is None or one.name.startswith(f"{prefix}/"):
                continue
            folder, _, file = one.name.rpartition("/")
            if file == PLAN and f"{folder}/{MANIFEST}" in names:
                continue  # The manifest says it better.
            listing = await self._listing(bucket, one.name)
            if listing is None:
                raise Outage(f"error: {one.name} cannot be read, so nothing of the pool is deleted")
            needed.update(entry.pool for entry in listing.entries)
        return [one for one in every if one.name.startswith(pool) and one.name not in needed]

    async def _stranger(self, order: Order) -> str | None:
        """The other installation that has made what lies there."""
        bucket, prefix = bucket_of(order.destination)
        for name in (PLAN, MANIFEST):
            found = await self._listing(bucket, f"{prefix}/{name}")
            if found is not None and not order.is_of(found.installation):
                return found.installation
        return None

    async def listing(self, order: Order) -> Listing | None:
        """The manifest of a finished copy."""
        bucket, prefix = bucket_of(order.destination)
        return await self._listing(bucket, f"{prefix}/{MANIFEST}")

    async def _listing(self, bucket: str, name: str) -> Listing | None:
        found = await self._objects.stat(bucket, name)
        if found is None:
            return None
        try:
            return _LISTING.validate_json(await self._objects.read(found))
        except ValidationError:
            return None


def compare(entries: Iterable[Entry], found: dict[str, StoredObject | None]) -> list[Finding]:
    """Size and checksum of each object on both sides."""
    findings = []
    for entry in entries:
        copy = found[entry.name]
        if copy is None:
            findings.append(Finding(flaw=Flaw.MISSING, name=entry.name))
        elif copy.size != entry.size:
            wanted, seen = str(entry.size), str(copy.size)
            findings.append(Finding(flaw=Flaw.SIZE, name=entry.name, wanted=wanted, found=seen))
        elif copy.crc32c != entry.crc32c:
            findings.append(
                Finding(flaw=Flaw.CHECKSUM, name=entry.name, wanted=entry.crc32c, found=copy.crc32c)
            )
    return findings


def sampled(found: Sequence[StoredObject], key: str) -> list[StoredObject]:
    """Some of the objects, others for each backup, and not more bytes than can be paid for."""

    def lot(one: StoredObject) -> bytes:
        return hashlib.sha256(f"{key}/{one.name}".encode()).digest()

    chosen: list[StoredObject] = []
    left = SAMPLED_BYTES
    for one in sorted(found, key=lot):
        if one.size <= left:
            chosen.append(one)
            left -= one.size
        if len(chosen) == SAMPLED:
            break
    return chosen


def source_of(order: Order) -> tuple[str, str]:
    """Bucket and prefix of what is copied."""
    bucket, _, prefix = order.part.of.partition("/")
    return bucket, prefix


def _base(order: Order) -> str:
    """Where all backups of the plan lie: two folders above this one's part."""
    return bucket_of(order.destination)[1].rsplit("/", 2)[0]


def pool_of(order: Order) -> str:
    """Where the copies of a part lie, for all backups of the plan."""
    return f"{_base(order)}/pool/{order.part.name}"


def at_a_time(total: int) -> int:
    """So many objects of a copy are moved in one look."""
    return max(SLICE, total // LOOKS)


def _planned(order: Order, found: Sequence[StoredObject]) -> bytes:
    source, _ = source_of(order)
    entries = tuple(_entry(one, pool_of(order)) for one in found)
    return _LISTING.dump_json(Listing(source=source, installation=order.installation, entries=entries))


def _entry(found: StoredObject, pool: str) -> Entry:
    name = below(pool, f"{found.name}/{found.generation}")
    return Entry(found.name, found.generation, found.size, found.crc32c, name)


def below(folder: str, name: str) -> str:
    """A name below another one, which is the same each time, and legal however long the name is."""
    found = f"{folder}/{name}"
    if len(found.encode()) <= LONGEST:
        return found
    return f"{folder}/long/{hashlib.sha256(name.encode()).hexdigest()}"
