"""Which act of the rule each button, form, menu and command verb is: nothing is registered without one."""

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

INCIDENT: Mapping[str, Act] = MappingProxyType(
    {
        "": Act.READ_INCIDENTS,
        "declare": Act.INCIDENT_DECLARE,
        "list": Act.READ_INCIDENTS,
        "show": Act.READ_INCIDENTS,
        "ack": Act.ACKNOWLEDGE,
        "resolve": Act.INCIDENT_RESOLVE,
        "help": Act.READ_HELP,
    }
)
DEPLOY: Mapping[str, Act] = MappingProxyType(
    {
        "": Act.DEPLOY_REQUEST,
        "status": Act.READ_DEPLOYS,
        "pause": Act.DEPLOY_PAUSE,
        "resume": Act.DEPLOY_RESUME,
        "promote": Act.DEPLOY_PROMOTE,
        "abort": Act.DEPLOY_ABORT,
        "rollback": Act.DEPLOY_REQUEST,
        "lock": Act.SERVICE_LOCK,
        "unlock": Act.SERVICE_UNLOCK,
        "freeze": Act.READ_DEPLOYS,
        "history": Act.READ_DEPLOYS,
        "diff": Act.DEPLOY_PLAN,
        "help": Act.READ_HELP,
    }
)
TOBAN: Mapping[str, Act] = MappingProxyType(
    {
        "": Act.READ_HELP,
        "health": Act.READ_HEALTH,
        "anomalies": Act.READ_ANOMALIES,
        "anomalies list": Act.READ_ANOMALIES,
        "anomalies explain": Act.READ_ANOMALIES,
        "anomalies mute": Act.SERVICE_MUTE,
        "anomalies unmute": Act.SERVICE_UNMUTE,
        "backup": Act.READ_BACKUPS,
        "backup status": Act.READ_BACKUPS,
        "backup list": Act.READ_BACKUPS,
        "backup history": Act.READ_BACKUPS,
        "backup run": Act.BACKUP_RUN,
        "backup drill": Act.DRILL_REQUEST,
        "backup accept": Act.BACKUP_ACCEPT,
        "backups": Act.READ_BACKUPS,
        "capacity": Act.READ_CAPACITY,
        "jobs": Act.READ_JOBS,
        "help": Act.READ_HELP,
    }
)


def incident_act(text: str) -> Act:
    """The act of ``/incident TEXT``. What is no verb is only answered with a hint."""
    return INCIDENT.get(_words(text)[0], Act.READ_HELP)


def deploy_act(text: str) -> Act:
    """The act of ``/deploy TEXT``: what is no verb asks for a deploy, or for its plan alone."""
    verb, more = _words(text)
    if verb not in DEPLOY and "--dry-run" in text.split():
        return Act.DEPLOY_PLAN
    return DEPLOY.get(verb, Act.DEPLOY_REQUEST if more else Act.READ_HELP)


def toban_act(text: str) -> Act:
    """The act of ``/toban TEXT``, by its first two words where the first alone does not say."""
    verb, second = _words(text)
    verb = "backup" if verb == "backups" else verb
    return TOBAN.get(f"{verb} {second}") or TOBAN.get(verb, Act.READ_HELP)


def _words(text: str) -> tuple[str, str]:
    first, second, *_ = [*text.casefold().split(), "", ""]
    return first, second
