"""A cable between the bot and a server: it can be cut without a word, slowed down, or reset."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

PIECE = 64 * 1024
"""Bytes that are carried at once."""


class Proxy:
    """Listens on a TCP port of this machine and carries bytes to a server and back: the path of its Unix
    socket, or its own TCP port on this machine.

    ``silence`` swallows every byte and lets connections stand, as dropped packets look; ``reset`` ends
    them. Both leave the server's side as it is, until ``restore`` or the end.
    """

    def __init__(self, target: Path | int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()
        self.port = 0

    @classmethod
    def of_postgres(cls, url: str) -> "Proxy":
        """A cable to the server behind this address, which names the folder of its socket."""
        folder = parse_qs(urlsplit(url).query)["host"][0]
        return cls(next(Path(folder).glob(".s.PGSQL.*[0-9]")))

    def carries(self, port: int) -> bool:
        """Whether the server sees a connection of ours as coming from this port."""
        return any(writer.get_extra_info("sockname")[1:] == (port,) for writer in self._far)

    def url(self, url: str) -> str:
        """The same database's address at this end of the cable."""
        parts = urlsplit(url)
        return f"{parts.scheme}://postgres@127.0.0.1:{self.port}{parts.path}"

    async def start(self, port: int = 0) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def silence(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._open.clear()

    def restore(self) -> None:
        """New bytes pass again; what was under way during the silence is lost with its connection."""
        self.reset()
        self._open.set()

    def resume(self) -> None:
        """What stood still goes on as if nothing had been: a pause of the network, not a cut."""
        self._open.set()

    def reset(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        """End everything."""
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            back, far = await self._reach()
            self._writers.add(far)
            self._far.add(far)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, far))
                both.create_task(self._carry(back, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # A connection that ended: the other side of it is ended below.
        finally:
            self._tasks.discard(task)
            for end in (writer, far):
                if end is not None:
                    self._writers.discard(end)
                    self._far.discard(end)
                    end.transport.abort()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self._open.wait()
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(OSError):
            await self.stop()
