"""Every threshold of the product's table fires, holds and resolves: the whole bot against the real client."""

from dataclasses import dataclass
from typing import Any

from bot.policy import read_policy
from domain.policy import Policy
from sandbox.cloud.bondpoint import PROJECT, own_metrics
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.services import Steady, SteadyRun, SteadySql
from sandbox.stage import Stage
from tests.conftest import make_policy


@dataclass(frozen=True)
class Row:
    """One row: what goes wrong, and what its card must say."""

    service: str
    wrong: dict[str, Any]
    right: dict[str, Any]
    level: str
    said: str
    channel: str = "#alerts"


RUN = (
    Row("cpu", {"cpu": 0.9}, {"cpu": 0.3}, "Warning", "CPU 9"),
    Row("memory", {"memory": 0.95}, {"memory": 0.4}, "Warning", "memory 9"),
    Row("busy", {"requests_per_second": 1500}, {"requests_per_second": 10}, "Info", "requests 1,500/s"),
    Row("slow", {"p95_ms": 2500}, {"p95_ms": 200}, "Critical", "p95 latency 2."),
    Row("failing", {"error_share": 0.05}, {"error_share": 0.0}, "Critical", "error rate "),
    Row("starting", {"startups": 3, "startup_ms": 15000}, {"startups": 0}, "Warning", "startup time 1"),
)
SQL = (
    Row("full", {"connections": 350}, {"connections": 40}, "Warning", "connections 8"),
    Row("hot", {"cpu": 0.9}, {"cpu": 0.3}, "Warning", "database CPU 90 %"),
    Row("filled", {"disk": 0.95}, {"disk": 0.4}, "Critical", "disk 95 %"),
    Row("behind", {"replica_lag": 12.0}, {"replica_lag": 0.5}, "Warning", "replica lag 12 s"),
    Row("parted", {"replica_lag": -1.0}, {"replica_lag": 0.5}, "Warning", "replication is inactive"),
    Row("asked", {"query_p95_ms": 3000}, {"query_p95_ms": 20}, "Warning", "slow queries "),
    Row("counted-mysql", {"slow_queries": 5}, {"slow_queries": 0}, "Warning", "slow queries 5/min"),
)
OWN = {
    "histogram": Row("run-cpu", {"value": 4.0}, {"value": 0.4}, "Warning", "status", "#performance"),
    "counter": Row("run-cpu", {"value": 30.0}, {"value": 0.0}, "Critical", "sync-errors 30/min"),
    "gauge": Row("run-cpu", {"value": 100.0}, {"value": 420.0}, "Info", "active-users at "),
}


def policy(tmp_path: Any) -> Policy:
    """The default table over many services, and BondPoint's own three rules."""
    services = "".join(
        f"  run-{row.service}: {{ project: {PROJECT}, region: asia-northeast1,"
        f" match: {{ service_name: run-{row.service} }} }}\n"
        for row in RUN
    ) + "".join(
        f'  {row.service}: {{ project: {PROJECT}, match: {{ database_id: "{PROJECT}:{row.service}" }} }}\n'
        for row in SQL
    )
    written = f"""
people: {{ kenji: {{ email: kenji@bondpoint.example }} }}
ladders: {{ warning: [], critical: [], emergency: [] }}
services:
{services}
rules:
  anomalies: {{ sensitivity: "off" }}
  limits: {{ full: {{ connections: 400 }} }}
  thresholds:
    status-update-latency:
      {{ services: run-cpu, statistic: p95,
        metric: prometheus.googleapis.com/bondpoint_status_update_duration_seconds/histogram,
        above: 2s, for: 3m, level: warning, channel: "#performance" }}
    sync-errors:
      {{ services: run-cpu, metric: prometheus.googleapis.com/bondpoint_firestore_sync_errors_total/counter,
        statistic: rate, above: 10/min, for: 2m, level: critical }}
    active-users:
      {{ services: run-cpu, metric: prometheus.googleapis.com/bondpoint_active_users/gauge, statistic: sum,
        below: 50%, against: week-ago, for: 15m, minimum: 20, level: info }}
"""
    path = tmp_path / "toban.yaml"
    path.write_text(written)
    return make_policy(services=read_policy(path).services, rules=read_policy(path).rules)


async def test_every_row_fires_holds_and_resolves(sqlite_only: str, tmp_path: Any) -> None:
    async with Stage.open(sqlite_only, policy(tmp_path), cloud=Cloud) as stage:
        sources: list[tuple[Steady[Any], Row]] = [
            (SteadyRun(f"run-{row.service}", PROJECT), row) for row in RUN
        ]
        for row in SQL:
            engine = "mysql" if "mysql" in row.service else "postgresql"
            sources.append((SteadySql(row.service, PROJECT, engine=engine), row))
        for one in own_metrics():
            stage.cloud.monitoring.declare(one.descriptor)
            sources.append((one, OWN[one.descriptor.type.rpartition("/")[2]]))
        for source, _ in sources:
            stage.cloud.monitoring.feed(source)
        await stage.advance(minutes=6)
        assert [card.plain for card in (*stage.channel("#alerts"), *stage.channel("#performance"))] == []

        for source, row in sources:
            source.set(stage.clock.now(), **row.wrong)
        await stage.advance(minutes=2)
        assert stage.channel("#alerts") == [], "nothing may be said before the points are visible"
        await stage.advance(minutes=68)
        for _, row in sources:
            heads = {card.plain.split("\n")[0]: card for card in stage.channel(row.channel)}
            found = [card for head, card in heads.items() if f": {row.said}" in head and row.service in head]
            assert len(found) == 1, (row, [card.plain.split("\n")[0] for card in stage.channel(row.channel)])
            assert f"{row.level} · " in found[0].plain.split("\n")[0], row
            assert row.service.removeprefix("run-") in found[0].plain, row
        many = len(stage.channel("#alerts")) + len(stage.channel("#performance"))
        assert many == len(sources)
        critical = sum(row.level == "Critical" for _, row in sources)
        assert len(stage.channel("#incidents")) == critical

        for source, row in sources:
            source.set(stage.clock.now(), **row.right)
        await stage.advance(minutes=75)
        heads = [
            card.plain.split("\n")[0] for card in (*stage.channel("#alerts"), *stage.channel("#performance"))
        ]
        assert len(heads) == len(sources), "nothing was said twice"
        assert [head for head in heads if "Resolved" not in head] == []
        assert [message.plain for message in stage.channel("#ops")] == []
