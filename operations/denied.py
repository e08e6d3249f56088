"""Remembers what Slack said against an account, so that a restart while Slack is silent lets nobody in."""

from collections.abc import Callable
from typing import Any

import structlog

from domain.errors import Outage
from domain.watches import Watch, WatchKind
from operations.world import World

log = structlog.get_logger(__name__)


async def recall(world: World) -> dict[str, dict[str, Any]]:
    """What is known against accounts, by their ids."""
    async with world.store.read() as tx:
        known = await tx.watches(WatchKind.DENIED)
    return {account: watch.state for account, watch in known.items()}


async def remember(world: World, account: str, now: Callable[[], dict[str, Any]]) -> None:
    """Keep what is known against an account ``now``, at the end of any other turn for it; nothing where it is
    empty. Where it cannot be kept, the next word of Slack about the account is.
    """
    at = world.clock.now()
    try:
        async with world.store() as tx:
            known, state = await tx.watch(WatchKind.DENIED, account), now()
            if not state:
                await tx.forget_watches(WatchKind.DENIED, [account])
            elif known is None:
                await tx.save_watches([Watch(kind=WatchKind.DENIED, key=account, state=state, changed_at=at)])
            elif known.state != state:
                await tx.save_watches([known.model_copy(update={"state": state, "changed_at": at})])
    except Outage as outage:
        log.warning("accounts.denied_not_kept", account=account, error=outage.reason)
