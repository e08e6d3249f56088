"""What is known of a project's secrets: names, labels, versions and their states, never what they hold."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Evidence, Finding, Flaw
from domain.levels import Value
from gcp.clients import GcpClients
from gcp.shelves import Shelf

if TYPE_CHECKING:
    from google.cloud.secretmanager_v1 import SecretManagerServiceAsyncClient

STEM, MANIFEST = "secrets", "manifest.json"

PAGE = 250
"""Secrets or versions in one page."""

SECONDS = 20.0
"""For one page."""

PAUSES = (5.0, 15.0, 30.0, 30.0)
"""Seconds before a page is asked for again that met the quota: reads are counted by the minute.

Source: https://cloud.google.com/secret-manager/quotas
"""


class SecretsManifest(Value):
    """What stands beside the ``file``. ``versions`` counts those of all secrets."""

    project: str
    installation: str = ""
    at: datetime
    file: str = Field(pattern=rf"^{STEM}-[0-9a-f]+\.json$")
    secrets: int
    versions: int
    bytes: int
    sha256: str


class SecretVault:
    """Fulfils ``Vault``. Needs *Secret Manager Viewer*, which cannot read what secrets hold; nor is it asked.

    With it a project's secrets can be set up again, each to be filled by whoever knows its value.

    The file is named after its contents: whoever died before the manifest leaves nothing in the way, and one
    that comes late finds the manifest taken, and has touched nothing of the finished copy.
    """

    def __init__(
        self,
        clients: GcpClients,
        shelf: Shelf,
        *,
        seconds: float = SECONDS,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._clients = clients
        self._shelf = shelf
        self._pauses = pauses
        self._once: dict[str, Any] = {"retry": None, "timeout": seconds}

    async def find(self, order: Order) -> Began | None:
        """The manifest, if it has its name already."""
        there = await self._shelf.read(order.destination, MANIFEST)
        return None if there is None or _stranger(order, there) else Began(operation=order.key)

    async def begin(self, order: Order) -> Began | Broke:
        """List them, and keep the list; the manifest last."""
        found = await self._listed(order.part.project or "")
        if isinstance(found, Broke):
            return found
        data = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False).encode()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{STEM}-{digest[:16]}.json"
        await self._shelf.write(order.destination, file, data)
        manifest = SecretsManifest(
            project=order.part.project or "",
            installation=order.installation,
            at=order.at,
            file=file,
            secrets=len(found),
            versions=sum(len(one["versions"]) for one in found),
            bytes=len(data),
            sha256=digest,
        )
        await self._shelf.write(order.destination, MANIFEST, manifest.model_dump_json(indent=1).encode())
        return Began(operation=order.key)

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """It was finished when it began, or is gone."""
        return Finished() if await self.find(order) is not None else Broke(why="its manifest is gone")

    async def prove(self, order: Order, operation: str) -> Evidence:
        """Read it again: its bytes, its counts, its project."""
        raw = await self._shelf.read(order.destination, MANIFEST)
        try:
            manifest = SecretsManifest.model_validate_json(raw or b"")
        except ValidationError:
            return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name=MANIFEST)])
        data = await self._shelf.read(order.destination, manifest.file)
        if data is None:
            return Evidence.of([Finding(flaw=Flaw.MISSING, name=manifest.file)])
        findings = _wrong(order, manifest, data)
        return Evidence.of(
            findings, objects=2, bytes=len(data), records=manifest.versions, sampled=1, at=manifest.at
        )

    async def remove(self, order: Order) -> None:
        """The manifest first: half a copy is none. Raises ``Outage`` for what another installation made."""
        there = await self._shelf.read(order.destination, MANIFEST)
        stranger = None if there is None else _stranger(order, there)
        if stranger:
            raise Outage(f"refused: {order.destination} holds a copy of another installation ({stranger})")
        await self._shelf.remove(order.destination, MANIFEST)
        for name in await self._shelf.names(order.destination):
            if name.startswith((f"{STEM}-", f"{MANIFEST}.")):
                await self._shelf.remove(order.destination, name)

    async def _listed(self, project: str) -> list[dict[str, Any]] | Broke:
        from google.api_core import exceptions as api
        from google.auth.exceptions import GoogleAuthError

        client = await self._clients.secrets()
        try:
            found = []
            for secret in await self._secrets(client, project):
                versions = await self._versions(client, secret.name)
                if versions is not None:
                    written = type(secret).to_dict(secret, use_integers_for_enums=False)
                    found.append(written | {"versions": versions})
        except api.NotFound as error:
            return Broke(why=str(error.message)[:300])
        except api.Forbidden as error:
            raise Outage(f"permission: Secret Manager: {str(error.message)[:300]}") from error
        except api.Unauthenticated as error:
            raise Outage(f"credentials: Secret Manager: {str(error.message)[:300]}") from error
        except api.ResourceExhausted as error:
            raise Outage(f"quota: Secret Manager: {str(error.message)[:300]}") from error
        except api.GoogleAPICallError as error:
            raise Outage(f"unavailable: Secret Manager: {str(error.message)[:300]}") from error
        except GoogleAuthError as error:
            raise Outage(f"credentials: Secret Manager: {str(error)[:300]}") from error
        return sorted(found, key=lambda one: str(one["name"]))

    async def _secrets(self, client: "SecretManagerServiceAsyncClient", project: str) -> list[Any]:
        found: list[Any] = []
        asked = {"parent": f"projects/{project}", "page_size": PAGE}
        while True:
            page = await self._page(client.list_secrets, asked)
            found += page.secrets
            if not page.next_page_token:
                return found
            asked["page_token"] = page.next_page_token

    async def _versions(
        self, client: "SecretManagerServiceAsyncClient", secret: str
    ) -> list[dict[str, Any]] | None:
        """``None`` where the secret was deleted since it was listed."""
        from google.api_core.exceptions import NotFound

        found: list[dict[str, Any]] = []
        asked = {"parent": secret, "page_size": PAGE}
        while True:
            try:
                page = await self._page(client.list_secret_versions, asked)
            except NotFound:
                return None
            found += [type(one).to_dict(one, use_integers_for_enums=False) for one in page.versions]
            if not page.next_page_token:
                return found
            asked["page_token"] = page.next_page_token

    async def _page(self, call: Callable[..., Awaitable[Any]], asked: dict[str, Any]) -> Any:
        """One page; a thousand secrets are more questions than a minute allows, so it waits."""
        from google.api_core.exceptions import ResourceExhausted

        for pause in self._pauses:
            try:
                return await call(request=asked, **self._once)
            except ResourceExhausted:
                await asyncio.sleep(pause)
        return await call(request=asked, **self._once)


def _stranger(order: Order, raw: bytes) -> str | None:
    """The other installation that has written a manifest."""
    try:
        found = SecretsManifest.model_validate_json(raw).installation
    except ValidationError:
        return None
    return None if order.is_of(found) else found


def _wrong(order: Order, manifest: SecretsManifest, data: bytes) -> list[Finding]:
    if not data:
        return [Finding(flaw=Flaw.EMPTY, name=manifest.file)]
    if len(data) != manifest.bytes:
        return [Finding(flaw=Flaw.SIZE, name=manifest.file, wanted=str(manifest.bytes), found=str(len(data)))]
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.sha256:
        wanted = manifest.sha256[:12]
        return [Finding(flaw=Flaw.CHECKSUM, name=manifest.file, wanted=wanted, found=digest[:12])]
    found = json.loads(data)
    findings = []
    if not order.is_of(manifest.installation):
        wanted = order.installation or "—"
        findings.append(
            Finding(flaw=Flaw.ELSEWHERE, name=MANIFEST, wanted=wanted, found=manifest.installation)
        )
    if not found:
        findings.append(Finding(flaw=Flaw.EMPTY, name=manifest.project))
    if len(found) != manifest.secrets:
        wanted = str(manifest.secrets)
        findings.append(Finding(flaw=Flaw.COUNT, name=manifest.file, wanted=wanted, found=str(len(found))))
    if manifest.project != order.part.project:
        wanted = order.part.project or "—"
        findings.append(
            Finding(flaw=Flaw.ELSEWHERE, name=manifest.file, wanted=wanted, found=manifest.project)
        )
    return findings
