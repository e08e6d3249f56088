"""`toban backtest anomalies`: row for row, causal, and a clear answer to every bad file."""

import csv
import io
import math
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bot.backtest import BadFile, Summary, anomalies
from domain.rules import Sensitivity

START = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


@dataclass
class Past:
    """What a simple detector says, for tests of what is around it."""

    score: np.ndarray
    reason: list[str]
    expected_low: np.ndarray
    expected_high: np.ndarray
    threshold: float = 3.7


def against_the_past(times: np.ndarray, values: np.ndarray) -> Past:
    """How far a row's first value is from the ten before it; nothing for the first ten."""
    score, low, high = (np.full(len(times), math.nan) for _ in range(3))
    for row in range(10, len(times)):
        before = values[row - 10 : row, 0]
        before = before[np.isfinite(before)]
        if len(before) and math.isfinite(values[row, 0]):
            middle, spread = before.mean(), before.std() + 0.1
            low[row], high[row] = middle - 3 * spread, middle + 3 * spread
            score[row] = abs(values[row, 0] - middle) / spread
    return Past(score, [f"{value[0]:g} is far off" for value in values], low, high)


def at(row: int, step: int = 300) -> str:
    return datetime.fromtimestamp(START + row * step, UTC).strftime("%Y-%m-%d %H:%M:%S")


def golden(rows: int = 40, odd: tuple[int, ...] = (30,)) -> list[str]:
    """Five-minute samples that swing between 20 and 21, but for some."""
    return ["timestamp,value", *(f"{at(row)},{90 if row in odd else 20 + row % 2}" for row in range(rows))]


def put(folder: Path, text: str | bytes | list[str], name: str = "in.csv") -> Path:
    path = folder / name
    data = "\n".join([*text, ""]) if isinstance(text, list) else text
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def run(folder: Path, text: str | bytes | list[str], **rest: object) -> tuple[Summary, list[list[str]]]:
    out = folder / "out.csv"
    found = anomalies(put(folder, text), out, scorer=against_the_past, **rest)  # type: ignore[arg-type]
    return found, list(csv.reader(io.StringIO(out.read_text(encoding="utf-8"), newline="")))


# What comes out.


def test_row_for_row_the_same_cells_and_what_was_found(tmp_path: Path) -> None:
    found, rows = run(tmp_path, golden())
    assert rows[0] == ["timestamp", "value", "score", "is_anomaly", "reason"]
    assert [",".join(row[:2]) for row in rows] == golden()
    assert [place for place, row in enumerate(rows[1:]) if row[3] == "1"] == [30]
    assert {row[3] for row in rows[1:]} == {"0", "1"}
    assert rows[31][2:] == [rows[31][2], "1", "90 is far off"]
    assert float(rows[31][2]) > 100
    assert {row[4] for place, row in enumerate(rows[1:]) if place != 30} == {""}
    assert [row[2] for row in rows[1:11]] == [""] * 10
    assert (found.rows, found.columns, found.missing, found.abnormal, found.alarms) == (
        40,
        ("value",),
        0,
        1,
        1,
    )
    assert found.days == pytest.approx(39 * 300 / 86400)
    assert found.alarms_a_week == pytest.approx(7 / found.days)
    assert found.microseconds > 0


def test_cells_are_kept_as_they_were_written(tmp_path: Path) -> None:
    lines = [
        "timestamp,p95,note me,errors",
        f"{START},1.50,+2,007",
        f" {START + 60}.5 ,1e3,,-.5",
        "2026-06-01T00:02:00Z,NaN,null,2.",
        '2026-06-01T09:03:00+09:00,"3.0",N/A,0',
    ]
    _, rows = run(tmp_path, lines)
    assert [row[:4] for row in rows] == [next(csv.reader([line])) for line in lines]


def test_values_and_times_are_read_as_they_are_meant(tmp_path: Path) -> None:
    asked: list[tuple[list[float], np.ndarray]] = []

    def listen(times: np.ndarray, values: np.ndarray) -> Past:
        asked.append((times.tolist(), values))
        return against_the_past(times, values)

    lines = [
        "a,timestamp,b",
        f"1.5,{START},",
        "nan,2026-06-01 00:01:00,-2e1",
        "3,2026-06-01T00:02:00Z,4",
        "5,2026-06-01T09:03+09:00,6",
        "7,2026-06-01T09:03+09:00,8",
    ]
    found = anomalies(put(tmp_path, lines), tmp_path / "out.csv", scorer=listen)
    times, values = asked[0]
    assert times == [START, START + 60, START + 120, START + 180, START + 180]
    assert np.array_equal(values, [[1.5, math.nan], [math.nan, -20], [3, 4], [5, 6], [7, 8]], equal_nan=True)
    assert (found.columns, found.missing) == (("a", "b"), 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r\n\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"timestamp", b" Timestamp "),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "no last line break", "spelling"],
)
def test_how_a_file_is_saved_makes_no_difference(tmp_path: Path, change: object) -> None:
    plain = "\n".join([*golden(), ""]).encode()
    _, expected = run(tmp_path, plain)
    _, rows = run(tmp_path, change(plain))  # type: ignore[operator]
    assert rows[1:] == expected[1:]
    assert [name.strip().lower() for name in rows[0]] == expected[0]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_are_understood_and_kept(tmp_path: Path, mark: str) -> None:
    run(tmp_path, [line.replace(",", mark) for line in golden()])
    out = (tmp_path / "out.csv").read_text().splitlines()
    assert out[0].split(mark) == ["timestamp", "value", "score", "is_anomaly", "reason"]
    assert [line.split(mark)[1] for line in out] == [line.split(",")[1] for line in golden()]


def test_a_higher_sensitivity_finds_more(tmp_path: Path) -> None:
    odd = 20.5 + 0.6 * 3.45  # The ten rows before have a mean of 20.5 and a deviation of 0.5.
    lines = ["timestamp,value", *(f"{at(row)},{20 + row % 2}" for row in range(30))]
    lines += [f"{at(30)},{odd:.4f}", *(f"{at(row)},{20 + row % 2}" for row in range(31, 60)), f"{at(60)},90"]
    found = {
        word: run(tmp_path, lines, sensitivity=word)[0].abnormal
        for word in (Sensitivity.LOW, Sensitivity.NORMAL, Sensitivity.HIGH)
    }
    assert found == {Sensitivity.LOW: 1, Sensitivity.NORMAL: 1, Sensitivity.HIGH: 2}
    with pytest.raises(BadFile, match="low, normal or high"):
        run(tmp_path, lines, sensitivity=Sensitivity.OFF)


def test_abnormal_rows_close_together_are_one_alarm(tmp_path: Path) -> None:
    found, _ = run(tmp_path, golden(100, odd=(20, 31, 60)))
    assert (found.abnormal, found.alarms) == (3, 2)


def test_the_summary_says_alarms_a_week_and_the_cost(tmp_path: Path) -> None:
    found, _ = run(tmp_path, golden(2 * 2016 + 1, odd=(100, 2000, 4000)))
    lines = found.lines()
    assert lines[0] == "4,033 rows of value over 14.0 days, 0 values missing"
    assert lines[1].startswith(
        "3 alarms, 1.50 a week, of 3 abnormal rows (sensitivity normal: from a score of 3.7)"
    )
    assert lines[2].endswith(" µs per sample")
    assert lines[3:] == (f"wrote {tmp_path / 'out.csv'}",)


def test_a_single_row_has_no_alarms_a_week(tmp_path: Path) -> None:
    found, rows = run(tmp_path, golden(1))
    assert (found.rows, found.alarms_a_week, len(rows)) == (1, None, 2)
    assert "spans no time" in found.lines()[1]


def test_the_picture_is_drawn_on_request(tmp_path: Path) -> None:
    found, _ = run(tmp_path, golden(200), plot=tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (1600, 800)
    assert found.lines()[-1] == f"wrote {tmp_path / 'out.png'}"


def test_the_bar_is_on_stderr_and_only_where_somebody_watches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, golden())
    assert capsys.readouterr() == ("", "")
    run(tmp_path, golden(), progress=True)
    said = capsys.readouterr()
    assert said.out == ""


# Bad files.


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (b"", None, "it is empty"),
        (b"\xef\xbb\xbf\r\n \r\n", None, "it is empty"),
        ("timestamp,value\n", None, "no rows"),
        (golden()[1:], 1, "no header, only 2026-06-01 00:00:00, 20"),
        (["1780272000,5", "1780272060,6"], 1, "no header"),
        (["time,value", f"{at(0)},5"], 1, "no column timestamp, only time, value"),
        (["timestamp", at(0)], 1, "no column besides timestamp"),
        (["timestamp,value,value", f"{at(0)},5,6"], 1, "value is there twice"),
        (["timestamp,value,Timestamp", f"{at(0)},5,6"], 1, "timestamp is there twice"),
        (["timestamp,value,", f"{at(0)},5,6"], 1, "no name"),
        (["timestamp,value,score", f"{at(0)},5,6"], 1, "has a column score already"),
        ([*golden(3), f"{at(3)},many"], 5, "many in value is no number"),
        ([*golden(3), f"{at(3)},1_000"], 5, "1_000 in value is no number"),
        ([*golden(3), f"{at(3)},0x10"], 5, "0x10 in value is no number"),
        (["timestamp;value", f"{at(0)};1,5"], 2, "comma. Write decimals with a point"),
        ([*golden(3), f"{at(3)},inf"], 5, "inf in value cannot be judged"),
        ([*golden(3), f"{at(3)},-Infinity"], 5, "-Infinity in value cannot be judged"),
        ([*golden(3), f"{at(3)},1e999"], 5, "larger than any number"),
        ([*golden(3), "yesterday,5"], 5, "yesterday is no time"),
        ([*golden(3), ",5"], 5, "an empty cell is no time"),
        ([*golden(3), "2026-13-01 00:00:00,5"], 5, "is no time"),
        ([*golden(3), f"{(START + 3600) * 1000},5"], 5, "Divide it by 1000"),
        ([*golden(3), f"{at(1)},5"], 5, f"{at(1)} is earlier than the row before it"),
        ([*golden(3), at(3)], 5, "1 cell where the header has 2"),
        ([*golden(3), f"{at(3)},5,6"], 5, "3 cells where the header has 2"),
        ([*golden(3), f'{at(3)},"5'], 5, "quotation mark"),
        ([*golden(3), "", "", f"{at(3)},x"], 7, "x in value is no number"),
        ("timestamp,value\n".encode("utf-16"), 1, "UTF-16"),
        (b"timestamp,value\n2026-06-01,5\n2026-06-02,\xff\n", 3, "not UTF-8"),
    ],
)
def test_a_bad_file_is_told_with_its_line_and_the_way_out_and_leaves_nothing(
    tmp_path: Path, text: str | bytes | list[str], line: int | None, told: str
) -> None:
    path = put(tmp_path, text)
    with pytest.raises(BadFile) as bad:
        anomalies(path, tmp_path / "out.csv", tmp_path / "out.png", scorer=against_the_past)
    message = str(bad.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert told in message
    assert message.count(". ") + message.endswith(".") >= 2 or "Is a quotation mark" in message
    assert os.listdir(tmp_path) == ["in.csv"]  # noqa: PTH208


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        anomalies(tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(BadFile, match="cannot be read"):
        anomalies(tmp_path, tmp_path / "out.csv")


def test_the_output_never_takes_the_place_of_the_input(tmp_path: Path) -> None:
    path = put(tmp_path, golden())
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    for out in (path, link, tmp_path / "." / "in.csv"):
        with pytest.raises(BadFile, match="names the file that is read"):
            anomalies(path, out, scorer=against_the_past)
        with pytest.raises(BadFile, match="--plot names the file that is read"):
            anomalies(path, tmp_path / "out.csv", out, scorer=against_the_past)
    with pytest.raises(BadFile, match="--plot names the file of --out"):
        anomalies(path, tmp_path / "new", tmp_path / "new", scorer=against_the_past)
    assert path.read_text().splitlines() == golden()


def test_an_output_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    def never(times: np.ndarray, values: np.ndarray) -> Past:
        raise AssertionError("asked although nothing can be written")

    path = put(tmp_path, golden())
    with pytest.raises(BadFile, match="cannot be written: No such file or directory"):
        anomalies(path, tmp_path / "no" / "out.csv", scorer=never)
    with pytest.raises(BadFile, match="cannot be written: Not a directory"):
        anomalies(path, path / "out.csv", scorer=never)
    with pytest.raises(BadFile, match="is no file"):
        anomalies(path, tmp_path, scorer=never)
    with pytest.raises(BadFile, match="cannot be written"):
        anomalies(path, tmp_path / "out.csv", tmp_path / "no" / "out.png", scorer=never)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.csv"]


def test_what_stood_in_the_output_stays_when_the_work_fails(tmp_path: Path) -> None:
    def broken(times: np.ndarray, values: np.ndarray) -> Past:
        raise ArithmeticError("no")

    path, out = put(tmp_path, golden()), put(tmp_path, "before", "out.csv")
    with pytest.raises(ArithmeticError):
        anomalies(path, out, scorer=broken)
    assert out.read_text() == "before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_the_output_replaces_what_stood_there_and_can_be_read_like_any_file(tmp_path: Path) -> None:
    target = put(tmp_path, "before", "real.csv")
    out = tmp_path / "out.csv"
    out.symlink_to(target)
    _, rows = run(tmp_path, golden())
    assert out.is_symlink()
    assert len(rows) == 41
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


# The real detector.


def wave(rows: int, step: int = 300) -> list[str]:
    """Two metrics with a day in them, holes, and something odd near the end."""
    chance = np.random.default_rng(4)
    lines = ["timestamp,p95,requests"]
    for row in range(rows):
        day = math.sin(row * step / 86400 * 2 * math.pi)
        odd = 3 if row >= rows - 40 else 1
        p95 = (
            "" if row % 97 == 5 else f"{(0.3 + 0.1 * day) * (1 + 0.05 * chance.standard_normal()) * odd:.4f}"
        )
        lines.append(f"{at(row, step)},{p95},{1000 + 400 * day + 20 * chance.standard_normal():.1f}")
    return lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("whole")
    anomalies(put(folder, wave(2400)), folder / "out.csv")
    return list(csv.reader((folder / "out.csv").read_text().splitlines()))


@pytest.mark.parametrize("rows", [1, 2, 17, 288, 1000, 1999, 2361, 2399])
def test_the_scores_of_a_file_cut_at_any_row_are_those_of_the_whole_file(
    tmp_path: Path, whole: list[list[str]], rows: int
) -> None:
    anomalies(put(tmp_path, wave(2400)[: rows + 1]), tmp_path / "out.csv")
    cut = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert cut == whole[: rows + 1]


def test_the_detector_finds_what_is_odd(whole: list[list[str]]) -> None:
    assert any(row[4] == "1" for row in whole[-40:])
    assert sum(row[4] == "1" for row in whole[1:-40]) <= 5
    assert all(row[5] for row in whole[1:] if row[4] == "1")
