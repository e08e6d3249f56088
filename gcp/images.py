"""Asks Artifact Registry which image a name means, over Docker's registry protocol."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from pydantic import BaseModel, Field, ValidationError
from yarl import URL

from domain.errors import Outage
from domain.images import (
    ImageProblem,
    ImageTrouble,
    Reference,
    Tag,
    is_digest,
    is_tag,
    newest_first,
    refusal,
)
from gcp.identity import Identity, bounded
from gcp.telling import Trouble

log = structlog.get_logger(__name__)

SECONDS = 5.0
"""For one answer."""

PATIENCE = 20.0
"""Seconds for all pages of a list of tags."""

MOST_MANIFEST = 4 * 1024 * 1024
"""Bytes of a manifest: what the OCI distribution specification asks every registry to take."""

MOST_LIST = 8 * 1024 * 1024
"""Bytes of one page of tags: 1,000 of them with what Google says of each take about 0.4 MB."""

MOST_ERROR = 65_536
"""Bytes of an answer that is not what was asked for."""

PAGE = 1000
"""Tags in a page."""

MOST_PAGES = 100
"""A repository with more than 100,000 tags is read so far, and the rest is told in the log."""

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
"""What may stand behind a tag; an index first, since its digest is the one that Docker shows."""


class _Uploaded(BaseModel):
    """What Google says of a manifest beside the protocol: its tags, and when it came, in ms as a string."""

    tag: list[str] = Field(default_factory=list)
    timeUploadedMs: int | None = None  # noqa: N815
    timeCreatedMs: int | None = None  # noqa: N815


class _Page(BaseModel):
    """One page of ``tags/list``. ``manifest`` (by digest) is Google's own addition."""

    tags: list[str] | None = None
    manifest: dict[str, _Uploaded] | None = None


class _Errors(BaseModel):
    """How a registry says what is wrong."""

    class One(BaseModel):
        code: str = ""

    errors: list[One] = Field(default_factory=list)


class Registry:
    """Fulfils ``Images`` of the ports: digests and tags in ``*.pkg.dev``.

    With ``http_endpoint`` a host H is asked at ``{http_endpoint}/H`` and not at ``https://H``. Redirects are
    not followed: our access token would go along. ``session`` is the caller's.
    """

    def __init__(
        self,
        identity: Identity,
        http_endpoint: str | None,
        session: aiohttp.ClientSession,
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._seconds = seconds
        self._identity = identity
        self._base = http_endpoint.rstrip("/") if http_endpoint is not None else None
        self._session = session
        self._log = Trouble("registry")

    async def digest(self, reference: Reference) -> str:
        """The ``sha256:…`` that the name means now; its own where it has one, without asking.

        The manifest is fetched whole, not by HEAD: people approve this digest, so it is what the bytes
        hash to, and not what a header says. The header is compared where there is one. A manifest has
        some kilobytes. Of an image for several platforms it is the index's digest.

        Raises ``ImageProblem``, and ``Outage`` where the registry cannot be asked or contradicts itself.
        """
        if reference.digest is not None:
            return reference.digest
        url = self._url(reference) / "manifests" / reference.asked
        status, headers, body = await self._get(url, reference, MOST_MANIFEST, {"Accept": MANIFESTS})
        if status != 200:
            raise self._trouble(status, headers, body, reference)
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        said = headers.get("Docker-Content-Digest", found)
        if said != found:
            raise self._out(f"error: {reference.host}: says {said[:80]!r} of a manifest that is {found}")
        self._log.tell(None)
        return found

    async def tags(self, repository: str) -> list[Tag]:
        """The tags of ``host/repository``, newest first. Tags are listed by name, so every page is read.

        Raises ``BadReference``, ``ImageProblem`` and ``Outage``.
        """
        reference = Reference.parse(repository)
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._pages(reference)
        except TimeoutError as error:
            raise self._out(f"unavailable: {reference.host}: timeout") from error
        self._log.tell(None)
        return newest_first(list(found.values()))

    async def _pages(self, reference: Reference) -> dict[str, Tag]:
        found: dict[str, Tag] = {}
        url: URL | None = (self._url(reference) / "tags" / "list").with_query(n=PAGE)
        asked: set[URL] = set()
        while url is not None and len(asked) < MOST_PAGES:
            asked.add(url)
            status, headers, body = await self._get(url, reference, MOST_LIST, {"Accept": "application/json"})
            if status != 200:
                raise self._trouble(status, headers, body, reference)
            try:
                page = _Page.model_validate_json(body)
            except ValidationError as error:
                raise self._out(f"error: {reference.host}: broken answer") from error
            for tag in _tags(page):
                if tag.digest is not None or tag.name not in found:
                    found[tag.name] = tag
            url = self._next(url, headers, reference, asked)
        if url is not None:
            log.warning("registry.tags_cut", repository=reference.name, read=len(found))
        return found

    def _next(
        self, url: URL, headers: Mapping[str, str], reference: Reference, asked: set[URL]
    ) -> URL | None:
        """Where the next page is; only ever another query of the same list."""
        link = _link(headers.get("Link", ""))
        if link is None:
            return None
        try:
            following = url.join(URL(link))
        except ValueError as error:
            raise self._out(f"error: {reference.host}: broken answer") from error
        # A link from the root is right in the protocol, also where our own address has a path before it.
        is_list = following.path in {url.path, f"/v2/{reference.repository}/tags/list"}
        if following.origin() != url.origin() or not is_list:
            raise self._out(f"error: {reference.host}: the next page is elsewhere")
        following = url.with_query(following.query)
        if following in asked:
            raise self._out(f"error: {reference.host}: the pages have no end")
        return following

    def _url(self, reference: Reference) -> URL:
        """Where the registry's answers about this repository begin. Raises ``ImageProblem``."""
        refused = refusal(reference)
        if refused is not None:
            raise ImageProblem(refused, reference)
        base = f"https://{reference.host}" if self._base is None else f"{self._base}/{reference.host}"
        return URL(f"{base}/v2/{reference.repository}")

    async def _get(
        self, url: URL, reference: Reference, most: int, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. A token that is not accepted any more is replaced, once."""
        token = await self._identity.access_token()
        answer = await self._get_with(token, url, reference, most, headers)
        if answer[0] == 401:
            self._identity.forget(token)
            token = await self._identity.access_token()
            answer = await self._get_with(token, url, reference, most, headers)
        return answer

    async def _get_with(
        self, token: str, url: URL, reference: Reference, most: int, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        # Not packed: the digest is of the bytes as they are.
        every = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
        try:
            async with self._session.get(
                url,
                headers=every | dict(headers),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
            ) as response:
                body = await bounded(response, most if response.status == 200 else MOST_ERROR)
                return response.status, response.headers, body
        except TimeoutError as error:
            raise self._out(f"unavailable: {reference.host}: timeout") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._out(f"unavailable: {reference.host}: {error or type(error).__name__}") from error

    # Trouble.

    def _trouble(
        self, status: int, headers: Mapping[str, str], body: bytes, reference: Reference
    ) -> ImageProblem | Outage:
        """What a status other than 200 means: told to a person, or tried again."""
        codes = _codes(body)
        match status:
            case 404:
                return ImageProblem(ImageTrouble.NOT_FOUND, reference)
            case 400 if codes & {"NAME_INVALID", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "TAG_INVALID"}:
                return ImageProblem(ImageTrouble.NOT_FOUND, reference)
            case 401 | 403:
                return ImageProblem(ImageTrouble.NO_ACCESS, reference)
            case 429:
                return self._out(f"quota: {reference.host}: status 429", _seconds(headers))
            case 408 | 500 | 502 | 503 | 504:
                return self._out(f"unavailable: {reference.host}: status {status}", _seconds(headers))
            case _:
                return self._out(f"error: {reference.host}: status {status}")

    def _out(self, reason: str, retry_after: float | None = None) -> Outage:
        self._log.tell(reason)
        return Outage(reason, retry_after=retry_after)


def _tags(page: _Page) -> list[Tag]:
    """The tags of a page, well-formed ones only; with their digest where Google says it."""
    found = {name: Tag(name=name) for name in page.tags or () if is_tag(name)}
    for digest, manifest in (page.manifest or {}).items():
        if not is_digest(digest):
            continue
        at = _moment(manifest.timeUploadedMs) or _moment(manifest.timeCreatedMs)
        for name in manifest.tag:
            if is_tag(name):
                found[name] = Tag(name=name, digest=digest, uploaded_at=at)
    return list(found.values())


def _moment(milliseconds: int | None) -> datetime | None:
    """A time; ``None`` for zero, which reproducible builds have as theirs, and for what no calendar has."""
    if not milliseconds or not 0 < milliseconds < 253_402_300_800_000:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _link(header: str) -> str | None:
    """The address of ``<…>; rel="next"``."""
    for one in header.split(","):
        address, _, rest = one.strip().partition(">")
        if address.startswith("<") and "rel=next" in rest.replace(" ", "").replace('"', "").lower():
            return address[1:]
    return None


def _codes(body: bytes) -> set[str]:
    """The codes of a registry's own errors; none where the answer came from something else."""
    try:
        return {one.code for one in _Errors.model_validate_json(body).errors}
    except ValidationError:
        return set()


def _seconds(headers: Mapping[str, Any]) -> float | None:
    """``Retry-After`` in seconds; ``None`` where it is a date or nothing."""
    said = str(headers.get("Retry-After", ""))
    return float(said) if said.isascii() and said.isdigit() else None
