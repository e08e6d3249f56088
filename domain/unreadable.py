"""A stored row that this version cannot read: set aside, told, and looked at again."""

from domain.policy import Value

RETIRED = "unreadable"
"""Why a ladder was stopped that could not be read; a new one takes over."""


class UnreadableRow(Value):
    """Which row of which table, and why it cannot be read."""

    source: str
    row_id: int
    reason: str

    @property
    def key(self) -> str:
        """Its stable name: ``incident:12`` as it stands in the table ``incident``."""
        return f"{self.source}:{self.row_id}"
