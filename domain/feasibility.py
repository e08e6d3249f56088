"""Before a canary begins: whether there will be enough requests to judge it by."""

import math
from datetime import timedelta
from enum import StrEnum
from typing import Any

from domain.levels import Value

MINUTE = timedelta(minutes=1)


class Reach(StrEnum):
    """Where requests will be enough: in the bake, when it is prolonged once, if changed, or nowhere."""

    BAKE = "bake"
    EXTENSION = "extension"
    CHANGED = "changed"
    NEVER = "never"


PERCENTS = (10, 25, 50)
LONGEST_BAKE = timedelta(minutes=30)


class Feasibility(Value):
    """Whether a canary will see enough requests for a verdict.

    ``expected``: its requests in the bake; twice as many with the extension. ``minimum`` of them are needed.
    ``percent`` and ``bake``: the smallest change that gives them without an extension, ``None`` where that
    is not needed or there is none. ``synthetic``: requests a minute to the service that would, as it is.
    """

    rate_per_minute: float
    expected: float
    minimum: int
    reach: Reach
    percent: int | None = None
    bake: timedelta | None = None
    synthetic: float = 0.0


def feasible(rate_per_minute: float, percent: int, bake: timedelta, minimum: int) -> Feasibility:
    """Whether ``percent`` of the service's requests during ``bake`` come to ``minimum``.

    Requests come at random, so the mean has to be two standard deviations above it. The least percent is
    looked for first, since it is people who see a bad canary; then the shortest bake, in whole minutes.
    """
    needed = (1 + math.sqrt(1 + minimum)) ** 2  # The mean of which two deviations less are the minimum.
    minutes = bake / MINUTE
    expected = rate_per_minute * percent / 100 * minutes
    found = Feasibility(rate_per_minute=rate_per_minute, expected=expected, minimum=minimum, reach=Reach.BAKE)
    if expected >= needed:
        return found
    more: dict[str, Any] = {"synthetic": (needed - expected) / minutes * 100 / percent}
    reach = Reach.EXTENSION if 2 * expected >= needed else Reach.NEVER
    longest = max(LONGEST_BAKE, bake)
    for share in sorted({percent, *(one for one in PERCENTS if one > percent)}):
        per_minute = rate_per_minute * share / 100
        if per_minute * (longest / MINUTE) >= needed:
            least = max(bake, math.ceil(needed / per_minute) * MINUTE)
            more |= {"percent": share, "bake": least}
            reach = Reach.CHANGED if reach is Reach.NEVER else reach
            break
    return found.model_copy(update={"reach": reach, **more})
