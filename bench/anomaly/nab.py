"""Scores detectors on the Numenta Anomaly Benchmark's files, by its protocol and by thresholds carried over.

The protocol is numenta/NAB's (arXiv 1510.03336). A file's score is a step function of the threshold; here it
is held as *events*, the thresholds at which it changes and by how much, so that a sweep over all thresholds
of all files is one sort and one running sum.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DATA = Path(__file__).parents[2].parent / "shared" / "nab"
FOLDS = 5
SPREAD = range(10)
"""Seeds of the folds; the first is the one whose figures stand in the table."""


@dataclass(frozen=True)
class File:
    """One labelled series: epoch seconds, values, and windows of rows with both ends included."""

    group: str
    name: str
    times: Floats
    values: Floats
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Rows at the beginning that nobody is scored by."""
        return probation(len(self.times))


@dataclass(frozen=True)
class Profile:
    """What a false alarm and a missed window cost; a window found at its first row is worth 1."""

    name: str
    false: float
    missed: float


@dataclass(frozen=True)
class Events:
    """How a file's score changes as the threshold falls: by ``deltas[i]`` once it reaches ``scores[i]``.

    Scores fall strictly. With no detection at all the file's score is ``nothing``.
    """

    scores: Floats
    deltas: Floats
    nothing: float
    perfect: float

    def at(self, threshold: float) -> float:
        """The file's score where rows with a score of at least ``threshold`` are detections."""
        return self.nothing + float(self.deltas[self.scores >= threshold].sum())


def probation(rows: int) -> int:
    return int(min(0.15 * rows, 750))


def worth(position: float) -> float:
    """The scaled sigmoid: 1 far before, 0 at a window's right edge, -1 from three widths after it."""
    return -1.0 if position > 3.0 else 2 / (1 + float(np.exp(5 * position))) - 1


def weigh(rows: int, windows: Sequence[tuple[int, int]]) -> tuple[Floats, NDArray[np.int64]]:
    """What a detection is worth in each row, and the window that the row is in (-1 outside).

    Outside, the worth is at most 0 and still to be multiplied by the profile's cost.
    """
    weights, inside = np.full(rows, -1.0), np.full(rows, -1)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        until = windows[number + 1][0] if number + 1 < len(windows) else rows
        for row in range(first, until):
            if row <= last:
                weights[row], inside[row] = worth(-(last - row + 1) / width) / worth(-1.0), number
            else:
                weights[row] = worth((row - last) / (width - 1))
    return weights, inside


def events(scores: Floats, windows: Sequence[tuple[int, int]], profile: Profile) -> Events:
    """The score of one file under one profile as a function of the threshold."""
    weights, inside = weigh(len(scores), windows)
    start = probation(len(scores))
    levels, deltas = (
        [scores[start:][inside[start:] < 0]],
        [weights[start:][inside[start:] < 0] * profile.false],
    )
    for number in range(len(windows)):
        rows = np.flatnonzero(inside == number)
        rows = rows[rows >= start]
        order = rows[np.argsort(-scores[rows], kind="stable")]
        best = np.maximum.accumulate(weights[order])
        gained = np.diff(best, prepend=-profile.missed)
        levels.append(scores[order])
        deltas.append(gained)
    level, delta = np.concatenate(levels), np.concatenate(deltas)
    distinct, place = np.unique(-level, return_inverse=True)
    summed = np.bincount(place, weights=delta, minlength=len(distinct))
    return Events(-distinct, summed, -profile.missed * len(windows), float(len(windows)))


class Corpus:
    """The events of many files in one falling order, so that any part of them is swept by one running sum."""

    def __init__(self, files: Sequence[Events]) -> None:
        self.files = list(files)
        levels = np.concatenate([each.scores for each in files])
        order = np.argsort(-levels, kind="stable")
        self._levels = levels[order]
        self._deltas = np.concatenate([each.deltas for each in files])[order]
        self._of = np.repeat(np.arange(len(files)), [len(each.scores) for each in files])[order]
        self._ends = np.flatnonzero(np.diff(self._levels, append=np.nan) != 0)

    def best_threshold(self, chosen: Sequence[bool] | None = None) -> float:
        """The threshold with the highest sum over the chosen files; infinite if nothing is worth it."""
        mask = np.ones(len(self.files), dtype=np.bool_) if chosen is None else np.asarray(chosen)
        sums = np.cumsum(np.where(mask[self._of], self._deltas, 0.0))[self._ends]
        best = int(np.argmax(sums))
        return float(self._levels[self._ends[best]]) if sums[best] > 0 else float("inf")


def normalise(raw: float, files: Sequence[Events]) -> float:
    """0 for detecting nothing, 100 for each window found at its first row and no false alarm."""
    nothing, perfect = sum(each.nothing for each in files), sum(each.perfect for each in files)
    return 100 * (raw - nothing) / (perfect - nothing)


def at(files: Sequence[Events], threshold: float) -> float:
    """The normalised score at a threshold that is known beforehand."""
    return normalise(sum(each.at(threshold) for each in files), files)


def optimised(corpus: Corpus) -> tuple[float, float]:
    """NAB's own figure, and the threshold that gives it: chosen on the files that it is judged by."""
    threshold = corpus.best_threshold()
    return at(corpus.files, threshold), threshold


def held_out(corpus: Corpus, folds: Sequence[int]) -> float:
    """The honest figure: each file judged by the threshold that is best on the files of the other folds."""
    raw = 0.0
    for fold in sorted(set(folds)):
        threshold = corpus.best_threshold([of != fold for of in folds])
        raw += sum(each.at(threshold) for each, of in zip(corpus.files, folds, strict=True) if of == fold)
    return normalise(raw, corpus.files)


def deal(groups: Sequence[str], seed: int) -> list[int]:
    """A fold for each file: each group is shuffled and dealt out in turn, on from where the last ended."""
    rng = np.random.default_rng(seed)
    folds, turn = [0] * len(groups), 0
    for group in sorted(set(groups)):
        members = [place for place, each in enumerate(groups) if each == group]
        for place in rng.permutation(members):
            folds[int(place)] = turn % FOLDS
            turn += 1
    return folds


def load(data: Path = DATA) -> list[File]:
    """All files, by group and name; times of the files are taken as UTC."""
    windows = json.loads((data / "windows.json").read_text())
    found = []
    for path in sorted((data / "data").glob("*/*.csv")):
        with path.open() as lines:
            rows = list(csv.DictReader(lines))
        times = np.array([seconds(row["timestamp"]) for row in rows])
        values = np.array([float(row["value"] or "nan") for row in rows])
        spans = tuple(
            (
                int(np.searchsorted(times, seconds(first))),
                int(np.searchsorted(times, seconds(last), side="right")) - 1,
            )
            for first, last in windows[f"{path.parent.name}/{path.name}"]
        )
        found.append(File(path.parent.name, path.name, times, values, spans))
    return found


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def profiles(data: Path = DATA) -> list[Profile]:
    costs = json.loads((data / "profiles.json").read_text())
    return [
        Profile(name, each["CostMatrix"]["fpWeight"], each["CostMatrix"]["fnWeight"])
        for name, each in costs.items()
    ]


Scorer = Callable[[Floats, Floats, int], Floats]
"""Times, values (n x m) and the rows that are free to learn from, to a score per row."""


def judge(
    files: Sequence[File], costs: Sequence[Profile], scorer: Scorer, fixed: Mapping[str, float]
) -> dict[str, object]:
    """All figures of one detector; ``fixed`` are thresholds that somebody set beforehand, by name."""
    scores = []
    for file in files:
        found = scorer(file.times, file.values[:, None], file.probation)
        if found.shape != file.times.shape or np.isnan(found).any():
            raise ValueError(f"a detector left rows of {file.name} without a score")
        scores.append(found)
    groups = [file.group for file in files]
    told: dict[str, object] = {}
    for cost in costs:
        scored = [events(found, file.windows, cost) for found, file in zip(scores, files, strict=True)]
        corpus = Corpus(scored)
        own, threshold = optimised(corpus)
        spread = [held_out(corpus, deal(groups, seed)) for seed in SPREAD]
        told[cost.name] = {
            "optimised": own,
            "threshold": threshold,
            "held_out": spread[0],
            "held_out_mean": float(np.mean(spread)),
            "held_out_min": min(spread),
            "held_out_max": max(spread),
            "lost_by_group": lost_by_group(scored, groups, threshold),
            "fixed": {name: at(scored, level) for name, level in fixed.items()},
        }
    return told


def lost_by_group(files: Sequence[Events], groups: Sequence[str], threshold: float) -> dict[str, float]:
    """Points of the hundred that each group loses at NAB's own threshold, to see where they go."""
    whole = sum(each.perfect - each.nothing for each in files)
    lost: dict[str, float] = {}
    for each, group in zip(files, groups, strict=True):
        lost[group] = lost.get(group, 0.0) + 100 * (each.perfect - each.at(threshold)) / whole
    return lost
