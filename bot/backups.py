"""Reads the policy's section ``backups``: what is copied when and where to, and what is kept of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from yaml import MappingNode, Node

from bot.approvers import able_people, read_approvers
from bot.copies import TO_BUCKET, only_project, read_copies, read_destination
from bot.drills import read_drill
from bot.shapes import count, is_name, quantity, yes_or_no
from bot.sheet import Sheet
from domain.backup_plans import SECOND, BackupPlan, Backups, Part, Range, Source
from domain.levels import Level
from domain.objects import in_bucket
from domain.policy import Person, Service
from domain.retention import Retention
from domain.schedule import Cron, why_not_cron

KEYS = (
    "at",
    "to",
    "also",
    "copies",
    "project",
    "formerly",
    "encrypt",
    "expected",
    "keep",
    "deletes",
    "sizes",
    "level",
    "drill",
)
KEEP = tuple(Retention.model_fields)
COUNTS = tuple(key for key in KEEP if key != "within")
SIZES = ("low", "high")

LONGEST_NAME = 64
"""Of a plan, as it is stored."""

WHY_ONE_PLACE = {
    Source.CLOUD_SQL: "cloud-sql has no second destination, since the instance itself keeps its backups",
    Source.FIRESTORE: "firestore has no second destination, since Google exports it into `to` by itself",
    Source.BUCKET: "bucket has no second destination, since Google copies its objects into `to` by itself",
    Source.SECRETS: "secrets has no second destination, since only copies of `toban` are carried on",
}
"""Why only copies of Toban's own making can be kept in two places."""

MOST = 1000
"""Of each kind of period; ten years of days are more than anybody asked for."""

SHORTEST, LONGEST = timedelta(minutes=5), timedelta(hours=24)
"""How long a backup may be expected to take."""


@dataclass(frozen=True)
class _Team:
    """Whose plans these are: on which clocks, of which project, and who may approve a drill."""

    zone: str
    project: str | None
    people: Mapping[str, Person]
    able: tuple[Person, ...]


def read_backups(
    node: Node | None,
    zone: str,
    services: Sequence[Service],
    people: Mapping[str, Person],
    reach: Mapping[str, frozenset[str]],
    sheet: Sheet,
) -> Backups:
    """The plans in the file's order. ``zone``: whose clocks the schedules follow."""
    team = _Team(zone, only_project(services), people, able_people(people, reach))
    read: list[_Read] = []
    entries = sheet.entries(node, "backups")
    for name, entry in entries.items():
        where = f"backups.{name}"
        if not is_name(entry, name, where, sheet):
            continue
        before = len(sheet.problems)
        details = sheet.fields(entry.value, where, KEYS)
        found = _plan(name, details, entry.key, team, sheet)
        if found is None or len(sheet.problems) > before:
            continue
        read.append(_Read(found, f"{where}.to", details["to"], details.get("formerly")))
        if "also" in details:
            read += _second(found, details["also"], entries.keys(), sheet)
    names = {*entries.keys(), *(one.plan.name for one in read)}
    for number, one in enumerate(read):
        others = [other.plan for other in read[:number]]
        _look_at_place(one, others, sheet)
        _look_at_names(one.plan, others, names, one.formerly, sheet)
    return Backups(plans=tuple(one.plan for one in read))


@dataclass(frozen=True)
class _Read:
    """A plan, and what says where it keeps its copies: the key and its place in the file."""

    plan: BackupPlan
    key: str
    to: Node
    formerly: Node | None


def _second(plan: BackupPlan, node: Node, names: Collection[str], sheet: Sheet) -> list[_Read]:
    """The plan of a second destination: it takes the copies of the first, and is like it in all else."""
    where = f"backups.{plan.name}.also"
    destination = read_destination(node, where, sheet)
    name = f"{plan.name}{SECOND}"
    for part in plan.parts:
        if part.source is not Source.TOBAN:
            sheet.wrong(node, f"{where}: {WHY_ONE_PLACE[part.source]}. Make a plan of its own for it")
    if name in names:
        sheet.wrong(node, f'{where}: its copies are those of the plan "{name}", and that name is taken')
    if len(name) > LONGEST_NAME:
        sheet.wrong(
            node,
            f"{where}: the name {plan.name} is too long to be followed by {SECOND}. Give it a shorter one",
        )
    if destination is None:
        return []
    second = plan.also_at(destination)
    own = tuple(one for one in second.formerly if one not in names)
    return [_Read(second.model_copy(update={"formerly": own}), where, node, node)]


def _look_at_place(read: _Read, others: Sequence[BackupPlan], sheet: Sheet) -> None:
    """Two plans in one place could take each other's copies for their own."""
    plan = read.plan
    for other in others:
        one, two = f"{plan.destination.rstrip('/')}/", f"{other.destination.rstrip('/')}/"
        if one.startswith(two) or two.startswith(one):
            sheet.wrong(
                read.to,
                f"{read.key}: {plan.destination} is where backups.{other.name} keeps its copies"
                f" ({other.destination}). Give each plan a place of its own, such as"
                f" {plan.destination.rstrip('/')}-{plan.name}",
            )


def _look_at_names(
    plan: BackupPlan, others: Sequence[BackupPlan], names: Collection[str], at: Node | None, sheet: Sheet
) -> None:
    """A former name is of one plan alone, and no plan's name now."""
    for name in plan.formerly:
        where = f"backups.{plan.name}.formerly"
        if name in names:
            sheet.wrong(at, f'{where}: "{name}" is the name of a plan. Remove one of the two')
        for other in others:
            if name in other.formerly:
                sheet.wrong(at, f'{where}: "{name}" is a former name of backups.{other.name} already')


def _plan(name: str, details: Mapping[str, Node], at: Node, team: _Team, sheet: Sheet) -> BackupPlan | None:
    where = f"backups.{name}"
    for key, example in (("at", '"0 3 * * *"'), ("to", "/var/backups/toban"), ("copies", "[toban]")):
        if key not in details:
            sheet.wrong(at, f"{where} has no `{key}`. Write for example `{key}: {example}`")
    schedule = _cron(details.get("at"), f"{where}.at", team.zone, sheet)
    destination = read_destination(details.get("to"), f"{where}.to", sheet)
    project = sheet.text(details.get("project"), f"{where}.project") or team.project
    found = read_copies(details.get("copies"), project, f"{where}.copies", sheet)
    for part, node in found:
        if destination is not None and part.source in TO_BUCKET and not in_bucket(destination):
            sheet.wrong(
                node, f"{where}: {part.source.value} is copied by Google itself, so `to` must be gs://…"
            )
    parts = _encrypted([part for part, _ in found], details.get("encrypt"), f"{where}.encrypt", sheet)
    level = sheet.text(details.get("level"), f"{where}.level")
    given: dict[str, Any] = {
        "formerly": tuple(name for name, _ in sheet.texts(details.get("formerly"), f"{where}.formerly")),
        "expected": _expected(details.get("expected"), f"{where}.expected", sheet),
        "keep": _keep(details.get("keep"), f"{where}.keep", sheet),
        "deletes": yes_or_no(details.get("deletes"), f"{where}.deletes", sheet, otherwise=False),
        "sizes": _sizes(details.get("sizes"), f"{where}.sizes", sheet),
        "level": sheet.member(level, details["level"], f"{where}.level", Level) if level else None,
        "drill": read_drill(
            details.get("drill"),
            f"{where}.drill",
            parts,
            sheet,
            cron=lambda node, key: _cron(node, key, team.zone, sheet),
            length=lambda node, key: _expected(node, key, sheet),
            people=lambda node, key: read_approvers(node, key, team.people, team.able, sheet),
        ),
    }
    if schedule is None or destination is None or not parts:
        return None
    said = {key: value for key, value in given.items() if value is not None}
    return BackupPlan(name=name, schedule=schedule, parts=parts, destination=destination, **said)


def _encrypted(parts: Sequence[Part], node: Node | None, where: str, sheet: Sheet) -> tuple[Part, ...]:
    """The parts, those marked that Toban encrypts: what Google copies never passes through Toban's hands."""
    wanted = yes_or_no(node, where, sheet, otherwise=False)
    ours = [part for part in parts if part.source is Source.TOBAN]
    if wanted and parts and not ours:
        assert node is not None
        sheet.wrong(
            node, f"{where}: only `toban` is encrypted by Toban, and it is none of the copies. Remove it"
        )
    return tuple(part.model_copy(update={"encrypt": bool(wanted) and part in ours}) for part in parts)


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
    found: dict[str, Any] = {
        key: count(details.get(key), f"{where}.{key}", sheet, lows.get(key, 0), MOST) for key in COUNTS
    }
    found["within"] = sheet.duration(details.get("within"), f"{where}.within")
    said = {key: value for key, value in found.items() if value is not None}
    kept = Retention(**said)
    if kept.daily + kept.weekly + kept.monthly == 0 and not kept.within:
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
