"""The pretend Cloud Run and the hands that set its scene: services to begin with, edits by other people."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from google.cloud import run_v2

from domain.ports import Clock
from sandbox.cloud import templates
from sandbox.cloud.deployed import Deployed, Surroundings
from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.operations import PretendOperation
from sandbox.cloud.served import Arrivals, Served
from sandbox.cloud.services import RunDials, SteadyRun
from sandbox.cloud.store import Points
from sandbox.cloud.templates import REVISION

LOCATION = "asia-northeast1"
BEGAN = timedelta(days=1)
"""How long before the clock's time a service of the scene was deployed."""

INGRESS = {
    "all": run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL,
    "internal": run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY,
    "internal-and-cloud-load-balancing": run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER,
}
"""As ``gcloud run deploy --ingress`` names them."""


class PretendService:
    """A service of the scene: its dials, what it serves now, and what really happened in a minute."""

    def __init__(self, deployed: Deployed, source: Served) -> None:
        self.deployed = deployed
        self.source = source

    def set(self, at: datetime | float, **changes: Any) -> None:
        """Turn dials of the whole service from a moment on, such as ``requests_per_second``.

        Those of ``RunDials``, or of the habits that it was given. ``error_share`` hits every revision.
        """
        self.source.habits.set(at, **changes)

    def split(self) -> dict[str, int]:
        """What serves now: percent by short name of a revision."""
        return self.deployed.split()

    def counts(self, start: datetime, end: datetime) -> dict[str, tuple[int, int]]:
        """(completed requests, those with 5xx) by revision in (start, end], whether visible yet or not."""
        return self.source.counts(int(start.timestamp()), int(end.timestamp()))

    @property
    def uri(self) -> str:
        """Its address."""
        return self.deployed.uri

    @property
    def revisions(self) -> list[str]:
        """Short names, oldest first."""
        return list(self.deployed.revisions)


class Running(Surroundings):
    """Cloud Run in this world. ``deployed`` are the services by full name, whoever made them."""

    def __init__(self, clock: Clock, images: Images, points: Points) -> None:
        super().__init__(clock, images)
        self.deployed: dict[str, Deployed] = {}
        self._services: dict[str, PretendService] = {}
        self._points = points

    def service(self, name: str, project: str = "") -> PretendService:
        """A service by its short name; by project too, where several projects have one. Raises KeyError."""
        for full_name, service in self._services.items():
            if service.deployed.name == name and project in {"", full_name.split("/")[1]}:
                return service
        raise KeyError(name)

    def adopt(
        self,
        deployed: Deployed,
        habits: SteadyRun | None = None,
        arrivals: Arrivals = Arrivals.POISSON,
        seed: int = 0,
    ) -> PretendService:
        """Take a service in, and let Cloud Monitoring measure it."""
        _, project, _, location, _, name = deployed.full_name.split("/")
        source = Served(deployed, habits or SteadyRun(name, project, location), arrivals, seed)
        found = self._services[deployed.full_name] = PretendService(deployed, source)
        self.deployed[deployed.full_name] = deployed
        self._points.feed(source)
        return found

    def serve(
        self,
        name: str,
        project: str,
        *,
        image: str,
        location: str = LOCATION,
        requests_per_second: float = 10,
        revision: str | None = None,
        latest: bool = False,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        ingress: str = "all",
        public: bool = False,
        session_affinity: bool = False,
        min_instances: int = 0,
        max_instances: int = 0,
        cpu: str = "",
        memory: str = "",
        concurrency: int = 0,
        timeout: int = 0,
        service_account: str = "",
        annotations: Mapping[str, str] | None = None,
        by: str = "deployer@sandbox.iam.gserviceaccount.com",
        habits: SteadyRun | None = None,
        arrivals: Arrivals = Arrivals.POISSON,
        seed: int = 0,
    ) -> PretendService:
        """A service that has long been there, ready, with one revision that serves everything.

        ``revision``: its short name, which then sticks in the template; without it Cloud Run chooses one.
        ``latest``: traffic goes to whatever revision is the latest, rather than to this one by name.
        ``secrets``: ``name@version`` by variable, or by mount path where that begins with a slash.
        ``habits``: dials with a life of their own, instead of ``requests_per_second`` and the usual ones.
        Raises ``ValueError`` for an image that is not there or does not start, or a service that is.
        """
        full_name = f"projects/{project}/locations/{location}/services/{name}"
        behaviour = self.images.behaviour(image)
        if behaviour is None or not behaviour.starts or full_name in self.deployed:
            raise ValueError(f"{name} cannot serve {image}")
        templates.check_service(name, "service_id")
        wanted = run_v2.Service.pb()(name=full_name, ingress=INGRESS[ingress], invoker_iam_disabled=public)
        wanted.annotations.update(annotations or {})
        wanted.template.MergeFrom(
            run_v2.RevisionTemplate.pb()(
                revision=revision or "",
                session_affinity=session_affinity,
                scaling={"min_instance_count": min_instances, "max_instance_count": max_instances},
                max_instance_request_concurrency=concurrency,
                timeout={"seconds": timeout},
                service_account=service_account,
                containers=[{"image": image, "resources": {"limits": _limits(cpu, memory)}}],
            )
        )
        _set_env(wanted.template.containers[0], env or {})
        _set_secrets(wanted.template, secrets or {})
        deployed = self._long_there(wanted, by, pinned=not latest)
        dials = RunDials(requests_per_second=requests_per_second)
        return self.adopt(deployed, habits or SteadyRun(name, project, location, dials=dials), arrivals, seed)

    def _long_there(self, wanted: Any, by: str, *, pinned: bool) -> Deployed:
        """The service as if it had been made long ago, and had served like that ever since."""
        deployed, began = Deployed(self, wanted.name), (self.clock.now() - BEGAN).timestamp()
        deployed.update(wanted, by=by, at=began, seconds=(0, 0))
        if pinned:
            wanted = deployed.wanted()
            wanted.ClearField("traffic")
            wanted.traffic.add(type_=REVISION, revision=deployed.latest_created, percent=100)
            deployed.update(wanted, ["traffic"], by=by, at=began, seconds=(0, 0))
        deployed.rewrite_past()
        return deployed

    def edit(
        self,
        name: str,
        *,
        by: str,
        project: str = "",
        percent: Mapping[str, int] | None = None,
        rows: Iterable[Any] | None = None,
        env: Mapping[str, str] | None = None,
        image: str | None = None,
        ingress: str | None = None,
        annotations: Mapping[str, str] | None = None,
        template: Callable[[Any], None] | None = None,
    ) -> PretendOperation:
        """Somebody changes a service in the console, right now, whatever its etag is.

        ``percent`` by short name of a revision keeps the tags that there are; ``rows`` (TrafficTarget, or its
        fields) replaces all of them. ``env`` is added. ``template`` is given the protocol's template to
        change. What touches the template makes a new revision with a name of Cloud Run's.
        Raises KeyError for a service that is not there, ``Refusal`` as Cloud Run does.
        """
        deployed = self.service(name, project).deployed
        wanted = deployed.wanted()
        wanted.client = "cloud-console"
        if percent is not None:
            tags = [row for row in wanted.traffic if row.tag]
            wanted.ClearField("traffic")
            for revision, part in percent.items():
                wanted.traffic.add(type_=REVISION, revision=revision, percent=part)
            for row in tags:
                wanted.traffic.add(type_=row.type_, revision=row.revision, tag=row.tag)
        if rows is not None:
            wanted.ClearField("traffic")
            wanted.traffic.extend(run_v2.TrafficTarget.pb(run_v2.TrafficTarget(row)) for row in rows)
        if ingress is not None:
            wanted.ingress = INGRESS[ingress]
        wanted.annotations.update(annotations or {})
        if template is not None:
            template(wanted.template)
        if env or image or template is not None:
            wanted.template.revision = ""
        container = templates.ingress_container(wanted.template)
        if container is not None:
            _set_env(container, env or {})
            container.image = image or container.image
        return deployed.update(wanted, by=by)

    # For the services' own addresses.

    def audience(self, service: str) -> str | None:
        """The uri that an ID token must name; ``None`` for a public service, or none."""
        found = self._found(service)
        return None if found is None or found.is_public else found.uri

    def behaviour(self, service: str, tag: str | None = None) -> Behaviour | None:
        """Of the program at a tag, or else with the most traffic; ``None`` where nothing serves there."""
        found = self._found(service)
        return found.behaviour(tag) if found is not None else None

    def is_internal(self, service: str) -> bool:
        """Whether requests from outside are turned away."""
        found = self._found(service)
        return found is not None and found.ingress != INGRESS["all"]

    def _found(self, service: str) -> Deployed | None:
        return next((one for one in self.deployed.values() if one.name == service), None)


def _set_env(container: Any, env: Mapping[str, str]) -> None:
    there = {variable.name: variable for variable in container.env}
    for name, value in env.items():
        (there.get(name) or container.env.add(name=name)).value = value


def _limits(cpu: str, memory: str) -> dict[str, str]:
    return {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}


def _set_secrets(template: Any, secrets: Mapping[str, str]) -> None:
    container = template.containers[0]
    for place, text in secrets.items():
        name, _, version = text.partition("@")
        version = version or "latest"
        if not place.startswith("/"):
            reference = container.env.add(name=place).value_source.secret_key_ref
            reference.secret, reference.version = name, version
            continue
        volume = template.volumes.add(name=f"secret-{len(template.volumes) + 1}")
        volume.secret.secret = name
        volume.secret.items.add(path=name, version=version)
        container.volume_mounts.add(name=volume.name, mount_path=place)
