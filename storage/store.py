"""What operations hold: transactions on what we remember, behind one door."""

from contextlib import AbstractAsyncContextManager

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
