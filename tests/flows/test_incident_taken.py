"""One click takes an incident with all its alerts, however many, and a kill in between loses none."""

import pytest
import sqlalchemy as sa

from domain.alerts import AlertGroup
from domain.effects import By, Card, Subject, SubjectKind
from domain.policy import Level
from operations import incidents
from operations.taken import BATCH
from sandbox.stage import Stage
from storage.alerts import GROUP
from storage.watches import WATCH
from tests.flows.looking import ESCALATION, rows
from tests.payloads import monitoring

MANY = 3 * BATCH
MIKA = By(id="U0MIKA", name="mika")


async def _with_many(stage: Stage) -> None:
    """An incident, and many groups that joined it; some have a ladder of their own."""
    await stage.webhook("cloud-monitoring", monitoring())
    at = stage.clock.now()
    new = AlertGroup(
        key="",
        source="alertmanager",
        title="",
        level=Level.CRITICAL,
        opened_at=at,
        changed_at=at,
        incident_id=1,
    )
    async with stage.bot.store() as tx:
        named = [new.model_copy(update={"key": f"g{n}", "title": f"Trouble {n}"}) for n in range(MANY)]
        groups = await tx.add_groups(named)
        cards = [Card(subject=group.subject, place="alerts", priority=2) for group in groups[-3:]]
        await tx.say(cards, at)


async def _firing(stage: Stage) -> int:
    return len(await rows(stage, sa.select(GROUP.c.id).where(GROUP.c.status == "firing")))


async def test_one_click_takes_all_alerts_of_an_incident_and_a_kill_loses_none(stage: Stage) -> None:
    await _with_many(stage)
    at = stage.clock.now()
    async with stage.bot.store() as tx:
        await incidents.acknowledge(tx, Subject(kind=SubjectKind.INCIDENT, id=1), MIKA, at)
    assert await _firing(stage) == MANY + 1 - BATCH, "no more of them in the person's own transaction"
    async with stage.bot.store() as tx:
        late = AlertGroup(
            key="late",
            source="x",
            title="Late",
            level=Level.CRITICAL,
            opened_at=at,
            changed_at=at,
            incident_id=1,
        )
        await tx.add_groups([late])
    await stage.stop()
    await stage.start()
    await stage.advance(minutes=1)
    left = await rows(stage, sa.select(GROUP.c.title).where(GROUP.c.status == "firing"))
    assert left == [{"title": "Late"}], "what joins after the click is news"
    assert await rows(stage, sa.select(WATCH.c.id).where(WATCH.c.kind == "taken")) == []
    running = sa.select(ESCALATION.c.id).where(ESCALATION.c.phase != "stopped")
    assert await rows(stage, running) == []
    assert "Acknowledged by" in stage.channel("alerts")[-1].plain


@pytest.mark.parametrize("damage", ["'{}'", "'{broken'"])
async def test_what_is_left_to_take_and_cannot_be_read_stops_nobody(stage: Stage, damage: str) -> None:
    await _with_many(stage)
    at = stage.clock.now()
    async with stage.bot.store() as tx:
        await incidents.acknowledge(tx, Subject(kind=SubjectKind.INCIDENT, id=1), MIKA, at)
        spoilt = f"UPDATE watch SET state = {damage} WHERE kind = 'taken'"
        await tx.connection.execute(sa.text(spoilt))
    await stage.webhook("cloud-monitoring", monitoring("0.2", policy="Other", service="other"))
    await stage.advance(seconds=5)
    assert len(stage.dms("kenji")) == 2
