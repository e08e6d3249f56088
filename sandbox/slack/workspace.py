"""The pretend Slack workspace: one server for the Web API, Socket Mode, response addresses and the page."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.slack.answers import read_answer, respond
from sandbox.slack.api import EVERY_SCOPE, ApiCall, WebApi, hang_up, json_response
from sandbox.slack.delivery import Delivery, HttpCourier
from sandbox.slack.errors import ApiError
from sandbox.slack.faults import Faults
from sandbox.slack.ids import Clock
from sandbox.slack.ledger import Ledger
from sandbox.slack.outbound import Outbound
from sandbox.slack.roster import BONDPOINT, Roster
from sandbox.slack.sockets import Reason, SocketDesk
from sandbox.slack.throttle import Throttle
from sandbox.slack.triggers import Triggers
from sandbox.slack.uploads import Uploads
from sandbox.slack.world import Advance, Browsable, Status, WorldButton, WorldSlider, add_world

BOT_TOKEN = "xoxb-sandbox-000000000001-bot"  # noqa: S105 - the sandbox's own, opens nothing else.
APP_TOKEN = "xapp-1-sandbox-000000000001-app"  # noqa: S105 - the sandbox's own, opens nothing else.
SIGNING_SECRET = "5a6e1b0c9d8e7f6a5b4c3d2e1f0a9b8c"  # noqa: S105 - the sandbox's own, opens nothing else.


class Workspace(Browsable):
    """A whole workspace. Must be made inside a running event loop or before one, and started once.

    ``scopes`` None grants every scope. ``wall`` gives the time for signatures (by default the clock's).
    ``journal`` names a SQLite file that survives this process. ``ws.app`` takes further routes before
    ``start``.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        roster: Roster = BONDPOINT,
        journal: Path | None = None,
        scopes: Iterable[str] | None = None,
        bot_token: str = BOT_TOKEN,
        app_token: str = APP_TOKEN,
        signing_secret: str = SIGNING_SECRET,
        wall: Callable[[], datetime] | None = None,
        subscriptions: Iterable[str] | None = None,
        buttons: Iterable[WorldButton] = (),
        sliders: Iterable[WorldSlider] = (),
    ) -> None:
        self._ledger = Ledger(journal)
        super().__init__(clock, roster, self._ledger)
        self.bot_token, self.app_token, self.signing_secret = bot_token, app_token, signing_secret
        team = int(hashlib.sha256(self.state.team_id.encode()).hexdigest()[:8], 16)
        self.triggers = Triggers(team)
        self.faults = Faults()
        self.throttle = Throttle(lambda: self.clock.now().timestamp())
        self.sockets = SocketDesk(self.state.app_id, self._stir)
        self._http = HttpCourier(signing_secret, wall or self._now)
        self.outbound = Outbound(self.state, self._http, self.sockets, self._stir)
        if subscriptions is not None:
            self.outbound.subscriptions = frozenset(subscriptions)
        self.buttons: list[WorldButton] = list(buttons)
        self.sliders: list[WorldSlider] = list(sliders)
        self.on_advance: Advance | None = None
        self.status: Status | None = None
        self._address = ""
        self._runner: web.AppRunner | None = None
        granted = None if scopes is None else frozenset(scopes)
        self.api = WebApi(
            self.state,
            self.triggers,
            self.faults,
            self.throttle,
            (bot_token, app_token),
            granted,
            lambda: self.url,
            self.sockets.new_ticket,
            self._told,
        )
        self.app = web.Application(middlewares=[_local_only], client_max_size=4 * 1024**2)
        self.app.router.add_route("*", "/api/{method}", self.api.handle)
        self.uploads = Uploads(self.state, self.faults, self._told)
        self.app.router.add_post("/upload/v1/{ticket}", self.uploads.receive)
        self.app.router.add_get(r"/files-pri/{team:\w+}-{file:\w+}/{name}", self.uploads.show)
        self.app.router.add_get("/world/files/{file}", self.uploads.show)
        self.app.router.add_get("/socket", self.sockets.handle)
        self.app.router.add_post("/response/{team}/{key}", self._respond)
        add_world(self)

    def _now(self) -> datetime:
        return self.clock.now().astimezone(UTC)

    # Serving.

    @property
    def url(self) -> str:
        """The server's address once started, such as http://127.0.0.1:40123."""
        return self._address

    @property
    def api_url(self) -> str:
        """The Web API's base address, with a slash at the end."""
        return f"{self._address}/api/"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raise ValueError for a host that is not this machine."""
        if host not in {"127.0.0.1", "localhost"}:
            raise ValueError(f"the sandbox listens on 127.0.0.1 only, not on {host}")
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self._address = self.state.site = f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening, close sockets and the journal."""
        await self.outbound.close()
        await self.sockets.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._ledger.close()

    # The way to the bot.

    @property
    def events_url(self) -> str:
        """Where signed HTTP goes: the bot's /slack/events; empty means nowhere."""
        return self._http.url

    @events_url.setter
    def events_url(self, url: str) -> None:
        self._http.url = url

    @property
    def deliveries(self) -> list[Delivery]:
        """Everything that was sent to the bot, oldest first."""
        return self.outbound.deliveries

    @property
    def event_delays(self) -> tuple[float, ...]:
        """Real seconds before each retry of an event: Slack's 0, 60, 300 unless shortened."""
        return self.outbound.event_delays

    @event_delays.setter
    def event_delays(self, delays: tuple[float, ...]) -> None:
        self.outbound.event_delays = delays

    async def settle(self) -> None:
        """Wait until every event on its way was delivered or given up."""
        await self.outbound.settle()

    async def disconnect_sockets(self, reason: Reason = "refresh_requested") -> None:
        """Tell every socket to go; "warning" leaves it open."""
        await self.sockets.disconnect(reason)

    def silence_sockets(self, silent: bool = True) -> None:
        """Accept sockets but answer no ping and send nothing, until called with False."""
        self.sockets.silent = silent

    # Limits.

    @property
    def rate_limit_posts(self) -> bool:
        """Whether more than one message a second a channel is refused with 429."""
        return self.throttle.posts

    @rate_limit_posts.setter
    def rate_limit_posts(self, on: bool) -> None:
        self.throttle.posts = on

    @property
    def rate_limit_methods(self) -> bool:
        """Whether each method's tier (calls a minute) is held to."""
        return self.throttle.tiers

    @rate_limit_methods.setter
    def rate_limit_methods(self, on: bool) -> None:
        self.throttle.tiers = on

    @property
    def limit_history(self) -> bool:
        """Whether this is an app that may ask for history once a minute, and for 15 messages at most."""
        return self.throttle.history

    @limit_history.setter
    def limit_history(self, on: bool) -> None:
        self.throttle.history = on

    def granted(self) -> frozenset[str]:
        """The scopes that the app has; assign ``api.scopes`` to take some away, None for all of them."""
        return EVERY_SCOPE if self.api.scopes is None else self.api.scopes

    @property
    def lookup_is_loose(self) -> bool:
        """Whether users.lookupByEmail finds whoever has the address, foreign and past accounts too."""
        return self.state.lookup_is_loose

    @lookup_is_loose.setter
    def lookup_is_loose(self, on: bool) -> None:
        self.state.lookup_is_loose = on

    @property
    def file_delay(self) -> int:
        """How many calls see a new file still being worked on, the one that completes it among them."""
        return self.state.file_delay

    @file_delay.setter
    def file_delay(self, calls: int) -> None:
        self.state.file_delay = calls

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.take("response_url", "", "")
        if fault is not None and fault.kind in {"drop_before", "down"}:
            return hang_up(request)
        if fault is not None and fault.kind == "status":
            return web.Response(status=int(fault.value))
        body: dict[str, Any] = {}
        outcome, status = "ok", 200
        try:
            body = await read_answer(request)
            respond(self.state, request.match_info["key"], body)
        except ApiError as error:
            outcome = error.code
            status = 404 if outcome in {"used_url", "expired_url", "invalid_url"} else 400
        self._told(ApiCall("response_url", body, self.clock.now(), outcome))
        if fault is not None and fault.kind == "drop_after":
            return hang_up(request)
        answer = {"ok": True} if status == 200 else {"ok": False, "error": outcome}
        return json_response(answer, status)


@web.middleware
async def _local_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse hosts that are not this machine, against DNS rebinding."""
    host = request.host.rsplit(":", 1)[0]
    if host not in {"127.0.0.1", "localhost"}:
        return web.Response(status=403, text="this sandbox answers to 127.0.0.1 and localhost only")
    return await handler(request)
