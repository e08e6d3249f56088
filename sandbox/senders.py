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
