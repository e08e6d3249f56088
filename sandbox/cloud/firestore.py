"""The pretend Firestore: databases that count documents, and operations on them that end by the clock."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import grpc
from google.cloud.firestore_admin_v1.types import operation as kinds
from google.longrunning import operations_pb2  # type: ignore[import-untyped]

from domain.objects import bucket_of
from domain.ports import Clock
from sandbox.cloud.refusals import Refusal, invalid

OPERATION = operations_pb2.Operation

BYTES = 64
"""Of one document in an export."""

IN_ONE = 1000
"""Documents in one output file."""

EXPORT, IMPORT, DELETE = (
    kinds.ExportDocumentsMetadata.pb(),
    kinds.ImportDocumentsMetadata.pb(),
    kinds.BulkDeleteDocumentsMetadata.pb(),
)
"""What an operation's metadata is written in, by what it does."""

CANCELLED, FAILED_PRECONDITION, INTERNAL = 1, 9, 13
"""Codes that an operation's error has."""

_State = kinds.OperationState


class Shelf(Protocol):
    """The pretend Cloud Storage, as far as exports need it. Calls raise ``OSError``."""

    async def write(self, bucket: str, name: str, data: bytes) -> None:
        """A new object."""
        ...

    async def read(self, bucket: str, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""
        ...


@dataclass(slots=True)
class Odd:
    """What is wrong with the exports and imports of a database, though they end well.

    ``unmarked``: without the file that marks a whole export. ``hollow``: one output file has no bytes.
    ``lost``: so many documents are left out. ``late``: the snapshot is of another time. ``place``: what is
    told of where it was written. ``guessed``: how many documents the old statistics knew.
    """

    unmarked: bool = False
    hollow: bool = False
    lost: int = 0
    late: timedelta = timedelta()
    place: str | None = None
    guessed: int | None = None


@dataclass(slots=True)
class PretendDatabase:
    """``documents``: how many there are by collection, such as ``users`` or ``users/000000/orders``.

    ``seconds``: how long every operation takes. ``remembers``: it has point-in-time recovery.
    """

    name: str
    documents: dict[str, int] = field(default_factory=dict)
    remembers: bool = False
    seconds: float = 60.0
    odd: Odd = field(default_factory=Odd)

    @property
    def count(self) -> int:
        """All documents."""
        return sum(self.documents.values())

    def names(self, limit: int) -> list[str]:
        """The first documents by name. Their ids are numbers of six digits."""
        found = [
            f"{self.name}/documents/{path}/{number:06}"
            for path, count in self.documents.items()
            for number in range(min(count, limit))
        ]
        return sorted(found)[:limit]


@dataclass(slots=True)
class PretendJob:
    """One operation. ``done_at`` is infinite, in epoch seconds, for one that never ends.

    ``content`` is what it writes, reads or deletes, by collection; ``failing`` is how it will end.
    """

    name: str
    kind: Any
    database: PretendDatabase
    place: str
    begun_at: datetime
    done_at: float
    content: dict[str, int]
    total: int
    snapshot_at: datetime | None = None
    collections: tuple[str, ...] = ()
    failing: str = ""
    state: Any = _State.PROCESSING
    done: int = 0
    ended_at: datetime | None = None
    error: tuple[int, str] | None = None

    def write(self, now: datetime) -> Any:
        """The protocol's operation."""
        told = self.kind(operation_state=self.state, collection_ids=self.collections)
        told.start_time.FromDatetime(self.begun_at)
        if self.ended_at is not None:
            told.end_time.FromDatetime(self.ended_at)
        if self.snapshot_at is not None:
            told.snapshot_time.FromDatetime(self.snapshot_at)
        shown = self.done if self.ended_at is not None else self._so_far(now)
        told.progress_documents.completed_work, told.progress_documents.estimated_work = shown, self.total
        told.progress_bytes.completed_work = shown * BYTES
        told.progress_bytes.estimated_work = self.total * BYTES
        if self.kind is EXPORT:
            told.output_uri_prefix = self.place
        elif self.kind is IMPORT:
            told.input_uri_prefix = self.place
        written = OPERATION(name=self.name, done=self.ended_at is not None)
        written.metadata.Pack(told)
        if self.error is not None:
            written.error.code, written.error.message = self.error
        elif self.kind is EXPORT and written.done:
            written.response.Pack(kinds.ExportDocumentsResponse.pb()(output_uri_prefix=self.place))
        elif self.kind is DELETE and written.done:
            written.response.value = b""
        return written

    def _so_far(self, now: datetime) -> int:
        if math.isinf(self.done_at):
            return 0
        whole = max(1.0, self.done_at - self.begun_at.timestamp())
        return int(self.total * min(1.0, (now.timestamp() - self.begun_at.timestamp()) / whole))


class Firestore:
    """All databases and what is done to them. Whoever has a pretend Cloud Storage sets ``shelf``.

    What was due meanwhile happens when somebody calls, or by ``settle``.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.shelf: Shelf | None = None
        self.databases: dict[str, PretendDatabase] = {}
        self.jobs: dict[str, PretendJob] = {}
        self._settling = asyncio.Lock()

    def add(
        self, project: str, database: str = "(default)", documents: dict[str, int] | None = None
    ) -> PretendDatabase:
        """A database with so many documents in each of its collections."""
        name = f"projects/{project}/databases/{database}"
        self.databases[name] = PretendDatabase(name, documents or {})
        return self.databases[name]

    def database(self, name: str) -> PretendDatabase:
        """One by its full name."""
        if name not in self.databases:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"The database {name} does not exist.")
        return self.databases[name]

    def jobs_of(self, name: str) -> list[PretendJob]:
        """All operations on a database, in the order in which they began."""
        return [job for job in self.jobs.values() if job.database.name == name]

    # What is begun.

    async def export(self, name: str, place: str, snapshot_at: datetime | None) -> PretendJob:
        """An export of all collections."""
        database, now = self.database(name), self.clock.now()
        bucket, prefix = bucket_of(place)
        if not place.startswith("gs://") or not bucket:
            raise invalid("ExportDocumentsRequest.output_uri_prefix", f"'{place}' is no Cloud Storage URI.")
        place = place if prefix else f"gs://{bucket}/{now:%Y-%m-%dT%H:%M:%S}_{len(self.jobs)}"
        if snapshot_at is not None:
            _check_snapshot(snapshot_at, now, timedelta(days=7) if database.remembers else timedelta(hours=1))
        mark = _mark(place)
        if self.shelf is not None and await self.shelf.read(bucket, mark) is not None:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"Path already exists: /{bucket}/{mark}")
        odd = database.odd
        content = _without(database.documents, odd.lost)
        total = database.count if odd.guessed is None else odd.guessed
        job = self._begin(EXPORT, database, place, content, total)
        job.snapshot_at = None if snapshot_at is None else snapshot_at + odd.late
        return job

    async def load(self, name: str, place: str) -> PretendJob:
        """An import of all that an export holds."""
        database = self.database(name)
        bucket, _ = bucket_of(place)
        mark = _mark(place)
        raw = await self.shelf.read(bucket, mark) if self.shelf is not None else None
        if raw is None:
            text = f"Google Cloud Storage file does not exist: /{bucket}/{mark}"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
        content = json.loads(raw)
        return self._begin(
            IMPORT, database, place, _without(content, database.odd.lost), sum(content.values())
        )

    def delete(self, name: str, collections: Sequence[str], namespaces: Sequence[str]) -> PretendJob:
        """A deletion of collections wherever they are. Namespaces are for databases in Datastore's mode."""
        database = self.database(name)
        if namespaces or not collections or len(set(collections)) < len(collections):
            raise invalid("BulkDeleteDocumentsRequest.collection_ids", "must be given, each of them once.")
        content = {
            path: count
            for path, count in database.documents.items()
            if path.rpartition("/")[2] in set(collections)
        }
        job = self._begin(DELETE, database, "", content, sum(content.values()))
        job.collections = tuple(collections)
        return job

    def _begin(
        self, kind: Any, database: PretendDatabase, place: str, content: dict[str, int], total: int
    ) -> PretendJob:
        now = self.clock.now()
        job = PretendJob(
            name=f"{database.name}/operations/{len(self.jobs):06}-pretend",
            kind=kind,
            database=database,
            place=place,
            begun_at=now,
            done_at=now.timestamp() + database.seconds,
            content=content,
            total=total,
        )
        self.jobs[job.name] = job
        return job

    # What becomes of it.

    async def settle(self) -> None:
        """Let everything happen that was due by now."""
        async with self._settling:
            now = self.clock.now()
            for job in list(self.jobs.values()):
                if job.ended_at is None and job.done_at <= now.timestamp():
                    await self._end(job, now)

    async def _end(self, job: PretendJob, now: datetime) -> None:
        job.ended_at = now
        if job.failing:
            await self._write(job, whole=False)
            job.state, job.error = _State.FAILED, (INTERNAL, job.failing)
            return
        try:
            await self._carry_out(job)
        except OSError as error:
            job.state, job.error = _State.FAILED, (FAILED_PRECONDITION, str(error))
            return
        job.state, job.done = _State.SUCCESSFUL, sum(job.content.values())
        if job.kind is EXPORT and job.database.odd.place is not None:
            job.place = job.database.odd.place

    async def _carry_out(self, job: PretendJob) -> None:
        held = job.database.documents
        for path, count in job.content.items():
            if job.kind is IMPORT:
                held[path] = max(count, held.get(path, 0))
            elif job.kind is DELETE:
                held.pop(path, None)
        if job.kind is EXPORT:
            await self._write(job, whole=True)

    async def cancel(self, name: str) -> None:
        """End an operation before its time; what an export has written by then stays."""
        job = self.jobs[name]
        if job.ended_at is None:
            await self._write(job, whole=False)
            job.ended_at, job.done = self.clock.now(), job.total // 2
            job.state, job.error = _State.CANCELLED, (CANCELLED, "The operation was cancelled.")

    async def _write(self, job: PretendJob, *, whole: bool) -> None:
        """An export's files, or the first of them."""
        if job.kind is not EXPORT:
            return
        if self.shelf is None:
            raise OSError("there is no Cloud Storage")
        bucket, prefix = bucket_of(job.place)
        folder = f"{prefix}/all_namespaces/all_kinds"
        count, odd = sum(job.content.values()), job.database.odd
        for number, start in enumerate(range(0, count, IN_ONE)):
            data = b"".join(b"%063d\n" % one for one in range(start, min(start + IN_ONE, count)))
            await self.shelf.write(bucket, f"{folder}/output-{number}", b"" if odd.hollow else data)
            if not whole:
                return
        if whole:
            about = f"{count} documents".encode()
            await self.shelf.write(bucket, f"{folder}/all_namespaces_all_kinds.export_metadata", about)
            if not odd.unmarked:
                content = json.dumps(job.content, sort_keys=True).encode()
                await self.shelf.write(bucket, _mark(job.place), content)


def _mark(place: str) -> str:
    _, prefix = bucket_of(place)
    return f"{prefix}/{prefix.rpartition('/')[2]}.overall_export_metadata"


def _without(documents: dict[str, int], lost: int) -> dict[str, int]:
    """Fewer documents, taken from the first collection that has as many."""
    left = dict(documents)
    for path, count in left.items():
        if lost and count > lost:
            left[path] = count - lost
            break
    return left


def _check_snapshot(at: datetime, now: datetime, oldest: timedelta) -> None:
    place = "ExportDocumentsRequest.snapshot_time"
    if at.second or at.microsecond:
        raise invalid(place, "must be a whole minute.")
    if at >= now:
        raise invalid(place, "must be in the past.")
    if at < now - oldest:
        raise invalid(place, "is older than the database's earliest_version_time.")
