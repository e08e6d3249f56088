"""Senders and people who do not give up: each alert and each click is repeated until it is accepted."""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.kill_bot import AUTHORIZATION
from notify.slack import actions
from sandbox.senders import alertmanager, monitoring
from sandbox.slack.delivery import Delivery
from sandbox.slack.reading import Message
from sandbox.slack.workspace import Workspace

PEOPLE = ("kenji", "aya", "mika", "dan", "yuko")
ACKNOWLEDGE = (actions.ALERT_ACKNOWLEDGE, actions.INCIDENT_ACKNOWLEDGE, actions.PAGE_ACKNOWLEDGE)

Progress = Callable[[], float]
"""How much of the kills is over, from 0 to 1: work is spread over them."""


@dataclass(frozen=True)
class AlertPlan:
    """One alert: ``name`` is found again in the database, ``group`` says which thread it belongs to."""

    name: str
    group: int
    sender: str
    critical: bool
    body: dict[str, Any]


def plan_alerts(count: int, groups: int, chance: random.Random, prefix: str = "") -> list[AlertPlan]:
    """The alerts, in an order in which every group begins at its time and goes on until the end.

    ``prefix`` keeps the names of one series apart from another's.

    Every third group is critical; two critical groups of Cloud Monitoring share each service, so that
    joining an incident is a part of the run.
    """
    step = count / groups
    plans = []
    for number in range(count):
        begun = min(groups, int(number / step) + 1)
        first = number == 0 or begun != min(groups, int((number - 1) / step) + 1)
        group = begun - 1 if first else chance.randrange(begun)
        name, critical = f"{prefix}kill-{number:05d}", group % 3 == 0
        severity = "critical" if critical else "warning"
        if group % 2:
            body = alertmanager(name, severity=severity, group=f"{prefix}Trouble{group:03d}")
            plans.append(AlertPlan(name, group, "alertmanager", critical, body))
        else:
            title, service = f"{prefix}Trouble {group:03d}", f"{prefix}service-{group // 12:03d}"
            body = monitoring(name, severity=severity, policy=title, service=service)
            plans.append(AlertPlan(name, group, "cloud-monitoring", critical, body))
    return plans


class Senders:
    """Offers ``rate`` requests a second: new alerts as they are due, otherwise repetitions of old ones."""

    def __init__(
        self, url: str, plans: list[AlertPlan], rate: float, progress: Progress, chance: random.Random
    ) -> None:
        self._url = url
        self._plans = plans
        self._rate = rate
        self._progress = progress
        self._chance = chance
        self.accepted: dict[str, AlertPlan] = {}
        self.attempts = 0
        self.refusals: dict[int, int] = {}

    @property
    def through(self) -> bool:
        """True when every alert was accepted."""
        return len(self.accepted) == len(self._plans)

    async def run(self) -> None:
        """Send until everything is accepted and all kills are over."""
        begun = 0
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(headers={"Authorization": AUTHORIZATION}, timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            while begun < len(self._plans) or self._progress() < 1:
                if begun < self._progress() * len(self._plans):
                    tasks.create_task(self._until_accepted(session, self._plans[begun]))
                    begun += 1
                elif self.accepted:
                    again = self._chance.choice(list(self.accepted.values()))
                    tasks.create_task(self._once(session, again))
                await asyncio.sleep(self._chance.expovariate(self._rate))

    async def _until_accepted(self, session: aiohttp.ClientSession, plan: AlertPlan) -> None:
        while not await self._once(session, plan):
            await asyncio.sleep(self._chance.uniform(0.05, 0.4))
        self.accepted[plan.name] = plan

    async def _once(self, session: aiohttp.ClientSession, plan: AlertPlan) -> bool:
        self.attempts += 1
        try:
            async with session.post(f"{self._url}/webhooks/{plan.sender}", json=plan.body) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return False
        if not answer.ok:
            self.refusals[answer.status] = self.refusals.get(answer.status, 0) + 1
        return answer.status < 300


@dataclass(frozen=True)
class Click:
    """Something that the bot said yes to, and that must therefore have had its effect."""

    what: str
    person: str
    target: str


@dataclass
class People:
    """Presses buttons and types commands, each until the bot acknowledges it."""

    slack: Workspace
    count: int
    progress: Progress
    chance: random.Random
    accepted: list[Click] = field(default_factory=list)
    done: int = 0
    attempts: int = 0
    overtaken: int = 0

    async def run(self) -> None:
        """Begin each act at its time; they overlap, as people do."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.count):
                while self.progress() * self.count < number:
                    await asyncio.sleep(0.05)
                tasks.create_task(self._act(number))

    async def _act(self, number: int) -> None:
        what = self.chance.choices(("press", "declare", "resolve", "ack"), (50, 25, 12, 13))[0]
        if what == "press" and (found := self._buttons()):
            await self._press(*self.chance.choice(found))
        elif what == "resolve" and (declared := self._numbers("declared")):
            await self._type("resolve", self.chance.choice(declared), "all is well again")
        elif what == "ack" and (known := self._numbers("")):
            await self._type("ack", self.chance.choice(known), "")
        else:
            await self._type("declare", f"declared {number:04d}", "")
        self.done += 1

    def _buttons(self) -> list[tuple[str, Message, str, str]]:
        """Every Acknowledge button that somebody sees: person, message, action id, subject."""
        seen = [(self.chance.choice(PEOPLE), one) for one in self.slack.messages("alerts")]
        seen += [(self.chance.choice(PEOPLE), one) for one in self.slack.messages("incidents")]
        seen += [(person, one) for person in PEOPLE for one in self.slack.dm(person)]
        return [
            (person, message, element["action_id"], element["value"])
            for person, message in seen
            for element in buttons(message)
            if element.get("action_id") in ACKNOWLEDGE
        ]

    def _numbers(self, title: str) -> list[str]:
        cards = [message.plain for message in self.slack.messages("incidents") if title in message.plain]
        return [found[0] for card in cards if (found := re.search(r"INC-\d+", card))]

    async def _press(self, person: str, message: Message, action: str, subject: str) -> None:
        rivals = {person, self.chance.choice(PEOPLE)} if not message.channel.startswith("D") else {person}
        await asyncio.gather(*[self._press_alone(one, message, action, subject) for one in sorted(rivals)])

    async def _press_alone(self, person: str, message: Message, action: str, subject: str) -> None:
        while True:
            self.attempts += 1
            try:
                delivery = await self.slack.press(person, message.channel, message.ts, action)
            except LookupError:
                self.overtaken += (
                    1  # The button is gone: somebody else's press, or an earlier try, had its effect.
                )
                return
            if delivery.ok:
                self.accepted.append(Click("press", person, subject))
                return
            await asyncio.sleep(self.chance.uniform(0.1, 0.5))

    async def _type(self, verb: str, target: str, rest: str) -> None:
        person = self.chance.choice(PEOPLE)
        given = f"P3 {target}" if verb == "declare" else f"{target} {rest}"
        while True:
            self.attempts += 1
            delivery = await self.slack.type(person, "incidents", f"/incident {verb} {given}".rstrip())
            if kept(delivery):
                self.accepted.append(Click(verb, person, target))
                return
            await asyncio.sleep(self.chance.uniform(0.1, 0.5))


def kept(delivery: Delivery) -> bool:
    """Acknowledged without a word: a text would say why the command was not taken."""
    return delivery.ok and not delivery.body.strip()


def buttons(message: Message) -> list[dict[str, Any]]:
    """The buttons of a message."""
    blocks = [block for block in message.blocks if block.get("type") == "actions"]
    return [element for block in blocks for element in block["elements"]]
