"""13.5, 13.6: what fresh eyes found on approval cards: nothing serves that the card did not show."""

from collections.abc import Callable
from typing import Any

import pytest

from domain.deploys import Emergency
from domain.policy import Person, Service
from sandbox.cloud.images import Behaviour
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.flows.test_deploy_abuse import policy
from tests.flows.test_deploys import REGION, REPOSITORY, asked, card, split, world_of
from tests.flows.test_image_origin import ALLOWED, HOST, listed

BY = "yuko@bondpoint.example"
SPY = f"{HOST}/evil-project/app/spy:v1"
TWO = "waiting for 2 approvals"


async def edit(stage: Stage, template: Callable[[Any], None], *, serve: bool = False, **more: Any) -> str:
    """Somebody changes the service; ``serve``: and gives the new revision everything."""
    stage.cloud.run.edit("bondpoint-api", by=BY, template=template, **more)
    await stage.advance(minutes=1)
    new = stage.cloud.run.service("bondpoint-api").revisions[-1]
    if serve:
        stage.cloud.run.edit("bondpoint-api", by=BY, percent={new: 100})
        await stage.advance(minutes=1)
        assert split(stage) == {new: 100}
    return str(new)


async def rollback(stage: Stage, revision: str) -> Message:
    await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {revision}")
    await stage.advance(seconds=5)
    return card(stage)


def _secrets(template: Any) -> None:
    reference = {"secret_key_ref": {"secret": "db-password", "version": "1"}}
    for number in range(70):
        template.containers[0].env.add(name=f"A{number:03}", value_source=reference)


async def test_13_5_a_tag_beside_a_sidecars_digest_is_not_shown(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        good = stage.cloud.images.digest(f"{REPOSITORY}:v1")
        evil = stage.cloud.images.push(f"{REPOSITORY}:evil", Behaviour(error_share=0.2))
        sidecar = {"name": "spy", "image": f"{REPOSITORY}:v1@{good}"}
        await edit(stage, lambda it: it.containers.add(**sidecar), serve=True)
        await edit(stage, lambda it: setattr(it.containers[1], "image", f"{REPOSITORY}:v1@{evil}"))
        shown = (await asked(stage)).plain
        assert evil[7:19] in shown, "the digest that would run"


async def test_13_5_the_list_of_origins_holds_for_the_sidecars_of_a_rollback(sqlite_only: str) -> None:
    async with world_of(sqlite_only, listed(ALLOWED)) as stage:
        stage.cloud.images.push(SPY)
        new = await edit(stage, lambda it: it.containers.add(name="spy", image=SPY))
        await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {new}")
        await stage.advance(minutes=1)
        assert "evil-project" in stage.told("mika")[-1], "refused to its author"
        assert stage.channel("#deploys") == []


async def test_13_5_a_list_that_was_tightened_holds_for_sidecars_at_the_start(sqlite_only: str) -> None:
    async with world_of(sqlite_only, listed(ALLOWED, f"{HOST}/evil-project")) as stage:
        before = split(stage)
        stage.cloud.images.push(SPY)
        await edit(stage, lambda it: it.containers.add(name="spy", image=SPY))
        message = await asked(stage)
        assert "Approve Deploy" in message.plain
        await stage.stop()
        stage.policy = listed(ALLOWED)
        await stage.start()
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(seconds=30)
        await stage.press("aya", card(stage), "Approve Deploy")
        await stage.advance(minutes=3)
        assert split(stage) == before


async def test_13_6_seventy_secrets_hide_neither_another_project_nor_a_timeout(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy(), service={"secrets": {"ZKEY": "db-password@1"}}) as stage:

        def sneak(template: Any) -> None:
            key = template.containers[0].env[0].value_source.secret_key_ref
            key.secret = "projects/evil/secrets/other"
            template.timeout.seconds = 3600
            _secrets(template)

        await edit(stage, sneak)
        shown = (await asked(stage)).plain
        assert "evil/other" in shown
        assert "3600" in shown
        assert TWO in shown


async def test_13_6_another_secret_alone_needs_two(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy(), service={"secrets": {"KEY": "db-password@1"}}) as stage:

        def sneak(template: Any) -> None:
            template.containers[0].env[0].value_source.secret_key_ref.secret = "other-key"

        await edit(stage, sneak)
        assert TWO in (await asked(stage)).plain


async def test_13_6_two_mounts_of_one_path_hide_nothing(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:

        def sneak(template: Any, secret: str) -> None:
            del template.volumes[:]
            del template.containers[0].volume_mounts[:]
            for name, of, path in (("a", "ok", "x"), ("b", secret, "b/x")):
                template.volumes.add(
                    name=name, secret={"secret": of, "items": [{"path": path, "version": "1"}]}
                )
            template.containers[0].volume_mounts.add(name="b", mount_path="/keys")
            template.containers[0].volume_mounts.add(name="a", mount_path="/keys/b")

        await edit(stage, lambda it: sneak(it, "one"), serve=True)
        await edit(stage, lambda it: sneak(it, "evil"))
        assert "evil" in (await asked(stage)).plain


async def test_13_6_a_container_without_a_name_hides_behind_no_other(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        stage.cloud.images.push(SPY)
        image = f"{REPOSITORY}:v1"
        await edit(stage, lambda it: it.containers.add(name="container-2", image=image), serve=True)

        def sneak(template: Any) -> None:
            kept = type(template.containers[1])()
            kept.CopyFrom(template.containers[1])
            del template.containers[1]
            template.containers.add(image=SPY)
            template.containers.add().CopyFrom(kept)

        await edit(stage, sneak)
        assert "evil-project" in (await asked(stage)).plain


@pytest.mark.parametrize("where", ["template", "variable", "its source"])
async def test_6d_6e_a_setting_that_this_version_does_not_know_is_on_the_card_and_a_risk(
    sqlite_only: str, where: str
) -> None:
    async with world_of(sqlite_only, policy(), service={"secrets": {"KEY": "db-password@1"}}) as stage:
        assert TWO not in (await asked(stage)).plain
        await stage.type("mika", "#general", "/deploy abort bondpoint-api")
        await stage.advance(seconds=5)

        def sneak(template: Any) -> None:
            variable = template.containers[0].env[0]
            of = {"template": template, "variable": variable}.get(where, variable.value_source)
            of.MergeFromString(b"\xba\x3e\x03new")  # Number 999, a text.

        await edit(stage, sneak)
        shown = (await asked(stage)).plain
        assert "unknown" in shown
        assert TWO in shown


async def test_5d_a_sidecar_from_elsewhere_is_named_in_the_dialog(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        stage.cloud.images.push(SPY)
        await edit(stage, lambda it: it.containers.add(name="spy", image=SPY))
        asked_for = await asked(stage)
        buttons = [one for block in asked_for.blocks for one in block.get("elements", [])]
        (question,) = [one["confirm"]["text"]["text"] for one in buttons if "Approve" in str(one.get("text"))]
        assert "ELSEWHERE" in question
        assert "evil-project/app/spy" in question


async def test_5g_an_emergency_gives_everything_to_a_revision_that_never_served_only_with_two(
    sqlite_only: str,
) -> None:
    emergency = Emergency(people=("mika",), skips=("approval",))
    deploys = policy().deploys.model_copy(update={"emergency": emergency})
    async with world_of(sqlite_only, policy().model_copy(update={"deploys": deploys})) as stage:
        before = split(stage)
        new = await edit(stage, lambda it: setattr(it.timeout, "seconds", 77))
        await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {new} --emergency down")
        await stage.advance(minutes=3)
        assert split(stage) == before
        assert TWO in card(stage).plain


async def test_13_6_many_volumes_do_not_hide_a_connector(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:

        def sneak(template: Any) -> None:
            for number in range(45):
                template.volumes.add(name=f"a{number:02}").empty_dir.medium = 1
            template.vpc_access.connector = "projects/evil/locations/l/connectors/c"

        await edit(stage, sneak)
        assert "vpc_access.connector" in (await asked(stage)).plain


async def test_13_6_a_revision_of_another_project_has_not_served_for_its_name(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=30)
        stage.cloud.images.push(SPY)
        other = {"location": REGION, "image": f"{REPOSITORY}:v1", "requests_per_second": 10}
        stage.cloud.run.serve("bondpoint-api", "other-project", **other)
        deployed = stage.cloud.run.service("bondpoint-api", "other-project").deployed
        wanted = deployed.wanted()
        wanted.template.revision = old
        wanted.template.containers[0].image = SPY
        deployed.update(wanted, by=BY)
        await stage.advance(minutes=1)
        moved = Service(
            name="bondpoint-api",
            project="other-project",
            region=REGION,
            match={"service_name": "bondpoint-api"},
        )
        await stage.stop()
        stage.policy = policy().model_copy(update={"services": (moved,)})
        await stage.start()
        assert TWO in (await rollback(stage, old)).plain


async def test_13_1_who_is_renamed_in_the_policy_does_not_approve_their_own_deploy(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        before = split(stage)
        message = await asked(stage)
        made = policy()
        people = {name: person for name, person in made.people.items() if name != "mika"}
        people["mika-s"] = Person(name="mika-s", email="mika@bondpoint.example", locale="en")
        rule = made.deploys.default.model_copy(update={"approvers": ("kenji", "aya", "mika-s")})
        deploys = made.deploys.model_copy(update={"default": rule})
        stage.bot.policies.replace(made.model_copy(update={"people": people, "deploys": deploys}))
        await stage.advance(seconds=5)
        await stage.press("mika", message, "Approve Deploy")
        await stage.advance(minutes=2)
        assert split(stage) == before
