"""Restores exports of Firestore into a scratch database of another project, and asks it the questions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from domain.backups import Began, Broke, Finished, Going
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.rehearsal import Restore, answer_findings
from gcp.firestore_operations import SECONDS, FirestoreOperations, Job, Kind, NotTaken

if TYPE_CHECKING:
    from google.cloud.firestore_admin_v1.services.firestore_admin import FirestoreAdminAsyncClient
    from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient

    from gcp.clients import GcpClients

SKEW = timedelta(minutes=1)
"""So far Google's clock may be behind ours. Two drills of one copy lie further apart."""

LOOKED_AT = 300
"""Documents whose names tell which collections a database has, besides those at its root."""

COUNTED = 60.0
"""Seconds for one count; Firestore itself gives up then."""


class FirestoreRehearsal:
    """Fulfils ``Rehearsal`` for ``Source.FIRESTORE``. A restore's ``scratch`` is ``project/database``.

    The database must exist, must be of another project than the copy's source, and must be empty: nothing is
    imported beside documents of others, and nothing is deleted where this drill has not imported before. Its
    project's own Firestore agent must be allowed to read the bucket. ``seconds``: for one call.
    """

    def __init__(self, clients: "GcpClients", *, seconds: float = SECONDS) -> None:
        self._clients = clients
        self._operations = FirestoreOperations(clients, seconds=seconds)

    async def find(self, restore: Restore) -> Began | None:
        """An import of this copy that began with the drill or after it, and has not failed."""
        if refusal(restore) is not None:
            return None
        jobs = [job for job in await self._imports(restore) if job.problem is None]
        return Began(operation=jobs[0].name) if jobs else None

    async def begin(self, restore: Restore) -> Began | Broke:
        """Begin to import. What an earlier attempt of this drill has left is deleted before."""
        why = refusal(restore)
        if why is not None:
            return Broke(why=why)
        request = {"name": database_of(restore), "input_uri_prefix": restore.copy_of.destination}

        async def load(client: "FirestoreAdminAsyncClient") -> Any:
            return await client.import_documents(request, **self._operations.once)

        try:
            if await self._collections(restore):
                if not await self._imports(restore):
                    return Broke(
                        why=f"{restore.scratch} holds documents that this drill has not put there",
                        blames_place=True,
                    )
                await self._empty(restore)
            return Began(operation=await self._operations.begin("datastore.databases.import", load))
        except NotTaken as refused:
            return Broke(why=refused.why)

    async def look(self, restore: Restore, operation: str) -> Going | Finished | Broke:
        """How the import stands."""
        job = await self._operations.one(operation)
        return Broke(why=f"there is no {operation}") if job is None else job.heard()

    async def examine(self, restore: Restore, operation: str) -> Evidence:
        """Compare the number of documents with the export's, and ask the questions.

        A question's collection is one at the root, or one below a document by its path: ``users/u1/orders``.
        """
        job = await self._operations.one(operation)
        if job is None or job.kind is not Kind.IMPORT:
            return Evidence.of([Finding(flaw=Flaw.NOT_LISTED, name=operation)])
        findings = _work_findings(restore, job, await self._operations.one(restore.operation))
        answers: list[object] = []
        for question in restore.questions:
            try:
                answers.append(await self._count(restore, question.ask))
            except (NotTaken, ValueError) as error:
                answers.append(error)
        findings += answer_findings(restore.questions, answers, restore.copy_of.at)
        return Evidence.of(
            findings,
            bytes=job.bytes.done,
            records=job.documents.done,
            at=restore.copy_of.at,
            seconds=job.seconds,
        )

    async def remove(self, restore: Restore) -> None:
        """Empty the scratch database, if this drill has imported into it.

        Google deletes in the background: raises ``Outage`` until it is empty.
        """
        if refusal(restore) is not None:
            return
        jobs = await self._imports(restore)
        going = [job for job in jobs if not job.is_done]
        for job in going:
            await self._operations.cancel(job)
        if going:
            raise Outage(f"unavailable: an import into {restore.scratch} is being cancelled")
        if jobs:
            await self._empty(restore)

    async def _imports(self, restore: Restore) -> list[Job]:
        """What this drill has imported into its scratch database, the newest first."""
        place, since = restore.copy_of.destination, restore.at - SKEW
        return [
            job
            for job in await self._operations.all(database_of(restore))
            if job.kind is Kind.IMPORT
            and job.place == place
            and job.begun_at is not None
            and job.begun_at >= since
        ]

    async def _empty(self, restore: Restore) -> None:
        """Delete what is there, one round of collections after the other; ``Outage`` while that goes on."""
        database = database_of(restore)
        jobs = await self._operations.all(database)
        if all(job.is_done for job in jobs if job.kind is Kind.DELETE):
            try:
                collections = await self._collections(restore)
                if not collections:
                    return
                await self._delete(database, collections)
            except NotTaken as refused:
                raise Outage(f"error: {refused.why}") from refused
        raise Outage(f"unavailable: {restore.scratch} is being emptied")

    async def _delete(self, database: str, collections: list[str]) -> None:
        request = {"name": database, "collection_ids": collections}

        async def delete(client: "FirestoreAdminAsyncClient") -> Any:
            return await client.bulk_delete_documents(request, **self._operations.once)

        await self._operations.begin("datastore.databases.bulkDelete", delete)

    # Documents.

    async def _collections(self, restore: Restore) -> list[str]:
        """Collections that hold documents; of a database that holds any at least one. Empty: it holds none.

        Google deletes by collection, and lists only those at the root. Others are known by the names of the
        first documents, and after those are deleted by the names of the next.
        """
        root = f"{database_of(restore)}/documents"
        query = {
            "select": {"fields": [{"field_path": "__name__"}]},
            "from_": [{"all_descendants": True}],
            "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
            "limit": LOOKED_AT,
        }
        found: set[str] = set()
        async with self._documents("datastore.entities.list") as client:
            request = {"parent": root, "structured_query": query}
            async for one in await client.run_query(request, **self._operations.once):
                if one.document.name:
                    found.add(one.document.name.split("/")[-2])
            if found:
                pager = await client.list_collection_ids({"parent": root}, **self._operations.once)
                found |= {collection async for collection in pager}
        return sorted(found)

    async def _count(self, restore: Restore, ask: str) -> int:
        """How many documents a collection has. Raises ``ValueError`` for what is no collection's path."""
        path = ask.strip("/").split("/")
        if len(path) % 2 == 0 or not all(path):
            raise ValueError(f"{ask[:120]} is not a collection")
        query = {
            "structured_query": {"from_": [{"collection_id": path[-1]}]},
            "aggregations": [{"alias": "documents", "count": {}}],
        }
        request = {
            "parent": "/".join([database_of(restore), "documents", *path[:-1]]),
            "structured_aggregation_query": query,
        }
        counted = None
        async with self._documents("datastore.entities.list") as client:
            asked = {**self._operations.once, "timeout": COUNTED}
            async for one in await client.run_aggregation_query(request, **asked):
                if "documents" in one.result.aggregate_fields:
                    counted = one.result.aggregate_fields["documents"].integer_value
        if counted is None:
            raise Outage(f"error: no count of {ask[:120]}")
        return int(counted)

    @asynccontextmanager
    async def _documents(self, needs: str) -> "AsyncIterator[FirestoreAsyncClient]":
        async with self._operations.guarded(needs):
            yield await self._clients.firestore()


def database_of(restore: Restore) -> str:
    """The full name of the scratch database."""
    project, _, database = restore.scratch.partition("/")
    return f"projects/{project}/databases/{database}"


def refusal(restore: Restore) -> str | None:
    """Why nothing may be restored, and nothing be deleted, there; ``None`` where it may."""
    project, _, database = restore.scratch.partition("/")
    source = restore.copy_of.part.project
    if not project or not database or "/" in database:
        return f'"{restore.scratch}" is not project/database'
    if not source:
        return "it is not said which project the copy is of"
    if project == source:
        return f"{restore.scratch} is of the project that the copy is of"
    return None


def _work_findings(restore: Restore, job: Job, export: Job | None) -> list[Finding]:
    """Whether all that was exported was imported. An export that Google forgot is compared with its files."""
    findings = []
    if job.problem is not None or not job.is_done or job.state != "SUCCESSFUL":
        said = job.problem or job.state
        findings.append(Finding(flaw=Flaw.UNFINISHED, name=job.name, wanted="SUCCESSFUL", found=said[:200]))
    if job.place != restore.copy_of.destination:
        wanted = restore.copy_of.destination
        findings.append(Finding(flaw=Flaw.ELSEWHERE, name="input", wanted=wanted, found=job.place or None))
    there = job.name.partition("/operations/")[0]
    if there != database_of(restore):
        wanted = database_of(restore)
        findings.append(Finding(flaw=Flaw.ELSEWHERE, name="database", wanted=wanted, found=there))
    documents = job.documents.total if export is None else export.documents.done
    if job.documents.done != documents:
        found = str(job.documents.done)
        findings.append(Finding(flaw=Flaw.COUNT, name="documents", wanted=str(documents), found=found))
    return findings
