"""Ways in which an alert could have been lost, doubled or kept for ever; each was one once."""

from datetime import UTC, datetime, timedelta

from domain.alerts import AlertGroup, AlertStatus, Ending, Reason, Signal, absorb, acknowledge, resolve
from domain.effects import By
from domain.policy import Level

AT = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)
KENJI = By(id="U1", name="kenji")


def minutes(count: float) -> datetime:
    return AT + timedelta(minutes=count)


def signal(identity: str = "a", *, firing: bool = True, **more) -> Signal:
    values = {
        "source": "test",
        "identity": identity,
        "group_key": "g",
        "firing": firing,
        "level": Level.CRITICAL,
        "title": "x",
        "reusable": True,
    }
    return Signal(**(values | more))


class Book:
    """A group and its alerts, kept as the store keeps them."""

    def __init__(self) -> None:
        self.groups: list[AlertGroup] = []
        self.alerts = {}

    @property
    def group(self) -> AlertGroup:
        return self.groups[-1]

    def hear(self, heard: Signal, at: datetime) -> Reason:
        known = self.alerts.get(heard.identity)
        newest = self.groups[-1] if self.groups else None
        absorbed = absorb(newest, known, heard, at)
        if absorbed.group is not None and absorbed.group is not newest:
            if absorbed.group.id is None:
                self.groups.append(absorbed.group.model_copy(update={"id": len(self.groups) + 1}))
            else:
                self.groups[-1] = absorbed.group
        alert = absorbed.alert
        if absorbed.group is not None:
            alert = alert.model_copy(update={"group_id": self.group.id})
        self.alerts[heard.identity] = alert
        return absorbed.reason


def test_a_group_whose_sender_left_some_out_ends_when_it_leaves_none_out():
    book = Book()
    book.hear(signal("a", omitted=3), AT)
    book.hear(signal("b", omitted=3), AT)
    assert book.hear(signal("a", firing=False), minutes(5)) is Reason.SOME_RESOLVED
    assert book.hear(signal("b", firing=False), minutes(5)) is Reason.ALL_RESOLVED
    assert book.group.status is AlertStatus.RESOLVED


def test_a_group_does_not_end_while_its_sender_leaves_some_out():
    book = Book()
    book.hear(signal("a", omitted=3), AT)
    assert book.hear(signal("a", firing=False, omitted=3), minutes(5)) is Reason.SOME_RESOLVED


def test_a_job_that_said_fine_first_may_report_trouble_later():
    book = Book()
    assert book.hear(signal(firing=False, ended_at=AT), AT) is Reason.TOMBSTONE
    assert book.hear(signal(started_at=minutes(180)), minutes(180)) is Reason.FIRST


def test_an_opening_that_its_closing_overtook_is_over():
    book = Book()
    book.hear(signal(firing=False, started_at=AT, ended_at=minutes(1)), minutes(1))
    assert book.hear(signal(started_at=AT), minutes(1.2)) is Reason.LATE
    assert book.group.status is AlertStatus.RESOLVED


def test_a_closed_incident_of_cloud_monitoring_stays_closed_although_a_person_closed_it_first():
    book = Book()
    book.hear(signal(reusable=False), AT)
    book.groups[-1] = resolve(book.group, KENJI, minutes(1))
    book.alerts["a"] = book.alerts["a"].model_copy(
        update={"firing": False, "closed_by_person": True, "changed_at": minutes(1)}
    )
    book.hear(signal(reusable=False, firing=False), minutes(2))
    assert book.hear(signal(reusable=False), minutes(10)) is Reason.REMINDER


def test_a_person_who_closed_what_still_fires_hears_of_it_again():
    book = Book()
    book.hear(signal(reusable=False), AT)
    book.groups[-1] = resolve(book.group, KENJI, minutes(1))
    book.alerts["a"] = book.alerts["a"].model_copy(
        update={"firing": False, "closed_by_person": True, "changed_at": minutes(1)}
    )
    assert book.hear(signal(reusable=False), minutes(10)) is Reason.FIRED_AGAIN


def test_a_group_that_opens_again_has_the_level_of_what_opens_it():
    book = Book()
    book.hear(signal(level=Level.EMERGENCY), AT)
    book.hear(signal(level=Level.EMERGENCY, firing=False), minutes(5))
    book.hear(signal("b", level=Level.INFO), minutes(6))
    assert book.group.level is Level.INFO


def test_the_old_closing_once_more_does_not_end_the_new_firing():
    book = Book()
    book.hear(signal(started_at=AT), AT)
    closing = signal(firing=False, started_at=AT, ended_at=minutes(1))
    book.hear(closing, minutes(1))
    book.hear(signal(started_at=minutes(10)), minutes(10))
    assert book.hear(closing, minutes(10.5)) is Reason.REMINDER
    assert book.group.is_open


def test_a_sender_that_closed_by_timeout_and_says_firing_again_is_shown_and_pages_later():
    book = Book()
    book.hear(signal(started_at=AT), AT)
    book.hear(signal(firing=False, started_at=AT, ended_at=minutes(5)), minutes(5))
    assert book.hear(signal(started_at=AT), minutes(7)) is Reason.REPEATED
    assert book.group.held_until == minutes(17)


def test_a_late_opening_stays_in_the_thread_that_was_just_closed():
    book = Book()
    book.hear(signal("a"), AT)
    book.hear(signal("a", firing=False), minutes(1))
    book.hear(signal("b", firing=False, ended_at=minutes(2)), minutes(2))
    assert book.hear(signal("b", started_at=minutes(1)), minutes(2.1)) is Reason.LATE
    assert len(book.groups) == 1
    assert book.group.total == 2


def test_what_went_silent_is_open_until_its_end_is_known():
    book = Book()
    book.hear(signal("a"), AT)
    book.hear(signal("b"), AT)
    silent = {"recovered": False, "ending": Ending.SILENT}
    assert book.hear(signal("a", firing=False, **silent), minutes(1)) is Reason.WENT_SILENT
    assert (book.group.firing, book.group.silent, book.group.is_silent) == (1, 1, False)
    assert book.hear(signal("b", firing=False), minutes(2)) is Reason.SOME_RESOLVED
    assert book.group.is_silent
    assert book.hear(signal("a", firing=False, **silent), minutes(3)) is Reason.REMINDER
    assert book.hear(signal("a", firing=False), minutes(4)) is Reason.ALL_RESOLVED
    assert (book.group.status, book.group.silent, book.group.recovered) == (AlertStatus.RESOLVED, 0, True)


def test_what_is_heard_again_fires_once_and_keeps_its_answer():
    book = Book()
    book.hear(signal("a", started_at=AT), AT)
    book.groups[-1] = acknowledge(book.group, KENJI, minutes(1))
    book.hear(signal("a", firing=False, recovered=False, ending=Ending.SILENT), minutes(2))
    assert book.group.status is AlertStatus.ACKNOWLEDGED
    # The same start: what was never over is no repetition.
    assert book.hear(signal("a", started_at=AT), minutes(3)) is Reason.FIRED_AGAIN
    group = book.group
    assert (group.status, group.firing, group.silent, group.total) == (AlertStatus.ACKNOWLEDGED, 1, 0, 1)
    assert group.held_until is None


def test_a_person_who_resolves_what_went_silent_ends_it():
    book = Book()
    book.hear(signal("a"), AT)
    book.hear(signal("a", firing=False, recovered=False, ending=Ending.SILENT), minutes(2))
    over = resolve(book.group, KENJI, minutes(3))
    assert (over.status, over.silent, over.is_silent) == (AlertStatus.RESOLVED, 0, False)


def test_a_route_that_leaves_none_out_does_not_uncount_what_another_left_out():
    book = Book()
    book.hear(signal("a", omitted=3), AT)
    book.hear(signal("a", group_key="another route"), minutes(1))
    assert book.group.omitted == 3
