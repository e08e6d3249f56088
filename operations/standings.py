"""What is stored of watched things between two looks, and when it is worth a write."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel

from domain.ports import Tx
from domain.watches import Watch, WatchKind

V = TypeVar("V", bound=BaseModel)


class Shelf(Generic[V]):
    """The stored states of one kind, read once for a look and written back where they changed."""

    def __init__(self, kind: WatchKind, type_: type[V], stored: Mapping[str, Watch]) -> None:
        self._kind = kind
        self._type = type_
        self._stored = dict(stored)
        self._values = {key: type_.model_validate(watch.state) for key, watch in stored.items()}
        self._changed: dict[str, V] = {}

    @classmethod
    async def load(cls, tx: Tx, kind: WatchKind, type_: type[V]) -> "Shelf[V]":
        """All of a kind."""
        return cls(kind, type_, await tx.watches(kind))

    def __getitem__(self, key: str) -> V | None:
        return self._values.get(key)

    def keys(self) -> Iterable[str]:
        """What is stored."""
        return self._stored.keys()

    def put(self, key: str, value: V) -> None:
        """To be written at the end of the look."""
        if self._values.get(key) != value:
            self._values[key] = self._changed[key] = value

    async def save(self, tx: Tx, at: datetime, gone: Sequence[str] = ()) -> None:
        """Write what changed, and forget what is ``gone``. Raises ``Outage`` where somebody else wrote."""
        watches = []
        for key, value in self._changed.items():
            state = value.model_dump(mode="json")
            known = self._stored.get(key)
            new = known.model_copy(update={"state": state, "changed_at": at}) if known else None
            watches.append(new or Watch(kind=self._kind, key=key, state=state, changed_at=at))
        await tx.save_watches(watches)
        await tx.forget_watches(self._kind, gone)
