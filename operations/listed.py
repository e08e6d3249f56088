"""Follows the messages that list many pages: records what they have shown, and rings the bell again."""

from datetime import datetime
from itertools import groupby

from domain.effects import Refresh
from domain.escalation import Page
from domain.levels import Level
from domain.ports import Tx
from operations import ladders
from operations.places import page_card
from operations.world import World

SHOWN = 50
"""Listed pages that one turn records as delivered."""

FAILED = 500
"""Pages of a message that cannot be sent which are recorded with it; the others get a new message."""

STRANDED = 10
"""Lists without a message that one turn gives a new one."""


async def tick(world: World) -> int:
    """Record what lists have shown, and begin new messages for what joined a minute ago."""
    async with world.store.read() as tx:
        shown = await tx.pages_shown(SHOWN)
        due = await tx.due_pushes(world.clock.now())
        stranded = await tx.stranded_lists(STRANDED)
    if shown:
        async with world.recording, world.store() as tx:
            for at, pages in groupby(shown, key=lambda one: one[1]):
                await ladders.pages_sent(tx, [page_id for page_id, _ in pages], at)
    if due:
        async with world.recording, world.store() as tx:
            at = world.clock.now()
            for page in await tx.due_pushes(at):
                await _push(tx, page, at)
    for top_id in stranded:
        async with world.recording, world.store() as tx:
            top = await tx.page(top_id)
            if top is not None and await tx.stranded_lists(1):
                await _push(tx, top, world.clock.now())
    return len(shown) + len(due) + len(stranded)


async def _push(tx: Tx, page: Page, at: datetime) -> None:
    """A new message for what nobody has answered; nothing where everything is."""
    assert page.id is not None
    waiting, _, _ = await tx.listed(page.id, 1)
    if not waiting:
        await tx.forget_push(page.id)
        return
    top = waiting[0]
    assert top.id is not None
    ladder = await tx.escalation(top.escalation_id)
    await tx.renew_list(page.id, top.id)
    level = ladder.level if ladder is not None else Level.CRITICAL
    await tx.say([page_card(top, level), Refresh(subject=page.subject)], at)


async def failed(tx: Tx, page_id: int, error: str, at: datetime) -> None:
    """The message of a list cannot be sent: neither can any page in it."""
    listed, _, _ = await tx.listed(page_id, FAILED)
    for page in listed:
        assert page.id is not None
        await ladders.page_failed(tx, page.id, error, at)


async def refused(tx: Tx, page_id: int, error: str, at: datetime) -> None:
    """Slack refuses the message of a list for now: record that for each page in it."""
    listed, _, _ = await tx.listed(page_id, FAILED)
    for page in listed:
        assert page.id is not None
        await ladders.page_refused(tx, page.id, error, at)
