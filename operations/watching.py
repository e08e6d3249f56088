"""Looking at the services' metrics: each threshold and each objective judged on its newest steps."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from domain import objectives, probes, thresholds
from domain.alerts import Signal
from domain.clock import Absence, absence
from domain.effects import Note, Text
from domain.errors import Outage
from domain.objectives import Promised
from domain.outbox import OPS
from domain.policy import Policy, Service
from domain.ports import Metrics
from domain.probes import ProbeStanding, Seen
from domain.rules import Probe
from domain.series import Query, Reading, epoch, moment
from domain.standing import Judged, Standing, retire
from domain.thresholds import Watched
from domain.watches import WatchKind
from operations import counters, signals
from operations.clock import doubt, end_doubt, heed_leap
from operations.standings import Shelf
from operations.world import World

V = TypeVar("V", bound=BaseModel)

Rule = Watched | Promised

CALM_FOR = 600
"""Seconds for which the standing of a rule that has nothing to say is not written: it is judged again
from the same data, which changes nothing."""

PROBES_AT_ONCE = 16
"""Health addresses that are asked at the same time."""

UNWRITTEN = "unknown metric"
"""How the problem of a metric begins that does not exist in its project."""

HALF_A_LOOK = 30
"""Seconds by which a look may come early and still count for its turn."""


def rules_of(policy: Policy) -> tuple[Rule, ...]:
    """Every threshold and objective that can be judged."""
    found: tuple[Rule, ...] = (*thresholds.watched(policy), *objectives.promised(policy))
    return tuple(rule for rule in found if rule.lacking is None)


async def watch(world: World, due: datetime) -> int:
    """Judge every rule on its newest complete steps. Returns how many were judged.

    States and signals are one commit; a look that was cut off is repeated without a trace. Raises
    ``Outage`` after that commit where monitoring could not be read for some of them.
    """
    await heed_leap(world)
    at, shown = world.clock.now(), world.clock.judge()
    async with world.store.read() as tx:
        shelf = await Shelf.load(tx, WatchKind.RULE, Standing)
        doubted = await doubt(tx)
    missing = absence(shown, doubted)
    rules = rules_of(world.policy)
    readings = _Readings()
    await readings.read(world, rules, shelf, at)
    heard: list[Signal] = []
    problems: Counter[str] = Counter()
    unwritten: list[Rule] = []
    newest = 0
    for rule in rules:
        before = shelf[rule.key]
        judged = readings.judge(world.policy, rule, before, at, missing)
        if judged.problem is not None:
            if judged.problem.startswith(UNWRITTEN):
                unwritten.append(rule)
            else:
                problems[judged.problem] += 1
            continue
        heard += judged.signals
        newest = max(newest, judged.standing.seen_until or 0)
        if _is_worth_a_write(before, judged.standing):
            shelf.put(rule.key, judged.standing)
    gone = sorted(set(shelf.keys()) - {rule.key for rule in rules})
    heard += _retired(world.policy, shelf, gone, at)
    await _keep(world, shelf, heard, gone, at, [_unwritten(rule) for rule in unwritten])
    if doubted is not None and doubted.is_over(shown, moment(newest)):
        async with world.store() as tx:
            await end_doubt(tx, doubted)
    judged_well = len(rules) - problems.total() - len(unwritten)
    counters.judged.labels(kind="rule", outcome="judged").inc(judged_well)
    counters.judged.labels(kind="rule", outcome="blind").inc(problems.total() + len(unwritten))
    if problems:
        why, count = problems.most_common(1)[0]
        raise Outage(f"{problems.total()} of {len(rules)} rules could not be judged, {count} of them: {why}")
    return judged_well


async def _keep(
    world: World,
    shelf: Shelf[V],
    heard: Sequence[Signal],
    gone: Sequence[str],
    at: datetime,
    notes: Sequence[Note] = (),
) -> None:
    async with world.store() as tx:
        await shelf.save(tx, at, gone)
        await tx.say(notes, at)
        if heard:
            await signals.receive(tx, world.policy, [(signal, at) for signal in heard], at)


def _is_worth_a_write(before: Standing | None, after: Standing) -> bool:
    """A rule that fires, is about to, or has not been written for a while."""
    if before is None or before.judged_until is None or after.judged_until is None:
        return True
    if before.model_dump(exclude=_CALM) != after.model_dump(exclude=_CALM):
        return True
    return after.firing or after.judged_until - before.judged_until >= CALM_FOR


_CALM = {"judged_until", "seen_until", "value"}


def _unwritten(rule: Rule) -> Note:
    """A metric that nobody has ever written is a mistake in the policy, told once, and no outage."""
    metric = rule.indicator.parts[0].metric
    text = Text(key="ops.unknown_metric", params={"rule": rule.key, "metric": metric})
    return Note(key=f"unknown-metric:{rule.key}:{metric}"[:255], place=OPS, text=text)


class _Readings:
    """What the rules need, read in few calls: thresholds by their newest minutes, objectives from history."""

    def __init__(self) -> None:
        self.near: Mapping[Query, Reading] = {}
        self.week_ago: Mapping[Query, Reading] = {}
        self.long: dict[int, Mapping[Query, Reading]] = {}

    async def read(self, world: World, rules: Iterable[Rule], shelf: Shelf[Standing], at: datetime) -> None:
        """All of it at once. A problem is part of a reading."""
        near, compared, long = _Wanted(), _Wanted(), defaultdict[int, _Wanted](_Wanted)
        for rule in rules:
            if isinstance(rule, Promised):
                span = objectives.span(rule.burn, shelf[rule.key], at)
                long[rule.burn.step].add(rule.indicator.queries(rule.service, rule.burn.step), span)
                continue
            span = thresholds.span(rule.threshold, shelf[rule.key], at)
            queries = rule.indicator.queries(rule.service, thresholds.STEP)
            near.add(queries, span)
            if rule.threshold.week_ago:
                compared.add(queries, thresholds.week_before(span))
        found = await asyncio.gather(
            near.read(world.metrics),
            compared.read(world.metrics),
            *(wanted.read(world.history) for wanted in long.values()),
        )
        self.near, self.week_ago, *rest = found
        self.long = dict(zip(long, rest, strict=True))

    def judge(
        self, policy: Policy, rule: Rule, before: Standing | None, at: datetime, missing: Absence
    ) -> Judged:
        """One rule on what was read."""
        if isinstance(rule, Promised):
            limits = policy.rules.limits_of(rule.service.name)
            window = rule.indicator.measure(self.long[rule.burn.step], rule.service, rule.burn.step, limits)
            return objectives.judge(rule.objective, rule.burn, rule.service, before, window, at)
        week_ago = self.week_ago if rule.threshold.week_ago else None
        window = rule.measure(self.near, policy.rules, week_ago)
        return thresholds.judge(rule.threshold, rule.service, before, window, at, missing)


class _Wanted:
    """Queries that are read together, over the span that all of them need."""

    def __init__(self) -> None:
        self._queries: dict[Query, None] = {}
        self._start, self._end = 0, 0

    def add(self, queries: Iterable[Query], span: tuple[int, int]) -> None:
        start, end = span
        self._start = min(self._start or start, start)
        self._end = max(self._end, end)
        self._queries.update(dict.fromkeys(queries))

    async def read(self, metrics: Metrics) -> Mapping[Query, Reading]:
        """What was asked for; nothing is complete beyond it, however long the answer took."""
        if not self._queries:
            return {}
        found = await metrics.read(list(self._queries), self._start, self._end)
        return {
            query: replace(reading, complete_until=min(reading.complete_until, self._end))
            for query, reading in found.items()
        }


def _retired(policy: Policy, shelf: Shelf[Standing], gone: Iterable[str], at: datetime) -> list[Signal]:
    """What rules that the policy no longer has leave open is closed."""
    services = {service.name: service for service in policy.services}
    found = []
    for key in gone:
        standing = shelf[key]
        if standing is None:
            continue
        service = services.get(standing.service, Service(name=standing.service))
        ended = retire("objective" if standing.part else "rule", standing, service, at)
        found += [ended] if ended is not None else []
    return found


async def probe(world: World, due: datetime) -> int:
    """Ask every health address that is due, and judge what was seen. Returns how many were asked."""
    at = world.clock.now()
    async with world.store.read() as tx:
        shelf = await Shelf.load(tx, WatchKind.PROBE, ProbeStanding)
    services = {service.name: service for service in world.policy.services}
    asked = [one for one in world.policy.rules.probes if _is_due(one, shelf[one.name], at)]
    turn = asyncio.Semaphore(PROBES_AT_ONCE)

    async def look(one: Probe) -> Seen:
        async with turn:
            return await world.prober.probe(one.url, private=one.private)

    heard: list[Signal] = []
    for one, seen in zip(asked, await asyncio.gather(*map(look, asked)), strict=True):
        standing, signal = probes.follow(shelf[one.name], seen, one, services[one.service], at)
        shelf.put(one.name, standing)
        heard += [signal] if signal is not None else []
        well = probes.fault(one, seen) is None
        counters.judged.labels(kind="probe", outcome="well" if well else "failed").inc()
    gone = sorted(set(shelf.keys()) - {one.name for one in world.policy.rules.probes})
    for name in gone:
        left = shelf[name]
        service = services.get(left.service, Service(name=left.service)) if left else None
        ended = probes.retire(left, service, at) if left and service else None
        heard += [ended] if ended is not None else []
    await _keep(world, shelf, heard, gone, at)
    return len(asked)


def _is_due(one: Probe, standing: ProbeStanding | None, at: datetime) -> bool:
    """The job looks once a minute; a probe may want to be asked more rarely."""
    if standing is None or standing.seen_at is None or standing.seen_at > epoch(at):  # A clock was set right.
        return True
    return epoch(at) - standing.seen_at >= one.every.total_seconds() - HALF_A_LOOK
