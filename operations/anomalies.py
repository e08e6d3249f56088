"""Looking for what is unusual: the detector over each service's metrics, and what becomes of it."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from domain import anomalies as rules
from domain.alerts import AlertGroup, Signal, group_key
from domain.anomalies import Deviation, Direction, Episode, Event, Track, Turn
from domain.effects import Card, Effect, Note, Picture, Priority, Refresh, Text
from domain.errors import Outage, Refused
from domain.findings import Detector, Explained, ExplainedColumn, Finding, Known, KnownService
from domain.indicators import DETECTED, INDICATORS, shown
from domain.policy import Policy, Service
from domain.ports import Tx
from domain.rollouts import Stage
from domain.rules import Kind, Sensitivity
from domain.series import epoch, moment
from domain.units import Unit
from domain.voice import SOURCE, Said, signal
from domain.watches import Watch, WatchKind
from operations import counters, signals
from operations.columns import DAY, DAYS, STEP, Columns, Measuring
from operations.judging import Answered, Asked, judge_many
from operations.places import home
from operations.world import World

CATCH_UP = 24 * 3600
"""Seconds of looks that were missed and are made up for."""

FIRST_LOOK = 3600
"""Seconds before the first look in which something may have begun already."""

AT_ONCE = 5
"""Services judged in one go: a picture that somebody waits for is drawn between two of them."""

ROLES: dict[str, str] = {
    "latency": "latency",
    "error-rate": "errors",
    "requests": "requests",
    "cpu": "cpu",
    "memory": "memory",
}
"""What each of the five metrics means to the detector."""


def judged(policy: Policy) -> tuple[Service, ...]:
    """The services that the detector looks at: those of Cloud Run in a project, unless it is off there."""
    return tuple(
        service
        for service in policy.services
        if service.kind is Kind.CLOUD_RUN
        and service.project is not None
        and policy.rules.anomalies.of(service.name) is not Sensitivity.OFF
    )


class Detecting:
    """The recurring look. What it keeps between two of them only spares work."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._measuring = Measuring(world)

    async def look(self, due: datetime) -> int:
        """Judge every service on its newest complete steps. Returns how many were judged.

        The arithmetic happens before the transaction, what follows from it inside: a look that was cut
        off is repeated without a trace. Raises ``Outage`` after that where some could not be read.
        """
        world = self._world
        services = judged(world.policy)
        detectors, unusual = await _remembered(world)
        columns = await self._measuring.columns(services)
        problems = {name: one.problem for name, one in columns.items() if one.problem is not None}
        seen = [service for service in services if service.name not in problems]
        answered: list[Answered] = []
        for first in range(0, len(seen), AT_ONCE):
            asked = tuple(
                _asked(world.policy, service, columns[service.name], detectors, unusual)
                for service in seen[first : first + AT_ONCE]
            )
            answered += await world.compute.run(judge_many, asked)
        at = world.clock.now()
        async with world.store() as tx:
            await _take_in(tx, world.policy, answered, at)
        counters.judged.labels(kind="service", outcome="judged").inc(len(answered))
        counters.judged.labels(kind="service", outcome="blind").inc(len(problems))
        if problems:
            name, why = next(iter(problems.items()))
            many = f"{len(problems)} of {len(services)} services"
            raise Outage(f"{many} could not be judged, {name}: {why}")
        return len(answered)


Unusual = tuple[str, int, int]
"""A service, and a period of it that nothing usual is learned from: epoch seconds."""


async def _remembered(world: World) -> tuple[dict[str, Detector], list[Unusual]]:
    """What is stored of the detectors, and what was unusual in the time that they learn from: incidents that
    a person confirmed, and deploys that had to be taken back.
    """
    since = world.clock.now() - timedelta(days=DAYS + 7)
    async with world.store.read() as tx:
        detectors = await known_detectors(tx)
        incidents, rollouts = await tx.incidents_since(since), await tx.rollouts_since(since)
    unusual = [
        (one.service, epoch(one.opened_at), epoch(one.resolved_at))
        for one in incidents
        if one.service is not None and one.resolved_at is not None and one.acknowledged_at is not None
    ]
    unusual += [
        (one.service, epoch(one.shifted_at), epoch(one.ended_at))
        for one in rollouts
        if one.shifted_at is not None and one.ended_at is not None and one.stage is Stage.ROLLED_BACK
    ]
    return detectors, unusual


def _asked(
    policy: Policy,
    service: Service,
    columns: Columns,
    detectors: Mapping[str, Detector],
    unusual: Sequence[Unusual],
    steps_shown: int = 0,
) -> Asked:
    track = detectors.get(service.name, Detector()).track
    until = columns.until
    first_look = until - FIRST_LOOK if track.judged_until is None else track.judged_until
    days = [moment(columns.start + day * DAY) for day in range(DAYS + 10)]
    return Asked(
        service=service.name,
        start=columns.start,
        step=STEP,
        columns=tuple((key, ROLES[key]) for key in DETECTED),
        values=columns.values,
        zone=policy.rules.zone,
        holidays=frozenset(day.date() for day in days if policy.rules.is_holiday(day)),
        excluded=_excluded(service, track, unusual),
        after=max(first_look, until - CATCH_UP),
        shown=steps_shown,
    )


def _excluded(service: Service, track: Track, unusual: Sequence[Unusual]) -> tuple[tuple[int, int], ...]:
    """Periods that nothing usual is learned from: those, and alerts that were called useful."""
    lived = {(start, end) for name, start, end in unusual if name == service.name}
    return tuple(sorted({*lived, *rules.excluded_by(track)}))


async def known_detectors(tx: Tx) -> dict[str, Detector]:
    """What is stored of each service's detector."""
    watches = await tx.watches(WatchKind.DETECTOR)
    return {key: Detector.model_validate(watch.state) for key, watch in watches.items()}


async def _take_in(tx: Tx, policy: Policy, answered: Sequence[Answered], at: datetime) -> None:
    """Follow each service by its newly judged steps; what came of it is one commit."""
    watches = await tx.watches(WatchKind.DETECTOR)
    changed: list[Watch] = []
    happened: list[tuple[Service, Event]] = []
    for one in answered:
        watch = watches.get(one.service)
        before = Detector.model_validate(watch.state) if watch else Detector()
        sensitivity = policy.rules.anomalies.of(one.service)
        track, events = rules.follow(before.track, one.scored, sensitivity, since=one.since)
        after = Detector(track=track, since=one.since, ready_at=one.ready_at)
        service = next(each for each in policy.services if each.name == one.service)
        happened += [(service, event) for event in events]
        state = after.model_dump(mode="json")
        if watch is None:
            changed.append(Watch(kind=WatchKind.DETECTOR, key=one.service, state=state, changed_at=at))
        elif after != before:
            changed.append(watch.model_copy(update={"state": state, "changed_at": at}))
    await tx.save_watches(changed)
    gone = sorted(set(watches) - {service.name for service in judged(policy)})
    left = [(name, Detector.model_validate(watches[name].state).track) for name in gone]
    await tx.forget_watches(WatchKind.DETECTOR, gone)
    await _tell(tx, policy, happened, left, at)


async def _tell(
    tx: Tx,
    policy: Policy,
    happened: Sequence[tuple[Service, Event]],
    left: Sequence[tuple[str, Track]],
    at: datetime,
) -> None:
    """Signals into the ordinary pipeline, and below each thread its picture and its question."""
    hosts = await _hosts(tx)
    open_findings = {(one.service, epoch(one.started_at)): one for one in await tx.open_findings()}
    heard = [
        _signal(policy, service, event.episode)
        for service, event in happened
        if _has_own_thread(service, event, hosts, open_findings)
    ]
    for name, track in left:
        if track.episode is not None:
            over = track.episode.model_copy(update={"ended_at": epoch(at)})
            heard.append(_signal(policy, Service(name=name), over, lost=True))
    if heard:
        await signals.receive(tx, policy, [(one, at) for one in heard], at)
    for service, event in happened:
        known = open_findings.get((service.name, event.episode.started_at))
        match event.turn:
            case Turn.OPENED if known is None:
                host = hosts.get((service.name, event.episode.driver.column))
                finding = await _found(tx, service, event.episode, host, at)
                open_findings[service.name, event.episode.started_at] = finding
            case Turn.CONTINUED if known is not None:
                await _worse(tx, known, event.episode, at)
            case Turn.CLOSED if known is not None:
                over_at = moment(event.episode.ended_at or event.at)
                details = event.episode.model_dump(mode="json")
                await tx.save_finding(known.model_copy(update={"ended_at": over_at, "details": details}))
    for name, track in left:
        for (of, _), finding in open_findings.items():
            if of == name and track.episode is not None:
                await tx.save_finding(finding.model_copy(update={"ended_at": at}))


Hosts = Mapping[tuple[str, str], AlertGroup]


async def _hosts(tx: Tx) -> Hosts:
    """Threads that tell of a broken limit, by service and metric: one trouble, one thread."""
    return {
        (group.service, group.labels["metric"]): group
        for group in await tx.open_groups()
        if group.source == SOURCE and group.service is not None and group.labels.get("rule") is not None
    }


def _has_own_thread(
    service: Service, event: Event, hosts: Hosts, known: Mapping[tuple[str, int], Finding]
) -> bool:
    """True for an anomaly that no limit has told of, at its beginning and at its end."""
    match event.turn:
        case Turn.OPENED:
            return (service.name, event.episode.driver.column) not in hosts
        case Turn.CONTINUED:
            return False
        case Turn.CLOSED:
            finding = known.get((service.name, event.episode.started_at))
            return finding is None or not finding.is_guest


async def _found(
    tx: Tx, service: Service, episode: Episode, host: AlertGroup | None, at: datetime
) -> Finding:
    """A new anomaly: its row, and in its thread (or its host's) the picture and the question."""
    key = group_key(SOURCE, "anomaly", service.name)
    group = host or (await tx.newest_groups([key])).get(key)
    finding = await tx.add_finding(
        Finding(
            service=service.name,
            driver=episode.driver.column,
            direction=episode.driver.direction.value,
            details=episode.model_dump(mode="json"),
            score=episode.peak,
            started_at=moment(episode.started_at),
            seen_at=at,
            group_id=group.id if group else None,
            is_guest=host is not None,
        )
    )
    if group is None:
        return finding
    params = {"service": service.name, "column": episode.driver.column, "at": episode.started_at}
    text = Text(
        key="anomaly.picture",
        params={"metric": episode.driver.column, "service": service.name},
        picture=Picture(kind="anomaly", params=params),
    )
    picture = Note(key=f"anomaly:{finding.id}", place=home(group), text=text, thread_of=group.subject.key)
    question = Card(
        subject=finding.subject, place=home(group), priority=Priority.QUESTION, thread_of=group.subject.key
    )
    effects: list[Effect] = [picture, question]
    await tx.say(effects, at)
    return finding


async def _worse(tx: Tx, finding: Finding, episode: Episode, at: datetime) -> None:
    """Another metric moved, or it became much rarer: a line in the thread, once each."""
    details = episode.model_dump(mode="json")
    worse = finding.model_copy(update={"details": details, "score": max(finding.score, episode.peak)})
    await tx.save_finding(worse)
    groups = await tx.groups([finding.group_id]) if finding.group_id is not None else {}
    group = groups.get(finding.group_id or 0)
    effects: list[Effect] = [Refresh(subject=finding.subject)]
    visible = [one for one in episode.others if _is_outside(one)]
    if group is not None and visible:
        moved = visible[-1]
        text = Text(key="anomaly.moved", params=_told(moved))
        name = f"anomaly-moved:{finding.id}:{moved.column}"
        effects.append(Note(key=name, place=home(group), text=text, thread_of=group.subject.key))
    await tx.say(effects, at)


def _is_outside(deviation: Deviation) -> bool:
    """A reader sees that it is off. What is odd only for its traffic is not told beside another metric."""
    if deviation.observed is None or deviation.low is None or deviation.high is None:
        return False
    return not deviation.low <= deviation.observed <= deviation.high


def amount(column: str, value: float | None) -> tuple[float | None, str]:
    """A value of a column with its unit, as texts have it: requests are a second's."""
    unit = INDICATORS[column].unit
    per = STEP if unit is Unit.PER_SECOND else 1
    return None if value is None else value / per, unit.value


def _told(deviation: Deviation) -> dict[str, object]:
    return {
        "metric": deviation.column,
        "direction": deviation.direction.value,
        "value": amount(deviation.column, deviation.observed),
        "low": amount(deviation.column, deviation.low),
        "high": amount(deviation.column, deviation.high),
        "score": deviation.score,
    }


def _signal(policy: Policy, service: Service, episode: Episode, *, lost: bool = False) -> Signal:
    """An anomaly as an alert like any other sender's: one for each service at a time."""
    driver = episode.driver
    params = _told(driver) | {"service": service.name, "score": episode.peak}
    key = "stuck" if driver.direction is Direction.STUCK else "odd"
    if key == "odd" and driver.low is not None and not _is_outside(driver):
        key = "hour"
    if driver.low is None or driver.high is None:
        key = "stuck" if key == "stuck" else "rare"
    if episode.ended_at is not None:
        key = "over"
        params["seconds"] = max(0, episode.ended_at - episode.started_at)
    visible = [one for one in episode.others if _is_outside(one)]
    lines = tuple(Text(key="anomaly.also", params=_told(one)) for one in visible[:3])
    usual = [key for key in DETECTED if key not in {driver.column, *(one.column for one in visible)}]
    if usual and episode.ended_at is None:
        lines = (*lines, Text(key="anomaly.as_usual", params={"metrics": usual}))
    plain = f"{service.name}: {driver.column} unusually {driver.direction.value}"
    observed, unit = amount(driver.column, driver.observed)
    said = Said(
        title=Text(key=f"anomaly.{key}.title", params=params),
        summary=Text(key=f"anomaly.{key}.summary", params=params, lines=lines),
        plain=plain,
        value=None if observed is None else shown(observed, Unit(unit)),
    )
    made = signal(
        ("anomaly", ""),
        service,
        policy.rules.anomalies.level,
        said,
        labels={"metric": driver.column, "service": service.name},
        started=episode.started_at,
        ended=episode.ended_at,
        channel=policy.rules.anomalies.channel,
    )
    made = made.model_copy(update={"group_key": group_key(SOURCE, "anomaly", service.name)})
    return made.model_copy(update={"recovered": False}) if lost else made


async def known(tx: Tx, policy: Policy, at: datetime) -> Known:
    """What the detectors have told lately, and what they are told to be silent about."""
    detectors = await known_detectors(tx)
    week = epoch(at) - 7 * DAY
    tracks = [detector.track for detector in detectors.values()]
    return Known(
        services=tuple(
            KnownService(
                service=service.name,
                ready_at=detectors.get(service.name, Detector()).ready_at,
                judged_until=detectors.get(service.name, Detector()).track.judged_until,
                muted=tuple(
                    rules.muted_until(detectors.get(service.name, Detector()).track, epoch(at)).items()
                ),
            )
            for service in judged(policy)
        ),
        off=tuple(
            service.name
            for service in policy.services
            if service.kind is Kind.CLOUD_RUN and service not in judged(policy)
        ),
        findings=tuple(await tx.findings_since(at - timedelta(days=14))),
        useful=rules.share_useful(tracks, week),
    )


async def explain(world: World, service: Service) -> Explained:
    """How a service looks to the detector just now, metric by metric. Raises ``Outage`` and ``Refused``."""
    if service not in judged(world.policy):
        raise Refused("refused.not_judged", service=service.name)
    answered = await shown_steps(world, service, 1)
    detector = Detector(since=answered.since, ready_at=answered.ready_at)
    async with world.store.read() as tx:
        stored = (await known_detectors(tx)).get(service.name, detector)
    newest = answered.shown[0].times[-1] if answered.shown and answered.shown[0].times else None
    sensitivity = world.policy.rules.anomalies.of(service.name)
    limit = rules.threshold(stored.track, sensitivity, answered.since, newest or epoch(world.clock.now()))
    return Explained(
        service=service.name,
        at=newest,
        ready_at=answered.ready_at,
        threshold=limit,
        columns=tuple(
            ExplainedColumn(
                metric=one.column,
                value=amount(one.column, _known(one.values[-1])),
                low=amount(one.column, _known(one.low[-1])),
                high=amount(one.column, _known(one.high[-1])),
                score=one.scores[-1],
            )
            for one in answered.shown
            if one.times
        ),
        muted=tuple(rules.muted_until(stored.track, epoch(world.clock.now())).items()),
    )


async def shown_steps(world: World, service: Service, steps: int) -> Answered:
    """The last steps of a service with what was expected of them. Raises ``Outage``."""
    detectors, unusual = await _remembered(world)
    columns = (await Measuring(world).columns((service,)))[service.name]
    if columns.problem is not None:
        raise Outage(columns.problem)
    asked = _asked(world.policy, service, columns, detectors, unusual, steps)
    return (await world.compute.run(judge_many, (asked,)))[0]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
