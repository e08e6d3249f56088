"""One item that fails does not stop the others of its loop."""

from collections.abc import Awaitable

import structlog

from domain.errors import Outage
from domain.unreadable import UnreadableRow
from operations.world import World

log = structlog.get_logger(__name__)


async def alone(world: World, source: str, row_id: int, work: Awaitable[object]) -> None:
    """Do the work for one row. Where it fails the row is set aside, told, and tried again later.

    An ``Outage`` is not the row's fault and is passed on.
    """
    try:
        await work
    except Outage:
        raise
    except Exception as error:
        log.exception("row.failed", source=source, row=row_id)
        world.store.not_readable(UnreadableRow(source=source, row_id=row_id, reason=repr(error)[:300]))
