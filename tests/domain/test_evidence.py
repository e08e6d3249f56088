"""What a copy is worth: every flaw fails it, an unusual size waits for a person, and nothing is hidden."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.backup_plans import Range
from domain.effects import Text
from domain.evidence import ENOUGH, SHOWN, Evidence, Finding, Flaw, verdict
from domain.retention import Standing
from notify.texts import LOCALES, voice

USUAL = Range()


def sized(*sizes: int) -> list[Evidence]:
    return [Evidence(objects=1, bytes=size) for size in sizes]


def judged(size: int, before: Sequence[Evidence], sizes: Range = USUAL) -> tuple[Standing, list[str]]:
    standing, reasons = verdict({"toban": Evidence(bytes=size)}, {"toban": before}, sizes)
    return standing, [reason.key for reason in reasons]


VERIFIED: tuple[Standing, list[str]] = (Standing.VERIFIED, [])
SMALL = (Standing.SUSPICIOUS, ["backup.too_small"])
LARGE = (Standing.SUSPICIOUS, ["backup.too_large"])


@pytest.mark.parametrize(
    ("size", "before", "found"),
    [
        # With fewer than three to compare with, no size is unusual.
        (1, [], VERIFIED),
        (1, [1000], VERIFIED),
        (10**12, [1000, 1000], VERIFIED),
        (1, [1000, 1000, 1000], SMALL),
        # Exactly at the edges is within.
        (500, [1000, 1000, 1000], VERIFIED),
        (499, [1000, 1000, 1000], SMALL),
        (3000, [1000, 1000, 1000], VERIFIED),
        (3001, [1000, 1000, 1000], LARGE),
        # The median of an odd and of an even number; one giant among them moves nothing.
        (499, [1000, 10**9, 1000], SMALL),
        (3001, [1000, 1, 1000], LARGE),
        (600, [1000, 1000, 1200, 1200], VERIFIED),
        (549, [1000, 1000, 1200, 1200], SMALL),
        (551, [1000, 1000, 1200, 1200], VERIFIED),
        # What held nothing is nothing to compare with; nothing at all is small where there was something.
        (700, [0, 0, 0, 1000, 1000], VERIFIED),
        (1, [0, 0, 0, 1000, 1000], VERIFIED),
        (0, [0, 0, 0], VERIFIED),
        (0, [1000, 1000, 1000], SMALL),
    ],
)
def test_a_size_is_compared_with_the_median_of_those_before(
    size: int, before: list[int], found: tuple[Standing, list[str]]
) -> None:
    assert judged(size, sized(*before)) == found


@pytest.mark.parametrize(
    ("sizes", "size", "found"),
    [
        (Range(low=0, high=100), 0, VERIFIED),
        (Range(low=0.9, high=1.1), 899, SMALL),
        (Range(low=0.9, high=1.1), 900, VERIFIED),
        (Range(low=0.9, high=1.1), 1100, VERIFIED),
        (Range(low=0.9, high=1.1), 1101, LARGE),
    ],
)
def test_how_unusual_is_too_unusual_is_the_policys(
    sizes: Range, size: int, found: tuple[Standing, list[str]]
) -> None:
    assert judged(size, sized(1000, 1000, 1000), sizes) == found


def test_an_unusual_size_is_told_with_the_usual_one() -> None:
    _, (reason,) = verdict({"toban": Evidence(bytes=10)}, {"toban": sized(1000, 1000, 1001)}, USUAL)
    assert reason.params == {"part": "toban", "size": [10, "bytes"], "usual": [1000, "bytes"]}


def test_each_part_is_compared_with_its_own_past() -> None:
    found = {"toban": Evidence(bytes=10), "images": Evidence(bytes=10**6), "new": Evidence(bytes=1)}
    before = {"toban": sized(10, 10, 10), "images": sized(10, 10, 10)}
    standing, reasons = verdict(found, before, USUAL)
    assert standing is Standing.SUSPICIOUS
    assert [(one.key, one.params["part"]) for one in reasons] == [("backup.too_large", "images")]


# Flaws.

FLAWS = [Finding(flaw=flaw, name=f"{flaw}.bin", wanted="7", found="3") for flaw in Flaw]


@pytest.mark.parametrize("finding", FLAWS, ids=lambda one: one.flaw.value)
def test_seed_defect_76_each_flaw_fails_the_backup(finding: Finding) -> None:
    """The draft listed what was there, and called that a verification."""
    standing, reasons = verdict({"toban": Evidence.of([finding], bytes=1000)}, {}, USUAL)
    assert standing is Standing.FAILED
    assert [reason.key for reason in reasons] == [f"backup.flaw_{finding.flaw.value}"]
    assert reasons[0].params == {"part": "toban", "name": finding.name, "wanted": "7", "found": "3"}


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("flaw", Flaw)
def test_each_flaw_has_its_words_whatever_is_known_of_it(flaw: Flaw, locale: str) -> None:
    for known in ({}, {"wanted": "7"}, {"wanted": "7", "found": "3"}):
        said = voice(locale).say(Finding(flaw=flaw, name="toban.sqlite3", **known).text("toban"))
        assert "toban.sqlite3" in said
        assert "None" not in said and "{" not in said and "backup." not in said


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("key", ["backup.too_small", "backup.too_large"])
def test_each_oddity_has_its_words(key: str, locale: str) -> None:
    params: dict[str, Any] = {"part": "toban", "size": [10, "bytes"], "usual": [1000, "bytes"]}
    said = voice(locale).say(Text(key=key, params=params))
    assert "toban" in said and "10" in said and key not in said


def test_a_flaw_outweighs_every_size_and_an_odd_size_is_not_told_beside_it() -> None:
    found = {"toban": Evidence.of(FLAWS[:1], bytes=1), "images": Evidence(bytes=10**9)}
    before = {"toban": sized(1000, 1000, 1000), "images": sized(10, 10, 10)}
    standing, reasons = verdict(found, before, USUAL)
    assert standing is Standing.FAILED
    assert [reason.key for reason in reasons] == ["backup.flaw_missing"]


def test_flaws_of_all_parts_are_told() -> None:
    found = {"toban": Evidence.of(FLAWS[:2]), "sound": Evidence(bytes=1), "images": Evidence.of(FLAWS[3:4])}
    _, reasons = verdict(found, {}, USUAL)
    assert [(one.params["part"], one.key) for one in reasons] == [
        ("toban", "backup.flaw_missing"),
        ("toban", "backup.flaw_empty"),
        ("images", "backup.flaw_checksum"),
    ]


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [((SHOWN,), 0), ((SHOWN + 1,), 1), ((SHOWN * 50, 1), SHOWN * 49), ((SHOWN + 2, SHOWN + 3), 5)],
)
def test_the_first_flaws_are_kept_and_the_rest_is_counted(counts: tuple[int, ...], hidden: int) -> None:
    found = {
        f"part{n}": Evidence.of([Finding(flaw=Flaw.MISSING, name=f"{one}") for one in range(count)])
        for n, count in enumerate(counts)
    }
    standing, reasons = verdict(found, {}, USUAL)
    assert standing is Standing.FAILED
    shown = [reason for reason in reasons if reason.key == "backup.flaw_missing"]
    assert len(shown) == sum(min(count, SHOWN) for count in counts)
    more = [reason.params["count"] for reason in reasons if reason.key == "backup.more_flaws"]
    assert more == ([hidden] if hidden else [])
    assert sum(one.flaws for one in found.values()) == sum(counts)


def test_a_flaw_of_which_no_finding_was_kept_fails_it_all_the_same() -> None:
    standing, reasons = verdict({"toban": Evidence(bytes=1000, flaws=2)}, {}, USUAL)
    assert standing is Standing.FAILED
    assert [(one.key, one.params) for one in reasons] == [("backup.more_flaws", {"count": 2})]


def test_evidence_keeps_what_was_seen_beside_its_findings() -> None:
    evidence = Evidence.of(FLAWS, objects=3, bytes=7, records=5, sampled=1)
    assert (evidence.objects, evidence.bytes, evidence.records, evidence.sampled) == (3, 7, 5, 1)
    assert evidence.findings == tuple(FLAWS)
    assert evidence.flaws == len(FLAWS)
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence


@pytest.mark.parametrize("wrong", [{"bytes": -1}, {"objects": -1}])
def test_less_than_nothing_is_no_evidence(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Evidence.of([], **wrong)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 10**15), max_size=7),
    st.integers(0, 10**15),
    st.integers(0, 3),
)
def test_whatever_the_sizes_a_flaw_fails_and_only_a_flaw(past: list[int], size: int, flaws: int) -> None:
    evidence = Evidence.of(FLAWS[:flaws], bytes=size)
    standing, reasons = verdict({"toban": evidence}, {"toban": sized(*past)}, USUAL)
    assert (standing is Standing.FAILED) is bool(flaws)
    assert bool(reasons) is (standing is not Standing.VERIFIED)
    known = [one for one in past if one]
    if not flaws and len(known) >= ENOUGH:
        usual = USUAL.low * median(known) <= size <= USUAL.high * median(known)
        assert (standing is Standing.VERIFIED) is usual


# Issue 21, 8: what was copied is compared by what it holds, not by its bytes alone.

NIGHT = datetime(2026, 11, 23, 18, tzinfo=UTC)
DAY = timedelta(days=1)


def holding(days: float = 0, age: timedelta = timedelta(seconds=5), **tables: int) -> Evidence:
    """A copy of so many days ago, with these tables, whose newest record is so old."""
    at = NIGHT - days * DAY
    rows = sum(tables.values())
    return Evidence(objects=2, bytes=1000, records=rows, tables=tables, at=at, newest=at - age)


def reasons(found: Evidence, *before: Evidence) -> list[str]:
    standing, told = verdict({"toban": found}, {"toban": before}, USUAL)
    assert standing is (Standing.SUSPICIOUS if told else Standing.VERIFIED)
    for locale in LOCALES:
        assert all(voice(locale).say(one) for one in told)
    return [voice("en").say(one) for one in told]


def test_21_8_the_same_bytes_with_a_thousandth_of_the_records_are_suspicious_with_the_figures() -> None:
    before = [holding(n, watch=20_000, plan=18) for n in (1, 2, 3)]
    assert reasons(holding(watch=4, plan=18), *before) == [
        "*toban* holds unusually few records: 22, usually about 20,018",
        "*toban*: watch holds 4 records, usually about 20,000",
    ]


MANY = "*toban* holds unusually many records: 31,250, usually about 10,250"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"big": 10_000, "small": 250}, []),
        ({"big": 10_000, "small": 120}, ["*toban*: small holds 120 records, usually about 250"]),
        ({"big": 10_000}, ["*toban*: small holds 0 records, usually about 250"]),
        ({"big": 9_000, "small": 151}, []),
        ({"big": 31_000, "small": 250}, [MANY]),
        ({"big": 10_000, "small": 250, "new": 5_000}, []),
    ],
)
def test_21_8_a_table_that_lost_its_rows_shows_among_larger_ones(
    tables: dict[str, int], said: list[str]
) -> None:
    assert reasons(holding(**tables), *(holding(n, big=10_000, small=250) for n in (1, 2, 3))) == said


def test_21_8_few_rows_and_few_copies_say_nothing() -> None:
    assert reasons(holding(watch=1), *(holding(n, watch=99) for n in (1, 2, 3))) == []
    assert reasons(holding(watch=1), *(holding(n, watch=9_999) for n in (1, 2))) == []
    old = [Evidence(objects=2, bytes=1000, records=50, at=NIGHT - n * DAY) for n in (1, 2, 3)]
    assert reasons(holding(watch=50), *old) == [], "what an older version has verified"


def test_21_8_a_state_that_was_put_back_is_seen_by_its_newest_record() -> None:
    (said,) = reasons(holding(0, 3 * DAY, watch=50), holding(1, watch=50))
    assert "the newest record is of" in said and "an earlier backup has one of" in said
    assert reasons(holding(0, timedelta(hours=20), watch=50), holding(1, watch=50)) == []


def test_21_8_a_newest_record_that_is_far_older_than_usual_is_told() -> None:
    stopped = [holding(n, timedelta(hours=1), watch=50) for n in (2, 3, 4)]
    (said,) = reasons(holding(0, 1.9 * DAY, watch=50), *stopped)
    assert "usually it is only" in said
    rare = [holding(n, n * DAY, watch=50) for n in (2, 3, 4)]
    assert reasons(holding(0, 3.9 * DAY, watch=50), *rare) == []


def test_21_8_a_clock_that_was_ahead_is_no_state_that_was_put_back() -> None:
    ahead = holding(1, -5 * DAY, watch=50)
    assert reasons(holding(0, watch=50), ahead) == []
