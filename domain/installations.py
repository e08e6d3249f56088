"""Which Toban this is among several that may share a place for their copies."""

from domain.levels import Value


class Installation(Value):
    """A database's own name, and those that it has taken over by a person's word.

    All replicas on one database are one installation, and what is restored from its copy is the same one.
    """

    id: str
    also: tuple[str, ...] = ()

    def owns(self, name: str) -> bool:
        """Whether what bears that name is ours. What bears none is older than such names."""
        return name in {"", self.id, *self.also}
