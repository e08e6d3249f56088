"""Reads who may approve something: names of people, and roles."""

from collections.abc import Mapping, Sequence

from yaml import Node

from bot.sheet import Sheet, hint
from domain.policy import Person

ROLE = "role:"


def able_people(people: Mapping[str, Person], reach: Mapping[str, frozenset[str]]) -> tuple[Person, ...]:
    """Those who can be found in Slack, to press a button. ``reach``: which keys each person fills in."""
    return tuple(person for name, person in people.items() if reach[name] & {"slack", "email"})


def read_approvers(
    node: Node | None, where: str, people: Mapping[str, Person], able: Sequence[Person], sheet: Sheet
) -> tuple[str, ...] | None:
    """Names of people, and roles as ``role:lead``. An empty list says that it is nobody."""
    if node is None:
        return None
    roles = {role for person in able for role in person.roles}
    known = (*people, *(f"{ROLE}{role}" for role in sorted(roles)))
    found = []
    for name, at in sheet.texts(node, where):
        if name in people and people[name] not in able:
            why = f"{name} cannot press a button in Slack. Add slack or email to people.{name}"
        elif name in known:
            found.append(name)
            continue
        elif name.startswith(ROLE):
            why = f'nobody has the role "{name.removeprefix(ROLE)}"{hint(name, known)}'
        else:
            why = f'unknown person "{name}"{hint(name, known)}'
        sheet.wrong(at, f"{where}: {why}")
    return tuple(found)
