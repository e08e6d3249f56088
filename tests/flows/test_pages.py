"""14.2: a page tells the truth: what fires now, who has not answered, how it ended."""

from sandbox.stage import Stage
from tests.payloads import monitoring


def about(
    number: int, policy: str, state: str = "open", level: str = "critical", value: str = ""
) -> dict[str, object]:
    """One alert of the service; ``number`` tells incidents of the sender apart."""
    body = monitoring(f"0.{number:08x}", state=state, severity=level, policy=policy, service="bondpoint-api")
    if value:
        body["incident"]["observed_value"] = value
    return body


async def test_14_2_a_page_names_the_newest_trouble_and_not_the_first_that_recovered(world: Stage) -> None:
    """User 1: the first alert of the incident is over when the one that matters begins."""
    await world.webhook("cloud-monitoring", about(1, "Health Address Down"))
    await world.advance(seconds=30)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    await world.webhook("cloud-monitoring", about(1, "Health Address Down", state="closed"))
    await world.advance(minutes=20)
    await world.webhook("cloud-monitoring", about(2, "Error Rate Too High", level="emergency", value="0.052"))
    await world.advance(seconds=30)
    shown = world.dms("kenji")[-1].plain
    assert "Error Rate Too High" in shown
    assert "0.052" in shown
    assert "Health Address Down" not in shown


async def test_14_2_a_page_on_a_screen_follows_what_fires(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Health Address Down"))
    await world.advance(seconds=30)
    await world.webhook("cloud-monitoring", about(2, "Error Rate Too High"))
    await world.webhook("cloud-monitoring", about(1, "Health Address Down", state="closed"))
    await world.advance(seconds=30)
    (message,) = world.dms("kenji")
    assert "Error Rate Too High" in message.plain
    assert "Health Address Down" not in message.plain


async def test_14_2_a_page_that_was_taken_says_that_it_is_over(world: Stage) -> None:
    """User 7: recovered first, then resolved; the sender's words go with the trouble."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    await world.advance(minutes=5)
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", state="closed"))
    await world.advance(seconds=30)
    recovered = world.dms("kenji")[0].plain
    assert "回復" in recovered
    assert "INC-1 は未解決です" in recovered
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(seconds=30)
    over = world.dms("kenji")[0].plain
    assert "mika" in over
    assert "未解決" not in over


async def test_14_2_the_second_person_reads_who_has_not_answered(world: Stage) -> None:
    """User 8; the reminder says that it is one."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(minutes=30)
    assert "応答なし" not in world.dms("kenji")[0].plain
    second = next(name for name in ("aya", "mika", "yuko", "dan") if world.dms(name))
    words = world.dms(second)[0].plain
    assert "kenji さんが応答なし" in words or "kenji has not answered since" in words
    if len(world.dms("kenji")) > 1:
        assert "再度の呼び出し" in world.dms("kenji")[1].plain


async def test_15_1_what_a_person_resolved_did_not_go_by_itself(world: Stage) -> None:
    """The page says who resolved it, and the next trouble of the incident pages at once."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.press("mika", world.card("#alerts"), "Resolve")
    await world.advance(seconds=20)
    (page,) = world.dms("kenji")
    assert "mika さんが解決" in page.plain
    assert "回復" not in page.plain
    await world.webhook("cloud-monitoring", about(2, "Latency Too High"))
    await world.advance(seconds=20)
    assert len(world.dms("kenji")) == 2
    assert "Latency Too High" in world.dms("kenji")[-1].plain


async def test_14_2_pages_of_an_earlier_round_follow_their_incident_to_its_end(world: Stage) -> None:
    """The second round is a ladder of its own; the first page must not stay as it was."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", state="closed"))
    await world.advance(minutes=40)
    await world.webhook("cloud-monitoring", about(2, "Latency Too High"))
    await world.advance(seconds=30)
    assert len(world.dms("kenji")) == 2
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(seconds=30)
    assert all("mika さんが解決" in one.plain for one in world.dms("kenji"))
    assert not any("未解決" in one.plain for one in world.dms("kenji"))
