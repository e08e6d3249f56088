"""Where things are said: which card stands in which channel, whose thread a line belongs to."""

from typing import Any

from domain.alerts import AlertGroup
from domain.backups import Backup
from domain.drills import Drill
from domain.effects import Card, Note, Priority, Rewrite, Subject, Text, titled
from domain.escalation import Page
from domain.incidents import Incident
from domain.policy import Level, Policy
from domain.rollouts import Rollout
from domain.views import Posted

ALERTS = "alerts"
INCIDENTS = "incidents"
DEPLOYS = "deploys"
OPS = "ops"


def alert_card(group: AlertGroup) -> Card:
    """The one channel message of an alert group."""
    return Card(subject=group.subject, place=home(group), priority=Priority.thread(group.level))


def home(group: AlertGroup) -> str:
    """Where the thread of a group stands: a channel of its own, or the alerts channel."""
    return group.channel or ALERTS


def linked(group: AlertGroup, posted: Posted | None) -> dict[str, Any]:
    """A group as a parameter of a text (``{card:card}``): its title, and where its card is posted."""
    return {
        "posted": posted.model_dump() if posted is not None else None,
        "title": titled(group.title, group.own_title),
    }


def later_linked(of: Subject, title: str | dict[str, Any], *, otherwise: str) -> dict[str, Any]:
    """The same for a card that may not be posted yet: it is looked up when the text is sent.

    ``otherwise``: the key of what is said in the text's place while there is no card to link.
    """
    return {"of": of.key, "posted": None, "title": title, "otherwise": otherwise}


def incident_card(policy: Policy, incident: Incident, group: AlertGroup | None) -> Card:
    """In the incident channel; a reply in the alert's thread where both are the same channel."""
    same = policy.channels.incidents.casefold() == policy.channels.alerts.casefold()
    return Card(
        subject=incident.subject,
        place=ALERTS if same else INCIDENTS,
        priority=Priority.thread(incident.severity.level),
        thread_of=group.subject.key if same and group is not None and group.channel is None else None,
    )


def rollout_card(rollout: Rollout) -> Card:
    """The one message of a deploy, in the deploy channel."""
    return Card(subject=rollout.subject, place=DEPLOYS, priority=Priority.THREAD)


def rollout_note(name: str, rollout: Rollout, text: Text) -> Note:
    """A line in the thread of a deploy's card, said once for its name."""
    return thread_note(name, rollout.subject, DEPLOYS, text)


def backup_card(backup: Backup) -> Card:
    """The one message of a backup, in the ops channel."""
    return Card(subject=backup.subject, place=OPS, priority=Priority.THREAD)


def backup_note(name: str, backup: Backup, text: Text) -> Note:
    """A line in the thread of a backup's card, said once for its name."""
    return thread_note(name, backup.subject, OPS, text)


def drill_card(drill: Drill) -> Card:
    """The one message of a restore drill, in the ops channel."""
    return Card(subject=drill.subject, place=OPS, priority=Priority.THREAD)


def page_card(page: Page, level: Level) -> Card:
    """The page in a person's direct messages."""
    return Card(subject=page.subject, place=f"@{page.person}", priority=Priority.page(level))


def personal_note(name: str, person: str, text: Text) -> Note:
    """A line in a person's direct messages, said once for its name."""
    return Note(key=f"note:{name}:@{person}", place=f"@{person}", text=text)


def personal_rewrite(name: str, person: str, text: Text) -> Rewrite:
    """What ``personal_note`` of this name says from now on."""
    return Rewrite(key=personal_note(name, person, text).key, text=text)


def thread_note(name: str, subject: Subject, place: str, text: Text) -> Note:
    """A line in the thread of a subject's card, said once for its name."""
    return Note(key=f"note:{name}", place=place, text=text, thread_of=subject.key)
