"""The pretend Cloud SQL Admin API: instances, their backups, restores; operations end by the clock."""

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from domain.ports import Clock
from sandbox.cloud.faults import Action
from sandbox.cloud.tokens import Tokens

HOST = "sqladmin.googleapis.com"

MOST = 500
"""Things in a page, whatever is asked for."""

_PATH = re.compile(
    r"v1/projects/(?P<project>[^/]+)/"
    r"(?:instances/(?P<instance>[^/]+)(?:/(?P<what>backupRuns|restoreBackup)(?:/(?P<run>[^/]+))?)?"
    r"|operations(?:/(?P<operation>[^/]+))?)"
)

METHODS = {
    ("GET", None, False): "GetInstance",
    ("GET", "backupRuns", False): "ListBackupRuns",
    ("GET", "backupRuns", True): "GetBackupRun",
    ("POST", "backupRuns", False): "InsertBackupRun",
    ("DELETE", "backupRuns", True): "DeleteBackupRun",
    ("POST", "restoreBackup", False): "RestoreBackup",
}


@dataclass(slots=True)
class PretendRun:
    """One backup. ``becomes``: its state when ``done_at`` (epoch seconds) has come."""

    id: int
    description: str
    enqueued_at: float
    done_at: float
    becomes: str = "SUCCESSFUL"
    type: str = "ON_DEMAND"
    bytes: int = 0
    problem: str = ""
    instance: str | None = None
    """Another instance that it says it is of."""


@dataclass(slots=True)
class PretendOperation:
    """One long-running operation."""

    name: str
    project: str
    instance: str
    kind: str
    begun_at: float
    done_at: float
    problem: str = ""


@dataclass(slots=True)
class PretendInstance:
    """A database. Its backups take ``seconds``; ``bytes`` is what one weighs."""

    project: str
    name: str
    seconds: float = 60
    bytes: int = 12_000_000_000
    state: str = "RUNNABLE"
    recovery: bool = True
    retained: bool = True
    final: bool = False
    """Whether a last backup is made when it is deleted."""
    runs: list[PretendRun] = field(default_factory=list)
    restored: list[tuple[str, str, str]] = field(default_factory=list)
    """What was restored over it: project, instance, backup."""


class PretendSql:
    """All instances. A call's faults may be slow, quota, unavailable, permission, lost, failing and stuck.

    ``failing`` takes the request, and its operation ends in the fault's text; ``stuck`` never ends; ``lost``
    does what was asked, and answers 503.
    """

    def __init__(self, clock: Clock, tokens: Tokens) -> None:
        self.instances: dict[tuple[str, str], PretendInstance] = {}
        self.operations: list[PretendOperation] = []
        self._clock = clock
        self._tokens = tokens
        self._next = 1_700_000_000_000

    def add(self, project: str, name: str, **settings: Any) -> PretendInstance:
        """A new instance."""
        made = PretendInstance(project, name, **settings)
        self.instances[project, name] = made
        return made

    def method(self, request: web.Request, rest: str) -> tuple[str, str]:
        """How faults and the journal call a request, and the instance that it is about."""
        found = _PATH.fullmatch(rest)
        if found is None:
            return "Sql", ""
        if found["instance"] is None:
            name = found["operation"]
            if name is None:
                return "SqlListOperations", request.query.get("instance", "")
            asked = self._found(found["project"], name)
            return "SqlGetOperation", "" if asked is None else asked.instance
        key = (request.method, found["what"], found["run"] is not None)
        return f"Sql{METHODS.get(key, 'Other')}", found["instance"]

    async def answer(self, request: web.Request, rest: str, action: Action | None) -> web.Response:
        """Answer one request; ``rest`` is the path behind the host, ``action`` a fault that it meets."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not self._tokens.is_access(token):
            return problem(401, "authError", "Request had invalid authentication credentials.")
        found = _PATH.fullmatch(rest)
        if found is None:
            return problem(404, "notFound", "The requested path is not served.")
        if found["instance"] is None:
            return self._operations(request, found["project"], found["operation"])
        instance = self.instances.get((found["project"], found["instance"]))
        if instance is None:
            # As Google does: who may not see it and what is not there look the same.
            return problem(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
        match request.method, found["what"], found["run"]:
            case "GET", None, None:
                return web.json_response(_written(instance))
            case "GET", "backupRuns", None:
                return self._list(request, instance)
            case "GET", "backupRuns", run:
                one = next((one for one in instance.runs if str(one.id) == run), None)
                return _missing() if one is None else web.json_response(self._run(instance, one))
            case "POST", "backupRuns", None:
                return self._insert(await _body(request), instance, action)
            case "DELETE", "backupRuns", run if run is not None:
                return self._delete(instance, run)
            case "POST", "restoreBackup", None:
                return self._restore(await _body(request), instance, action)
            case _:
                return problem(404, "notFound", "The requested path is not served.")

    # Backups.

    def _insert(self, body: Any, instance: PretendInstance, action: Action | None) -> web.Response:
        if not isinstance(body, dict) or not set(body) <= {"description", "location", "kind"}:
            return problem(400, "invalid", "Invalid request: unknown fields.")
        if self._busy(instance):
            return _in_progress()
        now = self._clock.now().timestamp()
        ends = _ends(now, instance.seconds, action)
        text = action.text if action is not None and action.trouble == "failing" else ""
        run = PretendRun(
            self._new_id(),
            str(body.get("description", "")),
            now,
            ends,
            becomes="FAILED" if text else "SUCCESSFUL",
            bytes=instance.bytes,
            problem=text,
        )
        instance.runs.append(run)
        return self._begun(instance, "BACKUP_VOLUME", ends, text)

    def _list(self, request: web.Request, instance: PretendInstance) -> web.Response:
        runs = sorted(instance.runs, key=lambda one: one.id, reverse=True)
        return _page(request, "sql#backupRunsList", [self._run(instance, one) for one in runs])

    def _delete(self, instance: PretendInstance, run: str) -> web.Response:
        left = [one for one in instance.runs if str(one.id) != run]
        if len(left) == len(instance.runs):
            return _missing()
        instance.runs = left
        return self._begun(instance, "DELETE_BACKUP", self._clock.now().timestamp(), "")

    def _restore(self, body: Any, instance: PretendInstance, action: Action | None) -> web.Response:
        context = body.get("restoreBackupContext") if isinstance(body, dict) else None
        if not isinstance(context, dict):
            return problem(400, "required", "Missing parameter: restoreBackupContext.")
        source = self.instances.get((str(context.get("project")), str(context.get("instanceId"))))
        wanted = str(context.get("backupRunId"))
        runs = source.runs if source is not None else []
        if not any(str(one.id) == wanted and self._state(one) == "SUCCESSFUL" for one in runs):
            return problem(400, "invalid", "The backup run is not available for a restore.")
        if self._busy(instance):
            return _in_progress()
        assert source is not None
        now = self._clock.now().timestamp()
        text = action.text if action is not None and action.trouble == "failing" else ""
        if not text:
            instance.restored.append((source.project, source.name, wanted))
        return self._begun(instance, "RESTORE_VOLUME", _ends(now, instance.seconds * 2, action), text)

    # Operations.

    def _busy(self, instance: PretendInstance) -> bool:
        now = self._clock.now().timestamp()
        return any(
            one.done_at > now
            for one in self.operations
            if (one.project, one.instance) == (instance.project, instance.name)
        )

    def _begun(self, instance: PretendInstance, kind: str, ends: float, text: str) -> web.Response:
        name = f"{self._new_id():x}-op"
        now = self._clock.now().timestamp()
        made = PretendOperation(name, instance.project, instance.name, kind, now, ends, text)
        self.operations.append(made)
        return web.json_response(self._operation(made))

    def _operations(self, request: web.Request, project: str, name: str | None) -> web.Response:
        if request.method != "GET":
            return problem(404, "notFound", "The requested path is not served.")
        if name is None:
            wanted = request.query.get("instance")
            found = [
                one for one in self.operations if one.project == project and wanted in {None, one.instance}
            ]
            items = [self._operation(one) for one in reversed(found)]
            return _page(request, "sql#operationsList", items)
        one = self._found(project, name)
        if one is None:
            return problem(404, "operationDoesNotExist", "The operation does not exist.")
        return web.json_response(self._operation(one))

    def _found(self, project: str, name: str) -> PretendOperation | None:
        return next((one for one in self.operations if (one.project, one.name) == (project, name)), None)

    def _operation(self, one: PretendOperation) -> dict[str, Any]:
        done = one.done_at <= self._clock.now().timestamp()
        answer: dict[str, Any] = {
            "kind": "sql#operation",
            "name": one.name,
            "status": "DONE" if done else "RUNNING",
            "operationType": one.kind,
            "targetId": one.instance,
            "targetProject": one.project,
            "insertTime": _time(one.begun_at),
        }
        if done:
            answer["endTime"] = _time(one.done_at)
            if one.problem:
                answer["error"] = {"errors": [{"code": "INTERNAL_ERROR", "message": one.problem}]}
        return answer

    def _state(self, run: PretendRun) -> str:
        return run.becomes if run.done_at <= self._clock.now().timestamp() else "RUNNING"

    def _run(self, instance: PretendInstance, run: PretendRun) -> dict[str, Any]:
        state = self._state(run)
        answer: dict[str, Any] = {
            "kind": "sql#backupRun",
            "id": str(run.id),
            "instance": run.instance or instance.name,
            "status": state,
            "type": run.type,
            "description": run.description,
            "enqueuedTime": _time(run.enqueued_at),
            "startTime": _time(run.enqueued_at),
            "windowStartTime": _time(run.enqueued_at),
        }
        if state != "RUNNING":
            answer["endTime"] = _time(run.done_at)
            answer["maxChargeableBytes"] = str(run.bytes)
        if state == "FAILED":
            answer["error"] = {"code": "INTERNAL_ERROR", "message": run.problem}
        return answer

    def _new_id(self) -> int:
        self._next += 1
        return self._next


def problem(status: int, reason: str, message: str) -> web.Response:
    """Google's shape of an error."""
    errors = [{"domain": "global", "reason": reason, "message": message}]
    body = {"error": {"code": status, "message": message, "errors": errors}}
    return web.json_response(body, status=status)


def _page(request: web.Request, kind: str, items: list[dict[str, Any]]) -> web.Response:
    """One page of what is given newest first; ``maxResults`` at most, and never more than ``MOST``."""
    try:
        most, first = int(request.query.get("maxResults", "20")), int(request.query.get("pageToken", "0"))
    except ValueError:
        return problem(400, "invalid", "Invalid request: maxResults or pageToken.")
    most = min(most, MOST)
    answer: dict[str, Any] = {"kind": kind}
    if items[first : first + most]:  # Google leaves empty lists out.
        answer["items"] = items[first : first + most]
    if first + most < len(items):
        answer["nextPageToken"] = str(first + most)
    return web.json_response(answer)


def _missing() -> web.Response:
    return problem(404, "backupRunDoesNotExist", "The backup run does not exist.")


def _in_progress() -> web.Response:
    text = "Operation failed because another operation was already in progress."
    return problem(409, "operationInProgress", text)


async def _body(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None


def _ends(now: float, seconds: float, action: Action | None) -> float:
    return math.inf if action is not None and action.trouble == "stuck" else now + seconds


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _written(instance: PretendInstance) -> dict[str, Any]:
    return {
        "kind": "sql#instance",
        "name": instance.name,
        "project": instance.project,
        "state": instance.state,
        "databaseVersion": "POSTGRES_16",
        "settings": {
            "backupConfiguration": {"enabled": True, "pointInTimeRecoveryEnabled": instance.recovery},
            "retainBackupsOnDelete": instance.retained,
            "finalBackupConfig": {"enabled": instance.final},
        },
    }
