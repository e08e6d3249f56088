"""The way to the bot: Socket Mode where a socket is open, else signed HTTP; events are tried again."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sandbox.slack.delivery import Delivery, HttpCourier, encode
from sandbox.slack.payloads import event_callback
from sandbox.slack.sockets import SocketDesk
from sandbox.slack.state import State

Json = dict[str, Any]

EVENT_DELAYS = (0.0, 60.0, 300.0)  # Seconds before the first, second and third retry (Events API).
SUBSCRIPTIONS = frozenset(
    {
        "app_home_opened",
        "app_mention",
        "channel_archive",
        "channel_left",
        "channel_rename",
        "member_joined_channel",
        "member_left_channel",
        "message.im",
        "team_join",
        "user_change",
    }
)


class Outbound:
    """Sends payloads and remembers every delivery. ``event_delays`` are real seconds and may be shortened."""

    def __init__(
        self, state: State, http: HttpCourier, sockets: SocketDesk, stirred: Callable[[], None]
    ) -> None:
        self._stirred = stirred
        self.state = state
        self.http = http
        self.sockets = sockets
        self.subscriptions = SUBSCRIPTIONS
        self.event_delays: tuple[float, ...] = EVENT_DELAYS
        self.deliveries: list[Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, kind: str, payload: Json, attempt: int = 0, reason: str = "") -> Delivery:
        """Send one payload now and wait for its acknowledgement."""
        if self.sockets.count:
            delivery = await self.sockets.send(kind, payload, attempt, reason)
        else:
            body, content_type = encode(kind, payload)
            headers = self.http.sign(body, content_type)
            if attempt:
                headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
            delivery = await self.http.send(kind, body, headers)
        delivery = replace(delivery, attempt=attempt)
        self.deliveries.append(delivery)
        self._stirred()
        return delivery

    async def again(self, delivery: Delivery) -> Delivery:
        """Send exactly the same bytes and headers once more, the way they went before."""
        if delivery.transport == "socket":
            repeated = await self.sockets.send_frame(delivery.kind, delivery.sent)
        else:
            repeated = await self.http.send(delivery.kind, delivery.sent, dict(delivery.headers))
        self.deliveries.append(repeated)
        self._stirred()
        return repeated

    async def event(self, subscription: str, event: Mapping[str, Any]) -> Delivery | None:
        """Send an event, None where the app is not subscribed or nobody listens at all.

        The first attempt is awaited; up to three retries go on behind.
        """
        if subscription not in self.subscriptions or not (self.sockets.count or self.http.url):
            return None
        payload = event_callback(self.state, dict(event), self.state.new_id("Ev"))
        delivery = await self.send("events_api", payload)
        if not delivery.ok:
            self._behind(self._retry(payload, delivery))
        return delivery

    def event_later(self, subscription: str, event: Mapping[str, Any]) -> None:
        """Send an event without waiting for it."""

        async def run() -> None:
            await self.event(subscription, event)

        self._behind(run())

    def _behind(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _retry(self, payload: Json, delivery: Delivery) -> None:
        for attempt, pause in enumerate(self.event_delays, start=1):
            await asyncio.sleep(pause)
            reason = "timeout" if delivery.transport == "socket" else delivery.reason
            delivery = await self.send("events_api", payload, attempt, reason)
            if delivery.ok:
                return

    async def settle(self) -> None:
        """Wait until every event was delivered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Give up what is still being tried and let go of the connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.http.close()
