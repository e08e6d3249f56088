"""Reads the body of a webhook as a stream: whole, condensed where it is large, or refused."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from domain.errors import Unreadable
from domain.policy import Policy
from handlers.webhooks import Sender
from handlers.webhooks.reading import has_too_many_parts

if TYPE_CHECKING:
    from aiohttp import web

WHOLE = 4 * 1024 * 1024
"""Bytes of a body that is kept as it came."""

PIECE = 8 * 1024
"""Bytes read at once of a large body, so that others are answered meanwhile."""


UNPACKED = 64 * 1024
"""Bytes unpacked at once, so that a small body which unpacks to gigabytes is met in its first mebibytes."""

_PACKED = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

_NOT_READ = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})


class TooLarge(Exception):
    """More bytes than may come: ``limit`` of them."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit // 1024 // 1024} MiB")


async def read(request: "web.Request", sender: Sender, policy: Policy, limit: int) -> bytes:
    """The body as it is to be kept. ``limit`` (bytes) is for senders whose bodies can be condensed.

    Raises ``TooLarge``, ``domain.errors.Unreadable`` for a large body that is none or one that cannot be
    unpacked, and what aiohttp raises for one that is cut off.
    """
    most = limit if sender.condenser is not None else WHOLE
    if (request.content_length or 0) > most:
        raise TooLarge(most)
    body = bytearray()
    pieces = _unpacked(request)
    async for piece in pieces:
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
    async for piece in pieces:
        if condenser.size + len(piece) > most:
            raise TooLarge(most)
        for start in range(0, len(piece), PIECE):
            condenser.feed(piece[start : start + PIECE])
            await asyncio.sleep(0)
    return condenser.end()


def _unpacked(request: "web.Request") -> AsyncIterator[bytes]:
    """The body in pieces, without its Content-Encoding. Raises ``Unreadable`` for one that is not read here.

    A word that names no way to pack, such as ``utf-8``, is a mistake that does no harm.
    """
    said = [word.strip() for word in request.headers.get("Content-Encoding", "").lower().split(",")]
    packed = [word for word in said if word in _PACKED or word in _NOT_READ]
    if not packed:
        return request.content.iter_any()
    if len(packed) > 1 or packed[0] in _NOT_READ:
        raise Unreadable(f"it is packed as {', '.join(packed)[:60]}; send it plain, or as gzip")
    return _inflated(request, _PACKED[packed[0]])


async def _inflated(request: "web.Request", window: int) -> AsyncIterator[bytes]:
    """What was packed as gzip or deflate. Raises ``Unreadable`` for what is not, or ends too early."""
    packed = zlib.decompressobj(window)
    is_first = True
    async for arrived in request.content.iter_any():
        rest = arrived
        if is_first and window == zlib.MAX_WBITS and rest[0] & 0x0F != zlib.DEFLATED:
            window = -window  # Some senders leave out the header.
            packed = zlib.decompressobj(window)
        is_first = False
        while rest:
            if packed.eof:  # One packed file may follow another.
                packed = zlib.decompressobj(window)
            try:
                piece = packed.decompress(rest, UNPACKED)
            except zlib.error as error:
                raise Unreadable(f"it cannot be unpacked ({error})") from None
            rest = packed.unused_data if packed.eof else packed.unconsumed_tail
            if piece:
                yield piece
                await asyncio.sleep(0)
    while not packed.eof and not is_first:
        piece = packed.decompress(b"", UNPACKED)
        if not piece:
            raise Unreadable("it cannot be unpacked (it ends too early)")
        yield piece
