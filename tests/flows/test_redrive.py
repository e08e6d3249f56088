"""13.8: a quarantine that is not the delivery's fault ends by itself, and by `toban redrive`."""

import sqlalchemy as sa

from bot.redrive import redrive, show
from domain.inbox import NewDelivery
from sandbox.stage import Stage
from storage.deliveries import INBOX
from tests.flows.looking import rows
from tests.payloads import monitoring


async def _refuse_alerts(stage: Stage) -> None:
    """The database takes no alerts for a while."""
    if stage.settings.is_sqlite:
        fault = "CREATE TRIGGER fault BEFORE INSERT ON alert BEGIN SELECT RAISE(ABORT, 'no room'); END"
    else:
        fault = "ALTER TABLE alert ADD CONSTRAINT fault CHECK (title = '')"
    async with stage.bot.store() as tx:
        await tx.connection.execute(sa.text(fault))


async def _take_alerts(stage: Stage) -> None:
    mended = "DROP TRIGGER fault" if stage.settings.is_sqlite else "ALTER TABLE alert DROP CONSTRAINT fault"
    async with stage.bot.store() as tx:
        await tx.connection.execute(sa.text(mended))


async def _states(stage: Stage) -> list[str]:
    found = await rows(stage, sa.select(INBOX.c.status).order_by(INBOX.c.id))
    return [row["status"] for row in found]


async def test_a_delivery_that_the_database_refused_pages_by_itself_once_it_is_taken(stage: Stage) -> None:
    """13.8: the quarantine that was the database's fault is redriven by itself."""
    await _refuse_alerts(stage)
    assert await stage.webhook("cloud-monitoring", monitoring(severity="emergency")) == 200
    assert await _states(stage) == ["quarantined"]
    assert stage.dms("kenji") == []

    await _take_alerts(stage)
    await stage.advance(seconds=65)
    assert await _states(stage) == ["done"]
    assert len(stage.dms("kenji")) == 1
    assert any("has now been processed" in line.plain for line in stage.channel("ops"))


async def test_redrive_puts_back_what_is_quarantined_while_the_bot_runs(stage: Stage) -> None:
    """13.8: `toban redrive` shows, and puts back all, one kind or single deliveries; never clicks unasked."""
    await _refuse_alerts(stage)
    await stage.webhook("cloud-monitoring", monitoring("0.one", severity="emergency"))
    click = NewDelivery(kind="slack", key="slack:1", body=b"{broken", received_at=stage.clock.now())
    await stage.bot.store.inbox.put(click)
    await stage.settle()
    assert await _states(stage) == ["quarantined", "quarantined"]
    await _take_alerts(stage)

    shown = "\n".join(await show(stage.settings))
    assert "cloud-monitoring: 1 quarantined" in shown
    assert "slack: 1 quarantined" in shown
    assert "Nothing to put back." in await redrive(stage.settings, "alertmanager", [])
    done = await redrive(stage.settings, None, [])
    assert done[0] == "1 of cloud-monitoring put back"
    await stage.settle()
    assert await _states(stage) == ["done", "quarantined"]
    assert len(stage.dms("kenji")) == 1
    assert (await redrive(stage.settings, "slack", []))[0] == "1 of slack put back"
    await stage.settle()
    assert await _states(stage) == ["done", "quarantined"]


async def test_a_kind_of_a_newer_version_waits_quarantined_and_stops_nothing(stage: Stage) -> None:
    """13.8: written by a newer version, found after a rollback."""
    newer = NewDelivery(kind="pigeon", key="pigeon:1", body=b"coo", received_at=stage.clock.now())
    await stage.bot.store.inbox.put(newer)
    await stage.webhook("cloud-monitoring", monitoring())
    assert await _states(stage) == ["quarantined", "done"]
    assert len(stage.dms("kenji")) == 1
    assert any("pigeon" in line.plain for line in stage.channel("ops"))


async def test_13_8_one_damaged_moment_of_a_retry_stops_no_other(stage: Stage) -> None:
    await _refuse_alerts(stage)
    await stage.webhook("cloud-monitoring", monitoring("0.old", policy="old", severity="warning"))
    async with stage.bot.store() as tx:
        await tx.connection.execute(sa.text("UPDATE inbox SET retry_at = -99999999999999999"))
    await stage.webhook("cloud-monitoring", monitoring(severity="emergency"))
    await _take_alerts(stage)
    await stage.advance(minutes=3)
    assert len(stage.dms("kenji")) == 1
