"""The pretend services' own addresses: each answers as the image does that runs there."""

import asyncio
import itertools
from collections.abc import Callable

from aiohttp import web

from sandbox.cloud.images import Behaviour
from sandbox.cloud.tokens import Tokens

ROOT = "/run/"

PAGE = """<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>{title}</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: {heading}</h1>
<h2>{said}</h2>
<h2></h2>
</body></html>
"""
"""What Google's front end answers by itself, before any program."""

NOT_FOUND = PAGE.format(
    title="404 Page not found",
    heading="Page not found",
    said="The requested URL was not found on this server.",
)
FORBIDDEN = PAGE.format(
    title="403 Forbidden",
    heading="Forbidden",
    said="Your client does not have permission to get URL from this server.",
)
UNAUTHORIZED = PAGE.format(
    title="401 Unauthorized",
    heading="Unauthorized",
    said="Your client does not have permission to the requested URL.",
)
UNAVAILABLE = "Service Unavailable"
INVALID = 'Bearer error="invalid_token" error_description="The access token could not be verified"'
HEALTH_PATHS = frozenset({"/health", "/api/v1/health"})


class Visits:
    """Answers ``/run/{service}[/{tag}]{path}``.

    ``audience`` gives the uri that an ID token must name, ``None`` for a public service; ``behaviour`` what
    runs at a service (tag ``None``) or at a tag, ``None`` where there is no such one; ``is_internal`` whether
    the service takes requests from the team's own network only, which these never are.

    A first segment that is a tag now, or has been one, is taken for a tag; so is one before a health path.
    Any other belongs to the path.
    """

    def __init__(
        self,
        tokens: Tokens,
        audience: Callable[[str], str | None],
        behaviour: Callable[[str, str | None], Behaviour | None],
        is_internal: Callable[[str], bool],
    ) -> None:
        self._tokens = tokens
        self._audience = audience
        self._behaviour = behaviour
        self._is_internal = is_internal
        self._counts: dict[tuple[str, str | None], itertools.count[int]] = {}
        self._tags: set[tuple[str, str]] = set()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Let go of the requests that hang."""
        self._ending.set()

    async def answer(self, request: web.Request, service: str, rest: str) -> web.Response:
        """Answer as Google's front end does, and behind it the program."""
        tag, path = self._parted(service, rest)
        running = self._behaviour(service, tag)
        if running is None or self._is_internal(service):
            return _page(404, NOT_FOUND)
        audience = self._audience(service)
        if audience is not None:
            refused = self._refused(request, audience)
            if refused is not None:
                return refused
        if not running.starts:
            return web.Response(status=503, text=UNAVAILABLE)
        match path:
            case "/health":
                return _said(running.health_status, running.health_body)
            case "/api/v1/health":
                return _said(running.api_health_status, running.api_health_body)
            case _:
                return await self._work(service, tag, running)

    def _parted(self, service: str, rest: str) -> tuple[str | None, str]:
        """The tag, where there is one, and the path behind it."""
        if rest in HEALTH_PATHS:
            return None, rest
        first, slash, behind = rest.removeprefix("/").partition("/")
        path = slash + behind
        if first and self._behaviour(service, first) is not None:
            self._tags.add((service, first))
            return first, path
        is_tag = (service, first) in self._tags or path in HEALTH_PATHS
        return (first, path) if is_tag else (None, rest)

    def _refused(self, request: web.Request, audience: str) -> web.Response | None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return _page(403, FORBIDDEN)
        if self._tokens.is_for(token.strip(), audience):
            return None
        response = _page(401, UNAUTHORIZED)
        response.headers["WWW-Authenticate"] = INVALID
        return response

    async def _work(self, service: str, tag: str | None, running: Behaviour) -> web.Response:
        """An ordinary request: of every 1,000 just as many fail and hang as the image has it."""
        number = next(self._counts.setdefault((service, tag), itertools.count(1)))
        if _falls(number, running.hanging_share):
            await self._ending.wait()
            return web.Response(status=504, text="upstream request timeout")
        if _falls(number, running.error_share):
            return web.Response(status=500, text="Internal Server Error")
        return web.json_response({"service": service, "tag": tag, "request": number})


def _falls(number: int, share: float) -> bool:
    """Whether the share's next one is this request; a share of 0.25 takes the 4th, the 8th and so on."""
    # Rounded, since 0.1 * 30 is a little more than 3 to a computer and 0.7 * 10 a little less than 7.
    return int(round(number * share, 9)) > int(round((number - 1) * share, 9))


def _page(status: int, html: str) -> web.Response:
    return web.Response(status=status, text=html, content_type="text/html")


def _said(status: int, body: str) -> web.Response:
    return web.Response(
        status=status,
        text=body,
        content_type="application/json" if body.lstrip().startswith(("{", "[")) else "text/plain",
    )
