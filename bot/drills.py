"""Reads how a backup plan is restored to prove it: the key ``drill`` of a plan."""

import re
from collections.abc import Callable, Sequence
from datetime import timedelta

from yaml import Node

from bot.shapes import quantity, yes_or_no
from bot.sheet import Sheet
from domain.backup_plans import UNREHEARSED, DrillRule, Part, Source
from domain.questions import Question
from domain.schedule import Cron

KEYS = ("at", "scratch", "questions", "approvers", "self-approval", "expected")
QUESTION = ("copy", "ask", "least", "within")

EXAMPLE = 'Write for example `{copy: toban, ask: "SELECT count(*) FROM incident", least: 1}`'

SCRATCH = {
    Source.TOBAN: (re.compile(r"/.+"), "a folder by its absolute path, such as /var/tmp/toban"),
    Source.CLOUD_SQL: (
        re.compile(r"[a-z][a-z0-9.:-]+/[a-z][a-z0-9-]*"),
        "project/instance, such as scratch-1/restored",
    ),
    Source.FIRESTORE: (
        re.compile(r"[a-z][a-z0-9.:-]+/(\(default\)|[a-z][a-z0-9-]+)"),
        "project/database, such as scratch-1/restored",
    ),
    Source.BUCKET: (re.compile(r"gs://[a-z0-9._-]+/[^\\\s]+"), "gs://bucket/prefix"),
}
"""How the place where a drill restores to is written."""


def read_drill(
    node: Node | None,
    where: str,
    parts: Sequence[Part],
    sheet: Sheet,
    cron: Callable[[Node | None, str], Cron | None],
    length: Callable[[Node | None, str], timedelta | None],
    people: Callable[[Node | None, str], tuple[str, ...] | None],
) -> DrillRule | None:
    """The rule; ``None`` where there is none. ``cron``, ``length`` and ``people`` read what plans share."""
    if node is None:
        return None
    details = sheet.fields(node, where, KEYS)
    if parts and all(part.source in UNREHEARSED for part in parts):
        names = ", ".join(part.name for part in parts)
        sheet.wrong(node, f"{where}: {names} can be restored nowhere, so a drill proves nothing. Remove it")
    for source in (Source.CLOUD_SQL, Source.FIRESTORE):
        if sum(part.source is source for part in parts) > 1:
            sheet.wrong(
                node,
                f"{where}: several copies of {source.value} need a scratch place each. Make two plans",
            )
    given = {
        "schedule": cron(details.get("at"), f"{where}.at"),
        "scratch": _scratch(details.get("scratch"), f"{where}.scratch", parts, sheet),
        "questions": _questions(details.get("questions"), f"{where}.questions", parts, sheet),
        "approvers": people(details.get("approvers"), f"{where}.approvers"),
        "self_approval": yes_or_no(
            details.get("self-approval"), f"{where}.self-approval", sheet, otherwise=False
        ),
        "expected": length(details.get("expected"), f"{where}.expected"),
    }
    return DrillRule.model_validate({key: value for key, value in given.items() if value is not None})


def _scratch(node: Node | None, where: str, parts: Sequence[Part], sheet: Sheet) -> dict[Source, str]:
    found: dict[Source, str] = {}
    for word, entry in sheet.entries(node, where).items():
        source = sheet.member(word, entry.key, where, Source)
        place = sheet.text(entry.value, f"{where}.{word}")
        if source is None or place is None:
            continue
        if source not in SCRATCH:
            sheet.wrong(
                entry.key, f"{where}: {word} are read back when they are verified, and restored nowhere"
            )
            continue
        shape, words = SCRATCH[source]
        if not shape.fullmatch(place):
            sheet.wrong(entry.value, f'{where}.{word}: "{place}" is not {words}')
            continue
        if any(_is_itself(part, place) for part in parts if part.source is source):
            sheet.wrong(
                entry.value, f"{where}.{word}: {place} is what is copied, or in its project. Use another"
            )
            continue
        found[source] = place
    return found


def _is_itself(part: Part, place: str) -> bool:
    """A drill never restores over what it is a copy of, nor into its project."""
    match part.source:
        case Source.CLOUD_SQL | Source.FIRESTORE:
            return place.partition("/")[0] == part.project
        case Source.BUCKET:
            return place.removeprefix("gs://").partition("/")[0] == part.of.partition("/")[0]
        case _:
            return False


def _questions(
    node: Node | None, where: str, parts: Sequence[Part], sheet: Sheet
) -> tuple[Question, ...] | None:
    if node is None:
        return None
    found = []
    names = [part.name for part in parts]
    for number, item in enumerate(sheet.items(node, where), 1):
        here = f"{where}[{number}]"
        details = sheet.fields(item, here, QUESTION)
        for key in ("copy", "ask"):
            if key not in details:
                sheet.wrong(item, f"{here} has no `{key}`. {EXAMPLE}")
        part = sheet.text(details.get("copy"), f"{here}.copy")
        ask = sheet.text(details.get("ask"), f"{here}.ask")
        if part is not None and names and part not in names:
            sheet.wrong(details["copy"], f'{here}.copy: "{part}" is none of the copies: {", ".join(names)}')
        least = quantity(details.get("least"), f"{here}.least", sheet)
        if least is not None and least[1]:
            sheet.wrong(details["least"], f"{here}.least is a plain number, such as 100")
        within = sheet.duration(details.get("within"), f"{here}.within")
        if least is not None and within is not None:
            sheet.wrong(item, f"{here} has both `least` and `within`. Ask two questions")
        if part is not None and ask is not None:
            number_wanted = None if least is None else least[0]
            found.append(Question(part=part, ask=ask, least=number_wanted, within=within))
    return tuple(found)
