"""Which old backups are read again: all of them within a month, a share each night."""

from datetime import UTC, datetime, timedelta
from math import ceil

import pytest

from domain.backups import Backup
from domain.levels import Level
from domain.retention import Standing
from domain.scrubbing import NIGHTS, alarm, last_read, tonight

START = datetime(2026, 1, 1, 18, tzinfo=UTC)
DAY = timedelta(days=1)


def backup(number: int, at: datetime, **changes: object) -> Backup:
    given = {"id": number, "plan": "nightly", "due_at": at, "at": at, "expected_by": at, "ended_at": at}
    return Backup.model_validate(given | {"standing": Standing.VERIFIED} | changes)


@pytest.mark.parametrize("asleep", [0, 9])
def test_21_9_every_backup_is_read_within_a_month_and_no_night_reads_them_all(asleep: int) -> None:
    """A hundred nights, twenty of the copies kept; the bot may sleep for some nights in between."""
    kept: list[Backup] = []
    for night in range(140):
        at = START + night * DAY
        kept = [*kept, backup(night, at)][-20:] if night % 7 else [*kept[-30:], backup(night, at)]
        if asleep and night % 40 < asleep:
            continue
        chosen = tonight(kept, at + DAY / 4)
        assert len(chosen) <= ceil(len(kept) / NIGHTS)
        read = {one.id for one in chosen}
        kept = [one.model_copy(update={"read_at": at + DAY / 4}) if one.id in read else one for one in kept]
        if not asleep:
            assert max(at - last_read(one) for one in kept) <= 30 * DAY


def test_21_9_only_what_is_verified_there_and_waits_for_nothing_is_read() -> None:
    at = START + 60 * DAY
    assert [one.id for one in tonight([backup(1, START), backup(2, START + DAY)], at)] == [1]
    for changes in (
        {"standing": Standing.FAILED},
        {"removed_at": at},
        {"look_at": at},
        {"read_at": at - 3 * DAY},
    ):
        assert tonight([backup(1, START, **changes)], at) == ()


def test_21_9_what_a_clock_ahead_has_read_is_read_again_once_it_is_right() -> None:
    """For a year nobody would have read it, nor noticed that it rots."""
    at = START + 60 * DAY
    read = backup(1, START, read_at=at + 365 * DAY)
    assert tonight([read], at) == (read,)
    assert tonight([read.model_copy(update={"read_at": at})], at + DAY) == ()


def test_21_9_a_rotten_one_is_a_warning_while_a_newer_one_is_verified() -> None:
    assert alarm(Level.CRITICAL, is_newest=False) is Level.WARNING
    assert alarm(Level.INFO, is_newest=False) is Level.INFO
    assert alarm(Level.CRITICAL, is_newest=True) is Level.CRITICAL
