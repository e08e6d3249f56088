"""The pretend Cloud Run judged through Google's own client: names, masks, operations, traffic, failures."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3, run_v2
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcAsyncIOTransport
from google.cloud.run_v2.services.revisions.transports import RevisionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.services.transports import ServicesGrpcAsyncIOTransport

from sandbox.clock import START, StandingClock
from sandbox.cloud import chance, faults
from sandbox.cloud.bondpoint import Living
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import Action
from sandbox.cloud.images import Behaviour
from sandbox.cloud.refusals import Refusal
from sandbox.cloud.running import PretendService
from sandbox.cloud.served import Arrivals

PLACE = "projects/p/locations/asia-northeast1"
NAME = f"{PLACE}/services/api"
REPOSITORY = "asia-northeast1-docker.pkg.dev/p/apps/api"
State = run_v2.Condition.State
LATEST = {"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}


def row(revision: str, percent: int = 0, tag: str = "") -> dict[str, Any]:
    return {
        "type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION",
        "revision": revision,
        "percent": percent,
        "tag": tag,
    }


class World:
    """A cloud, its clock, and clients of Google's that talk to it."""

    def __init__(self, clock: StandingClock, cloud: Cloud, channel: grpc.aio.Channel) -> None:
        self.clock, self.cloud = clock, cloud
        self.services = run_v2.ServicesAsyncClient(transport=ServicesGrpcAsyncIOTransport(channel=channel))
        self.revisions = run_v2.RevisionsAsyncClient(transport=RevisionsGrpcAsyncIOTransport(channel=channel))
        self.metrics = monitoring_v3.MetricServiceAsyncClient(
            transport=MetricServiceGrpcAsyncIOTransport(channel=channel)
        )

    def serve(self, **more: Any) -> PretendService:
        return self.cloud.run.serve("api", "p", **{"image": f"{REPOSITORY}:1", "revision": "api-one", **more})

    def wait(self, seconds: float) -> None:
        self.clock.push(timedelta(seconds=seconds))

    async def get(self, name: str = NAME) -> run_v2.Service:
        return await self.services.get_service(name=name, retry=None)

    async def revision(self, short: str) -> run_v2.Revision:
        return await self.revisions.get_revision(name=f"{NAME}/revisions/{short}", retry=None)

    async def update(self, service: Any, *paths: str, **more: Any) -> str:
        """The operation's name."""
        request = {"service": service, "update_mask": {"paths": list(paths)}, **more}
        return str((await self.services.update_service(request=request)).operation.name)

    async def shift(self, *rows: dict[str, Any], **more: Any) -> str:
        return await self.update(run_v2.Service(name=NAME, traffic=list(rows), **more), "traffic")

    async def deploy(self, image: str, revision: str, *rows: dict[str, Any]) -> str:
        """As it is done without downtime: one update with a template, a name, and all the traffic."""
        service = await self.get()
        service.template.containers[0].image = image
        service.template.revision = revision
        service.traffic = list(rows)
        return await self.update(service)

    async def operation(self, name: str) -> Any:
        return await self.services.get_operation({"name": name})

    async def status(self) -> list[tuple[str, int, str]]:
        """What is true: revision, percent and tag of each row."""
        return [(one.revision, one.percent, one.tag) for one in (await self.get()).traffic_statuses]

    async def desired(self) -> list[tuple[str, int, str]]:
        return [(one.revision, one.percent, one.tag) for one in (await self.get()).traffic]

    async def canary(self, percent: int, image: str = "2", **more: Any) -> PretendService:
        """A service that has just got a second revision with so much of its traffic, on a whole minute."""
        service = self.serve(**more)
        self.cloud.run.operation_seconds = (60, 60)
        await self.deploy(
            f"{REPOSITORY}:{image}", "api-two", row("api-one", 100 - percent), row("api-two", percent)
        )
        self.wait(60)
        return service

    async def series(self, metric: str, minutes: int, *group_by: str, **more: Any) -> list[Any]:
        """What Cloud Monitoring says of the last minutes as one step."""
        end = int(self.clock.now().timestamp())
        aggregation = {
            "alignment_period": {"seconds": 60 * minutes},
            "per_series_aligner": "ALIGN_DELTA",
            "cross_series_reducer": "REDUCE_SUM",
            "group_by_fields": list(group_by),
            **more,
        }
        pager = await self.metrics.list_time_series(
            request={
                "name": "projects/p",
                "filter": f'metric.type = "run.googleapis.com/{metric}" '
                'AND resource.labels.service_name = "api"',
                "interval": {"start_time": {"seconds": end - 60 * minutes}, "end_time": {"seconds": end}},
                "aggregation": aggregation,
            }
        )
        return [one async for one in pager]

    async def counts(self, minutes: int) -> dict[tuple[str, str], int]:
        """Requests by revision and class of code."""
        labels = "resource.labels.revision_name", "metric.labels.response_code_class"
        found = await self.series("request_count", minutes, *labels)
        return {
            (one.resource.labels["revision_name"], one.metric.labels["response_code_class"]): one.points[
                0
            ].value.int64_value
            for one in found
        }


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = StandingClock()
    cloud = Cloud(clock)
    await cloud.start()
    for tag, behaviour in {
        "1": Behaviour(),
        "2": Behaviour(error_share=0.05),
        "dead": Behaviour(starts=False),
    }.items():
        cloud.images.push(f"{REPOSITORY}:{tag}", behaviour)
    async with grpc.aio.insecure_channel(cloud.endpoint) as channel:
        yield World(clock, cloud, channel)
    await cloud.stop()


# What there is.


async def test_a_service_reads_as_it_was_set_up(world: World) -> None:
    world.cloud.run.http_base = "http://127.0.0.1:8099"
    world.serve(
        env={"MODE": "fast"},
        secrets={"KEY": "api-key@3", "/secrets/tls": "cert@1"},
        ingress="internal",
        session_affinity=True,
        min_instances=2,
        max_instances=9,
        cpu="2000m",
        memory="1Gi",
        concurrency=40,
        timeout=60,
        service_account="api@p.iam.gserviceaccount.com",
        annotations={"bondpoint.example/owner": "kenji"},
    )
    service = await world.get()
    template = service.template
    (container,) = template.containers
    plain = {one.name: one.value for one in container.env if one.value}
    secret = {one.name: one.value_source.secret_key_ref for one in container.env if not one.value}
    assert plain == {"MODE": "fast"}
    assert (secret["KEY"].secret, secret["KEY"].version) == ("api-key", "3")
    assert template.volumes[0].secret.items[0].version == "1"
    assert container.volume_mounts[0].mount_path == "/secrets/tls"
    assert container.resources.limits == {"cpu": "2000m", "memory": "1Gi"}
    assert (template.scaling.min_instance_count, template.scaling.max_instance_count) == (2, 9)
    assert (template.max_instance_request_concurrency, template.timeout) == (40, timedelta(seconds=60))
    assert template.session_affinity
    assert template.service_account == "api@p.iam.gserviceaccount.com"
    assert service.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY
    assert service.annotations == {"bondpoint.example/owner": "kenji"}
    assert service.uri == "http://127.0.0.1:8099/run/api"
    assert list(service.urls) == [service.uri]
    assert service.latest_ready_revision == service.latest_created_revision == f"{NAME}/revisions/api-one"
    assert service.terminal_condition.state == State.CONDITION_SUCCEEDED
    assert not service.reconciling
    assert service.observed_generation == service.generation
    assert await world.status() == [("api-one", 100, "")]


async def test_what_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(
        exceptions.NotFound, match="Resource 'api' of kind 'SERVICE' in region 'asia-northeast1'"
    ):
        await world.get()
    world.serve()
    with pytest.raises(exceptions.NotFound, match="Resource 'api-two' of kind 'REVISION'"):
        await world.revision("api-two")
    with pytest.raises(exceptions.NotFound):
        await world.operation(f"{PLACE}/operations/none")
    with pytest.raises(exceptions.NotFound):
        await world.update(run_v2.Service(name=f"{PLACE}/services/other"), "traffic")


# Whoever changes it.


async def test_an_old_etag_is_aborted_and_an_empty_one_is_not_looked_at(world: World) -> None:
    world.serve()
    old = await world.get()
    await world.shift(row("api-one", 100, "stable"), etag=old.etag)
    assert (await world.get()).etag != old.etag
    with pytest.raises(exceptions.Aborted, match="Conflict for resource 'api': version"):
        await world.shift(row("api-one", 100), etag=old.etag)
    await world.shift(row("api-one", 100))
    assert await world.desired() == [("api-one", 100, "")]


async def test_the_etag_stays_while_an_operation_ends(world: World) -> None:
    world.serve()
    await world.shift(row("api-one", 100, "stable"))
    etag = (await world.get()).etag
    world.wait(60)
    assert (await world.get()).etag == etag


async def test_an_edit_in_the_console_shows_who_made_it_and_outdates_the_etag(world: World) -> None:
    world.serve()
    before = await world.get()
    world.cloud.run.edit("api", by="sato@bondpoint.example", env={"DEBUG": "1"})
    after = await world.get()
    assert after.last_modifier == "sato@bondpoint.example"
    assert after.client == "cloud-console"
    assert after.generation == before.generation + 1
    assert after.template.containers[0].env[0].name == "DEBUG"
    assert after.latest_created_revision != before.latest_created_revision
    with pytest.raises(exceptions.Aborted):
        await world.shift(row("api-one", 100), etag=before.etag)


async def test_an_edit_of_the_split_keeps_the_tags_and_one_of_the_rows_does_not(world: World) -> None:
    service = world.serve()
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100), row("api-two", 0, "canary"))
    world.wait(20)
    world.cloud.run.edit("api", by="sato", percent={"api-one": 30, "api-two": 70})
    assert service.split() == {"api-one": 100}
    world.wait(3)
    assert service.split() == {"api-one": 30, "api-two": 70}
    assert await world.status() == [("api-one", 30, ""), ("api-two", 70, ""), ("api-two", 0, "canary")]
    world.cloud.run.edit("api", by="sato", rows=[row("api-two", 100)])
    world.wait(3)
    assert await world.status() == [("api-two", 100, "")]


async def test_an_edit_is_judged_as_any_update_is(world: World) -> None:
    world.serve()
    with pytest.raises(Refusal, match="sum to 100, not 90"):
        world.cloud.run.edit("api", by="sato", percent={"api-one": 90})
    with pytest.raises(KeyError):
        world.cloud.run.edit("other", by="sato", percent={"api-one": 100})


# Masks.


async def test_without_a_mask_everything_that_people_set_is_replaced(world: World) -> None:
    world.serve(annotations={"a.example/owner": "kenji"}, ingress="internal", env={"A": "1"})
    bare = run_v2.Service(name=NAME, template={"containers": [{"image": f"{REPOSITORY}:2"}]})
    await world.update(bare)
    service = await world.get()
    assert service.annotations == {}
    assert service.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL
    assert not service.template.containers[0].env
    assert service.template.revision == ""
    assert [one.type_.name for one in service.traffic] == [LATEST["type_"]]


async def test_a_mask_of_traffic_leaves_the_template_alone(world: World) -> None:
    world.serve()
    template = (await world.get()).template
    foreign = run_v2.Service(
        name=NAME,
        traffic=[row("api-one", 100, "stable")],
        template={"containers": [{"image": "elsewhere.example/x:1"}]},
        annotations={"a.example/b": "c"},
    )
    await world.update(foreign, "traffic")
    service = await world.get()
    assert service.template == template
    assert service.annotations == {}
    assert service.latest_created_revision == f"{NAME}/revisions/api-one"


async def test_a_mask_reaches_into_messages_and_refuses_what_is_no_field(world: World) -> None:
    world.serve(env={"A": "1"})
    asked = run_v2.Service(name=NAME, scaling={"min_instance_count": 3}, client="toban", client_version="1.2")
    before = await world.get()
    await world.update(asked, "scaling.min_instance_count", "client", "client_version", "uid", "uri")
    service = await world.get()
    assert (service.uid, service.uri) == (before.uid, before.uri)
    assert service.uid
    assert service.scaling.min_instance_count == 3
    assert (service.client, service.client_version) == ("toban", "1.2")
    assert len(service.template.containers[0].env) == 1
    assert service.latest_created_revision == f"{NAME}/revisions/api-one"
    for path in ("scaling.minInstanceCount", "trafic", "traffic.percent"):
        with pytest.raises(exceptions.InvalidArgument, match="is not a field of the service"):
            await world.update(asked, path)


async def test_a_template_without_traffic_serves_nothing_while_the_traffic_is_pinned(world: World) -> None:
    service = world.serve()
    changed = await world.get()
    changed.template.containers[0].image = f"{REPOSITORY}:2"
    changed.template.revision = "api-two"
    await world.update(changed, "template")
    world.wait(20)
    assert (await world.get()).latest_ready_revision == f"{NAME}/revisions/api-two"
    assert service.split() == {"api-one": 100}


async def test_a_new_revision_takes_everything_once_ready_where_traffic_says_latest(world: World) -> None:
    service = world.serve(latest=True)
    changed = await world.get()
    changed.template.containers[0].image = f"{REPOSITORY}:2"
    changed.template.revision = "api-two"
    await world.update(changed, "template")
    world.wait(19)
    assert service.split() == {"api-one": 100}
    world.wait(1)
    assert service.split() == {"api-two": 100}
    (status,) = (await world.get()).traffic_statuses
    assert (status.type_.name, status.revision, status.percent) == (LATEST["type_"], "", 100)


# Names.


async def test_a_revisions_name_sticks_and_cannot_be_used_for_another_configuration(world: World) -> None:
    world.serve()
    service = await world.get()
    assert service.template.revision == "api-one"
    service.template.containers[0].image = f"{REPOSITORY}:2"
    with pytest.raises(
        exceptions.AlreadyExists,
        match="Revision named 'api-one' with different configuration already exists",
    ):
        await world.update(service)
    service.template.revision = "api-two"
    await world.update(service)
    assert (await world.get()).latest_created_revision == f"{NAME}/revisions/api-two"


async def test_a_name_can_be_given_again_to_the_same_configuration(world: World) -> None:
    world.serve()
    service = await world.get()
    service.annotations["a.example/b"] = "c"
    await world.update(service)
    world.wait(3)
    listed = await world.revisions.list_revisions(parent=NAME)
    assert [one.name.rsplit("/", 1)[-1] async for one in listed] == ["api-one"]


async def test_cloud_run_names_revisions_that_nobody_named(world: World) -> None:
    service = world.serve(revision=None)
    assert service.revisions[0].startswith("api-00001-")
    world.cloud.run.edit("api", by="sato", env={"A": "1"})
    world.cloud.run.edit("api", by="sato", env={"A": "2"})
    assert [one[:10] for one in service.revisions] == ["api-00001-", "api-00002-", "api-00003-"]
    assert len(set(service.revisions)) == 3


@pytest.mark.parametrize(
    "revision", ["two", "other-two", "api-Two", "api-two-", "api-", "api-" + "x" * 60, "api_two"]
)
async def test_a_wrong_name_of_a_revision_is_refused(world: World, revision: str) -> None:
    world.serve()
    with pytest.raises(exceptions.InvalidArgument, match=r"service\.template\.revision"):
        await world.deploy(f"{REPOSITORY}:2", revision, row("api-one", 100))


async def test_a_revisions_name_may_have_63_characters(world: World) -> None:
    world.serve()
    longest = "api-" + "x" * 59
    await world.deploy(f"{REPOSITORY}:2", longest, row("api-one", 100))
    assert (await world.get()).template.revision == longest


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([row("api-one", 90)], "sum to 100, not 90"),
        ([row("api-one", 60), row("api-one", 60)], "sum to 100, not 120"),
        ([row("api-one", 110), row("api-one", -10)], "not a percentage"),
        ([row("api-one", 100, "v1")], "at least 3 characters"),
        ([row("api-one", 100, "1st")], "at least 3 characters"),
        ([row("api-one", 100, "t" * 44)], "more than 46 characters together"),
        ([row("api-one", 100, "new"), row("api-one", 0, "new")], "tag 'new' is used by more than one"),
        ([row(f"{NAME}/revisions/api-one", 100)], "not the short name"),
        ([{**LATEST, "revision": "api-one"}], "names no revision"),
        ([{"revision": "api-one", "percent": 100}], "must be of a type"),
    ],
)
async def test_wrong_traffic_is_refused_at_once(world: World, rows: list[dict[str, Any]], text: str) -> None:
    world.serve()
    before = await world.get()
    with pytest.raises(exceptions.InvalidArgument, match=text):
        await world.shift(*rows)
    assert await world.get() == before


async def test_a_tag_may_have_46_characters_together_with_the_service(world: World) -> None:
    world.serve()
    await world.shift(row("api-one", 100, "t" * 43))
    assert len((await world.desired())[0][2]) == 43


async def test_googles_own_annotations_are_refused(world: World) -> None:
    world.serve()
    service = run_v2.Service(name=NAME, annotations={"run.googleapis.com/ingress": "all"})
    with pytest.raises(exceptions.InvalidArgument, match="Google's own"):
        await world.update(service, "annotations")


# Operations.


async def test_a_revision_and_its_traffic_come_in_one_update_when_the_operation_ends(world: World) -> None:
    world.cloud.run.http_base = "http://h"
    service = world.serve()
    name = await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100), row("api-two", 0, "canary"))
    assert name.startswith(f"{PLACE}/operations/")
    moving = await world.get()
    assert moving.reconciling
    assert moving.observed_generation == moving.generation - 1
    assert moving.terminal_condition.state == State.CONDITION_RECONCILING
    assert moving.latest_created_revision == f"{NAME}/revisions/api-two"
    assert moving.latest_ready_revision == f"{NAME}/revisions/api-one"
    assert await world.status() == [("api-one", 100, "")]
    assert (await world.revision("api-two")).conditions[0].state == State.CONDITION_RECONCILING
    world.wait(19.9)
    assert not (await world.operation(name)).done
    world.wait(0.1)
    ended = await world.operation(name)
    assert ended.done
    there = await world.get()
    assert run_v2.Service.deserialize(ended.response.value) == there
    assert not there.reconciling
    assert there.observed_generation == there.generation
    assert await world.status() == [("api-one", 100, ""), ("api-two", 0, "canary")]
    assert there.traffic_statuses[1].uri == "http://h/run/api/canary"
    assert service.split() == {"api-one": 100}


async def test_traffic_alone_moves_in_three_seconds_or_as_long_as_one_says(world: World) -> None:
    service = world.serve()
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100), row("api-two", 0, "canary"))
    world.wait(20)
    name = await world.shift(row("api-one", 90), row("api-two", 10, "canary"))
    world.wait(2)
    assert not (await world.operation(name)).done
    assert service.split() == {"api-one": 100}
    world.wait(1)
    assert (await world.operation(name)).done
    assert service.split() == {"api-one": 90, "api-two": 10}
    world.cloud.run.operation_seconds = (1, 30)
    name = await world.shift(row("api-two", 100))
    world.wait(29)
    assert not (await world.operation(name)).done
    world.wait(1)
    assert service.split() == {"api-two": 100}


async def test_the_clients_own_operation_carries_the_service_and_its_error(world: World) -> None:
    world.serve()
    service = await world.get()
    service.template.revision, service.template.containers[0].image = "api-two", f"{REPOSITORY}:dead"
    operation = await world.services.update_service(service=service)
    assert operation.metadata.generation == service.generation + 1
    world.wait(20)
    with pytest.raises(exceptions.GoogleAPICallError, match="failed to start and listen") as raised:
        await operation.result()
    assert raised.value.errors[0].code == grpc.StatusCode.FAILED_PRECONDITION.value[0]


async def test_of_two_updates_on_their_way_the_later_one_counts(world: World) -> None:
    service = world.serve()
    first = await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 50), row("api-two", 50))
    world.wait(5)
    second = await world.shift(row("api-one", 100))
    world.wait(3)
    assert (await world.operation(second)).done
    assert not (await world.operation(first)).done
    world.wait(12)
    assert (await world.operation(first)).done
    assert service.split() == {"api-one": 100}
    assert (await world.get()).latest_ready_revision == f"{NAME}/revisions/api-two"


async def test_traffic_to_a_revision_that_still_starts_waits_for_it(world: World) -> None:
    service = world.serve()
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100))
    name = await world.shift(row("api-one", 50), row("api-two", 50))
    world.wait(10)
    assert not (await world.operation(name)).done
    assert service.split() == {"api-one": 100}
    world.wait(10)
    assert (await world.operation(name)).done
    assert service.split() == {"api-one": 50, "api-two": 50}


async def test_nothing_is_lost_when_nobody_looks_while_operations_end(world: World) -> None:
    service = world.serve()
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 90), row("api-two", 10))
    began = world.clock.now().timestamp()
    world.wait(86_400)
    assert service.split() == {"api-one": 90, "api-two": 10}
    assert service.deployed.splits[-1].since == began + 20


# What fails.


async def test_an_image_that_does_not_start_fails_and_traffic_stays_where_it_was(world: World) -> None:
    service = world.serve()
    name = await world.deploy(
        f"{REPOSITORY}:dead", "api-two", row("api-one", 90), row("api-two", 10, "canary")
    )
    world.wait(20)
    operation = await world.operation(name)
    assert operation.done
    assert (
        "Revision 'api-two' is not ready and cannot serve traffic. The user-provided"
        in operation.error.message
    )
    failed = await world.get()
    assert failed.terminal_condition.state == State.CONDITION_FAILED
    reason = run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR
    assert failed.terminal_condition.revision_reason == reason
    assert not failed.reconciling
    assert failed.observed_generation == failed.generation
    assert failed.latest_created_revision == f"{NAME}/revisions/api-two"
    assert failed.latest_ready_revision == f"{NAME}/revisions/api-one"
    # What is wanted has changed, what is true has not.
    assert await world.desired() == [("api-one", 90, ""), ("api-two", 10, "canary")]
    assert await world.status() == [("api-one", 100, "")]
    assert service.split() == {"api-one": 100}
    ready = (await world.revision("api-two")).conditions[0]
    assert (ready.type_, ready.state, ready.revision_reason) == ("Ready", State.CONDITION_FAILED, reason)


async def test_a_stale_split_fails_the_next_deploy_too_until_it_is_written_back(world: World) -> None:
    world.serve()
    await world.deploy(f"{REPOSITORY}:dead", "api-two", row("api-one", 90), row("api-two", 10))
    world.wait(20)
    service = await world.get()
    service.template.revision, service.template.containers[0].image = "api-three", f"{REPOSITORY}:2"
    name = await world.update(service, "template")
    world.wait(20)
    assert "Revision 'api-two' is not ready" in (await world.operation(name)).error.message
    name = await world.shift(row("api-one", 100))
    world.wait(3)
    ended = await world.operation(name)
    assert ended.done
    assert not ended.HasField("error")
    assert (await world.get()).terminal_condition.state == State.CONDITION_SUCCEEDED


async def test_writing_the_traffic_back_heals_a_service_whose_newest_revision_is_dead(world: World) -> None:
    world.serve()
    await world.deploy(f"{REPOSITORY}:dead", "api-two", row("api-one", 90), row("api-two", 10))
    world.wait(20)
    name = await world.shift(row("api-one", 100))
    world.wait(3)
    assert (await world.operation(name)).HasField("response")
    assert (await world.get()).terminal_condition.state == State.CONDITION_SUCCEEDED
    assert await world.desired() == await world.status() == [("api-one", 100, "")]


async def test_a_failure_can_be_made_to_stick_until_a_newer_revision_is_ready(world: World) -> None:
    world.cloud.run.failure_sticks = True
    service = world.serve()
    await world.deploy(f"{REPOSITORY}:dead", "api-two", row("api-one", 90), row("api-two", 10))
    world.wait(20)
    name = await world.shift(row("api-one", 100, "stable"))
    world.wait(3)
    assert "Revision 'api-two' is not ready" in (await world.operation(name)).error.message
    assert await world.status() == [("api-one", 100, "stable")]
    assert (await world.get()).terminal_condition.state == State.CONDITION_FAILED
    name = await world.deploy(f"{REPOSITORY}:2", "api-three", row("api-three", 100))
    world.wait(20)
    assert not (await world.operation(name)).HasField("error")
    assert service.split() == {"api-three": 100}


async def test_latest_goes_on_serving_the_last_revision_that_got_ready(world: World) -> None:
    service = world.serve(latest=True)
    world.cloud.run.edit("api", by="sato", image=f"{REPOSITORY}:dead")
    world.wait(20)
    assert service.split() == {"api-one": 100}
    assert (await world.get()).terminal_condition.state == State.CONDITION_FAILED


async def test_an_image_that_is_not_there_fails_the_operation_and_not_the_request(world: World) -> None:
    world.serve()
    image = f"{REPOSITORY}:none"
    name = await world.deploy(image, "api-two", row("api-one", 100))
    world.wait(20)
    assert f"Image '{image}' not found" in (await world.operation(name)).error.message
    ready = (await world.revision("api-two")).conditions[0]
    assert ready.reason == run_v2.Condition.CommonReason.CONTAINER_MISSING


async def test_traffic_to_a_revision_that_is_not_there_fails_the_operation(world: World) -> None:
    service = world.serve()
    name = await world.shift(row("api-one", 90), row("bondpoint-api-green", 10))
    world.wait(3)
    error = (await world.operation(name)).error
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "Revision 'bondpoint-api-green' does not exist or is deleted" in error.message
    assert await world.desired() == [("api-one", 90, ""), ("bondpoint-api-green", 10, "")]
    assert await world.status() == [("api-one", 100, "")]
    assert service.split() == {"api-one": 100}
    failed = await world.get()
    assert failed.terminal_condition.state == State.CONDITION_FAILED
    assert {one.type_: one.state.name for one in failed.conditions} == {
        "ConfigurationsReady": "CONDITION_SUCCEEDED",
        "RoutesReady": "CONDITION_FAILED",
    }


# Revisions.


async def test_a_tag_is_resolved_once_for_good_when_the_revision_is_made(world: World) -> None:
    world.serve()
    first = world.cloud.images.digest(f"{REPOSITORY}:2")
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100))
    second = world.cloud.images.push(f"{REPOSITORY}:2", Behaviour(error_share=0.5))
    assert second != first
    world.wait(20)
    revision = await world.revision("api-two")
    assert revision.containers[0].image == f"{REPOSITORY}@{first}"
    assert (await world.get()).template.containers[0].image == f"{REPOSITORY}:2"
    assert revision.create_time.timestamp() == world.clock.now().timestamp() - 20
    assert revision.creator == world.cloud.run.caller
    assert "revision_name/api-two" in revision.log_uri
    assert revision.service == "api"
    assert revision.conditions[0].state == State.CONDITION_SUCCEEDED
    # By its digest it is still there.
    await world.deploy(f"{REPOSITORY}@{first}", "api-three", row("api-one", 100))
    world.wait(20)
    assert (await world.revision("api-three")).containers[0].image == f"{REPOSITORY}@{first}"


async def test_revisions_come_newest_first_and_in_pages(world: World) -> None:
    world.serve()
    for number in range(4):
        await world.deploy(f"{REPOSITORY}:2", f"api-r{number}", row("api-one", 100))
    pager = await world.revisions.list_revisions(request={"parent": NAME, "page_size": 2})
    pages = [[one.name.rsplit("-", 1)[-1] for one in page.revisions] async for page in pager.pages]
    assert pages == [["r3", "r2"], ["r1", "r0"], ["one"]]
    everywhere = await world.revisions.list_revisions(parent=f"{PLACE}/services/-")
    assert len([one async for one in everywhere]) == 5


# Creating and listing services.


async def test_a_service_is_created_with_its_first_revision(world: World) -> None:
    asked = run_v2.Service(template={"containers": [{"image": f"{REPOSITORY}:1"}]})
    request = {"parent": PLACE, "service_id": "api", "service": asked}
    operation = await world.services.create_service(request=request)
    assert (await world.get()).traffic_statuses == []
    world.wait(20)
    assert (await world.operation(operation.operation.name)).done
    service = await world.get()
    assert service.generation == 1
    assert world.cloud.run.service("api").split() == {service.latest_ready_revision.rsplit("/", 1)[-1]: 100}
    with pytest.raises(exceptions.AlreadyExists, match="Resource 'api' already exists"):
        await world.services.create_service(request=request)


@pytest.mark.parametrize("service_id", ["", "Api", "1api", "api-", "a" * 50])
async def test_a_wrong_name_of_a_service_is_refused(world: World, service_id: str) -> None:
    asked = run_v2.Service(template={"containers": [{"image": f"{REPOSITORY}:1"}]})
    with pytest.raises(exceptions.InvalidArgument, match="service_id"):
        await world.services.create_service(parent=PLACE, service_id=service_id, service=asked)


async def test_an_update_creates_what_is_missing_only_when_it_may(world: World) -> None:
    asked = run_v2.Service(name=NAME, template={"containers": [{"image": f"{REPOSITORY}:1"}]})
    with pytest.raises(exceptions.NotFound):
        await world.update(asked)
    await world.update(asked, allow_missing=True, validate_only=True)
    with pytest.raises(exceptions.NotFound):
        await world.get()
    await world.update(asked, allow_missing=True)
    world.wait(20)
    assert (await world.get()).terminal_condition.state == State.CONDITION_SUCCEEDED


async def test_services_are_listed_by_place(world: World) -> None:
    world.serve()
    for name, location in (("web", "asia-northeast1"), ("job", "us-central1")):
        world.cloud.run.serve(name, "p", image=f"{REPOSITORY}:1", location=location)

    async def names(parent: str) -> list[str]:
        pager = await world.services.list_services(request={"parent": parent, "page_size": 1})
        return [one.name.rsplit("/", 1)[-1] async for one in pager]

    assert await names(PLACE) == ["api", "web"]
    assert await names("projects/p/locations/-") == ["api", "web", "job"]
    assert await names("projects/q/locations/-") == []


# Trying out.


async def test_validating_only_answers_with_the_service_that_would_be_and_changes_nothing(
    world: World,
) -> None:
    world.serve()
    before = await world.get()
    asked = await world.get()
    asked.template.revision, asked.template.containers[0].image = "api-two", f"{REPOSITORY}:2"
    asked.traffic = [row("api-one", 100), row("api-two", 0, "canary")]
    operation = await world.services.update_service(request={"service": asked, "validate_only": True})
    assert operation.operation.done
    would_be = await operation.result()
    assert would_be.template.revision == "api-two"
    assert would_be.generation == before.generation + 1
    assert [one.tag for one in would_be.traffic] == ["", "canary"]
    world.wait(60)
    assert await world.get() == before
    with pytest.raises(exceptions.NotFound):
        await world.revision("api-two")


async def test_validating_only_checks_as_strictly_as_doing(world: World) -> None:
    world.serve()
    asked = await world.get()
    asked.template.containers[0].image = f"{REPOSITORY}:2"
    with pytest.raises(exceptions.AlreadyExists):
        await world.update(asked, validate_only=True)
    for rows, text in (([row("api-one", 90)], "sum to 100"), ([row("api-none", 100)], "does not exist")):
        with pytest.raises(exceptions.InvalidArgument, match=text):
            await world.update(run_v2.Service(name=NAME, traffic=rows), "traffic", validate_only=True)
    with pytest.raises(exceptions.Aborted):
        await world.update(run_v2.Service(name=NAME, etag='"old"'), "annotations", validate_only=True)
    world.cloud.faults.add(faults.permission(), method="UpdateService")
    with pytest.raises(exceptions.PermissionDenied, match=r"'run.services.update' denied on resource"):
        await world.update(run_v2.Service(name=NAME), "annotations", validate_only=True)


# Trouble on demand.


@pytest.mark.parametrize(
    ("action", "raised"),
    [
        (faults.quota(), exceptions.ResourceExhausted),
        (faults.unavailable(), exceptions.ServiceUnavailable),
        (faults.permission(), exceptions.PermissionDenied),
    ],
)
async def test_what_is_refused_has_not_been_done(
    world: World, action: Action, raised: type[Exception]
) -> None:
    world.serve()
    before = await world.get()
    world.cloud.faults.add(action, method="UpdateService")
    with pytest.raises(raised):
        await world.shift(row("api-one", 100, "stable"))
    world.wait(60)
    assert await world.get() == before
    await world.shift(row("api-one", 100, "stable"))


async def test_an_answer_that_is_lost_belongs_to_an_update_that_was_done(world: World) -> None:
    world.serve()
    etag = (await world.get()).etag
    world.cloud.faults.add(faults.lost(), method="UpdateService", metric="api")
    with pytest.raises(exceptions.ServiceUnavailable):
        await world.shift(row("api-one", 100, "stable"), etag=etag)
    world.wait(3)
    assert await world.status() == [("api-one", 100, "stable")]
    with pytest.raises(exceptions.Aborted):
        await world.shift(row("api-one", 100, "stable"), etag=etag)


async def test_a_slow_answer_comes_all_the_same(world: World) -> None:
    world.serve()
    world.cloud.faults.add(faults.slow(0.2), method="GetService")
    with pytest.raises(exceptions.DeadlineExceeded):
        await world.services.get_service(name=NAME, retry=None, timeout=0.05)
    world.cloud.faults.add(faults.slow(0.05), method="GetService")
    began = asyncio.get_running_loop().time()
    await world.get()
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_an_operation_can_be_made_to_fail(world: World) -> None:
    world.serve()
    world.cloud.faults.add(faults.failing("Quota exceeded for instances."), method="UpdateService")
    name = await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 90), row("api-two", 10))
    world.wait(20)
    assert (await world.operation(name)).error.message == "Quota exceeded for instances."
    assert (await world.revision("api-two")).conditions[0].state == State.CONDITION_FAILED
    assert await world.status() == [("api-one", 100, "")]
    world.cloud.faults.add(faults.failing("Internal error."), method="UpdateService")
    name = await world.shift(row("api-one", 100, "stable"))
    world.wait(3)
    assert (await world.operation(name)).error.message == "Internal error."
    assert await world.status() == [("api-one", 100, "")]


async def test_an_operation_can_be_made_never_to_end_and_a_later_one_gets_through(world: World) -> None:
    world.serve()
    world.cloud.faults.add(faults.stuck(), method="UpdateService")
    name = await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100))
    world.wait(86_400)
    assert not (await world.operation(name)).done
    assert (await world.get()).reconciling
    later = await world.shift(row("api-one", 100, "stable"))
    world.wait(3)
    assert (await world.operation(later)).done
    assert not (await world.get()).reconciling


async def test_reading_can_be_made_to_fail_or_to_tell_of_trouble(world: World) -> None:
    world.serve()
    name = await world.shift(row("api-one", 100, "stable"))
    world.wait(3)
    lay = world.cloud.faults.add
    for action in (faults.unavailable(), faults.lost()):
        lay(action, method="GetOperation")
        with pytest.raises(exceptions.ServiceUnavailable):
            await world.operation(name)
    lay(faults.stuck(), method="GetOperation")
    open_still = await world.operation(name)
    assert not open_still.done
    assert not open_still.HasField("response")
    lay(faults.failing("No."), method="GetOperation")
    assert (await world.operation(name)).error.message == "No."
    assert (await world.operation(name)).HasField("response")
    lay(faults.stuck(), method="GetService")
    assert (await world.get()).reconciling
    lay(faults.failing("No."), method="GetService")
    assert (await world.get()).terminal_condition.message == "No."
    lay(faults.permission(), method="GetRevision")
    with pytest.raises(exceptions.PermissionDenied, match=r"run\.revisions\.get"):
        await world.revision("api-one")
    lay(faults.failing("No."), method="GetRevision")
    assert (await world.revision("api-one")).conditions[0].message == "No."


async def test_a_fault_can_be_laid_for_one_service(world: World) -> None:
    world.serve()
    world.cloud.run.serve("web", "p", image=f"{REPOSITORY}:1")
    world.cloud.faults.add(faults.quota(), method="*", metric="web", count=faults.FOREVER)
    await world.get()
    with pytest.raises(exceptions.ResourceExhausted):
        await world.get(f"{PLACE}/services/web")


async def test_every_call_is_in_the_journal(world: World) -> None:
    world.serve()
    name = await world.shift(row("api-one", 100, "stable"))
    await world.operation(name)
    with pytest.raises(exceptions.InvalidArgument):
        await world.shift(row("api-one", 1))
    journal = world.cloud.journal
    assert [(one.outcome, one.filter) for one in journal.of("UpdateService", "api")] == [
        ("OK", "traffic"),
        ("INVALID_ARGUMENT", "traffic"),
    ]
    assert journal.of("GetOperation")[0].metric == "api"
    assert {one.project for one in journal.calls} == {"p"}


# The services' own addresses.


async def test_an_address_says_what_runs_there_and_who_may_come(world: World) -> None:
    run = world.cloud.run
    run.http_base = "http://h"
    world.serve()
    run.serve("web", "p", image=f"{REPOSITORY}:1", public=True, ingress="internal-and-cloud-load-balancing")
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 100), row("api-two", 0, "canary"))
    assert run.behaviour("api", "canary") is None
    world.wait(20)
    assert run.behaviour("api", "canary") == Behaviour(error_share=0.05)
    assert run.behaviour("api") == Behaviour()
    assert run.behaviour("none") is None
    assert (run.audience("api"), run.audience("web"), run.audience("none")) == (
        "http://h/run/api",
        None,
        None,
    )
    assert (run.is_internal("api"), run.is_internal("web")) == (False, True)


def test_an_images_digest_follows_from_its_tag_and_what_is_inside() -> None:
    images = Cloud(StandingClock()).images
    first = images.push(f"{REPOSITORY}:1")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first)
    assert Cloud(StandingClock()).images.push(f"{REPOSITORY}:1") == first
    second = images.push(f"{REPOSITORY}:1", Behaviour(starts=False))
    assert images.digest(f"{REPOSITORY}:1") == second != first
    assert images.digest(f"{REPOSITORY}@{first}") == first
    assert images.behaviour(f"{REPOSITORY}:1@{first}") == Behaviour()
    assert images.behaviour(f"{REPOSITORY}:1") == Behaviour(starts=False)
    assert images.digest("localhost:5000/api") is None
    latest = images.push("localhost:5000/api")
    assert images.digest("localhost:5000/api:latest") == latest
    assert images.digest(f"{REPOSITORY}@{latest}") is None
    assert images.repositories() == [REPOSITORY, "localhost:5000/api"]
    with pytest.raises(ValueError, match="pushed by tag"):
        images.push(f"{REPOSITORY}@{first}")


def test_tags_come_newest_first_by_when_they_were_pushed() -> None:
    images = Cloud(StandingClock()).images
    for tag in ("b", "a", "c"):
        images.push(f"{REPOSITORY}:{tag}")
    assert [tag for tag, _ in images.tags(REPOSITORY)] == ["c", "a", "b"]
    images.push(f"{REPOSITORY}:old", at=START - timedelta(days=3650))
    moved = images.push(f"{REPOSITORY}:b", at=START)
    assert [tag for tag, _ in images.tags(REPOSITORY)] == ["b", "c", "a", "old"]
    assert images.tags(REPOSITORY)[0] == ("b", moved)
    assert images.pushed_at(f"{REPOSITORY}:b") == START
    assert images.tags("other") == []


def test_a_scene_needs_an_image_that_runs() -> None:
    cloud = Cloud(StandingClock())
    cloud.images.push(f"{REPOSITORY}:dead", Behaviour(starts=False))
    for image in (f"{REPOSITORY}:none", f"{REPOSITORY}:dead"):
        with pytest.raises(ValueError, match="api cannot serve"):
            cloud.run.serve("api", "p", image=image)


# What is measured of it.


async def test_requests_fall_to_revisions_by_the_traffic_and_fail_as_the_images_do(world: World) -> None:
    service = await world.canary(10, requests_per_second=100)
    began = world.clock.now()
    world.wait(30 * 60)
    ended = world.clock.now()
    world.wait(120)
    found = await world.counts(32)
    # 32 minutes: the last two are not visible yet, and the first 30 are those since the traffic moved.
    truth = service.counts(began, ended)
    for revision, share, fails in (("api-one", 0.9, 0.001), ("api-two", 0.1, 0.05)):
        fine, bad = found[revision, "2xx"], found[revision, "5xx"]
        expected = 30 * 6000 * share
        assert (fine + bad, bad) == truth[revision]
        assert fine + bad == pytest.approx(expected, abs=5 * expected**0.5)
        assert bad == pytest.approx(expected * fails, abs=5 * (expected * fails) ** 0.5)


async def test_a_minute_is_not_seen_before_its_ingest_delay_is_over(world: World) -> None:
    await world.canary(50)
    world.wait(179)
    assert {revision for revision, _ in await world.counts(1)} == set()
    world.wait(1)
    assert {revision for revision, _ in await world.counts(3)} == {"api-one", "api-two"}


async def test_a_revision_without_errors_has_no_series_of_errors(world: World) -> None:
    world.cloud.images.push(f"{REPOSITORY}:fine", Behaviour(error_share=0))
    world.serve(image=f"{REPOSITORY}:fine")
    assert set(await world.counts(10)) == {("api-one", "2xx")}


async def test_a_revision_without_traffic_is_not_measured_and_one_that_lost_it_no_longer(
    world: World,
) -> None:
    await world.canary(0)
    world.wait(600)
    assert {revision for revision, _ in await world.counts(10)} == {"api-one"}
    await world.shift(row("api-two", 100))
    world.wait(600)
    assert {revision for revision, _ in await world.counts(5)} == {"api-two"}


async def test_requests_that_hang_are_absent(world: World) -> None:
    world.cloud.images.push(f"{REPOSITORY}:hangs", Behaviour(hanging_share=0.9))
    await world.canary(50, "hangs", requests_per_second=100)
    world.wait(12 * 60)
    found = await world.counts(12)
    one, two = (sum(n for (name, _), n in found.items() if name == want) for want in ("api-one", "api-two"))
    assert two / one == pytest.approx(0.1, rel=0.1)


async def test_a_minute_in_which_the_traffic_moved_is_split_by_its_seconds(world: World) -> None:
    service = world.serve(requests_per_second=100, arrivals=Arrivals.STEADY)
    world.cloud.run.operation_seconds = (45, 45)
    await world.deploy(f"{REPOSITORY}:2", "api-two", row("api-one", 20), row("api-two", 80))
    began = world.clock.now()
    world.wait(120)
    counts = service.counts(began, began + timedelta(minutes=1))
    assert {name: number for name, (number, _) in counts.items()} == {"api-one": 4800, "api-two": 1200}


async def test_steady_requests_are_always_as_many_and_only_their_errors_are_chance(world: World) -> None:
    service = world.serve(requests_per_second=10, arrivals=Arrivals.STEADY, image=f"{REPOSITORY}:2")
    began = world.clock.now() - timedelta(hours=2)
    minutes = [
        service.counts(began + timedelta(minutes=n), began + timedelta(minutes=n + 1))["api-one"]
        for n in range(120)
    ]
    assert {requests for requests, _ in minutes} == {600}
    bad = [errors for _, errors in minutes]
    assert sum(bad) == pytest.approx(120 * 30, abs=5 * (120 * 30 * 0.95) ** 0.5)
    assert np.var(bad) == pytest.approx(600 * 0.05 * 0.95, rel=0.6)


async def test_the_same_minute_always_reads_the_same_and_another_seed_is_another_story(world: World) -> None:
    service = world.serve()
    now = world.clock.now()
    ten = [
        service.counts(now - timedelta(minutes=n + 1), now - timedelta(minutes=n))["api-one"]
        for n in range(10)
    ]
    assert service.counts(now - timedelta(minutes=10), now)["api-one"] == tuple(
        map(sum, zip(*ten, strict=True))
    )
    assert len(set(ten)) > 5
    other = Cloud(world.clock)
    other.images.push(f"{REPOSITORY}:1")
    for seed, same in ((0, True), (1, False)):
        name = f"p{seed}"
        twin = other.run.serve("api", name, image=f"{REPOSITORY}:1", revision="api-one", seed=seed)
        counts = twin.counts(now - timedelta(minutes=10), now)
        assert (counts == service.counts(now - timedelta(minutes=10), now)) is same


async def test_an_error_of_the_whole_service_hits_both_revisions(world: World) -> None:
    service = await world.canary(50, "1", requests_per_second=200)
    service.set(world.clock.now(), error_share=0.03)
    began = world.clock.now()
    world.wait(600)
    for requests, errors in service.counts(began, world.clock.now()).values():
        assert errors / requests == pytest.approx(0.031, abs=0.004)
    service.set(world.clock.now(), error_share=0, requests_per_second=0)
    began = world.clock.now()
    world.wait(600)
    assert service.counts(began, world.clock.now()) == {"api-one": (0, 0), "api-two": (0, 0)}


async def test_latencies_are_those_of_the_image_and_as_many_as_the_requests(world: World) -> None:
    world.cloud.images.push(f"{REPOSITORY}:slow", Behaviour(p95_ms=1500))
    await world.canary(50, "slow", requests_per_second=100)
    world.wait(12 * 60)
    name = "resource.labels.revision_name"
    found = await world.series("request_latencies", 12, name, cross_series_reducer="REDUCE_PERCENTILE_95")
    p95 = {one.resource.labels["revision_name"]: one.points[0].value.double_value for one in found}
    # Buckets grow by 1.4: that is how far off a percentile may be.
    assert 200 / 1.4 < p95["api-one"] < 200 * 1.4
    assert 1500 / 1.4 < p95["api-two"] < 1500 * 1.4
    merged = await world.series("request_latencies", 12, name)
    requests = await world.counts(12)
    for one in merged:
        revision = one.resource.labels["revision_name"]
        completed = sum(number for (of, _), number in requests.items() if of == revision)
        assert one.points[0].value.distribution_value.count == completed


@pytest.mark.parametrize(
    ("metric", "aligner"),
    [
        ("container/cpu/utilizations", "ALIGN_DELTA"),
        ("container/memory/utilizations", "ALIGN_DELTA"),
        ("container/instance_count", "ALIGN_MAX"),
        ("container/billable_instance_time", "ALIGN_DELTA"),
        ("pending_queue/pending_requests", "ALIGN_MAX"),
    ],
)
async def test_the_other_metrics_are_there_for_each_revision_that_serves(
    world: World, metric: str, aligner: str
) -> None:
    service = await world.canary(10)
    service.set(world.clock.now(), instances=20, pending=10)
    world.wait(600)
    found = await world.series(metric, 5, "resource.labels.revision_name", per_series_aligner=aligner)
    assert {one.resource.labels["revision_name"] for one in found} == {"api-one", "api-two"}
    if metric == "container/instance_count":
        assert [one.points[0].value.int64_value for one in found] == [18, 2]


async def test_a_service_that_was_created_here_is_measured_once_it_serves(world: World) -> None:
    asked = run_v2.Service(template={"containers": [{"image": f"{REPOSITORY}:1"}], "revision": "api-first"})
    await world.services.create_service(parent=PLACE, service_id="api", service=asked)
    world.wait(600)
    assert ("api-first", "2xx") in await world.counts(5)
    assert await world.counts(600) == await world.counts(11)


async def test_a_service_with_a_life_of_its_own_lives_on_split_by_its_traffic(world: World) -> None:
    habits = Living("api", START, 117)
    service = await world.canary(25, "1", habits=habits)
    began = world.clock.now()
    world.wait(7200)
    counts = {name: requests for name, (requests, _) in service.counts(began, world.clock.now()).items()}
    every = sum(counts.values())
    times = habits.minutes(int(began.timestamp()), int(world.clock.now().timestamp()))
    assert every == pytest.approx(float(habits.read(times, "requests_per_second").sum()) * 60, rel=0.02)
    assert counts["api-two"] / every == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("mean", [0.05, 3, 60, 6000])
def test_numbers_by_chance_have_the_distribution_that_they_should(mean: float) -> None:
    minutes = np.arange(20_000, dtype=np.int64)
    chances = chance.uniform(f"mean {mean}", minutes)
    drawn = chance.poisson(np.full(20_000, mean), chances)
    assert drawn.mean() == pytest.approx(mean, abs=5 * (mean / 20_000) ** 0.5)
    assert drawn.var() == pytest.approx(mean, rel=0.1)
    number = 10_000
    drawn = chance.binomial(np.full(20_000, number), np.full(20_000, mean / number), chances)
    variance = mean * (1 - mean / number)
    assert drawn.mean() == pytest.approx(mean, abs=5 * (variance / 20_000) ** 0.5)
    assert drawn.var() == pytest.approx(variance, rel=0.1)


def test_chance_knows_its_ends() -> None:
    chances = np.asarray([1e-12, 0.5, 1 - 1e-12])
    assert chance.binomial(np.full(3, 5.0), np.asarray([0.0, 1.0, 1.0]), chances).tolist() == [0, 5, 5]
    assert chance.binomial(np.full(3, 5.0), np.full(3, 0.5), chances).tolist() == [0, 2, 5]
    assert chance.poisson(np.zeros(3), chances).tolist() == [0, 0, 0]
    assert np.isnan(chance.poisson(np.full(3, np.nan), chances)).all()
    assert chance.uniform("a", np.arange(3)).tolist() != chance.uniform("b", np.arange(3)).tolist()
