"""Every action and callback id, once."""

ALERT_ACKNOWLEDGE = "alert.acknowledge"
ALERT_RESOLVE = "alert.resolve"
ALERT_DECLARE = "alert.declare"
INCIDENT_ACKNOWLEDGE = "incident.acknowledge"
INCIDENT_RESOLVE = "incident.resolve"
INCIDENT_DECLARE = "incident.declare"
PAGE_ACKNOWLEDGE = "page.acknowledge"

DECLARE_FORM = "incident.declare_form"
RESOLVE_FORM = "incident.resolve_form"
