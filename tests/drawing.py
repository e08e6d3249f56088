"""A painter with one brush: real PNG files of one colour, made by hand."""

import struct
import zlib
from collections.abc import Awaitable, Callable

from domain.effects import Drawn, Picture


def png(width: int = 8, height: int = 4, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A valid PNG file of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


class Square:
    """Paints every picture as the same square, after doing what it was told to do first."""

    def __init__(self, before: Callable[[], Awaitable[None]] | None = None, content: bytes = b"") -> None:
        self.content = content or png()
        self.asked: list[tuple[Picture, str]] = []
        self._before = before

    async def paint(self, picture: Picture, locale: str) -> Drawn | None:
        self.asked.append((picture, locale))
        if self._before is not None:
            await self._before()
        if picture.kind == "nothing":
            return None
        return Drawn(png=self.content, alt_text=f"A square in {locale}", filename=f"{picture.kind}.png")
