"""Time passed: the whole timetable on one screen."""

from jobs.drain import Drainer
from jobs.loops import Job
from jobs.outbox import Speaker
from operations import ladders
from operations.inbox import Interpreters
from operations.outbox import stay_in_touch
from operations.world import World

__all__ = ["Job", "timetable"]


def timetable(world: World, interpreters: Interpreters, speaker: Speaker) -> list[Job]:
    """Every loop: its name, the topic of commits that wake it, and its turn.

    A turn does what is due and returns how much that was; with nothing due it costs one look.
    """
    return [
        Job("drain", "inbox", Drainer(world, interpreters).turn),
        Job("escalations", "escalations", lambda: ladders.tick(world)),
        Job("outbox", "outbox", speaker.turn),
        Job("touch", "slack", lambda: stay_in_touch(world)),
    ]
