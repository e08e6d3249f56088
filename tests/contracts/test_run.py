"""Cloud Run through Google's client: what is read, the two updates, and an update whose answer is lost."""

import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.cloud import run_v2
from google.longrunning import operations_pb2

from domain.cloudrun import (
    OperationSeen,
    Row,
    RunRefused,
    RunTrouble,
    ServiceSeen,
    Target,
    baseline,
    rows_for,
    split,
    tag_uri,
)
from domain.errors import Outage
from gcp.clients import GcpClients
from gcp.run import CloudRun, trouble
from gcp.services import (
    NoIngressContainer,
    next_template,
    read_operation,
    read_revision,
    read_service,
    read_template,
    traffic,
)
from sandbox.clock import StandingClock
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.images import Behaviour
from sandbox.cloud.running import PretendService

HERE = Target(project="p", region="asia-northeast1", service="api")
REPOSITORY = "asia-northeast1-docker.pkg.dev/p/r/api"
PASSWORD = "hunter2-in-plain-sight"


def hashed(value: str) -> str:
    return hmac.new(b"", value.encode(), hashlib.sha256).hexdigest()[:32]


def template(**more: Any) -> run_v2.RevisionTemplate:
    one = {
        "image": "h.pkg.dev/p/r/api:1",
        "ports": [{"container_port": 8080}],
        "env": [
            {"name": "MODE", "value": PASSWORD},
            {"name": "KEY", "value_source": {"secret_key_ref": {"secret": "key", "version": "3"}}},
            {"name": "TOKEN", "value_source": {"secret_key_ref": {"secret": "projects/q/secrets/token"}}},
        ],
        "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}},
        "volume_mounts": [
            {"name": "whole", "mount_path": "/whole/"},
            {"name": "parts", "mount_path": "/parts", "sub_path": "in"},
            {"name": "scratch", "mount_path": "/tmp/x"},
        ],
    }
    fields: dict[str, Any] = {
        "containers": [one],
        "volumes": [
            {"name": "whole", "secret": {"secret": "cert"}},
            {"name": "parts", "secret": {"secret": "pem", "items": [{"path": "a.pem", "version": "7"}]}},
            {"name": "scratch", "empty_dir": {"size_limit": "1Mi"}},
        ],
        "timeout": {"seconds": 90},
        "service_account": "api@p.iam.gserviceaccount.com",
        "max_instance_request_concurrency": 80,
        "scaling": {"min_instance_count": 1, "max_instance_count": 9},
        "session_affinity": True,
    }
    return run_v2.RevisionTemplate(fields | more)


# From Google's messages to ours.


def test_a_template_is_read_without_any_value_that_may_be_secret() -> None:
    found = read_template(template())
    assert list(found.rest) == [
        *("ports", "volume parts", "volume scratch", "volume whole", "volume_mounts")
    ], "13.6"
    assert found.model_dump(exclude={"rest"}) == {
        "sidecars": {},
        "opaque": "",
        "unknown_wanted": (),
        "unknown_kept": (),
        "image": "h.pkg.dev/p/r/api:1",
        "env": {"MODE": hashed(PASSWORD)},
        "order": ("MODE", "KEY", "TOKEN"),
        "called": "",
        "secrets": {
            "KEY": "key@3",
            "TOKEN": "q/token@latest",
            "/whole/cert": "cert@latest",
            "/parts/in/a.pem": "pem@7",
        },
        "service_account": "api@p.iam.gserviceaccount.com",
        "cpu": "1000m",
        "memory": "512Mi",
        "concurrency": 80,
        "min_instances": 1,
        "max_instances": 9,
        "timeout": 90,
        "affinity": True,
    }
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(("length", "seconds"), [({"seconds": 90}, "90"), ({"nanos": 500_000_000}, "0.5")])
def test_no_part_of_a_second_of_a_timeout_is_lost_13_6(length: dict[str, int], seconds: str) -> None:
    found = read_template(run_v2.RevisionTemplate(containers=[{"image": "api:1"}], timeout=length))
    assert str(found.timeout) == seconds


def test_the_same_value_has_another_hash_under_another_salt_13_6() -> None:
    one, same, other = (read_template(template(), salt) for salt in ("a", "a", "b"))
    assert one == same
    assert one.env["MODE"] != other.env["MODE"]
    assert one.rest["ports"] != other.rest["ports"]
    assert one.digest != other.digest


def test_of_several_containers_the_one_with_ports_is_the_program_and_sidecars_keep_their_names() -> None:
    sidecar = {"name": "proxy", "image": "proxy:2", "env": [{"name": "MODE", "value": "x"}]}
    main = {"image": "api:1", "ports": [{"container_port": 1}], "env": [{"name": "MODE", "value": "y"}]}
    found = read_template(run_v2.RevisionTemplate(containers=[sidecar, main]))
    assert (found.image, found.env) == ("api:1", {"proxy:MODE": hashed("x"), "MODE": hashed("y")})

    alike = main | {"env": [{"name": "proxy:MODE", "value": "z"}]}
    both = read_template(run_v2.RevisionTemplate(containers=[sidecar, alike])).env
    assert both == {"proxy:MODE": hashed("x"), "proxy::MODE": hashed("z")}, "13.6: neither hides the other"

    changed = next_template(run_v2.RevisionTemplate(containers=[sidecar, main]), "api:2", "api-2")
    assert [one.image for one in changed.containers] == ["proxy:2", "api:2"]


@pytest.mark.parametrize("ports", [[], [{"container_port": 1}]])
def test_where_it_is_not_known_which_container_is_the_program_none_is_guessed(ports: list[Any]) -> None:
    both = [{"image": "a", "ports": ports}, {"image": "b", "ports": ports}]
    with pytest.raises(NoIngressContainer):
        read_template(run_v2.RevisionTemplate(containers=both))


def test_the_next_template_keeps_all_but_the_image_the_name_and_what_google_refuses() -> None:
    notes = {
        "run.googleapis.com/client-name": "gcloud",
        "eu.autoscaling.knative.dev/x": "y",
        "client.knative.dev/user-image": "api:1",
        "team.example/owner": "shop",
        "plain": "kept",
    }
    now = template(annotations=notes, revision="api-1")
    # A field that this client's version does not know: number 999, a string.
    unknown = b"\xba\x3e\x03new"
    newer = run_v2.RevisionTemplate.deserialize(run_v2.RevisionTemplate.serialize(now) + unknown)

    after = next_template(newer, "api@sha256:0", "api-t1-abc")

    assert dict(after.annotations) == {"team.example/owner": "shop", "plain": "kept"}
    assert unknown in run_v2.RevisionTemplate.serialize(after)
    assert (newer.revision, newer.containers[0].image) == ("api-1", "h.pkg.dev/p/r/api:1")
    expected = template(revision="api-t1-abc", annotations=dict(after.annotations))
    expected.containers[0].image = "api@sha256:0"
    assert read_template(after).opaque, "13.6: what this client does not know is part of the fingerprint"
    unseen = {"opaque": "", "unknown_wanted": ()}
    assert read_template(after).model_copy(update=unseen) == read_template(expected)
    assert after.revision == "api-t1-abc"
    assert after.containers[0].env == expected.containers[0].env


def test_rows_go_to_google_and_come_back_as_they_were() -> None:
    rows = (
        Row(revision="api-1", percent=90),
        Row(revision=None, percent=10),
        Row(revision="api-2", tag="t002"),
        Row(revision=None, tag="newest"),
    )
    seen = read_service(run_v2.Service(etag="e", traffic=traffic(rows), template=template()))
    assert seen.rows == rows
    # Where Google says which revision is the latest now, the row still follows the latest.
    resolved = run_v2.TrafficTargetStatus(type_=1, revision="api-3", percent=100)
    now = read_service(run_v2.Service(template=template(), traffic_statuses=[resolved]))
    assert now.serving == (Row(revision=None, percent=100),)


def test_a_service_without_a_split_gives_everything_to_the_latest() -> None:
    seen = read_service(run_v2.Service(template=template()))
    assert seen.rows == (Row(revision=None, percent=100),)
    assert seen.serving == ()
    assert (seen.latest_ready, seen.ready, seen.problem) == (None, None, None)


def test_a_service_that_failed_says_why_and_keeps_short_names() -> None:
    base = "projects/p/locations/l/services/api/revisions"
    failed = run_v2.Condition.State.CONDITION_FAILED
    service = run_v2.Service(
        etag='"x"',
        generation=4,
        observed_generation=3,
        template=template(),
        ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER,
        latest_ready_revision=f"{base}/api-1",
        latest_created_revision=f"{base}/api-2",
        terminal_condition={"type_": "Ready", "state": failed, "reason": 4},
        traffic_statuses=[{"type_": 2, "revision": "api-1", "percent": 100, "uri": "https://x"}],
    )
    seen = read_service(service)
    assert (seen.ready, seen.problem) == (False, "PROGRESS_DEADLINE_EXCEEDED")
    assert (seen.latest_ready, seen.latest_created) == ("api-1", "api-2")
    assert seen.ingress == "internal-and-cloud-load-balancing"
    assert seen.serving == (Row(revision="api-1", percent=100, uri="https://x"),)
    assert not seen.is_settled

    service.conditions = [run_v2.Condition(type_="RoutesReady", state=failed, message="No such revision.")]
    assert read_service(service).problem == "No such revision."
    service.terminal_condition.message = "It did not start."
    assert read_service(service).problem == "It did not start."


def test_a_digest_is_known_of_an_image_that_was_named_by_it_and_of_no_other() -> None:
    pinned = f"h.pkg.dev/p/r/api@sha256:{'0' * 64}"
    ready = run_v2.Condition(type_="Ready", state=run_v2.Condition.State.CONDITION_SUCCEEDED)
    by_digest = run_v2.Revision(name="a/b/api-1", containers=[{"image": pinned}], conditions=[ready])
    by_tag = run_v2.Revision(name="a/b/api-2", containers=[{"image": "h.pkg.dev/p/r/api:1"}])
    assert read_revision(by_digest).digest == f"sha256:{'0' * 64}"
    assert (read_revision(by_digest).name, read_revision(by_digest).ready) == ("api-1", True)
    assert (read_revision(by_tag).digest, read_revision(by_tag).ready) == (None, None)


def test_an_operation_that_failed_tells_googles_own_text() -> None:
    raw = operations_pb2.Operation(name="o", done=True)
    raw.error.code, raw.error.message = 9, "Revision 'x' is not ready."
    assert read_operation(raw).error == "Revision 'x' is not ready."
    raw.error.message = ""
    assert read_operation(raw).error == "FAILED_PRECONDITION"
    raw.response.Pack(run_v2.Service.pb(run_v2.Service()))
    assert (read_operation(raw).done, read_operation(raw).error) == (True, None)


# What errors mean.


@pytest.mark.parametrize(
    ("error", "meant", "detail"),
    [
        (exceptions.Aborted("version 'a' was specified"), RunTrouble.CONFLICT, "version 'a'"),
        (exceptions.AlreadyExists("Revision named 'x' exists"), RunTrouble.CONFLICT, "'x'"),
        (exceptions.FailedPrecondition("the ETag does not match"), RunTrouble.CONFLICT, "ETag"),
        (exceptions.InvalidArgument("Revision named 'x' already exists."), RunTrouble.CONFLICT, "'x'"),
        (exceptions.FailedPrecondition("billing is off"), RunTrouble.INVALID, "billing"),
        (exceptions.InvalidArgument("percent"), RunTrouble.INVALID, "percent"),
        (exceptions.NotFound("no such service"), RunTrouble.NOT_FOUND, "no such"),
        (
            exceptions.PermissionDenied("The caller may not."),
            RunTrouble.DENIED,
            "(needs run.services.update)",
        ),
        (exceptions.Unauthenticated("bad token"), RunTrouble.DENIED, "(needs run.services.update)"),
    ],
)
def test_a_refusal_is_told_as_what_it_is(error: Exception, meant: RunTrouble, detail: str) -> None:
    found = trouble(error, "run.services.update", writes=True)
    assert isinstance(found, RunRefused)
    assert found.trouble is meant
    assert detail in found.detail


def test_a_permission_that_google_names_is_the_one_that_is_told() -> None:
    text = "Permission 'iam.serviceaccounts.actAs' denied on service account x"
    found = trouble(exceptions.PermissionDenied(text), "run.services.update", writes=True)
    assert isinstance(found, RunRefused)
    assert found.detail == text


NO_TOKEN = "Getting metadata from plugin failed with error: ('invalid_grant', {})"


@pytest.mark.parametrize(
    ("error", "word", "unknown"),
    [
        (exceptions.ServiceUnavailable("x"), "unavailable", True),
        (exceptions.DeadlineExceeded("x"), "unavailable", True),
        (exceptions.InternalServerError("x"), "error", True),
        (exceptions.Cancelled("x"), "error", True),
        (exceptions.ResourceExhausted("x"), "quota", False),
        (exceptions.TooManyRequests("x"), "quota", False),
        (exceptions.ServiceUnavailable(NO_TOKEN), "credentials", False),
        (RefreshError("x"), "credentials", False),
    ],
)
def test_what_may_have_been_taken_is_unknown_and_what_cannot_have_been_is_not(
    error: Exception, word: str, unknown: bool
) -> None:
    found = trouble(error, "run.services.update", writes=True)
    assert isinstance(found, Outage)
    assert (found.reason.partition(":")[0], found.unknown) == (word, unknown)
    read = trouble(error, "run.services.get", writes=False)
    assert isinstance(read, Outage)
    assert not read.unknown


# A rollout in the pretend cloud.


class World:
    """A cloud with one service in it, whose first revision is ``api-1``, and our adapter."""

    def __init__(self, clock: StandingClock, cloud: Cloud, clients: GcpClients) -> None:
        self.clock, self.cloud, self.clients = clock, cloud, clients
        self.run = CloudRun(clients)
        cloud.images.push(f"{REPOSITORY}:1")
        self.new = f"{REPOSITORY}@{cloud.images.push(f'{REPOSITORY}:2', Behaviour(p95_ms=150))}"

    def serve(self, name: str = "api", **more: Any) -> PretendService:
        values: dict[str, Any] = {"image": f"{REPOSITORY}:1", "revision": f"{name}-1"}
        return self.cloud.run.serve(name, HERE.project, location=HERE.region, **(values | more))

    async def seen(self) -> ServiceSeen:
        found = await self.run.service(HERE)
        assert found is not None
        return found

    async def create(self, name: str = "api-2", image: str | None = None, tag: str = "t002") -> str:
        """A revision without traffic, as a rollout begins."""
        now = await self.seen()
        rows = rows_for({str(baseline(now)): 100}, {tag: name}, now.rows, now.latest_ready)
        return await self.run.create(HERE, image or self.new, name, rows, now.etag)

    async def shift(self, **percent: int) -> str:
        now = await self.seen()
        wanted = {name.replace("_", "-"): part for name, part in percent.items()}
        return await self.run.shift(HERE, rows_for(wanted, {}, now.rows, now.latest_ready), now.etag)

    async def ended(self, name: str) -> OperationSeen:
        """Ask for the operation every five seconds until it is done."""
        for _ in range(30):
            found = await self.run.operation(name)
            assert found is not None
            if found.done:
                return found
            self.clock.push(timedelta(seconds=5))
        raise AssertionError(f"{name} does not end")

    def fault(self, action: faults.Action, method: str, count: int = 1) -> faults.Fault:
        return self.cloud.faults.add(action, method=method, count=count)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    clients = GcpClients(cloud.endpoint)
    yield World(clock, cloud, clients)
    await clients.close()
    await cloud.stop()


async def test_a_rollout_goes_from_creation_over_a_canary_to_all_and_back(world: World) -> None:
    service = world.serve(env={"MODE": "prod"}, secrets={"KEY": "key@3"}, min_instances=1)
    before = await world.seen()
    assert (baseline(before), before.ready, before.is_settled) == ("api-1", True, True)

    name = await world.create()
    assert await world.run.operation(name) == OperationSeen(name=name, done=False)
    under_way = await world.seen()
    assert (under_way.reconciling, under_way.ready, under_way.generation) == (
        True,
        None,
        before.generation + 1,
    )
    starting = await world.run.revision(HERE, "api-2")
    assert starting is not None
    assert starting.ready is None

    assert await world.ended(name) == OperationSeen(name=name, done=True)
    made, revision = await world.seen(), await world.run.revision(HERE, "api-2")
    assert revision is not None
    assert (revision.ready, revision.digest) == (True, world.new.rpartition("@")[2])
    assert (split(made.serving), made.latest_ready, made.ready) == ({"api-1": 100}, "api-2", True)
    assert tag_uri(made, "t002") == f"{service.uri}/t002"
    assert made.template == before.template.model_copy(update={"image": world.new})
    assert made.last_modifier == world.cloud.run.caller
    written = service.deployed.wanted()
    assert (written.client, bool(written.client_version)) == ("toban", True)

    assert (await world.ended(await world.shift(api_1=90, api_2=10))).error is None
    assert service.split() == {"api-1": 90, "api-2": 10}
    assert (await world.ended(await world.shift(api_2=100))).error is None
    assert baseline(await world.seen()) == "api-2"
    assert (await world.ended(await world.shift(api_1=100))).error is None
    back = await world.seen()
    assert baseline(back) == "api-1"
    assert back.template == made.template
    assert [one.name for one in await world.run.revisions(HERE)] == ["api-2", "api-1"]
    assert [one.name for one in await world.run.revisions(HERE, 1)] == ["api-2"]
    masks = [call.filter for call in world.cloud.journal.of("UpdateService")]
    assert masks == ["template,traffic,client,client_version", "traffic", "traffic", "traffic"]


async def test_a_preview_says_what_would_be_and_changes_nothing(world: World) -> None:
    service = world.serve(env={"MODE": "prod"})
    before = await world.seen()
    rows = rows_for({"api-1": 100}, {"t002": "api-2"}, before.rows)
    would = await world.run.preview(HERE, world.new, "api-2", rows)
    assert would.template == before.template.model_copy(update={"image": world.new})
    assert (would.rows, would.uri, would.latest_ready) == (rows, before.uri, "api-1")
    world.clock.push(timedelta(minutes=1))
    assert await world.seen() == before
    assert service.revisions == ["api-1"]
    assert world.cloud.journal.of("UpdateService")[0].filter.endswith("validate_only")


async def test_a_preview_finds_what_an_update_would_be_refused_for(world: World) -> None:
    world.serve()
    with pytest.raises(RunRefused, match="invalid: ") as wrong:
        await world.run.preview(HERE, world.new, "other-2", (Row(revision="api-1", percent=100),))
    assert "must start with 'api-'" in wrong.value.detail
    world.fault(faults.permission(), "UpdateService")
    with pytest.raises(RunRefused, match=r"denied: .*'run\.services\.update'"):
        await world.run.preview(HERE, world.new, "api-2", (Row(revision="api-1", percent=100),))
    world.fault(faults.unavailable(), "UpdateService")
    with pytest.raises(Outage) as caught:
        await world.run.preview(HERE, world.new, "api-2", (Row(revision="api-1", percent=100),))
    assert not caught.value.unknown


async def test_where_the_answer_of_an_update_is_lost_the_next_look_shows_it_and_a_second_is_refused(
    world: World,
) -> None:
    service = world.serve()
    before = await world.seen()
    rows = rows_for({"api-1": 100}, {"t002": "api-2"}, before.rows)
    fault = world.fault(faults.lost(), "UpdateService")
    with pytest.raises(Outage, match="unavailable") as caught:
        await world.run.create(HERE, world.new, "api-2", rows, before.etag)
    assert (caught.value.unknown, fault.seen) == (True, 1)
    with pytest.raises(RunRefused) as refused:
        await world.run.create(HERE, world.new, "api-2", rows, before.etag)
    assert refused.value.trouble is RunTrouble.CONFLICT
    after = await world.seen()
    assert (after.generation, after.rows, after.latest_created) == (before.generation + 1, rows, "api-2")
    assert service.revisions == ["api-1", "api-2"]


async def test_an_update_that_google_does_not_take_at_all_is_made_once_and_unknown(world: World) -> None:
    world.serve()
    before = await world.seen()
    fault = world.fault(faults.unavailable(), "UpdateService", faults.FOREVER)
    with pytest.raises(Outage) as caught:
        await world.run.shift(HERE, before.rows, before.etag)
    assert (caught.value.unknown, fault.hits) == (True, 1)
    world.cloud.faults.clear()
    world.fault(faults.quota(), "UpdateService")
    with pytest.raises(Outage, match=r"^quota: ") as spent:
        await world.run.shift(HERE, before.rows, before.etag)
    assert not spent.value.unknown


async def test_an_update_that_takes_too_long_is_unknown(world: World) -> None:
    world.serve()
    before = await world.seen()
    world.fault(faults.slow(2), "UpdateService")
    with pytest.raises(Outage, match="unavailable") as caught:
        await CloudRun(world.clients, deadline=0.2).shift(HERE, before.rows, before.etag)
    assert caught.value.unknown


async def test_somebody_elses_edit_in_between_is_a_conflict_and_stays(world: World) -> None:
    service = world.serve()
    before = await world.seen()
    world.cloud.run.edit("api", by="dan@example.com", env={"MODE": "debug"})
    for update in (
        world.run.shift(HERE, before.rows, before.etag),
        world.run.create(HERE, world.new, "api-9", before.rows, before.etag),
    ):
        with pytest.raises(RunRefused) as refused:
            await update
        assert refused.value.trouble is RunTrouble.CONFLICT
    after = await world.seen()
    assert (after.last_modifier, after.etag != before.etag) == ("dan@example.com", True)
    assert after.template.env == {"MODE": hashed("debug")}
    assert "api-9" not in service.revisions


async def test_an_update_without_an_etag_is_never_sent(world: World) -> None:
    world.serve()
    with pytest.raises(RunRefused, match="no etag"):
        await world.run.shift(HERE, (), "")
    with pytest.raises(RunRefused, match="no etag"):
        await world.run.create(HERE, world.new, "api-2", (), "")
    assert world.cloud.journal.count("UpdateService") == 0


async def test_a_name_that_another_revision_has_is_a_conflict(world: World) -> None:
    world.serve()
    with pytest.raises(RunRefused, match="different configuration already exists") as refused:
        await world.create("api-1")
    assert refused.value.trouble is RunTrouble.CONFLICT
    # The name of the last named deploy sticks in the template; ours is always a fresh one.
    assert (await world.ended(await world.create("api-2"))).error is None


async def test_an_image_that_does_not_start_leaves_the_old_one_serving(world: World) -> None:
    service = world.serve()
    broken = world.cloud.images.push(f"{REPOSITORY}:3", Behaviour(starts=False))
    now = await world.seen()
    rows = (Row(revision="api-1", percent=90), Row(revision="api-3", percent=10))
    name = await world.run.create(HERE, f"{REPOSITORY}@{broken}", "api-3", rows, now.etag)
    over = await world.ended(name)
    assert "failed to start" in str(over.error)

    after, revision = await world.seen(), await world.run.revision(HERE, "api-3")
    assert (after.rows, split(after.serving), baseline(after)) == (rows, {"api-1": 100}, "api-1")
    assert (after.ready, after.latest_ready, after.latest_created) == (False, "api-1", "api-3")
    assert "failed to start" in str(after.problem)
    assert revision is not None
    assert (revision.ready, "failed to start" in str(revision.problem)) == (False, True)
    assert revision.log_uri.startswith("https://")

    # Putting back in words of our own what is true anyway.
    assert (await world.ended(await world.shift(api_1=100))).error is None
    assert split((await world.seen()).rows) == {"api-1": 100}
    assert service.split() == {"api-1": 100}


async def test_an_operation_tells_why_it_failed_or_that_it_goes_on(world: World) -> None:
    world.serve()
    world.fault(faults.failing("Internal error, code 42."), "UpdateService")
    name = await world.create()
    assert (await world.ended(name)).error == "Internal error, code 42."
    world.fault(faults.stuck(), "UpdateService")
    endless = await world.create("api-4", tag="t004")
    world.clock.push(timedelta(hours=1))
    assert await world.run.operation(endless) == OperationSeen(name=endless, done=False)
    assert not (await world.seen()).is_settled
    assert await world.run.operation(f"{endless}0") is None


async def test_tags_of_others_stay_and_latest_is_pinned(world: World) -> None:
    service = world.serve(latest=True)
    latest = {"type_": 1}
    tags = [{"type_": 2, "revision": "api-1", "tag": "stable"}, latest | {"tag": "newest"}]
    world.cloud.run.edit("api", by="dan@example.com", rows=[latest | {"percent": 100}, *tags])
    world.clock.push(timedelta(seconds=30))
    before = await world.seen()
    assert before.rows[0] == Row(revision=None, percent=100)
    assert (before.serving[0].revision, baseline(before)) == (None, "api-1")

    assert (await world.ended(await world.create())).error is None
    after = await world.seen()
    assert (service.split(), after.latest_ready) == ({"api-1": 100}, "api-2")
    found = {row.tag: row.revision for row in after.serving if row.tag}
    assert found == {"stable": "api-1", "newest": "api-1", "t002": "api-2"}


async def test_what_is_not_there_is_none_and_cannot_be_updated(world: World) -> None:
    world.serve()
    nowhere = Target(project="p", region="asia-northeast1", service="absent")
    assert await world.run.service(nowhere) is None
    assert await world.run.revisions(nowhere) == []
    assert await world.run.revision(HERE, "api-99") is None
    for update in (
        world.run.shift(nowhere, (Row(revision=None, percent=100),), "etag"),
        world.run.create(nowhere, world.new, "absent-1", (), "etag"),
        world.run.preview(nowhere, world.new, "absent-1", ()),
    ):
        with pytest.raises(RunRefused) as refused:
            await update
        assert refused.value.trouble is RunTrouble.NOT_FOUND


@pytest.mark.parametrize("method", ["GetService", "GetRevision", "ListRevisions", "GetOperation"])
async def test_every_read_is_repeated_where_google_is_not_there_and_says_what_it_may_not(
    world: World, method: str
) -> None:
    world.serve()
    operation = await world.create()
    read = {
        "GetService": lambda: world.run.service(HERE),
        "GetRevision": lambda: world.run.revision(HERE, "api-1"),
        "ListRevisions": lambda: world.run.revisions(HERE),
        "GetOperation": lambda: world.run.operation(operation),
    }[method]
    fault = world.fault(faults.unavailable(), method)
    assert await read()
    assert (fault.hits, fault.seen) == (1, 2)
    world.cloud.faults.clear()
    fault = world.fault(faults.permission(), method, faults.FOREVER)
    with pytest.raises(RunRefused, match=r"denied: .*run\.\w+\.\w+"):
        await read()
    assert fault.hits == 1


async def test_a_read_is_repeated_twice_and_then_is_an_outage(world: World) -> None:
    world.serve()
    fault = world.fault(faults.unavailable(), "GetService", faults.FOREVER)
    with pytest.raises(Outage, match=r"^unavailable: ") as caught:
        await world.run.service(HERE)
    assert (caught.value.unknown, fault.hits) == (False, 3)


async def test_a_read_ends_in_its_time_whatever_google_does(world: World) -> None:
    world.serve()
    world.fault(faults.slow(5), "GetService", faults.FOREVER)
    impatient = CloudRun(world.clients, patience=0.3)
    with pytest.raises(Outage, match=r"^unavailable: "):
        await impatient.service(HERE)
    # Nor do repetitions make it longer.
    world.cloud.faults.clear()
    world.fault(faults.unavailable(), "GetService", faults.FOREVER)
    with pytest.raises(Outage, match=r"^unavailable: no answer in 0.3 s"):
        await impatient.service(HERE)


async def test_trouble_is_told_when_it_begins_and_when_it_ends(world: World) -> None:
    world.serve()
    world.fault(faults.permission(), "GetService", 2)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(RunRefused):
                await world.run.service(HERE)
        for _ in range(2):
            await world.run.service(HERE)
    assert [(one["event"], one.get("problem")) for one in logs] == [
        ("run.trouble", "denied"),
        ("run.recovered", None),
    ]


async def test_no_value_of_a_variable_is_in_anything_that_is_returned_or_told(world: World) -> None:
    world.serve(env={"PASSWORD": PASSWORD}, secrets={"KEY": "key@3", "/certs": "cert@latest"})
    shown: list[Any] = []
    with structlog.testing.capture_logs() as logs:
        seen = await world.seen()
        shown += [seen, await world.run.preview(HERE, world.new, "api-2", seen.rows)]
        shown += [await world.ended(await world.create())]
        shown += [await world.run.revision(HERE, "api-2"), await world.run.revisions(HERE)]
        world.fault(faults.permission(), "UpdateService")
        with pytest.raises(RunRefused) as refused:
            await world.create("api-3", tag="t003")
        shown += [refused.value, refused.value.__cause__, logs]
    assert PASSWORD not in repr(shown)
    assert seen.template.env == {"PASSWORD": hashed(PASSWORD)}
    assert seen.template.secrets == {"KEY": "key@3", "/certs/cert": "cert@latest"}
    made = await world.run.revision(HERE, "api-2")
    assert made is not None
    assert made.template == seen.template.model_copy(update={"image": world.new})


# The clients.


async def test_missing_credentials_are_an_outage_and_nothing_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    clients = GcpClients()
    for call in (CloudRun(clients).service(HERE), CloudRun(clients).shift(HERE, (), "etag")):
        with pytest.raises(Outage, match=r"^credentials: ") as caught:
            await call
        assert not caught.value.unknown
    await clients.close()


async def test_without_an_endpoint_the_clients_are_googles_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "own.json").write_text(json.dumps(own))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "own.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    clients = GcpClients()
    services, revisions = await clients.services(), await clients.revisions()
    assert services.transport.host == revisions.transport.host == "run.googleapis.com:443"
    assert await clients.services() is services
    await clients.close()
    assert await clients.services() is not services
    await clients.close()


def test_importing_the_adapter_does_not_load_googles_clients() -> None:
    code = (
        "import sys, gcp.run, gcp.services; "
        "print([name for name in sys.modules if name.split('.')[0] in {'google', 'grpc', 'numpy'}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
