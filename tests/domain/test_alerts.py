"""What a signal does to its group: tables of cases, and a naive model for any order and repetition."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import alerts as rules
from domain.alerts import Alert, AlertGroup, AlertStatus, Reason, Signal, absorb
from domain.effects import By
from domain.errors import Refused
from domain.policy import Level

T0 = datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
KENJI = By(id="U1", name="Kenji")
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def after(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def signal(identity: str = "a", *, firing: bool = True, level: Level = Level.CRITICAL, **more) -> Signal:
    return Signal(
        source="test",
        identity=identity,
        group_key="g",
        firing=firing,
        level=level,
        raw_level=f"raw {level}",
        **{"title": f"Trouble {identity}", **more},
    )


class Memory:
    """Groups and alerts as a store keeps them: the newest group of a key, each alert in its group."""

    def __init__(self) -> None:
        self.groups: dict[int, AlertGroup] = {}
        self.alerts: dict[str, Alert] = {}
        self.heard: list[Reason] = []

    @property
    def group(self) -> AlertGroup:
        return self.groups[max(self.groups)]

    def hear(self, sent: Signal, at: datetime) -> Reason:
        alert = self.alerts.get(sent.identity)
        if alert is not None and alert.firing:
            before = self.groups.get(alert.group_id or 0)
        else:
            newest = [number for number, group in self.groups.items() if group.key == sent.group_key]
            before = self.groups[max(newest)] if newest else None
        done = absorb(before, alert, sent, at)
        group_id = alert.group_id if alert else None
        if done.group is not None and done.group is not before:
            group_id = done.group.id or len(self.groups) + 1
            self.groups[group_id] = done.group.model_copy(update={"id": group_id})
        if done.alert is not alert:
            self.alerts[sent.identity] = done.alert.model_copy(update={"group_id": group_id, "id": 1})
        self.heard.append(done.reason)
        self.check()
        return done.reason

    def acknowledge(self, at: datetime) -> None:
        self.groups[max(self.groups)] = rules.acknowledge(self.group, KENJI, at)

    def resolve(self, at: datetime) -> None:
        """A person says that it is over; the store closes the group's alerts with it."""
        number = max(self.groups)
        self.groups[number] = rules.resolve(self.group, KENJI, at)
        for identity, alert in self.alerts.items():
            if alert.group_id == number and alert.firing:
                closed = {"firing": False, "closed_by_person": True, "changed_at": at, "ended_at": at}
                self.alerts[identity] = alert.model_copy(update=closed)

    def check(self) -> None:
        """What holds after any signal."""
        for number, group in self.groups.items():
            firing = sum(one.firing and one.group_id == number for one in self.alerts.values())
            assert group.firing == firing
            assert 0 <= group.firing <= group.total
            assert group.is_open == (group.resolved_at is None)
            assert group.is_open or group.firing == 0
            assert (group.status is AlertStatus.ACKNOWLEDGED) <= (group.acknowledged_at is not None)
            AlertGroup.model_validate(group.model_dump())
        open_ones = [group.key for group in self.groups.values() if group.is_open]
        assert len(open_ones) == len(set(open_ones))


def test_the_first_alert_opens_a_group():
    memory = Memory()
    sent = signal(
        summary="It is bad.",
        service="api",
        labels={"a": "b"},
        url="https://x.example/",
        runbook="https://r.example/",
        value="3",
        threshold="2",
        started_at=after(-1),
    )
    assert memory.hear(sent, T0) is Reason.FIRST
    group = memory.group
    assert group == AlertGroup(
        id=1,
        key="g",
        source="test",
        service="api",
        title="Trouble a",
        summary="It is bad.",
        level=Level.CRITICAL,
        raw_level="raw critical",
        firing=1,
        total=1,
        labels={"a": "b"},
        url="https://x.example/",
        runbook="https://r.example/",
        value="3",
        threshold="2",
        opened_at=T0,
        began_at=after(-1),
        changed_at=T0,
    )
    alert = memory.alerts["a"]
    assert alert.firing
    assert alert.seen_firing
    assert (alert.started_at, alert.ended_at, alert.changed_at) == (after(-1), None, T0)


def test_a_second_alert_joins_the_group():
    memory = Memory()
    memory.hear(signal("a"), T0)
    assert memory.hear(signal("b"), after(1)) is Reason.NEW_ALERTS
    assert len(memory.groups) == 1
    assert (memory.group.firing, memory.group.total, memory.group.title) == (2, 2, "Trouble a")
    assert memory.group.changed_at == after(1)
    assert memory.group.opened_at == T0


def test_another_key_is_another_group():
    memory = Memory()
    memory.hear(signal("a"), T0)
    other = signal("b").model_copy(update={"group_key": "other"})
    assert memory.hear(other, T0) is Reason.FIRST
    assert len(memory.groups) == 2


@pytest.mark.parametrize("reusable", [True, False])
@pytest.mark.parametrize("minutes", [0, 0.5, 2, 45, 60 * 24])
def test_a_reminder_changes_nothing(minutes, reusable):
    memory = Memory()
    memory.hear(signal(reusable=reusable), T0)
    group, alert = memory.group, memory.alerts["a"]
    assert memory.hear(signal(reusable=reusable), after(minutes)) is Reason.REMINDER
    assert memory.group == group
    assert memory.alerts["a"] == alert


def test_the_last_closing_resolves_the_group():
    memory = Memory()
    memory.hear(signal("a", value="9"), T0)
    memory.hear(signal("b"), T0)
    assert memory.hear(signal("a", firing=False, ended_at=after(3)), after(4)) is Reason.SOME_RESOLVED
    assert (memory.group.firing, memory.group.total) == (1, 2)
    assert memory.group.status is AlertStatus.FIRING
    assert memory.alerts["a"].ended_at == after(3)
    closing = signal("b", firing=False, summary="Back to normal.", value="1")
    assert memory.hear(closing, after(5)) is Reason.ALL_RESOLVED
    group = memory.group
    assert (group.status, group.firing, group.total) == (AlertStatus.RESOLVED, 0, 2)
    assert (group.resolved_at, group.resolved_by, group.recovered) == (after(5), None, True)
    assert (group.summary, group.value) == ("Back to normal.", "1")
    assert memory.alerts["b"].ended_at == after(5)


def test_a_closing_that_is_no_recovery_says_so():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.hear(signal(firing=False, recovered=False), after(1))
    assert memory.group.status is AlertStatus.RESOLVED
    assert not memory.group.recovered


def test_an_acknowledged_group_resolves_and_keeps_who_looked_at_it():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.acknowledge(after(1))
    assert memory.hear(signal(firing=False), after(2)) is Reason.ALL_RESOLVED
    assert memory.group.acknowledged_by == KENJI


@pytest.mark.parametrize("reusable", [True, False])
def test_a_second_closing_changes_nothing(reusable):
    memory = Memory()
    memory.hear(signal(reusable=reusable), T0)
    memory.hear(signal(firing=False, reusable=reusable), after(1))
    group, alert = memory.group, memory.alerts["a"]
    assert memory.hear(signal(firing=False, reusable=reusable), after(90)) is Reason.REMINDER
    assert (memory.group, memory.alerts["a"]) == (group, alert)


def test_a_closing_without_an_opening_leaves_only_a_tombstone():
    memory = Memory()
    assert memory.hear(signal(firing=False), T0) is Reason.TOMBSTONE
    assert not memory.groups
    assert not memory.alerts["a"].firing
    assert not memory.alerts["a"].seen_firing
    assert memory.alerts["a"].ended_at == T0


@pytest.mark.parametrize("minutes", [0, 0.5, 5, 120])
def test_the_late_opening_of_what_is_closed_is_shown_as_over(minutes):
    memory = Memory()
    memory.hear(signal(firing=False), T0)
    assert memory.hear(signal(started_at=after(-5)), after(minutes)) is Reason.LATE
    assert memory.group.status is AlertStatus.RESOLVED
    assert memory.group.firing == 0
    assert memory.group.resolved_at == after(minutes)
    assert memory.alerts["a"].started_at == after(-5)
    assert not Reason.LATE.is_news
    assert memory.hear(signal(), after(minutes + 5)) is Reason.REMINDER
    assert memory.hear(signal(firing=False), after(minutes + 6)) is Reason.REMINDER


def test_a_late_opening_beside_a_firing_alert_is_counted_and_does_not_fire():
    memory = Memory()
    memory.hear(signal("a"), T0)
    memory.hear(signal("b", firing=False), after(1))
    assert memory.hear(signal("b"), after(2)) is Reason.LATE
    assert (memory.group.firing, memory.group.total) == (1, 2)
    assert memory.hear(signal("a", firing=False), after(3)) is Reason.ALL_RESOLVED


@pytest.mark.parametrize("minutes", [0, 1, 29, 30])
def test_trouble_that_comes_back_within_30_minutes_goes_on_in_its_thread(minutes):
    memory = Memory()
    memory.hear(signal("a", value="5"), T0)
    memory.hear(signal("a", firing=False, recovered=False), after(10))
    assert memory.hear(signal("b", summary="Again.", value="7"), after(10 + minutes)) is Reason.FIRED_AGAIN
    group = memory.group
    assert len(memory.groups) == 1
    # The first one has a name that never fires again: it is not counted for ever.
    assert (group.status, group.firing, group.total, group.fires) == (AlertStatus.FIRING, 1, 1, 2)
    assert (group.resolved_at, group.recovered) == (None, True)
    assert (group.summary, group.value) == ("Again.", "7")
    assert group.opened_at == T0


def test_an_old_acknowledgement_does_not_hold_for_trouble_that_comes_back():
    memory = Memory()
    memory.hear(signal("a"), T0)
    memory.acknowledge(after(1))
    memory.hear(signal("a", firing=False), after(2))
    memory.hear(signal("b"), after(3))
    assert memory.group.status is AlertStatus.FIRING
    assert memory.group.acknowledged_at is None
    assert memory.group.acknowledged_by is None


@pytest.mark.parametrize("later", [SECOND, MINUTE, timedelta(days=30)])
def test_trouble_that_comes_back_after_30_minutes_gets_a_new_thread(later):
    memory = Memory()
    memory.hear(signal("a"), T0)
    memory.hear(signal("a", firing=False), after(10))
    assert memory.hear(signal("b", level=Level.INFO), after(40) + later) is Reason.FIRST
    assert len(memory.groups) == 2
    assert (memory.group.generation, memory.group.firing, memory.group.total) == (2, 1, 1)
    assert memory.group.level is Level.INFO
    assert memory.group.incident_id is None
    assert memory.groups[1].status is AlertStatus.RESOLVED


def test_the_level_of_a_group_rises_with_a_louder_alert_and_takes_the_acknowledgement_back():
    memory = Memory()
    memory.hear(signal("a", level=Level.WARNING), T0)
    memory.acknowledge(after(1))
    assert memory.hear(signal("b", level=Level.EMERGENCY), after(2)) is Reason.LEVEL_ROSE
    assert (memory.group.level, memory.group.raw_level) == (Level.EMERGENCY, "raw emergency")
    assert memory.group.status is AlertStatus.FIRING
    assert memory.group.acknowledged_at is None


def test_the_level_of_a_group_rises_with_one_of_its_alerts():
    memory = Memory()
    memory.hear(signal("a", level=Level.WARNING), T0)
    memory.acknowledge(after(1))
    assert memory.hear(signal("a", level=Level.CRITICAL), after(2)) is Reason.LEVEL_ROSE
    assert memory.group.level is Level.CRITICAL
    assert memory.alerts["a"].level is Level.CRITICAL
    assert memory.group.status is AlertStatus.FIRING
    assert (memory.group.firing, memory.group.total) == (1, 1)


@pytest.mark.parametrize("level", [Level.INFO, Level.WARNING, Level.CRITICAL])
def test_a_milder_alert_leaves_the_level_and_the_acknowledgement(level):
    memory = Memory()
    memory.hear(signal("a", level=Level.CRITICAL), T0)
    memory.acknowledge(after(1))
    assert memory.hear(signal("b", level=level), after(2)) is Reason.NEW_ALERTS
    assert (memory.group.level, memory.group.raw_level) == (Level.CRITICAL, "raw critical")
    assert memory.group.status is AlertStatus.ACKNOWLEDGED


def test_an_alert_that_becomes_louder_below_its_groups_level_is_no_news():
    memory = Memory()
    memory.hear(signal("a", level=Level.EMERGENCY), T0)
    memory.hear(signal("b", level=Level.INFO), T0)
    memory.acknowledge(after(1))
    assert memory.hear(signal("b", level=Level.CRITICAL), after(2)) is Reason.REMINDER
    assert memory.alerts["b"].level is Level.CRITICAL
    assert memory.group.status is AlertStatus.ACKNOWLEDGED


@pytest.mark.parametrize(
    ("minutes", "status"),
    [(1, AlertStatus.ACKNOWLEDGED), (30, AlertStatus.ACKNOWLEDGED), (31, AlertStatus.FIRING)],
)
def test_an_acknowledgement_keeps_new_alerts_silent_for_30_minutes(minutes, status):
    memory = Memory()
    memory.hear(signal("a"), T0)
    memory.acknowledge(T0)
    assert memory.hear(signal("b"), after(minutes)) is Reason.NEW_ALERTS
    assert memory.group.status is status


def test_an_incident_id_of_cloud_monitoring_never_reopens():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.hear(signal(firing=False), after(1))
    over = memory.group
    for minutes in (1, 1.5, 5, 35, 60 * 24):
        assert memory.hear(signal(), after(1 + minutes)) is Reason.REMINDER
        assert memory.group == over


@pytest.mark.parametrize(
    ("seconds", "reason", "groups"),
    [
        (-1, Reason.REMINDER, 1),
        (0, Reason.FIRED_AGAIN, 1),
        (59, Reason.FIRED_AGAIN, 1),
        (30 * 60, Reason.FIRED_AGAIN, 1),
        (30 * 60 + 1, Reason.FIRST, 2),
    ],
)
def test_without_times_the_moments_of_the_requests_tell_whether_it_fires_again(seconds, reason, groups):
    memory = Memory()
    memory.hear(signal(reusable=True), T0)
    memory.hear(signal(firing=False, reusable=True), after(10))
    assert memory.hear(signal(reusable=True), after(10) + seconds * SECOND) is reason
    assert len(memory.groups) == groups
    assert memory.group.total == 1
    assert memory.alerts["a"].firing is (reason is not Reason.REMINDER)


def spell(start: float, end: float | None = None, **more) -> Signal:
    """One alert of a sender that names its times, in minutes after ``T0``."""
    ended = None if end is None else after(end)
    return signal(firing=end is None, started_at=after(start), ended_at=ended, reusable=True, **more)


@pytest.mark.parametrize("minutes", [10.5, 15, 39])
def test_13_9_the_same_firing_after_its_end_is_shown_and_waits_for_another_end(minutes):
    memory = Memory()
    memory.hear(spell(0), T0)
    memory.acknowledge(T0)
    memory.hear(spell(0, 9.9), after(10))
    assert memory.hear(spell(0), after(minutes)) is Reason.REPEATED
    group = memory.group
    assert (group.status, group.firing, group.total, group.fires) == (AlertStatus.FIRING, 1, 1, 1)
    assert (group.held_until, group.held_by) == (after(minutes) + rules.REPEATED_WAITS, None)
    assert memory.hear(spell(0), after(minutes + 1)) is Reason.REMINDER
    assert memory.hear(spell(0, 9.9), after(minutes + 2)) is Reason.ALL_RESOLVED


@pytest.mark.parametrize(
    ("sent", "minutes", "reason"),
    [
        (spell(9.95), 10, Reason.FIRED_AGAIN),  # It began after the end.
        (spell(0, level=Level.EMERGENCY), 10.1, Reason.FIRED_AGAIN),
        (spell(0), 40.1, Reason.FIRST),  # Its thread is over.
        (spell(-1), 12, Reason.REPEATED),  # Merged to the earliest start.
    ],
)
def test_what_is_believed_after_an_end(sent, minutes, reason):
    memory = Memory()
    memory.hear(spell(0, level=Level.WARNING), T0)
    memory.hear(spell(0, 9.9), after(10))
    sent = sent if sent.level is Level.EMERGENCY else sent.model_copy(update={"level": Level.WARNING})
    assert memory.hear(sent, after(minutes)) is reason


def test_a_start_that_is_said_again_needs_no_end_to_be_the_same_firing():
    memory = Memory()
    memory.hear(spell(0), T0)
    memory.hear(signal(firing=False, reusable=True), after(10))
    assert memory.hear(spell(0), after(11)) is Reason.REPEATED
    memory.hear(signal(firing=False, reusable=True), after(12))
    assert memory.hear(spell(5), after(13)) is Reason.FIRED_AGAIN


def test_the_same_firing_in_a_group_that_is_open_is_counted_and_holds_nothing():
    memory = Memory()
    memory.hear(spell(0), T0)
    memory.hear(spell(0, identity="b"), T0)
    memory.hear(spell(0, 1), after(1.1))
    assert memory.hear(spell(0), after(5)) is Reason.REPEATED
    assert (memory.group.firing, memory.group.total, memory.group.held_until) == (2, 2, None)


def test_13_21_an_opening_whose_request_began_before_the_end_changes_nothing():
    memory = Memory()
    memory.hear(spell(0), T0)
    memory.hear(spell(0, 9.9), after(10))
    over = memory.group
    assert memory.hear(spell(0), after(9)) is Reason.REMINDER
    assert memory.group == over


def test_13_21_an_end_whose_request_began_before_the_opening_ends_nothing():
    """With times the sender says which firing it ended; without, the requests' order does."""
    memory = Memory()
    memory.hear(spell(0), T0)
    memory.hear(spell(0, 5), after(5.1))
    memory.hear(spell(8), after(8.1))
    assert memory.hear(spell(0, 5), after(9)) is Reason.REMINDER
    assert memory.hear(signal(firing=False, reusable=True), after(5.2)) is Reason.REMINDER
    assert memory.group.is_open
    assert memory.hear(spell(8, 9), after(9.1)) is Reason.ALL_RESOLVED


def test_an_alert_that_fires_again_in_an_open_group_is_not_counted_twice():
    memory = Memory()
    memory.hear(signal("a", reusable=True), T0)
    memory.hear(signal("b", reusable=True), T0)
    memory.hear(signal("a", reusable=True, firing=False), after(1))
    assert memory.hear(signal("a", reusable=True), after(5)) is Reason.NEW_ALERTS
    assert (memory.group.firing, memory.group.total) == (2, 2)


@pytest.mark.parametrize("reusable", [True, False])
def test_what_a_person_resolved_opens_again_while_the_sender_still_reports_it(reusable):
    memory = Memory()
    memory.hear(signal("a", reusable=reusable), T0)
    memory.hear(signal("b", reusable=reusable), T0)
    memory.resolve(after(5))
    assert memory.group.resolved_by == KENJI
    assert memory.hear(signal("a", reusable=reusable), after(5) + 59 * SECOND) is Reason.REMINDER
    assert memory.hear(signal("a", reusable=reusable), after(6)) is Reason.FIRED_AGAIN
    assert (memory.group.resolved_by, memory.group.firing, memory.group.total) == (None, 1, 2)
    assert memory.hear(signal("b", reusable=reusable), after(6)) is Reason.NEW_ALERTS
    assert (memory.group.firing, memory.group.total, memory.group.fires) == (2, 2, 2)


@pytest.mark.parametrize("reusable", [True, False])
def test_the_closing_of_what_a_person_resolved_changes_nothing_on_screen(reusable):
    memory = Memory()
    memory.hear(signal(reusable=reusable), T0)
    memory.resolve(after(5))
    over = memory.group
    assert memory.hear(signal(firing=False, reusable=reusable), after(6)) is Reason.REMINDER
    assert memory.group == over


def test_a_group_with_omitted_alerts_is_not_resolved_by_absence():
    memory = Memory()
    memory.hear(signal("a", omitted=3), T0)
    assert memory.hear(signal("a", firing=False, omitted=3), after(1)) is Reason.SOME_RESOLVED
    assert memory.group.is_open


# What people do.


def test_acknowledging_says_who_and_when():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.acknowledge(after(2))
    group = memory.group
    assert (group.status, group.acknowledged_by, group.acknowledged_at) == (
        AlertStatus.ACKNOWLEDGED,
        KENJI,
        after(2),
    )
    assert group.is_open


def test_an_alert_is_acknowledged_once():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.acknowledge(after(2))
    with pytest.raises(Refused) as refused:
        memory.acknowledge(after(3))
    assert refused.value.key == "refused.already_acknowledged"
    assert refused.value.params == {"who": "Kenji", "at": int(after(2).timestamp())}


@pytest.mark.parametrize("act", ["acknowledge", "resolve"])
def test_what_is_over_is_neither_acknowledged_nor_resolved(act):
    memory = Memory()
    memory.hear(signal(), T0)
    memory.hear(signal(firing=False), after(4))
    with pytest.raises(Refused) as refused:
        getattr(memory, act)(after(5))
    assert refused.value.key == "refused.alert_resolved"
    assert refused.value.params == {"at": int(after(4).timestamp())}


def test_a_person_may_resolve_what_somebody_acknowledged():
    memory = Memory()
    memory.hear(signal(), T0)
    memory.acknowledge(after(1))
    memory.resolve(after(2))
    group = memory.group
    assert (group.status, group.firing, group.resolved_at, group.resolved_by) == (
        AlertStatus.RESOLVED,
        0,
        after(2),
        KENJI,
    )


@pytest.mark.parametrize("reason", list(Reason))
def test_only_new_or_worse_trouble_is_news(reason):
    news = {Reason.FIRST, Reason.NEW_ALERTS, Reason.FIRED_AGAIN, Reason.LEVEL_ROSE, Reason.OUTLIVED}
    assert reason.is_news is (reason in news)


def test_a_group_key_depends_on_every_part_and_on_nothing_else():
    assert rules.group_key("a", "b") == rules.group_key("a", "b")
    assert len({rules.group_key(*parts) for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"))}) == 4
    assert len(rules.group_key("\ud800")) == 32


# Any order, any repetition.

NAMES = st.sampled_from("abcd")
LEVELS = st.sampled_from(list(Level))
GAPS = st.sampled_from([0, 1, 30, 59, 60, 61, 600, 1800, 1801, 7200])


@settings(max_examples=200, deadline=None)
@given(
    heard=st.lists(st.tuples(NAMES, st.booleans(), LEVELS, GAPS), max_size=14),
    data=st.data(),
)
def test_in_any_order_an_alert_fires_at_the_end_unless_it_was_ever_closed(heard, data):
    """For identities that are never used again; deliveries repeated and shuffled at will."""
    shuffled = data.draw(st.permutations(heard + heard[: len(heard) // 2]))
    memory, at = Memory(), T0
    for identity, firing, level, gap in shuffled:
        at += gap * SECOND
        memory.hear(signal(identity, firing=firing, level=level), at)
    opened = {identity for identity, firing, *_ in shuffled if firing}
    closed = {identity for identity, firing, *_ in shuffled if not firing}
    assert {identity for identity, alert in memory.alerts.items() if alert.firing} == opened - closed
    assert sum(group.firing for group in memory.groups.values()) == len(opened - closed)
    assert sum(group.is_open for group in memory.groups.values()) == bool(opened - closed)


@settings(max_examples=200, deadline=None)
@given(
    heard=st.lists(st.tuples(NAMES, st.booleans(), LEVELS, st.booleans(), GAPS), min_size=1, max_size=14),
    acts=st.lists(st.sampled_from(["acknowledge", "resolve", None]), min_size=14, max_size=14),
    again=st.integers(0, 59),
)
def test_the_same_signal_twice_within_a_minute_is_the_same_as_once(heard, acts, again):
    memory, at = Memory(), T0
    for (identity, firing, level, reusable, gap), act in zip(heard, acts, strict=False):
        at += gap * SECOND
        sent = signal(identity, firing=firing, level=level, reusable=reusable)
        ignored = memory.hear(sent, at) is Reason.REMINDER and firing and not memory.alerts[identity].firing
        groups, alerts = dict(memory.groups), dict(memory.alerts)
        if ignored:  # It came too soon after the end; a minute after that end it may be news.
            continue
        assert not memory.hear(sent, at + again * SECOND).is_news
        assert (memory.groups, memory.alerts) == (groups, alerts)
        if (
            act
            and memory.groups
            and memory.group.is_open
            and not (act == "acknowledge" and memory.group.acknowledged_at)
        ):
            getattr(memory, act)(at)


@settings(max_examples=200, deadline=None)
@given(heard=st.lists(st.tuples(NAMES, LEVELS, GAPS), min_size=1, max_size=14))
def test_the_level_of_an_open_group_is_never_below_one_of_its_firing_alerts(heard):
    memory, at = Memory(), T0
    for identity, level, gap in heard:
        at += gap * SECOND
        memory.hear(signal(identity, level=level), at)
        loudest = max(level.rank for one, level, _ in heard[: len(memory.heard)] if one in memory.alerts)
        assert memory.group.level.rank == loudest


@settings(max_examples=300, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=7), data=st.data())
def test_13_12_what_overtakes_changes_nothing_in_how_it_ends(lengths, data):
    """One alert of a sender that names its times fires and ends in turn; handled in any order at all."""
    sent, start = [], 0.0
    for number, length in enumerate(lengths):
        end = start + length
        said = spell(start) if number % 2 == 0 else spell(start - lengths[number - 1], start)
        sent.append((said, after(start)))
        start = end
    memory = Memory()
    for said, at in data.draw(st.permutations(sent)):
        memory.hear(said, at)
    assert memory.alerts["a"].firing is sent[-1][0].firing
    assert any(group.is_open for group in memory.groups.values()) is sent[-1][0].firing
