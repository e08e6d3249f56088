"""Toban watches by itself: thresholds fire, hold and resolve on what Cloud Monitoring really shows."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.policy import read_policy
from domain.policy import Ladder, Level, Policy, Service, Step
from domain.rules import DEFAULT_THRESHOLDS, Limits, Rules
from sandbox.clock import START
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.descriptors import Descriptor, Kind, ValueType
from sandbox.cloud.distributions import Buckets
from sandbox.cloud.faults import FOREVER
from sandbox.cloud.services import RunDials, SqlDials, Steady, SteadyRun, SteadySql, SteadyValue, ValueDials
from sandbox.stage import Stage, sqlite_url
from tests.conftest import make_policy
from tests.flows.looking import alert_cards

EXAMPLE = Path(__file__).parents[2] / "toban.example.yaml"
PROJECT = "bondpoint-prod"
OFF = {"sensitivity": "off"}
TARGET = {
    "project_id": PROJECT,
    "location": "asia-northeast1",
    "cluster": "__run__",
    "namespace": "bondpoint",
    "job": "bondpoint",
    "instance": "bondpoint-1:8080",
}
SECONDS = Buckets("exponential", first=0.05, by=1.25, finite=24)
PROMETHEUS = "prometheus.googleapis.com/bondpoint_"


def run(name: str) -> Service:
    return Service(name=name, project=PROJECT, region="asia-northeast1", match={"service_name": name})


def sql(name: str) -> Service:
    return Service(name=name, match={"database_id": f"{PROJECT}:{name}"})


API, DB = run("bondpoint-api"), sql("bondpoint-db")


def watched(*services: Service, **rules: object) -> Policy:
    """The default table on these services, unless ``rules`` say otherwise."""
    return make_policy(services=services, rules=Rules.model_validate({"anomalies": OFF} | rules))


def only(name: str, **changes: object) -> dict[str, object]:
    """One row of the default table."""
    (row,) = [one for one in DEFAULT_THRESHOLDS if one.name == name]
    return {"thresholds": (row.model_copy(update=changes),)}


def patient(who: str) -> Ladder:
    """One page, and half a day for the answer: for stories that are not about pages."""
    return Ladder(steps=(Step(tell=(who,), wait=timedelta(hours=12)),))


# Every row of the table, in one world, each on a service of its own.


@dataclass(frozen=True)
class Row:
    """A row of the product's table: ``dial`` beyond its limit, swinging around it, and back.

    ``value`` bounds the number that the card shows, which is a guess from buckets for percentiles.
    """

    rule: str
    service: Service
    source: Steady[Any]
    dial: str
    bad: float
    swing: tuple[float, float] | None
    good: float
    title: str
    level: str
    value: tuple[float, float]
    limit: str
    channel: str = "#alerts"


def cloud_run(dials: Mapping[str, float], *row: Any) -> Row:
    """A row of Cloud Run on a service that bears its name."""
    name, *rest = row
    service = run(f"run-{name}")
    return Row(name, service, SteadyRun(service.name, PROJECT, dials=RunDials(**dials)), *rest)


def cloud_sql(dials: Mapping[str, float], *row: Any, engine: str = "postgresql") -> Row:
    name, *rest = row
    service = sql(f"on-{name}")
    source = SteadySql(service.name, PROJECT, engine=engine, dials=SqlDials(**dials))
    return Row(name, service, source, *rest)


def own(metric: str, kind: Kind, value_type: ValueType, dials: ValueDials, *row: Any, **more: Any) -> Row:
    """A metric of the example policy, as Managed Prometheus keeps it."""
    buckets = SECONDS if value_type is ValueType.DISTRIBUTION else None
    descriptor = Descriptor(f"{PROMETHEUS}{metric}", kind, value_type, buckets=buckets)
    name, service, *rest = row
    source = SteadyValue(descriptor, "prometheus_target", TARGET, dials=dials)
    return Row(name, run(service), source, *rest, **more)


def rows() -> tuple[Row, ...]:
    """The table of the product, with sources that are still untouched."""
    share = (91.0, 94.0)
    return (
        cloud_run({}, "cpu", "cpu", 0.92, (0.77, 0.83), 0.3, "CPU", "Warning", share, "80 %"),
        cloud_run({}, "memory", "memory", 0.92, (0.82, 0.88), 0.4, "memory", "Warning", share, "85 %"),
        cloud_run(
            {},
            *("requests", "requests_per_second", 1500, (960, 1040), 10),
            *("requests", "Info", (1500, 1500), "1,000/s"),
        ),
        cloud_run(
            {},
            *("latency", "p95_ms", 1500, (920, 1100), 200),
            *("p95 latency", "Critical", (1.4, 1.6), "1 s"),
        ),
        cloud_run(
            {},
            *("error-rate", "error_share", 0.05, (0.0097, 0.0107), 0),
            *("error rate", "Critical", (1.01, 5), "1 %"),
        ),
        cloud_run(
            {"startups": 10},
            *("startup", "startup_ms", 15000, (9300, 10500), 2000),
            *("startup time", "Warning", (13, 17), "10 s"),
        ),
        cloud_sql(
            {},
            *("sql-connections", "connections", 380, (300, 330), 40),
            *("database connections", "Warning", (95, 95), "80 %"),
        ),
        cloud_sql({}, "sql-cpu", "cpu", 0.92, (0.77, 0.83), 0.3, "database CPU", "Warning", (92, 92), "80 %"),
        cloud_sql({}, "sql-disk", "disk", 0.97, (0.86, 0.92), 0.4, "disk", "Critical", (97, 97), "90 %"),
        cloud_sql(
            {"replica_lag": 0.5},
            *("sql-replica-lag", "replica_lag", 12, (4.8, 5.2), 0.5),
            *("replica lag", "Warning", (12, 12), "5 s"),
        ),
        cloud_sql(
            {},
            *("sql-slow-queries", "query_p95_ms", 2000, (850, 1000), 20),
            *("slowest query", "Warning", (1.8, 2.2), "1 s"),
        ),
        cloud_sql(
            {},
            *("sql-slow-query-count", "slow_queries", 6, (1, 2), 0),
            *("slow queries", "Warning", (6, 6), "1/min"),
            engine="mysql",
        ),
        own(
            *("status_update_duration_seconds/histogram", Kind.CUMULATIVE, ValueType.DISTRIBUTION),
            ValueDials(value=0.4, per_minute=90),
            *("status-update-latency", "bondpoint-api", "value", 3, (1.85, 2.1), 0.4),
            *("status-update-latency", "Warning", (2.8, 3.2), "2 s"),
            channel="#performance",
        ),
        own(
            *("firestore_sync_errors_total/counter", Kind.CUMULATIVE, ValueType.DOUBLE),
            ValueDials(value=0.2),
            *("sync-errors", "bondpoint-sync", "value", 25, (9.6, 10.4), 0.2),
            *("sync-errors", "Critical", (25, 25), "10/min"),
        ),
        own(
            *("active_users/gauge", Kind.GAUGE, ValueType.DOUBLE),
            ValueDials(value=420),
            *("active-users", "bondpoint-api", "value", 100, None, 800),
            *("active-users", "Info", (25, 50), "50 %"),
        ),
    )


@dataclass
class Told:
    """What stood in Slack after each act, by the act's name."""

    cards: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    dms: dict[str, list[str]] = field(default_factory=dict)
    incidents: list[str] = field(default_factory=list)


async def the_whole_table(database_url: str, locale: str = "en") -> dict[str, Told]:
    """Twenty minutes beyond the limits, a few that swing around them, and back. Who is paged stays paged."""
    table = rows()
    services = {row.service.name: row.service for row in table}
    example = read_policy(EXAMPLE).rules
    policy = make_policy(
        services=tuple(services.values()),
        ladders={Level.WARNING: patient("mika"), Level.CRITICAL: patient("kenji")},
        rules=Rules.model_validate(
            {
                "anomalies": OFF,
                "zone": example.zone,
                "holidays": None,
                "thresholds": example.thresholds,
                "limits": (("on-sql-connections", Limits(connections=400)),),
            }
        ),
    )
    told: dict[str, Told] = {row.rule: Told() for row in table}

    def look(act: str) -> None:
        for row in table:
            own_cards = [
                card
                for card in stage.channel(row.channel)
                if f"{row.service.name}: {row.title}" in card.plain.partition("\n")[0]
            ]
            of_row = told[row.rule]
            of_row.cards[act] = [card.plain for card in own_cards]
            of_row.notes[act] = sum(len(stage.thread(card)) for card in own_cards)
            of_row.dms[act] = [
                dm.plain
                for who in ("kenji", "mika")
                for dm in stage.dms(who)
                if f"{row.service.name}: {row.title}" in dm.plain
                or (f"{row.service.name}：" in dm.plain and "対応してください" in dm.plain)  # In Japanese.
            ]
            of_row.incidents = [
                one.plain for one in stage.channel("#incidents") if f"{row.service.name}:" in one.plain
            ]

    def turn(which: str) -> None:
        for row in table:
            place = {"low": 0, "high": 1}.get(which)
            if place is None:
                row.source.set(stage.clock.now(), **{row.dial: getattr(row, which)})
            elif row.swing is not None:
                row.source.set(stage.clock.now(), **{row.dial: row.swing[place]})

    async with Stage.open(database_url, policy, cloud=Cloud, TOBAN_LOCALE=locale) as stage:
        for row in table:
            if isinstance(row.source, SteadyValue):
                stage.cloud.monitoring.declare(row.source.descriptor)
            stage.cloud.monitoring.feed(row.source)
        users = table[-1].source
        users.set(START - timedelta(minutes=36), value=100)
        await stage.advance(minutes=5)
        look("before")
        turn("bad")
        users.set(START - timedelta(minutes=36), value=100)
        await stage.advance(minutes=20)
        look("fired")
        for which, minutes in (("low", 2), ("high", 2), ("low", 9)):
            turn(which)
            await stage.advance(minutes=minutes)
        look("swung")
        turn("good")
        await stage.advance(minutes=20)
        look("over")
        assert stage.channel("#ops") == []
    return told


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """One story in which every row fires, holds and resolves."""
    return asyncio.run(the_whole_table(sqlite_url(tmp_path_factory.mktemp("table"))))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.rule)
def test_a_row_fires_with_its_level_metric_and_value(table: dict[str, Told], row: Row) -> None:
    told = table[row.rule]
    assert told.cards["before"] == []
    (card,) = told.cards["fired"]
    headline = card.partition("\n")[0]
    assert f"{row.level} · {row.service.name}: {row.title}" in headline
    assert row.limit in card
    assert row.service.name in card
    shown = re.search(rf"{re.escape(row.title)} (?:at )?([\d,.]+)", headline)
    assert shown is not None, headline
    assert row.value[0] <= float(shown[1].replace(",", "")) <= row.value[1], headline


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.rule)
def test_a_row_pages_as_its_level_says(table: dict[str, Told], row: Row) -> None:
    told = table[row.rule]
    assert (told.dms["fired"] == []) is (row.level == "Info")
    assert (told.incidents == []) is (row.level != "Critical")
    if row.level == "Critical":
        assert "P1" in told.incidents[0]
        assert "INC-" in told.cards["fired"][0]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.rule)
def test_a_row_holds_without_a_second_message_also_while_it_swings_around_its_limit(
    table: dict[str, Told], row: Row
) -> None:
    told = table[row.rule]
    (card,) = told.cards["swung"]
    assert f"{row.level} · {row.service.name}: {row.title}" in card
    assert told.notes["swung"] == told.notes["fired"] == 0
    assert told.dms["swung"] == told.dms["fired"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.rule)
def test_a_row_resolves_in_the_message_that_told_it(table: dict[str, Told], row: Row) -> None:
    told = table[row.rule]
    (card,) = told.cards["over"]
    headline, _, rest = card.partition("\n")
    assert f"Resolved · {row.service.name}: {row.title}" in headline
    assert "within its threshold again" in headline
    assert "Recovered" in rest
    assert told.notes["over"] == told.notes["fired"] + 1


# What stands between a metric and its alert: delays, gaps, refusals, deaths.


@asynccontextmanager
async def world_of(
    database_url: str, policy: Policy, *sources: Steady[Any], **environ: str
) -> AsyncIterator[Stage]:
    """A stage that has been looking at these sources for five minutes."""
    async with Stage.open(database_url, policy, cloud=Cloud, **environ) as stage:
        for source in sources:
            stage.cloud.monitoring.feed(source)
        await stage.advance(minutes=5)
        yield stage


def headlines(stage: Stage, channel: str = "#alerts") -> list[str]:
    return [card.plain.partition("\n")[0] for card in alert_cards(stage, channel)]


def api() -> SteadyRun:
    return SteadyRun(API.name, PROJECT)


def database(**dials: float) -> SteadySql:
    return SteadySql(DB.name, PROJECT, dials=SqlDials(**dials))


@pytest.mark.parametrize("late", [0, 300])
async def test_nothing_is_said_before_the_points_can_be_seen_and_everything_once_they_can(
    sqlite_only: str, late: int
) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API, **only("error-rate")), service) as stage:
        stage.cloud.faults.add(faults.late(late), count=FOREVER)
        service.set(stage.clock.now(), error_share=0.2)
        # Two steps of a minute, 120 s until the second can be seen, and the look at 10 s past the minute.
        await stage.advance(seconds=120 + 120 + late + 9)
        assert stage.channel("#alerts") == []
        await stage.advance(seconds=2)
        (headline,) = headlines(stage)
        assert "Critical · bondpoint-api: error rate" in headline


async def test_no_errors_are_zero_percent_and_no_data_at_all_is_neither_an_error_nor_a_recovery(
    sqlite_only: str,
) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API), service) as stage:
        service.set(stage.clock.now(), silent=True)
        await stage.advance(minutes=10)
        assert stage.channel("#alerts") == []
        service.set(stage.clock.now(), silent=False, error_share=0.05)
        await stage.advance(minutes=6)
        before = stage.card("#alerts").plain
        assert "error rate" in before
        service.set(stage.clock.now(), silent=True)
        await stage.advance(minutes=25)
        assert len(headlines(stage)) == 1
        assert "Critical" in headlines(stage)[0]
        assert stage.channel("#ops") == []
        service.set(stage.clock.now(), silent=False, error_share=0)
        await stage.advance(minutes=12)
        (headline,) = headlines(stage)
        assert "Resolved · bondpoint-api: error rate 0 %" in headline


async def test_a_negative_lag_is_an_inactive_replication_and_a_breach_of_its_own(sqlite_only: str) -> None:
    replica = database(replica_lag=0.2)
    async with world_of(sqlite_only, watched(DB), replica) as stage:
        replica.set(stage.clock.now(), replica_lag=-1)
        await stage.advance(minutes=10)
        (card,) = stage.channel("#alerts")
        assert "Warning · bondpoint-db: replication is inactive" in card.plain
        assert "falls behind without limit" in card.plain
        assert "please answer" in stage.dms("mika")[0].plain
        replica.set(stage.clock.now(), replica_lag=600)
        await stage.advance(minutes=8)
        assert len(headlines(stage)) == 1
        assert "Resolved" not in headlines(stage)[0]
        replica.set(stage.clock.now(), replica_lag=0.2)
        await stage.advance(minutes=10)
        (headline,) = headlines(stage)
        assert "Resolved · bondpoint-db: replica lag 200 ms" in headline


async def test_an_empty_answer_ends_nothing_and_is_an_alert_where_data_always_comes(sqlite_only: str) -> None:
    service, db = api(), database()
    async with world_of(sqlite_only, watched(API, DB), service, db) as stage:
        service.set(stage.clock.now(), error_share=0.05)
        await stage.advance(minutes=6)
        assert len(headlines(stage)) == 1
        service.set(stage.clock.now(), error_share=0)
        empty = stage.cloud.faults.add(faults.empty(), count=FOREVER)
        await stage.advance(minutes=11)
        assert len(headlines(stage)) == 1
        assert "Critical · bondpoint-api: error rate" in headlines(stage)[0]
        await stage.advance(minutes=6)
        first, second = headlines(stage)
        assert "Critical" in first
        assert "Warning · bondpoint-db: no data for database CPU" in second
        stage.cloud.faults.lift(empty)
        await stage.advance(minutes=10)
        assert all("Resolved" in headline for headline in headlines(stage))
        assert stage.channel("#ops") == []


async def test_while_the_quota_is_used_up_an_open_alert_stays_open_and_the_ops_channel_is_told(
    sqlite_only: str,
) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API, **only("error-rate")), service) as stage:
        service.set(stage.clock.now(), error_share=0.05)
        await stage.advance(minutes=6)
        assert len(headlines(stage)) == 1
        service.set(stage.clock.now(), error_share=0)
        refused = stage.cloud.faults.add(faults.quota(), method="*", count=FOREVER)
        stage.cloud.journal.clear()
        await stage.advance(minutes=2)
        assert stage.channel("#ops") == []
        await stage.advance(minutes=1)
        (trouble,) = stage.channel("#ops")
        assert "keeps failing" in trouble.plain
        assert "quota" in trouble.plain
        await stage.advance(minutes=17)
        assert "Critical · bondpoint-api: error rate" in headlines(stage)[0]
        assert len(stage.channel("#ops")) == 1
        # It rests for longer each time instead of asking every minute.
        assert 3 <= stage.cloud.journal.count() <= 6
        stage.cloud.faults.lift(refused)
        await stage.advance(minutes=11)
        (headline,) = headlines(stage)
        assert "Resolved" in headline
        assert "works again" in stage.card("#ops").plain
        assert len(stage.channel("#ops")) == 2


async def test_what_came_and_went_while_the_bot_was_down_is_told_once_as_fired_and_resolved(
    database_url: str,
) -> None:
    service = api()
    async with world_of(database_url, watched(API, **only("error-rate")), service) as stage:
        await stage.stop()
        for minutes, share in ((10, 0.2), (30, 0)):
            service.set(stage.clock.now() + timedelta(minutes=minutes), error_share=share)
        stage.clock.push(timedelta(hours=1))
        await stage.start()
        await stage.advance(minutes=10)
        (card,) = stage.channel("#alerts")
        assert "Resolved · bondpoint-api: error rate" in card.plain
        assert [dm.plain for dm in stage.dms("kenji")] == []
        assert len(stage.thread(card)) <= 2
        await stage.advance(minutes=5)
        assert len(stage.channel("#alerts")) == 1


async def test_what_still_holds_after_an_hour_without_the_bot_fires_at_the_first_look(
    sqlite_only: str,
) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API, **only("error-rate")), service) as stage:
        await stage.stop()
        service.set(stage.clock.now() + timedelta(minutes=10), error_share=0.2)
        stage.clock.push(timedelta(hours=1))
        await stage.start()
        await stage.advance(minutes=1)
        (headline,) = headlines(stage)
        assert "Critical · bondpoint-api: error rate 20 %" in headline
        assert len(stage.dms("kenji")) == 1


class Killed(BaseException):
    """The process is dead. No handler of ours catches it."""


async def test_a_bot_that_is_killed_between_reading_and_committing_tells_it_once(database_url: str) -> None:
    service = api()
    ladders = {Level.CRITICAL: patient("kenji")}
    policy = watched(API, **only("error-rate")).model_copy(update={"ladders": ladders})
    async with world_of(database_url, policy, service) as stage:
        service.set(stage.clock.now(), error_share=0.2)
        await stage.advance(seconds=240)
        journal = stage.cloud.journal
        known = journal.count()

        def die(_connection: sa.Connection) -> None:
            if journal.count() > known:
                raise Killed

        sa.event.listen(stage.bot.database.writer.sync_engine, "commit", die)
        with pytest.raises(Killed):
            await stage.advance(minutes=1)
        assert stage.channel("#alerts") == []
        await stage.crash()
        await stage.start()
        await stage.advance(minutes=12)
        (card,) = stage.channel("#alerts")
        assert "Critical · bondpoint-api: error rate 12 %" in card.plain  # Three bad minutes of five.
        assert len(stage.channel("#incidents")) == 1
        assert len(stage.dms("kenji")) == 1


async def test_one_of_fifty_requests_at_night_pages_nobody(sqlite_only: str) -> None:
    quiet = SteadyRun(
        API.name, PROJECT, dials=RunDials(requests_per_second=1 / 6, error_share=0.02, p95_ms=3000)
    )
    async with world_of(sqlite_only, watched(API), quiet) as stage:
        await stage.advance(minutes=25)
        assert stage.channel("#alerts") == []
        quiet.set(stage.clock.now(), requests_per_second=10)
        await stage.advance(minutes=8)
        assert sorted(re.sub(r" [\d.]+ .*", "", one) for one in headlines(stage)) == [
            ":red_circle: Critical · bondpoint-api: error rate",
            ":red_circle: Critical · bondpoint-api: p95 latency",
        ]
        assert len(stage.channel("#incidents")) == 1


async def test_an_alert_that_a_person_resolved_comes_back_while_its_breach_holds(sqlite_only: str) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API, **only("cpu")), service) as stage:
        service.set(stage.clock.now(), cpu=0.95)
        await stage.advance(minutes=15)
        (card,) = stage.channel("#alerts")
        await stage.press("mika", card, "Resolve")
        assert "Resolved by" in stage.card("#alerts").plain
        await stage.advance(minutes=32)
        card, again = stage.channel("#alerts")
        assert "Firing again" in again.plain, "shown at the bottom of the channel, too"
        assert "Warning · bondpoint-api: CPU" in card.plain


OWN = """
ladders: {warning: [], critical: [], emergency: []}
channels: {alerts: "#alerts", incidents: "#incidents", deploys: "#deploys", ops: "#ops"}
services:
  bondpoint-api: {project: bondpoint-prod, region: asia-northeast1, match: {service_name: bondpoint-api}}
rules:
  defaults: false
  anomalies: {sensitivity: "off"}
  thresholds:
    queue:
      services: bondpoint-api
      metric: custom.googleapis.com/bondpoint/queue_depth
      labels: {metric.labels.kind: sync}
      statistic: max
      above: 400
      for: 3m
      level: warning
      channel: "#performance"
    misspelt:
      services: bondpoint-api
      metric: custom.googleapis.com/bondpoint/queue_detph
      statistic: max
      above: 400
      level: warning
"""


async def test_a_teams_own_metric_has_its_own_channel_and_one_that_nobody_writes_is_told_once(
    sqlite_only: str, tmp_path: Path
) -> None:
    file = tmp_path / "toban.yaml"
    file.write_text(OWN)
    descriptor = Descriptor("custom.googleapis.com/bondpoint/queue_depth", Kind.GAUGE, ValueType.INT64)
    queues = {
        kind: SteadyValue(descriptor, "global", {"project_id": PROJECT}, {"kind": kind}, ValueDials(value=30))
        for kind in ("sync", "mail")
    }
    async with Stage.open(sqlite_only, read_policy(file), cloud=Cloud) as stage:
        stage.cloud.monitoring.declare(descriptor)
        for queue in queues.values():
            stage.cloud.monitoring.feed(queue)
        queues["mail"].set(stage.clock.now(), value=9000)
        await stage.advance(minutes=10)
        assert stage.channel("#performance") == []
        queues["sync"].set(stage.clock.now(), value=700)
        await stage.advance(minutes=10)
        (headline,) = headlines(stage, "#performance")
        assert "Warning · bondpoint-api: queue 700 (threshold 400)" in headline
        queues["sync"].set(stage.clock.now(), value=300)
        await stage.advance(minutes=10)
        (headline,) = headlines(stage, "#performance")
        assert "Resolved · bondpoint-api: queue 300" in headline
        assert stage.channel("#alerts") == []
        (note,) = stage.channel("#ops")
        assert "misspelt@bondpoint-api" in note.plain
        assert "queue_detph" in note.plain


@pytest.mark.parametrize("left", ["cpu", None])
async def test_a_rule_that_left_the_policy_while_it_fired_is_closed_but_not_as_recovered(
    sqlite_only: str, left: str | None
) -> None:
    service = api()
    async with world_of(sqlite_only, watched(API), service) as stage:
        service.set(stage.clock.now(), error_share=0.2)
        await stage.advance(minutes=6)
        (headline,) = headlines(stage)
        assert "Critical" in headline
        await stage.stop()
        rules = only(left) if left is not None else {"thresholds": ()}
        stage.policy = watched(API, **rules)
        await stage.start()
        await stage.advance(minutes=6)
        (card,) = stage.channel("#alerts")
        assert "bondpoint-api: error-rate is no longer watched" in card.plain
        assert "Whether it recovered is not known" in card.plain
        assert "That is not a recovery" in "".join(note.plain for note in stage.thread(card))
        assert "the sender reports recovery" not in card.plain.lower()


async def test_japanese_cards_say_what_is_wrong_and_that_it_is_over(sqlite_only: str) -> None:
    users = rows()[-1]
    replica, silent, service = database(replica_lag=-1), SteadySql("silent-db", PROJECT), api()
    thresholds = (*DEFAULT_THRESHOLDS, read_policy(EXAMPLE).rules.thresholds[-1])
    policy = watched(API, DB, sql("silent-db"), thresholds=thresholds)
    async with Stage.open(sqlite_only, policy, cloud=Cloud, TOBAN_LOCALE="ja") as stage:
        assert isinstance(users.source, SteadyValue)
        stage.cloud.monitoring.declare(users.source.descriptor)
        for source in (replica, silent, service, users.source):
            stage.cloud.monitoring.feed(source)
        users.source.set(START - timedelta(hours=1), value=105)
        await stage.advance(minutes=5)
        service.set(stage.clock.now(), error_share=0.2, cpu=0.95)
        silent.set(stage.clock.now(), silent=True)
        await stage.advance(minutes=20)
        fired = "\n".join(headlines(stage))
        for wanted in (
            "重大 · bondpoint-api：エラー率 8 %（しきい値 1 %）",
            "警告 · bondpoint-api：CPU 使用率 95 %（しきい値 80 %）",
            "警告 · bondpoint-db：レプリケーション停止",
            "警告 · silent-db：DB の CPU 使用率のデータなし",
            "情報 · bondpoint-api：active-usersが1週間前の同時刻の 26.2 %",
        ):
            assert wanted in fired
        service.set(stage.clock.now(), error_share=0, cpu=0.3)
        replica.set(stage.clock.now(), replica_lag=0.2)
        silent.set(stage.clock.now(), silent=False)
        await stage.advance(minutes=14)
        over = "\n".join(headlines(stage))
        for wanted in (
            "bondpoint-api：エラー率 0 %、しきい値内に復帰",
            "bondpoint-api：CPU 使用率 30.9 %、しきい値内に復帰",
            "bondpoint-db：レプリカ遅延 200 ms、しきい値内に復帰",
            "silent-db：DB の CPU 使用率 30 %、しきい値内に復帰",
        ):
            assert wanted in over
