"""13.6: what somebody changed in a service without traffic is on the card and needs a second approver."""

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.cloud.images import Behaviour
from tests.flows.test_deploy_abuse import policy
from tests.flows.test_deploys import GOOD, REPOSITORY, asked, card, split, world_of

Edit = Callable[[Any], None]


def _sidecar(template: Any) -> None:
    template.containers.add(name="spy", image=f"{REPOSITORY}:v1")


def _volume(template: Any) -> None:
    template.volumes.add(name="share").nfs.server = "10.0.0.9"
    template.containers[0].volume_mounts.add(name="share", mount_path="/data")


def _secret_file(template: Any) -> None:
    template.volumes.add(name="keys").secret.secret = "other-key"
    template.containers[0].volume_mounts.add(name="keys", mount_path="/keys")


def _named_alike(template: Any) -> None:
    """The sidecar's variable KEY and the main container's variable spy:KEY."""
    _sidecar(template)
    template.containers[1].env.add(name="KEY", value="1")
    template.containers[0].env.add(name="spy:KEY", value="2")


def _called_labels(template: Any) -> None:
    """A container whose settings look like labels, beside so many labels that they are counted only."""
    template.containers.add(name="labels", image=f"{REPOSITORY}:v1", command=["/bin/evil"])
    template.labels.update({f"a{number:02}": "x" for number in range(60)})


EDITS: dict[str, tuple[Edit, str]] = {
    "command": (lambda it: it.containers[0].command.append("/bin/evil"), "command"),
    "args": (lambda it: it.containers[0].args.append("--open"), "args"),
    "working directory": (lambda it: setattr(it.containers[0], "working_dir", "/x"), "working_dir"),
    "sidecar": (_sidecar, "spy"),
    "connector": (
        lambda it: setattr(it.vpc_access, "connector", "projects/p/locations/l/connectors/c"),
        "vpc_access.connector",
    ),
    "egress": (lambda it: setattr(it.vpc_access, "egress", 1), "vpc_access.egress"),
    "volume": (_volume, "volume share"),
    "secret file": (_secret_file, "/keys/other-key"),
    "startup probe": (
        lambda it: setattr(it.containers[0].startup_probe, "period_seconds", 9),
        "startup_probe",
    ),
    "liveness probe": (
        lambda it: setattr(it.containers[0].liveness_probe.http_get, "path", "/x"),
        "liveness_probe",
    ),
    "port": (lambda it: setattr(it.containers[0].ports[0], "container_port", 9090), "ports"),
    "cpu only with requests": (lambda it: setattr(it.containers[0].resources, "cpu_idle", True), "resources"),
    "gpu": (lambda it: it.containers[0].resources.limits.update({"nvidia.com/gpu": "1"}), "resources"),
    "annotation": (lambda it: it.annotations.update({"team": "evil"}), "annotations[team]"),
    "label": (lambda it: it.labels.update({"team": "evil"}), "labels[team]"),
    "execution environment": (lambda it: setattr(it, "execution_environment", 2), "execution_environment"),
    "encryption key": (lambda it: setattr(it, "encryption_key", "projects/p/k"), "encryption_key"),
    "health checks off": (lambda it: setattr(it, "health_check_disabled", True), "health_check_disabled"),
    "mesh": (lambda it: setattr(it.service_mesh, "mesh", "projects/p/m"), "service_mesh.mesh"),
    "variable named like a sidecar's": (_named_alike, "spy::KEY"),
    "setting of a container called labels": (_called_labels, "labels: command"),
    "service account": (lambda it: setattr(it, "service_account", "root@p.iam"), "root@p.iam"),
}


@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_without_traffic_is_shown_and_needs_two_13_6(sqlite_only: str, name: str) -> None:
    edit, says = EDITS[name]
    async with world_of(sqlite_only, policy()) as stage:
        before = split(stage)
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=edit)
        await stage.advance(minutes=1)
        assert split(stage) == before, "no traffic"
        shown = (await asked(stage)).plain
        assert says in shown
        assert "waiting for 2 approvals" in shown
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        assert split(stage) == before, "one is not enough"


def _swapped(template: Any) -> None:
    first, second = [(one.name, one.value) for one in template.containers[0].env]
    del template.containers[0].env[:]
    for name, value in (second, first):
        template.containers[0].env.add(name=name, value=value)


async def test_another_order_of_variables_is_shown_13_6(sqlite_only: str) -> None:
    """A variable may refer to those before it; after it they are words."""
    service = {"env": {"A": "1", "B": "of $(A)"}}
    async with world_of(sqlite_only, policy(), service=service) as stage:
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=_swapped)
        await stage.advance(minutes=1)
        shown = (await asked(stage)).plain
        assert "order of variables" in shown
        assert "waiting for 2 approvals" in shown


async def test_another_name_of_the_container_is_shown_and_a_first_one_is_not_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        for name in ("app", "other"):
            stage.cloud.run.edit(
                "bondpoint-api",
                by="yuko@bondpoint.example",
                template=lambda it, name=name: setattr(it.containers[0], "name", name),
            )
            await stage.advance(minutes=1)
            if name == "app":
                new = stage.cloud.run.service("bondpoint-api").revisions[-1]
                stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", percent={new: 100})
                await stage.advance(minutes=1)
        shown = (await asked(stage)).plain
        assert "container name" in shown
        assert "waiting for 2 approvals" in shown


async def test_a_hundred_variables_are_all_there_by_name_13_6(sqlite_only: str) -> None:
    """Forty secrets and forty variables: nobody approves what the card leaves out."""
    async with world_of(sqlite_only, policy()) as stage:
        variables = {f"VARIABLE_{number:03}": "x" for number in range(40)}
        secrets = [f"SECRET_{number:03}" for number in range(40)]

        def edit(template: Any) -> None:
            for name in secrets:
                reference = {"secret_key_ref": {"secret": "db-password", "version": "1"}}
                template.containers[0].env.add(name=name, value_source=reference)

        by = "yuko@bondpoint.example"
        stage.cloud.run.edit("bondpoint-api", by=by, env=variables, template=edit)
        await stage.advance(minutes=1)
        shown = (await asked(stage)).plain
        assert [name for name in (*variables, *secrets) if name not in shown] == []


async def test_nothing_but_the_image_needs_one_13_6(sqlite_only: str) -> None:
    async with world_of(
        sqlite_only, policy(), service={"env": {"A": "1"}, "annotations": {"x": "y"}}
    ) as stage:
        shown = (await asked(stage)).plain
        assert "Other settings" not in shown
        assert "waiting for 1 approval" in shown


async def test_a_sidecar_by_tag_that_did_not_move_is_no_change_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=_sidecar)
        await stage.advance(minutes=1)
        new = stage.cloud.run.service("bondpoint-api").revisions[-1]
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", percent={new: 100})
        await stage.advance(minutes=1)
        shown = (await asked(stage)).plain
        assert "spy" not in shown
        assert "waiting for 1 approval" in shown


async def test_a_sidecar_whose_tag_moved_is_shown_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=_sidecar)
        await stage.advance(minutes=1)
        new = stage.cloud.run.service("bondpoint-api").revisions[-1]
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", percent={new: 100})
        await stage.advance(minutes=1)
        stage.cloud.images.push(f"{REPOSITORY}:v1", Behaviour(error_share=0.2))
        shown = (await asked(stage)).plain
        assert "spy" in shown
        assert "waiting for 2 approvals" in shown


async def test_a_sidecars_tag_that_moves_after_the_plan_gets_no_traffic_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        stage.cloud.images.push(f"{REPOSITORY}:spy")
        stage.cloud.run.edit(
            "bondpoint-api",
            by="yuko@bondpoint.example",
            template=lambda it: it.containers.add(name="spy", image=f"{REPOSITORY}:spy"),
        )
        await stage.advance(minutes=1)
        new = stage.cloud.run.service("bondpoint-api").revisions[-1]
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", percent={new: 100})
        await stage.advance(minutes=1)
        message = await asked(stage)
        assert "waiting for 1 approval" in message.plain
        stage.cloud.images.push(f"{REPOSITORY}:spy", Behaviour(error_share=0.2))
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=5)
        assert split(stage) == {new: 100}


async def test_a_rollback_to_a_revision_that_never_served_shows_what_differs_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        before = split(stage)
        edit, says = EDITS["command"]
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=edit)
        await stage.advance(minutes=1)
        new = stage.cloud.run.service("bondpoint-api").revisions[-1]
        await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {new}")
        await stage.advance(seconds=5)
        assert says in card(stage).plain
        assert "waiting for 2 approvals" in card(stage).plain
        await stage.press("kenji", card(stage), "Approve Rollback")
        await stage.advance(minutes=2)
        assert split(stage) == before


async def test_forty_variables_do_not_hide_another_setting_13_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        edit, says = EDITS["command"]
        variables = {f"A{number:03}": "x" for number in range(120)}
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=edit, env=variables)
        await stage.advance(minutes=1)
        assert says in (await asked(stage)).plain


@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_after_the_plan_voids_the_approval_13_6(sqlite_only: str, name: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        before = split(stage)
        message = await asked(stage, GOOD)
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", template=EDITS[name][0])
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=3)
        assert split(stage) == before
        assert "void" in card(stage).plain
        assert stage.cloud.journal.count("UpdateService") == 1, "the dry run"
