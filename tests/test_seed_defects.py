"""The defects of the customer's first draft that have no better place, and that every one has a test.

The numbers are those of the list of the draft's defects. Each test that stands for one bears its number in
its name or docstring, wherever it lies.
"""

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from bot.health import STALE
from domain.policy import Service
from domain.rules import DEFAULT_THRESHOLDS, Rules, Silence
from operations import counters
from sandbox.cloud import faults
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import FOREVER
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.payloads import monitoring

ROOT = Path(__file__).parents[1]
SHIPPED = ("bot", "handlers", "jobs", "operations", "domain", "storage", "notify", "gcp")
COUNTED = {
    name: made for name, made in vars(counters).items() if isinstance(made, Counter | Gauge | Histogram)
}
WATCHED = [*range(1, 22), *range(43, 50), *range(71, 80), 84, 85]


def shipped() -> Iterator[tuple[Path, ast.Module]]:
    for package in SHIPPED:
        for path in (ROOT / package).rglob("*.py"):
            yield path, ast.parse(path.read_text())


def test_each_defect_of_watching_and_of_backups_has_a_test_with_its_number() -> None:
    named: set[int] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                if found := re.search(r"seed_defects?((?:_(?:and_)?\d+)+)", node.name):
                    named |= {int(number) for number in re.findall(r"\d+", found[1])}
                named |= {int(one) for one in re.findall(r"Seed defect (\d+)", ast.get_docstring(node) or "")}
    assert [number for number in WATCHED if number not in named] == []


async def lines(stage: Stage) -> set[str]:
    """The series of a scrape, without their values."""
    _, text = await stage.get("/metrics")
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


async def test_seed_defects_1_and_7_no_label_takes_a_text_from_outside(sqlite_only: str) -> None:
    """A label with the user's id was 16.7 MB a scrape at 100,000 users."""
    async with Stage.open(sqlite_only, make_policy()) as stage:
        await stage.webhook("cloud-monitoring", monitoring("0.first"))
        before = await lines(stage)
        assert any(line.startswith("toban_inbox_accepted_total") for line in before)
        for number in range(30):
            sent = monitoring(
                f"0.stranger{number}", policy=f"stranger {number}", service=f"stranger-{number}"
            )
            await stage.webhook("cloud-monitoring", sent, settle=False)
        await stage.settle()
        after = await lines(stage)
        assert not [line for line in after if "stranger" in line]
        assert len(after) <= len(before) + 10, sorted(after - before)


def test_seed_defect_2_whatever_is_counted_has_the_labels_with_which_it_was_declared() -> None:
    """``labels()`` on a counter without any raised, and hid the error that was to be counted."""
    used = set()
    for path, tree in shipped():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            on = node.func.value
            if not (isinstance(on, ast.Attribute) and isinstance(on.value, ast.Name)):
                continue
            if on.value.id != "counters" or on.attr not in COUNTED:
                continue
            used.add(on.attr)
            declared = COUNTED[on.attr]._labelnames
            given = tuple(word.arg for word in node.keywords) if node.func.attr == "labels" else ()
            assert sorted(str(one) for one in given) == sorted(declared), (path, node.lineno, on.attr)
    assert len(used) >= 10


def runs_of(job: str) -> float:
    return sum(
        sample.value
        for metric in counters.run_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels == {"job": job}
    )


async def test_seed_defect_3_a_run_that_fails_is_measured_as_well(sqlite_only: str) -> None:
    """Durations were observed on success only, so that slow failures could not be seen."""
    api = Service(name="api", project="p", region="asia-northeast1", match={"service_name": "api"})
    rules = Rules.model_validate({"anomalies": {"sensitivity": "off"}})
    async with Stage.open(sqlite_only, make_policy(services=(api,), rules=rules), cloud=Cloud) as stage:
        await stage.advance(seconds=5)
        stage.cloud.faults.add(faults.quota(), method="*", count=FOREVER)
        before = runs_of("health")
        await stage.advance(minutes=2)
        assert runs_of("health") > before
        async with stage.bot.world.store.read() as tx:
            (run,) = await tx.latest_runs("health")
        assert "quota" in (run.error or "")


def test_seed_defect_4_nothing_is_timed_with_a_clock_that_can_be_set() -> None:
    for path, tree in shipped():
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert called.isdisjoint({"time.time", "datetime.utcnow", "datetime.datetime.now"}), path


@pytest.mark.parametrize(("histogram", "limit"), [("delay", 0.05), ("delay", STALE), ("run_seconds", 60)])
def test_seed_defect_5_what_is_promised_is_the_edge_of_a_bucket(histogram: str, limit: float) -> None:
    """Default buckets had no edge at the limits that were watched, so a share above them was a guess."""
    assert limit in COUNTED[histogram]._upper_bounds


def test_seed_defect_9_what_always_reports_is_missed_when_it_stops() -> None:
    """Nothing said that a metric or a target was gone."""
    (missed,) = [row for row in DEFAULT_THRESHOLDS if row.no_data is Silence.ALERT]
    assert (missed.name, missed.silent_for) == ("sql-cpu", timedelta(minutes=15))
