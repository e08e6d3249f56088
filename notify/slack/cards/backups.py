"""The card of a backup: one message from its beginning to its verdict, and the lists of backups."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from domain.backup_plans import BackupPlan
from domain.backup_sizes import SOON, Sizes
from domain.backups import Backup, Progress, Stage
from domain.drilling import halts
from domain.drills import Drill, DrillState
from domain.outbox import Rendered
from domain.retention import Fate, Standing
from domain.units import Unit
from domain.views import BackupView
from notify.slack import actions
from notify.slack.blocks import Block, button, confirm, context, fields, header, section
from notify.slack.blocks import actions as row
from notify.slack.cards.rollout_evidence import bar
from notify.slack.lists import listed
from notify.texts import Voice

MARK = {
    Standing.RUNNING: ":hourglass_flowing_sand:",
    Standing.VERIFIED: ":white_check_mark:",
    Standing.SUSPICIOUS: ":warning:",
    Standing.FAILED: ":x:",
    Standing.MISSED: ":no_entry_sign:",
}

REASONS = 10
"""Reasons on one card; the rest is counted."""

REASONS_ROOM, PARTS_ROOM = 3000, 6000
"""Characters of each on one card."""

LINES = 20

DAY = 86400
"""Seconds."""

SAME = 0.005
"""A size that has changed by a smaller share is the same."""


def backup_card(voice: Voice, view: BackupView) -> Rendered:
    """What became of it, then where each part stands, then how old the newest verified one is."""
    backup = view.backup
    head = voice.plain(
        "backup.head",
        number=backup.number,
        plan=backup.plan,
        state=voice.plain_word("backup_standing", backup.standing.value),
    )
    blocks: list[Block] = [header(head, MARK[backup.standing]), fields(_facts(voice, view))]
    if backup.reasons:
        lines = [f"• {voice.say(reason)}" for reason in backup.reasons[:REASONS]]
        if len(backup.reasons) > REASONS:
            lines.append(voice("backup.more_reasons", count=len(backup.reasons) - REASONS))
        blocks += listed(voice, lines, room=REASONS_ROOM)
    blocks += listed(voice, (_part(voice, one) for one in backup.parts), room=PARTS_ROOM)
    small = [*_doubts(voice, backup), *_small(voice, view)]
    if small:
        blocks.append(context(*small))
    buttons = _buttons(voice, backup)
    if buttons:
        blocks.append(row(*buttons))
    asks = backup.standing in {Standing.SUSPICIOUS, Standing.FAILED}
    text = voice("backup.fallback_asks" if asks else "backup.fallback", head=head)
    return Rendered(text=text, blocks=blocks)


def _facts(voice: Voice, view: BackupView) -> list[tuple[str, str]]:
    backup = view.backup
    facts = [(voice("field.backup_state_of"), voice("backup.when", at=_seconds(backup.at)))]
    if backup.is_over:
        facts.append((voice("field.size"), voice("backup.size", size=(backup.size, Unit.BYTES.value))))
        if backup.begun_at is not None and backup.ended_at is not None:
            took = (backup.ended_at - backup.begun_at).total_seconds()
            facts.append((voice("field.took"), voice("backup.took", took=(took, Unit.SECONDS.value))))
    else:
        facts.append((voice("field.expected"), voice("backup.when", at=_seconds(backup.expected_by))))
    key = "backup.lies_in_encrypted" if any(one.part.encrypt for one in backup.parts) else "backup.lies_in"
    facts.append((voice("field.lies_in"), voice(key, place=backup.destination)))
    return facts


def _part(voice: Voice, progress: Progress) -> str:
    """One line: how far it is, or what was found."""
    params: dict[str, object] = {"part": progress.part.name}
    match progress.stage:
        case Stage.DONE if progress.evidence is not None:
            seen = progress.evidence
            params |= {"objects": seen.objects, "size": (seen.bytes, Unit.BYTES.value)}
            if seen.flaws:
                return f":x: {voice('backup.part_flawed', **params)}"
            key = "backup.part_done" if seen.records is None else "backup.part_done_records"
            if seen.newest is not None:
                key, params["newest"] = "backup.part_done_newest", _seconds(seen.newest)
            if seen.records is None and seen.objects == 1:
                key = "backup.part_done_one"
            return f":white_check_mark: {voice(key, **params, records=(seen.records or 0, Unit.COUNT.value))}"
        case Stage.FAILED:
            return f":x: {voice('backup.part_failed', **params)}"
        case Stage.COPYING if progress.total:
            share = min(1.0, progress.done / progress.total)
            line = voice("backup.part_going", **params, percent=int(share * 100))
            line = f":hourglass_flowing_sand: {bar(share)} {line}"
        case Stage.STARTING if progress.part.second_of:
            line = voice("backup.part_starting_second", **params, first=progress.part.second_of)
            line = f":hourglass_flowing_sand: {line}"
        case stage:
            line = f":hourglass_flowing_sand: {voice(f'backup.part_{stage.value}', **params)}"
    if progress.trouble is None:
        return line
    return f"{line}\n{voice('backup.part_trouble', why=progress.trouble)}"


def _doubts(voice: Voice, backup: Backup) -> list[str]:
    """What the copied things leave open, each with the way out."""
    seen = [one.evidence for one in backup.parts if one.evidence is not None]
    full = [
        _full(voice, one.free, one.full_in)
        for one in seen
        if one.free is not None and one.full_in is not None
    ]
    open_ends = [
        f":warning: {voice(f'backup.doubt_{doubt.value}', part=one.part.name)}"
        for one in backup.parts
        if one.evidence is not None
        for doubt in one.evidence.doubts
    ]
    return [*full, *open_ends][:4]


def _small(voice: Voice, view: BackupView) -> list[str]:
    """What is safe now, whatever became of this one."""
    backup, verified = view.backup, view.verified
    small = []
    if backup.accepted_by is not None:
        small.append(voice("backup.accepted", who=backup.accepted_by.name))
    if verified is None:
        small.append(voice("backup.none_verified"))
    elif verified.id != backup.id:
        small.append(voice("backup.newest", number=verified.number, at=_seconds(verified.at)))
    if not backup.requested_by.is_toban:
        small.append(voice("backup.asked_by", who=backup.requested_by.name))
    if backup.ahead:
        small.append(voice("backup.ahead"))
    if backup.removed_at is not None:
        small.append(voice("backup.removed", at=_seconds(backup.removed_at)))
    elif backup.marked_at is not None:
        small.append(voice("backup.marked", at=_seconds(backup.marked_at)))
    return small


def _buttons(voice: Voice, backup: Backup) -> list[Block]:
    """A person can say that a suspicious one is right, and try again where one came to nothing."""
    if backup.removed_at is not None:
        return []
    key = backup.subject.key
    again = button(voice.plain("button.backup_again"), actions.BACKUP_RUN, key)
    if backup.standing is Standing.FAILED:
        return [again]
    if backup.standing is not Standing.SUSPICIOUS:
        return []
    asked = confirm(
        voice.plain("confirm.accept_title"),
        voice.plain("confirm.accept_text", number=backup.number),
        voice.plain("button.backup_accept"),
        voice.plain("button.cancel"),
    )
    accept = button(voice.plain("button.backup_accept"), actions.BACKUP_ACCEPT, key, confirm=asked)
    return [again, accept]


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def plans_card(
    voice: Voice,
    plans: Sequence[BackupPlan],
    latest: Mapping[str, Backup],
    verified: Mapping[str, Backup],
    tried: Mapping[str, Drill],
    at: datetime,
    sizes: Mapping[str, Sizes | None] | None = None,
) -> Rendered:
    """All plans on one screen, those without a recent verified backup first. ``sizes`` by the plan's name."""
    bad = [
        one
        for one in plans
        if one.name not in verified or _is_bad(latest.get(one.name)) or halts(tried.get(one.name))
    ]
    head = voice("backup.plans_bad", count=len(bad)) if bad else voice("backup.plans_well", count=len(plans))
    blocks: list[Block] = [section(f"*{head}*")]
    for plan in [*bad, *(one for one in plans if one not in bad)]:
        newest, proven = latest.get(plan.name), verified.get(plan.name)
        mark = MARK[newest.standing] if newest is not None else ":white_circle:"
        lines = [f"{mark} *{voice('backup.plan_name', plan=plan.name)}*"]
        if plan.second_of:
            lines.append(voice("backup.second", first=plan.second_of, place=plan.destination))
        if proven is None:
            lines.append(voice("backup.none_verified"))
        else:
            age = ((at - proven.at).total_seconds(), Unit.SECONDS.value)
            lines.append(voice("backup.rpo", number=proven.number, at=_seconds(proven.at), age=age))
        if newest is not None and (proven is None or newest.id != proven.id):
            state = newest.standing.value
            lines.append(voice("backup.last", number=newest.number, at=_seconds(newest.due_at), state=state))
        lines += _sizes(voice, (sizes or {}).get(plan.name))
        lines.append(_tried(voice, plan.name, tried.get(plan.name)))
        lines.append(voice("backup.next", at=_seconds(plan.schedule.following(at))))
        blocks.append(section("\n".join(lines)))
    return Rendered(text=head, blocks=blocks[:50])


def _tried(voice: Voice, plan: str, drill: Drill | None) -> str:
    """What the last restore drill came to."""
    if drill is None:
        return voice("backup.no_drill", plan=plan)
    params = {"number": drill.number, "at": _seconds(drill.due_at)}
    if drill.state is not DrillState.PASSED or drill.seconds is None:
        return voice("backup.drill_failed", **params)
    return voice("backup.rto", **params, took=(drill.seconds, Unit.SECONDS.value))


def _is_bad(newest: Backup | None) -> bool:
    return newest is not None and newest.standing not in {Standing.VERIFIED, Standing.RUNNING}


def _sizes(voice: Voice, sizes: Sizes | None) -> list[str]:
    """How much it is, how that has changed, and how long there is room for it."""
    if sizes is None:
        return []
    kept = {"kept": (sizes.kept, Unit.BYTES.value), "count": sizes.copies}
    grown = [
        _grown(voice, span, sizes.newest, before)
        for span, before in (("week", sizes.week_ago), ("month", sizes.month_ago))
        if before
    ]
    lines = [voice("backup.sizes", size=(sizes.newest, Unit.BYTES.value), **kept)]
    lines += [" · ".join(grown)] if grown else []
    if sizes.free is not None:
        lines.append(_full(voice, sizes.free, sizes.full_in))
    return lines


def _full(voice: Voice, free: int, days: int | None) -> str:
    """What is free, and how long that lasts, with a mark where it is not long."""
    room = (free, Unit.BYTES.value)
    if days is None:
        return voice("backup.free", free=room)
    mark = ":warning: " if days < SOON else ""
    return mark + voice("backup.full_in", free=room, days=days * DAY)


def _grown(voice: Voice, span: str, now: int, before: int) -> str:
    """How a size has changed since a ``week`` or a ``month`` before."""
    share = (now - before) / before
    if abs(share) < SAME:
        return voice(f"backup.{span}_same")
    by = {"by": (abs(now - before), Unit.BYTES.value), "share": (abs(share), Unit.SHARE.value)}
    return voice(f"backup.{span}_{'more' if share > 0 else 'less'}", **by)


def history_card(
    voice: Voice, plan: str, past: Sequence[tuple[Backup, Fate | None]], sizes: Sizes | None = None
) -> Rendered:
    """How much a plan takes; its newest backups, and for each why it stays or may go."""
    head = voice("backup.history", plan=plan)
    lines = []
    for backup, fate in past[:LINES]:
        state = voice.word("backup_standing", backup.standing.value)
        size = (backup.size, Unit.BYTES.value)
        line = voice("backup.history_line", number=backup.number, at=_seconds(backup.due_at), size=size)
        stays = ""
        if backup.removed_at is not None:
            stays = voice("backup.removed", at=_seconds(backup.removed_at))
        elif fate is not None:
            stays = voice(f"backup.{'stays' if fate.keep else 'goes'}", why=fate.why.value)
        lines.append(" · ".join(filter(None, [f"{MARK[backup.standing]} {state}", line, stays])))
    if not lines:
        lines = [voice("backup.no_history")]
    above = "\n".join([f"*{head}*", *_sizes(voice, sizes)])
    return Rendered(text=head, blocks=[section(above), *listed(voice, lines)])
