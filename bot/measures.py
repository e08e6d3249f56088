"""Reads which metric a rule of the policy is about, and its limit with the unit that belongs to it."""

from collections.abc import Mapping

from yaml import Node

from bot.shapes import BYTES, quantity
from bot.sheet import Sheet, hint
from domain.indicators import INDICATORS, PROMETHEUS, RUN, SQL
from domain.rules import Measure, Statistic
from domain.units import Unit

MEASURE = ("metric", "statistic", "resource", "labels")
"""The keys that say what is measured."""

RESOURCES = {
    "prometheus.googleapis.com/": PROMETHEUS,
    "custom.googleapis.com/": "global",
    "run.googleapis.com/": RUN,
    "cloudsql.googleapis.com/": SQL,
}
"""The monitored resource of a metric whose rule does not name one, by the metric's beginning."""

PERCENTILES = (Statistic.P50, Statistic.P95, Statistic.P99)
LEVELS = (Statistic.MEAN, Statistic.MAX, Statistic.MIN, Statistic.SUM)
PROMETHEUS_STATISTICS = {"histogram": PERCENTILES, "gauge": LEVELS, "counter": (Statistic.RATE,)}
"""What Google can make of a metric of Managed Prometheus, by the end of its type."""

WRITTEN = {
    Unit.SHARE: ("80%", {"%": 0.01}),
    Unit.SECONDS: ("1.5s or 800ms", {"s": 1.0, "ms": 0.001}),
    Unit.PER_SECOND: ("1000/s", {"/s": 1.0}),
    Unit.PER_MINUTE: ("10/min", {"/min": 1.0}),
}
"""How a limit of each unit is written: an example, and what each ending is worth."""


def read_metric(details: Mapping[str, Node], at: Node, where: str, sheet: Sheet) -> str | Measure | None:
    """A built-in indicator's key, or a metric of Google's by its whole type."""
    text = sheet.text(details.get("metric"), f"{where}.metric")
    if text is None or "/" in text:
        return read_measure(details, at, where, sheet)
    if text not in INDICATORS:
        sheet.wrong(
            details["metric"],
            f'{where}.metric: unknown "{text}"{hint(text, INDICATORS)}, or a whole type such as'
            " custom.googleapis.com/sync_errors",
        )
        return None
    for key in ("statistic", "resource", "labels"):
        if key in details:
            sheet.wrong(details[key], f"{where}.{key}: {text} is built in and has its own. Remove the key")
    return text


def read_measure(details: Mapping[str, Node], at: Node, where: str, sheet: Sheet) -> Measure | None:
    """A metric by its whole type, with what is to be made of it."""
    metric = sheet.text(details.get("metric"), f"{where}.metric")
    if metric is None:
        if "metric" not in details:
            sheet.wrong(at, f"{where} has no metric. Name one, such as `metric: latency`")
        return None
    domain, _, path = metric.partition("/")
    if "." not in domain or not path or any(letter.isspace() or letter == '"' for letter in metric):
        sheet.wrong(
            details["metric"],
            f'{where}.metric: "{metric}" is not a metric\'s whole type such as'
            " custom.googleapis.com/sync_errors",
        )
        return None
    statistic = _statistic(metric, details.get("statistic"), at, where, sheet)
    resource = sheet.text(details.get("resource"), f"{where}.resource")
    if resource is None:
        resource = next((its for begins, its in RESOURCES.items() if metric.startswith(begins)), None)
    if resource is None:
        sheet.wrong(
            details["metric"],
            f"{where} has no resource. Name the type of resource that {metric} is written for",
        )
    if statistic is None or resource is None:
        return None
    labels = _labels(details.get("labels"), where, sheet)
    return Measure(metric=metric, statistic=statistic, resource=resource, labels=labels)


def _statistic(metric: str, node: Node | None, at: Node, where: str, sheet: Sheet) -> Statistic | None:
    ending = metric.rpartition("/")[2] if metric.startswith("prometheus.googleapis.com/") else ""
    allowed = PROMETHEUS_STATISTICS.get(ending.partition(":")[0], tuple(Statistic))
    text = sheet.text(node, f"{where}.statistic")
    if node is None:
        sheet.wrong(at, f"{where} has no statistic. Say what is made of {metric}{hint('', allowed)}")
    if text is None:
        return None
    assert node is not None
    if text not in allowed:
        of = f" of a {ending}" if ending else ""
        sheet.wrong(node, f'{where}.statistic: no "{text}"{of}{hint(text, allowed)}')
        return None
    return Statistic(text)


def _labels(node: Node | None, where: str, sheet: Sheet) -> tuple[tuple[str, str], ...]:
    found = {}
    for path, entry in sheet.entries(node, f"{where}.labels").items():
        text = sheet.text(entry.value, f"{where}.labels.{path}")
        if not path.startswith(("metric.labels.", "resource.labels.")):
            sheet.wrong(
                entry.key,
                f'{where}.labels: "{path}" does not say whose label it is. Write metric.labels.{path} or'
                f" resource.labels.{path}",
            )
        elif text is not None:
            found[path] = text
    return tuple(sorted(found.items()))


def read_limit(
    node: Node, where: str, metric: str | Measure | None, sheet: Sheet
) -> tuple[float, Unit, float] | None:
    """A limit: its value in its unit, the unit, and what the metric's values are to be multiplied by.

    ``metric`` ``None`` asks for a share of something else. A built-in metric has its unit; a team's own
    takes it from how the limit is written, which must fit the statistic.
    """
    found = quantity(node, where, sheet)
    if found is None:
        return None
    value, ending = found
    if metric is None or isinstance(metric, str):
        unit = Unit.SHARE if metric is None else INDICATORS[metric].unit
        example, endings = WRITTEN[unit]
        if ending not in endings:
            sheet.wrong(node, f"{where}: write it with its unit, as {example}")
            return None
        return round(value * endings[ending], 12), unit, 1
    is_rate = metric.statistic is Statistic.RATE
    if is_rate != (ending in ("/s", "/min")):
        better = "a rate needs /s or /min, as 10/min" if is_rate else "only a rate is written with /s or /min"
        sheet.wrong(node, f"{where}: {better}")
        return None
    match ending:
        case "%":
            return round(value / 100, 12), Unit.SHARE, 1
        case "s":
            return value, Unit.SECONDS, 1
        case "ms":
            return round(value / 1000, 12), Unit.SECONDS, 0.001
        case "/s":
            return value, Unit.PER_SECOND, 1
        case "/min":
            return value, Unit.PER_MINUTE, 60
        case "":
            return value, Unit.COUNT, 1
        case _:
            return value * BYTES[ending], Unit.BYTES, 1
