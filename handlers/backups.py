"""``/toban backup`` and the buttons of its cards."""

from typing import TYPE_CHECKING, Any

from domain.approvals import Account
from domain.effects import Subject, SubjectKind
from domain.errors import Refused
from handlers.commands import Typed
from handlers.numbers import take_number
from handlers.slack import Body, Desk, subject_of
from handlers.typed import Line
from notify.slack import actions
from notify.slack.cards.backups import history_card, plans_card
from operations import backup_sizes, backups, drills

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

BUTTONS = (
    actions.BACKUP_ACCEPT,
    actions.BACKUP_RUN,
    actions.DRILL_APPROVE,
    actions.DRILL_DECLINE,
    actions.DRILL_RELEASE,
)


def register(app: "AsyncApp", desk: Desk) -> None:
    """The buttons of the cards of backups and drills."""
    taken = Backups(desk)
    for act in BUTTONS:
        app.action(act)(desk.button(act, taken.press(act)))


class Backups:
    """What people ask of backups."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def command(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """``status``, ``history PLAN``, ``run PLAN``, ``drill PLAN``, ``accept B-12``."""
        if not self.desk.world.policy.backups.plans:
            raise Refused("refused.no_plans")
        line = typed.line
        match typed.verb:
            case "backup history":
                await self._history(ack, body, line.word())
            case "backup run":
                plan = self._plan(line.word())
                typed.demand_end()
                await self._keep(body, account, actions.BACKUP_RUN, text=plan)
                await ack()
            case "backup drill":
                plan = self._plan(line.word())
                typed.demand_end()
                await self._keep(body, account, actions.DRILL_REQUEST, text=plan)
                await ack()
            case "backup accept":
                await self._keep(body, account, actions.BACKUP_ACCEPT, value=_backup(line).key)
                await ack()
            case "backup" if not line.is_empty:
                raise typed.unknown()
            case _:
                await self._status(ack, body)

    async def _status(self, ack: "AsyncAck", body: Body) -> None:
        world = self.desk.world
        async with world.store.read() as tx:
            latest, verified = await backups.overview(tx, world.policy.backups, world.clock.now())
            tried = await drills.newest(tx, world.policy.backups)
            plans = world.policy.backups.plans
            sizes = {plan.name: await backup_sizes.sizes(tx, plan) for plan in plans}
        shown = plans_card(self.desk.voice(body), plans, latest, verified, tried, world.clock.now(), sizes)
        await ack(text=shown.text, blocks=shown.blocks)

    async def _history(self, ack: "AsyncAck", body: Body, words: str) -> None:
        world = self.desk.world
        plan = world.policy.backups.plan(self._plan(words))
        assert plan is not None
        async with world.store.read() as tx:
            past = await backups.history(tx, plan, world.clock.now())
            sizes = await backup_sizes.sizes(tx, plan)
        shown = history_card(self.desk.voice(body), plan.name, past, sizes)
        await ack(text=shown.text, blocks=shown.blocks)

    def _plan(self, named: str) -> str:
        """The plan that somebody typed; the only one where there is one. Refused with the names there are."""
        plans = self.desk.world.policy.backups.plans
        return self.desk.world.policy.backups.named(named or (plans[0].name if len(plans) == 1 else "")).name

    async def _keep(self, body: Body, account: Account, act: str, *, value: str = "", text: str = "") -> None:
        await self.desk.keep(body, self.desk.request(body, act, account, value=value, text=text))

    def press(self, act: str) -> Any:
        """A button of such a card."""

        async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
            await self._keep(body, account, act, value=subject_of(body).key)
            await ack()

        return handle


def _backup(line: Line) -> Subject:
    """The one backup that is named. Refused where none is, or something else too."""
    if line.is_empty:
        raise Refused("refused.which_backup")
    given = line.text[line.at :].strip()[:40]
    subject = take_number(line, SubjectKind.BACKUP)
    if subject is None or not line.is_over:
        raise Refused("refused.no_backup_number", given=given)
    return subject
