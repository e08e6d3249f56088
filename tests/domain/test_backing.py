"""How a backup goes on: every answer at every stage, every due moment, and when its alert has to fire."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import backing as rules
from domain import drilling
from domain.backup_plans import BackupPlan, Part, Source
from domain.backups import (
    Backup,
    Began,
    Broke,
    Finished,
    Going,
    Heard,
    Order,
    Progress,
    Proved,
    Silent,
    Stage,
)
from domain.drills import Drill, DrillState
from domain.effects import TOBAN, By, Text
from domain.evidence import Evidence, Finding, Flaw
from domain.levels import Level
from domain.policy import Person
from domain.retention import Standing
from domain.schedule import Cron

TOKYO = Cron(line="0 3 * * *", zone="Asia/Tokyo")
KENJI = By(id="U0KENJI", name="kenji")
SECOND, MINUTE, HOUR, DAY = (timedelta(**{name: 1}) for name in ("seconds", "minutes", "hours", "days"))
TWO = (Part(name="toban", source=Source.TOBAN), Part(name="images", source=Source.BUCKET, of="images"))
SOUND = Evidence(objects=2, bytes=100)
FLAWED = Evidence.of([Finding(flaw=Flaw.EMPTY, name="toban.sqlite3")])


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


DUE = utc(2026, 11, 23, 18)
"""Three at night in Tokyo."""


def plan_of(schedule: Cron = TOKYO, **changes: Any) -> BackupPlan:
    given = {"name": "nightly", "schedule": schedule, "parts": TWO[:1], "destination": "/kept"}
    return BackupPlan.model_validate(given | {"expected": 30 * MINUTE} | changes)


PLAN = plan_of()


def begun(*stages: Stage, **changes: Any) -> Backup:
    """A backup with a part at each of these stages, begun on time."""
    parts = tuple(Progress(part=part, stage=stage) for part, stage in zip(TWO, stages, strict=False))
    made = rules.begin(plan_of(parts=TWO), DUE, DUE)
    return made.model_copy(update={"id": 1, "parts": parts or made.parts} | changes)


# What is due.

NEW_YORK, BERLIN, LORD_HOWE = "America/New_York", "Europe/Berlin", "Australia/Lord_Howe"


@pytest.mark.parametrize(
    ("line", "zone", "since", "at", "lost", "newest"),
    [
        ("0 3 * * *", "Asia/Tokyo", DUE - DAY, DUE - SECOND, [], None),
        ("0 3 * * *", "Asia/Tokyo", DUE - DAY, DUE, [], DUE),
        ("0 3 * * *", "Asia/Tokyo", DUE, DUE + DAY - SECOND, [], None),
        ("0 3 * * *", "Asia/Tokyo", DUE, DUE + 3 * DAY, [DUE + DAY, DUE + 2 * DAY], DUE + 3 * DAY),
        ("0 3 * * *", "Asia/Tokyo", DUE + HOUR, DUE, [], None),  # The clock was set back.
        ("0 3 * * *", "Asia/Tokyo", DUE + 3 * DAY, DUE, [], None),
        # An hour that does not exist is made up for at its end, once.
        ("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 0), utc(2026, 3, 8, 6, 59), [], None),
        ("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 0), utc(2026, 3, 8, 12), [], utc(2026, 3, 8, 7)),
        ("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 7), utc(2026, 3, 9, 6, 29), [], None),
        ("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 7), utc(2026, 3, 9, 6, 30), [], utc(2026, 3, 9, 6, 30)),
        ("30 2 * * *", BERLIN, utc(2026, 3, 28, 20), utc(2026, 3, 29, 20), [], utc(2026, 3, 29, 1)),
        # An hour that comes twice counts once.
        ("30 1 * * *", NEW_YORK, utc(2026, 11, 1, 4), utc(2026, 11, 1, 23), [], utc(2026, 11, 1, 5, 30)),
        ("30 1 * * *", NEW_YORK, utc(2026, 11, 1, 5, 30), utc(2026, 11, 2, 6, 29), [], None),
        ("30 2 * * *", BERLIN, utc(2026, 10, 24, 20), utc(2026, 10, 25, 20), [], utc(2026, 10, 25, 0, 30)),
        # Every hour is every hour, of 23 or of 25.
        (
            "0 * * * *",
            NEW_YORK,
            utc(2026, 11, 1, 4, 30),
            utc(2026, 11, 1, 7),
            [utc(2026, 11, 1, 5), utc(2026, 11, 1, 6)],
            utc(2026, 11, 1, 7),
        ),
        # Half an hour of summer time, and zones off the full hour.
        ("0 3 * * *", LORD_HOWE, utc(2026, 10, 3, 0), utc(2026, 10, 3, 23), [], utc(2026, 10, 3, 16)),
        ("0 3 * * *", LORD_HOWE, utc(2026, 10, 2, 0), utc(2026, 10, 2, 23), [], utc(2026, 10, 2, 16, 30)),
        ("0 3 * * *", "Asia/Kathmandu", DUE, utc(2026, 11, 23, 21, 15), [], utc(2026, 11, 23, 21, 15)),
        # The date line: the same line on the same day, 25 hours apart.
        ("0 3 * * *", "Pacific/Kiritimati", DUE - DAY, DUE, [], utc(2026, 11, 23, 13)),
        ("0 3 * * *", "Pacific/Pago_Pago", DUE - DAY, DUE, [], utc(2026, 11, 23, 14)),
        # Rare ones.
        ("0 3 1 * *", "Asia/Tokyo", utc(2026, 11, 1), utc(2026, 11, 30, 17, 59), [], None),
        ("0 3 29 2 *", "UTC", utc(2026, 1, 1), utc(2028, 2, 29, 3), [], utc(2028, 2, 29, 3)),
    ],
)
def test_seed_defect_79_what_is_due_follows_the_clocks_of_the_plans_zone(
    line: str, zone: str, since: datetime, at: datetime, lost: list[datetime], newest: datetime | None
) -> None:
    """The draft's DATE was of whatever zone the machine had."""
    assert rules.due(plan_of(Cron(line=line, zone=zone)), since, at) == (tuple(lost), newest)


def test_after_a_very_long_absence_only_the_newest_moments_are_told_one_by_one() -> None:
    lost, newest = rules.due(PLAN, DUE, DUE + 1000 * DAY)
    assert newest == DUE + 1000 * DAY
    assert len(lost) == rules.LONGEST_GAP - 1
    assert lost[-1] == DUE + 999 * DAY
    assert list(lost) == sorted(lost)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 60 * 24 * 9), min_size=1, max_size=12),
    st.sampled_from(["0 3 * * *", "30 2 * * *", "30 1 * * *", "15 */6 * * *"]),
    st.sampled_from(["Asia/Tokyo", NEW_YORK, BERLIN, LORD_HOWE]),
)
def test_however_often_it_is_looked_each_moment_is_met_exactly_once(
    pauses: list[int], line: str, zone: str
) -> None:
    """Begun or missed: no moment is lost between two looks, and none is met twice."""
    plan = plan_of(Cron(line=line, zone=zone))
    start = since = at = utc(2026, 3, 1)
    met: list[datetime] = []
    for minutes in pauses:
        at += minutes * MINUTE
        lost, newest = rules.due(plan, since, at)
        met += lost
        if newest is not None:
            met.append(newest)
            since = newest
    expected = []
    moment = plan.schedule.following(start)
    while moment <= at:
        expected.append(moment)
        moment = plan.schedule.following(moment)
    assert met == expected


@pytest.mark.parametrize(
    ("latest", "at", "free"),
    [
        (None, DUE + timedelta(milliseconds=900), DUE),
        (DUE - HOUR, DUE + timedelta(milliseconds=900), DUE),
        (DUE, DUE, DUE + SECOND),
        (DUE, DUE + timedelta(milliseconds=900), DUE + SECOND),
        (DUE + HOUR, DUE, DUE + HOUR + SECOND),
    ],
)
def test_two_that_are_asked_for_never_have_the_same_moment(
    latest: datetime | None, at: datetime, free: datetime
) -> None:
    assert rules.free_moment(latest, at) == free


# How one begins.


def test_a_backup_begins_with_all_of_its_parts_waiting_and_a_place_of_its_own() -> None:
    at = DUE + timedelta(minutes=2, seconds=41, microseconds=7)
    backup = rules.begin(plan_of(parts=TWO, destination="/kept/"), DUE, at, KENJI)
    assert [(one.part.name, one.stage, one.attempt) for one in backup.parts] == [
        ("toban", Stage.WAITING, 1),
        ("images", Stage.WAITING, 1),
    ]
    assert backup.standing is Standing.RUNNING and not backup.is_over
    assert backup.destination == "/kept/nightly/20261123T180000Z"
    assert backup.at == DUE + 2 * MINUTE, "Firestore takes full minutes only"
    assert (backup.begun_at, backup.look_at, backup.requested_by) == (at, at, KENJI)
    assert backup.expected_by == DUE + 30 * MINUTE, "counted from when it was due, not from when it began"


@pytest.mark.parametrize(
    ("expected", "patience"), [(5 * MINUTE, HOUR), (20 * MINUTE, HOUR), (2 * HOUR, 6 * HOUR)]
)
def test_it_is_given_up_after_three_times_what_was_expected_and_an_hour_at_least(
    expected: timedelta, patience: timedelta
) -> None:
    late = DUE + 5 * HOUR
    assert rules.begin(plan_of(expected=expected), DUE, late).until == late + patience


def test_a_missed_one_is_over_holds_nothing_and_is_looked_at_when_it_was_expected() -> None:
    lost = rules.missed(PLAN, DUE)
    assert lost.is_over and lost.standing is Standing.MISSED
    assert (lost.parts, lost.begun_at, lost.until, lost.destination) == ((), None, None, "")
    assert lost.look_at == lost.expected_by == DUE + 30 * MINUTE


def test_every_part_and_every_attempt_has_a_key_and_a_place_of_its_own() -> None:
    orders = [
        rules.order(rules.begin(PLAN, due, due), Progress(part=part, attempt=attempt))
        for due in (DUE, DUE + SECOND)
        for part in TWO
        for attempt in (1, 2)
    ]
    assert len({one.key for one in orders}) == len(orders)
    first, second = orders[:2]
    assert first.key == "toban/nightly/20261123T180000Z/toban"
    assert first.destination == "/kept/nightly/20261123T180000Z/toban"
    assert second.key == "toban/nightly/20261123T180000Z/toban-2"
    assert second.destination == "/kept/nightly/20261123T180000Z/toban-2"
    assert rules.order(begun(), begun().parts[0]) == rules.order(begun(), begun().parts[0])


def test_only_what_waits_is_about_to_be_begun() -> None:
    stages = list(Stage)
    parts = tuple(Progress(part=TWO[0], stage=stage) for stage in stages)
    after = [one.stage for one in rules.about_to_begin(parts)]
    assert after == [Stage.STARTING if stage is Stage.WAITING else stage for stage in stages]


# What an answer means.

OVER = {"operation": "op", "done": 7, "total": 9}


@pytest.mark.parametrize(
    ("heard", "before", "changed"),
    [
        (Began(operation="op"), {"stage": Stage.STARTING}, {"stage": Stage.COPYING, "operation": "op"}),
        (Going(done=3, total=9), {"stage": Stage.COPYING}, {"done": 3, "total": 9}),
        (Going(done=3, total=9), {"stage": Stage.COPYING, "done": 5}, {"done": 5, "total": 9}),
        (Going(), {"stage": Stage.COPYING, "done": 5, "total": 9}, {"done": 5, "total": None}),
        (Finished(), {"stage": Stage.COPYING, **OVER}, {"stage": Stage.PROVING}),
        (Proved(evidence=SOUND), {"stage": Stage.PROVING}, {"stage": Stage.DONE, "evidence": SOUND}),
        (Proved(evidence=FLAWED), {"stage": Stage.PROVING}, {"stage": Stage.DONE, "evidence": FLAWED}),
        (Silent(why="503"), {"stage": Stage.STARTING}, {"trouble": "503"}),
        (Silent(why="503"), {"stage": Stage.COPYING, **OVER}, {"trouble": "503"}),
        (Silent(why="503"), {"stage": Stage.PROVING, "attempt": 2}, {"trouble": "503"}),
        (
            Broke(why="cancelled"),
            {"stage": Stage.COPYING, **OVER},
            {
                "stage": Stage.WAITING,
                "attempt": 2,
                "operation": None,
                "done": 0,
                "total": None,
                "trouble": "cancelled",
            },
        ),
        (
            Broke(why="cancelled"),
            {"stage": Stage.COPYING, "attempt": 2},
            {
                "stage": Stage.FAILED,
                "problem": Text(key="backup.broke", params={"part": "toban", "why": "cancelled"}),
            },
        ),
    ],
)
def test_an_answer_changes_this_and_nothing_else(
    heard: Heard, before: dict[str, Any], changed: dict[str, Any]
) -> None:
    was = Progress.model_validate({"part": TWO[0], **before})
    assert rules.hear(was, heard) == was.model_copy(update=changed)


@pytest.mark.parametrize(
    "heard", [Began(operation="op"), Going(), Finished(), Proved(evidence=SOUND)], ids=lambda one: one.kind
)
def test_an_answer_ends_the_trouble(heard: Heard) -> None:
    assert rules.hear(Progress(part=TWO[0], stage=Stage.COPYING, trouble="503"), heard).trouble is None


def test_silence_never_fails_a_part_by_itself() -> None:
    one = Progress(part=TWO[0], stage=Stage.STARTING)
    for _ in range(1000):
        one = rules.hear(one, Silent(why="503"))
    assert (one.stage, one.attempt) == (Stage.STARTING, 1)


# One step of all parts.


def step(backup: Backup, *heard: Heard, at: datetime = DUE + MINUTE, **changes: Any) -> Backup:
    """What was heard of the parts in their order."""
    before: dict[str, list[Evidence]] = changes.pop("before", {})
    plan = changes.pop("plan", plan_of(parts=TWO))
    return rules.step(backup, dict(enumerate(heard)), plan, before, at)


@pytest.mark.parametrize(
    ("stages", "heard", "wait"),
    [
        ((Stage.STARTING,), (Began(operation="op"),), timedelta(0)),
        ((Stage.COPYING,), (Going(done=1),), rules.LOOK_AGAIN),
        ((Stage.COPYING,), (Finished(),), timedelta(0)),
        ((Stage.COPYING,), (Silent(why="503"),), rules.AFTER_SILENCE),
        ((Stage.COPYING,), (Broke(why="gone"),), rules.AFTER_SILENCE),
        ((Stage.COPYING, Stage.COPYING), (Finished(), Silent(why="503")), timedelta(0)),
        ((Stage.COPYING, Stage.COPYING), (Going(), Silent(why="503")), rules.LOOK_AGAIN),
        ((Stage.COPYING, Stage.COPYING), (Broke(why="gone"), Going()), rules.LOOK_AGAIN),
        ((Stage.COPYING, Stage.COPYING), (Silent(why="a"), Silent(why="b")), rules.AFTER_SILENCE),
        ((Stage.PROVING, Stage.COPYING), (Proved(evidence=SOUND), Silent(why="b")), rules.AFTER_SILENCE),
        ((Stage.PROVING, Stage.COPYING), (Proved(evidence=SOUND), Going()), timedelta(0)),
    ],
)
def test_it_is_looked_at_again_at_once_where_it_moved_and_later_where_nobody_answers(
    stages: tuple[Stage, ...], heard: tuple[Heard, ...], wait: timedelta
) -> None:
    after = step(begun(*stages, lease_until=DUE + HOUR), *heard)
    assert after.standing is Standing.RUNNING
    assert after.look_at == DUE + MINUTE + wait
    assert after.lease_until is None
    assert after.reasons == ()


@pytest.mark.parametrize(
    ("lasting", "wait"),
    [(-DAY, 30 * SECOND), (MINUTE, 30 * SECOND), (10 * MINUTE, MINUTE), (DAY, 2 * MINUTE)],
)
def test_the_longer_nobody_answers_the_rarer_it_is_tried(lasting: timedelta, wait: timedelta) -> None:
    """Each attempt may copy a whole database; a clock that was ahead when it began is no reason to hurry."""
    after = step(begun(Stage.STARTING, until=DUE + 2 * DAY), Silent(why="full"), at=DUE + lasting)
    assert after.look_at == DUE + lasting + wait


def test_it_is_verified_only_when_every_part_is_proven_sound() -> None:
    half = step(begun(Stage.PROVING, Stage.COPYING), Proved(evidence=SOUND), Going())
    assert not half.is_over
    whole = step(
        half.model_copy(update={"parts": (half.parts[0], begun(Stage.PROVING).parts[0])}),
        Proved(evidence=SOUND),
        Proved(evidence=SOUND),
        at=DUE + 2 * MINUTE,
    )
    assert (whole.standing, whole.ended_at, whole.look_at) == (Standing.VERIFIED, DUE + 2 * MINUTE, None)
    assert whole.size == 200


def test_one_flaw_of_one_part_is_a_failed_backup_with_the_flaw_in_words() -> None:
    after = step(begun(Stage.PROVING, Stage.PROVING), Proved(evidence=SOUND), Proved(evidence=FLAWED))
    assert after.standing is Standing.FAILED
    (reason,) = after.reasons
    assert reason.key == "backup.flaw_empty"
    assert reason.params["part"] == "images"


def test_a_part_that_broke_twice_fails_the_backup_whatever_the_others_are_worth() -> None:
    parts = (
        Progress(part=TWO[0], stage=Stage.COPYING, attempt=rules.ATTEMPTS),
        Progress(part=TWO[1], stage=Stage.PROVING),
    )
    after = step(begun(parts=parts), Broke(why="no space"), Proved(evidence=FLAWED))
    assert after.standing is Standing.FAILED
    assert [one.key for one in after.reasons] == ["backup.broke", "backup.flaw_empty"]
    assert after.parts[1].evidence == FLAWED, "what is known of the others stays"


def test_a_part_that_broke_once_is_begun_again_while_the_others_go_on() -> None:
    after = step(begun(Stage.COPYING, Stage.COPYING), Broke(why="internal"), Finished())
    assert [(one.stage, one.attempt) for one in after.parts] == [(Stage.WAITING, 2), (Stage.PROVING, 1)]
    assert [one.stage for one in rules.starting(after).parts] == [Stage.STARTING, Stage.PROVING]


@pytest.mark.parametrize(
    ("heard", "stage", "key"),
    [
        (Going(done=8), Stage.FAILED, "backup.took_too_long"),
        (Silent(why="503"), Stage.FAILED, "backup.took_too_long_silent"),
        (Broke(why="gone"), Stage.FAILED, "backup.took_too_long_silent"),
        (Proved(evidence=SOUND), Stage.DONE, None),
    ],
)
def test_what_is_not_over_when_patience_is_fails_but_a_last_good_answer_counts(
    heard: Heard, stage: Stage, key: str | None
) -> None:
    backup = begun(Stage.COPYING)
    assert backup.until is not None
    assert not step(backup, Going(done=8), at=backup.until - SECOND).is_over
    after = step(backup, heard, at=backup.until)
    assert after.parts[0].stage is stage
    assert after.standing is (Standing.VERIFIED if key is None else Standing.FAILED)
    assert [one.key for one in after.reasons] == ([] if key is None else [key])


def test_what_was_heard_is_judged_where_the_plan_is_gone_from_the_policy() -> None:
    usual = {"toban": [SOUND] * 3}
    assert step(begun(Stage.PROVING), Proved(evidence=SOUND), plan=None, before=usual).standing is (
        Standing.VERIFIED
    )
    tiny = Evidence(objects=1, bytes=1)
    after = step(begun(Stage.PROVING), Proved(evidence=tiny), plan=None, before=usual)
    assert after.standing is Standing.SUSPICIOUS


@pytest.mark.parametrize(
    ("ended", "look"), [(DUE + MINUTE, DUE + 30 * MINUTE), (DUE + 50 * MINUTE, DUE + 50 * MINUTE)]
)
@pytest.mark.parametrize("evidence", [FLAWED, Evidence(bytes=1)], ids=["failed", "suspicious"])
def test_what_was_not_verified_is_looked_at_once_more_when_it_was_expected(
    ended: datetime, look: datetime, evidence: Evidence
) -> None:
    after = step(begun(Stage.PROVING), Proved(evidence=evidence), at=ended, before={"toban": [SOUND] * 3})
    assert after.is_over and after.standing is not Standing.VERIFIED
    assert (after.look_at, after.ended_at) == (look, ended)


def fitting(stage: Stage) -> list[Heard]:
    """What a vault may answer at a stage."""
    silent = [Silent(why="503")]
    match stage:
        case Stage.STARTING:
            return [Began(operation="op"), Broke(why="refused"), *silent]
        case Stage.COPYING:
            return [Going(done=1, total=2), Finished(), Broke(why="gone"), *silent]
        case _:
            return [Proved(evidence=SOUND), Proved(evidence=FLAWED), *silent]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_vaults_answer_it_ends_in_time_and_says_why(data: st.DataObject) -> None:
    """No sequence of answers leaves a backup without an end, or verifies what was not proven."""
    plan = plan_of(parts=TWO)
    backup = begun()
    at = DUE
    for _ in range(2000):
        backup = rules.starting(backup)
        open_ones = [n for n, one in enumerate(backup.parts) if not one.stage.is_over]
        heard = {n: data.draw(st.sampled_from(fitting(backup.parts[n].stage))) for n in open_ones}
        backup = rules.step(backup, heard, plan, {}, at)
        if backup.is_over:
            break
        assert backup.look_at is not None
        at = max(backup.look_at, at + SECOND * data.draw(st.sampled_from([0, 1, 900])))
    assert backup.is_over
    sound = all(
        one.stage is Stage.DONE and one.evidence is not None and not one.evidence.flaws
        for one in backup.parts
    )
    assert (backup.standing is Standing.VERIFIED) is sound
    assert bool(backup.reasons) is not sound
    assert all(one.attempt <= rules.ATTEMPTS for one in backup.parts)
    assert backup.ended_at is not None and backup.until is not None
    assert backup.ended_at <= backup.until + rules.LONGEST_SILENCE + 900 * SECOND


# When its alert has to fire.

ON_TIME, LATE = DUE + 29 * MINUTE, DUE + 30 * MINUTE
CRITICAL, WARNING = Level.CRITICAL, Level.WARNING


@pytest.mark.parametrize(
    ("standing", "at", "told", "newest", "level"),
    [
        (Standing.RUNNING, ON_TIME, None, None, None),
        (Standing.RUNNING, LATE, None, None, CRITICAL),
        (Standing.RUNNING, LATE, CRITICAL, None, None),
        (Standing.RUNNING, LATE, None, DUE - DAY, CRITICAL),
        (Standing.RUNNING, LATE, None, DUE + HOUR, None),
        (Standing.FAILED, DUE + SECOND, None, None, CRITICAL),
        (Standing.FAILED, DUE + SECOND, None, DUE - DAY, CRITICAL),
        (Standing.FAILED, LATE, CRITICAL, None, None),
        (Standing.FAILED, LATE, WARNING, None, CRITICAL),
        (Standing.FAILED, LATE, None, DUE + SECOND, None),
        (Standing.SUSPICIOUS, DUE + SECOND, None, DUE - DAY, WARNING),
        (Standing.SUSPICIOUS, ON_TIME, WARNING, DUE - DAY, None),
        (Standing.SUSPICIOUS, LATE, WARNING, DUE - DAY, CRITICAL),
        (Standing.SUSPICIOUS, LATE, CRITICAL, DUE - DAY, None),
        (Standing.MISSED, ON_TIME, None, None, None),
        (Standing.MISSED, LATE, None, DUE - DAY, CRITICAL),
        (Standing.MISSED, LATE, None, DUE + DAY, None),
        (Standing.VERIFIED, LATE, None, DUE, None),
        (Standing.VERIFIED, ON_TIME, CRITICAL, DUE, None),
    ],
)
def test_seed_defect_77_what_is_not_verified_in_time_raises_its_alert_once(
    standing: Standing, at: datetime, told: Level | None, newest: datetime | None, level: Level | None
) -> None:
    """The draft had a message for success only: silence was all that a failure made."""
    backup = begun(standing=standing, alarmed_level=told)
    assert rules.alarm(backup, PLAN, newest, at) is level


@pytest.mark.parametrize(
    ("level", "suspicious", "late"),
    [
        (Level.INFO, Level.INFO, None),
        (WARNING, WARNING, None),
        (CRITICAL, WARNING, CRITICAL),
        (Level.EMERGENCY, WARNING, Level.EMERGENCY),
    ],
)
def test_a_suspicious_one_is_never_louder_than_its_plan(level: Level, suspicious: Level, late: Level) -> None:
    plan = plan_of(level=level)
    backup = begun(standing=Standing.SUSPICIOUS)
    assert rules.alarm(backup, plan, None, ON_TIME) is suspicious
    assert rules.alarm(backup.model_copy(update={"alarmed_level": suspicious}), plan, None, LATE) is late


# Somebody looked at it.


def test_who_accepts_is_kept_and_it_counts_from_then_on() -> None:
    ended = DUE + MINUTE
    backup = begun(standing=Standing.SUSPICIOUS, ended_at=ended, look_at=LATE)
    accepted = rules.accept(backup, Person(name="kenji", slack=(KENJI.id,)), KENJI, LATE)
    assert (accepted.standing, accepted.accepted_by, accepted.look_at) == (Standing.VERIFIED, KENJI, None)
    assert accepted.ended_at == ended, "its end is not that of the looking"
    assert rules.alarm(accepted, PLAN, accepted.due_at, LATE) is None
    assert accepted.requested_by == TOBAN


def test_21_12_a_drill_of_nothing_does_not_pass() -> None:
    drill = Drill(
        plan="nightly", due_at=DUE, backup_id=1, at=DUE, state=DrillState.RUNNING, begun_at=DUE, until=DUE
    )
    judged = drilling.removed(drilling.step(drill, {}, DUE), None, DUE)
    assert judged.state is DrillState.FAILED
    assert [one.key for one in judged.reasons] == ["drill.nothing"]
    assert drilling.blame(judged) is None


def test_21_5_what_comes_further_when_its_time_is_over_is_looked_at_to_its_end() -> None:
    """A whole copy lay there, and its row was given up."""
    backup = begun()
    assert backup.until is not None
    late = backup.until + HOUR
    starting = rules.starting(backup)
    found = rules.step(starting, {0: Began(operation="op"), 1: Began(operation="op")}, PLAN, {}, late)
    assert [one.stage for one in found.parts] == [Stage.COPYING, Stage.COPYING]
    seen = rules.step(found, {0: Finished(), 1: Going(done=1)}, PLAN, {}, late)
    assert [one.stage for one in seen.parts] == [Stage.PROVING, Stage.FAILED]
    again = rules.step(starting, {0: Broke(why="gone"), 1: Silent(why="away")}, PLAN, {}, late)
    assert [one.stage for one in again.parts] == [Stage.FAILED, Stage.FAILED]


def test_21_5_what_was_proven_wrong_is_not_believed_again_because_its_file_is_as_it_was() -> None:
    """A drill that restored it and a deletion of a part know more than its manifest."""
    starting = rules.starting(begun())
    whole = {n: Began(operation="op") for n in (0, 1)}
    copied = rules.step(starting, whole, PLAN, {}, DUE)
    seen = rules.step(copied, {n: Finished() for n in (0, 1)}, PLAN, {}, DUE)
    done = rules.step(seen, {n: Proved(evidence=Evidence(objects=1)) for n in (0, 1)}, PLAN, {}, DUE)
    assert done.standing is Standing.VERIFIED
    assert not rules.may_be_whole(done)
    assert not rules.may_be_whole(rules.demoted(done, Standing.FAILED, (Text(key="backup.failed_drill"),)))
    assert begun().until is not None
    given_up = rules.step(starting, {}, PLAN, {}, begun().until or DUE)
    assert given_up.standing is Standing.FAILED
    assert rules.may_be_whole(given_up)
    assert rules.may_be_whole(rules.missed(PLAN, DUE))


FIRST = begun(Stage.DONE, standing=Standing.VERIFIED)
LATER = DUE + 15 * MINUTE
"""Half of what is expected has passed."""


@pytest.mark.parametrize(
    ("first", "changes", "at", "taken"),
    [
        (FIRST, {}, DUE, "takes"),
        (FIRST, {}, LATER + HOUR, "takes"),
        (FIRST, {"trouble": "no answer"}, DUE, "takes"),
        (FIRST, {"trouble": "no answer"}, LATER, "makes"),
        (FIRST, {"attempt": 2}, DUE, "makes"),
        (begun(Stage.STARTING), {}, LATER - SECOND, "waits"),
        (begun(Stage.STARTING), {}, LATER, "makes"),
        (begun(Stage.STARTING), {}, DUE - SECOND, "makes"),  # A clock that was ahead has begun it.
        (None, {}, LATER - SECOND, "waits"),
        (None, {}, LATER, "makes"),
        (begun(Stage.FAILED, standing=Standing.FAILED), {}, DUE, "makes"),
        (begun(Stage.DONE, standing=Standing.SUSPICIOUS), {}, DUE, "makes"),
        (rules.missed(PLAN, DUE), {}, DUE, "makes"),
        (begun(Stage.DONE, standing=Standing.VERIFIED, ahead=True), {}, DUE, "makes"),
        (begun(Stage.DONE, standing=Standing.VERIFIED, removed_at=DUE), {}, DUE, "makes"),
    ],
)
def test_21_14_a_second_destination_takes_waits_for_or_makes_its_copy(
    first: Backup | None, changes: dict[str, Any], at: datetime, taken: str
) -> None:
    second = rules.begin(PLAN.also_at("/other"), DUE, DUE)
    (progress,) = second.parts
    found = rules.to_take(second, progress.model_copy(update=changes), first, at)
    said = "waits" if isinstance(found, Going) else "makes" if found is None else "takes"
    assert said == taken
    if isinstance(found, Order):
        assert first is not None
        assert found == rules.order(first, first.parts[0])


def test_21_14_a_plan_of_its_own_and_a_second_one_that_is_asked_for_alone_wait_for_nobody() -> None:
    own = rules.begin(PLAN, DUE, DUE)
    assert rules.to_take(own, own.parts[0], FIRST, DUE) is None
    asked = rules.begin(PLAN.also_at("/other"), DUE, DUE, KENJI)
    assert rules.to_take(asked, asked.parts[0], None, DUE) is None
    assert isinstance(rules.to_take(asked, asked.parts[0], begun(Stage.STARTING), DUE), Going)


def test_21_3_what_a_clock_ahead_has_told_is_told_again_and_a_day_counts_from_then() -> None:
    """Nothing would have been deleted before the day of that clock had come."""
    plan, ahead = plan_of(deletes=True), DUE + 40 * DAY
    told = begun(Stage.DONE, standing=Standing.VERIFIED, marked_at=ahead, warned_at=ahead)
    for one in (told, told.model_copy(update={"doomed_at": ahead + DAY, "look_at": ahead + DAY})):
        again = rules.to_go(one, plan, DUE + DAY)
        assert (again.warned_at, again.doomed_at) == (DUE + DAY, None)
        assert again.look_at is None or one.doomed_at is None
        doomed = rules.to_go(again, plan, DUE + 2 * DAY)
        assert (doomed.doomed_at, doomed.look_at) == (DUE + 2 * DAY, DUE + 2 * DAY)
