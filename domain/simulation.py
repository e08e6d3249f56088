"""Pretend rollouts, thousands at a time, so that a team can see how often a verdict would be wrong."""

import math
from datetime import timedelta
from enum import StrEnum
from typing import Any

from domain.chances import Counts
from domain.feasibility import MINUTE
from domain.levels import Value
from domain.verdict import DEFAULT_RULE, Outcome, Rule, judge

LOOK_EVERY = 30
"""Seconds between two looks at the metric during a bake."""

BEFORE = 10
"""Minutes of the stable revision's requests before the shift, which the verdict knows."""

CONFIDENCE = 0.98
"""Kayenta's for its Mann-Whitney test, two-sided."""


class Case(Value):
    """True rates of failure, 0..1, and what ought to be done: ``None`` where either is fair."""

    name: str
    canary: float
    stable: float
    right: Outcome | None


CASES = (
    Case(name="0.1 %", canary=0.001, stable=0.001, right=Outcome.PROMOTE),
    Case(name="1 %", canary=0.01, stable=0.001, right=None),
    Case(name="5 %", canary=0.05, stable=0.001, right=Outcome.ROLL_BACK),
    Case(name="both 3 %", canary=0.03, stable=0.03, right=Outcome.PROMOTE),
    Case(name="30 %", canary=0.3, stable=0.001, right=Outcome.ROLL_BACK),
)
"""A canary beside a stable revision that fails 0.1 %, and one beside an equally sick one."""


class Way(StrEnum):
    """How a canary is judged: as Toban does, by its rate alone, or as Kayenta does."""

    TOBAN = "toban"
    NAIVE = "naive"
    MANN_WHITNEY = "mann_whitney"


class Cell(Value):
    """One point of the grid. ``traffic``: requests a minute for the whole service. ``delay``: seconds."""

    case: Case
    traffic: float
    delay: int = 120
    percent: int = 10
    bake: timedelta = timedelta(minutes=5)


class Tally(Value):
    """How the rollouts ended, as shares 0..1 that sum to 1, and when.

    ``seconds``: the median from the shift to the end; where a person is asked that is when. ``prompt``: the
    share that was rolled back within 60 s of the first visible minute.
    """

    promoted: float
    rolled_back: float
    asked: float
    seconds: float
    prompt: float

    def false_promotions(self, case: Case) -> float | None:
        """The share promoted that ought not to be; ``None`` where that is not to be said."""
        return None if case.right is None else self.promoted * (case.right is not Outcome.PROMOTE)

    def false_rollbacks(self, case: Case) -> float | None:
        """The share taken back that ought not to be; ``None`` where that is not to be said."""
        return None if case.right is None else self.rolled_back * (case.right is not Outcome.ROLL_BACK)


class Arrivals:
    """The requests of many rollouts: int64[rollouts, minutes] each, and ``wait`` float64[rollouts].

    Requests arrive at random (Poisson), the canary gets its percent of them, each fails by itself. ``wait``
    is how long after the shift the first whole minute begins, in seconds: looks fall where they may.
    """

    def __init__(self, cell: Cell, rollouts: int, minutes: int, seed: int) -> None:
        import numpy as np

        # The same seed gives every cell its own chance, whichever others are run beside it.
        case, share = cell.case, cell.percent / 100
        parts = (cell.traffic, cell.delay, cell.percent, minutes, case.canary, case.stable)
        chance = np.random.default_rng([seed, *(round(part * 1e6) for part in parts)])
        shape = (rollouts, minutes)
        self.canary = chance.poisson(cell.traffic * share, shape)
        self.stable = chance.poisson(cell.traffic * (1 - share), shape)
        self.canary_errors = chance.binomial(self.canary, case.canary)
        self.stable_errors = chance.binomial(self.stable, case.stable)
        self.before = chance.poisson(cell.traffic * BEFORE, rollouts)
        self.before_errors = chance.binomial(self.before, case.stable)
        self.wait = chance.uniform(0, 60, rollouts)


def simulate(
    cell: Cell, *, rollouts: int = 10_000, seed: int = 1, rule: Rule = DEFAULT_RULE
) -> dict[Way, Tally]:
    """The three ways' verdicts on the same pretend rollouts.

    Toban looks each 30 s and may take back at once; judges when the metric shows the last minute of the
    bake; bakes once more where that is inconclusive; then asks. The other two judge once, where Toban does
    first.
    """
    bake = cell.bake // MINUTE
    arrivals = Arrivals(cell, rollouts, 2 * bake, seed)
    return {
        Way.TOBAN: _toban(cell, arrivals, bake, rule),
        Way.NAIVE: _naive(cell, arrivals, bake, rule),
        Way.MANN_WHITNEY: _mann_whitney(cell, arrivals, bake),
    }


_ENDS = {Outcome.PROMOTE: 0, Outcome.ROLL_BACK: 1, Outcome.INCONCLUSIVE: 2, Outcome.NO_DATA: 2}


def _toban(cell: Cell, arrivals: Arrivals, bake: int, rule: Rule) -> Tally:
    import numpy as np

    requests, errors, stable, stable_errors = (
        np.cumsum(one, axis=1)
        for one in (arrivals.canary, arrivals.canary_errors, arrivals.stable, arrivals.stable_errors)
    )
    ends = np.full(len(requests), 2)
    when = np.zeros(len(requests))
    open_ones = np.ones(len(requests), dtype=bool)
    for minute in range(2 * bake):
        is_end = (minute + 1) % bake == 0
        looked = open_ones.copy()
        if not is_end:  # Nothing else could come of a look: see the rule, and the test of this.
            looked &= rule.is_suspicious(errors[:, minute], requests[:, minute])
        seen_at = arrivals.wait + 60 * (minute + 1) + cell.delay
        at = seen_at if is_end else np.ceil(seen_at / LOOK_EVERY) * LOOK_EVERY
        for place in np.flatnonzero(looked).tolist():
            verdict = judge(
                Counts(requests=int(requests[place, minute]), errors=int(errors[place, minute])),
                Counts(requests=int(stable[place, minute]), errors=int(stable_errors[place, minute])),
                before=Counts(
                    requests=int(arrivals.before[place]), errors=int(arrivals.before_errors[place])
                ),
                share=cell.percent / 100,
                interim=not is_end,
                rule=rule,
            )
            end = _ENDS[verdict.outcome]
            if end < 2 or minute + 1 == 2 * bake:
                ends[place], when[place], open_ones[place] = end, at[place], False
    return _tally(cell, arrivals, ends, when)


def _naive(cell: Cell, arrivals: Arrivals, bake: int, rule: Rule) -> Tally:
    """Above the threshold: back. Else forward, and no requests are no errors."""
    import numpy as np

    errors = arrivals.canary_errors[:, :bake].sum(axis=1)
    requests = arrivals.canary[:, :bake].sum(axis=1)
    ends = np.where(errors > rule.threshold * requests, 1, 0)
    return _tally(cell, arrivals, ends, _first_end(cell, arrivals, bake))


def _mann_whitney(cell: Cell, arrivals: Arrivals, bake: int) -> Tally:
    """The rates of each minute against stable's: back where they rank higher, forward where they do not.

    Exact without ties, cautious with them; Kayenta's tolerance for small effects is left out, which can only
    add rollbacks. A minute without requests counts as one without errors; a bake without any has no data,
    and asks.
    """
    import numpy as np

    requests = arrivals.canary[:, :bake]
    rates, stable = (
        errors / np.maximum(all_of_them, 1)
        for errors, all_of_them in (
            (arrivals.canary_errors[:, :bake], requests),
            (arrivals.stable_errors[:, :bake], arrivals.stable[:, :bake]),
        )
    )
    pairs = np.sign(rates[:, :, None] - stable[:, None, :])
    wins = ((pairs + 1) / 2).sum(axis=(1, 2))
    ends = np.where(wins >= _critical(bake), 1, 0)
    ends = np.where(requests.sum(axis=1) == 0, 2, ends)
    return _tally(cell, arrivals, ends, _first_end(cell, arrivals, bake))


def _critical(minutes: int) -> float:
    """The least number of won pairs that is significant, of ``minutes`` squared; infinite where none is."""
    import numpy as np

    # ways[k, u]: how many choices of k ranks of the first n win u pairs, built one rank at a time.
    ways = np.zeros((minutes + 1, minutes * minutes + 1))
    ways[0, 0] = 1
    for rank in range(2 * minutes):
        for chosen in range(min(rank, minutes - 1), -1, -1):
            won = rank - chosen  # Those of the other kind below it.
            ways[chosen + 1, won:] += ways[chosen, : ways.shape[1] - won]
    tail = np.cumsum(ways[minutes][::-1])[::-1] / ways[minutes].sum()
    significant = np.flatnonzero(tail < (1 - CONFIDENCE) / 2)
    return float(significant[0]) if len(significant) else math.inf


def _first_end(cell: Cell, arrivals: Arrivals, bake: int) -> Any:
    return arrivals.wait + 60 * bake + cell.delay


def _tally(cell: Cell, arrivals: Arrivals, ends: Any, when: Any) -> Tally:
    import numpy as np

    prompt = (ends == 1) & (when - (arrivals.wait + 60 + cell.delay) <= 60)
    return Tally(
        promoted=float(np.mean(ends == 0)),
        rolled_back=float(np.mean(ends == 1)),
        asked=float(np.mean(ends == 2)),
        seconds=float(np.median(when)),
        prompt=float(np.mean(prompt)),
    )


# What was promised, and whether it is kept.


class Promise(Value):
    """A share that has to be at least, or at most, ``limit``; ``value`` is what it is."""

    cell: Cell
    what: str
    value: float
    limit: float
    at_least: bool

    @property
    def is_kept(self) -> bool:
        """True where it is."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


PROMISES: dict[str, tuple[tuple[str, float, bool], ...]] = {
    "0.1 %": (("promoted", 0.98, True), ("rolled_back", 0.01, False)),
    "5 %": (("promoted", 0.02, False), ("rolled_back", 0.97, True)),
    "both 3 %": (("rolled_back", 0.01, False), ("asked", 0.10, False)),
    "30 %": (("rolled_back", 0.99, True), ("prompt", 0.98, True)),
}
"""For 10 % of 300 requests a minute or more, with a bake of 5 minutes; below that it asks."""

LEAST_TRAFFIC, PERCENT, BAKE = 300, 10, timedelta(minutes=5)


def promises(cell: Cell, tally: Tally) -> list[Promise]:
    """What was promised for this cell: nothing outside of what ``PROMISES`` are for."""
    if cell.traffic < LEAST_TRAFFIC or cell.percent != PERCENT or cell.bake != BAKE:
        return []
    return [
        Promise(cell=cell, what=what, value=getattr(tally, what), limit=limit, at_least=at_least)
        for what, limit, at_least in PROMISES.get(cell.case.name, ())
    ]
