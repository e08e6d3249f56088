"""Reads and updates services of Cloud Run: short calls, each made once, and no waiting for operations."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from domain.cloudrun import (
    OperationSeen,
    RevisionSeen,
    Row,
    RunRefused,
    RunTrouble,
    ServiceSeen,
    Target,
)
from domain.errors import Outage
from gcp.clients import GcpClients
from gcp.services import (
    NoIngressContainer,
    next_template,
    read_operation,
    read_revision,
    read_service,
    traffic,
)

if TYPE_CHECKING:
    from google.cloud import run_v2

log = structlog.get_logger(__name__)

UPDATE = 15.0
"""Seconds for an update; Google's own default. What became of a late one is found out by reading."""

READ = 10.0
"""Seconds for a read, repeated attempts included."""

PAUSES = (0.2, 1.0)
"""Seconds before each repetition of a read that met 503."""

CLIENT = "toban"
"""By this the service tells people who has updated it last."""

CREATED = ("template", "traffic", "client", "client_version")
"""Of a service, what ``create`` writes.

Without a mask an update replaces the whole service, and with it all that this client's version does not
know. With it nothing else is even sent: neither what Google has put there, nor what people change meanwhile.
"""

SHIFTED = ("traffic",)

UPDATES = "run.services.update"
"""The permission for both, and for the preview."""

# As Google's library words it where the search for a token failed, before anything was sent.
_NO_TOKEN = "Getting metadata from plugin failed"  # noqa: S105
_PERMISSION = re.compile(r"[Pp]ermissions? ['\"`]?[a-z]+\.\w+\.\w+")

Answer = TypeVar("Answer")
Client = TypeVar("Client")


class CloudRun:
    """The port ``Run`` over google-cloud-run.

    An outage's ``reason`` begins with one of ``unavailable``, ``quota``, ``credentials`` and ``error``,
    then a colon and the detail. A refusal for want of a permission names it. ``deadline`` is in seconds
    for an update, ``patience`` for a read.
    """

    def __init__(self, clients: GcpClients, *, deadline: float = UPDATE, patience: float = READ) -> None:
        self._clients = clients
        self._deadline = deadline
        self._patience = patience
        # Google's library would repeat by itself, and for longer than asked.
        self._once: dict[str, Any] = {"retry": None, "timeout": patience}
        self._version = _version()
        self._troubled: dict[tuple[str, str], str] = {}

    # What there is.

    async def service(self, target: Target, salt: str = "") -> ServiceSeen | None:
        """The service as it is now; ``None`` where there is none. Values are hashed with ``salt``."""
        found = await self._service(target)
        return None if found is None else _read(partial(read_service, salt=salt), found)

    async def revision(self, target: Target, name: str, salt: str = "") -> RevisionSeen | None:
        """One revision by its short name; ``None`` where there is none (any more)."""
        path = f"{target.path}/revisions/{name}"
        found = await self._ask(
            target.path,
            "run.revisions.get",
            self._clients.revisions,
            lambda client: client.get_revision(name=path, **self._once),
        )
        return None if found is None else _read(partial(read_revision, salt=salt), found)

    async def revisions(self, target: Target, limit: int = 20) -> list[RevisionSeen]:
        """The newest revisions, newest first, which is the API's own order; none of no service."""

        async def listed(client: "run_v2.RevisionsAsyncClient") -> "list[run_v2.Revision]":
            request = {"parent": target.path, "page_size": limit}
            pager = await client.list_revisions(request, **self._once)
            found: list[run_v2.Revision] = []
            async for revision in pager:
                found.append(revision)
                if len(found) >= limit:
                    break
            return found

        found = await self._ask(target.path, "run.revisions.list", self._clients.revisions, listed)
        return [_read(read_revision, revision) for revision in found or []]

    async def operation(self, name: str) -> OperationSeen | None:
        """An operation as it stands; ``None`` where it is not known any more."""
        raw = await self._ask(
            name.rpartition("/operations/")[0],
            "run.operations.get",
            self._clients.services,
            lambda client: client.get_operation({"name": name}, **self._once),
        )
        return None if raw is None else read_operation(raw)

    # What we change.

    async def preview(
        self, target: Target, image: str, revision: str, rows: Sequence[Row], salt: str = ""
    ) -> ServiceSeen:
        """What the service would be after ``create``; nothing is changed. Finds missing permissions.

        It does not find out whether the image is there, or starts.
        """
        wanted = await self._created(target, image, revision, rows)
        raw = await self._update(target, wanted, CREATED, validate_only=True)
        if raw.HasField("error"):
            from google.api_core import exceptions

            refused: Any = exceptions.from_grpc_status(raw.error.code, raw.error.message)  # type: ignore[no-untyped-call]
            raise trouble(refused, UPDATES, writes=False)
        return _read(partial(read_service, salt=salt), _would_be(raw) or wanted)

    async def create(self, target: Target, image: str, revision: str, rows: Sequence[Row], etag: str) -> str:
        """One update: a revision of that name with that image, and that split. The operation's name."""
        _check(etag)
        wanted = await self._created(target, image, revision, rows, etag)
        raw = await self._update(target, wanted, CREATED)
        return str(raw.name)

    async def shift(self, target: Target, rows: Sequence[Row], etag: str) -> str:
        """One update of the split alone. The operation's name."""
        _check(etag)
        from google.cloud import run_v2

        wanted = run_v2.Service(name=target.path, etag=etag, traffic=traffic(rows))
        raw = await self._update(target, wanted, SHIFTED)
        return str(raw.name)

    async def _created(
        self, target: Target, image: str, revision: str, rows: Sequence[Row], etag: str = ""
    ) -> "run_v2.Service":
        """The part of the service that ``create`` writes. A preview has nothing to guard by an etag."""
        from google.cloud import run_v2

        now = await self._service(target)
        if now is None:
            raise RunRefused(RunTrouble.NOT_FOUND, f"there is no {target.path}")
        return run_v2.Service(
            name=target.path,
            etag=etag,
            template=_read(lambda service: next_template(service.template, image, revision), now),
            traffic=traffic(rows),
            client=CLIENT,
            client_version=self._version,
        )

    async def _service(self, target: Target) -> "run_v2.Service | None":
        return await self._ask(
            target.path,
            "run.services.get",
            self._clients.services,
            lambda client: client.get_service(name=target.path, **self._once),
        )

    # Calls.

    async def _update(
        self,
        target: Target,
        wanted: "run_v2.Service",
        mask: Sequence[str],
        *,
        validate_only: bool = False,
    ) -> Any:
        """The raw operation. Made once: a second attempt is a decision, after another look."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import run_v2

        request = run_v2.UpdateServiceRequest(
            service=wanted, update_mask={"paths": list(mask)}, validate_only=validate_only
        )
        try:
            client = await self._clients.services()
            begun = await client.update_service(request, retry=None, timeout=self._deadline)
        except (GoogleAPIError, GoogleAuthError) as error:
            found = trouble(error, UPDATES, writes=not validate_only)
            self._tell(target.path, UPDATES, found)
            raise found from error
        self._tell(target.path, UPDATES, None)
        return begun.operation

    async def _ask(
        self,
        path: str,
        needs: str,
        make: Callable[[], Awaitable[Client]],
        call: Callable[[Client], Awaitable[Answer]],
    ) -> Answer | None:
        """What a read gives; ``None`` where there is no such thing. Repeated where Google is not there."""
        from google.api_core.exceptions import GoogleAPIError, NotFound
        from google.auth.exceptions import GoogleAuthError

        try:
            client = await make()
            async with asyncio.timeout(self._patience):
                answer = await _patiently(client, call)
        except NotFound:
            answer = None
        except TimeoutError as error:
            late = Outage(f"unavailable: no answer in {self._patience:g} s")
            self._tell(path, needs, late)
            raise late from error
        except (GoogleAPIError, GoogleAuthError) as error:
            found = trouble(error, needs, writes=False)
            self._tell(path, needs, found)
            raise found from error
        self._tell(path, needs, None)
        return answer

    def _tell(self, path: str, needs: str, found: Outage | RunRefused | None) -> None:
        """Log trouble when it begins, changes its kind or ends, not each time."""
        match found:
            case Outage(reason=reason):
                word, _, detail = reason.partition(": ")
            case RunRefused(trouble=RunTrouble.DENIED):
                word, detail = "denied", found.detail
            case _:
                # Conflicts and the like are answers, which whoever asked deals with.
                word, detail = "", ""
        if word == self._troubled.get((path, needs), ""):
            return
        if word:
            self._troubled[path, needs] = word
            log.warning("run.trouble", path=path, call=needs, problem=word, detail=detail[:500])
        else:
            del self._troubled[path, needs]
            log.info("run.recovered", path=path, call=needs)


async def _patiently(client: Client, call: Callable[[Client], Awaitable[Answer]]) -> Answer:
    from google.api_core.exceptions import ServiceUnavailable

    for pause in PAUSES:
        try:
            return await call(client)
        except ServiceUnavailable as error:
            if _NO_TOKEN in str(error):
                raise
            await asyncio.sleep(pause)
    return await call(client)


def trouble(error: Exception, needs: str, *, writes: bool) -> Outage | RunRefused:
    """What an error of Google's client means. ``needs`` is the permission of the call."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    text = str(getattr(error, "message", "") or error)
    if isinstance(error, exceptions.BadRequest) and re.search("etag|already exists", text, re.IGNORECASE):
        return RunRefused(RunTrouble.CONFLICT, text)
    match error:
        case GoogleAuthError():
            return Outage(f"credentials: {text}")
        case exceptions.ServiceUnavailable() if _NO_TOKEN in text:
            return Outage(f"credentials: {text}")
        case exceptions.NotFound():
            return RunRefused(RunTrouble.NOT_FOUND, text)
        case exceptions.Forbidden() | exceptions.Unauthorized():
            # A project whose API is switched off says so, and lacks no permission.
            is_named = _PERMISSION.search(text) or error.reason == "SERVICE_DISABLED"
            return RunRefused(RunTrouble.DENIED, text if is_named else f"{text} (needs {needs})")
        case exceptions.Conflict() | exceptions.PreconditionFailed():
            return RunRefused(RunTrouble.CONFLICT, text)
        case exceptions.BadRequest():
            return RunRefused(RunTrouble.INVALID, text)
        case exceptions.TooManyRequests():
            return Outage(f"quota: {text}")
        case exceptions.ServiceUnavailable() | exceptions.GatewayTimeout():
            return Outage(f"unavailable: {text}", unknown=writes)
        case _:
            return Outage(f"error: {text}", unknown=writes)


def _check(etag: str) -> None:
    """Google takes an update without an etag as one that overrides whatever there is."""
    if not etag:
        raise RunRefused(RunTrouble.INVALID, "no etag, so that it might undo what somebody else did")


def _read(translate: Callable[[Any], Answer], message: Any) -> Answer:
    try:
        return translate(message)
    except NoIngressContainer as error:
        raise RunRefused(RunTrouble.INVALID, f"{message.name}: {error}") from error


def _would_be(raw: Any) -> "run_v2.Service | None":
    """The service in the operation of a validation; ``None`` where Google does not tell it."""
    from google.cloud import run_v2

    for held in (raw.response, raw.metadata):
        service = run_v2.Service()
        if held.Unpack(run_v2.Service.pb(service)) and service.template.containers:
            return service
    return None


def _version() -> str:
    try:
        return version("toban")
    except PackageNotFoundError:
        return "source"
