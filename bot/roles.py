"""Reads the policy's section ``roles``: who responds, who approves, who administers."""

import re
from collections.abc import Mapping

from yaml import Node

from bot.sheet import Sheet, hint
from domain.policy import Person
from domain.roles import GROUP_ID, MEMBERS, ROLE_OF_PEOPLE, Role, Roles

KEYS = (Role.RESPONDER.value, Role.APPROVER.value, Role.ADMIN.value)

HANDLE = re.compile(r"@[a-z0-9][a-z0-9._-]{0,79}")
"""A Slack group as people type it."""


def read_roles(node: Node | None, people: Mapping[str, Person], sheet: Sheet) -> Roles:
    """The section, with its defaults where it is silent."""
    details = sheet.fields(node, "roles", KEYS)
    found = {
        key: _named(details[key], f"roles.{key}", people, sheet)
        for key in KEYS
        if details.get(key) is not None
    }
    if found.get(Role.RESPONDER.value) == () and "responder" in details:
        sheet.wrong(
            details["responder"],
            f"roles.responder is nobody: no alert could be acknowledged. Name people, or write `{MEMBERS}`",
        )
    return Roles(**found)


def _named(node: Node, where: str, people: Mapping[str, Person], sheet: Sheet) -> tuple[str, ...]:
    """People by name, ``role:WORD``, Slack groups by handle or id, or ``members``."""
    words = sorted({word for person in people.values() for word in person.roles})
    known = (MEMBERS, *people, *(f"{ROLE_OF_PEOPLE}{word}" for word in words))
    names = []
    for name, at in sheet.texts(node, where):
        if name in known or GROUP_ID.fullmatch(name) or HANDLE.fullmatch(name):
            names.append(name)
        elif name.startswith("@"):
            sheet.wrong(at, f'{where}: "{name}" is no group of Slack. Write it as in Slack, such as "@sre"')
        elif name.startswith(ROLE_OF_PEOPLE):
            word = name.removeprefix(ROLE_OF_PEOPLE)
            sheet.wrong(at, f'{where}: nobody has the role "{word}"{hint(name, known)}')
        else:
            more = '. A group of Slack is written "@handle" or by its id'
            sheet.wrong(at, f'{where}: unknown person "{name}"{hint(name, known)}{more}')
    return tuple(names)
