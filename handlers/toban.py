"""``/toban``: what Toban sees and keeps by itself, and the answers of people below an anomaly."""

from functools import partial
from typing import TYPE_CHECKING, Any

from domain.approvals import Account
from domain.errors import Refused
from handlers.backups import Backups
from handlers.commands import TOBAN, Typed, read
from handlers.slack import Body, Desk, subject_of
from handlers.watching import Watching
from notify.slack import actions
from notify.slack.cards.jobs import jobs_card
from operations import quiet

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

FEEDBACK = (
    actions.FINDING_USEFUL,
    actions.FINDING_NOT_USEFUL,
    actions.FINDING_EXPECTED,
    actions.FINDING_MUTE,
)


def register(app: "AsyncApp", desk: Desk) -> None:
    """The command, and the buttons below an anomaly."""
    taken = _Toban(desk)
    app.command("/toban")(desk.command(partial(read, TOBAN), taken.command))
    for act in FEEDBACK:
        app.action(act)(desk.button(act, taken.press(act)))


class _Toban:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.watching = Watching(desk)
        self.backups = Backups(desk)

    async def command(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """``/toban VERB …``."""
        match ("?" if typed.verb is None else typed.verb).split():
            case [] | ["help"]:
                await ack(text=self.desk.voice(body)("help.toban"))
            case ["quiet"]:
                await self._quiet(ack, body, typed)
            case ["quiet", "end"]:
                typed.demand_end()
                await self.desk.keep(body, self.desk.request(body, actions.QUIET_END, account))
                await ack()
            case ["jobs"]:
                typed.demand_end()
                await self._jobs(ack, body)
            case ["health"]:
                typed.demand_end()
                await self.watching.health(ack, body)
            case ["anomalies", *_]:
                await self.watching.anomalies(ack, body, account, typed)
            case ["backup", *_]:
                await self.backups.command(ack, body, account, typed)
            case ["capacity"]:
                await self.watching.capacity(ack, body, typed.line.word())
            case _:
                raise typed.unknown()

    async def _quiet(self, ack: "AsyncAck", body: Body, typed: Typed) -> None:
        if not typed.line.is_empty:
            raise typed.unknown()
        async with self.desk.world.store.read() as tx:
            found = await quiet.now(tx)
        if found is None or not found.holds(self.desk.world.clock.now()):
            raise Refused("refused.not_quiet")
        params = {"copy": found.copy_id, "copy_at": found.copy_at, "until": found.until}
        await ack(text=self.desk.voice(body)("answer.quiet", **params))

    async def _jobs(self, ack: "AsyncAck", body: Body) -> None:
        now = self.desk.world.clock.now()
        found = []
        async with self.desk.world.store.read() as tx:
            for work in self.desk.works():
                newest = await tx.latest_runs(work.name)
                run = newest[0] if newest else None
                found.append((work.name, run, work.schedule.following(now)))
            space = await tx.space()
        shown = jobs_card(self.desk.voice(body), found, space)
        await ack(text=shown.text, blocks=shown.blocks)

    def press(self, act: str) -> Any:
        """A button below an anomaly."""

        async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
            value = subject_of(body).key
            await self.desk.keep(body, self.desk.request(body, act, account, value=value, silent=True))
            await ack()

        return handle
