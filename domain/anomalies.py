"""When a service's odd behaviour becomes an alert, how long it stays one, and what people's answers change.

The detector (``domain.detector.services``, loaded only where it runs) makes ``Scored`` steps of metrics;
``follow`` makes episodes of these. Times are epoch seconds, scores -log10 of a chance per five minutes.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from domain.levels import Value
from domain.rules import Sensitivity

HOUR, DAY = 3600, 86_400

BASE = 4.0
"""The score at which a service with a fortnight of history and no alarms lately is alerted about.

Set with the generator's seeds 100-119, whose quiet weeks then have fewer than one false alarm.
"""

YOUNG, GROWN = 1.5, 14 * DAY
"""By how much the threshold is higher without history, and the history at which it no longer is."""

BACK_OFF, FADES = 0.5, 7 * DAY
"""Each doubling of recent alarms that nobody found useful raises the threshold; they fade over this time."""

NOT_USEFUL = 0.5
"""By how much "not useful" raises the threshold of one column in one direction, fading likewise."""

AT_MOST = 3.0
"""The most that answers raise the threshold of one column and direction by."""

OFFSETS = {Sensitivity.LOW: 1.0, Sensitivity.NORMAL: 0.0, Sensitivity.HIGH: -0.5}

READY = 2 * DAY
"""Seconds of history before anything is judged."""

QUIET = HOUR // 2
"""An episode is over once the score has been below half of its threshold for so long."""

AFTERMATH = 4 * HOUR
"""So long after an alarm the detector's means and comparisons still hold steps of it."""

INNER = 0.5
"""The part of the expected band in which a value counts as back, whatever longer means still say. Before a
new alert in the aftermath it is the whole band.
"""

REST = HOUR
"""No new episode begins so soon after the last was over."""

LOST = 2 * HOUR
"""An episode of which nothing can be judged any more is over after so long."""

MUTE = DAY
LEARNED = DAY
"""What was called expected is heard again once it was quiet for so long: the baseline has followed."""

LEARN_AT_MOST = 14 * DAY
KEPT = 35 * DAY
"""Alarms and answers are kept as long as the history that they concern."""

ODD = 2.0
"""A column's score from which it counts beside the oddest."""

MOVED = 3.0
"""A column's score from which an alert names it beside its driver."""

GIVES_WAY = HOUR // 4
"""An episode whose own metrics were quiet for so long gives way to trouble of another metric."""


class Direction(StrEnum):
    """Which way a metric is off."""

    UP = "up"
    DOWN = "down"
    STUCK = "stuck"


class Deviation(Value):
    """One metric off what was expected of it, in its own unit; ``low`` and ``high`` where a band is known."""

    column: str
    direction: Direction
    observed: float | None = None
    low: float | None = None
    high: float | None = None
    score: float


class Scored(Value):
    """One judged step that ends at ``at``: ``score`` is None where nothing can be said of it.

    ``deviations``: the oddest first. ``silent``: columns without data for a while.
    """

    at: int
    score: float | None
    deviations: tuple[Deviation, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def driver(self) -> Deviation | None:
        """The oddest metric."""
        return self.deviations[0] if self.deviations else None


class Episode(Value):
    """A stretch of odd behaviour: one alert with a start and an end.

    ``started_at`` is the first step over the threshold, ``last_at`` the last that was loud (half of it),
    ``driver`` the oddest metric at the alarm, ``others`` those that moved as well, as first seen.
    """

    started_at: int
    last_at: int
    ended_at: int | None = None
    peak: float
    threshold: float
    driver: Deviation
    others: tuple[Deviation, ...] = ()

    @property
    def is_open(self) -> bool:
        """True until it is over."""
        return self.ended_at is None

    @property
    def columns(self) -> frozenset[str]:
        """The metrics whose quiet ends it: the driver, and those that would have alerted by themselves."""
        loud = (other.column for other in self.others if other.score >= self.threshold)
        return frozenset({self.driver.column, *loud})


class Answer(StrEnum):
    """What somebody thought of an alert."""

    USEFUL = "useful"
    NOT_USEFUL = "not_useful"
    EXPECTED = "expected"
    MUTE = "mute"


class Vote(Value):
    """An answer about the episode that began at ``started_at``; ``until``: of a mute and of what is expected.

    ``column`` and ``direction`` say what it concerns; a mute without them concerns the whole service.
    """

    answer: Answer
    at: int
    started_at: int | None = None
    column: str | None = None
    direction: Direction | None = None
    until: int | None = None
    by: str | None = None

    def concerns(self, deviation: Deviation) -> bool:
        """True for the metric and direction that it is about."""
        return self.column in {None, deviation.column} and self.direction in {None, deviation.direction}


class Track(Value):
    """All that is stored about a service's anomalies: what it was judged up to, episodes, answers."""

    judged_until: int | None = None
    episode: Episode | None = None
    alarms: tuple[Episode, ...] = ()
    votes: tuple[Vote, ...] = ()


class Turn(StrEnum):
    """What happened to an episode."""

    OPENED = "opened"
    CONTINUED = "continued"
    CLOSED = "closed"


class Event(Value):
    """An episode opened, went on (louder by one, or another metric moved) or closed, at the step ``at``."""

    turn: Turn
    at: int
    episode: Episode


def fuse(scores: Iterable[float]) -> float:
    """One score of several metrics: the oddest counts most, two that moved with it add to it.

    Above 6 it grows with the logarithm. The detector does the same over arrays.
    """
    ordered = sorted(scores, reverse=True)
    if not ordered:
        return 0.0
    rest = sum(max(score - ODD, 0.0) for score in ordered[1:3])
    fused = ordered[0] + 0.25 * min(rest, ordered[0])
    return 6 + math.log2(1 + fused - 6) if fused > 6 else fused


def ready_at(since: int | None) -> int | None:
    """The moment from which a service with its first sample at ``since`` is judged."""
    return None if since is None else since + READY


def threshold(track: Track, sensitivity: Sensitivity, since: int | None, at: int) -> float:
    """The score that makes an alert at ``at``; ``since``: the first sample. Infinite where it is off."""
    if sensitivity is Sensitivity.OFF:
        return math.inf
    age = 0 if since is None else at - since
    young = YOUNG * max(0.0, 1 - age / GROWN)
    useful = {vote.started_at for vote in track.votes if vote.answer is Answer.USEFUL}
    recent = sum(
        math.exp(-(at - alarm.started_at) / FADES)
        for alarm in track.alarms
        if alarm.started_at not in useful and alarm.started_at <= at
    )
    return BASE + OFFSETS[sensitivity] + young + BACK_OFF * math.log2(1 + recent)


def follow(
    track: Track,
    scored: Sequence[Scored],
    sensitivity: Sensitivity = Sensitivity.NORMAL,
    *,
    since: int | None,
) -> tuple[Track, list[Event]]:
    """Take newly judged steps in; those up to ``track.judged_until`` are known and change nothing.

    ``since``: epoch seconds of the service's first sample (``Judged.since``), for the age of its history.
    """
    events: list[Event] = []
    for step in sorted(scored, key=lambda each: each.at):
        if track.judged_until is not None and step.at <= track.judged_until:
            continue
        track, told = _step(track, step, sensitivity, since)
        events += told
    return track, events


def _step(
    track: Track, step: Scored, sensitivity: Sensitivity, since: int | None
) -> tuple[Track, list[Event]]:
    track = _forgotten(track.model_copy(update={"judged_until": step.at}), step.at)
    episode = track.episode
    if step.score is None:
        if episode is not None and step.at - episode.last_at >= LOST:
            track, closed = _closed(track, episode, step.at)
            return track, [closed]
        return track, []
    track = _heard(track, step, sensitivity, since)
    heard, score = _audible(track, step)
    ended = track.alarms[-1].ended_at if track.alarms else None
    if episode is not None:
        heard, score = _now(heard, score, INNER)
    elif ended is not None and step.at < ended + AFTERMATH:
        heard, score = _now(heard, score, 1.0)
    limit = threshold(track, sensitivity, since, step.at)
    is_over = not heard or score < limit
    if episode is not None:
        own = episode.columns
        quiet = step.at - episode.last_at >= GIVES_WAY
        if quiet and not is_over and heard[0].column not in own:
            track, closed = _closed(track, episode, step.at)
            track, opened = _opened(track, step.at, heard, score, limit)
            return track, [closed, opened]
        return _gone_on(track, episode, step.at, heard, score)
    if is_over or (ended is not None and step.at < ended + REST):
        return track, []
    track, opened = _opened(track, step.at, heard, score, limit)
    return track, [opened]


def _opened(
    track: Track, at: int, heard: tuple[Deviation, ...], score: float, limit: float
) -> tuple[Track, Event]:
    others = tuple(each for each in heard[1:] if each.score >= MOVED)
    opened = Episode(started_at=at, last_at=at, peak=score, threshold=limit, driver=heard[0], others=others)
    track = track.model_copy(update={"episode": opened, "alarms": (*track.alarms, opened)})
    return track, Event(turn=Turn.OPENED, at=at, episode=opened)


def _audible(track: Track, step: Scored) -> tuple[tuple[Deviation, ...], float]:
    """What is left of a step after mutes, what is expected and what was called not useful; and its score."""
    heard, changed = [], False
    for deviation in step.deviations:
        votes = [vote for vote in track.votes if vote.concerns(deviation)]
        if any(vote.until is not None and step.at < vote.until for vote in votes):
            changed = True
            continue
        offset = _offset(votes, step.at)
        changed = changed or offset > 0
        heard.append((deviation, deviation.score - offset))
    heard.sort(key=lambda each: -each[1])
    score = fuse(score for _, score in heard) if changed else step.score or 0.0
    return tuple(deviation for deviation, _ in heard), score


def _offset(votes: Sequence[Vote], at: int) -> float:
    total = sum(
        NOT_USEFUL * math.exp(-(at - vote.at) / FADES)
        for vote in votes
        if vote.answer is Answer.NOT_USEFUL and vote.at <= at
    )
    return min(total, AT_MOST)


def _gone_on(
    track: Track, episode: Episode, at: int, heard: tuple[Deviation, ...], score: float
) -> tuple[Track, list[Event]]:
    """An open episode takes a step: it stays, says that it got worse, or is over."""
    own = episode.columns
    loudest = max((each.score for each in heard if each.column in own), default=0.0)
    known = {episode.driver.column, *(other.column for other in episode.others)}
    fresh = tuple(each for each in heard if each.column not in known and each.score >= MOVED)
    if loudest < episode.threshold / 2 and score < episode.threshold:
        if at - episode.last_at >= QUIET:
            track, closed = _closed(track, episode, at)
            return track, [closed]
        return track, []
    is_louder = score >= episode.peak + 1
    moved = episode.model_copy(
        update={
            "last_at": at if loudest >= episode.threshold / 2 else episode.last_at,
            "peak": max(score, episode.peak),
            "others": (*episode.others, *fresh),
        }
    )
    events = [Event(turn=Turn.CONTINUED, at=at, episode=moved)] if is_louder or fresh else []
    return _stored(track, moved, is_open=True), events


def _now(heard: tuple[Deviation, ...], score: float, part: float) -> tuple[tuple[Deviation, ...], float]:
    """Without the metrics that are back: in the wake of trouble long means still tell of it."""
    left = tuple(each for each in heard if not _is_back(each, part))
    return (heard, score) if len(left) == len(heard) else (left, fuse(each.score for each in left))


def _is_back(deviation: Deviation, part: float) -> bool:
    """True inside this part of its band: only the mean of the last hour still remembers the trouble."""
    if deviation.observed is None or deviation.low is None or deviation.high is None:
        return False
    middle, half = (deviation.low + deviation.high) / 2, (deviation.high - deviation.low) / 2
    return deviation.direction is not Direction.STUCK and abs(deviation.observed - middle) <= part * half


def _closed(track: Track, episode: Episode, at: int) -> tuple[Track, Event]:
    over = episode.model_copy(update={"ended_at": at})
    return _stored(track, over, is_open=False), Event(turn=Turn.CLOSED, at=at, episode=over)


def _stored(track: Track, episode: Episode, *, is_open: bool) -> Track:
    alarms = tuple(episode if each.started_at == episode.started_at else each for each in track.alarms)
    return track.model_copy(update={"episode": episode if is_open else None, "alarms": alarms})


def _heard(track: Track, step: Scored, sensitivity: Sensitivity, since: int | None) -> Track:
    """What is expected stays so as long as it is loud, and a day longer, but not for ever."""
    loud = threshold(track, sensitivity, since, step.at) / 2
    votes = []
    for vote in track.votes:
        is_live = vote.answer is Answer.EXPECTED and vote.until is not None and step.at < vote.until
        if is_live and any(vote.concerns(each) and each.score >= loud for each in step.deviations):
            until = min(step.at + LEARNED, vote.at + LEARN_AT_MOST)
            vote = vote.model_copy(update={"until": max(until, vote.until or 0)})  # noqa: PLW2901
        votes.append(vote)
    return track.model_copy(update={"votes": tuple(votes)})


def _forgotten(track: Track, at: int) -> Track:
    alarms = tuple(alarm for alarm in track.alarms if alarm.is_open or at - alarm.started_at < KEPT)
    votes = tuple(vote for vote in track.votes if at - vote.at < KEPT)
    if len(alarms) == len(track.alarms) and len(votes) == len(track.votes):
        return track
    return track.model_copy(update={"alarms": alarms, "votes": votes})


def answer(track: Track, said: Answer, started_at: int, at: int, by: str | None = None) -> Track:
    """Somebody answers the alert that began at ``started_at``. Repeating an answer changes nothing.

    Unknown alerts (long forgotten) are answered in vain: the track stays as it is. A later answer of the
    same person replaces their earlier one, except that a mute stands beside any other.
    """
    episode = next((each for each in track.alarms if each.started_at == started_at), None)
    if episode is None:
        return track
    driver = episode.driver
    until = {Answer.MUTE: at + MUTE, Answer.EXPECTED: at + LEARNED}.get(said)
    vote = Vote(
        answer=said,
        at=at,
        started_at=started_at,
        column=driver.column,
        direction=driver.direction,
        until=until,
        by=by,
    )
    mine = [each for each in track.votes if each.started_at == started_at and each.by == by]
    if any(each.answer is said and (said is not Answer.MUTE or at < (each.until or 0)) for each in mine):
        return track
    replaced = [] if said is Answer.MUTE else [each for each in mine if each.answer is not Answer.MUTE]
    kept = tuple(each for each in track.votes if each not in replaced)
    return track.model_copy(update={"votes": (*kept, vote)})


def mute(track: Track, at: int, column: str | None = None, by: str | None = None, hours: int = 24) -> Track:
    """Keep silent about a metric, or about all of the service, for so long."""
    vote = Vote(answer=Answer.MUTE, at=at, column=column, until=at + hours * HOUR, by=by)
    return track.model_copy(update={"votes": (*track.votes, vote)})


def muted_until(track: Track, at: int) -> dict[str | None, int]:
    """What is silent at ``at`` and until when, by column; None stands for the whole service."""
    found: dict[str | None, int] = {}
    for vote in track.votes:
        if vote.until is not None and at < vote.until:
            found[vote.column] = max(found.get(vote.column, 0), vote.until)
    return found


def excluded_by(track: Track) -> tuple[tuple[int, int], ...]:
    """Periods [start, end) of alerts called useful: real trouble, from which nothing usual is learned.

    A period begins an hour before its alarm, for trouble is seldom seen at once. Open ones are left out
    until they are over, so that a detector's state is not thrown away at every step.
    """
    useful = {vote.started_at for vote in track.votes if vote.answer is Answer.USEFUL}
    return tuple(
        (alarm.started_at - HOUR, alarm.ended_at)
        for alarm in track.alarms
        if alarm.started_at in useful and alarm.ended_at is not None
    )


def share_useful(tracks: Iterable[Track], week: int) -> tuple[int, int]:
    """(useful, answered): alerts that began in the seven days from ``week`` on, by their last answer.

    A mute is no answer, "expected" is one: nobody needed to be told.
    """
    useful = answered = 0
    for track in tracks:
        last: dict[int, Answer] = {}
        for vote in sorted(track.votes, key=lambda each: each.at):
            begun = vote.started_at
            if begun is not None and vote.answer is not Answer.MUTE and week <= begun < week + 7 * DAY:
                last[begun] = vote.answer
        answered += len(last)
        useful += sum(said is Answer.USEFUL for said in last.values())
    return useful, answered
