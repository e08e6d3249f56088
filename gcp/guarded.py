"""One look at an address over HTTP, at a public one only, and what was seen of it."""

import codecs
import ipaddress
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

SECONDS = 5.0
"""The whole look: name, connection, answer."""

MOST_BODY = 4096
"""Bytes of an answer that are read, and characters of it that are kept, unpacked or not."""

FORBIDDEN = "forbidden address"

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
RELAYS_6TO4 = ipaddress.IPv4Network("192.88.99.0/24")


class ForbiddenAddress(OSError):
    """The name leads to, or the URL is, an address inside the machine, the network or the cloud."""


def is_public(address: str) -> bool:
    """True for an address of the open internet.

    An IPv4 address that travels inside an IPv6 one (v4-mapped ``::ffff:0:0/96``, NAT64 ``64:ff9b::/96``,
    6to4 ``2002::/16``) is judged as itself. Private, shared (100.64/10), loopback, link-local (the cloud's
    metadata among it), multicast, reserved, documentation and unspecified ones are not public; nor is
    what cannot be read as an address.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = _inside(found)
        if inner is None:
            return found in GLOBAL_UNICAST and found.is_global
        found = inner
    return found.is_global and not found.is_multicast and not found.is_reserved and found not in RELAYS_6TO4


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one wraps."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class PublicResolver(AbstractResolver):
    """Another resolver's answers, without those that are not public."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The public addresses of a name. Raises ``ForbiddenAddress`` where it has others only.

        Raises ``OSError`` where it has none at all, as the client asks of every resolver.
        """
        answers = await self._inner.resolve(host, port, family)
        allowed = [answer for answer in answers if is_public(answer["host"])]
        if not allowed:
            raise ForbiddenAddress(f"{host} has no public address") if answers else OSError(f"no {host}")
        return allowed

    async def close(self) -> None:
        """End the inner resolver."""
        await self._inner.close()


@asynccontextmanager
async def look(
    url: str | URL,
    headers: Mapping[str, str],
    *,
    private: bool,
    seconds: float,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """One GET on a connection of its own; a redirect is not followed, and the answer is not unpacked.

    ``private`` allows addresses that are not public; ``seconds`` for the whole; ``resolver`` finds names
    (the system's where left out). Raises what ``problem_of`` puts into a word.
    """
    inner = resolver or ThreadedResolver()
    connector = aiohttp.TCPConnector(
        resolver=inner if private else PublicResolver(inner),
        socket_factory=_socket if private else _public_socket,
        use_dns_cache=False,
        force_close=True,
    )
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # No proxy and no password file of the machine.
            auto_decompress=False,
            read_bufsize=MOST_BODY,
        ) as session,
        session.get(
            url,
            headers={"Accept-Encoding": "identity", **headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as response,
    ):
        yield response


def _socket(info: Any) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _public_socket(info: Any) -> socket.socket:
    """The last door before a connection, which literal addresses pass as well."""
    address = str(info[4][0])
    if not is_public(address):
        raise ForbiddenAddress(f"{address} is not a public address")
    return _socket(info)


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; ``None`` for what is not a plain HTTP address, or carries a password."""
    try:
        read = URL(url)
        port = read.port
    except ValueError:
        return None
    if read.scheme not in {"http", "https"} or not read.host or port is None:
        return None
    if read.user is not None or read.password is not None:
        return None
    return read.scheme, read.host.rstrip(".").lower(), port


def text_of(body: bytes, encoding: str) -> str:
    """The beginning of an answer as text; nothing of one that is packed in a way that was not asked for."""
    match encoding.strip().lower():
        case "" | "identity":
            plain = body
        case "gzip" | "x-gzip" | "deflate":
            try:
                plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MOST_BODY)
            except zlib.error:
                plain = b""
        case _:
            plain = b""
    # Not the end: a character that was cut in two is left out.
    return codecs.getincrementaldecoder("utf-8")("replace").decode(plain).replace("\0", "")


def problem_of(error: Exception) -> str:
    """A short word for what went wrong."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ForbiddenAddress | aiohttp.InvalidURL):  # 127.1 and 2130706433 are such URLs.
        return FORBIDDEN
    if isinstance(cause, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):  # A label of over 63 characters.
        return "dns"
    if isinstance(cause, ConnectionRefusedError):
        return "refused"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "unreachable"
    return "broken answer"
