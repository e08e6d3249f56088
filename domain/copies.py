"""What a copy of a database holds, table by table, so that two of them can be compared."""

from datetime import datetime
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
    """

    format: Literal[1] = 1
    kind: Literal["sqlite", "postgresql"]
    at: datetime
    file: str
    bytes: int
    sha256: str
    tables: tuple[TableDigest, ...]
    newest: datetime | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {one.name: one.rows for one in self.tables}

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(one.rows for one in self.tables)


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
