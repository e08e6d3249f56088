"""The card of a restore drill: what was restored, whether it was right, how long that took."""

from domain.backups import Progress, Stage
from domain.drills import Drill, DrillState
from domain.outbox import Rendered
from domain.units import Unit
from domain.views import DrillView
from notify.slack import actions
from notify.slack.blocks import Block, button, confirm, context, fields, header, section
from notify.slack.blocks import actions as row
from notify.slack.cards.rollout_evidence import bar
from notify.slack.lists import listed
from notify.texts import Voice

MARK = {
    DrillState.ASKED: ":large_yellow_circle:",
    DrillState.RUNNING: ":hourglass_flowing_sand:",
    DrillState.CLEANING: ":hourglass_flowing_sand:",
    DrillState.PASSED: ":white_check_mark:",
    DrillState.FAILED: ":x:",
    DrillState.DECLINED: ":no_entry_sign:",
    DrillState.EXPIRED: ":no_entry_sign:",
}

REASONS_ROOM, PARTS_ROOM = 3000, 6000
"""Characters of each on one card."""

REASONS = 10
"""Reasons on one card; the rest is counted."""


def drill_card(voice: Voice, view: DrillView) -> Rendered:
    """What came of it, then where each part stands, then who wanted it."""
    drill = view.drill
    state = voice.plain_word("drill_state", drill.state.value)
    head = voice.plain("drill.head", number=drill.number, plan=drill.plan, state=state)
    blocks: list[Block] = [header(head, MARK[drill.state]), fields(_facts(voice, view))]
    if drill.state is DrillState.ASKED:
        blocks.append(section(voice("drill.asks", who=drill.requested_by.name)))
    if drill.reasons:
        lines = [f"• {voice.say(reason)}" for reason in drill.reasons[:REASONS]]
        if len(drill.reasons) > REASONS:
            lines.append(voice("backup.more_reasons", count=len(drill.reasons) - REASONS))
        blocks += listed(voice, lines, room=REASONS_ROOM)
    if drill.parts:
        blocks += listed(voice, (_part(voice, one) for one in drill.parts), room=PARTS_ROOM)
    blocks.append(context(*_small(voice, drill)))
    if drill.state is DrillState.ASKED:
        blocks.append(row(*_buttons(voice, drill)))
    elif drill.state is DrillState.FAILED and drill.released_by is None:
        blocks.append(row(_release(voice, drill)))
    asks = drill.state in {DrillState.ASKED, DrillState.FAILED}
    text = voice("backup.fallback_asks" if asks else "backup.fallback", head=head)
    return Rendered(text=text, blocks=blocks)


def _facts(voice: Voice, view: DrillView) -> list[tuple[str, str]]:
    drill, backup = view.drill, view.backup
    at = int(drill.at.timestamp())
    facts = [(voice("field.backup_state_of"), voice("backup.when", at=at))]
    if backup is not None:
        facts.append((voice("field.restored_from"), voice("drill.from", number=backup.number)))
    if drill.seconds is not None:
        took = (drill.seconds, Unit.SECONDS.value)
        facts.append((voice("field.recovery"), voice("backup.took", took=took)))
    return facts


def _part(voice: Voice, progress: Progress) -> str:
    """One line: how far it is, or what was found."""
    params: dict[str, object] = {"part": progress.part.name}
    match progress.stage:
        case Stage.DONE if progress.evidence is not None:
            seen = progress.evidence
            if seen.flaws:
                return f":x: {voice('backup.part_flawed', **params)}"
            if seen.records is not None:
                line = voice("drill.part_done_records", **params, records=(seen.records, Unit.COUNT.value))
            elif seen.objects > 1:
                line = voice("drill.part_done_files", **params, objects=seen.objects)
            else:
                line = voice("drill.part_done", **params)
            took = "" if seen.seconds is None else voice("drill.in", took=(seen.seconds, Unit.SECONDS.value))
            return " · ".join(filter(None, [f":white_check_mark: {line}", took]))
        case Stage.FAILED:
            return f":x: {voice('drill.part_failed', **params)}"
        case Stage.COPYING if progress.total:
            share = min(1.0, progress.done / progress.total)
            line = voice("backup.part_going", **params, percent=int(share * 100))
            line = f":hourglass_flowing_sand: {bar(share)} {line}"
        case stage:
            line = f":hourglass_flowing_sand: {voice(f'drill.part_{stage.value}', **params)}"
    if progress.trouble is None:
        return line
    return f"{line}\n{voice('backup.part_trouble', why=progress.trouble)}"


def _small(voice: Voice, drill: Drill) -> list[str]:
    """Who wanted it, who agreed, and that nothing of it remains."""
    small = []
    if drill.requested_by.is_toban:
        small.append(voice("drill.by_timetable"))
    else:
        small.append(voice("backup.asked_by", who=drill.requested_by.name))
    if drill.answered_by is not None:
        key = "drill.declined_by" if drill.state is DrillState.DECLINED else "drill.approved_by"
        small.append(voice(key, who=drill.answered_by.name))
    if drill.released_by is not None:
        small.append(voice("drill.released_by", who=drill.released_by.name))
    elif drill.state is DrillState.FAILED:
        small.append(voice("drill.halts"))
    if drill.state is DrillState.CLEANING:
        small.append(voice("drill.cleaning"))
    if drill.state is DrillState.PASSED:
        small.append(voice("drill.cleaned"))
    return small


def _release(voice: Voice, drill: Drill) -> Block:
    """The person's word, without which nothing old goes until a drill passes."""
    asked = confirm(
        voice.plain("confirm.drill_release_title"),
        voice.plain("confirm.drill_release_text", plan=drill.plan),
        voice.plain("button.drill_release"),
        voice.plain("button.cancel"),
    )
    return button(
        voice.plain("button.drill_release"), actions.DRILL_RELEASE, drill.subject.key, confirm=asked
    )


def _buttons(voice: Voice, drill: Drill) -> list[Block]:
    key = drill.subject.key
    asked = confirm(
        voice.plain("confirm.drill_title"),
        voice.plain("confirm.drill_text", number=drill.number, plan=drill.plan),
        voice.plain("button.drill_approve"),
        voice.plain("button.cancel"),
    )
    approve = button(
        voice.plain("button.drill_approve"), actions.DRILL_APPROVE, key, style="primary", confirm=asked
    )
    return [approve, button(voice.plain("button.drill_decline"), actions.DRILL_DECLINE, key)]
