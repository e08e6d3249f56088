"""What a deploy would change, in lines: differences, risks, warnings, and whether it can be judged."""

from domain.images import BadReference, Reference
from domain.plans import Change, Field, Plan, Warn
from domain.rollouts import Kind, Rollout
from domain.verdict import Feasibility, Reach
from notify.slack.escape import line
from notify.texts import Voice

SHOWN = 15
"""Differences on one card; the rest is counted."""


def short_image(image: str) -> str:
    """An image as people speak of it: its last name with its tag, or the beginning of its digest."""
    try:
        reference = Reference.parse(image)
    except BadReference:
        return line(image, 80)
    name = reference.repository.rpartition("/")[2]
    return line(
        f"{name}:{reference.tag}" if reference.tag else f"{name}@{short_digest(reference.digest)}", 80
    )


def short_digest(digest: str | None) -> str:
    """Twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12] if digest else "—"


def change_lines(voice: Voice, plan: Plan) -> list[str]:
    """Every difference, the image first. Of variables only the names are said."""
    shown = [_change(voice, change) for change in plan.changes[:SHOWN]]
    if len(plan.changes) > SHOWN:
        shown.append(voice("alert.and_more", count=len(plan.changes) - SHOWN))
    return [f"• {one}" for one in shown]


def _change(voice: Voice, change: Change) -> str:
    what = voice.word("change", change.field.value)
    name = f" `{line(change.name, 60)}`" if change.name else ""
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
    return f"`{short_image(value)}`" if field is Field.IMAGE else f"`{line(value, 60) or '—'}`"


def warning_lines(voice: Voice, rollout: Rollout) -> list[str]:
    """What an approver has to know beyond the differences."""
    plan = rollout.plan
    if plan is None:
        return []
    shown = [f":warning: {voice(f'risk.{risk.value}')}" for risk in plan.risks]
    for warning in plan.warnings:
        if warning is Warn.FEW_REQUESTS:
            continue
        if warning is Warn.MUTABLE_TAG and rollout.kind is Kind.DEPLOY:
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
