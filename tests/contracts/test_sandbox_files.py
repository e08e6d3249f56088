"""Files in the pretend workspace behave as Slack's do towards the real slack_sdk client."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from sandbox.slack import Workspace, faults
from sandbox.slack.clocks import ManualClock
from tests.drawing import png

PICTURE = png()


@pytest.fixture
async def ws() -> AsyncIterator[Workspace]:
    workspace = Workspace(ManualClock())
    await workspace.start()
    yield workspace
    await workspace.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
def client(ws, session) -> AsyncWebClient:
    return AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session, retry_handlers=[])


async def refused(call) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return caught.value.response["error"]


async def told(call) -> list[str]:
    with pytest.raises(SlackApiError) as caught:
        await call
    assert caught.value.response["error"] == "invalid_blocks"
    return caught.value.response["errors"]


async def put(session, url: str, content: Any) -> tuple[int, str]:
    async with session.post(url, data=content) as answer:
        return answer.status, await answer.text()


async def uploaded(client, session, content: bytes = PICTURE, name: str = "chart.png") -> str:
    """The id of a file that is complete and was shared nowhere."""
    ticket = await client.files_getUploadURLExternal(filename=name, length=len(content))
    assert (await put(session, ticket["upload_url"], content))[0] == 200
    await client.files_completeUploadExternal(files=[{"id": ticket["file_id"], "title": name}])
    return ticket["file_id"]


def image(**source: Any) -> list[dict[str, Any]]:
    return [{"type": "image", "alt_text": "a chart", **source}]


async def post(client, **source: Any):
    return await client.chat_postMessage(channel="alerts", text="look", blocks=image(**source))


# Uploading.


async def test_slack_sdks_own_upload_works_and_shares_the_file_in_a_thread(ws, client):
    parent = await client.chat_postMessage(channel="alerts", text="hot")
    answer = await client.files_upload_v2(
        file=PICTURE,
        filename="chart.png",
        title="p95",
        channel=ws.channel_id("alerts"),
        thread_ts=parent["ts"],
        initial_comment="This is how it went",
    )
    (reply,) = ws.thread("alerts", parent["ts"])
    assert (reply.text, ws.pictures(reply)) == ("This is how it went", [PICTURE])
    info = await client.files_info(file=answer["file"]["id"])
    assert info["file"] | {"title": "p95", "mimetype": "image/png", "filetype": "png"} == info["file"]
    assert (info["file"]["original_w"], info["file"]["original_h"]) == (8, 4)
    assert info["file"]["channels"] == [ws.channel_id("alerts")]
    history = await client.conversations_replies(channel=ws.channel_id("alerts"), ts=parent["ts"])
    assert [file["id"] for file in history["messages"][1]["files"]] == [answer["file"]["id"]]


async def test_several_files_are_uploaded_at_once_without_anybody_seeing_them(ws, client):
    uploads = [{"file": png(n), "filename": f"{n}.png", "title": str(n)} for n in (1, 2)]
    answer = await client.files_upload_v2(file_uploads=uploads)
    assert [file["title"] for file in answer["files"]] == ["1", "2"]
    assert all(ws.count(name) == 0 for name in ("alerts", "ops", "general"))


async def test_an_upload_address_takes_the_announced_bytes_once_and_raw_or_as_a_form(ws, client, session):
    ticket = await client.files_getUploadURLExternal(filename="a.png", length=len(PICTURE))
    url = ticket["upload_url"]
    assert await put(session, url, PICTURE[:-1]) == (
        400,
        f"{len(PICTURE)} bytes were announced, {len(PICTURE) - 1} came",
    )
    assert await refused(client.files_completeUploadExternal(files=[{"id": ticket["file_id"]}])) == (
        "file_not_found"
    )
    assert await put(session, url, PICTURE) == (200, f"OK - {len(PICTURE)}")
    assert (await put(session, url, PICTURE))[0] == 404
    assert (await put(session, f"{ws.url}/upload/v1/guessed", PICTURE))[0] == 404

    form = aiohttp.FormData()
    form.add_field("filename", PICTURE, filename="b.png")
    second = await client.files_getUploadURLExternal(filename="b.png", length=len(PICTURE))
    assert (await put(session, second["upload_url"], form))[0] == 200


async def test_a_file_can_be_completed_again_and_is_shared_only_where_the_bot_may_speak(ws, client, session):
    file = await uploaded(client, session)
    again = await client.files_completeUploadExternal(files=[{"id": file, "title": "better"}])
    assert again["files"][0]["title"] == "better"

    def share(**where: Any):
        return client.files_completeUploadExternal(files=[{"id": file}], **where)

    assert await refused(share(channel_id="C00000000")) == "channel_not_found"
    ws.kick_bot("ops")
    assert await refused(share(channel_id=ws.channel_id("ops"))) == "not_in_channel"
    assert await refused(share(channels=[f"C{n}" for n in range(101)])) == "channels_limit_exceeded"
    lost = share(channel_id=ws.channel_id("alerts"), thread_ts="1.000001")
    assert await refused(lost) == "invalid_arguments"
    theirs = ws.share_file("kenji", "holiday.png", PICTURE)
    assert await refused(client.files_completeUploadExternal(files=[{"id": theirs}])) == "access_denied"
    assert ws.count("alerts") == ws.count("ops") == 0


async def test_a_deleted_file_is_told_from_one_that_never_was(ws, client, session):
    file = await uploaded(client, session)
    posted = await post(client, slack_file={"id": file})
    await client.files_delete(file=file)
    assert await refused(client.files_delete(file=file)) == "file_deleted"
    assert await refused(client.files_info(file=file)) == "file_deleted"
    assert await refused(client.files_info(file="F00000000")) == "file_not_found"
    assert ws.pictures(ws.find("alerts", posted["ts"])) == []
    assert ws.find("alerts", posted["ts"]).plain == "a chart"
    theirs = ws.share_file("kenji", "holiday.png", PICTURE, "alerts")
    assert await refused(client.files_delete(file=theirs)) == "cant_delete_file"


async def test_scopes_are_asked_for(session):
    ws = Workspace(ManualClock(), scopes={"chat:write", "files:write"})
    await ws.start()
    client = AsyncWebClient(token=ws.bot_token, base_url=ws.api_url, session=session, retry_handlers=[])
    file = await uploaded(client, session)
    assert await refused(client.files_info(file=file)) == "missing_scope"
    ws.api.scopes = frozenset({"chat:write"})
    assert await refused(client.files_getUploadURLExternal(filename="a", length=1)) == "missing_scope"
    assert await refused(client.files_completeUploadExternal(files=[{"id": file}])) == "missing_scope"
    assert await refused(client.files_delete(file=file)) == "missing_scope"
    await ws.stop()


# Showing.


async def test_a_message_shows_a_file_by_its_id_or_one_of_its_addresses(ws, client, session):
    file = await uploaded(client, session)
    info = (await client.files_info(file=file))["file"]
    sources = [{"id": file}, {"url": info["url_private"]}, {"url": info["permalink"]}]
    for source in sources:
        posted = await post(client, slack_file=source)
        assert ws.pictures(ws.find("alerts", posted["ts"])) == [PICTURE]
    async with session.get(info["url_private"]) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", PICTURE)
    in_context = [{"type": "context", "elements": image(slack_file={"id": file})}]
    await client.chat_postMessage(channel="alerts", text="look", blocks=in_context)


async def test_a_file_that_the_bot_cannot_show_makes_the_blocks_invalid(ws, client, session):
    wrong = ["invalid slack file [json-pointer:/blocks/0/slack_file]"]
    text = await uploaded(client, session, b"only words", "words.txt")
    announced = await client.files_getUploadURLExternal(filename="a.png", length=9)
    theirs = ws.share_file("kenji", "holiday.png", PICTURE)
    for file in ("F00000000", announced["file_id"], text, theirs):
        assert await told(post(client, slack_file={"id": file})) == wrong
    assert await told(post(client, slack_file={"url": "https://e.example/F00000000/a.png"})) == wrong
    shared = ws.share_file("kenji", "shared.png", PICTURE, "alerts")
    await post(client, slack_file={"id": shared})
    deep = [{"type": "section", "text": {"type": "plain_text", "text": "x"}}]
    deep[0]["accessory"] = image(slack_file={"id": theirs})[0]
    assert await told(client.chat_postMessage(channel="alerts", text="x", blocks=deep)) == [
        "invalid slack file [json-pointer:/blocks/0/accessory/slack_file]"
    ]
    ephemeral = client.chat_postEphemeral(
        channel=ws.channel_id("alerts"),
        user=ws.user_id("kenji"),
        text="x",
        blocks=image(slack_file={"id": theirs}),
    )
    assert await told(ephemeral) == wrong
    home = {"type": "home", "blocks": image(slack_file={"id": theirs})}
    assert await refused(client.views_publish(user_id=ws.user_id("kenji"), view=home)) == "invalid_arguments"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ({}, "must provide exactly one of image_url or slack_file"),
        (
            {"slack_file": {"id": "F00000000"}, "image_url": "https://e.example/a.png"},
            "must provide exactly one of image_url or slack_file",
        ),
        ({"slack_file": {}}, "must provide exactly one of id or url"),
        ({"slack_file": {"id": "F00000000", "url": "https://e.example/"}}, "exactly one of id or url"),
        ({"slack_file": {"id": "chart.png"}}, "input must match regex pattern: ^[F][A-Z0-9]{8,}$"),
        ({"slack_file": "F00000000"}, "must be an object"),
        ({"slack_file": {"id": "F00000000"}, "alt_text": ""}, "must be more than 0 characters"),
    ],
)
async def test_an_image_block_has_one_source_and_words(client, source, fault):
    errors = await told(post(client, **source))
    assert any(fault in error for error in errors), errors


async def test_a_private_address_is_no_public_picture(client, session):
    file = await uploaded(client, session)
    private = (await client.files_info(file=file))["file"]["url_private"]
    assert await told(post(client, image_url=private)) == [
        "downloading image failed [json-pointer:/blocks/0/image_url]"
    ]


async def test_a_file_is_worked_on_for_as_many_looks_as_one_likes(ws, client, session):
    ws.file_delay = 3
    ticket = await client.files_getUploadURLExternal(filename="a.png", length=len(PICTURE))
    await put(session, ticket["upload_url"], PICTURE)
    files = [{"id": ticket["file_id"]}]
    done = await client.files_completeUploadExternal(files=files)
    assert (done["files"][0]["filetype"], done["files"][0]["mimetype"]) == ("", "")
    assert (await client.files_info(file=ticket["file_id"]))["file"]["filetype"] == ""
    await told(post(client, slack_file={"id": ticket["file_id"]}))
    await post(client, slack_file={"id": ticket["file_id"]})
    assert (await client.files_completeUploadExternal(files=files))["files"][0]["filetype"] == "png"


# Trouble, and memory.


async def test_each_step_fails_on_demand_and_is_written_down(ws, client, session):
    for method in ("files.getUploadURLExternal", "files.completeUploadExternal"):
        ws.faults.add(method, faults.error("storage_limit_reached"))
    ask = client.files_getUploadURLExternal
    assert await refused(ask(filename="a.png", length=len(PICTURE))) == "storage_limit_reached"
    ticket = await ask(filename="a.png", length=len(PICTURE))
    for fault, status in ((faults.status(500), 500), (faults.rate_limit(3), 429), (faults.error("no"), 400)):
        ws.faults.add("upload_url", fault)
        assert (await put(session, ticket["upload_url"], PICTURE))[0] == status
    for fault in (faults.drop_before(), faults.drop_after()):
        ws.faults.add("upload_url", fault)
        with pytest.raises(aiohttp.ClientError):
            await put(session, ticket["upload_url"], PICTURE)
    assert (await put(session, ticket["upload_url"], PICTURE))[0] == 404
    files = [{"id": ticket["file_id"]}]
    assert await refused(client.files_completeUploadExternal(files=files)) == "storage_limit_reached"
    await client.files_completeUploadExternal(files=files)
    assert [call.outcome for call in ws.calls if call.method == "upload_url"] == [
        "http 500",
        "http 429",
        "http 400",
        "dropped",
        "dropped after",
        "http 404",
    ]


async def test_files_and_half_done_uploads_survive_on_the_journal(tmp_path, session):
    journal, clock = tmp_path / "slack.db", ManualClock()
    first = Workspace(clock, journal=journal)
    await first.start()
    client = AsyncWebClient(token=first.bot_token, base_url=first.api_url, session=session)
    posted = await post(client, slack_file={"id": await uploaded(client, session)})
    await client.files_upload_v2(file=PICTURE, filename="b.png", channel=first.channel_id("ops"))
    half = await client.files_getUploadURLExternal(filename="c.png", length=len(PICTURE))
    await first.stop()

    second = Workspace(clock, journal=journal)
    await second.start()
    client = AsyncWebClient(token=second.bot_token, base_url=second.api_url, session=session)
    assert second.pictures(second.find("alerts", posted["ts"])) == [PICTURE]
    assert second.pictures(second.last("ops")) == [PICTURE]
    address = second.url + half["upload_url"].removeprefix(first.url)
    assert (await put(session, address, PICTURE))[0] == 200
    await client.files_completeUploadExternal(files=[{"id": half["file_id"]}])
    await second.stop()
