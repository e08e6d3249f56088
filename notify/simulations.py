"""The picture of a simulation: how pretend rollouts ended, for every way to judge them, rate and traffic.

Matplotlib is loaded by the first picture, which takes a moment.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notify.pictures import BLUE, GRID, INK, LATIN_FONT, ORANGE

WIDTH, HEIGHT, DENSITY = 11.0, 7.0, 150
"""Inches, and pixels an inch: 1650 x 1050."""

UNDECIDED = "#b8bec5"


@dataclass(frozen=True, slots=True)
class SimulationPicture:
    """``shares`` 0..1 of rollouts: promoted, rolled back and asked, by way, case and traffic.

    ``ways`` are the rows and ``cases`` the columns, both as they are to be named, ``traffic`` requests a
    minute; the keys of ``shares`` are places in these three.
    """

    title: str
    ways: Sequence[str]
    cases: Sequence[str]
    traffic: Sequence[float]
    shares: Mapping[tuple[int, int, int], tuple[float, float, float]]


def simulation_picture(picture: SimulationPicture) -> bytes:
    """A PNG of 1650 x 1050 pixels: a bar of 100 % for each traffic, one small chart for each way and case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DENSITY, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    charts = figure.subplots(
        len(picture.ways),
        len(picture.cases),
        sharex=True,
        sharey=True,
        squeeze=False,
        gridspec_kw={"wspace": 0.08},
    )
    for row, way in enumerate(picture.ways):
        for column, case in enumerate(picture.cases):
            axes = charts[row][column]
            _bars(axes, picture, row, column)
            if row == 0:
                axes.set_title(case, fontsize=10.5, color=INK, family=LATIN_FONT)
            if column == 0:
                axes.set_ylabel(f"{way}\n% of rollouts", fontsize=10.5, color=INK, family=LATIN_FONT)
            if row == len(picture.ways) - 1:
                axes.set_xlabel("requests/min", fontsize=9.5, color=INK, family=LATIN_FONT)
    figure.text(
        0.02, 0.975, picture.title, va="top", fontsize=13, weight="bold", color=INK, family=LATIN_FONT
    )
    handles, labels = charts[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.012, 0.945),
        ncols=3,
        frameon=False,
        fontsize=10.5,
    )
    figure.subplots_adjust(left=0.09, right=0.985, top=0.825, bottom=0.075, hspace=0.12)
    made = io.BytesIO()
    canvas.print_png(made)
    figure.clear()
    return made.getvalue()


def _bars(axes: Any, picture: SimulationPicture, row: int, column: int) -> None:
    """One chart: what was promoted below, what was asked in the middle, what was taken back above."""
    places = range(len(picture.traffic))
    found = [picture.shares[row, column, place] for place in places]
    promoted, back, asked = ([100 * one[part] for one in found] for part in range(3))
    under = [one + other for one, other in zip(promoted, asked, strict=True)]
    axes.bar(places, promoted, color=BLUE, width=0.78, label="promoted")
    axes.bar(places, asked, bottom=promoted, color=UNDECIDED, width=0.78, label="asks a person")
    axes.bar(places, back, bottom=under, color=ORANGE, width=0.78, label="rolled back")
    axes.set_ylim(0, 100)
    axes.set_xticks(list(places), [f"{one:g}" for one in picture.traffic], fontsize=9)
    axes.set_yticks([0, 50, 100])
    axes.tick_params(length=0, labelcolor=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
