"""The HTTP side: webhooks and Slack come in, health and metrics go out."""

import base64
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from bot.settings import Settings
from domain.errors import Outage
from domain.inbox import NewDelivery
from handlers.webhooks import SENDERS, Sender
from notify.slack.signature import Seal
from operations import counters, inbox
from operations.world import World

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

log = structlog.get_logger(__name__)

WEBHOOK_BODY = 4 * 1024 * 1024
"""Bytes of a webhook's body; Alertmanager's groups can exceed aiohttp's one MiB."""

SLACK_BODY = 1024 * 1024
"""Bytes of a Slack request's body."""

SAME_WITHIN = 60
"""Seconds in which an identical body of a sender without message ids counts as the same delivery."""

STALE = 60.0
"""Seconds that the oldest delivery or message may wait before we call ourselves unready."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Keys:
    """Who may send: Basic credentials, or one of the tokens; compared in constant time."""

    def __init__(self, settings: Settings) -> None:
        self._basic: bytes | None = None
        if settings.webhook_user is not None and settings.webhook_password is not None:
            pair = f"{settings.webhook_user}:{settings.webhook_password.get_secret_value()}"
            self._basic = b"Basic " + base64.b64encode(pair.encode())
        self._tokens = [token.get_secret_value().encode() for token in settings.webhook_tokens]

    @property
    def any(self) -> bool:
        """False where no secret is set: then nobody may send."""
        return self._basic is not None or bool(self._tokens)

    def fit(self, request: web.Request) -> bool:
        """Whether this request carries one of the secrets."""
        header = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if self._basic is not None and hmac.compare_digest(header, self._basic):
            return True
        if not self._tokens:
            return False
        given = header[7:] if header[:7].lower() == b"bearer " else b""
        in_query = request.query.get("auth_token", "").encode("utf-8", "replace")
        found = [
            hmac.compare_digest(given, token) | hmac.compare_digest(in_query, token) for token in self._tokens
        ]
        return any(found)


def webhook(world: World, keys: Keys, sender: Sender) -> Handler:
    """The door of one kind of sender: authenticate, bound, understand enough, keep, answer."""
    accepted, unreadable = sender.accepted, sender.unreadable
    refused = counters.refused

    async def handle(request: web.Request) -> web.StreamResponse:
        if not keys.any:
            refused.labels(kind=sender.name, code="503").inc()
            text = "no webhook secret is set: TOBAN_WEBHOOK_USER and _PASSWORD, or TOBAN_WEBHOOK_TOKENS\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "60"})
        if not keys.fit(request):
            refused.labels(kind=sender.name, code="401").inc()
            realm = {"WWW-Authenticate": 'Basic realm="alerts"'}
            return web.Response(status=401, text="credentials are needed\n", headers=realm)
        try:
            body = await request.read()
        except web.RequestPayloadError as broken:
            refused.labels(kind=sender.name, code="400").inc()
            return web.Response(status=400, text=f"the body cannot be read: {broken}\n")
        error = sender.look(body)
        at = world.clock.now()
        name = hashlib.sha256(body).hexdigest()
        key = f"{sender.name}:{name}:{int(at.timestamp()) // SAME_WITHIN}"
        delivery = NewDelivery(kind=sender.name, key=key, body=body, received_at=at, error=error)
        try:
            await inbox.accept(world, delivery)
        except Outage as outage:
            refused.labels(kind=sender.name, code="503").inc()
            headers = {"Retry-After": "5"} if sender.retry_after else {}
            return web.Response(status=503, text=f"not kept: {outage.reason}\n", headers=headers)
        if error is not None:
            return web.Response(status=unreadable, text=f"kept, but not understood: {error}\n")
        return web.Response(status=accepted)

    return handle


def slack_events(world: World, app: "AsyncApp", seal: Seal) -> Handler:
    """Slack's requests: sealed, fresh, and then Bolt's."""
    from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request

    async def handle(request: web.Request) -> web.StreamResponse:
        if (request.content_length or 0) > SLACK_BODY:
            return web.Response(status=413)
        try:
            body = await request.read()
        except web.RequestPayloadError as error:
            return web.Response(status=400, text=f"the body cannot be read: {error}\n")
        timestamp = request.headers.get("X-Slack-Request-Timestamp")
        signature = request.headers.get("X-Slack-Signature")
        if not seal.fits(body, timestamp, signature, world.clock.now()):
            counters.refused.labels(kind="slack", code="401").inc()
            return web.Response(status=401, text="not signed by Slack\n")
        try:
            asked = await to_bolt_request(request)
        except (ValueError, TypeError, AttributeError, KeyError):
            log.exception("slack.not_understood", size=len(body))
            return web.Response(status=200)
        answer = await app.async_dispatch(asked)
        return await to_aiohttp_response(answer)

    return handle


class Health:
    """What stands in the way, by name."""

    def __init__(
        self, world: World, keys: Keys, slack: Callable[[], str | None], socket: Callable[[], str | None]
    ) -> None:
        self._world = world
        self._keys = keys
        self._slack = slack
        self._socket = socket

    async def problems(self) -> dict[str, str]:
        """Every reason why alerts might not reach people now; empty when all is well."""
        found: dict[str, str] = {}
        try:
            async with self._world.store.read() as tx:
                pending, unsent = await tx.oldest_pending(), await tx.oldest_unsent()
        except Outage as outage:
            found["database"] = outage.reason
        else:
            now = self._world.clock.now()
            ages = {
                "inbox": (now - pending).total_seconds() if pending else 0.0,
                "outbox": (now - unsent).total_seconds() if unsent else 0.0,
            }
            counters.oldest_delivery.set(ages["inbox"])
            counters.oldest_message.set(ages["outbox"])
            found |= {name: f"the oldest waits for {age:.0f} s" for name, age in ages.items() if age > STALE}
        if not self._keys.any:
            found["webhooks"] = "no secret is set: TOBAN_WEBHOOK_USER and _PASSWORD, or TOBAN_WEBHOOK_TOKENS"
        for name, problem in (("slack", self._slack()), ("socket", self._socket())):
            if problem is not None:
                found[name] = problem
        return found


def make(
    world: World, settings: Settings, app: "AsyncApp | None", health: Health, keys: Keys
) -> web.Application:
    """All routes of the product."""
    logging.getLogger("aiohttp.access").disabled = True
    made = web.Application(client_max_size=WEBHOOK_BODY)
    for sender in SENDERS.values():
        made.router.add_post(sender.route, webhook(world, keys, sender))
    if app is not None and settings.slack_signing_secret is not None:
        seal = Seal(settings.slack_signing_secret.get_secret_value())
        made.router.add_post("/slack/events", slack_events(world, app, seal))
    _watched(made, settings, health)
    return made


def _watched(app: web.Application, settings: Settings, health: Health) -> None:
    token = settings.metrics_token

    def may_see(request: web.Request) -> bool:
        if token is None:
            return True
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        return hmac.compare_digest(given, b"Bearer " + token.get_secret_value().encode())

    async def livez(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True})

    async def readyz(request: web.Request) -> web.StreamResponse:
        problems = await health.problems()
        body: dict[str, Any] = {"ready": not problems}
        if may_see(request):
            body["problems"] = problems
        return web.json_response(body, status=503 if problems else 200)

    async def metrics(request: web.Request) -> web.StreamResponse:
        if not may_see(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        await health.problems()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
