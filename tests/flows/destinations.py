"""Where a plan keeps its copies in a test: a folder, or a bucket at the far end of a wire."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.faults import FOREVER
from sandbox.cloud.wire import Wire
from tests.sampling import ALL

BUCKET, PREFIX = "bondpoint-backups", "prod"

KINDS = [("sqlite", "folder"), ("postgresql", "folder")]

EVERYWHERE = pytest.mark.parametrize(
    ("database_url", "destination"), [*KINDS, ("sqlite", "bucket")], indirect=True
)
"""Each kind of database and each kind of destination once: their pairs would show nothing more."""

SAMPLED = pytest.mark.parametrize(
    ("database_url", "destination"), [*KINDS, *([("sqlite", "bucket")] if ALL else [])], indirect=True
)
"""The same, the bucket in `make test-all` alone: it takes many nights to show what others show in few."""

BOTH = pytest.mark.parametrize("destination", ["folder", "bucket"], indirect=True)


class Destination(ABC):
    """``to`` of a plan, ``environ`` for the settings. Names are paths below ``to``."""

    to: str
    environ: dict[str, str]

    @abstractmethod
    async def contents(self) -> dict[str, bytes]:
        """Every file or object by its name."""

    @abstractmethod
    async def write(self, name: str, data: bytes) -> None:
        """Somebody else's hand, past every check of ours: over what is there, too."""

    @abstractmethod
    async def refuse(self) -> None:
        """Nothing can be written from now on, nor read."""

    @abstractmethod
    async def allow(self) -> None:
        """All is as it was before."""

    @abstractmethod
    async def hold_files(self, *, of: str) -> None:
        """Of the copy with this in its name everything but the last step of a deletion is possible."""

    async def manifests(self) -> list[str]:
        """The finished copies."""
        return sorted(name for name in await self.contents() if name.endswith("/manifest.json"))

    async def cut(self, *, of: str) -> None:
        """The disk loses the end of a copy's file."""
        for name, data in (await self.contents()).items():
            if of in name and not name.endswith("/manifest.json"):
                await self.write(name, data[:-5000])


class Folder(Destination):
    def __init__(self, path: Path) -> None:
        self.to, self.environ = str(path), {}
        self._path, self._aside = path, path.with_name(f"{path.name}-aside")

    async def contents(self) -> dict[str, bytes]:
        found = (one for one in self._path.rglob("*") if one.is_file())
        return {str(one.relative_to(self._path)): one.read_bytes() for one in found}

    async def write(self, name: str, data: bytes) -> None:
        file = self._path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    async def refuse(self) -> None:
        if self._path.exists():
            self._path.rename(self._aside)
        self._path.write_text("a file where the folder was")

    async def allow(self) -> None:
        self._path.unlink()
        if self._aside.exists():
            self._aside.rename(self._path)

    async def hold_files(self, *, of: str) -> None:
        """The copy's folder becomes a link: its files go, and the link cannot be removed as a folder."""
        (folder,) = {one.parent for one in self._path.rglob("manifest.json") if of in str(one)}
        folder.rename(self._aside)
        folder.symlink_to(self._aside)


class Bucket(Destination):
    def __init__(self, storage: PretendStorage, wire: Wire) -> None:
        self.to, self.environ = f"gs://{BUCKET}/{PREFIX}", {"TOBAN_STORAGE_ENDPOINT": wire.url}
        self.wire, self._storage = wire, storage

    async def contents(self) -> dict[str, bytes]:
        found = {}
        for name in await self._storage.names(BUCKET, f"{PREFIX}/"):
            data = await self._storage.read(BUCKET, name)
            assert data is not None
            found[name.removeprefix(f"{PREFIX}/")] = data
        return found

    async def write(self, name: str, data: bytes) -> None:
        await self._storage.write(BUCKET, f"{PREFIX}/{name}", data)

    async def refuse(self) -> None:
        self.wire.add(count=FOREVER, status=403)

    async def allow(self) -> None:
        self.wire.clear()

    async def hold_files(self, *, of: str) -> None:
        """An object hold on the copy itself; its manifest bears none."""
        self.wire.add("DELETE", f"{of}%2Ftoban%2Ftoban-", count=FOREVER, status=403)


@asynccontextmanager
async def bucket() -> AsyncIterator[Bucket]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    wire = Wire(storage.url)
    try:
        await storage.make(BUCKET)
        await wire.start()
        yield Bucket(storage, wire)
    finally:
        await wire.stop()
        await storage.stop()
