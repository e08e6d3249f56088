"""Cloud SQL over real HTTP: on-demand backups, what proves them, and restores over a scratch instance."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Doubt, Evidence, Flaw
from domain.ports import Rehearsal, Vault
from domain.questions import Question
from domain.rehearsal import Restore
from gcp.identity import Identity
from gcp.rest import MOST, Rest
from gcp.sql import SqlRehearsal, SqlVault
from gcp.sql_admin import HOST, MOST_PAGES, SqlAdmin
from sandbox.clock import StandingClock
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import Action, failing, lost, permission, quota, slow, stuck, unavailable
from sandbox.cloud.sql import PretendInstance, PretendOperation, problem
from tests.contracts.test_probing import Answer

PROJECT, SCRATCH = "bondpoint-prod", "bondpoint-scratch"
KEY = "toban/nightly/20261122T020000Z/cloud-sql-db"


class World:
    """Two projects with an instance each, and the real code that talks to them."""

    def __init__(self, cloud: Cloud, clock: StandingClock, session: aiohttp.ClientSession) -> None:
        self.cloud, self.clock = cloud, clock
        self.session, self.identity = session, Identity(cloud.http_endpoint, session, clock)
        admin = self.admin(cloud.http_endpoint)
        self.answers: dict[str, object] = {"SELECT count(*) FROM users": 1200}
        self.vault: Vault = SqlVault(admin)
        self.rehearsal: Rehearsal = SqlRehearsal(admin, self.ask)
        self.alone: Rehearsal = SqlRehearsal(admin, None)
        self.source: PretendInstance = cloud.sql.add(PROJECT, "db")
        self.scratch: PretendInstance = cloud.sql.add(SCRATCH, "restored")
        part = Part(name="cloud-sql-db", source=Source.CLOUD_SQL, of="db", project=PROJECT)
        self.order = Order(key=KEY, part=part, at=clock.now().replace(second=0), destination="gs://b/x")

    def admin(self, base: str) -> SqlAdmin:
        return SqlAdmin(Rest(HOST, self.identity, base, self.session, seconds=0.5))

    @asynccontextmanager
    async def lying(self, answer: Answer) -> AsyncIterator[Vault]:
        """A vault whose Google says what ``answer`` says."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield SqlVault(self.admin(f"http://127.0.0.1:{runner.addresses[0][1]}"))
        await runner.cleanup()

    async def ask(self, query: str) -> object:
        if query not in self.answers:
            raise Outage("relation does not exist")
        return self.answers[query]

    def wait(self, seconds: float) -> None:
        self.clock.push(timedelta(seconds=seconds))

    def count(self, method: str) -> int:
        return self.cloud.journal.count(method)

    def other(self, **changes: Any) -> Order:
        part = self.order.part.model_copy(update=changes)
        return self.order.model_copy(update={"part": part})

    async def backed_up(self) -> str:
        begun = await self.vault.begin(self.order)
        assert isinstance(begun, Began)
        self.wait(61)
        return begun.operation

    def restore(self, *questions: str, **changes: Any) -> Restore:
        fields = {
            "key": "toban-drill/nightly/1",
            "copy_of": self.order,
            "operation": "",
            "at": self.clock.now(),
            "scratch": f"{SCRATCH}/restored",
            "questions": tuple(Question(part="cloud-sql-db", ask=one, least=1000) for one in questions),
        }
        return Restore.model_validate(fields | changes)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    async with aiohttp.ClientSession() as session:
        yield World(cloud, clock, session)
    await cloud.stop()


def busywork(world: World, count: int) -> None:
    """So many backups that the scratch instance has just made by itself."""
    now = world.clock.now().timestamp()
    world.cloud.sql.operations += [
        PretendOperation(f"other-{now}-{n}", SCRATCH, "restored", "BACKUP_VOLUME", now, now)
        for n in range(count)
    ]


def flaws(evidence: Evidence) -> list[Flaw]:
    return [one.flaw for one in evidence.findings]


async def test_a_backup_is_begun_watched_and_listed_as_successful(world: World) -> None:
    assert await world.vault.find(world.order) is None
    begun = await world.vault.begin(world.order)
    assert isinstance(begun, Began)
    assert await world.vault.look(world.order, begun.operation) == Going()
    world.wait(61)
    assert await world.vault.look(world.order, begun.operation) == Finished()
    evidence = await world.vault.prove(world.order, begun.operation)
    assert (evidence.findings, evidence.objects, evidence.bytes) == ((), 1, 12_000_000_000)
    assert evidence.at is not None
    assert evidence.at >= world.order.at


async def test_killed_between_asking_and_hearing_of_it_there_is_one_backup(world: World) -> None:
    await world.vault.begin(world.order)
    found = await world.vault.find(world.order)
    assert isinstance(found, Began)
    assert await world.vault.look(world.order, found.operation) == Going()
    world.wait(61)
    assert await world.vault.look(world.order, found.operation) == Finished()
    assert len(world.source.runs) == 1


async def test_an_answer_that_is_lost_is_found_again(world: World) -> None:
    world.cloud.faults.add(lost(), method="SqlInsertBackupRun")
    with pytest.raises(Outage, match="unavailable"):
        await world.vault.begin(world.order)
    assert isinstance(await world.vault.find(world.order), Began)
    assert len(world.source.runs) == 1


@pytest.mark.parametrize(
    ("action", "word"),
    [(permission(), "permission"), (quota(), "quota"), (unavailable(), "unavailable"), (slow(1), "timeout")],
)
@pytest.mark.parametrize("call", ["find", "begin", "look", "prove", "remove"])
async def test_trouble_is_an_outage_in_every_call_and_nothing_is_begun(
    world: World, call: str, action: Action, word: str
) -> None:
    operation = await world.backed_up()
    fault = world.cloud.faults.add(action, method="*", metric="db")
    given = (operation,) if call in {"look", "prove"} else ()
    with pytest.raises(Outage, match=word):
        await getattr(world.vault, call)(world.order, *given)
    assert fault.hits == 1
    assert isinstance(await world.vault.look(world.order, operation), Finished)
    assert len(world.source.runs) == 1


async def test_a_slow_question_that_was_repeated_meanwhile_makes_no_second_backup(world: World) -> None:
    world.cloud.faults.add(slow(1), method="SqlInsertBackupRun")
    with pytest.raises(Outage, match="timeout"):
        await world.vault.begin(world.order)
    assert await world.vault.find(world.order) is None
    assert isinstance(await world.vault.begin(world.order), Began)
    async with asyncio.timeout(5):
        while world.count("SqlInsertBackupRun") < 2:
            await asyncio.sleep(0.05)
    assert [call.outcome for call in world.cloud.journal.of("SqlInsertBackupRun")] == ["OK", "ABORTED"]
    assert len(world.source.runs) == 1


async def test_an_operation_that_fails_says_why_and_a_listed_one_too(world: World) -> None:
    world.cloud.faults.add(failing("Disk quota exceeded."), method="SqlInsertBackupRun")
    operation = await world.backed_up()
    assert await world.vault.look(world.order, operation) == Broke(why="Disk quota exceeded.")
    found = await world.vault.find(world.order)
    assert isinstance(found, Began)
    assert await world.vault.look(world.order, found.operation) == Broke(why="FAILED: Disk quota exceeded.")
    assert flaws(await world.vault.prove(world.order, operation)) == [Flaw.UNFINISHED]


async def test_one_that_never_ends_goes_on_being_looked_at(world: World) -> None:
    world.cloud.faults.add(stuck(), method="SqlInsertBackupRun")
    operation = await world.backed_up()
    world.wait(86_400)
    assert await world.vault.look(world.order, operation) == Going()


async def test_a_busy_instance_is_asked_again(world: World) -> None:
    await world.vault.begin(world.order.model_copy(update={"key": "somebody-else"}))
    with pytest.raises(Outage, match="busy"):
        await world.vault.begin(world.order)
    world.wait(61)
    assert isinstance(await world.vault.begin(world.order), Began)


async def test_what_is_not_there_is_no_outage(world: World) -> None:
    order = world.other(of="typo")
    assert await world.vault.find(order) is None
    begun = await world.vault.begin(order)
    assert isinstance(begun, Broke)
    assert "does not exist" in begun.why
    assert flaws(await world.vault.prove(order, "")) == [Flaw.NOT_LISTED]
    await world.vault.remove(order)


async def test_a_backup_that_vanished_is_another_instances_or_older_proves_nothing(world: World) -> None:
    operation = await world.backed_up()
    (run,) = world.source.runs
    run.instance = "staging"
    assert flaws(await world.vault.prove(world.order, operation)) == [Flaw.ELSEWHERE]
    run.instance, run.type = None, "AUTOMATED"
    assert flaws(await world.vault.prove(world.order, operation)) == [Flaw.ELSEWHERE]
    run.type = "ON_DEMAND"
    later = world.order.model_copy(update={"at": world.order.at + timedelta(minutes=10)})
    assert flaws(await world.vault.prove(later, operation)) == [Flaw.ELSEWHERE]
    run.becomes = "DELETION_PENDING"
    assert flaws(await world.vault.prove(world.order, operation)) == [Flaw.UNFINISHED]
    world.source.runs.clear()
    assert flaws(await world.vault.prove(world.order, operation)) == [Flaw.NOT_LISTED]
    assert isinstance(await world.vault.look(world.order, "backupRuns/1"), Broke)


async def test_it_is_found_behind_hundreds_of_others(world: World) -> None:
    operation = await world.backed_up()
    for number in range(1200):
        run = world.source.runs[0]
        other = type(run)(run.id + 1 + number, f"other {number}", run.enqueued_at, run.done_at)
        world.source.runs.append(other)
    assert (await world.vault.prove(world.order, operation)).findings == ()
    assert world.count("SqlListBackupRuns") == 3


@pytest.mark.parametrize("call", ["find", "prove", "look"])
async def test_a_later_page_that_is_refused_does_not_mean_that_there_is_none(world: World, call: str) -> None:
    """Else a second backup would be begun, or a good one called missing."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "pageToken" in request.query:
            return problem(400, "invalid", "The page token is too old.")
        return web.json_response({"items": [], "nextPageToken": "2"})

    given = () if call == "find" else ("backupRuns/1",)
    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match="too old"):
            await getattr(vault, call)(world.order, *given)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"items": {}}',
        b'{"items": [{"id": "1", "instance": "db"}]}',
        b'{"items": [], "nextPageToken": "\\ud800"}',
        b'{"items": [], "kind": "' + b"x" * MOST + b'"}',
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_an_answer_that_cannot_be_read_is_no_empty_list(world: World, body: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with world.lying(answer) as vault:
        with pytest.raises(Outage):
            await vault.find(world.order)
        with pytest.raises(Outage):
            await vault.prove(world.order, "backupRuns/1")


async def test_a_redirect_is_not_followed_so_that_the_token_stays_here(world: World) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match="status 307"):
            await vault.find(world.order)
    assert asked == [f"/{HOST}/v1/projects/{PROJECT}/instances/db/backupRuns"]


async def test_pages_without_an_end_end(world: World) -> None:
    pages = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal pages
        pages += 1
        return web.json_response({"items": [], "nextPageToken": str(pages)})

    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match="no end"):
            await vault.find(world.order)
    assert pages == MOST_PAGES


STATUSES = {
    400: (Broke, "no such field"),
    403: (Outage, "permission"),
    404: (Broke, "no such field"),
    408: (Outage, "unavailable"),
    409: (Outage, "busy"),
    412: (Broke, "no such field"),
    418: (Outage, "error"),
    429: (Outage, "quota"),
    500: (Outage, "unavailable"),
}


@pytest.mark.parametrize(("status", "meant"), STATUSES.items(), ids=map(str, STATUSES))
async def test_every_status_means_something(world: World, status: int, meant: tuple[type, str]) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return problem(status, "", "There is no such field.")

    kind, words = meant
    async with world.lying(answer) as vault:
        if kind is Outage:
            with pytest.raises(Outage, match=words):
                await vault.look(world.order, "backupRuns/1")
            with pytest.raises(Outage, match=words):
                await vault.begin(world.order)
            return
        for heard in (await vault.look(world.order, "backupRuns/1"), await vault.begin(world.order)):
            assert isinstance(heard, Broke)
            assert words in heard.why


async def test_a_full_quota_that_is_said_as_forbidden_is_no_missing_right(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return problem(403, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries'.")

    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match=r"^quota: "):
            await vault.find(world.order)


async def test_a_token_that_nobody_accepts_is_an_outage_without_the_token(world: World) -> None:
    sent: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        sent.append(request.headers["Authorization"].removeprefix("Bearer "))
        return problem(401, "authError", "Request had invalid authentication credentials.")

    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match=r"^credentials: ") as raised:
            await vault.find(world.order)
    assert len(sent) == 2
    assert all(token not in repr(raised.value) for token in sent)


async def test_an_operation_that_is_not_known_any_more_says_nothing_of_its_backup(world: World) -> None:
    operation = await world.backed_up()
    world.cloud.sql.operations.clear()
    assert await world.vault.look(world.order, operation) == Finished()
    world.source.runs.clear()
    assert isinstance(await world.vault.look(world.order, operation), Broke)


async def test_one_that_is_overdue_may_still_become_a_backup(world: World) -> None:
    await world.backed_up()
    found = await world.vault.find(world.order)
    assert isinstance(found, Began)
    world.source.runs[0].becomes = "OVERDUE"
    assert await world.vault.look(world.order, found.operation) == Going()
    world.source.runs[0].becomes = "SKIPPED"
    assert isinstance(await world.vault.look(world.order, found.operation), Broke)


@pytest.mark.parametrize(("seconds", "found"), [(59, []), (61, [Flaw.ELSEWHERE])])
async def test_clocks_that_differ_by_less_than_a_minute_make_no_flaw(
    world: World, seconds: int, found: list[Flaw]
) -> None:
    operation = await world.backed_up()
    world.source.runs[0].enqueued_at = world.order.at.timestamp() - seconds
    assert flaws(await world.vault.prove(world.order, operation)) == found


async def test_one_that_was_made_twice_all_the_same_is_deleted_twice(world: World) -> None:
    await world.backed_up()
    await world.backed_up()
    assert len(world.source.runs) == 2
    await world.vault.remove(world.order)
    assert world.source.runs == []


async def test_a_deletion_that_is_refused_or_meets_another_is_asked_again(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return problem(409, "operationInProgress", "Another operation is in progress.")

    async with world.lying(answer) as vault:
        with pytest.raises(Outage, match=r"refused: .* in progress"):
            await vault.remove(world.order)


async def test_one_that_vanishes_while_it_is_deleted_keeps_no_other_from_it(world: World) -> None:
    deleted: list[str] = []
    run = {"instance": "db", "status": "SUCCESSFUL", "description": KEY}

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({"items": [run | {"id": "1"}, run | {"id": "2"}]})
        deleted.append(request.path[-1])
        return problem(404, "backupRunDoesNotExist", "The backup run does not exist.")

    async with world.lying(answer) as vault:
        await vault.remove(world.order)
    assert deleted == ["1", "2"]


async def test_deleting_takes_ours_alone_and_twice_is_fine(world: World) -> None:
    await world.vault.begin(world.order.model_copy(update={"key": "somebody-else"}))
    world.wait(61)
    await world.backed_up()
    world.cloud.faults.add(permission(), method="SqlDeleteBackupRun")
    with pytest.raises(Outage, match="permission"):
        await world.vault.remove(world.order)
    assert len(world.source.runs) == 2
    await world.vault.remove(world.order)
    await world.vault.remove(world.order)
    assert [one.description for one in world.source.runs] == ["somebody-else"]


async def test_a_token_that_is_revoked_midway_is_replaced_once(world: World) -> None:
    await world.backed_up()
    world.cloud.web.tokens.revoke()
    assert isinstance(await world.vault.find(world.order), Began)
    world.cloud.web.tokens.revoke()
    other = world.order.model_copy(update={"key": "another"})
    assert isinstance(await world.vault.begin(other), Began)
    assert [one.description for one in world.source.runs] == [KEY, "another"]


async def test_what_the_settings_leave_open_is_told(world: World) -> None:
    operation = await world.backed_up()
    assert (await world.vault.prove(world.order, operation)).doubts == ()
    world.source.recovery = world.source.retained = False
    evidence = await world.vault.prove(world.order, operation)
    assert evidence.findings == ()
    assert evidence.doubts == (Doubt.NO_RECOVERY, Doubt.DIES_TOGETHER)
    world.source.final = True
    assert (await world.vault.prove(world.order, operation)).doubts == (Doubt.NO_RECOVERY,)


# Drills.


async def test_a_backup_is_restored_over_the_scratch_instance_and_answers(world: World) -> None:
    await world.backed_up()
    restore = world.restore("SELECT count(*) FROM users")
    assert await world.rehearsal.find(restore) is None
    begun = await world.rehearsal.begin(restore)
    assert isinstance(begun, Began)
    assert await world.rehearsal.find(restore) == begun
    assert await world.rehearsal.look(restore, begun.operation) == Going()
    world.wait(121)
    assert await world.rehearsal.look(restore, begun.operation) == Finished()
    assert (await world.rehearsal.examine(restore, begun.operation)).findings == ()
    assert world.scratch.restored == [(PROJECT, "db", str(world.source.runs[0].id))]
    await world.rehearsal.remove(restore)


async def test_a_drill_never_restores_into_the_project_of_the_real_one(world: World) -> None:
    await world.backed_up()
    world.cloud.sql.add(PROJECT, "restored")
    for scratch in (f"{PROJECT}/db", f"{PROJECT}/restored", ""):
        assert isinstance(await world.rehearsal.begin(world.restore(scratch=scratch)), Broke)
    assert (world.count("SqlRestoreBackup"), world.count("SqlGetInstance")) == (0, 0)


async def test_a_restore_that_failed_is_not_found_again_and_a_missing_backup_is_said(world: World) -> None:
    assert isinstance(await world.rehearsal.begin(world.restore()), Broke)
    await world.backed_up()
    world.cloud.faults.add(failing("Disk too small."), method="SqlRestoreBackup")
    restore = world.restore()
    begun = await world.rehearsal.begin(restore)
    assert isinstance(begun, Began)
    world.wait(121)
    assert await world.rehearsal.look(restore, begun.operation) == Broke(why="Disk too small.")
    assert await world.rehearsal.find(restore) is None
    assert isinstance(await world.rehearsal.begin(restore), Began)


async def test_earlier_restores_are_of_other_drills(world: World) -> None:
    await world.backed_up()
    await world.rehearsal.begin(world.restore())
    world.wait(3600)
    assert await world.rehearsal.find(world.restore()) is None


async def test_answers_that_are_wrong_or_missing_are_flaws(world: World) -> None:
    await world.backed_up()
    restore = world.restore("SELECT count(*) FROM users", "SELECT count(*) FROM teams")
    begun = await world.rehearsal.begin(restore)
    assert isinstance(begun, Began)
    world.wait(121)
    world.answers["SELECT count(*) FROM users"] = 3
    found = await world.rehearsal.examine(restore, begun.operation)
    assert flaws(found) == [Flaw.TOO_FEW, Flaw.SILENT]
    alone = await world.alone.examine(restore, begun.operation)
    assert "TOBAN_DRILL_SQL_URL" in str(alone.findings[-1].found)
    world.scratch.state = "FAILED"
    assert flaws(await world.rehearsal.examine(restore, begun.operation)) == [Flaw.ELSEWHERE]
    world.scratch.state = "MAINTENANCE"
    with pytest.raises(Outage, match="busy"):
        await world.rehearsal.examine(restore, begun.operation)


async def test_the_scratch_projects_number_does_not_hide_that_it_is_the_real_ones(world: World) -> None:
    await world.backed_up()
    real = world.cloud.sql.instances
    real["1234567890", "db"] = real["1234567890", "restored"] = world.source
    for scratch, project in ((f"1234567890/{name}", PROJECT) for name in ("db", "restored")):
        order = world.other(project=project)
        refused = await world.rehearsal.begin(world.restore(scratch=scratch, copy_of=order))
        assert isinstance(refused, Broke)
        assert "another project" in refused.why
    turned = world.restore(scratch=f"{PROJECT}/db", copy_of=world.other(project="1234567890"))
    assert isinstance(await world.rehearsal.begin(turned), Broke)
    assert world.count("SqlRestoreBackup") == 0
    assert world.source.restored == []


@pytest.mark.parametrize(
    ("action", "word"),
    [(permission(), "permission"), (quota(), "quota"), (unavailable(), "unavailable"), (slow(1), "timeout")],
)
@pytest.mark.parametrize("call", ["find", "begin", "look", "examine"])
async def test_trouble_with_the_scratch_instance_is_an_outage_in_every_call(
    world: World, call: str, action: Action, word: str
) -> None:
    await world.backed_up()
    restore = world.restore()
    begun = await world.rehearsal.begin(restore)
    assert isinstance(begun, Began)
    world.wait(121)
    world.cloud.faults.add(action, method="*", metric="restored")
    given = (begun.operation,) if call in {"look", "examine"} else ()
    with pytest.raises(Outage, match=word):
        await getattr(world.rehearsal, call)(restore, *given)
    assert len(world.scratch.restored) == 1


async def test_a_restore_whose_answer_is_lost_is_found_again(world: World) -> None:
    await world.backed_up()
    world.cloud.faults.add(lost(), method="SqlRestoreBackup")
    restore = world.restore()
    with pytest.raises(Outage, match="unavailable"):
        await world.rehearsal.begin(restore)
    found = await world.rehearsal.find(restore)
    assert isinstance(found, Began)
    world.wait(121)
    assert await world.rehearsal.look(restore, found.operation) == Finished()
    assert len(world.scratch.restored) == 1


async def test_a_scratch_instance_that_is_busy_is_asked_again_and_one_that_hangs_goes_on(
    world: World,
) -> None:
    await world.backed_up()
    world.cloud.faults.add(stuck(), method="SqlRestoreBackup")
    begun = await world.rehearsal.begin(world.restore())
    assert isinstance(begun, Began)
    world.wait(86_400)
    later = world.restore()
    assert await world.rehearsal.look(later, begun.operation) == Going()
    assert await world.rehearsal.find(later) is None
    with pytest.raises(Outage, match="busy"):
        await world.rehearsal.begin(later)


async def test_a_restore_is_found_behind_hundreds_of_other_operations_and_old_pages_are_not_read(
    world: World,
) -> None:
    await world.backed_up()
    busywork(world, 1100)
    world.wait(86_400)
    restore = world.restore()
    begun = await world.rehearsal.begin(restore)
    busywork(world, 700)
    assert await world.rehearsal.find(restore) == begun
    assert world.count("SqlListOperations") == 3
