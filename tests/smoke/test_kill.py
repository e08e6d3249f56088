"""A few kills with -9 in every test run; `make kill-test` does two hundred on each database."""

from pathlib import Path

import pytest

from bench.kill import Plan, kill

SHORT = Plan(kills=10, alerts=40, groups=8, clicks=10, lives=(0.1, 0.8), seed=20261122)


@pytest.mark.timeout(180)
async def test_ten_kills_lose_nothing_double_nothing_and_leave_nothing_undone(tmp_path: Path) -> None:
    found = await kill(SHORT, "sqlite", tmp_path)
    assert found.clean, "\n".join(found.told)
    assert found.facts["kills"] == SHORT.kills
    assert found.facts["alerts accepted"] == SHORT.alerts
    assert found.facts["clicks accepted"] + found.facts["clicks overtaken"] >= SHORT.clicks
