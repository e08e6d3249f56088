"""What the pretend Cloud Monitoring knows of each metric: kind, type, labels, how late its points come."""

from dataclasses import dataclass
from enum import StrEnum

from sandbox.cloud.distributions import MICROSECONDS, MILLISECONDS, SHARES, Buckets


class Kind(StrEnum):
    """What a point says: how it is now, what came since the last one, what came since the start."""

    GAUGE = "gauge"
    DELTA = "delta"
    CUMULATIVE = "cumulative"


class ValueType(StrEnum):
    """What a point's value is."""

    BOOL = "bool"
    INT64 = "int64"
    DOUBLE = "double"
    DISTRIBUTION = "distribution"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One metric type. ``ingest_delay`` is in seconds; ``None`` where the metric's owner gave none.

    Empty ``resources`` or ``labels`` mean that any may be: custom metrics are like that.
    """

    type: str
    kind: Kind
    value_type: ValueType
    unit: str = "1"
    resources: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    ingest_delay: int | None = None
    sample_period: int | None = 60
    buckets: Buckets | None = None


RESOURCES: dict[str, frozenset[str]] = {
    "cloud_run_revision": frozenset(
        {"project_id", "location", "service_name", "revision_name", "configuration_name"}
    ),
    "cloudsql_database": frozenset({"project_id", "database_id", "region"}),
    "cloudsql_instance_database": frozenset({"project_id", "resource_id", "database", "location"}),
    "prometheus_target": frozenset({"project_id", "location", "cluster", "namespace", "job", "instance"}),
    "generic_task": frozenset({"project_id", "location", "namespace", "job", "task_id"}),
    "generic_node": frozenset({"project_id", "location", "namespace", "node_id"}),
    "global": frozenset({"project_id"}),
}
"""The labels of each monitored resource."""

RUN, SQL, QUERIES = "cloud_run_revision", "cloudsql_database", "cloudsql_instance_database"


def _run(
    name: str,
    kind: Kind,
    value_type: ValueType,
    unit: str,
    *labels: str,
    buckets: Buckets | None = None,
) -> Descriptor:
    """A metric of Cloud Run: sampled every 60 s, not visible for up to 120 s."""
    return Descriptor(
        f"run.googleapis.com/{name}",
        kind,
        value_type,
        unit,
        (RUN,),
        labels,
        ingest_delay=120,
        buckets=buckets,
    )


def _sql(
    name: str,
    kind: Kind,
    value_type: ValueType,
    unit: str,
    *labels: str,
    resource: str = SQL,
    buckets: Buckets | None = None,
) -> Descriptor:
    """A metric of Cloud SQL: sampled every 60 s, not visible for up to 165 s."""
    return Descriptor(
        f"cloudsql.googleapis.com/database/{name}",
        kind,
        value_type,
        unit,
        (resource,),
        labels,
        ingest_delay=165,
        buckets=buckets,
    )


_G, _D, _C = Kind.GAUGE, Kind.DELTA, Kind.CUMULATIVE
_INT, _DOUBLE, _DIST = ValueType.INT64, ValueType.DOUBLE, ValueType.DISTRIBUTION
_OF_QUERY = ("querystring", "query_hash", "user", "client_addr")
_CLASSES = ("response_code", "response_code_class")

KNOWN: tuple[Descriptor, ...] = (
    _run("request_count", _D, _INT, "1", *_CLASSES),
    _run("request_latencies", _D, _DIST, "ms", *_CLASSES, buckets=MILLISECONDS),
    _run("request_latency/e2e_latencies", _D, _DIST, "ms", *_CLASSES, buckets=MILLISECONDS),
    _run("request_latency/pending", _D, _DIST, "ms", buckets=MILLISECONDS),
    _run("container/cpu/utilizations", _D, _DIST, "10^2.%", buckets=SHARES),
    _run("container/memory/utilizations", _D, _DIST, "10^2.%", buckets=SHARES),
    _run("container/startup_latencies", _D, _DIST, "ms", buckets=MILLISECONDS),
    _run("container/max_request_concurrencies", _D, _DIST, "1", "state", buckets=MILLISECONDS),
    _run("container/instance_count", _G, _INT, "1", "state"),
    _run("container/billable_instance_time", _D, _DOUBLE, "s"),
    _run("container/completed_probe_count", _D, _INT, "1", "is_healthy", "probe_type"),
    _run("pending_queue/pending_requests", _G, _INT, "1"),
    _sql("cpu/utilization", _G, _DOUBLE, "10^2.%"),
    _sql("memory/utilization", _G, _DOUBLE, "10^2.%"),
    _sql("disk/utilization", _G, _DOUBLE, "10^2.%"),
    _sql("disk/bytes_used", _G, _INT, "By"),
    _sql("postgresql/num_backends", _G, _INT, "1", "database"),
    _sql("network/connections", _G, _INT, "1"),
    _sql("replication/replica_lag", _G, _DOUBLE, "s"),
    _sql("mysql/slow_queries_count", _D, _INT, "1", "database"),
    _sql(
        "postgresql/insights/perquery/latencies",
        _C,
        _DIST,
        "us",
        *_OF_QUERY,
        resource=QUERIES,
        buckets=MICROSECONDS,
    ),
    _sql("postgresql/insights/perquery/execution_time", _C, _INT, "us", *_OF_QUERY, resource=QUERIES),
)
"""The metrics that are always there, whether or not anything was measured."""
