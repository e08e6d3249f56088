"""Links that may be clicked: to our own messages, and to pages that alerts name."""

from urllib.parse import urlsplit

from domain.views import Posted
from notify.slack.escape import line


class Links:
    """``team_url`` is the workspace's address from ``auth.test``: ``https://team.slack.com/``."""

    def __init__(self, team_url: str | None) -> None:
        self._team = team_url.rstrip("/") if team_url else None

    def message(self, posted: Posted | None, text: str) -> str:
        """A link to a message, or the text alone where it is not posted yet."""
        if posted is None or self._team is None:
            return line(text)
        address = f"{self._team}/archives/{posted.channel_id}/p{posted.ts.replace('.', '')}"
        if posted.thread_ts:
            address += f"?thread_ts={posted.thread_ts}&cid={posted.channel_id}"
        return f"<{_safe(address)}|{_label(text)}>"

    def outside(self, address: str | None, text: str) -> str | None:
        """A link that an alert brought, http(s) only, with its host shown so that it cannot lie."""
        if not address:
            return None
        try:
            parts = urlsplit(address)
            host = parts.hostname
        except ValueError:
            return None
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
            return None
        return f"<{_safe(address)}|{text} ({_label(host)})>"


def _safe(address: str) -> str:
    """Slack's own escapes, and the characters that would end the link."""
    escaped = address.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return "".join(escaped.split())[:2900]


def _label(text: str) -> str:
    return line(text).replace("|", "¦")
