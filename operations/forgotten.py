"""Asks again about incidents that somebody took, or that recovered, and that nobody has resolved."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.alerts import AlertGroup
from domain.effects import Note, Text
from domain.incidents import Incident
from domain.policy import Severity
from domain.ports import Tx
from operations import quiet
from operations.places import INCIDENTS, thread_note
from operations.world import World

LOOKS = timedelta(minutes=15)
"""Between two looks: nothing is told more exactly than that."""

FIRST = {
    Severity.P0: timedelta(minutes=30),
    Severity.P1: timedelta(hours=1),
    Severity.P2: timedelta(hours=4),
    Severity.P3: timedelta(hours=24),
}
"""Until it is asked for the first time; after that each time when it has waited twice as long."""

IDLE = min(FIRST.values())
"""Between two looks while no incident is open. Nobody is asked sooner about one that opens meanwhile."""


class Forgotten:
    """Remembers when it looked last. What was said is known by the key of its note, to every replica."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._looked_at: datetime | None = None
        self._rests = LOOKS

    def next_due(self, at: datetime) -> datetime:
        """When to look again."""
        return self._looked_at + self._rests if self._looked_at is not None else at

    async def turn(self) -> int:
        """Ask about what has waited long enough. Returns how many lines were said."""
        at = self._world.clock.now()
        # A clock that was set back is no reason to wait until it has caught up.
        if self._looked_at is not None and timedelta() <= at - self._looked_at < self._rests:
            return 0
        async with self._world.store.read() as tx:
            incidents = await tx.open_incidents()
            notes = await _notes(tx, incidents, at)
        if notes:
            async with self._world.store() as tx:
                await tx.say(notes, at)
        self._looked_at, self._rests = at, LOOKS if incidents else IDLE
        return len(notes)


async def _notes(tx: Tx, incidents: Sequence[Incident], at: datetime) -> list[Note]:
    """The lines for what has waited long enough."""
    due = [one for one in incidents if at - one.opened_at >= FIRST[one.severity]]
    if not due:
        return []
    restored = await quiet.now(tx)
    if restored is not None and restored.holds(at):
        return []  # What a restored database believes asks nobody before somebody has looked.
    return [note for one in due if (note := await _note(tx, one, at)) is not None]


async def _note(tx: Tx, incident: Incident, at: datetime) -> Note | None:
    """The line for the incident's thread; ``None`` where it is not its turn, or a ladder still asks."""
    groups = await tx.groups_of_incident(incident.subject.id)
    since = _waits_since(incident, groups)
    if since is None:
        return None
    if not groups and incident.acknowledged_by is None and await _is_paging(tx, incident):
        return None
    first = FIRST[incident.severity]
    age = at - since
    times = (age // first).bit_length()  # 1 after the first span, 2 after twice as long, 3 after four times.
    if times < 1:
        return None
    params = {"number": incident.number, "age": int(age.total_seconds()), "service": incident.service or "—"}
    firing = sum(one.firing + one.omitted for one in groups if one.is_open)
    if groups and not any(one.is_open for one in groups):
        key = "note.recovered_but_open"
    else:
        key = "note.still_on_it" if groups else "note.still_on_it_bare"
        params |= {"firing": firing, "total": sum(one.total + one.omitted for one in groups)}
    if incident.acknowledged_by is not None:
        params["who"] = [incident.acknowledged_by.id]
    else:
        key = "note.recovered_nobody" if groups else "note.nobody_has_it"
    name = f"forgotten:{incident.subject.key}:{int(since.timestamp())}:{times}"
    note = thread_note(name, incident.subject, INCIDENTS, Text(key=key, params=params))
    # Nobody is mentioned in it, so that it has to be seen in the channel.
    return note if incident.acknowledged_by is not None else note.model_copy(update={"broadcast": True})


def _waits_since(incident: Incident, groups: Sequence[AlertGroup]) -> datetime | None:
    """Since when only a person can go on: it was taken, its last alert has ended, or there never was one."""
    if incident.acknowledged_at is not None:
        return incident.acknowledged_at
    if not groups:
        return incident.opened_at
    if any(one.is_open for one in groups):
        return None
    return max(one.resolved_at or one.changed_at for one in groups)


async def _is_paging(tx: Tx, incident: Incident) -> bool:
    """Whether a ladder still asks for somebody."""
    return incident.subject.key in await tx.running_escalations([incident.subject.key])
