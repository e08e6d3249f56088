"""Shapes of text that several sections of the policy share: zones, channels, links, quantities, switches."""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from zoneinfo import available_timezones

from yaml import Node

from bot.sheet import Entry, Sheet, hint

CHANNEL_ID = re.compile(r"[CG][A-Z0-9]{2,20}")
QUANTITY = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(%|ms|s|/s|/min|[KMGT]i?B|B)?")
LINK = re.compile(r"https?://[^\s/@]+(?:/\S*)?")
NAME = re.compile(r"[\w-]{1,60}")
BYTES = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", start=1)},
}
_ABBREVIATED = {
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "SGT": "Asia/Singapore",
    "IST": "Asia/Kolkata",
    "BST": "Europe/London",
    "CEST": "Europe/Berlin",
    "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "EDT": "America/New_York",
    "AEST": "Australia/Sydney",
}
"""What people write for a zone and the time zone database does not know, or knows as something else."""

_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@cache
def _zones() -> set[str]:
    """Read once: it looks at several hundred files."""
    return available_timezones()


def zone(node: Node | None, where: str, sheet: Sheet) -> str | None:
    """A time zone's name."""
    text = sheet.text(node, where)
    if text is None:
        return None
    zones = _zones()
    if text in zones:
        return text
    assert node is not None
    near = _like(text, zones)
    guess = f'; did you mean "{near}"?' if near is not None else "."
    sheet.wrong(node, f'{where}: unknown time zone "{text}"{guess} Write for example Asia/Tokyo')
    return None


def _like(text: str, zones: set[str]) -> str | None:
    """The zone that is meant by an abbreviation, by a city alone, or by a slip of the pen."""
    if text.upper() in _ABBREVIATED:
        return _ABBREVIATED[text.upper()]
    city = text.replace(" ", "_").casefold()
    cities = sorted(zone for zone in zones if zone.casefold().rpartition("/")[2] == city)
    near = cities or difflib.get_close_matches(text, [zone for zone in zones if "/" in zone], n=1)
    return near[0] if near else None


def channel(node: Node | None, where: str, sheet: Sheet) -> str | None:
    """A channel by ``#name`` or id."""
    text = sheet.text(node, where)
    if text is None or _is_channel(text):
        return text
    assert node is not None
    better = re.sub(r"[^\w-]", "-", text.strip("# ").lower())
    sheet.wrong(
        node,
        f'{where}: "{text}" is not a channel. Write "#name" (small letters, digits, - and _, at'
        f' most 80) or an id such as C012AB3CD; did you mean "#{better}"?',
    )
    return None


def _is_channel(text: str) -> bool:
    """Slack's rule for names; letters of every script are allowed as long as they are small."""
    if CHANNEL_ID.fullmatch(text):
        return True
    name = text.removeprefix("#")
    legal = all(letter.isalnum() or letter in "-_" for letter in name)
    return text.startswith("#") and 1 <= len(name) <= 80 and legal and name == name.lower()


def link(node: Node | None, where: str, sheet: Sheet) -> str | None:
    """An address without a name or a password in it."""
    return sheet.shaped(node, where, LINK, "is not a link such as https://wiki.example.com/runbook")


def switch(node: Node | None) -> bool | None:
    """What YAML takes for yes or no; ``None`` for anything else."""
    if node is None or node.tag != "tag:yaml.org,2002:bool":
        return None
    return _SWITCH[str(node.value).casefold()]


def yes_or_no(node: Node | None, where: str, sheet: Sheet, *, otherwise: bool) -> bool:
    """A key that is true or false."""
    if node is None:
        return otherwise
    found = switch(node)
    if found is None:
        sheet.wrong(node, f"{where} must be true or false")
        return otherwise
    return found


def quantity(node: Node | None, where: str, sheet: Sheet) -> tuple[float, str] | None:
    """A number and the unit that stands behind it, such as ``80%``, ``1.5s``, ``10/min`` or ``400``."""
    text = sheet.text(node, where)
    if text is None:
        return None
    match = QUANTITY.fullmatch(text.replace("_", ""))
    if match is None:
        assert node is not None
        sheet.wrong(
            node, f'{where}: "{text}" is not a quantity. Write for example 80%, 1.5s, 800ms, 10/min or 400'
        )
        return None
    return float(match[1]), match[2] or ""


def count(node: Node | None, where: str, sheet: Sheet, low: int, high: int) -> int | None:
    """A whole number between two others."""
    text = sheet.text(node, where)
    if text is None:
        return None
    if text.isascii() and text.isdecimal() and low <= int(text) <= high:
        return int(text)
    assert node is not None
    sheet.wrong(node, f'{where}: "{text}" is not a whole number from {low} to {high}')
    return None


def is_name(entry: Entry, name: str, where: str, sheet: Sheet) -> bool:
    """True for a name that can stand in an alert's identity."""
    if NAME.fullmatch(name):
        return True
    sheet.wrong(entry.key, f'{where}: "{name}" is not a name. Use letters, digits, - and _, at most 60')
    return False


def one_of(node: Node | None, at: Node, where: str, services: Iterable[str], sheet: Sheet) -> str | None:
    """The one service that something is about."""
    known = tuple(services)
    name = sheet.text(node, f"{where}.service")
    if node is None:
        sheet.wrong(at, f"{where} has no service. Say which one it is about{hint('', known)}")
    elif name is not None and name not in known:
        sheet.wrong(node, f'{where}.service: unknown service "{name}"{hint(name, known)}')
    return name if name in known else None
