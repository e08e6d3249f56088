"""Links that may be clicked: to our own messages, and to pages that alerts name."""

import ipaddress
import socket
import unicodedata
from urllib.parse import unquote, urlsplit

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
        """A link that an alert brought, http(s) only, with its host shown so that it cannot lie.

        One that leads to the reader's own machine, or to a cloud's metadata, is named and cannot be clicked.
        """
        if not address:
            return None
        try:
            parts = urlsplit(address)
            host = parts.hostname
        except ValueError:
            return None
        if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
            return None
        if is_local(host):
            return f"{text} ({line(host)})"
        return f"<{_safe(address)}|{text} ({_label(host)})>"


def is_local(host: str) -> bool:
    """Whether a host is the machine itself or an address of its own link, in any spelling of browsers.

    ``127.1``, ``0x7f000001``, ``2130706433`` and full-width digits are spellings of ``127.0.0.1``.
    Addresses of a private network are not local: dashboards lie there.
    """
    name = unicodedata.normalize("NFKC", unquote(host)).replace("。", ".").casefold().strip("[]").rstrip(".")
    if (
        name == "localhost"
        or name.endswith((".localhost", ".localdomain"))
        or name == "metadata.google.internal"
    ):
        return True
    try:
        found = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            found = ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, ValueError):
            return False
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_loopback or found.is_link_local or found.is_unspecified or found == _METADATA_V6


_METADATA_V6 = ipaddress.IPv6Address("fd00:ec2::254")
"""The other address of a cloud's metadata, beside 169.254.169.254."""


def _safe(address: str) -> str:
    """Slack's own escapes, and the characters that would end the link."""
    escaped = address.replace("&", "&amp;").replace("<", "%3C").replace(">", "%3E").replace("|", "%7C")
    return "".join(escaped.split())[:2900]


def _label(text: str) -> str:
    return line(text).replace("|", "¦")
