"""Who may send and who may look: what an ``Authorization`` header says, compared in constant time."""

import base64
import binascii
import hmac
import re
from enum import StrEnum

from aiohttp import web

from bot.settings import MetricsAccess, Settings

_HEADER = re.compile(r"[ \t]*([A-Za-z0-9!#$%&'*+.^_`|~-]+)[ \t]+(\S+)[ \t]*", re.ASCII)
"""RFC 9110 §11.4: the scheme in any case, then blanks, then the credentials."""


class Scheme(StrEnum):
    """The ways of saying who one is that we know."""

    BASIC = "basic"
    BEARER = "bearer"


def credentials(request: web.Request) -> tuple[Scheme, bytes] | None:
    """What the header gives: a token, or ``user:password`` as it was before base64. Never raises."""
    found = _HEADER.fullmatch(request.headers.get("Authorization", ""))
    if found is None or found[1].lower() not in set(Scheme):
        return None
    scheme, given = Scheme(found[1].lower()), found[2].encode("utf-8", "replace")
    if scheme is Scheme.BEARER:
        return scheme, given
    try:
        return scheme, base64.b64decode(
            given.rstrip(b"=") + b"=" * (-len(given.rstrip(b"=")) % 4), validate=True
        )
    except binascii.Error:
        return None


class Keys:
    """Who may send: Basic credentials, or one of the tokens."""

    def __init__(self, settings: Settings) -> None:
        self._basic: bytes | None = None
        if settings.webhook_user is not None and settings.webhook_password is not None:
            self._basic = f"{settings.webhook_user}:{settings.webhook_password.get_secret_value()}".encode()
        self._tokens = [token.get_secret_value().encode() for token in settings.webhook_tokens]

    @property
    def any(self) -> bool:
        """False where no secret is set: then nobody may send."""
        return self._basic is not None or bool(self._tokens)

    def fit(self, request: web.Request) -> bool:
        """Whether this request carries one of the secrets."""
        scheme, given = credentials(request) or (None, b"")
        if scheme is Scheme.BASIC and self._basic is not None and hmac.compare_digest(given, self._basic):
            return True
        if not self._tokens:
            return False
        bearer = given if scheme is Scheme.BEARER else b""
        in_query = request.query.get("auth_token", "").encode("utf-8", "replace")
        found = [
            hmac.compare_digest(bearer, token) | hmac.compare_digest(in_query, token)
            for token in self._tokens
        ]
        return any(found)


class Viewers:
    """Who may see metrics and details: those who have the token, or everybody if the settings say so."""

    def __init__(self, settings: Settings) -> None:
        self._open = settings.metrics_access is MetricsAccess.OPEN
        self._token = settings.metrics_token.get_secret_value().encode() if settings.metrics_token else None

    def may_see(self, request: web.Request) -> bool:
        """Whether this request is from one of them."""
        if self._open:
            return True
        scheme, given = credentials(request) or (None, b"")
        return self._token is not None and scheme is Scheme.BEARER and hmac.compare_digest(given, self._token)

    def refusal(self) -> web.Response:
        """What all others get, with the way out."""
        if self._token is None:
            text = "closed: set TOBAN_METRICS_TOKEN, or TOBAN_METRICS_ACCESS=open for everybody\n"
            return web.Response(status=403, text=text)
        challenge = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return web.Response(status=401, text="the metrics token is needed as Bearer\n", headers=challenge)
