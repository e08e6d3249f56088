"""Who we are towards Google and our own services: access tokens and ID tokens, each kept while it is good."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Outage
from domain.ports import Clock
from gcp.telling import Trouble

EARLY = timedelta(minutes=5)
"""A token is replaced so long before it ends: no request carries one that ends on its way."""

SECONDS = 5.0
"""For one answer of a token server."""

PATIENCE = 20.0
"""Seconds for a token in all; Google's library repeats by itself what did not work."""

MOST_ANSWER = 16_384
"""Bytes of a token server's answer."""

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""What Artifact Registry's own documents use; what the account may do is decided by its roles."""

METADATA = "/computeMetadata/v1/instance/service-accounts/default"
FLAVOR = {"Metadata-Flavor": "Google"}


@dataclass(frozen=True, slots=True, repr=False)
class _Token:
    """A token and when it ends. Never shown by ``repr``, since errors and logs show values."""

    text: str
    ends: datetime


_HIDDEN = ConfigDict(hide_input_in_errors=True)
"""An error that quotes what it could not read would quote a token."""


class _Access(BaseModel):
    """The token server's answer; ``expires_in`` in seconds."""

    model_config = _HIDDEN

    access_token: str = Field(min_length=1)
    expires_in: int = Field(ge=0, le=7 * 86_400)


class _Claims(BaseModel):
    """Of what an ID token says, only when it ends: epoch seconds, up to the year 9999."""

    model_config = _HIDDEN

    exp: int = Field(ge=0, le=253_402_300_799)


class Identity:
    """Tokens of the bot's own service account.

    From Google with the environment's default credentials, which for ID tokens are those of Cloud Run, of a
    virtual machine or of a service account's key (a person's own cannot have an audience); or, where
    ``http_endpoint`` is set, from a token server there that speaks as the cloud's metadata server does.
    ``clock`` says when a token has ended; ``session`` is the caller's, and used for the latter only.
    """

    def __init__(self, http_endpoint: str | None, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._base = http_endpoint.rstrip("/") if http_endpoint is not None else None
        self._session = session
        self._clock = clock
        self._kept: dict[str | None, _Token] = {}
        self._locks: dict[str | None, asyncio.Lock] = {}
        self._log = Trouble("identity")

    async def access_token(self) -> str:
        """A token for Google's own interfaces. Raises ``Outage`` where there is none to be had."""
        return await self._token(None)

    async def id_token(self, audience: str) -> str:
        """A token that says to the service of that address who we are. Raises ``Outage``."""
        return await self._token(audience)

    def forget(self, token: str) -> None:
        """Do not give out this one again: somebody did not accept it."""
        for audience, kept in list(self._kept.items()):
            if kept.text == token:
                del self._kept[audience]

    async def _token(self, audience: str | None) -> str:
        # One lock for each: an audience that takes long holds nobody else up.
        async with self._locks.setdefault(audience, asyncio.Lock()):
            kept = self._kept.get(audience)
            # The second half of the condition: a clock that was set back far makes nothing eternal.
            if kept is not None and EARLY < kept.ends - self._clock.now() <= timedelta(hours=24):
                return kept.text
            try:
                async with asyncio.timeout(PATIENCE):
                    token = await (self._ask_google(audience) if self._base is None else self._ask(audience))
            except TimeoutError as error:
                self._log.tell("unavailable: no token in time")
                raise Outage("unavailable: no token in time") from error
            except Outage as outage:
                self._log.tell(outage.reason)
                raise
            self._log.tell(None)
            self._kept[audience] = token
            return token.text

    # From a token server near by.

    async def _ask(self, audience: str | None) -> _Token:
        path = "token" if audience is None else "identity"
        params = {} if audience is None else {"audience": audience, "format": "full"}
        try:
            async with self._session.get(
                f"{self._base}{METADATA}/{path}",
                params=params,
                headers=FLAVOR,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=SECONDS),
            ) as response:
                body = await bounded(response, MOST_ANSWER)
                status = response.status
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError.
            raise Outage(f"unavailable: token server: {error or type(error).__name__}") from error
        if status != 200:
            word = "unavailable" if status >= 500 or status == 429 else "credentials"
            raise Outage(f"{word}: token server: status {status}")
        try:
            return self._read_access(body) if audience is None else _read_identity(body)
        except ValueError as error:  # Those of base64, of characters and of pydantic are such, too.
            raise Outage("error: token server: broken answer") from error

    def _read_access(self, body: bytes) -> _Token:
        answer = _Access.model_validate_json(body)
        return _Token(answer.access_token, self._clock.now() + timedelta(seconds=answer.expires_in))

    # From Google.

    async def _ask_google(self, audience: str | None) -> _Token:
        """In a thread: Google's library waits for files, processes and answers."""
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

        try:
            return await asyncio.to_thread(_fetch, audience)
        except DefaultCredentialsError as error:
            raise Outage(f"credentials: {error}") from error
        except RefreshError as error:
            word = "unavailable" if error.retryable else "credentials"
            raise Outage(f"{word}: {error}") from error
        except GoogleAuthError as error:
            raise Outage(f"unavailable: {error}") from error
        except ValueError as error:  # Google's library reads answers without much doubt.
            raise Outage(f"error: {error}") from error


async def bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body of an answer. Raises ``aiohttp.ClientPayloadError`` where it has more than ``most`` bytes."""
    got = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        got += chunk
        if len(got) > most:
            response.close()
            raise aiohttp.ClientPayloadError(f"more than {most} bytes")
    return bytes(got)


def _read_identity(body: bytes) -> _Token:
    """An ID token, as it says itself. It is not verified: whoever receives it does that."""
    text = body.decode("ascii").strip()
    _, payload, _ = text.split(".")
    claims = _Claims.model_validate_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return _Token(text, datetime.fromtimestamp(claims.exp, UTC))


def _fetch(audience: str | None) -> _Token:
    """Ask whatever the environment names; the connection lives for this one question."""
    import google.auth
    import requests
    from google.auth.transport.requests import Request
    from google.oauth2.id_token import fetch_id_token_credentials

    with requests.Session() as session:
        request: Any = _impatient(Request(session))
        fetch: Any = fetch_id_token_credentials
        credentials: Any
        if audience is None:
            credentials, _ = google.auth.default(scopes=[SCOPE], request=request)
        else:
            credentials = fetch(audience, request=request)
        credentials.refresh(request)
    if not credentials.token or credentials.expiry is None:
        raise ValueError("no token, or one without an end")
    return _Token(str(credentials.token), _aware(credentials.expiry))


def _impatient(request: Callable[..., Any]) -> Callable[..., Any]:
    """The same transport, whose answers take ``SECONDS`` and not two minutes at most."""

    def ask(
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **rest: Any,
    ) -> Any:
        return request(url, method, body, headers, min(timeout or SECONDS, SECONDS), **rest)

    return ask


def _aware(moment: datetime) -> datetime:
    """Google's library has naive times, which are meant in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
