"""Slack refuses, stalls, lies, loses its answer, or is away: everything is said once in the end, in order."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
import structlog

from domain.escalation import PageStatus
from domain.policy import Ladder, Level, Person, Policy
from sandbox.slack import faults
from sandbox.stage import Stage
from storage.rows import table
from storage.tables import PageRow
from tests.conftest import make_policy, open_stage
from tests.flows.looking import ESCALATION, OUTBOX, copies, notes, posts_to, rows, twice, unsent
from tests.payloads import alertmanager, monitoring

PAGE = table(PageRow)


async def test_a_card_that_slack_limits_is_posted_when_it_said_and_the_page_does_not_wait(
    stage: Stage,
) -> None:
    stage.slack.faults.add("chat.postMessage", faults.rate_limit(7), channel="alerts")
    await stage.webhook("cloud-monitoring", monitoring())
    assert stage.channel("alerts") == []
    assert len(stage.dms("kenji")) == 1

    await stage.advance(seconds=6.9)
    assert stage.channel("alerts") == []
    await stage.advance(seconds=0.1)
    assert len(stage.channel("alerts")) == 1
    refused, taken = posts_to(stage, "alerts")
    assert refused.outcome == "ratelimited"
    assert taken.at - refused.at >= timedelta(seconds=7)


async def test_messages_behind_a_limited_one_keep_their_order(world: Stage) -> None:
    world.slack.faults.add("chat.postMessage", faults.rate_limit(9), nth=2, channel="alerts")
    for number in range(4):
        await world.webhook("alertmanager", alertmanager("host", group=f"Alert{number}"), settle=False)
    await world.settle()
    assert len(world.channel("alerts")) == 1
    await world.advance(seconds=8)
    assert len(world.channel("alerts")) == 1, "the lane is closed until Slack's time is over"
    await world.advance(seconds=5)

    titles = [card.plain.splitlines()[0] for card in world.channel("alerts")]
    assert [title.partition("· ")[2] for title in titles] == [f"Alert{number} on host" for number in range(4)]


async def test_an_edit_that_slack_limits_is_made_later_and_loses_nothing(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    stage.slack.faults.add("chat.update", faults.rate_limit(20), channel="alerts")
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(seconds=19)
    assert "Recovered" not in stage.card("alerts").plain
    assert notes(stage, "alerts") == []
    await stage.advance(seconds=2)

    assert "Recovered" in stage.card("alerts").plain
    assert len(notes(stage, "alerts")) == 1
    assert await unsent(stage) == []


BROKEN = {
    "503": faults.status(503),
    "500": faults.status(500),
    "dropped before": faults.drop_before(),
    "dropped after": faults.drop_after(),
    "garbage": faults.garbage(),
    "internal_error": faults.error("internal_error"),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("place", ["alerts", "incidents", "kenji"])
async def test_a_message_whose_fate_is_unknown_is_looked_for_and_stands_exactly_once(
    world: Stage, place: str, fault: faults.Action
) -> None:
    channel = world.slack.state.im(world.slack.user_id("kenji")).id if place == "kenji" else place
    world.slack.faults.add("chat.postMessage", fault, channel=channel)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=30)

    assert len(world.channel("alerts")) == 1
    assert len(world.channel("incidents")) == 1
    assert len(world.dms("kenji")) == 1
    assert twice(world) == {}
    assert await unsent(world) == []
    looked = [call for call in world.slack.calls if call.method == "conversations.history"]
    assert len(looked) == 1, "Slack was asked before anything was sent again"
    posts = len(posts_to(world, channel))
    assert posts == (1 if fault.kind == "drop_after" else 2)
    await world.advance(minutes=5)
    assert len(world.dms("kenji")) == 2, "the ladder went on"


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
async def test_a_line_of_a_thread_whose_fate_is_unknown_stands_exactly_once(
    world: Stage, fault: faults.Action
) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.add("chat.postMessage", fault, channel="alerts")
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(seconds=30)

    assert len(notes(world, "alerts")) == 1
    assert len(world.channel("alerts")) == 1
    assert await unsent(world) == []
    assert [call for call in world.slack.calls if call.method == "conversations.replies"]


async def test_every_first_answer_that_slack_loses_still_leaves_each_message_once(stage: Stage) -> None:
    stage.slack.faults.add("chat.postMessage", faults.drop_after(), count=3)
    stage.slack.faults.add("chat.update", faults.drop_after(), count=2)
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.advance(seconds=30)
    await stage.press("aya", stage.card("alerts"), "Acknowledge")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(minutes=2)

    assert twice(stage) == {}
    assert len(stage.channel("alerts")) == len(stage.channel("incidents")) == len(stage.dms("kenji")) == 1
    assert await unsent(stage) == []


async def test_an_update_that_arrives_twice_changes_nothing(world: Stage) -> None:
    world.slack.faults.add("chat.update", faults.duplicate(), count=20)
    world.slack.faults.add("conversations.open", faults.duplicate(), count=20)
    await world.webhook("cloud-monitoring", monitoring())
    await world.press("aya", world.card("alerts"), "Acknowledge")
    await world.advance(minutes=10)

    assert "Acknowledged by aya" in world.card("alerts").plain
    assert len(world.channel("alerts")) == 1
    assert len(world.dms("kenji")) == 1


async def test_a_history_that_cannot_be_read_holds_the_message_back_until_it_can(world: Stage) -> None:
    world.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    world.slack.faults.add("conversations.history", faults.rate_limit(40))
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(seconds=35)
    assert len(posts_to(world, "alerts")) == 1
    await world.advance(seconds=15)
    assert len(world.channel("alerts")) == 1
    assert await unsent(world) == []


async def test_slack_is_away_for_ten_minutes_and_everything_is_said_late_but_once(stage: Stage) -> None:
    await _away(stage, 10)


async def test_slack_is_away_for_half_an_hour_and_everything_is_said_late_but_once(world: Stage) -> None:
    await _away(world, 30)


async def _away(stage: Stage, minutes: int) -> None:
    stage.slack.faults.down()
    assert await stage.webhook("cloud-monitoring", monitoring()) == 200
    await stage.advance(minutes=minutes / 2)
    assert await stage.webhook("alertmanager", alertmanager("db-1")) == 200
    assert (await stage.get("/readyz"))[0] == 200, "the door stays open while Slack is away"
    status, body = await stage.get("/health")
    assert status == 200
    assert '"slack"' in body
    assert '"outbox"' in body
    assert (await rows(stage, sa.select(ESCALATION.c.phase)))[0]["phase"] != "stopped", (
        "the ladder did not die"
    )
    await stage.advance(minutes=minutes / 2)
    assert stage.channel("alerts") == []
    stage.slack.faults.clear()
    await stage.advance(minutes=6)

    critical, warning = stage.channel("alerts")
    assert "Critical" in critical.plain
    assert "Warning" in warning.plain
    assert len(stage.channel("incidents")) == 1
    assert stage.dms("kenji")
    assert stage.dms("mika")
    assert twice(stage) == {}
    assert await unsent(stage) == []
    status, body = await stage.get("/readyz")
    assert (status, body) == (200, '{"ready": true, "problems": {}}')
    keys = {row["key"] for row in await rows(stage, sa.select(OUTBOX.c.key).where(OUTBOX.c.kind == "note"))}
    assert keys <= set(copies(stage)), "no line was lost"

    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    pages = len(stage.dms("kenji") + stage.dms("aya") + stage.dms("yuko"))
    await stage.advance(hours=2)
    assert len(stage.dms("kenji") + stage.dms("aya") + stage.dms("yuko")) == pages


async def test_after_slack_was_away_the_first_page_goes_to_the_first_person(world: Stage) -> None:
    world.slack.faults.down()
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=10)
    world.slack.faults.clear()
    await world.advance(minutes=6)

    first = [world.dms(person)[0].channel for person in ("kenji", "aya", "yuko")]
    posts = [call for call in world.slack.calls if call.method == "chat.postMessage" and call.outcome == "ok"]
    at = [next(call.at for call in posts if call.params["channel"] == channel) for channel in first]
    assert at[0] <= min(at), "the first person is not told later than those who come after"


async def test_a_card_that_somebody_deletes_is_posted_anew_and_its_thread_says_why(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    old = stage.card("alerts")
    stage.slack.delete_message("alerts", old.ts)
    assert stage.channel("alerts") == []
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(seconds=30)

    (new,) = stage.channel("alerts")
    assert new.ts != old.ts
    assert "Recovered" in new.plain
    said = notes(stage, "alerts")
    assert any("was deleted" in note for note in said)
    assert any("reports recovery" in note for note in said), "replies follow"
    assert await unsent(stage) == []


async def test_a_card_with_replies_that_somebody_deletes_is_posted_anew_too(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=5)
    old = world.card("incidents")
    assert "No answer yet" in notes(world, "incidents")[0]
    world.slack.delete_message("incidents", old.ts)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    await world.advance(seconds=30)

    new = world.card("incidents")
    assert new.ts != old.ts
    assert "Acknowledged by kenji" in new.plain
    assert any("was deleted" in note for note in notes(world, "incidents"))
    assert any("kenji has it" in note for note in notes(world, "incidents")), "replies follow"
    assert await unsent(world) == []


async def test_a_line_for_a_deleted_thread_follows_to_the_new_card(world: Stage) -> None:
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.delete_message("alerts", world.card("alerts").ts)
    world.slack.faults.add("chat.update", faults.rate_limit(3), channel="alerts")
    await world.webhook("cloud-monitoring", monitoring(state="closed"))
    await world.advance(seconds=60)

    (card,) = world.channel("alerts")
    assert "Recovered" in card.plain
    assert any("reports recovery" in note for note in notes(world, "alerts"))
    assert twice(world) == {}


async def test_an_archived_alerts_channel_sends_new_cards_to_ops_with_a_note(stage: Stage) -> None:
    stage.slack.archive("alerts")
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.advance(seconds=30)

    (card,) = [message for message in stage.channel("ops") if "Critical" in message.plain]
    assert "Acknowledge" in card.buttons
    assert any("could not be posted in the alerts channel" in reply.plain for reply in stage.thread(card))
    assert len(stage.dms("kenji")) == 1
    await stage.press("aya", card, "Acknowledge")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(seconds=30)
    (card,) = [message for message in stage.channel("ops") if "API error rate" in message.plain]
    assert "Recovered" in card.plain
    assert any("reports recovery" in reply.plain for reply in stage.thread(card))
    assert await unsent(stage) == []

    stage.slack.unarchive("alerts")
    await stage.webhook("alertmanager", alertmanager("db-1"))
    assert len(stage.channel("alerts")) == 1, "what is new finds its own channel again"


async def test_a_card_in_a_channel_that_is_archived_later_moves_to_ops(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    stage.slack.archive("alerts")
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    await stage.webhook("cloud-monitoring", monitoring(state="closed"))
    await stage.advance(minutes=2)

    moved = [message for message in stage.channel("ops") if "Recovered" in message.plain]
    assert len(moved) == 1, [message.plain for message in stage.channel("ops")]
    said = [reply.plain for reply in stage.thread(moved[0])]
    assert any("could not be posted in the alerts channel" in line for line in said)
    assert any("reports recovery" in line for line in said)
    assert await unsent(stage) == []


async def test_a_bot_that_was_removed_from_the_alerts_channel_still_posts_there(world: Stage) -> None:
    await world.webhook("alertmanager", alertmanager("one", group="First"))
    world.slack.kick_bot("alerts")
    await world.webhook("alertmanager", alertmanager("two", group="Second"))
    world.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    await world.webhook("alertmanager", alertmanager("three", group="Third"))
    await world.advance(minutes=2)

    assert len(world.channel("alerts")) + len(world.channel("ops")) >= 3
    assert sum("Third" in card.plain for card in world.channel("alerts")) == 1
    assert await unsent(world) == []


async def test_a_revoked_token_is_named_in_health_and_everything_is_said_once_it_works_again(
    world: Stage,
) -> None:
    world.slack.faults.add("*", faults.error("token_revoked"), count=10_000)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=10)
    assert (await world.get("/readyz"))[0] == 200
    _, body = await world.get("/health")
    assert "token_revoked" in body
    world.slack.faults.clear()
    await world.advance(minutes=6)

    assert len(world.channel("alerts")) == 1
    assert world.dms("kenji")
    assert await unsent(world) == []


def _people(**changes: Person) -> Policy:
    policy = make_policy()
    return policy.model_copy(update={"people": policy.people | changes})


async def test_a_person_without_a_slack_account_is_passed_over_at_once_and_the_thread_says_so(
    sqlite_only: str,
) -> None:
    policy = _people(kenji=Person(name="kenji", email="kenji@elsewhere.example", locale="ja"))
    async with open_stage(sqlite_only, policy) as world:
        await world.webhook("cloud-monitoring", monitoring())
        assert world.dms("kenji") == []
        assert len(world.dms("aya")) == 1, "the next one, at once"
        await world.advance(seconds=10)
        said = notes(world, "incidents")
        assert any("The page to kenji failed" in note for note in said)
        assert any("paging aya" in note for note in said)
        assert not any("within two minutes" in note for note in said), "it failed at once"
        assert "kenji (Slack failed: users_not_found)" in world.card("incidents").plain


async def test_a_person_whose_account_was_deactivated_is_passed_over_at_once(stage: Stage) -> None:
    stage.slack.deactivate("kenji")
    await stage.webhook("cloud-monitoring", monitoring())

    assert stage.dms("kenji") == []
    assert len(stage.dms("aya")) == 1
    await stage.advance(seconds=10)
    assert any("The page to kenji failed" in note for note in notes(stage, "incidents"))


async def test_no_record_of_a_message_is_lost_to_a_deadlock_of_its_neighbours(stage: Stage) -> None:
    stage.slack.deactivate("kenji")
    with structlog.testing.capture_logs() as logs:
        for number in range(12):
            alert = monitoring(f"0.{number}", policy=f"P{number}", service=f"service-{number}")
            await stage.webhook("cloud-monitoring", alert)
            await stage.advance(seconds=5)

    assert [line for line in logs if line["event"] in {"outbox.not_recorded", "job.outage"}] == []
    pages = await rows(stage, sa.select(PAGE.c.status).where(PAGE.c.person == "aya"))
    assert [page["status"] for page in pages] == [PageStatus.DELIVERED] * 12


async def test_where_nobody_can_be_reached_ops_is_told_and_the_ladder_begins_again_each_minute(
    stage: Stage,
) -> None:
    for person in ("kenji", "aya", "yuko"):
        stage.slack.deactivate(person)
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.advance(minutes=3, seconds=5)

    told = [line.plain for line in stage.channel("ops") if "Nobody could be paged" in line.plain]
    assert told
    assert any("Nobody could be reached" in note for note in notes(stage, "incidents"))
    failed = await rows(stage, sa.select(ESCALATION))
    assert failed[0]["phase"] != "stopped"
    assert failed[0]["round"] >= 10, "three rungs, four times"
    user = stage.slack.user("aya")
    user.deleted = False
    stage.slack.state.save_user(user)
    await stage.advance(minutes=1, seconds=5)
    (page,) = stage.dms("aya")
    await stage.press("aya", page, "対応する")
    lines = len(stage.channel("ops"))
    await stage.advance(hours=1)
    assert len(stage.dms("aya")) == 1
    assert len(stage.channel("ops")) == lines


async def test_a_night_in_which_nobody_can_be_reached_does_not_flood_ops_or_the_thread(world: Stage) -> None:
    for person in ("kenji", "aya", "yuko"):
        world.slack.deactivate(person)
    await world.webhook("cloud-monitoring", monitoring())
    await world.advance(minutes=10)

    assert len(world.channel("ops")) <= 12
    assert len(notes(world, "incidents")) <= 24


async def test_a_page_that_was_answered_before_it_was_sent_is_never_sent(stage: Stage) -> None:
    channel = stage.slack.state.im(stage.slack.user_id("kenji")).id
    stage.slack.faults.add("chat.postMessage", faults.rate_limit(30), channel=channel)
    await stage.webhook("cloud-monitoring", monitoring())
    await stage.press("aya", stage.card("alerts"), "Acknowledge")
    await stage.advance(minutes=5)

    assert stage.dms("kenji") == []
    assert await unsent(stage) == []
    assert (
        "kenji (not needed any more)" in stage.card("incidents").plain
        or "being sent" not in stage.card("incidents").plain
    )


async def test_a_page_of_unknown_fate_that_did_not_arrive_is_not_sent_once_somebody_has_it(
    world: Stage,
) -> None:
    channel = world.slack.state.im(world.slack.user_id("kenji")).id
    world.slack.faults.add("chat.postMessage", faults.drop_before(), channel=channel)
    world.slack.faults.add("conversations.history", faults.rate_limit(20), channel=channel)
    await world.webhook("cloud-monitoring", monitoring())
    await world.press("aya", world.card("alerts"), "Acknowledge")
    await world.advance(minutes=5)

    assert world.dms("kenji") == []
    assert await unsent(world) == []


async def test_the_incident_card_is_a_reply_where_incidents_and_alerts_share_a_channel(
    database_url: str,
) -> None:
    policy = make_policy()
    policy = policy.model_copy(
        update={"channels": policy.channels.model_copy(update={"incidents": policy.channels.alerts})}
    )
    async with open_stage(database_url, policy) as world:
        await world.webhook("cloud-monitoring", monitoring())
        (card,) = world.channel("alerts")
        (incident,) = world.thread(card)
        assert "P1 INC-1" in incident.plain
        await world.press("kenji", incident, "Acknowledge")
        await world.type("kenji", "alerts", "/incident resolve INC-1 done")
        await world.advance(seconds=30)
        (card,) = world.channel("alerts")
        replies = [reply.plain for reply in world.thread(card)]
        assert "Resolved by kenji" in replies[0]
        assert len(replies) == 3
        assert world.channel("incidents") == []
        assert twice(world) == {}


async def test_a_level_without_a_ladder_says_so_instead_of_being_silent(sqlite_only: str) -> None:
    policy = make_policy()
    policy = policy.model_copy(update={"ladders": policy.ladders | {Level.CRITICAL: Ladder()}})
    async with open_stage(sqlite_only, policy) as world:
        await world.webhook("cloud-monitoring", monitoring())
        await world.advance(seconds=5)
        assert any("pages nobody" in note for note in notes(world, "incidents"))
        assert "pages nobody" in world.card("incidents").plain
