"""What Grafana's alerting says beyond Alertmanager: its test button, its own alerts about data, its reasons.

Sources: the payloads of Grafana 9 to 13, and https://grafana.com/docs/grafana/latest/alerting (stale alert
instances, no data and error states).
"""

import re
from typing import Any

from domain.alerts import Ending
from handlers.webhooks.reading import line, table

_CLOCK = re.compile(
    r"(?:-[0-9a-f]{16}-[0-9]{9,11}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]{8,20} [+-][0-9]{4} \S{1,20} m=[+-][0-9.]{1,30})\Z"
)
"""How the group key of a test ends: it has no group, and is made of the moment of the click."""

_ENDINGS = {
    "missingseries": Ending.SILENT,
    "nodata": Ending.SILENT,
    "error": Ending.SILENT,
    "keeplast": Ending.SILENT,
    "paused": Ending.PAUSED,
    "updated": Ending.UPDATED,
    "ruledeleted": Ending.DELETED,
}

STATE_REASON = "grafana_state_reason"
"""The annotation that says why an alert of Grafana ended."""

DATA_ALERTS = {"DatasourceNoData": "no data", "DatasourceError": "query error"}
"""The names under which Grafana reports that a rule could not be judged, and what we call that."""


def is_grafana(sent: dict[str, Any]) -> bool:
    """Whether Grafana sent it: only Grafana has organisations, and a state of its own beside the status."""
    return "orgId" in sent or (sent.get("version") == "1" and "state" in sent)


def is_test(sent: dict[str, Any]) -> bool:
    """Whether somebody pressed Test at a contact point; labels and texts may be the person's own."""
    if not is_grafana(sent):
        return False
    key = sent.get("groupKey")
    if type(key) is str and _CLOCK.search(key[-120:]):
        return True
    alerts = [table(alert) for alert in sent["alerts"][:2]]
    labels = [table(alert.get("labels")) for alert in alerts]
    return len(labels) == 1 and (labels[0].get("alertname"), labels[0].get("instance")) == (
        "TestAlert",
        "Grafana",
    )


def ending(notes: dict[str, Any]) -> Ending | None:
    """Why it ended without a recovery. Grafana may name several reasons: ``NoData, KeepLast``.

    A reason that we do not know is no recovery either, so that nothing is believed to be well.
    """
    said = line(notes.get(STATE_REASON)).casefold()
    if not said:
        return None
    reasons = [_ENDINGS.get(part.strip().replace(" ", ""), Ending.SILENT) for part in said.split(",")]
    return next((reason for reason in reasons if reason is not Ending.SILENT), Ending.SILENT)


def data_alert(labels: dict[str, Any]) -> str | None:
    """What is wrong with the data of a rule, where the alert is about that and not about the rule's limit."""
    named = labels.get("alertname")
    return DATA_ALERTS.get(named) if type(named) is str else None
