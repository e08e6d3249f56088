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


SHOWN_AFTER = timedelta(minutes=5)
"""So long after the way back alerts may still speak of the time before it: Cloud Run's figures are sampled
every minute and seen up to three minutes later (facts/cloud-run-and-rollouts.md, 1), then a rule is judged.
"""


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
        if rollout.id is None or rollout.id == group.held_by:
            continue
        until = _explains_until(rollout, at + rule.hold)
        if until is not None and until > at:
            return Hold(by=rollout.id, until=until)
    return None


def _explains_until(rollout: Rollout, most: datetime) -> datetime | None:
    """How long it explains what fires: ``most`` while a part of the traffic is on trial or goes back.

    Once all is back, only until monitoring has shown that: what still fires then is something else. Not once
    everything is on the new revision: then all users meet what is wrong.
    """
    if rollout.stage in CANARIES and rollout.percent > 0 and not rollout.is_last_step:
        return most
    if rollout.stage is Stage.ROLLING_BACK and rollout.shifted_at is not None:
        return most
    if rollout.stage is Stage.ROLLED_BACK and rollout.ended_at is not None:
        return min(most, rollout.ended_at + SHOWN_AFTER)
    return None


def is_held(group: AlertGroup, at: datetime) -> bool:
    """True while nobody is paged about it: a deploy explains it, or its end is expected."""
    fires = group.status is AlertStatus.FIRING
    return fires and group.held_until is not None and at < group.held_until
