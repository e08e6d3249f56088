"""A person lives the story in a browser: the page shows, updates in place, and acts."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.slack import Workspace, WorldButton
from sandbox.slack.clocks import ManualClock
from tests.drawing import png

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with chromedriver (Debian: chromium chromium-driver)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,900",
)
HOSTILE = (
    '&lt;img src=x onerror="document.title=1"&gt; &lt;!channel&gt; <javascript:alert(1)|click> *bold* `a*b*`'
)


def plain(text: str) -> dict[str, str]:
    return {"type": "plain_text", "text": text}


CONFIRM = {
    "title": plain("Roll back?"),
    "text": plain("All traffic moves."),
    "confirm": plain("Yes"),
    "deny": plain("No"),
}
FORM = {
    "type": "modal",
    "callback_id": "declare",
    "title": plain("Declare incident"),
    "submit": plain("Declare"),
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
            "element": {
                "type": "static_select",
                "action_id": "a",
                "options": [{"text": plain("P1"), "value": "P1"}],
            },
        },
    ],
}


def card(*labels: str) -> list[dict[str, Any]]:
    rollback = {
        "type": "button",
        "action_id": "rollback",
        "style": "danger",
        "text": plain("Roll Back"),
        "confirm": CONFIRM,
    }
    buttons = [{"type": "button", "action_id": "ack", "text": plain(label)} for label in labels]
    return [
        {"type": "header", "text": plain("🔴 決済APIが遅い")},
        {"type": "section", "text": {"type": "mrkdwn", "text": HOSTILE}},
        {
            "type": "section",
            "fields": [{"type": "mrkdwn", "text": "*Started*\n<!date^1795324200^{time}|fallback>"}],
        },
        {"type": "actions", "elements": [*buttons, rollback]},
    ]


class Page:
    """A browser window, driven from a thread so that the server goes on."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    async def do(self, work: Callable[[Any], Any]) -> Any:
        return await asyncio.to_thread(work, self.driver)

    async def until(self, script: str) -> Any:
        """Return the script's first true value."""
        from selenium.webdriver.support.ui import WebDriverWait

        return await self.do(
            lambda d: WebDriverWait(d, 8, 0.05).until(lambda w: w.execute_script(f"return {script}"))
        )

    async def click(self, selector: str, text: str = "") -> None:
        wanted = f"(n) => !{text!r} || n.textContent.trim() === {text!r}"
        find = f"[...document.querySelectorAll({selector!r})].find({wanted})"
        await self.until(f"Boolean({find})")
        await self.do(lambda d: d.execute_script(f"{find}.click()"))

    async def write(self, selector: str, text: str) -> None:
        from selenium.webdriver.common.by import By

        await self.do(lambda d: d.find_element(By.CSS_SELECTOR, selector).send_keys(text))

    async def open(self, url: str) -> None:
        await self.do(lambda d: d.get("about:blank"))
        await self.do(lambda d: d.get(url))
        await self.until("document.body.dataset.ready === 'true'")


@pytest.fixture
async def page(tmp_path) -> AsyncIterator[Page]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = await asyncio.to_thread(webdriver.Chrome, options=options, service=Service(DRIVER))
    yield Page(driver)
    await asyncio.to_thread(driver.quit)


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    clock = ManualClock(datetime(2026, 11, 22, 5, 10, tzinfo=UTC))
    workspace = Workspace(clock, buttons=[WorldButton("Kill the bot", "/demo/kill", "kill -9 now?")])

    async def advance(seconds: float) -> None:
        clock.advance(seconds)

    workspace.on_advance = advance
    workspace.status = lambda: {"bot": "running"}
    await workspace.start()
    yield workspace
    await workspace.stop()


@pytest.fixture
async def bot(ws) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session)
        app = AsyncApp(client=client, signing_secret=ws.signing_secret)

        @app.command("/incident")
        async def declare(ack, body):
            await client.views_open(trigger_id=body["trigger_id"], view=FORM)
            await ack()

        @app.view("declare")
        async def declared(ack, view, client):
            title = view["state"]["values"]["title"]["a"]["value"]
            if title == "x":
                await ack(response_action="errors", errors={"title": "Say what users notice."})
                return
            await ack()
            await client.chat_postMessage(channel="incidents", text=f"Declared: {title}")

        @app.action("ack")
        async def acknowledge(ack, body, client):
            await ack()
            text = f"Acknowledged by <@{body['user']['id']}>"
            await client.chat_update(channel=body["channel"]["id"], ts=body["message"]["ts"], text=text)

        @app.action("rollback")
        async def rollback(ack, respond):
            await ack()
            await respond("rolling back")

        handler = AsyncSocketModeHandler(app, ws.app_token)
        await handler.connect_async()
        await ws.wait_for(lambda: ws.sockets.count == 1)
        yield client
        await handler.close_async()


async def test_a_person_presses_confirms_fills_in_switches_and_sees_it_all_in_place(ws, bot, page):
    posted = await bot.chat_postMessage(channel="alerts", text="hot", blocks=card("Acknowledge"))
    await page.open(f"{ws.url}/#kenji/alerts")

    # Hostile text is text; marks, dates and Japanese read well.
    shown = await page.until("document.querySelector('#messages article')?.innerText")
    assert '<img src=x onerror="document.title=1"> <!channel> click bold a*b*' in shown
    assert "🔴 決済APIが遅い" in shown
    assert "14:10" in await page.until("document.querySelector('time.when').innerText")
    assert (
        await page.do(
            lambda d: d.execute_script(
                "return document.querySelectorAll('#messages img, #messages a').length"
            )
        )
        == 0
    )

    # A danger button asks first; No sends nothing, Yes does.
    sent = len(ws.deliveries)
    await page.click("button", "Roll Back")
    await page.click("dialog button", "No")
    assert len(ws.deliveries) == sent
    await page.click("button", "Roll Back")
    await page.click("dialog button", "Yes")
    await page.until("document.querySelector('.whisper')?.innerText.includes('rolling back')")

    # A press updates the message where it stands.
    await page.click("button", "Acknowledge")
    await page.until(
        f"document.querySelector('[data-ts=\"{posted['ts']}\"]').innerText.includes('Acknowledged by @kenji')"
    )
    assert await page.until("document.querySelectorAll('.message:not(.whisper)').length === 1")

    # A slash command opens a form, the form complains, and then is taken.
    await page.write("#composer textarea", "/incident declare\n")
    await page.until("document.querySelector('dialog')?.getAttribute('aria-label') === 'Declare incident'")
    await page.click("dialog button[type=submit]")
    await page.until("document.querySelectorAll('dialog .error').length === 2")
    await page.write("dialog input.field", "x")
    await page.write("dialog select.field", "P1")
    await page.click("dialog button[type=submit]")
    await page.until("document.querySelector('dialog .error')?.innerText === 'Say what users notice.'")
    assert await page.until("document.querySelector('dialog select').value") == "P1"
    await page.write("dialog input.field", " 決済が失敗")
    await page.click("dialog button[type=submit]")
    await page.until("!document.querySelector('dialog')")
    await page.until("document.querySelector('#channels .unread')?.innerText.includes('incidents')")

    # The thread pane replies, and the world's clock moves.
    await page.click("button[aria-label='Reply in thread']")
    await page.until("!document.getElementById('thread').hidden")
    await page.write("#thread-composer textarea", "見ています\n")
    await page.until("document.querySelectorAll('#replies article').length === 2")
    assert [one.text for one in ws.thread("alerts", posted["ts"])] == ["見ています"]
    await page.click("#advance button", "+15 min")
    await page.until("document.getElementById('now').innerText.includes('14:25')")
    assert "running" in await page.until("document.getElementById('status').innerText")

    # Somebody else sees neither the ephemeral nor kenji's direct messages.
    await bot.chat_postMessage(channel=ws.user_id("kenji"), text="only kenji")
    await page.until("document.querySelector('#dms .badge')?.innerText === '1'")
    await page.open(f"{ws.url}/#aya/alerts")
    assert await page.until("document.querySelectorAll('#messages article').length") == 1
    assert await page.do(lambda d: d.execute_script("return document.querySelector('#dms .badge')")) is None

    # A bot that does not answer is told in a toast.
    ws.silence_sockets()
    await page.write("#composer textarea", "/incident list\n")
    assert "operation_timeout" in await page.until("document.querySelector('.toast')?.innerText")
    ws.silence_sockets(False)
    noise = await page.do(lambda d: [entry["message"] for entry in d.get_log("browser")])
    assert noise == []


async def test_a_permalink_opens_the_page_at_its_message(ws, bot, page):
    posted = await bot.chat_postMessage(channel="ops", text="look here")
    reply = await bot.chat_postMessage(channel="ops", text="in the thread", thread_ts=posted["ts"])
    link = await bot.chat_getPermalink(channel=posted["channel"], message_ts=reply["ts"])
    await page.open(link["permalink"])
    assert await page.until("document.getElementById('title').innerText") == "# ops"
    assert "in the thread" in await page.until("document.getElementById('replies').innerText")


async def test_pictures_are_shown_in_the_thread_and_keep_their_words_when_the_file_is_gone(ws, bot, page):
    parent = await bot.chat_postMessage(channel="alerts", text="p95 is high")
    uploaded = await bot.files_upload_v2(file=png(640, 240), filename="p95.png")
    file = {"id": uploaded["file"]["id"]}
    blocks = [
        {"type": "section", "text": plain("980 ms, expected 410-520 ms")},
        {"type": "image", "slack_file": file, "alt_text": "p95 since noon, far above its band"},
    ]
    where = {"channel": parent["channel"], "thread_ts": parent["ts"]}
    await bot.chat_postMessage(**where, text="p95", blocks=blocks)
    await bot.files_upload_v2(
        file=png(64, 32), filename="shared.png", channel=where["channel"], thread_ts=where["thread_ts"]
    )
    await page.open(f"{ws.url}/#kenji/alerts/{parent['ts']}")
    sizes = "[...document.querySelectorAll('#replies img')].map((img) => img.naturalWidth).join()"
    await page.until(f"{sizes} === '640,64'")
    shown = await page.until("document.querySelector('#replies img').getBoundingClientRect().width")
    assert 200 < shown <= 640
    assert await page.until("document.querySelector('#replies img').alt") == blocks[1]["alt_text"]

    await bot.files_delete(file=file["id"])
    await page.do(lambda d: d.refresh())
    await page.until("document.querySelector('#replies .noimage')?.innerText.includes('far above its band')")
    assert await page.until("document.querySelectorAll('#replies img').length") == 1
