"""Alerts that a deploy explains: kept from paging for a while, since the deploy is judged anyway."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from domain.alerts import AlertGroup, AlertStatus
from domain.deploys import DeployRule
from domain.levels import Level, Value
from domain.rollouts import Rollout, Stage, rollout_group

CANARIES = frozenset({Stage.SHIFTING, Stage.BAKING, Stage.ASKING})
"""Stages in which the new revision has a share of the traffic and is judged."""


HELD = frozenset({Level.WARNING, Level.CRITICAL})
"""An emergency pages in any case, an information nobody."""


class Hold(Value):
    """Nobody is paged about a group before ``until``: the rollout with the id ``by`` is judged meanwhile."""

    by: int
    until: datetime


def hold_on(group: AlertGroup, rollouts: Iterable[Rollout], rule: DeployRule, at: datetime) -> Hold | None:
    """Whether a group that begins to fire is held, and how long. ``rollouts``: those of its service.

    Never an emergency, never the failed rollout's own alert, and once only for each rollout: what fires
    again has shown that it outlives it.
    """
    if not rule.hold or group.level not in HELD or group.key == rollout_group(group.service or ""):
        return None
    for rollout in rollouts:
        if rollout.id is not None and rollout.id != group.held_by and _explains(rollout, rule.hold, at):
            return Hold(by=rollout.id, until=at + rule.hold)
    return None


def _explains(rollout: Rollout, hold: timedelta, at: datetime) -> bool:
    """True while a part of the traffic is on trial, while it goes back, and until monitoring shows that.

    Not once everything is on the new revision: then all users meet what is wrong.
    """
    if rollout.stage in CANARIES:
        return rollout.percent > 0 and not rollout.is_last_step
    if rollout.stage is Stage.ROLLING_BACK:
        return rollout.shifted_at is not None
    if rollout.stage is Stage.ROLLED_BACK:
        return rollout.ended_at is not None and at - rollout.ended_at < hold
    return False


def is_held(group: AlertGroup, at: datetime) -> bool:
    """True while nobody is paged about it: a deploy explains it, or its end is expected."""
    fires = group.status is AlertStatus.FIRING
    return fires and group.held_until is not None and at < group.held_until
