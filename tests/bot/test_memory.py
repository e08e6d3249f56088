"""13.18: what the start loads stays for good, so it loads nothing that few need."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from bot.rules import _countries
from domain.rules import Rules

HEAVY = ("matplotlib", "numpy", "scipy", "sklearn", "pandas", "PIL", "alembic", "mako", "holidays.countries")
LATER = ("google", "grpc", "requests", "cryptography")
"""Loaded when Google is asked for the first time."""

START = """
import json, sys
from pathlib import Path
import bot.running
from bot.policy import read_policy
policy = read_policy(Path("toban.example.yaml"))
from datetime import UTC, datetime
assert policy.rules.is_holiday(datetime(2026, 5, 3, 3, tzinfo=UTC))
print(json.dumps(sorted(sys.modules)))
"""


def test_13_18_the_start_and_the_calendar_load_none_of_the_heavy_packages() -> None:
    said = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True)
    loaded = json.loads(said.stdout)
    found = [
        name for name in loaded for heavy in HEAVY + LATER if name == heavy or name.startswith(f"{heavy}.")
    ]
    assert [name for name in found if not name.startswith("holidays.countries.japan")] == []


@pytest.mark.parametrize("country", ["JP", "US", "DE", "GB"])
def test_13_18_a_calendar_that_is_loaded_alone_says_the_same(country: str) -> None:
    import holidays

    whole = holidays.country_holidays(country, years=2026)
    rules = Rules(thresholds=(), zone="UTC", holidays=country)
    days = [datetime(2026, month, day, 12, tzinfo=UTC) for month in range(1, 13) for day in range(1, 29)]
    assert [day.date() for day in days if rules.is_holiday(day)] == [
        day.date() for day in days if day.date() in whole
    ]


def test_13_18_the_countries_that_the_policy_may_name_are_those_of_the_library() -> None:
    from holidays import list_supported_countries

    assert _countries() == set(list_supported_countries(include_aliases=False))
