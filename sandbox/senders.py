"""Bodies as monitoring systems send them, about BondPoint's services."""

import hashlib
from typing import Any


def monitoring(
    incident: str = "0.abc",
    *,
    state: str = "open",
    severity: str = "Critical",
    policy: str = "API error rate",
    service: str = "bondpoint-api",
    started: int = 1795309200,
    **more: Any,
) -> dict[str, Any]:
    """A Cloud Monitoring notification, schema 1.2, about a Cloud Run service.

    The fields and their types are those of the captures that facts §2.1 describes: values are strings,
    times epoch seconds, ``ended_at`` null while it is open.
    """
    console = "https://console.cloud.google.com/monitoring/alerting/incidents"
    return {
        "version": "1.2",
        "incident": {
            "incident_id": incident,
            "scoping_project_id": "bondpoint-prod",
            "scoping_project_number": 1234567890,
            "url": f"{console}/{incident}?project=bondpoint-prod",
            "started_at": started,
            "ended_at": None if state == "open" else started + 1200,
            "state": state,
            "severity": severity,
            "summary": f"Error rate of {service} is above the threshold of 0.010 with a value of 0.052."
            if state == "open"
            else f"Error rate of {service} returned to normal with a value of 0.002.",
            "policy_name": policy,
            "condition_name": "5xx share",
            "observed_value": "0.052" if state == "open" else "0.002",
            "threshold_value": "0.01",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {
                    "project_id": "bondpoint-prod",
                    "service_name": service,
                    "location": "asia-northeast1",
                },
            },
            "resource_display_name": service,
            "metric": {
                "type": "run.googleapis.com/request_count",
                "displayName": "Request Count",
                "labels": {},
            },
            "policy_user_labels": {"team": "api"},
            "documentation": {
                "content": "See the runbook.",
                "mime_type": "text/markdown",
                "links": [{"displayName": "Runbook", "url": "https://runbooks.bondpoint.example/api-errors"}],
            },
            **more,
        },
    }


def monitoring_test() -> dict[str, Any]:
    """What the console's test button sends."""
    body = monitoring("12345", state="OPEN", severity="", started=0)
    incident = body["incident"] | {"started_at": 0, "ended_at": 0, "documentation": "Test documentation"}
    incident |= {"policy_name": "projects/12345/alertPolicies/12345", "summary": "Test Incident"}
    return {"version": "test", "incident": incident}


def alertmanager(
    *names: str,
    status: str = "firing",
    severity: str = "warning",
    group: str = "HighLatency",
    started: str = "2026-11-22T01:00:00Z",
    ended: str = "0001-01-01T00:00:00Z",
    **more: Any,
) -> dict[str, Any]:
    """An Alertmanager webhook, version 4, with one alert for each instance name."""
    alerts = [
        {
            "status": status,
            "labels": {"alertname": group, "severity": severity, "instance": name},
            "annotations": {"summary": f"{group} on {name}", "description": f"{name} is slow"},
            "startsAt": started,
            "endsAt": ended,
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": hashlib.sha256(f"{group}{name}".encode()).hexdigest()[:16],
        }
        for name in names
    ]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{group}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "toban",
        "groupLabels": {"alertname": group},
        "commonLabels": {"alertname": group, "severity": severity},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": alerts,
    } | more


def grafana(
    *,
    name: str = "API 5xx",
    severity: str = "critical",
    status: str = "firing",
    reason: str = "",
    started: str = "2026-11-22T10:00:00+09:00",
    **labels: str,
) -> dict[str, Any]:
    """A notification of Grafana's alerting. With a ``reason`` it says resolved, and why it does."""
    status = "resolved" if reason else status
    marks = {"alertname": name, "grafana_folder": "prod", "severity": severity, **labels}
    notes = {"summary": f"{name} of the API"} | ({"grafana_state_reason": reason} if reason else {})
    alert = {
        "status": status,
        "labels": marks,
        "annotations": notes,
        "startsAt": started,
        "endsAt": "0001-01-01T00:00:00Z" if status == "firing" else "2026-11-22T10:15:00+09:00",
        "generatorURL": "https://grafana.example/alerting/grafana/abc/view?orgId=1",
        "fingerprint": hashlib.sha256(repr(sorted(marks.items())).encode()).hexdigest()[:16],
        "values": {"A": 0.052, "C": 1} if status == "firing" else None,
        "valueString": "",
    }
    return {
        "receiver": "toban",
        "status": status,
        "orgId": 1,
        "alerts": [alert],
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://grafana.example/",
        "version": "1",
        "groupKey": f'{{}}/{{}}:{{alertname="{name}"}}',
        "truncatedAlerts": 0,
        "title": "",
        "state": "alerting" if status == "firing" else "ok",
        "message": "",
    }


def grafana_test(press: int = 0, *, version: str = "13.0.1") -> dict[str, Any]:
    """What the Test button of a contact point sends; the group key is made of the moment of the click."""
    body = grafana(name="TestAlert", severity="", instance="Grafana")
    clock = f"2026-11-22 01:{22 + press % 30}:37.405950092 +0000 UTC m=+{152 + press}.628128021"
    old = version.startswith("9.")
    key = (
        f'{{alertname="TestAlert", instance="Grafana"}}{clock}'
        if old
        else f"toban-57c6d9296de2ad39-{1795310294 + press}"
    )
    alert = body["alerts"][0] | {
        "labels": {"alertname": "TestAlert", "instance": "Grafana"},
        "annotations": {"summary": "Notification test"},
        "startsAt": f"2026-11-22T01:{18 + press % 30}:14.277530318Z",
        "generatorURL": "",
        "values": None,
        "valueString": "[ metric='foo' labels={instance=bar} value=10 ]",
    }
    return body | {
        "alerts": [alert],
        "groupKey": key,
        "receiver": "" if old else "toban",
        "appVersion": version,
    }
