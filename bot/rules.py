"""Reads the policy's section ``rules``: what Toban watches by itself, and from when on it speaks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache

from yaml import Node

from bot.measures import MEASURE, read_measure
from bot.probing import read_origins, read_probes
from bot.shapes import BYTES, channel, count, is_name, one_of, quantity, switch, yes_or_no, zone
from bot.sheet import Entry, Sheet, hint
from bot.thresholds import read_thresholds
from domain.policy import Level, Person, Service
from domain.rules import Anomalies, Capacity, Kind, Limits, Objective, Rules, Sensitivity
from domain.schedule import why_not_cron

KEYS = (
    "zone",
    "holidays",
    "defaults",
    "thresholds",
    "objectives",
    "probes",
    "origins",
    "anomalies",
    "limits",
    "capacity",
)


def read_rules(
    node: Node | None, services: Sequence[Service], people: Iterable[Person], sheet: Sheet
) -> Rules:
    """The section, with its defaults where it is silent."""
    known = {service.name: service for service in services}
    parts = sheet.fields(node, "rules", KEYS)
    usual = Counter(person.zone for person in people if person.zone).most_common(1)
    origins = read_origins(parts.get("origins"), services, sheet)
    return Rules(
        zone=zone(parts.get("zone"), "rules.zone", sheet) or (usual[0][0] if usual else "UTC"),
        holidays=_country(parts.get("holidays"), sheet),
        thresholds=read_thresholds(
            parts.get("thresholds"),
            known,
            sheet,
            defaults=yes_or_no(parts.get("defaults"), "rules.defaults", sheet, otherwise=True),
        ),
        objectives=_objectives(parts.get("objectives"), known, sheet),
        probes=read_probes(parts.get("probes"), known, origins, sheet),
        origins=origins,
        anomalies=_anomalies(parts.get("anomalies"), known, sheet),
        limits=_limits(parts.get("limits"), known, sheet),
        capacity=_capacity(parts.get("capacity"), known, sheet),
    )


@cache
def _countries() -> frozenset[str]:
    """The library's own list loads every country's calendar first."""
    from holidays.registry import COUNTRIES

    return frozenset(code for _class, code, *_aliases in COUNTRIES.values())


def _country(node: Node | None, sheet: Sheet) -> str | None:
    code = sheet.text(node, "rules.holidays")
    if code is None or code in _countries():
        return code
    assert node is not None
    sheet.wrong(node, f'rules.holidays: "{code}" is not a country\'s code such as JP or US')
    return None


def _objectives(node: Node | None, services: Mapping[str, Service], sheet: Sheet) -> tuple[Objective, ...]:
    found = []
    for name, entry in sheet.entries(node, "rules.objectives").items():
        where = f"rules.objectives.{name}"
        keys = ("service", "availability", "window", "minimum_errors", "channel")
        details = sheet.fields(entry.value, where, keys)
        service = one_of(details.get("service"), entry.key, where, services, sheet)
        if service is not None and services[service].kind is not Kind.CLOUD_RUN:
            sheet.wrong(
                details["service"], f"{where}.service: requests are counted of cloud-run only; not {service}"
            )
        share = _availability(details.get("availability"), entry, where, sheet)
        if not is_name(entry, name, "rules.objectives", sheet) or service is None or share is None:
            continue
        least = count(details.get("minimum_errors"), f"{where}.minimum_errors", sheet, 1, 1_000_000)
        given = {
            "window": sheet.duration(details.get("window"), f"{where}.window"),
            "minimum_errors": least,
            "channel": channel(details.get("channel"), f"{where}.channel", sheet),
        }
        said = {key: value for key, value in given.items() if value is not None}
        found.append(
            Objective.model_validate({"name": name, "service": service, "availability": share, **said})
        )
    return tuple(found)


def _availability(node: Node | None, entry: Entry, where: str, sheet: Sheet) -> float | None:
    if node is None:
        sheet.wrong(entry.key, f"{where} has no availability. Write for example `availability: 99.9%`")
        return None
    found = quantity(node, f"{where}.availability", sheet)
    if found is None:
        return None
    value, unit = found
    if unit == "%" and 50 <= value < 100:
        return value / 100
    sheet.wrong(node, f"{where}.availability must lie between 50% and 100%, such as 99.9%")
    return None


def _anomalies(node: Node | None, services: Mapping[str, Service], sheet: Sheet) -> Anomalies:
    where = "rules.anomalies"
    details = sheet.fields(node, where, ("sensitivity", "level", "services", "channel"))
    chosen: list[tuple[str, Sensitivity]] = []
    for name, entry in sheet.entries(details.get("services"), f"{where}.services").items():
        if name not in services:
            sheet.wrong(entry.key, f'{where}.services: unknown service "{name}"{hint(name, services)}')
            continue
        its = _sensitivity(entry.value, f"{where}.services.{name}", sheet)
        chosen += [(name, its)] if its is not None else []
    level = sheet.text(details.get("level"), f"{where}.level")
    quiet = (Level.INFO, Level.WARNING)
    if level is not None and level not in quiet:
        sheet.wrong(details["level"], f'{where}.level: unknown "{level}"{hint(level, quiet)}')
        level = None
    default = Anomalies()
    return Anomalies(
        sensitivity=_sensitivity(details.get("sensitivity"), f"{where}.sensitivity", sheet)
        or default.sensitivity,
        level=Level(level) if level is not None else default.level,
        services=tuple(chosen),
        channel=channel(details.get("channel"), f"{where}.channel", sheet),
    )


def _sensitivity(node: Node | None, where: str, sheet: Sheet) -> Sensitivity | None:
    """``off`` is a word here, though YAML takes it for no."""
    if node is not None and switch(node) is False:
        return Sensitivity.OFF
    text = sheet.text(node, where)
    if text is None:
        return None
    assert node is not None
    return sheet.member(text, node, where, Sensitivity)


def _limits(
    node: Node | None, services: Mapping[str, Service], sheet: Sheet
) -> tuple[tuple[str, Limits], ...]:
    found = []
    wanted = {"storage": tuple(BYTES), "requests": ("/s",)}
    for name, entry in sheet.entries(node, "rules.limits").items():
        where = f"rules.limits.{name}"
        if name not in services:
            sheet.wrong(entry.key, f'rules.limits: unknown service "{name}"{hint(name, services)}')
            continue
        values: dict[str, float] = {}
        for key, at in sheet.fields(entry.value, where, tuple(Limits.model_fields)).items():
            amount = quantity(at, f"{where}.{key}", sheet)
            if amount is None:
                continue
            value, unit = amount
            if unit not in wanted.get(key, ("",)) or value <= 0:
                example = {"storage": "200GiB", "requests": "1000/s"}.get(key, "400")
                sheet.wrong(at, f"{where}.{key}: write it as {example}, and more than nothing")
            else:
                values[key] = value * BYTES.get(unit, 1)
        found.append((name, Limits.model_validate(values)))
    return tuple(found)


def _capacity(node: Node | None, services: Mapping[str, Service], sheet: Sheet) -> Capacity:
    where = "rules.capacity"
    details = sheet.fields(node, where, ("report", "horizon", "lead", "users"))
    given: dict[str, object] = {}
    report = sheet.text(details.get("report"), f"{where}.report")
    if report is not None:
        why = why_not_cron(report)
        if why is not None:
            sheet.wrong(details["report"], f'{where}.report: "{report}" is not a crontab line: {why}')
        else:
            given["report"] = report
    for key in ("horizon", "lead"):
        length = sheet.duration(details.get(key), f"{where}.{key}")
        if length is not None and length > timedelta(days=366):
            sheet.wrong(details[key], f"{where}.{key} must be at most 366d")
        elif length is not None:
            given[key] = length
    if "users" in details:
        fields = sheet.fields(details["users"], f"{where}.users", ("service", *MEASURE))
        given["users_of"] = one_of(fields.get("service"), details["users"], f"{where}.users", services, sheet)
        given["users"] = read_measure(fields, details["users"], f"{where}.users", sheet)
    return Capacity.model_validate(given)
