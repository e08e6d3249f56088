"""The Web API's door: arguments, token, scopes, faults and limits, then the method, then Slack's answer."""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from sandbox.slack.call import Call
from sandbox.slack.errors import ApiError
from sandbox.slack.faults import Action, Faults
from sandbox.slack.methods import METHODS, Method
from sandbox.slack.params import Params, read_params
from sandbox.slack.state import State
from sandbox.slack.throttle import HISTORY_METHODS, MOST_HISTORY, Throttle
from sandbox.slack.triggers import Triggers

Json = dict[str, Any]

EVERY_SCOPE = frozenset(
    {scope for method in METHODS.values() for scope in method.scopes}
    | {"commands", "chat:write.public", "app_mentions:read"}
)


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call as the journal keeps it.

    ``outcome`` is "ok", Slack's error code, "http 503", "dropped" or "dropped after"; ``fault`` names the
    fault that hit it; ``ms`` is real time inside the workspace.
    """

    method: str
    params: Json
    at: datetime
    outcome: str
    fault: str = ""
    ms: float = 0.0
    token: str = ""


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return JSON as Slack sends it."""
    return web.Response(
        body=orjson.dumps(body),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def hang_up(request: web.Request) -> web.Response:
    """Break the connection without an answer; the returned response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class WebApi:
    """Answers /api/METHOD; every call stands in ``calls`` afterwards."""

    def __init__(
        self,
        state: State,
        triggers: Triggers,
        faults: Faults,
        throttle: Throttle,
        tokens: tuple[str, str],
        scopes: frozenset[str] | None,
        site: Callable[[], str],
        new_ticket: Callable[[], str],
        told: Callable[[ApiCall], None],
    ) -> None:
        self.state = state
        self.triggers = triggers
        self.faults = faults
        self.throttle = throttle
        self.bot_token, self.app_token = tokens
        self.scopes = scopes
        self._site = site
        self._new_ticket = new_ticket
        self._told = told

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one call."""
        began = time.perf_counter()
        name = request.match_info["method"]
        try:
            values = await read_params(request)
        except ApiError as error:
            return json_response(error.answer())
        given = values.pop("token", "")
        authorization = request.headers.get("Authorization", "")
        token = authorization.removeprefix("Bearer ").strip() if authorization else str(given)
        channel, channel_name = self._channel(values)
        fault = self.faults.take(name, channel, channel_name)
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(float(fault.value))
        response, outcome = self._serve(name, values, token, channel, fault)
        kind = fault.kind if fault is not None else ""
        self._told(
            ApiCall(
                name,
                values,
                self.state.clock.now(),
                outcome,
                kind,
                (time.perf_counter() - began) * 1000,
                token[:5],
            )
        )
        return response if response is not None else hang_up(request)

    def _serve(
        self, name: str, values: Json, token: str, channel: str, fault: Action | None
    ) -> tuple[web.Response | None, str]:
        kind = fault.kind if fault is not None else ""
        value = fault.value if fault is not None else 0
        if kind in {"drop_before", "down"}:
            return None, "dropped"
        if kind == "status":
            return web.Response(status=int(value), text="upstream error"), f"http {value}"
        if kind == "rate_limit":
            return _limited(int(value)), "ratelimited"
        if kind == "garbage":
            return web.Response(
                text="<!DOCTYPE html><title>Slack</title>", content_type="text/html"
            ), "garbage"
        if kind == "error":
            return json_response({"ok": False, "error": str(value)}), str(value)
        method = METHODS.get(name)
        wait = self.throttle.wait(name, channel, method.tier) if method is not None else 0
        if wait:
            return _limited(wait), "ratelimited"
        if self.throttle.history and name in HISTORY_METHODS:
            values = values | {"limit": min(int(values.get("limit") or MOST_HISTORY), MOST_HISTORY)}
        answer = self._run(name, method, values, token)
        if kind == "duplicate" and answer["ok"]:
            self._run(name, method, orjson.loads(orjson.dumps(values)), token)
        if kind == "drop_after":
            return None, "dropped after"
        outcome = "ok" if answer["ok"] else str(answer["error"])
        return json_response(answer, headers=self._headers(method)), outcome

    def _run(self, name: str, method: Method | None, values: Json, token: str) -> Json:
        if method is None:
            return {"ok": False, "error": "unknown_method", "req_method": name}
        try:
            self._authorize(method, token)
            call = Call(
                name,
                Params(values),
                self.state,
                self.triggers,
                self.scopes,
                self._site(),
                self._new_ticket,
            )
            if method.scopes:
                call.need(*method.scopes)
            return method.run(call)
        except ApiError as error:
            return error.answer()

    def _authorize(self, method: Method, token: str) -> None:
        if method.token == "none":  # noqa: S105 - a kind of token.
            return
        if not token:
            raise ApiError("not_authed")
        if not any(secrets.compare_digest(token, known) for known in (self.bot_token, self.app_token)):
            raise ApiError("invalid_auth")
        if (method.token == "app") != (token == self.app_token):  # noqa: S105 - a kind of token.
            raise ApiError("not_allowed_token_type")

    def _channel(self, values: Json) -> tuple[str, str]:
        name = str(values.get("channel", "")).removeprefix("#")
        room = self.state.rooms.get(name) or self.state.room_names.get(name) or self.state.ims.get(name)
        return (room.id, room.name) if room is not None else (name, name)

    def _headers(self, method: Method | None) -> dict[str, str]:
        granted = EVERY_SCOPE if self.scopes is None else self.scopes
        accepted = ",".join(method.scopes) if method is not None else ""
        return {"X-OAuth-Scopes": ",".join(sorted(granted)), "X-Accepted-OAuth-Scopes": accepted}


def _limited(seconds: int) -> web.Response:
    return json_response({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": str(seconds)})
