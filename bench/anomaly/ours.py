"""Toban's own detector behind the benches' two shapes: a score per row, and the alarms of a service."""

from importlib.util import find_spec

import numpy as np

from bench.anomaly.nab import Floats
from bench.anomaly.services import Alarm, Judge, is_real
from domain import anomalies
from domain.rules import Sensitivity
from sandbox.cloud.traffic import METRICS, Made

ANSWERED_AFTER = 3600
"""Seconds after an alert at which somebody answers it, where somebody does."""


def scores_rows() -> bool:
    """Whether the part for series of unknown shape is there."""
    return find_spec("domain.detector.rows") is not None


def rows(times: Floats, values: Floats, learn: int) -> Floats:
    """The scores of a series of unknown shape; it is not told how many rows are free to learn from."""
    from domain.detector.rows import score_rows

    return score_rows(times, values).score


def path(*, answered: bool = False, sensitivity: Sensitivity = Sensitivity.NORMAL) -> Judge:
    """The whole path over a service: it is switched on at the live part, with the history to learn from.

    ``answered``: an hour after each alert somebody says rightly whether it was useful. That moves thresholds;
    the periods called useful are not left out of what is learned here, as they are in production.
    """

    def judge(made: Made) -> list[Alarm]:
        since, steps = judged_once(made)
        track, alarms, unanswered = anomalies.Track(), [], list[int]()
        for step in steps:
            while unanswered and step.at >= unanswered[0] + ANSWERED_AFTER:
                begun = unanswered.pop(0)
                real = is_real(made, row_of(made, begun))
                said = anomalies.Answer.USEFUL if real else anomalies.Answer.NOT_USEFUL
                track = anomalies.answer(track, said, begun, step.at)
            track, events = anomalies.follow(track, [step], sensitivity, since=since)
            for event in events:
                if event.turn is anomalies.Turn.OPENED:
                    alarms.append(Alarm(row_of(made, event.at), event.episode.driver.column))
                    if answered:
                        unanswered.append(event.at)
        return alarms

    return judge


_LAST: list[tuple[Made, tuple[int | None, list[anomalies.Scored]]]] = []


def judged_once(made: Made) -> tuple[int | None, list[anomalies.Scored]]:
    """The first sample's time and the live part's steps; the last service's are kept for the next policy."""
    from domain.detector.services import judge, scored

    if not _LAST or _LAST[0][0] is not made:
        judged = judge(*frame_of(made))
        steps = [step for step in scored(judged) if step.at > made.start + made.live * made.step]
        _LAST[:] = [(made, (judged.since, steps))]
    return _LAST[0][1]


def forget() -> None:
    """Judge anew even the service that was judged last."""
    _LAST.clear()


def row_of(made: Made, at: int) -> int:
    """The row that ends at ``at``."""
    return (at - made.start) // made.step - 1


def frame_of(made: Made) -> tuple[object, object]:
    """What the detector sees of a service: no incident, no profile, no holiday is told."""
    from domain.detector.calendar import Calendar
    from domain.detector.frame import Column, Frame, Role

    with np.errstate(all="ignore"):
        share = np.where(made.requests > 0, made.errors / made.requests, made.errors * 0)
    columns = tuple(Column(name, Role(name)) for name in METRICS)
    values = np.column_stack([made.requests, share, made.latency, made.cpu, made.memory])
    return Frame(made.start + made.step, made.step, columns, values), Calendar(made.zone)


def judge_alone(made: Made) -> object:
    """Only the detector, without episodes: what a full recompute costs."""
    from domain.detector.services import judge as judge_frame

    return judge_frame(*frame_of(made))


def judges_services() -> bool:
    """Whether the whole path over a service's metrics is there."""
    return find_spec("domain.detector.services") is not None
