"""Reads the policy's thresholds: rows of the default table that the team changes, and rules of its own."""

from collections.abc import Mapping
from datetime import timedelta

from yaml import Node

from bot.measures import MEASURE, read_limit, read_metric
from bot.shapes import channel, is_name, quantity, switch
from bot.sheet import Entry, Sheet, hint
from domain.indicators import INDICATORS
from domain.policy import Level, Service
from domain.rules import DEFAULT_THRESHOLDS, Kind, Silence, Threshold, recovered_at
from domain.units import Unit

CHANGES = (
    "services",
    "except",
    "above",
    "level",
    "for",
    "over",
    "recover",
    "recover_for",
    "minimum",
    "no_data",
    "channel",
)
"""What may be said of a row of the default table."""

OWN = (*MEASURE, "below", "against", *CHANGES)
"""What may be said of a rule of the team's own."""

WEEK_AGO = "week-ago"


def read_thresholds(
    node: Node | None, services: Mapping[str, Service], sheet: Sheet, *, defaults: bool
) -> tuple[Threshold, ...]:
    """The default rows as they were changed, then the team's own."""
    table = {one.name: one for one in DEFAULT_THRESHOLDS} if defaults else {}
    names = tuple(one.name for one in DEFAULT_THRESHOLDS)
    own: list[Threshold] = []
    for name, entry in sheet.entries(node, "rules.thresholds").items():
        where = f"rules.thresholds.{name}"
        is_off = switch(entry.value) is False
        if is_off and name in names:
            table.pop(name, None)
        elif is_off:
            sheet.wrong(entry.key, f"{where}: there is no such default to switch off{hint(name, names)}")
        elif name in names:
            row = next(one for one in DEFAULT_THRESHOLDS if one.name == name)
            details = sheet.fields(entry.value, where, CHANGES)
            changed = _changed(row, details, where, services, sheet)
            if changed is not None:
                table[name] = changed
        elif is_name(entry, name, "rules.thresholds", sheet):
            details = sheet.fields(entry.value, where, OWN)
            made = _own(name, entry, details, where, services, sheet)
            own += [made] if made is not None else []
    return (*table.values(), *own)


def _own(
    name: str,
    entry: Entry,
    details: Mapping[str, Node],
    where: str,
    services: Mapping[str, Service],
    sheet: Sheet,
) -> Threshold | None:
    metric = read_metric(details, entry.key, where, sheet)
    side = _side(details, entry, where, sheet)
    if "level" not in details:
        sheet.wrong(entry.key, f"{where} has no level. Say how loud it is: {', '.join(Level)}")
    if metric is None or side is None or "level" not in details:
        return None
    week_ago = _against(details.get("against"), where, sheet)
    found = read_limit(details[side], f"{where}.{side}", None if week_ago else metric, sheet)
    if found is None:
        return None
    limit, unit, scale = found
    if not isinstance(metric, str):
        metric = metric.model_copy(update={"unit": Unit.COUNT if week_ago else unit, "scale": scale})
        if "services" not in details:
            sheet.wrong(entry.key, f"{where} has no services. Say which service the metric is about")
            return None
    row = Threshold(
        name=name,
        metric=metric,
        unit=unit,
        above=side == "above",
        limit=limit,
        week_ago=week_ago,
        level=Level.WARNING,
        recover=recovered_at(limit, above=side == "above"),
    )
    rest = {key: value for key, value in details.items() if key != "above"}
    return _changed(row, rest, where, services, sheet)


def _side(details: Mapping[str, Node], entry: Entry, where: str, sheet: Sheet) -> str | None:
    given = [side for side in ("above", "below") if side in details]
    if len(given) == 1:
        return given[0]
    sheet.wrong(entry.key, f"{where} needs one limit: `above` or `below`, such as `above: 80%`")
    return None


def _against(node: Node | None, where: str, sheet: Sheet) -> bool:
    text = sheet.text(node, f"{where}.against")
    if text not in (None, WEEK_AGO):
        assert node is not None
        sheet.wrong(node, f'{where}.against: unknown "{text}"{hint(str(text), (WEEK_AGO,))}')
    return text == WEEK_AGO


def _changed(
    row: Threshold, details: Mapping[str, Node], where: str, services: Mapping[str, Service], sheet: Sheet
) -> Threshold | None:
    """A row with whatever the team says of it; ``None`` where its limit cannot be read."""
    update: dict[str, object] = {}
    asked = None if row.week_ago else row.metric
    limit = row.limit
    if "above" in details:
        found = read_limit(details["above"], f"{where}.above", asked, sheet)
        if found is None:
            return None
        limit = found[0]
        update |= {"limit": limit, "recover": recovered_at(limit, above=row.above)}
    if "recover" in details:
        found = read_limit(details["recover"], f"{where}.recover", asked, sheet)
        if found is not None and (found[0] > limit if row.above else found[0] < limit):
            side = "below" if row.above else "above"
            sheet.wrong(details["recover"], f"{where}.recover must not lie {_other(side)} its limit")
        elif found is not None:
            update["recover"] = found[0]
    for key, field in (("for", "lasting"), ("over", "over"), ("recover_for", "recover_for")):
        length = sheet.duration(details.get(key), f"{where}.{key}")
        if length is not None and _whole(length, details[key], f"{where}.{key}", sheet):
            update[field] = length
    level = sheet.text(details.get("level"), f"{where}.level")
    if level is not None:
        update["level"] = sheet.member(level, details["level"], f"{where}.level", Level) or row.level
    update |= _silence(details.get("no_data"), f"{where}.no_data", sheet)
    update |= _minimum(row, details.get("minimum"), f"{where}.minimum", sheet)
    speaks = channel(details.get("channel"), f"{where}.channel", sheet)
    chosen = _services(row, details.get("services"), f"{where}.services", services, sheet)
    left_out = _services(row, details.get("except"), f"{where}.except", services, sheet)
    return row.model_copy(
        update=update | {"channel": speaks or row.channel, "services": chosen, "excluded": left_out}
    )


def _other(side: str) -> str:
    return "above" if side == "below" else "below"


def _whole(length: timedelta, node: Node, where: str, sheet: Sheet) -> bool:
    """Steps are minutes, and a day is as far as is looked back."""
    seconds = length.total_seconds()
    if seconds % 60 == 0 and seconds <= 24 * 3600:
        return True
    sheet.wrong(node, f"{where} must be whole minutes, at most 1d: metrics come once a minute")
    return False


def _services(
    row: Threshold, node: Node | None, where: str, services: Mapping[str, Service], sheet: Sheet
) -> tuple[str, ...]:
    """Names of services that the metric can be of."""
    needed = INDICATORS[row.metric].kind if isinstance(row.metric, str) else None
    names = []
    for name, at in sheet.texts(node, where):
        if name not in services:
            sheet.wrong(at, f'{where}: unknown service "{name}"{hint(name, services)}')
        elif needed is not None and services[name].kind is not needed:
            label = "service_name" if needed is Kind.CLOUD_RUN else "database_id"
            sheet.wrong(
                at,
                f"{where}: {row.metric} is measured of {needed} only, which {name} is not: its match has no"
                f" {label}",
            )
        else:
            names.append(name)
    return tuple(names)


def _silence(node: Node | None, where: str, sheet: Sheet) -> dict[str, object]:
    text = sheet.text(node, where)
    if text is None:
        return {}
    if text in (Silence.KEEP, Silence.OK):
        return {"no_data": Silence(text), "silent_for": None}
    if text[:1].isdigit():
        length = sheet.duration(node, where)
        return {"no_data": Silence.ALERT, "silent_for": length} if length is not None else {}
    assert node is not None
    sheet.wrong(node, f'{where}: unknown "{text}". Allowed: keep, ok, or a time after which to alert, as 15m')
    return {}


def _minimum(row: Threshold, node: Node | None, where: str, sheet: Sheet) -> dict[str, object]:
    found = quantity(node, where, sheet)
    if found is None:
        return {}
    assert node is not None
    value, unit = found
    if unit or value < 0:
        sheet.wrong(node, f"{where} must be a plain number, such as 100")
    elif row.metric not in ("latency", "error-rate") and not row.week_ago:
        sheet.wrong(
            node, f"{where} counts requests: it is for latency, error-rate and `against: {WEEK_AGO}` only"
        )
    else:
        return {"minimum": value}
    return {}
