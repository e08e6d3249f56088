"""What is wrong now, for people and machines: ``/livez``, ``/readyz``, ``/health``, ``/metrics``."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from bot.credentials import Viewers
from bot.readiness import SAID, Readiness
from domain.errors import Outage
from operations import counters
from operations.world import World

log = structlog.get_logger(__name__)

EVERY = 5.0
"""Seconds between two looks at everything."""

ANSWER_WITHIN = 2.0
"""Seconds that the database may take to say how old the oldest waiting things are."""

STALE = 60.0
"""Seconds that the oldest delivery or message may wait before it is a problem."""

Troubles = Callable[[], dict[str, str]]
"""Problems of one part of the program by name, as they are now."""


class Health:
    """Looks at every part of the program and keeps the list of open problems up to date."""

    def __init__(self, world: World, readiness: Readiness, *parts: Troubles) -> None:
        self._world = world
        self._readiness = readiness
        self._parts = parts
        self._found: set[str] = set()
        self._counted: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self.ages: dict[str, float | None] = {"inbox": None, "outbox": None}

    def start(self) -> None:
        """Begin to look in the background, so that the ops channel hears of it without anybody asking."""
        self._task = asyncio.create_task(self._run(), name="health")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("healthcheck.failed")
            await asyncio.sleep(EVERY)

    async def look(self) -> dict[str, str]:
        """Every open problem with its reason, those that other parts reported too."""
        found: dict[str, str] = {}
        for reason, why in (await self._readiness.reasons()).items():
            found[reason.value] = why
        found |= await self._late()
        for part in self._parts:
            found |= part()
        problems = self._world.problems
        for name in self._found - found.keys():
            problems.clear(name)
        for name, why in found.items():
            problems.report(name, why)
        self._found = set(found)
        current = problems.current()
        self._counted |= current.keys()
        for name in self._counted:
            counters.problem.labels(name=name).set(name in current)
        return current

    async def _late(self) -> dict[str, str]:
        """What has waited for too long. Where the database does not say, readiness tells that already."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN), self._world.store.read() as tx:
                pending, unsent = await tx.oldest_pending(), await tx.oldest_unsent()
        except (Outage, TimeoutError):
            self.ages = dict.fromkeys(self.ages)
            return {}
        now = self._world.clock.now()
        ages = {
            "inbox": max(0.0, (now - pending).total_seconds()) if pending else 0.0,
            "outbox": max(0.0, (now - unsent).total_seconds()) if unsent else 0.0,
        }
        self.ages = dict(ages)
        counters.oldest_delivery.set(ages["inbox"])
        counters.oldest_message.set(ages["outbox"])
        return {name: f"the oldest waits for {age:.0f} s" for name, age in ages.items() if age > STALE}


def watch(
    app: web.Application,
    viewers: Viewers,
    readiness: Readiness,
    health: Health,
    details: Callable[[], dict[str, Any]],
) -> None:
    """Add the routes. ``details`` says how each part of the program is doing, for those who may see it."""

    async def livez(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"alive": True})

    async def readyz(request: web.Request) -> web.StreamResponse:
        reasons = await readiness.reasons()
        seen = viewers.may_see(request)
        said = {reason.value: why if seen else SAID[reason] for reason, why in reasons.items()}
        return web.json_response({"ready": not said, "problems": said}, status=503 if said else 200)

    async def healthy(request: web.Request) -> web.StreamResponse:
        problems = await health.look()
        body: dict[str, Any] = {"alive": True, "healthy": not problems}
        if viewers.may_see(request):
            ages = {f"{name}_oldest_seconds": age for name, age in health.ages.items()}
            body |= {"problems": problems, **ages, **details()}
        return web.json_response(body)

    async def metrics(request: web.Request) -> web.StreamResponse:
        if not viewers.may_see(request):
            return viewers.refusal()
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        await health.look()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/health", healthy)
    app.router.add_get("/metrics", metrics)
