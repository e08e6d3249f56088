"""Calls to Google's JSON interfaces that have no client of their own worth its weight."""

from collections.abc import Mapping
from typing import Any

import aiohttp
from pydantic import TypeAdapter, ValidationError
from yarl import URL

from domain.errors import Outage
from gcp.identity import Identity, bounded
from gcp.telling import Trouble

SECONDS = 20.0
"""For one answer."""

MOST = 4 * 1024 * 1024
"""Bytes of an answer."""

_OBJECT = TypeAdapter(dict[str, Any])
"""Unlike Python's own reader it refuses lone surrogates; nesting without an end is a plain error to it."""


class Rejected(Exception):
    """Google took the question and said no. ``status`` is HTTP's, ``reason`` Google's own word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Rest:
    """Questions to ``https://{host}``, or below ``{http_endpoint}/{host}`` where a stand-in is set.

    Redirects are not followed: our access token would go along. ``session`` is the caller's.
    """

    def __init__(
        self,
        host: str,
        identity: Identity,
        http_endpoint: str | None,
        session: aiohttp.ClientSession,
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._host = host
        self._base = f"https://{host}" if http_endpoint is None else f"{http_endpoint.rstrip('/')}/{host}"
        self._identity = identity
        self._session = session
        self._seconds = seconds
        self._log = Trouble(host.partition(".")[0])

    async def call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's object. A token that is not accepted any more is replaced, once.

        Raises ``Rejected`` for what will not change by asking again, and ``Outage`` for all else: silence,
        a full quota, a missing permission, which somebody may give at any time.
        """
        token = await self._identity.access_token()
        status, answer = await self._send(token, method, path, body, query)
        if status == 401:
            self._identity.forget(token)
            token = await self._identity.access_token()
            status, answer = await self._send(token, method, path, body, query)
        if status == 200:
            self._log.tell(None)
            return answer
        reason, message = _error(answer)
        match status:
            case 401:
                raise self._out(f"credentials: {self._host}: {message}")
            case 403 if reason in {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"}:
                raise self._out(f"quota: {self._host}: {message}")
            case 403:
                raise self._out(f"permission: {self._host}: {message}")
            case 429:
                raise self._out(f"quota: {self._host}: {message}")
            case 408 | 500 | 502 | 503 | 504:
                raise self._out(f"unavailable: {self._host}: status {status}")
            case 400 | 404 | 409 | 412:
                self._log.tell(None)
                raise Rejected(status, reason, message)
            case _:
                raise self._out(f"error: {self._host}: status {status}")

    async def _send(
        self, token: str, method: str, path: str, body: Any, query: Mapping[str, str] | None
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with self._session.request(
                method,
                URL(f"{self._base}{path}").with_query(query),
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
            ) as response:
                raw = await bounded(response, MOST)
                status = response.status
        except TimeoutError as error:
            raise self._out(f"unavailable: {self._host}: timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._out(f"unavailable: {self._host}: {error or type(error).__name__}") from error
        try:
            return status, _OBJECT.validate_json(raw)
        except ValidationError as error:
            # An answer that cannot be read must not look like an empty list: that something is not there.
            if status == 200:
                raise self._out(f"error: {self._host}: broken answer") from error
            return status, {}

    def _out(self, reason: str) -> Outage:
        self._log.tell(reason)
        return Outage(reason[:500])


def _error(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Google's own word and message; both may be missing where a front end answered."""
    error = answer.get("error")
    if not isinstance(error, dict):
        return "", "no reason given"
    errors = error.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    return str(first.get("reason", "")), str(error.get("message", "no reason given"))[:300]
