"""Firestore's operations on whole databases: begun once, never waited for, found again in its own list."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from domain.backups import Broke, Finished, Going
from domain.cloudrun import RunRefused, RunTrouble
from domain.errors import Outage
from domain.levels import Value
from gcp.clients import GcpClients
from gcp.run import trouble
from gcp.telling import Trouble

if TYPE_CHECKING:
    from google.cloud.firestore_admin_v1.services.firestore_admin import FirestoreAdminAsyncClient

SECONDS = 15.0
"""For one call."""

PATIENCE = 60.0
"""Seconds for all pages of a list of operations."""

PAGE = 100

MOST_PAGES = 200
"""Google keeps operations for 30 days; a list that has no end is an error of somebody's."""

Answer = TypeVar("Answer")


class Kind(StrEnum):
    """What an operation does to a database."""

    EXPORT = "ExportDocumentsMetadata"
    IMPORT = "ImportDocumentsMetadata"
    DELETE = "BulkDeleteDocumentsMetadata"


class Work(Value):
    """How much is done of how much there seems to be, which is Google's own estimate; 0 where it has none."""

    done: int = 0
    total: int = 0


class Job(Value):
    """One operation. ``place``: the ``gs://`` prefix that it writes or reads; empty for a deletion.

    ``problem``: why it came to nothing. ``state``: Google's word, such as ``SUCCESSFUL``.
    """

    name: str
    kind: Kind
    place: str = ""
    state: str = ""
    is_done: bool = False
    problem: str | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    snapshot_at: datetime | None = None
    documents: Work = Work()
    bytes: Work = Work()

    @property
    def seconds(self) -> float | None:
        """How long it took, as Google measured it."""
        if self.begun_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.begun_at).total_seconds()

    def heard(self) -> Going | Finished | Broke:
        """How it stands."""
        if self.problem is not None:
            return Broke(why=self.problem)
        if self.is_done:
            return Finished()
        return Going(done=self.documents.done, total=self.documents.total or None)


class NotTaken(Exception):
    """Google refused a request for good: asking the same again cannot succeed. ``why`` is in its words.

    ``missing``: there is no such database or operation.
    """

    def __init__(self, why: str, *, missing: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.missing = missing


class FirestoreOperations:
    """Calls of the Firestore Admin API, each made once.

    An outage's ``reason`` begins with one of ``permission``, ``unavailable``, ``quota``, ``credentials`` and
    ``error``, then a colon and the detail.
    """

    def __init__(self, clients: GcpClients, *, seconds: float = SECONDS) -> None:
        self._clients = clients
        self._log = Trouble("firestore")
        self.once: dict[str, Any] = {"retry": None, "timeout": seconds}
        """Google's library would repeat by itself, and for longer than asked."""

    async def begin(self, needs: str, call: "Callable[[FirestoreAdminAsyncClient], Awaitable[Any]]") -> str:
        """Begin an operation; its name. ``needs`` is the permission of the call. Raises ``NotTaken`` too."""
        async with self.guarded(needs, writes=True):
            begun = await call(await self._clients.firestore_admin())
            return str(begun.operation.name)

    async def one(self, name: str) -> Job | None:
        """An operation as it stands; ``None`` where it is not known (any more)."""
        try:
            async with self.guarded("datastore.operations.get"):
                client = await self._clients.firestore_admin()
                return _read(await client.get_operation({"name": name}, **self.once))
        except NotTaken as refused:
            if refused.missing:
                return None
            raise Outage(f"error: {refused.why}") from refused

    async def all(self, database: str) -> list[Job]:
        """What Google remembers to have done to a database, the newest first; none of no database."""
        try:
            async with self.guarded("datastore.operations.list"), asyncio.timeout(PATIENCE):
                found = await self._pages(database)
        except TimeoutError as error:
            raise self._out(Outage("unavailable: timeout")) from error
        except NotTaken as refused:
            if refused.missing:
                return []
            raise Outage(f"error: {refused.why}") from refused
        return sorted(found, key=lambda job: job.begun_at or datetime.min.replace(tzinfo=UTC), reverse=True)

    async def _pages(self, database: str) -> list[Job]:
        client = await self._clients.firestore_admin()
        found: list[Job] = []
        token = ""
        for _ in range(MOST_PAGES):
            request = {"name": database, "page_size": PAGE, "page_token": token}
            page = await client.list_operations(request, **self.once)
            found += [job for job in map(_read, page.operations) if job is not None]
            token = page.next_page_token
            if not token:
                return found
        raise self._out(Outage("error: the list of operations has no end"))

    async def cancel(self, job: Job) -> None:
        """Ask for an end; one that is over already is no error."""
        try:
            async with self.guarded("datastore.operations.cancel", writes=True):
                client = await self._clients.firestore_admin()
                await client.cancel_operation({"name": job.name}, **self.once)
        except NotTaken:
            return

    @asynccontextmanager
    async def guarded(self, needs: str, *, writes: bool = False) -> AsyncIterator[None]:
        """Google's errors as ours: ``Outage``, and ``NotTaken`` for what is refused for good."""
        from google.api_core.exceptions import Aborted, GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except Aborted as error:  # Somebody else did something to the database at this moment.
            raise self._out(Outage(f"unavailable: {error.message}")) from error
        except (GoogleAPIError, GoogleAuthError) as error:
            match trouble(error, needs, writes=writes):
                case Outage() as outage:
                    raise self._out(outage) from error
                case RunRefused(trouble=RunTrouble.DENIED, detail=detail):
                    # Rights can be repaired while we ask again.
                    raise self._out(Outage(f"permission: {detail}")) from error
                case RunRefused() as refused:
                    missing = refused.trouble is RunTrouble.NOT_FOUND
                    raise NotTaken(refused.detail, missing=missing) from error
        self._log.tell(None)

    def _out(self, outage: Outage) -> Outage:
        self._log.tell(outage.reason)
        return outage


def _read(raw: Any) -> Job | None:
    """An operation out of Google's; ``None`` for kinds that are none of ours, such as an index's."""
    word = raw.metadata.type_url.rpartition(".")[2]
    kind = next((one for one in Kind if one.value == word), None)
    if kind is None:
        return None
    told = _metadata(kind)
    raw.metadata.Unpack(told)
    state = _state(told)
    problem = None
    if raw.HasField("error"):
        problem = raw.error.message or f"code {raw.error.code}"
    elif state in {"CANCELLED", "FAILED"}:
        problem = f"the operation is {state}"
    return Job(
        name=raw.name,
        kind=kind,
        place=getattr(told, "output_uri_prefix", "") or getattr(told, "input_uri_prefix", ""),
        state=state,
        is_done=raw.done,
        problem=problem,
        begun_at=_moment(told, "start_time"),
        ended_at=_moment(told, "end_time"),
        snapshot_at=_moment(told, "snapshot_time"),
        documents=_work(told.progress_documents),
        bytes=_work(told.progress_bytes),
    )


def _metadata(kind: Kind) -> Any:
    from google.cloud.firestore_admin_v1.types import operation

    return getattr(operation, kind.value).pb()()


def _state(told: Any) -> str:
    """Google's word; the number itself where this client does not know it yet."""
    number = told.operation_state
    known = told.DESCRIPTOR.fields_by_name["operation_state"].enum_type.values_by_number.get(number)
    return str(number) if known is None else str(known.name)


def _moment(told: Any, field: str) -> datetime | None:
    if field not in told.DESCRIPTOR.fields_by_name or not told.HasField(field):
        return None
    moment: datetime = getattr(told, field).ToDatetime(tzinfo=UTC)
    return moment


def _work(progress: Any) -> Work:
    return Work(done=progress.completed_work, total=progress.estimated_work)
