"""One process on one SQLite file: a second one is refused before it can do harm."""

from pathlib import Path
from typing import IO

from domain.errors import Outage


class FileLock:
    """Holds ``FILE.lock`` until it is released or the process dies."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raise ``Outage`` where another process holds it. Where the platform has no locks, trust."""
        try:
            import fcntl
        except ImportError:
            return
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise Outage(f"another Toban runs on this database ({self._path.name} is held)") from error
        self._file = file

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            self._file.close()
            self._file = None
