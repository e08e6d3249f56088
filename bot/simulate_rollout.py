"""What Toban would say about thousands of pretend canaries, so that a team can choose percent and bake."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from domain.simulation import CASES, Cell, Promise, Tally, Way, promises, simulate
from domain.verdict import Outcome, Rule

if TYPE_CHECKING:
    from rich.table import Table

TRAFFIC = (30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Requests a minute for the whole service."""

DELAYS = (120, 180)
"""Seconds until Cloud Run's metric shows a minute: as documented now, and as documented before."""

NAMES = {Way.TOBAN: "Toban", Way.NAIVE: "rate > {threshold:.2g} %", Way.MANN_WHITNEY: "Mann-Whitney"}
NOTED = 0.01
"""Wrong verdicts beyond this share are marked."""


class BadOption(Exception):
    """An option that cannot be used, and the way out."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was simulated and how it ended. ``seconds`` is what it took."""

    rollouts: int
    seed: int
    rule: Rule
    cells: tuple[tuple[Cell, dict[Way, Tally]], ...]
    seconds: float
    plot: Path | None

    @property
    def promises(self) -> list[Promise]:
        """Everything that was promised for these cells."""
        return [one for cell, found in self.cells for one in promises(cell, found[Way.TOBAN])]

    def table(self) -> "Table":
        """For a person at a terminal: percents of rollouts, wrong verdicts marked with ``!``."""
        from rich.table import Table
        from rich.text import Text

        names = {way: name.format(threshold=100 * self.rule.threshold) for way, name in NAMES.items()}
        cell = self.cells[0][0]
        table = Table(
            title=f"{_what(self.rollouts, cell)}, {self.rule.minimum} requests at least. In %; ! is wrong.",
            title_justify="left",
        )
        for name in ("req/\nmin", "delay\ns"):
            table.add_column(name, justify="right")
        table.add_column("canary\nfails")
        for way, name in names.items():
            for what in ("promoted", "back", "asks", "after") if way is Way.TOBAN else ("promoted", "back"):
                table.add_column(f"{name if what == 'promoted' else ''}\n{what}", justify="right")
        last: tuple[float, int] | None = None
        for cell, found in self.cells:
            place = (cell.traffic, cell.delay)
            if last not in {None, place}:
                table.add_section()
            shown: list[Text] = []
            for way, tally in found.items():
                right = cell.case.right
                shown.append(_share(tally.promoted, wrong=right is Outcome.ROLL_BACK))
                shown.append(_share(tally.rolled_back, wrong=right is Outcome.PROMOTE))
                if way is Way.TOBAN:
                    shown += [_share(tally.asked, wrong=False), Text(_clock(tally.seconds))]
            heads = ("", "") if place == last else (f"{cell.traffic:g}", str(cell.delay))
            table.add_row(*heads, cell.case.name, *shown)
            last = place
        return table

    def lines(self) -> tuple[str, ...]:
        """What the table comes to."""
        kept = self.promises
        broken = [
            f"missed: {one.what} {one.value:.2%}, {'at least' if one.at_least else 'at most'} {one.limit:.0%}"
            f" at {one.cell.traffic:g} requests/min, {one.cell.delay} s, {one.cell.case.name}"
            for one in kept
            if not one.is_kept
        ]
        worst = [
            f"{NAMES[way].format(threshold=100 * self.rule.threshold)}: {self._worst(way)}" for way in Way
        ]
        told = [f"{len(kept) - len(broken)} of {len(kept)} targets met"] if kept else []
        wrote = [] if self.plot is None else [f"wrote {self.plot}"]
        return (*worst, *told, *broken, f"seed {self.seed}, {self.seconds:.0f} s", *wrote)

    def _worst(self, way: Way) -> str:
        forward = max(found[way].false_promotions(cell.case) or 0.0 for cell, found in self.cells)
        back = max(found[way].false_rollbacks(cell.case) or 0.0 for cell, found in self.cells)
        return f"at worst {forward:.1%} false promotions and {back:.1%} false rollbacks"

    def as_json(self) -> dict[str, Any]:
        """For a machine. Shares are 0..1; ``right`` is what ought to be done, null where either is fair."""
        return {
            "rollouts": self.rollouts,
            "seed": self.seed,
            "rule": self.rule.model_dump(mode="json"),
            "cells": [
                {
                    "traffic": cell.traffic,
                    "delay": cell.delay,
                    "percent": cell.percent,
                    "bake_minutes": _minutes(cell),
                    "case": cell.case.model_dump(mode="json"),
                    "ways": {
                        way.value: tally.model_dump(mode="json")
                        | {
                            "false_promotions": tally.false_promotions(cell.case),
                            "false_rollbacks": tally.false_rollbacks(cell.case),
                        }
                        for way, tally in found.items()
                    },
                }
                for cell, found in self.cells
            ],
            "targets": [
                {
                    "traffic": one.cell.traffic,
                    "delay": one.cell.delay,
                    "case": one.cell.case.name,
                    "what": one.what,
                    "value": one.value,
                    "limit": one.limit,
                    "at_least": one.at_least,
                    "met": one.is_kept,
                }
                for one in self.promises
            ],
        }


def simulate_rollout(
    *,
    rollouts: int = 10_000,
    seed: int = 1,
    percent: int = 10,
    bake: int = 5,
    traffic: Sequence[float] = TRAFFIC,
    delays: Sequence[int] = DELAYS,
    minimum: int = Rule().minimum,
    plot: Path | None = None,
    progress: bool | None = None,
) -> Report:
    """Every case of the grid with each traffic (requests a minute) and delay (s); ``bake`` is in minutes.

    The same arguments give the same report. ``progress`` shows a bar on stderr; left out, where that is a
    terminal. Raises ``BadOption``; then nothing was written.
    """
    _check(rollouts, seed, percent, bake, traffic, delays, minimum, plot)
    rule = Rule(minimum=minimum)
    cells = [
        Cell(case=case, traffic=rate, delay=delay, percent=percent, bake=timedelta(minutes=bake))
        for delay in delays
        for rate in traffic
        for case in CASES
    ]
    began = perf_counter()
    found = []
    with _bar(progress, len(cells)) as tell:
        for cell in cells:
            found.append((cell, simulate(cell, rollouts=rollouts, seed=seed, rule=rule)))
            tell()
    report = Report(rollouts, seed, rule, tuple(found), perf_counter() - began, plot)
    if plot is not None:
        try:
            plot.write_bytes(_drawn(report))
        except OSError as error:
            raise BadOption(f"--plot {plot}: it cannot be written: {error.strerror}.") from None
    return report


def _check(
    rollouts: int,
    seed: int,
    percent: int,
    bake: int,
    traffic: Sequence[float],
    delays: Sequence[int],
    minimum: int,
    plot: Path | None,
) -> None:
    wrong = (
        (not 1 <= rollouts <= 1_000_000, f"--rollouts {rollouts}: choose 1 to 1,000,000"),
        (seed < 0, f"--seed {seed}: choose 0 or more"),
        (not 1 <= percent <= 99, f"--percent {percent}: choose 1 to 99"),
        (not 1 <= bake <= 60, f"--bake {bake}: choose 1 to 60 minutes"),
        (not traffic or not delays, "--traffic: name at least one rate"),
        (
            not all(0 < rate <= 1_000_000 for rate in traffic),
            "--traffic: choose rates up to 1,000,000 a minute",
        ),
        (not all(0 <= delay <= 3600 for delay in delays), "the delay: choose 0 to 3600 seconds"),
        (minimum < 1, f"--minimum {minimum}: choose 1 or more"),
        (plot is not None and plot.is_dir(), f"--plot {plot}: that is a folder. Name a file in it."),
        (plot is not None and not plot.parent.is_dir(), f"--plot {plot}: there is no such folder."),
    )
    for is_wrong, problem in wrong:
        if is_wrong:
            raise BadOption(problem)


def _drawn(report: Report) -> bytes:
    """The picture, for the first of the delays: a later answer is the same answer."""
    from notify.simulations import SimulationPicture, simulation_picture

    first = report.cells[0][0]
    cells = [one for one in report.cells if one[0].delay == first.delay]
    rates = list(dict.fromkeys(cell.traffic for cell, _ in cells))
    cases = list(dict.fromkeys(cell.case.name for cell, _ in cells))
    shares = {
        (row, cases.index(cell.case.name), rates.index(cell.traffic)): (
            found[way].promoted,
            found[way].rolled_back,
            found[way].asked,
        )
        for cell, found in cells
        for row, way in enumerate(Way)
    }
    ought = {Outcome.PROMOTE: "to be promoted", Outcome.ROLL_BACK: "to be taken back", None: "either is fair"}
    rights = {cell.case.name: ought[cell.case.right] for cell, _ in cells}
    return simulation_picture(
        SimulationPicture(
            title=_what(report.rollouts, first),
            ways=[NAMES[way].format(threshold=100 * report.rule.threshold) for way in Way],
            cases=[f"{name} fails:\n{rights[name]}" for name in cases],
            traffic=rates,
            shares=shares,
        )
    )


def _what(rollouts: int, cell: Cell) -> str:
    return f"{rollouts:,} pretend rollouts each: {cell.percent} % canary, {_minutes(cell)} min bake"


def _share(share: float, *, wrong: bool) -> Any:
    from rich.text import Text

    is_marked = wrong and share > NOTED
    return Text(f"{100 * share:.1f}{'!' if is_marked else ''}", style="bold red" if is_marked else "")


def _clock(seconds: float) -> str:
    """``7:30``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _minutes(cell: Cell) -> int:
    return int(cell.bake.total_seconds()) // 60


@contextmanager
def _bar(wanted: bool | None, total: int) -> Iterator[Any]:
    """A bar on stderr that leaves nothing behind."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating", total=total)
        yield lambda: bar.advance(task)
