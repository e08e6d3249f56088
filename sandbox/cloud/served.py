"""What Cloud Monitoring says of a service whose traffic is split: each revision behaves as its image does."""

import math
from collections.abc import Iterable
from enum import StrEnum

import numpy as np

from sandbox.cloud.chance import binomial, poisson, uniform
from sandbox.cloud.deployed import Deployed
from sandbox.cloud.descriptors import RUN, Descriptor
from sandbox.cloud.distributions import Counts, Floats
from sandbox.cloud.images import HEALTHY, Behaviour
from sandbox.cloud.services import MINUTE, SteadyRun, _response, _series, _whole
from sandbox.cloud.store import RawSeries, Times

OK, CLIENT, SERVER = "200", "404", "500"
"""The response codes that there are."""


class Arrivals(StrEnum):
    """How the requests of a minute come: by chance, or always as many."""

    POISSON = "poisson"
    STEADY = "steady"


class Served:
    """A source of points for one service. ``habits`` are its dials: what the whole of it lives through.

    Of the dials ``error_share`` spoils requests that an image would have answered, and ``p95_ms`` is what an
    image of 200 ms shows. A minute within which the traffic was moved is split by its seconds. What is drawn
    depends on service, revision, minute and ``seed`` alone.
    """

    def __init__(self, deployed: Deployed, habits: SteadyRun, arrivals: Arrivals, seed: int = 0) -> None:
        self.deployed = deployed
        self.habits = habits
        self.arrivals = arrivals
        self.seed = seed

    def series(self, metric_type: str, start: int, end: int) -> Iterable[RawSeries]:
        """Every series of a metric, with its points that end in (start, end]."""
        if not metric_type.startswith("run.googleapis.com/"):
            return
        self.deployed.settle()
        shares = self.shares(self.habits.minutes(start, end))
        for revision in shares:
            yield from _OfRevision(self, revision).series(metric_type, start, end)

    def counts(self, start: int, end: int) -> dict[str, tuple[int, int]]:
        """(completed requests, those with 5xx) by revision, of the minutes that end in (start, end].

        The truth, with no ingest delay: for tests and for whoever shows the pretend world.
        """
        self.deployed.settle()
        times, totals = self.habits.minutes(start, end), dict[str, tuple[int, int]]()
        for revision in self.shares(times):
            drawn = self.drawn(times, revision)
            done = sum(float(np.nansum(values)) for values in drawn.values())
            totals[revision] = (round(done), round(float(np.nansum(drawn[SERVER]))))
        return totals

    def shares(self, times: Times) -> dict[str, Floats]:
        """Of each revision that serves at all, its share (0..1) of each minute's traffic."""
        splits = self.deployed.splits
        if not len(times) or not splits:
            return {}
        names = dict.fromkeys(name for split in splits for name in split.percent)
        start, end = float(times[0] - MINUTE), float(times[-1])
        bounds = np.clip([*(split.since for split in splits), math.inf], start, end)
        shares = {}
        for name in names:
            percent = np.asarray([split.percent.get(name, 0) for split in splits], dtype=np.float64)
            # Percent-seconds up to each change; straight lines between them.
            held = np.concatenate(([0.0], np.cumsum(percent * np.diff(bounds))))
            until = np.interp(times, bounds, held) - np.interp(times - MINUTE, bounds, held)
            if (until > 0).any():
                shares[name] = until / (100 * MINUTE)
        return shares

    def drawn(self, times: Times, revision: str) -> dict[str, Floats]:
        """Completed requests of a revision by response code; NaN where the service is silent."""
        share = self.shares(times).get(revision)
        if share is None:
            return {code: np.zeros(len(times)) for code in (OK, CLIENT, SERVER)}
        behaviour: Behaviour = self.deployed.revisions[revision].behaviour
        refused = self.habits.read(times, "client_error_share")
        failed = 1 - (1 - behaviour.error_share) * (1 - self.habits.read(times, "error_share"))
        every = self.habits.read(times, "requests_per_second") * MINUTE * share
        completes = 1 - behaviour.hanging_share
        of_code = {SERVER: failed, CLIENT: (1 - failed) * refused, OK: (1 - failed) * (1 - refused)}
        if self.arrivals is Arrivals.POISSON:
            # A Poisson number that falls into kinds by chance is as many independent Poisson numbers.
            return {
                code: poisson(every * completes * part, self._chances(times, revision, code))
                for code, part in of_code.items()
            }
        left = _whole(times, every)
        left -= binomial(left, 1 - completes + 0 * left, self._chances(times, revision, "hanging"))
        bad = binomial(left, failed, self._chances(times, revision, SERVER))
        unwanted = binomial(left - bad, refused, self._chances(times, revision, CLIENT))
        return {SERVER: bad, CLIENT: unwanted, OK: left - bad - unwanted}

    def _chances(self, times: Times, revision: str, kind: str) -> Floats:
        # The project is left out, so that one seed plays the same story everywhere.
        return uniform(f"{self.seed}/{self.deployed.name}/{revision}/{kind}", times // MINUTE)


class _OfRevision(SteadyRun):
    """One revision's part of a service, as if it were a service of its own."""

    def __init__(self, served: Served, revision: str) -> None:
        of = served.habits.resource
        super().__init__(of["service_name"], of["project_id"], of["location"], revision)
        self._served = served
        self._revision = revision

    def _minutes(self, start: int, end: int) -> Times:
        return self._served.habits.minutes(start, end)

    def _read(self, times: Times, name: str) -> Floats:
        share = self._served.shares(times)[self._revision]
        found = self._served.habits.read(times, name)
        behaviour = self._served.deployed.revisions[self._revision].behaviour
        match name:
            case "p95_ms":
                return np.asarray(found * behaviour.p95_ms / HEALTHY.p95_ms, dtype=np.float64)
            case "instances":
                return np.where(share > 0, np.maximum(np.round(found * share), 1), math.nan)
            case "startups":
                return np.asarray(found * share, dtype=np.float64)
            case "pending":
                return np.where(share > 0, np.round(found * share), math.nan)
            case _:
                return np.where(share > 0, found, math.nan)

    def _requests(self, descriptor: Descriptor, times: Times) -> Iterable[RawSeries]:
        for code, values in self._served.drawn(times, self._revision).items():
            # A class that nobody met has no point, not a zero.
            met = np.where(values > 0, values, math.nan)
            yield from _series(descriptor, RUN, self.resource, _response(code), times, met)

    def _spread(
        self, descriptor: Descriptor, times: Times, dial: str, numbers: Floats
    ) -> tuple[Floats, Counts]:
        if dial == "p95_ms":
            drawn = self._served.drawn(times, self._revision)
            numbers = np.nan_to_num(drawn[OK] + drawn[CLIENT] + drawn[SERVER])
        return super()._spread(descriptor, times, dial, numbers)
