"""Reads the team's ``toban.yaml`` into the frozen policy, or says all that is wrong with it, line by line."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from yaml import MappingNode, Node

from bot.backups import read_backups
from bot.data_retention import read_retention
from bot.deploys import read_deploys
from bot.roles import read_roles
from bot.rules import read_rules
from bot.shapes import channel, link, zone
from bot.sheet import Entry, Problem, Sheet, compose, hint, is_null, merged, own
from domain.escalation import REPEAT_AFTER
from domain.policy import (
    DEFAULT_LEVELS,
    Channels,
    Ladder,
    Level,
    Means,
    Person,
    Policy,
    Service,
    Step,
)
from domain.senders import Cluster
from domain.text import folded

SECTIONS = (
    "people",
    "channels",
    "services",
    "levels",
    "ladders",
    "rules",
    "deploys",
    "backups",
    "retention",
    "roles",
    "senders",
)
LATER = ("rotations", "routes")
"""Sections whose names are fixed already, but which this version does not read."""

LOCALES = ("en", "ja")
PAGING = (Level.WARNING, Level.CRITICAL, Level.EMERGENCY)
"""Levels that must say who is paged, even if it is nobody."""

NEEDS = {
    Means.SLACK: ("slack", "email"),
    Means.EMAIL: ("email",),
    Means.SMS: ("phone",),
    Means.PHONE: ("phone",),
}
"""Which of a person's keys make a means possible; one of them is enough."""

SLACK_ID = re.compile(r"[UW][A-Z0-9]{2,20}")
EMAIL = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;]+")
ADDRESS = re.compile(r"https?://[^\s]{1,500}", re.IGNORECASE)
PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


class BadPolicy(Exception):  # The name says what the policy is.
    """The policy cannot be used. Holds every problem, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def read_policy(path: Path) -> Policy:
    """The policy that a file holds. Raises ``BadPolicy`` with all problems at once.

    Reads nodes, not values, so that each problem has its line; nothing in the file is executed.
    """
    sheet = Sheet(str(path))
    root = compose(path, sheet)
    if sheet.problems:
        raise BadPolicy(sheet.problems)
    parts = sheet.entries(root, "the policy")
    policy = Policy() if sheet.problems and not parts else _policy(parts, root, sheet)
    if sheet.problems:
        raise BadPolicy(sorted(set(sheet.problems)))
    return policy


def _policy(parts: Mapping[str, Entry], root: Node | None, sheet: Sheet) -> Policy:
    for name, entry in parts.items():
        if name in LATER and not is_null(entry.value) and entry.value.value:
            sheet.wrong(
                entry.key, f'"{name}" is not supported by this version yet. Remove it, or leave it empty'
            )
        elif name not in SECTIONS + LATER:
            sheet.wrong(entry.key, f'unknown key "{name}" in the policy{hint(name, SECTIONS + LATER)}')
    found = {name: entry.value for name, entry in parts.items()}
    people, reach = _people(found.get("people"), sheet)
    ladders_at = parts["ladders"].key if "ladders" in parts else root
    services = _services(found.get("services"), tuple(reach), sheet)
    rules = read_rules(found.get("rules"), services, people.values(), sheet)
    return Policy(
        people=people,
        channels=_channels(found.get("channels"), sheet),
        services=services,
        levels=_levels(found.get("levels"), sheet),
        ladders=_ladders(found.get("ladders"), ladders_at, reach, sheet),
        rules=rules,
        deploys=read_deploys(found.get("deploys"), services, people, reach, rules, sheet),
        backups=read_backups(found.get("backups"), rules.zone, services, people, reach, sheet),
        retention=read_retention(found.get("retention"), sheet),
        roles=read_roles(found.get("roles"), people, sheet),
        clusters=_clusters(found.get("senders"), sheet),
    )


def _people(node: Node | None, sheet: Sheet) -> tuple[dict[str, Person], dict[str, frozenset[str]]]:
    """The people, and which keys each of them fills in (rightly or not: one mistake is told once)."""
    people: dict[str, Person] = {}
    given: dict[str, frozenset[str]] = {}
    holders: dict[str, str] = {}
    for name, entry in sheet.entries(node, "people").items():
        where = f"people.{name}"
        details = sheet.fields(entry.value, where, ("slack", "email", "phone", "locale", "zone", "roles"))
        given[name] = frozenset(details)
        accounts = sheet.texts(details.get("slack"), f"{where}.slack")
        for account, at in accounts:
            if not SLACK_ID.fullmatch(account):
                sheet.wrong(
                    at,
                    f'{where}.slack: "{account}" is not a member id such as U012AB3CD (in the profile: Copy'
                    " member ID). With an email it may be left out",
                )
        email = sheet.shaped(
            details.get("email"), f"{where}.email", EMAIL, "is not an address such as aya@example.com"
        )
        addresses = [(email.casefold(), details["email"])] if email else []
        for identity, at in accounts + addresses:
            if holders.setdefault(identity, name) != name:
                sheet.wrong(at, f'"{identity}" belongs to {holders[identity]} already. Give it to one person')
        locale = sheet.text(details.get("locale"), f"{where}.locale")
        if locale is not None and locale not in LOCALES:
            sheet.wrong(details["locale"], f'{where}.locale: unknown "{locale}"{hint(locale, LOCALES)}')
        people[name] = Person(
            name=name,
            slack=tuple(account for account, _ in accounts),
            email=email,
            phone=_phone(details.get("phone"), where, sheet),
            locale=locale,
            zone=zone(details.get("zone"), f"{where}.zone", sheet),
            roles=tuple(role for role, _ in sheet.texts(details.get("roles"), f"{where}.roles")),
        )
    return people, given


def _phone(node: Node | None, where: str, sheet: Sheet) -> str | None:
    """A number as providers want it (E.164); blanks, hyphens and brackets are the reader's."""
    text = sheet.text(node, f"{where}.phone")
    if text is None:
        return None
    number = re.sub(r"[\s().-]", "", text)
    if PHONE.fullmatch(number):
        return number
    assert node is not None
    sheet.wrong(node, f'{where}.phone: "{text}" is not a number with its country, such as +81-3-0000-0001')
    return None


def _channels(node: Node | None, sheet: Sheet) -> Channels:
    names = tuple(Channels.model_fields)
    chosen = {}
    for name, entry in sheet.entries(node, "channels").items():
        where = f"channels.{name}"
        if name not in names:
            sheet.wrong(entry.key, f'unknown key "{name}" in channels{hint(name, names)}')
        elif is_null(entry.value):
            sheet.wrong(
                entry.key, f'{where} is empty. Put quotes around it: "#{name}"; a bare # begins a comment'
            )
        elif text := channel(entry.value, where, sheet):
            chosen[name] = text
    return Channels(**chosen)


def _services(node: Node | None, people: tuple[str, ...], sheet: Sheet) -> tuple[Service, ...]:
    """The services in the file's order: the first whose labels fit is chosen."""
    services: list[Service] = []
    lines: list[int] = []
    for name, entry in sheet.entries(node, "services").items():
        where = f"services.{name}"
        details = sheet.fields(entry.value, where, ("project", "region", "match", "url", "owners", "runbook"))
        match = {}
        for label, wanted in sheet.entries(details.get("match"), f"{where}.match").items():
            text = sheet.text(wanted.value, f"{where}.match.{label}")
            if text is not None:
                match[label] = text
        for earlier, line in zip(services, lines, strict=True):
            if earlier.match and earlier.match.items() <= match.items():
                sheet.wrong(
                    entry.key,
                    f"{where} is never chosen: whatever it matches, {earlier.name} (line {line}) matches"
                    " first. Move it up, or let the earlier one match more labels",
                )
                break
        services.append(
            Service(
                name=name,
                project=sheet.text(details.get("project"), f"{where}.project"),
                region=sheet.text(details.get("region"), f"{where}.region"),
                match=match,
                url=link(details.get("url"), f"{where}.url", sheet),
                owners=_named(details.get("owners"), f"{where}.owners", people, sheet),
                runbook=link(details.get("runbook"), f"{where}.runbook", sheet),
            )
        )
        lines.append(entry.key.start_mark.line + 1)
    return tuple(services)


def _clusters(node: Node | None, sheet: Sheet) -> tuple[Cluster, ...]:
    """Alertmanagers that are senders of their own; an address belongs to the first whose pattern fits."""
    clusters = []
    for name, entry in sheet.entries(node, "senders").items():
        where = f"senders.{name}"
        details = sheet.fields(entry.value, where, ("alertmanagers",))
        addresses = []
        for address, at in sheet.texts(details.get("alertmanagers"), f"{where}.alertmanagers"):
            if ADDRESS.fullmatch(address):
                addresses.append(address)
            else:
                sheet.wrong(
                    at,
                    f'{where}.alertmanagers: "{address}" is not how an Alertmanager calls itself, such as'
                    " https://alertmanager.example or http://alertmanager-osaka-*:9093",
                )
        if isinstance(entry.value, MappingNode) and not _filled(details.get("alertmanagers")):
            sheet.wrong(
                entry.key, f"{where} names no addresses: `alertmanagers: [https://alertmanager.example]`"
            )
        clusters.append(Cluster(name=name, alertmanagers=tuple(addresses)))
    return tuple(clusters)


def _named(node: Node | None, where: str, people: Iterable[str], sheet: Sheet) -> tuple[str, ...]:
    """Names of people whom the policy knows."""
    known = tuple(people)
    names = []
    for name, at in sheet.texts(node, where):
        if name in known:
            names.append(name)
        else:
            sheet.wrong(at, f'{where}: unknown person "{name}"{hint(name, known)}')
    return tuple(names)


def _levels(node: Node | None, sheet: Sheet) -> dict[str, Level]:
    """The senders' words for a level, case-folded, over the defaults."""
    chosen: dict[str, Level] = {}
    for word, entry in sheet.entries(node, "levels").items():
        where = f"levels.{word}"
        if folded(word) in chosen:
            sheet.wrong(entry.key, f'"{word}" stands twice in levels (capitals do not count). Keep one')
        level = sheet.text(entry.value, where)
        known = sheet.member(level, entry.value, where, Level) if level is not None else None
        if known is not None:
            chosen[folded(word)] = known
    return DEFAULT_LEVELS | chosen


def _ladders(
    node: Node | None, at: Node | None, people: Mapping[str, frozenset[str]], sheet: Sheet
) -> dict[Level, Ladder]:
    """Who is paged at each level. Nobody is an answer, but it has to be given."""
    entries = sheet.entries(node, "ladders")
    ladders = {Level.INFO: Ladder()}
    for name, entry in entries.items():
        level = sheet.member(name, entry.key, "ladders", Level)
        if level is None:
            continue
        where = f"ladders.{level}"
        if is_null(entry.value):
            sheet.wrong(entry.key, f"{where} is empty. Name who is paged, or write [] if nobody is to be")
            continue
        rungs = sheet.items(entry.value, where)
        steps = []
        for place, rung in enumerate(rungs, start=1):
            step = _step(rung, f"{where} step {place}", people, sheet)
            is_last = place == len(rungs)
            if step.wait is None and not is_last and not _has(rung, "wait"):
                sheet.wrong(
                    rungs[place],
                    f"{where} step {place + 1} is never reached: the step before it has no `wait`. Say there"
                    " how long to wait, for example `wait: 15m`",
                )
            steps.append(step)
        ladders[level] = Ladder(steps=tuple(steps))
    for level in PAGING:
        if level not in ladders and level not in entries:
            sheet.wrong(
                at, f"ladders.{level} is missing: nobody would be paged. Add it, or write `{level}: []`"
            )
    return ladders


def _step(node: Node, where: str, people: Mapping[str, frozenset[str]], sheet: Sheet) -> Step:
    details = sheet.fields(node, where, ("tell", "by", "respond", "wait"))
    if isinstance(node, MappingNode) and not _filled(details.get("tell")):
        sheet.wrong(details.get("tell", node), f"{where} tells nobody. Say whom: `tell: name`")
    tell = _named(details.get("tell"), f"{where} tell", people, sheet)
    by = tuple(
        means
        for word, at in sheet.texts(details.get("by"), f"{where} by")
        if (means := sheet.member(word, at, f"{where} by", Means)) is not None
    )
    if "by" in details and not _filled(details["by"]):
        sheet.wrong(details["by"], f"{where} by is empty. Allowed: {', '.join(Means)}; left out it is slack")
    if "by" not in details:
        by = (Means.SLACK,)
    for name in tell:
        for means in by:
            if not people[name] & set(NEEDS[means]):
                needed = " or ".join(NEEDS[means])
                sheet.wrong(
                    details["tell"],
                    f"{where}: {name} cannot be reached by {means}. Add {needed} to people.{name}",
                )
    respond = sheet.duration(details.get("respond"), f"{where} respond")
    wait = sheet.duration(details.get("wait"), f"{where} wait")
    if respond is not None and not (wait is None and "wait" in details):
        limit = wait if wait is not None else REPEAT_AFTER
        if respond >= limit:
            meant = (
                "its wait" if wait is not None else "the 15m after which the last step repeats (no `wait`)"
            )
            sheet.wrong(details["respond"], f"{where} respond must be shorter than {meant}")
    return Step(tell=tell, by=by, respond=respond, wait=wait)


def _filled(node: Node | None) -> bool:
    return node is not None and node.value not in ("", [])


def _has(node: Node, key: str) -> bool:
    """True where a step names the key, even with a value that is wrong: that is told already."""
    pairs = [*own(node), *merged(node)] if isinstance(node, MappingNode) else []
    return any(name.value == key and not is_null(value) for name, value in pairs)
