"""Asks a new revision the questions of its smoke test, as ourselves, and tells nobody else who we are."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Protocol

import aiohttp
import orjson
from aiohttp.abc import AbstractResolver
from yarl import URL

from domain.probes import Seen
from gcp.guarded import FORBIDDEN, MOST_BODY, SECONDS, look, origin_of, problem_of, text_of
from gcp.identity import Identity

AGENT = "Toban (smoke test)"

CLOUD_RUN = ".run.app"
"""How the addresses end that Google gives to services and their tags."""

TAG_SIGN = "---"
"""Between a tag and its service's host."""

_TOKENS = re.compile(r"eyJ[\w-]{4,}(?:\.[\w-]*){0,2}", re.ASCII)
"""A token or the beginning of one: every one of these begins with ``{"`` in base64."""

_MISSING = object()


class Expected(Protocol):
    """What the answer must be like; ``domain.deploys.Check`` is one.

    ``text`` must occur in the answer's first ``MOST_BODY`` bytes. Where ``pointer`` (RFC 6901, such as
    ``/status``) is set, the answer is JSON of at most that size, with ``value`` there.
    """

    @property
    def status(self) -> int: ...
    @property
    def text(self) -> str | None: ...
    @property
    def pointer(self) -> str | None: ...
    @property
    def value(self) -> Any: ...


class Smoke:
    """Fulfils ``Smoke`` of the ports: one GET, with our ID token where the service demands one.

    Asked are services at ``https://*.run.app``, the policy's ``origins`` (``https://host[:port]``), and what
    is under ``http_endpoint``, the pretend cloud, which alone may have an address that is not public. The
    name is resolved and the address checked anew at each question, as ``HttpProber`` does.
    """

    def __init__(
        self,
        identity: Identity,
        origins: Iterable[str] = (),
        *,
        http_endpoint: str | None = None,
        seconds: float = SECONDS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._identity = identity
        self.allow(origins)
        self._base = http_endpoint.rstrip("/") if http_endpoint is not None else None
        self._seconds = seconds
        self._resolver = resolver

    def allow(self, origins: Iterable[str]) -> None:
        """From now on these may be asked too, instead of the earlier ones."""
        self._origins = frozenset(origin_of(one) for one in origins) - {None}

    async def check(self, uri: str, path: str, *, audience: str | None, expect: Expected) -> Seen:
        """Ask ``path`` (with its slash) of the service or tag at ``uri``; ``audience`` is the service's uri.

        ``audience=None`` asks without a token. ``problem`` is a prober's word, or one of ``status …``,
        ``unexpected text``, ``not json``, ``too long`` and ``unexpected value``. A redirect is not followed.
        Tokens in the answer are blacked out. Raises ``Outage`` where there is no token to be had.
        """
        url = _address(uri, path)
        if url is None or not self._may_ask(url, audience):
            return Seen(url=f"{uri}{path}", problem=FORBIDDEN, seconds=0.0)
        token = None if audience is None else await self._identity.id_token(audience)
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(self._seconds):
                await self._look(url, token, seen)
            seen["problem"] = _unmet(expect, seen)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError.
            seen["problem"] = problem_of(error)
        seconds = loop.time() - began
        seen["body"] = _TOKENS.sub("[token]", seen.get("body", ""))
        seen.pop("cut", None)
        if token is not None and seen.get("status") == 401:
            self._identity.forget(token)  # The next look has a new one, in case this one was revoked.
        return Seen(url=str(url), seconds=seconds, **seen)

    def _may_ask(self, url: URL, audience: str | None) -> bool:
        """Whether this address may be asked, and may learn a token that is meant for ``audience``.

        A service that gets a token meant for another could use it there, so that both must be one.
        """
        if self._is_local(url):
            return audience is None or _is_under(url, URL(audience))
        origin = origin_of(str(url))
        if origin is None:
            return False
        if origin in self._origins:
            return audience is None or origin[0] == "https"
        scheme, host, port = origin
        if (scheme, port) != ("https", 443) or not host.endswith(CLOUD_RUN):
            return False
        if audience is None:
            return True
        owner = origin_of(audience)
        return owner is not None and (host == owner[1] or host.endswith(f"{TAG_SIGN}{owner[1]}"))

    def _is_local(self, url: URL) -> bool:
        return self._base is not None and _is_under(url, URL(self._base))

    async def _look(self, url: URL, token: str | None, seen: dict[str, Any]) -> None:
        """Fill in what is seen, as it is seen: a status stays when the body fails."""
        private = self._is_local(url)
        headers = {"User-Agent": AGENT}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with look(
            url, headers, private=private, seconds=self._seconds, resolver=self._resolver
        ) as response:
            seen["status"] = response.status
            got = bytearray()
            try:
                # One byte more than is kept says whether there is more.
                while len(got) <= MOST_BODY and (
                    chunk := await response.content.read(MOST_BODY + 1 - len(got))
                ):
                    got += chunk
            finally:
                seen["cut"] = len(got) > MOST_BODY
                seen["body"] = text_of(bytes(got[:MOST_BODY]), response.headers.get("Content-Encoding", ""))
                response.close()


def _address(uri: str, path: str) -> URL | None:
    """The whole address; ``None`` where the path would lead out of what is under ``uri``."""
    if not path.startswith("/"):
        return None
    try:
        start = URL(uri.rstrip("/"))
        url = URL(f"{uri.rstrip('/')}{path}")
    except ValueError:
        return None
    if start.query_string or start.fragment or not start.host:
        return None
    return url if _is_under(url, start) else None


def _is_under(url: URL, start: URL) -> bool:
    """Whether an address has the same origin as another and lies at it or below; dots are resolved."""
    if origin_of(str(url)) is None or origin_of(str(url)) != origin_of(str(start)):
        return False
    # A server may take an escaped slash or dot for a plain one.
    if re.search(r"%2[ef]|%5c|\\", url.raw_path, re.IGNORECASE):
        return False
    top = start.path.rstrip("/")
    return url.path == top or url.path.startswith(f"{top}/")


def _unmet(expect: Expected, seen: dict[str, Any]) -> str | None:
    """What is not as it must be; ``None`` where all is."""
    body = seen["body"]
    if seen["status"] != expect.status:
        return f"HTTP {seen['status']}"
    if expect.text is not None and expect.text not in body:
        return "unexpected text"
    if expect.pointer is None:
        return None
    if seen["cut"]:
        return "too long"
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "not json"
    return None if _is_same(_at(document, expect.pointer), expect.value) else "unexpected value"


def _at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) points to; ``_MISSING`` where there is nothing, or it is none."""
    if pointer and not pointer.startswith("/"):
        return _MISSING
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(key, _MISSING)
        elif (
            isinstance(document, list)
            and re.fullmatch(r"0|[1-9][0-9]{0,5}", key)
            and int(key) < len(document)
        ):
            document = document[int(key)]
        else:
            return _MISSING
    return document


def _is_same(found: Any, wanted: Any) -> bool:
    """Equal as JSON: ``true`` is not 1."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
