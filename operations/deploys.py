"""What people do about deploys: ask for one, approve it, stop it, lock a service."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from domain import approvals, freezes
from domain import rollouts as rules
from domain.approvals import Account
from domain.cloudrun import REVISION_LIMIT, Target, is_revision
from domain.deploys import DeployRule, Skip
from domain.effects import TOBAN, By, Effect, Event, Note, Refresh, Text
from domain.errors import Refused
from domain.policy import Person, Policy, Service, named_service
from domain.ports import Tx
from domain.rolling import Decision
from domain.rollouts import REASON_LIMIT, Course, Kind, Lock, Rollout, Stage
from domain.rules import Kind as ServiceKind
from domain.text import has_name
from operations import counters
from operations.places import DEPLOYS, personal_note, rollout_card, rollout_note
from operations.rollouts import (
    asks_no_longer,
    consequences,
    held_by_incident,
    may_go_back_alone,
    rollout_params,
)
from operations.world import World

IMAGE_LIMIT = 512
"""Characters of an image's name."""


def deployable(policy: Policy) -> list[Service]:
    """The services that can be deployed: those on Cloud Run of which project and region are known."""
    return [
        service
        for service in policy.services
        if service.kind is ServiceKind.CLOUD_RUN and service.project and service.region
    ]


def service_named(policy: Policy, named: str) -> Service:
    """The service that somebody typed. Refused with the names that there are, or why this one is none."""
    found = deployable(policy)
    known = {service.name.casefold(): service for service in policy.services}.get(named.casefold())
    if known is not None and named.casefold() not in {service.name.casefold() for service in found}:
        is_database = known.kind is ServiceKind.CLOUD_SQL
        raise Refused("refused.cloud_sql" if is_database else "refused.no_target", service=known.name)
    return named_service(found, named)


def target_of(service: Service) -> Target:
    """Where Google has it."""
    assert service.project is not None
    assert service.region is not None
    return Target(
        project=service.project,
        region=service.region,
        service=service.match.get("service_name", service.name),
    )


def course_of(rule: DeployRule, steps: tuple[int, ...] | None, bake: int | None) -> Course:
    """The course asked for, else the policy's. ``bake`` in seconds."""
    return Course(
        steps=steps or rule.steps,
        bake=timedelta(seconds=bake) if bake is not None else rule.bake,
        watch=rule.watch,
    )


def imagined(
    policy: Policy,
    service: Service,
    image: str,
    steps: tuple[int, ...] | None,
    bake: timedelta | None,
    at: datetime,
    *,
    kind: Kind = Kind.DEPLOY,
    to_revision: str | None = None,
) -> Rollout:
    """A rollout that is not stored, to see what its plan would be."""
    seconds = int(bake.total_seconds()) if bake is not None else None
    return Rollout(
        kind=kind,
        service=service.name,
        target=target_of(service),
        image=image,
        to_revision=to_revision,
        requested_by=TOBAN,
        requester="",
        requested_at=at,
        course=course_of(policy.deploys.rule(service.name), steps, seconds),
        since=at,
    )


def frozen_now(policy: Policy, at: datetime) -> dict[str, str]:
    """The freeze that holds for each service now, by the service's name."""
    found = {
        service.name: freezes.freeze(policy.deploys, policy.rules, service.name, at)
        for service in deployable(policy)
    }
    return {name: freeze.name for name, freeze in found.items() if freeze is not None}


def demand_revision(given: str) -> None:
    """Refuse what cannot be the name of a revision."""
    if not is_revision(given):
        raise Refused("refused.bad_revision", given=given[:80] or "—", limit=REVISION_LIMIT)


async def request(
    tx: Tx,
    world: World,
    service: Service,
    account: Account,
    by: By,
    at: datetime,
    *,
    kind: Kind,
    image: str = "",
    to_revision: str | None = None,
    course: Course | None = None,
    emergency: str | None = None,
) -> Text:
    """Ask for a deploy or a rollback. It is planned next, or queued behind another.

    ``kind`` is what the person asked for. An image that is missing makes no rollback of a deploy: refused.
    """
    policy = world.policy
    person = approvals.person_behind(policy.people, account)
    rule = policy.deploys.rule(service.name)
    if not rule.approvers:
        raise Refused("refused.deploys_off", service=service.name)
    if kind is Kind.DEPLOY and not has_name(image):
        raise Refused("refused.deploy_usage", given=image[:100] or "—")
    if len(image) > IMAGE_LIMIT:
        raise Refused("refused.long_image", limit=IMAGE_LIMIT)
    if to_revision is not None:
        demand_revision(to_revision)
    if emergency is not None:
        _may_in_emergency(policy, person, emergency)
    skips = policy.deploys.emergency.skips if emergency is not None else ()
    if kind is Kind.DEPLOY:
        await _is_open(tx, world, service.name, skips, at)
    steps = course or course_of(rule, None, None)
    if kind is Kind.ROLLBACK:
        steps = steps.model_copy(update={"steps": (100,)})
    live = await tx.live_rollout(service.name)
    if (
        live is not None
        and emergency is not None
        and live.emergency is None
        and (live.stage is Stage.REQUESTED or (live.stage is Stage.APPROVED and live.held_by is not None))
    ):
        await _make_way(tx, world, live, at)
        live = None
    stage = Stage.PLANNING if live is None else Stage.QUEUED
    rollout = await tx.add_rollout(
        Rollout(
            kind=kind,
            service=service.name,
            target=target_of(service),
            image=image,
            to_revision=to_revision,
            requested_by=by,
            requester=person.name,
            requested_at=at,
            emergency=emergency,
            course=steps,
            stage=stage,
            since=at,
            due_at=at if stage is Stage.PLANNING else None,
        )
    )
    data = {"image": image, "emergency": emergency}
    await tx.tell([Event(subject=rollout.subject, what="deploy.requested", at=at, by=by, data=data)])
    effects: list[Effect] = [rollout_card(rollout)]
    if emergency is not None:
        alone = Skip.APPROVAL in skips or (kind is Kind.ROLLBACK and may_go_back_alone(rule, person))
        loud = _emergency(by, emergency, skips, alone=alone)
        effects.append(rollout_note(f"{rollout.subject.key}:emergency", rollout, loud))
    await tx.say(effects, at)
    counters.rollouts.labels(stage=stage.value).inc()
    if live is not None:
        params = {"number": rollout.number, "service": service.name, "behind": live.number}
        return Text(key="answer.deploy_queued", params=params)
    params = {"number": rollout.number, "service": service.name}
    return Text(key="answer.deploy_asked", params=params, lines=await held_by_incident(world, tx, rollout))


def _emergency(by: By, reason: str, skips: Sequence[Skip], *, alone: bool) -> Text:
    """What an emergency goes past by the policy, and what it does not. ``alone``: it may need no approval."""
    past = [skip.value for skip in skips if skip is not Skip.APPROVAL]
    params = {"who": by.name, "reason": reason}
    if not past:
        key = "rollout.note_emergency_held_alone" if alone else "rollout.note_emergency_held"
        return Text(key=key, params=params)
    key = "rollout.note_emergency_alone" if alone else "rollout.note_emergency"
    return Text(key=key, params=params | {"skips": past})


async def _make_way(tx: Tx, world: World, live: Rollout, at: datetime) -> None:
    """An emergency comes first; what waits for its approval, or is held, begins anew after it."""
    behind = await tx.save_rollout(rules.make_way(live, at))
    await tx.tell([Event(subject=behind.subject, what="deploy.made_way", at=at)])
    note = rollout_note(
        f"{behind.subject.key}:made_way:{behind.version}", behind, Text(key="rollout.note_made_way")
    )
    await tx.say([Refresh(subject=behind.subject), note, *asks_no_longer(world, live, behind, at)], at)


def _may_in_emergency(policy: Policy, person: Person, reason: str) -> None:
    if not approvals.is_among(person, policy.deploys.emergency.people):
        allowed = approvals.who_may(policy.people, policy.deploys.emergency.people)
        raise Refused("refused.no_emergency", allowed=allowed)
    if not reason.strip():
        raise Refused("refused.no_reason")
    _demand_short(reason)


async def _is_open(tx: Tx, world: World, service: str, skips: tuple[str, ...], at: datetime) -> None:
    """Refused at once where a lock or a freeze would hold it; an incident only makes it wait."""
    lock = await tx.lock_of(service)
    if lock is not None and "lock" not in skips:
        why = str(lock.reason.params.get("reason") or f"D-{lock.rollout_id}")
        params = {"service": service, "who": lock.by.name, "since": _seconds(lock.since), "why": why}
        raise Refused("refused.locked", **params)
    frozen = freezes.freeze(world.policy.deploys, world.policy.rules, service, at)
    if frozen is not None and "freeze" not in skips:
        raise Refused("refused.frozen", service=service, name=frozen.name)


async def approve(
    tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime, *, shown: str
) -> Text:
    """One approval. It counts for exactly what the clicked card showed."""
    try:
        person = approvals.person_behind(world.policy.people, account)
        before = await _rollout(tx, rollout_id)
        rule = world.policy.deploys.rule(before.service)
        after = rules.approve(before, rule, person, by, shown, at, world.policy.people)
    except Refused:
        counters.approvals.labels(outcome="refused").inc()
        raise
    counters.approvals.labels(outcome="approved").inc()
    note = Text(key="rollout.note_approved", params={"who": by.name, "at": _seconds(at)})
    await _saved(tx, world, before, after, at, by, "deploy.approval_given", note)
    missing = after.needed - len(after.approvals)
    if missing > 0:
        return Text(key="answer.approved_one", params={"number": after.number, "missing": missing})
    return Text(key="answer.approved", params={"number": after.number})


async def reject(
    tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime, *, reason: str = ""
) -> Text:
    """No, and why. Whoever asked for it reads that in a message of their own."""
    _demand_short(reason)
    person = approvals.person_behind(world.policy.people, account)
    before = await _rollout(tx, rollout_id)
    rule, people = world.policy.deploys.rule(before.service), world.policy.people
    after = rules.reject(before, rule, person, by, at, people, reason)
    counters.approvals.labels(outcome="rejected").inc()
    key = "rollout.note_rejected_because" if reason else "rollout.note_rejected"
    said = {"who": by.name, "at": _seconds(at)} | ({"reason": reason} if reason else {})
    await _saved(tx, world, before, after, at, by, "deploy.rejection_given", Text(key=key, params=said))
    if person.name != after.requester:
        told = Text(
            key="rollout.you_were_rejected", params=rollout_params(after), lines=(Text(key=key, params=said),)
        )
        await tx.say([personal_note(f"{after.subject.key}:rejected", after.requester, told)], at)
    return Text(key="answer.rejected", params={"number": after.number})


def _demand_short(reason: str) -> None:
    if len(reason) > REASON_LIMIT:
        raise Refused("refused.long_reason", limit=REASON_LIMIT)


async def pause(tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime) -> Text:
    """It goes no further for now."""
    return await _act(tx, world, rollout_id, account, by, at, "paused", lambda one: rules.pause(one, by, at))


async def resume(tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime) -> Text:
    """It goes on."""
    person = approvals.person_behind(world.policy.people, account)

    def resumed(one: Rollout) -> Rollout:
        return rules.resume(one, world.policy.deploys.rule(one.service), person, at)

    return await _act(tx, world, rollout_id, account, by, at, "resumed", resumed)


async def wait(tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime) -> Text:
    """Judge once more after another bake."""
    return await _act(tx, world, rollout_id, account, by, at, "waits", lambda one: rules.wait(one, at))


async def abort(
    tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime, *, reason: str = ""
) -> Text:
    """Stop it; where the service was touched, put it back."""
    _demand_short(reason)

    def aborted(one: Rollout) -> Rollout:
        return rules.abort(one, by, at, reason)

    is_touched = (await _rollout(tx, rollout_id)).stage.touches
    because = None
    if reason:
        key = "rollout.note_aborted_because" if is_touched else "rollout.note_cancelled_because"
        because = Text(key=key, params={"reason": reason})
    word = "aborted" if is_touched else "cancelled"  # As its card says.
    return await _act(tx, world, rollout_id, account, by, at, "aborted", aborted, because, word=word)


async def back(tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime) -> Text:
    """From an alert: take back the deploy that may be why. One on its way is stopped; one that is done is
    undone by a rollback with the usual approval.
    """
    rollout = await _rollout(tx, rollout_id)
    if not rollout.stage.is_over:
        return await abort(tx, world, rollout_id, account, by, at)
    if rollout.stage is not Stage.DONE or rollout.plan is None:
        raise Refused("refused.over_already", number=rollout.number, stage=rollout.stage.value)
    service = service_named(world.policy, rollout.service)
    return await request(
        tx, world, service, account, by, at, kind=Kind.ROLLBACK, to_revision=rollout.plan.baseline
    )


async def promote(tx: Tx, world: World, rollout_id: int, account: Account, by: By, at: datetime) -> Text:
    """A person's word in place of the verdict: an approver's, and not the requester's own."""
    person = approvals.person_behind(world.policy.people, account)
    rollout = await _rollout(tx, rollout_id)
    rule = world.policy.deploys.rule(rollout.service)
    if not approvals.is_among(person, rule.approvers):
        raise Refused("refused.no_promoter", approvers=approvals.who_may(world.policy.people, rule.approvers))
    is_own = person.name == rollout.requester or by.id == rollout.requested_by.id
    if is_own and not rule.self_approval:
        raise Refused("refused.own_promotion")
    return await _act(
        tx, world, rollout_id, account, by, at, "promoted", lambda one: rules.promote(one, by, at)
    )


async def _act(
    tx: Tx,
    world: World,
    rollout_id: int,
    account: Account,
    by: By,
    at: datetime,
    what: str,
    change: Callable[[Rollout], Rollout],
    because: Text | None = None,
    *,
    word: str | None = None,
) -> Text:
    """What anybody of the team may do to what is on its way: it only makes it safer, or later.

    ``word``: how texts call it, where that is not ``what``.
    """
    approvals.person_behind(world.policy.people, account)
    before = await _rollout(tx, rollout_id)
    after = change(before)
    note = because or Text(key=f"rollout.note_{word or what}")
    note = Text(key=note.key, params={"who": by.name, "at": _seconds(at), **note.params})
    await _saved(tx, world, before, after, at, by, f"deploy.{what}", note)
    return Text(key=f"answer.rollout_{word or what}", params={"number": after.number})


async def _saved(
    tx: Tx, world: World, before: Rollout, after: Rollout, at: datetime, by: By, what: str, note: Text
) -> None:
    saved = await tx.save_rollout(after)
    await tx.tell([Event(subject=saved.subject, what=what, at=at, by=by)])
    await consequences(tx, world, before, saved, Decision(rollout=saved, notes=(note,)), at)


async def lock(
    tx: Tx, world: World, service: Service, reason: str, account: Account, by: By, at: datetime
) -> Text:
    """Nothing is deployed on it until somebody unlocks it. What is on its way goes on."""
    approvals.person_behind(world.policy.people, account)
    if not reason.strip():
        raise Refused("refused.no_lock_reason")
    _demand_short(reason)
    why = Text(key="rollout.locked_because", params={"reason": reason.strip()})
    if not await tx.add_lock(Lock(service=service.name, reason=why, by=by, since=at)):
        known = await tx.lock_of(service.name)
        raise Refused("refused.locked_already", service=service.name, who=known.by.name if known else "?")
    said = Text(key="note.locked", params={"service": service.name, "who": by.name}, lines=(why,))
    await _told(tx, service, said, at)
    return Text(key="answer.locked", params={"service": service.name})


async def unlock(tx: Tx, world: World, service: Service, account: Account, by: By, at: datetime) -> Text:
    """Deploys are possible again. Whose deploy failed and locked it does not say so alone."""
    person = approvals.person_behind(world.policy.people, account)
    known = await tx.lock_of(service.name)
    failed = await tx.rollout(known.rollout_id) if known is not None and known.rollout_id else None
    if failed is not None:
        rules.allow_unlock(failed, world.policy.deploys.rule(service.name), person)
    if not await tx.remove_lock(service.name):
        raise Refused("refused.not_locked", service=service.name)
    await _told(tx, service, Text(key="note.unlocked", params={"service": service.name, "who": by.name}), at)
    return Text(key="answer.unlocked", params={"service": service.name})


async def _told(tx: Tx, service: Service, text: Text, at: datetime) -> None:
    """Others rely on it, so it is said in the channel; cards that show the lock are refreshed."""
    effects: list[Effect] = [
        Note(key=f"lock:{service.name}:{_seconds(at)}:{text.key}", place=DEPLOYS, text=text)
    ]
    effects += [Refresh(subject=one.subject) for one in await tx.rollouts_of(service.name, 2)]
    await tx.say(effects, at)


async def _rollout(tx: Tx, rollout_id: int) -> Rollout:
    rollout = await tx.rollout(rollout_id)
    if rollout is None:
        raise Refused("refused.unknown_rollout", number=f"D-{rollout_id}")
    return rollout


async def live(tx: Tx, service: Service) -> Rollout:
    """The rollout that is meant where only a service was named. Refused where there is none."""
    found = await tx.live_rollout(service.name)
    if found is None:
        raise Refused("refused.nothing_live", service=service.name)
    return found


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
