"""A small load balancer: it asks each replica's ``/readyz`` once a second, and tries each request once."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import aiohttp
from aiohttp import web

LOOK_EVERY = 1.0
"""Seconds between two looks at a replica's ``/readyz``, which must answer within the same time."""

PATIENCE = 60.0
"""Seconds after which it gives a request up; senders are less patient."""

KEPT = ("Content-Type", "Authorization", "X-Slack-Signature", "X-Slack-Request-Timestamp")
"""Headers that are handed on."""


class Balancer:
    """Takes turns among the replicas whose last look was green. It repeats nothing."""

    def __init__(self, replicas: Sequence[str]) -> None:
        self._replicas = list(replicas)
        self._ready = dict.fromkeys(replicas, False)
        self._turn = 0
        self._looks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.answers: Counter[str] = Counter()

    @property
    def ready(self) -> set[str]:
        """The replicas that take requests now."""
        return {url for url, ready in self._ready.items() if ready}

    async def start(self) -> None:
        """Begin to look and to listen."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        self._looks = [asyncio.create_task(self._look_again_and_again(url)) for url in self._replicas]
        app = web.Application(client_max_size=8 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """End."""
        for task in self._looks:
            task.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def until_ready(self, url: str, *, ready: bool = True, seconds: float = 60.0) -> float:
        """Wait until a replica takes requests, or takes none any more. Returns how many seconds that took.

        Raises ``TimeoutError``.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(seconds):
            while self._ready[url] is not ready:
                await asyncio.sleep(0.05)
        return loop.time() - began

    async def _look_again_and_again(self, url: str) -> None:
        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=LOOK_EVERY)
        while True:
            try:
                async with self._session.get(f"{url}/readyz", timeout=limit) as answer:
                    self._ready[url] = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                self._ready[url] = False
            await asyncio.sleep(LOOK_EVERY)

    async def _pass_on(self, request: web.Request) -> web.Response:
        assert self._session is not None
        open_ones = [url for url in self._replicas if self._ready[url]]
        if not open_ones:
            self.answers["no replica is ready"] += 1
            return web.Response(status=503)
        self._turn += 1
        url = open_ones[self._turn % len(open_ones)]
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        body = await request.read()
        try:
            async with self._session.request(
                request.method, f"{url}{request.path_qs}", data=body, headers=headers
            ) as answer:
                said = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.answers[f"502 {type(error).__name__}"] += 1
            return web.Response(status=502)
        self.answers[str(answer.status)] += 1
        return web.Response(status=answer.status, body=said, content_type=answer.content_type)
