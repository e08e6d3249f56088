"""The form of `/deploy`: a tag is picked from the registry, or an image is written out."""

from collections.abc import AsyncIterator

import pytest

from notify.slack import actions
from sandbox.cloud.faults import permission
from sandbox.cloud.images import Behaviour
from sandbox.stage import Stage
from tests.flows.test_deploys import GOOD, REPOSITORY, card, split, world_of


@pytest.fixture
async def stage(sqlite_only: str) -> AsyncIterator[Stage]:
    async with world_of(sqlite_only) as opened:
        await opened.type("mika", "#general", "/deploy")
        yield opened


async def offered(stage: Stage, typed: str = "") -> list[str]:
    view = stage.slack.open_views("mika")[-1]
    return await stage.slack.suggest("mika", view.id, actions.DEPLOY_TAG, typed)


async def test_a_tag_is_picked_and_deployed(stage: Stage) -> None:
    tags = await offered(stage)
    assert {tag.partition(" ")[0] for tag in tags} == {"v1", "v2", "broken"}
    (v2,) = await offered(stage, "V2")
    assert (await stage.submit("mika", {"service": "bondpoint-api", "tag": v2})).ok
    assert stage.slack.open_views("mika") == []
    await stage.advance(seconds=5)
    assert "v2" in card(stage).plain
    await stage.press("kenji", card(stage), "Approve Deploy")
    await stage.advance(minutes=30)
    assert list(split(stage).values()) == [100]
    assert "done, 100 %" in card(stage).plain


async def test_an_image_may_be_written_out_instead(stage: Stage) -> None:
    await stage.submit("mika", {"service": "bondpoint-api", "image": GOOD, "steps": "50,100", "bake": "2m"})
    await stage.advance(seconds=5)
    assert "v2" in card(stage).plain
    assert "50 %" in card(stage).plain


async def test_what_is_missing_or_said_twice_is_told_beside_the_field_and_stays(stage: Stage) -> None:
    silent = {"service": "bondpoint-api", "tag": "", "image": "", "steps": "", "bake": ""}

    async def told(**values: str) -> str:
        view = stage.slack.open_views("mika")[-1]
        delivery = await stage.slack.submit("mika", view.id, silent | values)
        return str(delivery.json())

    (v2,) = await offered(stage, "v2")
    assert "Pick a tag" in await told()
    assert "Leave one of them empty" in await told(tag=v2, image=f"{REPOSITORY}:v1")
    assert "rise" in await told(image=GOOD, steps="100,10")
    assert "belongs to other, not to bondpoint-api" in await told(tag=f"other {GOOD}", image="")
    assert stage.channel("#deploys") == []


async def test_a_registry_that_cannot_be_read_offers_nothing_and_recovers(stage: Stage) -> None:
    stage.cloud.faults.add(permission(), method="ListTags")
    assert await offered(stage) == []
    stage.cloud.images.push(f"{REPOSITORY}:v3", Behaviour())
    assert await offered(stage) == [], "remembered for a moment"
    await stage.advance(seconds=31)
    assert any(tag.startswith("v3") for tag in await offered(stage))


async def test_14_5_the_form_says_what_empty_fields_stand_for_and_that_one_image_is_needed(
    stage: Stage,
) -> None:
    """User 23."""
    (view,) = stage.slack.open_views("mika")
    hints = {block.get("block_id"): (block.get("hint") or {}).get("text", "") for block in view.doc["blocks"]}
    assert "10,100" in hints["steps"]
    assert "5m" in hints["bake"]
    assert "or write an image below" in hints["tag"]


async def test_14_5_a_short_tag_written_in_the_form_will_do(stage: Stage) -> None:
    await stage.submit("mika", {"service": "bondpoint-api", "image": "v2"})
    await stage.advance(seconds=5)
    assert "api:v2" in card(stage).plain


async def test_14_5_a_tag_that_there_is_not_is_told_beside_the_field(stage: Stage) -> None:
    view = stage.slack.open_views("mika")[-1]
    silent = {"service": "bondpoint-api", "tag": "", "image": "v22", "steps": "", "bake": ""}
    told = str((await stage.slack.submit("mika", view.id, silent)).json())
    assert "There is no tag" in told
    assert stage.channel("#deploys") == []
