"""What ``/toban`` answers about health, anomalies and capacity, told when it is known."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from domain import findings
from domain.approvals import Account
from domain.effects import Text
from domain.errors import Outage, Refused
from domain.outbox import Rendered
from domain.policy import Service, named_service
from handlers.commands import Typed
from handlers.slack import Body, Desk
from handlers.typed import Line, length
from notify.slack import actions
from notify.slack.cards.anomalies import anomalies_card, explained_card
from notify.slack.cards.capacity import capacity_card
from notify.slack.cards.health import health_card
from notify.texts import Voice
from operations import anomalies, capacity
from operations.overview import overview

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck

log = structlog.get_logger(__name__)

WEEK = timedelta(days=7)

_FOR = re.compile(r"for(?=\s)", re.IGNORECASE)


class Watching:
    """Reading verbs that ask Google Cloud first, and so take longer than Slack waits."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def health(self, ack: "AsyncAck", body: Body) -> None:
        """All services on one screen."""
        if not self.desk.world.policy.services:
            raise Refused("refused.nothing_watched")
        await ack()

        async def look(voice: Voice) -> Rendered:
            services = await overview(self.desk.world)
            return health_card(voice, services, int(self.desk.world.clock.now().timestamp()))

        self.desk.later(self._told(body, look))

    async def anomalies(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """``list``, ``explain SERVICE``, ``mute SERVICE [24h]``, ``unmute SERVICE``."""
        line = typed.line
        match typed.verb:
            case "anomalies explain":
                service = self._service(line.word())
                await ack()
                self.desk.later(self._told(body, lambda voice: self._explain(voice, service)))
            case "anomalies mute":
                await self._mute(ack, body, account, line)
            case "anomalies unmute":
                service = self._service(line.word())
                typed.demand_end()
                request = self.desk.request(body, actions.DETECTOR_UNMUTE, account, text=service.name)
                await self.desk.keep(body, request)
                await ack()
            case "anomalies" if not line.is_empty:
                raise typed.unknown()
            case _:
                typed.demand_end()
                await self._list(ack, body)

    async def _list(self, ack: "AsyncAck", body: Body) -> None:
        now = self.desk.world.clock.now()
        async with self.desk.world.store.read() as tx:
            known = await anomalies.known(tx, self.desk.world.policy, now)
        shown = anomalies_card(self.desk.voice(body), known, now)
        await ack(text=shown.text, blocks=shown.blocks)

    async def _explain(self, voice: Voice, service: Service) -> Rendered:
        return explained_card(voice, await anomalies.explain(self.desk.world, service))

    async def _mute(self, ack: "AsyncAck", body: Body, account: Account, line: Line) -> None:
        service = self._service(line.word())
        line.take(_FOR)
        given = line.rest()
        wanted = length(given) if given else timedelta(hours=24)
        if not wanted or wanted % timedelta(hours=1):
            raise Refused("refused.not_a_length", given=given[:40])
        hours = wanted // timedelta(hours=1)
        findings.allow_length(hours)
        text = f"{service.name} {hours}"
        await self.desk.keep(body, self.desk.request(body, actions.DETECTOR_MUTE, account, text=text))
        await ack()

    async def capacity(self, ack: "AsyncAck", body: Body, named: str) -> None:
        """``/toban capacity SERVICE``."""
        service = self._service(named)
        await ack()

        async def look(voice: Voice) -> Rendered:
            lines = capacity.said(await capacity.outlook(self.desk.world, service))
            return capacity_card(voice, service.name, lines[1:])

        self.desk.later(self._told(body, look))

    def _service(self, named: str) -> Service:
        """The service that somebody typed. Refused with the names that there are."""
        services = self.desk.world.policy.services
        if not services:
            raise Refused("refused.nothing_watched")
        return named_service(services, named)

    async def _told(self, body: Body, look: Callable[[Voice], Awaitable[Rendered]]) -> None:
        """Answer after the acknowledgement, whatever comes of it."""
        voice = self.desk.voice(body)
        try:
            shown = await look(voice)
        except Refused as refusal:
            await self.desk.answer(body, Text(key=refusal.key, params=refusal.params))
        except Outage as outage:
            await self.desk.answer(body, Text(key="refused.not_read", params={"why": outage.reason}))
        except Exception:
            log.exception("toban.answer_failed")
            await self.desk.answer(body, Text(key="refused.not_read", params={"why": "internal error"}))
        else:
            await self.desk.tell(body, shown)
