"""What a copy of a database holds, table by table, so that two of them can be compared."""

import re
from datetime import UTC, datetime
from typing import Literal

from domain.levels import Value

MODULUS = 1 << 64
"""Digests of rows are added up modulo this, so that the order of rows does not matter."""


class TableDigest(Value):
    """One table: how many rows, and the sum of their digests (the same rows in any order have the same)."""

    name: str
    rows: int
    digest: str


class Manifest(Value):
    """What stands beside a copy. ``bytes`` and ``sha256`` are the copy's file's; ``at`` its moment;
    ``newest`` that of its newest record, where it has any with a date.

    ``installation``: who made it, empty for one that is older than such names.

    Of an encrypted copy ``bytes`` and ``sha256`` are those of the encrypted file, so that rot is found
    without a key. ``recipients`` are the public keys that it is for; ``sealed`` is the manifest of what was
    encrypted, for the same keys. The digests of the tables stand there alone: whoever can guess a row could
    check it by them.
    """

    format: Literal[1] = 1
    installation: str = ""
    recipients: tuple[str, ...] = ()
    sealed: str | None = None
    kind: Literal["sqlite", "postgresql"]
    at: datetime
    file: str
    bytes: int
    sha256: str
    tables: tuple[TableDigest, ...]
    newest: datetime | None = None

    @property
    def is_encrypted(self) -> bool:
        """True where its file can be read by whoever has a private key alone."""
        return self.sealed is not None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {one.name: one.rows for one in self.tables}

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(one.rows for one in self.tables)


PLACE = re.compile(r"(?:([0-9a-f]{12})/)?([0-9]{8}T[0-9]{6}Z)/toban(?:-[0-9]+)?/manifest\.json")
"""Where a copy's manifest lies below its plan's own folder: installation, due moment, attempt."""


class Lying(Value):
    """A copy that lies at a destination, whoever remembers it. ``destination`` is its own folder there."""

    installation: str
    stamp: str
    destination: str
    manifest: Manifest

    @property
    def id(self) -> str:
        """How people call it, with or without a database that knows it."""
        return f"{self.installation}/{self.stamp}" if self.installation else self.stamp

    @property
    def due_at(self) -> datetime:
        """The moment for which it was made."""
        return datetime.strptime(self.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def lying(place: str, name: str, manifest: Manifest | None) -> Lying | None:
    """The copy of a manifest by its ``name`` below ``place``; ``None`` for whatever is none of ours."""
    match = PLACE.fullmatch(name)
    if match is None or manifest is None:
        return None
    return Lying(
        installation=match[1] or "",
        stamp=match[2],
        destination=f"{place}/{name.removesuffix('/manifest.json')}",
        manifest=manifest,
    )


class Difference(Value):
    """A table that is not what it was. ``None`` rows: it is not there at all."""

    table: str
    wanted: int | None
    found: int | None


def differences(wanted: tuple[TableDigest, ...], found: tuple[TableDigest, ...]) -> tuple[Difference, ...]:
    """Every table that is missing, was never wanted, or holds other rows; by name."""
    left = {one.name: one for one in wanted}
    right = {one.name: one for one in found}
    return tuple(
        Difference(
            table=name,
            wanted=left[name].rows if name in left else None,
            found=right[name].rows if name in right else None,
        )
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    )
