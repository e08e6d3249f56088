"""Who may approve a deploy: separation of duties, by person and not by account."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from domain.deploys import DeployRule
from domain.effects import By
from domain.errors import Refused
from domain.levels import Value
from domain.policy import Person


class Approval(Value):
    """One approval: by whom, with which account, for what exactly, when."""

    person: str
    by: By
    fingerprint: str
    at: datetime


class Account(Value):
    """A Slack account as it is at the moment of the click. ``known`` False: Slack could not say.

    ``person``: the name in the policy of whom it belongs to. ``ours`` False: it is of another workspace
    than the bot's, and of no workspace of the same organisation. ``exists`` False: Slack knows no such
    account. ``groups``: those of the policy's Slack groups that it is in; ``unsure``: those of which
    Slack could not say. ``placed`` False: nothing says which workspace is ours, nor where this came from.
    ``settled`` False: whose account it is could not be found out in time.
    """

    id: str
    person: str | None = None
    known: bool = True
    ours: bool = True
    deleted: bool = False
    guest: bool = False
    bot: bool = False
    exists: bool = True
    groups: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    placed: bool = True
    settled: bool = True

    @property
    def nobody(self) -> Refused:
        """The refusal of an account that belongs to no person of the policy, as far as is known."""
        return Refused("refused.account_nobody" if self.settled else "refused.account_unknown")


class Standing(StrEnum):
    """Why an account may not act; the key of the refusal is ``refused.account_`` and this."""

    UNKNOWN = "unknown"
    MISSING = "missing"
    FOREIGN = "foreign"
    DELETED = "deleted"
    GUEST = "guest"
    BOT = "bot"


def standing(account: Account) -> Standing | None:
    """Why this account may change nothing; ``None`` where it may. What cannot be known is a no.

    What is known against it goes before what is not known.
    """
    if not account.ours:
        return Standing.FOREIGN
    if not account.exists:
        return Standing.MISSING
    if account.bot:
        return Standing.BOT
    if account.deleted:
        return Standing.DELETED
    if account.guest:
        return Standing.GUEST
    return None if account.known else Standing.UNKNOWN


def allow(account: Account) -> None:
    """Refused where the account may change nothing."""
    why = standing(account)
    if why is not None:
        raise Refused(f"refused.account_{why.value}")


def person_behind(people: Mapping[str, Person], account: Account) -> Person:
    """The person of the policy who acts with this account. Refused for strangers.

    Several accounts of one person are one person.
    """
    allow(account)
    person = people.get(account.person or "")
    if person is None:
        raise account.nobody
    return person


def is_by(by: By, person: Person) -> bool:
    """Whether this person did it, with whichever account. Who acts for the policy bears its name."""
    return by.name == person.name or by.id in person.slack


def is_among(person: Person, named: tuple[str, ...]) -> bool:
    """Whether a list of names and roles (``role:lead``) means this person."""
    return person.name in named or any(f"role:{role}" in named for role in person.roles)


def those_among(people: Mapping[str, Person], named: tuple[str, ...]) -> list[str]:
    """The names of all people whom a list of names and roles means, in the policy's order."""
    return [person.name for person in people.values() if is_among(person, named)]


def who_may(people: Mapping[str, Person], named: tuple[str, ...]) -> list[str]:
    """The people of such a list as it is shown to a person, each with the role by which they are meant."""
    found = []
    for person in (people[name] for name in those_among(people, named)):
        role = next((role for role in person.roles if f"role:{role}" in named), None)
        found.append(person.name if person.name in named or role is None else f"{person.name} ({role})")
    return found or ["—"]


def approve(
    given: tuple[Approval, ...],
    needed: int,
    rule: DeployRule,
    person: Person,
    by: By,
    requester: str,
    requester_id: str,
    shown: str,
    fingerprint: str,
    at: datetime,
    *,
    people: Mapping[str, Person],
) -> tuple[Approval, ...]:
    """The approvals with this one. ``requester`` is a person's name, ``requester_id`` the account that asked,
    whatever the policy calls it now, and ``shown`` the fingerprint on the card. ``people``: the policy's.

    Refused for the requester, for who is no approver, for who approved already, and where the card that
    was clicked showed something else than what would be done.
    """
    if not is_among(person, rule.approvers):
        raise Refused("refused.no_approver", approvers=who_may(people, rule.approvers))
    if (person.name == requester or by.id == requester_id) and not rule.self_approval:
        raise Refused("refused.own_deploy")
    if shown != fingerprint:
        raise Refused("refused.other_plan")
    counted = valid(given, fingerprint)
    if any(one.person == person.name or one.by.id == by.id for one in counted):
        raise Refused("refused.approved_already", given=len(counted), needed=needed)
    return (*counted, Approval(person=person.name, by=by, fingerprint=fingerprint, at=at))


def valid(given: tuple[Approval, ...], fingerprint: str) -> tuple[Approval, ...]:
    """Those that are for exactly this plan."""
    return tuple(one for one in given if one.fingerprint == fingerprint)


def still_valid(
    given: tuple[Approval, ...],
    rule: DeployRule,
    people: Mapping[str, Person],
    requester: str,
    requester_id: str,
    fingerprint: str,
) -> tuple[Approval, ...]:
    """Those whose givers may still give them by the policy of now."""
    return tuple(
        one
        for one in valid(given, fingerprint)
        if one.person in people
        and is_among(people[one.person], rule.approvers)
        and ((one.person != requester and one.by.id != requester_id) or rule.self_approval)
    )
