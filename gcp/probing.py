"""Asks a service's health address over HTTP, and never one that it must not reach."""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from domain.probes import Seen
from gcp.guarded import FORBIDDEN, MOST_BODY, SECONDS, look, origin_of, problem_of, text_of

AGENT = "Toban (health probe)"


class HttpProber:
    """Fulfils ``Prober`` over HTTP and HTTPS, for URLs of ``origins`` (``https://host[:port]``) only.

    Every look opens its own connection, so that the address is checked anew at the moment of
    connecting, after the name was resolved: a name that changes its address in between gains nothing.
    ``private`` allows addresses that are not public, for services inside the team's own network.
    ``resolver`` finds names (the system's where left out); the caller ends it.
    """

    def __init__(
        self,
        origins: Iterable[str],
        *,
        private: bool = False,
        seconds: float = SECONDS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.allow(origins)
        self._private = private
        self._seconds = seconds
        self._resolver = resolver

    def allow(self, origins: Iterable[str]) -> None:
        """From now on these may be asked, and no others."""
        self._origins = frozenset(origin_of(one) for one in origins) - {None}

    async def probe(self, url: str, *, private: bool = False) -> Seen:
        """One GET. A redirect is what was seen, and is not followed. ``private`` as for the whole prober.

        A server that hangs up without a word is asked once more, within the same seconds.
        """
        if origin_of(url) not in self._origins:
            return Seen(url=url, problem=FORBIDDEN, seconds=0.0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen: dict[str, Any] = {}
        try:
            async with asyncio.timeout(self._seconds):
                await self._look(url, seen, private=private or self._private)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError.
            seen["problem"] = problem_of(error)
        return Seen(url=url, seconds=loop.time() - began, **seen)

    async def _look(self, url: str, seen: dict[str, Any], *, private: bool) -> None:
        """Fill in what is seen, as it is seen: a status stays when the body fails."""
        agent = {"User-Agent": AGENT}
        async with look(
            url, agent, private=private, seconds=self._seconds, resolver=self._resolver
        ) as response:
            seen["status"] = response.status
            got = bytearray()
            try:
                while len(got) < MOST_BODY and (chunk := await response.content.read(MOST_BODY - len(got))):
                    got += chunk
            finally:
                seen["body"] = text_of(bytes(got), response.headers.get("Content-Encoding", ""))
                response.close()
