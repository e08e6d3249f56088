"""Every method of the pretend Slack answers in the shapes and with the error codes that Slack documents."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.slack import BONDPOINT, Workspace
from sandbox.slack.clocks import ManualClock
from sandbox.slack.methods import METHODS

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "slack-api"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason=f"Slack's reference data is not at {REFERENCE}"
)

# Codes that any method may answer with (docs.slack.dev, the common errors of every method page).
COMMON = {
    "invalid_arguments",
    "invalid_auth",
    "missing_scope",
    "not_allowed_token_type",
    "not_authed",
    "ratelimited",
}
# Answers seen from Slack that its method page does not list.
UNLISTED = {("chat.postMessage", "thread_not_found"), ("api.test", "my_error")}

PLAIN = {"type": "plain_text", "text": "Plain"}
MODAL = {"type": "modal", "title": PLAIN, "blocks": []}
HOME = {"type": "home", "blocks": []}
TYPES = {"str": str, "bool": bool, "list": list, "dict": dict, "int": (int, float)}


class Client:
    """Calls methods with JSON bodies, as a plain HTTP client would."""

    def __init__(self, ws: Workspace, session: aiohttp.ClientSession) -> None:
        self.ws = ws
        self.session = session

    async def __call__(self, method: str, token: str | None = None, **params: Any) -> dict[str, Any]:
        chosen = self.ws.bot_token if token is None else token
        headers = {"Authorization": f"Bearer {chosen}"} if chosen else {}
        async with self.session.post(self.ws.api_url + method, json=params, headers=headers) as answer:
            return await answer.json()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    ws = Workspace(ManualClock())
    await ws.start()
    async with aiohttp.ClientSession() as session:
        yield Client(ws, session)
    await ws.stop()


async def successes(client: Client) -> dict[str, dict[str, Any]]:
    """Return one successful answer of every method."""
    ws = client.ws
    alerts, kenji = ws.channel_id("alerts"), ws.user_id("kenji")
    first = await client(
        "chat.postMessage", channel=alerts, text="one", metadata={"event_type": "x", "event_payload": {}}
    )
    await client("chat.postMessage", channel=alerts, text="two", thread_ts=first["ts"])
    spare = await client("chat.postMessage", channel=alerts, text="spare")
    room = await client("conversations.create", name="inc-1")
    opened = await client("views.open", trigger_id=ws.triggers.issue(kenji), view=MODAL)
    pushed = ws.triggers.issue(kenji, opened["view"]["id"])
    group = (await client("usergroups.list"))["usergroups"][0]["id"]
    ticket = await client("files.getUploadURLExternal", filename="words.txt", length=5, alt_txt="words")
    async with client.session.post(ticket["upload_url"], data=b"words") as taken:
        assert taken.status == 200
    file = ticket["file_id"]
    return {
        "api.test": await client("api.test", foo="bar"),
        "apps.connections.open": await client("apps.connections.open", token=ws.app_token),
        "auth.test": await client("auth.test"),
        "blocks.validate": await client("blocks.validate", blocks=[{"type": "divider"}]),
        "bots.info": await client("bots.info"),
        "chat.getPermalink": await client("chat.getPermalink", channel=alerts, message_ts=first["ts"]),
        "chat.postEphemeral": await client("chat.postEphemeral", channel=alerts, user=kenji, text="psst"),
        "chat.postMessage": first,
        "chat.update": await client("chat.update", channel=alerts, ts=first["ts"], text="changed"),
        "reactions.add": await client("reactions.add", channel=alerts, timestamp=first["ts"], name="eyes"),
        "pins.add": await client("pins.add", channel=alerts, timestamp=first["ts"]),
        "conversations.history": await client("conversations.history", channel=alerts, limit=1),
        "conversations.replies": await client("conversations.replies", channel=alerts, ts=first["ts"]),
        "chat.delete": await client("chat.delete", channel=alerts, ts=spare["ts"]),
        "conversations.list": await client("conversations.list", limit=2),
        "conversations.info": await client("conversations.info", channel=alerts),
        "conversations.open": await client("conversations.open", users=kenji),
        "conversations.join": await client("conversations.join", channel=alerts),
        "conversations.members": await client("conversations.members", channel=alerts),
        "conversations.create": room,
        "conversations.setTopic": await client("conversations.setTopic", channel=alerts, topic="hot"),
        "conversations.invite": await client(
            "conversations.invite", channel=room["channel"]["id"], users=kenji
        ),
        "conversations.archive": await client("conversations.archive", channel=room["channel"]["id"]),
        "files.getUploadURLExternal": ticket,
        "files.completeUploadExternal": await client("files.completeUploadExternal", files=[{"id": file}]),
        "files.info": await client("files.info", file=file),
        "files.delete": await client("files.delete", file=file),
        "team.info": await client("team.info"),
        "usergroups.list": await client("usergroups.list", include_users=True, include_count=True),
        "usergroups.users.list": await client("usergroups.users.list", usergroup=group),
        "users.conversations": await client("users.conversations", user=kenji),
        "users.info": await client("users.info", user=kenji, include_locale=True),
        "users.list": await client("users.list"),
        "users.lookupByEmail": await client("users.lookupByEmail", email="Kenji@bondpoint.example"),
        "views.open": opened,
        "views.push": await client("views.push", trigger_id=pushed, view=MODAL),
        "views.update": await client("views.update", view_id=opened["view"]["id"], view=MODAL),
        "views.publish": await client("views.publish", user_id=kenji, view=HOME),
    }


def method_doc(method: str) -> dict[str, Any]:
    return json.loads((REFERENCE / "methods" / f"{method}.json").read_text())


def sample(method: str) -> dict[str, Any]:
    path = REFERENCE / "samples" / "api" / f"{method}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keys_of(documents: list[Any], depth: int = 0) -> dict[str, Any]:
    """Merge example documents into one tree of known keys."""
    known: dict[str, list[Any]] = {}
    for document in documents:
        for key, value in document.items() if isinstance(document, dict) else ():
            known.setdefault(key, []).append(value)
    return known


@needs_reference
async def test_every_success_answer_has_slacks_required_keys_no_invented_ones_and_their_types(client):
    answers = await successes(client)
    assert set(answers) == set(METHODS), "a method without a success case here"
    for method, answer in answers.items():
        assert answer["ok"] is True, (method, answer)
        doc, seen = method_doc(method), sample(method)
        output = doc.get("output") or {}
        required = set(output.get("required", []))
        assert required <= set(answer), (method, required - set(answer))
        examples = [example["example"] for example in doc.get("examples", {}).values()]
        allowed = {"ok"} | set(output.get("properties", {})) | set(seen).union(*map(set, examples))
        assert set(answer) <= allowed, (method, set(answer) - allowed)
        for key, value in answer.items():
            if key in seen and seen[key] is not None and value is not None:
                assert isinstance(value, TYPES[type(seen[key]).__name__]), (method, key, value)


@needs_reference
@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("conversations.info", "channel"),
        ("users.info", "user"),
        ("team.info", "team"),
        ("bots.info", "bot"),
        ("views.open", "view"),
        ("chat.postMessage", "message"),
        ("files.info", "file"),
    ],
)
async def test_the_documents_inside_answers_carry_only_keys_that_slack_was_seen_to_send(client, method, key):
    answer = (await successes(client))[method][key]
    documents = [sample(method).get(key)]
    documents += [one["example"].get(key) for one in method_doc(method).get("examples", {}).values()]
    known = keys_of(documents)
    assert set(answer) <= set(known), set(answer) - set(known)


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("api.test", {"error": "my_error"}, "my_error"),
    ("auth.test", {"token": "xoxb-wrong"}, "invalid_auth"),
    ("auth.test", {"token": ""}, "not_authed"),
    ("apps.connections.open", {}, "not_allowed_token_type"),
    ("bots.info", {"bot": "B1"}, "bot_not_found"),
    ("chat.postMessage", {"channel": "C1", "text": "x"}, "channel_not_found"),
    ("chat.postMessage", {"channel": "alerts"}, "no_text"),
    ("chat.postMessage", {"channel": "alerts", "blocks": [{"type": "nope"}]}, "invalid_blocks"),
    ("chat.postMessage", {"channel": "alerts", "blocks": "[{"}, "invalid_blocks_format"),
    ("chat.postMessage", {"channel": "alerts", "text": "x", "thread_ts": "1.000001"}, "thread_not_found"),
    ("chat.postMessage", {"channel": "alerts", "text": "x", "metadata": {"a": 1}}, "invalid_metadata_format"),
    ("chat.postMessage", {"channel": "alerts", "text": "x", "markdown_text": "y"}, "markdown_text_conflict"),
    ("chat.update", {"channel": "ALERTS", "ts": "1.000001", "text": "x"}, "message_not_found"),
    ("chat.update", {"channel": "C1", "ts": "1.000001", "text": "x"}, "channel_not_found"),
    ("chat.delete", {"channel": "ALERTS", "ts": "1.000001"}, "message_not_found"),
    ("chat.getPermalink", {"channel": "ALERTS", "message_ts": "1.000001"}, "message_not_found"),
    ("chat.postEphemeral", {"channel": "ALERTS", "user": "U1", "text": "x"}, "user_not_in_channel"),
    ("conversations.archive", {"channel": "GENERAL"}, "cant_archive_general"),
    ("conversations.create", {"name": "alerts"}, "name_taken"),
    ("conversations.create", {"name": ""}, "invalid_name_required"),
    ("conversations.create", {"name": "x" * 81}, "invalid_name_maxlength"),
    ("conversations.create", {"name": "Big Name"}, "invalid_name_specials"),
    ("conversations.create", {"name": "---"}, "invalid_name_punctuation"),
    ("conversations.history", {"channel": "ALERTS", "oldest": "soon"}, "invalid_ts_oldest"),
    ("conversations.history", {"channel": "ALERTS", "cursor": "!"}, "invalid_cursor"),
    ("conversations.info", {"channel": "C1"}, "channel_not_found"),
    ("conversations.invite", {"channel": "ALERTS", "users": "U1"}, "user_not_found"),
    ("conversations.list", {"types": "secret"}, "invalid_types"),
    ("conversations.list", {"limit": "many"}, "invalid_limit"),
    ("conversations.open", {}, "users_list_not_supplied"),
    ("conversations.open", {"users": "U1"}, "user_not_found"),
    ("conversations.replies", {"channel": "ALERTS", "ts": "1.000001"}, "thread_not_found"),
    ("conversations.setTopic", {"channel": "ALERTS", "topic": "x" * 251}, "too_long"),
    ("files.completeUploadExternal", {}, "invalid_arguments"),
    ("files.completeUploadExternal", {"files": [{"id": "F00000001"}]}, "file_not_found"),
    ("files.delete", {"file": "F00000001"}, "file_not_found"),
    ("files.getUploadURLExternal", {"filename": "a.png"}, "invalid_arguments"),
    ("files.getUploadURLExternal", {"length": 5}, "invalid_arguments"),
    ("files.getUploadURLExternal", {"filename": "a.png", "length": 0}, "missing_argument"),
    (
        "files.getUploadURLExternal",
        {"filename": "a", "length": 5, "alt_txt": "x" * 1001},
        "alt_txt_too_large",
    ),
    (
        "files.getUploadURLExternal",
        {"filename": "a", "length": 5, "snippet_type": "klingon"},
        "unknown_snippet_type",
    ),
    (
        "files.getUploadURLExternal",
        {"filename": "a", "length": 2**20 + 1, "snippet_type": "text"},
        "snippet_too_large",
    ),
    ("files.getUploadURLExternal", {"filename": "a", "length": 2**30}, "file_upload_size_restricted"),
    ("files.info", {"file": "F00000001"}, "file_not_found"),
    ("pins.add", {"channel": "ALERTS"}, "no_item_specified"),
    ("reactions.add", {"channel": "ALERTS", "timestamp": "1.000001", "name": "eyes"}, "message_not_found"),
    ("team.info", {"team": "T9"}, "team_not_found"),
    ("usergroups.users.list", {"usergroup": "S9"}, "no_such_subteam"),
    ("users.info", {"user": "U1"}, "user_not_found"),
    ("users.lookupByEmail", {"email": "nobody@bondpoint.example"}, "users_not_found"),
    ("views.open", {"trigger_id": "1.2.abc", "view": MODAL}, "invalid_trigger_id"),
    ("views.open", {"view": MODAL}, "invalid_arguments"),
    ("views.open", {"trigger_id": "1.2.abc", "view": HOME}, "invalid_arguments"),
    ("views.update", {"view_id": "V1", "view": MODAL}, "not_found"),
    ("views.publish", {"user_id": "U1", "view": HOME}, "invalid_arguments"),
    ("blocks.validate", {}, "invalid_arguments"),
    ("blocks.validate", {"blocks": [{"type": "nope"}]}, "invalid_blocks"),
    ("blocks.validate", {"view": {"type": "nope"}}, "invalid_view"),
]


@needs_reference
@pytest.mark.parametrize(("method", "params", "code"), REFUSALS)
async def test_a_bad_call_is_refused_with_an_error_code_that_slack_documents(client, method, params, code):
    ids = {name.upper(): client.ws.channel_id(name) for name in ("alerts", "general")}
    params = {
        key: ids.get(value, value) if isinstance(value, str) else value for key, value in params.items()
    }
    answer = await client(method, **params)
    assert (answer["ok"], answer["error"]) == (False, code)
    assert code in method_doc(method).get("errors", {}) or code in COMMON or (method, code) in UNLISTED


@needs_reference
async def test_each_methods_scope_stands_in_slacks_reference():
    for name, method in METHODS.items():
        documented = set(method_doc(name)["scope"].get("bot", []))
        assert set(method.scopes) <= documented or not documented, name


async def test_an_unknown_method_is_told_apart_from_a_refusal(client):
    assert (await client("chat.shout"))["error"] == "unknown_method"


async def test_a_scope_that_was_not_granted_is_named_with_those_that_were():
    ws = Workspace(ManualClock(), scopes={"chat:write", "channels:read"})
    await ws.start()
    async with aiohttp.ClientSession() as session:
        client = Client(ws, session)
        answer = await client("users.list")
        assert answer == {
            "ok": False,
            "error": "missing_scope",
            "needed": "users:read",
            "provided": "channels:read,chat:write",
        }
        im = await client("conversations.list", types="im")
        assert (im["error"], im["needed"]) == ("missing_scope", "im:read")
        ws.kick_bot("alerts")
        assert (await client("chat.postMessage", channel="alerts", text="x"))["error"] == "not_in_channel"
    await ws.stop()


async def test_user_groups_need_a_paid_plan():
    from dataclasses import replace

    ws = Workspace(ManualClock(), roster=replace(BONDPOINT, paid=False))
    await ws.start()
    async with aiohttp.ClientSession() as session:
        assert (await Client(ws, session)("usergroups.list"))["error"] == "plan_upgrade_required"
    await ws.stop()
