"""The Home tab: made anew whenever somebody opens it, and remembered nowhere."""

import secrets
from typing import TYPE_CHECKING, Any

import structlog

from domain.approvals import Account
from domain.authority import Act
from domain.effects import Text
from domain.errors import Outage, Refused, Undeliverable
from handlers.slack import Body, Desk
from notify.slack import actions
from notify.slack.cards.backups import plans_card
from notify.slack.links import Links
from notify.slack.views.home import home as home_view
from notify.slack.views.home import home_notice
from operations import backups, drills
from operations.home import home

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

log = structlog.get_logger(__name__)


def register(app: "AsyncApp", desk: Desk) -> None:
    """The event, and the button that asks again."""
    taken = _Home(desk)
    app.event("app_home_opened")(taken.opened)
    app.action(actions.HOME_REFRESH)(desk.button(actions.HOME_REFRESH, taken.refresh))


class _Home:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def opened(self, body: Body) -> None:
        """Somebody looks at the app: at its Home tab, or at its messages."""
        event = body.get("event") or {}
        if event.get("tab") == "home":
            who = {"user_id": event.get("user"), "team_id": body.get("team_id")}
            who["enterprise_id"] = body.get("enterprise_id")
            self.desk.later(self._publish(who))

    async def refresh(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The button."""
        await ack()
        self.desk.later(self._publish(body))

    async def _publish(self, body: Body) -> None:
        desk = self.desk
        user_id = str(body.get("user_id") or (body.get("user") or {}).get("id") or "")
        await desk.meet(body)
        try:
            desk.demand(Act.READ_HOME, await desk.account(body))
            view = await self._view(body, user_id)
        except Refused as refusal:
            view = home_notice(desk.voice(body), Text(key=refusal.key, params=refusal.params))
        except Outage as outage:
            log.warning("slack.home_unreadable", error=outage.reason)
            view = home_notice(desk.voice(body), Text(key="home.unreadable"))
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("slack.listener_failed", reference=reference)
            text = Text(key="refused.failed", params={"reference": reference})
            view = home_notice(desk.voice(body), text)
        try:
            await desk.api.call(desk.api.web.views_publish, user_id=user_id, view=view)
        except (Outage, Undeliverable) as error:
            log.warning("slack.home_not_published", error=str(error))

    async def _view(self, body: Body, user_id: str) -> dict[str, Any]:
        desk, policy = self.desk, self.desk.world.policy
        at = desk.world.clock.now()
        async with desk.world.store.read() as tx:
            found = await home(tx, policy, desk.chat.directory.person_of(user_id), at)
            latest, verified = await backups.overview(tx, policy.backups, at)
            tried = await drills.newest(tx, policy.backups)
        voice, plans = desk.voice(body), policy.backups.plans
        kept = plans_card(voice, plans, latest, verified, tried, at).blocks if plans else []
        return home_view(voice, found, kept, Links(desk.chat.directory.team_url), user_id)
