"""Cloud SQL over real HTTP: on-demand backups, what proves them, and restores over a scratch instance."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Doubt, Evidence, Flaw
from domain.ports import Rehearsal, Vault
from domain.questions import Question
from domain.rehearsal import Restore
from gcp.identity import Identity
from gcp.rest import Rest
from gcp.sql import SqlRehearsal, SqlVault
from gcp.sql_admin import HOST, SqlAdmin
from sandbox.clock import StandingClock
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import Action, failing, lost, permission, quota, slow, stuck, unavailable
from sandbox.cloud.sql import PretendInstance

PROJECT, SCRATCH = "bondpoint-prod", "bondpoint-scratch"
KEY = "toban/nightly/20261122T020000Z/cloud-sql-db"


class World:
    """Two projects with an instance each, and the real code that talks to them."""

    def __init__(self, cloud: Cloud, clock: StandingClock, session: aiohttp.ClientSession) -> None:
        self.cloud, self.clock = cloud, clock
        identity = Identity(cloud.http_endpoint, session, clock)
        admin = SqlAdmin(Rest(HOST, identity, cloud.http_endpoint, session, seconds=0.5))
        self.answers: dict[str, object] = {"SELECT count(*) FROM users": 1200}
        self.vault: Vault = SqlVault(admin)
        self.rehearsal: Rehearsal = SqlRehearsal(admin, self.ask)
        self.alone: Rehearsal = SqlRehearsal(admin, None)
        self.source: PretendInstance = cloud.sql.add(PROJECT, "db")
        self.scratch: PretendInstance = cloud.sql.add(SCRATCH, "restored")
        part = Part(name="cloud-sql-db", source=Source.CLOUD_SQL, of="db", project=PROJECT)
        self.order = Order(key=KEY, part=part, at=clock.now().replace(second=0), destination="gs://b/x")

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
    operations = {"find": (), "begin": (), "remove": ()}
    given = operations.get(call, ("backupRuns/1",))
    with pytest.raises(Outage, match=word):
        await getattr(world.vault, call)(world.order, *given)
    assert fault.hits == 1
    assert isinstance(await world.vault.look(world.order, operation), Finished)
    assert len(world.source.runs) == 1 or call == "begin"


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


async def test_what_the_settings_leave_open_is_told(world: World) -> None:
    operation = await world.backed_up()
    assert (await world.vault.prove(world.order, operation)).doubts == ()
    world.source.recovery = world.source.retained = False
    evidence = await world.vault.prove(world.order, operation)
    assert evidence.findings == ()
    assert evidence.doubts == (Doubt.NO_RECOVERY, Doubt.DIES_TOGETHER)


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
    assert world.count("SqlRestoreBackup") == 0


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
    world.scratch.state = "FAILED"
    assert Flaw.ELSEWHERE in flaws(await world.rehearsal.examine(restore, begun.operation))
    alone = await world.alone.examine(restore, begun.operation)
    assert "TOBAN_DRILL_SQL_URL" in str(alone.findings[-1].found)
