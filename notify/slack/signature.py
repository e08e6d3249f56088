"""Whether a request is Slack's: signed over the bytes as they came, whatever they are.

The SDK's verifier raises on hostile headers and for bodies that are not UTF-8.
https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

import hashlib
import hmac
import re
from datetime import datetime

OLDEST = 300
"""Seconds that a request may be old (Slack's own advice)."""

FUTURE = 60
"""Seconds that it may be ahead of our clock; the SDK would take 300 (facts §3.1, T4)."""

_TIMESTAMP = re.compile(r"\d{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)


class Seal:
    """One signing secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def fits(self, body: bytes, timestamp: str | None, signature: str | None, at: datetime) -> bool:
        """True for a fresh request that was signed with our secret. Never raises."""
        if timestamp is None or signature is None:
            return False
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(signature):
            return False
        age = at.timestamp() - int(timestamp)
        if age > OLDEST or age < -FUTURE:
            return False
        ours = hmac.new(self._secret, b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256)
        return hmac.compare_digest("v0=" + ours.hexdigest(), signature)
