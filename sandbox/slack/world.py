"""The page's own routes under /world and the page itself: what one person sees and does in a browser."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from sandbox.slack.acting import Acting
from sandbox.slack.api import json_response
from sandbox.slack.delivery import Delivery
from sandbox.slack.docs import view_doc
from sandbox.slack.ids import made_id
from sandbox.slack.records import Post, Room, View
from sandbox.slack.state import Change

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Advance = Callable[[float], Awaitable[None]]
Status = Callable[[], dict[str, Any]]

_PAGE = Path(__file__).parent / "page"
_NEWEST = 200
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' https:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class WorldButton:
    """A button in the page's top bar: it POSTs to ``path``, after asking ``confirm`` if that is not empty."""

    label: str
    path: str
    confirm: str = ""


@dataclass(slots=True)
class WorldSlider:
    """A dial in the page's top bar: it POSTs ``{"value": …}`` to ``path``, and shows what it is set to."""

    label: str
    path: str
    low: float
    high: float
    step: float
    unit: str
    value: float


class Browsable(Acting):
    """A workspace that has a page: where the page is served, and what its top bar holds.

    ``on_advance`` lets so many seconds pass, where the world's clock may be moved; ``status`` says what
    stands beside the time.
    """

    app: web.Application
    buttons: list[WorldButton]
    sliders: list[WorldSlider]
    on_advance: Advance | None
    status: Status | None


def add_world(ws: Browsable) -> None:
    """Add the page and its routes to a workspace's application."""
    world = World(ws)
    router = ws.app.router
    for path in ("/", "/archives/{channel}/{message}"):
        router.add_get(path, _file("index.html", "text/html"))
    router.add_get("/page/app.js", _file("app.js", "text/javascript"))
    for name in sorted(path.name for path in _PAGE.glob("*.js") if path.name != "app.js"):
        router.add_get(f"/page/{name}", _file(name, "text/javascript"))
    router.add_get("/page/style.css", _file("style.css", "text/css"))
    router.add_get("/favicon.ico", _no_icon)
    router.add_get("/world/state", world.state)
    router.add_get("/world/messages", world.messages)
    router.add_get("/world/stream", world.stream)
    router.add_get("/world/status", world.status)
    for path, handler in {
        "type": world.type,
        "press": world.press,
        "press_view": world.press_view,
        "submit": world.submit,
        "close_view": world.close_view,
        "suggest": world.suggest,
        "home": world.home,
        "shortcut": world.shortcut,
        "delete": world.delete,
        "clock": world.clock,
    }.items():
        router.add_post(f"/world/{path}", handler)
    ws.app.middlewares.append(_own_page_only)


def _file(name: str, kind: str) -> Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        body = await asyncio.to_thread((_PAGE / name).read_bytes)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    return handler


async def _no_icon(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


@web.middleware
async def _own_page_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse POSTs to /world that neither come from the page's own origin nor carry its header."""
    if request.method == "POST" and request.path.startswith("/world/"):
        origin = request.headers.get("Origin")
        same = origin is not None and urlsplit(origin).netloc == request.host
        if not same and (origin is not None or "X-Sandbox" not in request.headers):
            return json_response({"ok": False, "error": "foreign_origin"}, 403)
    return await handler(request)


class World:
    """Answers the page. ``person`` in every request says who is looking."""

    def __init__(self, ws: Browsable) -> None:
        self.ws = ws

    # Seeing.

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Answer everything that the page needs at first."""
        ws, state = self.ws, self.ws.state
        viewer = ws.user(request.query.get("person") or state.roster.people[0].name)
        rooms = [room for room in state.rooms.values() if not room.is_im and viewer.id in room.members]
        im = state.im(viewer.id)
        body: Json = {
            "team": state.roster.team,
            "bot": {"id": state.bot_user_id, "name": state.roster.bot_real_name},
            "viewer": viewer.id,
            "people": [
                {
                    "id": user.id,
                    "name": user.name,
                    "real_name": user.real_name,
                    "locale": user.locale,
                    "tz": user.tz,
                    "title": user.title,
                    "deleted": user.deleted,
                    "bot": user.is_bot,
                }
                for user in state.users.values()
            ],
            "groups": {key: ws.name_of(key) for key in self._groups()},
            "channels": [self._room(room) for room in rooms],
            "dm": self._room(im),
            "commands": list(state.roster.commands),
            "buttons": [{"label": one.label, "path": one.path, "confirm": one.confirm} for one in ws.buttons],
            "sliders": [asdict(one) for one in ws.sliders],
            "advance": ws.on_advance is not None,
            "views": self._views(viewer.id),
            **self._status(),
        }
        return json_response(body)

    def _groups(self) -> list[str]:
        return [made_id("S", 50 + index) for index in range(len(self.ws.state.roster.groups))]

    def _room(self, room: Room) -> Json:
        line = self.ws.state.timeline[room.id]
        return {
            "id": room.id,
            "name": room.name,
            "topic": room.topic,
            "archived": room.archived,
            "im": room.is_im,
            "bot_in": self.ws.bot_user_id in room.members,
            "members": len(room.members),
            "recent": [(ts, self.ws.state.posts[room.id, ts].user) for ts in line[-30:]],
        }

    def _status(self) -> Json:
        told = self.ws.status() if self.ws.status is not None else {}
        return {"now": self.ws.clock.now().timestamp(), "status": told}

    def _views(self, user: str) -> Json:
        home = self.ws.state.homes.get(user)
        return {
            "modals": [self._view(view) for view in self.ws.state.stack(user)],
            "home": self._view(home) if home is not None else None,
        }

    def _view(self, view: View) -> Json:
        return {**view_doc(self.ws.state, view), "errors": view.errors}

    def post(self, post: Post) -> Json:
        """Return a message for the page."""
        state = self.ws.state
        replies = state.replies(post)
        return {
            "channel": post.channel,
            "ts": post.ts,
            "user": post.user,
            "text": post.text,
            "blocks": post.blocks,
            "files": [{"id": key, "name": state.files[key].title} for key in post.files],
            "thread_ts": post.thread_ts,
            "broadcast": post.broadcast,
            "edited": post.edited,
            "app": post.by_app,
            "ephemeral": bool(post.whisper_to),
            "tombstone": post.tombstone,
            "reactions": {name: len(users) for name, users in post.reactions.items()},
            "reply_count": len(replies),
            "latest_reply": replies[-1] if replies else "",
            "repliers": list(dict.fromkeys(state.posts[post.channel, ts].user for ts in replies[-20:]))[:4],
        }

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer the newest 200 messages of a channel or a whole thread, with the viewer's ephemerals."""
        ws, state = self.ws, self.ws.state
        viewer, room = ws.user(request.query["person"]), state.rooms[request.query["channel"]]
        if viewer.id not in room.members:
            return json_response({"ok": False, "error": "not_in_channel"}, 403)
        thread = request.query.get("thread", "")
        line = [thread, *state.threads.get((room.id, thread), [])] if thread else state.timeline[room.id]
        posts = [state.posts[room.id, ts] for ts in line[-_NEWEST:] if (room.id, ts) in state.posts]
        posts += [
            post
            for post in state.whispers[viewer.id][-_NEWEST:]
            if post.channel == room.id and post.thread_ts == thread
        ]
        posts.sort(key=lambda post: post.ts)
        return json_response({"messages": [self.post(post) for post in posts]})

    async def status(self, _request: web.Request) -> web.StreamResponse:
        """Answer the world's time and whatever the demo says about the bot."""
        return json_response(self._status())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send what changes for one person as server-sent events, until the page goes."""
        viewer = self.ws.user(request.query["person"]).id
        queue: asyncio.Queue[Change] = asyncio.Queue()
        listener = queue.put_nowait
        response = web.StreamResponse(
            headers={**_HEADERS, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        self.ws.state.listeners.append(listener)
        try:
            await response.write(b": hello\n\n")
            while True:
                change = await queue.get()
                doc = self._visible(viewer, change)
                if doc is not None:
                    await response.write(b"data: " + orjson.dumps(doc) + b"\n\n")
        except (ConnectionError, asyncio.CancelledError):
            return response
        finally:
            self.ws.state.listeners.remove(listener)

    def _visible(self, viewer: str, change: Change) -> Json | None:
        state = self.ws.state
        if change.kind in {"toast", "view", "ephemeral"} and change.user != viewer:
            return None
        room = state.rooms.get(change.channel)
        if room is not None and viewer not in room.members:
            return None
        doc: Json = {"kind": change.kind, "channel": change.channel, "ts": change.ts, "text": change.text}
        post = state.posts.get((change.channel, change.ts))
        if post is not None:
            doc["message"] = self.post(post)
            parent = state.posts.get((post.channel, post.thread_ts)) if post.is_reply else None
            doc["parent"] = self.post(parent) if parent is not None and not post.whisper_to else None
        if change.kind == "view":
            doc["views"] = self._views(viewer)
        return doc

    # Doing.

    async def _do(self, request: web.Request, work: Callable[[Json], Awaitable[Delivery]]) -> web.Response:
        try:
            body = orjson.loads(await request.read())
            delivery = await work(body)
        except (LookupError, orjson.JSONDecodeError) as error:
            return json_response({"ok": False, "error": str(error)}, 400)
        shown = {
            "ok": delivery.error is None,
            "error": delivery.error,
            "errors": dict(delivery.errors),
            "ms": round(delivery.ms),
            "reason": delivery.reason,
        }
        return json_response(shown)

    async def type(self, request: web.Request) -> web.StreamResponse:
        """Type: {person, channel, text, thread_ts}."""
        return await self._do(
            request,
            lambda b: self.ws.type(b["person"], b["channel"], b["text"], b.get("thread_ts") or ""),
        )

    async def press(self, request: web.Request) -> web.StreamResponse:
        """Press in a message: {person, channel, ts, action_id, option}; the page asked for confirmation."""
        return await self._do(
            request,
            lambda b: self.ws.press(
                b["person"],
                b["channel"],
                b["ts"],
                b["action_id"],
                option=b.get("option"),
                block_id=b["block_id"],
            ),
        )

    async def press_view(self, request: web.Request) -> web.StreamResponse:
        """Press in a modal or Home tab: {person, view_id, action_id, option}."""
        return await self._do(
            request,
            lambda b: self.ws.press_view(
                b["person"],
                b["view_id"],
                b["action_id"],
                option=b.get("option"),
                block_id=b["block_id"],
                values=b.get("values") or {},
            ),
        )

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Submit a modal: {person, view_id, values by block_id}."""
        return await self._do(request, lambda b: self.ws.submit(b["person"], b["view_id"], b["values"]))

    async def close_view(self, request: web.Request) -> web.StreamResponse:
        """Close a modal: {person, view_id}."""
        return await self._do(request, lambda b: self.ws.close_view(b["person"], b["view_id"]))

    async def home(self, request: web.Request) -> web.StreamResponse:
        """Open the Home tab: {person}."""
        return await self._do(request, lambda b: self.ws.open_home(b["person"]))

    async def shortcut(self, request: web.Request) -> web.StreamResponse:
        """Use a shortcut: {person, callback_id, channel, ts}."""
        return await self._do(
            request, lambda b: self.ws.shortcut(b["person"], b["callback_id"], b["channel"], b["ts"])
        )

    async def suggest(self, request: web.Request) -> web.StreamResponse:
        """Ask the bot for options: {person, view_id, action_id, query}."""
        try:
            body = orjson.loads(await request.read())
            texts = await self.ws.suggest(body["person"], body["view_id"], body["action_id"], body["query"])
        except (LookupError, orjson.JSONDecodeError) as error:
            return json_response({"ok": False, "error": str(error)}, 400)
        return json_response({"ok": True, "options": texts})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Delete a message: {channel, ts}."""

        async def work(body: Json) -> Delivery:
            self.ws.delete_message(body["channel"], body["ts"])
            return Delivery("delete")

        return await self._do(request, work)

    async def clock(self, request: web.Request) -> web.StreamResponse:
        """Advance the world: {advance: seconds}."""
        if self.ws.on_advance is None:
            return json_response({"ok": False, "error": "this world's clock cannot be advanced"}, 404)
        body = orjson.loads(await request.read())
        seconds = float(body["advance"])
        if not 0 < seconds <= 86_400:
            return json_response({"ok": False, "error": "advance must be up to a day of seconds"}, 400)
        await self.ws.on_advance(seconds)
        self.ws.state.changed(Change("clock"))
        return json_response({"ok": True, **self._status()})
