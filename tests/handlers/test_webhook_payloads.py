"""What senders really send, what an attacker might, and that nothing but a clear answer comes of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.alerts import Ending, Signal
from domain.policy import Level, Policy, Service
from handlers.webhooks import SENDERS, alertmanager, cloud_monitoring
from handlers.webhooks.reading import (
    OWN_TEMPLATE,
    Unreadable,
    clean,
    clean_labels,
    https_link,
    line,
    moment,
    name,
    read,
    rounded,
    short_numbers,
)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared" / "payloads"
POLICY = Policy(
    services=(
        Service(
            name="orders-api",
            match={"service_name": "orders", "project_id": "example-prod"},
            runbook="https://runbooks.example/orders",
        ),
        Service(name="node", match={"job": "node"}, runbook="https://runbooks.example/node"),
    )
)
MODULES = (cloud_monitoring, alertmanager)


def golden(file: str) -> bytes:
    return (GOLDEN / f"{file}.json").read_bytes()


def shared(file: str) -> bytes:
    path = SHARED / f"{file}.json"
    if not path.exists():
        pytest.skip(f"the shared payloads are not on this machine ({path})")
    return path.read_bytes()


def one(body: bytes, module=cloud_monitoring) -> Signal:
    reading = module.interpret(body, POLICY)
    assert len(reading.signals) == 1
    assert not reading.tests
    assert not reading.others
    return reading.signals[0]


def sent(file: str, /, **changes: object) -> bytes:
    """A golden Cloud Monitoring body with other fields in its incident; ``...`` leaves one out."""
    body = json.loads(golden(file))
    body["incident"] |= changes
    body["incident"] = {key: value for key, value in body["incident"].items() if value is not ...}
    return json.dumps(body).encode()


def group(alerts: object, /, **changes: object) -> bytes:
    """A golden Alertmanager body with these alerts and other fields; ``...`` leaves one out."""
    body = json.loads(golden("alertmanager_firing")) | {"alerts": alerts} | changes
    return json.dumps({key: value for key, value in body.items() if value is not ...}).encode()


def firing(**changes: object) -> dict:
    alert = json.loads(golden("alertmanager_firing"))["alerts"][0] | changes
    return {key: value for key, value in alert.items() if value is not ...}


def assert_well_typed(signals: tuple[Signal, ...]) -> None:
    """What was built without validation is exactly what validation would have made."""
    for signal in signals:
        again = Signal.model_validate(signal.model_dump(), strict=True)
        assert again == signal
        assert again.model_dump_json().encode()


# Cloud Monitoring.


def test_an_open_incident_becomes_a_firing_signal():
    signal = one(golden("cloud_monitoring_open"))
    assert signal == Signal(
        source="cloud-monitoring",
        identity="cloud-monitoring:example-prod:0.n1k2m3p4q5r6",
        group_key=signal.group_key,
        firing=True,
        level=Level.CRITICAL,
        raw_level="critical",
        title="Orders errors: Error rate above 1 %",
        name="Orders errors",
        summary=(
            "Request Count for example-prod orders with metric labels {response_code_class=5xx} "
            "is above the threshold of 0.010 with a value of 0.042.\n\n"
            "注文サービスのエラー率が高い。\n\nSee the runbook."
        ),
        service="orders-api",
        labels={
            "team": "orders",
            "severity": "critical",
            "project_id": "example-prod",
            "service_name": "orders",
            "revision_name": "orders-00042-abc",
            "location": "asia-northeast1",
            "configuration_name": "orders",
            "response_code_class": "5xx",
            "env": "production",
        },
        url="https://console.cloud.google.com/monitoring/alerting/alerts/0.zzz9y8x7w6v5?project=example-prod",
        runbook="https://runbooks.example/orders-errors",
        value="0.042",
        threshold="0.01",
        started_at=datetime(2024, 5, 1, 8, 0, tzinfo=UTC),
    )
    assert_well_typed((signal,))


def test_the_closing_has_the_identity_and_the_group_of_the_opening():
    opened, closed = one(golden("cloud_monitoring_open")), one(golden("cloud_monitoring_closed"))
    assert (closed.identity, closed.group_key) == (opened.identity, opened.group_key)
    assert not closed.firing
    assert closed.recovered
    assert not closed.reusable
    assert closed.ended_at == datetime(2024, 5, 1, 8, 15, tzinfo=UTC)


def test_a_cancelled_incident_is_closed_but_not_recovered():
    signal = one(golden("cloud_monitoring_cancelled"))
    assert not signal.firing
    assert not signal.recovered


@pytest.mark.parametrize(
    ("value", "summary", "recovered"),
    [
        ("0.002", "CPU returned to normal with a value of 0.002.", True),
        (..., ..., True),
        ("", "", True),
        ("true", "The check is passing.", True),
        ("3 GiB", "Memory returned to normal.", True),
        ("0.002", "Deleted rows of the policy table returned to normal with a value of 3.", True),
        ("0.002", "Condition modified count returned to a normal state.", True),
        ("12", "The incident was canceled.", False),
        ("12", "Incident closed: the alerting policy was deleted", False),
        ("12", "The condition has been modified", False),
        ("Incident cancelled because the condition was modified", "", False),
    ],
)
def test_a_closing_means_recovery_unless_google_says_otherwise(value, summary, recovered):
    body = sent("cloud_monitoring_closed", observed_value=value, summary=summary)
    assert one(body).recovered is recovered


@pytest.mark.parametrize(
    ("value", "summary", "ending"),
    [
        ("", "The incident was auto-closed after 7 days.", Ending.SILENT),
        ("", "Closed: no data has been received for 30 minutes.", Ending.SILENT),
        ("Incident closed due to lack of data", "", Ending.SILENT),
        ("3", "Rows without data returned to normal with a value of 3.", None),
        ("", 'Condition "No data of backups" is no longer true.', None),
        ("12", "Incident closed: the alerting policy was deleted", None),
    ],
)
def test_06_an_incident_that_google_closes_without_data_has_not_recovered(value, summary, ending):
    signal = one(sent("cloud_monitoring_closed", observed_value=value, summary=summary))
    assert signal.ending is ending
    assert ending is None or not signal.recovered


def test_the_smallest_incident_is_understood():
    signal = one(golden("cloud_monitoring_minimal_open"))
    assert signal.identity == "cloud-monitoring::0.a1b2c3d4e5f6"
    assert signal.title == "shop - uptime: Uptime Health Check on shop"
    assert signal.level is Level.WARNING
    assert signal.raw_level is None
    assert signal.service is None
    assert (signal.value, signal.threshold, signal.runbook) == (None, None, None)


def test_the_console_test_pages_nobody():
    reading = cloud_monitoring.interpret(golden("cloud_monitoring_test"), POLICY)
    assert reading.signals == ()
    assert reading.tests == ("Test Incident (project 12345)",)


def test_an_error_reporting_body_of_the_same_channel_is_a_warning():
    signal = one(golden("error_reporting"))
    assert signal.source == "error-reporting"
    assert signal.level is Level.WARNING
    assert signal.firing
    assert signal.reusable
    assert signal.title == "New error in orders"
    assert signal.summary == "KeyError: 'price'"
    assert signal.service == "orders-api"
    assert signal.runbook == "https://runbooks.example/orders"
    assert signal.url == "https://console.cloud.google.com/errors/CMxyz?project=example-prod"
    assert "4111" not in signal.model_dump_json()
    assert "Traceback" not in signal.model_dump_json()


@pytest.mark.parametrize(
    ("labels", "severity", "level", "raw"),
    [
        ({"level": "emergency", "severity": "info"}, "Error", Level.EMERGENCY, "emergency"),
        ({"severity": "P1"}, "Error", Level.CRITICAL, "P1"),
        ({"level": " "}, "CRITICAL", Level.CRITICAL, "CRITICAL"),
        ({}, "No severity", Level.INFO, "No severity"),
        ({}, "WARNING", Level.WARNING, "WARNING"),
        ({}, "katastrophal", Level.WARNING, "katastrophal"),
        ({}, 3, Level.WARNING, "3"),
        ({}, None, Level.WARNING, None),
        ({}, ["CRITICAL"], Level.WARNING, None),
        (..., ..., Level.WARNING, None),
        ("team", "Critical", Level.CRITICAL, "Critical"),
    ],
)
def test_the_level_comes_from_the_label_level_then_severity_then_the_sender(labels, severity, level, raw):
    signal = one(sent("cloud_monitoring_open", policy_user_labels=labels, severity=severity))
    assert (signal.level, signal.raw_level) == (level, raw)


@pytest.mark.parametrize(
    ("policy_name", "condition_name", "title"),
    [
        ("Orders", "Error rate", "Orders: Error rate"),
        ("Orders errors", "errors", "Orders errors"),
        ("errors", "Orders errors", "Orders errors"),
        ("Orders", ..., "Orders"),
        (..., "Error rate", "Error rate"),
        (..., ..., "Summary of it"),
        (["Orders"], {"a": 1}, "Summary of it"),
        ("Orders\n\terrors", None, "Orders errors"),
        ("o" * 5000, "c", "o" * 199 + "…"),
    ],
)
def test_the_title_is_the_policy_and_what_the_condition_adds(policy_name, condition_name, title):
    body = sent(
        "cloud_monitoring_open",
        policy_name=policy_name,
        condition_name=condition_name,
        summary="Summary\nof it",
    )
    assert one(body).title == title


@pytest.mark.parametrize(
    ("documentation", "labels", "expected"),
    [
        ("Text only", {}, "https://runbooks.example/orders"),
        ({"links": [{"url": "https://a.example/1"}]}, {}, "https://a.example/1"),
        (
            {"links": [{"url": "http://a.example/1"}, {"url": "https://a.example/2"}]},
            {},
            "https://a.example/2",
        ),
        ({"links": [{"url": "javascript:alert(1)"}]}, {}, "https://runbooks.example/orders"),
        ({"links": "https://a.example"}, {}, "https://runbooks.example/orders"),
        ({"links": [None, 3, [], {"url": None}]}, {}, "https://runbooks.example/orders"),
        (None, {"runbook": "https://b.example/"}, "https://b.example/"),
        (["x"], {"runbook": "rb-12"}, "https://runbooks.example/orders"),
    ],
)
def test_the_runbook_is_the_labels_the_documentations_or_the_services(documentation, labels, expected):
    body = sent("cloud_monitoring_open", documentation=documentation, policy_user_labels=labels)
    assert one(body).runbook == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"incident_id": ...}, "an incident without incident_id"),
        ({"incident_id": None}, "an incident without incident_id"),
        ({"incident_id": {"a": 1}}, "an incident without incident_id"),
        ({"state": "ajar"}, "the state 'ajar' is neither open nor closed"),
        ({"state": ...}, "the state '' is neither open nor closed"),
        ({"state": ["open"]}, "the state '' is neither open nor closed"),
    ],
)
def test_an_incident_without_an_id_or_a_known_state_is_unreadable(changes, reason):
    body = sent("cloud_monitoring_open", **changes)
    assert cloud_monitoring.look(body, POLICY).error == reason
    with pytest.raises(Unreadable, match=reason):
        cloud_monitoring.interpret(body, POLICY)


@pytest.mark.parametrize("state", ["OPEN", "Open", " open "])
def test_the_state_is_read_whatever_its_case(state):
    assert one(sent("cloud_monitoring_open", state=state)).firing


def test_times_may_be_text():
    signal = one(sent("cloud_monitoring_closed", started_at="2024-05-01T08:00:00Z", ended_at="nonsense"))
    assert signal.started_at == datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
    assert signal.ended_at is None


def test_two_long_incident_ids_with_the_same_beginning_stay_two():
    first = one(sent("cloud_monitoring_open", incident_id="x" * 4000 + "1"))
    second = one(sent("cloud_monitoring_open", incident_id="x" * 4000 + "2"))
    assert first.identity != second.identity
    assert len(first.identity) < 300


def test_the_group_is_the_project_the_policy_and_the_service():
    base = one(golden("cloud_monitoring_open")).group_key
    same = sent("cloud_monitoring_open", incident_id="0.other", condition_name="Other")
    assert one(same).group_key == base
    for changes in ({"scoping_project_id": "p2"}, {"policy_name": "Other"}, {"resource": {}}):
        assert one(sent("cloud_monitoring_open", **changes)).group_key != base


# Alertmanager and Grafana.


def test_an_alertmanager_group_becomes_one_signal_for_each_alert():
    signals = alertmanager.interpret(golden("alertmanager_firing"), POLICY).signals
    assert_well_typed(signals)
    first, second = signals
    assert first.group_key == second.group_key
    assert first.identity != second.identity
    assert first == Signal(
        source="alertmanager",
        identity=first.identity,
        group_key=first.group_key,
        firing=True,
        level=Level.CRITICAL,
        raw_level="page",
        title="Instance 10.0.0.1:8080 down",
        name="InstanceDown",
        sender=first.sender,
        summary="10.0.0.1:8080 of job api has been down for more than 1 minute.",
        labels={
            "alertname": "InstanceDown",
            "instance": "10.0.0.1:8080",
            "job": "api",
            "severity": "page",
        },
        url=(
            "http://prometheus.example:9090/graph?g0.expr=up%7Binstance%3D%2210.0.0.1%22%7D+%3D%3D+0&g0.tab=1"
        ),
        runbook="https://runbooks.example/instance-down",
        started_at=datetime(2024, 5, 1, 8, 24, 38, 326123, tzinfo=UTC),
        reusable=True,
    )


def test_a_firing_group_may_hold_resolved_alerts_and_say_how_many_it_left_out():
    opened = alertmanager.interpret(golden("alertmanager_firing"), POLICY).signals
    later = alertmanager.interpret(golden("alertmanager_partly_resolved"), POLICY).signals
    assert [signal.identity for signal in later] == [signal.identity for signal in opened]
    assert [signal.firing for signal in later] == [False, True]
    assert [signal.omitted for signal in later] == [3, 3]
    assert later[0].ended_at == datetime(2024, 5, 1, 8, 34, 38, 326000, tzinfo=UTC)
    assert later[1].ended_at is None


def test_a_resolved_group_closes_the_same_alerts():
    opened = alertmanager.interpret(golden("alertmanager_firing"), POLICY).signals
    closed = alertmanager.interpret(golden("alertmanager_resolved"), POLICY).signals
    assert [signal.identity for signal in closed] == [signal.identity for signal in opened]
    assert not any(signal.firing for signal in closed)


def test_grafanas_superset_is_understood():
    signal = one(golden("grafana_firing"), alertmanager)
    assert signal.started_at == datetime(2024, 5, 1, 8, 24, 38, 326123, tzinfo=UTC)
    assert signal.value == "B=44.25, C=1"
    assert signal.title == "Memory above 85 %"
    assert signal.url == "https://grafana.example/alerting/1afz29v7z/edit"
    assert_well_typed((signal,))


@pytest.mark.parametrize(
    ("alert", "whole", "fires"),
    [
        ("firing", "resolved", True),
        ("FIRING", "firing", True),
        ("resolved", "firing", False),
        ("Resolved", "firing", False),
        ("pending", "firing", True),
        ("pending", "resolved", False),
        (..., "firing", True),
        (..., ..., True),
        (None, 3, True),
        (["resolved"], {}, True),
    ],
)
def test_an_alert_with_an_unknown_status_fires_unless_the_group_is_resolved(alert, whole, fires):
    body = group([firing(status=alert)], status=whole)
    assert one(body, alertmanager).firing is fires


@pytest.mark.parametrize(
    ("labels", "level", "raw"),
    [
        ({"level": "emergency", "severity": "info"}, Level.EMERGENCY, "emergency"),
        ({"severity": "None"}, Level.INFO, "None"),
        ({"severity": "sev2"}, Level.WARNING, "sev2"),
        ({"severity": ""}, Level.WARNING, None),
        ({"severity": None}, Level.WARNING, None),
        ("critical", Level.WARNING, None),
        (..., Level.CRITICAL, "page"),
    ],
)
def test_the_level_of_an_alert_comes_from_its_labels_else_from_the_common_ones(labels, level, raw):
    signal = one(group([firing(labels=labels)]), alertmanager)
    assert (signal.level, signal.raw_level) == (level, raw)


@pytest.mark.parametrize(
    ("annotations", "title", "summary"),
    [
        ({"summary": "Short", "description": "Long"}, "Short", "Long"),
        ({"title": "Titled", "description": "Long"}, "Titled", "Long"),
        ({"title": "Titled", "summary": "Short"}, "Titled", "Short"),
        ({"title": "Same", "summary": "Same"}, "Same", ""),
        ({"message": "Message"}, "InstanceDown", "Message"),
        ({}, "InstanceDown", ""),
        (["no"], "InstanceDown", ""),
        ({"summary": ["x"], "description": {"y": 1}}, "InstanceDown", ""),
    ],
)
def test_the_title_and_the_text_of_an_alert_come_from_its_annotations(annotations, title, summary):
    signal = one(group([firing(annotations=annotations)]), alertmanager)
    assert (signal.title, signal.summary) == (title, summary)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (group(...), f"no list of alerts. {OWN_TEMPLATE}"),
        (group({"a": 1}), "no list of alerts"),
        (group([firing()], groupKey=...), "no groupKey"),
        (group([firing()], groupKey=""), "no groupKey"),
        (group([firing()], groupKey=["x"]), "no groupKey"),
        (group(["firing", None]), "none of its alerts is an object"),
    ],
)
def test_a_body_that_is_no_group_of_alerts_is_unreadable(body, reason):
    assert alertmanager.look(body, POLICY).error == reason
    with pytest.raises(Unreadable, match=reason):
        alertmanager.interpret(body, POLICY)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("[ var='A' labels={instance=a} value=0.9312 ]", "A=0.931"),
        ("[ var='A' labels={} value=1e+06 ], [ var='C' labels={} value=1 ]", "A=1e+06, C=1"),
        ("[ metric='up' labels={a=[b]} value=7 ]", "1=7"),
        ("no data", None),
        (None, None),
    ],
)
def test_14_4_the_value_of_an_older_grafana_is_in_its_value_string(said, shown):
    assert one(group([firing(valueString=said)]), alertmanager).value == shown


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("緊急", Level.EMERGENCY),
        ("ＣＲＩＴＩＣＡＬ", Level.CRITICAL),
        ("［重大］", Level.CRITICAL),
        ("SEV-1", Level.CRITICAL),
        ("Sev 2", Level.WARNING),
        ("S0", Level.EMERGENCY),
        ("\u00a0critical:", Level.CRITICAL),
        ("crit", Level.CRITICAL),
        ("情報", Level.INFO),
        ("whatever", Level.WARNING),
        ("P9", Level.WARNING),
    ],
)
def test_14_4_the_level_of_a_sender_is_read_in_any_width_and_in_japanese(word, level):
    signal = one(group([firing(labels={"severity": word})]), alertmanager)
    assert signal.level is level
    assert signal.raw_level


def test_a_group_without_alerts_is_told_and_pages_nobody():
    reading = alertmanager.interpret(group([]), POLICY)
    assert not reading.signals
    assert len(reading.others) == 1


def test_of_more_than_a_thousand_alerts_the_rest_is_counted():
    body = group([firing(fingerprint=f"{number:x}") for number in range(1003)], truncatedAlerts=7)
    signals = alertmanager.interpret(body, POLICY).signals
    assert len(signals) == 1000
    assert {signal.omitted for signal in signals} == {10}


def test_an_alert_that_is_no_object_is_counted_and_the_others_are_read():
    signal = one(group([None, firing(), "x"]), alertmanager)
    assert signal.omitted == 2


@pytest.mark.parametrize("truncated", [-1, True, "3", 2.5, None, [3], ...])
def test_a_count_that_is_none_counts_nothing(truncated):
    assert one(group([firing()], truncatedAlerts=truncated), alertmanager).omitted == 0


def test_an_alert_without_a_fingerprint_is_known_by_its_labels_in_any_order():
    ordered = one(group([firing(fingerprint=..., labels={"a": "1", "b": "2"})]), alertmanager)
    turned = one(group([firing(fingerprint=..., labels={"b": "2", "a": "1"})]), alertmanager)
    other = one(group([firing(fingerprint=..., labels={"a": "1", "b": "3"})]), alertmanager)
    assert ordered.identity == turned.identity != other.identity


def test_an_alert_is_one_whoever_of_a_pair_and_whichever_route_reports_it():
    base = one(group([firing()]), alertmanager)
    peer = one(group([firing()], externalURL="http://other"), alertmanager)
    assert (peer.group_key, peer.identity) == (base.group_key, base.identity)
    assert peer.sender != base.sender
    for changes in ({"receiver": "other"}, {"groupKey": "{}"}):
        route = one(group([firing()], **changes), alertmanager)
        assert route.group_key != base.group_key
        assert route.identity == base.identity


def test_the_same_group_key_of_another_grafana_is_another_group():
    base = one(group([firing()], orgId=1), alertmanager)
    for changes in ({"externalURL": "http://other"}, {"receiver": "other"}, {"groupKey": "{}"}):
        other = one(group([firing()], orgId=1, **changes), alertmanager)
        assert other.group_key != base.group_key
        assert other.identity != base.identity


@pytest.mark.parametrize(
    ("key", "same"),
    [
        ('{}/{severity="critical"}:{alertname="X", prometheus_replica="p-0"}', True),
        ('{}/{severity="critical"}:{alertname="X", prometheus_replica="p \\"1, 2"}', True),
        ('{}/{severity="critical"}:{alertname="X", database_replica="p-0"}', False),
        ('{}/{severity="critical"}:{alertname="Y", prometheus_replica="p-0"}', False),
    ],
)
def test_a_group_key_says_the_same_of_each_replica(key, same):
    other = group([firing()], groupKey='{}/{severity="critical"}:{alertname="X", prometheus_replica="p-9"}')
    ours = one(group([firing()], groupKey=key), alertmanager)
    assert (ours.group_key == one(other, alertmanager).group_key) == same


@pytest.mark.parametrize(
    "labels",
    [
        ({"a": "1", "cluster": "x"}, {"a": "1", "cluster": "y"}),
        ({"a": "1", "replica": "a"}, {"a": "2", "replica": "b"}),
        ({"a": "1", "database_replica": "a"}, {"a": "1", "database_replica": "b"}),
    ],
)
def test_alerts_with_other_labels_stay_apart(labels):
    first, second = (one(group([firing(fingerprint=..., labels=each)]), alertmanager) for each in labels)
    assert first.identity != second.identity


@pytest.mark.parametrize(
    ("key", "is_test"),
    [
        ("toban-57c6d9296de2ad39-1795310294", True),
        ('{alertname="X"}2026-11-22 01:22:37.405950092 +0000 UTC m=+152.628128021', True),
        ('{alertname="X"}2026-11-22 10:22:37.4 +0900 JST m=+0.1', True),
        ('{}/{}:{alertname="backup-57c6d9296de2ad39-1795310294"}', False),
        ('{}:{alertname="X"}', False),
        ("{}:{}", False),
    ],
)
def test_a_key_made_of_a_clock_is_a_press_of_grafanas_test_button(key, is_test):
    body = group([firing(labels={"alertname": "Disk", "severity": "critical"})], orgId=1, groupKey=key)
    assert bool(alertmanager.interpret(body, POLICY).tests) == is_test
    assert not alertmanager.interpret(group([firing()], groupKey=key), POLICY).tests  # Not Grafana's.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("99.50849887364325", "99.5"),
        ("123456.789", "123457"),
        ("0.00012345", "0.000123"),
        ("-3", "-3"),
        ("1e400", None),
        ("NaN", None),
        ("GET", None),
        ({"a": 1}, None),
        (12, "12"),
    ],
)
def test_a_number_in_a_label_is_rounded_to_what_people_read(value, shown):
    assert rounded(value) == shown


def test_services_are_found_as_the_policy_finds_them():
    alerts = [
        firing(fingerprint=str(number), labels=labels)
        for number, labels in enumerate(
            [{"job": "node"}, {"job": "x"}, {"service_name": "y"}, {"job": "node", "service_name": "y"}, {}]
            * 2
        )
    ]
    for signal in alertmanager.interpret(group(alerts, commonLabels={}), POLICY).signals:
        assert signal.service == POLICY.service(signal.labels)
        assert signal.service != "node" or signal.runbook == "https://runbooks.example/instance-down"


# The samples of the real world, where they are at hand.

CLOUD_MONITORING = [
    ("gcm_v1_2_capture_2020_uptime_closed", False, Level.WARNING, None),
    ("gcm_v1_2_capture_2020_uptime_open", True, Level.WARNING, None),
    ("gcm_v1_2_capture_open_error", True, Level.WARNING, "Error"),
    ("gcm_v1_2_official_closed", False, Level.INFO, "no severity"),
    ("gcm_v1_2_official_closed_pre_severity", False, Level.WARNING, None),
]


@pytest.mark.parametrize(("file", "fires", "level", "raw"), CLOUD_MONITORING)
def test_every_shared_cloud_monitoring_sample_is_understood(file, fires, level, raw):
    signal = one(shared(file))
    assert cloud_monitoring.look(shared(file), POLICY).error is None
    assert (signal.firing, signal.level, signal.raw_level) == (fires, level, raw)
    assert signal.recovered
    assert signal.started_at is not None
    assert (signal.ended_at is None) is fires
    assert signal.url
    assert signal.title
    assert_well_typed((signal,))


def test_the_shared_uptime_pair_is_one_alert():
    opened = one(shared("gcm_v1_2_capture_2020_uptime_open"))
    closed = one(shared("gcm_v1_2_capture_2020_uptime_closed"))
    assert (opened.identity, opened.group_key) == (closed.identity, closed.group_key)


def test_the_shared_console_test_pages_nobody():
    reading = cloud_monitoring.interpret(shared("gcm_test_connection"), POLICY)
    assert (len(reading.signals), len(reading.tests)) == (0, 1)


def test_the_shared_error_reporting_sample_is_a_warning():
    signal = one(shared("error_reporting_webhook"))
    assert (signal.source, signal.level, signal.service) == ("error-reporting", Level.WARNING, "checkout")
    assert "card=1" not in signal.model_dump_json()


def test_the_shared_alertmanager_sample_is_understood():
    signals = alertmanager.interpret(shared("alertmanager_v4_firing"), POLICY).signals
    assert [signal.title for signal in signals] == [
        "Instance localhost:8081 down",
        "Instance localhost:8082 down",
    ]
    assert all(signal.service == "node" and signal.level is Level.CRITICAL for signal in signals)
    assert all(signal.url is None and signal.runbook == "https://runbooks.example/node" for signal in signals)
    assert_well_typed(signals)


def test_the_shared_grafana_sample_is_understood():
    signals = alertmanager.interpret(shared("grafana_webhook_official"), POLICY).signals
    assert [signal.firing for signal in signals] == [True, True]
    assert signals[0].started_at == datetime(2021, 10, 12, 7, 51, 3, 157076, tzinfo=UTC)
    assert signals[0].runbook == "https://myrunbook.com/runbook/1234"
    assert_well_typed(signals)


@pytest.mark.parametrize("module", MODULES)
def test_the_other_shared_samples_are_refused_and_never_crash(module):
    shared("gcm_test_connection")
    for path in sorted(SHARED.glob("*.json")):
        body = path.read_bytes()
        reason = module.look(body, POLICY).error
        if reason is None:
            module.interpret(body, POLICY)
        else:
            with pytest.raises(Unreadable):
                module.interpret(body, POLICY)


# Hostile bodies.


def nested(depth: int, opening: str, closing: str) -> bytes:
    return (opening * depth + "1" + closing * depth).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":1} x', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"a":"\xc3\x28"}', "not JSON"),
        (b'{"a":"\\ud800"}', "not JSON"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'"text"', "not an object"),
        (b"1", "not an object"),
        (b'{"a":NaN}', r"a number that is none \(NaN\)"),
        (b'{"a":[1,-Infinity]}', r"a number that is none \(NaN\)"),
        (b'{"a":1e400}', r"a number that is none \(too large\)"),
        (b'{"a":' + b"9" * 5000 + b"}", r"a number that is none \(too large\)"),
        (b'{"a":1,"a":1}', "the key 'a' twice"),
        (b'{"a":{"b":{},"b":{}}}', "the key 'b' twice"),
        (b'{"a" : 1 , "a"\n: 2}', "the key 'a' twice"),
        (b'{"a":1,"\\u0061":2}', "the key 'a' twice"),
        (b'{"a":1,"a":"\\u0022"}', "the key 'a' twice"),
        (b'{"a":1,"a":2,"b":"\\u0022\\u0022:"}', "the key 'a' twice"),
        (b'{"a":1,"a":"\\"\\":"}', "the key 'a' twice"),
        (b'{"":1,"":2}', "the key '' twice"),
        (nested(65, '{"a":', "}"), "nested deeper than 64"),
        (b'{"a":' + nested(64, "[", "]") + b"}", "nested deeper than 64"),
        (b'{"a":' + nested(1000, "[", "]") + b"}", "nested deeper than 64"),
        (nested(10**4, '{"a":', "}"), "nested deeper than 64"),
        (nested(10**5, "[", "]"), "nested deeper than 64"),
        (b"[" * 10**5, "nested deeper than 64"),
        (b'{"a":[' + b"[]," * 10**5 + b"1]}", "more than 100,000 objects and lists"),
        (b"[" * 10**6, "more than 100,000 objects and lists"),
        (b'{"a":1,"a":' + nested(500, "[", "]") + b"}", "nested deeper than 64"),
    ],
)
def test_a_hostile_body_is_refused_with_its_reason(body, reason):
    with pytest.raises(Unreadable, match=reason):
        read(body)
    for module in MODULES:
        assert module.look(body, POLICY).error
        with pytest.raises(Unreadable):
            module.interpret(body, POLICY)


def test_the_reason_of_a_refusal_is_short_and_clean():
    body = b'{"\xe2\x80\xae' + b"<!channel>" * 500 + b'":1,"\xe2\x80\xae' + b"<!channel>" * 500 + b'":1}'
    with pytest.raises(Unreadable) as caught:
        read(body)
    assert len(caught.value.reason) < 100
    assert "\u202e" not in caught.value.reason


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\"a\\":1"}',
        b'{"a" : {"b" : 1}, "c"\t: 2}',
        b'{"a":"\\u0022:"}',
        b'{"a":{"x":1},"b":{"x":1}}',
        b'{"a":[{"x":1},{"x":1}]}',
        b'{"a":"{{{{[[[["}',
        b'{"a":"' + b"[" * 100 + b'"}',
        nested(64, '{"a":', "}"),
        b'{"a":' + nested(63, "[", "]") + b"}",
        b'{"a":"\\u0000"}',
        '{"鍵":"値"}'.encode(),
    ],
)
def test_an_unusual_body_that_has_one_meaning_is_read(body):
    assert read(body) == json.loads(body)


JUNK = [None, True, False, 0, -1, 1.5, "", "x", [], [1], {}, {"a": 1}, [[]], {"labels": 3}]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
@pytest.mark.parametrize(
    "file", ["cloud_monitoring_open", "cloud_monitoring_closed", "cloud_monitoring_test"]
)
def test_any_field_of_an_incident_may_be_of_any_type(file, junk):
    for key in json.loads(golden(file))["incident"]:
        assert_consistent(
            cloud_monitoring, sent(file, **{key: junk}), must=key not in {"incident_id", "state"}
        )


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_any_field_of_an_alert_and_of_its_group_may_be_of_any_type(junk):
    for key in json.loads(golden("alertmanager_firing")):
        body = group([firing()], **{key: junk})
        assert_consistent(alertmanager, body, must=key not in {"alerts", "groupKey"})
    for key in firing():
        assert_consistent(alertmanager, group([firing(**{key: junk})]), must=True)


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_any_field_of_an_error_may_be_of_any_type(junk):
    body = json.loads(golden("error_reporting"))
    for key in body:
        changed = json.dumps(body | {key: junk}).encode()
        assert_consistent(cloud_monitoring, changed, must=True)
        if isinstance(body[key], dict):
            for inner in body[key]:
                changed = json.dumps(body | {key: body[key] | {inner: junk}}).encode()
                assert_consistent(cloud_monitoring, changed, must=True)


def assert_consistent(module, body: bytes, *, must: bool = False) -> None:
    """``look`` and ``interpret`` agree, and what comes out is well-typed, short and clean."""
    reason = module.look(body, POLICY).error
    if must:
        assert reason is None
    if reason is not None:
        with pytest.raises(Unreadable) as caught:
            module.interpret(body, POLICY)
        assert caught.value.reason == reason
        return
    reading = module.interpret(body, POLICY)
    assert reading.signals or reading.tests or reading.others
    assert_well_typed(reading.signals)
    for signal in reading.signals:
        assert signal.title.strip()
        assert len(signal.title) <= 200
        assert len(signal.summary) <= 3000
        assert len(signal.identity) <= 700
        assert signal.model_dump_json().encode()
        for text in (signal.title, signal.summary, signal.identity, *signal.labels, *signal.labels.values()):
            assert clean(text, 10_000) == text


NASTY = "<!channel> <@U1> *bold* <https://evil.example|console> &amp; \u202egnp\u200b\x00\x1b[31m"


@pytest.mark.parametrize("module", MODULES)
def test_markup_stays_as_it_is_and_what_acts_is_dropped(module):
    if module is cloud_monitoring:
        body = sent(
            "cloud_monitoring_open",
            policy_name=NASTY,
            summary=NASTY,
            condition_name=...,
            documentation=...,
            resource={"labels": {"a": NASTY}},
        )
    else:
        body = group([firing(annotations={"summary": NASTY, "description": NASTY}, labels={"a": NASTY})])
    signal = one(body, module)
    shown = "<!channel> <@U1> *bold* <https://evil.example|console> &amp; gnp[31m"
    assert (signal.title, signal.summary, signal.labels["a"]) == (shown, shown, shown)


@pytest.mark.parametrize("module", MODULES)
def test_fields_of_5000_characters_are_cut(module):
    long = "長" * 5000
    if module is cloud_monitoring:
        changes = {
            "policy_name": long,
            "summary": long,
            "observed_value": long,
            "url": "https://x.example/" + long,
        }
        body = sent("cloud_monitoring_open", **changes, resource={"labels": {long: long}})
    else:
        notes = {"title": long, "description": long, "value": long}
        body = group([firing(annotations=notes, labels={long: long}, generatorURL="https://x/" + long)])
    signal = one(body, module)
    assert_consistent(module, body)
    assert signal.title.endswith("…")
    assert len(signal.summary) == 3000
    assert len(signal.value or "") == 300
    assert ("長" * 499 + "…") in signal.labels
    assert signal.url in {None, "http://alertmanager.example:9093"}


# Whatever comes: never a crash, never two opinions.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["labels", "url", "links", "a"]) | st.text(max_size=5), inner, max_size=4
        )
    ),
    max_leaves=12,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def dropped(body: dict, inner: str) -> list[dict]:
    """The body once without each key of the object ``inner``, and of the objects in it."""
    found = []
    for key, value in body[inner].items():
        rest = {other: kept for other, kept in body[inner].items() if other != key}
        found.append(body | {inner: rest})
        if isinstance(value, dict):
            found += [
                body | {inner: rest | {key: {k: v for k, v in value.items() if k != gone}}} for gone in value
            ]
    return found


def test_each_optional_field_of_an_incident_may_be_missing():
    for file in ("cloud_monitoring_open", "cloud_monitoring_closed", "cloud_monitoring_test"):
        body = json.loads(golden(file))
        for less in dropped(body, "incident"):
            needed = {"incident_id", "state"} <= set(less["incident"])
            assert_consistent(cloud_monitoring, json.dumps(less).encode(), must=needed)
        assert_consistent(
            cloud_monitoring, json.dumps({"incident": body["incident"]}).encode(), must=file[-4:] != "test"
        )


def test_each_optional_field_of_a_group_and_of_its_alerts_may_be_missing():
    for key in json.loads(golden("alertmanager_firing")):
        body = group([firing()], **{key: ...})
        assert_consistent(alertmanager, body, must=key not in {"alerts", "groupKey"})
    for key in firing():
        assert_consistent(alertmanager, group([firing(**{key: ...})]), must=True)


@QUICK
@given(changes=st.dictionaries(st.text(max_size=12), JSON, max_size=5), data=st.data())
def test_added_and_changed_fields_of_an_incident_never_crash(changes, data):
    known = st.sampled_from(sorted(json.loads(golden("cloud_monitoring_open"))["incident"]))
    changes |= data.draw(st.dictionaries(known, JSON, max_size=4))
    assert_consistent(cloud_monitoring, sent("cloud_monitoring_open", **changes))


@QUICK
@given(changes=st.dictionaries(st.text(max_size=12), JSON, max_size=5), data=st.data())
def test_added_and_changed_fields_of_an_alert_never_crash(changes, data):
    known = st.sampled_from(sorted(firing()))
    alert = changes | data.draw(st.dictionaries(known, JSON, max_size=4))
    outer = data.draw(st.dictionaries(st.sampled_from(sorted(json.loads(group([])))), JSON, max_size=3))
    assert_consistent(alertmanager, group([firing(**alert)], **({"alerts": [firing(**alert)]} | outer)))


@QUICK
@given(
    value=JSON
    | st.fixed_dictionaries({"incident": JSON})
    | st.fixed_dictionaries({"alerts": JSON, "groupKey": JSON})
)
def test_random_json_is_read_or_unreadable(value):
    body = orjson.dumps(value) if not isinstance(value, int) else b"1"
    for module in MODULES:
        assert_consistent(module, body)


@QUICK
@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0022a1 \n', max_size=60).map(str.encode))
def test_random_bytes_are_read_as_the_standard_library_reads_them_or_unreadable(body):
    try:
        value = read(body)
    except Unreadable:
        return
    assert value == json.loads(body)


@QUICK
@given(value=st.dictionaries(st.text(max_size=5), JSON, max_size=4), data=st.data())
def test_a_key_twice_is_always_found_however_it_is_written(value, data):
    """Puts a member before an object's own members: the body then has one key too many."""
    key = data.draw(st.text(max_size=5))
    wrote = json.dumps({**value, key: data.draw(JSON)}, ensure_ascii=data.draw(st.booleans()))
    again = json.dumps(
        {key: data.draw(JSON)}, separators=data.draw(st.sampled_from([(",", ":"), (" , ", "\n: ")]))
    )
    body = (again[:-1] + "," + wrote[1:]).encode()
    with pytest.raises(Unreadable):
        read(body)


# The small readers.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1714550400, datetime(2024, 5, 1, 8, tzinfo=UTC)),
        (1714550400.5, datetime(2024, 5, 1, 8, 0, 0, 500000, tzinfo=UTC)),
        ("1714550400", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01T08:00:00Z", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01T08:00:00", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01 17:00:00+09:00", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("2024-05-01T08:00:00.123456789Z", datetime(2024, 5, 1, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2024-05-01T08:00:00.1Z", datetime(2024, 5, 1, 8, 0, 0, 100000, tzinfo=UTC)),
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        (" 2024-05-01T08:00:00Z ", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+09:00", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("1969-12-31T00:00:00Z", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-05-01T08:00:00\x00", None),
        ("20240501", None),
        ("yesterday", None),
        ("", None),
        ("2" * 5000, None),
        ("\ud800", None),
        (0, None),
        (0.0, None),
        (-1, None),
        (1, None),
        (10**13, None),
        (10**300, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ([1714550400], None),
        ({"seconds": 1714550400}, None),
    ],
)
def test_a_moment_is_in_utc_or_none(value, expected):
    found = moment(value)
    assert found == expected
    assert found is None or found.tzinfo is UTC


@QUICK
@given(value=SCALARS | st.integers() | st.floats() | st.text("0123456789-:.TZ+ W", max_size=30))
def test_no_moment_ever_crashes(value):
    found = moment(value)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    "link",
    [
        "https://console.cloud.google.com/monitoring/alerting/incidents/0.abc?project=x",
        "http://prometheus_1:9090/graph?g0.expr=up%20%3D%3D%200&g0.tab=1",
        "HTTPS://Example.COM",
        "https://[2001:db8::1]:8443/x",
        "https://wiki.example/手順書#復旧",
        "https://example.com?x=1",
        "https://example.com:/x",
        "https://example.com/@user",
        "https://" + "a" * 1992,
    ],
)
def test_a_plain_link_stays(link):
    assert https_link(link) == link


def test_a_bar_cannot_end_a_link():
    assert https_link("https://example.com/a|b") == "https://example.com/a%7Cb"


@pytest.mark.parametrize(
    "link",
    [
        None,
        3,
        True,
        ["https://example.com"],
        "",
        "example.com",
        "//example.com",
        "https://",
        "https:///x",
        "https:example.com",
        "https://?x",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.com",
        "https://user@example.com",
        "https://user:secret@example.com/",
        "https://console.cloud.google.com@evil.example/",
        "https://console.cloud.google.com\\@evil.example/",
        "https://console.cloud.google.com%40evil.example/",
        "https://ɡoogle.com/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "https://example.com/\x00",
        "https://example.com/\u202egpj.exe",
        "https://example.com/\u200b",
        "https://example.com/>evil",
        "https://example.com/<evil",
        " https://example.com",
        "https://example.com\n",
        "https://" + "a" * 1993,
        "https://example.com/\ud800",
    ],
)
def test_anything_else_is_no_link(link):
    assert https_link(link) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("日本語　全角", "日本語　全角"),
        ("a\tb\r\nc\x0bd\x00e\x7ff\x85g", "a b\nc\ndefg"),
        ("a\u202eb\u200bc\u2066d\ufeffe\u00adf", "abcdef"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("a\ud800b", "ab"),
        ("\U000e0041x", "x"),
        ("👩\u200d💻", "👩💻"),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (0.5, "0.5"),
        (None, ""),
        ([], ""),
        ({"a": 1}, ""),
        pytest.param(10**5000, "", id="5,000 digits"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…"),
        ("\u200b" * 10 + "x" * 20, "x" * 20),
    ],
)
def test_text_is_cleaned(value, expected):
    assert clean(value, 20) == expected


@QUICK
@given(value=st.text(st.characters(), max_size=300), limit=st.integers(1, 100))
def test_cleaned_text_is_short_encodable_and_clean_again(value, limit):
    once = clean(value, limit)
    assert len(once) <= limit
    assert clean(once, limit) == once
    assert once.encode().decode() == once
    assert "\x00" not in once


def test_a_very_long_text_is_cut_even_where_most_of_it_is_dropped():
    said = clean("\u200b" * 10_000 + "x", 100)
    assert said == "…"


def test_a_line_has_no_breaks_and_no_doubled_blanks():
    assert line("  a\n b\t\tc ") == "a b c"
    assert [line(value) for value in (None, "", 0, False, [], {})] == ["", "", "0", "false", "", ""]


def test_a_long_name_keeps_its_difference():
    assert name("x" * 200) == "x" * 200
    assert name("x" * 201) != name("x" * 202)
    assert len(name("x" * 100_000)) == 32


def test_labels_are_text_by_text_and_not_too_many():
    assert clean_labels({"a": "b", "n": 1, "t": True, "z": None, "l": [], "d": {}, "": "x"}) == {
        "a": "b",
        "n": "1",
        "t": "true",
    }
    assert len(clean_labels({str(number): "x" for number in range(1000)})) == 64
    for junk in (None, 3, "x", [], ["a"]):
        assert clean_labels(junk) == {}


def test_the_labels_of_a_signal_are_not_the_body_itself():
    labels = {"a": "b"}
    assert clean_labels(labels) is not labels


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("0.052341187", "0.0523"),
        ("93.33333333333333%", "93.3%"),
        ("1.2345678s", "1.23s"),
        ("B=44.25123456, C=1", "B=44.3, C=1"),
        ("p95 = 0.4721111 s", "p95 = 0.472 s"),
        ("12.345", "12.345"),
        ("v1.23456", "v1.23456"),
        ("10.1234.5", "10.1234.5"),
        ("1.234567e-05", "1.234567e-05"),
        ("2024-05-01T08:24:38.326381Z", "2024-05-01T08:24:38.326381Z"),
    ],
)
def test_14_8_a_value_of_ten_digits_is_read_with_three(said, shown):
    assert short_numbers(said) == shown
    assert one(sent("cloud_monitoring_open", observed_value=said)).value == shown
    assert one(group([firing(annotations={"value": said})]), alertmanager).value == shown


# The table.


def test_every_sender_is_answered_as_it_needs():
    answers = {
        key: (one.route, one.accepted, one.unreadable, one.retry_after) for key, one in SENDERS.items()
    }
    assert answers == {
        "cloud-monitoring": ("/webhooks/cloud-monitoring", 200, 202, False),
        "alertmanager": ("/webhooks/alertmanager", 200, 400, True),
        "grafana": ("/webhooks/grafana", 200, 400, True),
    }
    assert all(key == one.name for key, one in SENDERS.items())


def test_13_10_no_number_of_labels_hides_how_bad_it_is_and_of_what():
    many = {f"a_label_{number:03}": "x" for number in range(100)}
    told = many | {"alertname": "Down", "severity": "emergency", "job": "node"}
    signal = one(group([firing(labels=told)]), alertmanager)
    assert (signal.level, signal.service) == (Level.EMERGENCY, "node")
    orders = {"service_name": "orders", "project_id": "example-prod"}
    signal = one(sent("cloud_monitoring_open", policy_user_labels=many | {"severity": "emergency"} | orders))
    assert (signal.level, signal.service) == (Level.EMERGENCY, "orders-api")
