"""A picture gets into a message of Slack's, or it does not and says why; the message can do without."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from bot.manifest import manifest
from domain.effects import Drawn, Picture, Text
from domain.errors import Outage, Undeliverable
from domain.outbox import Kind, Letter, Rendered
from notify.slack.blocks import image, section
from notify.slack.chat import SlackChat
from notify.slack.client import Api
from notify.slack.directory import Directory
from notify.slack.limits import BadBlocks, check_message
from notify.slack.uploading import MOST_BYTES, is_ready, upload
from sandbox.slack import Workspace, faults
from sandbox.slack.clocks import ManualClock
from tests.conftest import make_policy
from tests.drawing import Square, png

PICTURE = Picture(kind="anomaly", params={"finding": 7})
WORDS = Rendered(text="p95 is high", blocks=[section("p95 is high")])
DRAWN = Drawn(png=png(), alt_text="A square", filename="anomaly.png")
LETTER = Letter(
    id=1,
    key="note:1",
    kind=Kind.NOTE,
    text=Text(key="x", picture=PICTURE),
    place="alerts",
    priority=30,
    wanted=1,
    shown=0,
    fence=1,
    attempts=0,
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    """A workspace that granted exactly what the manifest asks for."""
    workspace = Workspace(ManualClock(), scopes=manifest(None)["oauth_config"]["scopes"]["bot"])
    await workspace.start()
    yield workspace
    await workspace.stop()


@pytest.fixture
async def chat(ws) -> AsyncIterator[SlackChat]:
    async with aiohttp.ClientSession() as session:
        api = Api(ws.bot_token, ws.api_url, session)
        chat = SlackChat(api, Directory(api, make_policy(), "en"), painter=Square())
        await chat.directory.greet()
        await api.call(api.web.auth_test)
        yield chat


async def illustrated(chat: SlackChat) -> Rendered:
    shown = await chat.illustrate(WORDS, PICTURE, "ja", 5.0)
    assert shown is not None
    return shown


def uploads(ws: Workspace) -> list[str]:
    return [call.method for call in ws.calls if call.method.startswith(("files.", "upload"))]


async def test_the_manifests_scopes_are_enough_to_show_a_picture_below_the_words(ws, chat):
    shown = await illustrated(chat)
    assert all(ws.count(name) == 0 for name in ("alerts", "ops")), "an upload alone is seen by nobody"
    await chat.post(LETTER, shown)
    message = ws.last("alerts")
    assert (message.plain, ws.pictures(message)) == ("p95 is high\nA square in ja", [png()])
    assert uploads(ws) == ["files.getUploadURLExternal", "upload_url", "files.completeUploadExternal"]


async def test_the_painter_is_told_which_picture_and_for_which_reader(chat):
    await illustrated(chat)
    assert chat.painter.asked == [(PICTURE, "ja")]


async def test_the_token_stays_away_from_the_upload_address(ws, chat):
    await illustrated(chat)
    tokens = {call.method: call.token for call in ws.calls}
    assert (tokens["upload_url"], tokens["files.completeUploadExternal"]) == ("", "xoxb-")


async def test_without_a_painter_or_anything_to_draw_there_is_no_picture_and_no_upload(ws, chat):
    assert await chat.illustrate(WORDS, Picture(kind="nothing"), "en", 5.0) is None
    chat.painter = None
    assert await chat.illustrate(WORDS, PICTURE, "en", 5.0) is None
    assert uploads(ws) == []


async def test_a_file_that_slack_still_works_on_is_waited_for(ws, chat):
    ws.file_delay = 2
    await chat.post(LETTER, await illustrated(chat))
    assert uploads(ws).count("files.completeUploadExternal") == 3
    assert [call.outcome for call in ws.calls if call.method == "chat.postMessage"] == ["ok"]


async def test_a_message_whose_file_slack_does_not_know_yet_is_posted_a_moment_later(ws, chat):
    shown = await illustrated(chat)
    (file,) = ws.state.files.values()
    file.waits = 1
    await chat.post(LETTER, shown)
    outcomes = [call.outcome for call in ws.calls if call.method == "chat.postMessage"]
    assert outcomes == ["invalid_blocks", "ok"]
    assert ws.count("alerts") == 1


async def test_a_message_whose_file_never_comes_is_refused_in_the_end(ws, chat):
    shown = await illustrated(chat)
    (file,) = ws.state.files.values()
    ws.state.drop_file(file)
    with pytest.raises(Undeliverable, match="invalid_blocks"):
        await chat.post(LETTER, shown)
    assert ws.count("alerts") == 0


async def test_blocks_without_a_picture_that_slack_refuses_are_not_tried_again(ws, chat):
    ws.faults.add("chat.postMessage", faults.error("invalid_blocks"))
    with pytest.raises(Undeliverable):
        await chat.post(LETTER, WORDS)
    assert [call.outcome for call in ws.calls if call.method == "chat.postMessage"] == ["invalid_blocks"]


@pytest.mark.parametrize(
    "method", ["files.getUploadURLExternal", "upload_url", "files.completeUploadExternal"]
)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.status(500), Outage),
        (faults.rate_limit(30), Outage),
        (faults.drop_before(), Outage),
        (faults.drop_after(), Outage),
        (faults.error("storage_limit_reached"), Undeliverable),
    ],
    ids=["500", "429", "dropped before", "dropped after", "quota"],
)
async def test_trouble_with_a_file_is_told_and_is_no_outage_of_slack(ws, chat, method, fault, kind):
    ws.faults.add(method, fault)
    with pytest.raises(kind):
        await chat.illustrate(WORDS, PICTURE, "en", 5.0)
    assert not chat.is_out()
    assert not chat.is_back()
    assert not await chat.stay_in_touch(100.0), "nobody needs to ask whether Slack is back"
    await chat.post(LETTER, WORDS)
    assert ws.last("alerts").plain == "p95 is high"


async def test_an_app_that_was_installed_without_the_scope_is_refused_a_picture_only(ws, chat):
    ws.api.scopes -= {"files:write"}
    with pytest.raises(Undeliverable, match="missing_scope"):
        await chat.illustrate(WORDS, PICTURE, "en", 5.0)
    await chat.post(LETTER, WORDS)
    assert ws.count("alerts") == 1


@pytest.mark.parametrize(
    "method", ["files.getUploadURLExternal", "upload_url", "files.completeUploadExternal"]
)
async def test_a_slow_step_costs_no_more_than_the_time_that_is_left(ws, chat, method):
    ws.faults.add(method, faults.delay(1.0))
    with pytest.raises(TimeoutError):
        await chat.illustrate(WORDS, PICTURE, "en", 0.2)
    chat.patience = 0.2
    ws.faults.add(method, faults.delay(1.0))
    with pytest.raises(TimeoutError):
        await chat.illustrate(WORDS, PICTURE, "en", 5.0)


async def test_a_slow_painter_costs_no_more_than_the_patience(ws, chat):
    chat.painter = Square(before=lambda: asyncio.sleep(60))
    chat.patience = 0.1
    with pytest.raises(TimeoutError):
        await chat.illustrate(WORDS, PICTURE, "en", 5.0)
    assert uploads(ws) == []


async def test_a_refused_second_completion_says_nothing_about_the_file(ws, chat):
    ws.file_delay = 2
    ws.faults.add("files.completeUploadExternal", faults.error("file_not_found"), nth=2)
    await chat.post(LETTER, await illustrated(chat))
    assert ws.pictures(ws.last("alerts")) == [png()]
    assert [call.outcome for call in ws.calls if call.method == "chat.postMessage"] == [
        "invalid_blocks",
        "ok",
    ]


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        ({"files": [{"id": "F1", "title": "x"}]}, True),
        ({"files": [{"id": "F1", "filetype": "png"}]}, True),
        ({"files": [{"id": "F1", "filetype": ""}]}, False),
        ({"files": []}, True),
        ({}, True),
    ],
)
def test_a_file_is_taken_for_ready_unless_slack_says_that_its_type_is_still_unknown(answer, ready):
    assert is_ready(answer) is ready


async def test_a_picture_of_an_absurd_size_is_not_uploaded(ws, chat):
    with pytest.raises(Undeliverable, match="3000001 bytes"):
        await upload(chat._api, DRAWN.model_copy(update={"png": b"x" * (MOST_BYTES + 1)}))
    assert uploads(ws) == []


def test_a_picture_without_words_or_without_a_file_is_refused_before_slack_would():
    check_message("x", [image("F012345678", "what it shows")])
    check_message("x", [image("F012345678", "x" * 5000)])
    for wrong in (
        {"type": "image", "slack_file": {"id": "F012345678"}},
        {"type": "image", "slack_file": {"id": "chart.png"}, "alt_text": "x"},
        {"type": "image", "alt_text": "x"},
    ):
        with pytest.raises(BadBlocks):
            check_message("x", [wrong])


def test_hostile_words_of_a_picture_stay_on_one_line_and_within_the_limit():
    block = image("F012345678", "a\u202eb\n<!channel>" + "x" * 3000)
    assert block["alt_text"].startswith("a b <!channel>xxx")
    assert len(block["alt_text"]) == 2000
    assert image("F012345678", " \n")["alt_text"] == "—"
