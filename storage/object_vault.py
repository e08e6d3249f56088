"""Keeps copies of our own database in a bucket: made aside, sent, and read back whole to prove them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from domain.backups import Began, Broke, Finished, Going, Order
from domain.copies import PLACE, Lying, Manifest, lying
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.objects import StoredObject, bucket_of, in_bucket
from domain.ports import Objects
from storage.copies import Copies
from storage.encryption import Keyring
from storage.folder_vault import ENCRYPTED, FILES, MANIFEST, NAMES, Copy, FolderVault, copied, foreign
from storage.private_folder import private_folder
from storage.space import NoRoom
from storage.verifying import findings_of, readable, spoilt

log = structlog.get_logger(__name__)


class ObjectVault:
    """The bot's own database, an order's ``destination`` being ``gs://bucket/prefix`` for that copy alone.

    A copy is finished when its manifest is there. It is made in a folder for temporary files first, which
    needs room for it; the bucket never holds half a one, since an object appears whole or not at all.

    The copy is named after its contents: whoever died before the manifest leaves nothing in the way, so that
    no right to delete is needed, and one that comes late finds the manifest taken, and has touched nothing
    of the finished copy.
    """

    def __init__(
        self, copies: Copies, objects: Objects, now: Callable[[], datetime], keys: Keyring | None = None
    ) -> None:
        self._copies = copies
        self._objects = objects
        self._now = now
        self._keys = keys or Keyring()

    async def find(self, order: Order) -> Began | None:
        """The manifest, if it is there already; nothing where it is of another installation."""
        if await self._stat(order, MANIFEST) is None:
            return None
        return None if await self._stranger(order) else Began(operation=order.key)

    async def begin(self, order: Order, first: Copy | None = None) -> Began | Broke:
        """Make the copy, and send it. ``first``: the same one at another destination, sent as it is."""
        stranger = await self._stranger(order)
        if stranger:
            return Broke(why=f"{order.destination} holds a copy of another installation ({stranger})")
        if first is not None:
            return await self._send(order, *first)
        needed = await self._copies.expected(order.expects) * (2 if order.part.encrypt else 1)
        try:
            return await self._begin(order, needed)
        except NoRoom as short:
            return Broke(why=short.reason)

    async def _begin(self, order: Order, needed: int) -> Began | Broke:
        async with private_folder(needed) as folder:
            file = folder / f"{NAMES[self._copies.is_sqlite]}{ENCRYPTED if order.part.encrypt else ''}"
            manifest = await copied(self._copies, self._keys, order, folder, file, self._now())
            if isinstance(manifest, Broke):
                return manifest
            return await self._send(order, manifest, file)

    async def _send(self, order: Order, manifest: Manifest, file: Path) -> Began:
        """The file under a name of its contents, then the manifest."""
        bucket, prefix = bucket_of(order.destination)
        kind = Path(NAMES[manifest.kind == "sqlite"])
        cipher = ENCRYPTED if manifest.is_encrypted else ""
        name = f"{kind.stem}-{manifest.sha256[:16]}{kind.suffix}{cipher}"
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
        async with private_folder(manifest.bytes) as folder:
            file = folder / manifest.file
            try:
                await self._objects.download(there, file)
            except Outage as outage:
                if not outage.reason.startswith("checksum:"):
                    raise
                wrong = Finding(flaw=Flaw.CHECKSUM, name=manifest.file, found=outage.reason[:200])
                return Evidence.of([wrong], **seen)
            findings, doubts = await findings_of(self._copies, self._keys, manifest, file)
        return Evidence.of(findings, doubts=doubts, sampled=1, **seen)

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
    async def lent(self, order: Order) -> AsyncIterator[Copy | None]:
        """What a copy says of itself, and its file on this machine, while it is needed."""
        manifest = await self._manifest(order)
        there = None if manifest is None else await self._stat(order, manifest.file)
        if manifest is None or there is None:
            yield None
            return
        async with private_folder(manifest.bytes) as folder:
            file = folder / manifest.file
            await self._objects.download(there, file)
            yield manifest, file

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[Copy | None]:
        """The same, decrypted."""
        async with self.lent(order) as found:
            if found is None:
                yield None
                return
            async with readable(self._keys, *found) as opened:
                yield opened

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
        """As the destination's own vault does: from the first destination's copy, where it can be had."""
        async with AsyncExitStack() as stack:
            return await self._of(order).begin(order, await self._first(order, stack))

    async def _first(self, order: Order, stack: AsyncExitStack) -> Copy | None:
        """The copy that is to be taken, whole and as this one has to be; ``None``: one is made anew."""
        if order.first is None:
            return None
        try:
            found = await stack.enter_async_context(self.lent(order.first))
            why = await _why_not(order, found)
        except Outage as outage:
            why = outage.reason
        if not why:
            log.info("backups.taken", key=order.key, first=order.first.key)
            return found
        log.warning("backups.not_taken", key=order.key, first=order.first.key, reason=why)
        await stack.aclose()  # Its file needs room on this machine.
        return None

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
    async def lent(self, order: Order) -> AsyncIterator[Copy | None]:
        """As the destination's own vault does."""
        async with self._of(order).lent(order) as found:
            yield found

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[Copy | None]:
        """As the destination's own vault does."""
        async with self._of(order).fetched(order) as found:
            yield found


async def _why_not(order: Order, found: Copy | None) -> str:
    """Why a copy is not taken for an order; empty where it is. Raises ``Outage``."""
    if found is None:
        return "it is not whole"
    if not order.is_of(found[0].installation):
        return f"it is of another installation ({found[0].installation})"
    if found[0].is_encrypted is not order.part.encrypt:
        return "one of the two is to be encrypted, and the other one is not"
    wrong = await spoilt(*found)
    return f"it is spoilt ({wrong[0].flaw.value})" if wrong else ""


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
    plain = name.removesuffix(ENCRYPTED)
    named = any(plain.startswith(f"{kind.stem}-") and plain.endswith(kind.suffix) for kind in kinds)
    return "/" not in name and "\0" not in name and (named or name in {MANIFEST, *FILES})
