"""Which machines speak for one sender: the members of a high-availability pair, and what is no pair."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from domain.levels import Value

REPLICA_LABELS = frozenset(
    {
        "replica",
        "__replica__",
        "prometheus_replica",
        "alertmanager_replica",
        "rule_replica",
        "ruler_replica",
        "thanos_replica",
    }
)
"""Labels that tell the members of a pair apart, and no alert from another."""

PLACE_LABELS = (
    "cluster",
    "cluster_name",
    "cluster_id",
    "k8s_cluster",
    "k8s_cluster_name",
    "kubernetes_cluster",
    "environment",
    "env",
    "region",
    "datacenter",
    "dc",
    "site",
    "tenant",
    "project",
    "project_id",
    "account",
    "account_id",
    "prometheus",
)
"""Labels that say where an alert comes from; they differ between clusters, not between a pair's members."""


class Cluster(Value):
    """Alertmanagers that are one sender and no other: their addresses, in which ``*`` stands for any text."""

    name: str
    alertmanagers: tuple[str, ...] = ()

    def has(self, address: str) -> bool:
        """Whether an Alertmanager that calls itself by this address is one of them."""
        asked = address.rstrip("/").casefold()
        return any(fnmatchcase(asked, one.rstrip("/").casefold()) for one in self.alertmanagers)


def is_elsewhere(labels: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """True where two alerts say of themselves that they come from different places."""
    return any(labels.get(name) != others.get(name) for name in PLACE_LABELS)
