"""Carries out deploys: each turn one look and one safe step for each that is due, saved before it is made."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from domain import approvals, rolling, verdict
from domain import rollouts as rules
from domain.alerts import Signal
from domain.cloudrun import RunRefused, RunTrouble, tag_uri
from domain.deploys import DeployRule
from domain.effects import TOBAN, Effect, Event, Note, Refresh, Rewrite, Text, titled
from domain.errors import Outage
from domain.freezes import freeze
from domain.images import BadReference, Reference
from domain.incidents import Incident
from domain.origins import is_allowed
from domain.plans import Field, Risk
from domain.policy import Person, Service, Severity
from domain.ports import Tx
from domain.rolling import Decision, Sight, Window
from domain.rollouts import Kind, Lock, Purpose, Rollout, Stage
from domain.series import epoch
from domain.verdict import Verdict
from domain.voice import Said, signal
from operations import canaries, counters, planning, signals, tag_checks
from operations.places import later_linked, personal_note, personal_rewrite, rollout_note
from operations.world import World

log = structlog.get_logger(__name__)

LIMIT = 20
"""Rollouts in one turn; they are carried out side by side."""

LEASE = timedelta(seconds=90)
"""How long one replica has a rollout to itself; Google's calls take at most 15 s each."""

AGAIN = timedelta(seconds=10)
"""After an outage of Google's."""

TELL_AFTER = timedelta(minutes=2)
"""An outage of so long is told in the thread, once."""

LOOKING = frozenset({Stage.BAKING, Stage.ASKING, Stage.WATCHING})
"""Stages in which requests are counted."""


async def tick(world: World) -> int:
    """Take each due rollout one step further, each alone. Returns how many."""
    async with world.store.read() as tx:
        due = await tx.due_rollouts(world.clock.now(), LIMIT)
    await asyncio.gather(*(_one(world, rollout_id) for rollout_id in due))
    return len(due)


async def _one(world: World, rollout_id: int) -> None:
    rollout = await _claim(world, rollout_id)
    if rollout is None:
        return
    try:
        match rollout.stage:
            case Stage.PLANNING:
                await _plan(world, rollout)
            case Stage.REQUESTED:
                shown, notes = await tag_checks.checked(world, rollout, for_good=False)
                shown = shown.model_copy(update={"held_by": await _held_by(world, shown)})
                waits = _waits(shown, world.clock.now())
                await _save(world, rollout, Decision(rollout=waits, notes=notes))
            case _:
                await _step(world, rollout)
    except Outage as outage:
        await _troubled(world, rollout, outage.reason)
    except Exception as failure:
        log.exception("deploy.failed", rollout=rollout.number)
        await _troubled(world, rollout, repr(failure)[:200])


async def _claim(world: World, rollout_id: int) -> Rollout | None:
    """Have it to oneself for a while; ``None`` where it is not due any more or another replica has it."""
    async with world.store() as tx:
        at = world.clock.now()
        rollout = await tx.rollout(rollout_id)
        if rollout is None or rollout.due_at is None or rollout.due_at > at:
            return None
        if rollout.lease_until is not None and rollout.lease_until > at:
            return None
        return await tx.save_rollout(rollout.model_copy(update={"lease_until": at + LEASE}))


def _waits(rollout: Rollout, at: datetime) -> Rollout:
    """Until its approval cannot be given any more; what its tag means and what will hold it may change."""
    if rollout.expires_at is not None and at < rollout.expires_at:
        return rollout.model_copy(update={"due_at": min(rollout.expires_at, at + tag_checks.AGAIN)})
    return rules.to_stage(rollout, Stage.EXPIRED, at)


async def _plan(world: World, rollout: Rollout) -> None:
    """The plan, and with it the request for approval; or why there is none."""
    rule = world.policy.deploys.rule(rollout.service)
    try:
        planned = await planning.plan(world, rollout)
    except planning.CannotPlan as cannot:
        at = world.clock.now()
        failed = rules.to_stage(rollout, Stage.FAILED, at, problem=cannot.text)
        await _save(world, rollout, Decision(rollout=failed, notes=(cannot.text,)))
        return
    at = world.clock.now()
    alone = rollout.emergency is not None and "approval" in world.policy.deploys.emergency.skips
    requester = world.policy.people.get(rollout.requester)
    back_alone = (
        rollout.kind is Kind.ROLLBACK and requester is not None and may_go_back_alone(rule, requester)
    )
    planned_one = rollout.model_copy(update=planned.more)
    asked = rules.ask(planned_one, planned.plan, rule, alone, at, goes_back_alone=back_alone)
    notes: tuple[Text, ...] = ()
    if asked.stage is Stage.REQUESTED:
        asked = _waits(asked.model_copy(update={"held_by": await _held_by(world, asked)}), at)
        approvers = _approvers(world, asked, rule)
        until = int((asked.expires_at or at).timestamp())
        params = {"mentioned": approvers, "who": rollout.requested_by.name, "until": until}
        key = "rollout.note_asked" if approvers else "rollout.note_nobody_may"
        async with world.store.read() as tx:
            held = await held_by_incident(world, tx, asked)
        notes = (Text(key=key, params=params, lines=held),)
    await _save(world, rollout, Decision(rollout=asked, notes=notes))


def may_go_back_alone(rule: DeployRule, person: Person) -> bool:
    """Whether the policy lets this person roll back without somebody else's approval."""
    return rule.rollback_alone and approvals.is_among(person, rule.approvers)


def _approvers(world: World, rollout: Rollout, rule: DeployRule) -> list[str]:
    """Who can give an approval: everybody whom the policy means, but for the requester."""
    named = approvals.those_among(world.policy.people, rule.approvers)
    return [name for name in named if name != rollout.requester or rule.self_approval]


def rollout_params(rollout: Rollout) -> dict[str, str]:
    """What names a deploy in a line of text."""
    return {"number": rollout.number, "service": rollout.service}


def _told_personally(world: World, before: Rollout, after: Rollout, at: datetime) -> list[Note]:
    """Who is asked for an approval reads it in a message of their own, and who asked for it in vain."""
    name = after.subject.key
    if after.stage is Stage.REQUESTED and before.stage is not Stage.REQUESTED:
        params: dict[str, Any] = {**rollout_params(after), "who": after.requested_by.name}
        params["until"] = int((after.expires_at or at).timestamp())
        params["channel"] = world.policy.channels.deploys
        title = titled("", Text(key="rollout.open_card", params={"number": after.number}))
        params["card"] = later_linked(after.subject, title, otherwise="rollout.you_are_asked_in")
        asked = Text(key="rollout.you_are_asked", params=params)
        rule = world.policy.deploys.rule(after.service)
        return [personal_note(_asked(after), one, asked) for one in _approvers(world, after, rule)]
    if after.stage is Stage.EXPIRED and before.stage is Stage.REQUESTED and after.requester:
        expired = Text(key="rollout.you_waited_in_vain", params=rollout_params(after))
        return [personal_note(f"{name}:expired", after.requester, expired)]
    return []


def _asked(rollout: Rollout) -> str:
    """The name of the messages that ask for its approvals; who is asked anew has until another moment."""
    expires = rollout.expires_at or rollout.since
    return f"{rollout.subject.key}:asked:{int(expires.timestamp())}"


def asks_no_longer(world: World, before: Rollout, after: Rollout, at: datetime) -> list[Rewrite]:
    """Who was asked for an approval, and who gave one of several, reads that nothing is left to do."""
    if before.stage is not Stage.REQUESTED:
        return []
    params: dict[str, str | int] = {**rollout_params(after), "at": int(at.timestamp())}
    asked = _approvers(world, before, world.policy.deploys.rule(before.service))
    if after.stage is Stage.REQUESTED:
        given = {one.person for one in after.approvals} - {one.person for one in before.approvals}
        text = Text(
            key="rollout.you_approved", params=params | {"missing": after.needed - len(after.approvals)}
        )
        return [personal_rewrite(_asked(before), one, text) for one in asked if one in given]
    match after.stage:
        case Stage.APPROVED if after.approvals:
            text = Text(key="rollout.asked_approved", params=params | {"who": after.approvals[-1].by.name})
        case Stage.REJECTED if after.ended_by is not None:
            text = Text(key="rollout.asked_rejected", params=params | {"who": after.ended_by.name})
        case Stage.EXPIRED:
            text = Text(key="rollout.asked_expired", params=params)
        case _:
            params["channel"] = world.policy.channels.deploys
            text = Text(key="rollout.asks_no_longer", params=params)
    return [personal_rewrite(_asked(before), one, text) for one in asked]


async def _step(world: World, rollout: Rollout) -> None:
    """Look, decide, save, and only then act. What came of the act is seen at the next look."""
    shown: Rollout = rollout
    notes: tuple[Text, ...] = ()
    if rollout.stage is Stage.APPROVED:
        shown, notes = await tag_checks.checked(world, rollout, for_good=True)
    sight = await _look(world, rollout)
    at = world.clock.now()
    decision = rolling.advance(shown, sight, world.policy.deploys.rule(rollout.service), at)
    decision = decision.model_copy(update={"notes": (*notes, *decision.notes)})
    saved = await _save(world, rollout, decision)
    if saved is not None and decision.call and saved.intent is not None:
        await _call(world, saved)


async def _look(world: World, rollout: Rollout) -> Sight:
    """Everything that the next decision needs, read just now."""
    run, target, stage, intent = world.run, rollout.target, rollout.stage, rollout.intent
    salt = rollout.plan.salt if rollout.plan is not None else ""
    seen = await run.service(target, salt)
    found: dict[str, object] = {"service": seen}
    if intent is not None and intent.operation is not None:
        found["operation"] = await run.operation(intent.operation)
    if stage is Stage.APPROVED:
        found |= {"held_by": await _held_by(world, rollout), "is_approved": _is_approved(world, rollout)}
        found["allowed"] = _not_allowed(world, rollout)
    if stage is Stage.CREATING and intent is None:
        found["revision"] = await run.revision(target, rollout.revision)
    if stage is Stage.SMOKE and intent is None and seen is not None:
        assert rollout.plan is not None
        uri = tag_uri(seen, rollout.plan.tag or "")
        found["checks"] = await _checks(world, rollout, uri, seen.uri)
    if stage in LOOKING and intent is None and rollout.kind is Kind.DEPLOY:
        window = await _window(world, rollout)
        found |= {"window": window, "verdict": _judged(world, rollout, window, seen is not None)}
    return Sight.model_validate(found)


async def _window(world: World, rollout: Rollout) -> Window:
    """What is visible of the time since the present split became true."""
    assert rollout.shifted_at is not None
    now = world.clock.now()
    waits = rollout.stage is Stage.ASKING or rollout.paused_by is not None
    end = now if waits or rollout.bake_until is None else rollout.bake_until
    return await canaries.window(world, rollout, rollout.shifted_at, min(now, end))


def _judged(world: World, rollout: Rollout, window: Window, there: bool) -> Verdict | None:
    """The verdict on what is visible; ``None`` while nothing is."""
    if window.blind is not None or not there:
        return None
    of = world.policy.deploys.rule(rollout.service)
    whole = rollout.bake_until is not None and window.until >= rollout.bake_until
    interim = rollout.stage is not Stage.BAKING or not whole or rollout.paused_by is not None
    return verdict.judge(
        window.canary,
        window.stable,
        share=rollout.percent / 100,
        interim=interim,
        rule=verdict.Rule(threshold=of.threshold, minimum=of.minimum),
        before=rollout.before,
        canary_p95=window.canary_p95,
        stable_p95=window.stable_p95,
        affinity=rollout.plan is not None and "session_affinity" in rollout.plan.warnings,
        visible_until=window.until,
    )


async def _checks(
    world: World, rollout: Rollout, uri: str | None, audience: str
) -> tuple[tuple[str, bool, str], ...]:
    """The new revision asked at its own address; where that is out of reach from here it is told so."""
    assert rollout.plan is not None
    checks = world.policy.deploys.rule(rollout.service).checks
    if "internal_ingress" in rollout.plan.warnings or uri is None:
        return tuple((check.path, True, "skipped") for check in checks)
    asked = (world.smoke.check(uri, one.path, audience=audience, expect=one) for one in checks)
    answers = await asyncio.gather(*asked)
    return tuple(
        (one.path, seen.problem is None, seen.problem or f"HTTP {seen.status}")
        for one, seen in zip(checks, answers, strict=True)
    )


def _is_approved(world: World, rollout: Rollout) -> bool:
    assert rollout.plan is not None
    rule, people = world.policy.deploys.rule(rollout.service), world.policy.people
    given, shown = rollout.approvals, rollout.plan.fingerprint
    valid = approvals.still_valid(given, rule, people, rollout.requester, rollout.requested_by.id, shown)
    return len(valid) >= rollout.needed


def _not_allowed(world: World, rollout: Rollout) -> str | None:
    """The origins that the current policy allows, if an image of the plan has none of them; else ``None``.

    Of the sidecars only those that change count: the others serve already.
    """
    patterns = world.policy.deploys.rule(rollout.service).images
    if rollout.plan is None or not patterns or _is_known_rollback(rollout):
        return None
    changed = {change.name for change in rollout.plan.changes if change.field is Field.SIDECAR}
    sidecars = (image for name, image in rollout.plan.sidecars.items() if name in changed)
    allowed = all(_is_from(image, patterns) for image in (rollout.plan.image, *sidecars))
    return None if allowed else ", ".join(patterns)


def _is_from(image: str, patterns: tuple[str, ...]) -> bool:
    """Whether an image has an origin that is allowed; one whose name cannot be read has none."""
    try:
        return is_allowed(Reference.parse(image), patterns)
    except BadReference:
        return False


def _is_known_rollback(rollout: Rollout) -> bool:
    never = rollout.plan is not None and Risk.NEVER_SERVED in rollout.plan.risks
    return rollout.kind is Kind.ROLLBACK and not never


async def _held_by(world: World, rollout: Rollout) -> str | None:
    """What stands in the way of a rollout once it is approved: a lock, a freeze, an open incident."""
    skips = world.policy.deploys.emergency.skips if rollout.emergency is not None else ()
    async with world.store.read() as tx:
        return await stands_in_the_way(world, tx, rollout, skips)


async def stands_in_the_way(world: World, tx: Tx, rollout: Rollout, skips: tuple[str, ...]) -> str | None:
    """``lock``, ``freeze:NAME`` or ``incident:INC-3``; ``None`` where nothing does.

    A rollback is how an incident ends: nothing stands in its way, unless users have never met its revision.
    """
    if _is_known_rollback(rollout):
        return None
    policy = world.policy
    if "lock" not in skips and await tx.lock_of(rollout.service) is not None:
        return "lock"
    frozen = freeze(policy.deploys, policy.rules, rollout.service, world.clock.now())
    if frozen is not None and "freeze" not in skips:
        return f"freeze:{frozen.name}"
    if "incident" in skips or rollout.kind is Kind.ROLLBACK:
        return None
    incident = await _grave_incident(tx, rollout.service)
    return f"incident:{incident.number}" if incident is not None else None


async def _grave_incident(tx: Tx, service: str) -> Incident | None:
    """The open incident of a service that is bad enough to hold its deploys."""
    grave = {Severity.P0, Severity.P1}
    found = (one for one in await tx.open_incidents() if one.service == service and one.severity in grave)
    return next(found, None)


async def held_by_incident(world: World, tx: Tx, rollout: Rollout) -> tuple[Text, ...]:
    """What is said beside a request that will wait for an incident's end, however soon it is approved."""
    skips = world.policy.deploys.emergency.skips if rollout.emergency is not None else ()
    if "incident" in skips or rollout.kind is Kind.ROLLBACK:
        return ()
    incident = await _grave_incident(tx, rollout.service)
    if incident is None:
        return ()
    return (Text(key="rollout.will_be_held", params={"name": incident.number}),)


async def _call(world: World, rollout: Rollout) -> None:
    """Make the update that was decided on. Whatever comes back, the next look tells what is true."""
    plan, intent = rollout.plan, rollout.intent
    assert plan is not None
    assert intent is not None
    changes: dict[str, object]
    try:
        if intent.purpose is Purpose.CREATE:
            name = await world.run.create(rollout.target, plan.image, plan.revision, intent.rows, intent.etag)
        else:
            name = await world.run.shift(rollout.target, intent.rows, intent.etag)
        changes = {"operation": name}
        counters.updates.labels(purpose=intent.purpose.value, outcome="accepted").inc()
    except Outage as outage:
        changes = {"said": outage.reason[:300]}
        counters.updates.labels(purpose=intent.purpose.value, outcome="unknown").inc()
    except RunRefused as refused:
        for_good = refused.trouble is not RunTrouble.CONFLICT
        changes = {"said": refused.detail[:300], "is_refused": for_good}
        counters.updates.labels(purpose=intent.purpose.value, outcome="refused").inc()

    def heard(latest: Rollout) -> Rollout | None:
        known = latest.intent
        if known is None or (known.purpose, known.since, known.attempts) != (
            intent.purpose,
            intent.since,
            intent.attempts,
        ):
            return latest.model_copy(update={"lease_until": None})
        told = {"intent": known.model_copy(update=changes), "lease_until": None}
        return latest.model_copy(update=told)

    await _change(world, rollout, heard)


async def _change(world: World, rollout: Rollout, change: Callable[[Rollout], Rollout | None]) -> None:
    """Change what is stored now, whatever people did to it meanwhile."""
    assert rollout.id is not None
    async with world.store() as tx:
        latest = await tx.rollout(rollout.id)
        changed = change(latest) if latest is not None else None
        if changed is not None:
            await tx.save_rollout(changed)


async def _save(world: World, before: Rollout, decision: Decision) -> Rollout | None:
    """Keep a decision, unless a person changed the rollout since it was read: then it is decided anew."""
    assert before.id is not None
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.rollout(before.id)
        if latest is None:
            return None
        if latest.version != before.version:
            await tx.save_rollout(latest.model_copy(update={"lease_until": None}))
            return None
        # Who is about to call Google keeps it to itself until the call is made.
        lease = before.lease_until if decision.call else None
        cured = {"lease_until": lease, "troubled_since": None}
        saved = await tx.save_rollout(decision.rollout.model_copy(update=cured))
        await consequences(tx, world, before, saved, decision, at)
    return saved


async def consequences(
    tx: Tx, world: World, before: Rollout, after: Rollout, decision: Decision, at: datetime
) -> None:
    """What a changed rollout means for everything else, in the same transaction."""
    effects: list[Effect] = [Refresh(subject=after.subject)] if _is_worth_showing(before, after) else []
    for number, text in enumerate(decision.notes):
        effects.append(rollout_note(f"{after.subject.key}:{after.version}:{number}", after, text))
    effects += _told_personally(world, before, after, at)
    effects += asks_no_longer(world, before, after, at)
    if after.stage is not before.stage:
        data = {"from": before.stage.value, "to": after.stage.value}
        what = f"deploy.{after.stage.value}"
        await tx.tell([Event(subject=after.subject, what=what, at=at, by=after.ended_by or TOBAN, data=data)])
        counters.rollouts.labels(stage=after.stage.value).inc()
        if after.shifted_at is not None:  # Alerts on the service name it, and offer the way back.
            open_groups = await tx.open_groups()
            effects += [Refresh(subject=one.subject) for one in open_groups if one.service == after.service]
    if decision.lock is not None:
        lock = Lock(service=after.service, reason=decision.lock, by=TOBAN, since=at, rollout_id=after.id)
        if await tx.add_lock(lock):
            effects.append(Refresh(subject=after.subject))
    await tx.say(effects, at)
    if decision.alarm is not None:
        heard = alarm(world, after, firing=decision.alarm, at=at)
        await signals.receive(tx, world.policy, [(heard, at)], at)
        await tx.say([Refresh(subject=after.subject)], at)
    if after.stage.is_over:
        await _next_in_line(tx, after, at)


def _is_worth_showing(before: Rollout, after: Rollout) -> bool:
    """A look that found the same is no news: the card is edited where a person would see a difference."""
    hidden = {"due_at", "lease_until", "version", "judged_at", "troubled_since"}
    return before.model_dump(exclude=hidden) != after.model_dump(exclude=hidden)


async def _next_in_line(tx: Tx, over: Rollout, at: datetime) -> None:
    """First come, first served: the next one is planned anew, on what serves now."""
    queued = await tx.queued_rollouts(over.service)
    for place, one in enumerate(queued):
        if place == 0 and await tx.live_rollout(over.service) is None:
            await tx.save_rollout(rules.to_stage(one, Stage.PLANNING, at))
        await tx.say([Refresh(subject=one.subject)], at)


def alarm(world: World, rollout: Rollout, *, firing: bool, at: datetime) -> Signal:
    """A rollout that users met and that had to be taken back, as an alert like any other."""
    service = next(
        (one for one in world.policy.services if one.name == rollout.service), Service(name=rollout.service)
    )
    params = {"service": rollout.service, "number": rollout.number, "revision": rollout.revision}
    problem = rollout.problem or Text(key="rollout.worse")
    key = "signal.rollout_failed" if firing else "signal.rollout_is_back"
    said = Said(
        title=Text(key=key, params=params),
        summary=Text(key="signal.rollout_why", params=params, lines=(problem,)),
        plain=f"{rollout.service}: {rollout.number} of {rollout.revision} was taken back",
    )
    return signal(
        ("rollout", "rollout"),
        service,
        world.policy.deploys.rule(rollout.service).level,
        said,
        labels={"service_name": rollout.service, "revision_name": rollout.revision},
        started=epoch(rollout.since),
        ended=None if firing else epoch(at),
    )


async def _troubled(world: World, rollout: Rollout, reason: str) -> None:
    """Google cannot be asked: nothing is decided. Told once where it lasts."""
    log.warning("deploy.outage", rollout=rollout.number, reason=reason)
    assert rollout.id is not None
    async with world.store() as tx:
        at = world.clock.now()
        latest = await tx.rollout(rollout.id)
        if latest is None or latest.stage.is_over:
            return
        since = latest.troubled_since or at
        changes = {"lease_until": None, "due_at": at + AGAIN, "troubled_since": since}
        saved = await tx.save_rollout(latest.model_copy(update=changes))
        if at - since >= TELL_AFTER:
            text = Text(key="rollout.note_troubled", params={"why": reason[:300]})
            name = f"{saved.subject.key}:troubled:{epoch(since)}"
            await tx.say([rollout_note(name, saved, text)], at)
