"""Reads the policy's section ``deploys``: who approves, how traffic moves, when nothing may be deployed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from bot.approvers import able_people, read_approvers
from bot.shapes import count, is_name, quantity, switch, yes_or_no
from bot.sheet import Entry, Sheet, hint
from domain.approvals import is_among
from domain.deploys import Check, DeployRule, Deploys, Emergency, Freeze, Skip
from domain.origins import is_pattern
from domain.policy import Level, Person, Policy, Service
from domain.rules import Kind, Rules
from domain.schedule import Cron, why_not_cron
from domain.series import moment

RULE = (
    "approvers",
    "images",
    "approvals",
    "risky-approvals",
    "self-approval",
    "rollback-alone",
    "expires",
    "steps",
    "bake",
    "watch",
    "patience",
    "hold",
    "threshold",
    "minimum",
    "checks",
    "level",
)
"""What may be said of all services, and of each."""

KEYS = (*RULE, "services", "freezes", "emergency")
FREEZE = ("cron", "for", "holidays", "services")
EMERGENCY = ("people", "skips")
CHECK = ("path", "status", "text", "pointer", "equals")

MOST_APPROVALS = 5
WINDOWS = 9000
"""So many windows of a freeze are looked at: those of a year, if they last an hour."""


LONGEST = {"expires": 24, "bake": 1, "watch": 24, "patience": 24, "hold": 1}
"""Hours. The shortest of each is a minute, since metrics come by the minute."""

PATH = re.compile(r"/(?:(?!%(?:2[ef]|5c))[^\s#?\\])*(?:\?[^\s#\\]*)?", re.IGNORECASE)
"""A path with its query. An escaped slash or dot is refused: it may lead a server elsewhere."""

NEVER = frozenset({"never", "off"})
"""In place of a length: alerts are not held."""

POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?")


@dataclass(frozen=True)
class _Team:
    """What the section speaks about. ``able``: the people who can be found in Slack, to press a button."""

    services: Mapping[str, Service]
    people: Mapping[str, Person]
    able: tuple[Person, ...]
    sheet: Sheet

    def approvers(self, node: Node | None, where: str) -> tuple[str, ...] | None:
        """Names and roles of those who may."""
        return read_approvers(node, where, self.people, self.able, self.sheet)


def read_deploys(
    node: Node | None,
    services: Sequence[Service],
    people: Mapping[str, Person],
    reach: Mapping[str, frozenset[str]],
    rules: Rules,
    sheet: Sheet,
) -> Deploys:
    """The section, with its defaults where it is silent. ``reach``: which keys each person fills in."""
    able = able_people(people, reach)
    team = _Team({service.name: service for service in services}, people, able, sheet)
    details = sheet.fields(node, "deploys", KEYS)
    default = _rule(details, "deploys", DeployRule(), team)
    return Deploys(
        default=default,
        services=_services(details.get("services"), default, team),
        freezes=_freezes(details.get("freezes"), rules, team),
        emergency=_emergency(details.get("emergency"), team),
    )


def why_not_deployed(service: Service) -> str | None:
    """Why a service cannot be deployed; ``None`` where it can."""
    if service.kind is not Kind.CLOUD_RUN:
        return "its match has no service_name, so that it is not on Cloud Run"
    missing = [key for key in ("project", "region") if getattr(service, key) is None]
    if not missing:
        return None
    return f"services.{service.name} has no {' and no '.join(missing)}"


def _services(node: Node | None, default: DeployRule, team: _Team) -> dict[str, DeployRule]:
    """The rules that differ, by the service's name. What they do not say is as everywhere."""
    found = {}
    for name, entry in team.sheet.entries(node, "deploys.services").items():
        details = team.sheet.fields(entry.value, f"deploys.services.{name}", RULE)
        if _is_deployed(name, entry.key, "deploys.services", team):
            found[name] = _rule(details, f"deploys.services.{name}", default, team)
    return found


def _is_deployed(name: str, at: Node, where: str, team: _Team) -> bool:
    service = team.services.get(name)
    if service is None:
        team.sheet.wrong(at, f'{where}: unknown service "{name}"{hint(name, team.services)}')
        return False
    why = why_not_deployed(service)
    if why is not None:
        team.sheet.wrong(at, f"{where}: {name} cannot be deployed: {why}")
    return why is None


def _rule(details: Mapping[str, Node], where: str, usual: DeployRule, team: _Team) -> DeployRule:
    """A rule: what is said over what is usual."""
    sheet, before = team.sheet, len(team.sheet.problems)
    level = sheet.text(details.get("level"), f"{where}.level")
    said = {
        "approvers": team.approvers(details.get("approvers"), f"{where}.approvers"),
        "images": _images(details.get("images"), f"{where}.images", sheet),
        "approvals": count(details.get("approvals"), f"{where}.approvals", sheet, 1, MOST_APPROVALS),
        "risky_approvals": count(
            details.get("risky-approvals"), f"{where}.risky-approvals", sheet, 1, MOST_APPROVALS
        ),
        "self_approval": yes_or_no(
            details.get("self-approval"), f"{where}.self-approval", sheet, otherwise=usual.self_approval
        ),
        "rollback_alone": yes_or_no(
            details.get("rollback-alone"), f"{where}.rollback-alone", sheet, otherwise=usual.rollback_alone
        ),
        "steps": _steps(details.get("steps"), f"{where}.steps", sheet),
        "threshold": _threshold(details.get("threshold"), f"{where}.threshold", sheet),
        "minimum": count(details.get("minimum"), f"{where}.minimum", sheet, 1, 1_000_000),
        "checks": _checks(details.get("checks"), f"{where}.checks", sheet),
        "level": sheet.member(level, details["level"], f"{where}.level", Level) if level else None,
    } | {key: _length(details.get(key), key, where, sheet) for key in LONGEST}
    rule = usual.model_copy(update={key: value for key, value in said.items() if value is not None})
    if rule.risky_approvals < rule.approvals:
        if said["risky_approvals"] is not None:
            sheet.wrong(
                details["risky-approvals"],
                f"{where}.risky-approvals must not be less than its approvals, {rule.approvals}",
            )
        rule = rule.model_copy(update={"risky_approvals": rule.approvals})
    if len(sheet.problems) == before:
        _can_be_approved(rule, details, where, team)
    return rule


def stuck(rule: DeployRule, needed: int, people: Iterable[Person]) -> tuple[str, ...]:
    """The people whose own deploys could never collect so many approvals."""
    people = tuple(people)
    approvers = {person.name for person in people if is_among(person, rule.approvers)}
    return tuple(
        person.name
        for person in people
        if len(approvers - (set() if rule.self_approval else {person.name})) < needed
    )


def _can_be_approved(rule: DeployRule, details: Mapping[str, Node], where: str, team: _Team) -> None:
    """An error where nobody's deploys could ever be approved: that would be found out when one is urgent.

    Where it is only somebody's own, ``doubts`` tells: a lead who approves for everybody else is a choice.
    """
    keys = ("approvers", "approvals", "risky-approvals", "self-approval")
    at = next((details[key] for key in keys if key in details), None)
    if at is None or not rule.approvers:
        return
    names = ", ".join(person.name for person in team.able if is_among(person, rule.approvers))
    own = "" if rule.self_approval else ", and nobody their own"
    for what, key, needed in (
        ("deploy", "approvals", rule.approvals),
        ("risky deploy", "risky-approvals", rule.risky_approvals),
    ):
        if len(stuck(rule, needed, team.able)) == len(team.able):
            why = f"{key} is {needed}, but only {names} may approve{own}. Name more approvers, or lower it"
            team.sheet.wrong(at, f"{where}: no {what} could ever be approved: {why}")
            return


def _length(node: Node | None, key: str, where: str, sheet: Sheet) -> timedelta | None:
    if key == "hold" and isinstance(node, ScalarNode) and node.value in NEVER:
        return timedelta(0)
    length = sheet.duration(node, f"{where}.{key}")
    if length is None or timedelta(minutes=1) <= length <= timedelta(hours=LONGEST[key]):
        return length
    assert node is not None
    sheet.wrong(node, f"{where}.{key} must lie between 1m and {LONGEST[key]}h")
    return None


def _steps(node: Node | None, where: str, sheet: Sheet) -> tuple[int, ...] | None:
    """Percents of the traffic, one or a list."""
    if node is None:
        return None
    found = [count(at, where, sheet, 1, 100) for _, at in sheet.texts(node, where)]
    steps = tuple(step for step in found if step is not None)
    if len(steps) < len(found):
        return None
    if not steps or steps[-1] != 100 or any(step >= later for step, later in pairwise(steps)):
        sheet.wrong(node, f"{where} must rise and end with 100, such as [10, 50, 100]")
        return None
    return steps


def _images(node: Node | None, where: str, sheet: Sheet) -> tuple[str, ...] | None:
    """From where images may come, one or a list."""
    if node is None:
        return None
    found = sheet.texts(node, where)
    if isinstance(node, SequenceNode) and not node.value:
        sheet.wrong(node, f"{where} is empty. Leave it out: then images may come from everywhere")
    for text, at in found:
        if not is_pattern(text):
            sheet.wrong(
                at,
                f'{where}: "{text}" is not a host with a project and perhaps a repository, such as'
                " asia-northeast1-docker.pkg.dev/bondpoint-prod/app, without tag and digest;"
                " * stands for a part between two slashes",
            )
    return tuple(text for text, _ in found)


def _threshold(node: Node | None, where: str, sheet: Sheet) -> float | None:
    found = quantity(node, where, sheet)
    if found is None:
        return None
    assert node is not None
    value, unit = found
    if unit == "%" and 0 < value < 50:
        return value / 100
    sheet.wrong(node, f"{where} must be more than 0% and less than 50%, such as 1%")
    return None


def _checks(node: Node | None, where: str, sheet: Sheet) -> tuple[Check, ...] | None:
    """The checks in their order; an empty list says that there are none."""
    if node is None:
        return None
    given = node.value if isinstance(node, SequenceNode) else (node,)
    found = [_check(one, f"{where} {place}", sheet) for place, one in enumerate(given, start=1)]
    return tuple(one for one in found if one is not None)


def _check(node: Node, where: str, sheet: Sheet) -> Check | None:
    """A path alone, or with what is to come from it."""
    details = sheet.fields(node, where, CHECK) if isinstance(node, MappingNode) else {"path": node}
    if "path" not in details:
        sheet.wrong(node, f"{where} has no path. Write what is asked, such as `path: /health`")
    path = sheet.shaped(
        details.get("path"),
        f"{where} path",
        PATH,
        "is not a path such as /health: it begins with a slash, without blanks, # and escaped slashes",
    )
    if ("pointer" in details) != ("equals" in details):
        sheet.wrong(
            details.get("pointer") or details["equals"],
            f"{where} needs both or neither: `pointer: /status` names a value of a JSON answer,"
            " `equals: healthy` says what it has to be",
        )
    given = {
        "status": count(details.get("status"), f"{where} status", sheet, 100, 599),
        "text": sheet.text(details.get("text"), f"{where} text"),
        "pointer": sheet.shaped(
            details.get("pointer"), f"{where} pointer", POINTER, "is not a JSON pointer such as /status"
        ),
        "equals": _json(details.get("equals"), f"{where} equals", sheet),
    }
    if path is None:
        return None
    return Check.model_validate({"path": path} | {k: v for k, v in given.items() if v is not None})


def _json(node: Node | None, where: str, sheet: Sheet) -> str | float | bool | None:
    """A value as JSON has it: ``true`` and ``3`` are no texts, unless they stand in quotes."""
    if node is None:
        return None
    found = switch(node)
    if found is not None:
        return found
    text = sheet.text(node, where)
    if text is None or not isinstance(node, ScalarNode) or not node.tag.endswith((":int", ":float")):
        return text
    if not NUMBER.fullmatch(text):
        sheet.wrong(node, f'{where}: "{text}" is not a number as JSON has it. Put it into "quotes" for text')
        return None
    return float(text) if "." in text else int(text)


def _freezes(node: Node | None, rules: Rules, team: _Team) -> tuple[Freeze, ...]:
    found = []
    for name, entry in team.sheet.entries(node, "deploys.freezes").items():
        freeze = _freeze(name, entry, rules, team)
        if is_name(entry, name, "deploys.freezes", team.sheet) and freeze is not None:
            found.append(freeze)
    return tuple(found)


def _freeze(name: str, entry: Entry, rules: Rules, team: _Team) -> Freeze | None:
    where, sheet = f"deploys.freezes.{name}", team.sheet
    details = sheet.fields(entry.value, where, FREEZE)
    holidays = yes_or_no(details.get("holidays"), f"{where}.holidays", sheet, otherwise=False)
    line = sheet.text(details.get("cron"), f"{where}.cron")
    lasting = sheet.duration(details.get("for"), f"{where}.for")
    services = tuple(
        service
        for service, at in sheet.texts(details.get("services"), f"{where}.services")
        if _is_deployed(service, at, f"{where}.services", team)
    )
    why = why_not_cron(line) if line is not None else None
    if holidays == ("cron" in details):
        sheet.wrong(
            entry.key, f'{where} needs either `cron: "0 17 * * 5"` with `for: 63h`, or `holidays: true`'
        )
    elif holidays and "for" in details:
        sheet.wrong(details["for"], f"{where}.for goes with `cron`: a holiday is frozen from midnight on")
    elif holidays and rules.holidays is None:
        sheet.wrong(details["holidays"], f"{where}: name the country in rules.holidays, such as JP")
    elif why is not None:
        sheet.wrong(details["cron"], f'{where}.cron: "{line}" is not a crontab line: {why}')
    elif "cron" in details and "for" not in details:
        sheet.wrong(entry.key, f"{where} has no `for`. Say how long nothing is deployed, such as `for: 63h`")
    elif "services" in details and not details["services"].value:
        sheet.wrong(details["services"], f"{where}.services is empty. Leave it out: then all are frozen")
    else:
        said: dict[str, Any] = {"lasting": lasting} if lasting is not None else {}
        return Freeze(name=name, cron=line, holidays=holidays, services=services, **said)
    return None


def _emergency(node: Node | None, team: _Team) -> Emergency:
    where = "deploys.emergency"
    details = team.sheet.fields(node, where, EMERGENCY)
    people = team.approvers(details.get("people"), f"{where}.people")
    if details and "people" not in details:
        team.sheet.wrong(node, f"{where} has no people. Say who may, or write `people: []` for nobody")
    if "skips" not in details:
        return Emergency(people=people or ())
    skips = tuple(
        skip
        for what, at in team.sheet.texts(details["skips"], f"{where}.skips")
        if (skip := team.sheet.member(what, at, f"{where}.skips", Skip)) is not None
    )
    if not details["skips"].value:
        team.sheet.wrong(details["skips"], f"{where}.skips is empty. Allowed: {', '.join(Skip)}")
    return Emergency(people=people or (), skips=skips)


def doubts(policy: Policy) -> list[str]:
    """What of a sound section is perhaps not as it was meant, for ``toban check``."""
    if policy.deploys == Deploys():
        return []
    able = [person for person in policy.people.values() if person.slack or person.email]
    off: list[str] = []
    found: dict[tuple[tuple[str, ...], str, int], list[str]] = {}
    for service in policy.services:
        if why_not_deployed(service) is not None:
            continue
        rule = policy.deploys.rule(service.name)
        off += [service.name] if not rule.approvers else []
        own = stuck(rule, rule.approvals, able) if rule.approvers else ()
        risky = stuck(rule, rule.risky_approvals, able) if rule.approvers else ()
        if own:
            found.setdefault((own, "deploys", rule.approvals), []).append(service.name)
        if risky != own:
            found.setdefault((risky, "risky deploys", rule.risky_approvals), []).append(service.name)
    lines = [f"/deploy is off for {', '.join(off)}: its approvers are nobody."] if off else []
    for (names, what, needed), services in found.items():
        others = "1 other has" if needed == 1 else f"{needed} others have"
        lines.append(
            f"{what} of {', '.join(services)} that {' or '.join(names)} asks for could never be approved:"
            f" {others} to approve them. Name more approvers, or set self-approval."
        )
    lines += [
        f"deploys.freezes.{freeze.name} never ends: each window begins before the last is over."
        for freeze in policy.deploys.freezes
        if _never_ends(freeze, policy.rules.zone)
    ]
    return lines


def _never_ends(freeze: Freeze, zone: str) -> bool:
    """True where one window after the other begins before the last is over, for a whole year."""
    if freeze.cron is None:
        return False
    cron = Cron(line=freeze.cron, zone=zone)
    begins = cron.following(moment(0))
    year = begins + timedelta(days=366)
    for _ in range(WINDOWS):
        newest = cron.latest(begins + freeze.lasting)
        if newest <= begins or begins >= year:
            break
        begins = newest
    return begins >= year
