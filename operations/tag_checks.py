"""Looks up again what a tag on a card means: it is shown only while it is the image to be deployed."""

from datetime import timedelta

from domain.effects import Text
from domain.errors import Outage
from domain.images import ImageProblem, Reference
from domain.plans import Warn
from domain.rollouts import Rollout
from operations.world import World

AGAIN = timedelta(minutes=1)
"""So often a tag on a card that waits for approval is looked up anew."""


async def meaning(world: World, reference: Reference) -> str | None:
    """What a reference's tag points to now; ``None`` where there is no such tag, or no telling."""
    asked = Reference(host=reference.host, repository=reference.repository, tag=reference.tag)
    try:
        return await world.images.digest(asked)
    except (ImageProblem, Outage):
        return None


async def checked(world: World, rollout: Rollout, *, for_good: bool) -> tuple[Rollout, tuple[Text, ...]]:
    """The rollout, whose card no longer shows a tag that is not its image; and what is said about that.

    ``for_good``: at the approval what cannot be looked up is shown no longer either; before it, it is asked
    again.
    """
    plan = rollout.plan
    if plan is None or plan.named is None or plan.digest is None:
        return rollout, ()
    reference = Reference.parse(plan.image).model_copy(update={"tag": plan.named, "digest": None})
    try:
        means: str | None = await world.images.digest(reference)
    except ImageProblem:
        means = None
    except Outage:
        if not for_good:
            return rollout, ()
        unknown = plan.without_tag(Warn.TAG_NOT_VERIFIED)
        return rollout.model_copy(update={"plan": unknown}), ()
    if means == plan.digest:
        return rollout, ()
    params = {"tag": plan.named, "digest": plan.digest.removeprefix("sha256:")[:12]}
    moved = rollout.model_copy(update={"plan": plan.without_tag(Warn.TAG_MOVED)})
    return moved, (Text(key="rollout.note_tag_moved", params=params),)
