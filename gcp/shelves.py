"""Small files of a copy, kept in a folder or in a bucket, as its destination says."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from domain.errors import Outage
from domain.objects import bucket_of, in_bucket
from domain.ports import Objects

R = TypeVar("R")


class Shelf:
    """Files by name below a destination. Nothing is overwritten with other bytes. Raises ``Outage``."""

    def __init__(self, objects: Objects | None) -> None:
        self._objects = objects

    async def write(self, destination: str, name: str, data: bytes) -> None:
        """Keep it, readable by its owner only; with the same bytes there already nothing happens."""
        if in_bucket(destination):
            bucket, prefix = bucket_of(destination)
            await self._bucket().write(bucket, f"{prefix}/{name}", data)
            return
        await _in_thread(_write, Path(destination), name, data)

    async def read(self, destination: str, name: str) -> bytes | None:
        """Its bytes; ``None`` where there is none."""
        if in_bucket(destination):
            bucket, prefix = bucket_of(destination)
            found = await self._bucket().stat(bucket, f"{prefix}/{name}")
            return None if found is None else await self._bucket().read(found)
        return await _in_thread(_read, Path(destination, name))

    async def names(self, destination: str) -> list[str]:
        """What lies there, sorted."""
        if in_bucket(destination):
            bucket, prefix = bucket_of(destination)
            found = await self._bucket().list(bucket, f"{prefix}/")
            return [one.name.removeprefix(f"{prefix}/") for one in found]
        return await _in_thread(_names, Path(destination))

    async def below(self, destination: str) -> list[str]:
        """Every file below a destination, in the folders below it too, by its path from there."""
        if in_bucket(destination):
            return await self.names(destination)
        return await _in_thread(_below, Path(destination))

    async def remove(self, destination: str, name: str) -> None:
        """Delete it; one that is not there is no error."""
        if in_bucket(destination):
            bucket, prefix = bucket_of(destination)
            found = await self._bucket().stat(bucket, f"{prefix}/{name}")
            if found is not None:
                await self._bucket().delete(found)
            return
        await _in_thread(_remove, Path(destination, name))

    def _bucket(self) -> Objects:
        if self._objects is None:
            raise Outage("gs:// needs the packages of the extra `backups`")
        return self._objects


async def _in_thread(work: Callable[..., R], *arguments: object) -> R:
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        raise Outage(f"backup folder: {error.strerror or error}: {error.filename}") from error


def _write(folder: Path, name: str, data: bytes) -> None:
    """On the disk first, then visible under its name."""
    target = folder / name
    if target.exists():
        if target.read_bytes() != data:
            raise OSError(f"{target} is there with other contents")
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(target)
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []


def _below(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    if file.parent.exists() and not any(file.parent.iterdir()):
        file.parent.rmdir()
