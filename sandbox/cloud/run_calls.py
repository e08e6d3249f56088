"""The pretend Cloud Run's gRPC methods: what is read of a request, which faults hit it, what is answered."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import grpc
from google.cloud import run_v2

from sandbox.cloud import refusals, templates
from sandbox.cloud.deployed import ORDINARY, Deployed, Fate
from sandbox.cloud.faults import Action, Faults
from sandbox.cloud.journal import Call, Journal
from sandbox.cloud.operations import GET_OPERATION, OPERATION
from sandbox.cloud.refusals import Refusal, invalid
from sandbox.cloud.revisions import RECONCILING, PretendRevision, unlucky
from sandbox.cloud.running import Running

SERVICES, REVISIONS = "google.cloud.run.v2.Services", "google.cloud.run.v2.Revisions"
OPERATIONS = "google.longrunning.Operations"
MOST = 100
"""Items in one page."""

_PLACE = r"projects/[^/]+/locations/[^/]+"


@dataclass(frozen=True, slots=True)
class _Method:
    """One method: its permission, the messages' classes, and who answers."""

    service: str
    name: str
    permission: str
    asked: Any
    answered: Any
    call: Callable[[Any, Action | None], Any]


class RunCalls:
    """Services, Revisions and Operations.

    In faults and in the journal ``metric`` is the service's short name; the journal's ``filter`` holds an
    update's mask, with commas, and ``validate_only``.
    """

    def __init__(self, running: Running, faults: Faults, journal: Journal) -> None:
        self._running = running
        self._faults = faults
        self._journal = journal

    def handlers(self) -> tuple[Any, ...]:
        """For a gRPC server, made of the shipped message classes."""
        by_service: dict[str, dict[str, Any]] = {}
        for method in self._methods():
            by_service.setdefault(method.service, {})[method.name] = grpc.unary_unary_rpc_method_handler(
                self._told(method),
                request_deserializer=method.asked.FromString,
                response_serializer=method.answered.SerializeToString,
            )
        return tuple(grpc.method_handlers_generic_handler(name, found) for name, found in by_service.items())

    def _methods(self) -> tuple[_Method, ...]:
        service, revision = run_v2.Service.pb(), run_v2.Revision.pb()
        listed, revisions = run_v2.ListServicesResponse.pb(), run_v2.ListRevisionsResponse.pb()
        one, some = run_v2.GetServiceRequest.pb(), run_v2.ListServicesRequest.pb()
        created, updated = run_v2.CreateServiceRequest.pb(), run_v2.UpdateServiceRequest.pb()
        a_revision, many = run_v2.GetRevisionRequest.pb(), run_v2.ListRevisionsRequest.pb()
        return (
            _Method(SERVICES, "GetService", "run.services.get", one, service, self._get_service),
            _Method(SERVICES, "ListServices", "run.services.list", some, listed, self._list_services),
            _Method(
                SERVICES, "CreateService", "run.services.create", created, OPERATION, self._create_service
            ),
            _Method(
                SERVICES, "UpdateService", "run.services.update", updated, OPERATION, self._update_service
            ),
            _Method(REVISIONS, "GetRevision", "run.revisions.get", a_revision, revision, self._get_revision),
            _Method(REVISIONS, "ListRevisions", "run.revisions.list", many, revisions, self._list_revisions),
            _Method(
                OPERATIONS,
                "GetOperation",
                "run.operations.get",
                GET_OPERATION,
                OPERATION,
                self._get_operation,
            ),
        )

    def _told(self, method: _Method) -> Any:
        """A method with faults before and after it and the journal behind it."""

        async def answer(request: Any, context: Any) -> Any:
            resource = _resource(request)
            short = self._short(resource)
            code = "CANCELLED"
            refused: Refusal | None = None
            try:
                action = self._faults.take(method.name, short)
                await _suffer(action, method.permission, resource)
                response = method.call(request, action)
                _lose(action)
                code = "OK"
            except Refusal as refusal:
                code, refused = refusal.code.name, refusal
            except Exception:
                code = "UNKNOWN"
                raise
            finally:
                project = resource.split("/")[1] if "/" in resource else ""
                at, noted = self._running.clock.now(), _noted(request)
                self._journal.calls.append(Call(method.name, project, short, at, code, filter=noted))
            # Only now: whoever reads the journal after the answer finds the call in it.
            if refused is not None:
                await context.abort(refused.code, refused.detail)
            return response

        return answer

    def _short(self, resource: str) -> str:
        """The short name of the service that a call is about; empty where it is about none."""
        operation = self._running.operations.known.get(resource)
        parts = (operation.service if operation is not None else resource).split("/")
        return parts[5] if len(parts) > 5 and parts[4] == "services" else ""

    # Services.

    def _get_service(self, request: Any, action: Action | None) -> Any:
        written = self._deployed(request.name).write()
        match action:
            case Action("failing", text=text):
                unlucky(text).write(written.terminal_condition)
            case Action("stuck"):
                written.reconciling = True
                written.terminal_condition.state = RECONCILING
        return written

    def _list_services(self, request: Any, action: Action | None) -> Any:
        if not re.fullmatch(_PLACE, request.parent):
            raise invalid("ListServicesRequest.parent", f"'{request.parent}' is not a location.")
        found = [
            deployed
            for name, deployed in sorted(self._running.deployed.items())
            if _is_under(name, request.parent) and not _is_empty(action)
        ]
        page, token = _page(found, request)
        answer = run_v2.ListServicesResponse.pb()(next_page_token=token)
        answer.services.extend(deployed.write() for deployed in page)
        return answer

    def _create_service(self, request: Any, action: Action | None) -> Any:
        if not re.fullmatch(_PLACE, request.parent):
            raise invalid("CreateServiceRequest.parent", f"'{request.parent}' is not a location.")
        templates.check_service(request.service_id, "CreateServiceRequest.service_id")
        if request.service.name:
            raise invalid("CreateServiceRequest.service.name", "must be empty.")
        name = f"{request.parent}/services/{request.service_id}"
        if name in self._running.deployed:
            raise refusals.taken(request.service_id)
        return self._create(name, request, action)

    def _create(self, name: str, request: Any, action: Action | None) -> Any:
        made = Deployed(self._running, name)
        request.service.etag = ""
        operation = made.update(
            request.service,
            by=self._running.caller,
            validate_only=request.validate_only,
            fate=_fate(action),
        )
        if not request.validate_only:
            self._running.adopt(made)
        return operation.write()

    def _update_service(self, request: Any, action: Action | None) -> Any:
        name, running = request.service.name, self._running
        if not re.fullmatch(rf"{_PLACE}/services/[^/]+", name):
            raise invalid("UpdateServiceRequest.service.name", f"'{name}' is not the name of a service.")
        if name not in running.deployed and request.allow_missing:
            templates.check_service(name.rsplit("/", 1)[-1], "UpdateServiceRequest.service.name")
            return self._create(name, request, action)
        operation = self._deployed(name).update(
            request.service,
            list(request.update_mask.paths),
            by=running.caller,
            validate_only=request.validate_only,
            fate=_fate(action),
        )
        return operation.write()

    # Revisions and operations.

    def _get_revision(self, request: Any, action: Action | None) -> Any:
        service, _, short = request.name.partition("/revisions/")
        deployed = self._running.deployed.get(service)
        revision = deployed.revisions.get(short) if deployed is not None else None
        if revision is None:
            raise refusals.missing("REVISION", request.name)
        return self._written(revision, action)

    def _list_revisions(self, request: Any, action: Action | None) -> Any:
        service = request.parent
        if not re.fullmatch(rf"{_PLACE}/services/[^/]+", service):
            raise invalid("ListRevisionsRequest.parent", f"'{service}' is not the name of a service.")
        found = [
            revision
            for name, deployed in sorted(self._running.deployed.items())
            if name == service or (service.endswith("/-") and _is_under(name, service.rsplit("/", 2)[0]))
            for revision in deployed.revisions.values()
            if not _is_empty(action)
        ]
        found.reverse()
        found.sort(key=lambda one: -one.created_at)
        page, token = _page(found, request)
        answer = run_v2.ListRevisionsResponse.pb()(next_page_token=token)
        answer.revisions.extend(self._written(revision, action) for revision in page)
        return answer

    def _written(self, revision: PretendRevision, action: Action | None) -> Any:
        written = revision.write(self._running.clock.now().timestamp())
        for condition in written.conditions if action is not None else ():
            if action is not None and action.trouble == "failing":
                unlucky(action.text).write(condition)
            elif action is not None and action.trouble == "stuck":
                condition.state, written.reconciling = RECONCILING, True
        return written

    def _get_operation(self, request: Any, action: Action | None) -> Any:
        operation = self._running.operations.known.get(request.name)
        if operation is None:
            raise refusals.missing("OPERATION", request.name)
        self._running.deployed[operation.service].settle()
        written = operation.write()
        if action is not None and action.trouble in {"failing", "stuck"}:
            written.ClearField("result")
            written.done = action.trouble == "failing"
        if action is not None and action.trouble == "failing":
            written.error.code, written.error.message = unlucky(action.text).code, action.text
        return written

    def _deployed(self, name: str) -> Deployed:
        found = self._running.deployed.get(name)
        if found is None:
            raise refusals.missing("SERVICE", name)
        return found


async def _suffer(action: Action | None, permission: str, resource: str) -> None:
    """What goes wrong before anything is done."""
    if action is None:
        return
    match action.trouble:
        case "slow":
            await asyncio.sleep(action.value)
        case "quota":
            raise refusals.exhausted()
        case "unavailable":
            raise refusals.unavailable()
        case "permission":
            raise refusals.denied(permission, resource)
        case "lost" | "failing" | "stuck" | "empty" | "late":
            pass
        case _:
            assert_never(action.trouble)


def _lose(action: Action | None) -> None:
    """What goes wrong after everything was done."""
    if action is not None and action.trouble == "lost":
        raise refusals.unavailable()


def _fate(action: Action | None) -> Fate:
    match action:
        case Action("failing", text=text):
            return Fate(failing=text)
        case Action("stuck"):
            return Fate(stuck=True)
        case _:
            return ORDINARY


def _is_empty(action: Action | None) -> bool:
    return action is not None and action.trouble == "empty"


def _is_under(name: str, place: str) -> bool:
    """Whether a service lies in a location; the location may be "-"."""
    _, project, _, location = place.split("/")
    parts = name.split("/")
    return parts[1] == project and location in {"-", parts[3]}


def _resource(request: Any) -> str:
    """The full name that a request is about."""
    if hasattr(request, "service_id"):
        return f"{request.parent}/services/{request.service_id}"
    if hasattr(request, "service"):
        return str(request.service.name)
    return str(getattr(request, "name", "") or getattr(request, "parent", ""))


def _noted(request: Any) -> str:
    """What the journal keeps of a request besides its name."""
    paths = list(request.update_mask.paths) if hasattr(request, "update_mask") else []
    return ",".join([*paths, *(["validate_only"] if getattr(request, "validate_only", False) else [])])


def _page(found: Sequence[Any], request: Any) -> tuple[Sequence[Any], str]:
    """One page of what was found, and the token of the next; empty where there is none."""
    if request.page_token and not request.page_token.isdecimal():
        raise invalid("page_token", "is not of this request.")
    start = int(request.page_token or 0)
    end = start + min(request.page_size or MOST, MOST)
    return found[start:end], str(end) if end < len(found) else ""
