"""The pretend workspace behaves as Slack does towards the real slack_sdk client."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.slack import Workspace, faults
from sandbox.slack.clocks import ManualClock
from sandbox.slack.ids import made_id, micros_of, ts_of

MODAL = {"type": "modal", "title": {"type": "plain_text", "text": "T"}, "blocks": []}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ws(clock) -> AsyncIterator[Workspace]:
    workspace = Workspace(clock)
    await workspace.start()
    yield workspace
    await workspace.stop()


@pytest.fixture
async def client(ws) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        yield AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session, retry_handlers=[])


async def refused(call) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return caught.value.response["error"]


def words(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def card(*labels: str) -> list[dict]:
    buttons = [
        {"type": "button", "action_id": label.lower(), "text": {"type": "plain_text", "text": label}}
        for label in labels
    ]
    return [{"type": "section", "text": words("*Hot*")}, {"type": "actions", "elements": buttons}]


def test_ids_have_slacks_prefixes_and_never_repeat():
    ids = [made_id("C", number) for number in range(5000)]
    assert len(set(ids)) == 5000
    assert all(len(one) == 10 and one.startswith("C0") for one in ids)


def test_a_timestamp_survives_the_way_to_microseconds_and_back():
    assert ts_of(micros_of("1795390388.000123")) == "1795390388.000123"


async def test_timestamps_rise_although_the_clock_stands_still(ws, client, clock):
    stamps = [(await client.chat_postMessage(channel="alerts", text=str(n)))["ts"] for n in range(5)]
    assert stamps == sorted(set(stamps))
    assert all(int(float(ts)) == int(clock.now().timestamp()) for ts in stamps)


async def test_lists_are_paged_by_cursors_that_slack_sdk_follows(ws, client):
    names = []
    async for page in await client.conversations_list(limit=4):
        names += [channel["name"] for channel in page["channels"]]
    assert names == ["general", "alerts", "incidents", "deploys", "ops", "performance"]
    assert await refused(client.conversations_list(cursor="bm9wZQ==")) == "invalid_cursor"


async def test_history_is_newest_first_paged_and_bounded_by_oldest_and_latest(ws, client):
    alerts = ws.channel_id("alerts")
    stamps = [(await client.chat_postMessage(channel=alerts, text=str(n)))["ts"] for n in range(7)]
    seen = []
    async for page in await client.conversations_history(channel=alerts, limit=3):
        seen += [message["ts"] for message in page["messages"]]
    assert seen == stamps[::-1]
    between = await client.conversations_history(channel=alerts, oldest=stamps[1], latest=stamps[4])
    assert [message["ts"] for message in between["messages"]] == [stamps[3], stamps[2]]
    inclusive = await client.conversations_history(
        channel=alerts, oldest=stamps[1], latest=stamps[2], inclusive=True
    )
    assert [message["ts"] for message in inclusive["messages"]] == [stamps[2], stamps[1]]


async def test_metadata_is_returned_only_when_asked_for(ws, client):
    alerts = ws.channel_id("alerts")
    metadata = {"event_type": "outbox", "event_payload": {"id": 7}}
    await client.chat_postMessage(channel=alerts, text="x", metadata=metadata)
    without = await client.conversations_history(channel=alerts)
    assert "metadata" not in without["messages"][0]
    with_it = await client.conversations_history(channel=alerts, include_all_metadata=True)
    assert with_it["messages"][0]["metadata"] == metadata


async def test_a_thread_hangs_from_its_parent_and_never_from_a_reply(ws, client):
    alerts = ws.channel_id("alerts")
    parent = (await client.chat_postMessage(channel=alerts, text="parent"))["ts"]
    reply = (await client.chat_postMessage(channel=alerts, text="reply", thread_ts=parent))["ts"]
    answer = await client.conversations_replies(channel=alerts, ts=parent)
    assert [message["text"] for message in answer["messages"]] == ["parent", "reply"]
    assert answer["messages"][0]["reply_count"] == 1
    assert answer["messages"][0]["latest_reply"] == reply
    assert [message.text for message in ws.messages("alerts")] == ["parent"]
    nested = client.chat_postMessage(channel=alerts, text="x", thread_ts=reply)
    assert await refused(nested) == "cannot_reply_to_message"


async def test_updating_with_text_alone_removes_the_blocks_and_keeps_the_metadata(ws, client):
    metadata = {"event_type": "outbox", "event_payload": {"id": 7}}
    posted = await client.chat_postMessage(channel="alerts", text="x", blocks=card("Go"), metadata=metadata)
    await client.chat_update(channel=posted["channel"], ts=posted["ts"], text="only text")
    message = ws.messages("alerts")[0]
    assert (message.blocks, message.plain, message.metadata) == ((), "only text", metadata)
    long = client.chat_update(channel=posted["channel"], ts=posted["ts"], text="x" * 4001)
    assert await refused(long) == "msg_too_long"


async def test_only_the_apps_own_messages_can_be_changed(ws, client):
    said = await ws.type("kenji", "alerts", "mine")
    alerts = ws.channel_id("alerts")
    assert await refused(client.chat_update(channel=alerts, ts=said.ts, text="x")) == "cant_update_message"
    assert await refused(client.chat_delete(channel=alerts, ts=said.ts)) == "cant_delete_message"


async def test_a_deleted_parent_leaves_a_tombstone_and_its_timestamp_is_never_given_again(ws, client):
    alerts = ws.channel_id("alerts")
    parent = await client.chat_postMessage(channel=alerts, text="parent")
    await client.chat_postMessage(channel=alerts, text="reply", thread_ts=parent["ts"])
    ws.delete_message("alerts", parent["ts"])
    assert [message.text for message in ws.messages("alerts")] == ["This message was deleted."]
    gone = client.chat_update(channel=alerts, ts=parent["ts"], text="x")
    assert await refused(gone) == "message_not_found"


async def test_too_much_text_is_cut_and_too_much_block_text_is_refused(ws, client):
    posted = await client.chat_postMessage(channel="alerts", text="x" * 50_000)
    assert posted["response_metadata"]["warnings"] == ["message_truncated"]
    assert len(ws.messages("alerts")[0].text) == 40_000
    blocks = [{"type": "section", "text": words("x" * 2_700)}] * 5
    heavy = client.chat_postMessage(channel="alerts", text="x", blocks=blocks)
    assert await refused(heavy) == "msg_blocks_too_long"


async def test_archived_channels_take_nothing_and_private_ones_hide(ws, client):
    ws.archive("ops")
    assert await refused(client.chat_postMessage(channel="ops", text="x")) == "is_archived"
    room = await client.conversations_create(name="war-room", is_private=True)
    ws.kick_bot("war-room")
    hidden = client.chat_postMessage(channel=room["channel"]["id"], text="x")
    assert await refused(hidden) == "channel_not_found"


async def test_an_ephemeral_reaches_one_member_and_nobody_else(ws, client):
    alerts = ws.channel_id("alerts")
    await client.chat_postEphemeral(channel=alerts, user=ws.user_id("aya"), text="psst")
    assert [message.text for message in ws.ephemerals("aya")] == ["psst"]
    assert ws.ephemerals("kenji") == ws.messages("alerts") == []
    assert ws.ephemerals("aya")[0].ephemeral
    ghost = client.chat_update(channel=alerts, ts=ws.ephemerals("aya")[0].ts, text="x")
    assert await refused(ghost) == "message_not_found"


async def test_people_who_left_are_not_found_by_email_and_get_no_direct_messages(ws, client):
    aya = ws.user_id("aya")
    ws.deactivate("aya")
    assert await refused(client.users_lookupByEmail(email="aya@bondpoint.example")) == "users_not_found"
    assert await refused(client.conversations_open(users=aya)) == "user_disabled"
    assert (await client.users_info(user=aya))["user"]["deleted"] is True


async def test_a_person_posted_to_by_id_reads_it_in_the_direct_messages(ws, client):
    await client.chat_postMessage(channel=ws.user_id("mika"), text="page")
    assert [message.text for message in ws.dm("mika")] == ["page"]
    assert ws.dm("kenji") == []


async def test_a_trigger_opens_one_view_within_three_real_seconds(ws, client):
    now = [100.0]
    ws.triggers._now = lambda: now[0]
    trigger, late = ws.triggers.issue(ws.user_id("kenji")), ws.triggers.issue(ws.user_id("kenji"))
    await client.views_open(trigger_id=trigger, view=MODAL)
    assert await refused(client.views_open(trigger_id=trigger, view=MODAL)) == "exchanged_trigger_id"
    now[0] += 3.01
    assert await refused(client.views_open(trigger_id=late, view=MODAL)) == "expired_trigger_id"


async def test_modals_stack_three_deep_and_a_stale_hash_conflicts(ws, client):
    kenji = ws.user_id("kenji")
    view = (await client.views_open(trigger_id=ws.triggers.issue(kenji), view=MODAL))["view"]
    stale = view["hash"]
    for _ in range(2):
        top = ws.open_views("kenji")[-1].id
        await client.views_push(trigger_id=ws.triggers.issue(kenji, top), view=MODAL)
    top = ws.open_views("kenji")[-1].id
    fourth = client.views_push(trigger_id=ws.triggers.issue(kenji, top), view=MODAL)
    assert await refused(fourth) == "push_limit_reached"
    await client.views_update(view_id=view["id"], hash=stale, view=MODAL)
    again = client.views_update(view_id=view["id"], hash=stale, view=MODAL)
    assert await refused(again) == "hash_conflict"


async def test_one_message_a_second_a_channel_where_limits_are_on(ws, client, clock):
    ws.rate_limit_posts = True
    await client.chat_postMessage(channel="alerts", text="one")
    await client.chat_postMessage(channel="ops", text="elsewhere")
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel="alerts", text="two")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["Retry-After"] == "1"
    clock.advance(1)
    await client.chat_postMessage(channel="alerts", text="two")


async def test_mentions_are_counted_only_where_slack_would_make_them_live(ws):
    counted = ws.mentions("<@U1> <!channel> <#C1|x> <!subteam^S1> <https://e.example|x> &lt;!here&gt; @kenji")
    assert counted == (1, 1, 1, 1, 1, 0)


async def test_a_message_reads_as_a_person_sees_it(ws, client):
    kenji = ws.user_id("kenji")
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Critical"}},
        {
            "type": "section",
            "text": words(f"<@{kenji}> has it since <!date^1795390388^{{time}}|14:12> &lt;b&gt;"),
        },
        *card("Acknowledge")[1:],
    ]
    await client.chat_postMessage(channel="alerts", text="x", blocks=blocks)
    message = ws.messages("alerts")[0]
    assert message.plain == "Critical\n@kenji has it since 14:12 <b>\n[Acknowledge]"
    assert message.buttons == ("Acknowledge",)


async def test_waiting_ends_with_the_change_and_says_what_happened_when_it_does_not(ws, client):
    waiting = asyncio.create_task(ws.wait_for(lambda: ws.messages("alerts")))
    await client.chat_postMessage(channel="alerts", text="x")
    assert [message.text for message in await waiting] == ["x"]
    with pytest.raises(TimeoutError, match=r"chat\.postMessage ok"):
        await ws.wait_for(lambda: ws.messages("ops"), timeout=0.01)


class TestFaults:
    """Trouble on demand, one kind at a time."""

    async def test_the_second_call_in_one_channel_fails_and_is_written_down(self, ws, client):
        ws.faults.add("chat.postMessage", faults.error("fatal_error"), nth=2, channel="#alerts")
        await client.chat_postMessage(channel="alerts", text="1")
        await client.chat_postMessage(channel="ops", text="elsewhere")
        assert await refused(client.chat_postMessage(channel="alerts", text="2")) == "fatal_error"
        await client.chat_postMessage(channel="alerts", text="3")
        assert [call.fault for call in ws.calls] == ["", "", "error", ""]
        assert [message.text for message in ws.messages("alerts")] == ["1", "3"]

    async def test_a_connection_dropped_before_did_nothing_and_dropped_after_did_everything(self, ws, client):
        ws.faults.add("chat.postMessage", faults.drop_before())
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.chat_postMessage(channel="alerts", text="lost")
        ws.faults.add("chat.postMessage", faults.drop_after())
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.chat_postMessage(channel="alerts", text="kept")
        assert [message.text for message in ws.messages("alerts")] == ["kept"]

    async def test_a_duplicate_does_the_work_twice_and_answers_once(self, ws, client):
        ws.faults.add("chat.postMessage", faults.duplicate())
        await client.chat_postMessage(channel="alerts", text="twice")
        assert [message.text for message in ws.messages("alerts")] == ["twice", "twice"]

    async def test_everything_is_down_until_the_faults_are_cleared(self, ws, client):
        ws.faults.down()
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.auth_test()
        ws.faults.clear()
        assert (await client.auth_test())["ok"]

    async def test_a_server_error_and_garbage_reach_the_client_as_they_are(self, ws, client):
        ws.faults.add("auth.test", faults.status(503))
        with pytest.raises(SlackApiError) as caught:
            await client.auth_test()
        assert caught.value.response.status_code == 503
        ws.faults.add("auth.test", faults.garbage())
        with pytest.raises(SlackApiError):
            await client.auth_test()

    async def test_a_429_is_waited_out_by_slack_sdks_own_handler(self, ws, client):
        client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=1))
        ws.faults.add("chat.postMessage", faults.rate_limit(0))
        await client.chat_postMessage(channel="alerts", text="x")
        assert [call.outcome for call in ws.calls] == ["ratelimited", "ok"]


async def test_a_workspace_opened_on_its_journal_goes_on_where_it_stopped(tmp_path, clock):
    journal = tmp_path / "slack.db"
    first = Workspace(clock, journal=journal)
    await first.start()
    async with aiohttp.ClientSession() as session:
        client = AsyncWebClient(token=first.bot_token, base_url=first.api_url, session=session)
        posted = await client.chat_postMessage(channel="alerts", text="x", blocks=card("Go"))
        await client.chat_postMessage(channel="alerts", text="reply", thread_ts=posted["ts"])
        await client.chat_postEphemeral(channel=posted["channel"], user=first.user_id("aya"), text="psst")
        await client.conversations_create(name="inc-1")
        await client.views_open(trigger_id=first.triggers.issue(first.user_id("aya")), view=MODAL)
        await client.chat_postMessage(channel=first.user_id("kenji"), text="page")
    # The first one is not stopped: a killed process would not have had the time.
    second = Workspace(clock, journal=journal)
    assert second.messages("alerts") == first.messages("alerts")
    assert second.thread("alerts", posted["ts"]) == first.thread("alerts", posted["ts"])
    assert second.ephemerals("aya") == first.ephemerals("aya")
    assert second.dm("kenji") == first.dm("kenji")
    assert second.channel_id("inc-1") == first.channel_id("inc-1")
    assert [view.id for view in second.open_views("aya")] == [view.id for view in first.open_views("aya")]
    assert second.state.stamps.last >= micros_of(first.dm("kenji")[0].ts)
    assert second.state.new_id("C") != first.channel_id("inc-1")
    await first.stop()
    await second.stop()


async def test_strangers_are_kept_out_of_the_page_and_its_routes(ws):
    async with aiohttp.ClientSession() as session:
        async with session.get(ws.url, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        body = {"person": "kenji", "channel": "alerts", "text": "x"}
        for headers in ({}, {"Origin": "https://evil.example", "X-Sandbox": "1"}):
            async with session.post(ws.url + "/world/type", json=body, headers=headers) as answer:
                assert answer.status == 403
        async with session.post(ws.url + "/world/type", json=body, headers={"X-Sandbox": "1"}) as answer:
            assert (await answer.json())["ok"] is True
        async with session.get(ws.url) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert [message.text for message in ws.messages("alerts")] == ["x"]


async def test_the_scopes_stand_in_the_headers_of_every_answer(ws, client):
    assert "chat:write" in (await client.auth_test()).headers["X-OAuth-Scopes"].split(",")


async def test_parameters_count_from_query_form_and_json_alike(ws):
    alerts = ws.channel_id("alerts")
    headers = {"Authorization": f"Bearer {ws.bot_token}"}
    values = {"channel": alerts, "text": "x"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for way in ({"params": values}, {"data": values}, {"json": values}):
            async with session.post(ws.api_url + "chat.postMessage", **way) as answer:
                assert (await answer.json())["ok"] is True
    assert len(ws.messages("alerts")) == 3


def test_the_roster_speaks_for_itself():
    ws = Workspace(ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    assert ws.user("kenji").locale == "ja-JP"
    assert ws.user("yuko").email == "yuko@bondpoint.example"
    with pytest.raises(LookupError, match="kenji"):
        ws.user("nobody")
