"""Series, readings and services for the tests of what Toban watches."""

import math
from array import array
from datetime import timedelta

from domain.indicators import INDICATORS, RESPONSE_CLASS, Measured
from domain.policy import Service
from domain.series import Reading, Series, moment

START = 1_790_000_040
"""The end of the first step: a whole minute, but no whole five minutes."""

GAP = math.nan
API = Service(
    name="api",
    project="shop",
    region="asia-northeast1",
    match={"service_name": "api"},
    runbook="https://wiki.example/api",
)
DB = Service(name="db", match={"database_id": "shop:db"})


def series(values, start=START, step=60, **labels):
    return Series(start, step, array("d", [float(value) for value in values]), labels)


def classes(step=60, start=START, **by_class):
    """Request counts by response class: ``classes(ok=[…], bad=[…])`` are 2xx and 5xx."""
    names = {"ok": "2xx", "bad": "5xx", "lost": "4xx"}
    return tuple(
        Series(start, step, array("d", [float(value) for value in values]), {RESPONSE_CLASS: names[name]})
        for name, values in by_class.items()
    )


def reading(*found, until=None, problem=None):
    ends = [one.end for one in found if len(one.values)]
    return Reading(found, until if until is not None else max(ends, default=START), problem)


def measured(key, *parts, service=API, step=60, limits=None, until=None, problem=None):
    """An indicator over answers given as tuples of series, one a query."""
    indicator = INDICATORS[key]
    queries = indicator.queries(service, step)
    ends = [one.end for part in parts for one in part if len(one.values)]
    complete = until if until is not None else max(ends, default=START)
    answers = {query: Reading(part, complete, problem) for query, part in zip(queries, parts, strict=True)}
    return indicator.measure(answers, service, step, limits)


def window(values, weights=None, *, step=60, start=START, until=None, problem=None):
    """What a rule judges, straight from its numbers."""
    held = array("d", [float(value) for value in values])
    behind = None if weights is None else array("d", [float(weight) for weight in weights])
    complete = until if until is not None else start + (len(held) - 1) * step
    return Measured(start, step, held, complete, behind, problem)


def minute(number):
    """The moment ``number`` minutes after the first step's end, and two more for Google to deliver."""
    return moment(START + number * 60) + timedelta(minutes=2)
