"""A series in one line of text, for lists where a picture would be too much."""

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
MISSING = " "


def sparkline(values: Sequence[float | None], width: int = 24, *, floor: float | None = None) -> str:
    """At most ``width`` blocks, each the largest value of its part; what is missing is a space.

    The lowest block is the smallest value, or ``floor`` where that is smaller; a series that does not move
    lies at the lowest block where it is ``floor``, else in the middle. Empty for no values.
    """
    if not values or width < 1:
        return ""
    parts = _parts([value if value is not None and math.isfinite(value) else None for value in values], width)
    known = [value for value in parts if value is not None]
    if not known:
        return MISSING * len(parts)
    low = min(known) if floor is None else min(*known, floor)
    size = max(known) - low
    return "".join(MISSING if value is None else _block(value, low, size, floor) for value in parts)


def _parts(values: Sequence[float | None], width: int) -> list[float | None]:
    count = min(width, len(values))
    edges = [place * len(values) // count for place in range(count + 1)]
    parts = (values[start:end] for start, end in pairwise(edges))
    return [max((value for value in part if value is not None), default=None) for part in parts]


def _block(value: float, low: float, size: float, floor: float | None) -> str:
    if size <= 0:
        return BLOCKS[0] if floor is not None and value <= floor else BLOCKS[len(BLOCKS) // 2 - 1]
    return BLOCKS[min(len(BLOCKS) - 1, int((value - low) / size * len(BLOCKS)))]
