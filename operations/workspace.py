"""Remembers which Slack workspace is ours, for a start at which Slack does not say."""

from datetime import datetime

import structlog
from pydantic import ValidationError

from domain.levels import Value
from domain.watches import Watch, WatchKind
from operations.world import World

log = structlog.get_logger(__name__)

KEY = "slack"


class Home(Value):
    """Our workspace and, in an Enterprise Grid, its organisation."""

    team_id: str
    enterprise_id: str | None = None


async def recall(world: World) -> Home | None:
    """The workspace that Slack named last; ``None`` before it ever did."""
    async with world.store.read() as tx:
        watch = await tx.watch(WatchKind.WORKSPACE, KEY)
    try:
        return Home.model_validate(watch.state) if watch is not None else None
    except ValidationError as error:  # Slack is asked anew anyway.
        log.warning("workspace.unreadable", error=str(error)[:200])
        return None


async def remember(world: World, home: Home, at: datetime) -> None:
    """Keep what Slack says now, where it differs from what is kept."""
    state = home.model_dump(mode="json")
    async with world.store() as tx:
        known = await tx.watch(WatchKind.WORKSPACE, KEY)
        if known is None:
            await tx.save_watches([Watch(kind=WatchKind.WORKSPACE, key=KEY, state=state, changed_at=at)])
        elif known.state != state:
            await tx.save_watches([known.model_copy(update={"state": state, "changed_at": at})])
