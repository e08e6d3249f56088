"""Freezes: on the team's own clocks, from the moment on and up to it, for whom they are meant."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.deploys import Deploys, Freeze
from domain.freezes import freeze
from domain.rules import Rules

TOKYO = Rules(zone="Asia/Tokyo", holidays="JP")
FRIDAY = Freeze(name="friday", cron="0 17 * * 5", lasting=timedelta(hours=63))
HOLIDAY = Freeze(name="holiday", holidays=True)
NIGHT = Freeze(name="night", cron="0 22 * * *", lasting=timedelta(hours=9), services=("web", "api"))


def name(at: datetime, *freezes: Freeze, service: str = "web", rules: Rules = TOKYO) -> str | None:
    found = freeze(Deploys(freezes=freezes), rules, service, at)
    return found.name if found is not None else None


def tokyo(day: int, hour: int = 0, minute: int = 0, second: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=ZoneInfo("Asia/Tokyo"))


def test_without_any_freeze_nothing_is_frozen() -> None:
    assert name(tokyo(27, 18)) is None


@pytest.mark.parametrize(
    ("at", "is_frozen"),
    [
        (tokyo(27, 16, 59, 59), False),
        (tokyo(27, 17), True),  # A Friday.
        (tokyo(28, 12), True),
        (tokyo(30, 7, 59, 59), True),
        (tokyo(30, 8), False),
        (tokyo(26, 18), False),
    ],
)
def test_a_window_holds_from_its_moment_and_no_longer_than_it_lasts(at: datetime, is_frozen: bool) -> None:
    assert (name(at, FRIDAY) == "friday") is is_frozen
    assert (name(at.astimezone(UTC), FRIDAY) == "friday") is is_frozen


@pytest.mark.parametrize(
    ("at", "is_holiday"),
    [
        (tokyo(23), True),  # Labour Thanksgiving Day.
        (tokyo(23, 23, 59, 59), True),
        (tokyo(24), False),
        (tokyo(22, 23, 59, 59), False),
        # In UTC it is then still the day before.
        (datetime(2026, 11, 22, 15, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 23, 15, 0, tzinfo=UTC), False),
    ],
)
def test_a_holiday_is_the_teams_own_and_lasts_its_whole_day(at: datetime, is_holiday: bool) -> None:
    assert (name(at, HOLIDAY) == "holiday") is is_holiday


def test_without_a_country_there_are_no_holidays() -> None:
    assert name(tokyo(23, 12), HOLIDAY, rules=Rules(zone="Asia/Tokyo")) is None


def test_a_freeze_is_for_the_services_that_it_names_or_for_all() -> None:
    night = tokyo(25, 23)
    assert [name(night, NIGHT, service=one) for one in ("web", "api", "batch")] == ["night", "night", None]
    assert name(tokyo(28, 12), FRIDAY, service="batch") == "friday"


def test_a_window_goes_on_over_midnight_and_one_that_outlasts_its_period_never_ends() -> None:
    assert name(tokyo(25, 6, 59), NIGHT) == "night" and name(tokyo(25, 7), NIGHT) is None
    always = Freeze(name="always", cron="0 0 * * *", lasting=timedelta(hours=25))
    assert all(name(tokyo(25, hour), always) == "always" for hour in range(24))


def test_of_several_the_first_that_holds_is_named() -> None:
    both = tokyo(23, 23)
    assert name(both, HOLIDAY, NIGHT) == "holiday"
    assert name(both, NIGHT, HOLIDAY) == "night"
    assert name(both, FRIDAY, NIGHT) == "night"


def test_a_yearly_freeze_is_found_months_later() -> None:
    december = Freeze(name="december", cron="0 0 20 12 *", lasting=timedelta(days=16))
    assert name(datetime(2027, 1, 4, 23, 59, tzinfo=ZoneInfo("Asia/Tokyo")), december) == "december"
    assert name(datetime(2027, 1, 5, 0, 0, tzinfo=ZoneInfo("Asia/Tokyo")), december) is None
    assert name(tokyo(1), december) is None


@pytest.mark.parametrize(
    ("utc", "is_frozen"),
    [
        # 2026-03-29: at 02:00 in Berlin it is 03:00. The freeze of 02:30 begins there and then.
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), False),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), True),
        (datetime(2026, 3, 29, 1, 59, tzinfo=UTC), True),
        (datetime(2026, 3, 29, 2, 0, tzinfo=UTC), False),
    ],
)
def test_a_window_in_an_hour_that_does_not_exist_is_not_lost(utc: datetime, is_frozen: bool) -> None:
    early = Freeze(name="early", cron="30 2 * * *", lasting=timedelta(hours=1))
    assert (name(utc, early, rules=Rules(zone="Europe/Berlin")) == "early") is is_frozen
