"""Senders that try once: what they send, when they were told yes, and what they then say is over."""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

from bench.kill_bot import AUTHORIZATION
from bench.kill_load import AlertPlan, plan_alerts
from sandbox.senders import alertmanager, monitoring

SENDER_WAITS = 10.0
"""Seconds after which a sender gives up."""

EMERGENCY_EVERY = 21.0
"""Seconds between two emergencies: three within a minute each ring by themselves."""

SHORT_EVERY = 4.0
"""Seconds between two troubles that end again."""

GROUPS = 12
"""Troubles that go on, with many alerts each."""

OPENED_AFTER = (2.0, 12.0)
"""Seconds from a trouble's first word to its end."""


@dataclass
class Said:
    """What a sender was told: yes, and when; or no."""

    plan: AlertPlan
    accepted_at: float | None = None
    over: bool = False


@dataclass
class SingleTries:
    """Sends through one address until the time, or the series, is over. Nothing is tried again.

    A trouble that ends is reported once more just before its end, as a second sender of a pair would, and
    the end does not wait for the answer to that: a stopped replica may have it in its hands.
    """

    url: str
    chance: random.Random
    seconds: float
    rate: float
    prefix: str = ""
    said: dict[str, Said] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send until the time is over, and until what was begun has its answer."""
        limit = aiohttp.ClientTimeout(total=SENDER_WAITS)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(
                headers={"Authorization": AUTHORIZATION}, timeout=limit, connector=connector
            ) as self._session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._emergencies(tasks))
            tasks.create_task(self._short_ones(tasks))
            tasks.create_task(self._long_ones(tasks))

    @property
    def accepted(self) -> list[AlertPlan]:
        """The alerts that were accepted."""
        return [said.plan for said in self.said.values() if said.accepted_at is not None]

    @property
    def refused(self) -> int:
        """How many tries were not answered with yes."""
        return sum(many for outcome, many in self.outcomes.items() if outcome != "200")

    async def _long_ones(self, tasks: asyncio.TaskGroup) -> None:
        for plan in plan_alerts(round(self.rate * self.seconds), GROUPS, self.chance, self.prefix):
            tasks.create_task(self._fire(plan))
            if await self._is_over(self.chance.expovariate(self.rate)):
                return

    async def _emergencies(self, tasks: asyncio.TaskGroup) -> None:
        for number in range(int(self.seconds / EMERGENCY_EVERY)):
            name = f"{self.prefix}emergency-{number:03d}"
            tasks.create_task(self._fire(own_trouble(name, number, "emergency")))
            if await self._is_over(EMERGENCY_EVERY):
                return

    async def _short_ones(self, tasks: asyncio.TaskGroup) -> None:
        for number in range(int(self.seconds / SHORT_EVERY)):
            plan = own_trouble(f"{self.prefix}short-{number:04d}", number, "warning")
            tasks.create_task(self._fire_and_end(plan, tasks))
            if await self._is_over(SHORT_EVERY):
                return

    async def _is_over(self, seconds: float) -> bool:
        """Wait, unless the series is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        return self.over.is_set()

    async def _fire(self, plan: AlertPlan) -> None:
        said = self.said[plan.name] = Said(plan)
        if await self._once(plan.sender, plan.body):
            said.accepted_at = time.time()

    async def _fire_and_end(self, plan: AlertPlan, tasks: asyncio.TaskGroup) -> None:
        said = self.said[plan.name] = Said(plan)
        if not await self._once(plan.sender, plan.body):
            return
        said.accepted_at = time.time()
        await asyncio.sleep(self.chance.uniform(*OPENED_AFTER))
        tasks.create_task(self._once(plan.sender, plan.body))
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        said.over = await self._once(plan.sender, ended(plan))

    async def _once(self, sender: str, body: dict[str, Any]) -> bool:
        self.attempts += 1
        try:
            async with self._session.post(f"{self.url}/webhooks/{sender}", json=body) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.outcomes[type(error).__name__] += 1
            return False
        self.outcomes[str(answer.status)] += 1
        return answer.status < 300


def own_trouble(name: str, number: int, severity: str) -> AlertPlan:
    """An alert that is a trouble of its own, which began just now."""
    now = datetime.now(UTC)
    group = 10_000 + number if severity == "warning" else 20_000 + number
    if number % 2:
        started = now.isoformat(timespec="milliseconds")
        body = alertmanager(name, severity=severity, group=f"Trouble {name}", started=started)
        return AlertPlan(name, group, "alertmanager", False, body)
    started_at = int(now.timestamp())
    body = monitoring(name, severity=severity, policy=f"Trouble {name}", service=name, started=started_at)
    return AlertPlan(name, group, "cloud-monitoring", False, body)


def ended(plan: AlertPlan) -> dict[str, Any]:
    """The same trouble, which is over now."""
    now = datetime.now(UTC)
    if plan.sender == "alertmanager":
        (alert,) = plan.body["alerts"]
        over = {"status": "resolved", "endsAt": now.isoformat(timespec="milliseconds")}
        return plan.body | {"status": "resolved", "alerts": [alert | over]}
    incident = plan.body["incident"] | {"state": "closed", "ended_at": int(now.timestamp())}
    return plan.body | {"incident": incident}
