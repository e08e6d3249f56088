"""Keeps copies of our own database in a folder: written aside, forced to the disk, named when whole."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from domain.backups import Began, Broke, Finished, Going, Order
from domain.copies import Lying, Manifest, lying
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from storage.copies import CHUNK, Copies, keep_names
from storage.encryption import NO_RECIPIENT, Keyring
from storage.private_folder import private_folder
from storage.space import NoRoom, demand_room, free_at
from storage.threads import in_own_thread
from storage.verifying import encrypted, findings_of, missing_tables, readable

R = TypeVar("R")

Copy = tuple[Manifest, Path]
"""What a copy says of itself, and its file on this machine."""

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

MANIFEST = "manifest.json"

NAMES = {True: "toban.sqlite3", False: "toban.pgdump"}
"""The copy's file by whether the database is SQLite."""

ENCRYPTED = ".age"
"""What an encrypted copy is called beside that."""

FILES = (*NAMES.values(), *(f"{name}{ENCRYPTED}" for name in NAMES.values()))

LEFTOVERS = (
    *(f"{name}.part" for name in FILES),
    *(f"{name}.part-journal" for name in NAMES.values()),
    f"{MANIFEST}.part",
)
"""What an attempt may leave that died halfway."""

ASIDE = f"{MANIFEST}.gone"
"""The manifest of a copy that is being deleted."""


class FolderVault:
    """The bot's own database. An order's ``destination`` is a folder for that copy alone.

    A copy is finished when its manifest has its name; whatever lies there without one is of an attempt that
    ended halfway, and is written anew.
    """

    def __init__(self, copies: Copies, now: Callable[[], datetime], keys: Keyring | None = None) -> None:
        self._copies = copies
        self._now = now
        self._keys = keys or Keyring()

    async def find(self, order: Order) -> Began | None:
        """The manifest, if it has its name already; nothing where it is of another installation."""
        if not await _in_thread(Path(order.destination, MANIFEST).exists):
            return None
        return None if await self._stranger(order) else Began(operation=order.key)

    async def begin(self, order: Order, first: Copy | None = None) -> Began | Broke:
        """Make the copy. It is not waited for anywhere else: a second process would find its manifest.

        ``first``: the same copy as it lies at another destination, whose file is taken as it is.
        """
        folder = Path(order.destination)
        if not folder.is_absolute():
            return Broke(why=f"{folder} is not an absolute path")
        stranger = await self._stranger(order)
        if stranger:
            return Broke(why=f"{folder} holds a copy of another installation ({stranger})")
        needed = await self._copies.expected(order.expects) if first is None else first[0].bytes
        is_made_aside = order.part.encrypt and first is None
        aside_too = [(Path(tempfile.gettempdir()), needed)] if is_made_aside else []
        try:
            await _in_thread(demand_room, [(folder, needed), *aside_too])
        except NoRoom as short:
            return Broke(why=short.reason)
        await _in_thread(_prepare, folder)
        is_sqlite = self._copies.is_sqlite if first is None else first[0].kind == "sqlite"
        file = folder / f"{NAMES[is_sqlite]}{ENCRYPTED if order.part.encrypt else ''}"
        part = folder / f"{file.name}.part"
        if first is not None:
            manifest: Manifest | Broke = await _in_thread(_take, first, part)
        else:
            async with private_folder() if is_made_aside else nullcontext(folder) as aside:
                manifest = await copied(self._copies, self._keys, order, aside, part, self._now())
        if isinstance(manifest, Broke):
            return manifest
        named = manifest.model_copy(update={"file": file.name, "installation": order.installation})
        await _in_thread(_name, part, file)
        await _in_thread(_write, folder, named)
        return Began(operation=order.key)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """It was finished when it began, or is gone."""
        return Finished() if await self.find(order) is not None else Broke(why="its manifest is gone")

    async def prove(self, order: Order, operation: str) -> Evidence:
        """Read every byte again, and let the copy say what it holds."""
        folder = Path(order.destination)
        manifest = await _in_thread(_read, folder)
        if manifest is None:
            return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name=MANIFEST)])
        if not order.is_of(manifest.installation):
            return Evidence.of([foreign(order, manifest.installation)])
        file = folder / manifest.file
        findings, doubts = await findings_of(self._copies, self._keys, manifest, file)
        return Evidence.of(
            findings,
            doubts=doubts,
            objects=2,
            bytes=manifest.bytes,
            records=manifest.rows,
            tables=manifest.counts,
            newest=manifest.newest,
            sampled=1,
            at=manifest.at,
            free=await _in_thread(free_at, folder),
        )

    async def remove(self, order: Order) -> None:
        """The manifest first: half a copy is none. Raises ``Outage`` for what another installation made."""
        stranger = await self._stranger(order)
        if stranger:
            raise Outage(f"refused: {order.destination} holds a copy of another installation ({stranger})")
        await _in_thread(_remove, Path(order.destination))

    async def _stranger(self, order: Order) -> str | None:
        """The other installation that has made what lies there."""
        manifest = await _in_thread(_read, Path(order.destination))
        return None if manifest is None or order.is_of(manifest.installation) else manifest.installation

    async def lying(self, place: str) -> list[Lying]:
        """The finished copies below a plan's own folder, the oldest first, whoever remembers them."""
        return await _in_thread(_lying, Path(place))

    @asynccontextmanager
    async def lent(self, order: Order) -> AsyncIterator[Copy | None]:
        """What a copy says of itself, and its file as it lies; ``None`` where it is not whole."""
        folder = Path(order.destination)
        found = await _in_thread(_read, folder)
        yield None if found is None else (found, folder / found.file)

    @asynccontextmanager
    async def fetched(self, order: Order) -> AsyncIterator[Copy | None]:
        """The same, decrypted."""
        async with self.lent(order) as found:
            if found is None:
                yield None
                return
            async with readable(self._keys, *found) as opened:
                yield opened


async def copied(
    copies: Copies, keys: Keyring, order: Order, aside: Path, file: Path, at: datetime
) -> Manifest | Broke:
    """Make the copy in ``file``.

    An encrypted one is made in the folder ``aside`` first, checked there while it can be read, encrypted
    into ``file``, and removed from ``aside``. Raises ``Outage``.
    """
    if not order.part.encrypt:
        return await copies.dump(file, at)
    if not keys.recipients:
        return Broke(why=NO_RECIPIENT)
    plain = aside / NAMES[copies.is_sqlite]
    manifest = (await copies.dump(plain, at)).model_copy(update={"installation": order.installation})
    wrong = [] if copies.is_sqlite else await missing_tables(copies, manifest, plain)  # SQLite's was read.
    if wrong:
        return Broke(why=f"the copy does not hold {wrong[0].name}: {wrong[0].found or 'it is missing'}")
    made = await encrypted(keys, manifest, plain, file)
    plain.unlink()
    return made


async def _in_thread(work: Callable[..., R], *arguments: object) -> R:
    try:
        return await in_own_thread(work, *arguments)
    except OSError as error:
        raise Outage(f"backup folder: {error.strerror or error}: {error.filename}") from error


def _prepare(folder: Path) -> None:
    """A folder for this copy alone, without what an attempt left that died halfway."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in [*FILES, *LEFTOVERS]:
        (folder / name).unlink(missing_ok=True)


def _take(first: Copy, part: Path) -> Manifest:
    """The file of another destination, byte for byte. Raises ``Outage`` where it changes meanwhile."""
    manifest, source = first
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, os.fdopen(os.open(part, NEW, 0o600), "wb") as written:
            while chunk := read.read(CHUNK):
                digest.update(chunk)
                written.write(chunk)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if digest.hexdigest() != manifest.sha256:
        part.unlink()
        raise Outage(f"the copy {source} has changed while it was taken")
    return manifest


def _name(part: Path, file: Path) -> None:
    """On the disk first, then visible under its name."""
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    part.replace(file)
    keep_names(file.parent)


def _write(folder: Path, manifest: Manifest) -> None:
    part = folder / f"{MANIFEST}.part"
    part.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    part.chmod(0o600)
    _name(part, folder / MANIFEST)


def _read(folder: Path) -> Manifest | None:
    """``None`` where there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _lying(place: Path) -> list[Lying]:
    names = sorted(one.relative_to(place).as_posix() for one in place.rglob(MANIFEST))
    found = (lying(str(place), name, _read((place / name).parent)) for name in names)
    return sorted((one for one in found if one is not None), key=lambda one: one.manifest.at)


def foreign(order: Order, found: str) -> Finding:
    """A manifest that another installation has written."""
    return Finding(flaw=Flaw.ELSEWHERE, name=MANIFEST, wanted=order.installation or None, found=found)


def _remove(folder: Path) -> None:
    """The manifest is set aside and comes back where the copy cannot be deleted: that copy is whole still."""
    manifest, aside = folder / MANIFEST, folder / ASIDE
    if manifest.is_file():
        manifest.replace(aside)
    else:
        manifest.unlink(missing_ok=True)
    try:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    except OSError:
        if aside.exists():
            aside.replace(manifest)
        raise
    for name in [ASIDE, *LEFTOVERS]:
        (folder / name).unlink(missing_ok=True)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
