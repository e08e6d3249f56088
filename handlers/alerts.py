"""The alert card's buttons."""

from typing import TYPE_CHECKING, Any

from domain.approvals import Account
from domain.errors import Outage, Refused, Undeliverable
from domain.views import AlertView
from handlers.slack import Body, Desk, subject_of
from notify.slack import actions
from notify.slack.cards.alerts import title_of
from notify.slack.views.incidents import declare_form

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp


def register(app: "AsyncApp", desk: Desk) -> None:
    """Acknowledge, Resolve, Declare Incident."""
    app.action(actions.ALERT_ACKNOWLEDGE)(
        desk.button(actions.ALERT_ACKNOWLEDGE, _press(desk, actions.ALERT_ACKNOWLEDGE))
    )
    app.action(actions.ALERT_RESOLVE)(desk.button(actions.ALERT_RESOLVE, _press(desk, actions.ALERT_RESOLVE)))
    app.action(actions.ALERT_DECLARE)(desk.button(actions.ALERT_DECLARE, _open_declare(desk)))


def _press(desk: Desk, act: str) -> Any:
    async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
        value = subject_of(body).key
        await desk.keep(body, desk.request(body, act, account, value=value, silent=True))
        await ack()

    return handle


def _open_declare(desk: Desk) -> Any:
    async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
        subject = subject_of(body)
        async with desk.world.store.read() as tx:
            view = await tx.view(subject)
        if not isinstance(view, AlertView):
            raise Refused("refused.unknown_alert", number=subject.id)
        if view.incident is not None and view.incident.is_open:
            raise Refused("refused.has_incident", number=view.incident.number)
        words = desk.voice(body)
        title, severity = title_of(words, view.group), view.group.level.severity
        form = declare_form(words, desk.world.policy, title, severity, subject.key)
        try:
            await desk.open_form(body, form)
        except (Outage, Undeliverable) as error:
            raise Refused("refused.form", reason=str(error)) from error
        await ack()

    return handle
