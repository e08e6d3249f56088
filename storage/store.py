"""What operations hold: transactions on what we remember, behind one door."""

from contextlib import AbstractAsyncContextManager

import sqlalchemy as sa

from storage.database import Database, Tx
from storage.inbox import GroupCommit


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

    async def ping(self) -> None:
        """Raise ``Outage`` where the database does not answer."""
        async with self.database.reading() as tx:
            await tx.connection.execute(sa.text("SELECT 1"))
