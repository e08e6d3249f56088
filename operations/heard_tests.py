"""Remembers when a sender's test button was pressed, so that it is told once however often that is."""

from datetime import datetime

from domain.alerts import group_key
from domain.inbox import TEST_AGAIN_WITHIN
from domain.ports import Tx
from domain.watches import Watch, WatchKind


async def is_first(tx: Tx, sender: str, what: str, at: datetime) -> bool:
    """Whether this press is the first for a while. Each press begins the while anew."""
    key = f"{sender}:{group_key(what)}"
    known = await tx.watch(WatchKind.TEST, key)
    pressed = Watch(kind=WatchKind.TEST, key=key, state={"what": what}, changed_at=at)
    if known is not None:
        pressed = pressed.model_copy(update={"id": known.id, "version": known.version})
    await tx.save_watches([pressed])
    return known is None or abs(at - known.changed_at) >= TEST_AGAIN_WITHIN
