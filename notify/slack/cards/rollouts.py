"""The card of a deploy: one message from the request to the end, and the lists of deploys."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.origins import name_of
from domain.outbox import Rendered
from domain.rollouts import Kind, Lock, Rollout, Stage
from domain.views import RolloutView
from notify.slack import actions
from notify.slack.blocks import Block, button, confirm, context, fields, header, section
from notify.slack.blocks import actions as row
from notify.slack.cards.incidents import title_of_incident
from notify.slack.cards.rollout_evidence import bar, evidence_lines
from notify.slack.cards.rollout_plan import (
    IMAGE,
    change_blocks,
    code,
    course_line,
    fitting,
    image_line,
    origin_params,
    short_digest,
    shown_image,
    sidecars_elsewhere,
    warning_lines,
)
from notify.slack.escape import clamp, line
from notify.slack.limits import CONFIRM_TEXT
from notify.slack.lists import listed
from notify.texts import Voice

BEFORE_START = frozenset({Stage.QUEUED, Stage.PLANNING, Stage.REQUESTED, Stage.APPROVED})

STEPPING = frozenset({Stage.SHIFTING, Stage.BAKING, Stage.ASKING})

CHECKS, ROOM = 10, 1500
"""Checks on one card, and characters of them; the rest is counted."""

REASON = 300
"""Characters of an emergency's reason."""

MARK = {
    Stage.DONE: ":white_check_mark:",
    Stage.ROLLED_BACK: ":leftwards_arrow_with_hook:",
    Stage.ROLLING_BACK: ":leftwards_arrow_with_hook:",
    Stage.FAILED: ":x:",
    Stage.INTERRUPTED: ":raised_hand:",
    Stage.ASKING: ":question:",
    Stage.REQUESTED: ":large_yellow_circle:",
}


def rollout_card(voice: Voice, view: RolloutView) -> Rendered:
    """What happened or what is needed, then what it is, then on what it was judged, then what can be done."""
    rollout = view.rollout
    head = _head(voice, rollout)
    blocks: list[Block] = [header(head, _mark(rollout)), fields(_facts(voice, rollout))]
    if rollout.emergency is not None:
        reason = clamp(" ".join(rollout.emergency.split()), REASON)
        blocks.append(section(f":rotating_light: {voice('rollout.emergency', reason=reason)}"))
    if rollout.problem is not None:
        blocks.append(section(voice.say(rollout.problem)))
    rest = _body(voice, rollout)
    small = _small(voice, view)
    if small:
        rest.append(context(*small))
    buttons = _buttons(voice, rollout)
    if buttons:
        rest.append(row(*buttons))
    if rollout.stage in BEFORE_START and rollout.plan is not None:
        blocks += change_blocks(voice, rollout.plan, [*blocks, *rest])
    blocks += rest
    asks = rollout.stage in {Stage.REQUESTED, Stage.ASKING}
    text = voice("rollout.fallback_asks" if asks else "rollout.fallback", head=head)
    return Rendered(text=text, blocks=blocks)


def _head(voice: Voice, rollout: Rollout) -> str:
    kind = voice.plain(f"rollout.kind_{rollout.kind.value}")
    return voice.plain(
        "rollout.head",
        kind=kind,
        number=rollout.number,
        service=rollout.service,
        state=_state(voice, rollout),
    )


def _state(voice: Voice, rollout: Rollout) -> str:
    """Where it stands, in a few words."""
    if rollout.stage is Stage.REQUESTED:
        missing = max(0, rollout.needed - len(rollout.approvals))
        return voice.plain("rollout.needs_one" if missing == 1 else "rollout.needs", missing=missing)
    if rollout.stage is Stage.APPROVED and rollout.held_by is not None:
        return voice.plain("rollout.held")
    if rollout.paused_by is not None and rollout.stage.touches and rollout.stage is not Stage.ASKING:
        return voice.plain("rollout.paused", percent=rollout.percent)
    if rollout.stage is Stage.BAKING:
        return voice.plain("rollout.baking", percent=rollout.percent)
    if rollout.stage is Stage.SHIFTING:
        return voice.plain("rollout.shifting", percent=rollout.aim)
    if rollout.stage is Stage.FAILED and rollout.plan is None:
        return voice.plain("rollout.not_started")
    if rollout.stage is Stage.FAILED and rollout.shifted_at is None:
        return voice.plain("rollout.failed_untouched")
    return voice.plain_word("stage", rollout.stage.value)


def _mark(rollout: Rollout) -> str:
    if rollout.stage.is_over:
        return MARK.get(rollout.stage, ":no_entry_sign:")
    if rollout.emergency is not None and rollout.stage in BEFORE_START:
        return ":rotating_light:"
    return MARK.get(rollout.stage, ":hourglass_flowing_sand:")


def _facts(voice: Voice, rollout: Rollout) -> list[tuple[str, str]]:
    facts = []
    if rollout.kind is Kind.DEPLOY:
        facts.append((voice("field.image"), image_line(rollout)))
    if rollout.plan is not None:
        plan = rollout.plan
        is_imagined = rollout.id is None  # The name of its revision will never be.
        to = voice("rollout.new_revision") if is_imagined else code(plan.revision, 70)
        facts.append((voice("field.revisions"), f"{code(plan.baseline, 70)} → {to}"))
    asked = voice("incident.opened", who=rollout.requested_by.name, at=_seconds(rollout.requested_at))
    facts.append((voice("field.asked"), asked))
    facts.append((voice("field.course"), course_line(voice, rollout)))
    return facts


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _body(voice: Voice, rollout: Rollout) -> list[Block]:
    """Before it starts what to know beside its changes; afterwards how it goes."""
    blocks: list[Block] = []
    if rollout.stage in BEFORE_START and rollout.plan is not None:
        warnings = warning_lines(voice, rollout)
        if rollout.stage is Stage.REQUESTED and rollout.held_by is not None:
            warnings.insert(0, f":raised_hand: {_will_be_held(voice, rollout.held_by)}")
        if warnings:
            blocks.append(section("\n".join(warnings)))
    if rollout.stage in STEPPING and rollout.course.steps != (100,):
        blocks.append(section(_traffic(voice, rollout)))
    if rollout.checks:
        blocks.append(section(_checks(voice, rollout)))
    evidence = evidence_lines(voice, rollout)
    if evidence:
        blocks.append(section("\n".join([f"*{voice('rollout.evidence')}*", *evidence])))
    if rollout.stage is Stage.ASKING:
        blocks.append(section(voice("rollout.what_to_do")))
    return blocks


def _traffic(voice: Voice, rollout: Rollout) -> str:
    """What the new revision serves, and which of the course's steps that is."""
    count = len(rollout.course.steps)
    params = {"percent": rollout.percent, "step": min(rollout.step + 1, count), "steps": count}
    return f"`{bar(rollout.percent / 100)}` {voice('rollout.traffic', **params)}"


def _checks(voice: Voice, rollout: Rollout) -> str:
    shown = [
        f"{':white_check_mark:' if well else ':x:'} {code(path)} {line(said, 120)}"
        for path, well, said in rollout.checks
    ]
    return "\n".join([f"*{voice('rollout.checks')}*", *fitting(voice, shown, ROOM, CHECKS)])


def _small(voice: Voice, view: RolloutView) -> list[str]:
    rollout = view.rollout
    small = [voice("rollout.approved_by", who=one.by.name, at=_seconds(one.at)) for one in rollout.approvals]
    if rollout.stage is Stage.REQUESTED and rollout.expires_at is not None:
        small.append(voice("rollout.expires", at=_seconds(rollout.expires_at)))
    if rollout.stage is Stage.ASKING and rollout.expires_at is not None:
        small.append(voice("rollout.goes_back", at=_seconds(rollout.expires_at)))
    if rollout.stage is Stage.QUEUED:
        params = {"behind": view.behind.number if view.behind else "—", "place": view.ahead + 1}
        small.append(voice("rollout.queued_behind", **params))
    is_told = rollout.stage.is_over or rollout.stage is Stage.REQUESTED  # There it stands among the warnings.
    if rollout.held_by is not None and not is_told:
        small.append(held_line(voice, rollout.held_by))
    if rollout.bake_until is not None and rollout.stage is Stage.BAKING and rollout.paused_by is None:
        small.append(voice("rollout.bakes_until", at=_seconds(rollout.bake_until)))
    if rollout.bake_until is not None and rollout.stage is Stage.WATCHING:
        small.append(voice("rollout.watched_until", at=_seconds(rollout.bake_until)))
    if rollout.paused_by is not None and rollout.stage.touches:
        small.append(voice("rollout.paused_by", who=rollout.paused_by.name))
    if rollout.word is not None:
        small.append(voice("rollout.word_of", who=rollout.word.name))
    if rollout.ended_at is not None:
        params = {"at": _seconds(rollout.ended_at), "length": _length(rollout)}
        if rollout.ended_by is not None and rollout.stage is Stage.REJECTED:
            small.append(voice("rollout.rejected_by", who=rollout.ended_by.name, at=params["at"]))
        elif rollout.ended_by is not None:
            small.append(voice("rollout.ended_by", who=rollout.ended_by.name, **params))
        else:
            small.append(voice("rollout.ended", **params))
    if view.incident is not None:
        small.append(
            voice(
                "rollout.incident",
                number=view.incident.number,
                title=title_of_incident(voice, view.incident),
            )
        )
    if view.lock is not None and rollout.stage.is_over:
        small.append(voice("rollout.is_locked", service=rollout.service, who=view.lock.by.name))
    return small


def _length(rollout: Rollout) -> float:
    return (rollout.ended_at - rollout.requested_at).total_seconds() if rollout.ended_at else 0.0


def held_line(voice: Voice, held_by: str) -> str:
    """What an approved deploy waits for."""
    what, _, name = held_by.partition(":")
    return voice(f"rollout.held_{what}", name=name or "—")


def _will_be_held(voice: Voice, held_by: str) -> str:
    """What it would wait for if it were approved now."""
    what, _, name = held_by.partition(":")
    return voice("rollout.will_be_held", name=name) if what == "incident" else held_line(voice, held_by)


def _buttons(voice: Voice, rollout: Rollout) -> list[Block]:
    key = rollout.subject.key
    if rollout.stage is Stage.REQUESTED and rollout.plan is not None:
        return _to_approve(voice, rollout, f"{key}/{rollout.plan.fingerprint}")
    if rollout.stage.is_over or rollout.stage is Stage.ROLLING_BACK:
        return []
    made = []
    if rollout.stage is Stage.ASKING:
        made.append(button(voice.plain("button.wait"), actions.ROLLOUT_WAIT, key, style="primary"))
    elif rollout.stage.touches and rollout.paused_by is None:
        made.append(button(voice.plain("button.pause"), actions.ROLLOUT_PAUSE, key))
    elif rollout.stage.touches:
        made.append(button(voice.plain("button.resume"), actions.ROLLOUT_RESUME, key))
    if rollout.stage in {Stage.BAKING, Stage.ASKING}:
        made.append(
            button(
                voice.plain("button.promote"),
                actions.ROLLOUT_PROMOTE,
                key,
                confirm=_sure(voice, "promote", rollout),
            )
        )
    if rollout.kind is Kind.ROLLBACK:
        name = "undo_rollback" if rollout.stage.touches else "cancel_rollback"
    else:
        name = "roll_back" if rollout.stage.touches else "cancel_deploy"
    made.append(
        button(
            voice.plain(f"button.{name}"),
            actions.ROLLOUT_ABORT,
            key,
            style="danger",
            confirm=_sure(voice, name, rollout),
        )
    )
    return made


def _to_approve(voice: Voice, rollout: Rollout, value: str) -> list[Block]:
    is_deploy = rollout.kind is Kind.DEPLOY
    name = "approve_deploy" if is_deploy else "approve_rollback"
    yes = voice.plain(f"button.{name}")
    label = voice.plain("rollout.approve_label", number=rollout.number, service=rollout.service)
    return [
        button(
            yes,
            actions.ROLLOUT_APPROVE,
            value,
            style="primary",
            confirm=_sure(voice, name, rollout),
            label=label,
        ),
        button(
            voice.plain("button.reject"),
            actions.ROLLOUT_REJECT,
            rollout.subject.key,
        ),
    ]


def _sure(voice: Voice, name: str, rollout: Rollout, text: str | None = None) -> Block:
    """The question before a click counts, with what it is about."""
    label = voice.plain(f"button.{name}")
    plan = rollout.plan
    revision, baseline = (plan.revision, plan.baseline) if plan is not None else ("—", "—")
    image = clamp(shown_image(rollout), 80) if rollout.image else revision
    params = {"service": rollout.service, "image": image, "revision": revision, "baseline": baseline}
    if plan is not None and plan.elsewhere is not None and name in {"approve_deploy", "approve_rollback"}:
        text = "confirm.approve_elsewhere"
        params |= {"version": clamp(plan.named or short_digest(plan.digest), 24), **origin_params(plan)}
        params["service"] = clamp(rollout.service, 32)
    strange = sidecars_elsewhere(plan) if plan is not None else []
    if "elsewhere" not in (text or "") and strange and name in {"approve_deploy", "approve_rollback"}:
        text = "confirm.approve_sidecar"
        called, of = strange[0]
        params |= {"sidecar": clamp(called, 30), "of": clamp(of, 120), "count": str(len(strange))}
        params |= {"service": clamp(rollout.service, 32), "image": clamp(shown_image(rollout), 40)}
    question = voice.plain(text or f"confirm.{name}", **params)
    what, _, incident = (rollout.held_by or "").partition(":")
    if what == "incident" and name == "approve_deploy":
        longer = f"{question} {voice.plain('rollout.will_be_held', name=incident)}"
        question = longer if len(longer) <= CONFIRM_TEXT else question
    # "Cancel" beside "Cancel Deploy" leaves open which of them does it.
    keep = {"cancel_deploy": "button.keep_deploy", "cancel_rollback": "button.keep_rollback"}
    return confirm(label, question, label, voice.plain(keep.get(name, "button.cancel")))


# Lists.


def rollouts_card(
    voice: Voice, running: Sequence[Rollout], locks: Sequence[Lock], frozen: Mapping[str, str]
) -> Rendered:
    """The answer to ``/deploy status``: what is on its way, what is locked, what is frozen."""
    lines = [*(_line(voice, one) for one in running), *_standing(voice, locks, frozen)]
    head = voice("rollout.running", count=len(running)) if running else voice("rollout.none_running")
    return Rendered(text=head, blocks=listed(voice, lines, head=f"*{head}*"))


def frozen_card(voice: Voice, locks: Sequence[Lock], frozen: Mapping[str, str]) -> Rendered:
    """The answer to ``/deploy freeze``: what is frozen and locked, and how somebody freezes or locks."""
    head = voice("rollout.frozen_now", count=len(frozen)) if frozen else voice("rollout.none_frozen")
    lines = [*_standing(voice, locks, frozen), voice("rollout.how_to_freeze", service="SERVICE")]
    return Rendered(text=head, blocks=listed(voice, lines, head=f"*{head}*"))


def _standing(voice: Voice, locks: Sequence[Lock], frozen: Mapping[str, str]) -> list[str]:
    """What stands in the way of deploys."""
    locked = [f":lock: {_locked(voice, lock)} {voice.say(lock.reason)}" for lock in locks]
    return locked + [
        f":snowflake: {voice('rollout.freeze_line', service=service, name=name)}"
        for service, name in frozen.items()
    ]


def _locked(voice: Voice, lock: Lock) -> str:
    return voice("rollout.lock_line", service=lock.service, who=lock.by.name, since=_seconds(lock.since))


def history_card(voice: Voice, service: str, past: Sequence[Rollout]) -> Rendered:
    """The answer to ``/deploy history``: the newest first."""
    if not past:
        text = voice("rollout.no_history", service=service)
        return Rendered(text=text, blocks=[section(text)])
    head = voice("rollout.history", service=service)
    return Rendered(text=head, blocks=listed(voice, (_line(voice, one) for one in past), head=f"*{head}*"))


def _line(voice: Voice, rollout: Rollout) -> str:
    planned = rollout.plan.revision if rollout.plan is not None else None
    # Before there is a plan nobody has looked whose image it is: it is named in full.
    image = shown_image(rollout) if rollout.plan is not None else rollout.image
    if rollout.plan is not None and rollout.plan.elsewhere is not None:
        of = rollout.plan.named or short_digest(rollout.plan.digest)
        image = f"{name_of(rollout.plan.image)}{':' if rollout.plan.named else '@'}{of}"
    what = image if rollout.image else rollout.to_revision or planned or "—"
    return f"{_mark(rollout)} " + voice(
        "rollout.line",
        number=rollout.number,
        service=rollout.service,
        what=code(what, IMAGE),
        state=_state(voice, rollout),
        who=rollout.requested_by.name,
        at=_seconds(rollout.requested_at),
    )


def plan_card(voice: Voice, rollout: Rollout) -> Rendered:
    """The answer to a dry run: what would change, and nothing was changed."""
    head = voice.plain("rollout.dry_run", service=rollout.service)
    facts = [pair for pair in _facts(voice, rollout) if pair[0] != voice("field.asked")]
    blocks: list[Block] = [header(head), fields(facts)]
    rest: list[Block] = [context(voice("rollout.nothing_changed"))]
    if rollout.plan is not None:
        warnings = warning_lines(voice, rollout)
        if warnings:
            rest.insert(0, section("\n".join(warnings)))
        blocks += change_blocks(voice, rollout.plan, [*blocks, *rest])
    blocks += rest
    return Rendered(text=voice("rollout.dry_run", service=rollout.service), blocks=blocks)
