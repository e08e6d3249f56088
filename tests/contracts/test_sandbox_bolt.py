"""A real slack_bolt app answers the pretend workspace over signed HTTP and over Socket Mode alike."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from sandbox.slack import Workspace
from sandbox.slack.clocks import ManualClock


def plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}


def form(**more: Any) -> dict[str, Any]:
    choice = {
        "type": "static_select",
        "action_id": "a",
        "options": [{"text": plain("P1 High"), "value": "P1"}],
    }
    return {
        "type": "modal",
        "callback_id": "declare",
        "title": plain("Declare"),
        "submit": plain("Declare"),
        "notify_on_close": True,
        "blocks": [
            {
                "type": "input",
                "block_id": "title",
                "label": plain("Title"),
                "element": {"type": "plain_text_input", "action_id": "a"},
            },
            {
                "type": "input",
                "block_id": "level",
                "label": plain("Severity"),
                "optional": True,
                "element": choice,
            },
            {
                "type": "input",
                "block_id": "who",
                "label": plain("Owner"),
                "optional": True,
                "element": {"type": "users_select", "action_id": "a"},
            },
        ],
        **more,
    }


DANGER = {"title": plain("Sure?"), "text": plain("Really"), "confirm": plain("Yes"), "deny": plain("No")}
CARD = [
    {
        "type": "actions",
        "elements": [
            {"type": "button", "action_id": "ack", "text": plain("Acknowledge"), "value": "7"},
            {"type": "button", "action_id": "rollback", "text": plain("Roll Back"), "confirm": DANGER},
            {
                "type": "overflow",
                "action_id": "more",
                "options": [{"text": plain("Silence 1 h"), "value": "s1"}],
            },
            {"type": "users_select", "action_id": "assign", "placeholder": plain("Assign to")},
        ],
    }
]


class Heard:
    """What the bot heard, in order."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    @property
    def last(self) -> dict[str, Any]:
        return self.bodies[-1]


def build(client: AsyncWebClient, secret: str, heard: Heard) -> AsyncApp:
    app = AsyncApp(client=client, signing_secret=secret)

    @app.middleware
    async def note(body, next):  # noqa: A002 - the name is Bolt's.
        heard.bodies.append(body)
        await next()

    @app.command("/toban")
    async def command(ack, command, client):
        if command["text"] == "form":
            await client.views_open(trigger_id=command["trigger_id"], view=form())
            await ack()
        elif command["text"] == "loud":
            await ack({"response_type": "in_channel", "text": "for all"})
        else:
            await ack(f"you said {command['text']}")

    @app.command("/deploy")
    async def slow(ack):
        """Never acknowledges."""

    @app.action("ack")
    async def acknowledge(ack, respond):
        await ack()
        await respond("taken", replace_original=True)

    @app.action("more")
    @app.action("assign")
    @app.action("rollback")
    async def other(ack):
        await ack()

    @app.view("declare")
    async def declare(ack, view):
        title = view["state"]["values"]["title"]["a"]["value"]
        if title == "bad":
            await ack(response_action="errors", errors={"title": "Say more."})
        elif title == "wrong":
            await ack(response_action="errors", errors={"nowhere": "Lost."})
        elif title == "push":
            await ack(response_action="push", view=form(title=plain("Second")))
        elif title == "update":
            await ack(response_action="update", view=form(title=plain("Changed")))
        elif title == "clear":
            await ack(response_action="clear")
        else:
            await ack()

    @app.view_closed("declare")
    async def closed(ack):
        await ack()

    @app.event("app_mention")
    async def mentioned(say):
        await say("yes?")

    @app.event("app_home_opened")
    async def home(client, event):
        view = {"type": "home", "blocks": [{"type": "header", "text": plain("All quiet")}]}
        await client.views_publish(user_id=event["user"], view=view)

    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    # Bolt reads the real clock when it checks signatures.
    workspace = Workspace(ManualClock(), wall=lambda: datetime.now(UTC))  # noqa: TID251
    workspace.event_delays = (0.0, 0.0, 0.0)
    await workspace.start()
    yield workspace
    await workspace.stop()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=["http", "socket"])
async def bot(request, ws, heard) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session)
        app = build(client, ws.signing_secret, heard)
        if request.param == "http":
            async with serving(app.web_app(path="/slack/events")) as url:
                ws.events_url = f"{url}/slack/events"
                yield client
        else:
            handler = AsyncSocketModeHandler(app, ws.app_token)
            await handler.connect_async()
            await ws.wait_for(lambda: ws.sockets.count == 1)
            yield client
            await handler.close_async()


async def posted(ws: Workspace, bot: AsyncWebClient) -> str:
    return (await bot.chat_postMessage(channel="alerts", text="card", blocks=CARD))["ts"]


async def test_a_slash_commands_acknowledgement_is_shown_to_the_person_alone(ws, bot, heard):
    delivery = await ws.type("kenji", "alerts", "/toban assign @aya in #ops")
    assert delivery.ok
    assert delivery.ms < 3000
    assert [one.plain for one in ws.ephemerals("kenji")] == ["you said assign @aya in #ops"]
    assert ws.messages("alerts") == []
    aya, ops = ws.user_id("aya"), ws.channel_id("ops")
    assert heard.last["text"] == f"assign <@{aya}|aya> in <#{ops}|ops>"
    assert heard.last["channel_name"] == "alerts"


async def test_an_answer_in_channel_is_shown_to_all(ws, bot):
    await ws.type("kenji", "alerts", "/toban loud")
    assert [message.text for message in ws.messages("alerts")] == ["for all"]


async def test_a_command_that_nobody_declared_never_leaves_the_client(ws, bot):
    delivery = await ws.type("kenji", "alerts", "/nope")
    assert (delivery.error, delivery.transport) == ("invalid_command", "none")
    assert "invalid_command" in ws.toasts[-1].text


async def test_a_pressed_button_reaches_the_bot_and_its_answer_replaces_the_message(ws, bot, heard):
    ts = await posted(ws, bot)
    delivery = await ws.press("aya", "alerts", ts, "Acknowledge")
    assert delivery.ok
    await ws.wait_for(lambda: ws.find("alerts", ts).text == "taken")
    assert heard.last["actions"][0]["value"] == "7"
    assert heard.last["user"]["id"] == ws.user_id("aya")
    with pytest.raises(LookupError, match="nothing to press"):
        await ws.press("aya", "alerts", ts, "Acknowledge")


async def test_a_confirm_dialog_that_is_denied_sends_nothing(ws, bot, heard):
    ts = await posted(ws, bot)
    denied = await ws.press("aya", "alerts", ts, "Roll Back", confirm=False)
    assert denied.transport == "none"
    assert heard.bodies == []
    assert (await ws.press("aya", "alerts", ts, "rollback")).ok


async def test_menus_send_what_was_chosen(ws, bot, heard):
    ts = await posted(ws, bot)
    await ws.press("aya", "alerts", ts, "Silence 1 h")
    assert heard.last["actions"][0]["selected_option"]["value"] == "s1"
    await ws.press("aya", "alerts", ts, "assign", option="dan")
    assert heard.last["actions"][0]["selected_user"] == ws.user_id("dan")
    with pytest.raises(LookupError, match="Acknowledge"):
        await ws.press("aya", "alerts", ts, "Approve")


async def test_a_form_is_refused_by_the_client_then_by_the_bot_and_then_taken(ws, bot, heard):
    await ws.type("kenji", "alerts", "/toban form")
    view = ws.open_views("kenji")[0].id
    before = len(heard.bodies)
    unsent = await ws.submit("kenji", view, {})
    assert unsent.errors == {"title": "Please complete this required field."}
    assert len(heard.bodies) == before
    refused = await ws.submit("kenji", view, {"Title": "bad"})
    assert refused.errors == ws.open_views("kenji")[0].errors == {"title": "Say more."}
    taken = await ws.submit("kenji", view, {"title": "Checkout", "Severity": "P1 High", "Owner": "aya"})
    assert taken.ok
    assert ws.open_views("kenji") == []
    values = heard.last["view"]["state"]["values"]
    assert values["level"]["a"]["selected_option"]["value"] == "P1"
    assert values["who"]["a"]["selected_user"] == ws.user_id("aya")


async def test_a_form_may_be_answered_with_another_view(ws, bot):
    await ws.type("kenji", "alerts", "/toban form")
    first = ws.open_views("kenji")[0].id
    await ws.submit("kenji", first, {"title": "update"})
    assert ws.view_plain(ws.open_views("kenji")[0]).startswith("Changed")
    await ws.submit("kenji", first, {"title": "push"})
    assert len(ws.open_views("kenji")) == 2
    await ws.submit("kenji", ws.open_views("kenji")[1].id, {"title": "clear"})
    assert ws.open_views("kenji") == []


async def test_errors_about_an_unknown_block_leave_the_form_open_with_a_visible_failure(ws, bot):
    await ws.type("kenji", "alerts", "/toban form")
    delivery = await ws.submit("kenji", ws.open_views("kenji")[0].id, {"title": "wrong"})
    assert delivery.error == "dispatch_failed"
    assert "nowhere" in delivery.reason
    assert len(ws.open_views("kenji")) == 1


async def test_a_closed_form_is_told_where_the_view_asked(ws, bot, heard):
    await ws.type("kenji", "alerts", "/toban form")
    await ws.close_view("kenji", ws.open_views("kenji")[0].id)
    assert heard.last["type"] == "view_closed"
    assert ws.open_views("kenji") == []


async def test_a_mention_and_the_home_tab_reach_the_bot_as_events(ws, bot):
    await ws.type("mika", "alerts", "@toban are you there?")
    await ws.wait_for(lambda: len(ws.messages("alerts")) == 2)
    assert ws.messages("alerts")[-1].text == "yes?"
    await ws.open_home("mika")
    await ws.wait_for(lambda: ws.home("mika"))
    assert ws.view_plain(ws.home("mika")) == "All quiet"


async def test_a_replayed_delivery_is_the_same_to_the_byte(ws, bot, heard):
    ts = await posted(ws, bot)
    first = await ws.press("aya", "alerts", ts, "Roll Back")
    again = await ws.replay(first)
    assert again.sent == first.sent
    assert again.headers == first.headers
    assert heard.bodies[-1] == heard.bodies[-2]


async def test_an_acknowledgement_after_three_real_seconds_is_a_failure_that_the_person_sees(ws, bot):
    delivery = await ws.type("kenji", "alerts", "/deploy")
    assert delivery.error in {"operation_timeout", "dispatch_failed"}
    assert delivery.ms >= 2900
    assert delivery.error in ws.toasts[-1].text


async def test_a_response_url_works_five_times_within_thirty_minutes(ws):
    async with aiohttp.ClientSession() as session:
        await ws.type("kenji", "alerts", "/toban x")
        body = ws.deliveries[-1].sent.decode()
        from urllib.parse import parse_qs

        hook = AsyncWebhookClient(parse_qs(body)["response_url"][0], session=session)
        assert (await hook.send(text="one")).status_code == 200
        assert (await hook.send(text="two", response_type="in_channel")).status_code == 200
        assert [one.text for one in ws.ephemerals("kenji")] == ["one"]
        assert [one.text for one in ws.messages("alerts")] == ["two"]
        for _ in range(3):
            assert (await hook.send(text="more")).status_code == 200
        spent = await hook.send(text="six")
        assert (spent.status_code, "used_url" in spent.body) == (404, True)
        await ws.type("kenji", "alerts", "/toban x")
        late = AsyncWebhookClient(
            parse_qs(ws.deliveries[-1].sent.decode())["response_url"][0], session=session
        )
        ws.clock.advance(30 * 60 + 1)
        answer = await late.send(text="late")
        assert (answer.status_code, "expired_url" in answer.body) == (404, True)


async def test_nobody_at_the_other_end_is_a_failed_dispatch(ws):
    assert (await ws.type("kenji", "alerts", "/toban x")).error == "dispatch_failed"
    ws.events_url = "http://127.0.0.1:9/slack/events"
    assert (await ws.type("kenji", "alerts", "/toban x")).reason == "connection_failed"


async def test_an_event_is_tried_four_times_and_then_given_up(ws):
    seen: list[tuple[str, str]] = []

    async def broken(request: web.Request) -> web.Response:
        seen.append(
            (request.headers.get("X-Slack-Retry-Num", ""), request.headers.get("X-Slack-Retry-Reason", ""))
        )
        return web.Response(status=500)

    app = web.Application()
    app.router.add_post("/slack/events", broken)
    async with serving(app) as url:
        ws.events_url = f"{url}/slack/events"
        await ws.open_home("kenji")
        await ws.settle()
    assert seen == [("", ""), ("1", "http_error"), ("2", "http_error"), ("3", "http_error")]
    ids = {delivery.json() or delivery.sent for delivery in ws.deliveries}
    assert len(ids) == 1


class TestSocketMode:
    """Sockets that come, go and misbehave."""

    @pytest.fixture
    async def sockets(self, ws, heard) -> AsyncIterator[AsyncSocketModeHandler]:
        async with aiohttp.ClientSession() as session:
            client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session)
            handler = AsyncSocketModeHandler(build(client, ws.signing_secret, heard), ws.app_token)
            await handler.connect_async()
            await ws.wait_for(lambda: ws.sockets.count == 1)
            yield handler
            await handler.close_async()

    async def test_a_ticket_opens_one_socket_once(self, ws):
        async with aiohttp.ClientSession() as session:
            client = AsyncWebClient(token=ws.app_token, base_url=ws.api_url, session=session)
            url = (await client.apps_connections_open(app_token=ws.app_token))["url"]
            async with session.ws_connect(url) as socket:
                hello = await socket.receive_json()
                assert (hello["type"], hello["num_connections"]) == ("hello", 1)
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(url)

    async def test_the_client_comes_back_after_it_was_told_to_refresh(self, ws, sockets):
        await ws.disconnect_sockets("refresh_requested")
        await ws.wait_for(lambda: ws.sockets.opened == 2 and ws.sockets.count == 1)
        assert (await ws.type("kenji", "alerts", "/toban x")).ok

    async def test_silent_sockets_hold_the_connection_but_nothing_arrives(self, ws, sockets, heard):
        ws.silence_sockets()
        delivery = await ws.type("kenji", "alerts", "/toban x")
        assert (delivery.error, heard.bodies) == ("operation_timeout", [])
        ws.silence_sockets(False)
        assert (await ws.type("kenji", "alerts", "/toban x")).ok

    async def test_an_envelope_goes_to_one_socket_only_and_passes_on_when_that_one_dies(self, ws):
        async with aiohttp.ClientSession() as session:
            client = AsyncWebClient(token=ws.app_token, base_url=ws.api_url, session=session)
            pair = []
            for _ in range(2):
                url = (await client.apps_connections_open(app_token=ws.app_token))["url"]
                socket = await session.ws_connect(url)
                await socket.receive_json()
                pair.append(socket)
            typing = asyncio.create_task(ws.type("kenji", "alerts", "/toban x"))
            waiting = {asyncio.create_task(socket.receive()): socket for socket in pair}
            done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=5)
            first, (second,) = done.pop(), rest
            envelope = first.result().json()
            await waiting[first].close()
            repeated = (await second).json()
            assert repeated == envelope
            await waiting[second].send_json(
                {"envelope_id": envelope["envelope_id"], "payload": {"text": "ok"}}
            )
            assert (await typing).ok
            assert [one.text for one in ws.ephemerals("kenji")] == ["ok"]
            await waiting[second].close()
