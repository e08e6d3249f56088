"""The pretend Firestore's gRPC methods: what is read of a request, which faults hit it, what is answered."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, assert_never

import grpc
from google.cloud.firestore_admin_v1.types import firestore_admin as admin
from google.cloud.firestore_v1.types import firestore as data
from google.longrunning import operations_pb2  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]

from sandbox.cloud import refusals
from sandbox.cloud.faults import Action, Faults
from sandbox.cloud.firestore import OPERATION, Firestore, PretendJob
from sandbox.cloud.journal import Call, Journal
from sandbox.cloud.refusals import Refusal, invalid

ADMIN = "google.firestore.admin.v1.FirestoreAdmin"
DATA = "google.firestore.v1.Firestore"
OPERATIONS = "google.longrunning.Operations"

MOST = 100
"""Items in one page."""


@dataclass(frozen=True, slots=True)
class _Method:
    """One method: its permission, the messages' classes, and who answers; ``streams``: with several."""

    service: str
    name: str
    permission: str
    asked: Any
    answered: Any
    call: Callable[[Any, Action | None], Awaitable[Any]]
    streams: bool = False


@dataclass(frozen=True, slots=True)
class _Details:
    """By this another handler is asked who answers a method."""

    method: str
    invocation_metadata: tuple[Any, ...] = ()


class FirestoreCalls:
    """FirestoreAdmin, Firestore and their Operations.

    In faults and in the journal ``metric`` is the database's short name; the journal's ``filter`` holds where
    an export goes to or an import comes from, and a deletion's collections, with commas.
    """

    def __init__(self, firestore: Firestore, faults: Faults, journal: Journal) -> None:
        self._firestore = firestore
        self._faults = faults
        self._journal = journal

    def handlers(self, others: Sequence[Any] = ()) -> tuple[Any, ...]:
        """For a gRPC server, to be asked before ``others``, which keep the operations that are theirs."""
        by_service: dict[str, dict[str, Any]] = {}
        for method in self._methods():
            if method.streams:
                make, answer = grpc.unary_stream_rpc_method_handler, self._streamed(method)
            else:
                make, answer = grpc.unary_unary_rpc_method_handler, self._told(method, others)
            by_service.setdefault(method.service, {})[method.name] = make(
                answer,
                request_deserializer=method.asked.FromString,
                response_serializer=method.answered.SerializeToString,
            )
        return tuple(grpc.method_handlers_generic_handler(name, found) for name, found in by_service.items())

    def _methods(self) -> tuple[_Method, ...]:
        get, some = operations_pb2.GetOperationRequest, operations_pb2.ListOperationsRequest
        listed, cancel = operations_pb2.ListOperationsResponse, operations_pb2.CancelOperationRequest
        export, load = admin.ExportDocumentsRequest.pb(), admin.ImportDocumentsRequest.pb()
        delete, rights = admin.BulkDeleteDocumentsRequest.pb(), "datastore.databases"
        query, found = data.RunQueryRequest.pb(), data.RunQueryResponse.pb()
        asked, counted = data.RunAggregationQueryRequest.pb(), data.RunAggregationQueryResponse.pb()
        roots, ids = data.ListCollectionIdsRequest.pb(), data.ListCollectionIdsResponse.pb()
        reads = "datastore.entities.list"
        return (
            _Method(ADMIN, "ExportDocuments", f"{rights}.export", export, OPERATION, self._export),
            _Method(ADMIN, "ImportDocuments", f"{rights}.import", load, OPERATION, self._import),
            _Method(ADMIN, "BulkDeleteDocuments", f"{rights}.bulkDelete", delete, OPERATION, self._delete),
            _Method(OPERATIONS, "GetOperation", "datastore.operations.get", get, OPERATION, self._get),
            _Method(OPERATIONS, "ListOperations", "datastore.operations.list", some, listed, self._list),
            _Method(
                OPERATIONS,
                "CancelOperation",
                "datastore.operations.cancel",
                cancel,
                empty_pb2.Empty,
                self._cancel,
            ),
            _Method(DATA, "RunQuery", reads, query, found, self._query, streams=True),
            _Method(DATA, "RunAggregationQuery", reads, asked, counted, self._count, streams=True),
            _Method(DATA, "ListCollectionIds", reads, roots, ids, self._roots),
        )

    def _told(self, method: _Method, others: Sequence[Any]) -> Any:
        path = f"/{method.service}/{method.name}"
        found = (other.service(_Details(path)) for other in others)
        theirs = next((one for one in found if one is not None), None)

        async def answer(request: Any, context: Any) -> Any:
            if theirs is not None and "/databases/" not in request.name:
                return await theirs.unary_unary(request, context)
            return await self._answer(method, request, context)

        return answer

    def _streamed(self, method: _Method) -> Any:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            for one in await self._answer(method, request, context):
                yield one

        return answer

    async def _answer(self, method: _Method, request: Any, context: Any) -> Any:
        """A method with faults before and after it and the journal behind it."""
        resource = str(getattr(request, "name", "") or getattr(request, "parent", ""))
        parts = resource.split("/")
        project, short = (parts[1], parts[3]) if len(parts) > 3 else ("", "")
        code = "CANCELLED"
        refused: Refusal | None = None
        try:
            action = self._faults.take(method.name, short)
            await _suffer(action, method.permission, resource)
            await self._firestore.settle()
            response = await method.call(request, action)
            _lose(action)
            code = "OK"
        except Refusal as refusal:
            code, refused = refusal.code.name, refusal
        except Exception:
            code = "UNKNOWN"
            raise
        finally:
            at, noted = self._firestore.clock.now(), _noted(request)
            self._journal.calls.append(Call(method.name, project, short, at, code, filter=noted))
        if refused is not None:
            await context.abort(refused.code, refused.detail)
        return response

    # Operations.

    async def _export(self, request: Any, action: Action | None) -> Any:
        at = request.snapshot_time.ToDatetime(tzinfo=UTC) if request.HasField("snapshot_time") else None
        job = await self._firestore.export(request.name, request.output_uri_prefix, at)
        return self._begun(job, action)

    async def _import(self, request: Any, action: Action | None) -> Any:
        return self._begun(await self._firestore.load(request.name, request.input_uri_prefix), action)

    async def _delete(self, request: Any, action: Action | None) -> Any:
        job = self._firestore.delete(request.name, request.collection_ids, request.namespace_ids)
        return self._begun(job, action)

    def _begun(self, job: PretendJob, action: Action | None) -> Any:
        match action:
            case Action("failing", text=text):
                job.failing = text
            case Action("stuck"):
                job.done_at = math.inf
        return job.write(self._firestore.clock.now())

    async def _get(self, request: Any, action: Action | None) -> Any:
        return self._job(request.name).write(self._firestore.clock.now())

    async def _list(self, request: Any, action: Action | None) -> Any:
        self._firestore.database(request.name)
        # Google promises no order; the oldest first is the least convenient one.
        jobs = self._firestore.jobs_of(request.name)
        if request.filter:
            raise invalid("ListOperationsRequest.filter", "is not understood here.")
        page, token = _page(jobs, request)
        now = self._firestore.clock.now()
        answer = operations_pb2.ListOperationsResponse(next_page_token=token)
        answer.operations.extend(job.write(now) for job in page)
        return answer

    async def _cancel(self, request: Any, action: Action | None) -> Any:
        await self._firestore.cancel(self._job(request.name).name)
        return empty_pb2.Empty()

    def _job(self, name: str) -> PretendJob:
        found = self._firestore.jobs.get(name)
        if found is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f'Operation "{name}" not found')
        return found

    # Documents.

    async def _query(self, request: Any, action: Action | None) -> list[Any]:
        """The first names in a database; nobody asks for more."""
        database, below = self._below(request.parent)
        query = request.structured_query
        sources = [(one.collection_id, one.all_descendants) for one in query.from_]
        selected = [one.field_path for one in query.select.fields]
        if below or sources != [("", True)] or selected != ["__name__"] or not query.limit.value:
            raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "Only names of all documents are listed here.")
        answer = data.RunQueryResponse.pb()
        found = [answer()]  # One without a document says only when it was read.
        for name in database.names(query.limit.value):
            found.append(answer())
            found[-1].document.name = name
        for one in found:
            one.read_time.FromDatetime(self._firestore.clock.now())
        return found

    async def _count(self, request: Any, action: Action | None) -> list[Any]:
        database, below = self._below(request.parent)
        asked = request.structured_aggregation_query
        sources = list(asked.structured_query.from_)
        if len(sources) != 1 or sources[0].all_descendants or not sources[0].collection_id:
            raise invalid("RunAggregationQueryRequest", "one collection is counted here.")
        if len(asked.aggregations) != 1 or not asked.aggregations[0].HasField("count"):
            raise invalid("RunAggregationQueryRequest", "only counts are known here.")
        collection = sources[0].collection_id
        if collection.startswith("__") and collection.endswith("__"):
            raise invalid("RunAggregationQueryRequest", f'Collection id "{collection}" is reserved.')
        answer = data.RunAggregationQueryResponse.pb()()
        count = database.documents.get("/".join([*below, collection]), 0)
        answer.result.aggregate_fields[asked.aggregations[0].alias].integer_value = count
        answer.read_time.FromDatetime(self._firestore.clock.now())
        return [] if action is not None and action.trouble == "empty" else [answer]

    async def _roots(self, request: Any, action: Action | None) -> Any:
        database, below = self._below(request.parent)
        if below:
            raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "Only collections at the root are listed here.")
        page, token = _page(sorted({path.split("/")[0] for path in database.documents}), request)
        return data.ListCollectionIdsResponse.pb()(collection_ids=page, next_page_token=token)

    def _below(self, parent: str) -> tuple[Any, list[str]]:
        """The database, and the path of a document in it; empty for its root."""
        name, documents, path = parent.partition("/documents")
        if not documents:
            raise invalid("parent", f"'{parent}' is neither a document nor a database's root.")
        return self._firestore.database(name), [part for part in path.split("/") if part]


async def _suffer(action: Action | None, permission: str, resource: str) -> None:
    """What goes wrong before anything is done."""
    if action is None:
        return
    match action.trouble:
        case "slow":
            await asyncio.sleep(action.value)
        case "quota":
            raise refusals.exhausted()
        case "unavailable":
            raise refusals.unavailable()
        case "permission":
            raise refusals.denied(permission, resource)
        case "lost" | "failing" | "stuck" | "empty" | "late":
            pass
        case _:
            assert_never(action.trouble)


def _lose(action: Action | None) -> None:
    """What goes wrong after everything was done."""
    if action is not None and action.trouble == "lost":
        raise refusals.unavailable()


def _noted(request: Any) -> str:
    """What the journal keeps of a request besides its name."""
    for field in ("output_uri_prefix", "input_uri_prefix"):
        if hasattr(request, field):
            return str(getattr(request, field))
    return ",".join(getattr(request, "collection_ids", ()))


def _page(found: Sequence[Any], request: Any) -> tuple[Sequence[Any], str]:
    """One page of what was found, and the token of the next; empty where there is none."""
    if request.page_token and not request.page_token.isdecimal():
        raise invalid("page_token", "is not of this request.")
    start = int(request.page_token or 0)
    end = start + min(request.page_size or MOST, MOST)
    return found[start:end], str(end) if end < len(found) else ""
