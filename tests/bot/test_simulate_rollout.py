"""`toban simulate-rollout`: the verdict's promises hold over pretend rollouts; the others' faults show."""

import io
import json
import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.stats import mannwhitneyu

from bot.simulate_rollout import BadOption, Report, simulate_rollout
from domain.chances import Counts
from domain.simulation import CASES, Arrivals, Case, Cell, Tally, Way, _critical, simulate
from domain.verdict import Outcome, Rule, judge

FIVE = timedelta(minutes=5)


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate_rollout(rollouts=1500, traffic=(30, 300, 1000), delays=(120,))


def tally(report: Report, traffic: float, case: str, way: Way = Way.TOBAN) -> Tally:
    return next(
        found[way] for cell, found in report.cells if (cell.traffic, cell.case.name) == (traffic, case)
    )


@pytest.mark.parametrize("traffic", [300, 1000])
def test_a_healthy_revision_is_promoted_without_asking(report: Report, traffic: float) -> None:
    found = tally(report, traffic, "0.1 %")
    assert found.promoted >= 0.98
    assert found.rolled_back <= 0.01


@pytest.mark.parametrize("traffic", [300, 1000])
def test_a_revision_that_fails_five_percent_is_taken_back_by_itself(report: Report, traffic: float) -> None:
    found = tally(report, traffic, "5 %")
    assert found.promoted <= 0.02
    assert found.rolled_back >= 0.97


@pytest.mark.parametrize("traffic", [300, 1000])
def test_a_revision_as_sick_as_stable_is_left_alone(report: Report, traffic: float) -> None:
    found = tally(report, traffic, "both 3 %")
    assert found.rolled_back <= 0.01
    assert found.asked <= 0.10


@pytest.mark.parametrize("traffic", [300, 1000])
def test_a_broken_revision_is_taken_back_within_a_minute_of_its_first_data(
    report: Report, traffic: float
) -> None:
    found = tally(report, traffic, "30 %")
    assert found.rolled_back == 1
    assert found.prompt >= 0.98


def test_the_report_says_that_every_target_is_met(report: Report) -> None:
    assert len(report.promises) == 16
    assert all(one.is_kept for one in report.promises)
    assert any("16 of 16 targets met" in line for line in report.lines())


def test_with_too_little_traffic_it_asks_and_never_promotes(report: Report) -> None:
    for case in CASES:
        assert tally(report, 30, case.name).promoted == 0
    assert tally(report, 30, "0.1 %").asked > 0.99
    assert tally(report, 30, "30 %").rolled_back > 0.95


def test_the_others_promote_what_is_broken_or_condemn_what_is_not(report: Report) -> None:
    assert tally(report, 30, "5 %", Way.NAIVE).promoted > 0.3
    assert tally(report, 300, "both 3 %", Way.NAIVE).rolled_back > 0.8
    assert tally(report, 300, "5 %", Way.MANN_WHITNEY).promoted > 0.5
    assert tally(report, 30, "30 %", Way.MANN_WHITNEY).promoted > 0.8


def test_a_missed_target_is_told() -> None:
    # Twice the minimum cannot be seen at this traffic: it asks.
    missed = simulate_rollout(rollouts=100, traffic=(300,), delays=(120,), minimum=500)
    assert any(line.startswith("missed: promoted 0.00%, at least 98%") for line in missed.lines())


# The simulation itself.


def replay(cell: Cell, arrivals: Arrivals, row: int) -> tuple[int, float]:
    """One rollout as the bot would live it: a look every 30 s at whatever the metric shows by then."""
    wait, bake = float(arrivals.wait[row]), cell.bake // timedelta(minutes=1)

    def seen(minutes: int, *, interim: bool) -> Outcome:
        canary, stable = (
            Counts(requests=int(all_of_them[row, :minutes].sum()), errors=int(errors[row, :minutes].sum()))
            for all_of_them, errors in (
                (arrivals.canary, arrivals.canary_errors),
                (arrivals.stable, arrivals.stable_errors),
            )
        )
        before = Counts(requests=int(arrivals.before[row]), errors=int(arrivals.before_errors[row]))
        share = cell.percent / 100
        return judge(canary, stable, share=share, interim=interim, before=before).outcome

    look = 0.0
    for end in (bake, 2 * bake):
        due = wait + 60 * end + cell.delay
        while look < due:
            visible = math.floor((look - wait - cell.delay) / 60)
            if visible > 0 and seen(visible, interim=True) is Outcome.ROLL_BACK:
                return 1, look
            look += 30
        outcome = seen(end, interim=False)
        if outcome is Outcome.PROMOTE:
            return 0, due
        if outcome is Outcome.ROLL_BACK:
            return 1, due
    return 2, due


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("delay", [120, 175])
def test_it_ends_every_rollout_as_one_that_is_lived_look_by_look(case: Case, delay: int) -> None:
    cell = Cell(case=case, traffic=300, delay=delay)
    rollouts = 60
    lived = [replay(cell, Arrivals(cell, rollouts, 10, seed=4), row) for row in range(rollouts)]
    found = simulate(cell, rollouts=rollouts, seed=4)[Way.TOBAN]
    for end, share in enumerate((found.promoted, found.rolled_back, found.asked)):
        assert share == pytest.approx(sum(how == end for how, _ in lived) / rollouts)
    assert found.seconds == pytest.approx(float(np.median([at for _, at in lived])))


def test_requests_arrive_as_they_should() -> None:
    cell = Cell(case=CASES[2], traffic=300)
    arrivals = Arrivals(cell, 4000, 10, seed=1)
    assert arrivals.canary.mean() == pytest.approx(30, rel=0.01)
    assert arrivals.canary.var() == pytest.approx(30, rel=0.05)
    assert arrivals.canary_errors.sum() / arrivals.canary.sum() == pytest.approx(0.05, rel=0.02)
    assert arrivals.stable_errors.sum() / arrivals.stable.sum() == pytest.approx(0.001, rel=0.05)


def test_mann_whitney_is_significant_exactly_where_scipy_says_so() -> None:
    for minutes in (5, 6, 10):
        least = _critical(minutes)
        chance = np.random.default_rng(minutes)
        for _ in range(200):
            stable, canary = chance.normal(0, 1, minutes), chance.normal(1.5, 1, minutes)
            exact = mannwhitneyu(canary, stable, alternative="greater", method="exact")
            assert (exact.statistic >= least) == (exact.pvalue < 0.01)


def test_mann_whitney_can_never_be_significant_with_two_or_three_minutes() -> None:
    assert _critical(2) == _critical(3) == math.inf
    cell = Cell(case=CASES[4], traffic=1000, bake=timedelta(minutes=3))
    found = simulate(cell, rollouts=50)
    assert found[Way.MANN_WHITNEY].promoted == 1
    assert found[Way.TOBAN].rolled_back == 1


def test_a_canary_without_any_request_is_asked_about_and_the_naive_rule_promotes_it() -> None:
    cell = Cell(case=CASES[0], traffic=0.01)
    found = simulate(cell, rollouts=50)
    assert found[Way.TOBAN].asked == 1
    assert found[Way.NAIVE].promoted == 1
    assert found[Way.MANN_WHITNEY].asked > 0.9


# The command.


def test_the_same_seed_gives_the_same_report_and_another_another() -> None:
    options = {"rollouts": 60, "traffic": (300,), "delays": (120,)}
    first, second = (simulate_rollout(**options, seed=7).as_json() for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert simulate_rollout(**options, seed=8).as_json() != first  # type: ignore[arg-type]


def test_a_cell_does_not_depend_on_what_is_simulated_beside_it() -> None:
    alone = simulate_rollout(rollouts=60, traffic=(300,), delays=(120,)).cells
    among = simulate_rollout(rollouts=60, traffic=(100, 300), delays=(180, 120)).cells
    assert all(cell in among for cell in alone)


def test_the_table_marks_what_is_wrong_and_fits_a_terminal(report: Report) -> None:
    console = Console(width=110, file=io.StringIO(), color_system=None)
    console.print(report.table())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "Mann-Whitney" in shown and "rate > 1 %" in shown
    assert max(len(line) for line in shown.splitlines()) <= 110
    sick = next(line for line in shown.splitlines() if "both 3 %" in line and " 30 " not in line)
    assert "!" in sick
    assert "…" not in shown


def test_the_json_holds_every_cell_and_says_what_is_false(report: Report) -> None:
    read = json.loads(json.dumps(report.as_json()))
    assert len(read["cells"]) == 15
    bad = next(one for one in read["cells"] if one["case"]["name"] == "5 %" and one["traffic"] == 30)
    naive = bad["ways"]["naive"]
    assert naive["false_promotions"] == naive["promoted"] > 0
    assert naive["false_rollbacks"] == 0
    edge = next(one for one in read["cells"] if one["case"]["name"] == "1 %")
    assert edge["ways"]["toban"]["false_promotions"] is None
    for cell in read["cells"]:
        for way in cell["ways"].values():
            assert way["promoted"] + way["rolled_back"] + way["asked"] == pytest.approx(1)


def test_the_picture_shows_what_happened(tmp_path: Path) -> None:
    plot = tmp_path / "rollouts.png"
    made = simulate_rollout(rollouts=40, traffic=(30, 300), delays=(120,), plot=plot)
    assert f"wrote {plot}" in made.lines()
    with Image.open(plot) as picture:
        assert picture.size == (1650, 1050)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xB8, 0xBE, 0xC5)} <= colours


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rollouts": 0}, "--rollouts"),
        ({"seed": -1}, "--seed"),
        ({"percent": 100}, "--percent"),
        ({"bake": 0}, "--bake"),
        ({"traffic": ()}, "--traffic"),
        ({"traffic": (300, math.nan)}, "--traffic"),
        ({"minimum": 0}, "--minimum"),
        ({"delays": (-1,)}, "delay"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_name(options: dict[str, object], named: str) -> None:
    with pytest.raises(BadOption, match=named):
        simulate_rollout(**options)  # type: ignore[arg-type]


def test_a_plot_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="no such folder"):
        simulate_rollout(plot=tmp_path / "nowhere" / "out.png")
    with pytest.raises(BadOption, match="folder"):
        simulate_rollout(plot=tmp_path)


def test_a_lower_minimum_decides_with_less() -> None:
    cell = Cell(case=CASES[0], traffic=300)
    assert simulate(cell, rollouts=200, rule=Rule(minimum=100))[Way.TOBAN].seconds < 500
    assert simulate(cell, rollouts=200)[Way.TOBAN].seconds > 700
