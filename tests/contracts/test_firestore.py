"""Firestore through Google's clients: exports, what proves them, and imports into a scratch database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from google.api_core import exceptions
from google.cloud.firestore_admin_v1.types.operation import OperationState
from yarl import URL

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Evidence, Flaw
from domain.objects import StoredObject
from domain.ports import Rehearsal, Vault
from domain.questions import Question
from domain.rehearsal import Restore
from gcp.buckets import Buckets
from gcp.clients import GcpClients
from gcp.firestore import SAMPLED_BYTES, FirestoreVault, is_own, sampled
from gcp.firestore_operations import PAGE, FirestoreOperations
from gcp.firestore_rehearsal import FirestoreRehearsal
from sandbox.clock import START, StandingClock
from sandbox.cloud import faults
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import FOREVER, Action
from sandbox.cloud.firestore import EXPORT, Odd, PretendDatabase

PROJECT, SCRATCH = "bondpoint-prod", "bondpoint-drills"
BUCKET = "bondpoint-backups"
FOLDER = "toban/nightly/20261122T010000Z"
DATABASE = f"projects/{PROJECT}/databases/(default)"
NESTED = "users/000000/orders"
HELD = {"users": 1200, "teams": 30, NESTED: 300}


class Gate:
    """The door of the pretend Cloud Storage through which the real client goes.

    ``deny``: HTTP methods, and ``READ`` for bytes, that are answered 403. ``spoil``: the end of a name whose
    bytes arrive otherwise.
    """

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session
        self.deny: set[str] = set()
        self.spoil = ""
        self.seen: list[tuple[str, str]] = []

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path))
        reads = request.query.get("alt") == "media"
        if request.method in self.deny or (reads and "READ" in self.deny):
            error = {"code": 403, "message": "toban@bondpoint does not have storage.objects access"}
            return web.json_response({"error": error}, status=403)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in {"host", "content-length"}}
        url = URL(f"{self._server}{request.raw_path}", encoded=True)
        asked = self._session.request(request.method, url, data=await request.read(), headers=headers)
        async with asked as answer:
            data = await answer.read()
            if self.spoil and reads and request.path.endswith(self.spoil):
                data = data[:-1] + bytes([data[-1] ^ 1])
            dropped = {"content-length", "transfer-encoding", "content-encoding", "connection"}
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
            return web.Response(status=answer.status, body=data, headers=kept)


@asynccontextmanager
async def guarded(storage: PretendStorage) -> AsyncIterator[tuple[Gate, str]]:
    """The door and its address."""
    async with aiohttp.ClientSession() as session:
        gate = Gate(storage.url, session)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", gate.pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield gate, f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


class World:
    """Two projects, a bucket, and the real vault and rehearsal that talk to them."""

    def __init__(
        self, clock: StandingClock, cloud: Cloud, storage: PretendStorage, gate: Gate, address: str
    ) -> None:
        self.clock, self.cloud, self.storage, self.gate = clock, cloud, storage, gate
        self.clients = GcpClients(cloud.endpoint)
        self.objects = Buckets(address)
        self.vault = FirestoreVault(self.clients, self.objects, clock.now, seconds=2)
        self.rehearsal = FirestoreRehearsal(self.clients, seconds=2)
        self.source: PretendDatabase = cloud.firestore.add(PROJECT, documents=dict(HELD))
        self.scratch: PretendDatabase = cloud.firestore.add(SCRATCH, "restored")
        self.order = self.ordered("documents")

    def ordered(self, name: str, **more: Any) -> Order:
        part = Part(name=name, source=Source.FIRESTORE, of="(default)", project=PROJECT)
        place = f"gs://{BUCKET}/{FOLDER}/{name}"
        fields = {"key": f"{FOLDER}/{name}", "part": part, "at": START, "destination": place}
        return Order.model_validate(fields | more)

    def restored(self, operation: str, *questions: Question, **more: Any) -> Restore:
        fields = {
            "key": "toban-drill/nightly/20261122T020000Z/documents",
            "copy_of": self.order,
            "operation": operation,
            "at": self.clock.now(),
            "scratch": f"{SCRATCH}/restored",
            "questions": questions,
        }
        return Restore.model_validate(fields | more)

    def wait(self, seconds: float) -> None:
        self.clock.push(timedelta(seconds=seconds))

    async def exported(self, order: Order | None = None) -> str:
        """The operation of an export that has ended."""
        begun = await self.vault.begin(order or self.order)
        assert isinstance(begun, Began)
        self.wait(61)
        await self.cloud.firestore.settle()
        return begun.operation

    async def imported(self, restore: Restore) -> str:
        begun = await self.rehearsal.begin(restore)
        assert isinstance(begun, Began)
        self.wait(61)
        return begun.operation

    def count(self, method: str) -> int:
        return self.cloud.journal.count(method)

    async def names(self) -> list[str]:
        return await self.storage.names(BUCKET)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    clock = StandingClock()
    cloud, storage = Cloud(clock), PretendStorage()
    await storage.start()
    await storage.make(BUCKET)
    await cloud.start()
    cloud.firestore.shelf = storage
    async with guarded(storage) as (gate, address):
        world = World(clock, cloud, storage, gate, address)
        world.wait(5)
        yield world
        await world.clients.close()
        await world.objects.close()
    await cloud.stop()
    await storage.stop()


async def outage(call: Any) -> Outage:
    with pytest.raises(Outage) as raised:
        await call
    return raised.value


def flaws(evidence: Evidence) -> list[tuple[Flaw, str, str | None, str | None]]:
    return [(one.flaw, one.name, one.wanted, one.found) for one in evidence.findings]


# An export on its way.


async def test_an_export_is_begun_looked_at_finished_and_proved(world: World) -> None:
    vault: Vault = world.vault
    assert await vault.find(world.order) is None
    begun = await vault.begin(world.order)
    assert isinstance(begun, Began)
    assert begun.operation.startswith(f"{DATABASE}/operations/")
    assert await vault.look(world.order, begun.operation) == Going(done=0, total=1530)
    world.wait(30)
    assert await vault.look(world.order, begun.operation) == Going(done=765, total=1530)
    world.wait(30)
    assert await vault.look(world.order, begun.operation) == Finished()
    folder = f"{FOLDER}/documents"
    assert await world.names() == [
        f"{folder}/all_namespaces/all_kinds/all_namespaces_all_kinds.export_metadata",
        f"{folder}/all_namespaces/all_kinds/output-0",
        f"{folder}/all_namespaces/all_kinds/output-1",
        f"{folder}/documents.overall_export_metadata",
    ]
    evidence = await vault.prove(world.order, begun.operation)
    assert flaws(evidence) == []
    assert (evidence.objects, evidence.records, evidence.sampled, evidence.at) == (4, 1530, 3, START)
    assert evidence.bytes > 1530 * 64
    calls = [call for call in world.cloud.journal.calls if call.method == "ExportDocuments"]
    assert [(call.project, call.metric, call.filter) for call in calls] == [
        (PROJECT, "(default)", world.order.destination)
    ]


async def test_an_export_whose_beginning_nobody_heard_of_is_found_and_not_made_again(world: World) -> None:
    await world.vault.begin(world.order)
    # Killed here: another process, which knows the order and nothing else.
    clients = GcpClients(world.cloud.endpoint)
    after = FirestoreVault(clients, world.objects, world.clock.now)
    found = await after.find(world.order)
    assert found is not None
    world.wait(61)
    assert await after.look(world.order, found.operation) == Finished()
    assert await after.find(world.order) == found
    assert world.count("ExportDocuments") == 1
    await clients.close()


async def test_a_lost_answer_is_an_outage_and_the_export_is_found(world: World) -> None:
    world.cloud.faults.add(faults.lost(), method="ExportDocuments")
    lost = await outage(world.vault.begin(world.order))
    assert (lost.reason.partition(":")[0], lost.unknown) == ("unavailable", True)
    assert isinstance(await world.vault.find(world.order), Began)
    assert [job.kind for job in world.cloud.firestore.jobs.values()] == [EXPORT]


async def test_an_export_is_found_by_its_own_place_among_pages_of_others(world: World) -> None:
    mine = await world.vault.begin(world.order)
    for number in range(2 * PAGE + 10):
        await world.cloud.firestore.export(DATABASE, f"gs://{BUCKET}/old/{number}", None)
    await world.cloud.firestore.export(DATABASE, f"{world.order.destination}-2", None)
    assert await world.vault.find(world.order) == mine
    assert world.count("ListOperations") == 3
    assert await world.vault.find(world.ordered("documents-3")) is None
    assert await world.vault.find(world.ordered("document")) is None


async def test_the_second_attempt_is_another_export_elsewhere(world: World) -> None:
    world.cloud.faults.add(faults.failing("Internal error."), method="ExportDocuments")
    operation = await world.exported()
    assert await world.vault.look(world.order, operation) == Broke(why="Internal error.")
    again = world.ordered("documents-2")
    assert await world.vault.find(again) is None
    second = await world.exported(again)
    assert flaws(await world.vault.prove(again, second)) == []


CALLS: dict[str, Callable[[World, str], Awaitable[object]]] = {
    "ExportDocuments": lambda world, _: world.vault.begin(world.ordered("other")),
    "ListOperations": lambda world, _: world.vault.find(world.order),
    "GetOperation": lambda world, operation: world.vault.look(world.order, operation),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(
    ("action", "word"),
    [
        (faults.permission(), "permission: "),
        (faults.quota(), "quota: "),
        (faults.unavailable(), "unavailable: "),
        (faults.slow(5), "unavailable: "),
    ],
)
async def test_what_tells_nothing_is_an_outage_in_one_word(
    world: World, method: str, action: Action, word: str
) -> None:
    operation = await world.exported()
    vault = FirestoreVault(world.clients, world.objects, world.clock.now, seconds=0.3)
    world.vault = vault
    world.cloud.faults.add(action, method=method, metric="(default)")
    told = await outage(CALLS[method](world, operation))
    assert told.reason.startswith(word)
    if word == "permission: ":
        assert "datastore." in told.reason
    if method == "GetOperation":
        world.cloud.faults.add(action, method=method)
        assert (await outage(vault.prove(world.order, operation))).reason.startswith(word)


async def test_a_state_of_over_an_hour_ago_needs_point_in_time_recovery_and_says_so(world: World) -> None:
    world.wait(3600)
    broke = await world.vault.begin(world.order)
    assert isinstance(broke, Broke)
    assert "older than the database's earliest_version_time" in broke.why
    assert broke.why.endswith("(a state older than 1 h needs point-in-time recovery)")
    world.source.remembers = True
    assert isinstance(await world.vault.begin(world.order), Began)


async def test_the_minute_that_has_only_just_begun_is_asked_for_again(world: World) -> None:
    order = world.ordered("documents", at=START + timedelta(minutes=1))
    world.wait(55)  # At the very beginning of that minute.
    told = await outage(world.vault.begin(order))
    assert "must be in the past" in told.reason
    world.wait(1)
    assert isinstance(await world.vault.begin(order), Began)


async def test_what_google_refuses_for_good_came_to_nothing(world: World) -> None:
    async def why(**more: Any) -> str:
        broke = await world.vault.begin(world.ordered("documents", **more))
        assert isinstance(broke, Broke)
        return broke.why

    other = Part(name="documents", source=Source.FIRESTORE, of="archive", project=PROJECT)
    nowhere = other.model_copy(update={"project": None})
    assert "does not exist" in await why(part=other)
    assert "in which project" in await why(part=nowhere)
    assert "whole minute" in await why(at=START - timedelta(minutes=5, seconds=1))
    assert "is not gs://bucket/prefix" in await why(destination="/backups/documents")
    assert "is not gs://bucket/prefix" in await why(destination=f"gs://{BUCKET}")
    assert not world.cloud.firestore.jobs


async def test_a_place_that_holds_something_is_never_written_to(world: World) -> None:
    await world.storage.write(BUCKET, f"{FOLDER}/documents/left-over", b"x")
    broke = await world.vault.begin(world.order)
    assert broke == Broke(why=f"{world.order.destination} holds something already")
    assert world.count("ExportDocuments") == 0


async def test_a_bucket_that_cannot_be_asked_is_an_outage(world: World) -> None:
    await outage(world.vault.begin(world.ordered("documents", destination="gs://not-there-b/a/b/c")))
    world.gate.deny = {"GET"}
    await outage(world.vault.begin(world.order))
    assert world.count("ExportDocuments") == 0


async def test_a_cancelled_export_leaves_files_that_never_count(world: World) -> None:
    begun = await world.vault.begin(world.order)
    assert isinstance(begun, Began)
    world.wait(30)
    await world.cloud.firestore.cancel(begun.operation)
    assert await world.names() == [f"{FOLDER}/documents/all_namespaces/all_kinds/output-0"]
    assert await world.vault.look(world.order, begun.operation) == Broke(why="The operation was cancelled.")
    world.wait(3600)
    assert await world.vault.look(world.order, begun.operation) == Broke(why="The operation was cancelled.")
    found = flaws(await world.vault.prove(world.order, begun.operation))
    assert [flaw for flaw, *_ in found] == [Flaw.UNFINISHED, Flaw.COUNT, Flaw.COUNT, Flaw.UNFINISHED]


async def test_an_end_without_success_is_none_even_where_no_error_is_told(world: World) -> None:
    operation = await world.exported()
    job = world.cloud.firestore.jobs[operation]
    job.state, job.error = OperationState.CANCELLED, None
    assert await world.vault.look(world.order, operation) == Broke(why="the operation is CANCELLED")
    found = flaws(await world.vault.prove(world.order, operation))
    assert found == [(Flaw.UNFINISHED, operation, "SUCCESSFUL", "the operation is CANCELLED")]


async def test_somebody_elses_change_at_the_same_moment_is_asked_for_again(world: World) -> None:
    operations = FirestoreOperations(world.clients)

    async def collide(client: Any) -> Any:
        raise exceptions.Aborted("concurrent operation")  # type: ignore[no-untyped-call]

    told = await outage(operations.begin("datastore.databases.export", collide))
    assert told.reason == "unavailable: concurrent operation"


async def test_a_stuck_export_is_on_its_way_for_ever(world: World) -> None:
    world.cloud.faults.add(faults.stuck(), method="ExportDocuments")
    begun = await world.vault.begin(world.order)
    assert isinstance(begun, Began)
    world.wait(86_400)
    assert await world.vault.look(world.order, begun.operation) == Going(done=0, total=1530)


async def test_an_operation_that_google_forgot_came_to_nothing(world: World) -> None:
    operation = await world.exported()
    world.cloud.firestore.jobs.clear()
    assert await world.vault.look(world.order, operation) == Broke(why=f"there is no {operation}")
    evidence = await world.vault.prove(world.order, operation)
    assert flaws(evidence) == [(Flaw.NOT_LISTED, operation, None, None)]
    assert (evidence.objects, evidence.records, evidence.at) == (4, None, None)


# What proves an export.


@pytest.mark.parametrize(
    ("odd", "found"),
    [
        (
            Odd(guessed=1600),
            [(Flaw.COUNT, "documents", "1600", "1530"), (Flaw.COUNT, "bytes", "102400", "97920")],
        ),
        (Odd(lost=1), [(Flaw.COUNT, "documents", "1530", "1529"), (Flaw.COUNT, "bytes", "97920", "97856")]),
        (
            Odd(late=timedelta(minutes=2)),
            [(Flaw.ELSEWHERE, "snapshot", "2026-11-22 01:00:00 UTC", "2026-11-22 01:02:00 UTC")],
        ),
        (Odd(guessed=1500), []),
    ],
)
async def test_googles_account_is_compared_with_what_was_asked_for(
    world: World, odd: Odd, found: list[Any]
) -> None:
    world.source.odd = odd
    assert flaws(await world.vault.prove(world.order, await world.exported())) == found


async def test_an_export_that_was_written_elsewhere_is_told(world: World) -> None:
    world.source.odd = Odd(place="gs://somewhere-else/documents")
    evidence = await world.vault.prove(world.order, await world.exported())
    wanted = world.order.destination
    assert flaws(evidence) == [(Flaw.ELSEWHERE, "output", wanted, "gs://somewhere-else/documents")]


async def test_an_export_of_another_database_is_told(world: World) -> None:
    operation = await world.exported()
    part = world.order.part.model_copy(update={"of": "archive"})
    evidence = await world.vault.prove(world.order.model_copy(update={"part": part}), operation)
    wanted = f"projects/{PROJECT}/databases/archive"
    assert flaws(evidence) == [(Flaw.ELSEWHERE, "database", wanted, DATABASE)]


async def test_an_export_without_the_file_that_marks_it_is_unfinished(world: World) -> None:
    world.source.odd = Odd(unmarked=True)
    operation = await world.exported()
    assert await world.vault.look(world.order, operation) == Finished()
    mark = f"{FOLDER}/documents/documents.overall_export_metadata"
    assert flaws(await world.vault.prove(world.order, operation)) == [(Flaw.UNFINISHED, mark, None, None)]
    other = f"{FOLDER}/documents/renamed.overall_export_metadata"
    await world.storage.write(BUCKET, other, b"{}")
    assert flaws(await world.vault.prove(world.order, operation)) == [(Flaw.UNFINISHED, mark, None, other)]


async def test_files_without_bytes_are_told_by_name(world: World) -> None:
    world.source.odd = Odd(hollow=True)
    evidence = await world.vault.prove(world.order, await world.exported())
    outputs = [f"{FOLDER}/documents/all_namespaces/all_kinds/output-{number}" for number in (0, 1)]
    assert flaws(evidence) == [(Flaw.EMPTY, name, None, None) for name in outputs]


async def test_an_empty_mark_is_told(world: World) -> None:
    operation = await world.exported()
    mark = f"{FOLDER}/documents/documents.overall_export_metadata"
    await world.storage.write(BUCKET, mark, b"")
    assert flaws(await world.vault.prove(world.order, operation)) == [(Flaw.EMPTY, mark, None, None)]


async def test_an_export_of_which_nothing_lies_there_is_missing(world: World) -> None:
    operation = await world.exported()
    for name in await world.names():
        await world.storage.erase(BUCKET, name)
    evidence = await world.vault.prove(world.order, operation)
    assert flaws(evidence) == [(Flaw.MISSING, world.order.destination, None, None)]
    assert (evidence.objects, evidence.bytes) == (0, 0)


async def test_an_export_of_no_documents_at_all_is_empty(world: World) -> None:
    world.source.documents.clear()
    evidence = await world.vault.prove(world.order, await world.exported())
    assert flaws(evidence) == [(Flaw.EMPTY, "documents", None, None)]


async def test_bytes_that_are_not_what_the_checksum_says_are_a_flaw_and_silence_is_none(world: World) -> None:
    operation = await world.exported()
    world.gate.spoil = "documents.overall_export_metadata"
    (found,) = flaws(await world.vault.prove(world.order, operation))
    assert found[:2] == (Flaw.CHECKSUM, f"{FOLDER}/documents/documents.overall_export_metadata")
    world.gate.spoil = ""
    for denied in ("READ", "GET"):
        world.gate.deny = {denied}
        told = await outage(world.vault.prove(world.order, operation))
        assert told.reason.startswith("permission")


def test_a_sample_is_the_mark_and_others_that_fit_and_ever_the_same() -> None:
    def stored(name: str, size: int) -> StoredObject:
        return StoredObject(bucket="b", name=name, generation=1, size=size, crc32c="AAAAAA==", at=START)

    part = Part(name="d", source=Source.FIRESTORE, project="p")
    orders = [
        Order(key=f"toban/n/{number}/d", part=part, at=START, destination=f"gs://b/n/{number}/d")
        for number in range(2)
    ]
    small = [stored(f"n/0/d/output-{number}", 10) for number in range(30)]
    mark = stored("n/0/d/d.overall_export_metadata", 5)
    chosen = sampled(orders[0], [*small, mark])
    assert (chosen[0], len(chosen)) == (mark, 3)
    assert sampled(orders[0], [mark, *reversed(small)]) == chosen
    assert sampled(orders[1], small) != sampled(orders[0], small)
    large = [stored(f"n/0/d/output-{number}", SAMPLED_BYTES) for number in range(3)]
    assert sampled(orders[0], [*large, mark, small[0]]) == [mark, small[0]]


# What is removed.


async def test_a_copy_is_removed_whole_and_its_neighbours_stay(world: World) -> None:
    await world.exported()
    again = world.ordered("documents-2")
    second = await world.exported(again)
    await world.vault.remove(world.order)
    assert [name for name in await world.names() if "/documents/" in name] == []
    deleted = [path for method, path in world.gate.seen if method == "DELETE"]
    assert deleted[0].endswith(".overall_export_metadata")
    await world.vault.remove(world.order)
    assert flaws(await world.vault.prove(again, second)) == []


async def test_a_removal_that_is_denied_is_an_outage_and_can_be_repeated(world: World) -> None:
    await world.exported()
    before = await world.names()
    world.gate.deny = {"DELETE"}
    assert (await outage(world.vault.remove(world.order))).reason.startswith("permission")
    assert await world.names() == before
    world.gate.deny = set()
    await world.vault.remove(world.order)
    assert await world.names() == []


async def test_a_removal_that_was_killed_halfway_leaves_half_a_copy_that_is_none(world: World) -> None:
    operation = await world.exported()
    mark = f"{FOLDER}/documents/documents.overall_export_metadata"
    await world.storage.erase(BUCKET, mark)
    # Killed here: the mark goes first.
    assert flaws(await world.vault.prove(world.order, operation)) == [(Flaw.UNFINISHED, mark, None, None)]
    await world.vault.remove(world.order)
    assert await world.names() == []


@pytest.mark.parametrize(
    ("key", "destination"),
    [
        (f"{FOLDER}/documents", "gs://b"),
        (f"{FOLDER}/documents", "gs://b/"),
        (f"{FOLDER}/documents", "gs:///nightly/20261122T010000Z/documents"),
        (f"{FOLDER}/documents", "gs://b/nightly/20261122T010000Z"),
        (f"{FOLDER}/documents", "gs://b/nightly/20261122T010000Z/documents-2"),
        (f"{FOLDER}/documents", "gs://b/other/20261122T010000Z/documents"),
        (f"{FOLDER}/documents", "/nightly/20261122T010000Z/documents"),
        ("toban", "gs://b/toban"),
        ("", "gs://b/"),
        ("toban///", "gs://b///"),
    ],
)
async def test_a_place_that_is_not_the_orders_own_is_never_deleted(
    world: World, key: str, destination: str
) -> None:
    order = world.ordered("documents", key=key, destination=destination)
    assert not is_own(order)
    told = await outage(world.vault.remove(order))
    assert "nothing is deleted there" in told.reason
    assert world.gate.seen == []


async def test_an_export_that_still_writes_is_cancelled_before_its_files_are_deleted(world: World) -> None:
    world.cloud.faults.add(faults.stuck(), method="ExportDocuments")
    await world.vault.begin(world.order)
    assert "still writes to" in (await outage(world.vault.remove(world.order))).reason
    assert len(await world.names()) == 1
    await world.vault.remove(world.order)
    assert await world.names() == []
    assert world.count("CancelOperation") == 1


# Restoring.


async def test_a_copy_is_restored_elsewhere_counted_asked_and_removed(world: World) -> None:
    rehearsal: Rehearsal = world.rehearsal
    restore = world.restored(
        await world.exported(),
        Question(part="documents", ask="users", least=1000),
        Question(part="documents", ask=f"/{NESTED}", least=300),
        Question(part="documents", ask="teams", least=31),
        Question(part="documents", ask="users/000000"),
        Question(part="documents", ask="__users__"),
    )
    assert await rehearsal.find(restore) is None
    begun = await rehearsal.begin(restore)
    assert isinstance(begun, Began)
    assert begun.operation.startswith(f"projects/{SCRATCH}/databases/restored/operations/")
    world.wait(30)
    assert await rehearsal.look(restore, begun.operation) == Going(done=765, total=1530)
    world.wait(30)
    assert await rehearsal.look(restore, begun.operation) == Finished()
    evidence = await rehearsal.examine(restore, begun.operation)
    assert flaws(evidence) == [
        (Flaw.TOO_FEW, "teams", "31", "30"),
        (Flaw.SILENT, "users/000000", None, "users/000000 is not a collection"),
        (
            Flaw.SILENT,
            "__users__",
            None,
            'Violation in RunAggregationQueryRequest: Collection id "__users__" is reserved.',
        ),
    ]
    assert (evidence.records, evidence.seconds, evidence.at) == (1530, 60, START)
    assert world.scratch.documents == HELD
    assert "is being emptied" in (await outage(rehearsal.remove(restore))).reason
    world.wait(61)
    await rehearsal.remove(restore)
    await rehearsal.remove(restore)
    assert (world.scratch.documents, world.source.documents) == ({}, HELD)
    deletions = [call for call in world.cloud.journal.calls if call.method == "BulkDeleteDocuments"]
    assert [(call.project, call.filter) for call in deletions] == [(SCRATCH, "orders,teams,users")]


@pytest.mark.parametrize(
    ("scratch", "why"),
    [
        (f"{PROJECT}/restored", "is of the project that the copy is of"),
        (f"{PROJECT}/(default)", "is of the project that the copy is of"),
        ("", "is not project/database"),
        (SCRATCH, "is not project/database"),
        (f"{SCRATCH}/", "is not project/database"),
        (f"{SCRATCH}/a/b", "is not project/database"),
    ],
)
async def test_nothing_is_restored_to_or_deleted_in_the_project_of_the_copy(
    world: World, scratch: str, why: str
) -> None:
    world.cloud.firestore.add(PROJECT, "restored")
    restore = world.restored(await world.exported(), scratch=scratch)
    # Somebody else has imported the same copy there.
    await world.cloud.firestore.load(f"projects/{PROJECT}/databases/restored", world.order.destination)
    world.cloud.journal.clear()
    assert await world.rehearsal.find(restore) is None
    broke = await world.rehearsal.begin(restore)
    assert isinstance(broke, Broke)
    assert why in broke.why
    await world.rehearsal.remove(restore)
    assert world.cloud.journal.calls == []
    assert world.source.documents == HELD


async def test_a_copy_of_an_unknown_project_is_not_restored(world: World) -> None:
    part = world.order.part.model_copy(update={"project": None})
    restore = world.restored("none", copy_of=world.order.model_copy(update={"part": part}))
    broke = await world.rehearsal.begin(restore)
    assert broke == Broke(why="it is not said which project the copy is of")
    await world.rehearsal.remove(restore)
    assert world.cloud.journal.calls == []


async def test_documents_of_others_are_neither_mixed_with_ours_nor_deleted(world: World) -> None:
    restore = world.restored(await world.exported())
    world.scratch.documents["precious"] = 1
    broke = await world.rehearsal.begin(restore)
    assert isinstance(broke, Broke)
    assert "holds documents that this drill has not put there" in broke.why
    await world.rehearsal.remove(restore)
    world.wait(120)
    await world.cloud.firestore.settle()
    assert world.scratch.documents == {"precious": 1}
    assert (world.count("ImportDocuments"), world.count("BulkDeleteDocuments")) == (0, 0)


async def test_an_import_whose_beginning_nobody_heard_of_is_found_and_not_made_again(world: World) -> None:
    restore = world.restored(await world.exported())
    world.cloud.faults.add(faults.lost(), method="ImportDocuments")
    assert (await outage(world.rehearsal.begin(restore))).unknown
    clients = GcpClients(world.cloud.endpoint)
    after = FirestoreRehearsal(clients)
    found = await after.find(restore)
    assert found is not None
    world.wait(61)
    assert await after.look(restore, found.operation) == Finished()
    assert flaws(await after.examine(restore, found.operation)) == []
    assert world.count("ImportDocuments") == 1
    await clients.close()


async def test_an_earlier_drills_import_of_the_same_copy_is_not_this_drills(world: World) -> None:
    export = await world.exported()
    first = world.restored(export)
    await world.imported(first)
    await outage(world.rehearsal.remove(first))
    world.wait(300)
    await world.rehearsal.remove(first)
    second = world.restored(export)
    assert await world.rehearsal.find(second) is None
    operation = await world.imported(second)
    assert flaws(await world.rehearsal.examine(second, operation)) == []


async def test_a_failed_import_is_emptied_before_the_second_attempt(world: World) -> None:
    restore = world.restored(await world.exported())
    world.cloud.faults.add(faults.failing("The bucket could not be read."), method="ImportDocuments")
    operation = await world.imported(restore)
    assert await world.rehearsal.look(restore, operation) == Broke(why="The bucket could not be read.")
    world.scratch.documents["users"] = 7  # So far it came.
    again = restore.model_copy(update={"key": f"{restore.key}-2"})
    assert await world.rehearsal.find(again) is None
    assert "is being emptied" in (await outage(world.rehearsal.begin(again))).reason
    assert "is being emptied" in (await outage(world.rehearsal.begin(again))).reason
    world.wait(61)
    second = await world.imported(again)
    assert second != operation
    assert flaws(await world.rehearsal.examine(again, second)) == []
    assert world.count("BulkDeleteDocuments") == 1


async def test_fewer_documents_than_were_exported_are_a_flaw(world: World) -> None:
    restore = world.restored(await world.exported())
    world.scratch.odd = Odd(lost=5)
    operation = await world.imported(restore)
    evidence = await world.rehearsal.examine(restore, operation)
    assert flaws(evidence) == [(Flaw.COUNT, "documents", "1530", "1525")]


async def test_an_export_without_its_mark_cannot_be_imported(world: World) -> None:
    world.source.odd = Odd(unmarked=True)
    restore = world.restored(await world.exported())
    broke = await world.rehearsal.begin(restore)
    assert isinstance(broke, Broke)
    assert "documents.overall_export_metadata" in broke.why


async def test_a_scratch_database_that_is_not_there_came_to_nothing(world: World) -> None:
    restore = world.restored(await world.exported(), scratch=f"{SCRATCH}/gone")
    broke = await world.rehearsal.begin(restore)
    assert isinstance(broke, Broke)
    assert "does not exist" in broke.why
    await world.rehearsal.remove(restore)


async def test_an_unfinished_import_is_told_and_so_is_one_that_nobody_knows(world: World) -> None:
    restore = world.restored(await world.exported())
    begun = await world.rehearsal.begin(restore)
    assert isinstance(begun, Began)
    found = flaws(await world.rehearsal.examine(restore, begun.operation))
    assert [flaw for flaw, *_ in found] == [Flaw.UNFINISHED, Flaw.COUNT]
    unknown = f"{begun.operation}-not"
    assert await world.rehearsal.look(restore, unknown) == Broke(why=f"there is no {unknown}")
    found = flaws(await world.rehearsal.examine(restore, unknown))
    assert found == [(Flaw.NOT_LISTED, unknown, None, None)]


async def test_an_import_on_its_way_is_cancelled_before_anything_is_deleted(world: World) -> None:
    restore = world.restored(await world.exported())
    world.cloud.faults.add(faults.stuck(), method="ImportDocuments")
    await world.rehearsal.begin(restore)
    assert "is being cancelled" in (await outage(world.rehearsal.remove(restore))).reason
    world.scratch.documents["users"] = 7
    await outage(world.rehearsal.remove(restore))
    world.wait(61)
    await world.rehearsal.remove(restore)
    assert world.scratch.documents == {}


async def test_collections_below_documents_that_are_gone_are_deleted_in_further_rounds(world: World) -> None:
    deep = {"users/000000/orders": 400, "users/000000/orders/000001/lines": 3, "users/000000/zones": 2}
    world.source.documents = {"teams": 1} | deep
    restore = world.restored(await world.exported())
    await world.imported(restore)
    for _ in range(10):
        try:
            await world.rehearsal.remove(restore)
        except Outage:
            world.wait(61)
        else:
            break
    assert world.scratch.documents == {}
    rounds = [call.filter for call in world.cloud.journal.calls if call.method == "BulkDeleteDocuments"]
    assert rounds == ["lines,orders,teams,users", "users,zones"]


async def test_a_deletion_is_begun_once_while_it_goes_on_and_again_when_it_failed(world: World) -> None:
    restore = world.restored(await world.exported())
    await world.imported(restore)
    world.cloud.faults.add(faults.failing("Internal error."), method="BulkDeleteDocuments")
    world.cloud.faults.add(faults.lost(), method="BulkDeleteDocuments", nth=1)
    for _ in range(3):
        await outage(world.rehearsal.remove(restore))
    assert world.count("BulkDeleteDocuments") == 1
    world.wait(61)
    await outage(world.rehearsal.remove(restore))
    await outage(world.rehearsal.remove(restore))
    assert world.count("BulkDeleteDocuments") == 2
    world.wait(61)
    await world.rehearsal.remove(restore)
    assert world.scratch.documents == {}


@pytest.mark.parametrize(
    ("method", "permission"),
    [
        ("ListOperations", "datastore.operations.list"),
        ("RunQuery", "datastore.entities.list"),
        ("ListCollectionIds", "datastore.entities.list"),
        ("BulkDeleteDocuments", "datastore.databases.bulkDelete"),
    ],
)
async def test_a_removal_that_is_forbidden_is_an_outage_that_names_the_permission(
    world: World, method: str, permission: str
) -> None:
    restore = world.restored(await world.exported())
    await world.imported(restore)
    fault = world.cloud.faults.add(faults.permission(), method=method, count=FOREVER)
    told = await outage(world.rehearsal.remove(restore))
    assert told.reason.startswith("permission: ")
    assert permission in told.reason
    world.cloud.faults.lift(fault)
    assert "is being emptied" in (await outage(world.rehearsal.remove(restore))).reason


@pytest.mark.parametrize(
    "action", [faults.permission(), faults.unavailable(), faults.quota(), faults.empty()]
)
async def test_a_question_that_could_not_be_asked_is_asked_again_later(world: World, action: Action) -> None:
    restore = world.restored(await world.exported(), Question(part="documents", ask="users", least=1))
    operation = await world.imported(restore)
    world.cloud.faults.add(action, method="RunAggregationQuery")
    await outage(world.rehearsal.examine(restore, operation))
    assert flaws(await world.rehearsal.examine(restore, operation)) == []
