"""Reads the policy's section ``backups``: what is copied when and where to, and what is kept of it."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from yaml import MappingNode, Node

from bot.shapes import count, is_name, quantity, yes_or_no
from bot.sheet import Sheet
from domain.backup_plans import BackupPlan, Backups, DrillRule, Part, Range, Source
from domain.levels import Level
from domain.questions import Question
from domain.retention import Retention
from domain.schedule import Cron, why_not_cron

KEYS = ("at", "to", "copies", "expected", "keep", "deletes", "sizes", "level", "drill")
DRILL = ("at", "scratch", "questions", "approvers", "self-approval", "expected")
QUESTION = ("copy", "ask", "least", "within")
KEEP = tuple(Retention.model_fields)
SIZES = ("low", "high")

QUESTION_EXAMPLE = 'Write for example `{copy: toban, ask: "SELECT count(*) FROM incident", least: 1}`'

MOST = 1000
"""Of each kind of period; ten years of days are more than anybody asked for."""

SHORTEST, LONGEST = timedelta(minutes=5), timedelta(hours=24)
"""How long a backup may be expected to take."""


def read_backups(node: Node | None, zone: str, sheet: Sheet) -> Backups:
    """The plans in the file's order. ``zone``: whose clocks the schedules follow."""
    plans = []
    for name, entry in sheet.entries(node, "backups").items():
        where = f"backups.{name}"
        if not is_name(entry, name, where, sheet):
            continue
        before = len(sheet.problems)
        details = sheet.fields(entry.value, where, KEYS)
        found = _plan(name, details, entry.key, zone, sheet)
        if found is not None and len(sheet.problems) == before:
            plans.append(found)
    return Backups(plans=tuple(plans))


def _plan(name: str, details: Mapping[str, Node], at: Node, zone: str, sheet: Sheet) -> BackupPlan | None:
    where = f"backups.{name}"
    for key, example in (("at", '"0 3 * * *"'), ("to", "/var/backups/toban"), ("copies", "[toban]")):
        if key not in details:
            sheet.wrong(at, f"{where} has no `{key}`. Write for example `{key}: {example}`")
    schedule = _cron(details.get("at"), f"{where}.at", zone, sheet)
    destination = _destination(details.get("to"), f"{where}.to", sheet)
    parts = _parts(details.get("copies"), f"{where}.copies", sheet)
    level = sheet.text(details.get("level"), f"{where}.level")
    given: dict[str, Any] = {
        "expected": _expected(details.get("expected"), f"{where}.expected", sheet),
        "keep": _keep(details.get("keep"), f"{where}.keep", sheet),
        "deletes": yes_or_no(details.get("deletes"), f"{where}.deletes", sheet, otherwise=False),
        "sizes": _sizes(details.get("sizes"), f"{where}.sizes", sheet),
        "level": sheet.member(level, details["level"], f"{where}.level", Level) if level else None,
        "drill": _drill(details.get("drill"), f"{where}.drill", parts, zone, sheet),
    }
    if schedule is None or destination is None or not parts:
        return None
    said = {key: value for key, value in given.items() if value is not None}
    return BackupPlan(name=name, schedule=schedule, parts=parts, destination=destination, **said)


def _cron(node: Node | None, where: str, zone: str, sheet: Sheet) -> Cron | None:
    line = sheet.text(node, where)
    if line is None:
        return None
    why = why_not_cron(line)
    if why is None:
        return Cron(line=line, zone=zone)
    assert node is not None
    sheet.wrong(node, f'{where}: "{line}" is not a crontab line such as "0 3 * * *": {why}')
    return None


def _destination(node: Node | None, where: str, sheet: Sheet) -> str | None:
    text = sheet.text(node, where)
    if text is None:
        return None
    path = PurePosixPath(text)
    if path.is_absolute() and ".." not in path.parts and len(path.parts) > 1:
        return str(path)
    assert node is not None
    sheet.wrong(node, f'{where}: "{text}" is not a folder by its absolute path, such as /var/backups/toban')
    return None


def _parts(node: Node | None, where: str, sheet: Sheet) -> tuple[Part, ...]:
    found: dict[str, Part] = {}
    for word, at in sheet.texts(node, where):
        source = sheet.member(word, at, where, Source)
        if source is None:
            continue
        if source.value in found:
            sheet.wrong(at, f'{where}: "{word}" stands twice. Keep one')
        found[source.value] = Part(name=source.value, source=source)
    if node is not None and not found and not sheet.problems:
        sheet.wrong(node, f"{where} is empty: nothing would be copied. Allowed: {', '.join(Source)}")
    return tuple(found.values())


def _expected(node: Node | None, where: str, sheet: Sheet) -> timedelta | None:
    length = sheet.duration(node, where)
    if length is None or SHORTEST <= length <= LONGEST:
        return length
    assert node is not None
    sheet.wrong(node, f"{where} must lie between 5m and 24h")
    return None


def _keep(node: Node | None, where: str, sheet: Sheet) -> Retention | None:
    if node is None:
        return None
    details = sheet.fields(node, where, KEEP)
    if isinstance(node, MappingNode) and not details:
        sheet.wrong(node, f"{where} is empty. Say for example `keep: {{daily: 7, weekly: 4, monthly: 12}}`")
    lows = {"verified": 1}
    found = {key: count(details.get(key), f"{where}.{key}", sheet, lows.get(key, 0), MOST) for key in KEEP}
    said = {key: value for key, value in found.items() if value is not None}
    kept = Retention(**said)
    if kept.daily + kept.weekly + kept.monthly == 0:
        sheet.wrong(
            node, f"{where} keeps no day, week or month: only the last {kept.verified} would stay. Keep some"
        )
    return kept


def _sizes(node: Node | None, where: str, sheet: Sheet) -> Range | None:
    if node is None:
        return None
    details = sheet.fields(node, where, SIZES)
    said = {}
    for key in SIZES:
        found = quantity(details.get(key), f"{where}.{key}", sheet)
        if found is None:
            continue
        value, unit = found
        right = (0 <= value < 100) if key == "low" else (100 < value <= 100_000)
        if unit == "%" and right:
            said[key] = value / 100
        else:
            low_or_high = "less than 100%, such as 50%" if key == "low" else "more than 100%, such as 300%"
            sheet.wrong(details[key], f"{where}.{key} must be {low_or_high} of the usual size")
    return Range(**said)


def _drill(
    node: Node | None, where: str, parts: tuple[Part, ...], zone: str, sheet: Sheet
) -> DrillRule | None:
    if node is None:
        return None
    details = sheet.fields(node, where, DRILL)
    scratch = {}
    for word, entry in sheet.entries(details.get("scratch"), f"{where}.scratch").items():
        source = sheet.member(word, entry.key, f"{where}.scratch", Source)
        place = sheet.text(entry.value, f"{where}.scratch.{word}")
        if source is None or place is None:
            continue
        why = _why_not_scratch(source, place)
        if why is None:
            scratch[source] = place
        else:
            sheet.wrong(entry.value, f"{where}.scratch.{word}: {why}")
    given = {
        "schedule": _cron(details.get("at"), f"{where}.at", zone, sheet),
        "scratch": scratch,
        "questions": _questions(details.get("questions"), f"{where}.questions", parts, sheet),
        "approvers": tuple(word for word, _ in sheet.texts(details.get("approvers"), f"{where}.approvers")),
        "self_approval": yes_or_no(
            details.get("self-approval"), f"{where}.self-approval", sheet, otherwise=False
        ),
        "expected": _expected(details.get("expected"), f"{where}.expected", sheet),
    }
    return DrillRule(**{key: value for key, value in given.items() if value is not None})


SCRATCH = {
    Source.TOBAN: (re.compile(r"/.+"), "a folder by its absolute path, such as /var/tmp/toban"),
    Source.CLOUD_SQL: (
        re.compile(r"[a-z0-9.:-]+/[a-z0-9-]+"),
        "project/instance, such as scratch-1/restored",
    ),
    Source.FIRESTORE: (
        re.compile(r"[a-z0-9.:-]+/[a-z0-9()-]+"),
        "project/database, such as scratch-1/restored",
    ),
    Source.BUCKET: (re.compile(r"gs://[a-z0-9._-]+(/.*)?"), "gs://bucket/prefix"),
}
"""How the place where a drill restores to is written. Google's names are of lower case."""


def _why_not_scratch(source: Source, place: str) -> str | None:
    if source not in SCRATCH:
        return f"{source.value} cannot be restored anywhere"
    shape, words = SCRATCH[source]
    return None if shape.fullmatch(place) else f'"{place}" is not {words}'


def _questions(node: Node | None, where: str, parts: tuple[Part, ...], sheet: Sheet) -> tuple[Question, ...]:
    if node is None:
        return ()
    found = []
    names = [part.name for part in parts]
    for number, item in enumerate(sheet.items(node, where), 1):
        here = f"{where}[{number}]"
        details = sheet.fields(item, here, QUESTION)
        part = sheet.text(details.get("copy"), f"{here}.copy")
        ask = sheet.text(details.get("ask"), f"{here}.ask")
        for key, value in (("copy", part), ("ask", ask)):
            if value is None and key not in details:
                sheet.wrong(
                    item,
                    f"{here} has no `{key}`. {QUESTION_EXAMPLE}",
                )
        if part is not None and names and part not in names:
            sheet.wrong(details["copy"], f'{here}.copy: "{part}" is none of the copies: {", ".join(names)}')
        least = quantity(details.get("least"), f"{here}.least", sheet)
        if least is not None and least[1]:
            sheet.wrong(details["least"], f"{here}.least is a plain number")
        within = sheet.duration(details.get("within"), f"{here}.within")
        if least is not None and within is not None:
            sheet.wrong(item, f"{here} has both `least` and `within`. Ask two questions")
        if part is not None and ask is not None:
            found.append(
                Question(part=part, ask=ask, least=None if least is None else least[0], within=within)
            )
    return tuple(found)
