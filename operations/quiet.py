"""The first start on a restored database: the past is shown before anybody is paged for it."""

from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError

from domain import approvals
from domain.alerts import AlertGroup
from domain.approvals import Account
from domain.effects import TOBAN, By, Note, Text, titled
from domain.errors import Refused
from domain.outbox import OPS
from domain.ports import Tx
from domain.quiet import Quiet
from domain.series import epoch
from domain.views import Posted
from domain.watches import Watch, WatchKind
from operations.installation import KEY
from operations.places import linked
from operations.world import World

log = structlog.get_logger(__name__)

LINES = 20
"""Open alerts and incidents that are named; the rest is counted."""

LOOK_AGAIN = timedelta(minutes=1)
"""Another replica, or another process, may have begun or ended one."""


async def begin(world: World) -> None:
    """At the start, before any loop turns: hold back what waits, and show it. Raises ``Outage``."""
    async with world.store() as tx:
        watch = await tx.watch(WatchKind.QUIET, KEY)
        quiet = _read(watch)
        if watch is None or quiet is None or quiet.began_at is not None:
            return
        at = world.clock.now()
        begun = quiet.begun(at)
        held = await tx.hold_back(begun.end, at, f"held back after a restore until {begun.end:%H:%M} UTC")
        log.warning("quiet.began", copy=quiet.copy_id, until=begun.end, **held.model_dump())
        params = {"copy": quiet.copy_id, "copy_at": quiet.copy_at, "until": begun.until, **held.model_dump()}
        text = Text(key="ops.quiet_began", params=params, lines=await _beliefs(tx))
        await tx.say([Note(key=f"quiet:{quiet.restored_at}", place=OPS, text=text)], at)
        await _save(tx, watch, begun, at)


class Ending:
    """Says when a quiet start is over by itself; what it held back is due by then anyway."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._looked_at: datetime | None = None
        self._end: datetime | None = None

    def next_due(self, at: datetime) -> datetime:
        """When one is over, as far as that is known here."""
        return at + timedelta(days=1) if self._end is None else self._end

    async def turn(self) -> int:
        """End it where its time is over. Returns how many were ended."""
        at = self._world.clock.now()
        if self._looked_at is not None and not self._is_due(at):
            return 0
        self._looked_at, self._end = at, None
        async with self._world.store.read() as tx:
            quiet = await now(tx)
        if quiet is None or quiet.until is None:
            return 0
        if quiet.holds(at):
            self._end = quiet.end
            return 0
        async with self._world.store() as tx:
            if await now(tx) != quiet:
                return 0
            await _over(tx, quiet, TOBAN, at)
        return 1

    def _is_due(self, at: datetime) -> bool:
        assert self._looked_at is not None
        return abs(at - self._looked_at) >= LOOK_AGAIN or (self._end is not None and at >= self._end)


async def now(tx: Tx) -> Quiet | None:
    """That the past is kept still; ``None`` on a database that was not restored lately."""
    return _read(await tx.watch(WatchKind.QUIET, KEY))


async def end(tx: Tx, world: World, account: Account, by: By, at: datetime) -> Text:
    """A person has looked: what is still open pages from now on."""
    approvals.person_behind(world.policy.people, account)
    quiet = await now(tx)
    if quiet is None or not quiet.holds(at):
        raise Refused("refused.not_quiet")
    await tx.let_go(quiet.end, at)
    await _over(tx, quiet, by, at)
    return Text(key="answer.quiet_ended")


async def _over(tx: Tx, quiet: Quiet, by: By, at: datetime) -> None:
    await tx.forget_watches(WatchKind.QUIET, [KEY])
    key, params = "ops.quiet_over", {"copy": quiet.copy_id, "who": by.name}
    text = Text(key=key if by.is_toban else "ops.quiet_ended", params=params)
    await tx.say([Note(key=f"quiet-over:{quiet.restored_at}", place=OPS, text=text)], at)


async def _beliefs(tx: Tx) -> tuple[Text, ...]:
    """What the restored state takes for open, the worst first."""
    groups = sorted(await tx.open_groups(), key=lambda one: (-one.level.rank, one.opened_at))
    posted = await tx.posted([one.subject.key for one in groups[:LINES]])
    lines = [_alert(one, posted.get(one.subject.key)) for one in groups]
    lines += [
        Text(
            key="ops.quiet_incident", params={"number": one.number, "title": titled(one.title, one.own_title)}
        )
        for one in await tx.open_incidents()
    ]
    lines += [
        Text(key="ops.quiet_rollout", params={"number": one.number, "service": one.service})
        for one in await tx.open_rollouts()
    ]
    if len(lines) > LINES:
        lines[LINES:] = [Text(key="ops.quiet_more", params={"count": len(lines) - LINES})]
    return tuple(lines)


def _alert(group: AlertGroup, posted: Posted | None) -> Text:
    params = {
        "level": group.level.value,
        "card": linked(group, posted),
        "at": epoch(group.since),
        "status": group.status.value,
    }
    return Text(key="ops.quiet_alert", params=params)


async def _save(tx: Tx, watch: Watch, quiet: Quiet, at: datetime) -> None:
    state = quiet.model_dump(mode="json")
    await tx.save_watches([watch.model_copy(update={"state": state, "changed_at": at})])


def _read(watch: Watch | None) -> Quiet | None:
    try:
        return None if watch is None else Quiet.model_validate(watch.state)
    except ValidationError as error:  # Of another version: nobody is kept from being paged by it.
        log.warning("quiet.unreadable", error=str(error)[:200])
        return None
