"""Keeps copies of our own database in a bucket: made aside, sent, and read back whole to prove them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from domain.backups import Began, Broke, Finished, Going, Order
from domain.copies import PLACE, Lying, Manifest, lying
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.objects import StoredObject, bucket_of, in_bucket
from domain.ports import Objects
from storage.copies import Copies
from storage.folder_vault import MANIFEST, NAMES, FolderVault, compare_file, foreign, missing_tables

TEMPORARY, HELD = "toban-copy-", "held"
"""A folder of ours among the temporary ones, and the file in it that is locked while it is used."""


class ObjectVault:
    """The bot's own database, an order's ``destination`` being ``gs://bucket/prefix`` for that copy alone.

    A copy is finished when its manifest is there. It is made in a folder for temporary files first, which
    needs room for it; the bucket never holds half a one, since an object appears whole or not at all.

    The copy is named after its contents: whoever died before the manifest leaves nothing in the way, so that
    no right to delete is needed, and one that comes late finds the manifest taken, and has touched nothing
    of the finished copy.
    """

    def __init__(self, copies: Copies, objects: Objects, now: Callable[[], datetime]) -> None:
        self._copies = copies
        self._objects = objects
        self._now = now

    async def find(self, order: Order) -> Began | None:
        """The manifest, if it is there already; nothing where it is of another installation."""
        if await self._stat(order, MANIFEST) is None:
            return None
        return None if await self._stranger(order) else Began(operation=order.key)

    async def begin(self, order: Order) -> Began | Broke:
        """Make the copy, and send it."""
        bucket, prefix = bucket_of(order.destination)
        stranger = await self._stranger(order)
        if stranger:
            return Broke(why=f"{order.destination} holds a copy of another installation ({stranger})")
        async with _folder() as folder:
            file = folder / NAMES[self._copies.is_sqlite]
            manifest = await self._copies.dump(file, self._now())
            name = f"{file.stem}-{manifest.sha256[:16]}{file.suffix}"
            await self._objects.upload(bucket, f"{prefix}/{name}", file)
        named = manifest.model_copy(update={"file": name, "installation": order.installation})
        data = named.model_dump_json(indent=1).encode()
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
        if not order.is_of(manifest.installation):
            return Evidence.of([foreign(order, manifest.installation)])
        seen: dict[str, object] = {
            "objects": 2,
            "bytes": manifest.bytes,
            "records": manifest.rows,
            "tables": manifest.counts,
            "newest": manifest.newest,
            "at": manifest.at,
        }
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
                findings = await missing_tables(self._copies, manifest, file)
        return Evidence.of(findings, sampled=1, **seen)

    async def remove(self, order: Order) -> None:
        """The manifest first: half a copy is none. Raises ``Outage`` for what another installation made."""
        bucket, prefix = bucket_of(order.destination)
        stranger = await self._stranger(order)
        if stranger:
            raise Outage(f"refused: {order.destination} holds a copy of another installation ({stranger})")
        found = await self._objects.list(bucket, f"{prefix}/")
        ours = [one for one in found if _is_ours(one.name.removeprefix(f"{prefix}/"))]
        for one in sorted(ours, key=lambda one: not one.name.endswith(f"/{MANIFEST}")):
            await self._objects.delete(one)

    async def lying(self, place: str) -> list[Lying]:
        """The finished copies below a plan's own prefix, the oldest first, whoever remembers them."""
        bucket, prefix = bucket_of(place)
        found = []
        for one in await self._objects.list(bucket, f"{prefix}/"):
            name = one.name.removeprefix(f"{prefix}/")
            if PLACE.fullmatch(name):
                found.append(lying(place, name, _manifest(await self._objects.read(one))))
        return sorted((one for one in found if one is not None), key=lambda one: one.manifest.at)

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

    async def _stranger(self, order: Order) -> str | None:
        """The other installation that has made what lies there."""
        manifest = await self._manifest(order)
        return None if manifest is None or order.is_of(manifest.installation) else manifest.installation

    async def _manifest(self, order: Order) -> Manifest | None:
        found = await self._stat(order, MANIFEST)
        return None if found is None else _manifest(await self._objects.read(found))

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

    async def lying(self, place: str) -> list[Lying]:
        """As the destination's own vault does."""
        return await (self._objects if in_bucket(place) else self._folder).lying(place)

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[tuple[Manifest, Path] | None]:
        """As the destination's own vault does."""
        async with self._of(order).fetched(order) as found:
            yield found


def _manifest(data: bytes) -> Manifest | None:
    """``None`` for one that cannot be read."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError:
        return None
    # The name becomes a file's on this machine; whoever may write into the bucket must not choose where.
    return manifest if _is_ours(manifest.file) else None


def _is_ours(name: str) -> bool:
    """A manifest, or a copy in this folder."""
    kinds = [Path(one) for one in NAMES.values()]
    named = any(name.startswith(f"{kind.stem}-") and name.endswith(kind.suffix) for kind in kinds)
    return "/" not in name and "\0" not in name and (named or name in {MANIFEST, *NAMES.values()})


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """A folder that only we can read, for as long as it is needed."""
    try:
        made, held = await asyncio.to_thread(_make)
    except OSError as error:
        raise Outage(f"temporary folder: {error.strerror or error}") from error
    try:
        yield made
    finally:
        await asyncio.to_thread(_clear, made, held)


def _make() -> tuple[Path, IO[bytes]]:
    """A folder, and its lock. Before it, what others left that were killed: whole databases, for nobody."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        _sweep(left)
    made = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    held = (made / HELD).open("wb")
    _lock(held)
    return made, held


def _sweep(left: Path) -> None:
    """Remove it, if it is our user's, and nobody alive holds it."""
    try:
        if left.is_symlink() or left.stat().st_uid != os.getuid():
            return
        with (left / HELD).open("rb+") as held:
            if _lock(held):
                shutil.rmtree(left, ignore_errors=True)
    except (OSError, AttributeError):
        return  # It went meanwhile, was just made, or users have no numbers here.


def _lock(file: IO[bytes]) -> bool:
    """False where somebody else has it, or the platform knows no locks. It goes with the process."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _clear(made: Path, held: IO[bytes]) -> None:
    held.close()
    shutil.rmtree(made, ignore_errors=True)
