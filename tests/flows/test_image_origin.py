"""13.5: whose image it is, is on the card and in the dialog; a tag is shown only while it is that image."""

import pytest

from domain.deploys import Emergency
from domain.policy import Policy
from sandbox.cloud.images import Behaviour
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.flows.test_deploy_abuse import policy
from tests.flows.test_deploys import GOOD, PROJECT, REGION, REPOSITORY, asked, card, split, world_of

HOST = f"{REGION}-docker.pkg.dev"
ELSEWHERE = {
    "another project": f"{HOST}/evil-project/app/api",
    "another repository": f"{HOST}/{PROJECT}/other/api",
    "another image": f"{HOST}/{PROJECT}/app/apl",
    "another region": f"us-central1-docker.pkg.dev/{PROJECT}/app/api",
    "a longer path": f"{HOST}/{PROJECT}/app/api/api",
    "a far difference": f"{HOST}/{PROJECT}/app/{'x' * 150}/api",
}


def dialog(stage: Stage, message: Message) -> str:
    """What the approver is asked before the click counts."""
    for block in message.blocks:
        for element in block.get("elements", []):
            if element.get("action_id") == "rollout_approve" or "approve" in str(element.get("action_id")):
                return str(element["confirm"]["text"]["text"])
    raise AssertionError("no button asks for an approval")


def listed(*images: str, **changes: object) -> Policy:
    return policy(images=images, **changes)


@pytest.mark.parametrize("name", ELSEWHERE)
async def test_an_image_from_elsewhere_is_named_in_full_and_takes_two_13_5(
    sqlite_only: str, name: str
) -> None:
    image = ELSEWHERE[name]
    host, project, repository = image.split("/", 2)
    async with world_of(sqlite_only, policy(risky_approvals=1)) as stage:
        before = split(stage)
        stage.cloud.images.push(f"{image}:v2", Behaviour(error_share=0.001))
        message = await asked(stage, f"{image}:v2")
        assert "waiting for 2 approvals" in message.plain
        for part in (host, project, repository):
            assert part in message.plain, part
        question = dialog(stage, message)
        assert "ELSEWHERE" in question
        assert host in question
        assert project in question
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=1)
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(minutes=1)
        assert split(stage) == before, "one person is not two"
        await stage.press("aya", card(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        assert sorted(split(stage).values()) == [10, 90]


async def test_an_image_from_the_same_place_takes_one_and_is_shown_in_short_13_5(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        message = await asked(stage)
        assert "waiting for 1 approval" in message.plain
        assert "api:v2" in message.plain
        assert "ELSEWHERE" not in dialog(stage, message)


async def test_an_emergency_alone_brings_no_image_from_elsewhere_13_5(sqlite_only: str) -> None:
    made = policy()
    loud = Emergency(people=("mika",), skips=("approval", "freeze"))  # type: ignore[arg-type]
    made = made.model_copy(update={"deploys": made.deploys.model_copy(update={"emergency": loud})})
    async with world_of(sqlite_only, made) as stage:
        before = split(stage)
        image = ELSEWHERE["another project"]
        stage.cloud.images.push(f"{image}:v2")
        await asked(stage, f"{image}:v2", "--emergency now")
        await stage.advance(minutes=2)
        assert split(stage) == before
        assert "waiting for 2 approvals" in card(stage).plain


async def test_a_tag_beside_a_digest_is_shown_only_where_it_is_true_13_5(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        evil = stage.cloud.images.push(f"{REPOSITORY}:evil", Behaviour(error_share=0.5))
        good = stage.cloud.images.digest(GOOD)
        message = await asked(stage, f"{GOOD}@{evil}")
        assert "v2" not in message.plain
        assert "could not be verified" in message.plain
        assert evil[7:19] in message.plain
        assert "v2" not in dialog(stage, message)
        await stage.type("mika", "#general", "/deploy abort")
        await stage.advance(seconds=5)
        message = await asked(stage, f"{GOOD}@{good}")
        assert "api:v2" in message.plain


async def test_a_tag_that_moves_while_it_waits_is_shown_by_its_digest_and_told_13_5(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        planned = stage.cloud.images.digest(GOOD)
        assert planned is not None
        assert "api:v2" in (await asked(stage)).plain
        stage.cloud.images.push(GOOD, Behaviour(error_share=0.4))
        await stage.advance(minutes=2)
        message = card(stage)
        assert "api:v2" not in message.plain
        assert "has moved" in message.plain
        assert planned[7:19] in message.plain
        assert "v2" not in dialog(stage, message)
        assert any("v2" in reply.plain and "another image" in reply.plain for reply in stage.thread(message))
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=2)
        new = next(name for name, percent in split(stage).items() if percent == 10)
        assert planned[7:14] in new, "what was approved"


async def test_a_tag_that_moves_right_before_the_approval_is_found_at_the_approval_13_5(
    database_url: str,
) -> None:
    async with world_of(database_url, policy()) as stage:
        planned = stage.cloud.images.digest(GOOD)
        assert planned is not None
        message = await asked(stage)
        stage.cloud.images.push(GOOD, Behaviour(error_share=0.4))
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=2)
        assert "api:v2" not in card(stage).plain
        assert planned[7:19] in card(stage).plain
        assert any("another image" in reply.plain for reply in stage.thread(card(stage)))


ALLOWED = f"{HOST}/{PROJECT}/app"
REFUSED = (
    ELSEWHERE["another project"],
    ELSEWHERE["another repository"],
    f"{HOST}/{PROJECT}/application/api",
    f"{HOST}/{PROJECT}-evil/app/api",
    f"{HOST}.evil.example/{PROJECT}/app/api",
    f"{HOST}:443/{PROJECT}/app/api",
    f"evil.example/{HOST}/{PROJECT}/app/api",
)
TRICKS = (
    f"{HOST}@evil.example/{PROJECT}/app/api:v2",
    f"user:pw@{HOST}/{PROJECT}/app/api:v2",
    f"{HOST}/{PROJECT}/app/\u0430pi:v2",
    f"\uff47cr.io/{PROJECT}/app/api:v2",
    f"{HOST}/{PROJECT}/app/../../evil/app/api:v2",
    f"{HOST}/{PROJECT}/app/%2e%2e/api:v2",
    f"{HOST}/{PROJECT}/app/API:v2",
    f"https://{HOST}/{PROJECT}/app/api:v2",
    f"{HOST}//{PROJECT}/app/api:v2",
    f"{HOST}/{PROJECT}/app/api:v2@sha256:{'A' * 64}",
)


@pytest.mark.parametrize("image", REFUSED)
async def test_an_image_that_the_policy_does_not_list_is_refused_with_the_way_out_13_5(
    sqlite_only: str, image: str
) -> None:
    async with world_of(sqlite_only, listed(ALLOWED)) as stage:
        digest = stage.cloud.images.push(f"{image}:v2")
        await asked(stage, f"{image}@{digest}")
        assert "deploys.images" in card(stage).plain
        assert ALLOWED in card(stage).plain
        assert "Approve Deploy" not in card(stage).plain
        assert stage.cloud.journal.count("UpdateService") == 0


@pytest.mark.parametrize("image", TRICKS, ids=range(len(TRICKS)))
async def test_a_name_that_looks_like_another_is_no_name_13_5(sqlite_only: str, image: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        await stage.type("mika", "#general", f"/deploy bondpoint-api {image}")
        await stage.advance(seconds=5)
        assert not any("Approve Deploy" in one.plain for one in stage.channel("#deploys"))
        assert stage.told("mika") or stage.channel("#deploys"), "it is said why"
        assert stage.cloud.journal.count("UpdateService") == 0


async def test_a_listed_image_is_deployed_and_the_list_of_the_moment_of_the_start_counts_13_5(
    sqlite_only: str,
) -> None:
    async with world_of(sqlite_only, listed(ALLOWED)) as stage:
        before = split(stage)
        message = await asked(stage)
        assert "Approve Deploy" in message.plain
        await stage.stop()
        stage.policy = listed(f"{HOST}/another-project")
        await stage.start()
        await stage.press("kenji", message, "Approve Deploy")
        await stage.advance(minutes=2)
        assert split(stage) == before
        assert "void" in card(stage).plain
