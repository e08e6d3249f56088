"""People press twice, late, together, and type what nobody foresaw: one effect or none, always an answer."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from domain.policy import Person
from sandbox.slack.delivery import Delivery
from sandbox.stage import Stage
from tests.conftest import make_policy, open_stage
from tests.flows.looking import INCIDENT, notes, rows, twice
from tests.payloads import alertmanager, monitoring


async def say(world: Stage, text: str, person: str = "mika") -> str:
    """Type a command and return what the person was answered, seen by nobody else."""
    before = len(world.slack.ephemerals(person))
    delivery = await world.type(person, "incidents", text)
    await world.advance(seconds=1)
    assert delivery.ok, delivery
    assert delivery.status == 200
    answers = world.told(person)[before:]
    assert len(answers) <= 1
    return answers[0] if answers else ""


async def test_two_people_who_acknowledge_at_the_same_instant_have_one_effect_and_both_know(
    stage: Stage,
) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    page, card = stage.dms("kenji")[0], stage.card("alerts")
    both = await asyncio.gather(
        stage.slack.press("kenji", page.channel, page.ts, "対応する"),
        stage.slack.press("mika", card.channel, card.ts, "Acknowledge"),
    )
    assert all(delivery.ok for delivery in both)
    await stage.settle()

    (incident,) = await rows(stage, sa.select(INCIDENT))
    winner = incident["acknowledged_by"].name
    loser = {"kenji": "mika", "mika": "kenji"}[winner]
    assert f"Acknowledged by {winner}" in stage.card("incidents").plain
    assert f"Acknowledged by {winner}" in stage.card("alerts").plain
    assert stage.told(winner) == []
    (answer,) = stage.told(loser)
    assert winner in answer
    assert sum("has it; paging stopped" in note for note in notes(stage, "incidents")) == 1
    await stage.advance(hours=2)
    assert stage.dms("aya") == []


async def test_a_press_that_the_network_repeats_byte_for_byte_has_one_effect(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    delivery = await stage.press("mika", stage.card("alerts"), "Acknowledge")
    for _ in range(3):
        assert (await stage.slack.replay(delivery)).ok
    await stage.settle()

    assert stage.told("mika") == []
    assert len(notes(stage, "incidents")) == 1
    await stage.advance(seconds=301)
    assert (await stage.slack.replay(delivery)).status == 401, "an old one is not even read"


async def _press_the_past(world: Stage, person: str, channel: str, label: str, blocks: Any) -> Delivery:
    """Press a button that a client that was not updated yet still shows."""
    message = world.card(channel) if not channel.startswith("@") else world.dms(channel[1:])[0]
    post = world.slack.state.posts[message.channel, message.ts]
    now, post.blocks = post.blocks, list(blocks)
    delivery = await world.slack.press(person, message.channel, message.ts, label)
    post.blocks = now
    await world.settle()
    return delivery


async def test_an_old_button_pressed_after_the_end_changes_nothing_and_is_answered(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    old = {name: stage.card(name).blocks for name in ("alerts", "incidents")} | {
        "@kenji": stage.dms("kenji")[0].blocks
    }
    await say(stage, "/incident resolve INC-1 it was the deploy")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))

    for number, (channel, person, label) in enumerate(
        [
            ("alerts", "mika", "Acknowledge"),
            ("incidents", "mika", "Acknowledge"),
            ("@kenji", "kenji", "対応する"),
        ]
    ):
        assert (await _press_the_past(stage, person, channel, label, old[channel])).ok
        assert stage.told(person), number
    assert (await _press_the_past(stage, "mika", "alerts", "Resolve", old["alerts"])).ok
    assert (await _press_the_past(stage, "mika", "incidents", "Resolve…", old["incidents"])).ok
    assert "Nothing changed" in stage.told("mika")[-1]
    assert stage.slack.open_views("mika") == []
    assert all("Nothing changed" in answer for answer in stage.told("mika")[1:])
    assert "Resolved by mika" in stage.card("incidents").plain
    assert "Recovered" in stage.card("alerts").plain


async def test_an_unknown_button_form_and_command_get_a_friendly_answer(world: Stage) -> None:
    button = {
        "type": "button",
        "text": {"type": "plain_text", "text": "Launch"},
        "action_id": "rocket.launch",
    }
    await world.bot.api.web.chat_postMessage(
        channel=world.slack.channel_id("alerts"),
        text="old",
        blocks=[{"type": "actions", "elements": [button]}],
    )
    assert (await world.press("mika", world.card("alerts"), "Launch")).ok
    assert "another version" in world.told("mika")[-1]

    assert "docs/deploys.md" in await say(world, "/deploy api now")
    assert "/toban help" in await say(world, "/toban oncall")


async def test_a_page_acknowledged_by_a_stranger_from_nowhere_is_refused_without_a_fault(
    world: Stage,
) -> None:
    button = {
        "type": "button",
        "text": {"type": "plain_text", "text": "Odd"},
        "action_id": "page.acknowledge",
        "value": "page:999",
    }
    other = button | {
        "action_id": "alert.acknowledge",
        "value": "nonsense",
        "text": {"type": "plain_text", "text": "Odder"},
    }
    await world.bot.api.web.chat_postMessage(
        channel=world.slack.channel_id("alerts"),
        text="old",
        blocks=[{"type": "actions", "elements": [button, other]}],
    )
    assert (await world.press("mika", world.card("alerts"), "Odd")).ok
    assert "no longer known" in world.told("mika")[-1]
    assert (await world.press("mika", world.card("alerts"), "Odder")).ok
    assert len(world.told("mika")) == 2, "a value that nobody wrote is answered, too"


async def test_incident_says_what_is_open_and_how_to_open_one(world: Stage) -> None:
    assert "No incident is open." in await say(world, "/incident")
    assert "Declare Incident" in world.slack.ephemerals("mika")[-1].buttons
    assert "No incident is open." in await say(world, "/incident list")
    await say(world, "/incident declare P1 The API is down")
    assert "INC-1" in await say(world, "/incident list")
    assert "nobody has it" in await say(world, "/incident")


async def test_incident_help_names_every_verb(world: Stage) -> None:
    said = await say(world, "/incident help")
    for verb in ("declare", "list", "show", "ack", "resolve", "help"):
        assert verb in said


async def test_incident_show_shows_one_by_number_or_the_only_one(world: Stage) -> None:
    assert "No incident is open." in await say(world, "/incident show")
    await say(world, "/incident declare P1 The API is down")
    assert "The API is down" in await say(world, "/incident show INC-1")
    assert "The API is down" in await say(world, "/incident show 1")
    assert "The API is down" in await say(world, "/incident show inc-1")
    assert "The API is down" in await say(world, "/incident show")
    assert "There is no INC-99" in await say(world, "/incident show 99")
    assert "is not an incident number" in await say(world, "/incident show banana")


async def test_incident_declare_opens_pages_and_refuses_a_title_that_is_too_long(stage: Stage) -> None:
    assert "INC-1 declared as P1, paging kenji now: The API is down" in await say(
        stage, "/incident declare p1 The API is down"
    )
    assert "P1 INC-1 · The API is down" in stage.card("incidents").plain
    assert len(stage.dms("kenji")) == 1
    assert "201 characters" in await say(stage, f"/incident declare {'x' * 201}")
    assert "201 characters" in await say(stage, f"/incident declare P0 {'x' * 201}")
    assert "INC-2 declared as P2, paging mika now" in await say(stage, f"/incident declare {'x' * 200}")
    assert "P2 INC-2" in stage.card("incidents").plain
    assert len(stage.channel("incidents")) == 2


async def test_incident_ack_needs_the_id_only_where_several_are_open(world: Stage) -> None:
    assert "No incident is open." in await say(world, "/incident ack")
    await say(world, "/incident declare P1 First")
    assert "You have it: INC-1 First" in await say(world, "/incident ack")
    assert "already has it" in await say(world, "/incident ack")
    await say(world, "/incident declare P1 Second")
    answer = await say(world, "/incident ack")
    assert "INC-1, INC-2" in answer
    assert "You have it: INC-2 Second" in await say(world, "/incident ack 2")
    assert "There is no INC-77" in await say(world, "/incident ack INC-77")
    assert "is not an incident number" in await say(world, "/incident ack seven")
    assert "There is no INC-9" in await say(world, f"/incident ack {'9' * 5000}")


async def test_incident_resolve_needs_the_id_only_where_several_are_open(world: Stage) -> None:
    assert "No incident is open." in await say(world, "/incident resolve all good")
    await say(world, "/incident declare P1 First")
    assert "INC-1 is resolved." in await say(world, "/incident resolve a bad deploy, rolled back")
    assert "a bad deploy, rolled back" in world.card("incidents").plain
    assert "Nothing changed" in await say(world, "/incident resolve INC-1 again")
    await say(world, "/incident declare P1 Second")
    await say(world, "/incident declare P1 Third")
    assert "INC-2, INC-3" in await say(world, "/incident resolve over")
    assert "INC-3 is resolved." in await say(world, "/incident resolve 3")
    assert "2001 characters" in await say(world, f"/incident resolve INC-2 {'x' * 2001}")
    assert "There is no INC-44" in await say(world, "/incident resolve INC-44 over")


async def test_an_unknown_verb_is_answered_with_the_likely_one(world: Stage) -> None:
    assert "/incident show" in await say(world, "/incident shwo INC-1")
    assert "/incident help" in await say(world, "/incident 日本語")
    assert await say(world, f"/incident {'x' * 3000}")


@pytest.mark.parametrize("title", ["CPU > 80 % & rising", "a<b", "50% & more", "Tom & Jerry's <API>"])
async def test_what_a_person_typed_is_shown_as_it_was_typed(world: Stage, title: str) -> None:
    assert f"INC-1 declared as P1, paging kenji now: {title}" in await say(
        world, f"/incident declare P1 {title}"
    )
    card = world.card("incidents")
    assert title in card.plain
    assert title in card.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert title in await say(world, "/incident list")
    await say(world, f"/incident resolve INC-1 {title}")
    assert title in notes(world, "incidents")[-1]


async def test_a_person_named_in_a_title_is_shown_by_name_and_not_mentioned(world: Stage) -> None:
    await say(world, "/incident declare P1 ask @kenji about #alerts")
    card = world.card("incidents")
    assert world.slack.user_id("kenji") not in card.plain
    assert "@kenji" in card.plain
    assert world.slack.mentions(card.text).total == 0


async def test_the_declare_form_declares_once_and_complains_beside_the_field(stage: Stage) -> None:
    await say(stage, "/incident declare")
    (view,) = stage.slack.open_views("mika")
    refused = await stage.slack.submit(
        "mika", view.id, {"title": "   ", "severity": "P1 (main function down)"}
    )
    await stage.settle()
    assert "title" in refused.errors
    assert stage.slack.open_views("mika"), "what was typed stays"
    assert await rows(stage, sa.select(INCIDENT)) == []

    delivery = await stage.submit("mika", {"title": "The API is down"})
    assert delivery.ok
    assert delivery.errors == {}
    assert stage.slack.open_views("mika") == []
    assert "P1 INC-1 · The API is down" in stage.card("incidents").plain
    await stage.slack.replay(delivery)
    await stage.settle()
    assert len(stage.channel("incidents")) == 1


async def test_a_severity_typed_with_declare_is_chosen_in_the_form(world: Stage) -> None:
    await say(world, "/incident declare P0")
    await world.submit("mika", {"title": "All is lost"})
    assert "P0 INC-1" in world.card("incidents").plain


async def test_the_button_of_a_list_opens_the_declare_form(world: Stage) -> None:
    await say(world, "/incident")
    answer = world.slack.ephemerals("mika")[-1]
    assert (await world.press("mika", answer, "Declare Incident")).ok
    await world.submit("mika", {"title": "From the list"})
    assert "From the list" in world.card("incidents").plain


async def test_the_resolve_form_closes_with_a_summary_and_refuses_what_is_over(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    assert (await stage.press("mika", stage.card("incidents"), "Resolve…")).ok
    (first,) = stage.slack.open_views("mika")
    assert (await stage.press("dan", stage.card("incidents"), "Resolve…")).ok
    delivery = await stage.submit("mika", {"summary": "Rolled back."})
    assert delivery.ok
    assert first.id
    assert "Resolved by mika" in stage.card("incidents").plain
    assert "Rolled back." in stage.card("incidents").plain

    late = await stage.submit("dan", {"summary": "I was late"})
    assert late.ok
    assert late.errors or any("mika resolved INC-1" in answer for answer in stage.told("dan")), "dan is told"
    assert "I was late" not in stage.card("incidents").plain
    assert twice(stage) == {}


async def test_a_form_for_an_alert_that_got_its_incident_meanwhile_is_answered(world: Stage) -> None:
    await world.webhook("alertmanager", alertmanager("db-1"))
    await world.press("mika", world.card("alerts"), "Declare Incident")
    await world.press("dan", world.card("alerts"), "Declare Incident")
    await world.submit("mika", {"title": "First"})
    late = await world.submit("dan", {"title": "Second"})
    assert late.errors or any("belongs to INC-1" in answer for answer in world.told("dan")), "dan is told"
    assert len(world.channel("incidents")) == 1


@pytest.mark.parametrize(("known", "language"), [("ja", "ja"), ("en", "en"), (None, "ja")])
async def test_a_page_speaks_the_persons_language(sqlite_only: str, known: str | None, language: str) -> None:
    policy = make_policy()
    kenji = Person(name="kenji", email="kenji@bondpoint.example", locale=known)
    policy = policy.model_copy(update={"people": policy.people | {"kenji": kenji}})
    async with open_stage(sqlite_only, policy) as world:
        await world.webhook("cloud-monitoring", monitoring())
        (page,) = world.dms("kenji")
        assert page.buttons == (("対応する",) if language == "ja" else ("Acknowledge",))
        assert "Acknowledge" in world.card("alerts").buttons, "the channel keeps its own language"


async def test_the_channels_speak_the_language_of_the_settings(sqlite_only: str) -> None:
    async with open_stage(sqlite_only, make_policy(), TOBAN_LOCALE="ja") as world:
        await world.webhook("cloud-monitoring", monitoring())
        assert "対応する" in world.card("alerts").buttons
        await world.webhook("alertmanager", alertmanager("db-1"))
        assert world.dms("mika")[0].buttons == ("Acknowledge",)


async def test_a_command_is_answered_in_the_language_of_a_person_who_was_never_paged(world: Stage) -> None:
    await say(world, "/incident list", "yuko")
    answer = await say(world, "/incident list", "yuko")
    assert "No incident is open." not in answer, "yuko's Slack and the policy both say Japanese"


async def test_a_form_speaks_the_persons_language(world: Stage) -> None:
    await say(world, "/incident declare", "yuko")
    (view,) = world.slack.open_views("yuko")
    assert "Declare an incident" not in world.slack.view_plain(view)
