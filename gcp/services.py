"""Translates between Cloud Run's messages and the domain's values; pure functions over what was read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.cloudrun import OperationSeen, RevisionSeen, Row, ServiceSeen, Template
from gcp.template_details import container_keys, details, hashed, unknown_contents, unknown_fields

if TYPE_CHECKING:
    from google.cloud import run_v2

INGRESS = {
    "INGRESS_TRAFFIC_ALL": "all",
    "INGRESS_TRAFFIC_INTERNAL_ONLY": "internal",
    "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER": "internal-and-cloud-load-balancing",
    "INGRESS_TRAFFIC_NONE": "none",
    # Only while no revision is active; the default then.
    "INGRESS_TRAFFIC_UNSPECIFIED": "all",
}
"""As ``gcloud`` writes them."""

GOOGLES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Namespaces of annotations and labels that the API's second version refuses, by its own documentation."""

NAMED_IMAGE = "client.knative.dev/user-image"
"""Where ``gcloud`` notes which image a person named. It would go on telling of the one before."""


class NoIngressContainer(Exception):
    """None of several containers has ports, so that it is not known whose image is meant."""


def short(name: str) -> str:
    """The last part of a full name."""
    return name.rpartition("/")[2]


def read_service(service: "run_v2.Service", salt: str = "") -> ServiceSeen:
    """A service as we know it, values hashed with ``salt``. Raises ``NoIngressContainer``."""
    condition = service.terminal_condition
    # A service without any split gives everything to its latest ready revision.
    rows = _rows(service.traffic) or (Row(revision=None, percent=100),)
    return ServiceSeen(
        uri=service.uri,
        etag=service.etag,
        generation=service.generation,
        observed_generation=service.observed_generation,
        reconciling=service.reconciling,
        ready=_ready(condition),
        problem=_problem(condition, service.conditions),
        rows=rows,
        serving=_rows(service.traffic_statuses),
        latest_ready=short(service.latest_ready_revision) or None,
        latest_created=short(service.latest_created_revision) or None,
        last_modifier=service.last_modifier,
        ingress=INGRESS.get(getattr(service.ingress, "name", ""), "other"),
        template=read_template(service.template, salt),
    )


def read_revision(revision: "run_v2.Revision", salt: str = "") -> RevisionSeen:
    """A revision as we know it, values hashed with ``salt``. Raises ``NoIngressContainer``.

    The API's second version does not say to what digest a tag was resolved, so ``digest`` is known
    only of an image that was named by its digest; such a name cannot mean another image.
    """
    condition = next((one for one in revision.conditions if one.type_ == "Ready"), None)
    template = read_template(revision, salt)
    made = revision.create_time
    return RevisionSeen(
        name=short(revision.name),
        ready=_ready(condition),
        problem=_problem(condition, revision.conditions),
        digest=template.image.rpartition("@")[2] if "@sha256:" in template.image else None,
        image=template.image,
        created_at=datetime.fromtimestamp(made.timestamp(), UTC) if made is not None else None,
        creator=revision.creator,
        log_uri=revision.log_uri,
        template=template,
    )


def read_operation(raw: Any) -> OperationSeen:
    """A ``google.longrunning.Operation`` as we know it; what went wrong is in its own status alone."""
    import grpc

    error: str | None = None
    if raw.done and raw.HasField("error"):
        names = {code.value[0]: code.name for code in grpc.StatusCode}
        error = raw.error.message or names.get(raw.error.code, f"code {raw.error.code}")
    return OperationSeen(name=raw.name, done=raw.done, error=error)


def read_template(source: "run_v2.RevisionTemplate | run_v2.Revision", salt: str = "") -> Template:
    """What a template or a revision is made of, all of it. Raises ``NoIngressContainer``.

    ``min_instances`` and ``max_instances`` are the template's own: those of the whole service are not part
    of any revision, and no update of ours touches them. A sidecar's variables have its name before theirs.
    """
    # A list, since every access to the message's own makes new objects.
    containers = list(source.containers)
    main = ingress_container(containers)
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    order: list[str] = []
    volumes = {volume.name: volume for volume in source.volumes}
    keys = container_keys(containers, main)
    for container, called in zip(containers, keys, strict=True):
        prefix = f"{called}:" if called else ""
        for variable in container.env:
            key = variable.value_source.secret_key_ref
            name = prefix + _escaped(variable.name)
            order.append(name)
            if key.secret:
                secrets[name] = _secret(key.secret, key.version)
            else:
                env[name] = hashed(variable.value, salt)
        for path, secret in _mounted(container, volumes):
            name = prefix + _escaped(path)
            while name in secrets:  # Mounts within mounts may bear the same path; neither hides the other.
                name += " (also)"
            secrets[name] = secret
    message: Any = type(source).pb(source)
    unknown, is_revision = unknown_contents(message, salt), message.DESCRIPTOR.name == "Revision"
    return Template(
        image=main.image,
        sidecars={name: one.image for name, one in zip(keys, containers, strict=True) if name},
        rest=details(message, dict(enumerate(keys)), _is_googles, salt),
        opaque="".join(hashed(field, salt) for field in unknown_fields(message)),
        unknown_wanted=() if is_revision else unknown,
        unknown_kept=unknown if is_revision else (),
        env=env,
        order=tuple(order),
        secrets=secrets,
        called=main.name,
        service_account=source.service_account,
        cpu=main.resources.limits.get("cpu", ""),
        memory=main.resources.limits.get("memory", ""),
        concurrency=source.max_instance_request_concurrency,
        min_instances=source.scaling.min_instance_count,
        max_instances=source.scaling.max_instance_count,
        timeout=_seconds(source.timeout),
        affinity=source.session_affinity,
    )


def _escaped(name: str) -> str:
    """A variable's name or a path, every colon doubled: a single one stands behind a container's name."""
    return name.replace(":", "::")


def _seconds(length: timedelta | None) -> int | float:
    """Whole seconds where they are whole, so that a plan of an earlier version reads the same."""
    seconds = length.total_seconds() if length is not None else 0.0
    return int(seconds) if seconds.is_integer() else seconds


def ingress_container(containers: "Sequence[run_v2.Container]") -> "run_v2.Container":
    """The one that gets the requests: the only one, or of several the one with ports.

    Raises ``NoIngressContainer``.
    """
    found = list(containers) if len(containers) == 1 else [one for one in containers if one.ports]
    if len(found) != 1:
        raise NoIngressContainer(f"{len(found)} of {len(containers)} containers have ports")
    return found[0]


def traffic(rows: Iterable[Row]) -> "list[run_v2.TrafficTarget]":
    """Every row as the API wants it."""
    from google.cloud import run_v2

    kinds = run_v2.TrafficTargetAllocationType
    return [
        run_v2.TrafficTarget(
            type_=kinds.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
            if row.revision is None
            else kinds.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
            revision=row.revision or "",
            percent=row.percent,
            tag=row.tag or "",
        )
        for row in rows
    ]


def next_template(
    template: "run_v2.RevisionTemplate", image: str, revision: str
) -> "run_v2.RevisionTemplate":
    """A copy of the template with that image, for a revision of that name. Raises ``NoIngressContainer``.

    What the copy holds beside, fields that this client does not know among it, stays as it was read.
    """
    from google.cloud import run_v2

    copy = run_v2.RevisionTemplate()
    run_v2.RevisionTemplate.copy_from(copy, template)
    copy.revision = revision
    ingress_container(copy.containers).image = image
    for notes in (copy.annotations, copy.labels):
        for key in [key for key in notes if _is_googles(key)]:
            del notes[key]
    return copy


def _is_googles(key: str) -> bool:
    """Whether an annotation or label must not be sent back."""
    namespace, slash, _ = key.rpartition("/")
    if not slash:
        return False
    return key == NAMED_IMAGE or any(namespace == one or namespace.endswith(f".{one}") for one in GOOGLES)


def _rows(targets: "Iterable[run_v2.TrafficTarget | run_v2.TrafficTargetStatus]") -> tuple[Row, ...]:
    from google.cloud import run_v2

    latest = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
    return tuple(
        Row(
            revision=None if one.type_ == latest else short(one.revision) or None,
            percent=one.percent,
            tag=one.tag or None,
            uri=getattr(one, "uri", "") or None,
        )
        for one in targets
    )


def _ready(condition: "run_v2.Condition | None") -> bool | None:
    match getattr(getattr(condition, "state", None), "name", ""):
        case "CONDITION_SUCCEEDED":
            return True
        case "CONDITION_FAILED":
            return False
        case _:
            return None


def _problem(condition: "run_v2.Condition | None", others: "Iterable[run_v2.Condition]") -> str | None:
    """Google's reason for what failed: the words of the condition, else of one below it, else a name."""
    if condition is None or _ready(condition) is not False:
        return None
    below = [one.message for one in others if _ready(one) is False and one.message]
    named = condition.revision_reason or condition.reason
    return condition.message or next(iter(below), "") or getattr(named, "name", "") or "?"


def _mounted(
    container: "run_v2.Container", volumes: "Mapping[str, run_v2.Volume]"
) -> Iterator[tuple[str, str]]:
    """The files in a container that are secrets, and which ones."""
    for mount in container.volume_mounts:
        volume = volumes.get(mount.name)
        if volume is None or not volume.secret.secret:
            continue
        secret, folder = volume.secret.secret, mount.mount_path.rstrip("/")
        if mount.sub_path:
            folder = f"{folder}/{mount.sub_path.strip('/')}"
        if not volume.secret.items:
            yield f"{folder}/{short(secret)}", _secret(secret, "")
        for item in volume.secret.items:
            yield f"{folder}/{item.path}", _secret(secret, item.version)


def _secret(name: str, version: str) -> str:
    """``name@version``; ``project/name@version`` where it lies in a project that is named."""
    parts = name.split("/")
    named = f"{parts[1]}/{parts[3]}" if len(parts) == 4 else name
    return f"{named}@{version or 'latest'}"
