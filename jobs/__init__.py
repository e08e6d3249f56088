"""Time passed: the whole timetable on one screen."""

from functools import partial

from domain.schedule import Cron, Every
from jobs.drain import Drainer
from jobs.loops import Job
from jobs.outbox import Speaker
from operations import (
    accounts,
    anomalies,
    backups,
    capacity,
    data_retention,
    drills,
    holds,
    ladders,
    listed,
    quiet,
    rollouts,
    scrub,
    still_open,
    taken,
    watching,
)
from operations.clock import Guard
from operations.forgotten import Forgotten
from operations.inbox import Interpreters, redrive_due
from operations.keeper import Keeper
from operations.outbox import stay_in_touch
from operations.problem_notes import ProblemNotes
from operations.recurring import Timed, Work
from operations.sessions import Sessions
from operations.unreadable import Unreadable
from operations.world import World

__all__ = ["Job", "recurring", "timetable"]


def recurring(world: World) -> list[Work]:
    """What is done again and again: its name and when. Only what the policy gives something to do.

    Monitoring is a few minutes behind the clock, so that the detector looks somewhat after each of its
    steps has ended (facts of Cloud Run: up to 120 s, Cloud SQL: 165 s).
    """
    rules = world.policy.rules
    found = []
    if world.policy.services:  # Without rules too: what they left open has to be closed.
        often = 60 if watching.rules_of(world.policy) else 300
        found.append(Work("health", Every(seconds=often, after=10), lambda due: watching.watch(world, due)))
        often = 60 if rules.probes else 300
        found.append(Work("probes", Every(seconds=often, after=40), lambda due: watching.probe(world, due)))
    if world.policy.people:
        found.append(Work("accounts", Every(seconds=3600, after=1500), accounts.Verifying(world).look))
    if anomalies.judged(world.policy):
        found.append(Work("anomalies", Every(seconds=300, after=190), anomalies.Detecting(world).look))
    if capacity.reported(world.policy):
        weekly = Cron(line=rules.capacity.report, zone=rules.zone)
        found.append(Work("capacity", weekly, lambda due: capacity.report(world, due)))
    nightly = Cron(line="40 4 * * *", zone=rules.zone)  # Behind the nightly backups of most teams.
    found.append(Work("retention", nightly, lambda due: data_retention.retain(world, due)))
    if world.policy.backups.plans:
        behind = Cron(line="10 5 * * *", zone=rules.zone)  # Most teams' backups are made by then.
        found.append(Work("scrub", behind, lambda due: scrub.choose(world, due)))
    daily = Cron(line=still_open.LINE, zone=rules.zone)
    found.append(Work("still_open", daily, lambda due: still_open.tell(world, due)))
    return found


NAMES = ("health", "probes", "accounts", "anomalies", "capacity", "retention", "scrub", "still_open")
"""Every recurring job that a policy may ask for."""


def timetable(world: World, interpreters: Interpreters, speaker: Speaker) -> list[Job]:
    """Every loop: its name, the topic of commits that wake it, and its turn.

    A turn does what is due and returns how much that was; with nothing due it costs one look.
    """
    backed = Keeper(world, backups.schedule, backups.tick)
    drilled = Keeper(world, drills.schedule, drills.tick)
    problems = ProblemNotes(world)
    unreadable = Unreadable(world)
    forgotten = Forgotten(world)
    ending = quiet.Ending(world)
    loops = [
        Job("clock", "clock", Guard(world).turn),
        Job("unreadable", "unreadable", unreadable.turn, unreadable.next_due),
        Job("quiet", "quiet", ending.turn, ending.next_due),
        Job("drain", "inbox", Drainer(world, interpreters).turn),
        Job("redrive", "redrive", lambda: redrive_due(world)),
        Job("escalations", "escalations", lambda: ladders.tick(world)),
        Job("pages", "pages", lambda: listed.tick(world)),
        Job("holds", "holds", lambda: holds.tick(world)),
        Job("taken", "taken", lambda: taken.tick(world)),
        Job("rollouts", "rollouts", lambda: rollouts.tick(world)),
        Job("backups", "backups", backed.turn, backed.next_due),
        Job("drills", "drills", drilled.turn, drilled.next_due),
        Job("outbox", "outbox", speaker.turn),
        Job("problems", "problems", problems.turn, problems.next_due),
        Job("forgotten", "forgotten", forgotten.turn, forgotten.next_due),
        Job("touch", "slack", lambda: stay_in_touch(world)),
        Job("sessions", "sessions", Sessions(world).turn),
    ]
    for name in NAMES:
        job = Timed(world, partial(_named, world, name))
        loops.append(Job(name, name, job.turn, job.next_due))
    return loops


def _named(world: World, name: str) -> Work | None:
    return next((work for work in recurring(world) if work.name == name), None)
