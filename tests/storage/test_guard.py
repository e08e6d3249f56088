"""13.7: no text, whatever it holds and however long, undoes a transaction on either database."""

from datetime import UTC, datetime

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from domain.effects import By
from domain.incidents import Incident
from domain.policy import Severity
from domain.text import storable
from storage.database import Database
from storage.guard import fitting
from storage.tables import WatchRow

AT = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
ANY = some.text(some.characters(exclude_categories=()) | some.sampled_from("\0\ud800\udfff\x1b\u202e"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=ANY, name=ANY, long=some.integers(0, 4_000))
async def test_any_text_is_kept_and_found_again_13_7(
    database: Database, title: str, name: str, long: int
) -> None:
    by = By(id=name, name=name)
    made = Incident(title=title + "x" * long, severity=Severity.P3, opened_at=AT, opened_by=by, summary=name)
    async with database.writing() as tx:
        added = await tx.add_incident(made)
    async with database.reading() as tx:
        found = await tx.incident(added.subject.id)
    assert found is not None
    assert found.title == storable(made.title)
    assert storable(found.opened_by.name) == storable(name), "JSON keeps NUL as an escape"


async def test_a_key_longer_than_its_column_stays_a_key_of_its_own_13_7(database: Database) -> None:
    long = ["k" * 300 + end for end in ("a", "b")]
    table = WatchRow.__table__
    async with database.writing() as tx:
        for key in long:
            row = {"kind": "detector", "key": key, "state": {}, "changed_at": AT, "version": 1}
            await tx.connection.execute(sa.insert(table).values(row))
    async with database.reading() as tx:
        for key in long:
            found = await tx.connection.execute(sa.select(table.c.key).where(table.c.key == key))
            assert found.scalars().all() == [fitting(key, 255)]
    assert len({fitting(key, 255) for key in long}) == 2


@given(text=ANY, length=some.integers(4, 512))
def test_a_cut_text_fits_and_a_short_one_is_itself_13_7(text: str, length: int) -> None:
    cut = fitting(text, length)
    assert len(cut) <= length
    assert cut == text or len(text) > length
