"""What is written comes back as it was meant, and what must not be written is refused; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from domain.alerts import AlertGroup, AlertStatus
from domain.effects import TOBAN, By, Card, Event, Priority, Subject, SubjectKind
from domain.errors import Outage
from domain.escalation import Escalation, Page, PageStatus, Phase
from domain.incidents import Incident, IncidentStatus
from domain.outbox import LEASE
from domain.policy import Level, Means, Severity, Step
from storage.database import Database
from storage.listener import Listener
from storage.rows import Conflict, table
from storage.store import Store
from storage.tables import OutboxRow
from storage.types import EpochMillis, to_millis
from tests.conftest import new_postgres
from tests.storage.conftest import AT, engine_url

TOKYO = timezone(timedelta(hours=9))
AYA = By(id="U1", name="綾")
INC = Subject(kind=SubjectKind.INCIDENT, id=7)


def incident(**changes: Any) -> Incident:
    values = {"title": "結 is down", "severity": Severity.P1, "opened_at": AT, "opened_by": AYA}
    return Incident(**(values | changes))


def group(key: str = "g", **changes: Any) -> AlertGroup:
    values: dict[str, Any] = {"key": key, "source": "alertmanager", "title": key, "level": Level.CRITICAL}
    return AlertGroup(**(values | {"opened_at": AT, "changed_at": AT} | changes))


def ladder(subject: str = INC.key, **changes: Any) -> Escalation:
    steps = (Step(tell=("kenji",), by=(Means.SLACK, Means.SMS), respond=timedelta(minutes=5)),)
    values = {"subject": subject, "level": Level.CRITICAL, "steps": steps, "due_at": AT, "started_at": AT}
    return Escalation(**(values | changes))


async def raw(database: Database, query: str) -> list[Any]:
    """What the database itself holds, without any type of ours in between."""
    async with database.reading() as tx:
        return list((await tx.connection.execute(sa.text(query))).all())


# Values.


async def test_a_value_comes_back_exactly_as_it_went_in_nested_parts_included(database: Database) -> None:
    async with database.writing() as tx:
        stored = await tx.add_escalation(ladder(stopped_by=AYA))
        assert stored.id is not None
    async with database.reading() as tx:
        assert await tx.escalation(stored.id) == stored
        assert stored.steps[0].respond == timedelta(minutes=5)


async def test_times_come_back_aware_and_in_utc_whatever_zone_they_were_given_in(database: Database) -> None:
    morning = AT.astimezone(TOKYO) + timedelta(microseconds=123_456)
    async with database.writing() as tx:
        kept = await tx.add_incident(incident(opened_at=morning))
        climbing = await tx.add_escalation(ladder(due_at=morning, started_at=morning))
    async with database.reading() as tx:
        found = await tx.incident(kept.subject.id)
        running = await tx.escalation(climbing.id or 0)
        due = (await tx.next_moments())["escalations"]

    assert found is not None and running is not None and due is not None
    assert found.opened_at == running.started_at == morning
    for time in (found.opened_at, running.started_at, running.due_at, due):
        assert time is not None and time.utcoffset() == timedelta(0)
        assert time.tzinfo == UTC
    assert due == morning.replace(microsecond=123_000), "due times are whole milliseconds"


NAIVE = AT.replace(tzinfo=None)


@pytest.mark.parametrize("name", ["started_at", "stopped_at"])
async def test_a_time_without_a_zone_is_refused(database: Database, name: str) -> None:
    with pytest.raises(sa.exc.StatementError, match="zone"):
        async with database.writing() as tx:
            await tx.add_escalation(ladder(**{name: NAIVE}))
    assert await raw(database, "SELECT id FROM escalation") == []


@pytest.mark.parametrize("name", ["due_at", "delivered_at"])
async def test_a_due_time_without_a_zone_is_refused(database: Database, name: str) -> None:
    with pytest.raises(sa.exc.StatementError, match="without a zone"):
        async with database.writing() as tx:
            await tx.add_escalation(ladder(**{name: NAIVE}))
    with pytest.raises(ValueError, match="without a zone"):
        to_millis(NAIVE)
    assert await raw(database, "SELECT id FROM escalation") == []


def test_milliseconds_are_exact_far_from_now() -> None:
    kind = EpochMillis()
    dialect = sa.create_mock_engine("sqlite://", lambda *_: None).dialect
    for year in (1970, 2026, 2099, 2199):
        moment = datetime(year, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
        assert kind.process_result_value(to_millis(moment), dialect) == moment


async def test_enums_are_stored_by_their_values_and_not_by_the_names_of_the_code(database: Database) -> None:
    async with database.writing() as tx:
        await tx.add_incident(incident(status=IncidentStatus.INVESTIGATING))
        await tx.add_groups([group(status=AlertStatus.ACKNOWLEDGED)])
        climbing = await tx.add_escalation(ladder())
        await tx.add_page(
            Page(
                escalation_id=climbing.id or 0,
                step=0,
                round=1,
                person="kenji",
                means=Means.SMS,
                status=PageStatus.NOT_SET_UP,
                queued_at=AT,
            )
        )
        await tx.say([Card(subject=INC, place="incidents", priority=Priority.THREAD)], AT)
    assert await raw(database, "SELECT severity, status FROM incident") == [("P1", "investigating")]
    assert await raw(database, "SELECT level, status FROM alert_group") == [("critical", "acknowledged")]
    assert await raw(database, "SELECT phase FROM escalation") == [("due",)]
    assert await raw(database, "SELECT means, status FROM page") == [("sms", "not set up")]
    assert await raw(database, "SELECT kind, status FROM outbox") == [("card", "pending")]


async def test_an_unknown_stored_state_is_left_out_named_and_never_taken_for_another(
    database: Database,
) -> None:
    async with database.writing() as tx:
        kept = await tx.add_incident(incident())
        await tx.connection.execute(sa.text("UPDATE incident SET status = 'tomorrow'"))
    async with database.reading() as tx:
        assert await tx.incident(kept.subject.id) is None
        (row,) = tx.unreadable
    assert (row.source, row.row_id) == ("incident", kept.id)
    assert "tomorrow" in row.reason
    assert database.found_unreadable() == [row]


# Versions.


async def test_of_two_who_read_the_same_only_the_first_may_write(database: Database) -> None:
    async with database.writing() as tx:
        seen = await tx.add_incident(incident())
    async with database.writing() as tx:
        first = await tx.save_incident(seen.model_copy(update={"title": "first"}))
    assert first.version == seen.version + 1

    async def too_late() -> None:
        async with database.writing() as tx:
            await tx.tell([Event(subject=seen.subject, what="lost", at=AT)])
            await tx.save_incident(seen.model_copy(update={"title": "second"}))

    with pytest.raises(Conflict, match="incident") as refused:
        await too_late()
    assert isinstance(refused.value, Outage), "so that the whole operation is tried again"

    async with database.writing() as tx:
        again = await tx.save_incident(first.model_copy(update={"title": "third"}))
    async with database.reading() as tx:
        assert await tx.incident(seen.subject.id) == again
        assert again.title == "third"
        assert await tx.timeline(seen.subject) == [], "nothing of the refused transaction remains"


async def test_of_many_values_saved_at_once_one_old_version_refuses_them_all(database: Database) -> None:
    async with database.writing() as tx:
        groups = await tx.add_groups([group(f"g{number}") for number in range(5)])
    async with database.writing() as tx:
        await tx.save_groups([groups[3].model_copy(update={"title": "meanwhile"})])
    with pytest.raises(Conflict, match="alert_group"):
        async with database.writing() as tx:
            await tx.save_groups([one.model_copy(update={"title": "new"}) for one in groups])

    async with database.reading() as tx:
        found = await tx.groups([one.id or 0 for one in groups])
    assert [one.title for one in found.values()] == ["g0", "g1", "g2", "meanwhile", "g4"]
    async with database.writing() as tx:
        fresh = [one.model_copy(update={"title": "new"}) for one in found.values()]
        await tx.save_groups(fresh)
    async with database.reading() as tx:
        after = await tx.groups(list(found))
    assert [(one.title, one.version) for one in after.values()] == [
        ("new", one.version + 1) for one in found.values()
    ]


async def test_what_is_gone_cannot_be_saved(database: Database) -> None:
    with pytest.raises(Conflict):
        async with database.writing() as tx:
            await tx.save_incident(incident(id=404))


async def test_a_thousand_keys_are_asked_for_at_once(database: Database) -> None:
    async with database.writing() as tx:
        await tx.add_groups([group(f"g{number:04}") for number in range(0, 1000, 100)])
    async with database.reading() as tx:
        found = await tx.newest_groups([f"g{number:04}" for number in range(2000)])
    assert sorted(found) == [f"g{number:04}" for number in range(0, 1000, 100)]


# The timeline.


async def test_the_timeline_keeps_what_happened_in_the_order_in_which_it_was_told(database: Database) -> None:
    told = [
        Event(
            subject=INC, what="later", at=AT + timedelta(hours=1), by=AYA, data={"n": 1, "名": ["値", None]}
        ),
        Event(subject=INC, what="earlier", at=AT),
        Event(subject=INC, what="later", at=AT + timedelta(hours=1), by=TOBAN),
    ]
    other = Event(subject=Subject(kind=SubjectKind.ALERT, id=7), what="other", at=AT)
    async with database.writing() as tx:
        await tx.tell([*told[:2], other])
        await tx.tell([])
    async with database.writing() as tx:
        await tx.tell(told[2:])
    async with database.reading() as tx:
        assert await tx.timeline(INC) == told
        assert await tx.timeline(other.subject) == [other]


# Ladders.


async def test_a_second_running_ladder_for_the_same_subject_is_refused(database: Database) -> None:
    async with database.writing() as tx:
        first = await tx.add_escalation(ladder())
        await tx.add_escalation(ladder("alert:7"))
    with pytest.raises(sa.exc.IntegrityError):
        async with database.writing() as tx:
            await tx.add_escalation(ladder())

    async with database.writing() as tx:
        await tx.save_escalation(first.model_copy(update={"phase": Phase.STOPPED, "due_at": None}))
        second = await tx.add_escalation(ladder())
    async with database.reading() as tx:
        assert await tx.running_escalations([INC.key, "alert:8"]) == {INC.key: second}
        assert await tx.latest_escalation(INC) == second
        assert await tx.due_escalations(AT, 10) == [2, second.id]


async def test_two_at_once_start_one_ladder_and_the_other_hears_of_it(database: Database) -> None:
    async def start() -> bool:
        try:
            async with database.writing() as tx:
                await tx.add_escalation(ladder())
                await asyncio.sleep(0.02)
        except sa.exc.IntegrityError:
            return False
        return True

    assert sorted(await asyncio.gather(*(start() for _ in range(4)))) == [False, False, False, True]
    assert await raw(database, "SELECT subject FROM escalation") == [(INC.key,)]


async def test_the_same_page_twice_is_refused(database: Database) -> None:
    async with database.writing() as tx:
        climbing = await tx.add_escalation(ladder())
        page = Page(
            escalation_id=climbing.id or 0, step=0, round=1, person="aya", means=Means.SLACK, queued_at=AT
        )
        await tx.add_page(page)
        await tx.add_page(page.model_copy(update={"round": 2}))
    with pytest.raises(sa.exc.IntegrityError):
        async with database.writing() as tx:
            await tx.add_page(page)
    assert await raw(database, "SELECT round FROM page ORDER BY id") == [(1,), (2,)]


# Transactions.


async def test_a_transaction_that_fails_leaves_no_trace_and_wakes_nobody(
    database_url: str, database: Database
) -> None:
    woken: list[frozenset[str]] = []
    other = Database(engine_url(database_url), on_commit=woken.append)

    async def write(*, fails: bool) -> None:
        async with other.writing() as tx:
            await tx.add_escalation(ladder())
            await tx.say([Card(subject=INC, place="incidents", priority=Priority.THREAD)], AT)
            assert woken == [], "not before the commit"
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write(fails=True)
    assert woken == []
    assert await raw(database, "SELECT id FROM escalation") == []
    assert await raw(database, "SELECT id FROM outbox") == []

    await write(fails=False)
    assert woken == [frozenset({"escalations", "outbox"})]
    await other.dispose()


async def test_readers_see_one_moment_and_may_not_write(database_url: str, database: Database) -> None:
    if not database.sqlite:
        pytest.skip("PostgreSQL reads on the same connections; nothing forbids a write there")
    with pytest.raises(Outage, match="readonly"):
        async with database.reading() as tx:
            await tx.add_incident(incident())
    async with database.reading() as tx:
        assert await tx.open_incidents() == []
        async with database.writing() as writing:
            await writing.add_incident(incident())
        assert await tx.open_incidents() == [], "the moment at which it began"
    async with database.reading() as tx:
        assert len(await tx.open_incidents()) == 1


async def test_sqlite_keeps_what_it_promised_through_a_power_cut(sqlite_only: str) -> None:
    database = Database(engine_url(sqlite_only))
    async with database.writing() as tx:
        (synchronous,) = (await tx.connection.execute(sa.text("PRAGMA synchronous"))).scalars()
        (journal,) = (await tx.connection.execute(sa.text("PRAGMA journal_mode"))).scalars()
        (keys,) = (await tx.connection.execute(sa.text("PRAGMA foreign_keys"))).scalars()
    await database.dispose()
    assert (synchronous, journal, keys) == (2, "wal", 1)


async def test_an_unreachable_database_is_an_outage(tmp_path: Any) -> None:
    for url in (
        f"sqlite+aiosqlite:///{tmp_path}/nowhere/toban.db",
        "postgresql+psycopg://127.0.0.1:1/nowhere",
    ):
        database = Database(url)
        with pytest.raises(Outage, match="database"):
            await Store(database).prove()
        with pytest.raises(Outage, match="database"):
            async with database.writing():
                pass
        await database.dispose()


async def test_a_database_that_answers_is_in_good_health(database: Database) -> None:
    await Store(database).prove()


# Leases.


async def test_leases_of_the_dead_are_released_and_their_messages_are_in_doubt(database: Database) -> None:
    outbox = table(OutboxRow)
    cards = [
        Card(subject=Subject(kind=SubjectKind.ALERT, id=n), place=f"@p{n}", priority=0) for n in range(3)
    ]
    async with database.writing() as tx:
        await tx.say(cards, AT)
        held = await tx.claim(AT, 2, frozenset())
        assert len(held) == 2
        assert not any(letter.in_doubt or letter.taken_over for letter in held)
    async with database.writing() as tx:
        assert [letter.place for letter in await tx.claim(AT, 16, frozenset())] == ["@p2"]
        assert await tx.claim(AT + LEASE - timedelta(milliseconds=1), 16, frozenset()) == []

    async with database.writing() as tx:
        assert await tx.release_leases() == 3
    async with database.writing() as tx:
        assert (await tx.next_moments())["outbox"] == AT
        again = await tx.claim(AT, 16, frozenset())
    assert {letter.key for letter in again} == {card.key for card in cards}
    assert all(letter.in_doubt and letter.fence == 2 for letter in again)
    assert not any(letter.taken_over for letter in again), "the dead send nothing late"
    fences = await raw(database, f"SELECT fence FROM {outbox.name}")
    assert fences == [(2,), (2,), (2,)]


async def test_there_is_nothing_to_release_where_nobody_died(database: Database) -> None:
    async with database.writing() as tx:
        await tx.say([Card(subject=INC, place="incidents", priority=Priority.THREAD)], AT)
        assert await tx.release_leases() == 0
        (letter,) = await tx.claim(AT, 16, frozenset())
    assert not letter.in_doubt


# PostgreSQL alone.


async def test_a_commit_of_one_replica_wakes_the_loops_of_another(postgres: str) -> None:
    from storage.migrating import migrate

    url = engine_url(new_postgres(postgres))
    woken: asyncio.Queue[frozenset[str]] = asyncio.Queue()
    one = Database(url)
    await migrate(one)
    listener = Listener(url, woken.put_nowait)
    listener.start()
    try:
        async with asyncio.timeout(10):
            while woken.empty():  # Until it listens.
                async with one.writing() as tx:
                    tx.topics.add("inbox")
                await asyncio.sleep(0.05)
            assert await woken.get() == {"inbox"}
            while not woken.empty():
                woken.get_nowait()
            async with one.writing() as tx:
                await tx.add_escalation(ladder())
                await tx.say([Card(subject=INC, place="incidents", priority=Priority.THREAD)], AT)
            while (heard := await woken.get()) == {"inbox"}:
                pass
            assert heard == {"escalations", "outbox"}
            await asyncio.sleep(0.05)
            assert woken.empty(), "each commit is heard once"
    finally:
        await listener.stop()
        await one.dispose()


async def test_two_replicas_never_claim_the_same_message(postgres: str) -> None:
    from storage.migrating import migrate

    url = engine_url(new_postgres(postgres))
    replicas = [Database(url), Database(url)]
    await migrate(replicas[0])
    cards = [
        Card(subject=Subject(kind=SubjectKind.ALERT, id=n), place=f"@p{n}", priority=0) for n in range(40)
    ]
    async with replicas[0].writing() as tx:
        await tx.say(cards, AT)
    taken: list[str] = []

    async def take(replica: Database) -> None:
        while len(taken) < len(cards):
            async with replica.writing() as tx:
                letters = await tx.claim(AT, 8, frozenset())
                await asyncio.sleep(0.005)
            taken.extend(letter.key for letter in letters)

    await asyncio.gather(*(take(replica) for replica in replicas for _ in range(2)))
    assert sorted(taken) == sorted(card.key for card in cards)
    for replica in replicas:
        await replica.dispose()
