"""Tokens of the pretend Google Cloud: its metadata server gives them out, all else there judges them."""

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime, timedelta
from typing import Any

from domain.ports import Clock

LIFETIME = timedelta(hours=1)
"""Of every token, as Google's."""

RENEWED = timedelta(minutes=5)
"""The metadata server gives out the same token until so long before its end."""

ACCOUNT = "toban@sandbox.iam.gserviceaccount.com"


class Tokens:
    """All tokens that were ever given out. A restart of the cloud makes all of them worthless."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._access: dict[str, datetime] = {}
        self._newest: dict[str | None, tuple[str, datetime]] = {}

    def access(self) -> tuple[str, int]:
        """An access token, and for how many seconds it is good."""
        text, ends = self._current(None)
        return text, int((ends - self._clock.now()).total_seconds())

    def identity(self, audience: str) -> str:
        """A signed ID token for one audience."""
        return self._current(audience)[0]

    def revoke(self) -> None:
        """From now on nobody accepts what was given out before."""
        self._key = secrets.token_bytes(32)
        self._access.clear()
        self._newest.clear()

    def is_access(self, text: str) -> bool:
        """Whether it is an access token that is good now."""
        ends = self._access.get(text)
        return ends is not None and ends > self._clock.now()

    def is_for(self, text: str, audience: str) -> bool:
        """Whether it is an ID token for exactly that audience, signed here, that is good now."""
        head, _, signature = text.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(head).encode()):
            return False
        claims = json.loads(_unpacked(head.partition(".")[2]))
        return bool(claims["aud"] == audience and claims["exp"] > self._clock.now().timestamp())

    def _current(self, audience: str | None) -> tuple[str, datetime]:
        now = self._clock.now()
        kept = self._newest.get(audience)
        # A clock that was set back would make the kept one last for longer than any token does.
        if kept is None or not RENEWED < kept[1] - now <= LIFETIME:
            kept = self._newest[audience] = self._make(audience, now)
        return kept

    def _make(self, audience: str | None, now: datetime) -> tuple[str, datetime]:
        ends = (now + LIFETIME).replace(microsecond=0)
        if audience is None:
            text = f"ya29.{secrets.token_urlsafe(40)}"
            self._access[text] = ends
            return text, ends
        claims = {
            "aud": audience,
            "azp": "100000000000000000001",
            "email": ACCOUNT,
            "email_verified": True,
            "exp": int(ends.timestamp()),
            "iat": int(now.timestamp()),
            "iss": "https://accounts.google.com",
            "sub": "100000000000000000001",
        }
        head = f"{_packed({'alg': 'HS256', 'kid': 'sandbox', 'typ': 'JWT'})}.{_packed(claims)}"
        return f"{head}.{self._sign(head)}", ends

    def _sign(self, head: str) -> str:
        return _base64(hmac.digest(self._key, head.encode(), hashlib.sha256))


def _packed(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
