"""Makes the plan of a deploy: what would change, how risky that is, whether it can be judged."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from domain import cloudrun, plans
from domain.cloudrun import RevisionSeen, RunRefused, RunTrouble, ServiceSeen, Template
from domain.deploys import DeployRule
from domain.effects import Text
from domain.errors import Outage, Refused
from domain.feasibility import Reach, feasible
from domain.images import BadReference, ImageProblem, Reference
from domain.origins import is_allowed
from domain.plans import Plan, Warn
from domain.rollouts import Kind, Rollout, Stage
from operations import canaries, tag_checks
from operations.world import World

PAST = 200
"""Deploys of a service among which it is looked for whether a revision has served."""

RECENT = 20
"""Revisions among which the one before is looked for."""

WITHIN = 2.0
"""Seconds: a command has to be answered within Slack's three."""


class CannotPlan(Exception):
    """There is no plan, and why: a text for the person who asked."""

    def __init__(self, key: str, **params: Any) -> None:
        super().__init__(key)
        self.text = Text(key=key, params=params)


@dataclass(frozen=True)
class Planned:
    """A plan, and what is kept beside it in the rollout."""

    plan: Plan
    more: dict[str, Any] = field(default_factory=dict)


async def plan(world: World, rollout: Rollout) -> Planned:
    """What would be done now. Raises ``CannotPlan``, and ``Outage`` where it cannot be known."""
    salt = secrets.token_hex(16)
    try:
        seen = await world.run.service(rollout.target, salt)
        if seen is None:
            raise CannotPlan("rollout.no_service", service=rollout.service)
        base = cloudrun.baseline(seen)
        if base is None:
            serving = cloudrun.split(seen.serving, seen.latest_ready)
            shown = ", ".join(f"{name} {percent} %" for name, percent in sorted(serving.items()))
            raise CannotPlan("rollout.no_baseline", service=rollout.service, serving=shown or "—")
        if not seen.is_settled:
            raise Outage("an update of the service is on its way")
        before = await world.run.revision(rollout.target, base, salt)
        if (
            before is None or before.template is None
        ):  # Without it nothing can be compared, and all would be unseen.
            raise CannotPlan("rollout.no_revision", service=rollout.service, revision=base)
        if rollout.kind is Kind.ROLLBACK:
            return await _rollback(world, rollout, seen, before, salt)
        return await _deploy(world, rollout, seen, before, salt)
    except RunRefused as refused:
        key = "rollout.denied" if refused.trouble is RunTrouble.DENIED else "rollout.not_possible"
        raise CannotPlan(key, detail=refused.detail[:300]) from refused


async def demand(world: World, rollout: Rollout) -> None:
    """Refuse what has no plan to whoever asks, before anything is posted.

    What cannot be told within ``WITHIN`` seconds passes, and is answered on the card.
    """
    try:
        await asyncio.wait_for(plan(world, rollout), WITHIN)
    except CannotPlan as cannot:
        raise Refused(cannot.text.key, **cannot.text.params) from cannot
    except (Outage, TimeoutError):
        return


async def _deploy(
    world: World, rollout: Rollout, seen: ServiceSeen, before: RevisionSeen, salt: str
) -> Planned:
    base = before.name
    reference, digest, tag_warning = await _pinned(world, rollout.image, before.image)
    rule = world.policy.deploys.rule(rollout.service)
    _allow(reference, rule)
    pinned = str(reference.pinned(digest))
    at = world.clock.now()
    name = plans.revision_name(rollout.service, rollout.id or 0, digest.removeprefix("sha256:")[:7])
    tag = plans.tag_name(rollout.service, rollout.id or 0)
    ours = {tag: name} if tag is not None else {}
    rows = cloudrun.rows_for({base: 100}, ours, plans.foreign(seen.rows), seen.latest_ready)
    would = await world.run.preview(rollout.target, pinned, name, rows, salt)
    was = before.template or seen.template
    sidecars, is_verified = await _sidecars(world, was, would.template, rule)
    will = would.template.model_copy(update={"sidecars": sidecars})
    changes = tuple(plans.compare(was, will))
    if before.digest == digest and all(change.field is plans.Field.IMAGE for change in changes):
        raise CannotPlan("rollout.same_image", service=rollout.service, revision=base)
    counted, rate = await canaries.last_hour(world, rollout.target, base)
    feasibility = feasible(rate, rollout.course.steps[0], rollout.course.bake, rule.minimum)
    warnings = list(plans.warnings(seen, moves_tag=tag_warning is None and reference.digest is None))
    if tag_warning is not None or not is_verified:
        warnings.append(Warn.TAG_NOT_VERIFIED)
    if tag is None:
        warnings.append(Warn.NO_TAG)
    if rate == 0:
        warnings.append(Warn.NO_TRAFFIC)
    elif rollout.course.steps[0] < 100 and feasibility.reach is not Reach.BAKE:
        warnings.append(Warn.FEW_REQUESTS)
    if counted.requests and counted.errors > rule.threshold * counted.requests:
        warnings.append(Warn.STABLE_IS_SICK)
    made = Plan(
        image=pinned,
        digest=digest,
        revision=name,
        tag=tag,
        baseline=base,
        rows=seen.serving,
        on_latest=Warn.WAS_ON_LATEST in warnings,
        etag=seen.etag,
        generation=seen.generation,
        changes=changes,
        risks=plans.risks(was, will),
        warnings=tuple(warnings),
        uri=seen.uri,
        salt=salt,
        template=seen.template.digest,
        named=reference.tag if tag_warning is None else None,
        sidecars=will.sidecars,
    )
    more = {"feasibility": feasibility, "before": counted, "digest": digest, "since": at}
    return Planned(made, more)


def _allow(reference: Reference, rule: DeployRule) -> None:
    if not is_allowed(reference, rule.images):
        allowed = ", ".join(rule.images)
        raise CannotPlan("rollout.image_not_allowed", image=str(reference)[:200], allowed=allowed)


async def _pinned(world: World, image: str, serving: str) -> tuple[Reference, str, Warn | None]:
    """The image's reference, its digest, and why its tag is not to be shown.

    A tag alone is one of the image that serves. By digest there is nothing to look up, but for a tag beside
    it: people read it, so it has to be true.
    """
    warning = None
    try:
        reference = Reference.read(image, serving or None)
        digest = reference.digest or await world.images.digest(reference)
        if reference.digest is not None and reference.tag is not None:
            means = await tag_checks.meaning(world, reference)
            warning = None if means == reference.digest else Warn.TAG_NOT_VERIFIED
    except BadReference as bad:
        raise CannotPlan("rollout.bad_image", image=image[:200], why=str(bad)) from bad
    except ImageProblem as problem:
        raise CannotPlan(f"rollout.image_{problem.kind.value}", image=image[:200]) from problem
    return reference, digest, warning


async def _sidecars(
    world: World, was: Template, will: Template, rule: DeployRule
) -> tuple[dict[str, str], bool]:
    """The sidecars' images by digest where a tag can be looked up, as the serving revision names them.

    What cannot be looked up stays as it is written, and so is shown as a change; then the second value is
    False. The list of origins holds for those that change, too.
    """
    found = dict(will.sidecars)
    is_verified = True
    for name, image in will.sidecars.items():
        if image == was.sidecars.get(name):
            continue
        _allow_revision(image, rule)
        if "@" in image:
            continue
        try:
            reference = Reference.parse(image)
            found[name] = str(reference.pinned(await world.images.digest(reference)))
        except (BadReference, ImageProblem):
            is_verified = False
    return found, is_verified


async def _rollback(
    world: World, rollout: Rollout, seen: ServiceSeen, before: RevisionSeen, salt: str
) -> Planned:
    """Traffic back to a revision that there is. Nothing is created, but it may never have served."""
    base = before.name
    wanted = rollout.to_revision or await _one_before(world, rollout, base)
    if wanted == base:
        raise CannotPlan("rollout.serves_already", service=rollout.service, revision=base)
    revision = await world.run.revision(rollout.target, wanted, salt)
    if revision is None or revision.template is None:
        raise CannotPlan("rollout.no_revision", service=rollout.service, revision=wanted)
    if revision.ready is not True:
        why = revision.problem or "not ready"
        raise CannotPlan("rollout.revision_not_ready", revision=wanted, why=why[:200])
    warnings = plans.warnings(seen, moves_tag=False)
    was = before.template or seen.template
    changes = plans.compare(was, revision.template)
    known = await _has_served(world, rollout, wanted)
    if not known:
        for image in (revision.image, *revision.template.sidecars.values()):
            _allow_revision(image, world.policy.deploys.rule(rollout.service))
    made = Plan(
        image=revision.image,
        digest=revision.digest,
        revision=wanted,
        tag=None,
        baseline=base,
        rows=seen.serving,
        on_latest=Warn.WAS_ON_LATEST in warnings,
        etag=seen.etag,
        generation=seen.generation,
        changes=changes,
        risks=() if known else (plans.Risk.NEVER_SERVED, *plans.risks(was, revision.template)),
        warnings=warnings,
        uri=seen.uri,
        salt=salt,
        template=seen.template.digest,
        sidecars=revision.template.sidecars,
    )
    return Planned(made, {"digest": revision.digest})


def _allow_revision(image: str, rule: DeployRule) -> None:
    """The same of a revision that was not made by us; without a list any name will do."""
    if not rule.images:
        return
    try:
        reference = Reference.parse(image)
    except BadReference as bad:
        raise CannotPlan("rollout.bad_image", image=image[:200], why=str(bad)) from bad
    _allow(reference, rule)


async def _has_served(world: World, rollout: Rollout, revision: str) -> bool:
    """Whether users met this revision by our own record: what it does is known then."""
    async with world.store.read() as tx:
        past = await tx.rollouts_of(rollout.service, PAST)
    return any(
        one.plan is not None
        and (one.plan.baseline == revision or (one.plan.revision == revision and one.stage is Stage.DONE))
        for one in past
        # A service that moved has other revisions, some of them of the same names.
        if one.id != rollout.id and one.shifted_at is not None and one.target == rollout.target
    )


async def _one_before(world: World, rollout: Rollout, base: str) -> str:
    """The revision before the present one by our own record, else the newest other that is ready."""
    async with world.store.read() as tx:
        past = await tx.rollouts_of(rollout.service, RECENT)
    for one in past:
        if one.plan is not None and one.plan.revision == base and one.shifted_at is not None:
            return one.plan.baseline
    for revision in await world.run.revisions(rollout.target, RECENT):
        if revision.name != base and revision.ready is True:
            return revision.name
    raise CannotPlan("rollout.no_revision_before", service=rollout.service)
