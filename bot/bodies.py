"""Reads the body of a webhook as a stream: whole, condensed where it is large, or refused."""

import asyncio
from typing import TYPE_CHECKING

from domain.policy import Policy
from handlers.webhooks import Sender
from handlers.webhooks.reading import has_too_many_parts

if TYPE_CHECKING:
    from aiohttp import web

WHOLE = 4 * 1024 * 1024
"""Bytes of a body that is kept as it came."""

PIECE = 8 * 1024
"""Bytes read at once of a large body, so that others are answered meanwhile."""


class TooLarge(Exception):
    """More bytes than may come: ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit // 1024 // 1024} MiB")


async def read(request: "web.Request", sender: Sender, policy: Policy, limit: int) -> bytes:
    """The body as it is to be kept. ``limit`` (bytes) is for senders whose bodies can be condensed.

    Raises ``TooLarge``, ``domain.errors.Unreadable`` for a large body that is none, and what aiohttp
    raises for one that is cut off.
    """
    most = limit if sender.condenser is not None else WHOLE
    if (request.content_length or 0) > most:
        raise TooLarge(most)
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > WHOLE:
            break
    else:
        if sender.condenser is None or not has_too_many_parts(body):
            return bytes(body)
    if len(body) > most or sender.condenser is None:
        raise TooLarge(most)
    condenser = sender.condenser(policy)
    for start in range(0, len(body), PIECE):
        condenser.feed(bytes(body[start : start + PIECE]))
        await asyncio.sleep(0)
    del body
    async for piece in request.content.iter_chunked(PIECE):
        if condenser.size + len(piece) > most:
            raise TooLarge(most)
        condenser.feed(piece)
        await asyncio.sleep(0)
    return condenser.end()
