"""The roles of the policy: who responds to trouble, who approves, who administers."""

import re
from enum import StrEnum

from domain.levels import Value

MEMBERS = "members"
"""In place of a name: every full member of the workspace."""

ROLE_OF_PEOPLE = "role:"
"""Before a word that the policy gives to people under ``people.NAME.roles``."""


GROUP_ID = re.compile(r"S[A-Z0-9]{7,20}")
"""The id of a Slack group."""


class Role(StrEnum):
    """What an account must be for an act. ``READER`` is everybody of the workspace, guests too."""

    READER = "reader"
    RESPONDER = "responder"
    APPROVER = "approver"
    ADMIN = "admin"


class Roles(Value):
    """Who has each role: names of people, ``role:WORD``, Slack groups (``@handle`` or id), ``members``.

    ``approver`` None: as the responders. An admin has the other roles, too.
    """

    responder: tuple[str, ...] = (MEMBERS,)
    approver: tuple[str, ...] | None = None
    admin: tuple[str, ...] = ()

    def named(self, role: Role) -> tuple[str, ...]:
        """Whom the policy names for a role. Nobody is named as a reader."""
        match role:
            case Role.READER:
                return ()
            case Role.RESPONDER:
                return self.responder
            case Role.APPROVER:
                return self.responder if self.approver is None else self.approver
            case Role.ADMIN:
                return self.admin

    @property
    def groups(self) -> tuple[str, ...]:
        """The Slack groups that some role names, each once."""
        every = (*self.responder, *(self.approver or ()), *self.admin)
        return tuple(dict.fromkeys(name for name in every if is_group(name)))


def is_group(name: str) -> bool:
    """Whether a name means a Slack group: its handle, or its id such as ``S012AB3CD``."""
    return name.startswith("@") or GROUP_ID.fullmatch(name) is not None
