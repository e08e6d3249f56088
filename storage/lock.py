"""One process on one SQLite database: a second one is refused before it can do harm."""

import os
import sys
from pathlib import Path
from typing import IO

from domain.errors import Outage

TRIES = 20
"""So often a lock file that was replaced while we took it is opened anew."""


MAGIC = b"SQLite format 3\0"
"""How every SQLite database begins; an empty file becomes one."""

REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "fuse", "lustre", "glusterfs", "afs")
"""How the names begin of file systems that map one kind of lock to the other."""


class FileLock:
    """Holds a database until it is released or the process dies.

    Two locks, because either can be got round alone. ``FILE.lock`` beside the real file (symbolic links
    resolved) is there before the database is; it must still be the file of that name once it is held. The
    database itself is locked too, by what it is rather than by its name: that holds for a hard link and
    after ``FILE.lock`` was deleted. On Linux's own file systems SQLite's locks (POSIX ranges) and these
    do not touch each other; elsewhere (NFS, macOS) they do, and the lock file has to do.
    """

    def __init__(self, database: Path) -> None:
        self._named = database
        self._files: list[IO[bytes]] = []

    def take(self) -> None:
        """Raise ``Outage`` where another process holds it. Where the platform has no locks, trust."""
        try:
            import fcntl  # noqa: F401
        except ImportError:
            return
        try:
            database = self._named.resolve()
            self._files.append(_hold_name(database.with_name(f"{database.name}.lock"), self._named))
            _look(database, self._named)
            if not _is_remote(database):
                self._files.append(_hold(database, self._named))
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the next one in."""
        while self._files:
            self._files.pop().close()


def _look(database: Path, named: Path) -> None:
    """Refuse what SQLite could not use, in one sentence."""
    try:
        with database.open("rb") as file:
            start = file.read(len(MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise Outage(f"the database {named} cannot be used: {why}") from error
    if start and start != MAGIC:
        raise Outage(f"the database {named} cannot be used: the file is no SQLite database")


def _is_remote(database: Path) -> bool:
    """Whether locks of the two kinds may get into each other's way there; unknown counts as no."""
    if sys.platform != "linux":
        return True
    try:
        device = database.parent.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2:3] == [number]:
            return source.split()[:1][0].startswith(REMOTE) if source.split() else False
    return False


def _hold_name(lock: Path, named: Path) -> IO[bytes]:
    """The lock file, once it is ours and still has its name."""
    for _ in range(TRIES):
        held = _hold(lock, named)
        try:
            if os.path.samestat(os.fstat(held.fileno()), lock.stat()):
                return held
        except FileNotFoundError:
            held.close()
            continue
        held.close()
    raise Outage(f"the database {named} cannot be locked: {lock.name} keeps being replaced")


def _hold(file: Path, named: Path) -> IO[bytes]:
    """A file, made where it is missing, with nobody else holding it."""
    import fcntl

    if file.is_dir():
        raise Outage(f"the database {named} cannot be used: {file} is a folder. Name a file.")
    if not file.parent.is_dir():
        raise Outage(f"the database {named} cannot be used: there is no folder {file.parent}. Make it first.")
    try:
        opened = file.open("ab")
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise Outage(f"the database {named} cannot be used: {file}: {why}") from error
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        opened.close()
        raise Outage(f"another Toban runs on this database ({file.name} is held)") from error
    except OSError as error:
        opened.close()
        raise Outage(f"the database {named} cannot be locked: {error.strerror}") from error
    return opened
