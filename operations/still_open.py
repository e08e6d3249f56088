"""Says every day what stays open, for a sender may never speak of it again, and reminds who has it.

Cloud Monitoring sends nothing more for an incident that is open, however long, and opens no second one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.alerts import AlertGroup, AlertStatus
from domain.effects import Note, Text
from domain.errors import Outage, Undeliverable
from domain.policy import Policy
from domain.views import Posted
from operations.accounts import account_of
from operations.places import home, linked
from operations.world import World

AFTER = timedelta(hours=1)
"""What opened later is the newest in its channel anyway."""

LIMIT = 30
"""Alerts that are named in one channel; the others are counted."""

LINE = "30 9 * * *"
"""When it is said, on the team's clocks."""


async def tell(world: World, due: datetime) -> int:
    """One message for each channel that has such alerts. Returns how many alerts there are."""
    async with world.store.read() as tx:
        found = [group for group in await tx.open_groups() if due - group.opened_at >= AFTER]
        posted = await tx.posted([group.subject.key for group in found])
    notes = []
    for place in sorted({home(group) for group in found}):
        here = [group for group in found if home(group) == place]
        here.sort(key=lambda group: (-group.level.rank, group.opened_at))
        lines = [
            _line(group, posted.get(group.subject.key), await _owners(world, group), due)
            for group in here[:LIMIT]
        ]
        if len(here) > LIMIT:
            lines.append(Text(key="alert.and_more", params={"count": len(here) - LIMIT}))
        text = Text(key="still_open.title", params={"count": len(here)}, lines=tuple(lines))
        notes.append(Note(key=f"still-open:{place}:{due:%Y-%m-%d}", place=place, text=text))
    async with world.store() as tx:
        await tx.say(notes, world.clock.now())
    return len(found)


async def _owners(world: World, group: AlertGroup) -> list[str]:
    """Accounts of whoever has it, else of the service's owners, else of those whom its level pages first."""
    if group.status is AlertStatus.ACKNOWLEDGED and group.acknowledged_by is not None:
        return [group.acknowledged_by.id]
    accounts = []
    for name in owner_names(world.policy, group):
        try:
            accounts.append(await account_of(world, name))
        except (Outage, Undeliverable):  # Their name will do.
            accounts.append(name)
    return accounts


def owner_names(policy: Policy, group: AlertGroup) -> Sequence[str]:
    """Who answers for an alert that nobody has taken, by their names in the policy."""
    owners = next((one.owners for one in policy.services if one.name == group.service), ())
    steps = policy.ladder(group.level).steps
    return owners or (steps[0].tell if steps else ())


def _line(group: AlertGroup, posted: Posted | None, owners: Sequence[str], due: datetime) -> Text:
    taken = group.status is AlertStatus.ACKNOWLEDGED
    key = "still_open.nobody" if not owners else "still_open.mine" if taken else "still_open.owned"
    params = {
        "card": linked(group, posted),
        "level": group.level.value,
        "age": int((due - group.since).total_seconds()),
        "who": list(owners),
    }
    return Text(key=key, params=params)
