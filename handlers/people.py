"""Slack tells that an account changed: who left is not paged again, and ops hears of it at once."""

from typing import TYPE_CHECKING

import structlog

from domain.errors import Outage, Undeliverable
from handlers.slack import Body, Desk
from operations.accounts import distrust, verify

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

log = structlog.get_logger(__name__)


def register(app: "AsyncApp", desk: Desk) -> None:
    """The event of an account that was changed, restricted or closed."""
    app.event("user_change")(_People(desk).changed)


class _People:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def changed(self, body: Body) -> None:
        """The event's own words about the account are not believed: Slack is asked again."""
        account = str(((body.get("event") or {}).get("user") or {}).get("id") or "")
        name = distrust(self.desk.world, account)
        if name is not None:
            self.desk.later(self._verified(name))

    async def _verified(self, name: str) -> None:
        try:
            await verify(self.desk.world, name)
        except (Outage, Undeliverable) as trouble:  # The next page asks again; what is wrong was told.
            log.warning("accounts.nobody", person=name, reason=trouble.reason)
