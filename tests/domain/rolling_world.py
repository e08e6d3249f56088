"""A tiny Cloud Run in pure Python and a replica that dies on demand, to try the rollout machine on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from domain import rolling, verdict
from domain.chances import Counts
from domain.cloudrun import (
    OperationSeen,
    RevisionSeen,
    Row,
    RunRefused,
    RunTrouble,
    ServiceSeen,
    Target,
    Template,
    baseline,
    split,
)
from domain.deploys import DeployRule
from domain.effects import By
from domain.errors import Outage
from domain.plans import Plan
from domain.rolling import Decision, Sight, Window
from domain.rollouts import Course, Kind, Purpose, Rollout, Stage, to_stage

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
INGEST = timedelta(seconds=120)
"""How late a minute of requests becomes visible, as with the real metric."""

OLD, NEW, TAG = "web-00001-old", "web-t7-0123456", "t007"
IMAGE, DIGEST = "r.pkg.dev/p/i/web@sha256:" + "a" * 64, "sha256:" + "a" * 64
RULE = DeployRule(approvers=("kenji",), patience=timedelta(minutes=20))
MIKA, KENJI = By(id="U1", name="mika"), By(id="U2", name="kenji")
TRIES = 3000
"""Turns of a replica after which a story counts as one without an end."""


class Fault(StrEnum):
    """What becomes of one call that updates the service."""

    NONE = "none"
    LOST = "lost"  # It never arrives.
    UNHEARD = "unheard"  # It is accepted, and nobody hears of it.
    LATE = "late"  # It arrives after its caller has given up.
    ABORTED = "aborted"
    DENIED = "denied"
    INVALID = "invalid"
    FAILS = "fails"  # It is accepted, and its operation fails: what is wanted is then stale.
    HANGS = "hangs"  # It is accepted, and never becomes true.


class Birth(StrEnum):
    """What becomes of the revision that is created."""

    READY = "ready"
    CRASHES = "crashes"  # It never starts: not ready, with a reason.
    UNPULLED = "unpulled"  # Its image cannot be had: not ready, with a reason and without a digest.
    SLEEPS = "sleeps"  # The service settles, and nobody says whether the revision is ready.
    OTHER = "other"  # It runs another image than was asked for.
    GONE = "gone"  # Somebody deletes it at once.


BORN: dict[Birth, dict[str, Any]] = {
    Birth.READY: {"ready": True, "digest": DIGEST},
    Birth.OTHER: {"ready": True, "digest": "sha256:" + "b" * 64},
    Birth.CRASHES: {"ready": False, "digest": DIGEST, "problem": "the container exits"},
    Birth.UNPULLED: {"ready": False, "problem": "the image is not found"},
    Birth.SLEEPS: {},
}


@dataclass
class Update:
    """An accepted update. ``ours``: its purpose and the step; ``None`` where a person made it."""

    name: str
    rows: tuple[Row, ...]
    generation: int
    ours: tuple[Purpose, int] | None
    done_at: datetime | None
    fails: str | None = None
    made: str | None = None
    done: bool = False


@dataclass
class Cloud:
    """One service. Everything happens at a moment: ``pass_to`` lets operations end and late calls arrive."""

    at: datetime = START
    rows: tuple[Row, ...] = (Row(revision=OLD, percent=100),)
    faults: list[Fault] = field(default_factory=list)
    birth: Birth = Birth.READY
    takes: timedelta = timedelta(seconds=7)
    late_by: timedelta = timedelta(seconds=10)
    errors: dict[str, float] = field(default_factory=lambda: {OLD: 0.001, NEW: 0.001})
    rate: int = 3000
    checks: tuple[tuple[str, bool, str], ...] = (("/health", True, "HTTP 200"),)
    blind: str | None = None
    gone: bool = False

    def __post_init__(self) -> None:
        self.generation = self.observed = 4
        self.writes = 0
        self.serving = self.rows
        self.ready: bool | None = True
        self.problem: str | None = None
        self.modifier = "terraform@example.com"
        self.latest = OLD
        self.revisions = {OLD: RevisionSeen(name=OLD, ready=True, digest="sha256:" + "0" * 64)}
        self.updates: list[Update] = []
        self.agenda: list[tuple[datetime, Callable[[], object]]] = []
        self.history: list[tuple[datetime, dict[str, int]]] = [(self.at, self.split)]

    @property
    def etag(self) -> str:
        return f'"{self.writes}"'

    @property
    def split(self) -> dict[str, int]:
        return split(self.serving, self.latest)

    # What is read.

    def service(self) -> ServiceSeen | None:
        if self.gone:
            return None
        return ServiceSeen(
            uri="https://web.example.com",
            etag=self.etag,
            generation=self.generation,
            observed_generation=self.observed,
            reconciling=self.observed < self.generation,
            ready=self.ready if self.observed == self.generation else None,
            problem=self.problem,
            rows=self.rows,
            serving=self.serving,
            latest_ready=self.latest,
            latest_created=self.latest,
            last_modifier=self.modifier,
            template=Template(image=IMAGE),
        )

    def operation(self, name: str) -> OperationSeen | None:
        found = next((one for one in self.updates if one.name == name), None)
        if found is None:
            return None
        return OperationSeen(name=name, done=found.done, error=found.fails if found.done else None)

    def window(self, start: datetime, end: datetime) -> Window:
        """Counts of both revisions in whole minutes, as far as they are visible."""
        first = start.replace(second=0) + (MINUTE if start.second else 0 * MINUTE)
        last = min(end, self.at - INGEST).replace(second=0)
        nothing = Counts(requests=0, errors=0)
        if self.blind is not None or last <= first:
            return Window(canary=nothing, stable=nothing, until=first, blind=self.blind)
        shares: dict[str, float] = {}
        ends = [begun for begun, _ in self.history[1:]] + [last]
        for (begun, served), over in zip(self.history, ends, strict=True):
            minutes = max(0.0, (min(over, last) - max(begun, first)) / MINUTE)
            for name, percent in served.items():
                shares[name] = shares.get(name, 0.0) + minutes * percent / 100

        def counted(name: str) -> Counts:
            requests = round(self.rate * shares.get(name, 0.0))
            return Counts(requests=requests, errors=round(requests * self.errors.get(name, 0.0)))

        return Window(canary=counted(NEW), stable=counted(OLD), until=last)

    # What is changed.

    def update(
        self, rows: tuple[Row, ...], etag: str, ours: tuple[Purpose, int], made: str | None = None
    ) -> str:
        """One call, as it goes wrong next. Returns the operation's name."""
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        match fault:
            case Fault.LOST:
                raise Outage("unavailable: lost", unknown=True)
            case Fault.ABORTED:
                raise RunRefused(RunTrouble.CONFLICT, "aborted")
            case Fault.DENIED:
                raise RunRefused(RunTrouble.DENIED, "needs run.services.update")
            case Fault.INVALID:
                raise RunRefused(RunTrouble.INVALID, "that cannot be")
            case Fault.LATE:
                self.agenda.append(
                    (self.at + self.late_by, lambda: self._accept(rows, etag, ours, made, fault))
                )
                raise Outage("unavailable: no answer in 15 s", unknown=True)
            case _:
                name = self._accept(rows, etag, ours, made, fault)
        if fault is Fault.UNHEARD:
            raise Outage("unavailable: the answer was lost", unknown=True)
        return name

    def _accept(
        self, rows: tuple[Row, ...], etag: str, ours: tuple[Purpose, int], made: str | None, fault: Fault
    ) -> str:
        if self.gone:
            raise RunRefused(RunTrouble.NOT_FOUND, "there is no such service")
        if not etag or etag != self.etag:
            raise RunRefused(RunTrouble.CONFLICT, f"etag {etag} is not {self.etag}")
        if made is not None and made in self.revisions:
            raise RunRefused(RunTrouble.CONFLICT, f"revision {made} already exists")
        for row in rows:
            if row.revision is not None and row.revision not in {*self.revisions, made}:
                raise RunRefused(RunTrouble.INVALID, f"Revision '{row.revision}' is not found")
        fails = "the update failed" if fault is Fault.FAILS else None
        if made is not None:
            self.revisions[made] = RevisionSeen(name=made)
            fails = BORN.get(self.birth, {}).get("problem", fails)
        done_at = None if fault is Fault.HANGS else self.at + self.takes
        self._write(Update(f"operations/{self.writes}", rows, 0, ours, done_at, fails, made), "toban@example")
        return self.updates[-1].name

    def console(self, rows: tuple[Row, ...], who: str = "eve@example.com") -> None:
        """Somebody changes the service by hand; it is true at once."""
        self._write(Update(f"operations/{self.writes}", rows, 0, None, self.at), who)
        self.pass_to(self.at)

    def _write(self, update: Update, who: str) -> None:
        assert sum(row.percent for row in update.rows) == 100, update.rows
        for older in self.updates:
            if not older.done:  # A newer update overtakes it.
                older.done, older.fails = True, "overtaken by a newer update"
        self.generation += 1
        self.writes += 1
        self.rows, self.modifier, update.generation = update.rows, who, self.generation
        self.updates.append(update)
        if update.done_at is not None:
            self.agenda.append((update.done_at, lambda: self._finish(update)))

    def pass_to(self, at: datetime) -> None:
        """Let everything happen that happens until then, in its order."""
        while due := [one for one in self.agenda if one[0] <= at]:
            first = min(due, key=lambda one: one[0])
            self.agenda.remove(first)
            self.at = max(self.at, first[0])
            with suppress(RunRefused):  # Nobody listens to the answer to a late call any more.
                first[1]()
        self.at = max(self.at, at)

    def _finish(self, update: Update) -> None:
        if update.done:
            return  # A newer update has overtaken it.
        update.done, self.observed = True, update.generation
        if update.made is not None:
            self._bear(update.made)
        self.ready, self.problem = update.fails is None, update.fails
        self.writes += 1
        if update.fails is None:
            self.serving = tuple(
                row.model_copy(update={"uri": f"https://{row.tag}---web.example.com"}) if row.tag else row
                for row in update.rows
            )
            assert sum(self.split.values()) == 100
            self.history.append((self.at, self.split))

    def _bear(self, name: str) -> None:
        if self.birth is Birth.GONE:
            del self.revisions[name]
            return
        self.revisions[name] = RevisionSeen.model_validate({"name": name} | BORN[self.birth])
        if self.birth in {Birth.READY, Birth.OTHER}:
            self.latest = name


def planned(cloud: Cloud, **changes: Any) -> Plan:
    """The plan of a deploy of ``NEW`` on what serves now."""
    seen = cloud.service()
    assert seen is not None
    of = {"baseline": baseline(seen), "rows": seen.serving, "etag": seen.etag, "generation": seen.generation}
    fixed = {"image": IMAGE, "digest": DIGEST, "revision": NEW, "tag": TAG, "on_latest": False}
    return Plan.model_validate(fixed | of | changes)


def bad(share: float = 0.05, **more: Any) -> Cloud:
    """A service of which the new revision fails this share of its requests."""
    return Cloud(errors={OLD: 0.001, NEW: share}, **more)


def approved(cloud: Cloud, steps: tuple[int, ...] = (10, 100), **changes: Any) -> Rollout:
    """An approved deploy, due at once; quick ones bake 2 minutes and are watched for 1."""
    course = Course(steps=steps, bake=2 * MINUTE, watch=MINUTE)
    made = Rollout(
        id=7,
        kind=Kind.DEPLOY,
        service="web",
        target=Target(project="p", region="r", service="web"),
        image=IMAGE,
        digest=DIGEST,
        requested_by=MIKA,
        requester="mika",
        requested_at=cloud.at,
        course=course,
        since=cloud.at,
        before=Counts(requests=60_000, errors=60),
        plan=planned(cloud),
    )
    return to_stage(made, Stage.APPROVED, cloud.at, **changes)


Point = Callable[["Story"], None]


@dataclass
class Story:
    """A service, what was saved of a rollout, and the replicas that carry it out.

    A replica stands still at each point of a turn: ``looked``, ``saved`` (before the call, if there is one),
    ``called``, ``heard``. ``kills``: numbers of the points at which it dies, from 1; only what was saved is
    left then. ``happens``: what is done at a point by somebody else. No lease keeps two replicas apart.
    """

    cloud: Cloud = field(default_factory=Cloud)
    kills: frozenset[int] = frozenset()
    happens: dict[int, Point] = field(default_factory=dict)
    rule: DeployRule = RULE
    is_approved: bool = True
    held_by: str | None = None
    steps: tuple[int, ...] = (10, 100)
    first: Rollout | None = None

    def __post_init__(self) -> None:
        self.rollout = self.first or approved(self.cloud, self.steps)
        self.points = 0
        self.trail: list[tuple[str, Stage]] = []
        self.decisions: list[Decision] = []
        self.theirs: tuple[Row, ...] = ()

    @property
    def problem(self) -> str | None:
        return self.rollout.problem.key if self.rollout.problem is not None else None

    @property
    def notes(self) -> list[str]:
        return [note.key for decision in self.decisions for note in decision.notes]

    def person(self, change: Callable[[Rollout], Rollout]) -> None:
        """A person changes what is saved."""
        changed = change(self.rollout)
        self.rollout = changed.model_copy(update={"version": self.rollout.version + 1})

    def repeated(self) -> dict[tuple[Purpose, int], int]:
        """Accepted updates of ours that did not fail, where there is more than one for a step."""
        counted = Counter(
            one.ours for one in self.cloud.updates if one.ours is not None and not (one.done and one.fails)
        )
        return {of: many for of, many in counted.items() if many > 1}

    # One replica.

    def turn(self) -> Iterator[str]:
        """One look, one decision, one call; after ``_step`` and ``_call`` of ``operations.rollouts``."""
        before = self.rollout
        sight = self._look(before)
        yield "looked"
        decision = rolling.advance(before, sight, self.rule, self.cloud.at)
        if self.rollout.version != before.version:
            return  # A person or the other replica was faster: it is decided anew.
        saved = decision.rollout.model_copy(update={"version": before.version + 1})
        self.rollout = saved
        self.decisions.append(decision)
        yield "saved"
        if decision.call:
            changes = self._call(saved)
            yield "called"
            self._hear(saved, changes)
            yield "heard"

    def _look(self, rollout: Rollout) -> Sight:
        cloud, stage, intent = self.cloud, rollout.stage, rollout.intent
        found: dict[str, Any] = {"service": cloud.service()}
        if intent is not None and intent.operation is not None:
            found["operation"] = cloud.operation(intent.operation)
        if stage is Stage.APPROVED:
            found |= {"held_by": self.held_by, "is_approved": self.is_approved}
        if stage is Stage.CREATING and intent is None:
            found["revision"] = cloud.revisions.get(rollout.revision)
        if stage is Stage.SMOKE and intent is None:
            found["checks"] = cloud.checks
        looking = stage in {Stage.BAKING, Stage.ASKING, Stage.WATCHING}
        if looking and intent is None and rollout.kind is Kind.DEPLOY:
            window = self._window(rollout)
            found |= {"window": window, "verdict": self._judged(rollout, window)}
        return Sight.model_validate(found)

    def _window(self, rollout: Rollout) -> Window:
        assert rollout.shifted_at is not None
        now = self.cloud.at
        open_ended = rollout.stage is Stage.ASKING or rollout.bake_until is None
        end = now if open_ended or rollout.bake_until is None else min(now, rollout.bake_until)
        return self.cloud.window(rollout.shifted_at, end)

    def _judged(self, rollout: Rollout, window: Window) -> verdict.Verdict | None:
        if window.blind is not None:
            return None
        whole = rollout.bake_until is not None and window.until >= rollout.bake_until
        return verdict.judge(
            window.canary,
            window.stable,
            share=rollout.percent / 100,
            interim=rollout.stage is not Stage.BAKING or not whole,
            rule=verdict.Rule(threshold=self.rule.threshold, minimum=self.rule.minimum),
            before=rollout.before,
            visible_until=window.until,
        )

    def _call(self, saved: Rollout) -> dict[str, Any]:
        intent = saved.intent
        assert intent is not None
        made = saved.revision if intent.purpose is Purpose.CREATE else None
        try:
            ours = (intent.purpose, saved.step)
            return {"operation": self.cloud.update(intent.rows, intent.etag, ours, made)}
        except Outage as outage:
            return {"said": outage.reason}
        except RunRefused as refused:
            return {"said": refused.detail, "is_refused": refused.trouble is not RunTrouble.CONFLICT}

    def _hear(self, saved: Rollout, changes: dict[str, Any]) -> None:
        latest, intent = self.rollout.intent, saved.intent
        assert intent is not None
        mine = (intent.purpose, intent.since, intent.attempts)
        if latest is not None and (latest.purpose, latest.since, latest.attempts) == mine:
            heard = {"intent": latest.model_copy(update=changes), "version": self.rollout.version + 1}
            self.rollout = self.rollout.model_copy(update=heard)

    # Its life.

    def live(self, lasting: timedelta = timedelta(hours=6)) -> "Story":
        """One replica after the other, each until it dies, until the rollout is over or time is up."""
        until = self.cloud.at + lasting
        for _ in range(TRIES):
            due = self.rollout.due_at
            if due is None or due > until:
                break
            self.cloud.pass_to(max(due, self.cloud.at + SECOND))
            for what in self.turn():
                if self._at(what):
                    break
        self.cloud.pass_to(min(until, self.cloud.at + 10 * MINUTE))  # Nothing may come after the end.
        return self

    def _at(self, what: str) -> bool:
        """At a point: others act, sums are taken. Returns whether the replica dies."""
        self.points += 1
        self.trail.append((what, self.rollout.stage))
        if self.points in self.happens:
            self.happens[self.points](self)
        assert sum(row.percent for row in self.cloud.rows) == 100
        assert sum(self.cloud.split.values()) == 100
        return self.points in self.kills

    def live_together(self, order: Iterable[tuple[int, int]]) -> "Story":
        """Several replicas at once: in this order (which replica, after how many seconds) each goes to its
        next point. Then one alone carries it to the end.
        """
        turns: dict[int, Iterator[str]] = {}
        for which, seconds in order:
            self.cloud.pass_to(self.cloud.at + seconds * SECOND)
            due = self.rollout.due_at
            if which not in turns:
                if due is None:
                    break
                self.cloud.pass_to(max(due, self.cloud.at))
                turns[which] = self.turn()
            what = next(turns[which], None)
            if what is None:
                del turns[which]
            else:
                self._at(what)
        for rest in turns.values():
            for what in rest:
                self._at(what)
        return self.live()
