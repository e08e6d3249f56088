"""Keeps copies of our own database in a bucket: made aside, sent, and read back whole to prove them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from domain.backups import Began, Broke, Finished, Going, Order
from domain.copies import Manifest
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.objects import StoredObject, bucket_of, in_bucket
from domain.ports import Objects
from storage.copies import Copies
from storage.folder_vault import MANIFEST, NAMES, FolderVault, compare_file


class ObjectVault:
    """The bot's own database, an order's ``destination`` being ``gs://bucket/prefix`` for that copy alone.

    A copy is finished when its manifest is there. It is made in a folder for temporary files first, which
    needs room for it; the bucket never holds half a one, since an object appears whole or not at all.
    """

    def __init__(self, copies: Copies, objects: Objects, now: Callable[[], datetime]) -> None:
        self._copies = copies
        self._objects = objects
        self._now = now

    async def find(self, order: Order) -> Began | None:
        """The manifest, if it is there already."""
        return None if await self._stat(order, MANIFEST) is None else Began(operation=order.key)

    async def begin(self, order: Order) -> Began | Broke:
        """Make the copy, and send it."""
        bucket, prefix = bucket_of(order.destination)
        name = NAMES[self._copies.is_sqlite]
        # A copy without a manifest is of an attempt that died in between, and holds an earlier state.
        left = await self._stat(order, name)
        if left is not None:
            await self._objects.delete(left)
        async with _folder() as folder:
            file = folder / name
            manifest = await self._copies.dump(file, self._now())
            await self._objects.upload(bucket, f"{prefix}/{name}", file)
        data = manifest.model_dump_json(indent=1).encode()
        await self._objects.write(bucket, f"{prefix}/{MANIFEST}", data)
        return Began(operation=order.key)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """It was finished when it began, or is gone."""
        return Finished() if await self.find(order) is not None else Broke(why="its manifest is gone")

    async def prove(self, order: Order, operation: str) -> Evidence:
        """Fetch every byte again, and let the copy say what it holds."""
        manifest = await self._manifest(order)
        if manifest is None:
            return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name=MANIFEST)])
        seen = {"objects": 2, "bytes": manifest.bytes, "records": manifest.rows, "at": manifest.at}
        there = await self._stat(order, manifest.file)
        if there is None:
            return Evidence.of([Finding(flaw=Flaw.MISSING, name=manifest.file)], **seen)
        async with _folder() as folder:
            file = folder / manifest.file
            try:
                await self._objects.download(there, file)
            except Outage as outage:
                if not outage.reason.startswith("checksum:"):
                    raise
                wrong = Finding(flaw=Flaw.CHECKSUM, name=manifest.file, found=outage.reason[:200])
                return Evidence.of([wrong], **seen)
            findings = await asyncio.to_thread(compare_file, manifest, file)
            if not findings:
                findings = await self._tables(manifest, file)
        return Evidence.of(findings, sampled=1, **seen)

    async def _tables(self, manifest: Manifest, file: Path) -> list[Finding]:
        try:
            held = await self._copies.tables(manifest, file)
        except Outage as broken:
            return [Finding(flaw=Flaw.UNFINISHED, name=file.name, found=broken.reason)]
        known = {name.removeprefix("public.") for name in held}
        return [Finding(flaw=Flaw.MISSING, name=one.name) for one in manifest.tables if one.name not in known]

    async def remove(self, order: Order) -> None:
        """The manifest first: half a copy is none."""
        for name in (MANIFEST, *NAMES.values()):
            found = await self._stat(order, name)
            if found is not None:
                await self._objects.delete(found)

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[tuple[Manifest, Path] | None]:
        """What a copy says of itself, and its file on this machine for as long as it is needed."""
        manifest = await self._manifest(order)
        there = None if manifest is None else await self._stat(order, manifest.file)
        if manifest is None or there is None:
            yield None
            return
        async with _folder() as folder:
            file = folder / manifest.file
            await self._objects.download(there, file)
            yield manifest, file

    async def _manifest(self, order: Order) -> Manifest | None:
        found = await self._stat(order, MANIFEST)
        if found is None:
            return None
        try:
            return Manifest.model_validate_json(await self._objects.read(found))
        except ValidationError:
            return None

    async def _stat(self, order: Order, name: str) -> StoredObject | None:
        bucket, prefix = bucket_of(order.destination)
        return await self._objects.stat(bucket, f"{prefix}/{name}")


class TobanVault:
    """Fulfils ``Vault`` for our own database wherever it is to be kept."""

    def __init__(self, folder: FolderVault, objects: ObjectVault) -> None:
        self._folder = folder
        self._objects = objects

    def _of(self, order: Order) -> FolderVault | ObjectVault:
        return self._objects if in_bucket(order.destination) else self._folder

    async def find(self, order: Order) -> Began | None:
        """As the destination's own vault does."""
        return await self._of(order).find(order)

    async def begin(self, order: Order) -> Began | Broke:
        """As the destination's own vault does."""
        return await self._of(order).begin(order)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """As the destination's own vault does."""
        return await self._of(order).look(order, operation)

    async def prove(self, order: Order, operation: str) -> Evidence:
        """As the destination's own vault does."""
        return await self._of(order).prove(order, operation)

    async def remove(self, order: Order) -> None:
        """As the destination's own vault does."""
        await self._of(order).remove(order)

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[tuple[Manifest, Path] | None]:
        """As the destination's own vault does."""
        async with self._of(order).fetched(order) as found:
            yield found


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """A folder that only we can read, for as long as it is needed."""
    try:
        made = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="toban-copy-")
    except OSError as error:
        raise Outage(f"temporary folder: {error.strerror or error}") from error
    try:
        yield Path(made.name)
    finally:
        await asyncio.to_thread(made.cleanup)
