"""Whether a request is Slack's: the SDK's check behind guards against headers that make it raise."""

import re
from datetime import datetime

from slack_sdk.signature import SignatureVerifier

OLDEST = 300
"""Seconds that a request may be old (Slack's own advice)."""

FUTURE = 60
"""Seconds that it may be ahead of our clock; the SDK would take 300 (facts §3.1, T4)."""

_TIMESTAMP = re.compile(r"\d{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)


class Seal:
    """One signing secret."""

    def __init__(self, secret: str) -> None:
        self._verifier = SignatureVerifier(secret)

    def fits(self, body: bytes, timestamp: str | None, signature: str | None, at: datetime) -> bool:
        """True for a fresh request that was signed with our secret. Never raises."""
        if timestamp is None or signature is None:
            return False
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(signature):
            return False
        age = at.timestamp() - int(timestamp)
        if age > OLDEST or age < -FUTURE:
            return False
        try:
            return self._is_signed(body, timestamp, signature)
        except UnicodeDecodeError:
            return False

    def _is_signed(self, body: bytes, timestamp: str, signature: str) -> bool:
        import hmac

        ours = self._verifier.generate_signature(timestamp=timestamp, body=body)
        return ours is not None and hmac.compare_digest(ours, signature)
