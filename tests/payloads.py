"""Bodies as the senders write them."""

import hashlib
from typing import Any


def monitoring(
    incident: str = "0.abc", *, state: str = "open", severity: str = "Critical", policy: str = "API error rate",
    service: str = "bondpoint-api", **more: Any,
) -> dict[str, Any]:
    """A Cloud Monitoring notification, schema 1.2, about a Cloud Run service."""
    return {
        "version": "1.2",
        "incident": {
            "incident_id": incident,
            "scoping_project_id": "bondpoint-prod",
            "scoping_project_number": 1234567890,
            "url": f"https://console.cloud.google.com/monitoring/alerting/incidents/{incident}?project=bondpoint-prod",
            "started_at": 1795309200,
            "ended_at": None if state == "open" else 1795310400,
            "state": state,
            "severity": severity,
            "summary": "Error rate of bondpoint-api is above the threshold of 0.010 with a value of 0.052.",
            "policy_name": policy,
            "condition_name": "5xx share",
            "observed_value": "0.052" if state == "open" else "0.002",
            "threshold_value": "0.01",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {"project_id": "bondpoint-prod", "service_name": service, "location": "asia-northeast1"},
            },
            "resource_display_name": service,
            "metric": {"type": "run.googleapis.com/request_count", "displayName": "Request Count", "labels": {}},
            "policy_user_labels": {"team": "api"},
            "documentation": {
                "content": "See the runbook.",
                "mime_type": "text/markdown",
                "links": [{"displayName": "Runbook", "url": "https://runbooks.bondpoint.example/api-errors"}],
            },
            **more,
        },
    }


def alertmanager(
    *names: str, status: str = "firing", severity: str = "warning", group: str = "HighLatency",
    started: str = "2026-11-22T01:00:00Z", ended: str = "0001-01-01T00:00:00Z", **more: Any,
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
            "fingerprint": hashlib.sha256(f'{group}{name}'.encode()).hexdigest()[:16],
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
