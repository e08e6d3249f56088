"""The HTTP side: webhooks and Slack come in."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from bot import bodies, slack_bodies
from bot.credentials import Keys
from bot.doors import LateBody, patient
from bot.settings import Settings
from domain.errors import Outage, Unreadable
from domain.inbox import NewDelivery, delivery_key, turn_of
from handlers import refusals
from handlers.webhooks import SENDERS, Sender
from notify.slack.signature import Seal
from operations import counters, inbox
from operations.world import World

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

log = structlog.get_logger(__name__)

SLACK_BODY = 1024 * 1024
"""Bytes of a Slack request's body."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def webhook(world: World, keys: Keys, sender: Sender, limit: int, arrived: Callable[[], datetime]) -> Handler:
    """The door of one kind of sender: authenticate, bound, understand enough, keep, answer.

    What may not be kept is no silence: the refusal itself is a delivery, and pages. ``arrived`` says when
    a request that is read now had come at the earliest.
    """
    accepted, unreadable = sender.accepted, sender.unreadable
    refused = counters.refused

    async def handle(request: web.Request) -> web.StreamResponse:
        began = arrived()  # Deliveries are ordered by this, however long the body takes.
        if not keys.any:
            refused.labels(kind=sender.name, code="503").inc()
            text = "no webhook secret is set: TOBAN_WEBHOOK_USER and _PASSWORD, or TOBAN_WEBHOOK_TOKENS\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "60"})
        if not keys.fit(request):
            refused.labels(kind=sender.name, code="401").inc()
            realm = {"WWW-Authenticate": 'Basic realm="alerts"'}
            return web.Response(status=401, text="credentials are needed\n", headers=realm)
        try:
            body = await bodies.read(request, sender, world.policy, limit)
        except (bodies.TooLarge, Unreadable, LateBody, web.RequestPayloadError) as why:
            code = _REFUSED.get(type(why), unreadable)
            refused.labels(kind=sender.name, code=str(code)).inc()
            delivery = refusals.delivery(_refusal(sender, request, why), began)
            answer = web.Response(status=code, text=f"refused: {why}\n")
            answer.force_close()  # The rest of it is not read.
        else:
            seen = sender.look(body, world.policy)
            delivery = NewDelivery(
                kind=sender.name,
                key=delivery_key(sender.name, body),
                body=body,
                received_at=began,
                error=seen.error,
                turn=turn_of(seen.level),
            )
            answer = web.Response(status=accepted)
            if seen.error is not None:
                text = f"kept, but not understood: {seen.error}\n"
                answer = web.Response(status=unreadable, text=text)
        try:
            await inbox.accept(world, delivery)
        except Outage as outage:
            refused.labels(kind=sender.name, code="503").inc()
            headers = {"Retry-After": "5"} if sender.retry_after else {}
            return web.Response(status=503, text=f"not kept: {outage.reason}\n", headers=headers)
        return answer

    return handle


_REFUSED = {bodies.TooLarge: 413, LateBody: 408, web.RequestPayloadError: 400}
"""How a body is answered that is not kept; one that cannot be read is answered as its sender's kind is."""


def _refusal(sender: Sender, request: web.Request, why: Exception) -> refusals.Refusal:
    way_out = refusals.WayOut.LOOK
    if isinstance(why, bodies.TooLarge):
        way_out = refusals.WayOut.SETTING if sender.condenser is not None else refusals.WayOut.CALLER
    reason = " ".join(str(why).split())  # What aiohttp says of a body has lines of its own.
    return refusals.Refusal(sender=sender.name, reason=reason, size=request.content_length, way_out=way_out)


def slack_events(world: World, app: "AsyncApp", seal: Seal) -> Handler:
    """Slack's requests: sealed, fresh, and then Bolt's."""
    from slack_bolt.adapter.aiohttp import to_aiohttp_response
    from slack_bolt.request.async_request import AsyncBoltRequest

    async def handle(request: web.Request) -> web.StreamResponse:
        if (request.content_length or 0) > SLACK_BODY:
            return web.Response(status=413)
        try:
            body = await request.read()
            if len(body) > SLACK_BODY:
                return web.Response(status=413)
        except web.RequestPayloadError as error:
            return web.Response(status=400, text=f"the body cannot be read: {error}\n")
        timestamp = request.headers.get("X-Slack-Request-Timestamp")
        signature = request.headers.get("X-Slack-Signature")
        # Slack's own time: our wall clock's, or what we count on with where that was set wrong.
        if not any(
            seal.fits(body, timestamp, signature, at) for at in (world.clock.wall(), world.clock.now())
        ):
            counters.refused.labels(kind="slack", code="401").inc()
            return web.Response(status=401, text="not signed by Slack\n")
        try:
            slack_bodies.check(body, request.content_type)
        except slack_bodies.Malformed as malformed:
            counters.refused.labels(kind="slack", code="400").inc()
            log.warning("slack.malformed", size=len(body), error=str(malformed))
            return web.Response(status=400, text=f"malformed: {malformed}\n")
        asked = AsyncBoltRequest(body=body.decode(), query=request.query_string, headers={**request.headers})
        answer = await app.async_dispatch(asked)
        return await to_aiohttp_response(answer)

    return handle


def make(
    world: World,
    settings: Settings,
    app: "AsyncApp | None",
    keys: Keys,
    arrived: Callable[[], datetime],
) -> web.Application:
    """Where machines come in: webhooks and Slack."""
    logging.getLogger("aiohttp.access").disabled = True
    made = web.Application(client_max_size=bodies.WHOLE, middlewares=[patient])
    limit = settings.webhook_limit_mib * 1024 * 1024
    for sender in SENDERS.values():
        made.router.add_post(sender.route, webhook(world, keys, sender, limit, arrived))
    if app is not None and settings.slack_signing_secret is not None:
        seal = Seal(settings.slack_signing_secret.get_secret_value())
        made.router.add_post("/slack/events", slack_events(world, app, seal))
    return made
