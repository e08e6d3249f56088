"""How an incident lives: every edge of its status, and every refusal."""

from datetime import UTC, datetime, timedelta

import pytest

from domain import incidents as rules
from domain.effects import TOBAN, By
from domain.errors import Refused
from domain.incidents import Incident, IncidentStatus
from domain.policy import Level, Severity

T0 = datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
LATER = T0 + timedelta(minutes=5)
SECONDS = int(LATER.timestamp())
KENJI, AIKO = By(id="U1", name="Kenji"), By(id="U2", name="Aiko")
OPEN, INVESTIGATING, IDENTIFIED, MONITORING, RESOLVED = IncidentStatus

ALLOWED = {
    (OPEN, INVESTIGATING),
    (OPEN, IDENTIFIED),
    (OPEN, MONITORING),
    (OPEN, RESOLVED),
    (INVESTIGATING, IDENTIFIED),
    (INVESTIGATING, MONITORING),
    (INVESTIGATING, RESOLVED),
    (IDENTIFIED, INVESTIGATING),
    (IDENTIFIED, MONITORING),
    (IDENTIFIED, RESOLVED),
    (MONITORING, INVESTIGATING),
    (MONITORING, IDENTIFIED),
    (MONITORING, RESOLVED),
    (RESOLVED, INVESTIGATING),
}


def incident(status: IncidentStatus = OPEN, **more) -> Incident:
    values = {"severity": Severity.P1, "opened_at": T0, "opened_by": AIKO} | more
    return Incident(id=12, title="Orders fail", status=status, **values)


@pytest.mark.parametrize("now", list(IncidentStatus))
@pytest.mark.parametrize("to", list(IncidentStatus))
def test_a_status_moves_along_the_edges_only(now, to):
    before = incident(now)
    if (now, to) in ALLOWED:
        assert rules.move(before, to, LATER) == before.model_copy(update={"status": to})
        return
    with pytest.raises(Refused) as refused:
        rules.move(before, to, LATER)
    assert refused.value.key == "refused.status_edge"
    assert refused.value.params == {"number": "INC-12", "now": now.value, "to": to.value}


def test_the_edges_lead_out_of_every_status():
    assert set(rules.EDGES) == set(IncidentStatus)
    assert all(rules.EDGES.values())


def test_an_incident_has_a_number_and_a_subject():
    assert incident().number == "INC-12"
    assert incident().subject.key == "incident:12"


@pytest.mark.parametrize("status", list(IncidentStatus))
def test_an_incident_is_open_until_it_is_resolved(status):
    assert incident(status).is_open is (status is not RESOLVED)


def test_a_declared_incident_is_open_and_names_who_declared_it():
    made = rules.declare("\u3000 Orders\n fail\t “now”\u200b\u00a0", Severity.P0, "orders", KENJI, T0)
    assert made == Incident(
        title="Orders\n fail\t “now”", severity=Severity.P0, service="orders", opened_at=T0, opened_by=KENJI
    )
    assert made.status is OPEN
    assert made.acknowledged_at is None
    assert made.born_of is None


@pytest.mark.parametrize("title", ["", " ", "\n\t\u3000"])
def test_an_incident_needs_a_title(title):
    with pytest.raises(Refused) as refused:
        rules.declare(title, Severity.P0, None, KENJI, T0)
    assert refused.value.key == "refused.no_title"


@pytest.mark.parametrize(("length", "fits"), [(1, True), (200, True), (201, False), (5000, False)])
def test_a_title_has_at_most_200_characters(length, fits):
    if fits:
        assert len(rules.declare("障" * length, Severity.P2, None, KENJI, T0).title) == length
        return
    with pytest.raises(Refused) as refused:
        rules.declare("障" * length, Severity.P2, None, KENJI, T0)
    assert refused.value.key == "refused.long_title"
    assert refused.value.params == {"limit": 200, "length": length}


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (OPEN, INVESTIGATING),
        (INVESTIGATING, INVESTIGATING),
        (IDENTIFIED, IDENTIFIED),
        (MONITORING, MONITORING),
    ],
)
def test_acknowledging_takes_an_incident_on_and_never_back(status, then):
    taken = rules.acknowledge(incident(status), KENJI, LATER)
    assert (taken.status, taken.acknowledged_by, taken.acknowledged_at) == (then, KENJI, LATER)
    assert taken.is_open


def test_an_incident_is_acknowledged_once():
    taken = rules.acknowledge(incident(), KENJI, LATER)
    with pytest.raises(Refused) as refused:
        rules.acknowledge(taken, AIKO, LATER + timedelta(minutes=1))
    assert refused.value.key == "refused.already_acknowledged"
    assert refused.value.params == {"who": "Kenji", "at": SECONDS}


@pytest.mark.parametrize("status", [OPEN, INVESTIGATING, IDENTIFIED, MONITORING])
def test_an_open_incident_is_resolved_with_a_summary(status):
    over = rules.resolve(incident(status), "  The disk was full.\n", KENJI, LATER)
    assert (over.status, over.resolved_at, over.resolved_by) == (RESOLVED, LATER, KENJI)
    assert over.summary == "The disk was full."
    assert not over.is_open


def test_a_summary_may_be_empty():
    assert rules.resolve(incident(), "", TOBAN, LATER).summary == ""


@pytest.mark.parametrize(("length", "fits"), [(2000, True), (2001, False)])
def test_a_summary_has_at_most_2000_characters(length, fits):
    if fits:
        assert len(rules.resolve(incident(), " " + "x" * length, KENJI, LATER).summary) == length
        return
    with pytest.raises(Refused) as refused:
        rules.resolve(incident(), "x" * length, KENJI, LATER)
    assert refused.value.key == "refused.long_summary"
    assert refused.value.params == {"limit": 2000, "length": length}


def test_what_is_resolved_is_neither_acknowledged_nor_resolved_again():
    over = rules.resolve(incident(), "Done.", KENJI, LATER)
    for act in (
        lambda: rules.acknowledge(over, AIKO, LATER + timedelta(minutes=1)),
        lambda: rules.resolve(over, "Twice.", AIKO, LATER + timedelta(minutes=1)),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.key == "refused.incident_resolved"
        assert refused.value.params == {"number": "INC-12", "who": "Kenji", "at": SECONDS}


def test_an_incident_asked_again_can_be_acknowledged_again():
    taken = rules.acknowledge(incident(), KENJI, T0)
    asked = rules.unanswered(taken)
    assert (asked.acknowledged_at, asked.acknowledged_by, asked.status) == (None, None, INVESTIGATING)
    assert rules.acknowledge(asked, AIKO, LATER).acknowledged_by == AIKO


@pytest.mark.parametrize("now", list(Severity))
@pytest.mark.parametrize("to", list(Severity))
def test_a_severity_rises_and_never_falls(now, to):
    raised = rules.raise_severity(incident(severity=now), to).severity
    order = [Severity.P0, Severity.P1, Severity.P2, Severity.P3]
    assert order.index(raised) == min(order.index(now), order.index(to))


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.P0, Level.EMERGENCY),
        (Severity.P1, Level.CRITICAL),
        (Severity.P2, Level.WARNING),
        (Severity.P3, Level.INFO),
    ],
)
def test_severities_and_levels_mean_the_same(severity, level):
    assert severity.level is level
    assert level.severity is severity
    assert level.opens_incident is (severity in {Severity.P0, Severity.P1})


def test_no_rule_changes_what_it_is_given():
    before = incident()
    copy = before.model_copy(deep=True)
    rules.acknowledge(before, KENJI, LATER)
    rules.resolve(before, "Done.", KENJI, LATER)
    rules.raise_severity(before, Severity.P0)
    assert before == copy
