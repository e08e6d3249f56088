"""Pictures of series for a Slack thread: an anomaly against what was expected, and growth against a limit.

Matplotlib is loaded by the first picture, which takes a moment: call these in a thread.
"""

import io
import math
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from itertools import pairwise
from typing import Any, cast
from zoneinfo import ZoneInfo

from domain.units import Unit
from notify.texts import amounts

WIDTH, HEIGHT, DENSITY = 8.0, 4.0, 200
"""Inches, and pixels an inch: 1600 x 800, so that letters of 13 points can be read on a phone."""

COLORS = 64

COLUMNS = 800
"""Above twice as many samples only the smallest and the largest of each column are drawn."""

DENSE = 720
"""Samples from which lines are thin, and dots small."""

TITLE_CELLS = 58
"""How wide each of a title's two lines may be, a Japanese letter counting for two; the rest is cut."""

INK, BLUE, SKY, ORANGE, SHADE, GRID = "#24292f", "#0072b2", "#b5d7ee", "#d55e00", "#fbe3c6", "#d8dce0"
"""Okabe and Ito's colours, which people with any colour vision can tell apart; lightness differs too."""

JAPANESE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "Hiragino Sans",
    "Hiragino Kaku Gothic ProN",
    "Yu Gothic",
    "Meiryo",
    "TakaoPGothic",
    "VL PGothic",
    "Noto Serif CJK JP",
)
LATIN_FONT = "DejaVu Sans"
"""Comes with Matplotlib."""

WORDS = {
    "en": {
        "measured": "measured",
        "expected": "expected",
        "abnormal": "abnormal",
        "history": "measured",
        "forecast": "forecast",
        "interval": "likely range",
        "limit": "limit {amount}",
        "today": "today",
        "none": "no data",
        "canary": "new revision",
        "stable": "revision before",
    },
    "ja": {
        "measured": "実測",
        "expected": "通常の範囲",
        "abnormal": "異常",
        "history": "実測",
        "forecast": "予測",
        "interval": "予測の幅",
        "limit": "上限 {amount}",
        "today": "今日",
        "none": "データなし",
        "canary": "新リビジョン",
        "stable": "旧リビジョン",
    },
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class AnomalyPicture:
    """A series, what was expected of it, and where it was abnormal.

    All sequences are as long as ``times`` (epoch seconds, ascending); NaN is a gap. ``low`` and ``high``
    may be empty, as ``marked``. ``episode`` is shaded, to the end of the picture while it goes on (``None``).
    ``title`` is in the reader's language, ``english`` its English, for a machine without Japanese letters.
    ``unit`` is ``None`` for a bare number, ``zone`` an IANA name.
    """

    title: str
    english: str
    times: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    marked: Sequence[bool] = ()
    episode: tuple[float, float | None] | None = None
    unit: Unit | None = None
    zone: str = "UTC"
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class CapacityPicture:
    """What was, what is forecast with its interval, and the limit that it may reach.

    ``times`` and ``values`` are the history, ``ahead`` the times of ``expected``, ``low`` and ``high``; all
    times are epoch seconds, ascending. ``limit`` is in ``unit``, as everything is.
    """

    title: str
    english: str
    times: Sequence[float]
    values: Sequence[float]
    ahead: Sequence[float]
    expected: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    today: float
    limit: float | None = None
    unit: Unit | None = None
    zone: str = "UTC"
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class RolloutPicture:
    """The failed share of both revisions' requests, minute by minute, and what is too much.

    ``canary`` and ``stable`` are as long as ``times`` (epoch seconds, ascending), NaN where there were no
    requests. All are in ``unit``.
    """

    title: str
    english: str
    times: Sequence[float]
    canary: Sequence[float]
    stable: Sequence[float]
    limit: float
    unit: Unit | None = Unit.SHARE
    zone: str = "UTC"
    locale: str = "en"


@dataclass(frozen=True, slots=True)
class Fonts:
    """The fonts of a machine: ``japanese`` is a family with Japanese letters, ``None`` without one."""

    japanese: str | None

    def families(self, locale: str) -> tuple[str, ...]:
        """Fonts in the order in which they are asked for a letter."""
        if self.japanese is None:
            return (LATIN_FONT,)
        return (self.japanese, LATIN_FONT) if locale == "ja" else (LATIN_FONT, self.japanese)


@cache
def installed() -> Fonts:
    """What this machine has. Found once: a font that is installed later counts after a restart."""
    from matplotlib.font_manager import fontManager

    here = {font.name for font in fontManager.ttflist}
    return Fonts(next((name for name in JAPANESE_FONTS if name in here), None))


def anomaly_picture(picture: AnomalyPicture, fonts: Fonts | None = None) -> bytes:
    """A PNG of 1600 x 800 pixels. In English where ``fonts`` (the installed ones) has no Japanese."""
    import numpy as np

    canvas = _Canvas(picture, fonts or installed())
    times = np.asarray(picture.times, dtype=float)
    values = np.asarray(picture.values, dtype=float)
    marked = np.asarray(picture.marked, dtype=bool) if len(picture.marked) else np.zeros(len(times), bool)
    low, high = (
        np.asarray(one, dtype=float) if len(one) else np.full(len(times), math.nan)
        for one in (picture.low, picture.high)
    )
    if picture.episode is not None and len(times):
        canvas.shade(picture.episode[0], picture.episode[1], times)
    if np.isfinite(low).any():
        canvas.band(times, low, high, "expected")
    canvas.line(times, values, "measured", BLUE)
    canvas.dots(times, values, marked & np.isfinite(values), "abnormal")
    canvas.reach(times, (), (values, low, high))
    return canvas.png()


def capacity_picture(picture: CapacityPicture, fonts: Fonts | None = None) -> bytes:
    """A PNG of 1600 x 800 pixels. In English where ``fonts`` (the installed ones) has no Japanese."""
    import numpy as np

    canvas = _Canvas(picture, fonts or installed())
    times, values, ahead, expected, low, high = (
        np.asarray(one, dtype=float)
        for one in (picture.times, picture.values, picture.ahead, picture.expected, picture.low, picture.high)
    )
    canvas.line(times, values, "history", INK)
    canvas.band(ahead, low, high, "interval")
    canvas.line(ahead, expected, "forecast", BLUE, style=(0, (4, 1.5)))
    around = np.concatenate([times, ahead])
    limits = () if picture.limit is None else (picture.limit,)
    canvas.reach(around, limits, (values, expected, low, high))
    canvas.today(picture.today)
    if picture.limit is not None:
        canvas.limit(picture.limit)
    return canvas.png()


def rollout_picture(picture: RolloutPicture, fonts: Fonts | None = None) -> bytes:
    """A PNG of 1600 x 800 pixels. In English where ``fonts`` (the installed ones) has no Japanese."""
    import numpy as np

    canvas = _Canvas(picture, fonts or installed())
    times, canary, stable = (
        np.asarray(one, dtype=float) for one in (picture.times, picture.canary, picture.stable)
    )
    canvas.line(times, stable, "stable", BLUE)
    canvas.line(times, canary, "canary", INK, style=(0, (4, 1.5)))
    canvas.reach(times, (picture.limit,), (canary, stable))
    canvas.limit(picture.limit)
    return canvas.png()


class _Canvas:
    """One figure with our axes, fonts and words; drawn by Agg, without pyplot and its global state."""

    def __init__(self, picture: AnomalyPicture | CapacityPicture | RolloutPicture, fonts: Fonts) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        readable = picture.locale != "ja" or fonts.japanese is not None
        self.fonts = fonts
        self.locale = "ja" if picture.locale == "ja" and readable else "en"
        self.words = WORDS[self.locale]
        self.zone: tzinfo = ZoneInfo(picture.zone)
        self.unit = picture.unit
        self.figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DENSITY, facecolor="white")
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0.085, 0.13, 0.88, 0.64))
        title = drawable(picture.title if readable else picture.english, letters(fonts))
        self.figure.text(
            0.02,
            0.975,
            "\n".join(titled(title)),
            va="top",
            color=INK,
            linespacing=1.15,
            parse_math=False,
            fontproperties=self._font(14.5, "bold"),
        )
        self.seen = False

    def _font(self, size: float, weight: str = "normal") -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=list(self.fonts.families(self.locale)), size=size, weight=weight)

    def line(self, times: Any, values: Any, word: str, color: str, style: Any = "solid") -> None:
        """A line that is broken where something is missing; a sample that stands alone is a dot."""
        import numpy as np

        times, values = _with_gaps(*_thinned(times, values))
        known = np.isfinite(values)
        if not known.any():
            return
        self.seen = True
        alone = known & ~np.roll(np.append(known, False), 1)[:-1] & ~np.append(known, False)[1:]
        self.axes.plot(
            times / 86400,
            values,
            color=color,
            linewidth=1.8,
            linestyle=style,
            label=self.words[word],
            zorder=4,
        )
        self.axes.plot(
            times[alone] / 86400, values[alone], linestyle="none", marker="o", color=color, markersize=3
        )

    def band(self, times: Any, low: Any, high: Any, word: str) -> None:
        """A range, with gaps where there is none."""
        import numpy as np

        lows, highs = _thinned(times, low), _thinned(times, high)
        self.axes.fill_between(
            lows[0] / 86400,
            lows[1],
            np.interp(lows[0], *highs) if len(lows[0]) != len(highs[0]) else highs[1],
            color=SKY,
            linewidth=0,
            label=self.words[word],
            zorder=2,
        )

    def dots(self, times: Any, values: Any, marked: Any, word: str) -> None:
        """The samples that stand out, by shape as well as by colour."""
        if marked.any():
            few = len(times) < DENSE or marked.sum() < 12
            self.axes.plot(
                *_thinned(times[marked] / 86400, values[marked]),
                linestyle="none",
                marker="o",
                markersize=6 if few else 3.5,
                markerfacecolor=ORANGE,
                markeredgecolor="white",
                markeredgewidth=0.7 if few else 0.0,
                label=self.words[word],
                zorder=5,
            )

    def shade(self, start: float, end: float | None, times: Any) -> None:
        """The episode, over the whole height; wide enough to be seen, and to the edge while it goes on."""
        length = float(times[-1] - times[0])
        until = float(times[-1]) + length if end is None else end
        wide = max(until - start, length / 200)
        self.axes.axvspan(start / 86400, (start + wide) / 86400, color=SHADE, linewidth=0, zorder=1)

    def limit(self, value: float) -> None:
        """A line across, named at its left end."""
        amount = amounts.amount(value, self.unit or Unit.COUNT, self.locale)
        self.axes.axhline(value, color=ORANGE, linewidth=1.8, zorder=3)
        self._note(
            self.words["limit"].format(amount=amount), (0.012, value), ORANGE, "axes fraction", "data", 5
        )

    def today(self, at: float) -> None:
        """A line down, named at its lower end."""
        self.axes.axvline(at / 86400, color=INK, linewidth=1.2, linestyle=":", zorder=3)
        self._note(self.words["today"], (at / 86400, 0.0), INK, "data", "axes fraction", 5)

    def _note(
        self, text: str, at: tuple[float, float], color: str, across: str, up: str, above: float
    ) -> None:
        self.axes.annotate(
            text,
            at,
            xytext=(4, above),
            xycoords=(across, up),
            textcoords="offset points",
            va="bottom",
            color=color,
            fontproperties=self._font(12),
            parse_math=False,
            zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
        )

    def reach(self, times: Any, lines: Sequence[float], paths: Iterable[Any]) -> None:
        """Axes that hold everything; from zero where the values come near it."""
        import numpy as np

        if len(times):
            first, last = float(times[0]), float(times[-1])
            margin = max((last - first) * 0.015, 1.0)
            self.axes.set_xlim((first - margin) / 86400, (last + margin) / 86400)
        found = [*paths]
        seen = np.concatenate([found[0][np.isfinite(found[0])], np.asarray(lines, dtype=float)])
        shown = np.concatenate([one[np.isfinite(one)] for one in found] + [np.asarray(lines, dtype=float)])
        if not len(shown):
            return
        low, high = float(shown.min()), float(shown.max())
        if len(seen):  # A band of no use, wide beyond reason, must not flatten the series.
            size = max(float(seen.max() - seen.min()), abs(float(seen.max())) * 0.2)
            low, high = max(low, float(seen.min()) - 2 * size), min(high, float(seen.max()) + 2 * size)
        room = (high - low) * 0.08 or abs(high) * 0.2 or 1.0
        near_zero = low >= 0 and low < 0.5 * high
        self.axes.set_ylim(0 if near_zero or (low >= 0 and high == 0) else low - room, high + room)

    def png(self) -> bytes:
        """Everything, drawn; in few colours, which makes it a third of the size and costs nothing visible."""
        import numpy as np
        from PIL import Image  # Comes with Matplotlib.

        self._ticks()
        handles, labels = self.axes.get_legend_handles_labels()
        if handles:
            self.axes.legend(
                handles,
                labels,
                loc="lower left",
                bbox_to_anchor=(0.1, 1.0),
                ncols=3,
                frameon=False,
                prop=self._font(12),
                labelcolor=INK,
                handlelength=1.4,
                columnspacing=1.4,
                borderaxespad=0.2,
            )
        if not self.seen:
            self.axes.text(
                0.5,
                0.5,
                self.words["none"],
                transform=self.axes.transAxes,
                ha="center",
                va="center",
                color=INK,
                fontproperties=self._font(18),
            )
        self.canvas.draw()
        whole = Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")
        made = io.BytesIO()
        few = whole.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(made, format="png")
        self.figure.clear()
        return made.getvalue()

    def _ticks(self) -> None:
        from matplotlib import dates as untyped
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes, dates = self.axes, cast("Any", untyped)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelcolor=INK, pad=5)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        factor, suffix = _scale(self.unit, max(abs(end) for end in axes.get_ylim()))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * factor:,.6g}"))
        if not self.seen:
            axes.set_yticks([])
            axes.set_xticks([])
            return
        self.figure.text(0.02, 0.79, suffix, va="bottom", color=INK, fontproperties=self._font(12))
        axes.xaxis.set_major_locator(dates.AutoDateLocator(tz=self.zone, minticks=3, maxticks=8))
        shown = [dates.num2date(place, tz=self.zone) for place in axes.get_xticks()]
        begin, end = axes.get_xlim()
        inside = [at for at in shown if begin <= at.timestamp() / 86400 <= end]
        axes.set_xticks([at.timestamp() / 86400 for at in inside])
        axes.set_xticklabels(list(_names(inside, self.locale)))
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            label.set_fontproperties(self._font(12))
        zone = datetime.fromtimestamp(end * 86400, self.zone).tzname() or ""
        if self.zone is not UTC and zone:
            self.figure.text(
                0.965, 0.79, zone, ha="right", va="bottom", color=INK, fontproperties=self._font(12)
            )


def _names(ticks: Sequence[datetime], locale: str) -> Iterable[str]:
    """Hours by the clock, midnight as its date; the first, and a new year, say what the others leave out."""
    for place, at in enumerate(ticks):
        day = f"{at.month}月{at.day}日" if locale == "ja" else f"{MONTHS[at.month - 1]} {at.day}"
        hours = any(one.hour or one.minute for one in ticks)
        name = f"{at:%H:%M}" if at.hour or at.minute else day
        if place == 0 and hours and name != day:
            name = f"{name}\n{day}"
        if (place == 0 and not hours) or (place and at.year != ticks[place - 1].year):
            name = f"{day}\n{at.year}" + ("年" if locale == "ja" else "")
        yield name


def _scale(unit: Unit | None, largest: float) -> tuple[float, str]:
    """What to multiply values with, and the unit to write on the axis."""
    match unit:
        case None | Unit.COUNT:
            return 1.0, ""
        case Unit.SECONDS:
            return (1000.0, "ms") if largest < 2 else (1.0, "s") if largest < 7200 else (1 / 3600, "h")
        case Unit.SHARE:
            return 100.0, "%"
        case Unit.PER_SECOND:
            return 1.0, "/s"
        case Unit.PER_MINUTE:
            return 1.0, "/min"
        case Unit.BYTES:
            power = min(int(math.log(largest, 1024)), len(amounts.BINARY) - 1) if largest >= 1 else 0
            return 1024.0**-power, amounts.BINARY[power]


def _thinned(times: Any, values: Any) -> tuple[Any, Any]:
    """The smallest and the largest sample of each column, in their order, where there are too many."""
    import numpy as np

    if len(times) <= 2 * COLUMNS:
        return times, values
    edges = np.linspace(0, len(times), COLUMNS + 1).astype(int)
    kept: list[int] = []
    for start, end in pairwise(edges):
        part = values[start:end]
        if np.isfinite(part).any():
            kept += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
        else:
            kept.append(int(start))
    return times[kept], values[kept]


def _with_gaps(times: Any, values: Any) -> tuple[Any, Any]:
    """NaN between samples that lie further apart than three usual steps."""
    import numpy as np

    if len(times) < 3:
        return times, values
    steps = np.diff(times)
    after = np.flatnonzero(steps > 3 * np.median(steps))
    return np.insert(times, after + 1, times[after] + 1), np.insert(values, after + 1, math.nan)


def drawable(text: str, known: Container[str]) -> str:
    """A title on one line, without letters that no font here has: those become ``?``, and never boxes."""
    flat = " ".join(text.split())
    return "".join(letter if letter in known else "?" for letter in flat if letter.isprintable())


@cache
def letters(fonts: Fonts) -> frozenset[str]:
    """All letters that titles can be written in."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = [findfont(FontProperties(family=family, weight="bold")) for family in fonts.families("en")]
    return frozenset(chr(code) for path in paths for code in get_font(path).get_charmap())


def titled(text: str) -> list[str]:
    """The lines of a title, of about one length; they break at blanks where there are some."""
    if _cells(text) <= TITLE_CELLS:
        return [text]
    ends = [place for place in range(1, len(text)) if _cells(text[:place]) <= TITLE_CELLS]
    good = [end for end in ends if _cells(text[end:].strip()) <= TITLE_CELLS]
    blanks = [end for end in good if text[end] == " "]
    if not good:
        end = max((end for end in ends if text[end] == " "), default=0)
        end = end if end > ends[-1] // 2 else ends[-1]
        rest = text[end:].strip()
        while _cells(rest) >= TITLE_CELLS:
            rest = rest[:-1]
        return [text[:end].strip(), rest.rstrip() + "…"]
    end = min(blanks or good, key=lambda end: abs(_cells(text[:end]) - _cells(text[end:])))
    return [text[:end].strip(), text[end:].strip()]


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
