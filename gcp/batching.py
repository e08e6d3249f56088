"""Many questions in few calls: what differs only in the values of its labels is asked together."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from domain.series import Query, Reducer

LONGEST_FILTER = 2000
"""Characters. 2,048 are documented for alert policies' filters; for reading nothing is, so we stay below."""

SHORTEST_STEP = 60
"""Seconds: the shortest alignment period."""

MOST_CHOICES = 100
"""Values of one label in one call."""

_PATH = re.compile(r"(?:resource|metric)\.labels\.[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries for one call. ``apart`` are the labels by which their answers are told apart again."""

    queries: tuple[Query, ...]
    apart: tuple[str, ...]

    @property
    def filter(self) -> str:
        """The filter that selects the series of all of them, and perhaps a few more."""
        return filter_of(self.queries)

    @property
    def group_by(self) -> list[str]:
        """What the call groups by: what was wanted, and what tells the queries apart."""
        first = self.queries[0]
        if first.reducer is Reducer.NONE:
            return []
        return list(dict.fromkeys((*first.group_by, *self.apart)))

    def owners(self) -> dict[tuple[str, ...], Query]:
        """The query to which a series with these values of ``apart`` belongs."""
        return {tuple(dict(query.labels)[path] for path in self.apart): query for query in self.queries}


def check(query: Query) -> None:
    """Raise ``ValueError`` for a query that cannot be asked: paths stand in the filter without quotes."""
    if query.step < SHORTEST_STEP:
        raise ValueError(f"a step is at least {SHORTEST_STEP} s")
    for path in (*(path for path, _ in query.labels), *query.group_by):
        if not _PATH.fullmatch(path):
            raise ValueError(f"{path!r} is no path of a label")
    if len(dict(query.labels)) != len(query.labels):
        raise ValueError("a label is asked for twice")


def quoted(text: str) -> str:
    """A string as a filter's literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def filter_of(queries: Sequence[Query]) -> str:
    """Exactly one metric and resource type, and for each label one of the values that the queries want."""
    first = queries[0]
    terms = [f"metric.type = {quoted(first.metric)}", f"resource.type = {quoted(first.resource)}"]
    for path, values in _values(queries).items():
        literals = [quoted(value) for value in values]
        wanted = literals[0] if len(literals) == 1 else f"one_of({', '.join(literals)})"
        terms.append(f"{path} = {wanted}")
    return " AND ".join(terms)


def _values(queries: Iterable[Query]) -> Mapping[str, list[str]]:
    """The values of each label, each once, in order."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for query in queries:
        for path, value in query.labels:
            found[path][value] = None
    return {path: sorted(values) for path, values in sorted(found.items())}


def batched(queries: Iterable[Query]) -> Iterator[Batch]:
    """The fewest calls that hold to the limits. The queries differ and were checked."""
    alike: dict[tuple[object, ...], list[Query]] = defaultdict(list)
    for query in queries:
        names = tuple(sorted(path for path, _ in query.labels))
        alike[
            query.project,
            query.metric,
            query.resource,
            query.aligner,
            query.reducer,
            query.group_by,
            query.step,
            names,
        ].append(query)
    for group in alike.values():
        waiting: list[Query] = []
        for query in sorted(group, key=lambda one: sorted(one.labels)):
            if waiting and not _fits([*waiting, query]):
                yield _batch(waiting)
                waiting = []
            waiting.append(query)
        yield _batch(waiting)


def _fits(queries: Sequence[Query]) -> bool:
    if max((len(values) for values in _values(queries).values()), default=0) > MOST_CHOICES:
        return False
    return len(filter_of(queries)) <= LONGEST_FILTER


def _batch(queries: Sequence[Query]) -> Batch:
    apart = tuple(path for path, values in _values(queries).items() if len(values) > 1)
    return Batch(tuple(queries), apart)
