"""Who may do what: one table of all acts, and the one rule that every act asks."""

from enum import StrEnum
from types import MappingProxyType

from domain.approvals import Account, Standing, standing
from domain.errors import Refused
from domain.levels import Value
from domain.policy import Person, Policy
from domain.roles import MEMBERS, ROLE_OF_PEOPLE, Role, is_group


class Act(StrEnum):
    """Everything that a person can do or read by way of Slack."""

    ACKNOWLEDGE = "acknowledge"
    ALERT_RESOLVE = "alert-resolve"
    INCIDENT_DECLARE = "incident-declare"
    INCIDENT_RESOLVE = "incident-resolve"
    ANOMALY_JUDGE = "anomaly-judge"
    ANOMALY_MUTE = "anomaly-mute"
    SERVICE_MUTE = "service-mute"
    SERVICE_UNMUTE = "service-unmute"
    DEPLOY_REQUEST = "deploy-request"
    DEPLOY_APPROVE = "deploy-approve"
    DEPLOY_REJECT = "deploy-reject"
    DEPLOY_PAUSE = "deploy-pause"
    DEPLOY_RESUME = "deploy-resume"
    DEPLOY_PROMOTE = "deploy-promote"
    DEPLOY_WAIT = "deploy-wait"
    DEPLOY_ABORT = "deploy-abort"
    DEPLOY_UNDO = "deploy-undo"
    DEPLOY_PLAN = "deploy-plan"
    SERVICE_LOCK = "service-lock"
    SERVICE_UNLOCK = "service-unlock"
    BACKUP_RUN = "backup-run"
    BACKUP_ACCEPT = "backup-accept"
    DRILL_REQUEST = "drill-request"
    DRILL_APPROVE = "drill-approve"
    DRILL_DECLINE = "drill-decline"
    DRILL_RELEASE = "drill-release"
    QUIET_END = "quiet-end"
    READ_INCIDENTS = "read-incidents"
    READ_DEPLOYS = "read-deploys"
    READ_HEALTH = "read-health"
    READ_ANOMALIES = "read-anomalies"
    READ_CAPACITY = "read-capacity"
    READ_BACKUPS = "read-backups"
    READ_JOBS = "read-jobs"
    READ_HOME = "read-home"
    READ_HELP = "read-help"


class Besides(StrEnum):
    """What an act asks for besides the role; the value is the sentence that people read."""

    NOTHING = ""
    UNVERIFIED = "while Slack cannot say who asks, too: then marked as unverified"
    PERSON = "a person of the policy"
    MUTE = "7 days at most; told in the channel"
    APPROVER = "one of `deploys.approvers`, never whoever asked for the deploy"
    APPROVER_OR_REQUESTER = "one of `deploys.approvers`, or whoever asked for the deploy"
    NOT_OWN_PAUSE = "a person of the policy; not whoever asked for the deploy, where somebody else paused it"
    NOT_OWN_LOCK = "a person of the policy; the lock of a failed deploy: not whoever asked for that deploy"
    NOT_OWN_BACKUP = "a person of the policy, not whoever asked for the backup"
    DRILL = "one of the plan's `drill.approvers`, never whoever asked for the drill"
    NOT_OWN_DRILL = "a person of the policy, not whoever asked for the drill"
    DRILL_OR_REQUESTER = "one of the plan's `drill.approvers`, or whoever asked for the drill"


class Rule(Value):
    """What one act asks for. ``what`` says it to people; ``person``: only for people of the policy."""

    role: Role
    what: str
    besides: Besides = Besides.NOTHING

    @property
    def needs_person(self) -> bool:
        """True where a member whom the policy does not know is refused."""
        return self.role is not Role.READER and self.besides not in {
            Besides.NOTHING,
            Besides.UNVERIFIED,
            Besides.MUTE,
        }


def _rule(role: Role, what: str, besides: Besides = Besides.NOTHING) -> Rule:
    return Rule(role=role, what=what, besides=besides)


_READ, _RESPOND, _APPROVE = Role.READER, Role.RESPONDER, Role.APPROVER

RULES = MappingProxyType(
    {
        Act.ACKNOWLEDGE: _rule(_RESPOND, "acknowledge an alert, incident or page", Besides.UNVERIFIED),
        Act.ALERT_RESOLVE: _rule(_RESPOND, "resolve an alert"),
        Act.INCIDENT_DECLARE: _rule(_RESPOND, "declare an incident"),
        Act.INCIDENT_RESOLVE: _rule(_RESPOND, "resolve an incident"),
        Act.ANOMALY_JUDGE: _rule(_RESPOND, "say whether an anomaly was worth telling, or expected"),
        Act.ANOMALY_MUTE: _rule(_RESPOND, "mute one metric of a service for a day", Besides.MUTE),
        Act.SERVICE_MUTE: _rule(_RESPOND, "mute the anomalies of a service", Besides.MUTE),
        Act.SERVICE_UNMUTE: _rule(_RESPOND, "end the mutes of a service", Besides.MUTE),
        Act.DEPLOY_REQUEST: _rule(_RESPOND, "ask for a deploy or a rollback", Besides.PERSON),
        Act.DEPLOY_APPROVE: _rule(_APPROVE, "approve a deploy or a rollback", Besides.APPROVER),
        Act.DEPLOY_REJECT: _rule(_RESPOND, "reject a deploy", Besides.APPROVER_OR_REQUESTER),
        Act.DEPLOY_PAUSE: _rule(_RESPOND, "pause a deploy", Besides.PERSON),
        Act.DEPLOY_RESUME: _rule(_RESPOND, "resume a deploy", Besides.NOT_OWN_PAUSE),
        Act.DEPLOY_PROMOTE: _rule(_APPROVE, "promote a deploy past its verdict", Besides.APPROVER),
        Act.DEPLOY_WAIT: _rule(_RESPOND, "let a deploy be judged once more", Besides.PERSON),
        Act.DEPLOY_ABORT: _rule(_RESPOND, "stop a deploy and take it back", Besides.PERSON),
        Act.DEPLOY_UNDO: _rule(_RESPOND, "roll back from an alert", Besides.PERSON),
        Act.DEPLOY_PLAN: _rule(_RESPOND, "look at what a deploy would change (dry run)"),
        Act.SERVICE_LOCK: _rule(_RESPOND, "lock the deploys of a service", Besides.PERSON),
        Act.SERVICE_UNLOCK: _rule(_RESPOND, "unlock the deploys of a service", Besides.NOT_OWN_LOCK),
        Act.BACKUP_RUN: _rule(_RESPOND, "run a backup now", Besides.PERSON),
        Act.BACKUP_ACCEPT: _rule(_APPROVE, "accept a suspicious backup", Besides.NOT_OWN_BACKUP),
        Act.DRILL_REQUEST: _rule(_RESPOND, "ask for a restore drill", Besides.PERSON),
        Act.DRILL_APPROVE: _rule(_APPROVE, "agree to a restore drill", Besides.DRILL),
        Act.DRILL_DECLINE: _rule(_RESPOND, "decline a restore drill", Besides.DRILL_OR_REQUESTER),
        Act.DRILL_RELEASE: _rule(
            _APPROVE, "let old backups go again after a failed drill", Besides.NOT_OWN_DRILL
        ),
        Act.QUIET_END: _rule(_RESPOND, "end a quiet start after a restore", Besides.PERSON),
        Act.READ_INCIDENTS: _rule(_READ, "see alerts and incidents"),
        Act.READ_DEPLOYS: _rule(_READ, "see deploys, locks and freezes"),
        Act.READ_HEALTH: _rule(_READ, "see the health of the services"),
        Act.READ_ANOMALIES: _rule(_READ, "see anomalies and what explains them"),
        Act.READ_CAPACITY: _rule(_READ, "see how a service grows"),
        Act.READ_BACKUPS: _rule(_READ, "see backups and drills"),
        Act.READ_JOBS: _rule(_READ, "see the recurring jobs"),
        Act.READ_HOME: _rule(_READ, "see the Home tab"),
        Act.READ_HELP: _rule(_READ, "see the help"),
    }
)
"""Every act, and what it asks for. The docs, ``toban check`` and the tests read the same table."""


def may(policy: Policy, act: Act, account: Account) -> Refused | None:
    """Why an account may not do this now; ``None`` where it may.

    What is not known is a no, but for acknowledging: somebody who answers at night is worth more than a
    proof, and nothing is lost by it. ``is_unverified`` says that it passed so.
    """
    why = _strictly(policy, act, account)
    return None if why is not None and _is_leniency(policy, act, account, why) else why


def demand(policy: Policy, act: Act, account: Account) -> None:
    """Refused where ``may`` says so."""
    why = may(policy, act, account)
    if why is not None:
        raise why


def is_unverified(policy: Policy, act: Act, account: Account) -> bool:
    """Whether an act passes only because Slack could not say who asks."""
    why = _strictly(policy, act, account)
    return why is not None and _is_leniency(policy, act, account, why)


def _is_leniency(policy: Policy, act: Act, account: Account, why: Refused) -> bool:
    """What is known against an account stays; only what could not be asked is passed over."""
    if not account.placed or _is_outside(policy, RULES[act].role, account):
        return False
    if RULES[act].besides is not Besides.UNVERIFIED or standing(account) not in {None, Standing.UNKNOWN}:
        return False
    return why.key in {_UNKNOWN, _GROUP_UNKNOWN}


def _is_outside(policy: Policy, role: Role, account: Account) -> bool:
    """Whether only groups have a role, and Slack has said of each that the account is not in it."""
    named = (*policy.roles.named(role), *policy.roles.admin)
    return bool(named) and all(
        is_group(name) and name not in (*account.groups, *account.unsure) for name in named
    )


_UNKNOWN = f"refused.account_{Standing.UNKNOWN.value}"
_GROUP_UNKNOWN = "refused.group_unknown"


def _strictly(policy: Policy, act: Act, account: Account) -> Refused | None:
    rule = RULES[act]
    why = standing(account)
    if why is Standing.GUEST and rule.role is Role.READER:
        why = None if account.known else Standing.UNKNOWN
    if why is not None:
        return Refused(f"refused.account_{why.value}")
    if rule.role is Role.READER:
        return None
    roles, person = policy.roles, policy.people.get(account.person or "")
    named = (*roles.named(rule.role), *roles.admin)
    if not any(_is(name, account, person) for name in named):
        if any(name in account.unsure for name in named):
            return Refused(_GROUP_UNKNOWN)
        if person is None and not account.settled:
            return account.nobody
        key = "refused.no_responder" if rule.role is Role.RESPONDER else "refused.no_role_approver"
        return Refused(key, who=", ".join(dict.fromkeys(named)) or "—")
    if rule.needs_person and person is None:
        return account.nobody
    return None


def _is(name: str, account: Account, person: Person | None) -> bool:
    """Whether a name of the policy means this account."""
    if name == MEMBERS:
        return True
    if is_group(name) and name in account.groups:
        return True
    if person is None:
        return False
    word = name.removeprefix(ROLE_OF_PEOPLE)
    return word in person.roles if name.startswith(ROLE_OF_PEOPLE) else name == person.name
