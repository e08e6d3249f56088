"""The pretend Cloud Run's revisions: what they were made of, what became of them, how they are written."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import grpc
from google.cloud import run_v2

from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.templates import ingress_container

SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED
FAILED = run_v2.Condition.State.CONDITION_FAILED
RECONCILING = run_v2.Condition.State.CONDITION_RECONCILING

_INTERNAL = grpc.StatusCode.INTERNAL.value[0]
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION.value[0]
_INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something did not come about: a gRPC code, Google's text, and one of the two kinds of reasons."""

    code: int
    message: str
    reason: int = 0
    revision_reason: int = 0

    def write(self, condition: Any) -> None:
        """Fill a condition that failed."""
        condition.state = FAILED
        condition.message = self.message
        if self.revision_reason:
            condition.revision_reason = self.revision_reason
        elif self.reason:
            condition.reason = self.reason


def unlucky(message: str) -> Problem:
    """Any failure, in the words of whoever laid it."""
    return Problem(_INTERNAL, message, run_v2.Condition.CommonReason.REVISION_FAILED)


def no_revision(name: str) -> Problem:
    """Traffic goes to a revision that is not there (RevisionMissing).

    The text is the real one. The code is INVALID_ARGUMENT; INTERNAL has been seen as well.
    """
    return Problem(
        _INVALID,
        f"Revision '{name}' does not exist or is deleted. "
        "Update all traffic to route to currently available revisions.",
        run_v2.Condition.CommonReason.REVISION_FAILED,
    )


def _no_image(revision: str, image: str) -> Problem:
    return Problem(
        _INTERNAL,
        f"Revision '{revision}' is not ready and cannot serve traffic. Image '{image}' not found.",
        run_v2.Condition.CommonReason.CONTAINER_MISSING,
    )


def _no_start(revision: str, port: int, logs: str) -> Problem:
    return Problem(
        _PRECONDITION,
        f"Revision '{revision}' is not ready and cannot serve traffic. The user-provided container failed to "
        f"start and listen on the port defined provided by the PORT={port} environment variable within the "
        "allocated timeout. This can happen when the container port is misconfigured or if the timeout is "
        "too short. The health check timeout can be extended. Logs for this revision might contain more "
        f"information.\n\nLogs URL: {logs} \nFor more troubleshooting guidance, see "
        "https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start",
        revision_reason=run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR,
    )


@dataclass(slots=True)
class PretendRevision:
    """One revision. ``template`` is what the service said; ``images`` are by digest, as it was resolved then.

    Times are epoch seconds. ``ready_at`` is when it is ready, or when it is clear that it never will be.
    """

    service: str
    name: str
    template: Any
    images: tuple[str, ...]
    behaviour: Behaviour
    creator: str
    created_at: float
    ready_at: float
    launch_stage: int = 0
    problem: Problem | None = None

    @property
    def full_name(self) -> str:
        """Such as projects/P/locations/L/services/S/revisions/R."""
        return f"{self.service}/revisions/{self.name}"

    def is_ready(self, now: float) -> bool:
        """Whether it can serve."""
        return self.problem is None and self.ready_at <= now

    def same_configuration(self, template: Any) -> bool:
        """Whether a template describes just this revision, but perhaps for the name."""
        return bool(_nameless(self.template) == _nameless(template))

    def write(self, now: float) -> Any:
        """The protocol's revision."""
        template, written = self.template, run_v2.Revision.pb()()
        written.name = self.full_name
        written.service = self.service.rsplit("/", 1)[-1]
        written.uid = str(uuid.uuid5(uuid.NAMESPACE_URL, self.full_name))
        written.etag = f'"{written.uid[:12]}"'
        written.generation = written.observed_generation = 1
        for field, value in template.ListFields():
            if field.name not in written.DESCRIPTOR.fields_by_name or field.name == "revision":
                continue
            if field.name in {"labels", "annotations"}:
                getattr(written, field.name).update(value)
            elif field.is_repeated:
                getattr(written, field.name).extend(value)
            elif field.message_type is not None:
                getattr(written, field.name).CopyFrom(value)
            else:
                setattr(written, field.name, value)
        for container, image in zip(written.containers, self.images, strict=True):
            container.image = image
        written.launch_stage = self.launch_stage
        written.create_time.FromDatetime(moment(self.created_at))
        written.update_time.FromDatetime(moment(min(now, self.ready_at)))
        written.creator = self.creator
        written.log_uri = log_uri(self.service, self.name)
        written.reconciling = now < self.ready_at
        for kind in ("Ready", "ContainerHealthy", "ContainerReady", "ResourcesAvailable"):
            self._write_condition(written.conditions.add(type_=kind), now)
        return written

    def _write_condition(self, condition: Any, now: float) -> None:
        if now < self.ready_at:
            condition.state = RECONCILING
            condition.message = "Deploying revision."
        elif self.problem is None:
            condition.state = SUCCEEDED
        else:
            self.problem.write(condition)
        since = self.ready_at if now >= self.ready_at else self.created_at
        condition.last_transition_time.FromDatetime(moment(since))


def make(
    service: Any, name: str, images: Images, creator: str, at: float, ready_at: float
) -> PretendRevision:
    """A revision of what the service says now. Each image's tag is resolved here, once for good."""
    template = run_v2.RevisionTemplate.pb()()
    template.CopyFrom(service.template)
    template.revision = name
    pinned: list[str] = []
    problem: Problem | None = None
    for container in template.containers:
        digest = images.digest(container.image)
        pinned.append(f"{_without_tag(container.image)}@{digest}" if digest else container.image)
        if digest is None:
            problem = problem or _no_image(name, container.image)
            continue
        behaviour = images.behaviour(container.image)
        if behaviour is not None and not behaviour.starts:
            port = container.ports[0].container_port if container.ports else 8080
            problem = problem or _no_start(name, port, log_uri(service.name, name))
    first = ingress_container(template)
    found = images.behaviour(first.image) if first is not None else None
    return PretendRevision(
        service.name,
        name,
        template,
        tuple(pinned),
        found or Behaviour(starts=False),
        creator,
        at,
        ready_at,
        service.launch_stage,
        problem,
    )


def log_uri(service: str, revision: str) -> str:
    """Where a person reads the revision's logs."""
    _, project, _, _, _, short = service.split("/")
    query = (
        'resource.type="cloud_run_revision"\n'
        f'resource.labels.service_name="{short}"\nresource.labels.revision_name="{revision}"'
    )
    return (
        f"https://console.cloud.google.com/logs/viewer?project={project}&resource=cloud_run_revision/"
        f"service_name/{short}/revision_name/{revision}&advancedFilter={quote(query, safe='')}"
    )


def moment(seconds: float) -> datetime:
    """The time of epoch seconds, aware, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _nameless(template: Any) -> Any:
    copied = type(template)()
    copied.CopyFrom(template)
    copied.revision = ""
    return copied


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    colon = name.find(":", name.rfind("/") + 1)
    return name if colon < 0 else name[:colon]
