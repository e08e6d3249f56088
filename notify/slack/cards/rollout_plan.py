"""What a deploy would change, in lines: differences, risks, warnings, and whether it can be judged."""

import itertools
from collections.abc import Sequence

from domain.feasibility import Feasibility, Reach
from domain.images import BadReference, Reference
from domain.plans import Change, Field, Plan, Warn
from domain.rollouts import Kind, Rollout
from notify.slack.escape import line
from notify.texts import Voice

SHOWN, ROOM = 15, 2400
"""Differences on one card, and characters of them; the rest is counted."""

NAMES, NAMES_ROOM = 15, 800
"""Names of other settings in one line, and characters of them; the rest is counted."""


def code(text: str, limit: int = 80) -> str:
    """Text from outside as code on one line; a backtick in it would end that, so it is one no more."""
    return f"`{line(text, limit).replace('`', 'ˋ') or '—'}`"


def short_image(image: str) -> str:
    """An image as people speak of it: its last name with its tag, or the beginning of its digest.

    Not escaped: it is shown in markup as well as in dialogs, which know none.
    """
    try:
        reference = Reference.parse(image)
    except BadReference:
        return image
    name = reference.repository.rpartition("/")[2]
    return f"{name}:{reference.tag}" if reference.tag else f"{name}@{short_digest(reference.digest)}"


def short_digest(digest: str | None) -> str:
    """Twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12] if digest else "—"


def change_lines(voice: Voice, plan: Plan) -> list[str]:
    """Every difference, the image first, variables last; of these and of other settings only the names."""
    other = [change.name for change in plan.changes if change.field is Field.OTHER]
    first = [change for change in plan.changes if change.field is Field.IMAGE]
    named = [one for one in plan.changes if one.field not in {Field.IMAGE, Field.OTHER, Field.ENV}]
    variables = [change for change in plan.changes if change.field is Field.ENV]
    lines = [f"• {_change(voice, change)}" for change in first]
    if other:
        names = ", ".join(fitting(voice, [code(name, 60) for name in sorted(other)], NAMES_ROOM, NAMES))
        lines.append(f"• {voice.word('change', Field.OTHER.value)}: {names}")
    lines += [f"• {_change(voice, change)}" for change in (*named, *variables)]
    return fitting(voice, lines, ROOM, SHOWN)


def fitting(voice: Voice, lines: Sequence[str], room: int, most: int) -> list[str]:
    """Whole lines, at most ``most`` and so many as ``room`` characters hold; the rest is counted."""
    ends = itertools.accumulate(len(one) + 1 for one in lines)
    count = min(most, sum(end <= room for end in ends))
    if count == len(lines):
        return list(lines)
    return [*lines[:count], voice("alert.and_more", count=len(lines) - count)]


def _change(voice: Voice, change: Change) -> str:
    what = voice.word("change", change.field.value)
    name = f" {code(change.name, 60)}" if change.name else ""
    if change.before is None:
        key = "rollout.added"
    elif change.after is None:
        key = "rollout.removed"
    elif change.field is Field.ENV:
        key = "rollout.changed"
    else:
        before, after = _shown(change.field, change.before), _shown(change.field, change.after)
        return f"{what}{name}: {before} → {after}"
    return voice(key, what=f"{what}{name}")


def _shown(field: Field, value: str) -> str:
    return code(short_image(value)) if field in {Field.IMAGE, Field.SIDECAR} else code(value, 60)


def warning_lines(voice: Voice, rollout: Rollout) -> list[str]:
    """What an approver has to know beyond the differences."""
    plan = rollout.plan
    if plan is None:
        return []
    shown = [f":warning: {voice(f'risk.{risk.value}')}" for risk in plan.risks]
    for warning in plan.warnings:
        if warning is Warn.FEW_REQUESTS:
            continue
        if warning is Warn.MUTABLE_TAG:
            shown.append(voice("warn.mutable_tag", digest=short_digest(plan.digest)))
        else:
            shown.append(f":information_source: {voice(f'warn.{warning.value}')}")
    if rollout.feasibility is not None and Warn.FEW_REQUESTS in plan.warnings:
        shown += feasibility_lines(voice, rollout, rollout.feasibility)
    return shown


def feasibility_lines(voice: Voice, rollout: Rollout, found: Feasibility) -> list[str]:
    """Whether the canary will have requests enough, and what would help."""
    params = {
        "percent": rollout.course.steps[0],
        "bake": rollout.course.bake.total_seconds(),
        "expected": round(found.expected),
        "minimum": found.minimum,
    }
    shown = [f":information_source: {voice('rollout.few_requests', **params)}"]
    if found.reach is Reach.EXTENSION:
        shown.append(voice("rollout.reached_later"))
    if found.percent is not None and found.bake is not None:
        bake = int(found.bake.total_seconds() // 60)
        shown.append(voice("rollout.try_instead", percent=found.percent, minutes=bake))
    elif found.reach is Reach.NEVER:
        shown.append(voice("rollout.needs_synthetic", rate=round(found.synthetic or 0)))
    return shown


def course_line(voice: Voice, rollout: Rollout) -> str:
    """``10 % → 100 %``, and how long each is looked at."""
    steps = " → ".join(f"{step} %" for step in rollout.course.steps)
    if rollout.kind is Kind.ROLLBACK or rollout.course.steps == (100,):
        return voice("rollout.course_at_once", watch=rollout.course.watch.total_seconds())
    params = {"bake": rollout.course.bake.total_seconds(), "watch": rollout.course.watch.total_seconds()}
    return voice("rollout.course", steps=steps, **params)
