"""Reading Slack's mrkdwn as a person does: mentions by name, dates, links, and entities decoded."""

import re
from collections.abc import Callable
from typing import NamedTuple

_TOKEN = re.compile(r"<([^<>\n]*)>")


class Mentions(NamedTuple):
    """How many live things a raw mrkdwn string holds."""

    users: int
    channels: int
    groups: int
    broadcasts: int
    links: int
    dates: int

    @property
    def total(self) -> int:
        """Return all of them but dates, which disturb nobody."""
        return self.users + self.channels + self.groups + self.broadcasts + self.links


def count_mentions(text: str) -> Mentions:
    """Count what Slack would make live in ``text``."""
    users = channels = groups = broadcasts = links = dates = 0
    for inner in _TOKEN.findall(text):
        if inner.startswith("@"):
            users += 1
        elif inner.startswith("#"):
            channels += 1
        elif inner.startswith("!subteam^"):
            groups += 1
        elif inner.startswith("!date^"):
            dates += 1
        elif inner.startswith("!"):
            broadcasts += 1
        elif re.match(r"[a-z][a-z0-9+.-]*:", inner):
            links += 1
    return Mentions(users, channels, groups, broadcasts, links, dates)


def decode(text: str) -> str:
    """Return text with Slack's three entities decoded."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def read(text: str, name_of: Callable[[str], str]) -> str:
    """Return mrkdwn as visible text; ``name_of`` maps U, C and S ids to names.

    Dates show their fallback. Emphasis marks and code fences stay, for they are part of what was sent.
    """

    def seen(match: re.Match[str]) -> str:
        inner = match.group(1)
        target, _, label = inner.partition("|")
        if target.startswith("@"):
            return f"@{name_of(target[1:]) or label or target[1:]}"
        if target.startswith("#"):
            return f"#{name_of(target[1:]) or label or target[1:]}"
        if target.startswith("!subteam^"):
            return label or f"@{name_of(target[9:])}"
        if target.startswith("!date^"):
            return label or target
        if target.startswith("!"):
            return f"@{target[1:]}"
        return label or target

    return decode(_TOKEN.sub(seen, text))
