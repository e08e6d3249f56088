"""13.13: Slack refuses what people can mend: tried until it works, told once, and nobody waits in silence."""

import json

import pytest

from sandbox.slack import faults
from sandbox.stage import Stage
from tests.flows.looking import notes, posts_to, twice, unsent
from tests.payloads import alertmanager, monitoring

MENDABLE = (
    "missing_scope",
    "org_login_required",
    "ekm_access_denied",
    "access_denied",
    "not_allowed_token_type",
    "team_access_not_granted",
    "no_permission",
    "enterprise_is_restricted",
    "a_code_that_nobody_has_heard_of",
)


@pytest.mark.parametrize(
    "code",
    ["missing_scope", "org_login_required", "a_code_nobody_knows", "restricted_action", "invalid_auth"],
)
async def test_13_13_a_refusal_that_people_can_mend_loses_nothing_and_is_told_once(
    world: Stage, code: str
) -> None:
    for method in ("chat.postMessage", "conversations.open"):
        world.slack.faults.add(method, faults.error(code), count=10**6)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=3)
    assert world.channel("alerts") == []
    assert f"slack.{code}" in world.bot.world.problems.current()

    world.slack.faults.clear()
    await world.advance(minutes=2)
    shown = [card for name in ("alerts", "ops") for card in world.channel(name)]
    assert sum("API error rate" in card.plain and "Acknowledge" in card.buttons for card in shown) >= 1
    assert world.dms("kenji")
    assert twice(world) == {}
    assert await unsent(world) == []
    said = [card.plain for card in world.channel("ops") if "Slack refuses messages" in card.plain]
    assert len(said) == 1, said
    assert code in said[0]
    await world.advance(minutes=16 if code == "restricted_action" else 0)  # Nothing tries #alerts meanwhile.
    assert f"slack.{code}" not in world.bot.world.problems.current()


async def test_13_13_a_missing_scope_is_named_where_ops_still_works(stage: Stage) -> None:
    stage.slack.api.scopes = stage.slack.granted() - {"im:write"}
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.advance(minutes=1)

    (told,) = [card.plain for card in stage.channel("ops") if "Slack refuses messages" in card.plain]
    assert "im:write" in told
    assert "conversations.open" in told
    assert "im:write" in stage.bot.world.problems.current()["slack.missing_scope"]
    assert stage.channel("alerts"), "channels are not held up by it"
    await stage.advance(minutes=5)
    assert stage.dms("kenji") == []
    said = [card for card in stage.channel("ops") if "Slack refuses messages" in card.plain]
    assert len(said) == 1, "once, not per message"

    stage.slack.api.scopes = None
    await stage.advance(minutes=1)
    assert len(stage.dms("kenji")) == 1
    assert "slack.missing_scope" not in stage.bot.world.problems.current()
    assert any("no longer refuses" in card.plain for card in stage.channel("ops"))
    assert await unsent(stage) == []


@pytest.mark.parametrize("code", [*MENDABLE, "restricted_action", "messages_tab_disabled"])
async def test_13_13_a_page_that_is_refused_moves_the_ladder_on_at_once_and_is_still_tried(
    world: Stage, code: str
) -> None:
    kenji = world.slack.state.im(world.slack.user_id("kenji")).id
    world.slack.faults.add("chat.postMessage", faults.error(code), count=10**6, channel=kenji)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=5)
    assert len(world.dms("aya")) == 1, "the next person is not kept waiting"
    assert any("Slack refuses the page to kenji" in note for note in notes(world, "incidents"))

    world.slack.faults.clear()
    await world.advance(minutes=1)
    assert len(world.dms("kenji")) == 1, "it was tried all the same"


async def test_13_13_where_every_page_is_refused_ops_is_told_and_the_ladder_goes_round(stage: Stage) -> None:
    stage.slack.faults.add("conversations.open", faults.error("missing_scope"), count=10**6)
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.advance(minutes=3)
    assert any("Nobody could be paged" in card.plain for card in stage.channel("ops"))

    stage.slack.faults.clear()
    await stage.advance(minutes=3)
    assert stage.dms("kenji")
    assert twice(stage) == {}


OWN_FAULT = ("invalid_blocks", "msg_too_long", "msg_blocks_too_long", "invalid_blocks_format", "no_text")


@pytest.mark.parametrize("code", [*OWN_FAULT, "invalid_arguments"])
@pytest.mark.parametrize("place", ["alerts", "kenji"])
async def test_13_13_a_message_that_is_itself_at_fault_is_said_in_plain_words(
    world: Stage, place: str, code: str
) -> None:
    channel = world.slack.state.im(world.slack.user_id("kenji")).id if place == "kenji" else place
    world.slack.faults.add("chat.postMessage", faults.error(code), count=1, channel=channel)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=10)

    (said,) = world.dms("kenji") if place == "kenji" else world.channel("alerts")
    assert "API error rate" in said.plain
    assert posts_to(world, channel)[1].params.get("blocks") is None, "the second try has words only"
    assert any("plain text" in card.plain for card in world.channel("ops"))
    assert await unsent(world) == []


@pytest.mark.parametrize("code", OWN_FAULT)
async def test_13_13_a_card_whose_new_state_is_refused_does_not_stay_behind(world: Stage, code: str) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.add("chat.update", faults.error(code), count=1, channel="alerts")
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(seconds=10)
    assert "ecovered" in world.card("alerts").plain or "esolved" in world.card("alerts").plain
    assert await unsent(world) == []


async def test_13_13_a_page_that_is_refused_even_in_all_its_words_is_said_in_a_few(world: Stage) -> None:
    kenji = world.slack.state.im(world.slack.user_id("kenji")).id
    world.slack.faults.add("chat.postMessage", faults.error("msg_too_long"), count=2, channel=kenji)
    world.slack.faults.add("chat.postMessage", faults.error("metadata_too_large"), count=1, channel=kenji)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=10)
    assert len(world.dms("kenji")) == 1
    assert world.dms("aya") == []


@pytest.mark.parametrize("code", ["cannot_reply_to_message", "restricted_action_thread_locked"])
async def test_13_13_a_root_that_takes_no_replies_is_replaced(stage: Stage, code: str) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    old = stage.card("alerts")
    stage.slack.lock_thread("alerts", old.ts, code)
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(seconds=90)

    new = stage.card("alerts")
    assert new.ts != old.ts
    assert any("reports recovery" in note for note in notes(stage, "alerts"))
    assert len(stage.channel("alerts")) == 1, "one card, not two"
    assert twice(stage) == {}
    assert await unsent(stage) == []


async def test_13_13_where_no_thread_takes_replies_the_line_stands_in_the_channel(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    card = world.card("alerts")
    world.slack.threadless("alerts")
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(seconds=60)

    assert any("reports recovery" in line.plain for line in world.channel("alerts"))
    assert world.channel("alerts")[0].ts == card.ts, "the card stays where it is"
    assert twice(world) == {}
    assert await unsent(world) == []


@pytest.mark.parametrize(
    "code", ["restricted_action", "restricted_action_read_only_channel", "ekm_access_denied"]
)
async def test_13_13_a_channel_that_forbids_posting_sends_cards_to_ops_and_is_told(
    world: Stage, code: str
) -> None:
    world.slack.faults.add("chat.postMessage", faults.error(code), count=10**6, channel="alerts")
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=1)
    assert any(
        "API error rate" in card.plain and "Acknowledge" in card.buttons for card in world.channel("ops")
    )
    assert f"slack.{code}" in world.bot.world.problems.current()
    world.slack.faults.clear()
    await world.webhook("alertmanager", alertmanager("db-1"))
    await world.advance(minutes=1)
    assert len(world.channel("alerts")) == 1
    assert f"slack.{code}" not in world.bot.world.problems.current()


async def test_13_13_a_line_that_is_refused_waits_until_it_is_allowed(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.add("*", faults.error("restricted_action"), count=10**6, channel="alerts")
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(minutes=6)
    world.slack.faults.clear()
    await world.advance(minutes=1)
    assert "Recovered" in world.card("alerts").plain
    assert any("reports recovery" in note for note in notes(world, "alerts"))
    assert await unsent(world) == []


async def test_13_13_an_ops_channel_that_is_missing_for_a_while_loses_no_line(world: Stage) -> None:
    world.slack.archive("ops")
    world.slack.archive("alerts")
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=6)
    world.slack.unarchive("ops")
    await world.advance(minutes=2)
    assert any("API error rate" in card.plain for card in world.channel("ops"))
    assert await unsent(world) == []


def _history(stage: Stage) -> list[dict[str, str]]:
    asked = {"conversations.history", "conversations.replies"}
    return [json.loads(json.dumps(call.params)) for call in stage.slack.calls if call.method in asked]


async def test_13_13_a_look_up_asks_for_few_messages_around_the_attempt(world: Stage) -> None:
    await world.webhook("alertmanager", alertmanager("one", group="First"))
    await world.advance(minutes=30)
    world.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    before = world.clock.now().timestamp()
    await world.webhook("alertmanager", alertmanager("two", group="Second"))
    await world.advance(seconds=30)

    (asked,) = _history(world)
    assert int(asked["limit"]) == 15
    assert before - 60 <= float(asked["oldest"]) <= before
    assert before <= float(asked["latest"]) <= before + 60
    assert twice(world) == {}


async def test_13_13_a_limited_history_means_still_unknown_and_nothing_is_said_twice(stage: Stage) -> None:
    stage.slack.limit_history = True
    stage.slack.faults.add("chat.postMessage", faults.drop_after(), count=5)
    await stage.webhook("cloud-monitoring", monitoring())
    for number in range(3):
        await stage.webhook("alertmanager", alertmanager(f"db-{number}", group=f"Alert{number}"))
    await stage.advance(minutes=15)

    assert any(call.outcome == "ratelimited" for call in stage.slack.calls)
    assert twice(stage) == {}
    assert len(stage.channel("alerts")) == 4
    assert stage.dms("kenji")


async def test_13_13_a_message_behind_a_limited_look_up_does_not_wait_for_it(world: Stage) -> None:
    world.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    world.slack.faults.add("conversations.history", faults.rate_limit(60), count=3)
    await world.webhook("alertmanager", alertmanager("one", group="First"))
    await world.webhook("alertmanager", alertmanager("two", group="Second"))
    await world.advance(seconds=15)
    assert any("Second" in card.plain for card in world.channel("alerts"))


async def test_13_13_a_page_whose_history_stays_unreadable_is_sent_again_after_two_minutes(
    world: Stage,
) -> None:
    kenji = world.slack.state.im(world.slack.user_id("kenji")).id
    world.slack.faults.add("chat.postMessage", faults.drop_before(), channel=kenji)
    world.slack.faults.add("conversations.history", faults.error("missing_scope"), count=10**6, channel=kenji)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=100)
    assert world.dms("kenji") == []
    await world.advance(seconds=50)
    assert len(world.dms("kenji")) == 1
    assert len(world.dms("aya")) == 1, "and the next person did not wait for it"


async def test_13_13_a_second_copy_that_was_sent_unseen_is_deleted_once_history_can_be_read(
    world: Stage,
) -> None:
    world.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    world.slack.faults.add("conversations.history", faults.rate_limit(60), count=31)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=29)
    assert len(posts_to(world, "alerts")) == 1, "a channel waits half an hour"
    await world.advance(minutes=15)
    assert len(posts_to(world, "alerts")) == 2, "then it is said again"
    assert len(world.channel("alerts")) == 1
    assert twice(world) == {}
