"""The pretend Secret Manager: names and versions may be listed, what they hold is refused to everybody."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
from google.cloud.secretmanager_v1.types import resources, service

from domain.ports import Clock
from sandbox.cloud.faults import Action, Faults
from sandbox.cloud.journal import Call, Journal
from sandbox.cloud.refusals import Refusal, denied, exhausted, invalid, missing, unavailable

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"

MOST = 25
"""Items in one page, whatever is asked for: so that reading on is needed soon."""


@dataclass(slots=True)
class PretendSecret:
    """A secret of a project; of its ``versions`` the last one is enabled."""

    name: str
    made_at: datetime
    versions: int = 1
    labels: dict[str, str] = field(default_factory=dict)


class Secrets:
    """All secrets, by project. In faults and in the journal ``metric`` is the project."""

    def __init__(self, clock: Clock, faults: Faults, journal: Journal) -> None:
        self.projects: dict[str, dict[str, PretendSecret]] = {}
        self._clock = clock
        self._faults = faults
        self._journal = journal

    def add(self, project: str, name: str, **more: Any) -> PretendSecret:
        """A new secret."""
        made = PretendSecret(name, self._clock.now(), **more)
        self.projects.setdefault(project, {})[name] = made
        return made

    def handler(self) -> Any:
        """For a gRPC server."""
        methods: dict[str, tuple[Any, Any, Any]] = {
            "ListSecrets": (service.ListSecretsRequest, service.ListSecretsResponse, self._secrets),
            "ListSecretVersions": (
                service.ListSecretVersionsRequest,
                service.ListSecretVersionsResponse,
                self._versions,
            ),
            "AccessSecretVersion": (
                service.AccessSecretVersionRequest,
                service.AccessSecretVersionResponse,
                self._access,
            ),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._told(name, call),
                    request_deserializer=asked.deserialize,
                    response_serializer=answered.serialize,
                )
                for name, (asked, answered, call) in methods.items()
            },
        )

    def _told(self, name: str, call: Any) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            resource = getattr(request, "parent", "") or getattr(request, "name", "")
            project = resource.split("/")[1] if "/" in resource else ""
            code, refused, response = "OK", None, None
            try:
                await _suffer(self._faults.take(name, project), name, resource)
                response = call(request)
            except Refusal as refusal:
                code, refused = refusal.code.name, refusal
            self._journal.calls.append(Call(name, project, project, self._clock.now(), code, filter=resource))
            if refused is not None:
                await context.abort(refused.code, refused.detail)
            return response

        return answer

    def _secrets(self, request: Any) -> Any:
        found = self.projects.get(request.parent.removeprefix("projects/"))
        if found is None:
            raise missing("project", request.parent)
        page, following = _page(sorted(found.values(), key=lambda one: one.name), request)
        return service.ListSecretsResponse(
            secrets=[
                resources.Secret(
                    name=f"{request.parent}/secrets/{one.name}",
                    replication={"automatic": {}},
                    create_time=one.made_at,
                    labels=one.labels,
                    etag=f'"{one.name}"',
                )
                for one in page
            ],
            next_page_token=following,
            total_size=len(found),
        )

    def _versions(self, request: Any) -> Any:
        _, project, _, name = request.parent.split("/")
        secret = self.projects.get(project, {}).get(name)
        if secret is None:
            raise missing("secret", request.parent)
        page, following = _page(list(range(secret.versions, 0, -1)), request)
        state = resources.SecretVersion.State
        return service.ListSecretVersionsResponse(
            versions=[
                resources.SecretVersion(
                    name=f"{request.parent}/versions/{number}",
                    create_time=secret.made_at,
                    state=state.ENABLED if number == secret.versions else state.DISABLED,
                )
                for number in page
            ],
            next_page_token=following,
            total_size=secret.versions,
        )

    def _access(self, request: Any) -> Any:
        raise denied("secretmanager.versions.access", request.name)


def _page(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """The page that was asked for, and the token of the next one."""
    try:
        first = int(request.page_token or 0)
    except ValueError as error:
        raise invalid("page_token", "not a token") from error
    most = min(request.page_size or MOST, MOST)
    following = str(first + most) if first + most < len(items) else ""
    return items[first : first + most], following


async def _suffer(action: Action | None, method: str, resource: str) -> None:
    match action.trouble if action is not None else None:
        case "slow":
            assert action is not None
            await asyncio.sleep(action.value)
        case "quota":
            raise exhausted()
        case "unavailable":
            raise unavailable()
        case "permission":
            raise denied(f"secretmanager.{method}", resource)
        case _:
            return
