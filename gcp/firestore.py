"""Copies Firestore databases by managed exports into Cloud Storage, and looks at every object of a copy."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.backup_plans import Part
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.objects import StoredObject, bucket_of, in_bucket
from domain.ports import Objects
from gcp.firestore_operations import SECONDS, FirestoreOperations, Job, Kind, NotTaken, Work

if TYPE_CHECKING:
    from google.cloud.firestore_admin_v1.services.firestore_admin import FirestoreAdminAsyncClient

    from gcp.clients import GcpClients

METADATA = ".overall_export_metadata"
"""The file that marks a whole export ends so; before it stands its folder's name."""

SAMPLED = 3
"""Objects of a copy that are read again."""

SAMPLED_BYTES = 64 * 1024 * 1024

AT_ONCE = 8
"""Objects that are deleted side by side."""

REMEMBERED = timedelta(hours=1)
"""So far back reaches an export where the database has no point-in-time recovery."""

SETTLED = timedelta(minutes=2)
"""From then on no clock of Google's can take a moment of ours for one to come."""

_ABOUT_TIME = re.compile(r"snapshot|future|past|version_time", re.IGNORECASE)


def database_of(part: Part) -> str:
    """The full name of a part's database."""
    return f"projects/{part.project}/databases/{part.of or '(default)'}"


class FirestoreVault:
    """Fulfils ``Vault`` for ``Source.FIRESTORE``. An order's ``destination`` is ``gs://bucket/prefix``.

    Google writes the copy with the rights of the project's own Firestore agent; ``objects`` only looks at it
    and deletes it. ``seconds``: for one call.
    """

    def __init__(
        self,
        clients: "GcpClients",
        objects: Objects,
        now: Callable[[], datetime],
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._operations = FirestoreOperations(clients, seconds=seconds)
        self._objects = objects
        self._now = now

    async def find(self, order: Order) -> Began | None:
        """An export to this order's own place, in the database's list of operations."""
        job = await self._export(order)
        return None if job is None else Began(operation=job.name)

    async def begin(self, order: Order) -> Began | Broke:
        """Begin an export of the state at ``order.at``, never into a place that holds something."""
        if not in_bucket(order.destination) or not bucket_of(order.destination)[1]:
            return Broke(why=f"{order.destination} is not gs://bucket/prefix")
        if not order.part.project:
            return Broke(why="it is not said in which project the database is")
        bucket, prefix = bucket_of(order.destination)
        if await self._objects.list(bucket, f"{prefix}/", limit=1):
            return Broke(why=f"{order.destination} holds something already")
        request = {
            "name": database_of(order.part),
            "output_uri_prefix": order.destination,
            "snapshot_time": order.at,
        }

        async def export(client: "FirestoreAdminAsyncClient") -> Any:
            return await client.export_documents(request, **self._operations.once)

        try:
            return Began(operation=await self._operations.begin("datastore.databases.export", export))
        except NotTaken as refused:
            return self._refusal(order, refused.why)

    def _refusal(self, order: Order, why: str) -> Broke:
        age = self._now() - order.at
        if age < SETTLED and _ABOUT_TIME.search(why):
            # The last full minute may be a moment to come by Google's clock; it will not be for long.
            raise Outage(f"unavailable: {why}")
        if age > REMEMBERED and _ABOUT_TIME.search(why):
            return Broke(why=f"{why} (a state older than 1 h needs point-in-time recovery)")
        return Broke(why=why)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """How the export stands. What a cancelled or failed one has left in the bucket never counts."""
        job = await self._operations.one(operation)
        return Broke(why=f"there is no {operation}") if job is None else job.heard()

    async def prove(self, order: Order, operation: str) -> Evidence:
        """The operation's own account, every object that lies there, and some of them byte by byte."""
        bucket, prefix = bucket_of(order.destination)
        job = await self._operations.one(operation)
        if job is None or job.kind is not Kind.EXPORT:
            findings = [Finding(flaw=Flaw.NOT_LISTED, name=operation)]
            job = None
        else:
            findings = account_findings(order, job)
        found = await self._objects.list(bucket, f"{prefix}/")
        findings += object_findings(order, found)
        sample = sampled(order, found)
        for one in sample:
            findings += await self._read_again(one)
        return Evidence.of(
            findings,
            objects=len(found),
            bytes=sum(one.size for one in found),
            records=None if job is None else job.documents.done,
            sampled=len(sample),
            at=None if job is None else job.snapshot_at,
        )

    async def _read_again(self, one: StoredObject) -> list[Finding]:
        try:
            data = await self._objects.read(one)
        except Outage as outage:
            if not outage.reason.startswith("checksum"):
                raise
            return [Finding(flaw=Flaw.CHECKSUM, name=one.name, wanted=one.crc32c, found=outage.reason[:200])]
        if len(data) == one.size:
            return []
        return [Finding(flaw=Flaw.SIZE, name=one.name, wanted=str(one.size), found=str(len(data)))]

    async def remove(self, order: Order) -> None:
        """Delete every object below the order's place, what marks a whole copy first.

        Raises ``Outage`` for a place that is not this order's alone, and while an export still writes there:
        it is cancelled then.
        """
        if not is_own(order):
            raise Outage(f"error: {order.destination} is not of this copy alone, so nothing is deleted there")
        job = await self._export(order)
        if job is not None and not job.is_done:
            await self._operations.cancel(job)
            raise Outage(f"unavailable: {job.name} still writes to {order.destination}")
        bucket, prefix = bucket_of(order.destination)
        found = await self._objects.list(bucket, f"{prefix}/")
        for one in found:
            if one.name.endswith(METADATA):
                await self._objects.delete(one)
        rest = [one for one in found if not one.name.endswith(METADATA)]
        for start in range(0, len(rest), AT_ONCE):
            await asyncio.gather(*(self._objects.delete(one) for one in rest[start : start + AT_ONCE]))

    async def _export(self, order: Order) -> Job | None:
        """The export to this order's place; the newest that came to something, where there are several."""
        if not order.part.project:
            return None
        jobs = await self._operations.all(database_of(order.part))
        ours = [job for job in jobs if job.kind is Kind.EXPORT and job.place == order.destination]
        return min(ours, key=lambda job: job.problem is not None, default=None)


def is_own(order: Order) -> bool:
    """True where the place can be nobody else's: its path ends in the order's own plan, moment and part."""
    bucket, prefix = bucket_of(order.destination)
    own = order.key.split("/")[1:]
    if not in_bucket(order.destination) or not bucket or len(own) < 3 or not all(own):
        return False
    return prefix.split("/")[-len(own) :] == own


def account_findings(order: Order, job: Job) -> list[Finding]:
    """What Google's own account of an export says against it."""
    findings = []
    if job.problem is not None or not job.is_done or job.state != "SUCCESSFUL":
        said = job.problem or job.state
        findings.append(Finding(flaw=Flaw.UNFINISHED, name=job.name, wanted="SUCCESSFUL", found=said[:200]))
    asked = (
        ("database", database_of(order.part), job.name.partition("/operations/")[0]),
        ("output", order.destination, job.place),
        ("snapshot", f"{order.at:%Y-%m-%d %H:%M:%S} UTC", _moment(job.snapshot_at)),
    )
    findings += [
        Finding(flaw=Flaw.ELSEWHERE, name=name, wanted=wanted, found=found or None)
        for name, wanted, found in asked
        if wanted != found
    ]
    findings += _work_findings("documents", job.documents) + _work_findings("bytes", job.bytes)
    if job.documents == Work():
        findings.append(Finding(flaw=Flaw.EMPTY, name="documents"))
    return findings


def _work_findings(name: str, work: Work) -> list[Finding]:
    """Fewer than Google had counted is a flaw. More is none: its estimate comes from older statistics."""
    if work.done >= work.total:
        return []
    return [Finding(flaw=Flaw.COUNT, name=name, wanted=str(work.total), found=str(work.done))]


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def mark_of(order: Order) -> str:
    """The name of the object that marks a whole export. Google takes no other one when it reads it."""
    _, prefix = bucket_of(order.destination)
    return f"{prefix}/{prefix.rpartition('/')[2]}{METADATA}"


def object_findings(order: Order, found: Sequence[StoredObject]) -> list[Finding]:
    """What the objects of an export say against it."""
    if not found:
        return [Finding(flaw=Flaw.MISSING, name=order.destination)]
    findings = []
    mark = mark_of(order)
    if all(one.name != mark for one in found):
        others = ", ".join(one.name for one in found if one.name.endswith(METADATA))
        findings.append(Finding(flaw=Flaw.UNFINISHED, name=mark, found=others[:200] or None))
    # A name that ends in a slash is a folder that somebody has made by hand.
    empty = [one for one in found if one.size == 0 and not one.name.endswith("/")]
    return findings + [Finding(flaw=Flaw.EMPTY, name=one.name) for one in empty]


def sampled(order: Order, found: Sequence[StoredObject]) -> list[StoredObject]:
    """Some objects, not more than can be read: the mark, and others by the order's key; ever the same."""
    mark = mark_of(order)

    def place(one: StoredObject) -> tuple[bool, str]:
        return one.name != mark, hashlib.sha256(f"{order.key}\n{one.name}".encode()).hexdigest()

    chosen: list[StoredObject] = []
    for one in sorted((one for one in found if one.size), key=place):
        if len(chosen) < SAMPLED and sum(other.size for other in chosen) + one.size <= SAMPLED_BYTES:
            chosen.append(one)
    return chosen
