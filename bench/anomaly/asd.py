"""Scores detectors on the Application Server Dataset: average precision, events found at few false alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.anomaly.nab import Floats, Scorer

DATA = Path(__file__).parents[2].parent / "shared" / "asd"
STEP = 300
WEEK = 7 * 86_400 // STEP
ONCE = 12
"""Rows (an hour) after a counted false alarm in which no other is counted."""

BUDGETS = (1.0, 3.0, 7.0)
"""False alarms a server-week."""


@dataclass(frozen=True)
class Server:
    """Thirty days without labels, then fifteen with; rows are five minutes apart."""

    name: str
    values: Floats
    learn: int
    labels: NDArray[np.bool_]

    @property
    def times(self) -> Floats:
        """Timestamps are not given; the first row is taken as a Monday's midnight, UTC."""
        return 1_767_571_200 + STEP * np.arange(len(self.values), dtype=np.float64)


def load(data: Path = DATA) -> list[Server]:
    found = []
    for path in sorted(data.glob("*.npz")):
        with np.load(path) as held:
            values = np.concatenate([held["train"], held["test"]]).astype(np.float64)
            found.append(Server(path.stem, values, len(held["train"]), held["label"] > 0))
    return found


def average_precision(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """The precision at each distinct threshold, weighed by the recall gained there; ties count together."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)
    true = np.cumsum(labels[order])[ends]
    gained = np.diff(true, prepend=0) / labels.sum()
    return float(np.sum(gained * true / (ends + 1)))


def runs(labels: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The labelled events: first row, and the row after the last."""
    edges = np.diff(np.concatenate(([0], labels.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def false_alarms(flags: NDArray[np.bool_], labels: NDArray[np.bool_]) -> int:
    """Rows over the threshold outside the labels, none within an hour after one that was counted."""
    count, quiet = 0, -1
    for row in np.flatnonzero(flags & ~labels).tolist():
        if row > quiet:
            count, quiet = count + 1, row + ONCE
    return count


def recall_at(
    scores: Sequence[Floats], labels: Sequence[NDArray[np.bool_]], budgets: Sequence[float] = BUDGETS
) -> dict[float, dict[str, float]]:
    """Per budget of false alarms a server-week the best share of events hit, with its threshold and delay.

    Recall only changes where the threshold passes an event's highest score, so these are all that is tried.
    """
    weeks = sum(len(each) for each in labels) / WEEK
    events = [(place, first, end) for place, each in enumerate(labels) for first, end in runs(each)]
    peaks = np.array([scores[place][first:end].max() for place, first, end in events])
    told = {budget: {"recall": 0.0, "threshold": float("inf"), "delay": float("nan")} for budget in budgets}
    for level in sorted(set(peaks.tolist()), reverse=True):
        rate = sum(false_alarms(s >= level, y) for s, y in zip(scores, labels, strict=True)) / weeks
        recall = float((peaks >= level).mean())
        for budget, best in told.items():
            if rate <= budget and recall > best["recall"]:
                delays = [
                    int(np.argmax(scores[place][first:end] >= level)) + 1
                    for (place, first, end), peak in zip(events, peaks, strict=True)
                    if peak >= level
                ]
                best |= {
                    "recall": recall,
                    "threshold": level,
                    "delay": float(np.median(delays)) * STEP / 60,
                    "rate": rate,
                }
        if rate > 3 * max(budgets):
            break
    return told


def judge(servers: Sequence[Server], scorer: Scorer, fixed: Mapping[str, float]) -> dict[str, object]:
    """All figures of one detector; its scores are pooled, so they must mean the same on each server."""
    scores = [scorer(each.times, each.values, each.learn)[each.learn :] for each in servers]
    labels = [each.labels for each in servers]
    weeks = sum(len(each) for each in labels) / WEEK
    told: dict[str, object] = {
        "average_precision": average_precision(np.concatenate(scores), np.concatenate(labels)),
        "average_precision_by_server": {
            server.name: average_precision(found, server.labels)
            for server, found in zip(servers, scores, strict=True)
        },
    }
    for budget, best in recall_at(scores, labels).items():
        told[f"recall@{budget:g}"] = best
    for name, level in fixed.items():
        told[f"false alarms at {name}"] = (
            sum(false_alarms(s >= level, y) for s, y in zip(scores, labels, strict=True)) / weeks
        )
    return told
