"""What survives the sandbox's own death: every record as one row of a SQLite file, written as it changes."""

import sqlite3
from pathlib import Path
from typing import Any

import orjson

_CREATE = """CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, id TEXT NOT NULL, doc BLOB NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID"""


class Ledger:
    """Rows of JSON by kind and id; without a path it keeps nothing.

    Writes reach the operating system at once, so that they survive ``kill -9`` of this process, but not a
    power loss (``synchronous=OFF``).
    """

    def __init__(self, path: Path | None) -> None:
        self._db: sqlite3.Connection | None = None
        if path is not None:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute(_CREATE)

    def put(self, kind: str, key: str, record: Any) -> None:
        """Write one record, a dataclass or plain JSON, over whatever stood under its key."""
        if self._db is not None:
            self._db.execute("REPLACE INTO record VALUES (?, ?, ?)", (kind, key, orjson.dumps(record)))

    def drop(self, kind: str, key: str) -> None:
        """Forget one record."""
        if self._db is not None:
            self._db.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind, key))

    def load(self, kind: str) -> list[tuple[str, Any]]:
        """Return every record of a kind as (key, JSON), ordered by key."""
        if self._db is None:
            return []
        rows = self._db.execute("SELECT id, doc FROM record WHERE kind = ? ORDER BY id", (kind,))
        return [(key, orjson.loads(doc)) for key, doc in rows]

    def close(self) -> None:
        """Close the file; later writes are ignored."""
        if self._db is not None:
            self._db.close()
            self._db = None
