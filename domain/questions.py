"""Questions that a restored copy has to answer, as the policy asks them."""

from datetime import timedelta

from domain.levels import Value


class Question(Value):
    """One thing a restored copy must be able to say. ``part``: which one is asked.

    ``ask``: a query with one value as its answer (SQL), or a collection whose documents are counted
    (Firestore). ``least``: the number it must reach. ``within``: the answer is a moment, and lies no longer
    than this before the one whose state the copy holds. With neither, it must answer at all.
    """

    part: str
    ask: str
    least: float | None = None
    within: timedelta | None = None
