"""One pretend Cloud Run service: what is wanted of it, what is true of it, and what is on its way."""

import base64
import copy
import hashlib
import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.cloud import run_v2

from domain.ports import Clock
from sandbox.cloud import revisions, templates
from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.operations import Operations, PretendOperation
from sandbox.cloud.refusals import conflict, invalid, other_configuration
from sandbox.cloud.revisions import RECONCILING, SUCCEEDED, PretendRevision, Problem, moment
from sandbox.cloud.templates import LATEST

CREATE_SECONDS, SHIFT_SECONDS = 20.0, 3.0
"""How long an update takes that makes a revision, and one that does not."""


@dataclass(slots=True)
class Surroundings:
    """What all services of the pretend Cloud Run share. What stands below ``operations`` may be set any time.

    ``http_base`` is where services answer, ``operation_seconds`` how long operations take (one that makes a
    revision, one that does not), ``caller`` who all calls come from. ``failure_sticks``: a service whose
    newest revision never got ready stays FAILED, and so end the operations that only move its traffic, until
    there is a newer revision. Knative works like that, and some reports from Cloud Run read like it.
    """

    clock: Clock
    images: Images
    operations: Operations = field(default_factory=Operations)
    http_base: str = "http://127.0.0.1"
    operation_seconds: tuple[float, float] = (CREATE_SECONDS, SHIFT_SECONDS)
    caller: str = "toban@sandbox.iam.gserviceaccount.com"
    failure_sticks: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What else happens to an operation: it fails with a text, or it never ends."""

    failing: str | None = None
    stuck: bool = False


ORDINARY = Fate()


@dataclass(slots=True)
class _Change:
    """An update that was taken and has not ended. ``created`` is the revision that it makes."""

    operation: PretendOperation
    generation: int
    rows: tuple[Any, ...]
    created: str | None
    fate: Fate


@dataclass(frozen=True, slots=True)
class Split:
    """From a moment on (epoch seconds), percent by short name of a revision."""

    since: float
    percent: dict[str, int]


class Deployed:
    """A service and its revisions. Nothing happens by itself: ``settle`` brings it up to the clock.

    The wanted state changes with the request; what is true follows when the operation ends. The etag
    changes with the wanted state only. Raises ``Refusal`` for what Cloud Run refuses at once.
    """

    def __init__(self, around: Surroundings, full_name: str) -> None:
        self.full_name = full_name
        self.revisions: dict[str, PretendRevision] = {}
        self.splits: list[Split] = []
        self.statuses: tuple[Any, ...] = ()
        self.latest_created: str | None = None
        self._around = around
        self._spec = run_v2.Service.pb()(name=full_name)
        self._changes: list[_Change] = []
        self._observed = 0
        self._problem: Problem | None = None
        self._changed_at = 0.0
        self._writes = 0
        self._numbers = 0

    # What is asked.

    @property
    def name(self) -> str:
        """The short name."""
        return self.full_name.rsplit("/", 1)[-1]

    @property
    def uri(self) -> str:
        """Its address."""
        return f"{self._around.http_base}/run/{self.name}"

    @property
    def generation(self) -> int:
        """Of the wanted state; 0 before there is one."""
        return int(self._spec.generation)

    @property
    def ingress(self) -> int:
        """Who may reach it, as the API counts it."""
        return int(self._spec.ingress)

    @property
    def is_public(self) -> bool:
        """Whether anybody may call it without a token."""
        return bool(self._spec.invoker_iam_disabled)

    def wanted(self) -> Any:
        """A copy of the service as it was last asked for, to be changed and given to ``update``."""
        return copy.deepcopy(self._spec)

    def latest_ready(self, now: float) -> str | None:
        """The newest revision that can serve."""
        ready = [one.name for one in self.revisions.values() if one.is_ready(now)]
        return ready[-1] if ready else None

    def split(self) -> dict[str, int]:
        """What serves now: percent by short name of a revision."""
        self.settle()
        return dict(self.splits[-1].percent) if self.splits else {}

    def tagged(self, tag: str) -> str | None:
        """The revision that a tag leads to now."""
        self.settle()
        now = self._now()
        found = (row for row in self.statuses if row.tag == tag)
        return next((row.revision or self.latest_ready(now) for row in found), None)

    def behaviour(self, tag: str | None = None) -> Behaviour | None:
        """Of the program at a tag; without one, of the revision with the most traffic."""
        split = self.split()
        name = max(split, key=lambda one: split[one], default=None) if tag is None else self.tagged(tag)
        return self.revisions[name].behaviour if name is not None else None

    def write(self) -> Any:
        """The protocol's service as it stands now."""
        self.settle()
        return self._write(self._now())

    # What changes it.

    def update(
        self,
        asked: Any,
        paths: Sequence[str] = (),
        *,
        by: str,
        at: float | None = None,
        seconds: tuple[float, float] | None = None,
        validate_only: bool = False,
        fate: Fate = ORDINARY,
    ) -> PretendOperation:
        """Take the fields of ``paths`` (all that people set without any) from ``asked``.

        ``at`` (epoch seconds) and ``seconds`` are the clock's and ``operation_seconds`` unless given.
        """
        self.settle()
        at = self._now() if at is None else at
        if asked.etag and asked.etag != self._spec.etag:
            raise conflict(self.name, asked.etag, self._spec.etag)
        merged = templates.masked(self._spec, asked, paths)
        templates.fill(merged)
        templates.check(merged)
        name = self._new_revision(merged)
        if validate_only:
            return self._would_be(merged, name)
        return self._take(merged, name, by, at, seconds or self._around.operation_seconds, fate)

    def settle(self) -> None:
        """Let everything happen that was due until now, in its order."""
        now = self._now()
        while due := [one for one in self._changes if one.operation.done_at <= now]:
            first = min(due, key=lambda one: (one.operation.done_at, one.generation))
            self._changes.remove(first)
            self._complete(first)

    def rewrite_past(self) -> None:
        """Let what serves now have served for ever, so that there is something to look back on."""
        self.splits = [Split(-math.inf, self.split())]

    def _now(self) -> float:
        return self._around.clock.now().timestamp()

    def _new_revision(self, merged: Any) -> str | None:
        """The name of the revision that this update makes; ``None`` where it makes none."""
        name, template = merged.template.revision, merged.template
        if name and name in self.revisions:
            if not self.revisions[name].same_configuration(template):
                raise other_configuration(name)
            return None
        if template == self._spec.template:
            return None
        if name:
            return str(name)
        letters = hashlib.sha256(f"{self.full_name}/{self._numbers}".encode()).hexdigest()
        suffix = "".join(chr(ord("a") + int(one, 16)) for one in letters[:3])
        return f"{self.name}-{len(self.revisions) + 1:05d}-{suffix}"

    def _would_be(self, merged: Any, created: str | None) -> PretendOperation:
        """What an update would be taken for. Traffic to nowhere is told here, what fails later is not."""
        for row in merged.traffic:
            if row.revision and row.revision != created and row.revision not in self.revisions:
                raise invalid("service.traffic", revisions.no_revision(row.revision).message)
        answer = templates.masked(self._write(self._now()), merged, ())
        answer.generation = self.generation + (merged != self._spec)
        return PretendOperation("", self.full_name, answer, -math.inf, ended=answer)

    def _take(
        self, merged: Any, created: str | None, by: str, at: float, seconds: tuple[float, float], fate: Fate
    ) -> PretendOperation:
        if merged != self._spec:
            self._stamp(merged, by, at)
            self._spec = merged
        waits = [
            self.revisions[row.revision].ready_at for row in merged.traffic if row.revision in self.revisions
        ]
        done_at = max([at + seconds[0 if created is not None else 1], *waits])
        if fate.stuck:
            done_at = math.inf
        if created is not None:
            self._numbers += 1
            made = revisions.make(merged, created, self._around.images, by, at, done_at)
            made.problem = revisions.unlucky(fate.failing) if fate.failing else made.problem
            self.revisions[created] = made
            self.latest_created = created
        self._writes += 1
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.full_name}/{self._writes}")
        place = self.full_name.rsplit("/", 2)[0]
        begun = PretendOperation(f"{place}/operations/{identity}", self.full_name, None, done_at)
        self._changes.append(_Change(begun, self.generation, tuple(merged.traffic), created, fate))
        begun.begun = self._write(at)
        return self._around.operations.keep(begun)

    def _stamp(self, merged: Any, by: str, at: float) -> None:
        """What Cloud Run notes of a change that somebody made."""
        merged.generation += 1
        merged.last_modifier = by
        merged.update_time.FromDatetime(moment(at))
        if not merged.creator:
            merged.creator = by
            merged.create_time.FromDatetime(moment(at))
            merged.uid = str(uuid.uuid5(uuid.NAMESPACE_URL, self.full_name))
        written = f"{merged.generation} {at} {self.full_name}"
        merged.etag = f'"{base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")}"'

    def _complete(self, change: _Change) -> None:
        """An operation ends: its revision is ready or not, and its rows count unless newer ones do."""
        operation = change.operation
        at = operation.done_at
        problem = revisions.unlucky(change.fate.failing) if change.fate.failing else None
        if problem is None and change.created is not None:
            problem = self.revisions[change.created].problem
        if change.generation >= self._observed:
            blocked = problem if change.fate.failing else self._blocked(change.rows, at)
            if blocked is None:
                self.statuses = change.rows
            problem = blocked or problem
            if self._around.failure_sticks and problem is None and self.latest_created is not None:
                problem = self.revisions[self.latest_created].problem
            self._observed, self._problem, self._changed_at = change.generation, problem, at
        self._note_split(at)
        operation.problem = problem
        operation.ended = self._write(at)

    def _blocked(self, rows: Iterable[Any], at: float) -> Problem | None:
        """Why this traffic cannot be routed; one bad row keeps all of it from moving."""
        for row in rows:
            name = self.latest_ready(at) if row.type_ == LATEST else row.revision
            if name is None:
                newest = self.revisions.get(self.latest_created or "")
                return (newest and newest.problem) or revisions.unlucky("No revision is ready.")
            if name not in self.revisions:
                return revisions.no_revision(name)
            if self.revisions[name].problem is not None:
                return self.revisions[name].problem
        return None

    def _note_split(self, at: float) -> None:
        percent: dict[str, int] = {}
        for row in self.statuses:
            name = row.revision or self.latest_ready(at)
            if row.percent and name is not None:
                percent[name] = percent.get(name, 0) + row.percent
        if not self.splits or self.splits[-1].percent != percent:
            self.splits.append(Split(at, percent))

    # How it is written.

    def _write(self, now: float) -> Any:
        written = copy.deepcopy(self._spec)
        written.observed_generation = self._observed
        written.reconciling = self._observed < self.generation
        ready = self.latest_ready(now)
        if ready is not None:
            written.latest_ready_revision = self.revisions[ready].full_name
        if self.latest_created is not None:
            written.latest_created_revision = self.revisions[self.latest_created].full_name
        written.uri = self.uri
        written.urls.append(self.uri)
        for row in self.statuses:
            status = written.traffic_statuses.add(
                type_=row.type_, revision=row.revision, percent=row.percent, tag=row.tag
            )
            if row.tag:
                status.uri = f"{self.uri}/{row.tag}"
        self._write_condition(written.terminal_condition, "Ready", self._problem, now)
        newest = self.revisions.get(self.latest_created or "")
        configured = newest.problem if newest is not None and newest.ready_at <= now else None
        self._write_condition(written.conditions.add(), "ConfigurationsReady", configured, now)
        routed = self._problem if self._problem is not configured else None
        self._write_condition(written.conditions.add(), "RoutesReady", routed, now)
        return written

    def _write_condition(self, condition: Any, kind: str, problem: Problem | None, now: float) -> None:
        condition.type_ = kind
        is_moving = self._observed < self.generation
        if is_moving:
            condition.state = RECONCILING
        elif problem is None:
            condition.state = SUCCEEDED
        else:
            problem.write(condition)
        since = self._spec.update_time.seconds if is_moving else self._changed_at
        condition.last_transition_time.FromDatetime(moment(since))
