"""One thing sent to the bot, and what became of it: signed, timed, and ready to be sent again unchanged."""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

Json = dict[str, Any]

ACK_SECONDS = 3.0  # docs.slack.dev/interactivity/handling-user-interaction.


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was sent and how it ended.

    ``status`` is the HTTP status (200 for an acknowledged envelope, 0 where nothing came back), ``body``
    what the bot answered, ``ms`` real milliseconds until then, ``error`` what the person is shown
    ("dispatch_failed", "operation_timeout", …) or None. ``errors`` are a modal's complaints by block_id,
    ``ts`` the message that a person posted. ``sent`` and ``headers`` are the exact bytes that went out.
    """

    kind: str
    transport: str = "none"
    status: int = 0
    body: bytes = b""
    ms: float = 0.0
    error: str | None = None
    reason: str = ""
    attempt: int = 0
    ts: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    sent: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    url: str = ""

    @property
    def ok(self) -> bool:
        """True where the bot acknowledged in time and nothing was wrong with its answer."""
        return self.error is None and 200 <= self.status < 300

    def json(self) -> Any:
        """Return the answer's JSON, None where it is empty or not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


def encode(kind: str, payload: Json) -> tuple[bytes, str]:
    """Return (body, content type) as Slack encodes a payload for HTTP."""
    if kind == "events_api":
        return orjson.dumps(payload), "application/json"
    form = payload if kind == "slash_commands" else {"payload": orjson.dumps(payload).decode()}
    return urlencode(form).encode(), "application/x-www-form-urlencoded"


class HttpCourier:
    """Sends signed requests to the bot's one address."""

    def __init__(self, secret: str, wall: Callable[[], datetime]) -> None:
        self.secret = secret
        self.url = ""
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None

    def sign(self, body: bytes, content_type: str) -> dict[str, str]:
        """Return Slack's headers for a body, signed as v0 with the present wall time."""
        stamp = str(int(self._wall().timestamp()))
        digest = hmac.new(self.secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256)
        return {
            "Content-Type": content_type,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={digest.hexdigest()}",
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        }

    async def send(self, kind: str, body: bytes, headers: Mapping[str, str]) -> Delivery:
        """Post exactly these bytes and headers and wait at most three seconds for the answer."""
        pairs = tuple(headers.items())
        if not self.url:
            return Delivery(kind, error="dispatch_failed", reason="no_address", sent=body, headers=pairs)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        began = time.monotonic()
        status, answer, error, reason = 0, b"", None, ""
        try:
            async with self._session.post(
                self.url,
                data=body,
                headers=dict(headers),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ACK_SECONDS),
            ) as response:
                status, answer = response.status, await response.read()
                if not 200 <= status < 300:
                    error, reason = "dispatch_failed", "http_error"
        except TimeoutError:
            error, reason = "operation_timeout", "http_timeout"
        except aiohttp.ClientError:
            error, reason = "dispatch_failed", "connection_failed"
        ms = (time.monotonic() - began) * 1000
        return Delivery(
            kind, "http", status, answer, ms, error, reason, sent=body, headers=pairs, url=self.url
        )

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
