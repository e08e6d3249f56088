"""Odd steps become episodes: one alert each, with a threshold that people's answers move."""

import math
import sys
from itertools import pairwise
from subprocess import run

import pytest

from domain import anomalies
from domain.anomalies import Answer, Deviation, Direction, Event, Scored, Track, Turn
from domain.rules import Sensitivity

AT = 1_790_000_100
STEP = 300
HOUR, DAY = 3600, 86_400
OLD = AT - 30 * DAY
CPU = Deviation(column="cpu", direction=Direction.UP, observed=0.9, low=0.2, high=0.4, score=5.0)


def steps(
    *scores: float | None, start: int = AT, column: str = "cpu", way: Direction = Direction.UP
) -> list[Scored]:
    """One step after another, driven by one metric."""
    return [
        Scored(
            at=start + place * STEP,
            score=score,
            deviations=()
            if score is None or score < anomalies.ODD
            else (CPU.model_copy(update={"column": column, "direction": way, "score": score}),),
        )
        for place, score in enumerate(scores)
    ]


def follow(
    track: Track, scored: list[Scored], sensitivity: Sensitivity = Sensitivity.NORMAL, since: int | None = OLD
) -> tuple[Track, list[Event]]:
    return anomalies.follow(track, scored, sensitivity, since=since)


def alarm(track: Track, start: int, score: float = 9.0, column: str = "cpu") -> tuple[Track, list[Event]]:
    """Trouble for two steps, and quiet until it is over."""
    return follow(track, steps(score, score, *[0.5] * 8, start=start, column=column))


def turns(events: list[Event]) -> list[Turn]:
    return [event.turn for event in events]


def test_seed_defect_48_one_alert_for_one_episode_with_start_and_end():
    track, events = follow(Track(), steps(1, 1, 5, 5.2, 4.9, 3, 5, *[1.0] * 10))
    assert turns(events) == [Turn.OPENED, Turn.CLOSED]
    opened, closed = events
    assert opened.episode.started_at == AT + 2 * STEP
    assert opened.episode.is_open
    assert closed.episode.last_at == AT + 6 * STEP
    assert closed.episode.ended_at == AT + 12 * STEP
    assert closed.episode.peak == 5.2
    assert closed.episode.driver.column == "cpu"
    assert track.episode is None
    assert track.alarms == (closed.episode,)


def test_the_same_steps_twice_change_nothing():
    once, events = follow(Track(), steps(1, 5, 5, 1))
    assert turns(events) == [Turn.OPENED]
    assert follow(once, steps(1, 5, 5, 1)) == (once, [])
    assert follow(once, list(reversed(steps(1, 5, 5, 1)))) == (once, [])


def test_steps_one_by_one_come_to_the_same_as_all_at_once():
    scored = steps(1, 5, 6.5, 2.5, 1, 1, 1, None, 1, 1, 1, 1, 5, 5, *[1.0] * 20, 8, 8, *[0.0] * 9)
    at_once, events = follow(Track(), scored)
    one_by_one, told = Track(), []
    for step in scored:
        one_by_one, some = follow(one_by_one, [step])
        told += some
    assert (one_by_one, told) == (at_once, events)


def test_a_track_survives_being_stored():
    track, _ = alarm(Track(), AT)
    track, _ = follow(
        anomalies.answer(track, Answer.MUTE, AT, AT + HOUR, "kenji"), steps(9, start=AT + 3 * DAY)
    )
    assert Track.model_validate_json(track.model_dump_json()) == track


def test_it_says_when_it_got_worse_or_another_metric_moved():
    louder = steps(4.5, 4.6, 5.7, 5.7)
    both = louder[-1].deviations[0].model_copy(update={"column": "latency"})
    louder.append(louder[-1].model_copy(update={"at": AT + 4 * STEP, "deviations": (CPU, both)}))
    _, events = follow(Track(), louder)
    assert turns(events) == [Turn.OPENED, Turn.CONTINUED, Turn.CONTINUED]
    assert events[1].episode.peak == 5.7
    assert [other.column for other in events[2].episode.others] == ["latency"]


def test_a_score_between_half_and_whole_threshold_keeps_an_episode_open_but_opens_none():
    assert follow(Track(), steps(*[3.0] * 20))[1] == []
    _, events = follow(Track(), steps(5, *[3.0] * 20))
    assert turns(events) == [Turn.OPENED]


def test_trouble_of_another_metric_is_an_alert_of_its_own_once_the_first_is_quiet():
    track, events = follow(Track(), steps(5, 5, 5, column="requests"))
    later = steps(1, 1, 1, 5, 5, start=AT + 3 * STEP, column="memory")
    track, more = follow(track, later)
    assert turns(events + more) == [Turn.OPENED, Turn.CLOSED, Turn.OPENED]
    assert [event.episode.driver.column for event in more] == ["requests", "memory"]
    assert more[0].at == more[1].at
    assert track.episode is not None
    assert track.episode.started_at == more[1].at


def test_trouble_that_moves_from_one_metric_to_the_next_stays_one_alert():
    track, events = follow(Track(), [*steps(5, 5, column="requests")])
    track, more = follow(track, steps(5, 5, 5, start=AT + 2 * STEP, column="latency"))
    assert turns(events + more) == [Turn.OPENED, Turn.CONTINUED]
    assert track.episode is not None
    assert track.episode.columns == {"requests", "latency"}


def test_noise_of_other_metrics_does_not_keep_an_episode_open():
    track, _ = follow(Track(), steps(5, 5, column="requests"))
    _, events = follow(track, steps(*[2.9] * 7, start=AT + 2 * STEP, column="latency"))
    assert turns(events) == [Turn.CLOSED]


def test_it_rests_an_hour_after_an_episode():
    scored = steps(5, *[0.0] * 6, 6, 6, *[0.0] * 10, 6)
    track, events = follow(Track(), scored)
    assert turns(events) == [Turn.OPENED, Turn.CLOSED, Turn.OPENED]
    assert events[2].at >= (events[1].episode.ended_at or 0) + HOUR
    assert len(track.alarms) == 2


def test_missing_data_neither_opens_nor_closes_until_it_is_lost():
    track, events = follow(Track(), steps(5, *[None] * 20))
    assert turns(events) == [Turn.OPENED]
    track, events = follow(track, steps(*[None] * 8, start=AT + 21 * STEP))
    assert turns(events) == [Turn.CLOSED]
    assert track.episode is None
    assert follow(Track(), steps(*[None] * 50))[1] == []


@pytest.mark.parametrize(
    ("sensitivity", "score", "is_heard"),
    [
        (Sensitivity.NORMAL, anomalies.BASE + 0.01, True),
        (Sensitivity.NORMAL, anomalies.BASE - 0.01, False),
        (Sensitivity.LOW, anomalies.BASE + 0.99, False),
        (Sensitivity.LOW, anomalies.BASE + 1.01, True),
        (Sensitivity.HIGH, anomalies.BASE - 0.49, True),
        (Sensitivity.HIGH, anomalies.BASE - 0.51, False),
        (Sensitivity.OFF, 50.0, False),
    ],
)
def test_sensitivity_moves_the_threshold(sensitivity, score, is_heard):
    assert bool(follow(Track(), steps(score), sensitivity)[1]) == is_heard


@pytest.mark.parametrize(
    ("days", "more"), [(2, anomalies.YOUNG * 12 / 14), (7, anomalies.YOUNG / 2), (14, 0.0), (40, 0.0)]
)
def test_a_young_history_needs_more(days, more):
    found = anomalies.threshold(Track(), Sensitivity.NORMAL, AT - days * DAY, AT)
    assert found == pytest.approx(anomalies.BASE + more)


def test_recent_alarms_raise_the_threshold_and_fade():
    track, thresholds = Track(), []
    for day in range(4):
        thresholds.append(anomalies.threshold(track, Sensitivity.NORMAL, OLD, AT + day * DAY))
        track, _ = alarm(track, AT + day * DAY)
    assert all(later > sooner for sooner, later in pairwise(thresholds))
    assert thresholds[1] == pytest.approx(anomalies.BASE + 0.5 * math.log2(1 + math.exp(-1 / 7)))
    weeks_later = anomalies.threshold(track, Sensitivity.NORMAL, OLD, AT + 30 * DAY)
    assert anomalies.BASE < weeks_later < thresholds[1]


def test_useful_alarms_do_not_raise_it_and_their_time_is_not_learned_from():
    track, _ = alarm(Track(), AT)
    useful = anomalies.answer(track, Answer.USEFUL, AT, AT + HOUR, "kenji")
    assert anomalies.threshold(useful, Sensitivity.NORMAL, OLD, AT + DAY) == anomalies.BASE
    assert anomalies.excluded_by(track) == ()
    ended = track.alarms[0].ended_at
    assert anomalies.excluded_by(useful) == ((AT - HOUR, ended),)


def test_the_time_of_an_open_alarm_is_left_out_only_when_it_is_over():
    track, _ = follow(Track(), steps(5, 5))
    track = anomalies.answer(track, Answer.USEFUL, AT, AT + 600)
    assert anomalies.excluded_by(track) == ()
    track, _ = follow(track, steps(*[0.0] * 10, start=AT + 2 * STEP))
    assert len(anomalies.excluded_by(track)) == 1


def test_not_useful_raises_that_metric_and_direction_only_and_fades():
    track, _ = alarm(Track(), AT)
    later = AT + 2 * HOUR
    limit = anomalies.threshold(track, Sensitivity.NORMAL, OLD, later)
    bad = anomalies.answer(track, Answer.NOT_USEFUL, AT, AT + HOUR, "kenji")
    just = limit + 0.3
    assert follow(track, steps(just, start=later))[1]
    assert not follow(bad, steps(just, start=later))[1]
    assert follow(bad, steps(limit + 0.55, start=later))[1]
    assert follow(bad, steps(just, start=later, column="memory"))[1]
    assert follow(bad, steps(just, start=later, way=Direction.DOWN))[1]
    much_later = AT + 28 * DAY
    limit = anomalies.threshold(bad, Sensitivity.NORMAL, OLD, much_later)
    assert follow(bad, steps(limit + 0.02, start=much_later))[1]


def test_answers_never_raise_it_without_bound():
    track = Track()
    for number in range(20):
        at = AT + number * 3 * HOUR
        track, events = alarm(track, at, score=30.0)
        assert Turn.OPENED in turns(events)
        track = anomalies.answer(track, Answer.NOT_USEFUL, at, at + HOUR, "kenji")
    at = AT + 3 * DAY
    limit = anomalies.threshold(track, Sensitivity.NORMAL, OLD, at) + anomalies.AT_MOST
    assert follow(track, steps(limit - 0.2, start=at))[1] == []
    assert follow(track, steps(limit + 0.2, start=at))[1]


def test_a_mute_is_silent_for_a_day_about_that_metric():
    track, _ = alarm(Track(), AT)
    muted = anomalies.answer(track, Answer.MUTE, AT, AT + HOUR)
    assert anomalies.muted_until(muted, AT + 2 * HOUR) == {"cpu": AT + 25 * HOUR}
    assert not follow(muted, steps(20, start=AT + 5 * HOUR))[1]
    assert follow(muted, steps(20, start=AT + 5 * HOUR, column="memory"))[1]
    assert follow(muted, steps(20, start=AT + 25 * HOUR))[1]
    assert anomalies.muted_until(muted, AT + 25 * HOUR) == {}


def test_a_whole_service_can_be_muted():
    muted = anomalies.mute(Track(), AT)
    assert not follow(muted, steps(20, start=AT + HOUR, column="memory"))[1]
    assert not follow(muted, steps(20, start=AT + HOUR))[1]
    assert follow(muted, steps(20, start=AT + DAY))[1]


def test_what_is_muted_does_not_speak_through_another_metric():
    muted = anomalies.mute(Track(), AT, column="cpu")
    loud = CPU.model_copy(update={"score": 9.0})
    faint = CPU.model_copy(update={"column": "latency", "score": 2.5})
    step = Scored(at=AT + STEP, score=anomalies.fuse([9.0, 2.5]), deviations=(loud, faint))
    assert follow(muted, [step])[1] == []
    stronger = step.model_copy(update={"deviations": (loud, faint.model_copy(update={"score": 6.0}))})
    _, events = follow(muted, [stronger])
    assert events[0].episode.driver.column == "latency"


def test_what_is_expected_is_silent_until_the_baseline_has_followed():
    track, _ = alarm(Track(), AT)
    track = anomalies.answer(track, Answer.EXPECTED, AT, AT + HOUR, "kenji")
    track, events = follow(track, steps(*[8.0] * (3 * 288), start=AT + HOUR))
    assert events == []
    track, events = follow(track, steps(*[1.0] * 280, start=AT + HOUR + 3 * DAY))
    assert events == []
    track, events = follow(track, steps(*[1.0] * 20, start=AT + HOUR + 3 * DAY + 280 * STEP))
    _, events = follow(track, steps(8.0, start=AT + HOUR + 3 * DAY + 300 * STEP))
    assert turns(events) == [Turn.OPENED]


def test_what_is_expected_is_not_silent_for_ever():
    track, _ = alarm(Track(), AT)
    track = anomalies.answer(track, Answer.EXPECTED, AT, AT + HOUR)
    events: list[Event] = []
    for hour in range(2, 16 * 24):
        track, some = follow(track, steps(9.0, start=AT + hour * HOUR))
        events += some
    assert turns(events) == [Turn.OPENED]
    assert events[0].at == AT + HOUR + anomalies.LEARN_AT_MOST


def test_an_answer_repeated_changes_nothing_and_a_later_one_replaces_it():
    track, _ = alarm(Track(), AT)
    once = anomalies.answer(track, Answer.USEFUL, AT, AT + HOUR, "kenji")
    assert anomalies.answer(once, Answer.USEFUL, AT, AT + 2 * HOUR, "kenji") == once
    other = anomalies.answer(once, Answer.NOT_USEFUL, AT, AT + 2 * HOUR, "kenji")
    assert [vote.answer for vote in other.votes] == [Answer.NOT_USEFUL]
    both = anomalies.answer(once, Answer.MUTE, AT, AT + 2 * HOUR, "kenji")
    assert [vote.answer for vote in both.votes] == [Answer.USEFUL, Answer.MUTE]
    assert anomalies.answer(once, Answer.USEFUL, AT + 1, AT + HOUR, "kenji") == once


def test_the_share_of_useful_alarms_in_a_week():
    track = Track()
    for number, said in enumerate(
        [Answer.USEFUL, Answer.NOT_USEFUL, Answer.EXPECTED, Answer.MUTE, Answer.USEFUL]
    ):
        at = AT + number * 6 * HOUR
        track, _ = alarm(track, at, score=30, column=f"metric {number}")
        track = anomalies.answer(track, said, at, at + HOUR, "kenji")
    track, _ = alarm(track, AT + 3 * DAY, score=30)
    assert anomalies.share_useful([track], AT) == (2, 4)
    assert anomalies.share_useful([track, track], AT) == (4, 8)
    assert anomalies.share_useful([track], AT + 7 * DAY) == (0, 0)


def test_alarms_and_answers_are_forgotten_after_five_weeks():
    track, _ = alarm(Track(), AT)
    track = anomalies.answer(track, Answer.USEFUL, AT, AT + HOUR)
    track, _ = follow(track, steps(0, start=AT + 36 * DAY))
    assert (track.alarms, track.votes) == ((), ())


def test_nothing_is_ready_before_two_days():
    assert anomalies.ready_at(None) is None
    assert anomalies.ready_at(AT) == AT + 2 * DAY


def test_several_metrics_together_count_more_than_one_but_one_is_enough():
    assert anomalies.fuse([]) == 0
    assert anomalies.fuse([4.0]) == 4.0
    assert anomalies.fuse([4.0, 3.0, 1.0]) == 4.25
    assert anomalies.fuse([4.0, 3.0]) < anomalies.fuse([4.0, 4.0, 4.0]) == 5.0
    assert 6 < anomalies.fuse([60.0, 60.0]) < 13


def test_the_light_part_does_not_load_numpy():
    code = "import sys, domain.anomalies; raise SystemExit('numpy' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
