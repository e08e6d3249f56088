"""Reads which health addresses the policy has asked, and which origins they may be of."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from yaml import Node

from bot.shapes import channel, count, is_name, link, one_of, yes_or_no
from bot.sheet import Entry, Sheet
from domain.policy import Level, Service
from domain.rules import Probe

KEYS = ("service", "url", "every", "failures", "successes", "expect", "slow", "level", "private", "channel")
ORIGIN = re.compile(r"https?://[^\s/@?#]+")
STATUS = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
LONGEST = timedelta(seconds=5)
"""After this a probe gives up, so that a slower answer is never seen."""

PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str | None:
    """Scheme, host and port of an address, in small letters and without the usual port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not host:
        return None
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, PORTS[parts.scheme]) else f":{port}")


def read_origins(node: Node | None, services: Sequence[Service], sheet: Sheet) -> tuple[str, ...]:
    """The origins that probes may ask; without the key those of the services' own addresses."""
    if node is None:
        own = (origin(service.url) for service in services if service.url is not None)
        return tuple(dict.fromkeys(one for one in own if one is not None))
    found = []
    for text, at in sheet.texts(node, "rules.origins"):
        resolved = origin(text) if ORIGIN.fullmatch(text) else None
        if resolved is None:
            sheet.wrong(
                at,
                f'rules.origins: "{text}" is not an origin such as https://api.example.com, without a path',
            )
        else:
            found.append(resolved)
    return tuple(dict.fromkeys(found))


def read_probes(
    node: Node | None, services: Mapping[str, Service], origins: Sequence[str], sheet: Sheet
) -> tuple[Probe, ...]:
    """The probes in the file's order."""
    found = []
    for name, entry in sheet.entries(node, "rules.probes").items():
        probe = _probe(name, entry, services, origins, sheet)
        found += [probe] if probe is not None else []
    return tuple(found)


def _probe(
    name: str, entry: Entry, services: Mapping[str, Service], origins: Sequence[str], sheet: Sheet
) -> Probe | None:
    where = f"rules.probes.{name}"
    details = sheet.fields(entry.value, where, KEYS)
    private = yes_or_no(details.get("private"), f"{where}.private", sheet, otherwise=False)
    url = _url(details.get("url"), entry, where, origins, sheet, private=private)
    service = one_of(details.get("service"), entry.key, where, services, sheet)
    level = sheet.text(details.get("level"), f"{where}.level")
    expect = sheet.fields(details.get("expect"), f"{where}.expect", ("status", "text"))
    given = {
        "every": _every(details.get("every"), where, sheet),
        "failures": count(details.get("failures"), f"{where}.failures", sheet, 1, 60),
        "successes": count(details.get("successes"), f"{where}.successes", sheet, 1, 60),
        "statuses": _statuses(expect.get("status"), f"{where}.expect.status", sheet),
        "text": sheet.text(expect.get("text"), f"{where}.expect.text"),
        "slow": _slow(details.get("slow"), where, sheet),
        "level": sheet.member(level, details["level"], f"{where}.level", Level) if level else None,
        "channel": channel(details.get("channel"), f"{where}.channel", sheet),
    }
    if not is_name(entry, name, "rules.probes", sheet) or url is None or service is None:
        return None
    said = {key: value for key, value in given.items() if value is not None}
    return Probe.model_validate({"name": name, "service": service, "url": url, "private": private, **said})


def _url(
    node: Node | None, entry: Entry, where: str, origins: Sequence[str], sheet: Sheet, *, private: bool
) -> str | None:
    if node is None:
        sheet.wrong(entry.key, f"{where} has no url. Write the health address that is to be asked")
        return None
    url = link(node, f"{where}.url", sheet)
    if url is None:
        return None
    its = origin(url)
    if its is None:
        sheet.wrong(node, f'{where}.url: "{url}" is not a link such as https://api.example.com/healthz')
    elif its not in origins:
        allowed = ", ".join(origins) or "none: no service has a url"
        sheet.wrong(
            node,
            f"{where}.url: {its} may not be asked. Allowed: {allowed}. Add it to rules.origins if it is"
            " yours",
        )
    elif not private and _is_private(url):
        sheet.wrong(node, f"{where}.url is a private address. Write `private: true` if that is meant")
    else:
        return url
    return None


def _is_private(url: str) -> bool:
    """True where the address itself says so; what a name resolves to is seen when it is asked."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".localhost", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_global


def _every(node: Node | None, where: str, sheet: Sheet) -> timedelta | None:
    length = sheet.duration(node, f"{where}.every")
    if length is None or timedelta(seconds=10) <= length <= timedelta(days=1):
        return length
    assert node is not None
    sheet.wrong(node, f"{where}.every must lie between 10s and 1d")
    return None


def _slow(node: Node | None, where: str, sheet: Sheet) -> timedelta | None:
    length = sheet.duration(node, f"{where}.slow")
    if length is None or length < LONGEST:
        return length
    assert node is not None
    sheet.wrong(node, f"{where}.slow must be shorter than 5s: then a probe gives up anyway")
    return None


def _statuses(node: Node | None, where: str, sheet: Sheet) -> tuple[tuple[int, int], ...] | None:
    """One status or range, or a list of them."""
    ranges = []
    for text, at in sheet.texts(node, where):
        match = STATUS.fullmatch(text)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if low > high:
            sheet.wrong(at, f'{where}: "{text}" is not a status such as 200 or a range such as 200-299')
        else:
            ranges.append((low, high))
    return tuple(ranges) or None
