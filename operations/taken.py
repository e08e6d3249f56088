"""Takes the alerts of an incident along with it, a few in each transaction, however many there are.

One click may take an incident with thousands of alerts. The incident and the first few are taken with the
click; of the others a row remembers by whom, when and up to where, so that a kill in between loses nothing
and nobody waits for them at the database.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog
from pydantic import ValidationError

from domain import alerts as rules
from domain.alerts import AlertGroup, AlertStatus
from domain.effects import By, Effect, Event, Refresh
from domain.escalation import StopReason
from domain.levels import Value
from domain.ports import Tx
from domain.watches import Watch, WatchKind
from operations.ladders import stop_ladder
from operations.world import World

log = structlog.get_logger(__name__)

BATCH = 25
"""Alert groups in one transaction: some 15 ms."""

LADDER = 8
"""As much time as so many groups costs one whose own ladder has to be stopped."""


class Taking(Value):
    """What is left to do for one incident: ``after`` is the last group that was taken, ``until`` the last one
    that belonged to it at the click. What joins later is news.
    """

    incident_id: int
    by: By
    at: datetime
    after: int = 0
    until: int


async def begin(tx: Tx, incident_id: int, by: By, at: datetime) -> None:
    """With the click: take the first few, and remember the others."""
    taking = Taking(incident_id=incident_id, by=by, at=at, until=await tx.last_group_of(incident_id))
    taking = await _some(tx, taking)
    if taking.after < taking.until:
        known = await tx.watch(WatchKind.TAKEN, str(incident_id))
        await _keep(tx, known or Watch(kind=WatchKind.TAKEN, key=str(incident_id), changed_at=at), taking)


async def tick(world: World) -> int:
    """The next few of each incident. Returns of how many incidents there were some."""
    async with world.store.read() as tx:
        waiting = list(await tx.watches(WatchKind.TAKEN))
    for key in waiting:
        async with world.store() as tx:
            await _go_on(tx, key)
    return len(waiting)


async def _go_on(tx: Tx, key: str) -> None:
    watch = await tx.watch(WatchKind.TAKEN, key)
    if watch is None:  # Another replica has done it.
        return
    try:
        before = Taking.model_validate(watch.state)
    except ValidationError as error:  # Each alert can still be taken by itself.
        log.warning("incident.taking_unreadable", incident=key, error=str(error)[:200])
        await tx.forget_watches(WatchKind.TAKEN, [key])
        return
    taking = await _some(tx, before)
    if taking.after >= taking.until:
        await tx.forget_watches(WatchKind.TAKEN, [key])
    else:
        await _keep(tx, watch, taking)


async def _keep(tx: Tx, watch: Watch, taking: Taking) -> None:
    state = taking.model_dump(mode="json")
    await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": taking.at})])


async def _some(tx: Tx, taking: Taking) -> Taking:
    """Take as many as one transaction should."""
    found = await tx.some_groups_of(taking.incident_id, taking.after, BATCH)
    found = [group for group in found if group.subject.id <= taking.until]
    running = await tx.running_escalations([group.subject.key for group in found])
    groups = _portion(found, running)
    by, at = taking.by, taking.at
    firing = [group for group in groups if group.status is AlertStatus.FIRING]
    await tx.save_groups([rules.acknowledge(group, by, at) for group in firing])
    for group in firing:
        if group.subject.key in running:
            await stop_ladder(tx, running[group.subject.key], StopReason.ACKNOWLEDGED, by, at)
    await tx.tell([taken(group, by, at) for group in firing])
    effects: list[Effect] = [Refresh(subject=group.subject) for group in groups]
    await tx.say(effects, at)
    done = groups[-1].subject.id if groups else taking.until
    return taking.model_copy(update={"after": done})


def _portion(groups: Sequence[AlertGroup], running: Collection[str]) -> list[AlertGroup]:
    """The first of them, one at least, that take as long as a full batch without ladders."""
    cost = 0
    found: list[AlertGroup] = []
    for group in groups:
        cost += LADDER if group.subject.key in running else 1
        if found and cost > BATCH:
            break
        found.append(group)
    return found


def taken(group: AlertGroup, by: By, at: datetime) -> Event:
    """What the timeline of a group says."""
    data = {"unverified": True} if by.unverified else {}
    return Event(subject=group.subject, what="alert.acknowledged", at=at, by=by, data=data)
