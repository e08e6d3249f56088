"""Issue 21, 14: what backups take, and when the disk under them is full."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.backup_plans import Part, Source
from domain.backup_sizes import FAR, full_in, kept_bytes
from domain.backups import Backup, Progress
from domain.evidence import Evidence

AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def falling(*free: int, every: timedelta = DAY * 7) -> list[tuple[datetime, int]]:
    return [(AT + every * n, one) for n, one in enumerate(free)]


@pytest.mark.parametrize(
    ("points", "days"),
    [
        (falling(1000, 930, 860), 86),
        (falling(1000, 930, 5000, 790), 79),
        (falling(1000, 930, 860, 10, 720), 72),
        (falling(1000, 930), None),
        (falling(1000, 990, 980, every=DAY), None),
        (falling(1000, 1000, 1000), None),
        (falling(860, 930, 1000), None),
        (falling(1000, 500, 0), 0),
        (falling(10**9, 10**9 - 7, 10**9 - 14), None),
        ([], None),
    ],
    ids=["steady", "cleared once", "narrow once", "two", "short", "level", "growing", "full", "far", "none"],
)
def test_21_14_a_disk_is_full_when_its_median_slope_says_so(
    points: list[tuple[datetime, int]], days: int | None
) -> None:
    assert full_in(points) == days
    assert full_in(points[::-1]) == days
    assert days is None or days <= FAR


def test_21_14_the_objects_of_a_bucket_are_counted_once() -> None:
    def backup(own: int, pool: int) -> Backup:
        sizes = {Source.TOBAN: own, Source.BUCKET: pool}
        parts = tuple(
            Progress(part=Part(name=source, source=source), evidence=Evidence(bytes=size))
            for source, size in sizes.items()
        )
        waiting = Progress(part=Part(name="secrets", source=Source.SECRETS))
        return Backup(plan="p", due_at=AT, at=AT, parts=(*parts, waiting), expected_by=AT)

    assert kept_bytes([backup(10, 500), backup(20, 700), backup(30, 600)]) == 60 + 700
    assert kept_bytes([]) == 0
