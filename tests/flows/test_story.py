"""The main job, end to end, as a script."""

from sandbox.stage import Stage
from tests.payloads import monitoring


async def test_a_critical_alert_becomes_a_thread_an_incident_and_pages_until_somebody_answers(
    stage: Stage,
) -> None:
    assert await stage.webhook("cloud-monitoring", monitoring()) == 200

    (card,) = stage.channel("alerts")
    assert "Critical · API error rate" in card.plain
    assert card.buttons == ("Acknowledge", "Resolve")
    (incident,) = stage.channel("incidents")
    assert "P1 INC-1 · API error rate" in incident.plain
    assert "INC-1" in card.plain
    (page,) = stage.dms("kenji")
    assert "対応してください" in page.plain
    assert page.buttons == ("対応する",)
    assert stage.dms("aya") == []

    await stage.advance(minutes=5)
    assert len(stage.dms("kenji")) == 2, "the same person is asked once more"
    assert "Overdue" in stage.channel("incidents")[0].plain

    await stage.advance(minutes=9, seconds=50)
    assert stage.dms("aya") == []
    await stage.advance(seconds=15)
    (second,) = stage.dms("aya")

    delivery = await stage.press("aya", second, "対応する")
    assert delivery.ok
    assert stage.dms("aya")[0].buttons == ()
    assert all(message.buttons == () for message in stage.dms("kenji"))
    assert "Acknowledged by aya" in stage.channel("alerts")[0].plain
    assert "Acknowledged by aya" in stage.channel("incidents")[0].plain
    assert "Acknowledge" not in stage.channel("incidents")[0].buttons

    await stage.advance(hours=6)
    assert len(stage.dms("kenji")) == 2
    assert stage.dms("yuko") == []

    await stage.type("aya", "incidents", "/incident resolve INC-1 a bad deploy, rolled back")
    assert stage.told("aya")[0].startswith(
        "INC-1 を解決済みにし、呼び出しを止めました。ただし、アラート 1 件はまだ発生中"
    )
    assert "Resolved by aya" in stage.channel("incidents")[0].plain

    assert await stage.webhook("cloud-monitoring", monitoring(state="closed")) == 200
    await stage.advance(seconds=10)
    assert "Recovered" in stage.channel("alerts")[0].plain
    assert any("reports recovery" in note.plain for note in stage.thread(stage.channel("alerts")[0]))
    assert len(stage.channel("alerts")) == 1
    assert len(stage.channel("incidents")) == 1
