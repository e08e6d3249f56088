"""Bodies that the load generator sends again and again; a mark in them is replaced in each request."""

import json

from sandbox.senders import alertmanager, monitoring


def single() -> tuple[str, list[str]]:
    """One alert in a request; 50 groups come from 50 policies."""
    return json.dumps(monitoring("0.MARK", severity="Warning")), ["MARK"]


def hundred() -> tuple[str, list[str]]:
    """A hundred alerts in a request, all of one group, each request other ones."""
    body = alertmanager(*[f"MARK-{number}" for number in range(100)], severity="info")
    for number, alert in enumerate(body["alerts"]):
        alert["fingerprint"] = f"MARK-{number:04d}"
    return json.dumps(body), ["MARK"]
