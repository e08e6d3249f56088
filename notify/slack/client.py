"""Calls Slack's Web API and says what a failure means (see ``codes``); knows what is refused now."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from domain.errors import Outage, Undeliverable
from domain.outbox import CALL_TIMEOUT
from notify.slack.codes import PASSING, TOKEN, meaning
from notify.slack.refusals import Refusals

ALREADY = frozenset({"already_in_channel", "message_already_deleted"})


class Api:
    """One workspace, one shared session, no blind retries: the outbox decides what is tried again.

    ``base_url`` ends in ``/api/``. ``health`` is the newest failure, or ``None`` after a success.
    """

    def __init__(self, token: str, base_url: str, session: aiohttp.ClientSession) -> None:
        self.web = AsyncWebClient(
            token=token,
            base_url=base_url,
            session=session,
            timeout=int(CALL_TIMEOUT.total_seconds()),
            retry_handlers=[],
        )
        self._session = session
        self.refusals = Refusals()
        self.health: str | None = "not spoken to yet"
        self._was_out = self._is_back = False

    async def call(self, method: Callable[..., Awaitable[Any]], **params: Any) -> dict[str, Any]:
        """The answer of a method of ``self.web``. Raises ``Outage`` and ``Undeliverable``."""
        try:
            found = await self.ask(method, **params)
        except Outage as outage:
            self._missed(outage)
            raise
        except Undeliverable as refusal:
            self.heard()
            if refusal.mendable:
                self.refusals.add(refusal.reason, method.__name__, str(params.get("channel") or ""))
            raise
        self.heard()
        self.refusals.end(method.__name__, str(params.get("channel") or ""))
        return found

    async def ask(self, method: Callable[..., Awaitable[Any]], **params: Any) -> dict[str, Any]:
        """The same, for what messages do without: a failure is not taken for an outage of Slack."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT.total_seconds()):
                answer = await method(**params)
        except SlackApiError as error:
            raise self._meaning(error) from error
        except aiohttp.ClientConnectorError as error:
            raise Outage(f"no connection to Slack: {error.strerror or error}") from error
        except (TimeoutError, aiohttp.ClientError, SlackClientError, ConnectionError, ValueError) as error:
            raise Outage(f"no answer from Slack: {type(error).__name__}", unknown=True) from error
        return answer.data if isinstance(answer.data, dict) else {}

    def _meaning(self, error: SlackApiError) -> Outage | Undeliverable:
        response = error.response
        status = int(getattr(response, "status_code", 200) or 200)
        data = getattr(response, "data", None)
        answer = data if isinstance(data, dict) else {}
        code = str(answer.get("error") or "")
        if status == 429 or code in PASSING:
            headers = getattr(response, "headers", None) or {}
            raw = headers.get("Retry-After") or headers.get("retry-after") or "30"
            seconds = float(raw) if str(raw).isdigit() else 30.0
            return Outage(f"slack: {code or status}", retry_after=seconds)
        if status >= 500 or not code:
            return Outage(f"slack: {code or status}", unknown=True)
        if code in TOKEN:
            self.refusals.add(code)
        elif answer.get("needed"):
            self.refusals.needs(code, str(answer["needed"]))
        return meaning(code)

    def _missed(self, outage: Outage) -> None:
        if outage.retry_after is not None:
            self.health = f"rate limited for {outage.retry_after:.0f} s"
            return
        self.health = outage.reason
        self._was_out = True

    def heard(self) -> None:
        """Slack has answered."""
        self.health = None
        self._is_back, self._was_out = self._is_back or self._was_out, False

    @property
    def is_out(self) -> bool:
        """True from a call that did not get through to the next one that does."""
        return self._was_out

    def take_recovery(self) -> bool:
        """True once after an outage, when a call has been answered again."""
        back, self._is_back = self._is_back, False
        return back

    async def hand_over(self, url: str, body: bytes) -> None:
        """Send a file's bytes to the address that Slack gave for them. Raises ``Outage``, ``Undeliverable``.

        The address is a ticket of its own, so the token stays here.
        """
        headers = {"Content-Type": "application/octet-stream"}
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT.total_seconds())
        sent = self._session.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False)
        try:
            async with sent as answer:
                status = answer.status
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise Outage(f"no answer from Slack's upload: {type(error).__name__}") from error
        if status == 429 or status >= 500:
            raise Outage(f"slack: upload {status}")
        if status != 200:
            raise Undeliverable(f"upload {status}")

    async def respond(self, url: str, message: dict[str, Any]) -> None:
        """Use a request's own ``response_url``. Raises ``Outage`` and ``Undeliverable``."""
        try:
            timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT.total_seconds())
            body = json.dumps(message)
            headers = {"Content-Type": "application/json; charset=utf-8"}
            sent = self._session.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False)
            async with sent as answer:
                status = answer.status
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Outage(f"no answer from Slack: {type(error).__name__}") from error
        if status == 429 or status >= 500:
            raise Outage(f"slack: response_url {status}", retry_after=5.0)
        if status != 200:
            raise Undeliverable(f"response_url {status}")
