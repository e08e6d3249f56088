"""Invents the monitoring history of a Cloud Run service, with known incidents in it, to show and to measure.

Everything here is an assumption of ours about how such services behave: shapes, rates and noise were set by
hand and are measured on no real service. It was written before the anomaly detector and knows nothing of it.
The same arguments always give the same numbers.

Five metrics on a regular grid, ``nan`` where monitoring has no sample:

========  =============================================================================================
requests  requests in the step (count)
errors    requests of these that failed with 5xx (count)
latency   95th percentile of the response time in the step (ms); none where nobody asked
cpu       mean CPU utilisation of the instances (0..1)
memory    mean memory utilisation of the instances (0..1)
========  =============================================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

METRICS = ("requests", "errors", "latency", "cpu", "memory")
DAY = 86_400
LIVE_FROM = int(datetime(2026, 10, 19, tzinfo=UTC).timestamp())
"""Where the live part begins by default: both western zones change their clocks in the fortnight after it."""

ZONES = ("Asia/Tokyo", "Europe/Berlin", "Asia/Tokyo", "America/New_York")
"""The team's zone, by ``seed % 4``, where none is asked for."""

INCIDENTS = 8
"""Incidents in a fortnight of live data, and in the history where it is contaminated."""

APART = 8 * 3600
"""Seconds between two incidents and before the end at least; a quarter of it round the long gap."""


class Scenario(StrEnum):
    """What the detector is given to learn from."""

    BASE = "base"
    QUIET = "quiet"
    COLD_3D = "cold_3d"
    COLD_7D = "cold_7d"
    CONTAMINATED = "contaminated"
    GAPPY = "gappy"


HISTORY_DAYS = {Scenario.COLD_3D: 3.0, Scenario.COLD_7D: 7.0}
"""Days of history before the live part where they differ from a fortnight."""


class Kind(StrEnum):
    """What goes wrong; what a strength of 0 and of 1 means is in ``RANGES``."""

    LATENCY_SPIKE = "latency_spike"
    LATENCY_SHIFT = "latency_shift"
    ERROR_BURST = "error_burst"
    TRAFFIC_SURGE = "traffic_surge"
    TRAFFIC_DROP = "traffic_drop"
    CPU_SATURATION = "cpu_saturation"
    MEMORY_LEAK = "memory_leak"
    STUCK = "stuck"
    OFF_HOURS = "off_hours"
    DECOUPLING = "decoupling"


RANGES: dict[Kind, tuple[float, float]] = {
    Kind.LATENCY_SPIKE: (2.0, 6.0),  # Latency times this.
    Kind.LATENCY_SHIFT: (1.3, 1.6),  # Latency times this.
    Kind.ERROR_BURST: (0.03, 0.30),  # So large a share of the requests fails besides.
    Kind.TRAFFIC_SURGE: (1.8, 5.0),  # Requests times this; CPU and latency follow as they do in this service.
    Kind.TRAFFIC_DROP: (0.5, 0.03),  # Requests times this; CPU and latency follow.
    Kind.CPU_SATURATION: (
        0.5,
        1.0,
    ),  # This share of the way from usual to 97 % CPU; latency up to 40 % with it.
    Kind.MEMORY_LEAK: (0.12, 0.5),  # Memory gained by the end, as a share of the limit; then a restart.
    Kind.STUCK: (
        3600.0,
        10_800.0,
    ),  # For so many seconds one of latency, CPU and memory repeats its last value.
    Kind.OFF_HOURS: (0.4, 1.2),  # Requests in the small hours, as a share of the usual peak; CPU follows.
    Kind.DECOUPLING: (1.4, 2.4),  # The traffic's part of CPU times this or, in 3 of 10, divided by it.
}
"""The effect at strength 0 and at strength 1; between them it grows geometrically."""

MINUTES: dict[Kind, tuple[float, float]] = {
    Kind.LATENCY_SPIKE: (20, 60),
    Kind.LATENCY_SHIFT: (60, 180),
    Kind.ERROR_BURST: (20, 90),
    Kind.TRAFFIC_SURGE: (30, 180),
    Kind.TRAFFIC_DROP: (30, 180),
    Kind.CPU_SATURATION: (20, 120),
    Kind.MEMORY_LEAK: (90, 180),
    Kind.OFF_HOURS: (30, 180),
    Kind.DECOUPLING: (45, 180),
}
"""The shortest and longest duration; a stuck metric's duration is its strength."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing gone wrong: rows ``first`` to ``last``, both included.

    ``drivers`` are the metrics that it moves, the cause before its consequences.
    """

    kind: Kind
    first: int
    last: int
    drivers: tuple[str, ...]
    strength: float


class Shape(StrEnum):
    """Whose days the load follows."""

    OFFICE = "office"
    CONSUMER = "consumer"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of service it is; drawn once per seed."""

    shape: Shape
    peak: float
    """Requests a second at the usual daily peak: 3 to 3000 a minute, log-uniform."""
    night: float
    """The load of the small hours as a share of the peak."""
    weekend: float
    """The load of Saturday and Sunday as a share of a weekday's."""
    lunch: float
    """How much of the load goes to lunch at half past twelve, 0..1."""
    growth: float
    """Growth of the load in 28 days, log."""
    wobble: float
    """Standard deviation of the load's slow noise (log), correlated over 45 minutes."""
    latency: float
    """p95 of the idle service (ms)."""
    crowding: float
    """Latency is ``1 + crowding * load²`` of that, load counted up to twice the peak."""
    idle: float
    """CPU without a request (0..1)."""
    gain: float
    """CPU that the peak adds (0..1)."""
    bend: float
    """CPU grows with load to this power: more instances make it less than linear."""
    memory: float
    """Memory just after a restart (0..1)."""
    creep: float
    """Memory gained per day since the restart (0..1)."""
    failing: float
    """Share of requests that fail on an ordinary day, log-uniform 0.00001..0.003."""
    batch: float
    """Local hour of the nightly batch; negative where there is none."""
    deploys: float
    """Deploys per weekday."""


@dataclass(frozen=True, slots=True)
class Made:
    """A service's history and live part. Row i covers the step that begins at ``start + i * step``."""

    seed: int
    scenario: Scenario
    zone: str
    start: int
    """Epoch seconds of row 0."""
    step: int
    """Seconds a row."""
    live: int
    """The first row of the live part; before it is history to learn from."""
    profile: Profile
    requests: Floats
    errors: Floats
    latency: Floats
    cpu: Floats
    memory: Floats
    incidents: tuple[Incident, ...] = field(default=())
    """Ordered by time, those of the history included."""
    gap: tuple[int, int] = (0, 0)
    """The long gap: its first row, and the row after its last."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.requests)

    @property
    def times(self) -> Floats:
        """Epoch seconds at which each row begins."""
        return self.start + self.step * np.arange(len(self), dtype=np.float64)

    @property
    def live_incidents(self) -> tuple[Incident, ...]:
        """The incidents that a detector can be judged by."""
        return tuple(incident for incident in self.incidents if incident.first >= self.live)


def make(
    seed: int,
    *,
    scenario: Scenario,
    step: int = 300,
    history_days: float | None = None,
    live_days: float = 14.0,
    start: int | None = None,
    zone: str | None = None,
) -> Made:
    """Invent the service ``seed`` in a scenario.

    ``history_days`` defaults to the scenario's (14, or 3 or 7 for the cold starts), ``start`` (epoch seconds
    of row 0) to so long before ``LIVE_FROM``, ``zone`` to one of ``ZONES``. By default the live parts
    of BASE, COLD_3D, COLD_7D and CONTAMINATED are equal; GAPPY's lacks samples, QUIET's has no incident.
    """
    history = HISTORY_DAYS.get(scenario, 14.0) if history_days is None else history_days
    zone = zone or ZONES[seed % len(ZONES)]
    start = int(LIVE_FROM - history * DAY) if start is None else start
    hidden = round(max(14.0 - history, 0.0) * DAY / step)
    """Rows that are invented and then cut off, so that a cold start is the same service seen later."""
    live = hidden + round(history * DAY / step)
    rows = live + round(live_days * DAY / step)
    profile = _draw_profile(np.random.default_rng([seed, 1]))
    whole = _live_through(seed, profile, start - hidden * step, step, rows, zone)
    whole = replace(whole, scenario=scenario, live=live)
    if scenario != Scenario.QUIET:
        amount = round(INCIDENTS * live_days / 14)
        whole = _strike(whole, np.random.default_rng([seed, 20]), live + DAY // step, rows, amount)
    if scenario == Scenario.CONTAMINATED:
        amount = round(INCIDENTS * (live - hidden) * step / DAY / 14)
        whole = _strike(whole, np.random.default_rng([seed, 21]), hidden, live, amount)
    return _cut(_lose(whole, seed, scenario), hidden)


def inject(made: Made, kind: Kind, at: int, strength: float, seed: int = 0) -> Made:
    """The same service with one more incident that begins at row ``at``.

    ``strength`` 0..1 is what ``RANGES`` says; ``seed`` draws duration and detail, independently of the
    strength. Rows without a sample stay so. ``spots`` tells where a kind makes sense.
    """
    rng = np.random.default_rng([seed, at, 31 + list(Kind).index(kind)])
    weak, strong = RANGES[kind]
    effect = weak * (strong / weak) ** strength
    if kind == Kind.STUCK:
        seconds = effect
    else:
        shortest, longest = MINUTES[kind]
        seconds = 60 * rng.uniform(shortest, longest)
    last = min(at + max(round(seconds / made.step), 1), len(made)) - 1
    changed, drivers = _EFFECTS[kind](made, slice(at, last + 1), effect, rng)
    incident = Incident(kind, at, last, drivers, strength)
    incidents = tuple(sorted((*made.incidents, incident), key=lambda each: each.first))
    return replace(changed, incidents=incidents)


def spots(made: Made, kind: Kind) -> Flags:
    """The rows at which a kind of incident may begin.

    Traffic that drops, requests that fail and CPU that leaves the traffic need the busy hours (over 40 % of
    the peak), off-hours traffic the small hours (midnight to three) of a service that has them.
    """
    hours, days = _local(made.start, made.step, len(made), made.zone)
    load = _usual_load(made.profile, hours, days)
    match kind:
        case Kind.TRAFFIC_DROP | Kind.ERROR_BURST | Kind.DECOUPLING:
            return np.asarray(load > 0.4)
        case Kind.OFF_HOURS:
            return np.asarray((hours < 3.0) & (made.profile.shape != Shape.MACHINE))
        case _:
            return np.ones(len(made), dtype=np.bool_)


def _draw_profile(rng: np.random.Generator) -> Profile:
    shape = (Shape.OFFICE, Shape.OFFICE, Shape.CONSUMER, Shape.CONSUMER, Shape.MACHINE)[rng.integers(5)]
    night = {Shape.OFFICE: (0.04, 0.2), Shape.CONSUMER: (0.08, 0.3), Shape.MACHINE: (0.7, 0.95)}[shape]
    weekend = {Shape.OFFICE: (0.2, 0.55), Shape.CONSUMER: (0.85, 1.25), Shape.MACHINE: (0.9, 1.0)}[shape]
    return Profile(
        shape=shape,
        peak=float(np.exp(rng.uniform(np.log(3), np.log(3000))) / 60),
        night=float(rng.uniform(*night)),
        weekend=float(rng.uniform(*weekend)),
        lunch=float(rng.uniform(0.05, 0.25)) if shape == Shape.OFFICE else float(rng.uniform(-0.1, 0.1)),
        growth=float(rng.uniform(-0.03, 0.12)),
        wobble=float(rng.uniform(0.04, 0.12)),
        latency=float(np.exp(rng.uniform(np.log(60), np.log(700)))),
        crowding=float(rng.uniform(0.05, 0.35)),
        idle=float(rng.uniform(0.02, 0.08)),
        gain=float(rng.uniform(0.15, 0.5)),
        bend=float(rng.uniform(0.7, 1.0)),
        memory=float(rng.uniform(0.2, 0.45)),
        creep=float(rng.uniform(0.01, 0.08)),
        failing=float(np.exp(rng.uniform(np.log(1e-5), np.log(3e-3)))),
        batch=float(rng.uniform(0.5, 5.0)) if rng.random() < 0.6 else -1.0,
        deploys=float(rng.uniform(0.1, 0.6)),
    )


def _local(start: int, step: int, rows: int, zone: str) -> tuple[Floats, NDArray[np.int64]]:
    """Local hour of the day (0..24) and local day number (days since 1970-01-01, a Thursday) of each row."""
    times = start + step * np.arange(rows, dtype=np.int64)
    quarters, place = np.unique(times // 900, return_inverse=True)
    info = ZoneInfo(zone)
    offsets = [datetime.fromtimestamp(int(each) * 900, info).utcoffset() for each in quarters]
    local = times + np.array([0 if each is None else int(each.total_seconds()) for each in offsets])[place]
    return (local % DAY) / 3600, local // DAY


def _bump(hours: Floats, centre: float, width: float) -> Floats:
    """A bell over the hour of the day that goes round midnight."""
    away = (hours - centre + 12) % 24 - 12
    return np.asarray(np.exp(-0.5 * (away / width) ** 2))


def _by_day(hours: Floats, days: NDArray[np.int64], dates: NDArray[np.int64], level: Floats) -> Floats:
    """A level per date as a curve that changes within three hours round midnight, without a step."""
    edges = np.repeat(dates, 2) + np.tile([1 / 16, 15 / 16], len(dates))
    return np.asarray(np.interp(days + hours / 24, edges, np.repeat(level, 2)))


def _usual_load(profile: Profile, hours: Floats, days: NDArray[np.int64]) -> Floats:
    """The load without noise, holidays and growth: 1 at the peak of a weekday."""
    match profile.shape:
        case Shape.OFFICE:
            day = 1 / (1 + np.exp(-(hours - 8.5) * 2)) / (1 + np.exp((hours - 18.5) * 1.2))
        case Shape.CONSUMER:
            day = np.maximum(0.75 * _bump(hours, 12.5, 3.0), _bump(hours, 20.5, 2.5))
        case Shape.MACHINE:
            day = 0.5 + 0.5 * np.cos((hours - 14) / 24 * 2 * np.pi)
    day = day * (1 - profile.lunch * _bump(hours, 12.5, 0.6))
    load = profile.night + (1 - profile.night) * day
    dates = np.unique(days)
    level = np.where((dates + 3) % 7 >= 5, profile.weekend, 1.0)
    return np.asarray(load * _by_day(hours, days, dates, level))


def _wander(rng: np.random.Generator, rows: int, step: int, memory: float, spread: float) -> Floats:
    """First-order autoregressive noise: standard deviation ``spread``, correlated over ``memory`` seconds."""
    keep = float(np.exp(-step / memory))
    shocks = rng.normal(0.0, spread * np.sqrt(1 - keep * keep), rows)
    shocks[0] = rng.normal(0.0, spread)
    value = 0.0
    out = np.empty(rows)
    for i, shock in enumerate(shocks.tolist()):
        value = keep * value + shock
        out[i] = value
    return out


def _live_through(seed: int, profile: Profile, start: int, step: int, rows: int, zone: str) -> Made:
    """The service's ordinary life, without incidents and with every sample there."""
    hours, days = _local(start, step, rows, zone)
    usual = _usual_load(profile, hours, days)
    steady = _holidays(np.random.default_rng([seed, 2]), profile, usual, hours, days)
    steady *= np.exp(profile.growth * np.arange(rows) * step / (28 * DAY))
    load = steady * np.exp(_wander(np.random.default_rng([seed, 3]), rows, step, 2700, profile.wobble))
    requests = np.random.default_rng([seed, 4]).poisson(load * profile.peak * step).astype(np.float64)
    seen = requests / (profile.peak * step)

    releases = _releases(np.random.default_rng([seed, 5]), profile, hours, days, step)
    batch = _batch(np.random.default_rng([seed, 6]), profile, hours, days)
    cpu = _cpu(np.random.default_rng([seed, 7]), profile, seen, releases, batch, step)
    latency = _latency(np.random.default_rng([seed, 8]), profile, requests, seen, releases, batch, step)
    memory = _memory(np.random.default_rng([seed, 9]), profile, load, releases, step)
    errors = _errors(np.random.default_rng([seed, 10]), profile, requests, releases, step)
    gap = _place_gap(np.random.default_rng([seed, 11]), rows, step)
    return Made(
        seed, Scenario.BASE, zone, start, step, 0, profile, requests, errors, latency, cpu, memory, gap=gap
    )


def _holidays(
    rng: np.random.Generator, profile: Profile, usual: Floats, hours: Floats, days: NDArray[np.int64]
) -> Floats:
    """Each day a little more or less (5 %), and one weekday in forty a holiday that looks like a Sunday."""
    dates = np.unique(days)
    level = np.exp(rng.normal(0.0, 0.05, len(dates)))
    free = (rng.random(len(dates)) < 1 / 40) & ((dates + 3) % 7 < 5)
    level = np.where(free, level * profile.weekend, level)
    return np.asarray(usual * _by_day(hours, days, dates, level))


def _releases(
    rng: np.random.Generator, profile: Profile, hours: Floats, days: NDArray[np.int64], step: int
) -> NDArray[np.int64]:
    """The rows at which a new revision goes live: weekdays from ten to six, local time."""
    chance = np.where(
        ((days + 3) % 7 < 5) & (hours >= 10) & (hours < 18), profile.deploys * step / (8 * 3600), 0.0
    )
    return np.flatnonzero(rng.random(len(hours)) < chance)


def _steps(rng: np.random.Generator, releases: NDArray[np.int64], rows: int, spread: float) -> Floats:
    """A factor that changes a little with each release and returns half of the way: 1 with sd ``spread``."""
    out = np.zeros(rows)
    level = 0.0
    for at in releases.tolist():
        level = 0.5 * level + float(rng.normal(0.0, spread))
        out[at:] = level
    return np.asarray(np.exp(out))


def _batch(rng: np.random.Generator, profile: Profile, hours: Floats, days: NDArray[np.int64]) -> Floats:
    """How hard the nightly batch works: 0 outside it, about 1 within; 20 to 60 minutes, rarely punctual."""
    length = rng.uniform(1 / 3, 1.0)
    dates, place = np.unique(days, return_inverse=True)
    begin = profile.batch + rng.normal(0.0, 0.05, len(dates))
    force = np.exp(rng.normal(0.0, 0.15, len(dates)))
    length_then = length * np.exp(rng.normal(0.0, 0.1, len(dates)))
    since = hours - begin[place]
    on = (profile.batch >= 0) & (since >= 0) & (since < length_then[place])
    return np.where(on, force[place], 0.0)


def _cpu(
    rng: np.random.Generator,
    profile: Profile,
    seen: Floats,
    releases: NDArray[np.int64],
    batch: Floats,
    step: int,
) -> Floats:
    """Idle, plus what traffic costs (within 4 % slowly and 3 % at random), plus the batch."""
    rows = len(seen)
    cost = profile.gain * _steps(rng, releases, rows, 0.05) * seen**profile.bend
    noise = np.exp(_wander(rng, rows, step, 1800, 0.04) + rng.normal(0.0, 0.03, rows))
    heavy = rng.uniform(0.05, 0.25)
    return np.clip((profile.idle + cost) * noise + heavy * batch, 0.001, 0.99)


def _crowded(profile: Profile, load: Floats) -> Floats:
    return np.asarray(1 + profile.crowding * np.minimum(load, 2.0) ** 2)


def _latency(
    rng: np.random.Generator,
    profile: Profile,
    requests: Floats,
    seen: Floats,
    releases: NDArray[np.int64],
    batch: Floats,
    step: int,
) -> Floats:
    """p95: base, crowding, batch, slow noise (5 %) and the error of estimating it from few requests (0.8/√n).

    Every other day one sample is 1.8 to 6 times too high, as is every second after a release (cold starts).
    """
    rows = len(seen)
    level = profile.latency * _steps(rng, releases, rows, 0.05) * _crowded(profile, seen)
    level *= 1 + rng.uniform(0.05, 0.4) * batch
    few = 0.8 / np.sqrt(np.maximum(requests, 1.0))
    noise = (
        _wander(rng, rows, step, 2700, 0.05) + rng.normal(0.0, 0.03, rows) + rng.normal(0.0, 1.0, rows) * few
    )
    spikes = np.flatnonzero(rng.random(rows) < step / (2 * DAY))
    spikes = np.union1d(spikes, releases[rng.random(len(releases)) < 0.5])
    noise[spikes] += np.log(rng.uniform(1.8, 6.0, len(spikes)))
    return np.where(requests > 0, level * np.exp(noise), np.nan)


def _memory(
    rng: np.random.Generator, profile: Profile, load: Floats, releases: NDArray[np.int64], step: int
) -> Floats:
    """A sawtooth: it creeps up until a release, a restart by chance (every six days) or 85 % puts it back."""
    rows = len(load)
    restarts = rng.random(rows) < step / (6 * DAY)
    restarts[releases] = True
    creep = profile.creep * step / DAY
    value = profile.memory + float(rng.uniform(0.0, 0.1))
    floor = profile.memory
    out = np.empty(rows)
    pace = np.exp(_wander(rng, rows, step, 6 * 3600, 0.3)).tolist()
    shifts = rng.normal(0.0, 0.01, rows).tolist()
    for i, again in enumerate(restarts.tolist()):
        if again or value > 0.85:
            floor = profile.memory + shifts[i]
            value = floor
        value += creep * pace[i]
        out[i] = value
    noise = _wander(rng, rows, step, 1800, 0.006) + rng.normal(0.0, 0.002, rows)
    return np.clip(out + 0.04 * np.minimum(load, 2.0) + noise, 0.01, 0.99)


def _errors(
    rng: np.random.Generator, profile: Profile, requests: Floats, releases: NDArray[np.int64], step: int
) -> Floats:
    """Binomial with a rate that wanders (log sd 0.4 over an hour); a release fails 0.5 % of one step."""
    rate = profile.failing * np.exp(_wander(rng, len(requests), step, 3600, 0.4))
    rate[releases] += 0.005
    return rng.binomial(requests.astype(np.int64), np.minimum(rate, 1.0)).astype(np.float64)


def _place_gap(rng: np.random.Generator, rows: int, step: int) -> tuple[int, int]:
    """Two hours without any sample, once in the last 21 days of the data."""
    length = 7200 // step
    first = int(rng.integers(max(rows - 21 * DAY // step, 0), rows - length))
    return first, first + length


def _strike(made: Made, rng: np.random.Generator, begin: int, end: int, amount: int) -> Made:
    """``amount`` incidents of different kinds (while there are) in the rows ``begin`` to ``end``, apart."""
    apart, longest = APART // made.step, 3 * 3600 // made.step
    taken = np.zeros(len(made), dtype=np.bool_)
    taken[:begin] = True
    taken[max(end - apart, 0) :] = True
    taken[max(made.gap[0] - longest - apart // 4, 0) : made.gap[1] + apart // 4] = True
    for kind in _choose_kinds(made, rng, amount):
        free = np.flatnonzero(spots(made, kind) & ~taken)
        strength, seed = float(rng.random()), int(rng.integers(1 << 31))
        if not len(free):
            continue
        made = inject(made, kind, int(rng.choice(free)), strength, seed)
        latest = next(each for each in made.incidents if begin <= each.first < end and not taken[each.first])
        taken[max(latest.first - apart - longest, 0) : latest.last + apart] = True
    return made


def _choose_kinds(made: Made, rng: np.random.Generator, amount: int) -> Iterator[Kind]:
    """Kinds in a random order, none twice before each was there; the choosy kinds get their places first."""
    fitting = [kind for kind in Kind if spots(made, kind).any()]
    order: list[Kind] = []
    while len(order) < amount:
        order += [fitting[i] for i in rng.permutation(len(fitting))]
    choosy = (Kind.OFF_HOURS, Kind.TRAFFIC_DROP, Kind.DECOUPLING)
    return iter(sorted(order[:amount], key=lambda kind: kind not in choosy))


def _lose(made: Made, seed: int, scenario: Scenario) -> Made:
    """Samples that never came: 0.3 % of rows and 0.1 % of each metric, or 5 % and 5 %, and the long gap."""
    rng = np.random.default_rng([seed, 12])
    whole, single = (0.05, 0.05) if scenario == Scenario.GAPPY else (0.003, 0.001)
    gone = rng.random(len(made)) < whole
    gone[made.gap[0] : made.gap[1]] = True
    arrays: dict[str, Any] = {}
    for name in METRICS:
        lost = gone | (rng.random(len(made)) < single)
        arrays[name] = np.where(lost, np.nan, getattr(made, name))
    return replace(made, **arrays)


def _cut(made: Made, hidden: int) -> Made:
    """The data without its first ``hidden`` rows."""
    incidents = tuple(
        replace(each, first=each.first - hidden, last=each.last - hidden)
        for each in made.incidents
        if each.first >= hidden
    )
    arrays: dict[str, Any] = {name: getattr(made, name)[hidden:] for name in METRICS}
    gap = (max(made.gap[0] - hidden, 0), max(made.gap[1] - hidden, 0))
    start, live = made.start + hidden * made.step, made.live - hidden
    return replace(made, start=start, live=live, incidents=incidents, gap=gap, **arrays)


Changed = tuple[Made, tuple[str, ...]]


def _with(made: Made, rows: slice, **new: Floats) -> Made:
    """The same with other values in some rows; a row without a sample keeps none."""
    arrays = {}
    for name, values in new.items():
        array = getattr(made, name).copy()
        array[rows] = np.where(np.isnan(array[rows]), np.nan, values)
        arrays[name] = array
    return replace(made, **arrays)


def _slower(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    old = made.latency[rows]
    return _with(made, rows, latency=old * effect * np.exp(rng.normal(0.0, 0.05, len(old)))), ("latency",)


def _failing(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    asked, failed = np.nan_to_num(made.requests[rows]), made.errors[rows]
    share = np.minimum(effect * np.exp(rng.normal(0.0, 0.2, len(asked))), 1.0)
    more = rng.binomial(np.maximum(asked - np.nan_to_num(failed), 0).astype(np.int64), share)
    return _with(made, rows, errors=failed + more), ("errors",)


def _busier(made: Made, rows: slice, wanted: Floats, rng: np.random.Generator) -> Made:
    """So many requests instead; CPU, latency and errors follow as they do in this service."""
    profile, old = made.profile, made.requests[rows]
    asked = np.nan_to_num(old)
    less = rng.binomial(asked.astype(np.int64), np.clip(wanted / np.maximum(asked, 1.0), 0.0, 1.0))
    more = rng.poisson(np.maximum(wanted - asked, 0.0))
    new = np.where(wanted < asked, less, asked + more).astype(np.float64)
    full = profile.peak * made.step
    ratio = np.where(asked > 0, new / np.maximum(asked, 1.0), 1.0)
    failed = np.nan_to_num(made.errors[rows])
    kept = rng.binomial(failed.astype(np.int64), np.minimum(ratio, 1.0)) + rng.poisson(
        profile.failing * np.maximum(new - asked, 0.0)
    )
    cost = profile.gain * ((new / full) ** profile.bend - (asked / full) ** profile.bend)
    cpu = np.clip(made.cpu[rows] + cost, 0.001, 0.99)
    crowd = _crowded(profile, new / full) / _crowded(profile, asked / full)
    latency = np.where(new > 0, made.latency[rows] * crowd, np.nan)
    return _with(made, rows, requests=new, errors=np.minimum(kept, new), cpu=cpu, latency=latency)


def _surging(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    """It takes a quarter of an hour to build up."""
    asked = np.nan_to_num(made.requests[rows])
    ramp = np.minimum((np.arange(len(asked)) + 1) * made.step / 900, 1.0)
    wanted = asked * (1 + (effect - 1) * ramp) * np.exp(rng.normal(0.0, 0.05, len(asked)))
    return _busier(made, rows, wanted, rng), ("requests", "cpu", "latency")


def _dropping(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    asked = np.nan_to_num(made.requests[rows])
    return _busier(made, rows, asked * effect, rng), ("requests", "cpu", "latency")


def _waking(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    asked = np.nan_to_num(made.requests[rows])
    level = effect * made.profile.peak * made.step * np.exp(_wander(rng, len(asked), made.step, 2700, 0.08))
    return _busier(made, rows, np.maximum(level, asked), rng), ("requests", "cpu", "latency")


def _saturating(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    old = made.cpu[rows]
    cpu = old + effect * (0.97 - old) + rng.normal(0.0, 0.02, len(old))
    latency = made.latency[rows] * (1 + 0.4 * effect * effect)
    return _with(made, rows, cpu=np.clip(cpu, 0.001, 1.0), latency=latency), ("cpu", "latency")


def _leaking(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    old = made.memory[rows]
    more = effect * np.linspace(1 / len(old), 1.0, len(old))
    return _with(made, rows, memory=np.clip(old + more, 0.0, 0.99)), ("memory",)


def _sticking(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    """An exporter that repeats itself; the value is the last one that was there."""
    name = ("latency", "cpu", "memory")[rng.integers(3)]
    before = getattr(made, name)[: rows.start + 1]
    there = before[~np.isnan(before)]
    held = np.full(rows.stop - rows.start, there[-1] if len(there) else 0.0)
    return _with(made, rows, **{name: held}), (name,)


def _decoupling(made: Made, rows: slice, effect: float, rng: np.random.Generator) -> Changed:
    factor = effect if rng.random() < 0.7 else 1 / effect
    old, profile = made.cpu[rows], made.profile
    cost = profile.gain * (np.nan_to_num(made.requests[rows]) / (profile.peak * made.step)) ** profile.bend
    return _with(made, rows, cpu=np.clip(old + (factor - 1) * np.minimum(cost, old), 0.001, 0.99)), ("cpu",)


_EFFECTS = {
    Kind.LATENCY_SPIKE: _slower,
    Kind.LATENCY_SHIFT: _slower,
    Kind.ERROR_BURST: _failing,
    Kind.TRAFFIC_SURGE: _surging,
    Kind.TRAFFIC_DROP: _dropping,
    Kind.CPU_SATURATION: _saturating,
    Kind.MEMORY_LEAK: _leaking,
    Kind.STUCK: _sticking,
    Kind.OFF_HOURS: _waking,
    Kind.DECOUPLING: _decoupling,
}
