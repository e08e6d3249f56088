"""BondPoint's services as they live in the demo: weeks of habits behind them, and dials for a hand."""

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from sandbox.cloud.cloud import Cloud
from sandbox.cloud.descriptors import Descriptor, Kind, ValueType
from sandbox.cloud.distributions import Buckets, Floats
from sandbox.cloud.images import Behaviour
from sandbox.cloud.served import Arrivals
from sandbox.cloud.services import MINUTE, RunDials, SqlDials, SteadyRun, SteadySql, SteadyValue, ValueDials
from sandbox.cloud.store import Times
from sandbox.cloud.traffic import DAY, Made, Scenario, make

PROJECT = "bondpoint-prod"
ZONE = "Asia/Tokyo"

BEHIND, AHEAD = 42, 60
"""Days of habits before and after the world began; a demo that is older repeats its last weeks."""

COARSE, DENSE = 300, 7200
"""Seconds between two points of the past, and from how long before the beginning there is one a minute."""

SEEDS = {"bondpoint-api": 117, "bondpoint-sync": 118}
"""Busy and of ordinary manners; what they live through is ``sandbox.cloud.traffic``'s."""


@dataclass(frozen=True, slots=True)
class Hands(RunDials):
    """What a person does to a service that lives: added errors (a share), and factors on the rest."""

    error_share: float = 0.0
    slower: float = 1.0
    busier: float = 1.0
    more_cpu: float = 0.0


class Living(SteadyRun):
    """A Cloud Run service that has days and nights of its own, under the dials of ``Hands``."""

    def __init__(self, name: str, began: datetime, seed: int) -> None:
        super().__init__(name, PROJECT, dials=Hands())
        self._began = int(began.timestamp())
        self._dense = (self._began - DENSE) // COARSE * COARSE
        self._seed = seed

    @cached_property
    def _made(self) -> Made:
        start = self._began // DAY * DAY - BEHIND * DAY
        return make(
            self._seed,
            scenario=Scenario.QUIET,
            step=300,
            history_days=float(BEHIND),
            live_days=float(AHEAD),
            start=start,
            zone=ZONE,
        )

    def _minutes(self, start: int, end: int) -> Times:
        """Every minute; of the time before the world began every fifth, which stands for five."""
        every = super()._minutes(start, end)
        return np.asarray(every[(every > self._dense) | (every % COARSE == 0)], dtype=np.int64)

    def _at(self, values: Floats, times: Times) -> Floats:
        """A habit at each moment, with a minute's own small noise; beyond the end the last weeks again."""
        made = self._made
        rows = (times - 1 - made.start) // made.step
        week = 7 * DAY // made.step
        beyond = rows >= len(made)
        rows = np.where(beyond, len(made) - 2 * week + (rows - len(made)) % (2 * week), rows)
        found = np.asarray(values[np.clip(rows, 0, len(made) - 1)], dtype=np.float64)
        noise = 0.02 * np.sin(times / MINUTE * 2.399963) + 0.01 * np.sin(times / MINUTE * 0.71)
        return np.where(rows < 0, math.nan, found * (1 + noise))

    def _read(self, times: Times, name: str) -> Floats:
        made, hand = self._made, super()._read
        match name:
            case "requests_per_second":
                every = self._at(made.requests, times) * MINUTE / made.step * hand(times, "busier")
                covered = np.where(times > self._dense, 1, COARSE // MINUTE)
                return _coarse(every * covered, 0.05) / MINUTE
            case "error_share":
                share = made.errors / np.maximum(made.requests, 1)
                return np.clip(self._at(share, times) + hand(times, "error_share"), 0, 1)
            case "p95_ms":
                return _coarse(self._at(made.latency, times) * hand(times, "slower"), 0.02)
            case "cpu":
                moved = self._at(made.cpu, times) * hand(times, "busier") + hand(times, "more_cpu")
                return np.clip(moved, 0.005, 1)
            case "memory":
                return np.clip(self._at(made.memory, times), 0.005, 1)
            case _:
                return hand(times, name)


class Growing(SteadySql):
    """A database that fills up, and that is busier by day; disk and the rest stand on their dials."""

    def __init__(self, name: str, began: datetime) -> None:
        super().__init__(name, PROJECT, dials=SqlDials(connections=190, disk_bytes=88e9))
        self._began = int(began.timestamp())

    def _read(self, times: Times, name: str) -> Floats:
        values = super()._read(times, name)
        days = (times - self._began) / DAY
        match name:
            case "connections":
                day = 1 + 0.25 * np.sin((times / DAY - 0.125) * 2 * math.pi)
                return np.asarray(np.round((values + 2.4 * days) * day), dtype=np.float64)
            case "disk_bytes":
                return np.asarray(values + 0.7e9 * days, dtype=np.float64)
            case _:
                return values


def _coarse(values: Floats, share: float) -> Floats:
    """Rounded to steps of a share of themselves: minutes that are alike share one distribution."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rounded = np.exp(np.round(np.log(values) / share) * share)
    return np.where(values > 0, rounded, values)


PROMETHEUS = "prometheus.googleapis.com"


def own_metrics() -> list[SteadyValue]:
    """What BondPoint's program counts itself, as Managed Prometheus keeps it."""
    target = {
        "project_id": PROJECT,
        "location": "asia-northeast1",
        "cluster": "__run__",
        "namespace": "bondpoint",
        "job": "bondpoint",
        "instance": "bondpoint-1:8080",
    }
    seconds = Buckets("exponential", first=0.05, by=1.25, finite=24)
    declared = (
        (
            Descriptor(
                f"{PROMETHEUS}/bondpoint_status_update_duration_seconds/histogram",
                Kind.CUMULATIVE,
                ValueType.DISTRIBUTION,
                buckets=seconds,
            ),
            ValueDials(value=0.4, per_minute=90),
        ),
        (
            Descriptor(
                f"{PROMETHEUS}/bondpoint_firestore_sync_errors_total/counter",
                Kind.CUMULATIVE,
                ValueType.DOUBLE,
            ),
            ValueDials(value=0.2),
        ),
        (
            Descriptor(f"{PROMETHEUS}/bondpoint_active_users/gauge", Kind.GAUGE, ValueType.DOUBLE),
            ValueDials(value=420),
        ),
    )
    return [SteadyValue(one, "prometheus_target", target, dials=dials) for one, dials in declared]


REPOSITORY = f"asia-northeast1-docker.pkg.dev/{PROJECT}/app"

IMAGES = {
    "v41": Behaviour(error_share=0),
    "v42": Behaviour(error_share=0),
    "v43-broken": Behaviour(error_share=0.3),
    "v44-slow": Behaviour(error_share=0, p95_ms=1600),
    "v45-crashes": Behaviour(starts=False),
    "v46-sick": Behaviour(error_share=0, api_health_body='{"status":"degraded"}'),
}
"""What can be deployed: the first one serves already, the second is as good, the others are not."""


class BondPoint:
    """The three services of the example policy in one pretend cloud, with the metrics of their own."""

    def __init__(self, cloud: Cloud, began: datetime) -> None:
        self.services = {name: Living(name, began, seed) for name, seed in SEEDS.items()}
        for name, habits in self.services.items():
            image = f"{REPOSITORY}/{name.removeprefix('bondpoint-')}"
            for tag, behaviour in IMAGES.items():
                cloud.images.push(f"{image}:{tag}", behaviour)
            cloud.run.serve(
                name,
                PROJECT,
                image=f"{image}:v41",
                habits=habits,
                arrivals=Arrivals.STEADY,
                env={"TZ": ZONE},
                secrets={"DATABASE_URL": "database-url@7"},
                cpu="1000m",
                memory="512Mi",
                concurrency=80,
                min_instances=1,
                max_instances=100,
            )
        self.database = Growing("bondpoint-db", began)
        self.own = {one.descriptor.type: one for one in own_metrics()}
        for one in self.own.values():
            cloud.monitoring.declare(one.descriptor)
        for source in (self.database, *self.own.values()):
            cloud.monitoring.feed(source)
