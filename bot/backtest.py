"""What the detector would have said about recorded data, so that a team can choose before it switches on."""

import csv
import errno
import io
import math
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from domain.anomalies import OFFSETS
from domain.rules import Sensitivity

TOGETHER = 3600
"""Seconds without an abnormal row after which the next one is a new alarm; at least three usual steps."""

ADDED = ("score", "is_anomaly", "reason")
MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MILLISECONDS = 1e11
"""Epoch seconds beyond this, the year 5138, are milliseconds."""
LONGEST_CELL = 1_000_000
TELL_EVERY = 500
"""Rows between two looks at the progress bar."""


class BadFile(Exception):
    """A file that cannot be used: which one, which line, and the way out."""

    def __init__(self, path: Path, problem: str, line: int | None = None) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line is not None else f"{path}: {problem}")


class Scored(Protocol):
    """What a detector says about rows: ``score`` float64[n], NaN where it says nothing, and why.

    ``expected_low`` and ``expected_high`` are float64[n] or float64[n, m], NaN where unknown. ``threshold``:
    the score that makes a row abnormal at the normal sensitivity.
    """

    @property
    def score(self) -> Any: ...
    @property
    def reason(self) -> Any: ...
    @property
    def expected_low(self) -> Any: ...
    @property
    def expected_high(self) -> Any: ...
    @property
    def threshold(self) -> float: ...


Scorer = Callable[[Any, Any], Scored]
"""From times float64[n], epoch seconds, and values float64[n, m], NaN for missing."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was found. ``microseconds`` is the cost of a sample (one value of a column), ``days`` the span.

    ``threshold`` is the score from which a row is abnormal.
    """

    rows: int
    columns: tuple[str, ...]
    missing: int
    days: float
    sensitivity: Sensitivity
    threshold: float
    abnormal: int
    alarms: int
    alarms_a_week: float | None
    microseconds: float
    out: Path
    plot: Path | None

    def lines(self) -> tuple[str, ...]:
        """For a person at a terminal."""
        often = "the data spans no time" if self.alarms_a_week is None else f"{self.alarms_a_week:.2f} a week"
        what = f"{_many(self.rows, 'row')} of {', '.join(self.columns)} over {self.days:.1f} days"
        found = f"{_many(self.alarms, 'alarm')}, {often}, of {_many(self.abnormal, 'abnormal row')}"
        wrote = [f"wrote {path}" for path in (self.out, self.plot) if path is not None]
        return (
            f"{what}, {_many(self.missing, 'value')} missing",
            f"{found} (sensitivity {self.sensitivity}: from a score of {self.threshold:g})",
            f"{self.microseconds:.1f} µs per sample",
            *wrote,
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """A file as it was read: every cell as it stood there, and what it means.

    ``times`` are epoch seconds, never decreasing; ``values`` one list a row, NaN for missing.
    """

    header: tuple[str, ...]
    delimiter: str
    columns: tuple[str, ...]
    cells: list[list[str]]
    times: list[float]
    values: list[list[float]]


def anomalies(
    path: Path,
    out: Path,
    plot: Path | None = None,
    sensitivity: Sensitivity = Sensitivity.NORMAL,
    progress: bool | None = None,
    scorer: Scorer | None = None,
) -> Summary:
    """Score a file of ``timestamp`` and one or more values, row for row, and write it with what was found.

    No row's score depends on a later row. Times are ISO 8601 (without an offset: UTC) or epoch seconds; an
    empty cell is a missing value. A row is abnormal from the detector's own threshold on, which a low or a
    high sensitivity moves.

    ``progress`` shows a bar on stderr; left out, where that is a terminal. ``scorer`` is the detector to ask
    instead of Toban's own. Raises ``BadFile``; then nothing was written.
    """
    if sensitivity is Sensitivity.OFF:
        raise BadFile(path, "a sensitivity of off finds nothing. Choose low, normal or high.")
    _check_places(path, out, plot)
    with _bar(progress) as tell, _beside(out) as rows_file, _beside(plot) as plot_file:
        samples = read(path, tell)
        import numpy as np  # Slow to load: bad input should be told at once.

        times = np.array(samples.times, dtype=np.float64)
        values = np.array(samples.values, dtype=np.float64)
        tell("scoring", None)
        if scorer is None:
            from domain.detector.rows import score_rows

            scorer = score_rows
        began = perf_counter()
        scored = scorer(times, values)
        spent = perf_counter() - began
        least = scored.threshold + OFFSETS[sensitivity]
        abnormal = np.asarray(scored.score) >= least  # NaN is not.
        _write(rows_file, samples, scored, abnormal.tolist(), tell)
        if plot_file is not None:
            tell("drawing", None)
            plot_file.write_bytes(_drawn(path, samples, scored, abnormal))
    days = (samples.times[-1] - samples.times[0]) / 86400
    alarms = _alarms(samples.times, abnormal.tolist())
    return Summary(
        rows=len(times),
        columns=samples.columns,
        missing=int(np.isnan(values).sum()),
        days=days,
        sensitivity=sensitivity,
        threshold=least,
        abnormal=int(abnormal.sum()),
        alarms=alarms,
        alarms_a_week=alarms * 7 / days if days > 0 else None,
        microseconds=spent * 1e6 / values.size,
        out=out,
        plot=plot,
    )


# Reading.


def read(path: Path, tell: "Tell") -> Samples:
    """The samples of a CSV file. Raises ``BadFile`` for the first thing that is wrong with it."""
    text = _text(path)
    csv.field_size_limit(LONGEST_CELL)
    first = text.split("\n", 1)[0]
    delimiter = next((one for one in (",", ";", "\t") if one in first), ",")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = _rows(path, lines)
    _, header = next(rows, (1, []))
    place = _check_header(path, header)
    columns = tuple(name.strip() for at, name in enumerate(header) if at != place)
    samples = Samples(tuple(header), delimiter, columns, [], [], [])
    total = max(1, text.count("\n"))
    for line, row in rows:
        if len(row) != len(header):
            raise BadFile(
                path,
                f"{_many(len(row), 'cell')} where the header has {len(header)}."
                " Give every row as many; an empty cell is a missing value.",
                line,
            )
        at = _time(path, line, row[place])
        if samples.times and at < samples.times[-1]:
            raise BadFile(
                path, f"{row[place].strip()} is earlier than the row before it. Sort the file by time.", line
            )
        cells = (cell for where, cell in enumerate(row) if where != place)
        samples.cells.append(row)
        samples.times.append(at)
        samples.values.append(
            [_number(path, line, name, cell) for name, cell in zip(columns, cells, strict=True)]
        )
        if len(samples.cells) % TELL_EVERY == 0:
            tell("reading", line / total)
    if not samples.cells:
        raise BadFile(path, "it has a header and no rows. Add a row for each sample.")
    return samples


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadFile(path, "there is no such file. Name a CSV file.") from None
    except OSError as error:
        raise BadFile(path, f"it cannot be read: {error.strerror}. Name a CSV file.") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFile(path, "it is UTF-16. Save it as CSV in UTF-8.", 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadFile(path, "it is not UTF-8. Save it as CSV in UTF-8.", line) from None
    if not text.strip():
        raise BadFile(path, "it is empty. The first line is timestamp,value; then a row for each sample.")
    return text


def _rows(path: Path, lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the line on which it begins."""
    while True:
        line = lines.line_num + 1
        try:
            row = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"it cannot be read as CSV ({error}). Is a quotation mark left open?"
            raise BadFile(path, problem, line) from None
        if any(cell.strip() for cell in row):
            yield line, row


def _check_header(path: Path, header: Sequence[str]) -> int:
    """Where the time is. Raises ``BadFile`` for a header that cannot be meant."""
    names = [name.strip() for name in header]
    lower = [name.lower() for name in names]
    shown = ", ".join(name[:40] or "(nothing)" for name in names[:8])
    if "timestamp" not in lower:
        if all(NUMBER.fullmatch(name) or name.lower() in MISSING for name in names[1:]):
            problem = f"there is no header, only {shown}. Make the first line timestamp,value."
        else:
            problem = f"there is no column timestamp, only {shown}. Rename the column with the time."
        raise BadFile(path, problem, 1)
    if len(names) < 2:
        raise BadFile(path, "there is no column besides timestamp. Add value, or several of them.", 1)
    if taken := [name for name in names if name.lower() in ADDED]:
        problem = f"it has a column {taken[0]} already, as if it were written by a backtest. Leave that out."
        raise BadFile(path, problem, 1)
    if twice := [name for name in names if lower.count(name.lower()) > 1]:
        raise BadFile(path, f"the column {twice[0]} is there twice. Give each its own name.", 1)
    if not all(names):
        raise BadFile(path, "a column has no name. Give each one a name.", 1)
    return lower.index("timestamp")


def _time(path: Path, line: int, cell: str) -> float:
    """Epoch seconds."""
    word = cell.strip()
    if NUMBER.fullmatch(word):
        seconds = float(word)
        if not abs(seconds) < MILLISECONDS:
            raise BadFile(path, f"{word[:40]} is too large for epoch seconds. Divide it by 1000.", line)
        return seconds
    try:
        found = datetime.fromisoformat(word)
    except ValueError:
        raise BadFile(
            path,
            f"{word[:40] or 'an empty cell'} is no time."
            " Write it as 2014-04-01 00:00:00, with an offset if it is not UTC, or as epoch seconds.",
            line,
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _number(path: Path, line: int, column: str, cell: str) -> float:
    word = cell.strip()
    if word.lower() in MISSING:
        return math.nan
    shown = word[:40]
    if not NUMBER.fullmatch(word):
        if word.lower().lstrip("+-") in {"inf", "infinity"}:
            problem = f"{shown} in {column} cannot be judged. Leave the cell empty where a value is missing."
        elif NUMBER.fullmatch(word.replace(",", ".")):
            problem = f"{shown} in {column} has a comma. Write decimals with a point."
        else:
            problem = f"{shown} in {column} is no number. Leave the column out, or the cell empty."
        raise BadFile(path, problem, line)
    value = float(word)
    if not math.isfinite(value):
        raise BadFile(path, f"{shown} in {column} is larger than any number here. Leave it empty.", line)
    return value


# Writing.


def _check_places(path: Path, out: Path, plot: Path | None) -> None:
    """Refuse what would overwrite the input, or could not be written after all the work."""
    used = [("the file that is read", path)]
    for option, place in (("--out", out), ("--plot", plot)):
        if place is None:
            continue
        for what, other in used:
            if _same(place, other):
                raise BadFile(place, f"{option} names {what}. Choose another name for it.")
        if place.exists() and not place.is_file():
            raise BadFile(place, f"{option} names something that is no file. Choose another name for it.")
        used.append((f"the file of {option}", place))


def _same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


@contextmanager
def _beside(path: Path | None) -> Iterator[Any]:
    """A new file beside ``path`` that takes its place when all went well, and is gone when it did not."""
    if path is None:
        yield None
        return
    target = path.resolve()  # A link stays a link.
    new = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        new.touch(exist_ok=False)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield new
        new.replace(target)
    except OSError as error:  # The disk is full, or the folder has gone.
        if error.filename not in {None, str(new)}:
            raise
        raise _unwritable(path, error) from None
    finally:
        new.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> BadFile:
    return BadFile(path, f"it cannot be written: {error.strerror}. Name a file in a folder of yours.")


def _write(file: Path, samples: Samples, scored: Scored, abnormal: Sequence[bool], tell: "Tell") -> None:
    """The file's own cells as they were, then the score, 1 or 0, and for an abnormal row why."""
    total = len(samples.cells)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, delimiter=samples.delimiter, lineterminator="\n")
        writer.writerow([*samples.header, *ADDED])
        for place, cells in enumerate(samples.cells):
            score = float(scored.score[place])
            reason = str(scored.reason[place]) if abnormal[place] else ""
            shown = "" if math.isnan(score) else f"{score:.6f}"
            writer.writerow([*cells, shown, int(abnormal[place]), reason])
            if place % TELL_EVERY == 0:
                tell("writing", place / total)


def _alarms(times: Sequence[float], abnormal: Sequence[bool]) -> int:
    """How often somebody would have been told: abnormal rows close together are one alarm."""
    steps = sorted(after - before for before, after in pairwise(times) if after > before)
    apart = max(TOGETHER, 3 * steps[len(steps) // 2]) if steps else TOGETHER
    last, count = -math.inf, 0
    for at, odd in zip(times, abnormal, strict=True):
        if odd:
            count += at - last > apart
            last = at
    return count


def _drawn(path: Path, samples: Samples, scored: Scored, abnormal: Any) -> bytes:
    """A picture of the first column with its band, and every abnormal row marked."""
    import numpy as np

    from notify.pictures import AnomalyPicture, anomaly_picture

    low, high = (
        np.asarray(one, dtype=np.float64).reshape(len(samples.times), -1)[:, 0]
        for one in (scored.expected_low, scored.expected_high)
    )
    title = f"{path.name}: {samples.columns[0]}"
    return anomaly_picture(
        AnomalyPicture(
            title=title,
            english=title,
            times=samples.times,
            values=[row[0] for row in samples.values],
            low=low.tolist(),
            high=high.tolist(),
            marked=abnormal.tolist(),
        )
    )


# Telling.

Tell = Callable[[str, float | None], None]
"""What is being done, and how much of it is: 0 to 1, ``None`` where that is not known."""


@contextmanager
def _bar(wanted: bool | None) -> Iterator[Tell]:
    """A bar on stderr that leaves nothing behind."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("reading", total=None)

        def tell(doing: str, share: float | None) -> None:
            if share is None:
                bar.reset(task, description=doing, total=None)
            else:
                bar.update(task, description=doing, total=1.0, completed=share)

        yield tell


def _silent(doing: str, share: float | None) -> None:
    """Where nobody watches."""


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
