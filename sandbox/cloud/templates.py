"""What an update of a pretend Cloud Run service may say: fields, defaults, names, and rows of traffic."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from google.cloud import run_v2

from sandbox.cloud.refusals import Refusal, invalid

LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION

SERVICE_LIMIT = 49
"""Characters of a service's name."""

REVISION_LIMIT = 63
"""Characters of a revision's name, which begins with the service's and a hyphen."""

TAG_LEAST, TAG_LIMIT = 3, 46
"""Characters of a tag, and of a tag together with its service's name."""

MUTABLE = (
    "description",
    "labels",
    "annotations",
    "client",
    "client_version",
    "ingress",
    "launch_stage",
    "binary_authorization",
    "template",
    "traffic",
    "scaling",
    "invoker_iam_disabled",
    "default_uri_disabled",
    "iap_enabled",
    "multi_region_settings",
    "custom_audiences",
    "build_config",
)
"""The fields of a service that people set; an update without a mask replaces all of them."""

RESERVED = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Namespaces of annotations and labels that the API takes from nobody."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def check_service(name: str, where: str) -> None:
    """Refuse what is no name of a service."""
    if not _NAME.fullmatch(name) or len(name) > SERVICE_LIMIT:
        raise invalid(
            where,
            "must use only lowercase alphanumeric characters and dashes, cannot begin or end with a dash, "
            f"and must be less than {SERVICE_LIMIT + 1} characters.",
        )


def masked(stored: Any, asked: Any, paths: Sequence[str]) -> Any:
    """The stored service as the request would have it; all that people set is replaced where no mask is."""
    wanted = type(stored)()
    wanted.CopyFrom(stored)
    everything = not paths or list(paths) == ["*"]
    for path in MUTABLE if everything else paths:
        first = path.partition(".")[0]
        if first not in stored.DESCRIPTOR.fields_by_name:
            raise _unknown(path)
        # What only Google sets is passed over in silence.
        if first in MUTABLE:
            _replace(wanted, asked, path)
    return wanted


def _replace(wanted: Any, asked: Any, path: str) -> None:
    """One path of a mask, as ``template.scaling``: the end of it is replaced, not merged."""
    *parents, last = path.split(".")
    for name in parents:
        if not _is_message(wanted, name):
            raise _unknown(path)
        wanted, asked = getattr(wanted, name), getattr(asked, name)
    field = wanted.DESCRIPTOR.fields_by_name.get(last)
    if field is None:
        raise _unknown(path)
    wanted.ClearField(last)
    value = getattr(asked, last)
    if field.is_repeated or (field.message_type is not None and asked.HasField(last)):
        getattr(wanted, last).MergeFrom(value)
    elif field.message_type is None:
        setattr(wanted, last, value)


def _is_message(holder: Any, name: str) -> bool:
    field = holder.DESCRIPTOR.fields_by_name.get(name)
    return field is not None and field.message_type is not None and not field.is_repeated


def _unknown(path: str) -> Refusal:
    return invalid("UpdateServiceRequest.update_mask", f"'{path}' is not a field of the service.")


def fill(service: Any) -> None:
    """Set what Cloud Run sets where nobody said anything, and put in traffic what was left out of it."""
    template, project = service.template, service.name.split("/")[1]
    if not template.timeout.seconds:
        template.timeout.seconds = 300
    if not template.max_instance_request_concurrency:
        template.max_instance_request_concurrency = 80
    if not template.service_account:
        template.service_account = f"compute@{project}.iam.gserviceaccount.com"
    if not template.scaling.max_instance_count:
        template.scaling.max_instance_count = 100
    first = ingress_container(template)
    for container in template.containers:
        for name, amount in (("cpu", "1000m"), ("memory", "512Mi")):
            if name not in container.resources.limits:
                container.resources.limits[name] = amount
    if first is not None and not first.ports:
        first.ports.add(name="http1", container_port=8080)
    if not service.traffic:
        service.traffic.add(type_=LATEST, percent=100)
    if not service.ingress:
        service.ingress = run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL
    if not service.launch_stage:
        service.launch_stage = 4  # GA.


def ingress_container(template: Any) -> Any | None:
    """The container that takes the requests: the one with ports, else the first."""
    with_ports = (container for container in template.containers if container.ports)
    return next(with_ports, template.containers[0] if template.containers else None)


def check(service: Any) -> None:
    """Refuse a service that is wrong in itself, whatever there is already."""
    short = service.name.rsplit("/", 1)[-1]
    _check_metadata(service, "service")
    _check_template(service.template, short)
    _check_traffic(service.traffic, short)


def _check_metadata(holder: Any, where: str) -> None:
    for kind in ("annotations", "labels"):
        for key in getattr(holder, kind):
            namespace = key.partition("/")[0]
            if namespace in RESERVED:
                raise invalid(f"{where}.{kind}", f"'{key}' belongs to Google's own namespaces.")


def _check_template(template: Any, service: str) -> None:
    where = "service.template"
    _check_metadata(template, where)
    if not template.containers:
        raise invalid(f"{where}.containers", "at least one container is required.")
    for place, container in enumerate(template.containers):
        if not container.image:
            raise invalid(f"{where}.containers[{place}].image", "is required.")
        names = [variable.name for variable in container.env]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise invalid(f"{where}.containers[{place}].env", f"'{min(twice)}' stands there twice.")
    ports = sum(bool(container.ports) for container in template.containers)
    if ports > 1:
        raise invalid(f"{where}.containers", "only one container may have ports.")
    name = template.revision
    if name and (
        not _NAME.fullmatch(name) or not name.startswith(f"{service}-") or len(name) > REVISION_LIMIT
    ):
        raise invalid(
            f"{where}.revision",
            f"'{name}' must start with '{service}-', use only lowercase alphanumeric characters and dashes, "
            f"not end with a dash, and have at most {REVISION_LIMIT} characters.",
        )


def _check_traffic(rows: Iterable[Any], service: str) -> None:
    where, tags, total = "service.traffic", set[str](), 0
    for row in rows:
        if row.type_ not in {LATEST, REVISION}:
            raise invalid(where, "a target must be of a type.")
        if row.type_ == LATEST and row.revision:
            raise invalid(where, "a target of the latest revision names no revision.")
        if row.type_ == REVISION and not _NAME.fullmatch(row.revision):
            raise invalid(where, f"'{row.revision}' is not the short name of a revision.")
        if not 0 <= row.percent <= 100:
            raise invalid(where, f"{row.percent} is not a percentage.")
        total += row.percent
        if row.tag:
            _check_tag(row.tag, service, tags)
            tags.add(row.tag)
    if total != 100:
        raise invalid(where, f"the percentages must sum to 100, not {total}.")


def _check_tag(tag: str, service: str, others: set[str]) -> None:
    where = "service.traffic"
    if tag in others:
        raise invalid(where, f"tag '{tag}' is used by more than one target.")
    if not _NAME.fullmatch(tag) or len(tag) < TAG_LEAST:
        raise invalid(
            where,
            f"tag '{tag}' must have at least {TAG_LEAST} characters, lowercase alphanumeric ones and dashes, "
            "and neither begin nor end with a dash.",
        )
    if len(tag) + len(service) > TAG_LIMIT:
        raise invalid(
            where, f"tag '{tag}' and service '{service}' have more than {TAG_LIMIT} characters together."
        )
