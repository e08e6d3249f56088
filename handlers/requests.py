"""What a person asked for in Slack, in few words: kept in the inbox before anybody says yes."""

import hashlib
from typing import Any

from domain.approvals import Account
from domain.effects import By
from domain.policy import Value

KIND = "slack"
"""The inbox kind of every interaction."""


class DeployRequest(Value):
    """What ``/deploy`` asks for. ``bake`` in seconds. The request's act says whether it is a rollback."""

    service: str
    image: str = ""
    revision: str | None = None
    steps: tuple[int, ...] | None = None
    bake: int | None = None
    emergency: str | None = None


class Request(Value):
    """One interaction that may change state. ``act`` is an id of ``notify.slack.actions``.

    ``account``: the Slack account as it was at the moment of the click; of an older version, unknown.
    ``unverified``: only so it passes that Slack could not say who asks.
    """

    act: str
    user_id: str
    user_name: str
    team_id: str = ""
    channel_id: str = ""
    value: str = ""
    text: str = ""
    severity: str = ""
    response_url: str | None = None
    silent: bool = False
    deploy: DeployRequest | None = None
    account: Account | None = None
    unverified: bool = False

    @property
    def asker(self) -> Account:
        """Who asked, and what is known of them."""
        return self.account or Account(id=self.user_id, known=False)

    @property
    def by(self) -> By:
        """The person, as the timeline names them."""
        return By(id=self.user_id, name=self.user_name, unverified=self.unverified)


def key_of(body: dict[str, Any]) -> str:
    """The sender's own id of an interaction: the same bytes again have the same key."""
    trigger = body.get("trigger_id")
    if trigger:
        return f"{KIND}:{trigger}"
    said = repr(sorted(body.items()))
    return f"{KIND}:{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()[:40]}"
