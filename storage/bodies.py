"""Bodies of deliveries as they are kept: compressed, each saying so itself."""

import zlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect

from storage.types import Guarded

MAGIC = b"\x00toban\x00z"
"""Begins a compressed body. What an older version kept as it came begins otherwise."""

SMALL = 200
"""Bytes below which compressing gains nothing."""

FAST = 1
"""zlib's level: twice as fast as the default, for a tenth more bytes."""

LARGE = 128 * 1024
"""Bytes from which compressing is worth a thread of its own."""


def pack(body: bytes) -> bytes:
    """A body as it is kept. A body that looks compressed already is compressed in any case."""
    if len(body) < SMALL and not body.startswith(MAGIC):
        return body
    packed = MAGIC + zlib.compress(body, FAST)
    return packed if len(packed) < len(body) or body.startswith(MAGIC) else body


def unpack(kept: bytes) -> bytes:
    """The body as it came. Never raises: what cannot be unpacked came like that."""
    if not kept.startswith(MAGIC):
        return kept
    try:
        return zlib.decompress(kept[len(MAGIC) :])
    except zlib.error:
        return kept


class Body(Guarded):
    """A body in a column: reading it through the table returns it as it arrived."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Compress it."""
        return None if value is None else pack(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        """As it came."""
        return None if value is None else unpack(bytes(value))
