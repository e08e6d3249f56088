"""``/toban backup`` and the buttons of its cards."""

import re
from typing import TYPE_CHECKING, Any

from domain.approvals import Account
from domain.effects import Subject, SubjectKind
from domain.errors import Refused
from handlers.slack import Body, Desk, subject_of
from notify.slack import actions
from notify.slack.cards.backups import history_card, plans_card
from operations import backups, drills

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

BUTTONS = (actions.BACKUP_ACCEPT, actions.BACKUP_RUN, actions.DRILL_APPROVE, actions.DRILL_DECLINE)

_NUMBER = re.compile(r"(?:B-)?(\d{1,9})", re.IGNORECASE)


def register(app: "AsyncApp", desk: Desk) -> None:
    """The buttons of the cards of backups and drills."""
    taken = Backups(desk)
    for act in BUTTONS:
        app.action(act)(desk.button(act, taken.press(act)))


class Backups:
    """What people ask of backups."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def command(self, ack: "AsyncAck", body: Body, account: Account, rest: str) -> None:
        """``status``, ``history PLAN``, ``run PLAN``, ``drill PLAN``, ``accept B-12``."""
        if not self.desk.world.policy.backups.plans:
            raise Refused("refused.no_plans")
        verb, _, words = rest.partition(" ")
        words = words.strip()
        match verb.casefold():
            case "" | "status" | "list":
                await self._status(ack, body)
            case "history":
                await self._history(ack, body, words)
            case "run":
                await self._keep(body, account, actions.BACKUP_RUN, text=self._plan(words))
                await ack()
            case "drill":
                await self._keep(body, account, actions.DRILL_REQUEST, text=self._plan(words))
                await ack()
            case "accept":
                found = _NUMBER.fullmatch(words)
                if found is None:
                    raise Refused("refused.no_backup_number", given=words[:40] or "—")
                subject = Subject(kind=SubjectKind.BACKUP, id=int(found[1]))
                await self._keep(body, account, actions.BACKUP_ACCEPT, value=subject.key)
                await ack()
            case other:
                given = f"/toban backup {other}"
                raise Refused("refused.unknown_command", given=given, meant="/toban backup status")

    async def _status(self, ack: "AsyncAck", body: Body) -> None:
        world = self.desk.world
        async with world.store.read() as tx:
            latest, verified = await backups.overview(tx, world.policy.backups)
            tried = await drills.newest(tx, world.policy.backups)
        shown = plans_card(
            self.desk.voice(body), world.policy.backups.plans, latest, verified, tried, world.clock.now()
        )
        await ack(text=shown.text, blocks=shown.blocks)

    async def _history(self, ack: "AsyncAck", body: Body, words: str) -> None:
        world = self.desk.world
        plan = world.policy.backups.plan(self._plan(words))
        assert plan is not None
        async with world.store.read() as tx:
            past = await backups.history(tx, plan, world.clock.now())
        shown = history_card(self.desk.voice(body), plan.name, past)
        await ack(text=shown.text, blocks=shown.blocks)

    def _plan(self, named: str) -> str:
        """The plan that somebody typed; the only one where there is one. Refused with the names there are."""
        plans = self.desk.world.policy.backups.plans
        if not named and len(plans) == 1:
            return plans[0].name
        for plan in plans:
            if plan.name.casefold() == named.casefold():
                return plan.name
        names = ", ".join(plan.name for plan in plans)
        raise Refused("refused.unknown_plan", given=named[:60] or "—", names=names)

    async def _keep(self, body: Body, account: Account, act: str, *, value: str = "", text: str = "") -> None:
        await self.desk.keep(body, self.desk.request(body, act, account, value=value, text=text))

    def press(self, act: str) -> Any:
        """A button of such a card."""

        async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
            await self._keep(body, account, act, value=subject_of(body).key)
            await ack()

        return handle
