"""What this installation is called: made up once, kept in its database."""

import secrets
from datetime import datetime

from domain.errors import Outage
from domain.installations import Installation
from domain.ports import Tx
from domain.watches import Watch, WatchKind
from operations.world import World

KEY = "own"

ATTEMPTS = 3
"""So often a name is given: of two replicas that start together one comes too late."""


async def known(tx: Tx) -> Installation:
    """Our own; one that owns only what bears no name where it has none yet."""
    watch = await tx.watch(WatchKind.INSTALLATION, KEY)
    return Installation(id="") if watch is None else Installation.model_validate(watch.state)


async def own(tx: Tx, at: datetime) -> Installation:
    """The same, named now where it has no name yet."""
    found = await known(tx)
    return found if found.id else await _keep(tx, Installation(id=secrets.token_hex(6)), at)


async def introduce(world: World) -> None:
    """At the start: give it a name before anything is made under it. Raises ``Outage``."""
    for left in reversed(range(ATTEMPTS)):
        try:
            async with world.store() as tx:
                await own(tx, world.clock.now())
        except Outage:  # Another replica may have named it just now.
            if not left:
                raise
        else:
            return


async def take_over(tx: Tx, name: str, at: datetime) -> Installation:
    """From now on what that installation has made is ours too."""
    found = await own(tx, at)
    if found.owns(name):
        return found
    return await _keep(tx, found.model_copy(update={"also": (*found.also, name)}), at)


async def _keep(tx: Tx, installation: Installation, at: datetime) -> Installation:
    watch = await tx.watch(WatchKind.INSTALLATION, KEY)
    state = installation.model_dump(mode="json")
    new = Watch(kind=WatchKind.INSTALLATION, key=KEY, changed_at=at)
    await tx.save_watches([(watch or new).model_copy(update={"state": state, "changed_at": at})])
    return installation
