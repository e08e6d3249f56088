"""What a deploy would change, in lines: differences, risks, warnings, and whether it can be judged."""

import itertools
from collections.abc import Iterator, Sequence

from domain import origins
from domain.feasibility import Feasibility, Reach
from domain.images import BadReference, Reference
from domain.plans import Change, Field, Plan, Risk, Warn
from domain.rollouts import Kind, Rollout
from notify.slack import limits
from notify.slack.blocks import Block
from notify.slack.escape import line
from notify.slack.lists import listed
from notify.texts import Voice

SHOWN, ROOM = 60, 6000
"""Lines of differences on one card, and characters of them where the rest of the card leaves so many."""

MARGIN = 300
"""Characters kept free on a card for what is counted otherwise by Slack than by us."""

IMAGE = 340
"""Characters of an image's name with its digest: all that there can be."""

NAME, VALUE = 60, 90
"""Characters of a setting's name and of a value; of two values that differ late, the difference is shown."""

NAMES, NAMES_ROOM = 40, 1200
"""Names of settings or variables in one line, and characters of them; the rest is counted."""

ONE_BY_ONE = 3
"""Variables that come, go or change and still have a line each; of more there is a list of names."""


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
    # A tag beside a digest is a remark that nobody has checked.
    return f"{name}@{short_digest(reference.digest)}" if reference.digest else f"{name}:{reference.tag}"


def shown_image(rollout: Rollout) -> str:
    """The image of a rollout in short: by its tag only while that is known to be its digest."""
    plan = rollout.plan
    if plan is None or plan.digest is None:
        return short_image(_by_digest(rollout.image))
    name = origins.name_of(plan.image).rpartition("/")[2]
    return f"{name}:{plan.named}" if plan.named else f"{name}@{short_digest(plan.digest)}"


def image_line(rollout: Rollout) -> str:
    """The image and the beginning of its digest; in full where it comes from elsewhere or has no plan."""
    plan = rollout.plan
    if plan is None or plan.digest is None:
        return code(_by_digest(rollout.image), IMAGE)
    name = origins.name_of(plan.image)
    shown = name if plan.elsewhere is not None else name.rpartition("/")[2]
    tag = f":{plan.named}" if plan.named else ""
    return f"{code(f'{shown}{tag}', IMAGE)} ({line(short_digest(plan.digest))})"


def _by_digest(image: str) -> str:
    """A name as it was typed; a tag beside a digest is a remark that nobody has checked, and left out."""
    try:
        reference = Reference.parse(image)
    except BadReference:
        return image
    return str(reference.pinned(reference.digest)) if reference.digest is not None else str(reference)


def origin_lines(voice: Voice, plan: Plan) -> list[str]:
    """From where the image comes, in full, where that is elsewhere than what serves."""
    if plan.elsewhere is None:
        return []
    new = origins.origin(plan.image)
    facts = (("host", new.host), ("project", new.project), ("repository", new.repository))
    shown = [f"• {_named(voice, voice(f'origin.{key}'), code(value, IMAGE))}" for key, value in facts]
    serving = code(origins.name_of(plan.elsewhere), IMAGE)
    before = f"• {_named(voice, voice('origin.before'), serving)}"
    is_risk = Risk.IMAGE_ORIGIN in plan.risks  # Of a rollback to what served before it is none.
    return [*([f":warning: {voice('risk.image_origin')}"] if is_risk else []), *shown, before]


def _named(voice: Voice, what: str, value: str) -> str:
    """A name and its value, with the colon of the language."""
    return voice("rollout.setting", what=what, value=value)


def origin_params(plan: Plan) -> dict[str, str]:
    """The same for a dialog, which has little room: of each part what tells it from the one that serves."""
    assert plan.elsewhere is not None
    new, old = origins.origin(plan.image), origins.origin(plan.elsewhere)
    before, after = origins.name_of(plan.elsewhere), origins.name_of(plan.image)
    return {
        "host": origins.telling(new.host, old.host, 56),
        "project": origins.telling(new.project, old.project, 32),
        "repository": origins.telling(new.repository, old.repository, 54),
        "before": origins.telling(before, after, 40),
    }


def sidecars_elsewhere(plan: Plan) -> list[tuple[str, str]]:
    """Other containers' names and images that come from elsewhere than what was there; empty for no risk."""
    if Risk.IMAGE_ORIGIN not in plan.risks:
        return []
    return [
        (change.name, origins.name_of(change.after))
        for change in plan.changes
        if change.field is Field.SIDECAR
        and change.after is not None
        and origins.is_elsewhere(change.before or plan.image, change.after)
    ]


def short_digest(digest: str | None) -> str:
    """Twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12] if digest else "—"


def change_blocks(voice: Voice, plan: Plan, others: list[Block]) -> list[Block]:
    """Every difference, the most dangerous first, so that no number of harmless ones hides it.

    Variables come last; of these and of other settings only the names are shown. ``others``: all other
    blocks of the card, which leave room for so much.
    """
    lines = change_lines(voice, plan)
    room = min(ROOM, limits.MESSAGE_CHARACTERS - limits.characters(others) - MARGIN)
    head = f"*{voice('rollout.changes')}*"
    return listed(voice, lines, head=head, room=room, most=SHOWN) if lines else []


def change_lines(voice: Voice, plan: Plan) -> list[str]:
    """The lines of ``change_blocks``."""
    other = [change.name for change in plan.changes if change.field is Field.OTHER]
    first = [change for change in plan.changes if change.field is Field.IMAGE]
    ahead = [change for field in _DANGER for change in plan.changes if change.field is field]
    apart = {Field.IMAGE, Field.OTHER, Field.ENV, Field.SECRET, *_DANGER}
    plain = [change for change in plan.changes if change.field not in apart]
    secrets = [change for change in plan.changes if change.field is Field.SECRET]
    moved = [change for change in secrets if _way(change) == "changed"]  # Each says whose it was and is.
    secrets = [change for change in secrets if change not in moved]
    variables = [change for change in plan.changes if change.field is Field.ENV]
    lines = [f"• {_change(voice, change)}" for change in (*first, *ahead)]
    if other:
        ordered = [_setting(name) for name in sorted(other, key=_harmless)]
        names = ", ".join(fitting(voice, ordered, NAMES_ROOM, NAMES))
        lines.append(f"• {_named(voice, voice.word('change', Field.OTHER.value), names)}")
    lines += [f"• {_change(voice, change)}" for change in (*plain, *moved)]
    return [*lines, *_by_way(voice, secrets, "secrets"), *_by_way(voice, variables, "variables")]


def _by_way(voice: Voice, changes: Sequence[Change], kind: str) -> Iterator[str]:
    """What changed, what went, what came: each as a list of names where it is long."""
    for way in ("changed", "removed", "added"):
        found = [change for change in changes if _way(change) == way]
        if len(found) <= ONE_BY_ONE:
            yield from (f"• {_change(voice, change)}" for change in found)
            continue
        names = ", ".join(fitting(voice, [_setting(one.name) for one in found], NAMES_ROOM, NAMES))
        yield f"• {voice(f'rollout.{kind}_{way}', count=len(found), names=names)}"


def _way(change: Change) -> str:
    if change.before is None:
        return "added"
    return "removed" if change.after is None else "changed"


_DANGER = (Field.SERVICE_ACCOUNT, Field.SIDECAR)
"""What decides who the code is and what runs, in the order in which it is shown; the rest follows."""

_HARMLESS = ("annotations[", "labels[")
"""How settings begin that change nothing of what runs (``gcp/template_details.py``); there may be dozens."""


def _harmless(name: str) -> tuple[bool, bool, str]:
    """For sorting: what runs and what it reaches, then volumes, of which there may be dozens, then notes."""
    return name.startswith(_HARMLESS), name.startswith("volume "), name


def _setting(name: str) -> str:
    """A setting's name; of a long one the end, which is the setting, and not the container's name."""
    return code(name if len(name) <= NAME else f"…{name[1 - NAME :]}", NAME)


def fitting(voice: Voice, lines: Sequence[str], room: int, most: int) -> list[str]:
    """Whole lines, at most ``most`` and so many as ``room`` characters hold; the rest is counted."""
    ends = itertools.accumulate(len(one) + 1 for one in lines)
    count = min(most, sum(end <= room for end in ends))
    if count == len(lines):
        return list(lines)
    return [*lines[:count], voice("alert.and_more", count=len(lines) - count)]


def _change(voice: Voice, change: Change) -> str:
    what = voice.word("change", change.field.value)
    name = f" {_setting(change.name)}" if change.name else ""
    if change.before is None and change.field is Field.SIDECAR:
        return voice("rollout.added", what=f"{what}{name}") + f" {code(change.after or '', IMAGE)}"
    if change.before is None:
        key = "rollout.added"
    elif change.after is None:
        key = "rollout.removed"
    elif change.field is Field.ENV:
        key = "rollout.changed"
    else:
        before, after = _shown(change, change.before), _shown(change, change.after)
        return _named(voice, f"{what}{name}", f"{before} → {after}")
    return voice(key, what=f"{what}{name}")


def _shown(change: Change, value: str) -> str:
    """An image in short, and in full where its name is another: its last part would hide whose it is."""
    if change.field not in {Field.IMAGE, Field.SIDECAR}:
        other = change.after if value == change.before else change.before
        return code(origins.telling(value, other or "", VALUE), VALUE)
    is_other = origins.is_elsewhere(change.before or "", change.after or "")
    return code(value, IMAGE) if is_other else code(short_image(value))


def warning_lines(voice: Voice, rollout: Rollout) -> list[str]:
    """What an approver has to know beyond the differences."""
    plan = rollout.plan
    if plan is None:
        return []
    shown = origin_lines(voice, plan)
    told = {Risk.IMAGE_ORIGIN} if shown else set()
    shown += [f":warning: {voice(f'risk.{risk.value}')}" for risk in plan.risks if risk not in told]
    for warning in plan.warnings:
        if warning is Warn.FEW_REQUESTS:
            continue
        if warning is Warn.MUTABLE_TAG:
            is_imagined = rollout.id is None  # A dry run: nobody approves it.
            key = "warn.tag_is_digest" if is_imagined else "warn.mutable_tag"
            shown.append(voice(key, digest=short_digest(plan.digest)))
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
    # About as many as needed: enough on average, and often too few.
    key = "rollout.few_requests" if params["expected"] < found.minimum else "rollout.tight"
    shown = [f":information_source: {voice(key, **params)}"]
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
