"""`make bench BENCH=year`: the size of SQLite after a year of 10,000 alerts a day, and the speed of its door.

A few hundred alerts live through the really built bot on the stage. Their rows are then copied, with new
numbers and times, for each of the days that are still kept at the end of a year under the default
retention; the last night is left to the real retention. The door is measured on both files in turns.
What stays for good (incidents, deploys, backups) is not in the sample.
"""

import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from domain.data_retention import KEYS, DataRetention
from domain.inbox import NewDelivery
from domain.policy import Ladder, Level, Person, Policy, Service, Step
from handlers import interpreters
from operations import counters
from operations.data_retention import retain
from operations.inbox import drain
from sandbox.senders import alertmanager, monitoring
from sandbox.stage import Stage, sqlite_url

ALERTS_A_DAY = 10_000
LIVE = 200
"""Alerts of the sample: half alone in their group with a ladder, half in groups of ten without one."""

ASKED = 2_000
"""Deliveries in one measurement of the door."""

TIMES = ("opened_at", "changed_at", "acknowledged_at", "resolved_at", "started_at", "stopped_at", "at")
TIMES += ("queued_at", "delivered_at", "received_at", "drained_at", "created_at", "sent_at", "ended_at")
TABLES = ("alert_group", "alert", "escalation", "page", "timeline", "outbox", "inbox")


def policy() -> Policy:
    step = Step(tell=("mika",), respond=timedelta(minutes=30), wait=timedelta(hours=1))
    return Policy(
        people={"mika": Person(name="mika", email="mika@bondpoint.example")},
        ladders={Level.WARNING: Ladder(steps=(step,))},
        services=(Service(name="bondpoint-db"),),
    )


async def live(stage: Stage) -> None:
    """The sample: everything begins, is told, and ends."""
    singles = range(LIVE // 2)
    for state in ("open", "closed"):
        for number in singles:
            said = {"severity": "Warning", "policy": f"policy {number}", "service": f"service-{number}"}
            body = monitoring(f"0.{number:016x}", state=state, **said)
            await stage.webhook("cloud-monitoring", body, settle=False)
        for group in range(LIVE // 20):
            body = alertmanager(*[f"host-{group}-{number}" for number in range(10)], severity="info")
            body["groupKey"] = f'{{}}:{{alertname="{group}"}}'
            for number, alert in enumerate(body["alerts"]):
                alert["fingerprint"] = f"{group:08x}{number:08x}"
                if state == "closed":
                    alert |= {"status": "resolved", "endsAt": "2026-11-22T01:10:00Z"}
            await stage.webhook("alertmanager", body, settle=False)
        await stage.settle()
        await stage.advance(minutes=3)
    await stage.advance(minutes=10)


def fill(file: Path, days: int, a_day: int) -> int:
    """Copy the sample for each day that is kept; returns how many alerts there are then."""
    kept = DataRetention()
    copies = a_day // LIVE
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-200000")
        db.execute("CREATE TEMP TABLE copy (k INTEGER PRIMARY KEY, age INTEGER)")
        whole = days * copies
        db.executemany("INSERT INTO copy VALUES (?, ?)", [(k, days - 1 - k // copies) for k in range(whole)])
        db.execute("PRAGMA foreign_keys=OFF")
        for name in TABLES:
            db.execute(f"CREATE TEMP TABLE t_{name} AS SELECT * FROM {name}")
        spans = {name: _one(db, f"SELECT max(id) FROM {name}") for name in TABLES}
        for name in TABLES:
            db.execute("BEGIN")
            db.execute(f"DELETE FROM {name}")
            db.execute(_copying(db, name, spans, kept))
            db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return _one(db, "SELECT count(*) FROM alert")


def _copying(db: sqlite3.Connection, name: str, spans: Mapping[str, int], kept: DataRetention) -> str:
    """The statement that writes every copy of a table's sample, in the order of time."""
    columns = [(row[1], str(row[2]).upper()) for row in db.execute(f"PRAGMA table_info({name})")]
    written = [_written(name, column, kind, spans, kept) for column, kind in columns]
    alive = "1"
    if name == "inbox":
        alive = f"c.age <= {KEYS.days}"
    if name == "outbox":
        alive = f"(t.key LIKE 'alert:%' OR c.age <= {kept.bodies.days})"
    listed = ", ".join(f'"{column}"' for column, _ in columns)
    return (
        f"INSERT INTO {name} ({listed}) SELECT {', '.join(written)} FROM copy c CROSS JOIN t_{name} t"
        f" WHERE {alive} ORDER BY c.k, t.id"
    )


def _written(name: str, column: str, kind: str, spans: Mapping[str, int], kept: DataRetention) -> str:
    """How one column of a copy is written: numbers move on, times move back, names become others."""
    value = f't."{column}"'
    subject = (
        f"CASE WHEN {value} LIKE 'alert:%'"
        f" THEN 'alert:' || (substr({value}, 7) + c.k * {spans['alert_group']})"
        f" WHEN {value} LIKE 'page:%' THEN 'page:' || (substr({value}, 6) + c.k * {spans['page']})"
        f" ELSE {value} || ':' || c.k END"
    )
    match column:
        case "id":
            return f"{value} + c.k * {spans[name]}"
        case "group_id" | "escalation_id":
            return f"{value} + c.k * {spans['alert_group' if column == 'group_id' else 'escalation']}"
        case "body":
            return f"CASE WHEN c.age <= {kept.bodies.days} THEN {value} ELSE x'' END"
        case "thread_of":
            return f"CASE WHEN {value} IS NOT NULL THEN {subject} END"
        case "subject" if name == "outbox":
            number = f"json_extract({value}, '$.id') + c.k * CASE WHEN {value} LIKE '%page%'"
            number += f" THEN {spans['page']} ELSE {spans['alert_group']} END"
            return f"CASE WHEN {value} IS NOT NULL THEN json_set({value}, '$.id', {number}) END"
        case "subject":
            return subject
        case "key" if name == "outbox":
            return subject
        case "key" | "identity":  # As long as the real ones, and as scattered.
            return f"printf('%08x', c.k * 2654435761 % 4294967296) || substr({value}, 9)"
        case _ if column in TIMES and kind == "BIGINT":
            return f"{value} - c.age * 86400000"
        case _ if column in TIMES:
            return f"strftime('%Y-%m-%d %H:%M:%f000', {value}, '-' || c.age || ' days')"
        case _:
            return value


def _one(db: sqlite3.Connection, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


async def door(stage: Stage, run: str) -> dict[str, float]:
    """Alerts a second that are committed while 64 senders wait, and that the drain works off afterwards."""
    world = stage.bot.world
    waiting = iter(range(ASKED))

    async def sender() -> None:
        for number in waiting:
            body = json.dumps(monitoring(f"0.{run}{number}", severity="info", policy=f"{run} {number % 50}"))
            key = f"{run}-{number}"
            await world.inbox.put(
                NewDelivery(
                    kind="cloud-monitoring", key=key, body=body.encode(), received_at=world.clock.now()
                )
            )

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(64)))
    accepted = time.perf_counter()
    table = interpreters()
    while (await drain(world, table)).taken:
        pass
    return {"accepted": ASKED / (accepted - began), "drained": ASKED / (time.perf_counter() - accepted)}


def size(file: Path) -> int:
    return sum(one.stat().st_size for one in file.parent.glob(file.name + "*"))


class Watch:
    """The stage's time, and real seconds: the stage's own do not pass while a batch runs."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def monotonic(self) -> float:
        return time.perf_counter()


async def main(days: int = DataRetention().alerts.days + 2, a_day: int = ALERTS_A_DAY) -> None:
    """``days`` of rows are copied: all that are kept, and two that the last night removes."""
    found: dict[str, Any] = {"days_of_rows": days, "alerts_a_day": a_day}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        old, new = Path(one) / "toban.db", Path(other) / "toban.db"
        async with Stage.open(sqlite_url(old.parent), policy()) as stage:
            await live(stage)
            sampled = stage.clock.now()
        began = time.perf_counter()
        alerts = fill(old, days, a_day)
        found |= {"alerts": alerts, "filled_seconds": time.perf_counter() - began, "bytes_before": size(old)}
        with closing(sqlite3.connect(old)) as db:
            shown = db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY 1 ORDER BY 2 DESC LIMIT 12")
            found["bytes_an_alert"] = {name: round(taken / alerts, 1) for name, taken in shown}
        async with (
            Stage.open(sqlite_url(old.parent), policy()) as full,
            Stage.open(sqlite_url(new.parent), policy()) as empty,
        ):
            for stage in (full, empty):
                stage.clock.push(sampled - stage.clock.now())
            began = time.perf_counter()
            ran = await retain(replace(full.bot.world, clock=Watch(sampled)), sampled)
            found["retention"] = ran.result.params | {"seconds": time.perf_counter() - began}
            held = next(iter(counters.retention_seconds.collect())).samples
            found["batches_within_seconds"] = {
                one.labels["le"]: int(one.value) for one in held if "le" in one.labels
            }
            found["bytes_after"] = size(old)
            rates: dict[str, list[float]] = {}
            for turn in range(5):
                both = [("first_day", empty), ("last_day", full)]
                for name, stage in both if turn % 2 else reversed(both):
                    for what, rate in (await door(stage, f"{name}{turn}x")).items():
                        rates.setdefault(f"{name}_{what}", []).append(rate)
            found |= {name: statistics.median(values) for name, values in rates.items()}
            for what in ("accepted", "drained"):
                found[f"ratio_{what}"] = found[f"last_day_{what}"] / found[f"first_day_{what}"]
    for name, value in found.items():
        print(f"{name}: {value:,.2f}" if isinstance(value, float) else f"{name}: {value}", flush=True)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "year.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
