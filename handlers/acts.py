"""Which act of the rule each button, form and menu is: nothing is registered without one."""

from collections.abc import Mapping
from types import MappingProxyType

from domain.authority import Act
from notify.slack import actions

UNKNOWN = "unknown"
"""A button of another version: answered, never carried out."""

KEPT: Mapping[str, Act] = MappingProxyType(
    {
        actions.ALERT_ACKNOWLEDGE: Act.ACKNOWLEDGE,
        actions.INCIDENT_ACKNOWLEDGE: Act.ACKNOWLEDGE,
        actions.PAGE_ACKNOWLEDGE: Act.ACKNOWLEDGE,
        actions.ALERT_RESOLVE: Act.ALERT_RESOLVE,
        actions.RESOLVE_FORM: Act.INCIDENT_RESOLVE,
        actions.DECLARE_FORM: Act.INCIDENT_DECLARE,
        actions.FINDING_USEFUL: Act.ANOMALY_JUDGE,
        actions.FINDING_NOT_USEFUL: Act.ANOMALY_JUDGE,
        actions.FINDING_EXPECTED: Act.ANOMALY_JUDGE,
        actions.FINDING_MUTE: Act.ANOMALY_MUTE,
        actions.DETECTOR_MUTE: Act.SERVICE_MUTE,
        actions.DETECTOR_UNMUTE: Act.SERVICE_UNMUTE,
        actions.DEPLOY_REQUEST: Act.DEPLOY_REQUEST,
        actions.DEPLOY_ROLLBACK: Act.DEPLOY_REQUEST,
        actions.DEPLOY_LOCK: Act.SERVICE_LOCK,
        actions.DEPLOY_UNLOCK: Act.SERVICE_UNLOCK,
        actions.ROLLOUT_APPROVE: Act.DEPLOY_APPROVE,
        actions.ROLLOUT_REJECT: Act.DEPLOY_REJECT,
        actions.REJECT_FORM: Act.DEPLOY_REJECT,
        actions.ROLLOUT_PAUSE: Act.DEPLOY_PAUSE,
        actions.ROLLOUT_RESUME: Act.DEPLOY_RESUME,
        actions.ROLLOUT_PROMOTE: Act.DEPLOY_PROMOTE,
        actions.ROLLOUT_WAIT: Act.DEPLOY_WAIT,
        actions.ROLLOUT_ABORT: Act.DEPLOY_ABORT,
        actions.ROLLOUT_BACK: Act.DEPLOY_UNDO,
        actions.BACKUP_RUN: Act.BACKUP_RUN,
        actions.BACKUP_ACCEPT: Act.BACKUP_ACCEPT,
        actions.DRILL_REQUEST: Act.DRILL_REQUEST,
        actions.DRILL_APPROVE: Act.DRILL_APPROVE,
        actions.DRILL_DECLINE: Act.DRILL_DECLINE,
        actions.DRILL_RELEASE: Act.DRILL_RELEASE,
        actions.QUIET_END: Act.QUIET_END,
    }
)
"""What is kept first and carried out from the inbox, by the ``act`` of its request."""

ACTIONS: Mapping[str, Act] = MappingProxyType(
    {
        **KEPT,
        actions.ALERT_DECLARE: Act.INCIDENT_DECLARE,
        actions.INCIDENT_DECLARE: Act.INCIDENT_DECLARE,
        actions.INCIDENT_RESOLVE: Act.INCIDENT_RESOLVE,
        actions.DEPLOY_FORM: Act.DEPLOY_REQUEST,
        actions.DEPLOY_TAG: Act.DEPLOY_REQUEST,
        actions.HOME_REFRESH: Act.READ_HOME,
        UNKNOWN: Act.READ_HELP,
    }
)
"""Every button, form and menu by its id. Those that only open a form need what the form needs."""
