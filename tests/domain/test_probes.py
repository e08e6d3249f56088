"""When what a health address says is an alert."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.policy import Level
from domain.probes import BODY_SHOWN, ProbeStanding, Seen, fault, follow, retire
from domain.rules import Probe
from domain.series import epoch
from tests.domain.measuring import API, minute

URL = "https://api.example.com/healthz"
PROBE = Probe(name="api-health", service="api", url=URL, failures=3, successes=2)
GOOD = Seen(url=URL, status=200, seconds=0.05, body="ok")
BAD = Seen(url=URL, status=503, seconds=0.12, body="upstream\n  is <!channel> down")


def probe(**changes):
    return PROBE.model_copy(update=changes)


def followed(looks, rule=PROBE):
    """All signals as (minute, firing), and the last standing."""
    standing, told = None, []
    for number, seen in enumerate(looks):
        standing, signal = follow(standing, seen, rule, API, minute(number))
        told += [(number, signal.firing)] if signal is not None else []
    return told, standing


FAULTS = {
    "as expected": (PROBE, GOOD, None),
    "the lowest good status": (PROBE, GOOD.model_copy(update={"status": 200}), None),
    "a redirect is not followed": (PROBE, GOOD.model_copy(update={"status": 302}), "HTTP 302"),
    "a redirect that is expected": (
        probe(statuses=((200, 299), (302, 302))),
        GOOD.model_copy(update={"status": 302}),
        None,
    ),
    "a bad status": (PROBE, BAD, "HTTP 503"),
    "no answer in time": (PROBE, Seen(url=URL, seconds=5, problem="timeout"), "timeout"),
    "an address that may not be asked": (
        PROBE,
        Seen(url=URL, seconds=0, problem="forbidden address"),
        "forbidden address",
    ),
    "a good status that was cut off": (
        PROBE,
        GOOD.model_copy(update={"problem": "too long"}),
        "too long",
    ),
    "nothing at all": (PROBE, Seen(url=URL, seconds=0), "no answer"),
    "the text is there": (probe(text="ok"), GOOD, None),
    "the text is missing": (probe(text="healthy"), GOOD, "unexpected text"),
    "as slow as allowed": (probe(slow=timedelta(milliseconds=50)), GOOD, None),
    "slower": (probe(slow=timedelta(milliseconds=49)), GOOD, "slow"),
    "slow, but nobody minds": (PROBE, GOOD.model_copy(update={"seconds": 4.9}), None),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_was_seen_is_judged_by_what_is_expected(case):
    rule, seen, wanted = FAULTS[case]
    assert fault(rule, seen) == wanted


COURSES = {
    "all is well": ("gggg", []),
    "two failures are chance": ("gbbgbbg", []),
    "three in a row": ("gbbb", [(3, True)]),
    "it goes on": ("bbbbbb", [(2, True)]),
    "two good ones end it": ("bbbgg", [(2, True), (4, False)]),
    "one good one does not": ("bbbgbgbg", [(2, True)]),
    "and again": ("bbbggbbb", [(2, True), (4, False), (7, True)]),
}


@pytest.mark.parametrize("case", COURSES)
def test_a_probe_speaks_after_some_failures_and_ends_after_some_successes(case):
    looks, wanted = COURSES[case]
    assert followed([GOOD if look == "g" else BAD for look in looks])[0] == wanted


def test_the_alert_says_what_was_seen():
    standing, told = None, []
    for number in range(3):
        standing, signal = follow(standing, BAD, PROBE, API, minute(number))
        told.append(signal)
    alert = told[-1]
    assert alert.title == "api: api-health failing, HTTP 503 (120 ms)"
    assert (alert.value, alert.level, alert.service) == ("HTTP 503", Level.CRITICAL, "api")
    assert epoch(alert.started_at) == epoch(minute(0))
    assert alert.labels == {"rule": "api-health", "metric": "probe", "service": "api"}
    summary = alert.wording.summary
    assert summary.key == "probe.failing_with.summary"
    assert summary.params["body"] == "upstream is <!channel> down"
    assert (summary.params["times"], summary.params["took"]) == (3, [0.12, "seconds"])


def test_an_answer_without_end_is_quoted_only_in_its_beginning():
    long = BAD.model_copy(update={"body": "x" * 100_000})
    _, signal = follow(None, long, probe(failures=1), API, minute(0))
    assert signal.wording.summary.params["body"] == "x" * BODY_SHOWN


def test_no_answer_has_nothing_to_quote():
    lost = Seen(url=URL, seconds=5, problem="timeout")
    _, signal = follow(None, lost, probe(failures=1), API, minute(0))
    assert signal.wording.summary.key == "probe.failing.summary"
    assert signal.wording.summary.params["problem"] == "timeout"


def test_the_end_is_the_same_alert_and_names_when_it_was_well_again():
    standing, told = None, []
    for number, seen in enumerate([BAD, BAD, BAD, GOOD, GOOD]):
        standing, signal = follow(standing, seen, PROBE, API, minute(number))
        told.append(signal)
    opened, signal = told[2], told[4]
    assert (signal.identity, signal.firing) == (opened.identity, False)
    assert epoch(signal.ended_at) == epoch(minute(3))
    assert signal.wording.title.key == "probe.answering.title"
    assert signal.wording.title.params["seconds"] == 180


def test_the_end_begins_with_the_last_run_of_good_answers():
    standing = None
    for number, seen in enumerate([BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD]):
        standing, signal = follow(standing, seen, PROBE, API, minute(number))
    assert epoch(signal.ended_at) == epoch(minute(5))


def test_a_look_counts_once_and_an_older_one_not_at_all():
    standing, _ = follow(None, BAD, PROBE, API, minute(5))
    assert follow(standing, BAD, PROBE, API, minute(5)) == (standing, None)
    assert follow(standing, BAD, PROBE, API, minute(4)) == (standing, None)


def test_a_failure_that_holds_is_reported_again_after_half_an_hour():
    assert followed([BAD] * 40)[0] == [(2, True), (32, True)]


def test_a_probe_that_left_the_policy_closes_what_it_opened_but_calls_nothing_recovered():
    standing, opened = follow(None, BAD, probe(failures=1), API, minute(0))
    closing = retire(standing, API, minute(9))
    assert (closing.firing, closing.recovered) == (False, False)
    assert closing.identity == opened.identity
    quiet, _ = follow(None, GOOD, PROBE, API, minute(0))
    assert retire(quiet, API, minute(9)) is None


def test_a_probe_has_its_own_channel_and_identity():
    seen = [
        follow(None, BAD, probe(failures=1, **changes), API, minute(0))[1]
        for changes in ({}, {"name": "other"}, {"channel": "#performance"})
    ]
    assert len({signal.identity for signal in seen}) == 2
    assert seen[2].channel == "#performance"


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from([GOOD, BAD]), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_openings_and_ends_take_turns_and_need_their_number_in_a_row(looks, failures, successes):
    told, standing = followed(looks, probe(failures=failures, successes=successes))
    turns = [firing for number, firing in told]
    changes = [firing for place, firing in enumerate(turns) if place == 0 or turns[place - 1] != firing]
    assert changes == [place % 2 == 0 for place in range(len(changes))]
    for number, firing in told:
        needed = failures if firing else successes
        assert all((look is BAD) is firing for look in looks[number + 1 - needed : number + 1])
    if standing is not None:
        assert ProbeStanding.model_validate(standing.model_dump(mode="json")) == standing
        assert standing.firing is (bool(turns) and turns[-1])
