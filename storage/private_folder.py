"""A folder for temporary files that only we can read, and that is removed also after a kill."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from domain.errors import Outage
from storage.space import demand_room

TEMPORARY, HELD = "toban-copy-", "held"
"""A folder of ours among the temporary ones, and the file in it that is locked while it is used."""


@asynccontextmanager
async def private_folder(needed: int = 0) -> AsyncIterator[Path]:
    """A folder that only we can read, for as long as it is needed, with room for ``needed`` bytes.

    Raises ``Outage``, ``NoRoom`` among them.
    """
    try:
        made, held = await asyncio.to_thread(_make, needed)
    except OSError as error:
        raise Outage(f"temporary folder: {error.strerror or error}") from error
    try:
        yield made
    finally:
        await asyncio.to_thread(_clear, made, held)


def _make(needed: int) -> tuple[Path, IO[bytes]]:
    """A folder, and its lock."""
    sweep()
    if needed:
        demand_room([(Path(tempfile.gettempdir()), needed)])
    made = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    held = (made / HELD).open("wb")
    _lock(held)
    return made, held


def sweep() -> None:
    """Remove the folders of processes that were killed: they hold whole databases."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        _sweep(left)


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
