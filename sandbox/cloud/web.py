"""The HTTP half of the pretend Google Cloud: a registry, a token server and the services' own addresses."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from domain.ports import Clock
from sandbox.cloud import metadata, sql
from sandbox.cloud.faults import Action, Faults
from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.journal import Call, Journal
from sandbox.cloud.registry import Registry, denied, problem, repository_of
from sandbox.cloud.tokens import Tokens
from sandbox.cloud.visits import FORBIDDEN, ROOT, Visits

HOST = "127.0.0.1"
REGISTRY = ".pkg.dev"
OUTCOMES = {
    200: "OK",
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Web:
    """One server on this machine, for what the real cloud has at many hosts.

    - ``{base}/{host}/v2/…`` is the registry at ``host`` (``*.pkg.dev``);
    - ``{base}/computeMetadata/v1/…`` is the metadata server;
    - ``{base}/sqladmin.googleapis.com/v1/…`` is the Cloud SQL Admin API;
    - ``{base}/run/{service}[/{tag}]{path}`` is a service's own address, judged by ``Visits``.

    Faults and the journal know the calls as ``GetManifest``, ``ListTags`` and ``Registry`` (all else
    there), with host and repository as their metric; as ``Token``, with the path behind ``v1/``; and as
    ``Visit``, with the service. Of the faults quota, unavailable, permission and slow are understood. The
    journal's ``filter`` is the path with its query.
    """

    def __init__(
        self,
        images: Images,
        clock: Clock,
        journal: Journal,
        faults: Faults,
        *,
        audience: Callable[[str], str | None] = lambda _: None,
        behaviour: Callable[[str, str | None], Behaviour | None] = lambda _, __: None,
        is_internal: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.tokens = Tokens(clock)
        self.sql = sql.PretendSql(clock, self.tokens)
        self._clock = clock
        self._journal = journal
        self._faults = faults
        self._registry = Registry(images, self.tokens)
        self._visits = Visits(self.tokens, audience, behaviour, is_internal)
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def base(self) -> str:
        """Where it listens once started, such as http://127.0.0.1:40124."""
        return f"http://{HOST}:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises ``OSError`` where the port is taken."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        app.router.add_post(f"/{sql.HOST}/{{path:.*}}", self._answer)
        app.router.add_delete(f"/{sql.HOST}/{{path:.*}}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; requests on their way are cut."""
        if self._runner is not None:
            self._visits.end()
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/" or path.startswith(metadata.ROOT):
            return await self._token(request)
        if path.startswith(ROOT):
            return await self._visit(request)
        host, _, rest = path.removeprefix("/").partition("/")
        if host == sql.HOST:
            return await self._administer(request, rest)
        if host.endswith(REGISTRY) and rest.startswith("v2/"):
            return await self._pull(request, host, rest.removeprefix("v2/"))
        return web.Response(status=404, text="Not found")

    async def _token(self, request: web.Request) -> web.Response:
        async def answer() -> web.Response:
            return metadata.answer(request, self.tokens)

        subject = request.path.removeprefix(metadata.ROOT)
        return await self._called(request, "Token", metadata.PROJECT, subject, answer, _plainly)

    async def _visit(self, request: web.Request) -> web.Response:
        service, slash, rest = request.path.removeprefix(ROOT).partition("/")

        async def answer() -> web.Response:
            return await self._visits.answer(request, service, slash + rest)

        return await self._called(request, "Visit", service, service, answer, _plainly)

    async def _administer(self, request: web.Request, rest: str) -> web.Response:
        """Cloud SQL. A lost answer is one whose question did its work."""
        method, instance = self.sql.method(request, rest)
        await request.read()  # Whoever asked may have gone away when a slow answer is ready; it was asked.
        action = self._faults.take(method, instance)
        if action is not None and action.trouble == "slow":
            await asyncio.sleep(action.value)
        status = _status(action)
        if status is None:
            response = await self.sql.answer(request, rest, action)
            if action is not None and action.trouble == "lost":
                response = sql.problem(503, "backendError", "The service is currently unavailable.")
        else:
            words = {403: ("notAuthorized", "The client is not authorized to make this request.")}
            response = sql.problem(status, *words.get(status, ("backendError", "Try again later.")))
        outcome = OUTCOMES.get(response.status, str(response.status))
        project = rest.split("/")[2] if rest.count("/") > 1 else ""
        call = Call(method, project, instance, self._clock.now(), outcome, filter=request.path_qs)
        self._journal.calls.append(call)
        return response

    async def _pull(self, request: web.Request, host: str, rest: str) -> web.Response:
        async def answer() -> web.Response:
            return self._registry.answer(request, host, rest)

        def refuse(status: int) -> web.Response:
            return denied(path) if status == 403 else problem(status, _CODES[status], "Try again later.")

        path = repository_of(rest)
        method = "ListTags" if rest.endswith("/tags/list") else "GetManifest" if path else "Registry"
        project = path.partition("/")[0]
        return await self._called(request, method, project, f"{host}/{path}", answer, refuse)

    async def _called(
        self,
        request: web.Request,
        method: str,
        project: str,
        subject: str,
        answer: Callable[[], Awaitable[web.Response]],
        refuse: Callable[[int], web.Response],
    ) -> web.Response:
        """One call: with its fault, if one is laid, and its line in the journal."""
        action = self._faults.take(method, subject)
        if action is not None and action.trouble == "slow":
            await asyncio.sleep(action.value)
        status = _status(action)
        response = await answer() if status is None else refuse(status)
        outcome = OUTCOMES.get(response.status, str(response.status))
        call = Call(method, project, subject, self._clock.now(), outcome, filter=request.path_qs)
        self._journal.calls.append(call)
        return response


_CODES = {429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}


def _status(action: Action | None) -> int | None:
    """The HTTP status of a fault; ``None`` where the answer is as ever."""
    match action.trouble if action is not None else None:
        case "quota":
            return 429
        case "unavailable":
            return 503
        case "permission":
            return 403
        case _:
            return None


def _plainly(status: int) -> web.Response:
    """What a front end says that has nothing to do with the program."""
    if status == 403:
        return web.Response(status=403, text=FORBIDDEN, content_type="text/html")
    return web.Response(status=status, text="Rate exceeded." if status == 429 else "Service Unavailable")
