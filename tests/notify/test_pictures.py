"""Pictures and sparklines: what they show, in which letters, and how large they are."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from domain.units import Unit
from notify.pictures import (
    BLUE,
    INK,
    ORANGE,
    SHADE,
    SKY,
    TITLE_CELLS,
    AnomalyPicture,
    CapacityPicture,
    Fonts,
    anomaly_picture,
    capacity_picture,
    drawable,
    installed,
    letters,
    titled,
)
from notify.sparkline import sparkline

END = 1_795_392_000  # 2026-11-23 00:00 UTC.
DAY = 86400
LATIN = Fonts(japanese=None)


def anomaly(samples: int = 360, step: int = 60, **changes: object) -> AnomalyPicture:
    """A response time that leaves its band in its last tenth."""
    times = END - (samples - 1 - np.arange(samples)) * float(step)
    usual = 0.3 + 0.1 * np.sin(times / DAY * 2 * np.pi)
    values = usual * (1 + 0.02 * np.sin(np.arange(samples) * 2.4))
    late = int(samples * 0.9)
    values[late:] *= np.linspace(1.2, 2.2, samples - late)
    made = AnomalyPicture(
        title="bondpoint-api: 応答時間 p95 980 ms",
        english="bondpoint-api: response time p95 980 ms",
        times=times.tolist(),
        values=values.tolist(),
        low=(usual * 0.9).tolist(),
        high=(usual * 1.1).tolist(),
        marked=(np.arange(samples) >= late).tolist(),
        episode=(float(times[late]), None) if samples else None,
        unit=Unit.SECONDS,
        zone="Asia/Tokyo",
        locale="ja",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def capacity(**changes: object) -> CapacityPicture:
    """Connections on their way to a limit."""
    past, ahead = np.arange(-90, 0), np.arange(0, 91)
    made = CapacityPicture(
        title="bondpoint-db: 接続数",
        english="bondpoint-db: connections",
        times=(END + past * DAY).tolist(),
        values=(300.0 + past).tolist(),
        ahead=(END + ahead * DAY).tolist(),
        expected=(300.0 + ahead).tolist(),
        low=(295.0 + 0.8 * ahead).tolist(),
        high=(305.0 + 1.2 * ahead).tolist(),
        today=END,
        limit=380,
        unit=Unit.COUNT,
        zone="Asia/Tokyo",
        locale="ja",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def near(png: bytes, color: str, within: int = 24) -> np.ndarray:
    """Where a colour is: a mask of rows and columns below the legend, to the right of the axis."""
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    found = np.abs(pixels(png) - wanted).max(axis=2) <= within
    found[:200] = False
    found[:, :140] = False
    return found


@pytest.mark.parametrize("locale", ["en", "ja"])
@pytest.mark.parametrize("samples", [360, 2880, 35 * 1440])
def test_an_anomalys_picture_is_small_enough_for_a_thread(samples: int, locale: str) -> None:
    png = anomaly_picture(anomaly(samples, locale=locale))
    assert pixels(png).shape == (800, 1600, 3)
    assert len(png) < 200_000


def test_an_anomalys_picture_shows_the_series_its_band_the_marked_samples_and_the_episode() -> None:
    png = anomaly_picture(anomaly())
    for color in (BLUE, SKY, ORANGE, SHADE):
        assert near(png, color).sum() > 300, color
    columns = np.flatnonzero(near(png, ORANGE).any(axis=0))
    assert columns.min() > 1300
    assert np.flatnonzero(near(png, SHADE, 8).any(axis=0)).min() > 1300


def test_what_is_left_out_is_not_drawn() -> None:
    full = anomaly_picture(anomaly())
    png = anomaly_picture(anomaly(low=(), high=(), marked=(), episode=None))
    for color in (SKY, ORANGE, SHADE):  # The line's soft edges have a few such pixels.
        assert near(png, color, 8).sum() < 0.02 * near(full, color, 8).sum(), color
    assert near(png, BLUE).any()


def test_an_episode_that_has_ended_is_shaded_to_its_end() -> None:
    times = anomaly().times
    shaded = near(anomaly_picture(anomaly(episode=(times[100], times[150]))), SHADE, 8).sum(axis=0)
    ended = np.flatnonzero(shaded > 200)
    assert 140 + 1408 * 90 / 360 < ended.min() < ended.max() < 140 + 1408 * 160 / 360


@pytest.mark.parametrize("how", ["nan", "absent"])
def test_a_gap_is_a_gap_and_no_line_across_it(how: str) -> None:
    whole = anomaly(low=(), high=(), marked=(), episode=None)
    if how == "nan":
        values = [math.nan if 100 <= place < 200 else value for place, value in enumerate(whole.values)]
        holed = replace(whole, values=values)
    else:
        kept = [place for place in range(360) if not 100 <= place < 200]
        holed = replace(whole, times=[whole.times[p] for p in kept], values=[whole.values[p] for p in kept])
    blue = near(anomaly_picture(holed), BLUE).any(axis=0)
    inside = slice(140 + int(1408 * 0.31), 140 + int(1408 * 0.53))
    assert not blue[inside].any()
    assert near(anomaly_picture(whole), BLUE).any(axis=0)[inside].all()


def test_a_sample_that_stands_alone_is_seen() -> None:
    values = [math.nan] * 360
    values[180] = 0.3
    assert near(anomaly_picture(anomaly(values=values, low=(), high=(), marked=(), episode=None)), BLUE).any()


@pytest.mark.parametrize(
    "values", [[math.nan] * 360, [0.0] * 360, [5.0] * 360, [-3.0] * 360, [1e12] * 360, [1e-9] * 360]
)
@pytest.mark.parametrize("unit", [None, *Unit])
def test_series_that_do_not_move_or_do_not_exist_have_a_picture_too(
    values: list[float], unit: Unit | None
) -> None:
    plain = anomaly(values=values, unit=unit, low=(), high=(), marked=(), episode=None)
    assert pixels(anomaly_picture(plain)).shape == (800, 1600, 3)


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_hardly_any_samples_have_a_picture_too(samples: int) -> None:
    assert pixels(anomaly_picture(anomaly(samples))).shape == (800, 1600, 3)


def test_a_band_of_no_use_does_not_flatten_the_series() -> None:
    wide = anomaly(high=[1e6] * 360, marked=(), episode=None)
    rows = np.flatnonzero(near(anomaly_picture(wide), BLUE).any(axis=1))
    assert rows.max() - rows.min() > 100


def test_a_capacity_picture_shows_history_forecast_interval_limit_and_today() -> None:
    png = capacity_picture(capacity())
    assert len(png) < 200_000
    ink, blue, sky, orange = (near(png, color) for color in (INK, BLUE, SKY, ORANGE))
    middle = 140 + 1408 // 2
    assert np.flatnonzero(blue.any(axis=0)).min() > middle - 30
    assert np.flatnonzero(sky.any(axis=0)).min() > middle - 30
    assert orange.sum(axis=1).max() > 1300
    assert ink[:, middle - 40 : middle + 40].sum(axis=0).max() > 100
    assert not near(capacity_picture(capacity(limit=None)), ORANGE).any()


def test_a_limit_far_above_is_still_in_the_picture() -> None:
    assert near(capacity_picture(capacity(limit=4000)), ORANGE).sum(axis=1).max() > 1300


# Letters.


def test_without_japanese_letters_the_picture_is_the_english_one() -> None:
    for made, draw in ((anomaly(), anomaly_picture), (capacity(), capacity_picture)):
        english = replace(made, locale="en", title=made.english)
        assert draw(made, LATIN) == draw(english, LATIN)  # type: ignore[operator]


def test_with_japanese_letters_the_picture_is_japanese() -> None:
    if installed().japanese is None:
        pytest.skip("no font with Japanese letters is installed: apt install fonts-noto-cjk")
    assert anomaly_picture(anomaly()) != anomaly_picture(anomaly(locale="en"))
    assert drawable("応答時間 p95", letters(installed())) == "応答時間 p95"


def test_a_letter_that_no_font_has_is_never_a_box() -> None:
    assert drawable("応答 p95\n980\tms\0 \U000e0041é", letters(LATIN)) == "?? p95 980 ms é"
    title = "応答 \U0010fffd " + "x" * 200
    assert anomaly_picture(anomaly(title=title, english=title, locale="en"), LATIN)


def test_text_from_outside_is_no_formula() -> None:
    assert anomaly_picture(anomaly(title="costs $x^2 and \\frac{", english="$\\nonsense{$", locale="en"))


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("short", ["short"]),
        ("", [""]),
        (
            "bondpoint-api: response time p95 980 ms, expected 410-520 ms",
            ["bondpoint-api: response time", "p95 980 ms, expected 410-520 ms"],
        ),
        ("応答時間" * 10, ["応答時間" * 5, "応答時間" * 5]),
    ],
)
def test_a_long_title_has_two_lines_of_about_one_length(title: str, lines: list[str]) -> None:
    assert titled(title) == lines


@pytest.mark.parametrize("title", ["word " * 100, "w" * 500, "応答" * 100])
def test_a_title_that_is_too_long_ends_in_an_ellipsis(title: str) -> None:
    lines = titled(title)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(len(line) <= TITLE_CELLS for line in lines)


# Sparklines.


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([1, None, math.nan, 8], "▁  █"),
        ([math.inf, 1, 2], " ▁█"),
        ([None, None], "  "),
        ([5, 5, 5], "▄▄▄"),
    ],
)
def test_a_sparkline_is_blocks_with_spaces_for_what_is_missing(values: list[float | None], line: str) -> None:
    assert sparkline(values) == line


def test_a_sparkline_keeps_its_peaks_when_it_is_made_shorter() -> None:
    values = [0.0] * 240
    values[101] = 9.0
    line = sparkline(values, width=24)
    assert len(line) == 24
    assert line.index("█") == 10


def test_a_sparkline_from_a_floor_does_not_make_a_ripple_a_wave() -> None:
    assert sparkline([99, 100, 99], floor=0) == "███"
    assert sparkline([0, 0], floor=0) == "▁▁"
    assert sparkline([7, 7], floor=0) == "██"
