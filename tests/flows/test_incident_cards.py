"""14.6: what an incident's card says, and that nobody forgets one that is open (user 12, 22)."""

from sandbox.senders import grafana
from sandbox.stage import Stage
from tests.conftest import make_policy, open_stage
from tests.flows.test_pages import about


async def test_14_6_the_card_lists_and_links_its_alerts(world: Stage) -> None:
    """User 22: each alert by its title, value and state, with the way to its thread."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", value="0.052"))
    await world.webhook("cloud-monitoring", about(2, "Latency Too High"))
    await world.webhook("cloud-monitoring", about(2, "Latency Too High", state="closed"))
    await world.advance(seconds=30)
    (card,) = world.channel("#incidents")
    lines = [line for line in card.plain.splitlines() if line.startswith("• ")]
    assert "Error Rate Too High" in lines[0] and "0.052" in lines[0]
    assert "Latency Too High" in lines[1] and "Recovered" in lines[1]
    assert "1 of 2 still firing" in card.plain
    assert any("/archives/" in str(block) for block in card.blocks)


async def test_14_6_what_joins_an_answered_incident_is_told_in_its_thread_once_in_ten_minutes(
    world: Stage,
) -> None:
    """It pages nobody, so whoever is on the incident has to read it somewhere else than on the card."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.settle()
    (card,) = world.channel("#incidents")
    await world.press("kenji", card, "Acknowledge")
    before = len(world.thread(card))
    for number in range(2, 5):
        await world.webhook("cloud-monitoring", about(number, f"Latency {number} Too High"))
    await world.settle()
    (told,) = world.thread(card)[before:]
    assert "*Latency 2 Too High: 5xx share* fires as well" in told.plain
    assert "kenji is on this incident" in told.plain
    await world.advance(minutes=11)
    await world.webhook("cloud-monitoring", about(5, "Queue Too Long"))
    await world.settle()
    assert "*Queue Too Long: 5xx share* fires as well" in world.thread(card)[-1].plain


async def test_14_2_a_page_counts_what_it_does_not_name_and_names_the_worst_first(world: Stage) -> None:
    for number in range(1, 10):
        level = "emergency" if number == 3 else "critical"
        await world.webhook("cloud-monitoring", about(number, f"Alert {number}", level=level))
    await world.advance(seconds=30)
    page = world.dms("kenji")[-1]
    lines = page.plain.splitlines()
    named = [line for line in lines if line.startswith("• ")]
    assert "Alert 9" in lines[0]
    assert named[:2] == ["• Alert 3: 5xx share", "• Alert 8: 5xx share"]
    assert len(named) == 5
    assert "ほか 3 件" in page.plain


async def test_14_6_a_resolved_incident_says_how_long_it_lasted(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(minutes=1)
    (card,) = world.channel("#incidents")
    assert "Duration" in card.plain and "30 seconds" in card.plain


async def test_14_6_who_resolves_while_it_fires_is_told_so(world: Stage) -> None:
    """User 12."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(seconds=30)
    assert "Alerts still firing: 1" in world.told("mika")[-1]
    (card,) = world.channel("#incidents")
    assert "Alerts still firing: 1" in world.thread(card)[-1].plain


async def test_14_6_a_recovered_incident_says_that_it_is_open(world: Stage) -> None:
    """User 12: it holds deploys, so the thread says so at once, and again while nobody resolves it."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(minutes=1)
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High", state="closed"))
    await world.advance(minutes=1)
    (card,) = world.channel("#incidents")
    assert "None of the alerts of INC-1 is open any more" in world.thread(card)[-1].plain
    before = len(world.thread(card))
    await world.advance(minutes=90)
    (again,) = world.thread(card)[before:]
    assert "nobody has it" in again.plain
    await world.type("mika", "incidents", "/incident resolve INC-1 fixed")
    await world.advance(minutes=1)
    told = len(world.thread(card))
    await world.advance(hours=9)
    assert len(world.thread(card)) == told


async def test_14_6_who_took_it_is_asked_again_ever_more_rarely(world: Stage) -> None:
    """User 12: a P1 that somebody acknowledged and forgot: after one hour, two, four."""
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    (card,) = world.channel("#incidents")
    asked = []
    for _ in range(20):
        await world.advance(minutes=30)
        asked.append(sum("you took INC-1" in one.plain for one in world.thread(card)))
    assert asked[0] == 0
    assert asked[2] == 1
    assert asked[4] == 2
    assert asked[8] == 3
    assert asked[-1] == 4
    last = next(one for one in reversed(world.thread(card)) if "you took INC-1" in one.plain)
    assert "Alerts still firing: 1 of 1" in last.plain
    assert "<@U" in last.text or "@kenji" in last.plain


async def test_14_6_it_is_asked_once_by_two_processes_and_after_a_death(world: Stage) -> None:
    await world.webhook("cloud-monitoring", about(1, "Error Rate Too High"))
    await world.advance(seconds=30)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    await world.advance(minutes=80)
    (card,) = world.channel("#incidents")
    await world.crash()
    await world.start()
    await world.advance(minutes=20)
    assert sum("you took INC-1" in one.plain for one in world.thread(card)) == 1


async def test_14_8_own_titles_are_in_the_language_of_whoever_reads(sqlite_only: str) -> None:
    """User 21: on the card in the channel's language, in lists and answers in the reader's."""
    levels = make_policy().levels | {"no data": "critical"}
    async with open_stage(sqlite_only, make_policy(levels=levels), TOBAN_LOCALE="ja") as stage:
        body = grafana(name="DatasourceNoData", severity="warning", rulename="API 5xx")
        await stage.webhook("alertmanager", body)
        await stage.advance(seconds=30)
        (card,) = stage.channel("#incidents")
        assert "API 5xx：データなし" in card.plain
        await stage.type("kenji", "#incidents", "/incident")
        assert "API 5xx：データなし" in stage.told("kenji")[-1]
        await stage.type("mika", "#incidents", "/incident show")
        assert "API 5xx: no data" in stage.told("mika")[-1]
        await stage.type("kenji", "#incidents", "/incident ack INC-1")
        assert "INC-1 API 5xx：データなし" in stage.told("kenji")[-1]
