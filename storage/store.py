"""What operations hold: transactions on what we remember, behind one door."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from domain.unreadable import UnreadableRow
from storage.database import Database, Tx
from storage.inbox import GroupCommit
from storage.probe import keep_something


class Store:
    """What operations hold: ``async with store() as tx`` writes, ``store.read()`` reads."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.inbox = GroupCommit(database)

    def __call__(self) -> AbstractAsyncContextManager[Tx]:
        """A writing transaction."""
        return self.database.writing()

    def read(self) -> AbstractAsyncContextManager[Tx]:
        """A reading transaction."""
        return self.database.reading()

    async def prove(self) -> None:
        """Commit something nobody sees. Raises ``Outage`` where nothing can be kept."""
        await keep_something(self.database)

    async def end_stuck_sessions(self) -> int:
        """End sessions that other replicas left in the middle of a transaction. Returns how many."""
        return await self.database.end_stuck_sessions()

    async def give_back(self, pages: int) -> None:
        """Shorten the database's file by at most so many free pages."""
        await self.database.give_back(pages)

    async def checkpoint(self) -> None:
        """Bring the log into the file."""
        await self.database.checkpoint()

    def not_readable(self, row: UnreadableRow) -> None:
        """A row cannot be read, or what is done with it fails."""
        self.database.not_readable(row)

    def found_unreadable(self) -> list[UnreadableRow]:
        """The rows that were found and are not known yet to be set aside."""
        return self.database.found_unreadable()

    def know_unreadable(self, rows: Sequence[UnreadableRow]) -> None:
        """These are set aside now, and no others are."""
        self.database.know_unreadable(rows)

    def forget_unreadable(self, row: UnreadableRow) -> None:
        """A row that was found is there no longer."""
        self.database.forget_unreadable(row)
